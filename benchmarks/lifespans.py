"""One whole lifespan: startup, body, shutdown; by each way into it here, and by each peer.

Every peer is driven as its own server, or its own documentation, does it; what a server does
besides, such as to cancel what may be left in the end, is not counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anycorn.app_wrappers
import anycorn.config
import anycorn.lifespan
import anyio
import asgi_lifespan
import granian.asgi
import gunicorn.asgi.lifespan
import hypercorn.app_wrappers
import hypercorn.asyncio.lifespan
import hypercorn.config
import hypercorn.trio.lifespan
import trio
import uvicorn.lifespan.on
from interleaved import Contestants, Values, seconds_in_rounds

from anylifespan import LifespanManager

Body = Callable[[], Awaitable[None]]

_logger = logging.getLogger("benchmarks")
# Besides anylifespan, hypercorn, anycorn and asgi-lifespan have timeouts that can be set.
_hypercorn = hypercorn.config.Config()
_anycorn = anycorn.config.Config()


async def app(scope: Any, receive: Any, send: Any) -> None:
    """An application that has nothing to do."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})


async def by_async_with(body: Body) -> None:
    async with LifespanManager(app):
        await body()


async def by_startup_and_shutdown(body: Body) -> None:
    manager = LifespanManager(app)
    await manager.startup()
    await body()
    await manager.shutdown()


async def by_serve(body: Body) -> None:
    manager = LifespanManager(app)
    async with anyio.create_task_group() as task_group:
        await task_group.start(manager.serve)
        await body()
        manager.request_shutdown()


async def by_asgi_lifespan(body: Body) -> None:
    async with asgi_lifespan.LifespanManager(app):
        await body()


async def by_uvicorn(config: Any, body: Body) -> None:
    lifespan = uvicorn.lifespan.on.LifespanOn(config)
    await lifespan.startup()
    await body()
    await lifespan.shutdown()


async def by_gunicorn(body: Body) -> None:
    manager = gunicorn.asgi.lifespan.LifespanManager(app, _logger, {})
    await manager.startup()
    await body()
    await manager.shutdown()


async def by_granian(body: Body) -> None:
    lifespan: Any = granian.asgi.LifespanProtocol(app)  # type: ignore[no-untyped-call]
    await lifespan.startup()
    await body()
    await lifespan.shutdown()


async def by_hypercorn(wrapped: Any, body: Body) -> None:
    loop = asyncio.get_running_loop()
    lifespan = hypercorn.asyncio.lifespan.Lifespan(wrapped, _hypercorn, loop, {})
    task = loop.create_task(lifespan.handle_lifespan())
    await lifespan.wait_for_startup()
    await body()
    await lifespan.wait_for_shutdown()
    await task


async def by_hypercorn_on_trio(wrapped: Any, body: Body) -> None:
    lifespan = hypercorn.trio.lifespan.Lifespan(wrapped, _hypercorn, {})
    async with trio.open_nursery() as nursery:
        await nursery.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        await body()
        await lifespan.wait_for_shutdown()


async def by_anycorn(wrapped: Any, body: Body) -> None:
    lifespan = anycorn.lifespan.Lifespan(wrapped, _anycorn, {})
    async with anyio.create_task_group() as task_group:
        await task_group.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        await body()
        await lifespan.wait_for_shutdown()


async def bare(body: Body) -> None:
    """The application alone, called by nothing; the body does not belong to it."""
    await app({"type": "lifespan"}, _receive, _send)


async def _receive() -> dict[str, str]:
    return {"type": "lifespan.startup"}


async def _send(message: dict[str, str]) -> None:
    pass


def contestants(backend: str, body: Body) -> Contestants:
    drivers: dict[str, Callable[[Body], Awaitable[None]]] = {
        "async with": by_async_with,
        "startup() and shutdown()": by_startup_and_shutdown,
        "serve in a task group": by_serve,
        "asgi-lifespan": by_asgi_lifespan,
        "anycorn": partial(by_anycorn, anycorn.app_wrappers.ASGIWrapper(app)),
    }
    wrapped = hypercorn.app_wrappers.ASGIWrapper(app)
    if backend == "trio":
        drivers["hypercorn"] = partial(by_hypercorn_on_trio, wrapped)
    else:
        config = uvicorn.Config(app, lifespan="on", log_config=None)
        config.load()
        drivers["hypercorn"] = partial(by_hypercorn, wrapped)
        drivers["uvicorn"] = partial(by_uvicorn, config)
        drivers["gunicorn"] = by_gunicorn
        drivers["granian"] = by_granian
    drivers["the application alone"] = bare
    return {name: partial(driver, body) for name, driver in drivers.items()}


async def empty() -> None:
    """A body that does nothing: the application is shut down before it has begun to wait for it."""


async def ten_checkpoints() -> None:
    """A body that lets others run, as any does that uses the application."""
    for _ in range(10):
        await anyio.lowlevel.checkpoint()


BODIES: dict[str, Body] = {"an empty body": empty, "a body of ten checkpoints": ten_checkpoints}


async def measure(backend: str, *, quick: bool) -> dict[str, Values]:
    """Seconds for one lifespan, by body and driver."""
    rounds, calls = (3, 2) if quick else (150, 20)
    return {
        name: await seconds_in_rounds(contestants(backend, body), rounds=rounds, calls=calls)
        for name, body in BODIES.items()
    }
