"""``start_blocking_lifespan``: an application that is up while synchronous code runs."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from apps import Boom, app, hangs, raises, receives, sends, sleeps, started, well_behaved

from anylifespan import (
    LifespanCrashed,
    LifespanManager,
    Phase,
    ShutdownFailed,
    ShutdownTimeout,
    StartupFailed,
    StartupTimeout,
)
from anylifespan._portal import Call
from anylifespan.from_thread import cancel_unless_up, start_blocking_lifespan

LIBRARIES = ["asyncio", "trio"]


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Any:
    before = set(threading.enumerate())
    yield
    assert not [thread for thread in set(threading.enumerate()) - before if thread.is_alive()]


async def shop(scope: Any, receive: Any, send: Any) -> None:
    scope["state"]["thread"] = threading.get_ident()
    await well_behaved(scope, receive, send)


def test_a_block_of_synchronous_code(library: str) -> None:
    with start_blocking_lifespan(shop, library, mode="on") as lifespan:
        assert lifespan.state == {"thread": lifespan.portal.call(threading.get_ident)}
        assert lifespan.state["thread"] != threading.get_ident()
        assert lifespan.manager.phase.value == "serving"
        assert lifespan.app is lifespan.manager.app
    assert lifespan.manager.phase.value == "stopped"


def test_in_a_thread_of_the_callers(library: str) -> None:
    thread = threading.Thread(target=test_a_block_of_synchronous_code, args=(library,))
    thread.start()
    thread.join(30)


def test_two_at_once(library: str) -> None:
    with (
        start_blocking_lifespan(shop, library) as one,
        start_blocking_lifespan(shop, library) as other,
    ):
        assert one.state["thread"] != other.state["thread"]


def test_an_error_in_the_startup(library: str) -> None:
    boom = Boom("no database")
    with pytest.raises(StartupFailed, match="no database") as info:
        with start_blocking_lifespan(app(receives, raises(boom)), library, mode="on"):
            raise AssertionError("it has not started")
    assert info.value.__cause__ is boom


def test_a_startup_that_hangs(library: str) -> None:
    with pytest.raises(StartupTimeout, match="in hangs"):
        with start_blocking_lifespan(app(hangs), library, startup_timeout=0.01):
            raise AssertionError("it has not started")


def test_an_error_in_the_shutdown(library: str) -> None:
    failing = app(receives, started, receives, sends("lifespan.shutdown.failed", "no goodbye"))
    with pytest.raises(ShutdownFailed, match="no goodbye"):
        with start_blocking_lifespan(failing, library):
            pass


def test_a_crash_is_raised_on_leaving(library: str) -> None:
    at: list[anyio.Event] = []

    async def wait(receive: Any, send: Any) -> None:
        await at[0].wait()

    async def starts_to_wait(receive: Any, send: Any) -> None:
        at.append(anyio.Event())

    crashing = app(receives, starts_to_wait, started, wait, raises(Boom("died")))
    left = False
    with pytest.raises(LifespanCrashed, match="died") as info:
        with start_blocking_lifespan(crashing, library) as lifespan:
            lifespan.portal.call(at[0].set)
            crash = lifespan.portal.call(lifespan.manager.wait_crashed)
            assert isinstance(crash.__cause__, Boom)
            left = True
    assert left
    assert isinstance(info.value.__cause__, Boom)


@pytest.mark.parametrize("error", [Boom(), KeyboardInterrupt(), SystemExit(3)])
def test_an_exception_in_the_block_goes_on(library: str, error: BaseException) -> None:
    goodbyes: list[bool] = []

    async def says_goodbye(receive: Any, send: Any) -> None:
        goodbyes.append(True)

    with pytest.raises(type(error)) as info:
        with start_blocking_lifespan(app(receives, started, receives, says_goodbye), library):
            raise error
    assert info.value is error
    assert goodbyes == [True]


def test_bad_input_is_told_before_anything_is_started() -> None:
    with pytest.raises(TypeError, match="app must be an ASGI application"):
        with start_blocking_lifespan("main:app"):  # type: ignore[arg-type]
            pass
    with pytest.raises(ValueError, match="mode must be"):
        with start_blocking_lifespan(well_behaved, mode="maybe"):
            pass


SCRIPT = """
import sys, time
sys.path.insert(0, {tests!r})
from apps import *
from anylifespan.from_thread import start_blocking_lifespan

