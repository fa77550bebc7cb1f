"""The middleware under everybody who drives applications in a process of their own.

Around the application or added inside of it, it makes what the application does known to whoever
drives it, as the bare application does at its best. How it is under servers, tests/servers tells.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
from apps import Boom
from asgi_lifespan import LifespanManager as ASGILifespanManager
from conftest import BACKENDS
from fastapi import FastAPI, Request
from quart import Quart
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from anylifespan import (
    LifespanCrashed,
    LifespanManager,
    LifespanMiddleware,
    ShutdownFailed,
    StartupFailed,
    StartupTimeout,
    lifespan_of,
)
from anylifespan.testing import asgi_client

pytestmark = pytest.mark.anyio

LIMITS = {"startup_timeout": 0.3, "shutdown_timeout": 0.3}


class Shop:
    """What is to be served, with a lifespan that behaves in some way.

    :ivar events: what has happened in it
    """

    def __init__(self, behaviour: str) -> None:
        self.behaviour = behaviour
        self.events: list[str] = []

    @asynccontextmanager
    async def lifespan(self, app: Any) -> AsyncIterator[dict[str, Any]]:
        self.events.append("starts")
        self.crash = anyio.Event()
        if self.behaviour == "fails":
            raise Boom("no database")
        if self.behaviour == "hangs":
            await anyio.sleep_forever()
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(self.dies)
            yield {"number": 7, "app": app}
            task_group.cancel_scope.cancel()
        self.events.append("stops")
        if self.behaviour == "fails to stop":
            raise Boom("no goodbye")

    async def dies(self) -> None:
        await self.crash.wait()
        raise Boom("died")

    async def serve(self, request: Request) -> dict[str, Any]:
        """A request, at which it dies, if it does."""
        if self.behaviour == "crashes":
            self.crash.set()
            await anyio.lowlevel.checkpoint()
        return {"number": request.state.number, "own": request.state.app is request.app}


def around(shop: Shop) -> Any:
    app = FastAPI(lifespan=shop.lifespan)
    app.get("/")(shop.serve)
    return LifespanMiddleware(app, **LIMITS)


def added(shop: Shop) -> Any:
    app = FastAPI(lifespan=shop.lifespan)
    app.add_middleware(LifespanMiddleware, **LIMITS)
    app.get("/")(shop.serve)
    return app


def given(shop: Shop) -> Any:
    app = FastAPI(lifespan=shop.lifespan, middleware=[Middleware(LifespanMiddleware, **LIMITS)])
    app.get("/")(shop.serve)
    return app


MIDDLEWARE = {"around": around, "added": added, "given": given}


@pytest.fixture(params=MIDDLEWARE.values(), ids=MIDDLEWARE)
def make(request: Any) -> Callable[[Shop], Any]:
    made: Callable[[Shop], Any] = request.param
    return made


# Starlette's TestClient


@pytest.fixture(params=["asyncio", "trio"])
def client_of(request: Any) -> Callable[[Any], TestClient]:
    return lambda app: TestClient(app, backend=request.param)


OK = {"number": 7, "own": True}


def test_testclient_starts(make: Any, client_of: Any) -> None:
    shop = Shop("starts")
    with client_of(make(shop)) as client:
        assert client.get("/").json() == OK
    assert shop.events == ["starts", "stops"]


@pytest.mark.parametrize(
    ("behaviour", "error", "text"),
    [("fails", Boom, "no database"), ("hangs", StartupTimeout, "within 0.3 seconds")],
)
def test_testclient_a_startup_that_fails(
    make: Any, client_of: Any, behaviour: str, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text), client_of(make(Shop(behaviour))):
        pytest.fail("the block was entered")


@pytest.mark.parametrize(
    ("behaviour", "text"), [("crashes", "died"), ("fails to stop", "no goodbye")]
)
def test_testclient_what_is_raised_later(
    make: Any, client_of: Any, behaviour: str, text: str
) -> None:
    # A task group of the application's lifespan wraps it.
    with pytest.raises((Boom, Exception)) as info:
        with client_of(make(Shop(behaviour))) as client:
            client.get("/")
    assert text in repr(info.value)


# This library's own, and asgi-lifespan


@asynccontextmanager
async def by_manager(app: Any) -> AsyncIterator[None]:
    async with LifespanManager(app) as manager:
        await get(manager.app)
        yield


@asynccontextmanager
async def by_client(app: Any) -> AsyncIterator[None]:
    async with asgi_client(app) as client:
        assert (await client.get("/")).json() == OK
        yield


async def get(app: Any) -> None:
    """A request straight to the application."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "headers": [],
    }
    await app(scope, receive, send)
    assert sent[0]["status"] == 200


OURS = {"manager": by_manager, "client": by_client}


@pytest.fixture(params=OURS.values(), ids=OURS)
def drive(request: Any) -> Any:
    return request.param


async def test_ours_starts(make: Any, drive: Any) -> None:
    shop = Shop("starts")
    async with drive(make(shop)):
        pass
    assert shop.events == ["starts", "stops"]


