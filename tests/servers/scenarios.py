"""What a server is put through, and a record of what it did."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
from load import Load
from processes import LIMIT, Process, Server, running
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import connect

# Seconds that a server gets to end, after which it counts as hanging.
PATIENCE = 8.0
# Seconds in which a supervisor may start one worker after another.
STORM = 5.0


@dataclass
class Record:
    """What a server did.

    :ivar responses: the status of each request, and what it saw of state and context variables
    :ivar websocket: what a WebSocket saw
    :ivar closed_with: the code that the server closed a WebSocket with
    :ivar broken: how a response ended that was not whole
    :ivar load: what has become of how many requests
    :ivar status: how the server ended; None if it did not, and had to be killed
    :ivar seconds: how long that took, from the signal or from its start
    :ivar left: whether processes were left
    :ivar broken_off: why it could not be put through all of it
    :ivar output: what it wrote
    """

    responses: list[tuple[int, Any]] = field(default_factory=list)
    websocket: Any = None
    closed_with: int | None = None
    broken: str = ""
    load: Counter[str] = field(default_factory=Counter)
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


def _wait_ready(process: Process, server: Server) -> None:
    process.wait_for(server.ready, server.workers)
    process.wait_listening()


def _behaves_well(process: Process, record: Record, server: Server) -> None:
    _wait_ready(process, server)
    record.get(process, "/", "/")
    if server.websockets:
        record.open_websocket(process)
    if process.count("app: stopped"):
        record.broken_off = "it was shut down while it served"
    process.signal(signal.SIGTERM)
    record.wait_ended(process)


def _does_not_start(process: Process, record: Record, server: Server) -> None:
    if server.knows_lifespan:
        process.wait_for("app: starting")
    else:
        _wait_ready(process, server)
        record.get(process, "/", "/")
        process.signal(signal.SIGTERM)
    record.wait_ended(process)


def _is_interrupted_in_startup(
    process: Process, record: Record, server: Server, number: signal.Signals = signal.SIGINT
) -> None:
    with ThreadPoolExecutor(1) as pool:
        if not server.knows_lifespan:
            _wait_ready(process, server)
            pool.submit(record.get, process, "/")  # it is never answered
        process.wait_for("app: starting")
        process.signal(number)
        record.wait_ended(process)


_is_terminated_in_startup = partial(_is_interrupted_in_startup, number=signal.SIGTERM)


def _blocks_in_startup(process: Process, record: Record, server: Server) -> None:
    _wait_ready(process, server)
    record.get(process, "/")
    process.signal(signal.SIGTERM)
    record.wait_ended(process)


def _crashes(process: Process, record: Record, server: Server) -> None:
    _wait_ready(process, server)
    if not server.knows_lifespan:
        record.get(process, "/")
    record.get(process, "/crash")
    if server.restarts and process.wait_for("app: starting", times=2, limit=PATIENCE):
        process.signal(signal.SIGTERM)
    record.wait_ended(process)


def _hangs_in_shutdown(process: Process, record: Record, server: Server) -> None:
    _wait_ready(process, server)
    record.get(process, "/")
    process.signal(signal.SIGTERM)
    record.wait_ended(process)


def _stops_with_a_stream(process: Process, record: Record, server: Server) -> None:
    _wait_ready(process, server)
    with httpx.Client(base_url=f"http://127.0.0.1:{process.port}", timeout=LIMIT) as client:
        with client.stream("GET", "/stream") as response:
            chunks = response.iter_raw()
            next(chunks)
            process.signal(signal.SIGTERM)
            record.wait_ended(process)
            if record.status is not None:
                record.broken = _rest(chunks)
                record.responses.append((response.status_code, None))


def _rest(chunks: Iterator[bytes]) -> str:
    try:
        for _ in chunks:
            pass
    except httpx.HTTPError as exc:
        return repr(exc)
    return ""


def _stops_with_a_websocket(process: Process, record: Record, server: Server) -> None:
    _wait_ready(process, server)
    with connect(f"ws://127.0.0.1:{process.port}/", proxy=None, open_timeout=LIMIT) as socket:
        record.websocket = json.loads(socket.recv(LIMIT))
        process.signal(signal.SIGTERM)
        try:
            socket.recv(PATIENCE)
        except ConnectionClosed as exc:
            record.closed_with = exc.rcvd.code if exc.rcvd is not None else None
        except TimeoutError:
            pass
        record.wait_ended(process)


def _stops_with_a_slow_request(process: Process, record: Record, server: Server) -> None:
    _wait_ready(process, server)
    with ThreadPoolExecutor(1) as pool:
        request = pool.submit(record.get, process, "/slow")
        process.wait_for("app: slow request")
        process.signal(signal.SIGTERM)
        try:
            request.result()
        except httpx.HTTPError as exc:
            record.broken = repr(exc)
        record.wait_ended(process)


def _stops_under_load(process: Process, record: Record, server: Server) -> None:
    def stop() -> None:
        process.signal(signal.SIGTERM)
        record.wait_ended(process)

    _under_load(process, record, server, stop)


def _crashes_under_load(process: Process, record: Record, server: Server) -> None:
    def crash() -> None:
        starts = process.count("app: starting")
        record.get(process, "/crash")
        if process.wait_for("app: starting", starts + 1, PATIENCE):
            process.wait_for("app: quick request", process.count("app: quick request") + 1)
            process.signal(signal.SIGTERM)  # or the requests to other workers would never end
        record.wait_ended(process)

    _under_load(process, record, server, crash)


def _crashes_again_and_again(process: Process, record: Record, server: Server) -> None:
    record.status, record.seconds = process.wait_ended(STORM)
    if record.status is None:
        process.signal(signal.SIGTERM)
        record.wait_ended(process)


def _under_load(
    process: Process, record: Record, server: Server, act: Callable[[], object]
) -> None:
    _wait_ready(process, server)
    load = Load(process)
    load.across(act)
    record.load = load.counted


_STEPS: dict[str, Callable[[Process, Record, Server], None]] = {
    "behaves well": _behaves_well,
    "hangs in startup": _does_not_start,
    "is interrupted in startup": _is_interrupted_in_startup,
    "fails to start": _does_not_start,
    "crashes": _crashes,
    "hangs in shutdown": _hangs_in_shutdown,
    "is terminated in startup": _is_terminated_in_startup,
    "blocks in startup": _blocks_in_startup,
    "stops with a stream": _stops_with_a_stream,
    "stops with a WebSocket": _stops_with_a_websocket,
    "stops with a slow request": _stops_with_a_slow_request,
    "stops under load": _stops_under_load,
    "crashes under load": _crashes_under_load,
    "crashes again and again": _crashes_again_and_again,
}
# What a scenario takes for its application and its servers, if not the usual.
_BEHAVIOURS = {
    "is interrupted in startup": "hangs in startup",
    "is terminated in startup": "hangs in startup",
    "crashes under load": "crashes",
}
STOPS_WITH_REQUESTS = (
    "stops with a stream",
    "stops with a WebSocket",
    "stops with a slow request",
    "stops under load",
)
WITH_REQUESTS = (*STOPS_WITH_REQUESTS, "crashes under load")
_ENVIRONMENTS = {
    "is terminated in startup": {"TIMEOUT": "3600"},
    **{scenario: {"DRAIN": "1"} for scenario in WITH_REQUESTS},
}
SCENARIOS = [scenario for scenario in _STEPS if scenario != "crashes again and again"]


def play(server: Server, app: str, scenario: str) -> Record:
    """Put a server through it.

    :param app: the application: ``"application:app"`` or ``"application:bare"``
    """
    behaviour = _BEHAVIOURS.get(scenario, scenario)
    environment = _ENVIRONMENTS.get(scenario, {})
    record = Record()
    with running(server, app, behaviour, **environment) as process:
        try:
            _STEPS[scenario](process, record, server)
        except (httpx.HTTPError, OSError, InvalidHandshake) as exc:
            record.broken_off = repr(exc)
    record.output = "\n".join(process.output)
    return record
