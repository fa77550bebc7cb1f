"""Servers with two workers each: what a stop, and the crash of one of them, mean to the other."""

from __future__ import annotations

import pytest
from load import all_ended, quick_requests
from scenarios import Record, play, shutdowns
from ways import SUPERVISED, Way

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
def way(name: str) -> Way:
    way = SUPERVISED[name]
    if not way.server.installed:
        pytest.skip(f"{way.server.package} is not installed")
    return way


def played(way: Way, scenario: str) -> Record:
    record = play(way.server, way.target, scenario)
    print(record.output)  # to be seen if the test fails
    assert record.broken_off == ""
    assert not record.left
    return record


@each
def test_a_stop_lets_every_worker_end(way: Way) -> None:
    """Hypercorn and Anycorn send SIGTERM to all workers when the first of them has ended."""
    record = played(way, "two stop with a stream")
    assert "broken" not in record.seen
    assert record.seen["status"] == 0
    assert shutdowns(record) == 2


@each
def test_a_crash_of_one_loses_no_request(name: str, way: Way) -> None:
    record = played(way, "one of two crashes under load")
    load = record.seen["load"]
    assert load - quick_requests(load) == all_ended(way.server.package)
    assert record.seen["status"] in ENDS.get(name, (0,))
    assert len(record.lifespans) == (2 if name in ENDS else 3)
