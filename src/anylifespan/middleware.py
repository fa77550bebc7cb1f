"""This library's lifespan under any server: for applications whose server cannot be changed."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from anyio import Event, create_task_group

from ._core.application import ASGIApp, Receive, Scope, Send
from ._core.exceptions import in_full
from ._core.hosting import event_loop
from ._core.manager import LifespanManager
from ._core.options import Mode
from ._process.terminate import terminate
from .errors import LifespanCrashed, LifespanError, StartupFailed

OnCrash = Literal["terminate", "log"] | Callable[[LifespanCrashed], Awaitable[object] | object]

_logger = logging.getLogger("anylifespan")


class LifespanMiddleware:
    """An ASGI application around another, which drives the lifespan of that one::

        app = LifespanMiddleware(FastAPI(lifespan=lifespan), startup_timeout=20)

    It answers the server's lifespan itself and runs the application's with
    :class:`~anylifespan.LifespanManager`, so that everything an application can do means the same
    under every server: there are timeouts, with the place where the application was stuck in the
    server's log; a lifespan that dies is noticed; and requests see the context variables that were
    set in the startup, and a state of their own.

    Under a server that knows no lifespan (Daphne) the first request starts the application, and
    others that come meanwhile wait for that. If it does not start, they are answered with 503, and
    the next request tries again. It is shut down when the server's Twisted reactor stops; under any
    other server without a lifespan it is cancelled when the event loop ends.

    One middleware is for one event loop at a time.

    :param app: an ASGI application
    :param startup_timeout: seconds the startup may take; None for no limit
    :param shutdown_timeout: seconds the shutdown may take; None for no limit
    :param mode: what to do with an application that has no lifespan; see
        :class:`~anylifespan.LifespanManager`
    :param on_crash: what to do when the application's lifespan dies while it is serving, which is
        logged in any case: ``"terminate"`` sends this worker the signal by which its server stops
        gracefully, ``"log"`` goes on serving; or a function, which may be asynchronous, to be
        called with the :exc:`LifespanCrashed`. The server's shutdown then gets
        ``lifespan.shutdown.failed`` as the answer.
    :raises TypeError: if ``app`` cannot be an ASGI application, or a parameter is of a wrong type
    :raises ValueError: if an option is unknown, or a timeout is negative or not a number
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        startup_timeout: float | None = 30.0,
        shutdown_timeout: float | None = 30.0,
        mode: Mode = "auto",
        on_crash: OnCrash = "terminate",
    ) -> None:
        if on_crash not in ("terminate", "log") and not callable(on_crash):
            raise ValueError(f'on_crash must be "terminate", "log" or a function, got {on_crash!r}')
        self.app = app
        self._options: dict[str, Any] = {
            "startup_timeout": startup_timeout,
            "shutdown_timeout": shutdown_timeout,
            "mode": mode,
        }
        self._on_crash = on_crash
        # So that what is wrong with the options is told now.
        self._manager = self._new_manager(None)
        self._started = False
        self._start: _Start | None = None  # the one under way by which requests start it
        self._loop: object = None  # that of the last such start
        self._server: LifespanManager | None = None  # what has the place of the server there

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.app!r}>"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._end_start_by_request()
            self._started = True
            self._loop = None
            await self._lifespan(scope, receive, send)
        elif (
            scope["type"] not in ("http", "websocket")
            or self._is_started()
            or await self._wait_started()
        ):
            await self._manager.app(scope, receive, send)
        else:
            await _refuse(scope, receive, send)

    def _new_manager(self, state: dict[str, Any] | None) -> LifespanManager:
        return LifespanManager(self.app, state=state, logger=_logger, **self._options)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The whole lifespan, as an application's answer to its server."""
        await receive()
        self._manager = manager = self._new_manager(scope.get("state"))
        try:
            await manager.startup()
        except LifespanError as error:
            await _fail(send, "startup", error)
            return
        try:
            await send({"type": "lifespan.startup.complete"})
            async with create_task_group() as task_group:
                task_group.start_soon(self._watch, manager)
                await receive()
                task_group.cancel_scope.cancel()
        except BaseException:
            # The server has broken off, so it will not listen to an answer.
            try:
                await manager.shutdown()
            except LifespanError:
                _logger.exception("The server has broken off the lifespan; its shutdown failed.")
            raise
        try:
            await manager.shutdown()
        except LifespanError as error:
            await _fail(send, "shutdown", error)
        else:
            await send({"type": "lifespan.shutdown.complete"})

    async def _watch(self, manager: LifespanManager) -> None:
        crash = await manager.wait_crashed()
        if self._on_crash == "terminate":
            _logger.error("Stopping the server, since the application's lifespan has died.")
            event_loop("LifespanMiddleware").call_soon(terminate)
        elif callable(self._on_crash):
            try:
                returned = self._on_crash(crash)
                if inspect.isawaitable(returned):
                    await returned
            except Exception:
                _logger.exception("on_crash of %r raised an exception.", self)

    def _is_started(self) -> bool:
        return self._started and not self._start_is_of_another_loop()

    async def _wait_started(self) -> bool:
        """Have the application started by its first request, unless the server has done it."""
        while not self._is_started():
            start = self._start
            if start is None:
                return await self._start_by_request()
            await start.over.wait()
            if start.failed:
                return False
        return True

    def _start_is_of_another_loop(self) -> bool:
        # As in tests that send requests without a lifespan, each in an event loop of its own.
        return self._loop is not None and self._loop is not event_loop("a request").token

    async def _start_by_request(self) -> bool:
        start = self._start = _Start()
        self._started = False
        # Takes the place of the server that sends no lifespan.
        server = LifespanManager(
            self._lifespan, mode="on", startup_timeout=None, shutdown_timeout=None, logger=_logger
        )
        try:
            await server.startup()
        except StartupFailed as error:
            start.failed = True
            _logger.error("The application is not available: %s", error.message)
            return False
        finally:
            self._start = None
            start.over.set()
        self._started = True
        self._loop = event_loop("a request").token
        self._server = server
        _shut_down_with_reactor(server)
        return True

    async def _end_start_by_request(self) -> None:
        """The server sends its lifespan after all: the application is not to run twice."""
        server, self._server = self._server, None
        if server is not None and not self._start_is_of_another_loop():
            await _shut_down(server)


