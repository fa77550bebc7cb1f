"""Call the user's ``on_crash`` function when the application has crashed."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from anyio import CancelScope, Event, move_on_after

from .._core.ctrl_c import protected, unprotected
from .._core.exceptions import EXITS
from .._core.hosting import event_loop
from .._core.lifespan import LINGER
from .._core.log import DEFAULT_LOG
from .._core.options import in_seconds
from ..errors import LifespanCrashed

Function = Callable[[LifespanCrashed], Awaitable[object] | object]
OnCrash = Literal["terminate", "log"] | Function


@protected
class Call:
    """A call to ``on_crash`` in its own task, so that the call does not affect the shutdown.

    :param on_exit: called with the exception if the function raises KeyboardInterrupt or SystemExit
    """

    def __init__(
        self, function: Function, crash: LifespanCrashed, on_exit: Callable[[BaseException], None]
    ) -> None:
        self._function = function
        self._crash = crash
        self._on_exit = on_exit
        self._scope = CancelScope()
        self._ended = Event()

    def start(self) -> None:
        # The event loop holds only weak references to its tasks, so keep a reference here.
        loop = event_loop("LifespanMiddleware")
        self._task = loop.start(self._run, "on_crash", None, self._log)

    def cancel(self) -> None:
        self._scope.cancel()

    async def wait_ended(self) -> None:
        """Wait until the call has ended, for at most ``LINGER`` seconds."""
        with move_on_after(LINGER, shield=True) as limit:
            await self._ended.wait()
        if limit.cancelled_caught:
            DEFAULT_LOG.warning(
                "on_crash (%r) still runs %s after it was cancelled: it ignores the cancellation, "
                "or waits for a thread that cannot be cancelled. Stopping without it.",
                self._function,
                in_seconds(LINGER),
            )

    async def _run(self) -> None:
        try:
            with self._scope:
                await self._call()
        except EXITS as exc:
            self._on_exit(exc)
        except Exception as exc:  # noqa: BLE001 - it is logged
            self._log(exc)
        finally:
            self._ended.set()

    @unprotected
    async def _call(self) -> None:
        returned: Any = self._function(self._crash)
        if inspect.isawaitable(returned):
            await returned

    def _log(self, exc: Exception) -> None:
        DEFAULT_LOG.error("on_crash (%r) raised an exception.", self._function, exc_info=exc)
