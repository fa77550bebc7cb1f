"""Who hosts the lifespan's task: the caller, or the event loop itself.

The one place of the core where asyncio and trio differ; which it is gets asked once, since to find
out takes longer than what is wanted of it. The caller hosts the lifespan in a task group for one
task, which raises nothing: one of anyio's takes as long as all the rest of a lifespan.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from types import SimpleNamespace, coroutine
from typing import Any

from anyio import CancelScope, get_cancelled_exc_class

from .ctrl_c import protect, protected

Run = Callable[[], Coroutine[Any, Any, None]]
Checkpoint = Callable[[], Awaitable[None]]
Complain = Callable[[Exception], None]


class EventLoop(ABC):
    """The running event loop.

    :ivar is_trio: whether it is trio's
    :ivar token: what stands for it; the same object as long as it is the same event loop
    :ivar time: its clock, in seconds
    :ivar cancelled: what it raises in a task that is cancelled
    :ivar current_task: gives its task that is running
    :ivar checkpoint: :func:`anyio.lowlevel.checkpoint`, without the coroutines around it
    :ivar call_soon: has the event loop itself call something, from any thread and signal handler
    """

    token: object
    time: Callable[[], float]
    cancelled: type[BaseException]
    current_task: Callable[[], Any]
    checkpoint: Checkpoint
    call_soon: Callable[[Callable[[], object]], object]
    is_trio: bool
    _current_token: Callable[[], object]

    def is_running(self) -> bool:
        """Whether it runs the caller. It does not if it was closed, and the coroutine with it."""
        try:
            return self._current_token() is self.token
        except RuntimeError:
            return False

    def runs_this_task(self) -> bool:
        """Whether the running task is one of its own; where trio is another's guest, both run."""
        return self.is_running() and on_trio() is self.is_trio

    @abstractmethod
    def current_coroutine(self) -> object:
        """What the running task runs."""

    @abstractmethod
    def when_done(self, task: Any, callback: Callable[[BaseException | None], None]) -> None:
        """Call something when a task has ended, if it can end unexpectedly.

        :param callback: gets what the task has raised
        """

    @abstractmethod
    def start(self, run: Run, name: str, context: Context | None, complain: Complain) -> object:
        """Run something in a task that belongs to no other task.

        When the event loop closes, asyncio and trio alike cancel such a task.

        :param run: raises nothing
        :param context: where it runs, or a copy of it; None for that of the caller
        :param complain: called if it has left a nursery open in its task, of which trio complains
        :return: the task, if it can be watched; keep it till it ends, since asyncio does not
        """

    @abstractmethod
    async def host(self, run: Run, name: str) -> Host:
        """Run something in a task group that is opened in the calling task.

        :param run: raises nothing
        """


class Host(ABC):
    """A task group of one task, that is open in the task which hosts it.

    :ivar task: the one task, if it can be watched
    :ivar is_closed: whether the group has been left, well or badly
    """

    def __init__(self, task: Any) -> None:
        self.task = task
        self.is_closed = False

    @abstractmethod
    def is_left_elsewhere(self) -> bool:
        """Whether the running task is another than that which has to leave it."""

    @abstractmethod
    def cancel_body(self) -> None:
        """Cancel what the hosting task does until it closes this."""

    @abstractmethod
    async def close(self) -> None:
        """Wait until the task has ended, and leave the group.

        To be called again if it was interrupted, as long as it is not closed.

        :raises Exception: what the event loop complains of, if something was left open
        """


@coroutine
def _checkpoint() -> Generator[None, None, None]:
    # asyncio.sleep(0) does no more; but that is what tests like to replace.
    yield


@protected
class _Asyncio(EventLoop):
    is_trio = False

    def __init__(self) -> None:
        asyncio = sys.modules["asyncio"]
        self._current_token = asyncio.get_running_loop
        self.token = self._loop = asyncio.get_running_loop()
        self.time = self._loop.time
        self.cancelled = asyncio.CancelledError
        self.current_task = asyncio.current_task
        self.checkpoint = _checkpoint
        self.call_soon = self._loop.call_soon_threadsafe

    def current_coroutine(self) -> object:
        return self.current_task().get_coro()

    def when_done(self, task: Any, callback: Callable[[BaseException | None], None]) -> None:
        def done(task: Any) -> None:
            # On asyncio a task that is cancelled before its first step never takes it; and Ctrl-C
            # may be raised in any line, even of ours.
            callback(self.cancelled() if task.cancelled() else task.exception())

        task.add_done_callback(done)

    def start(self, run: Run, name: str, context: Context | None, complain: Complain) -> object:
        if context is not None:
            return context.run(self._start_task, run, name)
        return self._start_task(run, name)

    async def host(self, run: Run, name: str) -> Host:
        scope = CancelScope()
        scope.__enter__()
        try:
            return _AsyncioGroup(self, scope, self._start_task(run, name))
        except BaseException:
            scope.__exit__(None, None, None)
            raise

    def _start_task(self, run: Run, name: str) -> object:
        running = run()
        try:
            return self._loop.create_task(running, name=name)
        except BaseException:  # of a task factory
            running.close()
            raise


