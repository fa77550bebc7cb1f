"""Hosts that call an application in their own way: AWS Lambda, by Mangum."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from fastapi import FastAPI
from hosted_shop import Shop
from mangum import Mangum

from anylifespan import LifespanCrashed, LifespanMiddleware

EVENT = {
    "version": "2.0",
    "routeKey": "$default",
    "rawPath": "/",
    "rawQueryString": "",
    "headers": {"host": "shop.example"},
    "requestContext": {
        "http": {"method": "GET", "path": "/", "sourceIp": "192.0.2.1", "protocol": "HTTP/1.1"},
        "stage": "$default",
    },
    "isBase64Encoded": False,
}


@pytest.fixture
def container() -> Iterator[None]:
    """It has one event loop, which lives as long as it does."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    asyncio.set_event_loop(None)
    loop.close()


def ask(handler: Any) -> Any:
    response = handler(EVENT, None)
    return response["statusCode"], response["body"]


def test_mangum_starts_it_once_a_container(container: None) -> None:
    """With a lifespan of its own, Mangum starts it for each request."""
    shop = Shop()
    handler = Mangum(LifespanMiddleware(shop.app), lifespan="off")
    for _ in range(3):
        assert ask(handler) == (200, '{"database":"open"}')
    assert shop.history == ["up"]


def test_mangum_and_a_startup_that_fails(container: None, caplog: pytest.LogCaptureFixture) -> None:
    """The next request tries again."""
    broken = True

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        if broken:
            raise ConnectionError("no database")
        yield

    app = FastAPI(lifespan=lifespan)
    handler = Mangum(LifespanMiddleware(app, mode="on"), lifespan="off")
    assert ask(handler) == (503, "The application is not available.\n")
    assert "ConnectionError: no database" in caplog.text
    broken = False
    assert ask(handler)[0] == 404


def test_mangum_and_a_crash(container: None) -> None:
    """It is known as soon as the event loop runs again; ``on_crash`` can end the container."""
    at = anyio.Event()
    boom = ConnectionError("lost the database")
    crashes: list[LifespanCrashed] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            at.set()
            await send({"type": "http.response.start", "status": 204})
            await send({"type": "http.response.body"})
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await at.wait()
        raise boom

    middleware = LifespanMiddleware(application, on_crash=crashes.append)
    handler = Mangum(middleware, lifespan="off")
    for _ in range(2):
        assert ask(handler)[0] == 204
    (crash,) = crashes
    assert crash.__cause__ is boom
