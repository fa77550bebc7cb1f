"""The ASGI lifespan protocol as a table of transitions: no I/O, no await, no event loop.

Everything that decides what a message *means* is in this file. Theory of operation:

- The application is in one :class:`State` at any time. What it does, what the server asks of it
  and what the clock says are :class:`Event`\\ s. :data:`TRANSITIONS` gives the next state.
- A message that the table does not allow in the present state is the application's mistake: it is
  told so by a :exc:`LifespanProtocolError` out of its ``send()``, and nothing changes. What it does
  then counts like anything else.
- Once the application is being cancelled, its outcome is decided. Whatever it still sends is
  ignored (frameworks report their own cancellation as a failure on their way out), and raising
  means the same as returning.
- KeyboardInterrupt and SystemExit (:attr:`Event.EXIT`) end it from any state.
- An application may be made of parts, with lifespans of their own. One that crashes is the whole's
  crash (:attr:`Event.PART_CRASH`), which then still has its other parts to shut down.

The specification is https://asgi.readthedocs.io/en/latest/specs/lifespan.html, version 2.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from ..errors import LifespanProtocolError
from .attempt import attempt


class Phase(Enum):
    """Where a lifespan is, as its manager's callers see it."""

    IDLE = "idle"
    STARTING = "starting"
    SERVING = "serving"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class Event(Enum):
    """What can happen to a lifespan. The values of messages are their ASGI types."""

    # The application sends.
    STARTUP_COMPLETE = "lifespan.startup.complete"
    STARTUP_FAILED = "lifespan.startup.failed"
    SHUTDOWN_COMPLETE = "lifespan.shutdown.complete"
    SHUTDOWN_FAILED = "lifespan.shutdown.failed"
    FOREIGN_MESSAGE = "a message of another protocol"
    # The application does.
    RECEIVE_STARTUP = "received lifespan.startup"
    RETURN = "returned"
    RAISE = "raised"
    EXIT = "raised KeyboardInterrupt or SystemExit"
    # The server asks.
    SHUTDOWN = "lifespan.shutdown"
    TIMEOUT = "time ran out"
    CANCEL = "nobody waits for it any longer"
    # A lifespan that the application drives does.
    PART_CRASH = "a part of it has crashed"

    # Members are the same only if they are identical; by its name, Enum's own, takes longer.
    __hash__ = object.__hash__


class State(Enum):
    """Where the application is in the protocol; the values complete "it sent … after …"."""

    # It runs.
    CALLED = "it was called"
    STARTING = "it had received lifespan.startup"
    MISTAKEN = "it had taken the lifespan for another protocol"
    DECLINED = "it had sent lifespan.startup.failed"
    SERVING = "it had sent lifespan.startup.complete"
    BREAKING = "it had sent lifespan.shutdown.failed unasked"
    PART_CRASHED = "a part of it had crashed"
    STOPPING = "it had been sent lifespan.shutdown"
    SAID_STOPPED = "it had sent lifespan.shutdown.complete"
    SAID_NOT_STOPPED = "it had sent lifespan.shutdown.failed"
    # It runs, and is being cancelled before it has said anything.
    START_LATE = "its startup had timed out"
    START_CANCELLING = "its startup had been cancelled"
    STOP_LATE = "its shutdown had timed out"
    STOP_CANCELLING = "its shutdown had been cancelled"
    # It has ended.
    UNSUPPORTED = "it had ended without taking part in the lifespan"
    START_RAISED = "it had raised in startup"
    START_FAILED = "its startup had failed"
    START_TIMED_OUT = "it had ended, too late"
    START_CANCELLED = "it had ended, cancelled"
    RETURNED = "it had returned"
    CRASHED = "it had crashed"
    STOPPED = "it had shut down"
    STOPPED_SILENTLY = "it had returned from its shutdown"
    STOP_FAILED = "its shutdown had failed"
    STOP_TIMED_OUT = "it had ended, too late to shut down"
    EXITED = "it had raised KeyboardInterrupt or SystemExit"

    __hash__ = object.__hash__


def _ends_as(state: State) -> dict[Event, State]:
    return {Event.RETURN: state, Event.RAISE: state}


_UNDECIDED = {
    Event.STARTUP_COMPLETE: State.SERVING,
    Event.STARTUP_FAILED: State.DECLINED,
    Event.FOREIGN_MESSAGE: State.MISTAKEN,
    Event.TIMEOUT: State.START_LATE,
    Event.CANCEL: State.START_CANCELLING,
    Event.RETURN: State.UNSUPPORTED,
}

