"""What has become of a lifespan, in words: the error to raise, or what to write to the log."""

from __future__ import annotations

import logging
import sys

from ..errors import (
    LifespanCrashed,
    LifespanUnsupported,
    ShutdownFailed,
    ShutdownTimeout,
    StartupFailed,
    StartupTimeout,
)
from .exceptions import add_note, describe
from .lifespan import Lifespan
from .protocol import ENDED, State
from .where import show

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

_STILL_RUNS = "; it was cancelled, and still runs"


def startup_error(lifespan: Lifespan, *, required: bool, timeout: float) -> BaseException | None:
    """What kept the application from serving, if anything did.

    :param required: whether the application must have a lifespan
    :param timeout: the limit of the startup, in seconds
    """
    state = lifespan.outcome
    error: BaseException | None = None
    if state is State.UNSUPPORTED and required:
        error = LifespanUnsupported(
            f"the application has no lifespan: {_why_unsupported(lifespan)}; "
            'use mode "auto" to go on without one'
        )
    elif state is State.START_RAISED and required:
        reason = describe(lifespan.raised)
        error = StartupFailed(f"the application raised in its startup: {reason}", message=reason)
    elif state is State.START_FAILED:
        reason = lifespan.message or describe(lifespan.raised)
        error = StartupFailed(
            f"the application failed to start: {reason}", message=lifespan.message
        )
    elif state in (State.MISTAKEN, State.DECLINED, State.START_LATE, State.START_TIMED_OUT):
        error = _timed_out(StartupTimeout, lifespan, "startup", timeout)
    elif state in (State.BREAKING, State.CRASHED):
        error = crash(lifespan)
    elif state is State.EXITED:
        return lifespan.raised
    return _caused(error, lifespan)


def shutdown_error(lifespan: Lifespan, *, timeout: float) -> BaseException | None:
    """What is wrong with the end of an application that had served, if anything is.

    :param timeout: the limit of the shutdown, in seconds
    """
    state = lifespan.outcome
    error: BaseException | None = None
    if state is State.STOP_FAILED:
        reason = lifespan.message or describe(lifespan.raised)
        error = ShutdownFailed(f"the application failed to shut down: {reason}", message=reason)
    elif state in (
        State.SAID_STOPPED,
        State.SAID_NOT_STOPPED,
        State.STOP_LATE,
        State.STOP_TIMED_OUT,
    ):
        error = _timed_out(ShutdownTimeout, lifespan, "shutdown", timeout)
    elif state in (State.BREAKING, State.CRASHED):
        error = crash(lifespan)
    elif state is State.EXITED:
        return lifespan.raised
    return _caused(error, lifespan)


def crash(lifespan: Lifespan) -> LifespanCrashed:
    """How the application died while it was serving."""
    if lifespan.outcome is State.EXITED and lifespan.raised is not None:
        raise lifespan.raised
    reason = lifespan.message if lifespan.raised is None else describe(lifespan.raised)
    deaf = _STILL_RUNS if lifespan.outcome is State.BREAKING and lifespan.protocol.cancelled else ""
    error = LifespanCrashed(f"the application's lifespan crashed while serving: {reason}{deaf}")
    error.__cause__ = lifespan.raised
    return error


def report(
    error: BaseException | None, logger: logging.Logger, *, beside: BaseException | None
) -> None:
    """Tell of an error that cannot be raised, since another is.

    :param beside: the other, which gets a note
    """
    if error is None:
        return
    logger.error("%s", error, exc_info=error)
    if beside is not None:
        add_note(beside, f"Besides, {describe(error)}")


def tell_unsupported(lifespan: Lifespan, logger: logging.Logger) -> None:
    """Tell that the application serves without a lifespan, if it does."""
    if lifespan.outcome is State.START_RAISED:
        logger.warning(
            "The application raised in its startup, which the ASGI specification takes for an "
            'application without a lifespan; going on without it. Mode "on" makes it an error.',
            exc_info=lifespan.raised,
        )
    elif lifespan.outcome is State.UNSUPPORTED:
        logger.info(
            "The application has no lifespan (%s); going on without it.",
            _why_unsupported(lifespan),
        )


def left_open(complaint: Exception) -> Exception:
    """What the event loop complained of when the application's task had ended.

    :param complaint: what it raised; a group, if it is of that task
    """
    error: Exception
    if isinstance(complaint, ExceptionGroup):
        error = LifespanCrashed(
            "the application has ended with a cancel scope or a task group still open in its task, "
            "as an async generator leaves it that yields inside of one and is not closed (PEP 789)"
        )
    else:
        error = RuntimeError(
            "the body of an async with LifespanManager was left with a cancel scope or a task "
            "group still open, that was entered in it: leave everything in reverse order"
        )
    error.__cause__ = complaint
    return error


def _why_unsupported(lifespan: Lifespan) -> str:
    """What made it plain that the application has no lifespan."""
    if lifespan.raised is None:
        return "it returned before it had answered lifespan.startup"
    return f"it raised {describe(lifespan.raised)}"


def _timed_out(
    kind: type[StartupTimeout] | type[ShutdownTimeout],
    lifespan: Lifespan,
    phase: str,
    timeout: float,
) -> BaseException:
    text = f"the application did not finish its {phase} within {timeout:g} seconds"
    if lifespan.outcome not in ENDED:
        text += _STILL_RUNS
    if lifespan.message:
        text += f". It had said: {lifespan.message}"
    return kind(
        f"{text}. It was waiting at:\n{show(lifespan.where)}",
        message=lifespan.message or text,
        timeout=timeout,
        where=lifespan.where,
    )


def _caused(error: BaseException | None, lifespan: Lifespan) -> BaseException | None:
    if error is not None:
        error.__cause__ = lifespan.raised
    return error
