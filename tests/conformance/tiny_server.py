"""A whole server, small and right: it passes every case. :mod:`faults` puts one fault into it.

``python tiny_server.py APP PORT [--workers 2] [--backend trio] [--fault NAME]``
"""

from __future__ import annotations

import argparse
import pkgutil
import signal
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from typing import Any

import anyio
import h11
import wsproto
import wsproto.events as ws
from anyio.abc import SocketStream, TaskGroup

from anylifespan import LifespanManager, Phase, StartupFailed

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

HOST = "127.0.0.1"
GRACE = 2.0  # seconds that open requests have at the stop
NOT_STARTED = 3  # the status after a startup that failed
ASGI = {"version": "3.0", "spec_version": "2.5"}


class Server:
    """Runs one application."""

    startup_timeout = 20.0
    shutdown_timeout = 3.0
    tasks: TaskGroup

    def __init__(self, app: Any, port: int, mode: Any) -> None:
        self.port = port
        self.stopping = anyio.Event()
        self.connections: set[Connection] = set()
        self.listener: Any = None
        self.manager = LifespanManager(
            app,
            mode=mode,
            startup_timeout=self.startup_timeout,
            shutdown_timeout=self.shutdown_timeout,
        )
        self.given = app

    async def run(self) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with anyio.create_task_group() as group:
                group.start_soon(self.listen_to, signals, group.cancel_scope)
                await self.drive_lifespan()
                group.cancel_scope.cancel()

    async def listen_to(self, signals: Any, scope: anyio.CancelScope) -> None:
        async for number in signals:
            self.at_signal(number, scope)

    def at_signal(self, number: int, scope: anyio.CancelScope) -> None:
        if self.manager.phase is Phase.STARTING:
            scope.cancel()
        self.stopping.set()

    async def drive_lifespan(self) -> None:
        async with anyio.create_task_group() as self.tasks:
            async with self.manager:
                await self.accept_until_stop()
                await self.drain()
            await self.after_the_shutdown()
            self.tasks.cancel_scope.cancel()

    async def listen(self) -> Any:
        if self.listener is None:
            self.listener = await anyio.create_tcp_listener(
                local_host=HOST, local_port=self.port, reuse_port=True
            )
        return self.listener

    async def accept_until_stop(self) -> None:
        async with await self.listen() as listener:
            async with anyio.create_task_group() as accepting:
                accepting.start_soon(listener.serve, self.handle, self.tasks)
                await self.stopping.wait()
                accepting.cancel_scope.cancel()

    async def drain(self) -> None:
        for connection in tuple(self.connections):
            await connection.close_soon()
        with anyio.move_on_after(GRACE):
            await self.until_none_is_open()
        for connection in tuple(self.connections):
            connection.scope.cancel()
        await self.until_none_is_open()

    async def until_none_is_open(self) -> None:
        while self.connections:  # noqa: ASYNC110 - there is no event
            await anyio.sleep(0.01)

    async def after_the_shutdown(self) -> None:
        pass

    async def call(self, scope: Any, receive: Any, send: Any) -> None:
        await self.manager.app(scope, receive, send)

    async def handle(self, stream: SocketStream) -> None:
        connection = Connection(self, stream)
        self.connections.add(connection)
        try:
            async with stream:
                with connection.scope, suppress(anyio.BrokenResourceError, h11.ProtocolError):
                    await connection.serve()
        finally:
            connection.is_over = True
            self.connections.discard(connection)

    def status_after(self, error: BaseException | None) -> int:
        if error is None:
            return 0
        return NOT_STARTED if isinstance(error, StartupFailed) else 1

    def report(self, error: BaseException) -> None:
        traceback.print_exception(error)


class Connection:
    """One connection of a client: requests, one after the other, or a WebSocket."""

    def __init__(self, server: Server, stream: SocketStream) -> None:
        self.server = server
        self.stream = stream
        self.scope = anyio.CancelScope()
        self.http = h11.Connection(h11.SERVER)
        self.is_idle = True
        self.path = ""
        self.is_over = False
        self.websocket: WebSocket | None = None

    async def close_soon(self) -> None:
        if self.websocket is not None:
            await self.websocket.close(1012)
        elif self.is_idle:
            self.scope.cancel()

    async def serve(self) -> None:
        while True:
            self.is_idle = True
            request = await self.next_event()
            if not isinstance(request, h11.Request):
                return
            self.is_idle = False
            if any(name == b"upgrade" for name, _ in request.headers):
                self.websocket = WebSocket(self, request)
                await self.websocket.serve()
                return
            await self.respond(request)
            if self.server.stopping.is_set() or self.http.states != {
                h11.CLIENT: h11.DONE,
                h11.SERVER: h11.DONE,
            }:
                return
            self.http.start_next_cycle()

    async def next_event(self) -> Any:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            try:
                self.http.receive_data(await self.stream.receive())
            except anyio.EndOfStream:
                self.http.receive_data(b"")
        return event

    def scope_of(self, request: h11.Request, kind: str) -> dict[str, Any]:
        self.path = request.target.decode("ascii")
        return {
            "type": kind,
            "asgi": dict(ASGI),
            "http_version": "1.1",
            "method": request.method.decode("ascii"),
            "path": self.path,
            "query_string": b"",
            "headers": list(request.headers),
            "client": self.stream.extra(anyio.abc.SocketAttribute.remote_address),
        }

    async def respond(self, request: h11.Request) -> None:
        while not isinstance(await self.next_event(), h11.EndOfMessage):
            pass

        async def receive() -> Any:
            await anyio.sleep_forever()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers", [])
                event: Any = h11.Response(status_code=message["status"], headers=headers)
                await self.stream.send(self.http.send(event) or b"")
                return
            data = self.http.send(h11.Data(data=message["body"])) or b""
            if not message.get("more_body", False):
                data += self.http.send(h11.EndOfMessage()) or b""
            await self.stream.send(data)

        await self.server.call(self.scope_of(request, "http"), receive, send)


