"""Drivers as the kit takes them: those of this library, and those of others as they are released.

What a server does with its own class, its adapter does, too: whether it stops, and what it passes
to requests.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.to_thread
from tiny_server import the_only_one

from anylifespan import LifespanManager, LifespanMiddleware
from anylifespan.compat.asgi_lifespan import LifespanManager as CompatibleManager

LIMITS = {"startup_timeout": 3, "shutdown_timeout": 3}

OURS: dict[str, Callable[[Any], Any]] = {}
# Those of others, with the backends that they run on.
OTHERS: dict[str, tuple[Callable[[Any], Any], tuple[str, ...]]] = {}


def ours(function: Callable[[Any], AsyncIterator[Any]]) -> Callable[[Any], Any]:
    driver = asynccontextmanager(function)
    OURS[function.__name__] = driver
    return driver


def other(
    title: str, *backends: str
) -> Callable[[Callable[[Any], AsyncIterator[Any]]], Callable[[Any], Any]]:
    def register(function: Callable[[Any], AsyncIterator[Any]]) -> Callable[[Any], Any]:
        driver = asynccontextmanager(function)
        OTHERS[title] = (driver, backends or ("asyncio",))
        return driver

    return register


# Ours


@ours
async def async_with(app: Any) -> AsyncIterator[Any]:
    async with LifespanManager(app, **LIMITS) as manager:
        yield manager


@ours
async def serve(app: Any) -> AsyncIterator[Any]:
    manager = LifespanManager(app, **LIMITS)
    error: BaseException | None = None
    try:
        async with anyio.create_task_group() as task_group:
            await task_group.start(manager.serve)
            try:
                yield manager
            except Exception as exc:
                error = exc
            manager.request_shutdown()
    except BaseException as exc:
        raise the_only_one(exc) from None
    if error is not None:
        raise error


@ours
async def startup_and_shutdown(app: Any) -> AsyncIterator[Any]:
    manager = LifespanManager(app, **LIMITS)
    await manager.startup()
    try:
        async with AsyncExitStack() as stack:
            task_group = await stack.enter_async_context(anyio.create_task_group())
            task_group.start_soon(_cancel_at_crash, manager, task_group.cancel_scope)
            yield manager
            task_group.cancel_scope.cancel()
    except BaseException as exc:
        raise the_only_one(exc) from None
    finally:
        await manager.shutdown()


async def _cancel_at_crash(manager: LifespanManager, scope: anyio.CancelScope) -> None:
    await manager.wait_crashed()
    scope.cancel()


@ours
async def middleware(app: Any) -> AsyncIterator[Any]:
    """Driven in its turn, as by a server."""
    wrapped = LifespanMiddleware(app, **LIMITS)
    async with LifespanManager(wrapped, **LIMITS) as manager:
        yield manager


@asynccontextmanager
async def compatible(app: Any) -> AsyncIterator[Any]:
    """It raises for applications without a lifespan, as asgi-lifespan does."""
    async with CompatibleManager(app, **LIMITS) as manager:
        yield SimpleNamespace(app=manager.app, state={})


# Those of others


@other("asgi-lifespan", "asyncio", "trio")
async def asgi_lifespan(app: Any) -> AsyncIterator[Any]:
    from asgi_lifespan import LifespanManager as TheirManager

    async with TheirManager(app) as manager:
        yield SimpleNamespace(app=manager.app, state=manager._state)


@other("Starlette's TestClient")
async def starlette_testclient(app: Any) -> AsyncIterator[Any]:
    from starlette.testclient import TestClient

    client = TestClient(app)

    async def call(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await anyio.to_thread.run_sync(_websocket, client, scope["path"])
        else:
            response = await anyio.to_thread.run_sync(client.get, scope["path"])
            await send({"type": "http.response.start", "status": response.status_code})

    await anyio.to_thread.run_sync(client.__enter__)
    try:
        yield SimpleNamespace(app=call, state=client.app_state)
    except BaseException:
        await anyio.to_thread.run_sync(client.__exit__, *sys.exc_info())
        raise
    await anyio.to_thread.run_sync(client.__exit__, None, None, None)


def _websocket(client: Any, path: str) -> None:
    with client.websocket_connect(path) as websocket:
        websocket.receive_text()


@other("async-asgi-testclient")
async def async_asgi_testclient(app: Any) -> AsyncIterator[Any]:
    from async_asgi_testclient import TestClient

    async with TestClient(app) as client:
        yield SimpleNamespace(app=client.application, state={})


@other("asgi-tools")
async def asgi_tools(app: Any) -> AsyncIterator[Any]:
    from asgi_tools.tests import manage_lifespan

    async with manage_lifespan(app):
        yield SimpleNamespace(app=app, state={})


@other("uvicorn's LifespanOn")
async def uvicorn(app: Any) -> AsyncIterator[Any]:
    from uvicorn import Config
    from uvicorn.lifespan.on import LifespanOn

    lifespan = LifespanOn(Config(app, lifespan="auto", log_config=None))
    await lifespan.startup()
    if lifespan.should_exit:
        raise RuntimeError("the server exits")
    try:
        yield SimpleNamespace(app=_with_copies(app, lifespan.state), state=lifespan.state)
    finally:
        await lifespan.shutdown()
    if lifespan.should_exit:
        raise RuntimeError("the server has failed")


@other("granian's LifespanProtocol")
async def granian(app: Any) -> AsyncIterator[Any]:
    from granian.asgi import LifespanProtocol

    lifespan = LifespanProtocol(app)
    await lifespan.startup()
    if lifespan.interrupt:
        raise RuntimeError("the worker exits") from lifespan.exc
    try:
        yield SimpleNamespace(app=_with_copies(app, lifespan.state), state=lifespan.state)
    finally:
        await lifespan.shutdown()
    if lifespan.interrupt:
        raise RuntimeError("the worker has failed") from lifespan.exc


@other("gunicorn's LifespanManager")
async def gunicorn(app: Any) -> AsyncIterator[Any]:
    from gunicorn.asgi.lifespan import LifespanManager as TheirManager
    from gunicorn.asgi.lifespan import LifespanStartupFailed

    lifespan = TheirManager(app, logging.getLogger("gunicorn.error"))
    try:
        await lifespan.startup()
    except LifespanStartupFailed:
        raise
    except RuntimeError as exc:  # "auto": the worker goes on
        logging.getLogger("gunicorn.error").warning("%s", exc)
    try:
        yield SimpleNamespace(app=_with_copies(app, lifespan.state), state=lifespan.state)
    finally:
        await lifespan.shutdown()


@other("hypercorn's Lifespan, asyncio")
async def hypercorn(app: Any) -> AsyncIterator[Any]:
    from hypercorn.asyncio.lifespan import Lifespan
    from hypercorn.config import Config
    from hypercorn.utils import wrap_app

    state: dict[str, Any] = {}
    config = Config()
    config.errorlog = logging.getLogger("hypercorn.error")
    loop = asyncio.get_running_loop()
    lifespan = Lifespan(wrap_app(app, 1000, "asgi"), config, loop, state)
    task = loop.create_task(lifespan.handle_lifespan())
    await lifespan.wait_for_startup()
    if task.done() and task.exception() is not None:
        raise task.exception()  # type: ignore[misc]
    try:
        yield SimpleNamespace(app=_with_copies(app, state), state=state)
    finally:
        await lifespan.wait_for_shutdown()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@other("hypercorn's Lifespan, trio", "trio")
async def hypercorn_trio(app: Any) -> AsyncIterator[Any]:
    from hypercorn.config import Config
    from hypercorn.trio.lifespan import Lifespan
    from hypercorn.utils import wrap_app

    state: dict[str, Any] = {}
    config = Config()
    config.errorlog = logging.getLogger("hypercorn.error")
    lifespan = Lifespan(wrap_app(app, 1000, "asgi"), config, state)
    async for running in _corn(lifespan, app, state):
        yield running


@other("anycorn's Lifespan", "asyncio", "trio")
async def anycorn(app: Any) -> AsyncIterator[Any]:
    from anycorn.config import Config
    from anycorn.lifespan import Lifespan
    from anycorn.utils import wrap_app

    state: dict[str, Any] = {}
    config = Config()
    config.errorlog = logging.getLogger("anycorn.error")
    lifespan = Lifespan(wrap_app(app, 1000, "asgi"), config, state)
    async with config.log:
        async for running in _corn(lifespan, app, state):
            yield running


async def _corn(lifespan: Any, app: Any, state: dict[str, Any]) -> AsyncIterator[Any]:
    async with anyio.create_task_group() as task_group:
        await task_group.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        await anyio.wait_all_tasks_blocked()  # a failure cancels the server before it serves
        try:
            yield SimpleNamespace(app=_with_copies(app, state), state=state)
        finally:
            await lifespan.wait_for_shutdown()
            task_group.cancel_scope.cancel()


@other("Ray Serve's ASGIAppReplicaWrapper")
async def ray_serve(app: Any) -> AsyncIterator[Any]:
    from ray.serve._private.http_util import ASGIAppReplicaWrapper

    replica = ASGIAppReplicaWrapper(lambda: app)
    await replica._run_asgi_lifespan_startup()
    try:
        yield SimpleNamespace(app=replica, state=replica._serve_asgi_lifespan.state)
    finally:
        await replica.__del__()


@other("Mangum's LifespanCycle")
async def mangum(app: Any) -> AsyncIterator[Any]:
    """As its handler does, but in a loop that runs; its ``with`` block would run that itself."""
    from mangum.protocols.lifespan import LifespanCycle

    cycle = LifespanCycle(app, "auto")
    cycle.loop = asyncio.get_running_loop()
    task = cycle.loop.create_task(cycle.run())
    await cycle.startup()
    try:
        yield SimpleNamespace(app=_with_copies(app, cycle.lifespan_state), state={})
    finally:
        await cycle.shutdown()
        await task


def _with_copies(app: Any, state: dict[str, Any]) -> Any:
    async def call(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": state.copy()}, receive, send)

    return call
