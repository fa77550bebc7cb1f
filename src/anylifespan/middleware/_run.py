"""One lifespan under the middleware: from its startup to its shutdown, or its crash."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import ExitStack
from contextvars import Context
from typing import Any

from anyio import CancelScope

from .._core.application import ASGI3App, ASGIApp, Receive, Send
from .._core.ctrl_c import protected
from .._core.exceptions import in_full
from .._core.hosting import event_loop
from .._core.lifespan import Lifespan
from .._core.log import DEFAULT_LOG
from .._core.manager import LifespanManager
from .._core.options import Mode
from .._core.runs import Runs
from ..errors import LifespanError, LifespanUnsupported, ShutdownTimeout, StartupTimeout
from ._on_crash import Call, OnCrash


@protected
class Run(LifespanManager):
    """Drives the application once.

    :param runs: where requests find it
    :param scope: that of the server's lifespan, of which the application gets all other keys, too;
        empty if there is none
    :param whole: the lifespan that it is a part of, if this library drives that
    :param stop_server: how to stop the server; None if whoever drives it is none
    :param context: where to have the application run; None for where it is started
    """

    def __init__(
        self,
        app: ASGIApp,
        runs: Runs[ASGI3App],
        scope: MutableMapping[str, Any],
        *,
        on_crash: OnCrash,
        mode: Mode,
        startup_timeout: float | None,
        shutdown_timeout: float | None,
        whole: Lifespan | None = None,
        stop_server: Callable[[], None] | None = None,
        context: Context | None = None,
    ) -> None:
        super().__init__(
            app,
            mode=mode,
            startup_timeout=startup_timeout,
            shutdown_timeout=shutdown_timeout,
            state=scope.get("state"),
        )
        self._outer_scope = scope
        self._whole = whole
        self._crashes_alone = on_crash != "terminate"
        self._context = context
        self._runs = runs
        self._open = ExitStack()
        self._what_to_do_on_crash = on_crash
        self._stop_server = stop_server
        self._call: Call | None = None
        self._exit: BaseException | None = None  # what on_crash raised to end the process
        self._serving: CancelScope | None = None
        self._ends_unasked = False  # by a crash, which its driver learns of by an exception

    async def answer(self, receive: Receive, send: Send) -> None:
        """The whole lifespan, as an application's answer to its server.

        An error is both sent and raised, since drivers look at one or the other. What is raised is
        the application's own exception, as if there were no middleware.
        """
        await receive()
        with self.open_to_requests(self.app):
            error = await _error_of(self.startup)
            if error is not None:
                await _send_failed(send, "startup", error)
                raise _bare(error)
            try:
                await send({"type": "lifespan.startup.complete"})
                with CancelScope() as self._serving:
                    if not self._ends_unasked:
                        await receive()
            except BaseException:
                # The server has broken off, so it will not listen to an answer.
                error = await _error_of(self.stop)
                if error is not None:
                    DEFAULT_LOG.error(
                        "The server has broken off the lifespan; its shutdown failed.",
                        exc_info=error,
                    )
                raise
            error = await _error_of(self.stop)
        if error is None:
            await send({"type": "lifespan.shutdown.complete"})
            return
        if not self._ends_unasked:
            await _send_failed(send, "shutdown", error)
        raise self._exit or _bare(error)

    def open_to_requests(self, app: ASGI3App) -> ExitStack:
        """Have requests find it, until it is shut down.

        :param app: the application as requests call it
        """
        self._open.enter_context(self._runs.under_way(app, self.state))
        return self._open

    async def stop(self) -> None:
        """Shut it down.

        :raises LifespanError: as :meth:`shutdown`
        """
        if self._call is not None:
            self._call.cancel()
        try:
            await self.shutdown()
        finally:
            self._open.close()
            if self._call is not None:
                await self._call.wait_ended()

    def _on_crash(self) -> None:
        super()._on_crash()
        if self._lifespan is not None and self._lifespan.is_over_with_loop:
            self._open.close()
            return
        what, crash = self._what_to_do_on_crash, self.crash
        if what == "terminate":
            self._end_driver()
        elif callable(what) and crash is not None:
            self._call = Call(what, crash, self._exit_by)
            self._call.start()

    def _exit_by(self, raised: BaseException) -> None:
        self._exit = raised
        self._end_driver()

    def _end_driver(self) -> None:
        if self._stop_server is None:
            self._ends_unasked = True
            if self._serving is not None:
                self._serving.cancel()
            return
        event_loop("LifespanMiddleware").call_soon(self._stop_server)
        DEFAULT_LOG.error("Stopping the server, since the application's lifespan has died.")


async def _error_of(phase: Callable[[], Awaitable[None]]) -> LifespanError | None:
    try:
        await phase()
    except LifespanError as error:
        return error
    return None


async def _send_failed(send: Send, phase: str, error: LifespanError) -> None:
    message = in_full(error)
    try:
        await send({"type": f"lifespan.{phase}.failed", "message": message})
    except Exception:
        # Hypercorn raises it in here; on trio it then loses what was raised in a shutdown.
        DEFAULT_LOG.error("%s", message)
        raise


def _bare(error: LifespanError) -> BaseException:
    """What the application has raised, if that is what the error is about."""
    ours = isinstance(error, (LifespanUnsupported, StartupTimeout, ShutdownTimeout))
    return error if ours or error.__cause__ is None else error.__cause__
