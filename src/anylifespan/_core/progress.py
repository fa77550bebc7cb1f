"""Report a slow phase while it lasts: how long it has taken, and where it is waiting."""

from __future__ import annotations

import math

from .frames import innermost_lines
from .log import Log
from .options import in_seconds
from .where import stacks_waiting


class Progress:
    """Reports that a phase is not over yet, each time that the elapsed time has doubled.

    :param doing: the phase, as a verb such as "starting"
    :param began_at: when the phase started, in seconds by the event loop's clock
    :param limit: how many seconds the phase may take; infinity for no limit
    :param report_after: seconds until the first report; infinity for no reports
    :ivar doing: the phase, as a verb such as "starting"
    :ivar due_at: when the next report is due, by the event loop's clock
    """

    __slots__ = ("_began_at", "_limit", "_log", "doing", "due_at")

    def __init__(
        self, doing: str, began_at: float, limit: float, report_after: float, log: Log
    ) -> None:
        self.doing = doing
        self._began_at = began_at
        self._limit = limit
        self._log = log
        self.due_at = began_at + report_after

    def report(self, now: float, coroutine: object) -> None:
        """Log where the application is waiting.

        :param coroutine: the coroutine that the application's task runs
        """
        elapsed = now - self._began_at
        self.due_at = now + elapsed if elapsed > 0 else math.inf
        limit = "no limit" if self._limit == math.inf else f"limit: {in_seconds(self._limit)}"
        self._log.warning(
            "The application is still %s after %s (%s), waiting at %s",
            self.doing,
            in_seconds(round(elapsed, 1)),
            limit,
            innermost_lines(stacks_waiting(coroutine)),
        )