class WebSocket:
    """One WebSocket on a connection."""

    def __init__(self, connection: Connection, request: h11.Request) -> None:
        self.connection = connection
        self.request = request
        self.protocol = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        self.protocol.initiate_upgrade_connection(list(request.headers), request.target)
        self.is_closing = False

    async def serve(self) -> None:
        events = [{"type": "websocket.connect"}]

        async def receive() -> Any:
            return events.pop() if events else await self.disconnect()

        async def send(message: Any) -> None:
            if message["type"] == "websocket.accept":
                await self.send(ws.AcceptConnection())
            else:
                await self.send(ws.TextMessage(data=message["text"]))

        scope = self.connection.scope_of(self.request, "websocket")
        await self.connection.server.call(scope, receive, send)

    async def disconnect(self) -> Any:
        """Wait for the end of it; the clients of the cases send nothing."""
        code = None
        while code is None:
            try:
                self.protocol.receive_data(await self.connection.stream.receive())
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                code = 1006
                break
            for event in self.protocol.events():
                if isinstance(event, ws.CloseConnection):
                    code = event.code
                    if not self.is_closing:
                        await self.send(event.response())
        return {"type": "websocket.disconnect", "code": code}

    async def close(self, code: int) -> None:
        self.is_closing = True
        await self.send(ws.CloseConnection(code=code))

    async def send(self, event: Any) -> None:
        await self.connection.stream.send(self.protocol.send(event))


class Supervisor:
    """Starts workers, and others for those that end; a startup that failed ends all."""

    def __init__(self, command: list[str], workers: int) -> None:
        self.command = command
        self.wanted = workers
        self.workers: list[subprocess.Popen[bytes]] = []
        self.stopping = False
        self.status = 0

    def run(self) -> int:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self.stop())
        while not self.stopping or self.workers:
            if not self.stopping and len(self.workers) < self.wanted:
                self.start(len(self.workers))
            for worker in tuple(self.workers):
                if worker.poll() is not None:
                    self.workers.remove(worker)
                    self.has_ended(worker)
            time.sleep(0.02)
        return self.status

    def start(self, number: int) -> None:
        self.workers.append(subprocess.Popen(self.command))

    def stop(self) -> None:
        self.stopping = True
        for worker in self.workers:
            worker.terminate()

    def has_ended(self, worker: subprocess.Popen[bytes]) -> None:
        if worker.returncode == NOT_STARTED:
            self.status = NOT_STARTED
            self.stop()


def main(
    application: type[Any], server_class: type[Server], supervisor_class: type[Supervisor]
) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("app")
    parser.add_argument("port", type=int)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--backend", default="asyncio")
    parser.add_argument("--mode", default="auto")
    parser.add_argument("--fault")
    options = parser.parse_args()
    if options.workers > 1:
        command = [sys.executable, *sys.argv]
        at = command.index("--workers")
        del command[at : at + 2]
        sys.exit(supervisor_class([*command, "--workers", "0"], options.workers).run())
    app = application(pkgutil.resolve_name(options.app))
    app.is_one_of_many = options.workers == 0
    server = server_class(app, options.port, options.mode)
    error = None
    try:
        anyio.run(server.run, backend=options.backend)
    except BaseException as exc:
        error = the_only_one(exc)
        server.report(error)
    if app.is_one_of_many:  # a status of its own would be one more fault, of the supervisor
        sys.exit(Server.status_after(server, error))
    sys.exit(server.status_after(error))


def the_only_one(error: BaseException) -> BaseException:
    """The error in groups that have one each."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


class Application:
    """Whatever is between the server and the application: nothing."""

    is_one_of_many = False

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" or scope["type"] == "websocket":
            await self.request(scope, receive, send)
        else:
            await self.lifespan(scope, receive, send)

    async def lifespan(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)

    async def request(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)
