"""``anylifespan run``: runs an application until a signal arrives."""

from __future__ import annotations

import logging
from functools import partial
from traceback import StackSummary

import anyio
from rich.console import Console

from .. import LifespanManager
from .._diagnosis.watchdog import Watchdog
from .._process.signals import Signals
from ._report import print_failure
from ._result import Failure, Result
from ._target import Target, run_on

_logger = logging.getLogger("anylifespan")
# Seconds that an event loop may take to end, or to notice a signal.
_END = 5.0


def run_until_signal(target: Target, backend: str, *, messages: Console) -> int:
    """Start the application, and shut it down at the first signal.

    :return: the exit status
    """
    return _Run(target, backend, messages).run()


class _Run:
    def __init__(self, target: Target, backend: str, messages: Console) -> None:
        self.target = target
        self.backend = backend
        self.messages = messages
        self.failure: Failure | None = None
        self.watchdog = Watchdog(self.give_up)
        # When a signal arrives, a blocked event loop has the same time to notice it.
        self.signals = Signals(lambda: self.watchdog.expect_by(_END))

    def run(self) -> int:
        with self.signals:
            # Do this outside the event loop, since a factory may run an event loop of its own.
            manager = self.target.new_manager()
            status = run_on(self.backend, partial(self.watched, manager))
        self.watchdog.expect_by(None)
        self.report()
        return status

    async def watched(self, manager: LifespanManager) -> int:
        status = 1
        until_signal = anyio.CancelScope()
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(self.watchdog.beat)
            task_group.start_soon(self.signals.call_at_first, until_signal.cancel)
            try:
                status = await self.one_lifespan(manager, until_signal)
            except (Exception, SystemExit) as exc:  # noqa: BLE001 - it is reported
                self.failure = Failure.of(exc)
            task_group.cancel_scope.cancel()
        # An application that was abandoned may keep the event loop from ending.
        self.watchdog.expect_by(_END)
        return status

    async def one_lifespan(self, manager: LifespanManager, until_signal: anyio.CancelScope) -> int:
        started = False
        with until_signal:
            _logger.info("Waiting for application startup.")
            self.watchdog.expect_by(self.target.options["startup_timeout"])
            await manager.startup()
            self.watchdog.expect_by(None)
            started = True
            _logger.info("Application startup complete. (Press CTRL+C to quit)")
            await manager.wait_crashed()
        signal = self.signals.received
        if signal is not None:
            _logger.info("Received %s.", signal.name)
            if not started:
                _logger.info("Application startup cancelled.")
                return 128 + signal
            _logger.info("Waiting for application shutdown.")
        self.watchdog.expect_by(self.target.options["shutdown_timeout"])
        await manager.shutdown()
        _logger.info("Application shutdown complete.")
        return 0

    def give_up(self, where: StackSummary) -> None:
        """Called by the watchdog when the limit has passed and the event loop does not respond."""
        if self.failure is None:
            self.failure = Failure.blocked(where)
        self.report()

    def report(self) -> None:
        print_failure(self.messages, Result(self.backend, failure=self.failure))
