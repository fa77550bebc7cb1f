"""A WebSocket connection to the application, as a stream of frames for a WebSocket client."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
from anyio import ClosedResourceError
from anyio.lowlevel import checkpoint
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Message, Ping, TextMessage
from wsproto.utilities import generate_accept_token

from .._core.application import ASGI3App, Scope
from .._core.ctrl_c import protected
from ._exchange import Exchange
from ._httpx import httpx

_DENIAL = "websocket.http.response"
# An internal message type, in addition to ASGI's.
_FRAME = "frame"
# Close codes, from the WebSocket registry.
_NORMAL, _ABNORMAL, _INTERNAL_ERROR = 1000, 1006, 1011


@protected
class WebSocketExchange(Exchange):
    """A WebSocket connection to the application."""

    def __init__(self, app: ASGI3App, scope: Scope) -> None:
        super().__init__(app, scope)
        self._is_accepted = False
        self._is_denied = False
        self._is_closed = False  # by either side
        # Messages from the client. The buffer is unlimited, so that the client never waits for the
        # application to receive them, just as the client would not wait on a network.
        self._to_app, self._from_client = anyio.create_memory_object_stream[Any](math.inf)
        self._to_app.send_nowait({"type": "websocket.connect"})
        self._last = {"type": "websocket.disconnect", "code": _ABNORMAL, "reason": ""}

    # The application's side

    def close_ends_of_app(self) -> None:
        super().close_ends_of_app()
        self._from_client.close()

    async def receive(self) -> Any:
        try:
            return await self._from_client.receive()
        except anyio.EndOfStream:
            return self._last

    async def send(self, message: Any) -> None:
        kind = message["type"]
        if kind == "websocket.accept" and not self._is_answered():
            self._is_accepted = self.is_complete = True
        elif kind == f"{_DENIAL}.start" and not self._is_answered():
            self._is_denied = self._has_started = True
        elif kind == f"{_DENIAL}.body" and self._is_denied and not self.is_complete:
            self.is_complete = not message.get("more_body", False)
        elif kind == "websocket.close" and not self._is_denied:
            if self._is_closed:
                return await self._send_to_nobody()
            self.close(message.get("code", _NORMAL), message.get("reason") or "")
        elif kind == "websocket.send" and self._is_accepted:
            if self._is_closed:
                return await self._send_to_nobody()
        else:
            raise RuntimeError(f"unexpected {kind} to {self}: {self._state()}")
        await self._pass_on(message)
        return None

    def _is_answered(self) -> bool:
        return self._is_accepted or self._is_denied or self._is_closed

    def _state(self) -> str:
        if self._is_closed:
            return "it is closed"
        if self._is_denied:
            return "it is denied"
        return "it is accepted" if self._is_accepted else "it is not accepted"

    # The client's side

    def arrived(self, message: Any) -> None:
        """Pass a message from the client on to the application."""
        with suppress(anyio.BrokenResourceError, ClosedResourceError):
            # The message is not needed if the application has ended or the WebSocket is closed.
            self._to_app.send_nowait(message)

    def close(self, code: int, reason: str) -> None:
        """Close the WebSocket on behalf of one side, and tell the application about the close."""
        if not self._is_closed:
            self._is_closed = True
            self._last = {"type": "websocket.disconnect", "code": code, "reason": reason}
            self._to_app.close()

    def disconnect(self) -> None:
        self.close(_ABNORMAL, "")
        super().disconnect()

    def sent_beside(self, frame: bytes) -> None:
        """Send the client a frame that does not come from the application."""
        with suppress(anyio.WouldBlock, anyio.BrokenResourceError, ClosedResourceError):
            # A client that does not read does not need the frame.
            self._to_client.send_nowait({"type": _FRAME, "bytes": frame})

    def code_of_end(self) -> int:
        """Return the close code to send if the application ended without closing the WebSocket."""
        return _NORMAL if self.raised is self.failure is None else _INTERNAL_ERROR


class NetworkStream:
    """The server's side of a connection, with which a WebSocket client exchanges frames.

    It replaces httpcore's stream in ``response.extensions["network_stream"]``.

    :param leave: called when the client closes the stream. The application's exception is raised
        later, when the response is closed, since the client may close the stream in a task or
        thread of its own.
    """

    def __init__(self, exchange: WebSocketExchange, leave: Callable[[], Awaitable[None]]) -> None:
        self._exchange = exchange
        self._leave = leave
        self._frames = Connection(ConnectionType.SERVER)
        self._unread = b""
        self._parts: list[Any] = []  # of a message that has not wholly arrived

    def get_extra_info(self, info: str) -> Any:
        """Return None, since there is no socket."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return the next frame for the client, or its first ``max_bytes`` bytes if it is longer.

        :return: no bytes if the connection has ended
        """
        while not self._unread:
            message = await self._exchange.next_message(timeout)
            if message is None and not self._is_open():
                return b""
            self._unread = self._frame_of(message)
        read, self._unread = self._unread[:max_bytes], self._unread[max_bytes:]
        return read

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Handle frames that the client sends."""
        await checkpoint()
        if not self._is_open():
            return  # as with a network, the client learns of that as it reads
        self._frames.receive_data(buffer)
        for event in self._frames.events():
            self._take(event)

    async def aclose(self) -> None:
        """Disconnect from the application, and wait for the application to end the WebSocket."""
        await self._leave()

    def _is_open(self) -> bool:
        return self._frames.state is ConnectionState.OPEN

    def _frame_of(self, message: Any) -> bytes:
        if message is not None and message["type"] == _FRAME:
            return bytes(message["bytes"])
        if not self._is_open():
            return b""  # the client has closed it
        if message is None:
            return self._frames.send(CloseConnection(self._exchange.code_of_end()))
        if message["type"] == "websocket.close":
            code, reason = message.get("code", _NORMAL), message.get("reason")
            return self._frames.send(CloseConnection(code, reason))
        if message.get("bytes") is not None:
            return self._frames.send(BytesMessage(message["bytes"]))
        return self._frames.send(TextMessage(message["text"]))

    def _take(self, event: Any) -> None:
        if isinstance(event, Ping):
            self._exchange.sent_beside(self._frames.send(event.response()))
        elif isinstance(event, CloseConnection):
            self._exchange.close(event.code, event.reason or "")
        elif isinstance(event, Message):
            self._parts.append(event.data)
            if event.message_finished:
                whole = type(event.data)().join(self._parts)
                self._parts.clear()
                kind = "text" if isinstance(whole, str) else "bytes"
                self._exchange.arrived({"type": "websocket.receive", kind: whole})


def switched_protocols(
    network: NetworkStream,
    headers: httpx.Headers,
    accept: Any,
    body: httpx.AsyncByteStream,
) -> httpx.Response:
    """Return the response that opens a WebSocket.

    :param network: the stream that the client reads frames from and writes frames to
    :param headers: the request's headers
    :param accept: the application's ``websocket.accept`` message
    :param body: the response body, which the client closes at the end
    """
    key = headers.get("sec-websocket-key", "").encode()
    ours = [
        (b"upgrade", b"websocket"),
        (b"connection", b"Upgrade"),
        (b"sec-websocket-accept", generate_accept_token(key)),
    ]
    if accept.get("subprotocol"):
        ours.append((b"sec-websocket-protocol", accept["subprotocol"].encode()))
    return httpx.Response(
        101,
        headers=[*ours, *(accept.get("headers") or ())],
        stream=body,
        extensions={"network_stream": network},
    )
