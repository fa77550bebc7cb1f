"""Every server, as a process: under the middleware, and with its drop-in.

Each runs an application that behaves in one of a few ways, and is asked by real clients. What is
right is the same for all, but for the status by which a server ends.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import takewhile
from typing import Any, NamedTuple

import pytest
from load import SLOW, STREAMS, WEBSOCKETS
from processes import DROP_INS, HERE, SERVERS, Server
from scenarios import PATIENCE, SCENARIOS, STOPS_WITH_REQUESTS, WITH_REQUESTS, Record, play

pytestmark = pytest.mark.processes

TIMEOUT = 1.0  # what the servers are run with
DRAIN = 1.0
TERMINATED = -signal.SIGTERM  # Uvicorn ends by the signal that it was sent
BY_SIGINT, BY_SIGTERM = 128 + signal.SIGINT, 128 + signal.SIGTERM

# Anycorn's depends on which of its processes is the first to notice that the worker has ended.
EITHER = (0, 1)

# How the servers end, where they do not end with 0. Hypercorn does so whatever has happened to its
# workers, which is a fault of its own; Gunicorn starts another worker, and ends well.
STOPS = ("behaves well", "blocks in startup", *STOPS_WITH_REQUESTS)
DROP_IN = {"hangs in startup": 1, "fails to start": 1, "crashes": 1, "hangs in shutdown": 1}
ANYCORN: dict[str, int | tuple[int, int]] = {
    "hangs in startup": 1,
    "is interrupted in startup": EITHER,
    "is terminated in startup": EITHER,
    "fails to start": 1,
    "crashes": EITHER,
    "hangs in shutdown": EITHER,
}
UVICORN: dict[str, int | tuple[int, int]] = {
    **dict.fromkeys(STOPS, TERMINATED),
    "hangs in shutdown": 1,
    "hangs in startup": 3,
    "is interrupted in startup": BY_SIGINT,
    "is terminated in startup": BY_SIGTERM,
    "fails to start": 3,
    "crashes": 1,
}
for statuses in (DROP_IN, ANYCORN, UVICORN):
    statuses["crashes under load"] = statuses["crashes"]
STATUSES: dict[tuple[str, str], dict[str, int | tuple[int, int]]] = {
    ("middleware", "uvicorn"): UVICORN,
    ("middleware", "gunicorn"): {"hangs in startup": 3, "fails to start": 3},
    ("middleware", "granian"): dict.fromkeys(
        ("hangs in startup", "fails to start", "crashes", "crashes under load"), 1
    ),
    ("middleware", "anycorn, asyncio"): ANYCORN,
    ("middleware", "anycorn, trio"): ANYCORN,
    ("middleware", "daphne"): {"crashes": 1, "hangs in shutdown": 1},
    ("drop-in", "uvicorn"): UVICORN,
    ("drop-in", "gunicorn"): {"hangs in startup": 3, "fails to start": 3},
}
for name in SERVERS:
    STATUSES["added", name] = STATUSES.get(("middleware", name), {})
for name in DROP_INS.keys() - {"uvicorn", "gunicorn"}:
    STATUSES["drop-in", name] = {**DROP_IN}


# The middleware around an application, and added to one of FastAPI.
APPS = {
    "middleware": "application:app",
    "added": "fastapi_application:app",
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

    @property
    def module(self) -> str:
        return APPS[self.way].partition(":")[0]

    def play(self) -> Record:
        return play(self.server, APPS[self.way], self.scenario)


# Where FastAPI makes no difference.
AS_WITH_ANY_APPLICATION = {
    "is interrupted in startup",
    "is terminated in startup",
    "blocks in startup",
    *WITH_REQUESTS,
}
# Daphne cancels its requests; and the example ends them at once, and has no watchdog.
NOT_FOR = {
    "daphne": WITH_REQUESTS,
    "tiny_server, asyncio": (*WITH_REQUESTS, "blocks in startup"),
    "tiny_server, trio": (*WITH_REQUESTS, "blocks in startup"),
}

CASES = [
    Case(way, name, scenario)
    for way in APPS
    for name in (DROP_INS if way == "drop-in" else SERVERS)
    for scenario in SCENARIOS
    if way != "added" or scenario not in AS_WITH_ANY_APPLICATION
    if scenario not in NOT_FOR.get(name, ())
    if (way, name, scenario) != ("drop-in", "gunicorn", "blocks in startup")  # it is killed instead
]


def of(scenario: str) -> list[Any]:
    """On one server of three, for each scenario others; with ``--exhaustive`` on all."""
    cases = [case for case in CASES if case.scenario == scenario]
    turn = SCENARIOS.index(scenario)
    return [
        pytest.param(
            case,
            id=f"{case.way}-{case.name}-{scenario}",
            marks=[pytest.mark.exhaustive] if (number + turn) % 3 else [],
        )
        for number, case in enumerate(cases)
    ]


def on(scenario: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", of(scenario))


@pytest.fixture(scope="session")
def records(request: pytest.FixtureRequest) -> Iterator[dict[Case, Future[Record]]]:
    """All cases that are to be tested, under way: they mostly wait, so a few run at a time."""
    specs = [getattr(item, "callspec", None) for item in request.session.items]
    cases = [spec.params["case"] for spec in specs if spec is not None and "case" in spec.params]
    wanted = [case for case in cases if isinstance(case, Case) and case.server.installed]
    with ThreadPoolExecutor(6) as pool:
        yield {case: pool.submit(case.play) for case in wanted}
        pool.shutdown(cancel_futures=True)


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


def place_of(text: str, module: str = "application") -> str:
    """As tracebacks give it."""
    lines = (HERE / f"{module}.py").read_text().splitlines()
    number = next(number for number, line in enumerate(lines, 1) if text in line)
    return f'{module}.py", line {number}, in '


def shows_where(case: Case, record: Record, phase: str, limit: float) -> bool:
    """Whether the log says in a few lines where a phase hangs, with the user's own line first."""
    place = place_of(f"the {phase} hangs here", case.module)
    lines = record.output.splitlines()
    message = f"did not finish its {phase} within {limit:g} second"
    first = next(number for number, line in enumerate(lines) if message in line)
    indented = list(takewhile(lambda line: line.startswith("  "), lines[first + 1 :]))
    assert len(indented) < 10
    assert not any("site-packages" in line for line in indented)
    return any(place in line for line in indented[:4])


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
    limit = 5 if case.name == "gunicorn" and case.way == "drop-in" else TIMEOUT
    assert shows_where(case, record, "startup", limit)
    # Without a lifespan of the server's, each request has tried.
    tries = 1 if case.server.knows_lifespan else 2
    assert record.output.count("app: starting") == tries
    assert record.responses == ([] if tries == 1 else [(503, None)] * tries)


