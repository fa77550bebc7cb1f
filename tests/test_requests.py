"""The application as requests see it: ``manager.app``."""

from __future__ import annotations

import contextvars
import decimal
import functools
import inspect
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
from apps import well_behaved
from fastapi import FastAPI, Request

from anylifespan import LifespanManager, LifespanMiddleware, with_lifespan

pytestmark = pytest.mark.anyio

GREETING = contextvars.ContextVar[str]("GREETING", default="unset")
OTHER = contextvars.ContextVar[str]("OTHER", default="unset")
KEPT = contextvars.ContextVar[str]("KEPT", default="unset")


class Recorder:
    """Sets its state and context variables in its startup, and records what its requests see."""

    def __init__(self, *, variables: bool = True) -> None:
        self.variables = variables
        self.seen: list[tuple[str, str]] = []
        self.scopes: list[dict[str, Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan" and "state" in scope:
            scope["state"]["shared"] = []
            if self.variables:
                GREETING.set("from the lifespan")
            await well_behaved(scope, receive, send)
            return
        self.scopes.append(scope)
        self.seen.append((GREETING.get(), OTHER.get()))
        GREETING.set("from a request")
        await anyio.lowlevel.checkpoint()
        if "state" in scope:
            scope["state"]["own"] = len(self.scopes)
            scope["state"]["shared"].append(len(self.scopes))


async def request(manager: LifespanManager, kind: str = "http") -> dict[str, Any]:
    scope: dict[str, Any] = {"type": kind}
    await manager.app(scope, None, None)
    return scope


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_each_request_gets_a_shallow_copy_of_the_state(drive: Any, kind: str) -> None:
    async def body() -> None:
        first, second = await request(manager, kind), await request(manager, kind)
        assert first["state"] == {"shared": [1, 2], "own": 1}
        assert second["state"] == {"shared": [1, 2], "own": 2}
        assert first["state"]["shared"] is second["state"]["shared"] is manager.state["shared"]
        assert manager.state == {"shared": [1, 2]}

    manager = LifespanManager(Recorder())
    await drive(manager, body)


@pytest.mark.parametrize("kind", ["lifespan", "of.another.protocol"])
async def test_other_scopes_are_passed_through_untouched(kind: str) -> None:
    recorder = Recorder()
    async with LifespanManager(recorder) as manager:
        scope = await request(manager, kind)
    assert scope == {"type": kind}
    assert recorder.scopes == [scope]
    assert recorder.seen == [("unset", "unset")]


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_requests_see_the_context_variables_of_the_startup(drive: Any, kind: str) -> None:
    async def body() -> None:
        await request(manager, kind)
        assert GREETING.get() == "unset"  # not in the server's own context
        GREETING.set("from the server")
        OTHER.set("from the server")
        await request(manager, kind)
        assert GREETING.get() == "from the server"

    recorder = Recorder()
    manager = LifespanManager(recorder)
    await drive(manager, body)
    assert recorder.seen == [
        ("from the lifespan", "unset"),
        ("from the lifespan", "from the server"),
    ]


async def test_variables_that_the_app_did_not_set_are_the_servers(drive: Any) -> None:
    async def body() -> None:
        KEPT.set("by the server, later")
        await request(manager)
        assert KEPT.get() == "by the server, later"

    KEPT.set("before the startup")
    recorder = Recorder(variables=False)
    manager = LifespanManager(recorder)
    await drive(manager, body)
    assert recorder.seen == [("unset", "unset")]


async def test_requests_side_by_side() -> None:
    recorder = Recorder()
    async with LifespanManager(recorder) as manager, anyio.create_task_group() as task_group:
        for _ in range(5):
            task_group.start_soon(request, manager)
    assert recorder.seen == [("from the lifespan", "unset")] * 5


async def test_a_request_that_fails_takes_its_variables_back() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            raise ValueError(GREETING.get())
        GREETING.set("from the lifespan")
        await well_behaved(scope, receive, send)

    async with LifespanManager(application) as manager:
        with pytest.raises(ValueError, match="from the lifespan"):
            await request(manager)
        assert GREETING.get() == "unset"


async def test_a_request_that_is_closed_in_another_context() -> None:
    async with LifespanManager(Recorder()) as manager:
        coroutine = manager.app({"type": "http"}, None, None)
        contextvars.copy_context().run(coroutine.send, None)
        contextvars.copy_context().run(coroutine.close)
    assert GREETING.get() == "unset"


async def test_the_context_of_decimal_is_each_requests_own() -> None:
    precisions: list[int] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            precisions.append(decimal.getcontext().prec)
            decimal.getcontext().prec = 3
            return
        decimal.setcontext(decimal.Context(prec=28))  # as any arithmetic does, the first time
        await well_behaved(scope, receive, send)

    async with LifespanManager(application) as manager:
        for _ in range(2):
            coroutine: Any = manager.app({"type": "http"}, None, None)
            with pytest.raises(StopIteration):
                contextvars.Context().run(coroutine.send, None)
    assert precisions == [28, 28]


async def test_variables_set_in_a_task_of_the_application() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        async def start() -> None:
            GREETING.set("from a child")
            await receive()
            await send({"type": "lifespan.startup.complete"})

        if scope["type"] == "http":
            assert GREETING.get() == "from a child"
            return
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(start)
        await receive()

    async with LifespanManager(application) as manager:
        await request(manager)


@pytest.mark.parametrize("others", [None, {}, {"own": "replaced", "theirs": "kept"}])
async def test_what_the_scope_has_already_comes_first(others: Any) -> None:
    async with LifespanManager(Recorder(), state={"theirs": "hidden"}) as manager:
        scope = {"type": "http", "state": others}
        await manager.app(scope, None, None)
        theirs = "kept" if others else "hidden"
        assert scope["state"] == {"own": 1, "shared": [1], "theirs": theirs}
        assert manager.state == {"shared": [1], "theirs": "hidden"}
        assert others in (None, {}, {"own": "replaced", "theirs": "kept"})


@pytest.mark.parametrize("scope", [{}, {"state": None}, {"state": {}}])
async def test_the_copy_is_of_the_same_kind(scope: Any) -> None:
    async with LifespanManager(Recorder(), state=defaultdict(list)) as manager:
        request = {"type": "http", **scope}
        await manager.app(request, None, None)
        assert type(request["state"]) is defaultdict


def asgi2(scope: Any) -> Any:
    return functools.partial(well_behaved, scope)


def returns_an_awaitable(scope: Any, receive: Any, send: Any) -> Any:
    return well_behaved(scope, receive, send)


@pytest.mark.parametrize(
    "app",
    [well_behaved, Recorder(), Recorder().__call__, asgi2, returns_an_awaitable],
    ids=["function", "instance", "method", "ASGI 2", "returns an awaitable"],
)
def test_servers_see_a_coroutine_function(app: Any) -> None:
    """Uvicorn and Hypercorn, among others, take for something else what does not look like one."""
    manager = LifespanManager(app)
    assert inspect.iscoroutinefunction(manager.app)
    coroutine = manager.app({"type": "http"}, None, None)
    assert inspect.iscoroutine(coroutine)
    coroutine.close()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="a function cannot be marked")
def test_no_coroutine_is_put_around_a_request() -> None:
    coroutine: Any = LifespanManager(well_behaved).app({"type": "http"}, None, None)
    assert coroutine.cr_code is well_behaved.__code__
    coroutine.close()


async def test_without_a_lifespan_requests_get_the_given_state() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        assert scope["state"] == {"given": True}

    async with LifespanManager(application, state={"given": True}) as manager:
        await request(manager)


async def test_fastapi_with_a_real_client() -> None:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, str]]:
        GREETING.set("hello")
        yield {"whom": "world"}

    fastapi = FastAPI(lifespan=lifespan)

    @fastapi.get("/")
    async def read(request: Request) -> str:
        return f"{GREETING.get()} {request.state.whom}"

    async with (
        LifespanManager(fastapi, mode="on") as manager,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(manager.app), base_url="http://test"
        ) as client,
    ):
        assert (await client.get("/")).json() == "hello world"


