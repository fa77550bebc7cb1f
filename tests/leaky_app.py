"""An application that leaves things behind: ``kept`` has what ends them."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from typing import Any

import anyio

leaves: set[str] = {"task", "thread", "socket"}
kept: list[Any] = []
until = threading.Event()


def linger() -> None:
    until.wait()


async def poll() -> None:
    await anyio.sleep_forever()  # the task is here


async def end_soon() -> None:
    for _ in range(5):
        await anyio.lowlevel.checkpoint()


async def numbers() -> AsyncIterator[int]:
    yield 1  # the generator is here


def spawn(function: Any) -> Any:
    if anyio.get_cancelled_exc_class().__module__.startswith("asyncio"):
        return asyncio.create_task(function())
    import trio

    return trio.lowlevel.spawn_system_task(function)


async def app(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    if "task" in leaves:
        kept.append(spawn(poll))
    if "timer" in leaves:
        kept.append(spawn(anyio.sleep_forever))
    if "thread" in leaves:
        thread = threading.Thread(target=linger, name="lingering", daemon=True)
        thread.start()  # the thread is here
    if "socket" in leaves:
        kept.append(socket.socket())  # the socket is made here
    if "file" in leaves:
        kept.append(open(__file__))  # noqa: ASYNC230, SIM115 - the file is opened here
    if "async generator" in leaves:
        kept.append(numbers())
        await anext(kept[-1])
    if "ended" in leaves:
        socket.socket().close()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    if "ended" in leaves:  # what ends by itself, a moment later
        kept.append(spawn(end_soon))
    await send({"type": "lifespan.shutdown.complete"})
