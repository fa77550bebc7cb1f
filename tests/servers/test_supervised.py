"""Servers with two workers each: what a stop, and the crash of one of them, mean to the other."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from load import SLOW, STREAMS, WEBSOCKETS
from processes import SUPERVISED, Server
from scenarios import play

pytestmark = pytest.mark.processes

# One of each kind; all in the session "exhaustive", since they run no other lines of the library.
ALWAYS = ("uvicorn --workers 2", "python -m anylifespan.servers.hypercorn -w 2")
# The statuses of those that do not replace a worker: Hypercorn's own command loses it.
ENDS = {
    "granian --workers 2": (1,),
    "hypercorn -w 2": (0, 1),
    "anycorn -w 2": (0, 1),
    "python -m anylifespan.servers.hypercorn -w 2": (1,),
    "python -m anylifespan.servers.anycorn -w 2": (1,),
}

MORE = [pytest.mark.exhaustive, pytest.mark.exhaustible]
each = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in ALWAYS else MORE) for name in SUPERVISED],
)


@pytest.fixture
def server(name: str) -> Server:
    found, _ = SUPERVISED[name]
    if not found.installed:
        pytest.skip(f"{found.package} is not installed")
    return found


@each
def test_a_stop_lets_every_worker_end(name: str, server: Server) -> None:
    """Hypercorn and Anycorn send SIGTERM to all workers when the first of them has ended."""
    record = play(server, f"application:{SUPERVISED[name][1]}", "stops with a stream")
    assert record.broken == ""
    assert record.status == 0
    assert record.output.count("app: stopped") == server.workers
    assert not record.left


@each
def test_a_crash_of_one_loses_no_request(name: str, server: Server) -> None:
    record = play(server, f"application:{SUPERVISED[name][1]}", "crashes under load")
    quick = {kind: count for kind, count in record.load.items() if kind.startswith("quick")}
    closed = "broken off" if server.package == "granian" else "closed (1012)"
    expected: dict[str, Any] = {
        "slow request: 200": SLOW,
        "stream: ended": STREAMS,
        f"WebSocket: {closed}": WEBSOCKETS,
    }
    assert record.load - Counter(quick) == expected
    if name in ENDS:
        assert record.status in ENDS[name]
        assert record.output.count("app: starting") == server.workers
    else:
        assert record.status == 0
        assert record.output.count("app: starting") == server.workers + 1
    assert not record.left
