import pytest
from shop import app

from anylifespan.testing import asgi_client

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="session", params=["asyncio", "trio"])
def anyio_backend(request):  # anyio's own has the scope of a module
    return request.param


@pytest.fixture(scope="session")
async def client(anyio_backend):
    async with asgi_client(app) as client:
        yield client


async def test_front_page(client):
    response = await client.get("/")
    assert response.status_code == 200
