"""A server for tests: the application is up, and listens on a port."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from typing import Any

from .._core.application import ASGIApp
from .._core.log import DEFAULT, Log
from .._core.manager import LifespanManager
from .._core.options import Mode, check_seconds
from .._diagnosis.leaks import Leaks, check_leaks, leaks_reported
from ..from_thread import BlockingLifespan, cancel_unless_up, up_in_thread
from ._transport import DRAIN_TIMEOUT


class ASGIServer:
    """A server on this machine, whose application is up.

    :ivar lifespan: the :class:`~anylifespan.from_thread.BlockingLifespan` of the application
    :ivar host: where it listens
    :ivar port: the same
    """

    def __init__(self, lifespan: BlockingLifespan, host: str, port: int) -> None:
        self.lifespan = lifespan
        self.host = host
        self.port = port

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self.url}>"

    @property
    def url(self) -> str:
        """Where it is, without a slash at the end: ``http://127.0.0.1:54321``."""
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
    """Serve an application by Uvicorn, on asyncio in another thread, while a block runs::

        with asgi_server(app) as server:
            page.goto(f"{server.url}/orders")

    It is for browsers, and for clients that want a network; :func:`asgi_client` and
    :func:`asgi_sync_client` are quicker. When the block is left, requests that are still open are
    ended, and the application is shut down. If the application dies meanwhile, the server stops,
    and the crash is raised when the block is left.

    It is down within its limits, whatever hangs: an application that blocks its event loop is left
    to its thread, with a ShutdownTimeout that says where it is. (Uvicorn #742, #1497)

    :param app: an ASGI application
    :param host: where to listen
    :param port: the same; 0 for one that is free
    :param drain_timeout: seconds that requests may go on when the block is left. Then they are
        disconnected, and cancelled. None for no limit.
    :param backend_options: those of asyncio, as :func:`anyio.run` takes them
    :param options: those of :class:`uvicorn.Config`. By default Uvicorn's loggers are left as they
        are (``log_config=None``).
    :raises LifespanError: as :func:`~anylifespan.from_thread.start_blocking_lifespan`
    :raises TypeError: if ``app`` cannot be an ASGI application, or an option is unknown
    :raises OSError: if the server cannot listen there
    :raises LeakWarning: of leaks that are errors
    :raises ModuleNotFoundError: without Uvicorn

    The other parameters are those of :func:`asgi_client`.
    """
    from ._serving import CUTTING, Serving

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
    reported = AsyncExitStack()
    left_open = AsyncExitStack()

    async def startup() -> None:
        async with reported:
            is_up = await reported.enter_async_context(leaks_reported(app, leaks, ignore_leaks))
            await manager.startup()
            is_up()
            left_open.push_async_exit(reported.pop_all())
        left_open.push_async_callback(manager.shutdown)
        left_open.push_async_callback(serving.stop)
        await serving.start(listener)

    def cancel() -> None:
        serving.hurry()
        cancel_unless_up(manager)

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with (
        closing(socket.create_server((host, port), family=family)) as listener,
        up_in_thread(
            lifespan,
            startup,
            left_open.aclose,
            "asyncio",
            backend_options,
            log,
            cancel=cancel,
            drain=drain + CUTTING,
        ),
    ):
        yield ASGIServer(lifespan, host, listener.getsockname()[1])
