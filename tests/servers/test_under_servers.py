"""Every server, as a process: under the middleware, and with its drop-in.

Each runs an application that behaves in one of a few ways, and is asked by real clients. What is
right is the same for all, but for the status by which a server ends.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import takewhile
from typing import Any, NamedTuple

import pytest
from processes import DROP_INS, HERE, SERVERS, Server
from scenarios import PATIENCE, SCENARIOS, Record, play

pytestmark = pytest.mark.processes

TIMEOUT = 1.0  # what the servers are run with
TERMINATED = -signal.SIGTERM  # Uvicorn ends by the signal that it was sent

# Anycorn's, after a signal, depends on which of its processes is the first to notice.
EITHER = (0, 1)

# How the servers end, where they do not end with 0. That Hypercorn does so whatever has happened is
# a fault of its own.
STATUSES: dict[tuple[str, str], dict[str, int | tuple[int, int]]] = {
    ("middleware", "uvicorn"): {
        "behaves well": TERMINATED,
        "hangs in startup": 3,
        "is interrupted in startup": 3,
        "fails to start": 3,
        "crashes": TERMINATED,
        "hangs in shutdown": TERMINATED,
    },
    ("middleware", "gunicorn"): {
        "hangs in startup": 3,
        "is interrupted in startup": 3,
        "fails to start": 3,
    },
    ("middleware", "granian"): {"hangs in startup": 1, "fails to start": 1, "crashes": 1},
    ("middleware", "anycorn, asyncio"): {
        "hangs in startup": 1,
        "is interrupted in startup": EITHER,
        "fails to start": 1,
        "crashes": EITHER,
        "hangs in shutdown": EITHER,
    },
    ("drop-in", "uvicorn"): {
        "behaves well": TERMINATED,
        "hangs in startup": 3,
        "is interrupted in startup": 128 + signal.SIGINT,
        "fails to start": 3,
        "crashes": 1,
        "hangs in shutdown": TERMINATED,
    },
    ("drop-in", "gunicorn"): {"hangs in startup": 3, "fails to start": 3},
    ("drop-in", "others"): {
        "hangs in startup": 1,
        "fails to start": 1,
        "crashes": 1,
        "hangs in shutdown": 1,
    },
}
STATUSES["middleware", "anycorn, trio"] = STATUSES["middleware", "anycorn, asyncio"]
for name in SERVERS:
    STATUSES["added", name] = STATUSES.get(("middleware", name), {})
for name in DROP_INS.keys() - {"uvicorn", "gunicorn"}:
    STATUSES["drop-in", name] = STATUSES["drop-in", "others"]


# The middleware around an application, and added to one of FastAPI.
APPS = {
    "middleware": "application:app",
    "added": "application:fastapi_app",
    "drop-in": "application:bare",
}


class Case(NamedTuple):
    way: str
    name: str
    scenario: str

    @property
    def server(self) -> Server:
        return (DROP_INS if self.way == "drop-in" else SERVERS)[self.name]

    @property
    def statuses(self) -> tuple[int, ...]:
        statuses = STATUSES.get((self.way, self.name), {}).get(self.scenario, 0)
        return statuses if isinstance(statuses, tuple) else (statuses,)

    def play(self) -> Record:
        return play(self.server, APPS[self.way], self.scenario)


CASES = [
    Case(way, name, scenario)
    for way in APPS
    for name in (DROP_INS if way == "drop-in" else SERVERS)
    for scenario in SCENARIOS
    if (way, scenario) != ("added", "is interrupted in startup")
]


def on(scenario: str) -> Any:
    cases = [case for case in CASES if case.scenario == scenario]
    return pytest.mark.parametrize("case", cases, ids=lambda case: f"{case.way}-{case.name}")


@pytest.fixture(scope="session")
def records(request: pytest.FixtureRequest) -> Iterator[dict[Case, Future[Record]]]:
    """All cases that are to be tested, under way: they mostly wait, so a few run at a time."""
    specs = [getattr(item, "callspec", None) for item in request.session.items]
    cases = [spec.params["case"] for spec in specs if spec is not None and "case" in spec.params]
    wanted = [case for case in cases if isinstance(case, Case) and case.server.installed]
    before = signal.getsignal(signal.SIGINT)
    # A shell has its background jobs ignore it, as would then the servers.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with ThreadPoolExecutor(4) as pool:
        yield {case: pool.submit(case.play) for case in wanted}
        pool.shutdown(cancel_futures=True)
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def record(case: Case, records: dict[Case, Future[Record]]) -> Record:
    if not case.server.installed:
        pytest.skip(f"{case.server.package} is not installed")
    record = records[case].result()
    print(record.output)  # to be seen if the test fails
    assert record.broken_off == ""
    assert record.status in case.statuses
    assert not record.left
    return record


def line_of(text: str) -> int:
    lines = (HERE / "application.py").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def shows_where(case: Case, record: Record, phase: str, limit: float) -> bool:
    """Whether the log says in a few lines where a phase hangs, with the user's own line first."""
    text = (
        f"the {phase} of FastAPI hangs here" if case.way == "added" else f"the {phase} hangs here"
    )
    lines = record.output.splitlines()
    message = f"did not finish its {phase} within {limit:g} second"
    first = next(number for number, line in enumerate(lines) if message in line)
    indented = list(takewhile(lambda line: line.startswith("  "), lines[first + 1 :]))
    assert len(indented) < 10
    assert not any("site-packages" in line for line in indented)
    return any(f'application.py", line {line_of(text)}, in ' in line for line in indented[:4])


