import pytest

pytestmark = pytest.mark.anyio


async def test_front_page(asgi_client):
    response = await asgi_client.get("/")
    assert response.status_code == 200
