"""The lines of the library, one by one: count those that are run, and act at one of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import anylifespan
from anylifespan._diagnosis import origins

_LIBRARY = str(Path(anylifespan.__file__).parent)
# Once leaks have been looked for in this process, it is called wherever a file or a socket is
# opened: in the midst of the standard library, where nobody is safe from Ctrl-C.
_AUDIT_HOOK = origins.__file__


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

    def first_and_last(self) -> dict[tuple[str, int], tuple[int, int]]:
        """When each place was run first, and when last."""
        when: dict[tuple[str, int], tuple[int, int]] = {}
        for number, place in enumerate(self.places, 1):
            first, _ = when.get(place, (number, number))
            when[place] = (first, number)
        return when

    def _call(self, frame: FrameType, event: str, arg: object) -> Any:
        file = frame.f_code.co_filename
        return self._line if file.startswith(_LIBRARY) and file != _AUDIT_HOOK else None

    def _line(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "line":
            self.places.append((frame.f_code.co_filename, frame.f_lineno))
            if len(self.places) == self._at:
                self._act()
        return self._line
