"""The tasks that are ready are run in an order that depends on a seed, on asyncio and trio alike.

Other tasks meddle meanwhile: they cancel the caller, ask for the shutdown, wait for a crash. To
replay what failed::

    pytest tests/test_every_schedule.py --seed 8 -k "crashes and startup and asyncio"
"""

from __future__ import annotations

import pytest
from cases import every_case
from catalogue import CATALOGUE, Behaviour
from trials import BY_ANOTHER_TASK, Fault, Trial, run
from verdicts import try_it

pytestmark = [pytest.mark.exhaustible, pytest.mark.usefixtures("tidy")]

# How many seeds for each case.
SEEDS, SEEDS_EXHAUSTIVE = 6, 100


@pytest.fixture
def seeds(request: pytest.FixtureRequest) -> range:
    seed = request.config.getoption("--seed")
    if seed is not None:
        return range(seed, seed + 1)
    return range(SEEDS_EXHAUSTIVE if request.config.getoption("--exhaustive") else SEEDS)


def schedule(behaviour: Behaviour, way: str, mode: str, backend: str, seed: int) -> Trial:
    # In every other one somebody cancels the caller.
    fault = Fault("cancel scope", "caller", 0, BY_ANOTHER_TASK) if seed % 2 else None
    return Trial(behaviour, way, mode, backend, fault, seed)


@every_case()
def test_any_order(
    behaviour: Behaviour, way: str, backend: str, seeds: range, figures: dict[str, int]
) -> None:
    for mode in behaviour.modes:
        for seed in seeds:
            try_it(schedule(behaviour, way, mode, backend, seed))
            figures["schedules"] += 1


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_seed_replays_exactly(backend: str) -> None:
    behaviour = next(one for one in CATALOGUE if one.name == "child_task_crashes")
    first, second = (
        [run(schedule(behaviour, "serve", "auto", backend, seed)).trace for seed in range(10)]
        for _ in range(2)
    )
    assert first == second
    assert len({tuple(trace) for trace in first}) > 2
