"""The ASGI lifespan protocol as a table of transitions: no I/O, no await, no event loop.

Everything that decides what a message *means* is in this file. Theory of operation:

- The application is in one :class:`State` at any time. Anything that the application does or the
  server requests is an :class:`Event`, and so are timeouts. :data:`TRANSITIONS` gives the next
  state.
- A message that the table does not allow in the current state is the application's mistake.
  ``send()`` raises a :exc:`LifespanProtocolError` in the application, and the state does not
  change. Whatever the application does next is handled as usual.
- Once the application is being cancelled, its outcome is decided. Messages that it still sends are
  ignored (frameworks report their own cancellation as a failure while they end), and raising an
  exception means the same as returning.
- KeyboardInterrupt and SystemExit (:attr:`Event.EXIT`) end the lifespan in any state.
- An application may consist of parts that have their own lifespans. If a part crashes, the
  application crashes too (:attr:`Event.PART_CRASH`), and then still has to shut down its other
  parts.

The specification is https://asgi.readthedocs.io/en/latest/specs/lifespan.html, version 2.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from ..errors import LifespanProtocolError
from .attempt import attempt


class Phase(Enum):
    """A lifespan's phase, as its manager reports it."""

    IDLE = "idle"
    STARTING = "starting"
    SERVING = "serving"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class Event(Enum):
    """Something that can happen to a lifespan. The value of a message is its ASGI type."""

    # Messages that the application sends.
    STARTUP_COMPLETE = "lifespan.startup.complete"
    STARTUP_FAILED = "lifespan.startup.failed"
    SHUTDOWN_COMPLETE = "lifespan.shutdown.complete"
    SHUTDOWN_FAILED = "lifespan.shutdown.failed"
    FOREIGN_MESSAGE = "a message from another protocol"
    # Other things that the application does.
    RECEIVE_STARTUP = "received lifespan.startup"
    RETURN = "returned"
    RAISE = "raised"
    EXIT = "raised KeyboardInterrupt or SystemExit"
    # Requests from the server, and timeouts.
    SHUTDOWN = "lifespan.shutdown"
    TIMEOUT = "time ran out"
    CANCEL = "nobody waits for it any longer"
    # Crashes in lifespans that are part of this one.
    PART_CRASH = "a part of it has crashed"

    # Members are equal only if they are identical, so this is correct. Enum's own hash is slower.
    __hash__ = object.__hash__


class State(Enum):
    """The application's state in the protocol. The values complete "it sent … after …"."""

    # The application is running.
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
    # The application is running, and is being cancelled before it has answered.
    START_LATE = "its startup had timed out"
    START_CANCELLING = "its startup had been cancelled"
    STOP_LATE = "its shutdown had timed out"
    STOP_CANCELLING = "its shutdown had been cancelled"
    # The application has ended.
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
        # Anycorn's dispatcher sends this for a part without a lifespan. All servers continue to
        # serve.
        Event.SHUTDOWN_COMPLETE: State.SERVING,
        # Starlette sends this when a task group in the application's lifespan fails.
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
    # The application is being cancelled, so raising an exception means the same as returning.
    State.START_LATE: {Event.RETURN: State.START_TIMED_OUT},
    State.START_CANCELLING: {Event.RETURN: State.START_CANCELLED},
    State.STOP_LATE: {Event.RETURN: State.STOP_TIMED_OUT},
    State.STOP_CANCELLING: {Event.RETURN: State.STOP_FAILED},
    # The server goes on without the lifespan, but still requests the shutdown in the end.
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

# The startup's outcome has not been decided yet.
STARTUP = {State.CALLED, State.STARTING, State.MISTAKEN, State.DECLINED}
# The application has sent its last message, and should now end by itself.
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

    :ivar state: the current state
    :ivar supported: whether the application has a lifespan; None until this is decided
    :ivar served: whether the application has started to serve
    :ivar cancelled: whether the application has been cancelled, so its messages are ignored
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
        """Record that the application has received ``lifespan.startup``."""
        # If the application answered before it received the event, nothing changes.
        self._move(Event.RECEIVE_STARTUP)

    def send(self, message: object) -> Event | None:
        """Record that the application sends a message.

        :return: the message's event; None if messages are ignored
        :raises LifespanProtocolError: if the message is malformed, or not allowed in the current
            state
        """
        if self.cancelled:
            return None
        event = parse(message)
        allowed = self._move(event)
        if event is Event.FOREIGN_MESSAGE and self.state is State.MISTAKEN:
            raise LifespanProtocolError(
                "the application answered the lifespan scope with a message from another protocol; "
                f"expected {Event.STARTUP_COMPLETE.value}. Does it check scope['type']?"
            )
        if not allowed:
            raise LifespanProtocolError(
                f"the application sent {event.value} after {self.state.value}; "
                f"{self._expectation()}"
            )
        return event

    def shutdown(self) -> bool:
        """Record that the server requests the shutdown.

        :return: whether the request changes the state
        """
        return self._move(Event.SHUTDOWN)

    def part_crashes(self) -> bool:
        """Record that a lifespan that is part of this one has crashed.

        :return: whether the crash changes the state
        """
        return self._move(Event.PART_CRASH)

    def cancel(self, why: Event) -> None:
        """Record that the application is being cancelled. From now on, its messages are ignored."""
        self._move(why)
        self.cancelled = True

    def end(self, how: Event) -> None:
        """Record how the application has ended: it returned, raised an exception, or exited."""
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
    """Return the event for a message.

    :raises LifespanProtocolError: if the message is malformed, or its type is unknown
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
