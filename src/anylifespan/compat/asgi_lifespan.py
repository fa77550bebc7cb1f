"""The interface of asgi-lifespan 2, on this library.

For tests that are moved over by their import alone::

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
    """The application has no lifespan."""


@protected
class LifespanManager:
    """``async with LifespanManager(app) as manager``: the application is up, as ``manager.app``.

    It works as asgi-lifespan's, but for what is mended: among other things, the application is also
    shut down after an exception in the block, each request has its own copy of the state, and a
    crash of the application ends the wait for its answer. The page "Migrating" has all of it.

    :param app: an ASGI application
    :param startup_timeout: seconds the startup may take; None for no limit
    :param shutdown_timeout: seconds the shutdown may take; None for no limit
    :raises LifespanNotSupported: on entry, if the application has no lifespan
    :raises TimeoutError: on entry or on leaving, if it is not done in time
    :raises Exception: on entry or on leaving: what the application raised; by itself, if a task
        group had put it into an exception group
    :raises LifespanError: if it says that it failed, and raises nothing
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
        """The application, to be given to a client: its requests have the state of the lifespan."""
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
    """Raise what the application raised, instead of the error of which it is the cause."""
    try:
        yield
    except LifespanUnsupported as error:
        # It has no mode to advise.
        text = str(error).replace('; use mode "auto" to go on without one', "")
        raise LifespanNotSupported(
            text, message=error.message, swallowed=error.swallowed
        ) from error.__cause__
    except LifespanError as error:
        cause = error.__cause__
        if error is of_the_body or isinstance(error, TimeoutError) or cause is None:
            raise
        raise cause from cause.__cause__
