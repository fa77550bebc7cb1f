"""Questions about exceptions, alone or in groups."""

from __future__ import annotations

import sys

from ..errors import LifespanCrashed, LifespanError
from .attempt import attempt
from .frames import own_traceback
from .hosting import cancellations

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup


EXITS = (KeyboardInterrupt, SystemExit)


def only_leaf(raised: BaseException | None) -> BaseException | None:
    """What a task group wrapped, if it wrapped one exception alone."""
    while isinstance(raised, BaseExceptionGroup) and len(raised.exceptions) == 1:
        raised = raised.exceptions[0]
    return raised


def without(raised: BaseException | None, kind: type[Exception]) -> BaseException | None:
    """What is left of it, or of a group, without exceptions of this kind."""
    if isinstance(raised, kind):
        return None
    if isinstance(raised, BaseExceptionGroup) and contains(raised, (kind,)):
        return raised.split(kind)[1]
    return raised


def contains(raised: BaseException | None, kinds: tuple[type[BaseException], ...] = EXITS) -> bool:
    """Whether it is one of these kinds, or a group with one of them in it."""
    if isinstance(raised, BaseExceptionGroup):
        return any(contains(one, kinds) for one in raised.exceptions)
    return isinstance(raised, kinds)


def exit_in(raised: BaseException) -> BaseException | None:
    """The KeyboardInterrupt or SystemExit that it is, or that is in a group."""
    if isinstance(raised, BaseExceptionGroup):
        return next(filter(None, map(exit_in, raised.exceptions)), None)
    return raised if isinstance(raised, EXITS) else None


def is_cancellation(raised: BaseException) -> bool:
    """Whether it is nothing but an event loop's cancellation."""
    if isinstance(raised, BaseExceptionGroup):
        return all(map(is_cancellation, raised.exceptions))
    return isinstance(raised, cancellations())


def describe(raised: BaseException | None) -> str:
    """An exception in one line; for a group, what is in it."""
    if isinstance(raised, BaseExceptionGroup):
        return "; ".join(map(describe, raised.exceptions))
    if raised is None:
        return "no reason given"
    text = attempt(lambda: str(raised), "(its __str__() raises an exception)")
    return f"{type(raised).__name__}: {text}" if text else type(raised).__name__


def in_full(raised: BaseException) -> str:
    """An exception as a message to a server, for its log: with the traceback of what was raised."""
    if not isinstance(raised, LifespanError):
        return own_traceback(raised)
    text = str(raised)
    cause = raised.__cause__
    # The traceback of a crash was logged when it happened.
    if cause is None or isinstance(raised, LifespanCrashed):
        return text
    return f"{text}\n{in_full(cause)}"


def reason(message: str, raised: BaseException | None) -> str:
    """Why something failed: what the application said, or else what it raised.

    Starlette, and whoever does as it does, sends a traceback for a message and then raises what it
    is of, which says the same in one line.
    """
    if not message or (raised is not None and "Traceback (most recent call last)" in message):
        return describe(raised)
    return message


def add_note(raised: BaseException | None, note: str) -> None:
    """:meth:`BaseException.add_note`, which came with Python 3.11."""

    def add() -> None:
        # exceptiongroup shows the notes of earlier Pythons in tracebacks.
        raised.__dict__.setdefault("__notes__", []).append(note)

    attempt(add, None)  # what is noted has been logged
