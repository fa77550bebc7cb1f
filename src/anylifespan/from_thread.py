"""Run an application's lifespan for synchronous code, in an event loop in another thread."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from inspect import isawaitable
from traceback import StackSummary
from typing import Any, TypeVar, overload

from anyio import CancelScope
from anyio.from_thread import BlockingPortal

from ._core.application import ASGI3App, ASGIApp
from ._core.log import DEFAULT, Log
from ._core.manager import LifespanManager
from ._core.outcome import blocked
from ._core.protocol import Phase
from ._core.ranks import settle
from ._portal import BlockedError, Call, PortalThread
from .errors import LifespanError, ShutdownTimeout, StartupTimeout

T = TypeVar("T")
Step = Callable[[], Coroutine[Any, Any, None]]


class BlockingLifespan:
    """An application that runs in another thread.

    :ivar manager: the application's :class:`~anylifespan.LifespanManager`. Use the manager only in
        the application's thread.
    """

    _thread: PortalThread

    def __init__(self, manager: LifespanManager) -> None:
        self.manager = manager
        self._calls: set[CancelScope] = set()
        manager._crash_listeners.append(self._on_crash)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.manager!r}>"

    @property
    def portal(self) -> BlockingPortal:
        """anyio's portal into the event loop. Prefer :meth:`call`, which detects crashes.

        At the end of the block, this library waits for the tasks that you have started with the
        portal.
        """
        return self._thread.portal

    @property
    def app(self) -> ASGI3App:
        """The application for requests. Call it only in the application's event loop."""
        return self.manager.app

    @property
    def state(self) -> dict[str, Any]:
        """The lifespan's state. Its contents belong to the application's thread."""
        return self.manager.state

    @overload
    def call(self, function: Callable[..., Awaitable[T]], *args: Any) -> T: ...

    @overload
    def call(self, function: Callable[..., T], *args: Any) -> T: ...

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function in the application's event loop, and wait for its result.

        The call is cancelled if the lifespan crashes, or if Ctrl-C interrupts the wait.

        :param function: a synchronous or asynchronous function
        :return: the function's result
        :raises LifespanCrashed: if the lifespan has crashed, or crashes during the call
        :raises BaseException: whatever the function raises, including SystemExit
        """
        return self._run(self._while_alive, function, *args)

    def _run(
        self,
        function: Callable[..., Awaitable[T]],
        *args: Any,
        limit: float = math.inf,
    ) -> T:
        """Run an asynchronous function in the event loop, and wait for its result.

        Unlike with ``portal.call()``, a SystemExit or KeyboardInterrupt that the function raises
        ends only the call, and Ctrl-C cancels the call.

        :param limit: seconds after which to check whether the event loop is blocked
        :raises BlockedError: if the event loop is blocked
        """
        call = Call(function, *args)
        try:
            self._thread.start(call)
            result, error = self._thread.wait(call, limit)
        except KeyboardInterrupt:
            self._thread.call_soon(call.cancel)
            raise
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    async def _while_alive(self, function: Callable[..., Any], *args: Any) -> Any:
        if self.manager.crash is None:
            with CancelScope() as scope:
                self._calls.add(scope)
                try:
                    result = function(*args)
                    return await result if isawaitable(result) else result
                finally:
                    self._calls.discard(scope)
        raise self.manager._crash_as_answer()  # type: ignore[misc]

    def _on_crash(self) -> None:
        for scope in self._calls:
            scope.cancel()


@contextmanager
def start_blocking_lifespan(
    app: ASGIApp,
    backend: str = "asyncio",
    backend_options: dict[str, Any] | None = None,
    **options: Any,
) -> Iterator[BlockingLifespan]:
    """Run an application in a background thread::

        with start_blocking_lifespan(app) as lifespan:
            lifespan.call(send_invoices, lifespan.state["database"])

    The application runs in an event loop in its own thread, and is shut down at the end of the
    block. If the block raises an exception, that exception propagates after the shutdown. The
    application's errors are then logged, and added to the exception as notes.

    Each Ctrl-C goes one step further. During the block, the first one starts the shutdown, the
    second one cancels the application, the third one logs a warning, and the fourth one abandons
    the thread. During startup, the first one cancels the application.

    :param app: an ASGI application
    :param backend: ``"asyncio"`` or ``"trio"``
    :param backend_options: options for the backend, as for :func:`anyio.run`
    :param options: options for :class:`~anylifespan.LifespanManager`
    :raises LifespanError: on entry, if the startup fails; at the end, if the lifespan has crashed
        or the shutdown fails. If the application blocks its event loop for more than five seconds
        beyond a timeout, its thread is abandoned and StartupTimeout or ShutdownTimeout is raised.
    :raises TypeError: if ``app`` cannot be an ASGI application, or an option has the wrong type
    :raises ValueError: if an option has an invalid value
    """
    manager = LifespanManager(app, **options)
    lifespan = BlockingLifespan(manager)
    log = Log(options.get("logger") or DEFAULT)
    with up_in_thread(lifespan, manager.startup, manager.shutdown, backend, backend_options, log):
        yield lifespan


@contextmanager
def up_in_thread(
    lifespan: BlockingLifespan,
    startup: Step,
    shutdown: Step,
    backend: str,
    backend_options: dict[str, Any] | None,
    log: Log,
    *,
    cancel: Callable[[], object] | None = None,
    drain: float = 0,
) -> Iterator[None]:
    """Run an application in a thread, with the given startup and shutdown.

    :param startup, shutdown: asynchronous functions that use the application's manager
    :param cancel: called in the event loop to cancel the startup or the shutdown; by default, the
        manager is cancelled
    :param drain: how many seconds the shutdown may take in addition to the manager's timeout
    """
    manager = lifespan.manager
    cancel = cancel or partial(cancel_unless_up, manager)
    thread = lifespan._thread = PortalThread(backend, backend_options)
    with thread.running():
        body: BaseException | None = None
        problems: list[BaseException] = []
        try:
            limit = manager._startup_timeout
            late = partial(blocked, StartupTimeout, "startup", limit)
            problems += _wait(thread, startup, cancel, late, log, limit=limit, patience=1)
            if not problems:
                yield
        except BaseException as exc:  # noqa: BLE001 - it is raised when the application is down
            body = exc
        if manager.phase not in (Phase.IDLE, Phase.STARTING):
            interrupted = any(isinstance(one, KeyboardInterrupt) for one in [body, *problems])
            patience = 1 if interrupted else 2
            limit = manager._shutdown_timeout
            late = partial(blocked, ShutdownTimeout, "shutdown", limit)
            limit += drain
            problems += _wait(thread, shutdown, cancel, late, log, limit=limit, patience=patience)
        problem = settle(manager._without_crash_of(body, problems), log, body=body)
        if problem is not None:
            raise problem


def _wait(
    thread: PortalThread,
    step: Step,
    cancel: Callable[[], object],
    late: Callable[[StackSummary], LifespanError],
    log: Log,
    *,
    limit: float,
    patience: int,
) -> list[BaseException]:
    """Run the startup or the shutdown in the other thread, and wait until it has finished.

    :param cancel: called in the event loop to cancel the startup or the shutdown
    :param late: creates the error for a blocked event loop from its thread's stack
    :param limit: seconds after which to check whether the event loop is blocked
    :param patience: how many times Ctrl-C must be pressed to cancel the application
    :return: the exceptions that were raised
    """
    call = Call(step)
    problems: list[BaseException] = []
    while True:
        # Ctrl-C can interrupt any of these lines, so each of them may run again.
        try:
            if len(problems) > patience:
                log.warning(
                    "The application still runs in its thread, although it was cancelled. Press "
                    "Ctrl-C again to end the process without waiting for the thread."
                )
                return problems
            if len(problems) == patience:
                thread.call_soon(cancel)
            thread.start(call)
            _, error = thread.wait(call, limit)
        except KeyboardInterrupt as exc:  # noqa: PERF203
            problems.append(exc)
        except BlockedError as exc:
            return [*problems, late(exc.where)]
        else:
            return problems if error is None else [*problems, error]


def cancel_unless_up(manager: LifespanManager) -> None:
    """Cancel a startup or a shutdown, unless the application is serving by now."""
    if manager.phase is not Phase.SERVING:  # if it is up by now, it is shut down instead
        manager.cancel()