@protected
class _AsyncioGroup(Host):
    def __init__(self, event_loop: EventLoop, scope: CancelScope, task: Any) -> None:
        super().__init__(task)
        self._event_loop = event_loop
        self._host = event_loop.current_task()
        self._scope = scope

    def is_left_elsewhere(self) -> bool:
        return self._event_loop.current_task() is not self._host

    def cancel_body(self) -> None:
        # To cancel a task that is gone would never come to an end.
        if not self._host.done():
            self._scope.cancel()

    async def close(self) -> None:
        interruption = None if self.task.done() else await self._wait_for_task()
        self.is_closed = True
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
                except (get_cancelled_exc_class(), KeyboardInterrupt) as exc:  # by Task.cancel()
                    interruption = exc
        return interruption


@protected
class _Trio(EventLoop):
    is_trio = True

    def __init__(self) -> None:
        self._trio = trio = sys.modules["trio"]
        self._current_token = trio.lowlevel.current_trio_token
        token = trio.lowlevel.current_trio_token()
        self.token = token
        self.time = trio.current_time
        self.cancelled = trio.Cancelled
        self.current_task = trio.lowlevel.current_task
        self.checkpoint = trio.lowlevel.checkpoint
        self.call_soon = token.run_sync_soon
        protect(trio)

    def current_coroutine(self) -> object:
        return self.current_task().coro

    def when_done(self, task: Any, callback: Callable[[BaseException | None], None]) -> None:
        pass  # every task takes its first step, and ours are protected

    def start(self, run: Run, name: str, context: Context | None, complain: Complain) -> object:
        context = copy_context() if context is None else context
        self._trio.lowlevel.spawn_system_task(
            self._contain, run, name, complain, name=name, context=context
        )
        return None

    async def _contain(self, run: Run, name: str, complain: Complain) -> None:
        # An exception of a system task, trio's own complaint too, would end all of trio.run().
        try:
            async with self._trio.open_nursery() as nursery:
                nursery.start_soon(run, name=name)
        except Exception as exc:  # noqa: BLE001 - it is logged
            complain(exc)

    async def host(self, run: Run, name: str) -> Host:
        manager = self._trio.open_nursery()
        nursery = await manager.__aenter__()
        nursery.start_soon(run, name=name)
        return _TrioGroup(self, manager, nursery)


@protected
class _TrioGroup(Host):
    def __init__(self, event_loop: EventLoop, manager: Any, nursery: Any) -> None:
        super().__init__(None)
        self._current_task = event_loop.current_task
        self._manager = manager
        self._nursery = nursery

    def is_left_elsewhere(self) -> bool:
        return self._current_task() is not self._nursery.parent_task

    def cancel_body(self) -> None:
        self._nursery.cancel_scope.cancel()

    async def close(self) -> None:
        self.is_closed = True
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


def current_token() -> Any:
    """What stands for the running event loop; see :class:`EventLoop`."""
    if on_trio():
        return sys.modules["trio"].lowlevel.current_trio_token()
    return sys.modules["asyncio"].get_running_loop()


@contextmanager
def recognised() -> Iterator[None]:
    """Have anyio know the event loop in one of its callbacks, too.

    It asks sniffio, where that is installed, which on asyncio knows an event loop by its task.
    """
    known: Any = getattr(sys.modules.get("sniffio"), "thread_local", SimpleNamespace(name=None))
    before = known.name
    known.name = before or "asyncio"  # trio has put down its name already
    try:
        yield
    finally:
        known.name = before


def cancellations() -> tuple[type[BaseException], ...]:
    """What event loops raise in a task that is cancelled, whether one is running or not."""
    kinds = (("asyncio", "CancelledError"), ("trio", "Cancelled"))
    return tuple(getattr(sys.modules[loop], kind) for loop, kind in kinds if loop in sys.modules)


def on_trio() -> bool:
    """Whether the running event loop is trio's.

    :raises RuntimeError: outside any event loop
    """
    return get_cancelled_exc_class().__module__.startswith("trio")
