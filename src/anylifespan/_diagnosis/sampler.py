"""A thread that looks at an event loop again and again: at what waits there, or what blocks it."""

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

# The frames of an event loop, above which there are those of what it runs.
_EVENT_LOOPS = ("asyncio", "trio", "uvloop", "anyio")
# What is not blamed: an event loop waits in selectors, too.
_NOBODY = (__name__.partition(".")[0], "selectors")
# To look takes the longer the more tasks there are; it may take this part of the time, at most.
_SHARE = 0.01
# After so many intervals without an answer, the event loop is taken to be blocked.
_PATIENCE = 5


# Outermost first.
Stack = tuple[Place, ...]


@dataclass(frozen=True)
class Sample:
    """What was seen.

    :ivar seconds: since the last look
    :ivar blocks: whether something ran, and nothing else could
    :ivar stacks: what ran; or what waited, a stack for each task
    """

    seconds: float
    blocks: bool
    stacks: list[Stack]


class Sampler(threading.Thread):
    """Looks at the event loop of the task that makes it, which waits for an application.

    :param interval: seconds between two looks, if there are not too many tasks
    :param on_sample: called in the thread, with what was seen
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
        # The last two times: the first look of all takes longer.
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
        # One that runs in many small steps is mostly met between two of them.
        self._on_sample(Sample(seconds, blocks or used > seconds / 2, stacks))

    def _ask(self) -> bool:
        """Have the event loop say what waits in it; whether it has."""
        if self._answered.is_set():  # it is not asked twice
            self._answered.clear()
            self._call_soon(self._look)
        if self._answered.wait(_PATIENCE * self._interval):
            return True
        self._waiting = []
        return False

    def _look(self) -> None:
        # In a callback: a task might be begun as the event loop ends.
        if self._is_over.is_set():
            return
        began_at = time.thread_time()
        with recognised():
            # The first is the task that waits for the application.
            self._waiting = [*map(tuple, places_waiting(self._coroutine)[1:])]
        self._seconds_to_look = (self._seconds_to_look[1], time.thread_time() - began_at)
        self._answered.set()

    def _running(self) -> list[Stack]:
        """The stack of what the event loop runs; nothing if that is only itself, or this library.

        Whose the frames are is not asked here: any call to the file system lets go of the global
        interpreter lock, and to have it back from code that computes takes its time.
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
    """A clock of the CPU time of a thread; it stands still on platforms without one."""
    clock_of = getattr(time, "pthread_getcpuclockid", None)  # Windows has none
    return (lambda: 0.0) if clock_of is None else partial(time.clock_gettime, clock_of(thread))


def where_is(thread: int) -> StackSummary:
    """The stack of a thread, outermost first; empty if it has ended."""
    frame = sys._current_frames().get(thread)
    stack = StackSummary.extract(() if frame is None else walk_stack(frame))
    stack.reverse()
    return stack
