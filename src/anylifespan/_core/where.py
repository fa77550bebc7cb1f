"""Where an application is waiting, as a stack of its own frames.

A traceback tells this once an exception has left the application; an application that does not let
go has to be looked at from outside. So it is always looked at from outside: the chain of what
awaits what, from the task down.

All of it belongs to the application, modules and names too, which can be of any kind. So whatever
is odd about a frame, there is a stack in the end, if a shorter one.
"""

from __future__ import annotations

import gc
import inspect
from collections import defaultdict
from collections.abc import Iterator
from traceback import FrameSummary, StackSummary
from types import FrameType
from typing import Any

from anyio import get_running_tasks

from .attempt import attempt

# The machinery between an application's frames and under its last one.
_NOT_THE_APP = {"anylifespan", "anyio", "asyncio", "contextlib", "trio", "uvloop"}

# The same, but what runs tasks of its own.
_MACHINERY = (
    "anylifespan",
    "anyio._backends",
    "anyio.from_thread",
    *(f"asyncio.{name}" for name in ("base_", "proactor_", "runners", "selector_", "unix_")),
    "trio._core",
)

# File, line and function.
Place = tuple[str, int, str]


def where_waiting(coroutine: object) -> StackSummary:
    """The application's frames in the coroutine of a suspended task, outermost first.

    Behind them come those of the tasks that it started in task groups, and those of other
    applications whose lifespans it drives: one that waits for such is stuck where they are. Tasks
    that wait at the same place are shown once.
    """
    return StackSummary.from_list([frame for stack in stacks_waiting(coroutine) for frame in stack])


def stacks_waiting(coroutine: object) -> list[StackSummary]:
    """The same, but a stack for each task; that of the coroutine itself comes first."""
    return [
        StackSummary.from_list([FrameSummary(*place) for place in places])
        for places in places_waiting(coroutine)
    ]


def places_waiting(coroutine: object) -> list[list[Place]]:
    """The same as plain data: nothing is read from files."""
    nothing: list[list[Place]] = []
    return attempt(lambda: _stacks(coroutine), nothing)


def places_in(coroutine: object) -> list[Place]:
    """The frames of a coroutine alone, without those of the machinery, outermost first."""
    nothing: list[Place] = []
    return attempt(lambda: _places(coroutine), nothing)


def places_of_library(coroutine: object) -> list[Place]:
    """The first frame of a coroutine of a library that is not the machinery's own.

    As of ``asyncio.sleep(60)``, which the application may have made a task of.
    """
    nothing: list[Place] = []
    return attempt(lambda: _places_of_library(coroutine), nothing)


def is_apps_own(frame: FrameType) -> bool:
    """Whether a frame is the application's, and not of the machinery that runs it."""
    return _module_of(frame).partition(".")[0] not in _NOT_THE_APP


def _module_of(frame: FrameType) -> str:
    name = frame.f_globals.get("__name__")
    return name if type(name) is str else ""  # code that was put together by hand may have none


def _stacks(coroutine: object) -> list[list[Place]]:
    first, *below = map(_places, _family(coroutine))
    # The order of tasks says nothing.
    return [first, *map(list, sorted(set(map(tuple, below))))]


def _places(awaitable: object) -> list[Place]:
    return [_place(frame) for frame in _frames(awaitable) if is_apps_own(frame)]


def _places_of_library(coroutine: object) -> list[Place]:
    frames = list(_frames(coroutine))
    if not frames or _module_of(frames[0]).startswith(_MACHINERY):
        return []
    return [_place(frames[0])]


def _place(frame: FrameType) -> Place:
    return frame.f_code.co_filename, frame.f_lineno or 0, frame.f_code.co_name


def _frames(awaitable: Any) -> Iterator[FrameType]:
    seen: set[int] = set()  # whose frames refer to each other may do so in a circle
    while awaitable is not None and id(awaitable) not in seen:
        seen.add(id(awaitable))
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


def _family(coroutine: object) -> list[object]:
    """A task's coroutine, and those of all the tasks that it waits for in some way."""
    task_of: dict[int, int] = {}
    children: defaultdict[int | None, list[object]] = defaultdict(list)
    for task in get_running_tasks():
        task_of[id(task.coro)] = task.id
        children[task.parent_id].append(task.coro)
    family = [coroutine]
    known = {id(coroutine)}
    for member in family:
        kin = [*children[task_of[id(member)]]] if id(member) in task_of else []
        kin += filter(None, map(_lifespan_waited_for, _frames(member)))
        for one in kin:
            if id(one) not in known:
                known.add(id(one))
                family.append(one)
    return family


def _lifespan_waited_for(frame: FrameType) -> object:
    # Its task is not always a child of the one that waits for it.
    if _module_of(frame) != "anylifespan._core.lifespan":
        return None
    return getattr(frame.f_locals.get("self"), "coroutine", None)