class _Start:
    """A start of the application by a request, for which others wait."""

    def __init__(self) -> None:
        self.over = Event()
        self.failed = False


async def _fail(send: Send, phase: str, error: LifespanError) -> None:
    message = in_full(error)
    try:
        await send({"type": f"lifespan.{phase}.failed", "message": message})
    except Exception:
        # Hypercorn raises it in here; on trio it then loses what was raised in a shutdown.
        _logger.error("%s", message)
        raise


async def _shut_down(server: LifespanManager) -> None:
    try:
        await server.shutdown()
    except LifespanError as error:
        _logger.error("%s", error)


def _shut_down_with_reactor(server: LifespanManager) -> None:
    """Have it shut down when Twisted's reactor stops, which waits for that. (Daphne runs on it.)"""
    reactor: Any = sys.modules.get("twisted.internet.reactor")
    if reactor is None or not reactor.running:
        return

    def deferred() -> Any:
        task = sys.modules["asyncio"].get_event_loop().create_task(_shut_down(server))
        return sys.modules["twisted.internet.defer"].Deferred.fromFuture(task)

    reactor.addSystemEventTrigger("before", "shutdown", deferred)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer that the application is not there, and may be later."""
    kind = "http.response"
    if scope["type"] == "websocket":
        await receive()
        kind = "websocket.http.response"
        if kind not in (scope.get("extensions") or ()):
            await send({"type": "websocket.close", "code": 1013, "reason": "Try again later"})
            return
    body = b"The application is not available.\n"
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": f"{kind}.start", "status": 503, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})
