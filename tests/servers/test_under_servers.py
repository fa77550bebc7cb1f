"""Every server, as a process: under the middleware, and with its drop-in.

Each is put through the scenarios of the kit, whose cases judge it, and through a few of the same
kind: here stands what this library promises beyond the cases. It is the same for all servers, but
for the status by which a server ends.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import takewhile
from typing import Any, NamedTuple

import pytest
from load import all_ended, quick_requests
from released_servers import DROP_IN, MIDDLEWARE, TESTS, Server, expected, unsteady
from scenarios import (
    DRAIN,
    PATIENCE,
    SCENARIOS,
    STOPS_WITH_REQUESTS,
    TIMEOUT,
    WITH_REQUESTS,
    Record,
    play,
    shutdowns,
)
from ways import ADDED, DROP_INS, SERVERS, UNDER, ways_of

from anylifespan.conformance import _application, cases

pytestmark = pytest.mark.processes

TERMINATED = -signal.SIGTERM  # Uvicorn ends by the signal that it was sent
BY_SIGINT, BY_SIGTERM = 128 + signal.SIGINT, 128 + signal.SIGTERM

Statuses = dict[str, "int | tuple[int, int] | None"]
# Anycorn's depends on which of its processes is the first to notice that the worker has ended.
EITHER = (0, 1)

# How the servers end, where they do not end with 0. Hypercorn does so whatever has happened to its
# workers, which is a fault of its own. Gunicorn starts another worker, and goes on, as Daphne does
# whose lifespan has not started.
GOES_ON = None
STOPS = ("behaves well", "blocks in startup", *STOPS_WITH_REQUESTS)
BY_FUNCTION: Statuses = {
    "hangs in startup": 1,
    "fails to start": 1,
    "crashes": 1,
    "hangs in shutdown": 1,
}
ANYCORN: Statuses = {
    "hangs in startup": 1,
    "is interrupted in startup": EITHER,
    "is terminated in startup": EITHER,
    "fails to start": 1,
    "crashes": EITHER,
    "hangs in shutdown": EITHER,
}
UVICORN: Statuses = {
    **dict.fromkeys(STOPS, TERMINATED),
    "hangs in shutdown": 1,
    "hangs in startup": 3,
    "is interrupted in startup": BY_SIGINT,
    "is terminated in startup": BY_SIGTERM,
    "fails to start": 3,
    "crashes": 1,
}
for statuses in (BY_FUNCTION, ANYCORN, UVICORN):
    statuses["crashes under load"] = statuses["crashes"]
GUNICORN: Statuses = {"hangs in startup": 3, "fails to start": 3, "crashes": GOES_ON}
WITH_MIDDLEWARE: dict[str, Statuses] = {
    "uvicorn": UVICORN,
    "gunicorn": GUNICORN,
    "granian": dict.fromkeys(
        ("hangs in startup", "fails to start", "crashes", "crashes under load"), 1
    ),
    "anycorn, asyncio": ANYCORN,
    "anycorn, trio": ANYCORN,
    "daphne": {"fails to start": GOES_ON, "crashes": 1, "hangs in shutdown": 1},
}
STATUSES: dict[str, dict[str, Statuses]] = {
    MIDDLEWARE: WITH_MIDDLEWARE,
    ADDED: WITH_MIDDLEWARE,
    DROP_IN: {
        **dict.fromkeys(DROP_INS, BY_FUNCTION),
        "uvicorn": UVICORN,
        "gunicorn": GUNICORN,
    },
}
NAMES = {MIDDLEWARE: "middleware", ADDED: "added", DROP_IN: "drop-in"}


class Case(NamedTuple):
    way: str
    name: str
    scenario: str

    def __str__(self) -> str:
        return f"{NAMES[self.way]}-{self.name}-{self.scenario}"

    @property
    def server(self) -> Server:
        return ways_of(self.name)[self.way].server

    @property
    def statuses(self) -> tuple[int | None, ...]:
        statuses = STATUSES[self.way].get(self.name, {}).get(self.scenario, 0)
        return statuses if isinstance(statuses, tuple) else (statuses,)

    def play(self) -> Record:
        way = ways_of(self.name)[self.way]
        return play(way.server, way.target, self.scenario)


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
    for way in NAMES
    for name in (DROP_INS if way == DROP_IN else SERVERS)
    for scenario in SCENARIOS
    if way != ADDED or scenario not in AS_WITH_ANY_APPLICATION
    if scenario not in NOT_FOR.get(name, ())
    if (way, name, scenario) != (DROP_IN, "gunicorn", "blocks in startup")  # it is killed instead
]


def of(*scenarios: str) -> list[Any]:
    """On one server of three, for each scenario others; with ``--exhaustive`` on all."""
    chosen = []
    for scenario in scenarios:
        turn = [*SCENARIOS].index(scenario)
        for number, case in enumerate(one for one in CASES if one.scenario == scenario):
            marks = [pytest.mark.exhaustive] if (number + turn) % 3 else []
            chosen.append(pytest.param(case, id=str(case), marks=marks))
    return chosen


def on(*scenarios: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", of(*scenarios))


@pytest.fixture(scope="session")
def records(request: pytest.FixtureRequest) -> Iterator[dict[Case, Future[Record]]]:
    """All cases that are to be tested, under way: they mostly wait, so a few run at a time."""
    specs = [getattr(item, "callspec", None) for item in request.session.items]
    found = [spec.params["case"] for spec in specs if spec is not None and "case" in spec.params]
    wanted = {case for case in found if isinstance(case, Case) and case.server.installed}
    with ThreadPoolExecutor(6) as pool:
        yield {case: pool.submit(case.play) for case in sorted(wanted)}
        pool.shutdown(cancel_futures=True)


@pytest.fixture
def record(case: Case, records: dict[Case, Future[Record]]) -> Record:
    if not case.server.installed:
        pytest.skip(f"{case.server.package} is not installed")
    record = records[case].result()
    print(record.output)  # to be seen if the test fails
    assert record.broken_off == ""
    assert record.seen.get("status") in case.statuses
    assert not record.left
    return record


def shows_where(record: Record, phase: str, limit: float) -> bool:
    """Whether the log says in a few lines where a phase hangs, by the user's own lines alone."""
    lines = record.output.splitlines()
    message = f"did not finish its {phase} within {limit:g} second"
    first = next(number for number, line in enumerate(lines) if message in line)
    indented = list(takewhile(lambda line: line.startswith("  "), lines[first + 1 :]))
    assert len(indented) <= 15
    assert not any("site-packages" in line for line in indented)
    return any(f", in hangs_in_{phase}" in line for line in indented)


