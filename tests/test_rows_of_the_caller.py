"""What each thing a caller can do means: the lettered rows of the table in docs/semantics.md."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any
from unittest import mock

import anyio
import pytest
import trio
from anyio import current_time
from apps import app, hangs, raises, receives, sends, sleeps, started, stopped, well_behaved
from clocks import LOOPS
from conftest import BACKENDS
from drives import DRIVES
from trio.testing import MockClock

from anylifespan import (
    LifespanCrashed,
    LifespanManager,
    Phase,
    ShutdownFailed,
    StartupFailed,
    StartupTimeout,
)
from anylifespan._core.log import DEFAULT_LOG
from anylifespan._core.ranks import settle

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup

pytestmark = pytest.mark.anyio


class Resource:
    """An application that records how it is treated."""

    def __init__(self, *, startup: float = 0, shutdown: float = 0) -> None:
        self.startup, self.shutdown = startup, shutdown
        self.did: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.did.append("begun")
        try:
            await receive()
            await anyio.sleep(self.startup)
            await send({"type": "lifespan.startup.complete"})
            await receive()
            self.did.append("shutting down")
            await anyio.sleep(self.shutdown)
            await send({"type": "lifespan.shutdown.complete"})
            self.did.append("shut down")
        except anyio.get_cancelled_exc_class():
            self.did.append("cancelled")
            raise


async def cancelled_after(seconds: float, drive: Any, manager: LifespanManager) -> None:
    """Drive it, cancelled by an anyio scope, and see that the cancellation goes on."""
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as task_group:

            async def cancel() -> None:
                await anyio.sleep(seconds)
                scope.cancel()

            task_group.start_soon(cancel)
            await drive(manager, anyio.sleep_forever)
            raise AssertionError("not cancelled")
    assert scope.cancelled_caught


async def test_a_cancelled_during_startup(drive: Any, mode: Any, passed: Any, log: Any) -> None:
    resource = Resource(startup=10)
    manager = LifespanManager(resource, mode=mode)
    since = current_time()
    await cancelled_after(2, drive, manager)
    assert passed(since, 2)
    assert resource.did == ["begun", "cancelled"]
    assert manager.phase is Phase.STOPPED
    assert manager.supported is None
    await manager.shutdown()
    assert not log.records


async def test_a_cancelled_already(drive: Any) -> None:
    resource = Resource(startup=1)
    manager = LifespanManager(resource)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await drive(manager)
    assert scope.cancelled_caught
    assert resource.did == ["begun", "cancelled"]
    assert manager.phase is Phase.STOPPED


async def test_a_the_app_raises_as_it_is_cancelled(drive: Any, log: Any) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("in cleanup")

    await cancelled_after(1, drive, LifespanManager(application))
    assert [record.levelname for record in log.records] == ["WARNING"]
    assert "ValueError: in cleanup" in log.text


async def test_a_cancelled_while_the_app_lingers_after_its_failure(drive: Any, passed: Any) -> None:
    application = app(receives, sends("lifespan.startup.failed", "no luck"), hangs)
    since = current_time()
    await cancelled_after(2, drive, LifespanManager(application))
    assert passed(since, 2)


async def test_b_cancelled_in_the_moment_in_which_it_starts_to_serve(drive: Any) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await anyio.sleep(1)
        cancel_scope.cancel()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        did.append("shutting down")
        await send({"type": "lifespan.shutdown.complete"})

    did: list[str] = []
    manager = LifespanManager(application)
    with anyio.CancelScope() as cancel_scope:
        await drive(manager, anyio.sleep_forever)
    assert cancel_scope.cancelled_caught
    assert did == ["shutting down"]
    assert manager.phase is Phase.STOPPED


async def test_b_cancelled_while_serving(drive: Any, mode: Any, passed: Any) -> None:
    resource = Resource(shutdown=20)
    manager = LifespanManager(resource, mode=mode)
    since = current_time()
    await cancelled_after(2, drive, manager)
    assert passed(since, 22)
    assert resource.did == ["begun", "shutting down", "shut down"]
    assert manager.phase is Phase.STOPPED


async def test_b_and_the_shutdown_hangs(structured_drive: Any, passed: Any, log: Any) -> None:
    manager = LifespanManager(app(receives, started, receives, hangs), shutdown_timeout=3)
    since = current_time()
    await cancelled_after(2, structured_drive, manager)
    assert passed(since, 5)
    assert manager.phase is Phase.FAILED
    assert [record.levelname for record in log.records] == ["ERROR"]
    assert "ShutdownTimeout" in log.text


async def test_b_cancelled_during_shutdown(passed: Any) -> None:
    resource = Resource(shutdown=10)
    manager = LifespanManager(resource)
    since = current_time()
    with anyio.CancelScope(deadline=since + 2) as scope:
        await manager.startup()
        await manager.shutdown()
        await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert passed(since, 10)
    assert resource.did == ["begun", "shutting down", "shut down"]


@pytest.mark.parametrize("way", ["async with", "shutdown()"])
async def test_b_cancelled_during_shutdown_goes_on_at_once(way: str, passed: Any) -> None:
    """Out of the block or the call itself, not only at the next checkpoint."""
    manager = LifespanManager(Resource(shutdown=10))
    since = current_time()
    with anyio.move_on_after(2) as scope:
        if way == "async with":
            async with manager:
                pass
        else:
            await manager.startup()
            await manager.shutdown()
        raise AssertionError("not cancelled")
    assert scope.cancelled_caught
    assert passed(since, 10)
    assert manager.phase is Phase.STOPPED


async def test_cancel_cuts_the_shutdown_short(passed: Any) -> None:
    resource = Resource(shutdown=10)
    manager = LifespanManager(resource)
    since = current_time()
    await manager.startup()
    async with anyio.create_task_group() as task_group:

        async def shut_down() -> None:
            with pytest.raises(ShutdownFailed, match="it was cancelled before it was done"):
                await manager.shutdown()

        task_group.start_soon(shut_down)
        await anyio.sleep(1)
        manager.cancel()
    assert passed(since, 1)
    assert resource.did == ["begun", "shutting down", "cancelled"]
    manager.cancel()
    await manager.shutdown()


async def test_cancel_after_the_end_changes_nothing() -> None:
    manager = LifespanManager(app(receives, started, sleeps(1), raises(ValueError("boom"))))
    await manager.startup()
    await manager.wait_crashed()
    manager.cancel()
    with pytest.raises(LifespanCrashed, match="ValueError: boom"):
        await manager.shutdown()


async def test_cancel_before_the_startup() -> None:
    with pytest.raises(RuntimeError, match=r"cancel\(\) was called before the startup"):
        LifespanManager(well_behaved).cancel()


async def test_c_raises_in_the_body(structured_drive: Any, mode: Any, log: Any) -> None:
    async def body() -> None:
        raise error

    error = KeyError("mine")
    resource = Resource()
    with pytest.raises(KeyError) as info:
        await structured_drive(LifespanManager(resource, mode=mode), body)
    assert info.value is error
    assert resource.did == ["begun", "shutting down", "shut down"]
    assert not log.records


async def test_c_and_the_shutdown_fails_besides(log: Any) -> None:
    application = app(receives, started, receives, sends("lifespan.shutdown.failed", "no luck"))
    error = KeyError("mine")
    with pytest.raises(KeyError) as info:
        async with LifespanManager(application):
            raise error
    assert info.value is error
    assert error.__notes__ == [
        "Besides, ShutdownFailed: the application failed to shut down: no luck"
    ]
    assert [record.levelname for record in log.records] == ["ERROR"]
    assert "Traceback" in log.text or "ShutdownFailed" in log.text


async def test_c_raises_on_being_cancelled_by_a_crash(log: Any) -> None:
    error = KeyError("mine")
    with pytest.raises(KeyError) as info:
        async with LifespanManager(app(receives, started, sleeps(1), raises(ValueError("boom")))):
            try:
                await anyio.sleep_forever()
            finally:
                raise error
    assert info.value is error
    assert "crashed while serving: ValueError: boom" in error.__notes__[0]
    assert "ValueError: boom" in log.text


async def test_c_raises_a_group_with_its_cancellation_by_a_crash() -> None:
    with pytest.raises(LifespanCrashed):
        async with LifespanManager(app(receives, started, sleeps(1), raises(ValueError("boom")))):
            async with anyio.create_task_group() as task_group:
                task_group.start_soon(anyio.sleep_forever)
                await anyio.sleep_forever()


async def test_c_raises_its_cancellation_by_a_crash_in_a_group() -> None:
    with pytest.raises(LifespanCrashed):
        async with LifespanManager(app(receives, started, sleeps(1), raises(ValueError("boom")))):
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class() as exc:
                raise BaseExceptionGroup("a task group of another kind", [exc]) from None


async def test_c_the_traceback_is_that_of_the_body() -> None:
    failing = app(receives, started, receives, sends("lifespan.shutdown.failed", "no luck"))
    with pytest.raises(KeyError) as caught:
        async with LifespanManager(failing):
            raise KeyError("mine")
    (place,) = caught.traceback
    assert place.name == "test_c_the_traceback_is_that_of_the_body"


@pytest.mark.parametrize("outcome", ["stopped", "failed"])
async def test_d_leaves_in_another_task(backend: str, outcome: str) -> None:
    last = stopped if outcome == "stopped" else sends("lifespan.shutdown.failed", "no luck")
    manager = LifespanManager(app(receives, started, receives, last))

    async def enter() -> None:
        await manager.__aenter__()

    async def leave() -> None:
        await manager.__aexit__(None, None, None)

    if backend == "trio":
        # Its nursery is left open in the task that entered, which trio does not forgive that one.
        async def enter_and_stay() -> None:
            await enter()
            entered.set()
            await anyio.sleep_forever()

        entered = anyio.Event()
        with pytest.raises((ExceptionGroup, RuntimeError)):
            async with anyio.create_task_group() as task_group:
                task_group.start_soon(enter_and_stay)
                await entered.wait()
                with pytest.raises(RuntimeError, match=r"use startup\(\) and shutdown\(\)"):
                    await leave()
                task_group.cancel_scope.cancel()
    else:
        await asyncio.create_task(enter())
        if outcome == "failed":
            with pytest.raises(ShutdownFailed, match="no luck"):
                await asyncio.create_task(leave())
        else:
            await asyncio.create_task(leave())
    assert manager.phase is (Phase.STOPPED if outcome == "stopped" else Phase.FAILED)


def test_d_with_a_crash_in_between(asyncio_backend: str) -> None:
    # On trio no task ends with a nursery open.
    run_on_asyncio(asyncio_backend, left_in_another_task_after_a_crash)


async def left_in_another_task_after_a_crash() -> None:
    manager = LifespanManager(app(receives, started, sleeps(1), raises(ValueError("boom"))))
    await asyncio.create_task(manager.__aenter__())
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1

    loop = asyncio.get_running_loop()
    loop.call_later(3, tick)
    before = loop.time()
    await anyio.sleep(5)
    assert ticks == 1
    assert loop.time() - before < 30
    with pytest.raises(LifespanCrashed, match="boom"):
        await asyncio.create_task(manager.__aexit__(None, None, None))


async def in_a_generator(manager: LifespanManager) -> AsyncIterator[LifespanManager]:
    async with manager:
        yield manager


async def test_a_generator_may_be_left_in_another_task() -> None:
    # As fixtures are: set up in one task, and torn down in another.
    manager = LifespanManager(well_behaved)
    generator = in_a_generator(manager)

    async def step() -> None:
        async for _ in generator:
            return

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(step)
    assert manager.phase is Phase.SERVING
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(step)
    assert manager.phase is Phase.STOPPED


async def test_a_crash_does_not_cancel_who_drives_a_generator() -> None:
    manager = LifespanManager(app(receives, started, sleeps(1), raises(ValueError("boom"))))
    generator = in_a_generator(manager)
    async for _ in generator:
        await anyio.sleep(5)
        break
    with pytest.raises(LifespanCrashed, match="boom"):
        await generator.__anext__()


async def test_a_crash_cancels_the_body_of_a_context_manager() -> None:
    manager = LifespanManager(app(receives, started, sleeps(1), raises(ValueError("boom"))))

    @asynccontextmanager
    async def wrapped() -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(manager)
            yield

    with pytest.raises(LifespanCrashed, match="boom"):
        async with wrapped():
            await anyio.sleep_forever()


async def test_e_mode_off(drive: Any, log: Any) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("called")

    async def body() -> None:
        assert manager.phase is Phase.SERVING
        assert manager.supported is False

    state = {"as": "given"}
    manager = LifespanManager(application, mode="off", state=state)
    await drive(manager, body)
    assert manager.phase is Phase.STOPPED
    assert state == {"as": "given"}
    assert (manager.startup_seconds, manager.shutdown_seconds) == (0, 0)
    assert not log.records


# The members of the manager


async def test_startup_and_shutdown_in_different_tasks() -> None:
    manager = LifespanManager(well_behaved)
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(manager.startup)
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(manager.shutdown)
        task_group.start_soon(manager.shutdown)
    await manager.shutdown()
    assert manager.phase is Phase.STOPPED


async def test_startup_fails_out_of_start(mode: Any) -> None:
    manager = LifespanManager(app(receives, sends("lifespan.startup.failed", "no luck")), mode=mode)
    async with anyio.create_task_group() as task_group:
        with pytest.raises(StartupFailed, match="no luck"):
            await task_group.start(manager.serve)


async def test_serve_is_started_with_the_manager() -> None:
    manager = LifespanManager(well_behaved)
    async with anyio.create_task_group() as task_group:
        assert await task_group.start(manager.serve) is manager
        manager.request_shutdown()
        manager.request_shutdown()
    assert manager.phase is Phase.STOPPED


async def test_serve_after_the_app_returned_waits_for_the_request(passed: Any) -> None:
    manager = LifespanManager(app(receives, started))
    since = current_time()
    async with anyio.create_task_group() as task_group:
        await task_group.start(manager.serve)
        await anyio.sleep(3)
        manager.request_shutdown()
    assert passed(since, 3)


async def test_wait_crashed_returns_the_crash() -> None:
    async def supervise() -> None:
        crashes.append(await manager.wait_crashed())

    error = ValueError("boom")
    crashes: list[LifespanCrashed] = []
    manager = LifespanManager(app(receives, started, sleeps(1), raises(error)))
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(supervise)  # before the startup
        await anyio.wait_all_tasks_blocked()
        assert manager.crash is None
        await manager.startup()
        assert manager.crash is None
        task_group.start_soon(supervise)  # and after it
    assert [crash.__cause__ for crash in crashes] == [error, error]
    assert "boom" in str(manager.crash)
    assert str(await manager.wait_crashed()) == str(manager.crash)
    with pytest.raises(LifespanCrashed):
        await manager.shutdown()


async def test_a_crash_that_another_caller_has_got_is_raised_by_the_block_too() -> None:
    """It has cancelled the body."""

    async def supervise() -> None:
        await manager.wait_crashed()
        with pytest.raises(LifespanCrashed, match="boom"):
            await manager.shutdown()
        got_it.set()

    got_it = anyio.Event()
    manager = LifespanManager(app(receives, started, sleeps(1), raises(ValueError("boom"))))
    raised: list[BaseException] = []
    async with anyio.create_task_group() as task_group:
        try:
            async with manager:
                task_group.start_soon(supervise)
                try:
                    await anyio.sleep_forever()
                finally:
                    with anyio.CancelScope(shield=True):
                        await got_it.wait()
        except BaseException as exc:  # a cancellation would get lost in the task group
            raised.append(exc)
    assert [type(one) for one in raised] == [LifespanCrashed]
    assert "boom" in str(raised[0])


async def test_an_exit_is_the_cause_of_the_crash_and_raised_by_shutdown() -> None:
    manager = LifespanManager(app(receives, started, sleeps(1), raises(SystemExit(3))))
    await manager.startup()
    for crash in (await manager.wait_crashed(), manager.crash):
        assert isinstance(crash, LifespanCrashed)
        assert isinstance(crash.__cause__, SystemExit)
        assert crash.message == "SystemExit: 3"
    with pytest.raises(SystemExit):
        await manager.shutdown()


@pytest.mark.parametrize("mode", ["auto", "off"])
async def test_wait_crashed_never_returns_without_a_crash(mode: Any) -> None:
    manager = LifespanManager(well_behaved, mode=mode)
    with anyio.move_on_after(100) as scope:
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(manager.wait_crashed)
            await manager.startup()
            await manager.shutdown()
    assert scope.cancelled_caught


async def test_the_app_is_told_to_stop_only_once() -> None:
    resource = Resource(shutdown=2)
    async with LifespanManager(resource) as manager:
        await manager.shutdown()
        await manager.shutdown()
    assert resource.did == ["begun", "shutting down", "shut down"]


async def test_a_failed_shutdown_is_told_once() -> None:
    application = app(receives, started, receives, sends("lifespan.shutdown.failed", "no luck"))
    async with LifespanManager(application) as manager:
        with pytest.raises(ShutdownFailed):
            await manager.shutdown()


async def test_no_timeouts_is_no_limit(drive: Any, passed: Any) -> None:
    resource = Resource(startup=1000, shutdown=1000)
    manager = LifespanManager(resource, startup_timeout=None, shutdown_timeout=None)
    since = current_time()
    await drive(manager)
    assert passed(since, 2000)


async def test_a_timeout_of_zero(drive: Any) -> None:
    manager = LifespanManager(app(receives, hangs), startup_timeout=0)
    with pytest.raises(TimeoutError):
        await drive(manager)


async def test_nothing_is_left_to_the_collector_of_garbage(structured_drive: Any) -> None:
    application = Resource()
    gc.collect()
    gc.disable()
    try:
        managers = [LifespanManager(application)]
        left = weakref.ref(managers[0])
        await structured_drive(managers.pop())
        await anyio.wait_all_tasks_blocked()
        assert left() is None
    finally:
        gc.enable()
    assert application.did == ["begun", "shutting down", "shut down"]


async def test_what_is_done_at_once_is_in_time_whatever_the_limit(drive: Any) -> None:
    manager = LifespanManager(well_behaved, startup_timeout=0, shutdown_timeout=0)
    await drive(manager)
    assert manager.phase is Phase.STOPPED


async def test_request_shutdown_in_a_callback_of_the_event_loop(backend: str) -> None:
    """As handlers of signals are, where the event loop calls them."""
    manager = LifespanManager(well_behaved)
    async with anyio.create_task_group() as task_group:
        await task_group.start(manager.serve)
        if backend == "trio":
            trio.lowlevel.current_trio_token().run_sync_soon(manager.request_shutdown)
        else:
            asyncio.get_running_loop().call_soon(manager.request_shutdown)
    assert manager.phase is Phase.STOPPED


@pytest.mark.parametrize("library", ["asyncio", "trio"])
@pytest.mark.parametrize("by", ["a signal handler", "another thread"])
def test_request_shutdown_from_outside_the_event_loop(library: str, by: str) -> None:
    """It is heard although nothing else wakes the event loop."""

    def request(*args: object) -> None:
        manager.request_shutdown()

    def outside() -> None:
        time.sleep(0.05)  # until the event loop has fallen asleep
        if by == "another thread":
            request()
        else:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    async def main() -> None:
        async with anyio.create_task_group() as task_group:
            await task_group.start(manager.serve)
            threading.Thread(target=outside).start()

    manager = LifespanManager(well_behaved)
    before = signal.signal(signal.SIGUSR1, request)
    signal.set_wakeup_fd(-1)
    since = time.monotonic()
    try:
        with fail_after_alarm(20):
            anyio.run(main, backend=library)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert manager.phase is Phase.STOPPED
    assert time.monotonic() - since < 10


@contextmanager
def fail_after_alarm(seconds: int) -> Iterator[None]:
    """For an event loop that may not come back."""

    def fail(*args: object) -> None:
        raise TimeoutError("the event loop did not come back")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


async def test_shut_down_before_the_caller_of_startup_goes_on(passed: Any) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await anyio.lowlevel.checkpoint()
        await send({"type": "lifespan.startup.complete"})
        task_group.start_soon(manager.shutdown)
        await resource(scope, receive, send)

    async def resource(scope: Any, receive: Any, send: Any) -> None:
        await app(receives, sleeps(10), stopped)(scope, receive, send)

    manager = LifespanManager(application, startup_timeout=3, shutdown_timeout=20)
    since = current_time()
    async with anyio.create_task_group() as task_group:
        await manager.startup()
    assert passed(since, 10)
    assert manager.phase is Phase.STOPPED


# What trio can do besides: it raises KeyboardInterrupt in whatever the main task is waiting in


@pytest.mark.parametrize("way", ["async with", "startup"])
@pytest.mark.parametrize(
    ("at", "did"),
    [
        (1, ["begun", "cancelled"]),
        (5, ["begun", "shutting down", "shut down"]),
        (15, ["begun", "shutting down", "shut down"]),
    ],
    ids=["in startup", "while serving", "in shutdown"],
)
def test_ctrl_c_on_trio(way: str, at: float, did: list[str]) -> None:
    async def main() -> None:
        trio.lowlevel.spawn_system_task(ctrl_c)
        await DRIVES[way](manager, lambda: anyio.sleep(10))

    async def ctrl_c() -> None:
        await anyio.sleep(at)
        signal.raise_signal(signal.SIGINT)

    resource = Resource(startup=2, shutdown=10)
    manager = LifespanManager(resource)
    with pytest.raises(KeyboardInterrupt):
        trio.run(main, clock=MockClock(autojump_threshold=0))
    assert resource.did == did
    assert manager.phase is Phase.STOPPED


# What asyncio can do besides


def run_on_asyncio(backend: str, main: Any) -> None:
    name, options = BACKENDS[backend]()
    anyio.run(main, backend=name, backend_options=options)


def test_a_native_cancellation_during_startup(asyncio_backend: str) -> None:
    async def main() -> None:
        resource = Resource(startup=10)
        task = asyncio.create_task(LifespanManager(resource).startup())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert resource.did == ["begun", "cancelled"]

    run_on_asyncio(asyncio_backend, main)


def test_b_native_cancellations_while_serving_and_in_shutdown(
    asyncio_backend: str, structured_drive: Any
) -> None:
    async def main() -> None:
        resource = Resource(shutdown=10)
        manager = LifespanManager(resource)
        task = asyncio.create_task(structured_drive(manager, anyio.sleep_forever))
        for _ in range(3):
            await asyncio.sleep(1)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert resource.did == ["begun", "shutting down", "shut down"]

    run_on_asyncio(asyncio_backend, main)


@pytest.mark.parametrize("fails", [False, True])
def test_b_a_native_cancellation_in_the_shutdown_alone(
    asyncio_backend: str, fails: bool, log: Any
) -> None:
    async def main() -> None:
        last = sends("lifespan.shutdown.failed", "no luck") if fails else stopped
        manager = LifespanManager(app(receives, started, receives, sleeps(10), last))

        async def drive() -> None:
            async with manager:
                pass

        task = asyncio.create_task(drive())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert manager.phase is (Phase.FAILED if fails else Phase.STOPPED)

    run_on_asyncio(asyncio_backend, main)
    assert ("no luck" in log.text) is fails


def test_the_bare_task_is_cancelled(asyncio_backend: str) -> None:
    async def main() -> None:
        manager = LifespanManager(well_behaved)
        await manager.startup()
        (task,) = [one for one in asyncio.all_tasks() if one.get_name() == "anylifespan"]
        task.cancel()
        crash = await manager.wait_crashed()
        assert isinstance(crash.__cause__, asyncio.CancelledError)
        await asyncio.wait([task])
        assert manager.phase is Phase.FAILED

    run_on_asyncio(asyncio_backend, main)


@pytest.mark.parametrize("caller", ["waits", "is cancelled"])
@pytest.mark.parametrize("way", ["startup", "async with"])
@pytest.mark.parametrize("loop", [one for one in LOOPS if "eager" not in one])
def test_the_bare_task_is_cancelled_before_its_first_step(loop: str, way: str, caller: str) -> None:
    async def main() -> None:
        async def startup() -> None:
            await DRIVES[way](manager)

        manager = LifespanManager(well_behaved, startup_timeout=None)
        starting = asyncio.create_task(startup())
        await asyncio.sleep(0)
        for task in asyncio.all_tasks():
            if task.get_name() == "anylifespan":
                task.cancel()
        if caller == "is cancelled":
            starting.cancel()
        since = current_time()
        with pytest.raises(StartupFailed if caller == "waits" else asyncio.CancelledError):
            await starting
        assert current_time() - since <= 0.01
        assert manager.phase is (Phase.FAILED if caller == "waits" else Phase.STOPPED)

    run_on_asyncio(loop, main)


def test_a_task_factory_that_puts_something_around_the_task(asyncio_backend: str) -> None:
    """Then the task ends later than the application, and is waited for, whatever happens."""

    async def around(coroutine: Any) -> None:
        await coroutine
        await asyncio.sleep(10)
        over.append("over")

    async def main() -> None:
        def factory(loop: Any, coroutine: Any, **options: Any) -> Any:
            return asyncio.Task(around(coroutine), loop=loop, **options)

        host = asyncio.current_task()
        assert host is not None
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        since = current_time()
        loop.call_later(3, host.cancel)
        loop.call_later(4, host.cancel)
        with pytest.raises(asyncio.CancelledError):
            async with LifespanManager(well_behaved):
                pass
        assert current_time() - since == pytest.approx(10)
        assert over == ["over"]

    over: list[str] = []
    run_on_asyncio(asyncio_backend, main)


@pytest.mark.parametrize("way", ["startup", "async with"])
def test_a_task_factory_that_puts_off_the_first_step(asyncio_backend: str, way: str) -> None:
    async def put_off(coroutine: Any) -> None:
        await asyncio.sleep(10)
        await coroutine

    async def never_called(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("too late")

    async def main() -> None:
        def factory(loop: Any, coroutine: Any, **options: Any) -> Any:
            return asyncio.Task(put_off(coroutine), loop=loop, **options)

        asyncio.get_running_loop().set_task_factory(factory)
        since = current_time()
        with pytest.raises(StartupTimeout, match="within 3 seconds"):
            await DRIVES[way](LifespanManager(never_called, startup_timeout=3))
        # A task group waits for its task.
        assert current_time() - since == pytest.approx(3 if way == "startup" else 10)
        await asyncio.sleep(10)

    run_on_asyncio(asyncio_backend, main)


@pytest.mark.parametrize("way", sorted(DRIVES))
def test_a_task_factory_that_raises(asyncio_backend: str, way: str) -> None:
    async def main() -> None:
        def factory(loop: Any, coroutine: Any, **options: Any) -> Any:
            if "Lifespan.run" in repr(coroutine):
                raise ValueError("no tasks today")
            return asyncio.Task(coroutine, loop=loop, **options)

        asyncio.get_running_loop().set_task_factory(factory)
        with anyio.CancelScope() as scope:  # which it would be wrong to leave before an inner one
            with pytest.raises(ValueError, match="no tasks today"):
                await DRIVES[way](LifespanManager(well_behaved))
        assert not scope.cancelled_caught

    run_on_asyncio(asyncio_backend, main)


@pytest.mark.parametrize("way", sorted(DRIVES))
def test_what_tests_put_in_the_place_of_sleep(asyncio_backend: str, way: str) -> None:
    async def main() -> None:
        with mock.patch("asyncio.sleep", side_effect=AssertionError):
            await DRIVES[way](LifespanManager(well_behaved))

    run_on_asyncio(asyncio_backend, main)


@pytest.mark.parametrize("host", ["asyncio", "trio"])
def test_trio_as_a_guest_is_another_event_loop(host: str) -> None:
    """There both can be taken for the one that is running."""

    async def is_refused() -> None:
        for what in (manager.shutdown, manager.wait_crashed):
            with pytest.raises(RuntimeError, match="in another event loop than the lifespan was"):
                await what()

    async def guest() -> None:
        if host == "asyncio":
            await is_refused()
            return
        finish = trio.Event()
        await manager.startup()
        started.set_result((trio.lowlevel.current_trio_token(), finish))
        await finish.wait()
        await manager.shutdown()

    async def main() -> None:
        nonlocal started
        loop = asyncio.get_running_loop()
        started, ended = loop.create_future(), loop.create_future()
        if host == "asyncio":
            await manager.startup()
        trio.lowlevel.start_guest_run(
            guest,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=ended.set_result,
            host_uses_signal_set_wakeup_fd=True,
        )
        if host == "trio":
            token, finish = await started
            await is_refused()
            token.run_sync_soon(finish.set)
        (await ended).unwrap()
        if host == "asyncio":
            await manager.shutdown()

    started: Any = None
    manager = LifespanManager(well_behaved)
    asyncio.run(main())
    assert manager.phase is Phase.STOPPED


async def test_a_body_that_leaves_a_scope_open() -> None:
    left_open = anyio.CancelScope()
    told = cancelled = False
    # On asyncio those around it cannot be left either.
    with suppress(RuntimeError), anyio.CancelScope() as outer:
        with pytest.raises(RuntimeError, match="leave everything in reverse order") as info:
            async with LifespanManager(well_behaved):
                left_open.__enter__()
        told = isinstance(info.value.__cause__, RuntimeError)
        outer.cancel()
        try:
            await anyio.sleep(1)
        except anyio.get_cancelled_exc_class():
            cancelled = True
            raise
    assert told
    assert cancelled


def test_the_event_loop_ends_without_a_shutdown(backend: str) -> None:
    async def main() -> None:
        await LifespanManager(resource).startup()

    resource = Resource()
    name, options = BACKENDS[backend]()
    anyio.run(main, backend=name, backend_options=options)
    assert resource.did == ["begun", "cancelled"]


def test_the_event_loop_is_closed_under_it() -> None:
    closed = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        try:
            await well_behaved(scope, receive, send)
        except GeneratorExit:
            closed.append(True)
            raise

    loop = asyncio.new_event_loop()
    loop.run_until_complete(LifespanManager(application).startup())
    (task,) = asyncio.all_tasks(loop)
    loop.close()
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    task.get_coro().close()  # as the garbage collector does
    assert closed == [True]


async def test_how_long_the_shutdown_took_is_known_when_it_is_over() -> None:
    failing = LifespanManager(app(receives, sends("lifespan.startup.failed")))
    with pytest.raises(StartupFailed):
        await failing.startup()
    assert failing.shutdown_seconds is None
    manager = LifespanManager(app(receives, started, receives, sleeps(1), stopped))
    await manager.startup()
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(manager.shutdown)
        await anyio.wait_all_tasks_blocked()
        assert manager.shutdown_seconds is None
    assert manager.shutdown_seconds == pytest.approx(1)


def test_what_is_raised_of_several_things(log: pytest.LogCaptureFixture) -> None:
    failed, wrongly, crashed = (
        ShutdownFailed("failed"),
        RuntimeError("scope"),
        LifespanCrashed("died"),
    )
    assert settle([failed, wrongly], DEFAULT_LOG) is wrongly
    assert settle([wrongly, failed], DEFAULT_LOG) is wrongly
    assert settle([failed, wrongly, crashed], DEFAULT_LOG) is crashed
    body = ValueError("in the body")
    assert settle([crashed, failed], DEFAULT_LOG, body=body) is body
    assert settle([body_exit := SystemExit(3), crashed], DEFAULT_LOG, body=body) is body_exit


async def test_a_log_line_is_said_to_come_from_where_it_is_written(
    log: pytest.LogCaptureFixture,
) -> None:
    async with LifespanManager(app(receives, started)):
        pass
    (record,) = log.records
    assert (record.filename, record.funcName) == ("lifespan.py", "_log_the_end")
