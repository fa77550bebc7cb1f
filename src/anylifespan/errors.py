"""Errors about lifespans. There is one class for each case that a caller may want to handle.

If the application raised an exception, that exception is the error's ``__cause__``, with its
traceback.
"""

from __future__ import annotations

import math
from traceback import StackSummary


class LifespanError(Exception):
    """Base class for all errors that this library raises about an application's lifespan.

    :ivar message: the reason in one line: the application's message, or a description of the
        exception that it raised
    """

    # The keyword arguments have defaults so that errors can be pickled, as process pools require.
    def __init__(self, text: str = "", *, message: str = "") -> None:
        super().__init__(text)
        self.message = message or text


class _TimedOut(LifespanError, TimeoutError):
    def __init__(
        self,
        text: str = "",
        *,
        message: str = "",
        timeout: float = math.inf,
        where: StackSummary | None = None,
    ) -> None:
        super().__init__(text, message=message)
        self.timeout = timeout
        self.where = StackSummary() if where is None else where


class LifespanUnsupported(LifespanError):
    """Raised if the application has no lifespan and the mode is ``"on"``.

    :ivar message: why the application is considered to have no lifespan
    :ivar swallowed: whether the application wraps another application whose lifespan is never
        started
    """

    def __init__(self, text: str = "", *, message: str = "", swallowed: bool = False) -> None:
        super().__init__(text, message=message)
        self.swallowed = swallowed


class StartupFailed(LifespanError):
    """Raised if the application fails to start.

    :ivar message: the application's message in ``lifespan.startup.failed``, or a description of the
        exception that it raised
    """


class StartupTimeout(StartupFailed, _TimedOut):
    """Raised if the application does not finish its startup in time. Also a :exc:`TimeoutError`.

    :ivar timeout: the time limit, in seconds
    :ivar where: where the application was waiting when time ran out: the file, line and function of
        each of its frames, outermost first
    """


class LifespanCrashed(LifespanError):
    """Raised if the application's lifespan crashes while the application is serving.

    :ivar message: the application's message in ``lifespan.shutdown.failed``, or a description of
        the exception that it raised
    """


class ShutdownFailed(LifespanError):
    """Raised if the application does not shut down cleanly.

    :ivar message: the application's message in ``lifespan.shutdown.failed``, or a description of
        the exception that it raised
    """


class ShutdownTimeout(ShutdownFailed, _TimedOut):
    """Raised if the application does not finish its shutdown in time. Also a :exc:`TimeoutError`.

    :ivar timeout: the time limit, in seconds
    :ivar where: where the application was waiting when time ran out: the file, line and function of
        each of its frames, outermost first
    """


class LifespanProtocolError(LifespanError):
    """Raised by ``send()`` inside the application if the application must not send the message.

    ``receive()`` also raises this error if a task calls it after the application has ended.
    """