@pytest.mark.parametrize(
    ("behaviour", "error", "text"),
    [
        ("fails", StartupFailed, "Boom: no database"),
        ("hangs", StartupFailed, "did not finish its startup within 0.3 seconds"),
        ("fails to stop", ShutdownFailed, "Boom: no goodbye"),
    ],
)
async def test_ours_fails(
    make: Any, drive: Any, behaviour: str, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        async with drive(make(Shop(behaviour))):
            pass


async def test_ours_crashes(make: Any, drive: Any) -> None:
    with pytest.raises(LifespanCrashed, match="Boom: died") as info:
        async with drive(make(Shop("crashes"))):
            await anyio.sleep_forever()
    assert isinstance(info.value.__cause__, Exception)
    assert info.value.__cause__.__traceback__ is not None


async def test_asgi_lifespan_starts(make: Any) -> None:
    shop = Shop("starts")
    async with ASGILifespanManager(make(shop)):
        pass
    assert shop.events == ["starts", "stops"]


@pytest.mark.parametrize(
    ("behaviour", "text"), [("fails", "Boom('no database')"), ("hangs", "StartupTimeout(")]
)
async def test_asgi_lifespan_fails(make: Any, behaviour: str, text: str) -> None:
    with pytest.raises(Exception) as info:  # noqa: PT011 - on trio it raises a group
        async with ASGILifespanManager(make(Shop(behaviour))):
            pass
    assert text in repr(info.value)


# A request, where nobody sends a lifespan; and a mount


@pytest.fixture(params=["request", "mount"])
def started_by_request(request: Any) -> Callable[[Shop], Any]:
    def make(shop: Shop) -> Any:
        if request.param == "request":
            return around(shop)
        parent = Starlette()
        parent.mount("/", around(shop))
        return parent

    return make


@pytest.mark.parametrize(
    ("behaviour", "status"), [("starts", 200), ("fails", 503), ("hangs", 503), ("crashes", 200)]
)
async def test_a_request_starts_it(
    started_by_request: Any, behaviour: str, status: int, log: pytest.LogCaptureFixture
) -> None:
    app = started_by_request(Shop(behaviour))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for _ in range(2):
            assert (await client.get("/")).status_code == status
    warnings = [message for message in log.messages if "is started by a request" in message]
    assert len(warnings) == 1
    assert ("give that one lifespan_of(...)" in warnings[0]) is isinstance(app, Starlette)


async def test_its_own_state_comes_first_where_it_is_mounted() -> None:
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[dict[str, Any]]:
        yield {"number": 1, "more": 2}

    async def serve(request: Request) -> dict[str, Any]:
        return {"number": request.state.number, "more": request.state.more}

    mounted = FastAPI(lifespan=Shop("starts").lifespan)
    mounted.get("/")(serve)
    parent = FastAPI(lifespan=lifespan)
    parent.mount("/", LifespanMiddleware(mounted))
    async with LifespanManager(parent) as manager:
        transport = httpx.ASGITransport(manager.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            assert (await client.get("/")).json() == {"number": 7, "more": 2}


async def test_mounted_with_lifespan_of_it_is_shut_down(log: pytest.LogCaptureFixture) -> None:
    shop = Shop("starts")
    mounted = around(shop)
    parent = FastAPI(lifespan=lifespan_of(mounted))
    parent.mount("/", mounted)
    async with asgi_client(parent) as client:
        assert (await client.get("/")).json() == OK
    assert shop.events == ["starts", "stops"]
    assert log.messages == []


def test_the_end_of_the_event_loop_is_one_line(backend: str, log: pytest.LogCaptureFixture) -> None:
    """And no crash: nobody is stopped for it."""

    async def serve_once() -> None:
        await get(around(Shop("starts")))
        log.clear()

    name, options = BACKENDS[backend]()
    anyio.run(serve_once, backend=name, backend_options=options)
    assert log.messages == [
        "The application, which was started by a request, was cancelled without a shutdown as the "
        "event loop ended."
    ]
    assert [record.levelname for record in log.records] == ["WARNING"]


# Where it cannot be, or not as one thinks


async def test_quart_lets_it_in_by_its_asgi_app() -> None:
    app = Quart("shop")
    events: list[str] = []
    app.before_serving(lambda: events.append("starts"))
    app.after_serving(lambda: events.append("stops"))
    app.asgi_app = LifespanMiddleware(app.asgi_app)  # type: ignore[method-assign]

    @app.get("/")
    async def serve() -> str:
        return "served"

    async def drive() -> None:
        async with asgi_client(app) as client:
            assert (await client.get("/")).text == "served"

    await anyio.to_thread.run_sync(lambda: anyio.run(drive))
    assert events == ["starts", "stops"]


def test_litestar_says_at_once_that_it_cannot_be_among_its_middleware() -> None:
    from litestar import Litestar
    from litestar.middleware import DefineMiddleware

    with pytest.raises(TypeError, match="wrap the application instead, app = Lif"):
        Litestar(middleware=[DefineMiddleware(LifespanMiddleware)], logging_config=None)
    assert LifespanMiddleware(Litestar(logging_config=None))


def test_it_is_to_be_wrapped_last() -> None:
    app: Any = LifespanMiddleware(FastAPI())
    with pytest.raises(AttributeError, match=r"'get'; fastapi\.applications\.FastAPI, which it wr"):
        app.get("/")
    with pytest.raises(AttributeError, match=r"has no attribute 'gte'$"):
        _ = app.gte
