"""One lifespan under observation: run it, disturb it at one point, and see what is left behind.

A trial is decided by what is written in it, so the same one always goes the same way.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import anyio
import trio
from anyio.lowlevel import checkpoint
from apps import Boom
from catalogue import BODY, LONG, SHUTDOWN_TIMEOUT, STARTUP_TIMEOUT, Behaviour, Resources
from clocks import CLOSING, run_on
from drives import DRIVES
from hooked import seen_by_hook
from leftovers import collected_garbage, complaints, generators, still_open, threads_and_descriptors
from lines import Lines
from points import Points

from anylifespan import LifespanError, LifespanManager, LifespanProtocolError, Phase
from anylifespan._core.exceptions import EXITS

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

# When another task does it, a while after the beginning; needs a seed.
BY_ANOTHER_TASK = "by another task"
# In a line of the library, whichever task runs it.
IN_A_LINE = "in a line of the library"
# What can happen between the line that makes something and the one that takes care of it.
_OF_A_LINE = ("RuntimeWarning: coroutine", "ResourceWarning: Unclosed")
# Seconds after which something is about to happen in the catalogue.
MOMENTS = [0, 0.5, 1, 2, 5, STARTUP_TIMEOUT, BODY, BODY + 1, BODY + 2, BODY + SHUTDOWN_TIMEOUT]


@dataclass(frozen=True)
class Fault:
    """What happens to whom, and when.

    :ivar what: "cancel scope", "cancel task" (asyncio's own, and its first Ctrl-C), "Ctrl-C" (a
        KeyboardInterrupt) or "raise"
    :ivar whom: "caller", "body" or "app"
    :ivar point: at which of its scheduling points, or of the library's lines, from 1 on
    """

    what: str
    whom: str
    point: int
    moment: str


@dataclass(frozen=True)
class Trial:
    """All that decides how a lifespan goes.

    :ivar seed: of the order in which tasks are run, and of what other tasks do meanwhile
    """

    behaviour: Behaviour
    way: str
    mode: str
    backend: str
    fault: Fault | None = None
    seed: int | None = None
    logger_raises: bool = False

    @property
    def is_hooked(self) -> bool:
        """Whether a hook is set meanwhile: in every other trial."""
        if self.fault is not None and self.fault.moment == IN_A_LINE:
            return len(self.behaviour.name) % 2 == 1  # in which line depends on it
        point = 0 if self.fault is None else self.fault.point
        return (point + (self.seed or 0) + self.logger_raises) % 2 == 1

    @property
    def may_be_given_up(self) -> bool:
        """Whether the caller may go on while the application still runs."""
        return self.way == "startup" and self.behaviour.deaf > 0


@dataclass
class Report:
    """What was seen of a trial.

    :ivar history: what the application has received, sent and done, in order
    :ivar trace: which tasks were run, in order
    :ivar told: what other tasks were told that asked for the shutdown, or waited for a crash
    :ivar cancelled: whether a cancel scope of the caller's was left early
    :ivar fired: whether the fault came about before the lifespan was over
    :ivar came_late: what the caller's next checkpoint raised, when the lifespan was over
    :ivar raised: what the application raised, other than its cancellation
    :ivar logged: the exceptions that were logged, and the texts
    :ivar lines: the library's lines that were run, where that was asked for
    :ivar problems: what must never be seen, whatever happens
    """

    trial: Trial
    history: list[str] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    error: BaseException | None = None
    told: list[BaseException] = field(default_factory=list)
    cancelled: bool = False
    fired: bool = False
    came_late: BaseException | None = None
    raised: list[BaseException] = field(default_factory=list)
    logged: list[BaseException | str] = field(default_factory=list)
    lines: Lines | None = None
    phase: Phase | None = None
    supported: bool | None = None
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def errors(self) -> list[BaseException]:
        """The error; for a group, those in it."""
        error = self.error
        if self.trial.way == "serve" and isinstance(error, trio.TrioInternalError):
            # What trio's Nursery.start() makes of a task that fails while Ctrl-C interrupts the
            # one that waits for it: a fault of trio's. What has happened is its cause.
            assert "Internal nursery should not have multiple tasks" in str(error)
            error = error.__cause__
        return list(_leaves(error))


class _Manager(LifespanManager):
    """Its ``serve`` is a task of its own, whose scheduling points are the caller's too."""

    points: Points

    async def serve(self, **options: Any) -> None:
        await self.points.through(super().serve(**options))


