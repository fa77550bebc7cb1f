"""The interface of asgi-lifespan 2, implemented with this library.

To migrate tests, change only their import::

    from anylifespan.compat.asgi_lifespan import LifespanManager
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from .._core import manager as _manager
from .._core.application import ASGI3App, ASGIApp
from .._core.ctrl_c import protected
from ..errors import LifespanError, LifespanUnsupported


class LifespanNotSupported(LifespanUnsupported):
    """Raised if the application has no lifespan."""


@protected
class LifespanManager:
    """Runs an application's lifespan: ``async with LifespanManager(app) as manager``.

    Inside the block, the application is serving, and ``manager.app`` handles requests.

    This manager works like the one in asgi-lifespan, with some fixes. Among other things, the
    application is shut down even after an exception in the block, each request has its own copy of
    the state, and if the application crashes, the block does not wait for a response forever. The
    page "Migrating" lists all differences.

    :param app: an ASGI application
    :param startup_timeout: seconds the startup may take; None for no limit
    :param shutdown_timeout: seconds the shutdown may take; None for no limit
    :raises LifespanNotSupported: on entry, if the application has no lifespan
    :raises TimeoutError: on entry or exit, if the startup or the shutdown times out
    :raises Exception: on entry or exit, if the application raises this exception. If a task group
        has wrapped the exception in a group, the exception itself is raised
    :raises LifespanError: if the application reports a failure and raises no exception
    """

    def __init__(
        self,
        app: ASGIApp,
        startup_timeout: float | None = 5,
        shutdown_timeout: float | None = 5,
    ) -> None:
        self.startup_timeout = startup_timeout
        self.shutdown_timeout = shutdown_timeout
        self._manager = _manager.LifespanManager(
            app, mode="on", startup_timeout=startup_timeout, shutdown_timeout=shutdown_timeout
        )

    @property
    def app(self) -> ASGI3App:
        """The application for a client to call. Requests receive the lifespan's state."""
        return self._manager.app

    async def __aenter__(self) -> LifespanManager:
        with _as_it_is(None):
            await self._manager.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        with _as_it_is(exc_value):
            await self._manager.__aexit__(exc_type, exc_value, traceback)


@contextmanager
def _as_it_is(of_the_body: BaseException | None) -> Iterator[None]:
    """Raise the application's own exception instead of the error that it caused."""
    try:
        yield
    except LifespanUnsupported as error:
        # This interface has no mode, so the message must not suggest one.
        text = str(error).replace('; use mode "auto" to go on without one', "")
        raise LifespanNotSupported(
            text, message=error.message, swallowed=error.swallowed
        ) from error.__cause__
    except LifespanError as error:
        cause = error.__cause__
        if error is of_the_body or isinstance(error, TimeoutError) or cause is None:
            raise
        raise cause from cause.__cause__
