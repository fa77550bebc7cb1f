"""For an event loop that is blocked: a thread that can still say where."""

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
# Seconds without a sign of life before an event loop is taken to be blocked.
_PATIENCE = 0.5
# How many lines are named on which a slow phase has spent its time.
_LINES = 3
# How often it is reported that one still is.
_EVERY = 5.0


@contextmanager
def time_reported(
    phase: str, limit: float | None, log: Log, report_after: float = REPORT_AFTER
) -> Iterator[None]:
    """Log where the application blocks the event loop, while it does; and in the end, if it was
    slow, where the time has gone.

    :param phase: of the application
    :param limit: seconds that it may take; that this is over cannot be acted upon while it blocks
    :param report_after: seconds after which it was slow
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
    """Asks the event loop of the thread that makes it for a sign of life, again and again."""

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
        """Whether the limit has passed while the event loop was blocked, and was not reported."""
        if self._limit_is_passed or blocked < _PATIENCE:
            return False
        self._limit_is_passed = time.monotonic() - self._began >= self._limit
        return self._limit_is_passed

    def _report(self) -> None:
        limit = f" Its limit of {in_seconds(self._limit)} is over."
        over = limit if self._limit_is_passed else ""
        self._log.warning(
            "The application's %s has taken %s and blocks the event loop, so that it cannot be "
            "cancelled, nor the server be stopped.%s It is at:\n%s",
            self._phase,
            in_seconds(round(time.monotonic() - self._began, 1)),
            over,
            show(where_is(self._watched)),
        )


class Watchdog:
    """Watches the event loop of the main thread.

    An application that blocks it cannot be cancelled from inside; nor can one that does not heed
    its cancellation be kept from holding up the end of the event loop.

    :param give_up: called in the watchdog's thread, with where the main thread is, when a limit has
        passed and the loop shows no sign of life; after it the process ends with status 1
    """

    def __init__(self, give_up: Callable[[StackSummary], None]) -> None:
        self._give_up = give_up
        self._deadline = float("inf")
        self._alive_at = time.monotonic()
        self._main_thread = threading.get_ident()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def expect_by(self, seconds: float | None) -> None:
        """What is begun now should be over after so many seconds; None for no limit."""
        self._deadline = float("inf") if seconds is None else time.monotonic() + seconds

    async def beat(self) -> None:
        """To be run in the event loop: its sign of life."""
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
