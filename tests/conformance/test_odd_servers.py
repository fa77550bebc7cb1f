"""Servers that lack what others have, or are none: the kit judges what it can, and says so."""

from __future__ import annotations

import random
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import wsproto
import wsproto.events as ws

from anylifespan import LifespanManager, ShutdownTimeout, StartupTimeout
from anylifespan.conformance import Strength, Verdict, cases
from anylifespan.conformance._application import Application, Files
from anylifespan.conformance._kit import CannotRun, judge, of_server
from anylifespan.conformance._process import Port, Process, Processes
from anylifespan.conformance._server import Refused
from anylifespan.conformance._websocket import WebSocket

FOR_SERVERS = [case for case in cases if case.for_servers]

# It serves HTTP and nothing else: no lifespan, no WebSocket.
ONLY_HTTP = """
import asyncio, importlib, sys

app = getattr(importlib.import_module(sys.argv[1].partition(":")[0]), "app")

async def handle(reader, writer):
    head = await reader.readuntil(b"\\r\\n\\r\\n")
    if b"upgrade" in head.lower():
        writer.write(b"HTTP/1.1 426 Upgrade Required\\r\\ncontent-length: 0\\r\\n\\r\\n")
        writer.close()
        return
    async def send(message):
        if message["type"] == "http.response.start":
            writer.write(b"HTTP/1.1 200 OK\\r\\nconnection: close\\r\\n\\r\\n")
        else:
            writer.write(message["body"])
            await writer.drain()
    path = head.split()[1].decode()
    await app({"type": "http", "path": path, "asgi": {"version": "3.0"}}, None, send)
    writer.close()

async def main():
    async with await asyncio.start_server(handle, "127.0.0.1", int(sys.argv[2])) as server:
        await server.serve_forever()

asyncio.run(main())
"""
# It takes connections, and says what is no HTTP.
NO_HTTP = """
import socket, sys

with socket.create_server(("127.0.0.1", int(sys.argv[2]))) as server:
    while True:
        connection, _ = server.accept()
        connection.recv(1000)
        connection.sendall(b"220 ready\\r\\n")
        connection.close()
"""
ENDS_AT_ONCE = "print('no such option'); raise SystemExit(64)"


def verdicts(script: str, *names: str, patience: float = 2) -> dict[str, Verdict]:
    command = [sys.executable, "-c", script, "{app}", "{port}", "{workers}"]
    chosen = [case for case in FOR_SERVERS if not names or case.name in names]
    found = judge(chosen, of_server(command, patience=patience), jobs=6)
    return {one.case.name: one for one in found}


@pytest.mark.processes
def test_a_server_without_a_lifespan_fails_one_case() -> None:
    found = verdicts(
        ONLY_HTTP, *(case.name for case in FOR_SERVERS if case.topic not in ("signal", "workers"))
    )
    failed = {
        name
        for name, one in found.items()
        if one.outcome == "failed" and one.case.strength is Strength.REQUIRED
    }
    assert failed == {"lifespan.runs"}
    assert found["lifespan.runs"].seen.startswith("the application was never called with the life")
    assert found["lifespan.once"].outcome == "skipped"
    assert found["requests.http-asgi-version"].outcome == "passed"
    websocket = found["requests.websocket-asgi-version"]
    assert websocket.outcome == "skipped"
    assert websocket.seen == "no WebSocket came to the application (it was answered with 426)"
    assert found["shutdown.with-an-open-websocket"].outcome == "skipped"
    assert {one.outcome for one in found.values()} == {"passed", "failed", "skipped"}


