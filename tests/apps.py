"""Applications, written as one would read them out: ``app(startup_complete, raises(boom))``."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from anylifespan._core.application import ASGI3App


class Boom(Exception):
    """What applications raise."""


Step = Callable[[Any, Any], Awaitable[object]]


def app(*steps: Step) -> ASGI3App:
    """An application that takes its steps one after the other, and then returns."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "lifespan"
        for step in steps:
            await step(receive, send)

    return application


def answers_lifespan(
    request: ASGI3App,
    *,
    on_shutdown: Callable[[], object] = lambda: None,
    crash_after: float = math.inf,
) -> ASGI3App:
    """An application that answers requests so.

    :param crash_after: seconds after its startup
    """

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            return await request(scope, receive, send)
        await receive()
        await send({"type": "lifespan.startup.complete"})
        with anyio.move_on_after(crash_after) as limit:
            await receive()
        if limit.cancelled_caught:
            raise Boom
        on_shutdown()
        await send({"type": "lifespan.shutdown.complete"})
        return None

    return application


async def receives(receive: Any, send: Any) -> None:
    await receive()


def sends(kind: Any, message: Any = None) -> Step:
    async def step(receive: Any, send: Any) -> None:
        await send({"type": kind} | ({} if message is None else {"message": message}))

    return step


def raises(error: BaseException) -> Step:
    async def step(receive: Any, send: Any) -> None:
        raise error

    return step


async def hangs(receive: Any, send: Any) -> None:
    await anyio.sleep_forever()


def sleeps(seconds: float) -> Step:
    async def step(receive: Any, send: Any) -> None:
        await anyio.sleep(seconds)

    return step


def in_child_task(*steps: Step) -> Step:
    """The steps, in a task of a task group that the application waits for."""

    async def child(receive: Any, send: Any) -> None:
        for one in steps:
            await one(receive, send)

    async def step(receive: Any, send: Any) -> None:
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(child, receive, send)

    return step


def deaf(until: anyio.Event) -> Step:
    """Hangs, and does not heed its cancellation before the event is set."""

    async def step(receive: Any, send: Any) -> None:
        with anyio.CancelScope(shield=True):
            await until.wait()

    return step


started = sends("lifespan.startup.complete")
stopped = sends("lifespan.shutdown.complete")
well_behaved = app(receives, started, receives, stopped)


class LooksAtThePath:
    """A middleware for requests alone, which a lifespan breaks."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["path"]
        await self.app(scope, receive, send)
