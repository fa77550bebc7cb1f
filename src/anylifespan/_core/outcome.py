"""Create the error to raise, or the message to log, for a lifespan's outcome."""

from __future__ import annotations

import sys
from traceback import StackSummary

from ..errors import (
    LifespanCrashed,
    LifespanError,
    LifespanUnsupported,
    ShutdownFailed,
    ShutdownTimeout,
    StartupFailed,
    StartupTimeout,
)
from .application import NotAwaitableError, name_of
from .exceptions import describe, reason
from .frames import raised_at, show
from .inside import swallowed_by
from .lifespan import Lifespan
from .log import Log
from .options import in_seconds
from .protocol import BROKEN, ENDED, State

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

_STILL_RUNS = "; it was cancelled, and still runs"


def startup_error(lifespan: Lifespan, *, timeout: float) -> BaseException | None:
    """Return the error that prevented the application from starting, if any.

    :param timeout: the startup's time limit, in seconds
    """
    state = lifespan.outcome
    error: LifespanError | None = None
    if state is State.UNSUPPORTED and lifespan.required:
        why, swallowed = _why_unsupported(lifespan)
        error = LifespanUnsupported(
            f"the application has no lifespan: {why}; "
            f'use mode "auto" to go on without one{"." * bool(swallowed)}{swallowed}',
            message=why,
            swallowed=bool(swallowed),
        )
    elif state is State.START_RAISED and lifespan.required:
        why = describe(lifespan.raised)
        error = StartupFailed(f"the application raised in its startup: {why}", message=why)
    elif state is State.START_FAILED:
        why = reason(lifespan.message, lifespan.raised)
        error = StartupFailed(_once("the application failed to start: ", why), message=why)
    elif state in (State.MISTAKEN, State.DECLINED, State.START_LATE, State.START_TIMED_OUT):
        error = _timed_out(StartupTimeout, lifespan, "startup", timeout)
    elif isinstance(lifespan.raised, NotAwaitableError):
        why = str(lifespan.raised)
        error = StartupFailed(f"this is no ASGI application: {why}", message=why)
    return _caused(error, lifespan) or _crash_or_exit(lifespan)


def shutdown_error(lifespan: Lifespan, *, timeout: float) -> BaseException | None:
    """Return the error with which an application has ended after it was serving, if any.

    :param timeout: the shutdown's time limit, in seconds
    """
    state = lifespan.outcome
    error: LifespanError | None = None
    if state in (State.STOP_FAILED, State.STOP_CANCELLING):
        why = reason(lifespan.message, lifespan.raised)
        deaf = _STILL_RUNS if state is State.STOP_CANCELLING else ""
        error = ShutdownFailed(
            _once("the application failed to shut down: ", why) + deaf, message=why
        )
    elif state in (
        State.SAID_STOPPED,
        State.SAID_NOT_STOPPED,
        State.STOP_LATE,
        State.STOP_TIMED_OUT,
    ):
        error = _timed_out(ShutdownTimeout, lifespan, "shutdown", timeout)
    return _caused(error, lifespan) or _crash_or_exit(lifespan)


def crash(lifespan: Lifespan) -> LifespanCrashed:
    """Return the error for an application that crashed while it was serving."""
    why = describe(lifespan.raised) if lifespan.raised is not None else lifespan.message
    runs_on = lifespan.outcome not in ENDED and lifespan.protocol.cancelled
    error = LifespanCrashed(
        f"the application's lifespan crashed while serving: {why}{_STILL_RUNS * runs_on}",
        message=reason(lifespan.message, lifespan.raised),
    )
    error.__cause__ = lifespan.raised
    return error


def log_unsupported(lifespan: Lifespan, log: Log) -> None:
    """Log that the application is served without a lifespan, if it has none."""
    if lifespan.outcome is State.START_RAISED:
        log.warning(
            "The application raised in its startup, which the ASGI specification takes for an "
            'application without a lifespan; going on without it. Mode "on" makes it an error.',
            exc_info=lifespan.raised,
        )
    elif lifespan.outcome is State.UNSUPPORTED:
        why, swallowed = _why_unsupported(lifespan)
        write = log.warning if swallowed else log.info
        write("The application has no lifespan (%s); going on without it.%s", why, swallowed)


def left_open(complaint: BaseException) -> Exception:
    """Return the error for a cancel scope or a task group that was left open.

    :param complaint: the event loop's exception. It is an exception group if it comes from the
        application's task
    """
    error: Exception
    if isinstance(complaint, BaseExceptionGroup):
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


def blocked(
    kind: type[StartupTimeout] | type[ShutdownTimeout],
    phase: str,
    timeout: float,
    where: StackSummary,
) -> LifespanError:
    """Return the error for an application that runs in another thread and blocks its event loop.

    :param timeout: the phase's time limit, in seconds
    """
    text = (
        f"the application did not finish its {phase} within {in_seconds(timeout)}: it blocks its "
        "event loop. Its thread was abandoned"
    )
    return kind(
        f"{text}. The thread is at:\n{show(where)}", message=text, timeout=timeout, where=where
    )


def _once(what: str, why: str) -> str:
    """Prefix an error's reason, unless middleware has already added the same prefix."""
    return why if why.startswith(what) else what + why


def _caused(error: LifespanError | None, lifespan: Lifespan) -> LifespanError | None:
    if error is not None:
        error.__cause__ = lifespan.raised
    return error


def _crash_or_exit(lifespan: Lifespan) -> BaseException | None:
    if lifespan.outcome in BROKEN:
        return crash(lifespan)
    return lifespan.raised if lifespan.outcome is State.EXITED else None


def _why_unsupported(lifespan: Lifespan) -> tuple[str, str]:
    """Return why the application appears to have no lifespan, and a hint or an empty string."""
    if lifespan.raised is None:
        why = "it returned before it had answered lifespan.startup"
    else:
        why = f"it raised {describe(lifespan.raised)}{raised_at(lifespan.raised)}"
    swallowed = swallowed_by(lifespan.app)
    if swallowed is None:
        return why, ""
    return why, (
        f" But {name_of(swallowed)} inside it has a lifespan, which is never started: make sure "
        "that every wrapper around it forwards scopes of type 'lifespan'."
    )


def _timed_out(
    kind: type[StartupTimeout] | type[ShutdownTimeout],
    lifespan: Lifespan,
    phase: str,
    timeout: float,
) -> LifespanError:
    text = f"the application did not finish its {phase} within {in_seconds(timeout)}"
    if lifespan.outcome not in ENDED:
        text += _STILL_RUNS
    if lifespan.message:
        text += f". It had said: {reason(lifespan.message, lifespan.raised)}"
    return kind(
        f"{text}. It was waiting at:\n{show(lifespan.where)}",
        message=reason(lifespan.message, lifespan.raised) if lifespan.message else text,
        timeout=timeout,
        where=lifespan.where,
    )