class _Observation:
    """Runs a trial."""

    def __init__(self, report: Report) -> None:
        self.trial = report.trial
        self.report = report
        self.resources = Resources()
        self.running = 0
        self.over = False
        self.task: asyncio.Task[None] | None = None
        self.manager = _Manager(
            self.observed(self.trial.behaviour.make(self.resources)),
            mode=self.trial.mode,
            startup_timeout=STARTUP_TIMEOUT,
            shutdown_timeout=SHUTDOWN_TIMEOUT,
            logger=_Logger(self.report.logged, self.trial.logger_raises),
        )

    def points_of(self, whom: str) -> Points:
        fault = self.trial.fault
        elsewhere = (BY_ANOTHER_TASK, IN_A_LINE)
        mine = fault is not None and fault.whom == whom and fault.moment not in elsewhere
        return Points(
            fault.point if mine else 0,
            fault.moment if mine else "",
            partial(self.strike, fault.what if mine else ""),
            tell=partial(self.report.trace.append, whom),
        )

    @property
    def is_raised_at_a_line(self) -> bool:
        """As asyncio has it at the second Ctrl-C; at the first it cancels the main task."""
        fault = self.trial.fault
        at_a_line = fault is not None and fault.moment == IN_A_LINE and fault.what == "Ctrl-C"
        return at_a_line and not on_trio(self.trial.backend)

    def at_a_line(self) -> AbstractContextManager[object]:
        fault = self.trial.fault
        if fault is None or fault.moment != IN_A_LINE:
            return nullcontext()
        self.report.lines = Lines(fault.point, partial(self.strike, fault.what))
        return self.report.lines

    def strike(self, what: str) -> BaseException | None:
        if self.over:
            return None
        self.report.fired = True
        if what == "raise":
            return Boom(f"struck the {self.trial.fault.whom}")
        if what == "cancel scope":
            self.scope.cancel()
        elif what == "cancel task":
            self.task.cancel()
        elif self.is_raised_at_a_line:
            raise KeyboardInterrupt
        elif self.trial.fault.moment == IN_A_LINE:
            signal.raise_signal(signal.SIGINT)
        else:
            _interrupt()
        return None

    async def main(self) -> None:
        report = self.report
        bystanders = {task.id for task in anyio.get_running_tasks()}
        with generators() as begun:
            began_at = anyio.current_time()
            if self.trial.seed is None:
                await self.call_and_tell()
            else:
                async with anyio.create_task_group() as company:
                    for member in self.company(random.Random(self.trial.seed)):
                        company.start_soon(member)
                    await self.call_and_tell()
                    company.cancel_scope.cancel()
            report.seconds = anyio.current_time() - began_at
            if self.running and self.trial.may_be_given_up:
                await self.wait_for_the_app()
            if on_trio(self.trial.backend):
                # There the lifespan's task is in another, which may take a few more turns to end.
                await anyio.wait_all_tasks_blocked()
            tasks = [
                one
                for one in anyio.get_running_tasks()
                if one.id not in bystanders and one.name != CLOSING
            ]
            if tasks:
                report.problems.append(f"tasks were left: {tasks}")
            report.problems += [f"a generator was left: {one}" for one in still_open(begun)]

    async def call_and_tell(self) -> None:
        try:
            await self.call()
        except BaseException as exc:
            self.report.error = exc
            if self.report.fired and self.is_raised_at_a_line:
                raise  # on asyncio nothing goes on after that, as it ends the event loop
        try:
            await checkpoint()
        except (asyncio.CancelledError, KeyboardInterrupt) as exc:
            # What comes too late for the lifespan is raised at the caller's next checkpoint.
            self.report.came_late = exc

    def company(self, random_: random.Random) -> Iterator[Callable[[], Awaitable[None]]]:
        """Other tasks, which do what they do at some moment."""

        async def soon() -> None:
            await anyio.sleep(random_.choice(MOMENTS))
            for _ in range(random_.randrange(8)):
                await checkpoint()

        async def cancel() -> None:
            await soon()
            self.strike("cancel scope")

        async def shut_down() -> None:
            await soon()
            if self.manager.phase in (Phase.IDLE, Phase.STARTING):
                return
            if self.trial.way == "serve":
                self.manager.request_shutdown()
            elif self.trial.way == "startup":
                try:
                    await self.manager.shutdown()
                except LifespanError as exc:
                    self.report.told.append(exc)

        async def wait_crashed() -> None:
            self.report.told.append(await self.manager.wait_crashed())

        if self.trial.fault is not None:
            yield cancel
        if random_.random() < 0.5:
            yield shut_down
        if random_.random() < 0.5:
            yield wait_crashed

    async def call(self) -> None:
        trial = self.trial
        points = self.points_of("caller")
        if not on_trio(trial.backend):
            self.task = asyncio.current_task()
        self.manager.points = points
        with anyio.CancelScope() as self.scope:
            try:
                await points.through(DRIVES[trial.way](self.manager, self.body))
            finally:
                self.over = True
            # If a cancellation was asked for, it was not to get lost. One checkpoint would do if
            # the tasks ran in their usual order.
            for _ in range(3):
                await checkpoint()
        self.report.cancelled = self.scope.cancelled_caught

    async def body(self) -> None:
        await self.points_of("body").through(self.body_itself())

    async def body_itself(self) -> None:
        for _ in range(2):
            await anyio.sleep(BODY / 2)

    async def wait_for_the_app(self) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(LONG)

    def observed(self, app: Any) -> Any:
        """The application, with its history told and its scheduling points counted."""
        if isinstance(app, type):  # of ASGI 2
            return lambda scope: partial(self.watch, app(scope), ())

        async def asgi3(scope: Any, receive: Any, send: Any) -> None:
            await self.watch(app, (scope,), receive, send)

        return asgi3

    async def watch(self, app: Any, scope: tuple[Any, ...], receive: Any, send: Any) -> None:
        tell = self.report.history.append

        async def receive_and_tell() -> Any:
            event = await receive()
            tell(f"received {event['type']}")
            return event

        async def send_and_tell(message: Any) -> None:
            try:
                await send(message)
            except LifespanProtocolError:
                tell(f"tried {message['type']}")
                raise
            tell(f"sent {message['type']}")

        self.running += 1
        try:
            await self.points_of("app").through(app(*scope, receive_and_tell, send_and_tell))
        except anyio.get_cancelled_exc_class():
            tell("was cancelled")
            raise
        except BaseException as exc:
            exits = [one for one in _leaves(exc) if isinstance(one, EXITS)]
            tell(f"raised {type(exits[0] if exits else exc).__name__}")
            # Not what is the library's own, or the event loop's.
            names = ("_Over", "Cancelled")
            self.report.raised += [one for one in _leaves(exc) if type(one).__name__ not in names]
            raise
        else:
            tell("returned")
        finally:
            self.running -= 1


