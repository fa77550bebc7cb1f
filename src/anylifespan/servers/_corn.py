"""Code shared by the modules for Hypercorn and Anycorn. Anycorn is based on Hypercorn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from anyio import (
    TASK_STATUS_IGNORED,
    CancelScope,
    Event,
    create_task_group,
    from_thread,
    to_thread,
)
from anyio.abc import TaskStatus

from .._core.application import ASGI3App, Receive, Scope, Send
from .._core.exceptions import only_leaf
from .._core.hosting import event_loop
from .._core.log import DEFAULT_LOG, Log
from .._core.manager import LifespanManager
from .._core.options import check_seconds
from .._diagnosis.watchdog import time_reported
from .._process.signals import call_at_each, outliving_sigterm
from .._stop.drain import drain_within, within
from ..errors import (
    LifespanCrashed,
    ShutdownFailed,
    ShutdownTimeout,
    StartupFailed,
    StartupTimeout,
)

TIMEOUT = 60.0  # seconds, of both


def set_timeouts(
    config: Any, startup_timeout: float | None, shutdown_timeout: float | None
) -> None:
    """Set the timeouts in a server's configuration, with infinity in place of None."""
    config.startup_timeout = check_seconds("startup_timeout", startup_timeout)
    config.shutdown_timeout = check_seconds("shutdown_timeout", shutdown_timeout)


