import pytest
from bookshop import app, exchange_rate


@pytest.fixture(autouse=True)
def fixed_rate():
    app.dependency_overrides[exchange_rate] = lambda: 2
    yield
    app.dependency_overrides.clear()


def test_price(asgi_sync_client):
    assert asgi_sync_client.get("/price").json() == 20


@pytest.mark.anyio
async def test_price_in_an_asynchronous_test(asgi_client):
    response = await asgi_client.get("/price")
    assert response.json() == 20
