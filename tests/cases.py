"""The cases of what is tried exhaustively: each behaviour, each way in, each backend.

Without ``--exhaustive`` each behaviour is tried on each of its backends by one way into the
lifespan, which changes from one to the next.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from catalogue import CATALOGUE
from clocks import LOOPS
from drives import DRIVES


def every_case(*, on_every_loop: bool = False) -> pytest.MarkDecorator:
    """Parametrises a test by ``behaviour``, ``way`` and ``backend``.

    :param on_every_loop: with ``--exhaustive``, on each event loop of asyncio
    """
    return pytest.mark.parametrize(("behaviour", "way", "backend"), [*_cases(on_every_loop)])


def _cases(on_every_loop: bool) -> Iterator[object]:
    ways = list(DRIVES)
    for number, behaviour in enumerate(CATALOGUE):
        for turn, backend in enumerate(behaviour.backends):
            others = on_every_loop and backend == "asyncio" and not behaviour.has_many_points
            for way in ways:
                for loop in LOOPS if others else [backend]:
                    usual = way == ways[(number + turn) % len(ways)] and loop == backend
                    yield pytest.param(
                        behaviour,
                        way,
                        loop,
                        id=f"{behaviour.name}-{way}-{loop}",
                        marks=[] if usual else [pytest.mark.exhaustive],
                    )
