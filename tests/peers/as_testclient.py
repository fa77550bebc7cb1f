"""Starlette's TestClient, made of ``asgi_sync_client``, for tests that were written for the former.

It is what such tests would be changed to by hand, by the table of docs/migrating.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urljoin

import httpx2
from httpx2 import websockets
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect
from wsproto.events import BytesMessage

from anylifespan.from_thread import start_blocking_lifespan
from anylifespan.testing import ASGISyncTransport, asgi_sync_client


class TestClient(httpx2.Client):
    """With its signature."""

    __test__ = False

    def __init__(
        self,
        app: Any,
        base_url: str = "http://testserver",
        raise_server_exceptions: bool = True,
        root_path: str = "",
        backend: str = "asyncio",
        backend_options: dict[str, Any] | None = None,
        cookies: Any = None,
        headers: dict[str, str] | None = None,
        follow_redirects: bool = True,
        client: tuple[str, int] = ("testclient", 50000),
    ) -> None:
        self.app = app
        self.app_state: dict[str, Any] = {}
        self._backend = backend, backend_options
        self._of_requests: dict[str, Any] = {
            "raise_app_exceptions": raise_server_exceptions,
            "root_path": root_path,
            "client": client,
        }
        self._exit_stack = ExitStack()
        self.open_responses = ExitStack()
        self._current: Any = None  # the transport, while the application is up
        super().__init__(
            base_url=base_url,
            headers={"user-agent": "testclient", **(headers or {})},
            transport=_Transport(self),
            follow_redirects=follow_redirects,
            cookies=cookies,
            timeout=None,
        )

    @contextmanager
    def transport(self) -> Iterator[Any]:
        """That of the lifespan; outside of one, of an application that is not started."""
        if self._current is not None:
            yield self._current
            return
        with start_blocking_lifespan(self.app, *self._backend, mode="off") as lifespan:
            transport = ASGISyncTransport(lifespan, **self._of_requests)
            yield transport
            transport.close()

    def websocket_connect(
        self, url: str, subprotocols: list[str] | None = None, **options: Any
    ) -> Any:
        return _connected(self, urljoin("ws://testserver", url), subprotocols, options)

    def close(self) -> None:
        self.open_responses.close()
        super().close()

    def __enter__(self) -> TestClient:
        client = asgi_sync_client(
            self.app, *self._backend, state=self.app_state, leaks="off", **self._of_requests
        )
        self._current = self._exit_stack.enter_context(client)._transport
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.open_responses.close()
        self._current = None
        self._exit_stack.__exit__(*exc_info)


class _Transport(httpx2.BaseTransport):
    def __init__(self, client: TestClient) -> None:
        self._client = client

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        with ExitStack() as stack:
            transport = stack.enter_context(self._client.transport())
            response: httpx2.Response = transport.handle_request(request)
            stream: Any = response.stream
            stack.callback(stream.close)
            self._client.open_responses.callback(stack.close)
            response.stream = _Body(stream, stack.pop_all())
        return response


class _Body(httpx2.SyncByteStream):
    """One that the application is up for, till it is closed."""

    def __init__(self, stream: Any, exit_stack: ExitStack) -> None:
        self._stream = stream
        self.close = exit_stack.close  # type: ignore[method-assign]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._stream)


@contextmanager
def _connected(
    client: TestClient, url: str, subprotocols: list[str] | None, options: dict[str, Any]
) -> Iterator[_Session]:
    with client.transport() as transport:
        others = {name: getattr(client, name) for name in ("cookies", "headers", "base_url")}
        with httpx2.Client(transport=_Open(transport), timeout=None, **others) as inner:
            opened = inner.websocket(
                url,
                subprotocols=subprotocols,
                keepalive_ping_interval_seconds=None,
                max_message_size_bytes=2**24,
                **options,
            )
            try:
                with opened as session:
                    yield _Session(session)
            except websockets.WebSocketUpgradeError as denied:
                response = denied.response
                assert response is not None
                if "websocket_close" in response.extensions:
                    raise WebSocketDisconnect(*response.extensions["websocket_close"]) from None
                raise WebSocketDenialResponse(
                    status_code=response.status_code,
                    headers=response.headers.multi_items(),
                    content=response.read(),
                ) from None


class _Open(httpx2.BaseTransport):
    """A transport that others use, too."""

    def __init__(self, transport: Any) -> None:
        self.handle_request = transport.handle_request


class _Session:
    """The WebSocketTestSession of Starlette."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.accepted_subprotocol = session.subprotocol
        ours = ("upgrade", "connection", "sec-websocket-accept", "sec-websocket-protocol")
        headers = session.response.headers.raw
        self.extra_headers = [one for one in headers if one[0].decode().lower() not in ours]

    def send(self, message: dict[str, Any]) -> None:
        raise NotImplementedError("a WebSocket client does not send messages of ASGI")

    def send_text(self, data: str) -> None:
        self._session.send_text(data)

    def send_bytes(self, data: bytes) -> None:
        self._session.send_bytes(data)

    def send_json(self, data: Any, mode: str = "text") -> None:
        text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
        self.send_text(text) if mode == "text" else self.send_bytes(text.encode())

    def close(self, code: int = 1000, reason: str | None = None) -> None:
        self._session.close(code, reason)

    def receive(self) -> dict[str, Any]:
        try:
            event = self._session.receive()
        except websockets.WebSocketDisconnect as exc:
            return {"type": "websocket.close", "code": exc.code, "reason": exc.reason or ""}
        kind = "bytes" if isinstance(event, BytesMessage) else "text"
        return {"type": "websocket.send", kind: event.data}

    def _receive(self, kind: str) -> Any:
        message = self.receive()
        if message["type"] == "websocket.close":
            raise WebSocketDisconnect(message["code"], message["reason"])
        return message[kind]

    def receive_text(self) -> str:
        return str(self._receive("text"))

    def receive_bytes(self) -> bytes:
        return bytes(self._receive("bytes"))

    def receive_json(self, mode: str = "text") -> Any:
        return json.loads(self._receive("text" if mode == "text" else "bytes"))
