from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient


@pytest.fixture
def client(app: Starlette, anyio_backend: str) -> Iterator[TestClient]:
    with TestClient(app, backend=anyio_backend) as client:  # type: ignore[arg-type]
        yield client


def test_greeting(client: TestClient, number: int) -> None:
    assert client.get("/").text == "hello"
