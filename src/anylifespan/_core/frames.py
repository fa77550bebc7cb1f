"""Shorten stacks and tracebacks to the frames of the user's own code.

Between these frames, there are frames from frameworks: about two dozen in any FastAPI application,
and always the same ones. So only the user's own frames and the innermost frame are shown, with the
number of frames that were left out. This library's frames are never shown.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache, partial
from traceback import FrameSummary, StackSummary, TracebackException, walk_tb
from typing import Any

from .attempt import attempt

_LINES = 3  # how many places are shown where several tasks are waiting
_LIBRARY = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


class CutStack(StackSummary):
    """A stack with only the user's own frames and the innermost frame.

    :ivar left_out: how many frames were left out
    """

    left_out = 0

    def format(self, **options: Any) -> list[str]:
        """Format the stack. If frames were left out, the last line says how many.

        See :meth:`traceback.StackSummary.format` for the options.
        """
        lines = super().format(**options)
        if self.left_out:
            frames = "frame" if self.left_out == 1 else "frames"
            lines.append(f"  ({self.left_out} {frames} of installed packages not shown)\n")
        return lines


def own_frames(stack: StackSummary) -> CutStack:
    """Return the frames to show: the user's own frames, and the innermost frame.

    If none of the frames is the user's, return all frames except this library's.
    """
    shown = [frame for frame in stack if not _is_in(frame, (_LIBRARY,))]
    own = [frame for frame in shown if _is_users(frame)]
    if own and own[-1] is not shown[-1]:
        own.append(shown[-1])
    cut = CutStack(own or shown)
    cut.left_out = len(shown) - len(cut)
    return cut


def users_frames(stack: StackSummary) -> list[FrameSummary]:
    """Return the user's own frames, or else the innermost frame in an installed package.

    This library's frames are never returned.
    """
    own = [frame for frame in stack if _is_users(frame)]
    if own:
        return own
    installed = _directories("purelib", "platlib")
    return [one for one in stack if _is_in(one, installed) and not _is_in(one, (_LIBRARY,))][-1:]


def own_traceback(raised: BaseException) -> str:
    """Format an exception, and the exceptions that led to it, with shortened stacks."""
    whole = TracebackException.from_exception(raised)
    exceptions = list(_chain(whole))
    has_own = any(map(_is_users, (frame for one in exceptions for frame in one.stack)))
    for one in exceptions:
        one.stack = own_frames(one.stack)
        # If any of the exceptions has frames of the user's, show only the last frame of the
        # exceptions that have none.
        if has_own and not any(map(_is_users, one.stack)):
            one.stack = _last_of(one.stack)
    return "".join(whole.format()).rstrip()


def show(stack: StackSummary) -> str:
    """Shorten a stack, and format it as indented text, as Python prints stacks."""
    nothing = "  (no frame of its own to be seen)"
    return attempt(lambda: "".join(own_frames(stack).format()).rstrip(), "") or nothing


def innermost_lines(stacks: Iterable[StackSummary]) -> str:
    """Describe the innermost line of the user's own code in each stack, in one line of text."""
    places = [attempt(partial(_innermost_line, stack), "") for stack in stacks]
    shown = list(dict.fromkeys(filter(None, places)))
    if len(shown) > _LINES + 1:
        shown[_LINES:] = [f"{len(shown) - _LINES} other places"]
    return "; and at ".join(shown) or "a line that is not its own"


def raised_at(raised: BaseException) -> str:
    """Return where in the user's own code an exception was raised, as text to append to a line.

    The text is empty if the traceback contains none of the user's own code.
    """

    def place() -> str:
        stack = StackSummary.extract(walk_tb(raised.__traceback__), lookup_lines=False)
        frame = [one for one in stack if _is_users(one)][-1]
        return f", at {frame.filename}:{frame.lineno} in {frame.name}"

    return attempt(place, "")


def _innermost_line(stack: StackSummary) -> str:
    frame = users_frames(stack)[-1]
    return f"{frame.filename}:{frame.lineno} in {frame.name}: {frame.line}"


def _chain(one: TracebackException | None) -> Iterator[TracebackException]:
    if one is None:
        return
    yield one
    for other in (one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ())):
        yield from _chain(other)


def _last_of(stack: CutStack) -> CutStack:
    last = CutStack(stack[-1:])
    last.left_out = stack.left_out + len(stack) - len(last)
    return last


def _is_users(frame: FrameSummary) -> bool:
    installed = _directories("stdlib", "platstdlib", "purelib", "platlib", "scripts")
    return not frame.filename.startswith("<") and not _is_in(frame, (_LIBRARY, *installed))


def _is_in(frame: FrameSummary, directories: tuple[str, ...]) -> bool:
    path = _real_path(frame.filename)
    return any(path.startswith(one + os.sep) for one in directories)


@lru_cache(maxsize=4096)
def _real_path(name: str) -> str:
    return os.path.realpath(name)


@cache
def _directories(*names: str) -> tuple[str, ...]:
    """Return the directories that have these names in :mod:`sysconfig`, with links resolved."""
    import sysconfig  # which takes its time, and only an error needs

    paths = sysconfig.get_paths()
    return tuple({os.path.realpath(paths[name]) for name in names})