OF_THE_KIT = [
    name for name, scenario in SCENARIOS.items() if any(one.scenario is scenario for one in cases)
]


@on(*OF_THE_KIT)
def test_what_the_cases_of_the_kit_expect(case: Case, record: Record) -> None:
    judged = [one for one in cases if one.scenario is SCENARIOS[case.scenario] and one.for_servers]
    verdicts = [one.verdict(record) for one in judged]
    failed = {one.case.name for one in verdicts if one.outcome in ("failed", "error")}
    known = expected(case.name, MIDDLEWARE if case.way == ADDED else case.way)
    assert failed - known - unsteady(case.name) == set()


@on("behaves well")
def test_context_variables_are_seen_and_nothing_is_logged(case: Case, record: Record) -> None:
    requests, websockets = record.noted("request"), record.noted("websocket")
    assert {note["variable"] for note in requests + websockets} == {"set in the startup"}
    assert len(websockets) == case.server.websockets
    assert set(record.answers.values()) == {200}
    assert len(record.lifespans) == 1
    assert shutdowns(record) == 1
    assert "Traceback" not in record.output


@on("hangs in startup")
def test_a_startup_that_hangs_is_ended_and_the_log_says_where(case: Case, record: Record) -> None:
    limit = 5 if case.name == "gunicorn" and case.way == DROP_IN else TIMEOUT
    assert shows_where(record, "startup", limit)
    if case.server.knows_lifespan:
        assert len(record.lifespans) == 1
        assert record.answers == {"/first": None}
    else:  # each request has it tried
        assert len(record.lifespans) > 1
        assert record.answers == {"/first": 503, "/second": 503}


@on("is interrupted in startup", "is terminated in startup")
def test_a_startup_that_hangs_is_ended_by_a_signal_without_a_limit(
    case: Case, record: Record
) -> None:
    assert record.seen["seconds"] < PATIENCE / 2


PROGRAM = """
import sys
from uvicorn import Server
from {} import Config
Server(Config(sys.argv[1], port=int(sys.argv[2]))).run()
"""


