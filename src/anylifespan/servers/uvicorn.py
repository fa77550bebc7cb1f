"""Run Uvicorn with this library's lifespan support.

On the command line, use ``python -m anylifespan.servers.uvicorn main:app --startup-timeout 20``. In
code, use :func:`run`, or ``uvicorn.Server(Config("main:app", startup_timeout=20)).run()``.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click
import uvicorn
from anyio import CancelScope
from uvicorn.server import HANDLED_SIGNALS
from uvicorn.supervisors import Multiprocess

from .._core.exceptions import in_full
from .._core.hosting import event_loop
from .._core.log import Log
from .._core.manager import LifespanManager
from .._core.options import check_seconds
from .._diagnosis.watchdog import time_reported
from .._process.notice import noticed_signals
from .._process.server import terminate
from .._process.signals import are_handled
from .._stop.drain import Drain, drain_within, within
from ..errors import LifespanCrashed, LifespanError
from ._click import with_timeouts
from ._command import replaced

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._uvicorn_options import Options

TIMEOUT = 30.0
# Uvicorn's exit status if the application does not start. It is not imported, because Uvicorn has
# moved its own constant.
STARTUP_FAILURE = 3


def _with_parameters_of(theirs: Any, ours: Any) -> inspect.Signature:
    """Return the signature of ``theirs``, with the keyword-only parameters of ``ours`` added.

    ``ours`` passes all other parameters on. help() and interactive editors show this signature.
    """
    signature = inspect.signature(theirs)
    own = [
        one for one in inspect.signature(ours).parameters.values() if one.kind is one.KEYWORD_ONLY
    ]
    return signature.replace(parameters=[*signature.parameters.values(), *own])


class Config(uvicorn.Config):
    """A :class:`uvicorn.Config` whose servers use this library's lifespan support.

    It takes the same parameters, and two more:

    :param startup_timeout: seconds the startup may take; None for no limit
    :param shutdown_timeout: seconds the shutdown may take; None for no limit
    :raises TypeError: if a timeout is not a number
    :raises ValueError: if a timeout is negative
    """

    def __init__(
        self,
        app: Any,
        *args: Any,
        startup_timeout: float | None = TIMEOUT,
        shutdown_timeout: float | None = TIMEOUT,
        **kwargs: Unpack[Options],
    ) -> None:
        check_seconds("startup_timeout", startup_timeout)
        check_seconds("shutdown_timeout", shutdown_timeout)
        self.startup_timeout = startup_timeout
        self.shutdown_timeout = shutdown_timeout
        options: dict[str, Any] = {**kwargs}
        super().__init__(app, *args, **options)

    __init__.__signature__ = _with_parameters_of(uvicorn.Config.__init__, __init__)  # type: ignore[attr-defined]

    def load(self) -> None:
        super().load()
        if self.lifespan != "off":
            self.lifespan_class: Any = Lifespan


def run(
    app: Any,
    *,
    startup_timeout: float | None = TIMEOUT,
    shutdown_timeout: float | None = TIMEOUT,
    **options: Any,
) -> None:
    """Serve an application as :func:`uvicorn.run` does, even with ``reload`` and ``workers``.

    :param app: the application, or an import string such as ``"main:app"``
    :param startup_timeout: seconds the startup may take; None for no limit
    :param shutdown_timeout: seconds the shutdown may take; None for no limit
    :param options: other parameters of :func:`uvicorn.run`
    :raises SystemExit: if the application does not start, or its lifespan crashes
    """
    with _configured(startup_timeout, shutdown_timeout):
        uvicorn.run(app, **options)


run.__signature__ = _with_parameters_of(uvicorn.run, run)  # type: ignore[attr-defined]


@contextmanager
def _configured(startup_timeout: float | None, shutdown_timeout: float | None) -> Iterator[None]:
    """Have ``uvicorn.run()`` use this module's :class:`Config` while the block runs."""
    module = import_module("uvicorn.main")  # uvicorn.main itself is the command
    config = partial(Config, startup_timeout=startup_timeout, shutdown_timeout=shutdown_timeout)
    with replaced(module, "Config", config), replaced(module, "Multiprocess", _Supervisor):
        yield


class _Supervisor(Multiprocess):
    """A supervisor that exits with a failure status if it stops because no worker can start.

    In this case, Uvicorn's own supervisor exits with status 0.
    """

    def run(self) -> None:
        super().run()
        if any(one.process.exitcode == STARTUP_FAILURE for one in self.processes):
            sys.exit(STARTUP_FAILURE)


def command() -> click.Command:
    """Return Uvicorn's own command with two additional options."""
    return with_timeouts(uvicorn.main, TIMEOUT, _configured)


