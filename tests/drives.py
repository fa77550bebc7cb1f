"""The three ways into a lifespan, as one shape: ``await drive(manager, body)``."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable

from anyio import create_task_group

from anylifespan import LifespanManager

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

Body = Callable[[], Awaitable[object]]
Drive = Callable[..., Awaitable[None]]


async def _nothing() -> None:
    pass


async def drive_async_with(manager: LifespanManager, body: Body = _nothing) -> None:
    async with manager:
        await body()


async def drive_serve(manager: LifespanManager, body: Body = _nothing) -> None:
    try:
        async with create_task_group() as task_group:
            await task_group.start(manager.serve)
            await body()
            manager.request_shutdown()
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        raise group.exceptions[0] from group.exceptions[0].__cause__


async def drive_startup(manager: LifespanManager, body: Body = _nothing) -> None:
    await manager.startup()
    try:
        await body()
    finally:
        await manager.shutdown()


DRIVES: dict[str, Drive] = {
    "async with": drive_async_with,
    "serve": drive_serve,
    "startup": drive_startup,
}
