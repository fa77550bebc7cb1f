"""The manager: the three ways into a lifespan, and out of it."""

from __future__ import annotations

import inspect
import logging
from types import TracebackType
from typing import Any

from anyio import (
    TASK_STATUS_IGNORED,
    Event,
    get_cancelled_exc_class,
)
from anyio.abc import TaskStatus
from anyio.lowlevel import cancel_shielded_checkpoint

from ..errors import LifespanCrashed
from . import hosting, outcome
from .application import ASGI3App, ASGIApp, as_asgi3
from .exceptions import is_cancellation
from .hosting import EventLoop, TaskGroup
from .lifespan import Lifespan
from .options import Mode, check_mode, check_seconds, check_state
from .protocol import ENDED, WITHOUT_LIFESPAN, Phase, State
from .requests import request_app

_logger = logging.getLogger("anylifespan")


class LifespanManager:
    """Drives the lifespan of one ASGI application, identically on asyncio and trio.

    There are three ways in::

        async with LifespanManager(app) as manager: ...   # the body runs while the app serves

        await manager.startup()                           # for servers that start here
        await manager.shutdown()                          # and stop there, in any task

        await task_group.start(manager.serve)             # as a task of your own group

    One manager drives one lifespan.

    :param app: an ASGI 3 application; one of ASGI 2 (a double callable) is recognised
    :param mode: what to do with an application that has no lifespan: ``"auto"`` goes on without
        one, ``"on"`` raises :exc:`LifespanUnsupported`, ``"off"`` never calls the application
    :param startup_timeout: seconds the startup may take; None for no limit
    :param shutdown_timeout: seconds the shutdown may take; None for no limit
    :param state: the dict that the application fills, used as given and not copied ("Lifespan
        State" in the specification of ASGI); None for a new one
    :param logger: where to tell what is not raised; by default ``logging.getLogger("anylifespan")``
    :raises TypeError: if ``app`` cannot be an ASGI application, or a parameter is of a wrong type
    :raises ValueError: if the mode is unknown, or a timeout is negative or not a number
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        mode: Mode = "auto",
        startup_timeout: float | None = 30.0,
        shutdown_timeout: float | None = 30.0,
        state: dict[str, Any] | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        self._app, self._asgi_version = as_asgi3(app)
        self._mode = check_mode(mode)
        self._startup_timeout = check_seconds("startup_timeout", startup_timeout)
        self._shutdown_timeout = check_seconds("shutdown_timeout", shutdown_timeout)
        self._state = check_state(state)
        self._logger = _logger if logger is None else logger

        self._lifespan: Lifespan | None = None
        self._event_loop: EventLoop | None = None
        self._told = False  # whether a caller has been told how it ended
        self._group: TaskGroup | None = None
        self._crashed = False
        self._crash_event: Event | None = None
        self._corruption: Exception | None = None
        self._shutdown_request: Event | None = None
        self._variables: list[Any] = []
        self._request_app: ASGI3App | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._app!r}, {self.phase.value}>"

    @property
    def app(self) -> ASGI3App:
        """The application as requests call it.

        Every ``http`` and ``websocket`` scope gets a shallow copy of the state, but for what is in
        the scope's state already, and the application sees the context variables that it set in its
        startup. Other scopes are passed through.
        """
        if self._request_app is None:
            self._request_app = request_app(self._app, self._state, self._variables)
        return self._request_app

    @property
    def state(self) -> dict[str, Any]:
        """The state of the lifespan: the dict that the application fills."""
        return self._state

    @property
    def supported(self) -> bool | None:
        """Whether the application has a lifespan; None before that is decided."""
        return None if self._lifespan is None else self._lifespan.protocol.supported

    @property
    def phase(self) -> Phase:
        """Where the lifespan is."""
        if self._lifespan is None:
            return Phase.IDLE
        if self._mode == "on" and self._lifespan.outcome in WITHOUT_LIFESPAN:
            return Phase.FAILED
        return self._lifespan.protocol.phase

    @property
    def crash(self) -> LifespanCrashed | None:
        """How the application died while it was serving; None if it did not.

        :raises KeyboardInterrupt, SystemExit: if that is what it raised
        """
        return outcome.crash(self._lifespan) if self._crashed and self._lifespan else None

    @property
    def startup_seconds(self) -> float | None:
        """How long the startup took until it was decided; None before."""
        lifespan = self._lifespan
        if lifespan is None or lifespan.decided_at is None:
            return None
        return lifespan.decided_at - lifespan.started_at

    @property
    def shutdown_seconds(self) -> float | None:
        """How long the shutdown took until the application had ended; None before."""
        lifespan = self._lifespan
        if lifespan is None or lifespan.stopping_at is None or lifespan.ended_at is None:
            return None
        # An application that ended earlier had nothing left to do.
        return max(0.0, lifespan.ended_at - lifespan.stopping_at)

    # The ways in

    async def startup(self) -> None:
        """Start the application, in a task of its own; then call :meth:`shutdown`, in any task.

        If the caller is cancelled, the application is cancelled and waited for.

        :raises StartupFailed: if the application says so, or raises in its startup in mode "on"
        :raises StartupTimeout: if it does not decide in time; also if it does not heed its
            cancellation after that, and has to be left running
        :raises LifespanUnsupported: in mode "on", if it has no lifespan
        :raises LifespanCrashed: if it died right after its startup
        :raises RuntimeError: if the manager has been used, or outside any event loop
        """
        event_loop, lifespan = self._begin(shield=False)
        self._host(event_loop, lifespan)
        await self._start(lifespan, give_up=True)

    async def shutdown(self) -> None:
        """Shut the application down. Doing so again, or after a startup that failed, is harmless.

        If the caller is cancelled, the application still gets its whole shutdown timeout; then the
        cancellation goes on.

        :raises ShutdownFailed: if the application says so, or raises in its shutdown
        :raises ShutdownTimeout: if it does not finish in time; also if it does not heed its
            cancellation after that, and has to be left running
        :raises LifespanCrashed: if it died while serving
        :raises RuntimeError: before the startup, or in another event loop
        """
        lifespan = self._running("shutdown()")
        if lifespan.protocol.phase is Phase.STARTING:
            raise RuntimeError(
                "shutdown() was called while the startup was under way: cancel the task that "
                "waits for the startup instead"
            )
        self._conclude(*await self._stop(lifespan, give_up=True))

    async def __aenter__(self) -> LifespanManager:
        # The body can only be cancelled, and only makes sense as a parent, where it is run by the
        # code that entered here.
        grouped = hosting.runs_the_body(inspect.currentframe())
        event_loop, lifespan = self._begin(shield=grouped)
        if grouped:
            self._group = await event_loop.open_group(lifespan.run, "anylifespan")
            lifespan.task = self._group.task
        else:
            self._host(event_loop, lifespan)
        try:
            await self._start(lifespan, give_up=False)
        except BaseException as exc:
            lifespan.cancel()  # which has ended, unless it was Python that raised
            await self._close(self._group)
            if self._corruption is not None and is_cancellation(exc):
                raise self._corruption from self._corruption.__cause__
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        lifespan = self._running("__aexit__()")
        elsewhere = self._group is not None and not self._group.is_mine()
        group = None if elsewhere else self._group
        try:
            error, interruption = await self._stop(lifespan, give_up=False, group=group)
        except BaseException:
            lifespan.cancel()
            await self._close(group)
            raise
        if not elsewhere:
            interruption = await self._close(group) or interruption
            # Either has cancelled the body, so there must be an error to say why.
            error = error or self._corruption
            if error is None and group is not None and exc is not None and is_cancellation(exc):
                # Somebody else was told of the crash, but it has cancelled this body.
                error = self.crash
        elif hosting.on_trio():
            outcome.report(error, self._logger, beside=None)
            error = RuntimeError(
                "async with LifespanManager was left in another task than it was entered in, which "
                "trio's nurseries cannot do: use startup() and shutdown(), which any task may call"
            )
        if exc is None or isinstance(interruption, KeyboardInterrupt):
            self._conclude(error, interruption)
        elif (
            error is not None
            and _outranks_cancellation(error)
            and (is_cancellation(exc) or not isinstance(error, Exception))
        ):
            raise error
        else:
            outcome.report(error, self._logger, beside=exc)  # and the body's exception goes on

    async def serve(
        self, *, task_status: TaskStatus[LifespanManager] = TASK_STATUS_IGNORED
    ) -> None:
        """The whole lifespan as a task of the caller's own task group.

        ``await task_group.start(manager.serve)`` returns the manager once the application serves;
        :meth:`request_shutdown` ends it, as does cancelling the task group, gracefully too.

        :raises LifespanError: whatever goes wrong, out of this task and so into the task group; out
            of ``start()`` if it is in the startup
        :raises RuntimeError: if the manager has been used
        """
        self._check_unused()
        self._shutdown_request = Event()
        async with self:
            task_status.started(self)
            await self._shutdown_request.wait()

    def request_shutdown(self) -> None:
        """Let :meth:`serve` shut down and return. Doing so again is harmless.

        A callback of the event loop may call it too, as a handler of a signal is one on asyncio.

        :raises RuntimeError: if :meth:`serve` has not begun, or in another event loop
        """
        if self._shutdown_request is None:
            raise RuntimeError(
                "request_shutdown() ends serve(), which has not begun; after startup() call "
                "shutdown(), and leave the block of an async with"
            )
        self._check_loop("request_shutdown()", callback=True)
        self._shutdown_request.set()

    async def wait_crashed(self) -> LifespanCrashed:
        """Wait until the application dies while serving; for a server's own supervision.

        :return: how it died. Without a crash this never returns, after the shutdown neither.
        :raises RuntimeError: in another event loop
        """
        self._check_loop("wait_crashed()")
        if self._crash_event is None:
            self._crash_event = Event()
        if self._crashed:
            self._crash_event.set()
        await self._crash_event.wait()
        return outcome.crash(self._running("wait_crashed()"))

    # What they share

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
            "type": "lifespan",
            "asgi": {"version": self._asgi_version, "spec_version": "2.0"},
            "state": self._state,
        }
        self._lifespan = Lifespan(
            self._app,
            scope,
            event_loop=self._event_loop,
            shield=shield,
            on_crash=self._on_crash,
            logger=self._logger,
        )
        if self._mode == "off":
            self._lifespan.skip()
        return self._event_loop, self._lifespan

    def _host(self, event_loop: EventLoop, lifespan: Lifespan) -> None:
        if lifespan.state not in ENDED:
            lifespan.task = event_loop.start_task(
                lifespan.run, "anylifespan", on_corruption=self._on_corruption
            )

    async def _start(self, lifespan: Lifespan, *, give_up: bool) -> None:
        interruption: BaseException | None = None
        try:
            await lifespan.wait_started(self._startup_timeout)
        except (get_cancelled_exc_class(), KeyboardInterrupt) as exc:
            interruption = exc
        error: BaseException | None = None
        serves = lifespan.protocol.phase is Phase.SERVING
        if lifespan.protocol.served and (serves or lifespan.stopping_at is not None):
            # It serves, or somebody has shut it down already. If that was decided in the moment of
            # an interruption, it is to be shut down now.
            if interruption is not None:
                error, _ = await self._stop(lifespan, give_up=give_up)
        else:
            if interruption is not None:
                lifespan.cancel()
            deadline = lifespan.started_at + self._startup_timeout
            interruption = await lifespan.wait_ended(deadline, give_up=give_up) or interruption
            error = outcome.startup_error(
                lifespan, required=self._mode == "on", timeout=self._startup_timeout
            )
        if error is not None or interruption is not None:
            self._told = True
            self._conclude(error, interruption)
        self._variables += lifespan.variables
        if self._mode == "auto":
            outcome.tell_unsupported(lifespan, self._logger)

    async def _stop(
        self, lifespan: Lifespan, *, give_up: bool, group: TaskGroup | None = None
    ) -> tuple[BaseException | None, BaseException | None]:
        """Shut down; what was wrong with it, if nobody was told before, and who interrupted.

        :param group: that whose body is over, if this is its host
        """
        told, self._told = self._told, True
        asked_at = lifespan.shut_down()
        interruption = await lifespan.wait_ended(
            asked_at + self._shutdown_timeout,
            give_up=give_up,
            checkpoint=cancel_shielded_checkpoint if group is None else group.shielded_checkpoint,
        )
        if told:
            return None, interruption
        if lifespan.state is State.STOPPED_SILENTLY:
            self._logger.debug("The application returned from its shutdown without a word.")
        return outcome.shutdown_error(lifespan, timeout=self._shutdown_timeout), interruption

    def _conclude(self, error: BaseException | None, interruption: BaseException | None) -> None:
        if error is not None and (interruption is None or _outranks_cancellation(error)):
            raise error
        if interruption is not None:
            outcome.report(error, self._logger, beside=interruption)
            raise interruption

    def _on_crash(self) -> None:
        self._crashed = True
        if self._crash_event is not None:
            self._crash_event.set()
        if self._group is not None:
            self._group.cancel_body()

    def _on_corruption(self, complaint: Exception) -> None:
        self._corruption = outcome.left_open(complaint)
        outcome.report(self._corruption, self._logger, beside=None)

    async def _close(self, group: TaskGroup | None) -> BaseException | None:
        """Leave the task group, whose only task has ended; a cancellation that came meanwhile."""
        if group is not None:
            self._group = None
            try:
                await group.close()
            except (get_cancelled_exc_class(), KeyboardInterrupt) as exc:
                return exc
            except Exception as exc:  # noqa: BLE001 - it is told
                self._on_corruption(exc)
        return None

    def _running(self, what: str) -> Lifespan:
        if self._lifespan is None:
            raise RuntimeError(
                f"{what} was called before the startup: await startup() first, or use async with"
            )
        self._check_loop(what)
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


def _outranks_cancellation(error: BaseException) -> bool:
    # A crash cancels the body, so it is why there is a cancellation; an exit is not to be stopped.
    return isinstance(error, LifespanCrashed) or not isinstance(error, Exception)
