import pytest
from shop import app

from anylifespan.testing import asgi_client


@pytest.fixture
async def client():
    async with asgi_client(app) as client:
        yield client


@pytest.mark.trio
async def test_front_page(client):
    response = await client.get("/")
    assert response.status_code == 200
