"""Event loops whose time passes faster than the wall's, so that no test has to wait."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any

try:
    import uvloop
except ImportError:  # pragma: no cover
    uvloop = None


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """asyncio's loop, with a clock that jumps to the next timer once nothing else is left to do.

    The same as what trio's MockClock does with ``autojump_threshold=0``.
    """

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self.now


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualClockLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(0)
        if not ready:
            self._loop.now += timeout
        return ready


if uvloop is not None:

    class FastUvloop(uvloop.Loop):
        """uvloop, whose timers cannot be mocked, with a clock that runs a hundred times as fast."""

        FACTOR = 100

        def time(self) -> float:
            return super().time() * self.FACTOR

        def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
            return super().call_later(delay / self.FACTOR, callback, *args, context=context)

        def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
            return self.call_later(when - self.time(), callback, *args, context=context)
