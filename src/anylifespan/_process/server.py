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
from dataclasses import dataclass
from functools import partial
from types import FrameType

from anyio import sleep

from .._core.hosting import event_loop, on_trio

# Who drives an application in the process of somebody else.
_NO_SERVERS = {
    "_pytest",
    "anylifespan.testing",
    "asgi_lifespan",
    "asgi_tools",
    "async_asgi_testclient",
    "starlette.testclient",
    "unittest",
}
# Under one of these it may drive an application, instead of the server's own driver.
_OUR_DRIVER = "anylifespan._core.lifespan"
_SERVERS = {"anycorn", "daphne", "granian", "gunicorn", "hypercorn", "uvicorn"}
# Servers that handle SIGINT alone, by KeyboardInterrupt, or no signals in their workers.
_SERVERS_WITHOUT_SIGTERM = {"anycorn", "hypercorn"}
# Servers that end by the signal which stopped them, or with status 0, whatever the shutdown has
# come to; and those that run one of them in their workers, whose status nobody looks at.
_SERVERS_WITHOUT_FAILURES = {"daphne", "uvicorn"}
_SUPERVISORS = {"gunicorn"}
_WORKERS = {"anyio_worker", "asyncio_worker", "trio_worker", "uvloop_worker"}

# Seconds that an event loop has to end.
_PATIENCE = 1.0


@dataclass(frozen=True)
class Server:
    """The server that drives an application.

    :ivar stop: has it stop gracefully. To be called by the event loop: a KeyboardInterrupt then
        comes to where one of Ctrl-C would, and not to the task that wants the server stopped.
    :ivar is_stopping: whether this worker is to stop, where its supervisor does not send it a
        signal; None where signals come
    :ivar hides_failures: whether its process ends after a failed shutdown as after any other
    """

    stop: Callable[[], None]
    is_stopping: Callable[[], bool] | None = None
    hides_failures: bool = False

    async def exit(self, raised: BaseException) -> None:
        """Have the process end with a status, now that the server has nothing left to do.

        One that is ended by a signal ends with status 0, or by that signal, which a supervisor
        takes for a proper end. To be called in a task that the end of the event loop cancels.

        :param raised: a SystemExit, or a KeyboardInterrupt
        """
        # Elsewhere the status is made from the failure that the lifespan answers with.
        if self.is_stopping is None and not on_trio():
            event_loop("a server").call_soon(partial(_raise, raised))
            await sleep(_PATIENCE)


def find_server() -> Server | None:
    """The server that has called; None if whoever has called is none."""
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
    """The server, if this is one of its workers, which it stops by an event and not by signals."""
    worker = next((frame for frame in callers if frame.f_code.co_name in _WORKERS), None)
    supervisor = None if worker is None else _supervisor()
    if worker is None or supervisor is None:
        return None
    # The workers look again and again at an event that they share with their supervisor.
    event = worker.f_locals.get("shutdown_event")
    if event is None and callable(signal.getsignal(signal.SIGTERM)):
        return None
    return Server(partial(os.kill, supervisor, signal.SIGTERM), getattr(event, "is_set", None))


def signal_before() -> int | None:
    """The signal that has stopped the server before its lifespan began, if one has.

    Uvicorn imports the application, which may take long, when it already handles signals.
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
        # Python handles signals in the main thread, which may be waiting in C for this very one.
        signal.pthread_kill(threading.main_thread().ident or 0, number)


def _callers() -> Iterator[FrameType]:
    """The frames that lead here."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


def _module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))


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
