"""For an event loop that does not come back: a thread that tells where it is, and ends it all."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from traceback import StackSummary, walk_stack

import anyio

from .._core.frames import own_frames

_INTERVAL = 0.05
# Seconds without a sign of life before an event loop is taken to be blocked.
_PATIENCE = 0.5


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
        frame = sys._current_frames()[self._main_thread]
        stack = StackSummary.extract(walk_stack(frame))
        stack.reverse()
        self._give_up(own_frames(stack))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
