"""The manager, with three ways to start and stop a lifespan."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Mapping
from contextvars import Context
from types import MappingProxyType, TracebackType
from typing import Any

from anyio import (
    TASK_STATUS_IGNORED,
    Event,
    get_cancelled_exc_class,
)
from anyio.abc import TaskStatus
from anyio.lowlevel import checkpoint_if_cancelled

from ..errors import LifespanCrashed
from . import hosting, outcome
from .application import ASGI3App, ASGIApp, as_asgi3
from .blocks import runs_the_body
from .ctrl_c import protected
from .exceptions import contains, is_cancellation, only_leaf
from .hooks import get_hooks
from .hosting import EventLoop, Host
from .lifespan import Lifespan
from .log import DEFAULT_LOG, Log
from .observer import Observer
from .options import DEFAULT_TIMEOUT, REPORT_AFTER, Mode, check_mode, check_seconds, check_state
from .protocol import ENDED, WITHOUT_LIFESPAN, Phase, State
from .ranks import settle
from .requests import Variables, request_app

# Exceptions, of which at most one is raised. settle() decides which one.
Problems = list[BaseException]


@protected
class LifespanManager:
    """Drives the lifespan of one ASGI application, identically on asyncio and trio.

    There are three ways to use a manager::

        async with LifespanManager(app) as manager: ...   # the body runs while the app serves

        await manager.startup()                           # for servers that start here
        await manager.shutdown()                          # and stop there, in any task

        await task_group.start(manager.serve)             # as a task of your own group

    One manager drives one lifespan.

    :param app: an ASGI 3 application; ASGI 2 applications (double callables) are recognised
    :param mode: what to do with an application that has no lifespan: ``"auto"`` goes on without
        one, ``"on"`` raises :exc:`LifespanUnsupported`, ``"off"`` never calls the application
    :param startup_timeout: how many seconds the startup may take; None for no limit
    :param shutdown_timeout: how many seconds the shutdown may take; None for no limit
    :param report_after: seconds after which a startup or a shutdown that has not finished is logged
        as a WARNING, with the line of the application's code that is waiting. The warning is
        repeated whenever the elapsed time has doubled. None for no warnings
    :param state: the dict that the application fills, used as given and not copied ("Lifespan
        State" in the ASGI specification); None for a new one
    :param logger: logger for problems that are not raised; by default
        ``logging.getLogger("anylifespan")``. An exception in one of its filters or handlers is
        written to standard error and has no other effect
    :raises TypeError: if ``app`` cannot be an ASGI application, or a parameter has the wrong type
    :raises ValueError: if the mode is unknown, or a number of seconds is negative or not a number
    """

    _whole: Lifespan | None = None  # that of which this one is a part
    _crashes_alone = False  # whether that one lives on if this one crashes
    _acts_on_crash = True  # not so if it can only raise, where a server may not look
    _context: Context | None = None  # where startup() has the application run; None: as the caller
    _outer_scope: Mapping[str, Any] = MappingProxyType({})  # more for that of the application

    def __init__(
        self,
        app: ASGIApp,
        *,
        mode: Mode = "auto",
        startup_timeout: float | None = DEFAULT_TIMEOUT,
        shutdown_timeout: float | None = DEFAULT_TIMEOUT,
        report_after: float | None = REPORT_AFTER,
        state: dict[str, Any] | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        self._app, self._asgi_version = as_asgi3(app)
        self._mode = check_mode(mode)
        self._startup_timeout = check_seconds("startup_timeout", startup_timeout)
        self._shutdown_timeout = check_seconds("shutdown_timeout", shutdown_timeout)
        self._report_after = check_seconds("report_after", report_after)
        self._state = check_state(state)
        self._log = DEFAULT_LOG if logger is None else Log(logger)

        self._lifespan: Lifespan | None = None
        self._event_loop: EventLoop | None = None
        self._host: Host | None = None
        self._has_body = False  # whether there is one to be cancelled
        self._reported = False  # whether a caller has got the error
        self._crash_event: Event | None = None
        self._answer: LifespanCrashed | None = None  # for those who wait for one
        self._crash_listeners: list[Callable[[], object]] = []
        self._shutdown_request: Event | None = None
        self._variables = Variables()
        self._request_app: ASGI3App | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._app!r}, {self.phase.value}>"

    @property
    def app(self) -> ASGI3App:
        """The application for requests.

        Every ``http`` and ``websocket`` scope receives a shallow copy of the state. Keys that are
        already in the scope's state are kept. Requests see the context variables that the
        application set during its startup. Other scopes are passed through unchanged.
        """
        if self._request_app is None:
            self._request_app = request_app(self._app, self._state, self._variables)
        return self._request_app

    @property
    def state(self) -> dict[str, Any]:
        """The lifespan's state: the dict that the application fills."""
        return self._state

    @property
    def supported(self) -> bool | None:
        """Whether the application has a lifespan; None until this is decided."""
        return None if self._lifespan is None else self._lifespan.protocol.supported

    @property
    def phase(self) -> Phase:
        """The lifespan's current phase."""
        if self._lifespan is None:
            return Phase.IDLE
        if self._mode == "on" and self._lifespan.outcome in WITHOUT_LIFESPAN:
            return Phase.FAILED
        return self._lifespan.protocol.phase

    @property
    def crash(self) -> LifespanCrashed | None:
        """The application's crash while it was serving; None if it did not crash.

        Its ``__cause__`` is the exception that the application raised, if any. This may be a
        KeyboardInterrupt or SystemExit.
        """
        lifespan = self._lifespan
        return outcome.crash(lifespan) if lifespan is not None and lifespan.crashed else None

    @property
    def startup_seconds(self) -> float | None:
        """How many seconds the startup took; None until the startup has succeeded or failed."""
        lifespan = self._lifespan
        if lifespan is None or lifespan.decided_at is None:
            return None
        return lifespan.decided_at - lifespan.started_at

    @property
    def shutdown_seconds(self) -> float | None:
        """How many seconds the shutdown took; None until the application has ended."""
        lifespan = self._lifespan
        if lifespan is None or lifespan.stopping_at is None or lifespan.ended_at is None:
            return None
        # If the application ended before the shutdown was requested, the shutdown took no time.
        return max(0.0, lifespan.ended_at - lifespan.stopping_at)

    # Starting and stopping

    async def startup(self) -> None:
        """Start the application in its own task. Call :meth:`shutdown` afterwards, in any task.

        If the caller is cancelled or interrupted by Ctrl-C, the application is cancelled, and this
        method waits for it to end. If the application ignores its cancellation, a second Ctrl-C
        leaves it running.

        :raises StartupFailed: if the application reports a failure, if it returns something that
            cannot be awaited, or if it raises an exception in its startup in mode "on"
        :raises StartupTimeout: if the startup does not finish in time, even if the application then
            ignores its cancellation and has to be left running
        :raises LifespanUnsupported: in mode "on", if the application has no lifespan
        :raises LifespanCrashed: if the application crashed right after its startup
        :raises KeyboardInterrupt, SystemExit: if the application raises one of these
        :raises RuntimeError: if the manager has been used, or no event loop is running
        """
        event_loop, lifespan = self._begin(shield=False)
        self._start_task(event_loop, lifespan)
        try:
            problems = await self._start(lifespan, give_up=True)
            if problems:
                problems += await _cancellation()
        except BaseException:  # as in __aenter__()
            lifespan.cancel()
            raise
        self._conclude(problems)

    async def shutdown(self) -> None:
        """Shut the application down. Calling this again, or after a failed startup, is harmless.

        If the caller is cancelled, the application still has its full shutdown timeout. The
        cancellation takes effect afterwards. A second Ctrl-C cancels the application. If the
        application ignores its cancellation, a third Ctrl-C leaves it running.

        :raises ShutdownFailed: if the application reports a failure, or raises an exception in its
            shutdown
        :raises ShutdownTimeout: if the shutdown does not finish in time, even if the application
            then ignores its cancellation and has to be left running
        :raises LifespanCrashed: if the application crashed while serving
        :raises KeyboardInterrupt, SystemExit: if the application raised one of these
        :raises RuntimeError: before or during the startup, or in another event loop
        """
        lifespan = self._running("shutdown()")
        if lifespan.protocol.phase is Phase.STARTING:
            raise RuntimeError(
                "shutdown() was called while the startup was under way: cancel the task that "
                "waits for the startup instead"
            )
        try:
            problems = await self._stop(lifespan, give_up=True)
            if lifespan.was_waited_for:
                problems += await _cancellation()
        except BaseException:  # as in __aenter__()
            lifespan.cancel()
            raise
        self._conclude(problems)

    async def __aenter__(self) -> LifespanManager:
        # The body can be cancelled, and the lifespan's task can be in a task group around the body,
        # only if the body runs in the task that enters the block.
        grouped = runs_the_body(inspect.currentframe().f_back)  # type: ignore[union-attr]
        event_loop, lifespan = self._begin(shield=grouped)
        if grouped:
            self._host = await event_loop.host(lifespan.run, "anylifespan")
            lifespan.task = self._host.task
        else:
            self._start_task(event_loop, lifespan)
        try:
            problems = await self._start(lifespan, give_up=False)
            if problems:
                await self._leave(problems)
                problems += await _cancellation()
        except BaseException:  # unexpected: Ctrl-C, in a line that asyncio does not protect
            lifespan.cancel()
            await self._leave([])
            raise
        self._conclude(problems)
        self._has_body = True
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        lifespan = self._running("__aexit__()")
        try:
            problems = await self._leave_the_block(lifespan, exc)
            problems = self._without_crash_of(exc, problems)
        except BaseException:  # as in __aenter__()
            lifespan.cancel()
            await self._leave([])
            raise
        self._conclude(problems, body=exc)

    async def serve(
        self, *, task_status: TaskStatus[LifespanManager] = TASK_STATUS_IGNORED
    ) -> None:
        """Run the complete lifespan as a task in the caller's own task group.

        ``await task_group.start(manager.serve)`` returns the manager once the application has
        started. To shut the application down gracefully, call :meth:`request_shutdown`, or cancel
        the task group.

        :raises LifespanError: if anything goes wrong. ``start()`` raises startup errors. Later
            errors are raised in this task, so the task group raises them
        :raises RuntimeError: if the manager has been used
        """
        self._check_unused()
        self._shutdown_request = Event()
        async with self:
            task_status.started(self)
            await self._shutdown_request.wait()

    def request_shutdown(self) -> None:
        """Make :meth:`serve` shut down and return. Calling this again is harmless.

        You can call this from anywhere: a task, an event loop callback, another thread, or a signal
        handler.

        :raises RuntimeError: if :meth:`serve` has not started, or the event loop is closed
        """
        if self._shutdown_request is None or self._event_loop is None:
            raise RuntimeError(
                "request_shutdown() ends serve(), which has not been called; if you called "
                "startup(), call shutdown(), and if you used async with, leave its block"
            )
        self._event_loop.call_soon(self._shutdown_request.set)

    def cancel(self) -> None:
        """Cancel the application, whatever it is doing.

        Use this when you are asked to stop a second time. Callers that are waiting for the startup
        or the shutdown continue when the application has ended. Call this in the event loop.

        :raises RuntimeError: before the startup
        """
        lifespan = self._running("cancel()", callback=True)
        lifespan.shut_down()
        lifespan.cancel("it was cancelled before it was done")

    async def wait_crashed(self) -> LifespanCrashed:
        """Wait until the application crashes while serving. Servers can use this for supervision.

        :return: the crash, as in :attr:`crash`. Without a crash, this method never returns, not
            even after the shutdown.
        :raises RuntimeError: in another event loop
        """
        self._check_loop("wait_crashed()")
        if self._crash_event is None:
            self._crash_event = Event()
        lifespan = self._lifespan
        if lifespan is not None and lifespan.crashed:
            self._crash_event.set()
        await self._crash_event.wait()
        return outcome.crash(self._running("wait_crashed()"))

    # Implementation

    def _crash_as_answer(self) -> LifespanCrashed | None:
        """Return the crash, to be raised in calls that are waiting for the application."""
        if self._answer is None:
            self._answer = self.crash
        return self._answer and self._answer.with_traceback(None)

    def _without_crash_of(self, body: BaseException | None, problems: Problems) -> Problems:
        """Drop the crash from the problems if the body already raised it.

        A call in the body, such as a request, may have raised it there.
        """
        if body is None or body is not self._answer:
            return problems
        return [one for one in problems if not isinstance(one, LifespanCrashed)]

    def _check_unused(self) -> None:
        if self._lifespan is not None:
            raise RuntimeError(
                "this LifespanManager has been used: one manager drives one lifespan; make a new "
                "one for the next"
            )

    def _begin(self, *, shield: bool) -> tuple[EventLoop, Lifespan]:
        self._check_unused()
        self._event_loop = hosting.event_loop("LifespanManager")
        scope = {
            **self._outer_scope,
            "type": "lifespan",
            "asgi": {"version": self._asgi_version, "spec_version": "2.0"},
            "state": self._state,
        }
        self._lifespan = Lifespan(
            self._app,
            scope,
            required=self._mode == "on",
            whole=self._whole,
            crashes_alone=self._crashes_alone,
            acts_on_crash=self._acts_on_crash,
            ends_with_loop=self._context is not None,
            event_loop=self._event_loop,
            shield=shield,
            variables=self._variables,
            on_crash=self._on_crash,
            report_after=self._report_after,
            log=self._log,
        )
        if self._mode == "off":
            self._lifespan.skip()
        elif get_hooks():
            self._lifespan.observer = Observer(
                self._lifespan,
                part_of=None if self._whole is None else self._whole.observer,
                startup_timeout=self._startup_timeout,
                shutdown_timeout=self._shutdown_timeout,
                log=self._log,
            )
        return self._event_loop, self._lifespan

    def _start_task(self, event_loop: EventLoop, lifespan: Lifespan) -> None:
        if lifespan.state not in ENDED:
            lifespan.task = event_loop.start(
                lifespan.run, "anylifespan", self._context, self._log_complaint
            )

    async def _start(self, lifespan: Lifespan, *, give_up: bool) -> Problems:
        interruption: BaseException | None = None
        try:
            await lifespan.wait_started(self._startup_timeout)
        except (get_cancelled_exc_class(), KeyboardInterrupt) as exc:
            interruption = exc
        if interruption is not None:
            lifespan.interrupt(interruption)
        serves = lifespan.protocol.phase is Phase.SERVING
        if lifespan.protocol.served and (serves or lifespan.stopping_at is not None):
            # The application is serving, or another caller has already shut it down. If this caller
            # was interrupted at the same moment, shut the application down now.
            if interruption is None:
                problems = []
            else:
                problems = [interruption, *await self._stop(lifespan, give_up=give_up)]
        else:
            if interruption is not None:
                lifespan.cancel()
            deadline = lifespan.started_at + self._startup_timeout
            again = await lifespan.wait_ended(deadline, give_up=give_up)
            error = outcome.startup_error(lifespan, timeout=self._startup_timeout)
            if lifespan.observer is not None:
                error = lifespan.observer.as_reported(error)
            problems = [one for one in (interruption, again, error) if one is not None]
        if problems:
            self._reported = True
        if self._mode == "auto":
            self._log_unsupported()
        return problems

    def _log_unsupported(self) -> None:
        outcome.log_unsupported(self._running("startup()"), self._log)

    async def _stop(self, lifespan: Lifespan, *, give_up: bool) -> Problems:
        """Shut the application down.

        :return: the error, unless another caller has received it, and the exception that
            interrupted this caller, if any
        """
        reported, self._reported = self._reported, True
        handled = sys.exc_info()[1]
        if handled is not None and contains(handled, (KeyboardInterrupt,)):
            lifespan.interrupt(KeyboardInterrupt())  # which is why the caller shuts down
        deadline = lifespan.shut_down() + self._shutdown_timeout
        interruption = await lifespan.wait_ended(deadline, give_up=give_up)
        error: BaseException | None = None
        if not reported:
            if lifespan.state is State.STOPPED_SILENTLY:
                self._log.debug("The application returned from its shutdown without a word.")
            error = outcome.shutdown_error(lifespan, timeout=self._shutdown_timeout)
            if lifespan.observer is not None:
                error = lifespan.observer.as_reported(error)
        return [one for one in (interruption, error) if one is not None]

    async def _leave_the_block(self, lifespan: Lifespan, body: BaseException | None) -> Problems:
        host = self._host
        elsewhere = host is not None and host.is_left_elsewhere()
        if host is not None and lifespan.crashed and body is not None and is_cancellation(body):
            # Another caller may have received the crash, but the crash has cancelled this body.
            self._reported = False
        problems = await self._stop(lifespan, give_up=False)
        if not elsewhere:
            await self._leave(problems)
            if lifespan.was_waited_for or lifespan.crashed or lifespan.event_loop.is_trio:
                problems += await _cancellation()
        elif hosting.on_trio():
            problems.append(
                RuntimeError(
                    "async with LifespanManager was left in another task than it was entered in, "
                    "which trio's nurseries cannot do: use startup() and shutdown(), which any "
                    "task may call"
                )
            )
        return problems

    async def _leave(self, problems: Problems) -> None:
        """Wait until the host's only task has ended, and close the host.

        :param problems: the exceptions so far; further exceptions are added
        """
        while self._host is not None and not self._host.is_closed:
            try:
                await self._host.close()
            except BaseException as exc:  # noqa: BLE001, PERF203 - it is one of the problems
                leaf = only_leaf(exc)
                if leaf is not None and (contains(leaf) or is_cancellation(leaf)):
                    problems.append(leaf)
                    continue
                # A scope or a task group was left open, so trio cancels everything in the host.
                problems[:] = [one for one in problems if not is_cancellation(one)]
                if problems:
                    self._log_complaint(exc)
                else:
                    problems.append(outcome.left_open(exc))

    def _conclude(self, problems: Problems, *, body: BaseException | None = None) -> None:
        if problems:
            problem = settle(problems, self._log, body=body)
            if problem is not None and problem is not body:
                raise problem

    def _on_crash(self) -> None:
        if self._crash_event is not None:
            self._crash_event.set()
        for listener in self._crash_listeners:
            listener()
        if self._host is not None and self._has_body:
            self._host.cancel_body()

    def _log_complaint(self, complaint: BaseException) -> None:
        error = outcome.left_open(complaint)
        self._log.error("%s", error, exc_info=error)

    def _running(self, what: str, *, callback: bool = False) -> Lifespan:
        if self._lifespan is None:
            raise RuntimeError(
                f"{what} was called before the startup: await startup() first, or use async with"
            )
        self._check_loop(what, callback=callback)
        return self._lifespan

    def _check_loop(self, what: str, *, callback: bool = False) -> None:
        loop = self._event_loop
        if loop is not None and (loop.is_running() if callback else loop.runs_this_task()):
            return
        hosting.event_loop(what)  # there must be one
        if loop is not None:
            raise RuntimeError(
                f"{what} was called in another event loop than the lifespan was started in: use "
                "a manager in one event loop only"
            )


async def _cancellation() -> Problems:
    """Return the cancellation or KeyboardInterrupt that is pending for the caller, if any."""
    try:
        await checkpoint_if_cancelled()
    except (get_cancelled_exc_class(), KeyboardInterrupt) as exc:
        return [exc]
    return []
