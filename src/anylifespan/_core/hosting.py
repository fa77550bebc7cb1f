"""Run the lifespan's task, either in a task group of the calling task or independently.

This module hides the differences between asyncio and trio from the rest of the core. The backend is
detected once, since detection takes longer than the operations that depend on it. A task group for
a lifespan contains a single task, which raises nothing. anyio's task groups are not used, since
creating one takes as long as the rest of a lifespan.
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

    :ivar is_trio: whether the event loop is trio's
    :ivar token: the object that identifies the event loop
    :ivar time: returns the time of the event loop's clock, in seconds
    :ivar cancelled: the exception that the event loop raises in a cancelled task
    :ivar current_task: returns the event loop's running task
    :ivar checkpoint: like :func:`anyio.lowlevel.checkpoint`, with less overhead
    :ivar call_soon: calls a function in the event loop, from any thread or signal handler
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
        """Return whether the caller is running in this event loop.

        The result is False if the event loop has ended and the caller's coroutine is being closed.
        """
        try:
            return self._current_token() is self.token
        except RuntimeError:
            return False

    def runs_this_task(self) -> bool:
        """Return whether the running task belongs to this event loop.

        If trio runs in guest mode, both trio's event loop and its host's event loop are running.
        """
        return self.is_running() and on_trio() is self.is_trio

    @abstractmethod
    def current_coroutine(self) -> object:
        """Return the coroutine that the running task runs."""

    @abstractmethod
    def when_done(self, task: Any, callback: Callable[[BaseException | None], None]) -> None:
        """Call a function when a task has ended, if the task can end unexpectedly.

        :param callback: receives the exception that the task raised, if any
        """

    @abstractmethod
    def start(self, run: Run, name: str, context: Context | None, complain: Complain) -> object:
        """Run a function in a task that has no parent task.

        When the event loop closes, both asyncio and trio cancel such a task.

        :param run: an asynchronous function that raises nothing
        :param context: the function runs in this context, or in a copy of it; None for the caller's
            context
        :param complain: called with trio's exception if the function left a nursery open in its
            task
        :return: the task on asyncio, None on trio. Keep a reference until the task has ended, since
            asyncio keeps only a weak one
        """

    @abstractmethod
    async def host(self, run: Run, name: str) -> Host:
        """Run a function in a task group that is opened in the calling task.

        :param run: an asynchronous function that raises nothing
        """


class Host(ABC):
    """A task group with a single task. The group is open in the task that hosts it.

    :ivar task: the single task on asyncio, None on trio
    :ivar is_closed: whether the group has been left, with or without an error
    """

    def __init__(self, task: Any) -> None:
        self.task = task
        self.is_closed = False

    @abstractmethod
    def is_left_elsewhere(self) -> bool:
        """Return whether the running task is not the task that opened the group."""

    @abstractmethod
    def cancel_body(self) -> None:
        """Cancel the code that the hosting task runs before it closes the group."""

    @abstractmethod
    async def close(self) -> None:
        """Wait until the task has ended, and leave the group.

        If this method is interrupted, call it again until the group is closed.

        :raises Exception: the event loop's own error, if a cancel scope or a task group was left
            open
        """


@coroutine
def _checkpoint() -> Generator[None, None, None]:
    # asyncio.sleep(0) does the same, but tests often replace it.
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
            # On asyncio, a task that is cancelled before its first step never takes that step, and
            # Ctrl-C may raise KeyboardInterrupt at any line, even in this library.
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
        # If the task has ended, anyio would try to cancel it forever.
        if not self._host.done():
            self._scope.cancel()

    async def close(self) -> None:
        interruption = None if self.task.done() else await self._wait_for_task()
        self.is_closed = True
        self._scope.__exit__(None, None, None)
        if interruption is not None:
            raise interruption

    async def _wait_for_task(self) -> BaseException | None:
        # A task factory may have wrapped the lifespan in a coroutine that takes longer.
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
        # Any exception in a system task, even one from trio itself, would end trio.run().
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
    """Return the running event loop.

    :param what: the name of the feature that needs the event loop, for the error message
    :raises RuntimeError: if no event loop is running
    """
    try:
        return _Trio() if on_trio() else _Asyncio()
    except RuntimeError as exc:
        raise RuntimeError(
            f"{what} needs a running event loop: use it in a coroutine that asyncio, uvloop or "
            "trio runs, for example with anyio.run()"
        ) from exc


def current_token() -> Any:
    """Return the object that identifies the running event loop; see :class:`EventLoop`."""
    if on_trio():
        return sys.modules["trio"].lowlevel.current_trio_token()
    return sys.modules["asyncio"].get_running_loop()


@contextmanager
def recognised() -> Iterator[None]:
    """Make anyio recognise the event loop even in the event loop's callbacks.

    If sniffio is installed, anyio relies on it. On asyncio, sniffio recognises the event loop by
    the current task, and there is no current task in a callback.
    """
    known: Any = getattr(sys.modules.get("sniffio"), "thread_local", SimpleNamespace(name=None))
    before = known.name
    known.name = before or "asyncio"  # trio has put down its name already
    try:
        yield
    finally:
        known.name = before


def cancellations() -> tuple[type[BaseException], ...]:
    """Return the exception classes that event loops raise in cancelled tasks.

    This works even if no event loop is running.
    """
    kinds = (("asyncio", "CancelledError"), ("trio", "Cancelled"))
    return tuple(getattr(sys.modules[loop], kind) for loop, kind in kinds if loop in sys.modules)


def on_trio() -> bool:
    """Return whether the running event loop is trio's.

    :raises RuntimeError: if no event loop is running
    """
    return get_cancelled_exc_class().__module__.startswith("trio")
