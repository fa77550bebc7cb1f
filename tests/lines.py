"""The lines of the library, one by one: count those that are run, and act at one of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import anylifespan

_LIBRARY = str(Path(anylifespan.__file__).parent)


class Lines:
    """Inside of a ``with``, what is done at one of the lines that are run.

    :param at: at which, from 1 on; 0 for none
    :param act: what it raises is raised in that line
    :ivar places: the file and the line of each
    """

    def __init__(self, at: int, act: Callable[[], object]) -> None:
        self.places: list[tuple[str, int]] = []
        self._at = at
        self._act = act

    def __enter__(self) -> Lines:
        self._outer: Any = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(self, *exc_info: object) -> None:
        sys.settrace(self._outer)

    def first_and_last(self) -> list[int]:
        """When each place was run first, and when last."""
        when: dict[tuple[str, int], list[int]] = {}
        for number, place in enumerate(self.places, 1):
            when.setdefault(place, []).append(number)
        return sorted({number for numbers in when.values() for number in (numbers[0], numbers[-1])})

    def _call(self, frame: FrameType, event: str, arg: object) -> Any:
        return self._line if frame.f_code.co_filename.startswith(_LIBRARY) else None

    def _line(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "line":
            self.places.append((frame.f_code.co_filename, frame.f_lineno))
            if len(self.places) == self._at:
                self._act()
        return self._line
