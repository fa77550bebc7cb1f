"""A whole HTTP/1.1 server that embeds the manager, on asyncio and on trio alike::

    python -m examples.tiny_server examples.bookshop:app --backend trio

Whatever goes wrong with the lifespan comes out of the task group, and ends the server.
"""

from __future__ import annotations

import argparse
import pkgutil
import signal
import sys
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import unquote

import anyio
import h11
from anyio.abc import ByteStream, SocketStream

from anylifespan import LifespanManager

GRACE = 2.0  # seconds that connections have when the server stops


async def serve(app: Any, port: int, timeout: float = 10) -> None:
    manager = LifespanManager(app, startup_timeout=timeout, shutdown_timeout=timeout)
    async with anyio.create_task_group() as task_group:
        async with anyio.create_task_group() as connections:
            with anyio.CancelScope() as until_signal:
                task_group.start_soon(cancel_at_signal, until_signal)
                await task_group.start(manager.serve)
                tcp = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
                print(f"Serving on http://127.0.0.1:{port}", flush=True)
                async with tcp:
                    await tcp.serve(partial(handle_connection, manager.app), connections)
            connections.cancel_scope.deadline = anyio.current_time() + GRACE
        manager.request_shutdown()


async def cancel_at_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        await anext(signals)
        scope.cancel()


async def handle_connection(app: Any, stream: SocketStream) -> None:
    connection = h11.Connection(h11.SERVER)
    async with stream:
        try:
            while connection.states == {h11.CLIENT: h11.IDLE, h11.SERVER: h11.IDLE}:
                event = await next_event(connection, stream)
                if isinstance(event, h11.Request):
                    await handle_request(app, connection, stream, event)
                while connection.their_state is h11.SEND_BODY:
                    await next_event(connection, stream)
                if connection.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
                    connection.start_next_cycle()
        except (h11.ProtocolError, anyio.BrokenResourceError, anyio.EndOfStream):
            pass  # the client's fault, or it has gone; the other connections live on


async def next_event(connection: h11.Connection, stream: ByteStream) -> Any:
    while (event := connection.next_event()) is h11.NEED_DATA:
        try:
            connection.receive_data(await stream.receive())
        except anyio.EndOfStream:
            connection.receive_data(b"")
    return event


async def handle_request(
    app: Any, connection: h11.Connection, stream: ByteStream, request: h11.Request
) -> None:
    path, _, query = request.target.partition(b"?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": request.http_version.decode(),
        "method": request.method.decode(),
        "path": unquote(path.decode("ascii")),
        "query_string": query,
        "headers": list(request.headers),
    }

    async def receive() -> dict[str, Any]:
        if connection.their_state is h11.SEND_BODY:
            event = await next_event(connection, stream)
            body = bytes(event.data) if isinstance(event, h11.Data) else b""
            return {"type": "http.request", "body": body, "more_body": isinstance(event, h11.Data)}
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while connection.our_state is not h11.DONE:
                connection.receive_data(await stream.receive())
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", []))
            data = connection.send(h11.Response(status_code=message["status"], headers=headers))
        else:
            data = connection.send(h11.Data(data=message.get("body", b"")))
            if not message.get("more_body", False):
                data = (data or b"") + (connection.send(h11.EndOfMessage()) or b"")
        await stream.send(data or b"")

    try:
        await app(scope, receive, send)
    except Exception as exc:  # noqa: BLE001 - one request does not end the server
        sys.excepthook(type(exc), exc, exc.__traceback__)
        if connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await send({"type": "http.response.start", "status": 500})
            await send({"type": "http.response.body"})


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("app", help="module:attribute")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    options = parser.parse_args()
    app = pkgutil.resolve_name(options.app)
    anyio.run(serve, app, options.port, backend=options.backend)
