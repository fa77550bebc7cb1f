from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette

from anylifespan.testing import ASGIClient, asgi_client

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(app: Starlette, leaks: Any) -> AsyncIterator[ASGIClient]:
    async with asgi_client(app, leaks=leaks) as client:
        yield client


async def test_greeting(client: ASGIClient, number: int) -> None:
    assert (await client.get("/")).text == "hello"
