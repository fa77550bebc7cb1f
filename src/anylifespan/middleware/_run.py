"""One lifespan under the middleware, from its startup to its shutdown or its crash."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from contextvars import Context
from typing import Any

from anyio import CancelScope

from .._core import outcome
from .._core.application import ASGI3App, ASGIApp, Receive, Scope, Send
from .._core.ctrl_c import protected
from .._core.exceptions import describe, exit_in, in_full
from .._core.hosting import event_loop
from .._core.lifespan import Lifespan
from .._core.log import DEFAULT_LOG
from .._core.manager import LifespanManager
from .._core.options import Mode, check_seconds
from .._core.protocol import Phase
from .._core.runs import Runs
from .._diagnosis.watchdog import time_reported
from .._process.notice import notice_of_stop
from .._process.server import Server
from .._stop.drain import Drain
from .._stop.refusal import refuse
from ..errors import (
    LifespanCrashed,
    LifespanError,
    LifespanUnsupported,
    ShutdownTimeout,
    StartupFailed,
    StartupTimeout,
)
from ._in_background import StartInBackground
from ._on_crash import Call, OnCrash

# Seconds after which a client may try again if its request arrived during the startup.
RETRY_AFTER = 5
STARTING = "The application is starting."
UNAVAILABLE = "The application is not available."


@protected
class Run(LifespanManager):
    """One run of the application, through one lifespan.

    :param runs: the registry in which requests find this run
    :param scope: the server's lifespan scope. The application also receives its other keys. It is
        empty if the server has not sent a lifespan
    :param whole: the lifespan that this one is part of, if this library drives that lifespan
    :param server: the server that drives the application; None if the driver is not a server
    :param context: the context to run the application in; None for the context that starts it
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
        drain_timeout: float | None,
        report_after: float | None,
        start_in_background: bool,
        whole: Lifespan | None = None,
        server: Server | None = None,
        context: Context | None = None,
    ) -> None:
        super().__init__(
            app,
            mode=mode,
            startup_timeout=startup_timeout,
            shutdown_timeout=shutdown_timeout,
            report_after=report_after,
            state=scope.get("state"),
        )
        self._outer_scope = scope
        self._whole = whole
        self._crashes_alone = on_crash != "terminate"
        self._context = context
        self._runs = runs
        self._open = ExitStack()
        self._what_to_do_on_crash = on_crash
        self._server = server
        # The driver of the whole lifespan knows better how to stop the server.
        self._only_raises = whole is not None and whole.crash_is_acted_on
        self._drain: Drain
        self._has_stopped_server = False  # because of a crash
        self._drain_timeout = check_seconds("drain_timeout", drain_timeout)
        self._signal: int | None = None  # by which the server was stopped
        self._is_broken_off = False  # whether the server did not wait for its startup
        self._starting: CancelScope | None = None
        self._call: Call | None = None
        self._raised_on_crash: BaseException | None = None  # by on_crash, to end the process
        self._starts_in_background = start_in_background
        self._is_up = False  # since it was started; also after a crash
        self._background: StartInBackground | None = None
        self._failure: LifespanError | None = None  # of a startup that the server did not wait for
        self._serving: CancelScope  # while it waits for the server's word
        self._ends_unasked = False  # by a crash, which its driver learns of by an exception

    @property
    def crash(self) -> LifespanCrashed | None:
        """The application's crash while serving, or its failure to start in the background."""
        failure = self._failure
        if failure is None or isinstance(failure, LifespanCrashed):
            return super().crash
        crash = LifespanCrashed(
            f"the application did not start in the background: {failure}", message=failure.message
        )
        crash.__cause__ = failure
        return crash

    @property
    def draining(self) -> bool:
        """Whether the server is being stopped."""
        return self.phase is not Phase.IDLE and self._drain.draining.is_set()

    @property
    def status(self) -> str:
        """The application's status in one word, for health checks."""
        phase = self.phase
        if self.crash is not None:
            return "crashed"
        if self.failed_to_start:
            return Phase.FAILED.value
        return "draining" if phase is Phase.SERVING and self.draining else phase.value

    @property
    def failed_to_start(self) -> bool:
        """Whether the application failed to start, or the server broke off the startup."""
        return self.phase is Phase.FAILED or self._is_broken_off

    @property
    def server_ends(self) -> bool:
        """Whether the server, if any, is about to end, so the application should not be started."""
        return self._server is not None and (super().crash is not None or self.draining)

    async def answer(self, receive: Receive, send: Send) -> None:
        """Run the complete lifespan, with the server's ``receive()`` and ``send()``.

        An error is both sent and raised, since some drivers look only at the message, and others
        only at the exception. The exception is the application's own, as if there were no
        middleware.
        """
        await receive()
        with self._open:
            self.listen()
            self.open_to_requests(self.app)
            try:
                error = await _error_of(self.startup)
            except BaseException:
                self._is_broken_off = self._server is not None and not self.draining
                if self._is_broken_off:
                    DEFAULT_LOG.warning(
                        "The server has broken off the application's startup. If it has a timeout "
                        "of its own for that, startup_timeout must be shorter."
                    )
                raise
            if error is not None:
                try:
                    if self._server is not None and self._signal is not None:
                        status = 128 + self._signal  # as a shell reports it
                        await self._server.exit(SystemExit(status))
                finally:
                    await _send_failed(send, "startup", error)
                raise _bare(error)
            try:
                await send({"type": "lifespan.startup.complete"})
                with self._serving:
                    if not self._ends_unasked:
                        await receive()
                await self.drain()
            except BaseException:
                # The server has broken off the lifespan, so it does not expect a message.
                try:
                    await self._drain.break_off()
                finally:
                    error = await _error_of(self.stop)
                if error is not None:
                    DEFAULT_LOG.error(
                        "The server has broken off the lifespan; its shutdown failed.",
                        exc_info=error,
                    )
                raise
            error = await _error_of(self.stop)
            if self._serving.cancelled_caught and not self._ends_unasked:
                await receive()  # the server has not asked yet
        if error is None:
            await send({"type": "lifespan.shutdown.complete"})
            return
        try:
            await self.exit_after_failure()
        finally:
            if not self._ends_unasked:
                await _send_failed(send, "shutdown", error)
        raise self._raised_on_crash or _bare(error)

    def listen(self) -> None:
        """Watch for the server to stop."""
        loop = event_loop("LifespanMiddleware")
        self._serving = CancelScope()
        self._drain = Drain(self._drain_timeout, loop, DEFAULT_LOG, self._on_drain_given_up)
        self._open.enter_context(notice_of_stop(self._server, self._on_notice))

    def open_to_requests(self, app: ASGI3App) -> None:
        """Make the application available to requests, until it is shut down.

        :param app: the application as requests call it
        """
        app = self._drain.around(app)
        if self._starts_in_background:
            app = self._once_started(app)
        self._open.enter_context(self._runs.under_way(app, self.state))

    async def startup(self) -> None:
        """Start the application, but cancel the startup if the server is stopped meanwhile.

        Otherwise, this is like :meth:`LifespanManager.startup`. If the application starts in the
        background, this does not wait for the startup.
        """
        if self._starts_in_background:
            self._starting = CancelScope()
            self._background = StartInBackground(
                self._bring_up, self._starting, self._on_failure_in_background
            )
            return
        started = False
        try:
            with CancelScope() as self._starting:
                await self._bring_up()
                started = True
        finally:
            self._starting = None
            if not started:
                self._open.close()
        if not started:
            DEFAULT_LOG.info("Application startup cancelled.")
            raise StartupFailed(
                "the application's startup was cancelled, since the server is being stopped"
            )

    async def drain(self) -> None:
        """With a ``drain_timeout``, wait until open requests have ended or have been cut off."""
        await self._drain.finish()

    async def stop(self) -> None:
        """Shut the application down.

        :raises LifespanError: as :meth:`shutdown` does, or if a background startup has failed
        """
        if self._call is not None:
            self._call.cancel()
        try:
            if self._background is not None:
                await self._background.end()
                if self._call is not None:
                    self._call.cancel()  # it may have failed only now
            with self._reporting("shutdown", self._shutdown_timeout):
                await self.shutdown()
            failure = self._failure or self._failure_at_the_stop()
            if failure is not None:
                raise failure
        finally:
            self._open.close()
            if self._call is not None:
                await self._call.wait_ended()

    async def exit_after_failure(self) -> None:
        """End the server's process with a failure, if the process would otherwise report success.

        This is the case for a server that was stopped because of a crash, and for some servers that
        were stopped by a signal.
        """
        server = self._server
        if server is None or self._only_raises:
            return
        if self._has_stopped_server or (self._signal is not None and server.hides_failures):
            await server.exit(self._raised_on_crash or SystemExit(1))

    async def _bring_up(self) -> None:
        with self._reporting("startup", self._startup_timeout):
            await super().startup()
        self._is_up = True

    def _once_started(self, app: ASGI3App) -> ASGI3App:
        async def once_started(scope: Scope, receive: Receive, send: Send) -> Any:
            if self._is_up:
                return await app(scope, receive, send)
            if self.phase in (Phase.IDLE, Phase.STARTING):
                return await refuse(scope, receive, send, STARTING, RETRY_AFTER)
            return await refuse(scope, receive, send, UNAVAILABLE)

        return once_started

    def _reporting(self, phase: str, limit: float) -> AbstractContextManager[None]:
        """Return a context manager that reports a slow phase, if there is a server."""
        if self._server is None:
            return nullcontext()
        return time_reported(phase, limit, DEFAULT_LOG, self._report_after)

    def _on_notice(self, number: int) -> None:
        self._signal = number
        self._drain.begin()
        if self._starting is not None:
            self._starting.cancel()

    def _on_drain_given_up(self) -> None:
        # The server waits for the remaining requests, maybe for longer than its supervisor does.
        self._serving.cancel()

    def _on_crash(self) -> None:
        super()._on_crash()
        if self._lifespan is not None and self._lifespan.is_over_with_loop:
            self._open.close()
            return
        self._answer_crash()

    def _on_failure_in_background(self, raised: BaseException) -> None:
        if isinstance(raised, LifespanError):
            self._failure = raised
        else:
            self._failure = StartupFailed(f"the application raised {describe(raised)}")
            self._failure.__cause__ = raised
        if isinstance(raised, LifespanCrashed):
            return  # right after the startup: it has been answered as a crash
        DEFAULT_LOG.error("The application did not start: %s", in_full(self._failure))
        ends_process = exit_in(raised)
        if ends_process is not None:
            self._exit_by(ends_process)
        elif self._context is not None:
            self._open.close()  # it was started by a request: the next one tries again
        else:
            self._answer_crash()

    def _failure_at_the_stop(self) -> BaseException | None:
        """Return the error of a background startup that failed just as the server was stopped.

        In this case, the startup's own task raised its cancellation, and not the error.
        """
        if self._background is None or self._is_up or self._lifespan is None:
            return None
        return outcome.startup_error(
            self._lifespan, timeout=self._startup_timeout
        ) or outcome.shutdown_error(self._lifespan, timeout=self._shutdown_timeout)

    def _answer_crash(self) -> None:
        what, crash = self._what_to_do_on_crash, self.crash
        if what == "terminate":
            self._end_driver()
        elif callable(what) and crash is not None:
            self._call = Call(what, crash, self._exit_by)
            self._call.start()

    def _exit_by(self, raised: BaseException) -> None:
        self._raised_on_crash = raised
        self._end_driver()

    def _end_driver(self) -> None:
        if self._server is None or self._only_raises:
            self._ends_unasked = True
            self._serving.cancel()
            return
        self._has_stopped_server = True
        event_loop("LifespanMiddleware").call_soon(self._server.stop)
        DEFAULT_LOG.error("Stopping the server because the application's lifespan has failed.")


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
        # Hypercorn raises the failure in send(). On trio, Hypercorn then loses a shutdown error.
        DEFAULT_LOG.error("%s", message)
        raise


def _bare(error: LifespanError) -> BaseException:
    """Return the application's exception that caused an error, or else the error itself."""
    ours = isinstance(error, (LifespanUnsupported, StartupTimeout, ShutdownTimeout))
    return error if ours or error.__cause__ is None else error.__cause__
