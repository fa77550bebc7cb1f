"""A lifespan is disturbed at each of its scheduling points in turn, in each way there is.

After that nothing is left running or open, nothing has got lost, no more time has passed than the
timeouts allow, and the outcome is the interruption or that of the table.
"""

from __future__ import annotations

import sys
import zlib
from dataclasses import replace

import pytest
from cases import every_case
from catalogue import Behaviour
from points import ASLEEP, AWAKE, BEING_WOKEN
from trials import Fault, Trial, on_trio
from verdicts import try_it

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


everywhere = every_case(on_every_loop=True)


@everywhere
def test_the_caller_is_cancelled(
    behaviour: Behaviour, way: str, backend: str, figures: dict[str, int], points: range
) -> None:
    for what, moment in CANCELLATIONS["trio" if on_trio(backend) else "asyncio"]:
        fault = Fault(what, "caller", 0, moment)
        figures["cancellations"] += at_every_point(behaviour, way, backend, fault, points)


@everywhere
@pytest.mark.parametrize("whom", ["app", "body"])
def test_a_failure(
    behaviour: Behaviour,
    way: str,
    backend: str,
    whom: str,
    figures: dict[str, int],
    points: range,
) -> None:
    fault = Fault("raise", whom, 0, AWAKE)
    figures["failures"] += at_every_point(behaviour, way, backend, fault, points)


@pytest.fixture
def points(behaviour: Behaviour, request: pytest.FixtureRequest) -> range:
    """All of them; where there are very many, one of seven, with ``--exhaustive`` one of three."""
    if not behaviour.has_many_points:
        return range(1, sys.maxsize)
    step = 3 if request.config.getoption("--exhaustive") else 7
    return range(1 + zlib.crc32(request.node.name.encode()) % step, sys.maxsize, step)


def at_every_point(
    behaviour: Behaviour, way: str, backend: str, fault: Fault, points: range
) -> int:
    """Run it again and again, until it is over before the fault comes.

    :return: how often it was disturbed
    """
    disturbed = 0
    for mode in behaviour.modes:
        for point in points:
            if not try_it(Trial(behaviour, way, mode, backend, replace(fault, point=point))):
                break
            disturbed += 1
    return disturbed
