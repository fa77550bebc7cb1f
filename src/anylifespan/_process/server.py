"""The server that runs in this process, if any, and how to stop it gracefully.

A server is stopped with the signal that it handles. Any other driver of an application (a test
client, a script) is never sent a signal, which could end a complete test run.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from types import FrameType

from anyio import sleep

from .._core.hosting import event_loop, on_trio

# Modules that drive an application in a process that is not a server's.
_NO_SERVERS = {
    "_pytest",
    "anylifespan.testing",
    "asgi_lifespan",
    "asgi_tools",
    "async_asgi_testclient",
    "starlette.testclient",
    "unittest",
}
# This library's driver. It may also drive an application under one of the servers below, in place
# of the server's own driver.
_OUR_DRIVER = "anylifespan._core.lifespan"
_SERVERS = {"anycorn", "daphne", "granian", "gunicorn", "hypercorn", "uvicorn"}
# Servers that handle only SIGINT, by KeyboardInterrupt, or that handle no signals in workers.
_SERVERS_WITHOUT_SIGTERM = {"anycorn", "hypercorn"}
# Servers that end with the signal that stopped them, or with status 0, even if the shutdown failed;
# and supervisors that run such a server in their workers, and ignore the workers' status.
_SERVERS_WITHOUT_FAILURES = {"daphne", "uvicorn"}
_SUPERVISORS = {"gunicorn"}
_WORKERS = {"anyio_worker", "asyncio_worker", "trio_worker", "uvloop_worker"}

# Seconds that the event loop has to end.
_PATIENCE = 1.0


@dataclass(frozen=True)
class Server:
    """The server that drives an application.

    :ivar stop: stops the server gracefully. Call it in an event loop callback. A KeyboardInterrupt
        is then raised where Ctrl-C would raise it, and not in the task that stops the server.
    :ivar is_stopping: returns whether this worker must stop; None if the server is stopped by
        signals
    :ivar hides_failures: whether the process ends in the same way after a failed shutdown as after
        a successful one
    """

    stop: Callable[[], None]
    is_stopping: Callable[[], bool] | None = None
    hides_failures: bool = False

    async def exit(self, raised: BaseException) -> None:
        """End the process with an exit status, now that the server has nothing left to do.

        A server that is stopped by a signal ends with status 0, or with that signal, which a
        supervisor takes for a normal exit. Call this in a task that is cancelled when the event
        loop ends.

        :param raised: a SystemExit or a KeyboardInterrupt
        """
        # In all other cases, the server derives its status from the failure that the lifespan
        # sends.
        if self.is_stopping is None and not on_trio():
            event_loop("a server").call_soon(partial(_raise, raised))
            await sleep(_PATIENCE)


def find_server() -> Server | None:
    """Return the server that is calling this code, or None if the caller is not a server."""
    callers = list(_callers())
    modules = {prefix for frame in callers for prefix in _prefixes(_module_of(frame))}
    if modules & _NO_SERVERS or (_OUR_DRIVER in modules and not modules & _SERVERS):
        return None
    numbers = [signal.SIGTERM]
    if modules & _SERVERS_WITHOUT_SIGTERM:
        server = _server_of_worker(callers)
        if server is not None:
            return server
        numbers.append(signal.SIGINT)
    hides_failures = bool(modules & _SERVERS_WITHOUT_FAILURES) and not modules & _SUPERVISORS
    for number in numbers:
        if callable(signal.getsignal(number)):
            stop = partial(_send_to_this_process, number)
            return Server(stop, hides_failures=hides_failures)
    return None


def _server_of_worker(callers: list[FrameType]) -> Server | None:
    """Return the server if this process is a Hypercorn or Anycorn worker, or None."""
    worker = next((frame for frame in callers if frame.f_code.co_name in _WORKERS), None)
    supervisor = None if worker is None else _supervisor()
    if worker is None or supervisor is None:
        return None
    # The workers poll an event that they share with their supervisor.
    event = worker.f_locals.get("shutdown_event")
    if event is None and callable(signal.getsignal(signal.SIGTERM)):
        return None
    return Server(partial(os.kill, supervisor, signal.SIGTERM), getattr(event, "is_set", None))


def signal_before() -> int | None:
    """Return the signal that stopped the server before its lifespan started, or None.

    Uvicorn already handles signals while it imports the application, which may take a long time.
    """
    for frame in _callers():
        if _module_of(frame) == "uvicorn.server":
            for number in getattr(frame.f_locals.get("self"), "_captured_signals", ()):
                return int(number)
    return None


def _raise(raised: BaseException) -> None:
    raise raised


def terminate() -> None:
    """Send this process the SIGTERM that its server handles."""
    _send_to_this_process(signal.SIGTERM)


def _send_to_this_process(number: signal.Signals) -> None:
    if sys.platform == "win32":
        signal.raise_signal(number)  # os.kill() would end the process at once
    else:
        # Python handles signals in the main thread, which may be waiting in C code for this thread.
        signal.pthread_kill(threading.main_thread().ident or 0, number)


def _callers() -> Iterator[FrameType]:
    """Yield the frames of the current stack, innermost first."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


def _module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))


def _prefixes(module: str) -> Iterator[str]:
    """Yield the name of a module, and of each package that contains it."""
    while module:
        yield module
        module = module.rpartition(".")[0]


def _supervisor() -> int | None:
    """Return the ID of the process that started this one with multiprocessing, or None."""
    import multiprocessing  # which is slow to import, and seldom needed

    process = multiprocessing.parent_process()
    return None if process is None else process.pid
