"""Uvicorn, for an application that is up already."""

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
from .._stop.drain import CUTTING, Drain

try:
    import uvicorn
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        "asgi_server needs Uvicorn, which is not installed: pip install uvicorn"
    ) from None


class _Uvicorn(uvicorn.Server):
    """One that says when it is up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()


class Serving:
    """Uvicorn, which serves an application that is up.

    :param drain_timeout: in seconds; infinity for no limit
    :param options: those of :class:`uvicorn.Config`
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
            # The other one that Uvicorn has for it is deprecated by websockets itself.
            options.setdefault("ws", "websockets-sansio")
        options.setdefault("log_config", None)
        if drain_timeout < math.inf:
            # Long after the requests were cut: for a client that does not take what it is sent.
            options.setdefault("timeout_graceful_shutdown", drain_timeout + CUTTING)
        self._config = uvicorn.Config(self._serve, interface="asgi3", lifespan="off", **options)
        # Here, since what is wrong with the options would end Uvicorn with SystemExit.
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
        """Take no more requests, and wait for those that are open."""
        self._end()
        await self._task
        # Uvicorn leaves those whose clients do not take what they are sent.
        for connection in self._server.server_state.connections:
            connection.transport.abort()
        await self._drain.finish()

    def hurry(self) -> None:
        """Wait no longer for requests."""
        if self._has_begun:
            self._drain.hurry()
            self._server.force_exit = True
