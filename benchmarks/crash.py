"""From the crash of an application to the cancellation of whoever uses it.

No peer watches for a crash; what one can write by hand is a task group around the application.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from interleaved import Values

from anylifespan import LifespanCrashed, LifespanManager

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

# What is written is not what is measured.
_silent = logging.getLogger("benchmarks.silent")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False


class Bomb:
    """An application that crashes when it is told to."""

    def __init__(self) -> None:
        self.fuse = anyio.Event()
        self.crashed_at = self.noticed_at = 0.0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.fuse.wait()
        self.crashed_at = time.perf_counter()
        raise RuntimeError("a crash")

    async def body(self) -> None:
        """What is to be cancelled."""
        await anyio.lowlevel.checkpoint()
        self.fuse.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.noticed_at = time.perf_counter()


class StartedBomb(Bomb):
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await super().__call__(scope, receive, send)


async def by_async_with() -> float:
    bomb = StartedBomb()
    try:
        async with LifespanManager(bomb, logger=_silent):
            await bomb.body()
    except LifespanCrashed:
        return bomb.noticed_at - bomb.crashed_at
    raise AssertionError("no crash")


async def by_task_group() -> float:
    bomb = Bomb()
    try:
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(bomb, None, None, None)
            await bomb.body()
    except ExceptionGroup:
        return bomb.noticed_at - bomb.crashed_at
    raise AssertionError("no crash")


CONTESTANTS: dict[str, Callable[[], Awaitable[float]]] = {
    "async with": by_async_with,
    "a task group by hand": by_task_group,
}


async def measure(backend: str, *, quick: bool) -> dict[str, Values]:
    """Seconds from the crash to the cancellation."""
    values: Values = {name: [] for name in CONTESTANTS}
    for _ in range(3 if quick else 500):
        for name, contestant in CONTESTANTS.items():
            values[name].append(await contestant())
    return {"a crash": values}
