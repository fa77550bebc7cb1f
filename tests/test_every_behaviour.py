"""The catalogue, with nobody disturbing anything: each behaviour has the outcome it must have."""

from __future__ import annotations

import pytest
from catalogue import CATALOGUE, Behaviour
from clocks import LOOPS
from drives import DRIVES
from trials import Trial, run
from verdicts import check

pytestmark = [pytest.mark.exhaustible, pytest.mark.usefixtures("tidy")]

ROWS = {str(row) for row in (*range(1, 21), 22)}


@pytest.mark.parametrize("behaviour", CATALOGUE, ids=repr)
@pytest.mark.parametrize("way", DRIVES)
def test_outcome(behaviour: Behaviour, way: str, figures: dict[str, int]) -> None:
    for backend in behaviour.backends:
        for variant in LOOPS if backend == "asyncio" else [backend]:
            for mode in ("auto", "on"):
                for logger_raises in (False, True):
                    trial = Trial(behaviour, way, mode, variant, logger_raises=logger_raises)
                    check(run(trial))
    figures["behaviours"] = len(CATALOGUE)


def test_every_row_is_there() -> None:
    assert {row for one in CATALOGUE for row in one.row.split(", ")} == ROWS
    assert len({one.name for one in CATALOGUE}) == len(CATALOGUE)
