"""Applications for the command to be tried on."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import multiprocessing
import os
import signal
import socket
import subprocess
import threading
import time
import warnings
from contextlib import asynccontextmanager
from typing import Any

import anyio
import trio
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


# What is judged by a process of its own


async def asyncio_only(scope: Any, receive: Any, send: Any) -> None:
    asyncio.get_running_loop()
    await well_behaved(scope, receive, send)


async def asyncio_only_and_says_so(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    asyncio.get_running_loop()  # the line that needs asyncio
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def fails_on_trio_and_leaves_a_socket(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    try:
        asyncio.get_running_loop()
    finally:
        if _on_trio():
            _sockets.append(socket.socket())
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def _on_trio() -> bool:
    return "trio" in anyio.get_cancelled_exc_class().__module__


async def trio_only(scope: Any, receive: Any, send: Any) -> None:
    trio.lowlevel.current_task()
    await well_behaved(scope, receive, send)


async def ends_the_process(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    os._exit(0)  # the process ends here


async def ends_the_process_in_shutdown(scope: Any, receive: Any, send: Any) -> None:
    await app(receives, started, receives)(scope, receive, send)
    os.kill(os.getpid(), signal.SIGKILL)


async def blocks_the_whole_process(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    ctypes.PyDLL(None).sleep(60)  # it holds the global interpreter lock


async def holds_up_the_end(scope: Any, receive: Any, send: Any) -> None:
    threading.Thread(target=time.sleep, args=(60,)).start()
    await well_behaved(scope, receive, send)


_starts: list[int] = []


async def starts_only_once(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    if _starts:
        raise RuntimeError("it can be started only once")
    _starts.append(1)
    _sockets.append(socket.socket())
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def fails_the_second_time(scope: Any, receive: Any, send: Any) -> None:
    """In whichever process: a directory says so."""
    try:
        os.mkdir(os.environ["DIRECTORY"])
    except FileExistsError:
        raise RuntimeError("not again") from None
    await well_behaved(scope, receive, send)


_sockets: list[socket.socket] = []


async def grows(scope: Any, receive: Any, send: Any) -> None:
    if not _sockets:
        _sockets.append(socket.socket())  # the one socket
    _sockets.append(socket.socket())  # the socket of each
    await well_behaved(scope, receive, send)


async def logs_errors(scope: Any, receive: Any, send: Any) -> None:
    logger = logging.getLogger("shop")
    logger.propagate = False
    logger.warning("no more books")
    try:
        raise ConnectionError("refused")  # noqa: TRY301
    except ConnectionError:
        logger.exception("no database")
    for number in range(4):
        logger.error("no database %s", number)
    await well_behaved(scope, receive, send)


slow = app(receives, sleeps(0.2), started, receives, sends("lifespan.shutdown.complete"))


async def cleans_up(scope: Any, receive: Any, send: Any) -> None:
    print("hello", flush=True)
    try:
        await anyio.sleep_forever()
    finally:
        print("goodbye", flush=True)


async def warns(scope: Any, receive: Any, send: Any) -> None:
    warnings.warn("old", UserWarning, stacklevel=1)
    await well_behaved(scope, receive, send)


async def forks(scope: Any, receive: Any, send: Any) -> None:
    """Workers that end by ``os._exit()``, some of them after it."""
    context = multiprocessing.get_context("fork")
    for seconds in (0, 0, 0, 0.5):
        context.Process(target=time.sleep, args=(seconds,)).start()
    await well_behaved(scope, receive, send)


async def leaves_a_process(scope: Any, receive: Any, send: Any) -> None:
    subprocess.Popen(["sleep", "60"])  # noqa: ASYNC220
    await well_behaved(scope, receive, send)


async def logs_badly(scope: Any, receive: Any, send: Any) -> None:
    logging.getLogger("shop").error("%d books", "many")
    await well_behaved(scope, receive, send)


async def ends_by_a_signal_without_a_name(scope: Any, receive: Any, send: Any) -> None:
    os.kill(os.getpid(), signal.SIGRTMIN + 6)


async def fails_the_third_time(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    _starts.append(1)
    if len(_starts) == 3:
        raise RuntimeError("port in use")
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def is_slow_on_asyncio(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    if not _on_trio():
        await asyncio.sleep(0.3)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def prints_snow(scope: Any, receive: Any, send: Any) -> None:
    for _ in range(2):
        print("\N{SNOWMAN}", flush=True)
    await well_behaved(scope, receive, send)


slow_to_stop = app(receives, started, receives, sleeps(0.6), sends("lifespan.shutdown.complete"))


async def tells_its_process(scope: Any, receive: Any, send: Any) -> None:
    print(os.getpid(), flush=True)
    await anyio.sleep_forever()