TRANSITIONS: dict[State, dict[Event, State]] = {
    State.CALLED: {
        **_UNDECIDED,
        Event.RECEIVE_STARTUP: State.STARTING,
        Event.RAISE: State.UNSUPPORTED,
    },
    State.STARTING: {
        **_UNDECIDED,
        Event.RAISE: State.START_RAISED,
    },
    State.MISTAKEN: {
        Event.RETURN: State.UNSUPPORTED,
        Event.RAISE: State.UNSUPPORTED,
    },
    State.DECLINED: _ends_as(State.START_FAILED),
    State.SERVING: {
        Event.SHUTDOWN: State.STOPPING,
        # Anycorn's dispatcher sends it for a part without a lifespan; every server serves on.
        Event.SHUTDOWN_COMPLETE: State.SERVING,
        # Starlette sends it when a task group in the application's lifespan dies.
        Event.SHUTDOWN_FAILED: State.BREAKING,
        Event.PART_CRASH: State.PART_CRASHED,
        Event.RETURN: State.RETURNED,
        Event.RAISE: State.CRASHED,
    },
    State.BREAKING: _ends_as(State.CRASHED),
    State.PART_CRASHED: {
        Event.SHUTDOWN_FAILED: State.BREAKING,
        **_ends_as(State.CRASHED),
    },
    State.STOPPING: {
        Event.SHUTDOWN_COMPLETE: State.SAID_STOPPED,
        Event.SHUTDOWN_FAILED: State.SAID_NOT_STOPPED,
        Event.TIMEOUT: State.STOP_LATE,
        Event.CANCEL: State.STOP_CANCELLING,
        Event.RETURN: State.STOPPED_SILENTLY,
        Event.RAISE: State.STOP_FAILED,
    },
    State.SAID_STOPPED: {
        Event.RETURN: State.STOPPED,
        Event.RAISE: State.STOP_FAILED,
    },
    State.SAID_NOT_STOPPED: _ends_as(State.STOP_FAILED),
    # Being cancelled, where raising means the same as returning.
    State.START_LATE: {Event.RETURN: State.START_TIMED_OUT},
    State.START_CANCELLING: {Event.RETURN: State.START_CANCELLED},
    State.STOP_LATE: {Event.RETURN: State.STOP_TIMED_OUT},
    State.STOP_CANCELLING: {Event.RETURN: State.STOP_FAILED},
    # A server goes on without the lifespan, and in the end asks it to shut down all the same.
    State.UNSUPPORTED: {Event.SHUTDOWN: State.STOPPED},
    State.START_RAISED: {Event.SHUTDOWN: State.STOPPED},
    State.RETURNED: {Event.SHUTDOWN: State.STOPPED},
}

MESSAGES = {
    event.value: event
    for event in (
        Event.STARTUP_COMPLETE,
        Event.STARTUP_FAILED,
        Event.SHUTDOWN_COMPLETE,
        Event.SHUTDOWN_FAILED,
    )
}
FOREIGN_PREFIXES = ("http.", "websocket.")

# It may still turn out how the startup ends.
STARTUP = {State.CALLED, State.STARTING, State.MISTAKEN, State.DECLINED}
# The application has said all that it may say, and should now end by itself.
LAST_WORDS = {
    State.MISTAKEN,
    State.DECLINED,
    State.BREAKING,
    State.SAID_STOPPED,
    State.SAID_NOT_STOPPED,
}
BROKEN = {State.BREAKING, State.PART_CRASHED, State.CRASHED}
WITHOUT_LIFESPAN = {State.UNSUPPORTED, State.START_RAISED}
ENDED = {
    State.UNSUPPORTED,
    State.START_RAISED,
    State.START_FAILED,
    State.START_TIMED_OUT,
    State.START_CANCELLED,
    State.RETURNED,
    State.CRASHED,
    State.STOPPED,
    State.STOPPED_SILENTLY,
    State.STOP_FAILED,
    State.STOP_TIMED_OUT,
    State.EXITED,
}

PHASES = {
    **dict.fromkeys([State.CALLED, State.STARTING, State.MISTAKEN], Phase.STARTING),
    **dict.fromkeys(
        [State.SERVING, State.RETURNED, State.UNSUPPORTED, State.START_RAISED], Phase.SERVING
    ),
    **dict.fromkeys([State.START_CANCELLING, State.STOPPING, State.SAID_STOPPED], Phase.STOPPING),
    **dict.fromkeys([State.START_CANCELLED, State.STOPPED, State.STOPPED_SILENTLY], Phase.STOPPED),
}  # and all others are Phase.FAILED