@pytest.mark.processes
@pytest.mark.parametrize(
    ("script", "seen"),
    [
        (ENDS_AT_ONCE, "it did not come up: it ended with status 64"),
        ("import time; time.sleep(60)", "it did not come up: it neither served nor ended within"),
    ],
)
def test_what_does_not_serve_is_not_judged(
    script: str, seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("_server", "_scenarios"):
        monkeypatch.setattr(f"anylifespan.conformance.{module}.LIMIT", 2)
    found = verdicts(script)
    assert {one.outcome for one in found.values()} == {"error"}
    assert found["startup.event"].seen.startswith(seen)


@pytest.mark.processes
def test_what_answers_with_nonsense_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anylifespan.conformance._server.LIMIT", 1)
    found = verdicts(NO_HTTP, "startup.event")
    assert found["startup.event"].outcome == "error"


@pytest.mark.processes
def test_a_server_that_stops_answering_is_not_judged() -> None:
    once = ONLY_HTTP.replace("async def handle", "answered = []\n\nasync def handle").replace(
        "    path = ",
        "    if answered:\n        return writer.close()\n    answered.append(1)\n    path = ",
    )
    found = verdicts(once, "shutdown.with-an-open-stream", "shutdown.with-an-idle-connection")
    for one in found.values():
        assert one.outcome == "error"
        assert one.seen.startswith("it does not behave as a server: RemoteDisconnected(")


def test_a_command_that_cannot_be_run(tmp_path: Path) -> None:
    play = of_server([str(tmp_path / "nothing")], patience=1)
    with pytest.raises(CannotRun, match="nothing cannot be run: "):
        list(judge(FOR_SERVERS, play, jobs=2))


def test_a_process_that_starts_when_all_have_been_killed_is_killed_too() -> None:
    among = Processes()
    among.kill()
    process = Process([sys.executable, "-c", "import time; time.sleep(60)"], {}, among)
    try:
        assert process.wait_ended(30) == -signal.SIGKILL
    finally:
        process.kill()


def test_processes_that_are_left_behind_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anylifespan.conformance._process._STRAGGLERS", 0.2)
    script = "import subprocess; subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL, "
    script += "stderr=subprocess.DEVNULL)"
    process = Process([sys.executable, "-c", script], {}, Processes())
    try:
        assert process.wait_ended(30) == 0
        assert process.leaves_processes()
    finally:
        process.kill()


def test_a_port_is_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        first = Port()
        numbers = [taken, first.number]
        real = random.randrange
        monkeypatch.setattr(
            random, "randrange", lambda *limits: numbers.pop() if numbers else real(*limits)
        )
        second = Port()
        assert second.number not in (first.number, taken)
        second.give_back()
        first.give_back()
    assert numbers == []


# WebSockets


@contextmanager
def answering(*answers: Callable[[socket.socket, Any], object]) -> Iterator[int]:
    """A server that does this on its first connection, once it has the request."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            protocol = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
            protocol.receive_data(connection.recv(4096))
            list(protocol.events())
            for answer in answers:
                answer(connection, protocol)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join()


def sends(*events: Any) -> Callable[[socket.socket, Any], object]:
    return lambda connection, protocol: connection.sendall(
        b"".join(protocol.send(event) for event in events)
    )


OPEN = sends(ws.AcceptConnection(), ws.TextMessage(data="accepted"))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (sends(ws.RejectConnection(status_code=403)), "it was answered with 403"),
        (lambda connection, _: connection.sendall(b"220 ready\r\n\r\n"), "what is no WebSocket"),
        (lambda connection, _: None, "the connection was closed"),
    ],
)
def test_a_websocket_that_is_refused(answer: Any, message: str) -> None:
    with answering(answer) as port, pytest.raises(Refused, match=message):
        WebSocket(port, "/", timeout=5)


def test_a_ping_is_answered_before_the_close() -> None:
    seen: list[Any] = []

    def read(connection: socket.socket, protocol: Any) -> None:
        while not any(isinstance(event, ws.CloseConnection) for event in seen):
            protocol.receive_data(connection.recv(4096))
            seen.extend(protocol.events())

    news = ws.TextMessage(data="of no interest")
    goodbye = sends(news, ws.Ping(payload=b"there?"), ws.CloseConnection(code=1012))
    with answering(OPEN, goodbye, read) as port, WebSocket(port, "/", timeout=5) as websocket:
        websocket.wait_closed()
    assert [type(event) for event in seen] == [ws.Pong, ws.CloseConnection]


def test_a_connection_that_is_reset_is_closed() -> None:
    def reset(connection: socket.socket, protocol: Any) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with answering(OPEN, reset) as port, WebSocket(port, "/", timeout=5) as websocket:
        websocket.wait_closed()


def says_nothing(connection: socket.socket, protocol: Any) -> None:
    pass


def pings(connection: socket.socket, protocol: Any) -> None:
    connection.sendall(protocol.send(ws.Ping()))


@pytest.mark.parametrize("does", [says_nothing, pings])
def test_one_that_is_left_open_is_not_waited_for(
    does: Callable[[socket.socket, Any], None],
) -> None:
    over = threading.Event()

    def go_on(connection: socket.socket, protocol: Any) -> None:
        while not over.wait(0.01):
            does(connection, protocol)

    with answering(OPEN, go_on) as port:
        try:
            with WebSocket(port, "/", timeout=0.1) as websocket:
                websocket.wait_closed()
        finally:
            over.set()


# The application, as it runs in a server


@pytest.mark.anyio
async def test_the_application_notes_what_it_sees(tmp_path: Path) -> None:
    files = Files(str(tmp_path))
    app = Application("behaves well", files)
    (tmp_path / "answer").touch()
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) == 5:
            raise OSError("the client has gone")

    await app({"type": "http", "path": "/slow"}, None, send)
    with pytest.raises(OSError, match="the client has gone"):
        await app({"type": "http", "path": "/stream", "asgi": object()}, None, send)
    assert [message.get("more_body") for message in sent] == [None, None, None, True, True]
    notes = (tmp_path / "notes").read_text()
    assert notes.count('"what": "request", ') == notes.count('"what": "request is over", ') == 2


@pytest.mark.anyio
async def test_flags_are_waited_for_and_taken_once(tmp_path: Path) -> None:
    files = Files(str(tmp_path))
    app = Application("behaves well", files)

    async def send(message: Any) -> None:
        pass

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(app, {"type": "http", "path": "/slow"}, None, send)
        await anyio.sleep(0.1)
        assert "request is over" not in (tmp_path / "notes").read_text()
        (tmp_path / "answer").touch()
    assert "request is over" in (tmp_path / "notes").read_text()
    assert (files.is_set("answer"), files.take("answer"), files.take("answer")) == (
        True,
        True,
        False,
    )


@pytest.mark.anyio
async def test_a_websocket_is_open_until_its_client_has_gone(tmp_path: Path) -> None:
    kinds = ["websocket.connect", "websocket.receive", "websocket.disconnect"]
    events = [{"type": kind} for kind in kinds]

    async def receive() -> Any:
        return events.pop(0)

    async def send(message: Any) -> None:
        pass

    app = Application("behaves well", Files(str(tmp_path)))
    await app({"type": "websocket", "path": "/socket"}, receive, send)
    assert events == []
    assert "websocket is over" in (tmp_path / "notes").read_text()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("behaviour", "error"),
    [("hangs in startup", StartupTimeout), ("hangs in shutdown", ShutdownTimeout)],
)
async def test_an_application_that_hangs(behaviour: str, error: type, tmp_path: Path) -> None:
    app = Application(behaviour, Files(str(tmp_path)))
    with pytest.raises(error, match="did not finish its"):
        async with LifespanManager(app, startup_timeout=0.1, shutdown_timeout=0.1):
            pass
