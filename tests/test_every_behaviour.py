"""The catalogue, with nobody disturbing anything: each behaviour has the outcome it must have."""

from __future__ import annotations

import pytest
from cases import every_case
from catalogue import CATALOGUE, Behaviour
from trials import Trial
from verdicts import try_it

pytestmark = [pytest.mark.exhaustible, pytest.mark.usefixtures("tidy")]

ROWS = {str(row) for row in (*range(1, 21), 22)}


@every_case(on_every_loop=True)
@pytest.mark.parametrize("logger_raises", [False, True], ids=["logger", "logger that raises"])
@pytest.mark.parametrize("mode", ["auto", "on"])
def test_outcome(
    behaviour: Behaviour,
    way: str,
    backend: str,
    mode: str,
    logger_raises: bool,
    figures: dict[str, int],
) -> None:
    try_it(Trial(behaviour, way, mode, backend, logger_raises=logger_raises))
    figures["outcomes"] += 1


def test_every_row_is_there() -> None:
    assert {row for one in CATALOGUE for row in one.row.split(", ")} == ROWS
    assert len({one.name for one in CATALOGUE}) == len(CATALOGUE)
