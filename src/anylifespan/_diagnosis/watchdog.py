"""Threads that report where an application is blocking the event loop."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from traceback import StackSummary

import anyio

from .._core.frames import own_frames, show
from .._core.hosting import event_loop
from .._core.log import Log
from .._core.options import REPORT_AFTER, in_seconds
from .profile import Profile
from .sampler import Sampler, where_is

_INTERVAL = 0.05
# Seconds without a response before an event loop is considered blocked.
_PATIENCE = 0.5
# How many lines of code are named for a slow phase.
_LINES = 3
# Seconds between two reports that an event loop is still blocked.
_EVERY = 5.0


@contextmanager
def time_reported(
    phase: str, limit: float | None, log: Log, report_after: float = REPORT_AFTER
) -> Iterator[None]:
    """Log where the application blocks the event loop, and where a slow phase spent its time.

    A blocked event loop is logged while it is blocked, and a slow phase when it is over.

    :param phase: the name of the application's phase
    :param limit: seconds that the phase may take; this cannot be enforced while the event loop is
        blocked
    :param report_after: seconds after which the phase is considered slow
    """
    began_at = time.monotonic()
    reporter = _Reporter(phase, limit, log)
    reporter.start()
    profile = Profile()
    try:
        with Sampler(_INTERVAL, profile.add):
            yield
    finally:
        reporter.is_over.set()
        seconds = time.monotonic() - began_at
        lines = profile.lines()[:_LINES]
        if seconds >= report_after and lines:
            log.warning(
                "The application's %s took %s: %s",
                phase,
                in_seconds(round(seconds, 1)),
                "; ".join(map(str, lines)),
            )


class _Reporter(threading.Thread):
    """Repeatedly checks whether the event loop responds, and reports where it is blocked.

    The reporter watches the event loop of the thread that creates the reporter.
    """

    def __init__(self, phase: str, limit: float | None, log: Log) -> None:
        super().__init__(name="anylifespan watchdog", daemon=True)
        self.is_over = threading.Event()
        self._phase = phase
        self._limit = math.inf if limit is None else limit
        self._log = log
        self._call_soon = event_loop("a watchdog").call_soon
        self._watched = threading.get_ident()
        self._began = time.monotonic()
        self._limit_is_passed = False

    def run(self) -> None:
        while not self.is_over.wait(_PATIENCE):
            alive = threading.Event()
            asked_at = time.monotonic()
            try:
                self._call_soon(alive.set)
            except RuntimeError:
                return  # the event loop is closed
            reports = 1
            while not alive.wait(_INTERVAL) and not self.is_over.is_set():
                blocked = time.monotonic() - asked_at
                if self._passes_limit(blocked) or blocked > _EVERY * reports:
                    reports = int(blocked / _EVERY) + 1
                    self._report()

    def _passes_limit(self, blocked: float) -> bool:
        """Return whether the limit has just passed while the event loop is blocked."""
        if self._limit_is_passed or blocked < _PATIENCE:
            return False
        self._limit_is_passed = time.monotonic() - self._began >= self._limit
        return self._limit_is_passed

    def _report(self) -> None:
        limit = f" Its limit of {in_seconds(self._limit)} is over."
        over = limit if self._limit_is_passed else ""
        self._log.warning(
            "The application's %s has taken %s and blocks the event loop, so neither it nor the "
            "server can be stopped.%s It is at:\n%s",
            self._phase,
            in_seconds(round(time.monotonic() - self._began, 1)),
            over,
            show(where_is(self._watched)),
        )


class Watchdog:
    """Watches the main thread's event loop.

    An application that blocks the event loop cannot be cancelled from inside the event loop. An
    application that ignores its cancellation can keep the event loop from ending.

    :param give_up: called in the watchdog's thread with the main thread's stack, when the limit has
        passed and the event loop does not respond; afterwards, the process ends with status 1
    """

    def __init__(self, give_up: Callable[[StackSummary], None]) -> None:
        self._give_up = give_up
        self._deadline = float("inf")
        self._alive_at = time.monotonic()
        self._main_thread = threading.get_ident()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def expect_by(self, seconds: float | None) -> None:
        """Set the limit for the phase that starts now, in seconds; None for no limit."""
        self._deadline = float("inf") if seconds is None else time.monotonic() + seconds

    async def beat(self) -> None:
        """Regularly show that the event loop responds. Run this in the event loop."""
        while True:
            self._alive_at = time.monotonic()
            await anyio.sleep(_INTERVAL)

    def _watch(self) -> None:
        while True:
            time.sleep(_INTERVAL)
            now = time.monotonic()
            if now > self._deadline and now - self._alive_at > _PATIENCE:
                break
        self._give_up(own_frames(where_is(self._main_thread)))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
