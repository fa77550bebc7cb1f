"""A client that runs an application in another thread, for synchronous tests."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from .._core.application import ASGIApp
from .._core.log import DEFAULT, Log
from .._core.manager import LifespanManager
from .._core.options import Leaks, Mode, check_leaks
from ..from_thread import BlockingLifespan, up_in_thread
from ._httpx import BASE_URL, httpx, is_of_websocket, open_websocket
from ._reported import Reported
from ._sync_transport import ASGISyncTransport
from ._transport import DRAIN_TIMEOUT


class ASGISyncClient(httpx.Client):
    """An httpx2 or httpx ``Client`` that sends requests to a running application.

    :ivar lifespan: the application's :class:`~anylifespan.from_thread.BlockingLifespan`
    """

    def __init__(
        self,
        lifespan: BlockingLifespan,
        *,
        transport: Any = None,
        base_url: str = BASE_URL,
        **options: Any,
    ) -> None:
        transport = transport or ASGISyncTransport(lifespan)
        # There is no network, and the application may be paused in a debugger.
        options.setdefault("timeout", None)
        super().__init__(transport=transport, base_url=base_url, **options)
        self.lifespan = lifespan

    @contextmanager
    def websocket(self, url: Any, **options: Any) -> Iterator[Any]:
        """Open a WebSocket, as ``Client.websocket()`` of httpx2 does::

            with client.websocket("/orders") as websocket:
                websocket.send_json({"book": 1})
                assert websocket.receive_json() == {"sold": True}

        If the application raises an exception, leaving the block raises that exception. If the
        lifespan crashes, a WebSocketDisconnect is raised in the block, and leaving the block raises
        LifespanCrashed.

        :param url: the URL, which may be relative to ``base_url``, as for requests
        :param options: httpx2 options, such as ``subprotocols``. No pings are sent by default.
        :raises WebSocketUpgradeError: if the application denies the WebSocket, as with
            :meth:`ASGIClient.websocket`
        :raises LifespanCrashed: if the lifespan has crashed, or crashes while the WebSocket is open
        :raises ModuleNotFoundError: if httpx2 2.9 or wsproto is not installed
        """
        opened = open_websocket(httpx.Client, self, url, options)
        try:
            with opened as websocket:
                yield websocket
        except Exception as raised:
            crash = self.lifespan.manager._crash_as_answer()
            if crash is None or not is_of_websocket(raised):
                raise
            raise crash from crash.__cause__


@contextmanager
def asgi_sync_client(
    app: ASGIApp,
    backend: str = "asyncio",
    backend_options: dict[str, Any] | None = None,
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
) -> Iterator[ASGISyncClient]:
    """Run an application in another thread and provide a client for it::

        with asgi_sync_client(app) as client:
            response = client.get("/")

    This is the synchronous version of :func:`asgi_client`, and takes the same options. Responses
    are streamed, :meth:`ASGISyncClient.websocket` opens a WebSocket, requests that are still
    running are cancelled before the shutdown, and a :exc:`LeakWarning` lists everything that the
    application leaves behind.

    If the lifespan crashes, both open and later requests raise LifespanCrashed, and so does leaving
    the block. Use ``client.lifespan.call()`` to call a function in the application's event loop.

    :param app: an ASGI application
    :param backend: ``"asyncio"`` or ``"trio"``
    :param backend_options: options for the backend, as for :func:`anyio.run`
    :raises LifespanError: in the same cases as
        :func:`~anylifespan.from_thread.start_blocking_lifespan`
    :raises TypeError: if ``app`` cannot be an ASGI application, or an option is unknown
    :raises LeakWarning: if the application leaks something, with ``leaks="error"``

    The other parameters are the same as for :func:`asgi_client`. ``options`` are passed to
    ``Client``.
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
    lifespan = BlockingLifespan(manager)
    transport = ASGISyncTransport(
        lifespan,
        raise_app_exceptions,
        root_path,
        client,
        drain_timeout=drain_timeout,
        logger=logger,
    )
    # Create the client before the application starts, so that a wrong option is reported at once.
    sync_client = ASGISyncClient(lifespan, transport=transport, base_url=base_url, **options)
    reported = Reported(app, manager, leaks, ignore_leaks)
    steps = (reported.startup, reported.shutdown)
    log = Log(logger or DEFAULT)
    with up_in_thread(lifespan, *steps, backend, backend_options, log), sync_client:
        yield sync_client
