"""A client that runs an application and sends requests to it, for asynchronous tests."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from .._core.application import ASGIApp
from .._core.exceptions import only_leaf
from .._core.manager import LifespanManager
from .._core.options import Leaks, Mode, check_leaks
from .._diagnosis.leaks import leaks_reported
from ._httpx import BASE_URL, httpx, is_of_websocket, open_websocket
from ._transport import DRAIN_TIMEOUT, ASGITransport

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup


class ASGIClient(httpx.AsyncClient):
    """An ``AsyncClient`` that sends requests to a running application.

    :ivar lifespan: the application's :class:`~anylifespan.LifespanManager`
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
        # There is no network, and the application may be paused in a debugger.
        options.setdefault("timeout", None)
        super().__init__(transport=transport, base_url=base_url, **options)
        self.lifespan = lifespan

    @asynccontextmanager
    async def websocket(self, url: Any, **options: Any) -> AsyncIterator[Any]:
        """Open a WebSocket, as ``AsyncClient.websocket()`` of httpx2 does::

            async with client.websocket("/orders") as websocket:
                await websocket.send_json({"book": 1})
                assert await websocket.receive_json() == {"sold": True}

        If the application raises an exception, leaving the block raises that exception. If the
        lifespan crashes, a WebSocketDisconnect is raised in the block, and leaving the block raises
        LifespanCrashed. A single exception is never wrapped in a group.

        :param url: the URL, which may be relative to ``base_url``, as for requests
        :param options: httpx2 options, such as ``subprotocols``. No pings are sent by default.
        :raises WebSocketUpgradeError: if the application denies the WebSocket. This httpx2
            exception has the application's ``response``. If the application sends
            ``websocket.close`` instead, the response has status 403, and the code and reason are in
            ``response.extensions["websocket_close"]``.
        :raises ImportError: if httpx2 2.9 or wsproto is not installed
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
    """Run an application and provide a client for it::

        async with asgi_client(app) as client:
            response = await client.get("/")

    The client is an httpx2 ``AsyncClient``, or an httpx one if httpx2 is not installed. Responses
    are streamed, and :meth:`ASGIClient.websocket` opens a WebSocket. Requests that are still
    running when the client is closed are cancelled before the shutdown. If the lifespan crashes,
    the body is cancelled and LifespanCrashed is raised. In a fixture, the exception is raised when
    the fixture is torn down.

    A :exc:`LeakWarning` lists everything that the application leaves behind after its shutdown:
    tasks, threads, sockets, files and asynchronous generators that it created in its lifespan or in
    requests. Anything created by other code, such as the test, is not listed.

    :param app: an ASGI application
    :param mode: as for :class:`~anylifespan.LifespanManager`. Here, the default is ``"on"``, so
        that tests fail loudly if the application never starts.
    :param startup_timeout: seconds the startup may take; None for no limit
    :param shutdown_timeout: seconds the shutdown may take; None for no limit
    :param report_after: seconds after which a startup or shutdown that is still running is logged
    :param state: the dict that the application fills; None for a new dict
    :param logger: logger for problems that are not raised
    :param leaks: what to do about leaks: ``"warn"``, raise them as an ``"error"``, or ``"off"`` to
        skip the check
    :param ignore_leaks: patterns for known leaks, with wildcards as for file names. A pattern
        matches the name of a task or thread, the path of a file, or the place where a leak waits or
        was created, such as ``"*/pool.py"`` or ``"*/pool.py:42"``.
    :param drain_timeout: seconds that a request may keep running after the client has closed it.
        See :class:`ASGITransport`.
    :param raise_app_exceptions: whether the client raises the application's exceptions
    :param root_path: the ``root_path`` of each request
    :param client: the ``client`` of each request: host and port
    :param base_url: the client's base URL
    :param options: options for ``AsyncClient``. The default ``timeout`` is None.
    :raises LifespanError: in the same cases as ``async with LifespanManager(app)``
    :raises TypeError: if ``app`` cannot be an ASGI application, or an option is unknown
    :raises LeakWarning: if the application leaks something, with ``leaks="error"``
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
    # Create the client before the application starts, so that a wrong option is reported at once.
    asgi_client = ASGIClient(manager, transport=transport, base_url=base_url, **options)
    async with leaks_reported(app, leaks, ignore_leaks) as is_up, manager, asgi_client:
        is_up()
        yield asgi_client
