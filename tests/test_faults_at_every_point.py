"""A lifespan is disturbed at each of its scheduling points in turn, in each way there is.

After that nothing is left running or open, nothing has got lost, no more time has passed than the
timeouts allow, and the outcome is the interruption or that of the table.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from dataclasses import replace

import pytest
from catalogue import CATALOGUE, Behaviour
from clocks import LOOPS
from drives import DRIVES
from points import ASLEEP, AWAKE, BEING_WOKEN
from trials import Fault, Trial, run
from verdicts import check

pytestmark = [pytest.mark.exhaustible, pytest.mark.usefixtures("tidy")]

CANCELLATIONS = {
    "asyncio": [
        ("cancel scope", ASLEEP),
        ("cancel scope", BEING_WOKEN),
        ("cancel task", ASLEEP),
        ("cancel task", BEING_WOKEN),
    ],
    "trio": [
        ("cancel scope", ASLEEP),
        ("cancel scope", AWAKE),
        ("Ctrl-C", ASLEEP),
        ("Ctrl-C", AWAKE),
    ],
}


def cases() -> Iterator[object]:
    """On the other event loops of asyncio in the exhaustive form only."""
    for behaviour in CATALOGUE:
        for backend in behaviour.backends:
            for way in DRIVES:
                others = backend == "asyncio" and not behaviour.has_many_points
                for loop in LOOPS if others else [backend]:
                    marks = [] if loop == backend else [pytest.mark.exhaustive]
                    name = f"{behaviour.name}-{way}-{loop}"
                    yield pytest.param(behaviour, way, backend, loop, id=name, marks=marks)


every_case = pytest.mark.parametrize(("behaviour", "way", "backend", "loop"), [*cases()])


@every_case
def test_the_caller_is_cancelled(
    behaviour: Behaviour, way: str, backend: str, loop: str, figures: dict[str, int], points: range
) -> None:
    for what, moment in CANCELLATIONS[backend]:
        fault = Fault(what, "caller", 0, moment)
        figures["cancellations"] += at_every_point(behaviour, way, loop, fault, points)


@every_case
@pytest.mark.parametrize("whom", ["app", "body"])
def test_a_failure(
    behaviour: Behaviour,
    way: str,
    backend: str,
    loop: str,
    whom: str,
    figures: dict[str, int],
    points: range,
) -> None:
    fault = Fault("raise", whom, 0, AWAKE)
    figures["failures"] += at_every_point(behaviour, way, loop, fault, points)


@pytest.fixture
def points(behaviour: Behaviour, request: pytest.FixtureRequest) -> range:
    """All of them; where there are very many, one of seven, with ``--exhaustive`` one of three."""
    if not behaviour.has_many_points:
        return range(1, sys.maxsize)
    step = 3 if request.config.getoption("--exhaustive") else 7
    return range(1 + zlib.crc32(request.node.name.encode()) % step, sys.maxsize, step)


def at_every_point(behaviour: Behaviour, way: str, loop: str, fault: Fault, points: range) -> int:
    """Run it again and again, until it is over before the fault comes.

    :return: how often it was disturbed
    """
    disturbed = 0
    for mode in behaviour.modes:
        for point in points:
            report = run(Trial(behaviour, way, mode, loop, replace(fault, point=point)))
            check(report)
            if not report.fired:
                break
            disturbed += 1
    return disturbed