async def says(receive, send):
    print("ready", flush=True)

async def says_goodbye(receive, send):
    await anyio.sleep(0.01)
    print("goodbye", flush=True)

async def cleans_up(receive, send):
    try:
        print("ready", flush=True)
        await anyio.sleep_forever()
    finally:
        print("goodbye", flush=True)

in_startup = app(receives, cleans_up)
in_block = app(receives, started, says, receives, says_goodbye, stopped)

async def hangs_in_shutdown(receive, send):
    print("shutting down", flush=True)
    await cleans_up(receive, send)

async def says_goodbye_late(receive, send):
    print("shutting down", flush=True)
    await anyio.sleep(0.5)
    print("goodbye", flush=True)

slow = app(receives, started, receives, says_goodbye_late, stopped)
stubborn = app(receives, started, says, receives, hangs_in_shutdown)
with start_blocking_lifespan({app}, {library!r}):
    if "{app}" == "slow":
        sys.exit()
    for _ in range(6000):  # a signal just before one long sleep would have to wait for its end
        time.sleep(0.01)
"""


@contextmanager
def script(app: str, library: str) -> Iterator[subprocess.Popen[str]]:
    """A process that takes SIGINT as from a terminal."""
    tests = str(Path(__file__).parent)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(tests=tests, app=app, library=library)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, before)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def interrupt(process: subprocess.Popen[str], *lines: str) -> None:
    """Press Ctrl-C when the process has said this."""
    assert process.stdout is not None
    for line in lines:
        assert process.stdout.readline() == f"{line}\n"
    process.send_signal(signal.SIGINT)


@pytest.mark.parametrize("when", ["in_startup", "in_block"])
def test_ctrl_c_ends_it_gracefully(library: str, when: str) -> None:
    with script(when, library) as process:
        interrupt(process, "ready")
        out, err = process.communicate(timeout=30)
    assert out == "goodbye\n"
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert process.returncode == -signal.SIGINT


def test_a_second_ctrl_c_cancels_a_shutdown_that_hangs(library: str) -> None:
    with script("stubborn", library) as process:
        interrupt(process, "ready")
        interrupt(process, "shutting down", "ready")
        out, err = process.communicate(timeout=30)
    assert out == "goodbye\n"
    assert "Besides, ShutdownFailed: the application failed to shut down: it was cancelled" in err
    assert process.returncode == -signal.SIGINT


def test_the_first_ctrl_c_lets_a_shutdown_finish(library: str) -> None:
    with script("slow", library) as process:
        interrupt(process, "shutting down")
        out, err = process.communicate(timeout=30)
    assert out == "goodbye\n"
    assert "ShutdownFailed" not in err


@pytest.mark.parametrize("error", [Boom(), KeyboardInterrupt(), SystemExit(3)])
def test_an_exception_in_the_block_goes_on_after_a_crash(
    library: str, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    crashing = app(receives, started, sleeps(0.01), raises(Boom("died")))
    with pytest.raises(type(error)) as info:
        with start_blocking_lifespan(crashing, library) as lifespan:
            lifespan.portal.call(lifespan.manager.wait_crashed)
            raise error
    assert info.value is error
    assert "crashed while serving: Boom: died" in error.__notes__[0]
    assert "Boom: died" in caplog.text


def test_an_exit_of_the_application_is_raised_in_the_calling_thread(library: str) -> None:
    with pytest.raises(SystemExit):
        with start_blocking_lifespan(app(receives, raises(SystemExit(3))), library):
            raise AssertionError("it has not started")


def test_an_application_that_ignores_its_cancellation_is_left_to_its_thread(
    library: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What the third Ctrl-C does; here it comes from the application, at the right moments."""
    main_thread = threading.main_thread().ident
    assert main_thread is not None

    async def presses_ctrl_c_and_is_deaf(receive: Any, send: Any) -> None:
        with anyio.CancelScope(shield=True):
            for _ in range(3):
                await anyio.sleep(0.1)
                signal.pthread_kill(main_thread, signal.SIGINT)
            await anyio.sleep(0.2)

    deaf = app(receives, started, receives, presses_ctrl_c_and_is_deaf)
    with pytest.raises(KeyboardInterrupt):
        with start_blocking_lifespan(deaf, library):
            pass
    assert "The application still runs in its thread, although it was cancelled." in caplog.text