class Protocol:
    """The state of one lifespan.

    :ivar state: where it is now
    :ivar supported: whether the application has a lifespan; None until that is decided
    :ivar served: whether the application has got as far as to serve
    :ivar cancelled: whether the application has been told to end, so that no message counts
    """

    __slots__ = ("cancelled", "served", "state", "supported")

    def __init__(self) -> None:
        self.state = State.CALLED
        self.supported: bool | None = None
        self.cancelled = False
        self.served = False

    @property
    def phase(self) -> Phase:
        return PHASES.get(self.state, Phase.FAILED)

    def receive_startup(self) -> None:
        """The application has received ``lifespan.startup``."""
        # It may have sent its answer before it asked; then this tells nothing new.
        self._move(Event.RECEIVE_STARTUP)

    def send(self, message: object) -> Event | None:
        """The application sends a message.

        :return: what it was; None if nothing that is sent counts any more
        :raises LifespanProtocolError: if the message is malformed, or must not be sent now
        """
        if self.cancelled:
            return None
        event = parse(message)
        allowed = self._move(event)
        if event is Event.FOREIGN_MESSAGE and self.state is State.MISTAKEN:
            raise LifespanProtocolError(
                "the application answered the lifespan with a message of another protocol; "
                f"expected {Event.STARTUP_COMPLETE.value}: does it look at scope['type']?"
            )
        if not allowed:
            raise LifespanProtocolError(
                f"the application sent {event.value} after {self.state.value}; "
                f"{self._expectation()}"
            )
        return event

    def shutdown(self) -> bool:
        """The server asks for the shutdown.

        :return: whether that changes anything
        """
        return self._move(Event.SHUTDOWN)

    def part_crashes(self) -> bool:
        """A lifespan that is a part of this one has crashed.

        :return: whether that changes anything
        """
        return self._move(Event.PART_CRASH)

    def cancel(self, why: Event) -> None:
        """The application is being cancelled: nothing that it says counts from here on."""
        self._move(why)
        self.cancelled = True

    def end(self, how: Event) -> None:
        """The application has returned, raised or exited."""
        if how is Event.EXIT:
            self.state = State.EXITED
        else:
            self._move(Event.RETURN if self.cancelled else how)

    def _move(self, event: Event) -> bool:
        following = TRANSITIONS.get(self.state, {}).get(event)
        if following is None:
            return False
        self.state = following
        self.served = self.served or following is State.SERVING
        if following in (State.SERVING, State.DECLINED):
            self.supported = True
        elif following in (State.MISTAKEN, State.UNSUPPORTED, State.START_RAISED):
            self.supported = False
        return True

    def _expectation(self) -> str:
        if self.state is State.SERVING:
            return "expected nothing until it has received lifespan.shutdown"
        allowed = [
            kind for kind, event in MESSAGES.items() if event in TRANSITIONS.get(self.state, {})
        ]
        return f"expected {' or '.join(allowed)}" if allowed else "expected nothing more"


def parse(message: object) -> Event:
    """What a message is.

    :raises LifespanProtocolError: if it is not a message that an application may ever send
    """
    if not isinstance(message, (dict, Mapping)):  # which is quicker for those that are a dict
        raise LifespanProtocolError(
            "the application sent something that is not a message: expected a mapping such as "
            f"{{'type': 'lifespan.startup.complete'}}, got {_show(message)}"
        )
    kind: Any = message.get("type")
    if not isinstance(kind, str):
        raise LifespanProtocolError(
            "the application sent a message without a type: expected "
            f"{{'type': 'lifespan.startup.complete'}} or the like, got {_show(message)}"
        )
    if kind.startswith(FOREIGN_PREFIXES):
        return Event.FOREIGN_MESSAGE
    event = MESSAGES.get(kind)
    if event is None:
        raise LifespanProtocolError(
            f"the application sent a message of the unknown type {kind!r}: expected one of "
            f"{', '.join(MESSAGES)}"
        )
    text: Any = message.get("message", "")
    if not isinstance(text, str):
        raise LifespanProtocolError(
            f"the application sent {kind} with a message that is not text: expected a str, got "
            f"{_show(text)}"
        )
    return event


def _show(value: object) -> str:
    shown = attempt(lambda: repr(value), "its repr() raises an exception")
    return f"{type(value).__name__}: {shown if len(shown) <= 100 else shown[:97] + '...'}"
