"""A client for asynchronous tests: the application is up, and requests go straight to it."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from .._core.application import ASGIApp
from .._core.exceptions import only_leaf
from .._core.manager import LifespanManager
from .._core.options import Mode
from .._diagnosis.leaks import Leaks, check_leaks, leaks_reported
from ._httpx import BASE_URL, httpx, is_of_websocket, open_websocket
from ._transport import DRAIN_TIMEOUT, ASGITransport

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup


class ASGIClient(httpx.AsyncClient):
    """An ``AsyncClient`` whose requests go to an application that is up.

    :ivar lifespan: the :class:`~anylifespan.LifespanManager` of the application
    """

    def __init__(
        self,
        lifespan: LifespanManager,
        *,
        transport: Any = None,
        base_url: str = BASE_URL,
        **options: Any,
    ) -> None:
        transport = transport or ASGITransport(lifespan.app, lifespan=lifespan)
        # The application is no network, and may be looked at in a debugger.
        options.setdefault("timeout", None)
        super().__init__(transport=transport, base_url=base_url, **options)
        self.lifespan = lifespan

    @asynccontextmanager
    async def websocket(self, url: Any, **options: Any) -> AsyncIterator[Any]:
        """Open a WebSocket, as ``AsyncClient.websocket()`` of httpx2 does::

            async with client.websocket("/orders") as websocket:
                await websocket.send_json({"book": 1})
                assert await websocket.receive_json() == {"sold": True}

        If the application raises in it, that is raised when the block is left. If it dies, the
        block gets a WebSocketDisconnect, and raises the crash. What comes alone is not in a group.

        :param url: as for a request: relative to ``base_url``
        :param options: those of httpx2, ``subprotocols`` for one; there are no pings by default
        :raises WebSocketUpgradeError: of httpx2, if the application denies it; its ``response`` has
            the denial, or status 403. The code and the reason of a ``websocket.close`` are in
            ``response.extensions["websocket_close"]``.
        :raises ModuleNotFoundError: without httpx2 2.9, or wsproto
        """
        opened = open_websocket(httpx.AsyncClient, self, url, options)
        try:
            async with opened as websocket:
                yield websocket
        except BaseException as raised:
            alone = only_leaf(raised)
            if is_of_websocket(alone):
                alone = self.lifespan._crash_as_answer() or alone
            if alone is None or alone is raised or isinstance(alone, BaseExceptionGroup):
                raise
            raise alone from alone.__cause__


@asynccontextmanager
async def asgi_client(
    app: ASGIApp,
    *,
    mode: Mode = "on",
    startup_timeout: float | None = 30.0,
    shutdown_timeout: float | None = 30.0,
    report_after: float | None = 5.0,
    state: dict[str, Any] | None = None,
    logger: logging.Logger | None = None,
    leaks: Leaks = "warn",
    ignore_leaks: Iterable[str] = (),
    drain_timeout: float | None = DRAIN_TIMEOUT,
    raise_app_exceptions: bool = True,
    root_path: str = "",
    client: tuple[str, int] = ("127.0.0.1", 123),
    base_url: str = BASE_URL,
    **options: Any,
) -> AsyncIterator[ASGIClient]:
    """Start an application, and have a client for it::

        async with asgi_client(app) as client:
            response = await client.get("/")

    The client is an ``AsyncClient`` of httpx2, or of httpx if that is not installed. Responses
    stream, and :meth:`ASGIClient.websocket` opens a WebSocket. Requests that still run when the
    client is closed are ended before the shutdown. If the
    application dies meanwhile, the body is cancelled and the crash is raised. In a fixture it is
    raised where the fixture is left.

    What the application itself leaves behind after its shutdown is listed in a :exc:`LeakWarning`:
    tasks, threads, sockets, files and asynchronous generators that it has made in its lifespan and
    in requests. What is made by others meanwhile, by the test for one, is not.

    :param app: an ASGI application
    :param mode: as for :class:`~anylifespan.LifespanManager`, but that by default an application
        without a lifespan is an error: in a test, one that silently does not start is the worst
    :param startup_timeout: seconds the startup may take; None for no limit
    :param shutdown_timeout: seconds the shutdown may take; None for no limit
    :param report_after: seconds after which a startup or a shutdown that is not over is logged
    :param state: the dict that the application fills; None for a new one
    :param logger: where to log what is not raised
    :param leaks: ``"warn"`` of what is left behind, raise it as an ``"error"``, or ``"off"``
    :param ignore_leaks: patterns, as of file names, for leaks that are known: of the name of a
        thread or a task, of the path of a file, or of the place where it is or was made, as
        ``"*/pool.py"`` or ``"*/pool.py:42"``
    :param drain_timeout: seconds that a request may go on when the client has left it; see
        :class:`ASGITransport`
    :param raise_app_exceptions: whether what the application raises in a request is raised by the
        client, too
    :param root_path: the ``root_path`` of each request
    :param client: the ``client`` of each request: host and port
    :param base_url: what the URL of each request is relative to
    :param options: those of ``AsyncClient``. By default there is no ``timeout``.
    :raises LifespanError: as ``async with LifespanManager(app)``
    :raises TypeError: if ``app`` cannot be an ASGI application, or an option is unknown
    :raises LeakWarning: of leaks that are errors
    """
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
    transport = ASGITransport(
        manager.app,
        raise_app_exceptions,
        root_path,
        client,
        drain_timeout=drain_timeout,
        logger=logger,
        lifespan=manager,
    )
    # Made before the application is started, so that a wrong option is told at once.
    asgi_client = ASGIClient(manager, transport=transport, base_url=base_url, **options)
    async with leaks_reported(app, leaks, ignore_leaks) as is_up, manager, asgi_client:
        is_up()
        yield asgi_client
