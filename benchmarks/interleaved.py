"""Measure things side by side: a few calls of the first, of the second, and so on; then again.

A machine that others use is slow now and fast then, for longer than a call takes. What is measured
in one round is therefore compared within that round, and what counts are the ratios.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping

Contestants = Mapping[str, Callable[[], Awaitable[object]]]
# Of each contestant the value in each round: seconds, or bytes.
Values = dict[str, list[float]]


async def seconds_in_rounds(contestants: Contestants, *, rounds: int, calls: int) -> Values:
    """Seconds for one call of each contestant, in each round."""
    values: Values = {name: [] for name in contestants}
    for contestant in contestants.values():
        for _ in range(calls):  # what is cached at first is not counted
            await contestant()
    for _ in range(rounds):
        for name, contestant in contestants.items():
            begun = time.perf_counter()
            for _ in range(calls):
                await contestant()
            values[name].append((time.perf_counter() - begun) / calls)
    return values
