"""The lifespan of an application for synchronous code, in an event loop in another thread."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from inspect import isawaitable
from typing import Any, TypeVar, overload

from anyio import CancelScope
from anyio.from_thread import BlockingPortal, start_blocking_portal

from ._core.application import ASGI3App, ASGIApp
from ._core.exceptions import is_cancellation
from ._core.log import DEFAULT, Log
from ._core.manager import LifespanManager
from ._core.protocol import Phase
from ._core.ranks import settle

T = TypeVar("T")
Step = Callable[[], Coroutine[Any, Any, None]]


class BlockingLifespan:
    """An application that is up in another thread.

    :ivar manager: its :class:`~anylifespan.LifespanManager`, to be used in that thread alone
    :ivar portal: anyio's way into its event loop; :meth:`call` also knows whether the application
        is alive
    """

    portal: BlockingPortal

    def __init__(self, manager: LifespanManager) -> None:
        self.manager = manager
        self._calls: set[CancelScope] = set()
        manager._crash_listeners.append(self._on_crash)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.manager!r}>"

    @property
    def app(self) -> ASGI3App:
        """The application as requests call it, in the event loop of the portal."""
        return self.manager.app

    @property
    def state(self) -> dict[str, Any]:
        """The state of the lifespan. What is in it belongs to the event loop of the portal."""
        return self.manager.state

    @overload
    def call(self, function: Callable[..., Awaitable[T]], *args: Any) -> T: ...

    @overload
    def call(self, function: Callable[..., T], *args: Any) -> T: ...

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function in the event loop of the application, and wait for it.

        It is cancelled if the application dies, and if Ctrl-C interrupts the waiting.

        :param function: asynchronous or not
        :return: what it returns
        :raises LifespanCrashed: if the application dies meanwhile, or has died
        :raises BaseException: what it raises, SystemExit too
        """
        return run_in(self.portal, self._while_alive, function, *args)

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
    """Run an application in a background thread while a block of synchronous code runs::

        with start_blocking_lifespan(app) as lifespan:
            lifespan.call(send_invoices, lifespan.state["database"])

    It is started in an event loop of its own, in a thread of its own, and shut down in the end. The
    block's own exception goes on once that is done, KeyboardInterrupt too; what is wrong with the
    application besides is logged, and noted on it.

    Ctrl-C goes one step further each time, as with the manager: in the block it begins the
    shutdown; once more, or in the startup, it cancels the application; a third time it leaves an
    application that ignores that to its thread, with a warning.

    :param app: an ASGI application
    :param backend: ``"asyncio"`` or ``"trio"``
    :param backend_options: as :func:`anyio.run` takes them
    :param options: those of :class:`~anylifespan.LifespanManager`
    :raises LifespanError: what goes wrong in the startup, and in the end what went wrong meanwhile
        (a crash) or in the shutdown
    :raises TypeError: if ``app`` cannot be an ASGI application, or an option is of a wrong type
    :raises ValueError: if an option is not a valid one
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
) -> Iterator[None]:
    """Have an application up in a thread, by a startup and a shutdown that use its manager."""
    manager = lifespan.manager
    with start_blocking_portal(backend, backend_options) as portal:
        lifespan.portal = portal
        body: BaseException | None = None
        problems: list[BaseException] = []
        try:
            problems += _wait(portal, manager, startup, log, patience=1)
            if not problems:
                yield
        except BaseException as exc:  # noqa: BLE001 - it is raised when the application is down
            body = exc
        if manager.phase not in (Phase.IDLE, Phase.STARTING):
            interrupted = any(isinstance(one, KeyboardInterrupt) for one in [body, *problems])
            patience = 1 if interrupted else 2
            problems += _wait(portal, manager, shutdown, log, patience=patience)
        problem = settle(manager._without_crash_of(body, problems), log, body=body)
        if problem is not None:
            raise problem


def run_in(portal: BlockingPortal, function: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run an asynchronous function in the event loop of a portal, and wait for it.

    Other than with ``portal.call()``, an exit that it raises ends nothing but the call, and Ctrl-C
    cancels it.
    """
    call = _Call(function, *args)
    try:
        portal.start_task_soon(call.run)
        result, error = call.outcome.result()
    except KeyboardInterrupt:
        portal.start_task_soon(call.cancel)
        raise
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def _wait(
    portal: BlockingPortal, manager: LifespanManager, step: Step, log: Log, *, patience: int
) -> list[BaseException]:
    """Run the startup or the shutdown in the other thread, and wait for it.

    :param patience: at which Ctrl-C the application is cancelled
    :return: what went wrong
    """
    call = _Call(step)
    problems: list[BaseException] = []
    while True:
        # Ctrl-C can come in any of these lines, so each may be run again.
        try:
            if len(problems) > patience:
                log.warning(
                    "The application still runs in its thread, although it was cancelled. Press "
                    "Ctrl-C again to end the process without waiting for the thread."
                )
                return problems
            if len(problems) == patience:
                portal.start_task_soon(_cancel, manager)
            portal.start_task_soon(call.run)
            _, error = call.outcome.result()
        except KeyboardInterrupt as exc:  # noqa: PERF203
            problems.append(exc)
        else:
            return problems if error is None else [*problems, error]


class _Call:
    """One call in the event loop, however often that is asked for.

    :ivar outcome: what it has returned, and what it has raised
    """

    def __init__(self, function: Callable[..., Awaitable[Any]], *args: Any) -> None:
        self.outcome: Future[tuple[Any, BaseException | None]] = Future()
        self._function = function
        self._args = args
        self._has_begun = False
        self._scope: CancelScope | None = None

    async def run(self) -> None:
        if self._has_begun:
            return
        self._has_begun = True
        with CancelScope() as self._scope:
            result, error = None, None
            try:
                result = await self._function(*self._args)
            except BaseException as exc:  # an exit would end an event loop of asyncio
                if is_cancellation(exc):
                    self.outcome.cancel()
                    raise
                error = exc
            self.outcome.set_result((result, error))

    def cancel(self) -> None:
        self._has_begun = True
        if self._scope is not None:
            self._scope.cancel()


def _cancel(manager: LifespanManager) -> None:
    if manager.phase is not Phase.SERVING:  # if it is up by now, it is shut down instead
        manager.cancel()
