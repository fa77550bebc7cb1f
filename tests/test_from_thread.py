"""``start_blocking_lifespan``: an application that is up while synchronous code runs."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest
from apps import Boom, app, hangs, raises, receives, sends, started, well_behaved

from anylifespan import LifespanCrashed, ShutdownFailed, StartupFailed, StartupTimeout
from anylifespan.from_thread import start_blocking_lifespan

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
with start_blocking_lifespan({app}, {library!r}):
    for _ in range(6000):  # a signal just before one long sleep would have to wait for its end
        time.sleep(0.01)
"""


@pytest.mark.parametrize("when", ["in_startup", "in_block"])
def test_ctrl_c_ends_it_gracefully(library: str, when: str) -> None:
    tests = str(Path(__file__).parent)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(tests=tests, app=when, library=library)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, before)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert out == "goodbye\n"
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert process.returncode == -signal.SIGINT
