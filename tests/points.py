"""Scheduling points: count them, and do something at one of them.

A scheduling point is where a task lets the event loop run others: each ``yield`` that comes out of
its coroutine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any

# When something happens to a task: as it falls asleep; when what it waits for has come, and it does
# not know of that yet; or as it goes on.
ASLEEP, BEING_WOKEN, AWAKE = "asleep", "being woken", "awake"


class Points:
    """Counts the scheduling points of all that is awaited through it, and acts at one of them.

    :param act: what it returns, if anything, is raised into what is awaited
    :param tell: called at each point
    """

    def __init__(
        self,
        at: int,
        moment: str,
        act: Callable[[], BaseException | None],
        tell: Callable[[], object],
    ) -> None:
        self._at = at
        self._moment = moment
        self._act = act
        self._tell = tell
        self._count = 0

    def through(self, awaitable: Awaitable[Any]) -> Awaitable[Any]:
        return _Through(self, awaitable)

    def step_through(self, awaitable: Awaitable[Any]) -> Generator[Any, Any, Any]:
        steps: Any = awaitable.__await__()
        resume = partial(steps.send, None)
        while True:
            try:
                trap = resume()
            except StopIteration as exc:
                return exc.value
            self._count += 1
            self._tell()
            moment = self._moment if self._count == self._at else ""
            if moment == ASLEEP:
                self._act()
            elif moment == BEING_WOKEN:
                _call_before_it_is_woken(trap, self._act)
            try:
                sent = yield trap
            except BaseException as exc:
                resume = partial(steps.throw, exc)
            else:
                resume = partial(steps.send, sent)
            if moment == AWAKE:
                error = self._act()
                if error is not None:
                    resume = partial(steps.throw, error)


class _Through:
    def __init__(self, points: Points, awaitable: Awaitable[Any]) -> None:
        self._points = points
        self._awaitable = awaitable

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._points.step_through(self._awaitable)


def _call_before_it_is_woken(trap: Any, act: Callable[[], object]) -> None:
    # asyncio wakes a task by a callback, and those that were registered earlier are called earlier.
    if trap is None:
        asyncio.get_running_loop().call_soon(act)
    else:
        trap.add_done_callback(lambda _: act())
