"""An application whose lifespan is swallowed by something around it: the log says why."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import MagicMock

import apps
import pytest
from apps import LooksAtThePath
from fastapi import FastAPI
from litestar import Litestar
from quart import Quart
from starlette.applications import Starlette

from anylifespan import (
    LifespanManager,
    LifespanMiddleware,
    LifespanUnsupported,
    lifespan_of,
    with_lifespan,
)

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    yield


class PassesOnRequests:
    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)


def closure(app: Any) -> Any:
    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        assert scope["path"]
        await app(scope, receive, send)

    return middleware


def quart() -> Any:
    app = Quart("shop")
    app.before_serving(lambda: None)
    return app


WRAPPERS = {
    "attribute": LooksAtThePath,
    "returns": PassesOnRequests,
    "closure": closure,
    "several": lambda app: closure(PassesOnRequests(LooksAtThePath(app))),
}
WITH_LIFESPAN = {
    "starlette": lambda: Starlette(lifespan=lifespan),
    "fastapi": lambda: FastAPI(lifespan=lifespan),
    "litestar": lambda: Litestar(lifespan=[lifespan], logging_config=None),
    "quart": quart,
    "quart.asgi_app": lambda: quart().asgi_app,
    "with_lifespan": lambda: with_lifespan(refuses, lifespan),
    "middleware": lambda: LifespanMiddleware(FastAPI(lifespan=lifespan)),
    "another router": lambda: WithARouterOfItsOwnKind(),
}


class WithARouterOfItsOwnKind:
    """As one of Starlette's family, but for the router, which knows no lifespan."""

    router = object()
    on_startup = (print,)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await refuses(scope, receive, send)


class RaisesWhenLookedAt:
    """Nothing is said of what cannot be known."""

    @property
    def on_startup(self) -> Any:
        raise RuntimeError("not yet")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await refuses(scope, receive, send)


async def refuses(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
@pytest.mark.parametrize("make", WITH_LIFESPAN.values(), ids=WITH_LIFESPAN)
async def test_it_is_said_that_an_application_inside_is_never_started(
    wrap: Any, make: Any, log: pytest.LogCaptureFixture
) -> None:
    async with LifespanManager(wrap(make())):
        pass
    (record,) = log.records
    assert record.levelname == "WARNING"
    assert "The application has no lifespan (it r" in record.message
    assert " inside it has a lifespan, which is never started: make sure" in record.message

    with pytest.raises(LifespanUnsupported, match="inside it has a lifespan") as info:
        await LifespanManager(wrap(make()), mode="on").startup()
    assert info.value.swallowed


@pytest.mark.parametrize(
    "inside",
    [
        Starlette(),
        FastAPI(),
        Litestar(logging_config=None),
        Quart("shop"),
        refuses,
        MagicMock(),
        print,
        RaisesWhenLookedAt(),
    ],
    ids=["Starlette", "FastAPI", "Litestar", "Quart", "refuses", "MagicMock", "print", "raises"],
)
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
async def test_one_inside_without_a_lifespan_is_no_matter(
    inside: Any, wrap: Any, log: pytest.LogCaptureFixture
) -> None:
    async with LifespanManager(wrap(inside)):
        pass
    (record,) = log.records
    assert record.levelname == "INFO"
    with pytest.raises(LifespanUnsupported, match=r'use mode "auto" to go on without one$') as info:
        await LifespanManager(wrap(inside), mode="on").startup()
    assert not info.value.swallowed


async def test_why_with_the_place(log: pytest.LogCaptureFixture) -> None:
    async with LifespanManager(LooksAtThePath(refuses)):
        pass
    (message,) = log.messages
    assert message.startswith(
        f"The application has no lifespan (it raised KeyError: 'path', at {apps.__file__}:"
    )
    assert message.endswith(" in __call__); going on without it.")


async def test_a_part_is_said_to_be_swallowed_as_well(log: pytest.LogCaptureFixture) -> None:
    part = LooksAtThePath(FastAPI(lifespan=lifespan))
    async with LifespanManager(FastAPI(lifespan=lifespan_of(part))):
        pass
    (record,) = log.records
    assert record.levelname == "WARNING"
    assert record.message.startswith("apps.LooksAtThePath: The application has no")


async def test_what_wraps_itself_is_no_endless_search(log: pytest.LogCaptureFixture) -> None:
    outer, inner = LooksAtThePath(None), LooksAtThePath(None)
    outer.app, inner.app = inner, outer
    async with LifespanManager(outer):
        pass
    assert [record.levelname for record in log.records] == ["INFO"]
