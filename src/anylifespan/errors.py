"""What can go wrong with a lifespan, one class for each answer a caller may want to give.

Whatever the application itself raised is the ``__cause__`` of the error, with its traceback.
"""

from __future__ import annotations

import math
from traceback import StackSummary


class LifespanError(Exception):
    """The base of every error that this library raises about an application's lifespan.

    :ivar message: the reason in one line: what the application said, or what it raised
    """

    # The keyword arguments have defaults so that the errors can be pickled, as process pools do.
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
    """The application has no lifespan, and the mode is ``"on"``.

    :ivar message: why the application is taken to have none
    :ivar swallowed: whether an application inside of it has one, which never gets to see it
    """

    def __init__(self, text: str = "", *, message: str = "", swallowed: bool = False) -> None:
        super().__init__(text, message=message)
        self.swallowed = swallowed


class StartupFailed(LifespanError):
    """The application did not start.

    :ivar message: what the application said in ``lifespan.startup.failed``, or a description of
        what it raised
    """


class StartupTimeout(StartupFailed, _TimedOut):
    """The application did not decide its startup in time. Also a :exc:`TimeoutError`.

    :ivar timeout: the limit it was given, in seconds
    :ivar where: where the application was waiting when time ran out: the file, line and function
        of each of its frames, outermost first
    """


class LifespanCrashed(LifespanError):
    """The application's lifespan died while it was serving.

    :ivar message: what the application said in ``lifespan.shutdown.failed``, or a description of
        what it raised
    """


class ShutdownFailed(LifespanError):
    """The application did not shut down cleanly.

    :ivar message: what the application said in ``lifespan.shutdown.failed``, or a description of
        what it raised
    """


class ShutdownTimeout(ShutdownFailed, _TimedOut):
    """The application did not finish its shutdown in time. Also a :exc:`TimeoutError`.

    :ivar timeout: the limit it was given, in seconds
    :ivar where: where the application was waiting when time ran out: the file, line and function
        of each of its frames, outermost first
    """


class LifespanProtocolError(LifespanError):
    """Raised inside the application's own ``send()``: it sent what it must not.

    Also raised inside its ``receive()`` by a task that outlived the application.
    """
