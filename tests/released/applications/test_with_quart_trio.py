
import pytest
from with_quart_trio import app

from anylifespan.testing import asgi_client as new_client

pytestmark = pytest.mark.anyio


@pytest.fixture(params=['trio'])
def anyio_backend(request):
    return request.param


@pytest.fixture
def asgi_app():
    return app


async def test_client():
    async with new_client(app, leaks="off") as client:
        assert (await client.get("/")).status_code < 600


async def test_plugin(asgi_client):
    assert (await asgi_client.get("/")).status_code < 600
