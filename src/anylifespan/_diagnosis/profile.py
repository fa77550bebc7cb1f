"""Find out where a phase spent its time, waiting or blocking, by line of the user's code."""

from __future__ import annotations

import linecache
from dataclasses import dataclass
from traceback import FrameSummary, StackSummary

from .._core.frames import users_frames
from .._core.where import Place
from .sampler import Sample, Stack

# Lines that took a smaller share of the time are not shown.
_LEAST = 0.01
# Times below this number of seconds are not shown.
_SHORT = 0.001


@dataclass(frozen=True)
class Line:
    """A line of code, and how long it took.

    :ivar waiting: seconds during which a task waited at the line, and other tasks could run
    :ivar blocking: seconds during which the line ran, and nothing else could
    """

    file: str
    line: int
    function: str
    waiting: float
    blocking: float

    @property
    def seconds(self) -> float:
        return self.waiting + self.blocking

    def __str__(self) -> str:
        spent = {"waiting": self.waiting, "blocking": self.blocking}
        seconds = " and ".join(f"{one:.3g} s {how}" for how, one in spent.items() if one >= _SHORT)
        return f"{seconds} at {self.file}:{self.line} in {self.function}: {self.code}"

    @property
    def code(self) -> str:
        return linecache.getline(self.file, self.line).strip()


class Profile:
    """Adds up samples. If several tasks wait at once, the time is counted for each of them."""

    def __init__(self) -> None:
        self._seconds: dict[Stack, list[float]] = {}
        self._total = 0.0

    def add(self, sample: Sample) -> None:
        self._total += sample.seconds
        for stack in set(sample.stacks):
            self._seconds.setdefault(stack, [0.0, 0.0])[sample.blocks] += sample.seconds

    def lines(self) -> list[Line]:
        """Return the lines that took a significant share of the time, slowest first."""
        seconds: dict[Place, list[float]] = {}
        for stack, spent in list(self._seconds.items()):  # which may yet grow
            frames = users_frames(StackSummary.from_list([_frame(place) for place in stack]))
            for frame in frames[-1:]:
                place = (frame.filename, frame.lineno or 0, frame.name)
                known = seconds.setdefault(place, [0.0, 0.0])
                seconds[place] = [one + more for one, more in zip(known, spent, strict=True)]
        lines = [Line(*place, *spent) for place, spent in seconds.items()]
        lines.sort(key=lambda line: -line.seconds)
        return [line for line in lines if line.seconds >= _LEAST * self._total]


def _frame(place: Place) -> FrameSummary:
    return FrameSummary(*place, lookup_line=False)
