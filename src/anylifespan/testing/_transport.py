"""A transport that sends requests straight to an application, and streams in both directions."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from typing import Any

from anyio import CancelScope, WouldBlock

from .._core.application import ASGI3App, ASGIApp, as_asgi3
from .._core.ctrl_c import protected
from .._core.hosting import EventLoop, event_loop
from .._core.log import DEFAULT, Log
from .._core.manager import LifespanManager
from .._core.options import check_seconds
from .._stop.drain import Drain
from ._exchange import Exchange, HTTPExchange
from ._httpx import httpx

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

DRAIN_TIMEOUT = 1.0
# Seconds. In effect, this is no limit, but requests can still be cut off.
_FOREVER = 1e9
_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_WEBSOCKET_SCHEMES = {"http": "ws", "https": "wss"}


@protected
class ASGITransport(httpx.AsyncBaseTransport):
    """Sends an ``AsyncClient``'s requests to an application that is already running::

        transport = ASGITransport(manager.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            ...

    Use this in place of the ``ASGITransport`` in httpx2 or httpx, which returns a response only
    when the response is complete. Here, request and response bodies are streamed, WebSockets work,
    the client's read timeout applies, and no request is left running when the client is closed.

    An application sees what it would see under a server: ``http.disconnect`` once its response is
    complete or the client has disconnected, and a ``send()`` that waits while the client does not
    read. The client waits longer than it would for a server: a response ends only when the
    application has returned, after its background tasks.

    :param app: an ASGI application
    :param raise_app_exceptions: whether an exception that the application raises in a request is
        raised where the client waits for the response. If not, the exception is logged, and the
        client sees what a server would send: status 500, or a response that breaks off.
    :param root_path: the ``root_path`` of each request
    :param client: the ``client`` of each request: host and port
    :param drain_timeout: seconds that a request may keep running after the client has closed it.
        After that time, closing a response no longer waits for the request, and closing the client
        cancels the request. None for no limit.
    :param logger: logger for problems that are not raised
    :param lifespan: the application's manager. If the lifespan crashes, both open and later
        requests raise LifespanCrashed.
    :raises TypeError: if ``app`` cannot be an ASGI application
    """

    def __init__(
        self,
        app: ASGIApp,
        raise_app_exceptions: bool = True,
        root_path: str = "",
        client: tuple[str, int] = ("127.0.0.1", 123),
        *,
        drain_timeout: float | None = DRAIN_TIMEOUT,
        logger: logging.Logger | None = None,
        lifespan: LifespanManager | None = None,
    ) -> None:
        self.app = as_asgi3(app)[0]
        self.raise_app_exceptions = raise_app_exceptions
        self.root_path = root_path
        self.client = client
        self._drain_timeout = check_seconds("drain_timeout", drain_timeout)
        self._log = Log(logger or DEFAULT)
        self._lifespan = lifespan
        self._is_open = False  # for requests, of one event loop
        self._event_loop: EventLoop
        self._drain: Drain
        self._drained_app: ASGI3App
        # Running requests, and ended ones whose exception has not been raised or logged yet.
        self._tasks: dict[Exchange, object] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request.

        :return: the response, as soon as the application has started it
        :raises httpx.ReadTimeout: if the response does not start within the request's read timeout
        :raises RuntimeError: if the application returns without a response
        :raises LifespanCrashed: if the ``lifespan`` has crashed, or crashes while the request waits
        """
        app = self._app()
        if self._lifespan is not None and self._lifespan.crash is not None:
            raise self._lifespan._crash_as_answer()  # type: ignore[misc]
        if request.headers.get("upgrade", "").lower() == "websocket":
            return await self._answer_websocket(app, request)
        extensions: dict[str, Any] = {"http.response.debug": {}, "http.response.trailers": {}}
        scope = self._scope(request, "http", method=request.method, extensions=extensions)
        body: Any = request.stream
        exchange = HTTPExchange(app, scope, body.__aiter__(), _length(request.headers))
        start = await self._first_message(exchange, request)
        response = self._response(exchange, request, start)
        if exchange.trailers is not None:
            response.extensions["http.response.trailers"] = exchange.trailers
        if exchange.debug is not None:
            response.extensions["http.response.debug"] = exchange.debug
            vars(response).update(exchange.debug)  # as Starlette's TestClient
        return response

    async def aclose(self) -> None:
        """Disconnect all requests that are still running, and wait for them to end.

        Requests that do not end by themselves are cancelled after the ``drain_timeout``, with a
        warning in the log. They are cancelled at once if Ctrl-C interrupts the wait, or if the wait
        is cancelled and has no limit.

        :raises BaseException: the exception that the application raised in one of these requests,
            or a group of several exceptions. Exceptions are logged instead if another exception is
            already being handled.
        """
        exchanges = list(self._tasks)
        for exchange in exchanges:
            exchange.disconnect()
        interruption = await self._end(exchanges) if exchanges else None
        if self._is_open and self._lifespan is not None:
            self._lifespan._crash_listeners.remove(self._on_crash)
        self._is_open = False
        try:
            if interruption is not None:
                raise interruption
        finally:
            self._raise_what_is_left(exchanges)

    async def _end(self, exchanges: list[Exchange]) -> BaseException | None:
        """Wait for disconnected requests to end.

        :return: the exception that interrupted the wait, if any. The requests were then cut off at
            once.
        """
        interruption: BaseException | None = None
        while True:
            try:
                has_limit = interruption is not None or self._drain_timeout < math.inf
                with CancelScope(shield=has_limit):
                    await self._drain.finish()
                    for exchange in exchanges:
                        if not exchange.has_begun:
                            await exchange.over.wait()  # till its task has had its first turn
            except (self._event_loop.cancelled, KeyboardInterrupt) as exc:  # noqa: PERF203
                if interruption is not None:
                    raise
                interruption = exc
                self._drain.hurry()
            else:
                return interruption

    async def leave(self, exchange: Exchange) -> None:
        """Disconnect the client from a request, and wait for the application to end the request."""
        exchange.disconnect()
        if not exchange.over.is_set():
            await exchange.wait_over(self._drain_timeout)

    async def close(self, exchange: Exchange) -> None:
        """Disconnect the client from a request, and raise or log the application's exception."""
        await self.leave(exchange)
        self._raise_what_is_left([exchange])

    def error_of(self, exchange: Exchange) -> BaseException | None:
        """Return the error that the client raises for a response that has ended, if any."""
        error = exchange.take_error()
        if exchange.over.is_set():
            self._tasks.pop(exchange, None)
        if error is None or self.raise_app_exceptions or not isinstance(error, Exception):
            return error
        self._log_error(exchange, error)
        if exchange.is_complete:
            return None
        return httpx.RemoteProtocolError(
            f"the application has broken off its response to {exchange}"
        )

    def _on_crash(self) -> None:
        crash: Any = self._lifespan and self._lifespan._crash_as_answer()
        for exchange in self._tasks:
            exchange.fail(crash)

    def _app(self) -> ASGI3App:
        if not self._is_open or not self._event_loop.is_running():
            self._event_loop = loop = event_loop("ASGITransport")
            self._is_open = True
            if self._lifespan is not None:
                self._lifespan._crash_listeners.append(self._on_crash)
            timeout = min(self._drain_timeout, _FOREVER)
            self._drain = Drain(timeout, loop, self._log, why="The client is closed")
            self._drained_app = self._drain.around(self.app)
        return self._drained_app

    def _scope(self, request: httpx.Request, kind: str, **more: Any) -> dict[str, Any]:
        url = request.url
        return {
            "type": kind,
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "scheme": url.scheme,
            "path": url.path,
            "raw_path": url.raw_path.partition(b"?")[0],
            "query_string": url.query,
            "root_path": self.root_path,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": self.client,
            "server": (url.host, _PORTS.get(url.scheme) if url.port is None else url.port),
            **more,
        }

    async def _first_message(self, exchange: Exchange, request: httpx.Request) -> Any:
        """Start a request, and return the first message of the response."""
        self._start(exchange)
        message = None
        try:
            message = await exchange.next_message(_read_timeout(request))
        finally:
            if message is None:
                exchange.disconnect()
        if message is None:
            error = self.error_of(exchange)
            if error is not None and not isinstance(error, httpx.RemoteProtocolError):
                try:
                    raise error
                finally:
                    # If the request's body has failed, the application is still running.
                    await self.close(exchange)
            exchange.is_complete = True  # by this
            message = {"type": "http.response.start", "status": 500}
        return message

    def _start(self, exchange: Exchange) -> None:
        self._tasks[exchange] = None
        run = partial(self._run, exchange)
        task = self._event_loop.start(run, f"request {exchange}", None, self._log.complaint)
        if not exchange.over.is_set():  # as it may be with eager tasks
            self._tasks[exchange] = task

    async def _run(self, exchange: Exchange) -> None:
        try:
            await exchange.run()
        finally:
            if exchange.raised is None:
                self._tasks.pop(exchange, None)

    def _response(self, exchange: Exchange, request: httpx.Request, start: Any) -> httpx.Response:
        body = Body(self, exchange, _read_timeout(request))
        headers = list(start.get("headers") or ())
        return httpx.Response(start["status"], headers=headers, stream=body)

    async def _answer_websocket(self, app: ASGI3App, request: httpx.Request) -> httpx.Response:
        # Import this here, since nothing else needs wsproto.
        from ._websocket import NetworkStream, WebSocketExchange, switched_protocols

        protocols = request.headers.get("sec-websocket-protocol", "").split(",")
        scope = self._scope(
            request,
            "websocket",
            subprotocols=[one.strip() for one in protocols if one.strip()],
            extensions={"websocket.http.response": {}},
        )
        scope["scheme"] = _WEBSOCKET_SCHEMES.get(scope["scheme"], scope["scheme"])
        exchange = WebSocketExchange(app, scope)
        message = await self._first_message(exchange, request)
        if message["type"] == "websocket.accept":
            network = NetworkStream(exchange, partial(self.leave, exchange))
            body = Body(self, exchange, None)
            return switched_protocols(network, request.headers, message, body)
        if message["type"] == "websocket.close":
            denial = await self._denial(exchange, request, {"status": 403})
            denial.extensions["websocket_close"] = message.get("code", 1000), message.get("reason")
            return denial
        return await self._denial(exchange, request, message)

    async def _denial(
        self, exchange: Exchange, request: httpx.Request, start: Any
    ) -> httpx.Response:
        """Return the denial of a WebSocket, as a response that has been read and closed.

        The client raises an exception with this response.
        """
        parts = []
        while (message := await exchange.next_message(_read_timeout(request))) is not None:
            parts.append(message.get("body", b""))
        await self.leave(exchange)
        error = exchange.take_raised()
        self._tasks.pop(exchange, None)
        if isinstance(error, Exception):
            self._log_error(exchange, error)
        elif error is not None:
            raise error
        headers = list(start.get("headers") or ())
        return httpx.Response(start["status"], headers=headers, content=b"".join(parts))

    def _raise_what_is_left(self, exchanges: list[Exchange]) -> None:
        """Raise or log exceptions in these requests that have not been raised or logged yet."""
        errors = []
        is_handling = sys.exc_info()[1] is not None
        for exchange in exchanges:
            error = exchange.take_raised()
            if error is None:
                continue
            self._tasks.pop(exchange, None)
            if is_handling or (not self.raise_app_exceptions and isinstance(error, Exception)):
                self._log_error(exchange, error)
            else:
                errors.append(error)
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise BaseExceptionGroup("the application has raised in several requests", errors)

    def _log_error(self, exchange: Exchange, error: BaseException) -> None:
        self._log.error("The application has raised in %s.", exchange, exc_info=error)


class Body(httpx.AsyncByteStream):
    """A response's body, streamed as the application sends it."""

    def __init__(self, transport: ASGITransport, exchange: Exchange, timeout: float | None) -> None:
        self._transport = transport
        self._exchange = exchange
        self._timeout = timeout

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        # This is not a generator, since a test that reads only part of a response would have to
        # close the generator.
        while (message := await self._exchange.next_message(self._timeout)) is not None:
            body: bytes = message.get("body", b"")
            if body:
                return body
        raise self._transport.error_of(self._exchange) or StopAsyncIteration

    def at_hand(self) -> tuple[list[bytes], bool]:
        """Return the parts that are ready to be read, and whether they complete the response."""
        parts: list[bytes] = []
        is_all = False
        with suppress(WouldBlock):
            while (message := self._exchange.message_at_hand()) is not None:
                if message.get("body"):
                    parts.append(message["body"])
            is_all = self._exchange.is_well()
        if is_all:
            self._exchange.disconnect()
        return parts, is_all

    async def aclose(self) -> None:
        await self._transport.close(self._exchange)


def _length(headers: httpx.Headers) -> int | None:
    """Return the length of a request's body; None if it is unknown."""
    length = headers.get("content-length", "0")
    return int(length) if "transfer-encoding" not in headers and length.isdecimal() else None


def _read_timeout(request: httpx.Request) -> float | None:
    timeout: float | None = request.extensions.get("timeout", {}).get("read")
    return timeout
