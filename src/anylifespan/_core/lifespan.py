"""The lifespan itself: one task that awaits the application, inside one cancel scope.

Events reach the application through a memory object stream; that it has come to a decision comes
back through another, whose end says that the application has ended. What a decision *means* is the
protocol's business, and what to tell the caller is the manager's.

Time is kept by whoever waits for the lifespan: a limit is the deadline of the cancel scope around
that wait. So the application can be looked at where it stands before it is cancelled, and one that
does not heed its cancellation is noticed by the same means.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from logging import Logger
from traceback import StackSummary
from typing import Any

from anyio import (
    CancelScope,
    EndOfStream,
    get_cancelled_exc_class,
)
from anyio.lowlevel import cancel_shielded_checkpoint

from ..errors import LifespanProtocolError
from . import application
from .exceptions import contains, only_leaf
from .hosting import Checkpoint, EventLoop
from .mailbox import Mailbox
from .protocol import ENDED, LAST_WORDS, STARTUP, Event, Protocol, State
from .requests import Variables, variables_set
from .where import show, where_waiting

# Seconds that an application has left to end by itself, once it has said all that it may say.
LINGER = 5.0
# How often an application is let run before time is kept for it: many need no more for all of their
# startup or shutdown, and to keep time takes longer than that. On asyncio one step is enough; on
# trio the order of tasks is random, and a task of the lifespan's own is started by another one.
STEPS = 3
# Seconds between two looks at an application that has been cancelled and still runs.
PATROL = 5.0

# What goes through to the caller as it is.
_EXITS = (KeyboardInterrupt, SystemExit, application.NotAwaitableError)


class _Over(Exception):
    """Ends an application that waits for an event after its last word, and shields itself."""


class Lifespan:
    """One run of an application's lifespan.

    :ivar protocol: where it is
    :ivar message: the text that came with the application's last word
    :ivar raised: what the application raised, other than its cancellation
    :ivar where: where the application was waiting when time ran out
    :ivar task: its task, where there is one to be looked at
    :ivar coroutine: what its task runs; None before it does
    :ivar variables: the context variables that it set in its startup
    :ivar started_at, decided_at, stopping_at, ended_at: when, in seconds by the event loop's clock,
        it began, its startup was decided, it was asked to shut down, and it ended
    """

    where = StackSummary()

    def __init__(
        self,
        app: application.ASGI3App,
        scope: dict[str, Any],
        *,
        event_loop: EventLoop,
        shield: bool,
        on_crash: Callable[[], None],
        logger: Logger,
    ) -> None:
        self.protocol = Protocol()
        self.message = ""
        self.raised: BaseException | None = None
        self.task: object = None
        self.coroutine: object = None
        self.variables: Variables = ()
        self._event_loop = event_loop
        self._time = event_loop.time
        self.started_at = self._time()
        self.decided_at: float | None = None
        self.stopping_at: float | None = None
        self.ended_at: float | None = None
        self._app = app
        self._scope = scope
        self._on_crash = on_crash
        self._logger = logger
        self._ended_as: State | None = None
        self._context: Context = copy_context()
        self._cancel_scope = CancelScope(shield=shield)
        self._last_word_at = math.inf
        self._cancelled_at = math.inf
        self._watched = False
        self._events: Mailbox[dict[str, str]] = Mailbox(event_loop.checkpoint)
        self._events.send({"type": "lifespan.startup"})
        self._decisions: Mailbox[State] = Mailbox(event_loop.checkpoint)

    @property
    def state(self) -> State:
        return self.protocol.state

    @property
    def outcome(self) -> State:
        """The state in which the application has ended; the present one while it runs.

        Whoever waited for it may get to know later than somebody who then shuts it down.
        """
        return self.state if self._ended_as is None else self._ended_as

    # The application's side

    async def run(self) -> None:
        """The lifespan's task."""
        if self.state in ENDED:
            return
        self.coroutine = self._event_loop.current_coroutine()
        # Nothing is raised, a cancellation neither: a task group would take that for its own, and
        # whoever waits for the lifespan is told anyway.
        try:
            with self._cancel_scope:
                returned = self._app(self._scope, self._receive, self._send)
                await application.awaitable(self._app, returned)
        except BaseException as exc:  # noqa: BLE001 - whoever waits for it gets to know
            self.raised = exc
        if self._event_loop.is_running():
            self._end()
        else:
            # It was closed, and this coroutine with it: nobody is left who could be told.
            self._close_mailboxes()

    async def _receive(self) -> dict[str, str]:
        try:
            if self.state is State.CALLED:  # the first is there already
                event = self._events.receive_nowait()
            else:
                event = await self._events.receive()
        except EndOfStream:
            if self.state in ENDED:
                raise LifespanProtocolError(
                    "receive() was called after the application had ended, by a task that it "
                    "started and left behind: end such tasks before the application returns"
                ) from None
            # It has said its last word and waits for another event (``while True:`` loops do):
            # there is none, so this is its end.
            self._cancel(Event.CANCEL)
            await self._event_loop.checkpoint()
            raise _Over from None  # it shields itself
        if event["type"] == "lifespan.startup":
            self.protocol.receive_startup()
        return event

    async def _send(self, message: Any) -> None:
        # Without a checkpoint: what the application does before it next waits comes before anything
        # that its message sets off, on every backend.
        try:
            event = self.protocol.send(message)
        except LifespanProtocolError:
            if self.state is State.MISTAKEN:
                self._take_last_word("")
            raise
        if event is Event.STARTUP_COMPLETE:
            self.variables = variables_set(self._context, copy_context())
            del self._context
            self._decide()
        elif event is not None:
            self._take_last_word(message.get("message", ""))

    def _take_last_word(self, message: str) -> None:
        if self._last_word_at < math.inf:  # a second message of another protocol
            return
        self._last_word_at = self._time()
        self.message = message
        self._events.end()
        self._decide()
        if self.state is State.BREAKING:
            # Nobody may be waiting for the end of it now, so this limit is the scope's own.
            self._cancel_scope.deadline = self._last_word_at + LINGER
            self._on_crash()

    def _decide(self) -> None:
        if self.decided_at is None:
            self.decided_at = self._time()
        self._decisions.send(self.state)

    def _end(self) -> None:
        was_serving = self.state is State.SERVING
        raised, self.raised = self.raised, only_leaf(self.raised)
        if isinstance(self.raised, _Over):
            self.raised = raised = None
        if contains(self.raised, _EXITS):
            self.protocol.end(Event.EXIT)
        else:
            self.protocol.end(Event.RETURN if raised is None else Event.RAISE)
        self._ended_as = self.state
        self.ended_at = self._time()
        if self.decided_at is None:
            self.decided_at = self.ended_at
        self._close_mailboxes()
        if self.state is State.RETURNED:
            self._logger.info("The application's lifespan returned while serving; going on.")
        elif was_serving:
            self._on_crash()
        if self.state is State.CRASHED:
            self._logger.error(
                "The application's lifespan %s while serving.",
                "was cancelled from outside, without a shutdown,"
                if isinstance(raised, get_cancelled_exc_class())
                else "crashed",
                exc_info=self.raised,
            )
        elif self.state in (State.STOPPED, State.START_CANCELLED) and raised is not None:
            self._logger.warning(
                "The application raised while it was being cancelled.", exc_info=self.raised
            )
        # It leads back to the manager, which would have to wait for the collector of garbage.
        del self._on_crash

    def _close_mailboxes(self) -> None:
        self._events.close()
        self._decisions.close()

    # The server's side

    def skip(self) -> None:
        """Take it for the lifespan of an application that has none, without calling it."""
        self._end()

    async def wait_started(self, timeout: float) -> None:
        """Wait until the application serves, or has ended, or is being cancelled.

        :param timeout: seconds; when they are over, the application is cancelled
        """
        deadline = self.started_at + timeout
        for _ in range(STEPS):
            if self.state not in STARTUP:
                return
            await self._event_loop.checkpoint()
        while self.state in STARTUP and not self.protocol.cancelled:
            with CancelScope(deadline=min(deadline, self._last_word_at + LINGER)) as limit:
                await self._wait()
            if limit.cancelled_caught and self.state in STARTUP:
                self._run_out_of_time()

    def cancel(self) -> None:
        """Cancel the application: nobody waits for it any longer."""
        self._cancel(Event.CANCEL)

    def shut_down(self) -> float:
        """Send ``lifespan.shutdown``, where that is still of use.

        :return: when this was first asked for; now, if it was of no use
        """
        if self.protocol.shutdown():
            self.stopping_at = self._time()
            if self.state is State.STOPPING:
                self._events.send({"type": "lifespan.shutdown"})
        return self._time() if self.stopping_at is None else self.stopping_at

    async def wait_ended(
        self, deadline: float, *, give_up: bool, checkpoint: Checkpoint = cancel_shielded_checkpoint
    ) -> BaseException | None:
        """Wait until the application has ended, whatever happens to the caller meanwhile.

        :param deadline: when the application is cancelled, by the event loop's clock
        :param give_up: leave an application to itself that does not heed its cancellation
        :return: what reached the caller in spite of the shield, as asyncio's own ``Task.cancel()``
            and trio's KeyboardInterrupt do; for the caller to raise in the end
        """
        interruption: BaseException | None = None
        looks = 0
        steps = STEPS
        while self.state not in ENDED:
            cancelled = self.protocol.cancelled
            if cancelled:
                look_at = self._cancelled_at + PATROL * (looks + 1)
            else:
                look_at = min(deadline, self._last_word_at + LINGER)
            try:
                if steps:
                    steps -= 1
                    await checkpoint()
                    continue
                with CancelScope(deadline=look_at, shield=True) as limit:
                    await self._wait()
            except (get_cancelled_exc_class(), KeyboardInterrupt) as exc:
                # On trio, Ctrl-C is raised in whatever the main task is waiting in.
                interruption = exc
                continue
            if not limit.cancelled_caught or self.protocol.cancelled is not cancelled:
                continue
            if not cancelled or self.coroutine is None:
                self._run_out_of_time()
                continue
            looks += 1
            self._warn(
                "The application still runs %g seconds after it was cancelled: it ignores the "
                "cancellation, or waits for a thread that cannot be cancelled.",
                PATROL * looks,
            )
            if give_up:
                break
        return interruption

    async def _wait(self) -> None:
        if not self._watched:
            self._watched = True
            self._event_loop.when_done(self.task, self._on_task_done)
        with suppress(EndOfStream):
            await self._decisions.receive()

    def _on_task_done(self, cancelled: BaseException) -> None:
        if self.state in ENDED:
            return
        # On asyncio a task that is cancelled before its first step never takes it.
        if not self.protocol.cancelled:
            self.protocol.send({"type": Event.STARTUP_FAILED.value})
            self.message = "its task was cancelled before its first step"
            self.raised = cancelled
        self._end()

    def _run_out_of_time(self) -> None:
        self._cancel(Event.TIMEOUT)
        if self.coroutine is None:
            # A task factory puts off its first step, which does nothing any more.
            self._end()
            return
        # It will not notice before it is next run, so it still stands where it stood.
        self.where = where_waiting(self.coroutine)
        if self.state in LAST_WORDS:
            self._warn(
                "The application still runs %g seconds after %s; cancelling it.",
                self._time() - self._last_word_at,
                self.state.value,
            )

    def _warn(self, text: str, *args: object) -> None:
        where = show(where_waiting(self.coroutine))
        self._logger.warning(f"{text} It is waiting at:\n%s", *args, where)

    def _cancel(self, why: Event) -> None:
        if self.protocol.cancelled or self.state in ENDED:
            return
        self.protocol.cancel(why)
        self._cancelled_at = self._time()
        self._cancel_scope.cancel()
