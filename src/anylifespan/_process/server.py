"""The server of which this process is a worker, if it is one, and how to stop it gracefully.

A server is sent the signal by which it stops. Anything else that drives an application (a test
client, a script) is never sent one: it would end the whole of a test run.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial

# Who drives an application in the process of somebody else.
_NO_SERVERS = {
    "_pytest",
    "anylifespan._core.lifespan",
    "asgi_lifespan",
    "asgi_tools",
    "async_asgi_testclient",
    "starlette.testclient",
    "unittest",
}
# Servers that handle SIGINT alone, by KeyboardInterrupt, or no signals in their workers.
_SERVERS_WITHOUT_SIGTERM = {"anycorn", "hypercorn"}
_WORKERS = {"anyio_worker", "asyncio_worker", "trio_worker", "uvloop_worker"}


def find_server() -> Callable[[], None] | None:
    """How to stop the server that has called: a function that sends it its signal.

    To be called by the event loop: a KeyboardInterrupt then comes to where one of Ctrl-C would, and
    not to the task that wants the server stopped.

    :return: None if whoever has called is no server
    """
    callers = list(_callers())
    modules = {prefix for module, _ in callers for prefix in _prefixes(module)}
    if modules & _NO_SERVERS:
        return None
    if callable(signal.getsignal(signal.SIGTERM)):
        return partial(_send_to_this_process, signal.SIGTERM)
    if modules & _SERVERS_WITHOUT_SIGTERM:
        supervisor = _supervisor() if _WORKERS & {function for _, function in callers} else None
        if supervisor is not None:
            return partial(os.kill, supervisor, signal.SIGTERM)
        if callable(signal.getsignal(signal.SIGINT)):
            return partial(_send_to_this_process, signal.SIGINT)
    return None


def terminate() -> None:
    """Send this process the SIGTERM that its server handles."""
    _send_to_this_process(signal.SIGTERM)


def _send_to_this_process(number: signal.Signals) -> None:
    if sys.platform == "win32":
        signal.raise_signal(number)  # os.kill() would end the process at once
    else:
        # Python handles signals in the main thread, which may be waiting in C for this very one.
        signal.pthread_kill(threading.main_thread().ident or 0, number)


def _callers() -> Iterator[tuple[str, str]]:
    """The module and the function of each frame that leads here, but for those of this library."""
    frame = sys._getframe()
    ours = __name__.partition(".")[0]
    while frame is not None and str(frame.f_globals.get("__name__")).startswith(f"{ours}."):
        frame = frame.f_back  # type: ignore[assignment]
    while frame is not None:
        yield str(frame.f_globals.get("__name__")), frame.f_code.co_name
        frame = frame.f_back  # type: ignore[assignment]


def _prefixes(module: str) -> Iterator[str]:
    """A module, and the packages that it is in."""
    while module:
        yield module
        module = module.rpartition(".")[0]


def _supervisor() -> int | None:
    """The process that has started this one, as multiprocessing does."""
    import multiprocessing  # which is slow to import, and seldom needed

    process = multiprocessing.parent_process()
    return None if process is None else process.pid