def test_a_call_that_is_cancelled_before_it_has_begun(library: str) -> None:
    async def never() -> None:
        raise AssertionError

    call = Call(never)
    call.cancel()
    anyio.run(call.run, backend=library)
    assert not call.outcome.done()


def test_ctrl_c_before_the_startup(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    def interrupted(*args: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("anylifespan.from_thread._wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        with start_blocking_lifespan(well_behaved, library):
            raise AssertionError("it has not started")


def test_ctrl_c_in_the_moment_in_which_it_starts_to_serve(library: str) -> None:
    """It is shut down then, and not cancelled."""

    async def main() -> None:
        manager = LifespanManager(well_behaved)
        await manager.startup()
        cancel_unless_up(manager)
        assert manager.phase is Phase.SERVING
        await manager.shutdown()

    anyio.run(main, backend=library)


def blocks_until(release: threading.Event) -> Any:
    async def blocks(receive: Any, send: Any) -> None:
        release.wait(60)

    return blocks


@pytest.mark.parametrize(
    ("steps", "error"),
    [((receives,), StartupTimeout), ((receives, started, receives), ShutdownTimeout)],
)
def test_an_application_that_blocks_its_event_loop_is_left_to_its_thread(
    monkeypatch: pytest.MonkeyPatch, library: str, steps: Any, error: type[StartupTimeout]
) -> None:
    monkeypatch.setattr("anylifespan._portal.ANSWER", 0.2)
    release = threading.Event()
    before = set(threading.enumerate())
    with pytest.raises(error) as caught:
        with start_blocking_lifespan(
            app(*steps, blocks_until(release)), library, startup_timeout=0.2, shutdown_timeout=0.2
        ):
            assert error is ShutdownTimeout
    phase = "startup" if error is StartupTimeout else "shutdown"
    assert str(caught.value).startswith(
        f"the application did not finish its {phase} within 0.2 seconds: it blocks its event loop. "
        "Its thread was abandoned. The thread is at:\n"
    )
    assert "release.wait(60)" in str(caught.value)
    assert caught.value.timeout == 0.2
    assert [frame.name for frame in caught.value.where][-3:-1] == ["blocks", "wait"]
    threads = set(threading.enumerate()) - before
    assert [thread.daemon for thread in threads] == [True]  # or Python would wait for it
    release.set()
    for thread in threads:
        thread.join(30)


def test_an_event_loop_that_is_busy_beyond_a_limit_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    """The event loop answers, so the manager decides how long to wait for the application."""
    monkeypatch.setattr("anylifespan._portal.ANSWER", 0.1)

    async def is_deaf(receive: Any, send: Any) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.6)

    with pytest.raises(ShutdownTimeout, match="finish its shutdown within"):
        with start_blocking_lifespan(
            app(receives, started, receives, is_deaf), library, shutdown_timeout=0.1
        ):
            pass


def test_an_unknown_backend() -> None:
    with pytest.raises(LookupError, match="No such backend: curio"):
        with start_blocking_lifespan(well_behaved, "curio"):
            raise AssertionError("it has not started")


def test_tasks_of_the_portal_are_cancelled_if_the_block_raises(library: str) -> None:
    with pytest.raises(Boom):
        with start_blocking_lifespan(well_behaved, library) as lifespan:
            sleeping = lifespan.portal.start_task_soon(anyio.sleep_forever)
            raise Boom
    assert sleeping.cancelled()


def test_ctrl_c_is_not_lost_if_the_event_loop_is_blocked(
    monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    monkeypatch.setattr("anylifespan._portal.ANSWER", 0.2)
    main_thread = threading.main_thread().ident
    assert main_thread is not None
    release = threading.Event()
    before = set(threading.enumerate())

    async def blocks(receive: Any, send: Any) -> None:
        signal.pthread_kill(main_thread, signal.SIGINT)
        release.wait(60)

    with pytest.raises(KeyboardInterrupt) as caught:
        with start_blocking_lifespan(
            app(receives, started, receives, blocks), library, shutdown_timeout=0.2
        ):
            pass
    release.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
    if sys.version_info >= (3, 11):
        assert "Besides, ShutdownTimeout: " in caught.value.__notes__[0]
