"""Ctrl-C comes in a line of the library: in each of them in turn, whichever task runs it.

On trio it is a real SIGINT. On asyncio it is what ``asyncio.run()`` makes of one: the first cancels
the main task, the second raises KeyboardInterrupt in that very line.
"""

from __future__ import annotations

import random
from collections import defaultdict

import pytest
from cases import every_case
from catalogue import Behaviour
from trials import IN_A_LINE, Fault, Trial, run
from verdicts import try_it

pytestmark = [pytest.mark.exhaustible, pytest.mark.usefixtures("tidy")]

FAULTS = {"asyncio": ["cancel task", "Ctrl-C"], "trio": ["Ctrl-C"]}
# How many of the lines of each case, beside those that no case before has run.
SAMPLE, SAMPLE_EXHAUSTIVE = 2, 20

struck: defaultdict[tuple[str, str], set[tuple[str, int]]] = defaultdict(set)


# In the line that awaits the application, when it has been called.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@every_case()
def test_ctrl_c_in_a_line(
    behaviour: Behaviour,
    way: str,
    backend: str,
    figures: dict[str, int],
    request: pytest.FixtureRequest,
) -> None:
    for what in FAULTS[backend]:
        for number in lines(behaviour, way, backend, what, request):
            fired = try_it(Trial(behaviour, way, "auto", backend, at_line(what, number)))
            figures["Ctrl-C in a line"] += fired


def at_line(what: str, number: int) -> Fault:
    return Fault(what, "caller", number, IN_A_LINE)


def lines(
    behaviour: Behaviour, way: str, backend: str, what: str, request: pytest.FixtureRequest
) -> list[int]:
    """Each line that was not interrupted yet, and some more, at their first or their last run; with
    ``--exhaustive`` at both.
    """
    for _ in range(2):  # the first time, modules may be imported and caches filled
        undisturbed = run(Trial(behaviour, way, "auto", backend, at_line(what, 0)))
    lines = undisturbed.lines
    assert lines is not None
    runs = lines.first_and_last()
    assert len(runs) > 50
    known = struck[backend, what]
    new = [first_and_last for place, first_and_last in runs.items() if place not in known]
    known.update(runs)
    exhaustive = request.config.getoption("--exhaustive")
    chance = random.Random(f"{behaviour.name} {way} {backend} {what}")
    some = chance.sample([*runs.values()], SAMPLE_EXHAUSTIVE if exhaustive else SAMPLE)
    if exhaustive:
        return sorted({number for first_and_last in new + some for number in first_and_last})
    return [chance.choice(first_and_last) for first_and_last in new + some]