class Lifespan:
    """A replacement for ``uvicorn.lifespan.on.LifespanOn``.

    SIGINT and SIGTERM end a startup at once. Requests detect these signals with
    :func:`~anylifespan.draining`, and are cut off shortly before ``timeout_graceful_shutdown`` is
    over. If the lifespan crashes while the server is serving, the server exits gracefully with
    status 1.

    :param config: a :class:`Config`, or any other :class:`uvicorn.Config`, for which the timeouts
        are 30 seconds
    :ivar should_exit: whether the server must exit, because the application cannot be served
    :ivar error_occurred: whether the application raised an exception, or has no lifespan
    :ivar startup_failed: whether the application failed to start
    :ivar shutdown_failed: whether the application failed to shut down
    """

    def __init__(self, config: uvicorn.Config) -> None:
        if not config.loaded:
            config.load()
        mode: Any = config.lifespan
        self.config = config
        self.logger = logging.getLogger("uvicorn.error")
        self.should_exit = False
        self.error_occurred = False
        self.startup_failed = False
        self.shutdown_failed = False
        # Several servers may use one configuration.
        self._app = vars(config).setdefault("_anylifespan_app", config.loaded_app)
        self._limits = {
            phase: getattr(config, f"{phase}_timeout", TIMEOUT) for phase in ("startup", "shutdown")
        }
        self._manager = LifespanManager(
            self._app,
            mode=mode,
            startup_timeout=self._limits["startup"],
            shutdown_timeout=self._limits["shutdown"],
            logger=self.logger,
        )
        self._log = Log(self.logger)
        self._drain: Drain  # made where there is an event loop
        self._signal = 0  # by which the server was stopped
        self._serving: Any = None  # the application as requests call it
        self._starting: CancelScope | None = None
        self._notices = ExitStack()
        self._watcher: asyncio.Task[None] | None = None

    @property
    def state(self) -> dict[str, Any]:
        """The lifespan's state. Each request gets a copy of it."""
        return self._manager.state

    async def startup(self) -> None:
        """Start the application, and set :attr:`should_exit` if the startup fails.

        :raises SystemExit: if a signal arrives during the startup, with the status that a shell
            reports for the signal
        """
        self.logger.info("Waiting for application startup.")
        limit = self.config.timeout_graceful_shutdown
        self._drain = drain_within(
            "timeout_graceful_shutdown", limit, within(limit), event_loop("Lifespan"), self._log
        )
        self._notices.enter_context(noticed_signals(HANDLED_SIGNALS, self._on_signal))
        try:
            with self._reporting("startup"), CancelScope() as self._starting:
                await self._manager.startup()
        except BaseException as exc:
            self._notices.close()
            if not isinstance(exc, LifespanError):
                raise
            self._fail("startup", exc)
            return
        if self._starting.cancelled_caught:
            self._notices.close()
            self.logger.info("Application startup cancelled.")
            self.should_exit = True
            # With Uvicorn's own status, a supervisor would assume that the application has failed.
            sys.exit(128 + self._signal)
        self._starting = None
        self.error_occurred = not self._manager.supported
        self.logger.info("Application startup complete.")
        # Uvicorn's protocols read the application from the configuration for each connection.
        self.config.loaded_app = self._serving = self._drain.around(self._manager.app)
        self._watcher = asyncio.create_task(self._watch())

    async def shutdown(self) -> None:
        """Shut the application down, if it has a lifespan.

        :raises SystemExit: with status 1, if the application crashed while it was serving, or if a
            signal has arrived and the shutdown fails
        """
        if self._watcher is not None:
            self._watcher.cancel()
        try:
            if self._serving is not None:
                await self._drain.finish()
        finally:
            await self._end()

    async def _end(self) -> None:
        if self.config.loaded_app is self._serving:
            self.config.loaded_app = self._app
        try:
            if not self._manager.supported:
                await self._manager.shutdown()
            else:
                await self._shut_down()
        finally:
            self._notices.close()

    async def _shut_down(self) -> None:
        self.logger.info("Waiting for application shutdown.")
        try:
            with self._reporting("shutdown"):
                await self._manager.shutdown()
        except LifespanError as error:
            self._fail("shutdown", error)
            if isinstance(error, LifespanCrashed) or self._signal:
                # Otherwise, Uvicorn would end with the signal that stopped it, which a supervisor
                # takes for a normal exit.
                sys.exit(1)
        else:
            self.logger.info("Application shutdown complete.")

    def _reporting(self, phase: str) -> AbstractContextManager[None]:
        return time_reported(phase, self._limits[phase], self._log)

    def _on_signal(self, number: int) -> None:
        self._signal = number
        self._drain.begin()
        if self._starting is not None:
            self._starting.cancel()

    def _fail(self, phase: str, error: LifespanError) -> None:
        self.startup_failed = phase == "startup"
        self.shutdown_failed = phase == "shutdown"
        self.error_occurred = error.__cause__ is not None
        text = in_full(error)
        if text != str(error):
            text = f"Exception in 'lifespan' protocol\n{text}"
        self.logger.error("%s", text)
        self.logger.error("Application %s failed. Exiting.", phase)
        self.should_exit = True

    async def _watch(self) -> None:
        await self._manager.wait_crashed()
        self.should_exit = True
        if are_handled():
            terminate()
        else:
            self.logger.error("The server is not in the main thread, and so cannot be stopped.")


if __name__ == "__main__":
    # Reloaded servers and workers run in other processes, which import their code by name.
    import_module("anylifespan.servers.uvicorn").command()()
