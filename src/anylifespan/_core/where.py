"""Find out where an application is waiting, as a stack of its own frames.

An application that hangs raises no exception, so there is no traceback. Instead, this module
inspects the application from outside. It follows the chain of awaited objects, from the task down.

All of these objects belong to the application and can be of any type, even modules and names. If a
frame is unusual, the result is still a stack, but perhaps a shorter one.
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

# Packages whose frames appear between an application's frames, and below the last one.
_NOT_THE_APP = {"anylifespan", "anyio", "asyncio", "contextlib", "trio", "uvloop"}

# The modules in these packages that run tasks of their own, by the prefixes of their names.
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
    """Return the application's frames in a suspended task's coroutine, outermost first.

    The frames of tasks that the application started in task groups follow, and the frames of other
    applications whose lifespans the application drives. An application that waits for these tasks
    is stuck where they are. Tasks that wait at the same place are shown once.
    """
    return StackSummary.from_list([frame for stack in stacks_waiting(coroutine) for frame in stack])


def stacks_waiting(coroutine: object) -> list[StackSummary]:
    """Return the frames of :func:`where_waiting` as one stack for each task.

    The coroutine's own stack comes first.
    """
    return [
        StackSummary.from_list([FrameSummary(*place) for place in places])
        for places in places_waiting(coroutine)
    ]


def places_waiting(coroutine: object) -> list[list[Place]]:
    """Return the stacks of :func:`stacks_waiting` as plain data, without reading source files."""
    nothing: list[list[Place]] = []
    return attempt(lambda: _stacks(coroutine), nothing)


def places_in(coroutine: object) -> list[Place]:
    """Return the application's frames in a coroutine, outermost first."""
    nothing: list[Place] = []
    return attempt(lambda: _places(coroutine), nothing)


def places_of_library(coroutine: object) -> list[Place]:
    """Return a library coroutine's first frame, unless the library itself runs the coroutine.

    The application may have created a task from such a coroutine, for example from
    ``asyncio.sleep(60)``.
    """
    nothing: list[Place] = []
    return attempt(lambda: _places_of_library(coroutine), nothing)


def is_apps_own(frame: FrameType) -> bool:
    """Return whether a frame belongs to the application, and not to the code that runs it."""
    return _module_of(frame).partition(".")[0] not in _NOT_THE_APP


def _module_of(frame: FrameType) -> str:
    name = frame.f_globals.get("__name__")
    return name if type(name) is str else ""  # code that was put together by hand may have none


def _stacks(coroutine: object) -> list[list[Place]]:
    first, *below = map(_places, _family(coroutine))
    # The order of tasks has no meaning.
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
    # An object that drives an asynchronous generator (from ``asend()``, which @asynccontextmanager
    # calls) or a coroutine (from ``__await__()``) has no attribute for the generator or coroutine,
    # but the garbage collector knows which one it refers to.
    for referent in gc.get_referents(awaitable):
        if inspect.iscoroutine(referent) or inspect.isasyncgen(referent):
            return referent
    return None


def _family(coroutine: object) -> list[object]:
    """Return a task's coroutine, and the coroutines of all tasks that it may be waiting for."""
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
    # The lifespan's task is not always a child of the task that waits for it.
    if _module_of(frame) != "anylifespan._core.lifespan":
        return None
    return getattr(frame.f_locals.get("self"), "coroutine", None)
