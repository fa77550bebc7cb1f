"""Stacks and tracebacks, cut to what the application's author wrote."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from traceback import FrameSummary, StackSummary, TracebackException

_PATHS = sysconfig.get_paths()
_NOT_OWN = [
    Path(_PATHS[name]).resolve()
    for name in ("stdlib", "platstdlib", "purelib", "platlib", "scripts")
]
_NOT_OWN.append(Path(__file__).resolve().parent.parent)


def own_frames(stack: StackSummary) -> StackSummary:
    """The frames that are not of Python, of an installed package, or of this one.

    All of them, where nothing else is left.
    """
    own = [frame for frame in stack if _is_own(frame)]
    return StackSummary.from_list(own or list(stack))


def own_traceback(raised: BaseException) -> str:
    """The traceback of an exception, and of those that led to it, each cut to the own frames."""
    whole = TracebackException.from_exception(raised)
    _cut(whole)
    return "".join(whole.format()).rstrip()


def _cut(one: TracebackException | None) -> None:
    if one is None:
        return
    one.stack = own_frames(one.stack)
    for other in (one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ())):
        _cut(other)


def _is_own(frame: FrameSummary) -> bool:
    if frame.filename.startswith("<"):
        return False
    path = Path(frame.filename).resolve()
    return not any(path.is_relative_to(one) for one in _NOT_OWN)
