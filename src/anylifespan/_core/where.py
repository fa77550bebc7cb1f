"""Where an application is waiting, as a stack of its own frames.

A traceback tells this once an exception has left the application; an application that does not let
go has to be looked at from outside. So it is always looked at from outside: the chain of what
awaits what, from the task down.
"""

from __future__ import annotations

import gc
import inspect
from collections.abc import Iterator
from traceback import FrameSummary, StackSummary
from types import FrameType
from typing import Any

from anyio import get_running_tasks

# The machinery between an application's frames and under its last one.
_NOT_THE_APP = {"anylifespan", "anyio", "asyncio", "contextlib", "trio", "uvloop"}


def where_waiting(coroutine: object) -> StackSummary:
    """The application's frames in the coroutine of a suspended task, outermost first.

    Behind them come those of the tasks that it started in task groups, and those of other
    applications whose lifespans it drives: one that waits for such is stuck where they are.
    """
    stack = StackSummary()
    stack.extend(_summaries(coroutine))
    # By their text: many a task may wait at one place, and the order of tasks says nothing.
    children = {repr(frames): frames for frames in map(_summaries, _coroutines_below(coroutine))}
    for _, frames in sorted(children.items()):
        stack.extend(frames)
    return stack


def show(where: StackSummary) -> str:
    """The stack as an indented text, as Python prints one."""
    return "".join(where.format()).rstrip() if where else "  (no frame of its own to be seen)"


def is_apps_own(frame: FrameType) -> bool:
    """Whether a frame is the application's, and not of the machinery that runs it."""
    return frame.f_globals.get("__name__", "").partition(".")[0] not in _NOT_THE_APP


def _summaries(awaitable: object) -> list[FrameSummary]:
    return [
        FrameSummary(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        for frame in _frames(awaitable)
        if is_apps_own(frame)
    ]


def _frames(awaitable: Any) -> Iterator[FrameType]:
    seen: list[object] = []  # whose frames refer to each other may do so in a circle
    while awaitable is not None and not any(awaitable is one for one in seen):
        seen.append(awaitable)
        if inspect.iscoroutine(awaitable):
            frame, awaitable = awaitable.cr_frame, awaitable.cr_await
        elif inspect.isasyncgen(awaitable):
            frame, awaitable = awaitable.ag_frame, awaitable.ag_await
        elif inspect.isgenerator(awaitable):
            frame, awaitable = awaitable.gi_frame, awaitable.gi_yieldfrom
        else:
            frame, awaitable = None, _behind(awaitable)
        if frame is not None:
            yield frame


def _behind(awaitable: object) -> object:
    # What drives an asynchronous generator (``asend()``, as @asynccontextmanager calls it) or a
    # coroutine (``__await__()``) has no attribute that says what; the garbage collector knows.
    for referent in gc.get_referents(awaitable):
        if inspect.iscoroutine(referent) or inspect.isasyncgen(referent):
            return referent
    return None


def _coroutines_below(coroutine: object) -> list[object]:
    running = get_running_tasks()
    family = [coroutine]
    for member in family:
        identifiers = {task.id for task in running if task.coro is member}
        kin: list[object] = [task.coro for task in running if task.parent_id in identifiers]
        kin += map(_lifespan_waited_for, _frames(member))
        family += [one for one in kin if one is not None and all(one is not old for old in family)]
    return family[1:]


def _lifespan_waited_for(frame: FrameType) -> object:
    # Its task is not always a child of the one that waits for it.
    if frame.f_globals.get("__name__") != "anylifespan._core.lifespan":
        return None
    return getattr(frame.f_locals.get("self"), "coroutine", None)
