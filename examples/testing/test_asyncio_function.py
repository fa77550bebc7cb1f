import pytest
import pytest_asyncio
from shop import app

from anylifespan.testing import asgi_client

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def client():
    async with asgi_client(app) as client:
        yield client


async def test_front_page(client):
    response = await client.get("/")
    assert response.status_code == 200
