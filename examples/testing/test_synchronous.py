import pytest
from shop import app

from anylifespan.from_thread import start_blocking_lifespan


@pytest.fixture(scope="session")
def shop():
    with start_blocking_lifespan(app) as lifespan:
        yield lifespan


def test_greeting(shop):
    assert shop.state["greeting"] == b"hello"
