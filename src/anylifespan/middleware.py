"""This library's lifespan under any server: for applications whose server cannot be changed."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any, Literal
from weakref import WeakKeyDictionary

from anyio import Event, create_task_group

from ._core.application import ASGI3App, ASGIApp, Receive, Scope, Send, as_asgi3
from ._core.ctrl_c import protected, unprotected
from ._core.exceptions import in_full
from ._core.hosting import current_token, event_loop
from ._core.log import DEFAULT, Log
from ._core.manager import LifespanManager
from ._core.options import DEFAULT_TIMEOUT, Mode
from ._core.runs import Runs
from ._process.terminate import terminate
from .errors import LifespanCrashed, LifespanError, StartupFailed

OnCrash = Literal["terminate", "log"] | Callable[[LifespanCrashed], Awaitable[object] | object]

_log = Log(DEFAULT)


@protected
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

    One middleware may be driven by several servers at once, or by one after another: each gets a
    lifespan of its own, and each request belongs to the one whose state it has.

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
        startup_timeout: float | None = DEFAULT_TIMEOUT,
        shutdown_timeout: float | None = DEFAULT_TIMEOUT,
        mode: Mode = "auto",
        on_crash: OnCrash = "terminate",
    ) -> None:
        if on_crash not in ("terminate", "log") and not callable(on_crash):
            raise ValueError(f'on_crash must be "terminate", "log" or a function, got {on_crash!r}')
        self.app = app
        self._asgi3_app, _ = as_asgi3(app)
        self._options: dict[str, Any] = {
            "startup_timeout": startup_timeout,
            "shutdown_timeout": shutdown_timeout,
            "mode": mode,
        }
        self._on_crash = on_crash
        self._new_manager(None)  # raises now if an option is wrong
        self._runs: Runs[ASGI3App] = Runs()  # how requests call the application in each
        # By the event loop: the start under way by which a request starts the application, and what
        # has the place of the server when that is done.
        self._starts: WeakKeyDictionary[Any, _Start] = WeakKeyDictionary()
        self._servers: WeakKeyDictionary[Any, LifespanManager] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.app!r}>"

    @unprotected
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            # If the server sends it after all, the application is not to run twice.
            await self._end_start_by_request()
            await self._lifespan(scope, receive, send)
        elif scope["type"] not in ("http", "websocket"):
            await self._asgi3_app(scope, receive, send)
        else:
            app = self._runs.of(scope) or await self._started_by_request(scope)
            await (app or _refuse)(scope, receive, send)

    def _new_manager(self, state: dict[str, Any] | None) -> LifespanManager:
        return LifespanManager(self.app, state=state, **self._options)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The whole lifespan, as an application's answer to its server."""
        await receive()
        manager = self._new_manager(scope.get("state"))
        with self._runs.under_way(manager.app, manager.state):
            if await _start_up(manager, send):
                await self._serve(manager, receive, send)

    async def _lifespan_by_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The same where a request has started it, for which it has to be up."""
        await receive()
        manager = self._new_manager(None)
        if await _start_up(manager, send):
            with self._runs.under_way(manager.app, manager.state):
                await self._serve(manager, receive, send)

    async def _serve(self, manager: LifespanManager, receive: Receive, send: Send) -> None:
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
            except LifespanError as error:
                _log.error(
                    "The server has broken off the lifespan; its shutdown failed.", exc_info=error
                )
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
            event_loop("LifespanMiddleware").call_soon(terminate)
            _log.error("Stopping the server, since the application's lifespan has died.")
        elif callable(self._on_crash):
            try:
                await self._call_on_crash(self._on_crash, crash)
            except Exception as exc:  # noqa: BLE001 - it is logged
                _log.error("on_crash of %r raised an exception.", self, exc_info=exc)

    @unprotected
    async def _call_on_crash(self, on_crash: Callable[..., Any], crash: LifespanCrashed) -> None:
        returned = on_crash(crash)
        if inspect.isawaitable(returned):
            await returned

    async def _started_by_request(self, scope: Scope) -> ASGI3App | None:
        """Have the application started by its first request; the others wait for that."""
        token = current_token()
        while (app := self._runs.of(scope)) is None:
            start = self._starts.get(token)
            if start is not None:
                await start.over.wait()
            else:
                start = self._starts[token] = _Start()
                try:
                    start.failed = not await self._start(token)
                finally:  # if it was only cancelled, with its request, the next one tries again
                    del self._starts[token]
                    start.over.set()
            if start.failed:
                return None
        return app

    async def _start(self, token: object) -> bool:
        server = _InPlaceOfTheServer(
            self._lifespan_by_request, mode="on", startup_timeout=None, shutdown_timeout=None
        )
        try:
            await server.startup()
        except StartupFailed as error:
            _log.error("The application is not available: %s", error.message)
            return False
        self._servers[token] = server
        _shut_down_with_reactor(server)
        return True

    async def _end_start_by_request(self) -> None:
        server = self._servers.pop(current_token(), None)
        if server is not None:
            await _shut_down(server)


class _InPlaceOfTheServer(LifespanManager):
    """Drives a lifespan that a request has started, and that belongs to no request."""

    def __init__(self, app: ASGIApp, **options: Any) -> None:
        super().__init__(app, **options)
        self._context = Context()


class _Start:
    """A start of the application by a request, for which others wait."""

    def __init__(self) -> None:
        self.over = Event()
        self.failed = False


async def _start_up(manager: LifespanManager, send: Send) -> bool:
    try:
        await manager.startup()
    except LifespanError as error:
        await _fail(send, "startup", error)
        return False
    return True


async def _fail(send: Send, phase: str, error: LifespanError) -> None:
    message = in_full(error)
    try:
        await send({"type": f"lifespan.{phase}.failed", "message": message})
    except Exception:
        # Hypercorn raises it in here; on trio it then loses what was raised in a shutdown.
        _log.error("%s", message)
        raise


async def _shut_down(server: LifespanManager) -> None:
    try:
        await server.shutdown()
    except LifespanError as error:
        _log.error("%s", error)


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
