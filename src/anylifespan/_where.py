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

from anyio import TaskInfo, get_running_tasks

# The machinery between an application's frames and under its last one.
_NOT_THE_APP = {"anylifespan", "anyio", "asyncio", "contextlib", "trio", "uvloop"}


def where_waiting(task: TaskInfo) -> StackSummary:
    """The application's frames in a suspended task, outermost first.

    Behind them come those of the tasks that it started in task groups, since an application that
    waits for its children is stuck where they are.
    """
    stack = StackSummary()
    stack.extend(_summaries(task.coro))
    # By their text: many a task may wait at one place, and the order of tasks says nothing.
    children = {repr(frames): frames for frames in map(_summaries, _coroutines_below(task))}
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


def _coroutines_below(task: TaskInfo) -> list[object]:
    running = get_running_tasks()
    family = {task.id}
    coroutines: list[object] = []
    while kin := [one for one in running if one.parent_id in family and one.id not in family]:
        family.update(one.id for one in kin)
        coroutines += [one.coro for one in kin]
    return coroutines
