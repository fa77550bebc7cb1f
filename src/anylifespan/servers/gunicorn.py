"""Run Gunicorn with this library's lifespan support.

On the command line, use ``gunicorn -k anylifespan.servers.gunicorn.ASGIWorker main:app``.
"""

# pyright: reportAttributeAccessIssue=false
# (Gunicorn's type information describes an older version.)

from __future__ import annotations

import asyncio
import os
from typing import Any

from anyio import CancelScope, sleep
from gunicorn.arbiter import Arbiter
from gunicorn.asgi.lifespan import LifespanStartupFailed
from gunicorn.workers import gasgi

from .._core import manager as _manager
from .._core.application import ASGIApp
from .._core.exceptions import describe, in_full
from .._core.hosting import event_loop
from .._core.log import Log
from .._core.options import check_seconds
from .._diagnosis.watchdog import time_reported
from .._stop.drain import Drain, drain_within
from ..errors import (
    LifespanCrashed,
    LifespanError,
    ShutdownTimeout,
    StartupFailed,
    StartupTimeout,
)


class LifespanManager:
    """A replacement for ``gunicorn.asgi.lifespan.LifespanManager``.

    The environment variables ``ANYLIFESPAN_STARTUP_TIMEOUT`` and ``ANYLIFESPAN_SHUTDOWN_TIMEOUT``
    set the timeouts in seconds. The default is 30.

    :param app: an ASGI application
    :param logger: logger for problems that are not raised
    :param state: the dict that the application fills; None for a new dict
    :raises ValueError: if one of the environment variables is not a number of seconds
    """

    def __init__(self, app: ASGIApp, logger: Any, state: dict[str, Any] | None = None) -> None:
        self._manager = _manager.LifespanManager(
            app,
            mode="on",
            startup_timeout=_seconds_from("ANYLIFESPAN_STARTUP_TIMEOUT"),
            shutdown_timeout=_seconds_from("ANYLIFESPAN_SHUTDOWN_TIMEOUT"),
            state=state,
            logger=logger,
        )
        self.app = app
        self.logger = logger
        self.state = self._manager.state

    async def startup(self) -> None:
        """Start the application. Errors are chained to the exception that the application raised.

        :raises LifespanStartupFailed: if the application sends ``lifespan.startup.failed``. This is
            Gunicorn's own exception, a subclass of RuntimeError
        :raises RuntimeError: if the application raises an exception or returns, or the startup
            times out
        """
        try:
            await self._manager.startup()
        except StartupTimeout as error:
            raise RuntimeError(f"Lifespan startup timed out: {error}") from error
        except StartupFailed as error:
            cause = error.__cause__
            if cause is not None and error.message == describe(cause):
                raise RuntimeError(f"Lifespan startup failed: {cause}") from error
            wordless = error.message == describe(None)
            reason = "Unknown error" if wordless else error.message  # as Gunicorn has it
            raise LifespanStartupFailed(f"Lifespan startup failed: {reason}") from error
        except LifespanError as error:
            raise RuntimeError(f"Lifespan startup failed: {error}") from error
        self.logger.debug("ASGI lifespan startup complete")

    async def shutdown(self) -> None:
        """Shut the application down. Errors are logged, not raised."""
        try:
            await self._manager.shutdown()
        except ShutdownTimeout as error:
            self.logger.warning("Lifespan shutdown timed out: %s", error)
        except LifespanError as error:
            self.logger.error("Lifespan shutdown error: %s", in_full(error))
        self.logger.debug("ASGI lifespan shutdown complete")


class ASGIWorker(gasgi.ASGIWorker):  # type: ignore[misc, unused-ignore]
    """Gunicorn's own ASGI worker, with this library's lifespan support.

    The startup may take as long as ``--timeout``. During the startup, the worker sends
    heartbeats to Gunicorn. The shutdown may take as long as ``--graceful-timeout``, less the time
    that the worker itself needs before Gunicorn kills it. Open requests may use at most half of
    this time, and are then cut off. A worker whose lifespan crashes stops gracefully with status 1,
    and Gunicorn starts another worker. The application is also shut down after SIGINT and SIGQUIT.
    """

    asgi: Any
    log: Any
    _drain: Drain
    _startup: CancelScope | None = None

    def handle_exit_signal(self) -> None:
        super().handle_exit_signal()
        self._on_notice()

    def handle_quit_signal(self) -> None:
        super().handle_quit_signal()
        self._on_notice()

    def _on_notice(self) -> None:
        self._drain.begin()
        if self._startup is not None:
            self._startup.cancel()

    async def _serve(self) -> None:
        # Gunicorn kills a worker that is silent for ``--timeout`` seconds. Gunicorn's own worker
        # would be silent during the startup, during the shutdown, and while requests end.
        notifying = asyncio.create_task(self._notify_on_and_on())
        try:
            await self._serve_with_lifespan()
        finally:
            notifying.cancel()

    async def _serve_with_lifespan(self) -> None:
        log = Log(self.log)
        limit = self.cfg.graceful_timeout
        self._drain = drain_within(
            "graceful_timeout", limit, _drain_timeout(limit), event_loop("a worker"), log
        )
        manager = _manager.LifespanManager(
            self.asgi,
            mode=self.cfg.asgi_lifespan,
            startup_timeout=self.cfg.timeout or None,
            shutdown_timeout=_shutdown_timeout(self.cfg.graceful_timeout),
            state=self.state,
            logger=self.log,
        )
        try:
            limit = self.cfg.timeout or None
            with time_reported("startup", limit, log), CancelScope() as self._startup:
                await manager.startup()
        except LifespanError as error:
            self.log.error("ASGI lifespan startup failed: %s", in_full(error))
            raise SystemExit(Arbiter.WORKER_BOOT_ERROR) from None
        if self._startup.cancelled_caught:
            self.log.info("ASGI lifespan startup cancelled")
            return
        self._startup = None
        self.asgi = self._drain.around(manager.app)
        # After this, Gunicorn does not run the lifespan itself.
        self.cfg.set("asgi_lifespan", "off")
        watcher = asyncio.create_task(self._watch(manager))
        try:
            await super()._serve()
        finally:
            watcher.cancel()
            try:
                await self._drain.finish()
            finally:
                await self._shut_down(manager)

    async def _watch(self, manager: _manager.LifespanManager) -> None:
        await manager.wait_crashed()
        self.alive = False
        self._on_notice()

    async def _shut_down(self, manager: _manager.LifespanManager) -> None:
        try:
            limit = _shutdown_timeout(self.cfg.graceful_timeout)
            with time_reported("shutdown", limit, Log(self.log)):
                await manager.shutdown()
        except LifespanError as error:
            self.log.error("ASGI lifespan shutdown error: %s", in_full(error))
            if isinstance(error, LifespanCrashed):
                raise SystemExit(1) from None

    async def _notify_on_and_on(self) -> None:
        while True:
            self.notify()
            await sleep(1)


def _shutdown_timeout(graceful_timeout: float) -> float:
    # The worker checks once a second whether it must stop, and then waits for its connections.
    return max(graceful_timeout - 3, graceful_timeout / 3, 1)


def _drain_timeout(graceful_timeout: float) -> float:
    # The application must still be shut down within the same time.
    return max(graceful_timeout / 2 - 1, graceful_timeout / 3)


def _seconds_from(variable: str) -> float:
    value = os.environ.get(variable, "30")
    try:
        seconds = float(value)
    except ValueError as exc:
        raise ValueError(f"{variable} must be a number of seconds, got {value!r}") from exc
    return check_seconds(variable, seconds)
