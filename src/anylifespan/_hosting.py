"""Who can host the lifespan's task: the caller, or the event loop itself.

The one place that tells asyncio from trio.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from types import FrameType
from typing import Any

from anyio import TaskInfo, get_cancelled_exc_class

_ASYNCHRONOUS = (
    inspect.CO_COROUTINE
    | inspect.CO_ITERABLE_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
    | inspect.CO_GENERATOR
)


def current_loop(what: str) -> object:
    """What stands for the running event loop; the same object as long as it is the same loop.

    :param what: what needs it, for the error
    :raises RuntimeError: outside any event loop
    """
    try:
        if on_trio():
            return sys.modules["trio"].lowlevel.current_trio_token()
        return sys.modules["asyncio"].get_running_loop()
    except RuntimeError as exc:
        raise RuntimeError(
            f"{what} needs a running event loop: use it in a coroutine that asyncio, uvloop or "
            "trio runs, for example with anyio.run()"
        ) from exc


def in_event_loop() -> bool:
    """Whether this is run by an event loop at all."""
    try:
        on_trio()
    except RuntimeError:
        return False
    return True


def on_trio() -> bool:
    """Whether the running event loop is trio's.

    :raises RuntimeError: outside any event loop
    """
    return get_cancelled_exc_class().__module__.startswith("trio")


def start_task(
    run: Callable[[], Coroutine[Any, Any, None]],
    name: str,
    *,
    on_corruption: Callable[[BaseException], None],
) -> object:
    """Run something in a task that belongs to no other task; keep what is returned till it ends.

    When the event loop closes, asyncio and trio alike cancel such a task.

    :param run: raises nothing
    :param on_corruption: called if it has left a nursery open in its task, of which trio complains
    """
    if not on_trio():
        return sys.modules["asyncio"].get_running_loop().create_task(run(), name=name)

    trio = sys.modules["trio"]

    async def contain() -> None:
        # An exception of a system task, trio's own complaint too, would end all of trio.run().
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run, name=name)
        except Exception as exc:  # noqa: BLE001 - it is told
            on_corruption(exc)

    return trio.lowlevel.spawn_system_task(contain, name=name, context=copy_context())


def call_soon(callback: Callable[[], object]) -> None:
    """Have something called by the event loop itself: what it raises is not raised in a task."""
    if on_trio():
        sys.modules["trio"].lowlevel.current_trio_token().run_sync_soon(callback)
    else:
        sys.modules["asyncio"].get_running_loop().call_soon(callback)


def is_alive(task: TaskInfo | None) -> bool:
    """Whether there is such a task, and it has not ended."""
    return task is not None and getattr(task.coro, "cr_frame", None) is not None


def runs_the_body(frame: FrameType | None) -> bool:
    """Whether the body of an ``async with`` is run by the code that is entering it.

    It is not where a generator yields inside the ``async with``, as fixtures of pytest do: then
    whoever drives the generator runs on, an exception there does not come by here, and so a
    cancellation would not either (PEP 789). The exception are generators that are driven by
    ``@asynccontextmanager``, which throws the exceptions of its own body into them.
    """
    while frame is not None and frame.f_code.co_flags & _ASYNCHRONOUS:
        driver = frame.f_back
        if frame.f_code.co_flags & inspect.CO_ASYNC_GENERATOR and (
            driver is None or driver.f_globals.get("__name__") != "contextlib"
        ):
            return False
        frame = driver
    return True
