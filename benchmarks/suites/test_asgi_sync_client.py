from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.applications import Starlette

from anylifespan.testing import ASGISyncClient, asgi_sync_client


@pytest.fixture
def client(app: Starlette, anyio_backend: str) -> Iterator[ASGISyncClient]:
    with asgi_sync_client(app, backend=anyio_backend) as client:
        yield client


def test_greeting(client: ASGISyncClient, number: int) -> None:
    assert client.get("/").text == "hello"
