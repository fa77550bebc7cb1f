"""Runs an application's lifespans in this process, which does nothing else."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from functools import partial
from traceback import StackSummary, walk_stack
from typing import Any

import anyio
import anyio.lowlevel
import click

from .. import LifespanCrashed, LifespanManager, LifespanUnsupported
from .._core.attempt import attempt
from .._core.exceptions import describe
from .._core.frames import raised_at
from .._diagnosis.leaks import Watch
from .._diagnosis.profile import Profile
from .._diagnosis.sampler import Sampler
from .._diagnosis.watchdog import Watchdog
from ._load import load_app
from ._order import Letters, News, Order
from ._result import Failure, LeftBehind, Phase, Result
from ._target import Target, run_on

# Seconds that an event loop may take to end, once nothing is left to do in it.
END = 5.0
# Seconds between two samples of a profile.
_INTERVAL = 0.01
# Seconds after which a busy thread yields to the sampler: a small part of the interval.
_SWITCH_INTERVAL = 0.001


def main(directory: str) -> None:
    """Read the order from a directory, and run the lifespans.

    :param directory: the directory of the :class:`Letters`
    """
    letters = Letters(directory)
    order = letters.order()
    if order.profiles:
        sys.setswitchinterval(_SWITCH_INTERVAL)
    logging.basicConfig(level=order.log_level.upper(), format="%(levelname)s: %(message)s")
    try:
        _Lifespans(order, letters).run()
    except KeyboardInterrupt:
        sys.exit(130)  # the other process says so


class _Lifespans:
    def __init__(self, order: Order, letters: Letters) -> None:
        self.order = order
        self.letters = letters
        self.result = Result(order.backend)
        self.news = News(self.result)
        self.process = os.getpid()
        self.watchdog = Watchdog(self.give_up)
        self.send()

    def send(self) -> None:
        self.letters.send_news(self.news)

    def run(self) -> None:
        order = self.order
        load = partial(load_app, order.app, factory=order.factory, app_dir=order.app_dir)
        # Mode "on" distinguishes an application that raises in its startup from an application
        # without lifespan support.
        mode = "off" if order.options["mode"] == "off" else "on"
        target = Target(order.app, load, order.options)
        with self.end_of_process_noted():
            try:
                # Do this outside the event loop, since a factory may run an event loop of its own.
                managers = [target.new_manager(mode=mode) for _ in range(order.lifespans)]
            except click.UsageError as exc:
                self.news.usage_error = exc.format_message()
            else:
                run_on(order.backend, partial(self.check, managers))
        self.watchdog.expect_by(None)
        self.news.is_over = True
        self.send()

    async def check(self, managers: list[LifespanManager]) -> None:
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(self.watchdog.beat)
            await anyio.lowlevel.checkpoint()
            if self.order.looks_for_leaks:
                watch = Watch(self.order.ignored)
                with watch.noted():
                    with watch.marked():
                        await self.lifespans(managers)
                    self.result.left_behind = LeftBehind.of(await watch.leaks())
            else:
                await self.lifespans(managers)
            task_group.cancel_scope.cancel()
        # An application that was abandoned may keep the event loop from ending.
        self.watchdog.expect_by(END)

    async def lifespans(self, managers: list[LifespanManager]) -> None:
        """Run the lifespans one after the other, until one fails."""
        for manager in managers:
            self.result.begin_another()
            await self.one_lifespan(manager)
            if self.result.failure is not None:
                break

    async def one_lifespan(self, manager: LifespanManager) -> None:
        result, options = self.result, self.order.options
        phase = result.startup
        try:
            with self.watched(phase, "startup"), errors_noted(result.logged):
                await manager.startup()
            phase = result.shutdown
            result.state = sorted(map(str, manager.state))
            with self.watched(phase, "shutdown"):
                await manager.shutdown()
        except LifespanUnsupported as exc:
            phase.outcome = "unsupported"
            result.why_unsupported = exc.message
            if options["mode"] == "on" or exc.swallowed:
                result.failure = Failure.of(exc)
        except LifespanCrashed as exc:
            phase.outcome = "crashed"
            result.failure = Failure.of(exc)
        except (Exception, SystemExit) as exc:  # noqa: BLE001 - it is reported
            phase.outcome = "timed out" if isinstance(exc, TimeoutError) else "failed"
            result.failure = Failure.of(exc)
        result.supported = manager.supported
        result.startup.seconds = manager.startup_seconds
        result.shutdown.seconds = manager.shutdown_seconds

    @contextmanager
    def watched(self, phase: Phase, name: str) -> Iterator[None]:
        limit = self.order.options[f"{name}_timeout"]
        self.watchdog.expect_by(limit)
        self.news.begin(name, limit)
        self.send()
        profile = Profile()
        try:
            with Sampler(_INTERVAL, profile.add) if self.order.profiles else nullcontext():
                yield
        finally:
            self.result.profile[name] = [asdict(line) for line in profile.lines()]
        phase.outcome = "complete"

    def give_up(self, where: StackSummary) -> None:
        """Called by the watchdog when the limit has passed and the event loop does not respond."""
        if self.result.failure is None:
            self.result.phase.outcome = "blocked"
            self.result.failure = Failure.blocked(where)
        self.news.is_over = True
        self.send()

    @contextmanager
    def end_of_process_noted(self) -> Iterator[None]:
        """Record where the application calls ``os._exit()``, which nothing else would report."""
        exit_at_once = os._exit

        def noted(status: int) -> Any:
            try:
                # The watchdog calls this too, and so may processes that the application forks.
                if not self.news.is_over and os.getpid() == self.process:
                    stack = StackSummary.extract(walk_stack(sys._getframe(1)))
                    stack.reverse()
                    self.news.ended_at = Failure.blocked(stack).where
                    self.send()
            finally:
                exit_at_once(status)

        os._exit = noted
        try:
            yield
        finally:
            os._exit = exit_at_once


@contextmanager
def errors_noted(errors: list[dict[str, str]]) -> Iterator[None]:
    """Record the errors that any logger except this library's own logs, however they are handled.

    Many frameworks only log errors during the startup, and continue.
    """
    handle = logging.Logger.handle

    def noted(logger: Any, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR and logger.name != "anylifespan":
            message = attempt(record.getMessage, str(record.msg))
            raised = (record.exc_info or (None, None))[1]
            if raised is not None:
                message += f": {describe(raised)}{raised_at(raised)}"
            errors.append({"logger": logger.name, "message": message})
        handle(logger, record)

    logging.Logger.handle = noted  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        logging.Logger.handle = handle  # type: ignore[method-assign]