@on("behaves well")
def test_state_and_context_variables_are_seen_and_the_shutdown_is_run(
    case: Case, record: Record
) -> None:
    seen = {"greeting": "from the lifespan", "state": {"database": "open"}}
    assert record.responses == [(200, seen), (200, seen)]
    assert record.websocket == (seen if case.server.websockets else None)
    assert record.output.count("app: starting") == record.output.count("app: stopped") == 1
    assert "Traceback" not in record.output


@on("hangs in startup")
def test_a_startup_that_hangs_is_ended_and_the_log_says_where(case: Case, record: Record) -> None:
    limit = 2 if case.name == "gunicorn" and case.way == "drop-in" else TIMEOUT
    assert shows_where(case, record, "startup", limit)
    # Without a lifespan of the server's, each request has tried.
    tries = 1 if case.server.knows_lifespan else 2
    assert record.output.count("app: starting") == tries
    assert record.responses == ([] if tries == 1 else [(503, None)] * tries)


@on("is interrupted in startup")
def test_a_startup_that_hangs_can_be_interrupted(case: Case, record: Record) -> None:
    # The servers by themselves do not listen, so there the limit of the middleware ends it.
    patience = TIMEOUT if case.way == "middleware" else 0
    assert record.seconds < patience + PATIENCE / 4


@on("fails to start")
def test_a_startup_that_fails_is_told(case: Case, record: Record) -> None:
    assert "no database" in record.output
    tries = 1 if case.server.knows_lifespan else 2
    assert record.output.count("app: starting") == tries
    assert record.responses == ([] if tries == 1 else [(503, None)] * tries)


@on("crashes")
def test_a_crash_while_serving_ends_the_server(case: Case, record: Record) -> None:
    assert {status for status, _ in record.responses} == {200}
    assert "crashed while serving" in record.output
    assert "ValueError: lost the database" in record.output
    # A worker that Gunicorn starts in its place ends well.
    assert record.output.count("app: starting") == (2 if case.server.restarts else 1)


@on("hangs in shutdown")
def test_a_shutdown_that_hangs_is_ended_and_the_log_says_where(case: Case, record: Record) -> None:
    assert shows_where(case, record, "shutdown", TIMEOUT)
    assert record.seconds < TIMEOUT + PATIENCE / 2


def test_that_all_servers_are_installed(request: pytest.FixtureRequest) -> None:
    """Those that are not are skipped above; here it is said which."""
    missing = sorted({one.package for one in (SERVERS | DROP_INS).values() if not one.installed})
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