async def test_a_variable_that_is_set_to_what_it_was(drive: Any) -> None:
    """Nothing shows that it was set; so a request that has none gets it."""
    same: contextvars.ContextVar[object] = contextvars.ContextVar("same")
    value = object()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            same.set(value)
            new.set("new")
            await well_behaved(scope, receive, send)
        else:
            seen.append((same.get(None), new.get(None)))

    async def body() -> None:
        async def nothing(*args: Any) -> Any:
            raise AssertionError("called")

        def request() -> Any:
            return manager.app({"type": "http"}, nothing, nothing)

        with pytest.raises(StopIteration):
            contextvars.Context().run(lambda: request().__await__().send(None))
        own = object()
        context = contextvars.copy_context()
        context.run(same.set, own)
        with pytest.raises(StopIteration):
            context.run(lambda: request().__await__().send(None))
        assert seen == [(value, "new"), (own, "new")]

    new: contextvars.ContextVar[str] = contextvars.ContextVar("new")
    seen: list[object] = []
    same.set(value)
    manager = LifespanManager(application)
    await drive(manager, body)
    assert len(seen) == 2


@pytest.mark.parametrize(
    "wrap", [lambda app: app, LifespanMiddleware, lambda app: with_lifespan(app, nothing)]
)
async def test_what_the_application_returns_is_passed_on(wrap: Any) -> None:
    """Servers complain of anything but None."""

    async def returns(scope: Any, receive: Any, send: Any) -> Any:
        if scope["type"] == "lifespan":
            await well_behaved(scope, receive, send)
        return "something"

    async with LifespanManager(wrap(returns)) as manager:
        app: Any = manager.app
        assert await app({"type": "http"}, None, None) == "something"


@asynccontextmanager
async def nothing(app: Any) -> AsyncIterator[None]:
    yield
