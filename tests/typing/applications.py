"""Type-checked, not run: every kind of application is accepted, with no cast and no ignore."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from traceback import StackSummary
from typing import Any

import anyio
import httpx
import uvicorn
from django.core.asgi import get_asgi_application
from fastapi import FastAPI
from litestar import Litestar
from quart import Quart
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from anylifespan import (
    LifespanCrashed,
    LifespanManager,
    Phase,
    ShutdownTimeout,
    StartupFailed,
    StartupTimeout,
)


async def plain(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None: ...


async def with_dicts(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None: ...


async def starlette_style(scope: Scope, receive: Receive, send: Send) -> None: ...


class Instance:
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class ASGI2:
    def __init__(self, scope: Scope) -> None: ...

    async def __call__(self, receive: Receive, send: Send) -> None: ...


LifespanManager(FastAPI())
LifespanManager(Starlette())
LifespanManager(Litestar())
LifespanManager(Quart(__name__))
LifespanManager(get_asgi_application())
LifespanManager(plain)
LifespanManager(with_dicts)
LifespanManager(starlette_style)
LifespanManager(Instance())
LifespanManager(Instance().__call__)
LifespanManager(ASGI2)


async def use_every_member() -> None:
    manager = LifespanManager(
        plain,
        mode="on",
        startup_timeout=5,
        shutdown_timeout=None,
        state={"key": object()},
        logger=logging.getLogger(__name__),
    )
    try:
        async with manager as entered:
            same: LifespanManager = entered
            print(same.state["key"])
    except StartupTimeout as exc:
        where: StackSummary = exc.where
        seconds: float = exc.timeout
        print(where, seconds, exc.message)
    except (StartupFailed, ShutdownTimeout) as exc:
        message: str = exc.message
        print(message)

    supported: bool | None = manager.supported
    phase: Phase = manager.phase
    took: tuple[float | None, float | None] = (manager.startup_seconds, manager.shutdown_seconds)
    state: dict[str, Any] = manager.state
    print(supported, phase, took, state)

    await manager.startup()
    await manager.shutdown()
    crash: LifespanCrashed = await manager.wait_crashed()
    print(crash)

    async with anyio.create_task_group() as task_group:
        await task_group.start(manager.serve)
        manager.request_shutdown()

    # What takes an application takes manager.app.
    httpx.AsyncClient(transport=httpx.ASGITransport(app=manager.app), base_url="http://test")
    uvicorn.Config(manager.app)
    LifespanManager(manager.app)
