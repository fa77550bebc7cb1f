"""One object under two managers at once, or one after another: nothing of one is in the other.

An object here is anything that drives lifespans on behalf of others.
"""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from conftest import BACKENDS
from plain_server import plain_server, request

from anylifespan import (
    LifespanManager,
    LifespanMiddleware,
    combine,
    with_lifespan,
)
from anylifespan._core.hosting import current_token
from anylifespan.compat import asgi_lifespan

pytestmark = pytest.mark.anyio

who: ContextVar[str] = ContextVar("who", default="nobody")


class Application:
    """Each of its lifespans has a number, in the state and in a context variable."""

    def __init__(self) -> None:
        self.number = 0
        self.running: list[int] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            number = scope["state"].get("number")
            await send({"type": f"number {number}, by {who.get()}"})
            return
        await receive()
        self.number += 1
        number = self.number
        self.running.append(number)
        scope["state"]["number"] = number
        who.set(f"lifespan {number}")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.running.remove(number)
        await send({"type": "lifespan.shutdown.complete"})


@asynccontextmanager
async def nothing(app: Any) -> AsyncIterator[None]:
    yield


async def silent(scope: Any, receive: Any, send: Any) -> None:
    raise ValueError("no lifespan here")


WRAPPERS: dict[str, Any] = {
    "LifespanMiddleware": LifespanMiddleware,
    "with_lifespan": lambda app: with_lifespan(app, nothing),
    "combine": lambda app: combine(app, silent),
    "combine, concurrent": lambda app: combine(app, silent, concurrent=True),
    "middleware in middleware": lambda app: LifespanMiddleware(LifespanMiddleware(app)),
}


@pytest.fixture(params=WRAPPERS)
def wrapper(request: pytest.FixtureRequest) -> Any:
    return WRAPPERS[request.param]


async def answer(app: Any, state: dict[str, Any] | None = None) -> str:
    scope = {} if state is None else {"state": state.copy()}  # as servers do
    sent = await request(app, **scope)
    return sent[0]["type"]


async def test_under_two_managers_at_once(wrapper: Any) -> None:
    app = wrapper(Application())
    first, second = LifespanManager(app), LifespanManager(app)
    async with first:
        assert await answer(first.app) == "number 1, by lifespan 1"
        async with second:
            for _ in range(2):
                assert await answer(first.app) == "number 1, by lifespan 1"
                assert await answer(second.app) == "number 2, by lifespan 2"
        assert await answer(first.app) == "number 1, by lifespan 1"


async def test_under_two_servers_at_once(wrapper: Any) -> None:
    """They call the object itself, with copies of the state that they have for their lifespan."""
    app = wrapper(Application())
    first, second = LifespanManager(app), LifespanManager(app)
    await first.startup()
    await second.startup()
    assert await answer(app, first.state) == "number 1, by lifespan 1"
    assert await answer(app, second.state) == "number 2, by lifespan 2"
    await first.shutdown()
    assert await answer(app, second.state) == "number 2, by lifespan 2"
    await second.shutdown()


async def test_under_one_manager_after_another(wrapper: Any) -> None:
    application = Application()
    app = wrapper(application)
    for number in (1, 2, 3):
        async with LifespanManager(app) as manager:
            assert await answer(manager.app) == f"number {number}, by lifespan {number}"
            assert application.running == [number]
    assert application.running == []


@pytest.mark.parametrize("kind", [LifespanManager, asgi_lifespan.LifespanManager])
async def test_a_manager_is_for_one_lifespan(kind: Any) -> None:
    application = Application()
    manager = kind(application)
    async with manager:
        with pytest.raises(RuntimeError, match="make a new one for the next"):
            async with manager:
                raise AssertionError("entered")
    with pytest.raises(RuntimeError, match="make a new one for the next"):
        async with manager:
            raise AssertionError("entered")
    assert application.number == 1


async def test_the_middleware_does_not_serve_on_a_lifespan_that_is_over() -> None:
    application = Application()
    app = LifespanMiddleware(application)
    async with LifespanManager(app) as manager:
        assert await answer(app, manager.state) == "number 1, by lifespan 1"
    assert await answer(app) == "number 2, by lifespan 2"
    assert application.running == [2]
    async with LifespanManager(app):  # ends what the request had started
        assert application.running == [3]


def test_the_middleware_in_two_event_loops_at_once(backend: str) -> None:
    """Each has a lifespan of its own, whether its server sends one or its first request does."""
    application = Application()
    app = LifespanMiddleware(application)
    answers: dict[str, set[str]] = {"server": set(), "request": set()}
    both_up = threading.Barrier(2)

    async def with_a_server() -> None:
        manager = LifespanManager(app)
        async with manager:
            await ask("server")

    async def ask(which: str) -> None:
        await answer(app)
        both_up.wait(20)
        for _ in range(50):
            answers[which].add(await answer(app))
            await anyio.lowlevel.checkpoint()

    def run(which: str) -> None:
        name, options = BACKENDS[backend]()
        main = with_a_server if which == "server" else ask
        args = [] if which == "server" else [which]
        anyio.run(main, *args, backend=name, backend_options=options)

    threads = [threading.Thread(target=run, args=[which]) for which in answers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(map(len, answers.values())) == [1, 1]
    assert answers["server"] | answers["request"] == {
        "number 1, by lifespan 1",
        "number 2, by lifespan 2",
    }


async def test_a_start_by_request_keeps_nothing_of_the_request() -> None:
    seen: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            seen.append(user.get())
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
        else:
            await send({"type": user.get()})

    user: ContextVar[str] = ContextVar("user", default="nobody")
    app = LifespanMiddleware(application)
    user.set("the first user")
    assert await answer(app) == "the first user"
    assert seen == ["nobody"]


async def test_without_a_state_the_latest_is_meant(wrapper: Any) -> None:
    app = wrapper(Application())
    async with LifespanManager(app), LifespanManager(app):
        assert await answer(app) == "number 2, by lifespan 2"


@pytest.mark.parametrize("way", ["by the server", "by a request"])
def test_no_event_loop_is_kept_but_the_last(backend: str, way: str) -> None:
    """A test run has a new one for each test, and one application."""
    middleware = LifespanMiddleware(Application())
    loops: list[Any] = []

    async def serve() -> None:
        loops.append(weakref.ref(current_token()))
        if way == "by a request":
            await request(middleware)
            return
        async with plain_server(middleware) as server:
            await server.ask("startup")
            await server.ask("shutdown")

    for _ in range(4):
        name, options = BACKENDS[backend]()
        anyio.run(serve, backend=name, backend_options=options)
    gc.collect()
    assert sum(loop() is not None for loop in loops) <= 1
