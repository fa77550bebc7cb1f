"""A WebSocket client that uses wsproto."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from types import TracebackType

import wsproto
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from ._client import HOST, TICK
from ._server import Refused


class WebSocket:
    """An open WebSocket, as a context manager.

    :param timeout: seconds to wait for each event
    :raises Refused: if the server does not accept the WebSocket
    :raises OSError: if the server does not answer
    """

    def __init__(self, port: int, path: str, timeout: float) -> None:
        self._protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self._socket = socket.create_connection((HOST, port), timeout)
        self._timeout = timeout
        try:
            self._open(Request(host=f"{HOST}:{port}", target=path))
        except BaseException:
            self._socket.close()
            raise

    def _open(self, request: Request) -> None:
        self._send(request)
        answer = self._next(AcceptConnection, RejectConnection)
        if isinstance(answer, RejectConnection):
            raise Refused(f"it was answered with {answer.status_code}")
        if answer is None:
            raise Refused("the connection was closed")
        self._next(TextMessage, CloseConnection)

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()

    def close(self) -> None:
        """Close the WebSocket with a close frame, and wait until the server has closed it, too."""
        self._send(CloseConnection(code=1000))
        self.wait_closed()

    def wait_closed(self) -> int | None:
        """Wait until the server has closed the WebSocket or dropped the connection.

        :return: the server's close code, if any
        """
        try:
            event = self._next(CloseConnection)
        except TimeoutError:
            return None
        if not isinstance(event, CloseConnection):
            return None
        with suppress(OSError, LocalProtocolError):  # it may be what was answered here
            self._send(event.response())
        return event.code

    def _send(self, event: Event) -> None:
        self._socket.sendall(self._protocol.send(event))

    def _next(self, *kinds: type[Event]) -> Event | None:
        """Return the next event of one of these kinds, or None if the connection has ended."""
        deadline = time.monotonic() + self._timeout
        while time.monotonic() < deadline:
            for event in self._protocol.events():
                if isinstance(event, Ping):
                    self._send(event.response())
                elif isinstance(event, kinds):
                    return event
            self._socket.settimeout(max(TICK, deadline - time.monotonic()))
            try:
                data = self._socket.recv(65536)
            except ConnectionError:
                return None
            if not data:
                return None
            try:
                self._protocol.receive_data(data)
            except RemoteProtocolError as exc:
                raise Refused(f"it was answered with what is no WebSocket: {exc}") from exc
        raise TimeoutError
