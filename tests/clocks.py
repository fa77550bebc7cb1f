"""Event loops of the tests' own: their time needs no waiting, and their order can be chosen."""

from __future__ import annotations

import asyncio
import heapq
import math
import random
import selectors
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import trio
from trio.testing import MockClock

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

        def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> Any:
            self._activity += 1
            return super().call_soon_threadsafe(callback, *args, context=context)

        def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
            return self.call_at(self.now + delay, callback, *args, context=context)

        def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
            timer = asyncio.TimerHandle(when, callback, args, self, context)
            if when == math.inf:  # as sleep_forever() has it
                return timer
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


class ShufflingLoop(VirtualClockLoop):
    """Runs the tasks that are ready in an order that depends on a seed.

    asyncio promises that callbacks are run in the order in which they were registered, so these
    keep their places; it promises nothing about tasks.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)

    def _run_once(self) -> None:
        ready = self._ready
        places = [place for place, handle in enumerate(ready) if _steps_a_task(handle)]
        handles = [ready[place] for place in places]
        self._random.shuffle(handles)
        for place, handle in zip(places, handles, strict=True):
            ready[place] = handle
        super()._run_once()


def _steps_a_task(handle: asyncio.Handle) -> bool:
    return isinstance(getattr(handle._callback, "__self__", None), asyncio.Task)


CLOSING = "the event loop is being closed"

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": VirtualClockLoop}
if uvloop is not None:
    LOOPS["uvloop"] = VirtualClockUvloop
if sys.version_info >= (3, 12):

    class EagerVirtualClockLoop(VirtualClockLoop):
        """Runs a task up to its first scheduling point while it is being created."""

        def __init__(self) -> None:
            super().__init__()
            self.set_task_factory(asyncio.eager_task_factory)

    LOOPS["asyncio, eager"] = EagerVirtualClockLoop


def run_on(
    backend: str,
    main: Callable[[], Any],
    *,
    complain: Callable[[object], object],
    seed: int | None = None,
) -> None:
    """Run it to its end, on a virtual clock.

    :param complain: told what nobody but the event loop gets to know
    :param seed: of the order in which tasks are run; None for the usual one
    """
    if backend == "trio":
        with _order_of_trio(seed):
            trio.run(
                main,
                clock=MockClock(autojump_threshold=0),
            )
        return
    loop = LOOPS[backend]() if seed is None else ShufflingLoop(seed)
    loop.set_exception_handler(lambda _, context: complain(context))
    try:
        task = loop.create_task(main())
        try:
            loop.run_until_complete(task)
        except BaseException:
            # As asyncio.run() does.
            tasks = asyncio.all_tasks(loop)
            for one in tasks:
                one.cancel()
            if tasks:
                closing = asyncio.wait(tasks)
                loop.run_until_complete(loop.create_task(closing, name=CLOSING))
            raise
    finally:
        try:
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()


@contextmanager
def _order_of_trio(seed: int | None) -> Iterator[None]:
    # trio reverses the order now and then, and shuffles it where Hypothesis has asked it to.
    scheduler: Any = trio._core._run
    state = scheduler._r.getstate()
    scheduler._r.seed(seed or 0)
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = seed is not None
    try:
        yield
    finally:
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = False
        scheduler._r.setstate(state)
