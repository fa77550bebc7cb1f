"""A startup that the server does not wait for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from anyio import CancelScope, Event
from anyio.lowlevel import cancel_shielded_checkpoint

from .._core.ctrl_c import protected
from .._core.exceptions import is_cancellation
from .._core.hosting import event_loop
from .._core.log import DEFAULT_LOG


@protected
class StartInBackground:
    """A startup in a task of its own.

    :param startup: runs the startup
    :param scope: a cancel scope for the startup, cancelled if the server is stopped meanwhile
    :param on_failure: called with the exception if the startup fails, unless it was cancelled
    """

    def __init__(
        self,
        startup: Callable[[], Awaitable[None]],
        scope: CancelScope,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._startup = startup
        self._scope = scope
        self._on_failure = on_failure
        self._over = Event()
        # The event loop holds only weak references to its tasks, so keep a reference here.
        loop = event_loop("LifespanMiddleware")
        self._task = loop.start(self._run, "startup", None, DEFAULT_LOG.complaint)

    async def end(self) -> None:
        """Cancel the startup if it is still running, and wait until it has ended."""
        self._scope.cancel()
        with CancelScope(shield=True):
            await self._over.wait()

    async def _run(self) -> None:
        try:
            with self._scope:
                # If tasks are eager, the startup must not fail before this object's constructor has
                # returned.
                await cancel_shielded_checkpoint()
                await self._startup()
            if self._scope.cancelled_caught:
                DEFAULT_LOG.info("Application startup cancelled.")
        except BaseException as exc:
            if is_cancellation(exc):
                raise
            self._on_failure(exc)
        finally:
            self._over.set()
