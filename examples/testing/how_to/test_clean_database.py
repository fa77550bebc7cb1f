import pytest
from bookshop import app

from anylifespan.testing import asgi_sync_client


@pytest.fixture(scope="session")
def running():
    with asgi_sync_client(app) as client:
        yield client


@pytest.fixture
def client(running):
    yield running
    lifespan = running.lifespan
    lifespan.call(lifespan.state["database"].execute, "DELETE FROM orders")
    running.cookies.clear()


@pytest.mark.parametrize("book", ["Emma", "Persuasion", "Ulysses"])
def test_a_first_order(client, book):
    client.post(f"/orders/{book}")
    assert client.get("/orders").json() == [book]
