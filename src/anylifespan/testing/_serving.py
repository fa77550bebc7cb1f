"""Runs Uvicorn for an application that has already been started."""

from __future__ import annotations

import asyncio
import math
import socket
from importlib.util import find_spec
from typing import Any

from anyio import Event

from .._core.application import ASGI3App, Receive, Scope, Send
from .._core.hosting import event_loop
from .._core.log import Log
from .._core.manager import LifespanManager
from .._stop.drain import Drain, time_to_close

try:
    import uvicorn
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        "asgi_server needs Uvicorn, which is not installed: pip install uvicorn"
    ) from None


class _Uvicorn(uvicorn.Server):
    """A Uvicorn server with an event that is set when the server's startup ends."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()


class Serving:
    """Runs Uvicorn for an application that has already been started.

    :param drain_timeout: seconds that open requests may take to finish; infinity for no limit
    :param options: options for :class:`uvicorn.Config`
    """

    def __init__(
        self, manager: LifespanManager, drain_timeout: float, log: Log, options: dict[str, Any]
    ) -> None:
        self._manager = manager
        self._drain_timeout = drain_timeout
        self._log = log
        self._app: ASGI3App
        self._drain: Drain
        self._server: _Uvicorn
        self._task: asyncio.Task[None]
        self._has_begun = False
        if find_spec("websockets"):
            # Uvicorn's other implementation uses an API that websockets has deprecated.
            options.setdefault("ws", "websockets-sansio")
        options.setdefault("log_config", None)
        if drain_timeout < math.inf:
            # Requests are cut off before this timeout. It is for clients that have stopped reading.
            options.setdefault("timeout_graceful_shutdown", time_to_close(drain_timeout))
        self._config = uvicorn.Config(self._serve, interface="asgi3", lifespan="off", **options)
        # Load the configuration now. Later, an invalid option would end Uvicorn with SystemExit.
        self._config.load()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    async def start(self, listener: socket.socket) -> None:
        self._drain = Drain(
            self._drain_timeout, event_loop("asgi_server"), self._log, why="The test is over"
        )
        self._app = self._drain.around(self._manager.app)
        self._server = _Uvicorn(self._config)
        self._has_begun = True
        self._task = asyncio.create_task(self._server.serve([listener]))
        self._manager._crash_listeners.append(self._end)
        self._task.add_done_callback(lambda _: self._server.is_up.set())
        await self._server.is_up.wait()
        if self._task.done():
            self._task.result()

    def _end(self) -> None:
        self._drain.begin()
        self._server.should_exit = True

    async def stop(self) -> None:
        """Stop accepting requests, and wait for open requests to end, if the server has started."""
        if not self._has_begun:
            return
        self._end()
        await self._task
        # Uvicorn leaves connections open if their clients have stopped reading.
        for connection in self._server.server_state.connections:
            connection.transport.abort()
        await self._drain.finish()

    def hurry(self) -> None:
        """Stop waiting for open requests."""
        if self._has_begun:
            self._drain.hurry()
            self._server.force_exit = True
