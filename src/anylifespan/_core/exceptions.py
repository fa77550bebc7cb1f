"""Inspect and describe exceptions and exception groups."""

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
    """Return the only exception in a group. Return other groups and exceptions unchanged."""
    while isinstance(raised, BaseExceptionGroup) and len(raised.exceptions) == 1:
        raised = raised.exceptions[0]
    return raised


def without(raised: BaseException | None, kind: type[Exception]) -> BaseException | None:
    """Return the exception or group without exceptions of this kind, or None if none are left."""
    if isinstance(raised, kind):
        return None
    if isinstance(raised, BaseExceptionGroup) and contains(raised, (kind,)):
        return raised.split(kind)[1]
    return raised


def contains(raised: BaseException | None, kinds: tuple[type[BaseException], ...] = EXITS) -> bool:
    """Return whether an exception is of one of these kinds, or a group that contains one."""
    if isinstance(raised, BaseExceptionGroup):
        return any(contains(one, kinds) for one in raised.exceptions)
    return isinstance(raised, kinds)


def exit_in(raised: BaseException) -> BaseException | None:
    """Return the exception if it is a KeyboardInterrupt or SystemExit, or the first in a group."""
    if isinstance(raised, BaseExceptionGroup):
        return next(filter(None, map(exit_in, raised.exceptions)), None)
    return raised if isinstance(raised, EXITS) else None


def is_cancellation(raised: BaseException) -> bool:
    """Return whether an exception is a cancellation, or a group of only cancellations."""
    if isinstance(raised, BaseExceptionGroup):
        return all(map(is_cancellation, raised.exceptions))
    return isinstance(raised, cancellations())


def describe(raised: BaseException | None) -> str:
    """Describe an exception in one line. For a group, describe the exceptions in the group."""
    if isinstance(raised, BaseExceptionGroup):
        return "; ".join(map(describe, raised.exceptions))
    if raised is None:
        return "no reason given"
    text = attempt(lambda: str(raised), "(its __str__() raises an exception)")
    return f"{type(raised).__name__}: {text}" if text else type(raised).__name__


def in_full(raised: BaseException) -> str:
    """Format an exception as a message for the server's log.

    The message includes the original traceback, unless the traceback has already been logged.
    """
    if not isinstance(raised, LifespanError):
        return own_traceback(raised)
    text = str(raised)
    cause = raised.__cause__
    # A crash's traceback was logged when the crash happened.
    if cause is None or isinstance(raised, LifespanCrashed):
        return text
    return f"{text}\n{in_full(cause)}"


def reason(message: str, raised: BaseException | None) -> str:
    """Return why something failed: the application's message, or a description of its exception.

    Starlette and similar frameworks send a traceback as the message, and then raise the exception.
    The exception's description gives the same information in one line.
    """
    if not message or (raised is not None and "Traceback (most recent call last)" in message):
        return describe(raised)
    return message


def add_note(raised: BaseException | None, note: str) -> None:
    """Add a note to an exception, as :meth:`BaseException.add_note` does from Python 3.11 on."""

    def add() -> None:
        # On earlier Python versions, exceptiongroup shows these notes in tracebacks.
        raised.__dict__.setdefault("__notes__", []).append(note)

    attempt(add, None)  # what is noted has been logged