class Lifespan:
    """A replacement for the server's own ``Lifespan``, with the timeouts from the configuration.

    :param app: the application, as the server's ``wrap_app()`` returns it
    :param config: the server's configuration, with ``startup_timeout`` and ``shutdown_timeout``
    :param state: the dict that the application fills
    :ivar startup: an event that is set when the startup is over, whatever its outcome
    :ivar shutdown: an event that is set when the lifespan is over
    :ivar manager: the :class:`~anylifespan.LifespanManager`, whose ``app`` is for requests
    """

    failure_error: type[Exception]
    timeout_error: type[Exception]

    def __init__(self, app: Any, config: Any, state: dict[str, Any]) -> None:
        async def asgi3_app(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await app(scope, receive, send, to_thread.run_sync, from_thread.run)
            finally:
                if scope["type"] == "lifespan":
                    self._stopping.set()  # there is nothing to wait for, and nothing to shut down

        self.app = app
        self.config = config
        self.state = state
        self.startup = Event()
        self.shutdown = Event()
        self.manager = LifespanManager(
            asgi3_app,
            startup_timeout=config.startup_timeout,
            shutdown_timeout=config.shutdown_timeout,
            state=state,
            logger=config.log.error_logger,
        )
        logger = config.log.error_logger
        self.log = DEFAULT_LOG if logger is None else Log(logger)
        self._stopping = Event()
        self._out_of_time: StartupTimeout | ShutdownTimeout | None = None

    @property
    def supported(self) -> bool:
        """Whether the application has a lifespan; True until this is known."""
        return self.manager.supported is not False

    async def handle_lifespan(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run the lifespan, from the startup until the application has ended.

        Run this in a task of its own. :meth:`wait_for_shutdown` ends the lifespan.

        :raises LifespanFailureError: if the startup or the shutdown fails. This is the server's own
            exception
        :raises LifespanCrashed: if the application crashes while serving
        """
        task_status.started()
        try:
            with self._reporting("startup", self.config.startup_timeout):
                await self.manager.startup()
            if not self.supported:
                await self.config.log.warning(
                    "ASGI Framework Lifespan error, continuing without Lifespan support"
                )
            self.startup.set()
            await self._until_shutdown()
        except (StartupTimeout, ShutdownTimeout) as error:
            self._out_of_time = error
            await self.config.log.error("%s", error)  # the server's error does not say where
        except StartupFailed as error:
            raise self.failure_error("startup", error.message) from error
        except ShutdownFailed as error:
            raise self.failure_error("shutdown", error.message) from error
        finally:
            self.startup.set()
            self.shutdown.set()

    async def _until_shutdown(self) -> None:
        async def end_at_crash() -> None:
            await self.manager.wait_crashed()
            self._stopping.set()

        try:
            async with create_task_group() as task_group:
                task_group.start_soon(end_at_crash)
                await self._stopping.wait()
                task_group.cancel_scope.cancel()
        finally:
            with self._reporting("shutdown", self.config.shutdown_timeout):
                await self.manager.shutdown()

    def _reporting(self, phase: str, limit: float) -> AbstractContextManager[None]:
        return time_reported(phase, limit, self.log)

    async def wait_for_startup(self) -> None:
        """Wait until the startup is over.

        :raises LifespanTimeoutError: if the startup timed out. This is the server's own exception
        """
        await self.startup.wait()
        if isinstance(self._out_of_time, StartupTimeout):
            raise self.timeout_error("startup") from self._out_of_time

    async def wait_for_shutdown(self) -> None:
        """Shut the application down, and wait until the shutdown is over.

        :raises LifespanTimeoutError: if the shutdown timed out. This is the server's own exception
        """
        self._stopping.set()
        await self.shutdown.wait()
        if isinstance(self._out_of_time, ShutdownTimeout):
            raise self.timeout_error("shutdown") from self._out_of_time


async def serve(
    lifespan: Lifespan,
    server: Callable[[ASGI3App, Callable[[], Awaitable[object]]], Coroutine[Any, Any, None]],
    shutdown_trigger: Callable[[], Awaitable[object]] | None,
    *,
    supervised: bool = False,
) -> None:
    """Run the server within the lifespan, and cut off requests before the ``graceful_timeout``.

    :param server: runs the server. It is called with an application, and with an asynchronous
        function that returns when the server should stop gracefully
    :param shutdown_trigger: returns an awaitable. When the awaitable completes, the server stops.
        None to stop on SIGINT and SIGTERM
    :param supervised: whether the server also stops on SIGTERM from a supervisor
    """
    stop = Event()
    starting = CancelScope()
    limit = lifespan.config.graceful_timeout
    drain = drain_within(
        "graceful_timeout", limit, within(limit), event_loop("serve()"), lifespan.log
    )
    crash: LifespanCrashed | None = None

    async def handle_lifespan() -> None:
        nonlocal crash
        try:
            await lifespan.handle_lifespan()
        except LifespanCrashed as error:
            crash = error  # to be raised when the requests have been given their time
            drain.begin()
            stop.set()

    def end() -> None:
        drain.begin()
        stop.set()
        starting.cancel()

    def end_at_sigterm() -> bool:
        end()
        return True

    async def wait_for_trigger() -> None:
        if shutdown_trigger is None:
            await call_at_each(end)
        else:
            await shutdown_trigger()
            end()

    handler = outliving_sigterm(end_at_sigterm) if supervised else nullcontext()
    try:
        with handler:
            async with create_task_group() as task_group:
                task_group.start_soon(wait_for_trigger)
                task_group.start_soon(handle_lifespan)
                with starting:
                    await lifespan.wait_for_startup()
                if not starting.cancelled_caught and crash is None:
                    # The server runs in a task of its own: on Python 3.11, the asyncio TaskGroup
                    # that Hypercorn uses leaves its task marked as cancelled.
                    async with create_task_group() as serving:
                        app = _without_lifespan(drain.around(lifespan.manager.app))
                        serving.start_soon(server, app, stop.wait)
                    await drain.finish()
                    await lifespan.wait_for_shutdown()
                task_group.cancel_scope.cancel()
    except BaseException as exc:
        leaf = only_leaf(exc)
        if leaf is None or leaf is exc:
            raise
        raise leaf from leaf.__cause__
    if crash is not None:
        raise crash


async def serve_as_worker(
    lifespan: Lifespan, worker_serve: Any, wrap_app: Any, shutdown_trigger: Any
) -> None:
    """Run the server within the lifespan, in one of the workers of the server's own command.

    :param worker_serve: the server's own function that serves in a worker
    :param wrap_app: the server's own function that wraps the application
    """
    config = lifespan.config

    async def server(app: Any, stop: Any) -> None:
        wrapped = wrap_app(app, config.wsgi_max_body_size, "asgi")
        await worker_serve(wrapped, config, shutdown_trigger=stop)

    # Without a trigger, this is not a worker but the only process, which handles signals itself.
    await serve(lifespan, server, shutdown_trigger, supervised=shutdown_trigger is not None)


def _without_lifespan(app: ASGI3App) -> ASGI3App:
    """Return an application whose lifespan does nothing, for the server's own lifespan handling."""

    async def app_without_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})

    return app_without_lifespan
