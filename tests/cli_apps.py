"""Applications for the command to be tried on."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import asynccontextmanager
from typing import Any

import anyio
from apps import LooksAtThePath, app, hangs, raises, receives, sends, sleeps, started, well_behaved
from starlette.applications import Starlette

well = well_behaved


async def with_state(scope: Any, receive: Any, send: Any) -> None:
    scope["state"].update(database="db", cache="cache")
    await well_behaved(scope, receive, send)


async def without(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"


raises_in_startup = app(receives, raises(ValueError("no database")))
fails_in_startup = app(receives, sends("lifespan.startup.failed", "no database"))
hangs_in_startup = app(receives, hangs)
raises_in_shutdown = app(receives, started, receives, raises(ValueError("no goodbye")))
hangs_in_shutdown = app(receives, started, receives, hangs)
crashes = app(receives, started, sleeps(0.05), raises(ValueError("died")))
crashes_at_once = app(receives, started, raises(ValueError("died")))
exits = app(receives, raises(SystemExit(3)))


async def says_goodbye(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    print("hello", flush=True)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print("goodbye", flush=True)
    await send({"type": "lifespan.shutdown.complete"})


async def blocks_in_startup(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    time.sleep(60)  # noqa: ASYNC251 - that is what it is for


async def blocks_in_shutdown(scope: Any, receive: Any, send: Any) -> None:
    await app(receives, started, receives)(scope, receive, send)
    time.sleep(60)  # noqa: ASYNC251


async def blocks_while_serving(scope: Any, receive: Any, send: Any) -> None:
    await app(receives, started, sleeps(0.05))(scope, receive, send)
    os.write(2, b"BLOCKED\n")
    # One long sleep might begin just after a signal came, and would keep Python from handling it.
    for _ in range(1200):
        time.sleep(0.05)  # noqa: ASYNC251


async def deaf_in_startup(scope: Any, receive: Any, send: Any) -> None:
    with anyio.CancelScope(shield=True):
        await anyio.sleep(60)


@asynccontextmanager
async def failing_lifespan(_: Any) -> Any:
    raise ValueError("no database")
    yield


@asynccontextmanager
async def hanging_lifespan(_: Any) -> Any:
    await anyio.sleep_forever()
    yield


starlette_fails = Starlette(lifespan=failing_lifespan)
starlette_hangs = Starlette(lifespan=hanging_lifespan)


class Namespace:
    inner = well_behaved


def factory() -> Any:
    return well_behaved


def factory_with_an_event_loop() -> Any:
    async def settings() -> Any:
        return well_behaved

    return asyncio.run(settings())


def failing_factory() -> Any:
    raise ValueError("no settings")


number = 42


async def tells_its_loop(scope: Any, receive: Any, send: Any) -> None:
    print(type(asyncio.get_running_loop()).__module__, flush=True)
    await well_behaved(scope, receive, send)


raises_at_length = app(receives, raises(ValueError("no database " * 20)))


swallowed = LooksAtThePath(Starlette(lifespan=hanging_lifespan))


async def with_a_large_state(scope: Any, receive: Any, send: Any) -> None:
    scope["state"].update({f"a_rather_long_key_{number:02}": number for number in range(30)})
    await well_behaved(scope, receive, send)
