"""Ctrl-C goes one step further each time: shut down, cancelled, left. One rule, on each backend.

What asyncio makes of it is ``asyncio.run()``'s: the first cancels the main task, from the second on
KeyboardInterrupt ends the event loop, with all its tasks. trio raises KeyboardInterrupt in its main
task each time.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
from apps import app, receives, sends, started
from trio.testing import MockClock

from anylifespan import LifespanCrashed, LifespanManager, Phase

SCRIPT = """
import sys, threading
sys.path.insert(0, {tests!r})
from apps import *
from anylifespan import LifespanManager

def says(word):
    async def step(receive, send):
        print(word, flush=True)
    return step

async def cleans_up(receive, send):
    try:
        # By a thread, so that no line of the application is running then.
        threading.Timer(0.1, print, ["ready"], {{"flush": True}}).start()
        await anyio.sleep_forever()
    finally:
        print("cancelled", flush=True)

hangs_in_startup = app(receives, cleans_up)
hangs_in_shutdown = app(receives, started, receives, cleans_up)
well_behaved = app(receives, started, receives, says("goodbye"), stopped)

async def async_with(manager):
    async with manager:
        print("up", flush=True)
        {body}

async def startup(manager):
    await manager.startup()
    try:
        print("up", flush=True)
        {body}
    finally:
        await manager.shutdown()

async def main():
    await {way}(LifespanManager({app}))

