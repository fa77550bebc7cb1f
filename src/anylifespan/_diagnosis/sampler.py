"""A thread that samples which tasks wait in an event loop, or which code blocks it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from traceback import StackSummary, walk_stack

from .._core.hosting import event_loop, recognised
from .._core.where import Place, places_waiting

# Packages of event loops. Their frames call the code that the event loop runs.
_EVENT_LOOPS = ("asyncio", "trio", "uvloop", "anyio")
# Packages that are not reported. An idle event loop waits in selectors.
_NOBODY = (__name__.partition(".")[0], "selectors")
# The more tasks there are, the longer a sample takes. Sampling may take at most this share of the
# time.
_SHARE = 0.01
# After this many intervals without a response, the event loop is considered blocked.
_PATIENCE = 5


# Outermost first.
Stack = tuple[Place, ...]


@dataclass(frozen=True)
class Sample:
    """One observation of the event loop.

    :ivar seconds: the time since the previous sample
    :ivar blocks: whether code was running, so no other task could run
    :ivar stacks: the stack of the running code; or the stacks of the waiting tasks, one per task
    """

    seconds: float
    blocks: bool
    stacks: list[Stack]


class Sampler(threading.Thread):
    """Samples the event loop in which an application runs, until the end of a ``with`` block.

    Create the sampler in that event loop, in the task that waits for the application.

    :param interval: seconds between two samples; more if sampling would take too much time
    :param on_sample: called with each :class:`Sample`, in this thread. At the end of the block, it
        is called once more, in the thread that leaves the block
    """

    def __init__(self, interval: float, on_sample: Callable[[Sample], object]) -> None:
        super().__init__(name="anylifespan sampler", daemon=True)
        loop = event_loop("a sampler")
        self._interval = interval
        self._on_sample = on_sample
        self._call_soon = loop.call_soon
        self._coroutine = loop.current_coroutine()
        self._watched = threading.get_ident()
        self._cpu_seconds = _cpu_clock(self._watched)
        self._is_over = threading.Event()
        self._answered = threading.Event()
        self._answered.set()
        self._waiting: list[Stack] = []
        # The durations of the last two samples, since the very first sample takes longer.
        self._seconds_to_look = (0.0, 0.0)
        self._last: tuple[bool, list[Stack]] = (False, [])
        self._used = self._cpu_seconds()
        self._looked_at = time.monotonic()
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *exc_info: object) -> None:
        self._is_over.set()  # to wait for the thread would block the event loop
        self._take(self._last)

    def run(self) -> None:
        while not self._is_over.wait(max(self._interval, min(self._seconds_to_look) / _SHARE)):
            running = self._running()
            try:
                if not running and not self._ask():
                    running = self._running()
            except RuntimeError:
                return  # the event loop is closed
            if not self._is_over.is_set():
                self._take((bool(running), running or self._waiting))

    def _take(self, seen: tuple[bool, list[Stack]]) -> None:
        blocks, stacks = self._last = seen
        with self._lock:
            seconds = time.monotonic() - self._looked_at
            used = self._cpu_seconds() - self._used
            self._looked_at += seconds
            self._used += used
        # Most samples of code that runs in many small steps are taken between two steps.
        self._on_sample(Sample(seconds, blocks or used > seconds / 2, stacks))

    def _ask(self) -> bool:
        """Ask the event loop what is waiting in it. Return whether it answered in time."""
        if self._answered.is_set():  # it is not asked twice
            self._answered.clear()
            self._call_soon(self._look)
        if self._answered.wait(_PATIENCE * self._interval):
            return True
        self._waiting = []
        return False

    def _look(self) -> None:
        # This is a callback rather than a task, since a task might start while the event loop ends.
        if self._is_over.is_set():
            return
        began_at = time.thread_time()
        with recognised():
            # The first stack belongs to the task that waits for the application.
            self._waiting = [*map(tuple, places_waiting(self._coroutine)[1:])]
        self._seconds_to_look = (self._seconds_to_look[1], time.thread_time() - began_at)
        self._answered.set()

    def _running(self) -> list[Stack]:
        """Return the stack of the code that the event loop is running.

        The list is empty if only the event loop itself or this library is running. This method does
        not determine which code is the user's, since that requires the file system. Any call to the
        file system releases the global interpreter lock, and it takes time to get the lock back
        from a thread that computes.
        """
        places: list[Place] = []
        frame = sys._current_frames().get(self._watched)
        while frame is not None:
            module = str(frame.f_globals.get("__name__")).partition(".")[0]
            if module in _EVENT_LOOPS:
                break
            if module not in _NOBODY:
                code = frame.f_code
                places.append((code.co_filename, frame.f_lineno or 0, code.co_name))
            frame = frame.f_back
        return [tuple(reversed(places))] if places and frame is not None else []


def _cpu_clock(thread: int) -> Callable[[], float]:
    """Return a clock for a thread's CPU time. Without platform support, it always shows 0."""
    clock_of = getattr(time, "pthread_getcpuclockid", None)  # Windows has none
    return (lambda: 0.0) if clock_of is None else partial(time.clock_gettime, clock_of(thread))


def where_is(thread: int) -> StackSummary:
    """Return a thread's stack, outermost frame first. It is empty if the thread has ended."""
    frame = sys._current_frames().get(thread)
    stack = StackSummary.extract(() if frame is None else walk_stack(frame))
    stack.reverse()
    return stack
