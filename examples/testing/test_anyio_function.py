import pytest
from shop import app

from anylifespan.testing import asgi_client

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(anyio_backend):
    async with asgi_client(app) as client:
        yield client


async def test_front_page(client):
    response = await client.get("/")
    assert response.status_code == 200
