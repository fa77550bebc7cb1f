"""A drop-in around an application that has LifespanMiddleware: the two agree."""

from __future__ import annotations

import pytest
from processes import Server, own_command
from scenarios import Record, play

pytestmark = pytest.mark.processes

# Their limits for open requests are longer than that of the middleware; Uvicorn has none.
COMMANDS = {
    "uvicorn": own_command("uvicorn"),
    "hypercorn": own_command("hypercorn", "-k", "trio", "--graceful-timeout", "8"),
    "anycorn": own_command("anycorn", "--graceful-timeout", "8"),
}


def played(name: str, scenario: str) -> Record:
    server: Server = COMMANDS[name]
    if not server.installed:
        pytest.skip(f"{server.package} is not installed")
    record = play(server, "application:app", scenario)
    print(record.output)  # to be seen if the test fails
    assert record.broken_off == ""
    assert not record.left
    return record


@pytest.mark.parametrize("name", COMMANDS)
def test_the_limit_of_the_middleware_holds_where_that_of_the_server_is_longer(name: str) -> None:
    record = played(name, "stops with a stream")
    assert record.broken == ""
    assert record.seconds < 4
    assert "cutting 1 request (GET /stream)" in record.output
    assert record.output.count("app: stopped") == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_a_crash_ends_the_server_with_a_failure(name: str) -> None:
    record = played(name, "crashes")
    assert record.status == 1
    assert record.output.count("lost the database") >= 1
    assert record.output.count("app: starting") == 1
