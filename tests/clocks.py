"""Event loops whose time passes faster than the wall's, so that no test has to wait."""

from __future__ import annotations

import asyncio
import heapq
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

    class VirtualClockUvloop(uvloop.Loop):
        """uvloop, with the same clock.

        libuv keeps its timers to itself, so they are kept here, and the next one is due when no
        callback has been scheduled for two turns of the loop.
        """

        def __init__(self) -> None:
            super().__init__()
            self.now = 0.0
            self._timers: list[asyncio.TimerHandle] = []
            self._activity = self._seen = 0
            self._pumping = False

        def time(self) -> float:
            return self.now

        def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
            self._activity += 1
            return super().call_soon(callback, *args, context=context)

        def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
            return self.call_at(self.now + delay, callback, *args, context=context)

        def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
            timer = asyncio.TimerHandle(when, callback, args, self, context)
            heapq.heappush(self._timers, timer)
            if not self._pumping:
                self._pumping = True
                super().call_later(0.0002, self._pump)
            return timer

        def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
            """Called by TimerHandle.cancel()."""

        def _pump(self) -> None:
            if self._activity == self._seen:
                while self._timers and self._timers[0].cancelled():
                    heapq.heappop(self._timers)
                if self._timers:
                    timer = heapq.heappop(self._timers)
                    self.now = max(self.now, timer.when())
                    timer._run()
            self._seen = self._activity
            self._pumping = bool(self._timers)
            if self._pumping:
                super().call_later(0.0002, self._pump)
