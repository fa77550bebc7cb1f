"""A drop-in around an application that has LifespanMiddleware: the two agree."""

from __future__ import annotations

import pytest
from scenarios import Record, play
from ways import command

pytestmark = pytest.mark.processes

# Their limits for open requests are longer than that of the middleware; Uvicorn has none.
COMMANDS = {
    "uvicorn": command("uvicorn"),
    "hypercorn": command("hypercorn", "-k", "trio", "--graceful-timeout", "8"),
    "anycorn": command("anycorn", "--graceful-timeout", "8"),
}


def played(name: str, scenario: str) -> Record:
    server = COMMANDS[name]
    if not server.installed:
        pytest.skip(f"{server.package} is not installed")
    record = play(server, "around:app", scenario)
    print(record.output)  # to be seen if the test fails
    assert record.broken_off == ""
    assert not record.left
    return record


@pytest.mark.parametrize("name", COMMANDS)
def test_the_limit_of_the_middleware_holds_where_that_of_the_server_is_longer(name: str) -> None:
    record = played(name, "stops with a stream")
    assert "broken" not in record.seen
    assert record.seen["seconds"] < 5
    assert "cutting 1 request (GET /stream)" in record.output
    assert record.sent("lifespan.shutdown.complete")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_crash_ends_the_server_with_a_failure(name: str) -> None:
    record = played(name, "crashes")
    assert record.seen["status"] == 1
    assert "conformance: the connection was lost" in record.output
    assert len(record.lifespans) == 1
