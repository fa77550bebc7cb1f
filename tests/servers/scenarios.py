"""What a server is put through, and a record of what it did."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx
from processes import LIMIT, Process, Server, running
from websockets.sync.client import connect

# Seconds that a server gets to end, after which it counts as hanging.
PATIENCE = 8.0


@dataclass
class Record:
    """What a server did.

    :ivar responses: the status of each request, and what it saw of state and context variables
    :ivar websocket: what a WebSocket saw
    :ivar status: how the server ended; None if it did not, and had to be killed
    :ivar seconds: how long that took, from the signal or from its start
    :ivar left: whether processes were left
    :ivar broken_off: why it could not be put through all of it
    :ivar output: what it wrote
    """

    responses: list[tuple[int, Any]] = field(default_factory=list)
    websocket: Any = None
    status: int | None = None
    seconds: float = 0.0
    left: bool = False
    broken_off: str = ""
    output: str = ""

    def get(self, process: Process, *paths: str) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{process.port}", timeout=LIMIT) as client:
            for path in paths:  # on one connection
                response = client.get(path)
                is_json = response.headers.get("content-type") == "application/json"
                self.responses.append((response.status_code, response.json() if is_json else None))

    def open_websocket(self, process: Process) -> None:
        with connect(f"ws://127.0.0.1:{process.port}/", proxy=None, open_timeout=LIMIT) as socket:
            self.websocket = json.loads(socket.recv(LIMIT))

    def wait_ended(self, process: Process) -> None:
        self.status, self.seconds = process.wait_ended(PATIENCE)
        self.left = self.status is not None and process.leaves_processes()


def _behaves_well(process: Process, record: Record, server: Server) -> None:
    process.wait_for(server.ready)
    record.get(process, "/", "/")
    if server.websockets:
        record.open_websocket(process)
    process.signal(signal.SIGTERM)
    record.wait_ended(process)


def _does_not_start(process: Process, record: Record, server: Server) -> None:
    if server.knows_lifespan:
        process.wait_for("app: starting")
    else:
        process.wait_for(server.ready)
        record.get(process, "/", "/")
        process.signal(signal.SIGTERM)
    record.wait_ended(process)


def _is_interrupted_in_startup(process: Process, record: Record, server: Server) -> None:
    with ThreadPoolExecutor(1) as pool:
        if not server.knows_lifespan:
            process.wait_for(server.ready)
            pool.submit(record.get, process, "/")  # it is never answered
        process.wait_for("app: starting")
        process.signal(signal.SIGINT)
        record.wait_ended(process)


def _crashes(process: Process, record: Record, server: Server) -> None:
    process.wait_for(server.ready)
    if not server.knows_lifespan:
        record.get(process, "/")
    record.get(process, "/crash")
    if server.restarts and process.wait_for("app: starting", times=2, limit=PATIENCE):
        process.signal(signal.SIGTERM)
    record.wait_ended(process)


def _hangs_in_shutdown(process: Process, record: Record, server: Server) -> None:
    process.wait_for(server.ready)
    record.get(process, "/")
    process.signal(signal.SIGTERM)
    record.wait_ended(process)


_STEPS: dict[str, Callable[[Process, Record, Server], None]] = {
    "behaves well": _behaves_well,
    "hangs in startup": _does_not_start,
    "is interrupted in startup": _is_interrupted_in_startup,
    "fails to start": _does_not_start,
    "crashes": _crashes,
    "hangs in shutdown": _hangs_in_shutdown,
}
SCENARIOS = list(_STEPS)


def play(server: Server, app: str, scenario: str) -> Record:
    """Put a server through it.

    :param app: the application: ``"application:app"`` or ``"application:bare"``
    """
    behaviour = "hangs in startup" if scenario == "is interrupted in startup" else scenario
    record = Record()
    with running(server, app, behaviour) as process:
        try:
            _STEPS[scenario](process, record, server)
        except (httpx.HTTPError, OSError) as exc:
            record.broken_off = repr(exc)
    record.output = "\n".join(process.output)
    return record
