"""The lifespan of an application for synchronous code, in an event loop in another thread."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal

from ._core.application import ASGI3App, ASGIApp
from ._core.log import DEFAULT, Log
from ._core.manager import LifespanManager
from ._core.protocol import Phase
from ._core.ranks import settle


@dataclass(frozen=True)
class BlockingLifespan:
    """An application that is up in another thread.

    :ivar manager: its :class:`~anylifespan.LifespanManager`, to be used in that thread alone
    :ivar portal: calls into its event loop: ``lifespan.portal.call(function, *args)``
    """

    manager: LifespanManager
    portal: BlockingPortal

    @property
    def app(self) -> ASGI3App:
        """The application as requests call it, in the event loop of the portal."""
        return self.manager.app

    @property
    def state(self) -> dict[str, Any]:
        """The state of the lifespan. What is in it belongs to the event loop of the portal."""
        return self.manager.state


@contextmanager
def start_blocking_lifespan(
    app: ASGIApp,
    backend: str = "asyncio",
    backend_options: dict[str, Any] | None = None,
    **options: Any,
) -> Iterator[BlockingLifespan]:
    """Run an application in a background thread while a block of synchronous code runs::

        with start_blocking_lifespan(app) as lifespan:
            lifespan.portal.call(send_invoices, lifespan.state["database"])

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
    log = Log(options.get("logger") or DEFAULT)
    with start_blocking_portal(backend, backend_options) as portal:
        body: BaseException | None = None
        problems: list[BaseException] = []
        try:
            problems += _wait(portal, manager, manager.startup, log, patience=1)
            if not problems:
                yield BlockingLifespan(manager, portal)
        except BaseException as exc:  # noqa: BLE001 - it is raised when the application is down
            body = exc
        if manager.phase not in (Phase.IDLE, Phase.STARTING):
            interrupted = any(isinstance(one, KeyboardInterrupt) for one in [body, *problems])
            patience = 1 if interrupted else 2
            problems += _wait(portal, manager, manager.shutdown, log, patience=patience)
        problem = settle(problems, log, body=body)
        if problem is not None:
            raise problem


def _wait(
    portal: BlockingPortal,
    manager: LifespanManager,
    method: Callable[[], Coroutine[Any, Any, None]],
    log: Log,
    *,
    patience: int,
) -> list[BaseException]:
    """Run the startup or the shutdown in the other thread, and wait for it.

    :param patience: at which Ctrl-C the application is cancelled
    :return: what went wrong
    """
    call = _Call(method)
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
            return problems + call.outcome.result()
        except KeyboardInterrupt as exc:  # noqa: PERF203
            problems.append(exc)


class _Call:
    """One call in the event loop, however often it is asked for.

    :ivar outcome: what it has raised
    """

    def __init__(self, method: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.outcome: Future[list[BaseException]] = Future()
        self._method = method
        self._begun = False

    async def run(self) -> None:
        if self._begun:
            return
        self._begun = True
        problems: list[BaseException] = []
        try:
            await self._method()
        except (Exception, KeyboardInterrupt, SystemExit) as exc:  # noqa: BLE001
            problems.append(exc)  # in an event loop of asyncio, an exit would end that
        self.outcome.set_result(problems)


def _cancel(manager: LifespanManager) -> None:
    if manager.phase is not Phase.SERVING:  # if it is up by now, it is shut down instead
        manager.cancel()
