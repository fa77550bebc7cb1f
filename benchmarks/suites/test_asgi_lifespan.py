from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest
from asgi_lifespan import LifespanManager
from starlette.applications import Starlette

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    async with LifespanManager(app) as manager:
        transport = httpx2.ASGITransport(manager.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client


async def test_greeting(client: httpx2.AsyncClient, number: int) -> None:
    assert (await client.get("/")).text == "hello"