@pytest.mark.parametrize(
    ("module", "target"),
    [("uvicorn", "around:app"), ("anylifespan.servers.uvicorn", "around:bare")],
)
def test_a_signal_before_the_startup_ends_it(module: str, target: str) -> None:
    """In workers and in programs, Uvicorn handles signals when it imports the application."""
    pytest.importorskip("uvicorn")
    program = [sys.executable, "-c", PROGRAM.format(module), "{app}", "{port}"]
    record = play(Server("uvicorn", program), target, "is terminated while it is imported")
    assert record.seen["status"] == BY_SIGTERM
    assert record.seen["seconds"] < PATIENCE / 2


@on("blocks in startup")
def test_a_startup_that_blocks_is_told_with_its_place(case: Case, record: Record) -> None:
    assert "blocks the event loop" in record.output
    lines = (TESTS / "around.py").read_text().splitlines()
    number = next(number for number, line in enumerate(lines, 1) if "blocks here" in line)
    assert f'around.py", line {number}, in ' in record.output
    assert record.answers == {"/": 200}


@on("fails to start")
def test_a_startup_that_fails_is_told(case: Case, record: Record) -> None:
    assert _application.FAILURE in record.output
    # Without a lifespan of the server's, each request has tried.
    assert (len(record.lifespans) == 1) is case.server.knows_lifespan


@on("crashes")
def test_a_crash_while_serving_is_told(case: Case, record: Record) -> None:
    assert "crashed while serving" in record.output
    assert f"ValueError: {_application.CRASH}" in record.output
    assert len(record.lifespans) == (2 if case.server.restarts else 1)


@on("hangs in shutdown")
def test_a_shutdown_that_hangs_is_ended_and_the_log_says_where(case: Case, record: Record) -> None:
    limit = 4 / 3 if case.name == "gunicorn" and case.way == DROP_IN else TIMEOUT
    assert shows_where(record, "shutdown", limit)
    assert record.seen["seconds"] < TIMEOUT + PATIENCE / 2


@on("stops with a stream")
def test_a_stream_is_ended_properly_when_the_drain_is_over(case: Case, record: Record) -> None:
    assert "broken" not in record.seen
    assert DRAIN / 2 < record.seen["seconds"] < DRAIN + PATIENCE / 2
    assert "cutting 1 request (GET /stream)" in record.output
    assert shutdowns(record) == 1


@on("stops with a WebSocket")
def test_a_websocket_does_not_keep_a_server_from_stopping(case: Case, record: Record) -> None:
    # Granian closes them by itself, without a word.
    assert record.seen["closed with"] == (None if case.name == "granian" else 1012)
    assert record.seen["seconds"] < DRAIN + PATIENCE / 2
    assert shutdowns(record) == 1


@on("stops with a slow request")
def test_a_request_that_ends_within_the_drain_is_answered(case: Case, record: Record) -> None:
    assert record.answers == {"/slow": 200}
    assert record.seen["seconds"] < DRAIN + PATIENCE / 2
    assert shutdowns(record) == 1


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.exhaustive] if name != "uvicorn" else [])
        for name in SERVERS
        if name != "daphne"
    ],
)
def test_the_shutdown_does_not_wait_for_a_thread(name: str) -> None:
    """Servers ask for it only when all requests have ended."""
    server = SERVERS[name]
    if name == "gunicorn":
        server = server.with_options("--graceful-timeout", "15")
    record = play(server, UNDER[MIDDLEWARE], "stops with a request in a thread")
    assert shutdowns(record) == 1
    assert "Shutting down without it" in record.output
    assert "seconds" not in record.seen  # the server itself still waits


@on("stops under load", "crashes under load")
def test_nothing_is_lost_that_could_finish_in_time(case: Case, record: Record) -> None:
    load = record.seen["load"]
    quick = quick_requests(load)
    assert load - quick == all_ended(case.server.package)
    # Those that were not answered have not come to the application.
    assert quick.keys() <= {
        "quick request: 200",
        "quick request: 503",
        "quick request: not answered",
    }
    lost = len(record.noted("request", path="/quick")) - quick["quick request: 200"]
    # Hypercorn, and so Anycorn, closes an idle connection when it stops, even if a request has come
    # in meanwhile.
    closes_connections = case.server.package in ("hypercorn", "anycorn")
    assert lost in ((0, 1) if closes_connections else (0,))


def test_that_all_servers_are_installed(request: pytest.FixtureRequest) -> None:
    """Those that are not are skipped above; here it is said which."""
    missing = sorted({one.package for one in (SERVERS | DROP_INS).values() if not one.installed})
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
