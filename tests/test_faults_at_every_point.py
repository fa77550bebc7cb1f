"""A lifespan is disturbed at each of its scheduling points in turn, in each way there is.

After that nothing is left running or open, nothing has got lost, no more time has passed than the
timeouts allow, and the outcome is the interruption or that of the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

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
                for loop in LOOPS if backend == "asyncio" else [backend]:
                    marks = [] if loop == backend else [pytest.mark.exhaustive]
                    name = f"{behaviour.name}-{way}-{loop}"
                    yield pytest.param(behaviour, way, backend, loop, id=name, marks=marks)


every_case = pytest.mark.parametrize(("behaviour", "way", "backend", "loop"), [*cases()])


@every_case
def test_the_caller_is_cancelled(
    behaviour: Behaviour, way: str, backend: str, loop: str, figures: dict[str, int]
) -> None:
    for what, moment in CANCELLATIONS[backend]:
        figures["cancellations"] += at_every_point(behaviour, way, loop, what, "caller", moment)


@every_case
@pytest.mark.parametrize("whom", ["app", "body"])
def test_a_failure(
    behaviour: Behaviour, way: str, backend: str, loop: str, whom: str, figures: dict[str, int]
) -> None:
    figures["failures"] += at_every_point(behaviour, way, loop, "raise", whom, AWAKE)


def at_every_point(
    behaviour: Behaviour, way: str, loop: str, what: str, whom: str, moment: str
) -> int:
    """Run it again and again, until it is over before the fault comes.

    :return: how often it was disturbed
    """
    disturbed = 0
    for mode in behaviour.modes:
        for point in count(1):
            report = run(Trial(behaviour, way, mode, loop, Fault(what, whom, point, moment)))
            check(report)
            if not report.fired:
                break
            disturbed += 1
    return disturbed
