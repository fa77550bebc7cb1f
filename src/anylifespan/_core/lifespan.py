"""The lifespan itself: one task that awaits the application, inside one cancel scope.

Events reach the application through one memory object stream. The application's decisions come back
through another stream, which is closed when the application has ended. The protocol decides what a
decision *means*. The manager turns the decision into an error or a log message.

The caller that waits for the lifespan enforces the time limits, with a cancel scope around its
wait. So the caller can find out where the application is waiting before cancelling it. The caller
detects an application that ignores its cancellation in the same way.

The lifespan always acts first, and logs afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Set
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from traceback import StackSummary
from types import CoroutineType
from typing import TYPE_CHECKING, Any, NoReturn

from anyio import CancelScope, EndOfStream

from ..errors import LifespanProtocolError
from . import application
from .ctrl_c import protected, unprotected
from .exceptions import EXITS, contains, only_leaf, without
from .frames import show
from .hosting import EventLoop, event_loop
from .log import Log
from .mailbox import Mailbox
from .options import in_seconds
from .progress import Progress
from .protocol import ENDED, LAST_WORDS, STARTUP, Event, Protocol, State
from .requests import Variables, changed_since, variables_of
from .where import where_waiting

if TYPE_CHECKING:
    from .observer import Observer

# Seconds that an application has to end by itself after its last message.
LINGER = 5.0
# How many checkpoints to wait for an application before using a cancel scope with a deadline. Many
# applications need no more for their complete startup or shutdown, and creating a scope takes
# longer. On asyncio, one checkpoint is enough. On trio, tasks run in random order, and a lifespan
# without a parent task is started by another task.
STEPS = 3
# Seconds between two checks of an application that is still running after it was cancelled.
PATROL = 5.0

_NOWHERE = StackSummary()

# Running lifespans, by the id() of their task's coroutine.
_running: dict[int, Lifespan] = {}


def current_lifespan() -> Lifespan | None:
    """Return the lifespan whose task is running, if any.

    A lifespan that is started in that task can be part of it.
    """
    return _running.get(id(event_loop("a lifespan").current_coroutine()))


class _Over(Exception):
    """Ends an application that asks for another event after its last message.

    This works even if the application shields itself from cancellation.
    """


@protected
class Lifespan:
    """One run of an application's lifespan.

    :ivar app: the application
    :ivar protocol: the lifespan's state in the protocol
    :ivar required: whether the application must have a lifespan
    :ivar message: the text of the application's last message
    :ivar raised: the exception that the application raised, other than the lifespan's cancellation
    :ivar crashed: whether the application crashed while it was serving
    :ivar is_given_up: whether the application was left running because it ignores its cancellation
    :ivar was_waited_for: whether a caller had to wait for the end, shielded from cancellation
    :ivar where: where the application was waiting when time ran out
    :ivar event_loop: the event loop in which the lifespan runs
    :ivar task: the lifespan's task on asyncio, otherwise None
    :ivar coroutine: the coroutine that the task runs; None before the task's first step
    :ivar observer: calls hooks when something happens; None if there are no hooks
    :ivar started_at, decided_at, stopping_at, ended_at: when the lifespan started, when its startup
        succeeded or failed, when its shutdown was requested, and when it ended, in seconds by the
        event loop's clock
    """

    __slots__ = (
        "_acts_on_crash",
        "_cancel_scope",
        "_cancelled_at",
        "_context",
        "_crashes_alone",
        "_decisions",
        "_ended_as",
        "_ends_with_loop",
        "_events",
        "_has_had_its_turn",
        "_interruptions",
        "_last_word_at",
        "_log",
        "_on_crash",
        "_parts",
        "_progress",
        "_report_after",
        "_scope",
        "_set_by_hooks",
        "_time",
        "_variables",
        "_watched",
        "_whole",
        "app",
        "coroutine",
        "crashed",
        "decided_at",
        "ended_at",
        "event_loop",
        "is_given_up",
        "message",
        "observer",
        "protocol",
        "raised",
        "required",
        "started_at",
        "stopping_at",
        "task",
        "was_waited_for",
        "where",
    )

    def __init__(
        self,
        app: application.ASGI3App,
        scope: dict[str, Any],
        *,
        required: bool,
        whole: Lifespan | None,
        crashes_alone: bool,
        acts_on_crash: bool,
        ends_with_loop: bool,
        event_loop: EventLoop,
        shield: bool,
        variables: Variables,
        on_crash: Callable[[], None],
        report_after: float,
        log: Log,
    ) -> None:
        self.protocol = Protocol()
        self.required = required
        self.message = ""
        self.raised: BaseException | None = None
        self.crashed = False
        self.where = _NOWHERE
        self.task: object = None
        self.observer: Observer | None = None
        self.coroutine: object = None
        self.event_loop = event_loop
        self._time = event_loop.time
        self.started_at = self._time()
        self.decided_at: float | None = None
        self.stopping_at: float | None = None
        self.ended_at: float | None = None
        self.app = app
        self._scope = scope
        self._variables = variables  # those of its startup, for requests
        self._on_crash = on_crash
        # If this lifespan is part of another one, the other one reports where it is waiting.
        self._report_after = math.inf if whole is not None else report_after
        self._progress: Progress | None = None
        self._log = log
        self._ended_as: State | None = None
        self._context: Context | None = None  # as it was before the startup
        self._set_by_hooks: Set[ContextVar[Any]] = frozenset()
        self._has_had_its_turn = False
        self._cancel_scope = CancelScope(shield=shield)
        self._last_word_at = math.inf
        self._cancelled_at = math.inf
        self._interruptions = 0
        self.is_given_up = False
        self._watched = False
        self.was_waited_for = False
        self._whole = whole
        self._crashes_alone = crashes_alone
        self._acts_on_crash = acts_on_crash  # whoever drives it does
        self._ends_with_loop = ends_with_loop  # nobody is there to shut it down
        self._parts: list[Lifespan] = []
        if whole is not None:
            whole._parts.append(self)
        self._events: Mailbox[dict[str, str]] = Mailbox(event_loop.checkpoint)
        self._events.send({"type": "lifespan.startup"})
        self._decisions: Mailbox[State] = Mailbox(event_loop.checkpoint)

    @property
    def state(self) -> State:
        return self.protocol.state

    @property
    def outcome(self) -> State:
        """The state in which the application ended, or the current state while it runs.

        Unlike :attr:`state`, this does not change if the shutdown is requested after the end.
        """
        return self.state if self._ended_as is None else self._ended_as

    @property
    def is_over_with_loop(self) -> bool:
        """Whether the application was cancelled when the event loop ended, instead of shut down."""
        return self._ends_with_loop and isinstance(self.raised, self.event_loop.cancelled)

    @property
    def crash_is_acted_on(self) -> bool:
        """Whether the driver of the outermost lifespan acts on a crash.

        The outermost lifespan is this one, unless this one is part of another lifespan.
        """
        whole = self._whole
        return self._acts_on_crash if whole is None else whole.crash_is_acted_on

    # The application's side

    async def run(self) -> None:
        """Run the application in the lifespan's task."""
        if self.protocol.state in ENDED:
            return
        self.coroutine = self.event_loop.current_coroutine()
        self._has_had_its_turn = True
        self._context = copy_context()
        _running[id(self.coroutine)] = self
        if self.observer is not None:
            self.observer.enter()
            self._set_by_hooks = changed_since(self._context)
        # Nothing is raised, not even a cancellation: a task group would mistake it for its own
        # cancellation, and callers that wait for the lifespan are notified anyway.
        raised: BaseException | None = None
        try:
            with self._cancel_scope:
                try:
                    await self._call()
                except BaseException as exc:
                    raised = exc
                    raise
        except BaseException as exc:  # noqa: BLE001 - whoever waits for it gets to know
            # If the application left a scope open, this scope may raise its own exception instead.
            self.raised = raised if contains(raised) else exc
        finally:
            if self.event_loop.is_running():
                self._end()
            else:
                # The event loop was closed, and so was this coroutine. Nobody is waiting for the
                # lifespan.
                self._close_mailboxes()
            self._context = None
            _running.pop(id(self.coroutine), None)

    @unprotected
    async def _call(self) -> None:
        returned = self.app(self._scope, self._receive, self._send)
        if type(returned) is not CoroutineType:  # what most are is seen at once
            returned = application.awaitable(self.app, returned)
        await returned

    async def _receive(self) -> dict[str, str]:
        state = self.protocol.state
        if state in LAST_WORDS or (self.protocol.cancelled and state not in ENDED):
            # The application waits for another event, as a ``while True:`` loop does. There are no
            # more events, so end the application here. Tasks that started to wait before the
            # application's last message keep waiting until then.
            self._cancel(Event.CANCEL)
            await self._end_by_cancellation()
        try:
            if state is State.CALLED:  # the first is there already
                event = self._events.receive_nowait()
            else:
                event = await self._events.receive()
        except EndOfStream:
            if self.protocol.state in ENDED:
                raise LifespanProtocolError(
                    "receive() was called after the application had ended, by a task that it "
                    "started and left behind: end such tasks before the application returns"
                ) from None
            await self._end_by_cancellation()
        self._has_had_its_turn = True
        if event["type"] == "lifespan.startup":
            self.protocol.receive_startup()
        elif self.observer is not None:
            self.observer.enter()
        return event

    async def _end_by_cancellation(self) -> NoReturn:
        await self.event_loop.checkpoint()
        raise _Over from None  # it shields itself

    async def _send(self, message: Any) -> None:
        # There is no checkpoint here. So on every backend, other tasks react to the message only
        # when the application next waits.
        try:
            event = self.protocol.send(message)
        except LifespanProtocolError:
            if self.protocol.state is State.MISTAKEN:
                self._take_last_word("")
            raise
        if event is Event.STARTUP_COMPLETE:
            before, self._context = self._context or Context(), None
            variables_of(
                copy_context(), before=before, without=self._set_by_hooks, into=self._variables
            )
            self._decide()
            self._notify()
        elif self.protocol.state is State.SERVING:
            self._log.warning(
                "The application sent lifespan.shutdown.complete before it was asked to shut down; "
                "going on."
            )
        elif event is not None:
            # The message's text may be an instance of a subclass of str.
            self._take_last_word(str.__str__(message.get("message", "")))

    def _take_last_word(self, message: str) -> None:
        if self._last_word_at < math.inf:  # a second message of another protocol
            return
        self._last_word_at = self._time()
        self.message = message
        self._decide()
        if self.protocol.state is State.BREAKING:
            # Perhaps nobody is waiting for the application to end, so the scope needs a deadline.
            self._cancel_scope.deadline = self._last_word_at + LINGER
            self._crash()

    def _decide(self) -> None:
        if self.decided_at is None:
            self.decided_at = self._time()
        self._decisions.send(self.protocol.state)

    def _crash(self) -> None:
        if self.crashed:
            return
        self.crashed = True
        self._on_crash()
        if self._whole is not None and not self._crashes_alone:
            self._whole._part_crashes(self)
        self._notify()

    def _part_crashes(self, part: Lifespan) -> None:
        # The other parts still have to shut down, which may take a while. The callers need to know
        # about the crash now.
        if self.protocol.part_crashes():
            self.message = part.message
            self.raised = part.raised
            self._decide()
            self._crash()

    def _end(self) -> None:
        was_serving = self.protocol.state is State.SERVING
        if self.raised is not None:
            self.raised = only_leaf(without(self.raised, _Over))
        if self.raised is None:
            self.protocol.end(Event.RETURN)
        else:
            exits = contains(self.raised, (*EXITS, application.NotAwaitableError))
            self.protocol.end(Event.EXIT if exits else Event.RAISE)
        self._ended_as = self.protocol.state
        self.ended_at = self._time()
        if self.decided_at is None:
            self.decided_at = self.ended_at
        self._close_mailboxes()
        if was_serving and self.protocol.state is not State.RETURNED:
            self._crash()
        if self._whole is not None:
            self._whole._parts.remove(self)
            self._whole = None
        self._log_the_end()
        self._notify()
        # The callback refers to the manager. This breaks the reference cycle, which would otherwise
        # be left to the garbage collector.
        del self._on_crash

    def _log_the_end(self) -> None:
        state = self.protocol.state
        if self.is_given_up:
            self._log.warning(
                "The application that was left running has ended %s after it was cancelled.",
                in_seconds(self._time() - self._cancelled_at),
                exc_info=self.raised,
            )
        elif state is State.RETURNED:
            self._log.info("The application's lifespan returned while serving; going on.")
        elif state is State.CRASHED and self.is_over_with_loop:
            self._log.warning(
                "The application, which was started by a request, was cancelled without a shutdown "
                "as the event loop ended."
            )
        elif state is State.CRASHED:
            self._log.error(
                "The application's lifespan %s while serving.",
                "was cancelled from outside, without a shutdown,"
                if isinstance(self.raised, self.event_loop.cancelled)
                else "crashed",
                exc_info=self.raised,
            )
        elif self.raised is not None and state in (State.STOPPED, State.START_CANCELLED):
            self._log.warning(
                "The application raised while it was being cancelled.", exc_info=self.raised
            )

    def _notify(self) -> None:
        if self.observer is not None:
            self.observer.update(self)

    def _close_mailboxes(self) -> None:
        self._events.close()
        self._decisions.close()

    # The server's side

    def skip(self) -> None:
        """End without calling the application, as if the application had no lifespan."""
        self._end()

    async def wait_started(self, timeout: float) -> None:
        """Wait until the application has started, has ended, or is being cancelled.

        :param timeout: seconds after which the application is cancelled
        """
        deadline = self.started_at + timeout
        for _ in range(STEPS):
            if self.protocol.state not in STARTUP or self._is_late(deadline):
                break
            await self.event_loop.checkpoint()
        while self.protocol.state in STARTUP and not self.protocol.cancelled:
            cancel_at = min(deadline, self._last_word_at + LINGER)
            report_at = self._report_at("starting", self.started_at, timeout)
            with CancelScope(deadline=min(cancel_at, report_at)) as limit:
                await self._wait()
            if limit.cancelled_caught and self.protocol.state in STARTUP:
                if self._time() >= cancel_at:
                    self._run_out_of_time()
                else:
                    self._report()
        if self.decided_at is not None and self.decided_at > deadline:
            self._log_lateness("startup", self.decided_at - self.started_at, timeout)

    def cancel(self, reason: str = "") -> None:
        """Cancel the application, because nobody is waiting for it any longer.

        :param reason: why the shutdown failed, if the application was shutting down
        """
        if self.protocol.state is State.STOPPING and not self.protocol.cancelled:
            self.message = reason
        self._cancel(Event.CANCEL)

    def shut_down(self) -> float:
        """Request the shutdown, and send ``lifespan.shutdown`` if the application is serving.

        :return: when the shutdown was first requested, or the current time if the request had no
            effect
        """
        if self.protocol.shutdown():
            self.stopping_at = self._time()
            if self.protocol.state is State.STOPPING:
                self._has_had_its_turn = False
                self._events.send({"type": "lifespan.shutdown"})
                self._notify()
        return self._time() if self.stopping_at is None else self.stopping_at

    async def wait_ended(self, deadline: float, *, give_up: bool) -> BaseException | None:
        """Wait until the application has ended, even if the caller is interrupted meanwhile.

        :param deadline: when to cancel the application, by the event loop's clock
        :param give_up: whether to stop waiting for an application that ignores its cancellation,
            and leave it running
        :return: the exception that interrupted the caller meanwhile, if any. The caller has to
            raise it later
        """
        interruption: BaseException | None = None
        if self._whole is not None and self._whole.protocol.cancelled:
            deadline = self._time()  # its time was the whole's
        looks = 0
        # If a crash has cancelled the body, these checkpoints would be cancelled too.
        steps = 0 if self.crashed else STEPS
        impatient_at = 2 if self.protocol.cancelled else 3
        while self.protocol.state not in ENDED and not self.is_given_up:
            cancelled = self.protocol.cancelled
            if cancelled:
                look_at = cancel_at = self._cancelled_at + PATROL * (looks + 1)
            else:
                cancel_at = min(deadline, self._last_word_at + LINGER)
                look_at = min(cancel_at, self._report_at_shutdown(deadline))
            try:
                if steps and not self._is_late(look_at):
                    steps -= 1
                    await self.event_loop.checkpoint()
                    continue
                self.was_waited_for = True
                with CancelScope(deadline=look_at, shield=True) as limit:
                    await self._wait()
            except (self.event_loop.cancelled, KeyboardInterrupt) as exc:
                # asyncio's own Task.cancel() and trio's Ctrl-C pass through the shield.
                if not isinstance(interruption, KeyboardInterrupt):
                    interruption = exc
                self.interrupt(exc)
                self.is_given_up = give_up and self._interruptions >= impatient_at
                continue
            if not limit.cancelled_caught or self.protocol.cancelled is not cancelled:
                continue
            if self._time() < cancel_at:
                self._report()
                continue
            if not cancelled or self.coroutine is None:
                self._run_out_of_time()
                continue
            looks += 1
            self._log.warning(
                "The application still runs %s after it was cancelled: it ignores the "
                "cancellation, or waits for a thread that cannot be cancelled. It is waiting "
                "at:\n%s",
                in_seconds(PATROL * looks),
                show(where_waiting(self.coroutine)),
            )
            self.is_given_up = give_up
        if self.is_given_up:
            self._notify()
        if self.ended_at is not None and self.ended_at > deadline and self.stopping_at is not None:
            since = self.stopping_at
            self._log_lateness("shutdown", self.ended_at - since, deadline - since)
        return interruption

    def interrupt(self, by: BaseException) -> None:
        """Count interruptions by Ctrl-C, and cancel the application at the second one.

        Each Ctrl-C goes one step further: the first one shuts the application down, the second one
        cancels it, and the third one leaves it running. The waiting caller handles the first one
        and the third one. Cancellations are not counted, even if they are repeated.
        """
        if isinstance(by, KeyboardInterrupt):
            self._interruptions += 1
            if self._interruptions == 2:
                self.cancel("it was cancelled by a second Ctrl-C")

    def _report_at_shutdown(self, deadline: float) -> float:
        since = self.stopping_at
        if since is None or self.protocol.state is not State.STOPPING:
            return math.inf
        return self._report_at("shutting down", since, deadline - since)

    def _report_at(self, doing: str, since: float, limit: float) -> float:
        """Return when to report that a phase is not over yet; infinity for never.

        There are no reports after the application's last message.
        """
        if self._last_word_at < math.inf:
            return math.inf
        if self._progress is None or self._progress.doing != doing:
            self._progress = Progress(doing, since, limit, self._report_after, self._log)
        return self._progress.due_at

    def _report(self) -> None:
        # Another caller that waits may have reported this already.
        if self._progress is not None and self._time() >= self._progress.due_at:
            self._progress.report(self._time(), self.coroutine)

    async def _wait(self) -> None:
        if not self._watched:
            self._watched = True
            self.event_loop.when_done(self.task, self._on_task_done)
        with suppress(EndOfStream):
            await self._decisions.receive()

    def _on_task_done(self, raised: BaseException | None) -> None:
        self._close_mailboxes()
        if self.protocol.state in ENDED:
            return
        if self.coroutine is None and not self.protocol.cancelled:
            self.protocol.send({"type": Event.STARTUP_FAILED.value})
            self.message = "its task was cancelled before its first step"
        self.raised = self.raised or raised
        self._end()

    def _is_late(self, deadline: float) -> bool:
        """Return whether the deadline has passed and the application has had a chance to run."""
        return self._has_had_its_turn and self._time() >= deadline

    def _run_out_of_time(self) -> None:
        self._cancel(Event.TIMEOUT)
        if self.coroutine is None:
            # A task factory has delayed the task's first step, which will now do nothing.
            self._end()
            return
        # The application notices the cancellation only when it next runs, so it is still at the
        # same line.
        self.where = where_waiting(self.coroutine)
        if self.protocol.state in LAST_WORDS:
            self._log.warning(
                "The application still runs %s after %s; cancelling it. It is waiting at:\n%s",
                in_seconds(self._time() - self._last_word_at),
                self.protocol.state.value,
                show(self.where),
            )

    def _log_lateness(self, phase: str, seconds: float, limit: float) -> None:
        """Log that a phase took longer than its limit, but was not cancelled.

        An application that blocks the event loop may finish late, before it can be cancelled.
        """
        if not self.protocol.cancelled:
            self._log.warning(
                "The application's %s took %.3g seconds, more than its limit of %g: the event loop "
                "was blocked, so the application could not be interrupted.",
                phase,
                seconds,
                limit,
            )

    def _cancel(self, why: Event) -> None:
        if self.protocol.state in ENDED:
            return
        if not self.protocol.cancelled:
            self._cancelled_at = self._time()
            self._cancel_scope.cancel()
            self.protocol.cancel(why)
        self._events.end()
        for part in self._parts:
            # When the application is cancelled, it shuts down the parts that are still serving.
            if part.protocol.state is State.STOPPING or part.protocol.cancelled:
                part.cancel("it was cancelled together with the application that it is a part of")
