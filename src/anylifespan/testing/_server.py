"""A test server that runs an application and listens on a port."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from .._core.application import ASGIApp
from .._core.log import DEFAULT, Log
from .._core.manager import LifespanManager
from .._core.options import Leaks, Mode, check_leaks, check_seconds
from .._stop.drain import time_to_close
from ..from_thread import BlockingLifespan, cancel_unless_up, up_in_thread
from ._reported import Reported
from ._transport import DRAIN_TIMEOUT


class ASGIServer:
    """A running server.

    :ivar lifespan: the application's :class:`~anylifespan.from_thread.BlockingLifespan`
    :ivar host: the address that the server listens on
    :ivar port: the port that the server listens on
    """

    def __init__(self, lifespan: BlockingLifespan, host: str, port: int) -> None:
        self.lifespan = lifespan
        self.host = host
        self.port = port

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self.url}>"

    @property
    def url(self) -> str:
        """The server's URL without a trailing slash, such as ``http://127.0.0.1:54321``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


@contextmanager
def asgi_server(
    app: ASGIApp,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    mode: Mode = "on",
    startup_timeout: float | None = 30.0,
    shutdown_timeout: float | None = 30.0,
    report_after: float | None = 5.0,
    state: dict[str, Any] | None = None,
    logger: logging.Logger | None = None,
    leaks: Leaks = "warn",
    ignore_leaks: Iterable[str] = (),
    drain_timeout: float | None = DRAIN_TIMEOUT,
    backend_options: dict[str, Any] | None = None,
    **options: Any,
) -> Iterator[ASGIServer]:
    """Serve an application with Uvicorn, on asyncio in another thread::

        with asgi_server(app) as server:
            page.goto(f"{server.url}/orders")

    Use this for browsers, and for clients that need a real connection. :func:`asgi_client` and
    :func:`asgi_sync_client` are faster. At the end of the block, requests that are still open after
    ``drain_timeout`` seconds are cancelled, and then the application is shut down. If the lifespan
    crashes, the server stops, and leaving the block raises LifespanCrashed.

    Leaving the block never hangs: if the application blocks its event loop for more than five
    seconds beyond the timeouts, the server's thread is abandoned, and a ShutdownTimeout reports
    where the application is blocked. (Uvicorn #742, #1497)

    :param app: an ASGI application
    :param host: address to listen on
    :param port: port to listen on; 0 for any free port
    :param drain_timeout: seconds that open requests may take to finish at the end of the block,
        before they are disconnected and cancelled; None for no limit
    :param backend_options: options for asyncio, as for :func:`anyio.run`
    :param options: options for :class:`uvicorn.Config`. By default, Uvicorn does not configure
        logging (``log_config=None``).
    :raises LifespanError: in the same cases as
        :func:`~anylifespan.from_thread.start_blocking_lifespan`
    :raises TypeError: if ``app`` cannot be an ASGI application, or an option is unknown
    :raises OSError: if the server cannot listen on that port
    :raises LeakWarning: if the application leaves something behind, with ``leaks="error"``
    :raises ModuleNotFoundError: if Uvicorn is not installed

    The other parameters are the same as for :func:`asgi_client`.
    """
    from ._serving import Serving

    check_leaks(leaks, ignore_leaks)
    manager = LifespanManager(
        app,
        mode=mode,
        startup_timeout=startup_timeout,
        shutdown_timeout=shutdown_timeout,
        report_after=report_after,
        state=state,
        logger=logger,
    )
    lifespan = BlockingLifespan(manager)
    log = Log(logger or DEFAULT)
    drain = check_seconds("drain_timeout", drain_timeout)
    serving = Serving(manager, drain, log, options)
    reported = Reported(app, manager, leaks, ignore_leaks)

    async def startup() -> None:
        await reported.startup()
        await serving.start(listener)

    async def shutdown() -> None:
        try:
            await serving.stop()
        finally:
            await reported.shutdown()

    def cancel() -> None:
        serving.hurry()
        cancel_unless_up(manager)

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with (
        closing(socket.create_server((host, port), family=family)) as listener,
        up_in_thread(
            lifespan,
            startup,
            shutdown,
            "asyncio",
            backend_options,
            log,
            cancel=cancel,
            drain=time_to_close(drain),
        ),
    ):
        yield ASGIServer(lifespan, host, listener.getsockname()[1])
