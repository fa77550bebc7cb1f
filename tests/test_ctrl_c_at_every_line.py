"""Ctrl-C comes in a line of the library: in each of them in turn, whichever task runs it.

On trio it is a real SIGINT. On asyncio it is what ``asyncio.run()`` makes of one: the first cancels
the main task, the second raises KeyboardInterrupt in that very line.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator

import pytest
from catalogue import CATALOGUE, Behaviour
from drives import DRIVES
from trials import IN_A_LINE, Fault, Trial, run
from verdicts import check

pytestmark = [pytest.mark.exhaustible, pytest.mark.usefixtures("tidy")]

FAULTS = {"asyncio": ["cancel task", "Ctrl-C"], "trio": ["Ctrl-C"]}
# How many of the lines of each case, beside those that no case before has run.
SAMPLE, SAMPLE_EXHAUSTIVE = 6, 40

struck: defaultdict[tuple[str, str], set[tuple[str, int]]] = defaultdict(set)


def cases() -> Iterator[object]:
    for behaviour in CATALOGUE:
        for backend in behaviour.backends:
            for way in DRIVES:
                yield pytest.param(behaviour, way, backend, id=f"{behaviour.name}-{way}-{backend}")


# In the line that awaits the application, when it has been called.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("behaviour", "way", "backend"), [*cases()])
def test_ctrl_c_in_a_line(
    behaviour: Behaviour,
    way: str,
    backend: str,
    figures: dict[str, int],
    request: pytest.FixtureRequest,
) -> None:
    for what in FAULTS[backend]:
        for number in lines(behaviour, way, backend, what, request):
            report = run(Trial(behaviour, way, "auto", backend, at_line(what, number)))
            check(report)
            figures["Ctrl-C in a line"] += report.fired


def at_line(what: str, number: int) -> Fault:
    return Fault(what, "caller", number, IN_A_LINE)


def lines(
    behaviour: Behaviour, way: str, backend: str, what: str, request: pytest.FixtureRequest
) -> list[int]:
    """Each line that was not interrupted yet, and some more; at its first or its last run."""
    for _ in range(2):  # the first time, modules may be imported and caches filled
        undisturbed = run(Trial(behaviour, way, "auto", backend, at_line(what, 0)))
    lines = undisturbed.lines
    assert lines is not None
    numbers = lines.first_and_last()
    assert len(numbers) > 100
    known = struck[backend, what]
    new = [number for number in numbers if lines.places[number - 1] not in known]
    known.update(lines.places)
    few = SAMPLE_EXHAUSTIVE if request.config.getoption("--exhaustive") else SAMPLE
    return new + random.Random(f"{behaviour.name} {way} {backend} {what}").sample(numbers, few)