@on("is interrupted in startup")
def test_a_startup_that_hangs_can_be_interrupted(case: Case, record: Record) -> None:
    assert record.seconds < PATIENCE / 2


@on("is terminated in startup")
def test_a_startup_that_hangs_is_ended_by_sigterm_without_a_limit(
    case: Case, record: Record
) -> None:
    assert record.seconds < PATIENCE / 2


@on("blocks in startup")
def test_a_startup_that_blocks_is_told_with_its_place(case: Case, record: Record) -> None:
    assert "blocks the event loop" in record.output
    assert place_of("the startup blocks here") in record.output
    assert [status for status, _ in record.responses] == [200]


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


@on("stops with a stream")
def test_a_stream_is_ended_properly_when_the_drain_is_over(case: Case, record: Record) -> None:
    assert record.responses == [(200, None)]
    assert record.broken == ""
    assert DRAIN / 2 < record.seconds < DRAIN + PATIENCE / 2
    assert "cutting 1 request (GET /stream)" in record.output
    assert record.output.count("app: stopped") == 1


@on("stops with a WebSocket")
def test_a_websocket_does_not_keep_a_server_from_stopping(case: Case, record: Record) -> None:
    # Granian closes them by itself, without a word.
    assert record.closed_with == (None if case.name == "granian" else 1012)
    assert record.seconds < DRAIN + PATIENCE / 2
    assert record.output.count("app: stopped") == 1


@on("stops with a slow request")
def test_a_request_that_ends_within_the_drain_is_answered(case: Case, record: Record) -> None:
    assert [status for status, _ in record.responses] == [200]
    assert record.broken == ""
    assert record.seconds < DRAIN + PATIENCE / 2
    assert record.output.count("app: stopped") == 1


@pytest.mark.parametrize("case", [*of("stops under load"), *of("crashes under load")])
def test_nothing_is_lost_that_could_finish_in_time(case: Case, record: Record) -> None:
    closed = "broken off" if case.name == "granian" else "closed (1012)"
    quick = {
        outcome: count
        for outcome, count in record.load.items()
        if outcome.startswith("quick request")
    }
    assert record.load - Counter(quick) == {
        "slow request: 200": SLOW,
        "stream: ended": STREAMS,
        f"WebSocket: {closed}": WEBSOCKETS,
    }
    # Those that were not answered have not come to the application.
    assert quick.keys() <= {
        "quick request: 200",
        "quick request: 503",
        "quick request: not answered",
    }
    lost = record.output.count("app: quick request") - quick.get("quick request: 200", 0)
    # Hypercorn, and so Anycorn, closes an idle connection when it stops, even if a request has come
    # in meanwhile.
    closes_connections = case.server.package in ("hypercorn", "anycorn")
    assert lost in ((0, 1) if closes_connections else (0,))


def test_that_all_servers_are_installed(request: pytest.FixtureRequest) -> None:
    """Those that are not are skipped above; here it is said which."""
    missing = sorted({one.package for one in (SERVERS | DROP_INS).values() if not one.installed})
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
