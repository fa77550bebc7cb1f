"""The kit is right: a right server passes every case, and each fault fails its own.

A fault may fail other cases that are advised, but none that is required.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from faults import APPLICATIONS, DRIVERS, SERVERS, SUPERVISORS

from anylifespan import LifespanManager
from anylifespan.conformance import Case, Strength, Verdict, cases
from anylifespan.conformance._kit import judge, of_server

PATIENCE = 8.0
COMMAND = [sys.executable, str(Path(__file__).with_name("faults.py")), "{app}", "{port}"]
COMMAND += ["--workers", "{workers}"]
BY_NAME = {case.name: case for case in cases}
FAULTS = {**APPLICATIONS, **SERVERS, **SUPERVISORS}
# They end their process, or hold it up: that of the test, if they were in a driver.
TAKE_THE_PROCESS = {"crash.is-logged", "shutdown.return-ends-it", "shutdown.ends-an-endless-loop"}


def verdicts(
    chosen: Sequence[Case], *options: str, jobs: int = 1, patience: float = PATIENCE
) -> dict[str, Verdict]:
    play = of_server([*COMMAND, *options], patience=patience)
    return {one.case.name: one for one in judge(chosen, play, jobs=jobs)}


def unexpected(found: dict[str, Verdict], name: str = "") -> list[str]:
    """What is not as it should be, when a fault is to fail this case."""
    return [
        f"{one.case.name} ({one.outcome}): {one.seen}\n{one.output[-2000:]}"
        for one in found.values()
        if one.case.name != name
        and (
            one.outcome == "error"
            or (one.outcome == "failed" and one.case.strength is Strength.REQUIRED)
        )
    ]


@pytest.mark.processes
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_right_server_passes_every_case(backend: str) -> None:
    found = verdicts([case for case in cases if case.for_servers], "--backend", backend, jobs=4)
    assert [one for one in found.values() if one.outcome != "passed"] == []
    assert len(found) == 84


def test_there_is_a_fault_for_every_case() -> None:
    for_servers = {case.name for case in cases if case.for_servers}
    assert for_servers == FAULTS.keys()
    assert {case.name for case in cases} - for_servers == DRIVERS.keys()
    assert sum(case.for_drivers for case in cases) == 65
    assert {case.scenario.workers for case in cases if case.topic == "workers"} == {2}


# A few at a time, since they mostly wait.

ALWAYS = ["serving.after-the-lifespan-returned"]  # only here a request is not answered
SELDOM = [pytest.mark.exhaustive, pytest.mark.exhaustible]


@pytest.fixture(scope="session")
def under_way(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[dict[str, Verdict]]]]:
    specs = [getattr(item, "callspec", None) for item in request.session.items]
    names = [spec.params["fault"] for spec in specs if spec is not None and "fault" in spec.params]
    with ThreadPoolExecutor(6) as pool:
        yield {name: pool.submit(_of_fault, name) for name in names}
        pool.shutdown(cancel_futures=True)


def _of_fault(name: str) -> dict[str, Verdict]:
    scenario = BY_NAME[name].scenario
    together = [case for case in cases if case.scenario is scenario and case.for_servers]
    return verdicts(together, "--fault", name)


@pytest.mark.processes
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(name, marks=SELDOM if number % 3 and name not in ALWAYS else [])
        for number, name in enumerate(FAULTS)
    ],
)
def test_a_fault_of_a_server_fails_its_case(
    fault: str, under_way: dict[str, Future[dict[str, Verdict]]]
) -> None:
    found = under_way[fault].result()
    assert found[fault].outcome == "failed", found[fault].output[-2000:]
    assert found[fault].seen
    assert unexpected(found, fault) == []


@pytest.mark.processes
@pytest.mark.exhaustive
@pytest.mark.exhaustible
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_a_server_fails_no_other_case(name: str) -> None:
    found = verdicts([case for case in cases if case.for_servers], "--fault", name, jobs=4)
    assert found[name].outcome == "failed"
    assert unexpected(found, name) == []


@pytest.mark.processes
def test_a_server_that_does_not_end_is_given_up() -> None:
    name = "shutdown.ends-it"
    found = verdicts([BY_NAME[name]], "--fault", name, patience=3)
    assert (found[name].outcome, found[name].seen) == (
        "failed",
        "it was still running after 3 seconds",
    )


# Drivers, in this process


def driver_with(name: str) -> Any:
    if name in DRIVERS:
        return DRIVERS[name]
    return lambda app: LifespanManager(
        APPLICATIONS[name](app), startup_timeout=None, shutdown_timeout=None
    )


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in {**APPLICATIONS, **DRIVERS}
        if BY_NAME[name].for_drivers and name not in TAKE_THE_PROCESS
    ],
)
@pytest.mark.anyio
async def test_a_fault_of_a_driver_fails_its_case(name: str, anyio_backend_name: str) -> None:
    if name == "caller.cancelled-in-startup" and anyio_backend_name == "trio":
        pytest.skip("on trio, no task can be left running")
    with pytest.raises(AssertionError, match=r"(?s)expected: .+\nseen: .+") as caught:
        await BY_NAME[name].check(driver_with(name), patience=1.5)
    assert str(caught.value).startswith(f"{name} ({BY_NAME[name].strength}; ")