def run(trial: Trial) -> Report:
    """Run one lifespan, and look for what must never be seen."""
    report = Report(trial)
    _open_what_stays_open(trial.backend)
    with (
        threads_and_descriptors(report.problems),
        complaints(report.problems) as complain,
        collected_garbage(),
    ):
        _observe(report, complain)
    fault = trial.fault
    at_a_line = fault is not None and fault.moment == IN_A_LINE
    if not trial.behaviour.unwinds and (at_a_line or (fault is not None and fault.whom == "app")):
        report.problems.clear()
    if at_a_line and any(
        isinstance(one, RuntimeError) and "cancel scope" in str(one) for one in report.raised
    ):
        # The line of a with statement is run again before its block is left. Nothing protects it on
        # asyncio, and an exception there leaves a cancel scope open.
        report.problems.clear()
    if at_a_line:
        report.problems = [one for one in report.problems if not one.startswith(_OF_A_LINE)]
    if report.seconds > STARTUP_TIMEOUT + BODY + SHUTDOWN_TIMEOUT + trial.behaviour.deaf + 0.01:
        report.problems.append(f"it took {report.seconds} seconds")
    return report


@cache
def _open_what_stays_open(backend: str) -> None:
    """An event loop may open something in the process when the first of its kind is run."""

    async def nothing() -> None:
        pass

    run_on(backend, nothing, complain=print)


def _observe(report: Report, complain: Callable[[object], None]) -> None:
    trial = report.trial
    observation = _Observation(report)
    with seen_by_hook(raises=trial.logger_raises) if trial.is_hooked else nullcontext() as hook:
        _run_on(report, observation, complain)
    report.phase = observation.manager.phase
    report.supported = observation.manager.supported
    if observation.running:
        report.problems.append("the application still runs")
    report.problems += observation.resources.problems()
    if hook is not None and not observation.is_raised_at_a_line:
        crashed = observation.manager.crash is not None
        report.problems += hook.problems(raised=report.errors, crashed=crashed)


def _run_on(report: Report, observation: _Observation, complain: Callable[[object], None]) -> None:
    trial = report.trial
    try:
        with observation.at_a_line():
            run_on(trial.backend, observation.main, seed=trial.seed, complain=complain)
    except BaseException as exc:
        # An event loop is ended by SystemExit and KeyboardInterrupt in any of its tasks.
        report.error = exc


def on_trio(backend: str) -> bool:
    return backend == "trio"


@trio.lowlevel.enable_ki_protection
def _interrupt() -> None:
    """Have it raised at the next checkpoint of the main task."""
    signal.raise_signal(signal.SIGINT)


def _leaves(error: BaseException | None) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    elif error is not None:
        yield error


class _Logger(logging.Logger):
    """Keeps what is logged, and may raise then, as a filter does that asks for the request."""

    def __init__(self, logged: list[BaseException | str], raises: bool) -> None:
        super().__init__("trials", logging.DEBUG)
        self._logged = logged
        self._raises = raises

    def handle(self, record: logging.LogRecord) -> None:
        self._logged.append(record.getMessage())
        if record.exc_info and record.exc_info[1] is not None:
            self._logged.append(record.exc_info[1])
        if self._raises:
            raise LookupError("there is no request")
