"""Who can host the lifespan's task: the caller, or the event loop itself.

The one place that tells asyncio from trio. Which it is gets asked once, since to find out takes
longer than what is wanted of it then. And the caller hosts the lifespan in a task group that is
made for one task which raises nothing: one of anyio's, which can do more, takes as long as all the
rest of a lifespan together (benchmarks/RESULTS.md).
"""

from __future__ import annotations

import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import copy_context
from types import FrameType, coroutine
from typing import Any

from anyio import CancelScope, get_cancelled_exc_class
from anyio.lowlevel import cancel_shielded_checkpoint

Run = Callable[[], Coroutine[Any, Any, None]]
Checkpoint = Callable[[], Awaitable[None]]

_ASYNCHRONOUS = (
    inspect.CO_COROUTINE
    | inspect.CO_ITERABLE_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
    | inspect.CO_GENERATOR
)


class EventLoop(ABC):
    """The running event loop.

    :ivar token: what stands for it; the same object as long as it is the same event loop
    :ivar time: its clock, in seconds
    :ivar current_task: gives its task that is running
    :ivar checkpoint: :func:`anyio.lowlevel.checkpoint`, without the coroutines around it
    """

    token: object
    time: Callable[[], float]
    current_task: Callable[[], Any]
    checkpoint: Checkpoint
    _current_token: Callable[[], object]
    _is_trio: bool

    def is_running(self) -> bool:
        """Whether this is run by it; not so if it was closed, and a coroutine with it."""
        try:
            return self._current_token() is self.token
        except RuntimeError:
            return False

    def runs_this_task(self) -> bool:
        """Whether the running task is one of its own; where trio is another's guest, both run."""
        return self.is_running() and on_trio() is self._is_trio

    @abstractmethod
    def current_coroutine(self) -> object:
        """What the running task runs."""

    @abstractmethod
    def call_soon(self, callback: Callable[[], object]) -> None:
        """Have the event loop itself call something: what it raises is not raised in a task."""

    @abstractmethod
    def start_task(
        self, run: Run, name: str, *, on_corruption: Callable[[Exception], None]
    ) -> object:
        """Run something in a task that belongs to no other task.

        When the event loop closes, asyncio and trio alike cancel such a task.

        :param run: raises nothing
        :param on_corruption: called if it has left a nursery open in its task, of which trio
            complains
        :return: the task, to be kept till it ends: asyncio does not keep it
        """

    @abstractmethod
    def when_done(self, task: Any, callback: Callable[[BaseException], None]) -> None:
        """Have something called when a task has ended, if that can be before its first step.

        :param callback: gets what would have been raised in that step
        """

    @abstractmethod
    async def open_group(self, run: Run, name: str) -> TaskGroup:
        """Run something in a task group that is opened in the calling task.

        :param run: raises nothing
        """


class TaskGroup(ABC):
    """A task group of one task."""

    task: Any

    @abstractmethod
    def is_mine(self) -> bool:
        """Whether the running task has opened it, and so can close it."""

    @abstractmethod
    def cancel_body(self) -> None:
        """Cancel what the host does until it closes the group, if it has not ended before that."""

    @abstractmethod
    def shielded_checkpoint(self) -> Awaitable[None]:
        """Let other tasks run; once the body is over, and not to be cancelled any longer."""

    @abstractmethod
    async def close(self) -> None:
        """Wait until the task has ended, and leave the group."""


@coroutine
def _checkpoint() -> Generator[None, None, None]:
    # asyncio.sleep(0) does no more; but that is what tests like to replace.
    yield


class _Asyncio(EventLoop):
    _is_trio = False

    def __init__(self) -> None:
        asyncio = sys.modules["asyncio"]
        self._current_token = asyncio.get_running_loop
        self.token = self._loop = asyncio.get_running_loop()
        self.time = self._loop.time
        self.current_task = asyncio.current_task
        self.checkpoint = _checkpoint

    def current_coroutine(self) -> object:
        return self.current_task().get_coro()

    def call_soon(self, callback: Callable[[], object]) -> None:
        self._loop.call_soon(callback)

    def start_task(
        self, run: Run, name: str, *, on_corruption: Callable[[Exception], None]
    ) -> object:
        return self._start_task(run, name)

    def _start_task(self, run: Run, name: str) -> object:
        running = run()
        try:
            return self._loop.create_task(running, name=name)
        except BaseException:  # of a task factory
            running.close()
            raise

    def when_done(self, task: Any, callback: Callable[[BaseException], None]) -> None:
        cancelled = sys.modules["asyncio"].CancelledError
        task.add_done_callback(lambda _: callback(cancelled()))

    async def open_group(self, run: Run, name: str) -> TaskGroup:
        scope = CancelScope()
        scope.__enter__()
        try:
            return _AsyncioGroup(self, scope, self._start_task(run, name))
        except BaseException:
            scope.__exit__(None, None, None)
            raise