anyio.run(main, backend={library!r})
"""


@pytest.fixture(params=["asyncio", "trio"])
def library(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def start(library: str) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """A process that runs an application, and takes SIGINT as from a terminal."""
    processes: list[subprocess.Popen[str]] = []

    def start(app: str, way: str, body: str = "pass") -> subprocess.Popen[str]:
        tests = str(Path(__file__).parent)
        script = SCRIPT.format(tests=tests, app=app, way=way, body=body, library=library)
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        signal.signal(signal.SIGINT, before)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def ends(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=20)
    assert process.returncode in (1, -signal.SIGINT), err
    # On Python 3.10, anyio.run() raises the cancellation itself.
    assert "KeyboardInterrupt" in err or (sys.version_info < (3, 11) and "CancelledError" in err)
    return out


def interrupt(process: subprocess.Popen[str], line: str) -> None:
    """Press Ctrl-C when the process has said something."""
    assert process.stdout is not None
    assert process.stdout.readline() == f"{line}\n"
    process.send_signal(signal.SIGINT)


WAYS = pytest.mark.parametrize("way", ["async_with", "startup"])


@WAYS
def test_the_first_in_the_startup_cancels_it(start: Any, way: str) -> None:
    process = start("hangs_in_startup", way)
    interrupt(process, "ready")
    assert ends(process) == "cancelled\n"


@WAYS
def test_the_first_while_it_serves_shuts_it_down(start: Any, way: str) -> None:
    process = start("well_behaved", way, "await anyio.sleep_forever()")
    interrupt(process, "up")
    assert ends(process) == "goodbye\n"


@WAYS
def test_the_second_cancels_a_shutdown_that_the_first_has_begun(start: Any, way: str) -> None:
    process = start("hangs_in_shutdown", way, "await anyio.sleep_forever()")
    interrupt(process, "up")
    interrupt(process, "ready")
    assert ends(process) == "cancelled\n"


@WAYS
def test_the_second_in_a_shutdown_cancels_it(start: Any, way: str) -> None:
    process = start("hangs_in_shutdown", way)
    assert process.stdout.readline() == "up\n"
    interrupt(process, "ready")
    # The first lets it finish; that nothing happens takes a moment to be seen.
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGINT)
    assert ends(process) == "cancelled\n"


@pytest.mark.parametrize("phase", ["startup", "shutdown"])
def test_another_leaves_an_application_that_ignores_its_cancellation(
    phase: str, log: pytest.LogCaptureFixture
) -> None:
    """On trio; on asyncio the event loop is the one to leave it, when it ends."""

    async def ignores(receive: Any, send: Any) -> None:
        with anyio.CancelScope(shield=True):
            await release.wait()

    async def main() -> None:
        nonlocal release
        release = anyio.Event()
        steps = [started, receives] if phase == "shutdown" else []
        manager = LifespanManager(app(receives, *steps, ignores))
        since = anyio.current_time()
        trio.lowlevel.spawn_system_task(press_ctrl_c, 3 if phase == "shutdown" else 2)
        with pytest.raises(KeyboardInterrupt) as info:
            await manager.startup()
            await manager.shutdown()
        seconds.append(anyio.current_time() - since)
        if phase == "shutdown":
            assert "still runs" in info.value.__notes__[0]
        release.set()
        await anyio.wait_all_tasks_blocked()

    async def press_ctrl_c(times: int) -> None:
        for _ in range(times):
            await anyio.sleep(1)
            signal.raise_signal(signal.SIGINT)

    release: Any = None
    seconds: list[float] = []
    run_on_trio(main)
    assert seconds == [pytest.approx(3 if phase == "shutdown" else 2)]
    assert "was left running has ended" in log.text


def test_it_comes_out_beside_a_crash(log: pytest.LogCaptureFixture) -> None:
    """While the end of an application is waited for that cannot go on."""
    breaking = sends("lifespan.shutdown.failed", "the cable is cut")

    async def lingers(receive: Any, send: Any) -> None:
        await anyio.sleep(3)

    async def main() -> None:
        trio.lowlevel.spawn_system_task(press_ctrl_c)
        async with LifespanManager(app(receives, started, breaking, lingers)):
            await anyio.sleep_forever()

    async def press_ctrl_c() -> None:
        await anyio.sleep(1)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as info:
        run_on_trio(main)
    assert "the cable is cut" in info.value.__notes__[0]
    assert any(isinstance(one.exc_info[1], LifespanCrashed) for one in log.records if one.exc_info)


def test_it_waits_while_a_crash_is_logged() -> None:
    """The library's own frames are protected, and what they call."""

    class PressesCtrlC(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if not presses and record.levelno == logging.ERROR:
                presses.append(record.getMessage())
                signal.raise_signal(signal.SIGINT)

    async def main() -> None:
        async with manager:
            await anyio.sleep_forever()

    presses: list[str] = []
    manager = LifespanManager(app(receives, started, sleeps_and_dies))
    logger = logging.getLogger("anylifespan")
    handler = PressesCtrlC()
    logger.addHandler(handler)
    try:
        with pytest.raises(KeyboardInterrupt) as info:
            run_on_trio(main)
    finally:
        logger.removeHandler(handler)
    assert manager.phase is Phase.FAILED
    assert "crashed while serving: ValueError: boom" in info.value.__notes__[0]


async def sleeps_and_dies(receive: Any, send: Any) -> None:
    await anyio.sleep(1)
    raise ValueError("boom")


@pytest.mark.parametrize("way", ["async with", "startup"])
def test_it_is_raised_in_the_code_of_the_application(way: str) -> None:
    """Otherwise an endless loop in it could not be interrupted."""

    async def blocks(receive: Any, send: Any) -> None:
        protected.append(trio.lowlevel.currently_ki_protected())
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("not interrupted")

    async def main() -> None:
        if way == "startup":
            await LifespanManager(app(receives, blocks)).startup()
        else:
            async with LifespanManager(app(receives, blocks)):
                raise AssertionError("entered")

    protected: list[bool] = []
    with pytest.raises(KeyboardInterrupt) as info:
        run_on_trio(main)
    assert protected == [False]
    assert "blocks" in [entry.name for entry in info.traceback]


def run_on_trio(main: Any) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        trio.run(main, clock=MockClock(autojump_threshold=0))
    finally:
        signal.signal(signal.SIGINT, before)