class _AsyncioGroup(TaskGroup):
    def __init__(self, event_loop: EventLoop, scope: CancelScope, task: Any) -> None:
        self._event_loop = event_loop
        self._host = event_loop.current_task()
        self._scope = scope
        self.task = task

    def is_mine(self) -> bool:
        return self._event_loop.current_task() is self._host

    def cancel_body(self) -> None:
        # To cancel a task that is gone would never come to an end.
        if not self._host.done():
            self._scope.cancel()

    def shielded_checkpoint(self) -> Awaitable[None]:
        # Quicker than a scope more, which is what anyio's own needs.
        if self._scope.cancel_called:
            return cancel_shielded_checkpoint()
        self._scope.shield = True
        return self._event_loop.checkpoint()

    async def close(self) -> None:
        interruption = None if self.task.done() else await self._wait_for_task()
        # In case that it cannot be left, since the body has left one open that it had entered.
        self._scope.shield = False
        self._scope.__exit__(None, None, None)
        if interruption is not None:
            raise interruption

    async def _wait_for_task(self) -> BaseException | None:
        # A task factory may have put something around the lifespan, that takes its time.
        interruption: BaseException | None = None
        while not self.task.done():
            with CancelScope(shield=True):
                try:
                    await sys.modules["asyncio"].wait([self.task])
                except get_cancelled_exc_class() as exc:  # by Task.cancel()
                    interruption = exc
        return interruption


class _Trio(EventLoop):
    _is_trio = True

    def __init__(self) -> None:
        self._trio = trio = sys.modules["trio"]
        self._current_token = trio.lowlevel.current_trio_token
        self.token = self._token = trio.lowlevel.current_trio_token()
        self.time = trio.current_time
        self.current_task = trio.lowlevel.current_task
        self.checkpoint = trio.lowlevel.checkpoint

    def current_coroutine(self) -> object:
        return self.current_task().coro

    def call_soon(self, callback: Callable[[], object]) -> None:
        self._token.run_sync_soon(callback)

    def start_task(
        self, run: Run, name: str, *, on_corruption: Callable[[Exception], None]
    ) -> object:
        return self._trio.lowlevel.spawn_system_task(
            self._contain, run, name, on_corruption, name=name, context=copy_context()
        )

    async def _contain(
        self, run: Run, name: str, on_corruption: Callable[[Exception], None]
    ) -> None:
        # An exception of a system task, trio's own complaint too, would end all of trio.run().
        try:
            async with self._trio.open_nursery() as nursery:
                nursery.start_soon(run, name=name)
        except Exception as exc:  # noqa: BLE001 - it is told
            on_corruption(exc)

    def when_done(self, task: Any, callback: Callable[[BaseException], None]) -> None:
        pass  # every task takes its first step

    async def open_group(self, run: Run, name: str) -> TaskGroup:
        manager = self._trio.open_nursery()
        nursery = await manager.__aenter__()
        nursery.start_soon(run, name=name)
        return _TrioGroup(self, manager, nursery)


class _TrioGroup(TaskGroup):
    def __init__(self, event_loop: EventLoop, manager: Any, nursery: Any) -> None:
        self._current_task = event_loop.current_task
        self._manager = manager
        self._nursery = nursery
        self.task = None

    def is_mine(self) -> bool:
        return self._current_task() is self._nursery.parent_task

    def cancel_body(self) -> None:
        self._nursery.cancel_scope.cancel()

    def shielded_checkpoint(self) -> Awaitable[None]:
        return cancel_shielded_checkpoint()

    async def close(self) -> None:
        await self._manager.__aexit__(None, None, None)


def event_loop(what: str) -> EventLoop:
    """The running event loop.

    :param what: what needs it, for the error
    :raises RuntimeError: outside any event loop
    """
    try:
        return _Trio() if on_trio() else _Asyncio()
    except RuntimeError as exc:
        raise RuntimeError(
            f"{what} needs a running event loop: use it in a coroutine that asyncio, uvloop or "
            "trio runs, for example with anyio.run()"
        ) from exc


def on_trio() -> bool:
    """Whether the running event loop is trio's.

    :raises RuntimeError: outside any event loop
    """
    return get_cancelled_exc_class().__module__.startswith("trio")


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
