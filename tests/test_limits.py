"""Timeouts: what they can interrupt, that none passes unnoticed, and how those of parts add up."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from apps import Boom, app, hangs, raises, receives, sleeps, started, stopped, well_behaved
from clocks import LOOPS
from conftest import BACKENDS
from starlette.applications import Starlette

from anylifespan import (
    LifespanCrashed,
    LifespanManager,
    Phase,
    ShutdownTimeout,
    StartupFailed,
    StartupTimeout,
    lifespan_of,
    with_lifespan,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def real_time(request: pytest.FixtureRequest) -> Any:
    """Run something on a clock that goes on while the event loop is blocked."""
    return lambda main: anyio.run(main, backend=request.param)


async def blocks(receive: Any, send: Any) -> None:
    time.sleep(0.05)  # noqa: ASYNC251


async def lets_others_run(receive: Any, send: Any) -> None:
    await checkpoint()


@pytest.mark.parametrize("first", [[receives], []], ids=["receives", "does not receive"])
def test_7_a_startup_that_blocks_between_checkpoints_is_out_of_time(
    real_time: Any, first: list[Any]
) -> None:
    steps = [blocks, lets_others_run] * 4

    async def main() -> None:
        manager = LifespanManager(app(*first, *steps, started, receives), startup_timeout=0.01)
        with pytest.raises(StartupTimeout, match=r"within 0\.01 seconds"):
            await manager.startup()

    real_time(main)


def test_14_a_shutdown_that_blocks_between_checkpoints_is_out_of_time(real_time: Any) -> None:
    steps = [blocks, lets_others_run] * 4

    async def main() -> None:
        manager = LifespanManager(app(receives, started, receives, *steps), shutdown_timeout=0.01)
        await manager.startup()
        with pytest.raises(ShutdownTimeout, match=r"within 0\.01 seconds"):
            await manager.shutdown()

    real_time(main)


@pytest.mark.parametrize("phase", ["startup", "shutdown"])
def test_what_cannot_be_interrupted_is_reported(real_time: Any, phase: str, log: Any) -> None:
    steps = [blocks, started, receives] if phase == "startup" else [started, receives, blocks]

    async def main() -> None:
        limits: dict[str, Any] = {f"{phase}_timeout": 0.01}
        async with LifespanManager(app(receives, *steps, stopped), **limits):
            pass

    real_time(main)
    (record,) = log.records
    assert record.levelno == logging.WARNING
    assert f"The application's {phase} took 0.0" in log.text
    assert "more than its limit of 0.01: the event loop was blocked" in log.text


@pytest.mark.parametrize("timeout", [1e308, 10**400, float("inf")])
@pytest.mark.parametrize("backend", ["trio", *LOOPS])
async def test_an_absurd_timeout_is_as_good_as_none(timeout: Any, drive: Any) -> None:
    manager = LifespanManager(
        app(receives, sleeps(1), started, receives, sleeps(1), stopped),
        startup_timeout=timeout,
        shutdown_timeout=timeout,
    )
    await drive(manager)
    assert manager.phase is Phase.STOPPED


# Parts


@asynccontextmanager
async def nothing(app: Any) -> AsyncIterator[None]:
    yield


hangs_in_shutdown = app(receives, started, receives, hangs)


def within_starlette(part: Any, **options: Any) -> Any:
    return Starlette(lifespan=lifespan_of(part, **options))


WHOLES = {
    "with_lifespan": lambda part: with_lifespan(part, nothing),
    "nested": lambda part: with_lifespan(with_lifespan(part, nothing), nothing),
    "lifespan_of": within_starlette,
    "lifespan_of, concurrent": lambda part: within_starlette(part, concurrent=True),
}


@pytest.fixture(params=WHOLES)
def whole(request: pytest.FixtureRequest) -> Any:
    return WHOLES[request.param]


async def test_14_the_limit_of_the_whole_is_that_of_its_parts(
    whole: Any, drive: Any, passed: Any
) -> None:
    manager = LifespanManager(whole(hangs_in_shutdown), shutdown_timeout=1)
    since = anyio.current_time()
    with pytest.raises(ShutdownTimeout, match=r"within 1 second\.") as info:
        await drive(manager)
    assert passed(since, 1)
    assert "in hangs" in str(info.value)


async def test_14_parts_share_the_limit_of_the_whole(drive: Any, passed: Any) -> None:
    parts = [hangs_in_shutdown, hangs_in_shutdown, hangs_in_shutdown]
    manager = LifespanManager(Starlette(lifespan=lifespan_of(*parts)), shutdown_timeout=1)
    since = anyio.current_time()
    with pytest.raises(ShutdownTimeout, match=r"within 1 second\."):
        await drive(manager)
    assert passed(since, 1)


async def test_14_a_part_may_have_a_shorter_limit(drive: Any, passed: Any) -> None:
    application = with_lifespan(hangs_in_shutdown, nothing, shutdown_timeout=2)
    since = anyio.current_time()
    with pytest.raises(Exception, match="within 2 seconds"):
        await drive(LifespanManager(application))
    assert passed(since, 2)


@pytest.mark.parametrize("concurrent", [False, True])
async def test_8_a_crash_of_a_part_reaches_the_whole_at_once(
    concurrent: bool, passed: Any, log: Any
) -> None:
    crashing = app(receives, started, sleeps(1), raises(Boom("died")))
    slow = app(receives, started, receives, sleeps(10), stopped)
    application = Starlette(lifespan=lifespan_of(crashing, slow, concurrent=concurrent))
    manager = LifespanManager(application)
    since = anyio.current_time()
    await manager.startup()
    crash = await manager.wait_crashed()
    assert passed(since, 1)
    assert isinstance(crash.__cause__, Boom)
    assert manager.phase is Phase.FAILED
    with pytest.raises(LifespanCrashed, match="died"):
        await manager.shutdown()
    assert passed(since, 11)  # the other one has been shut down


async def test_8_a_crash_of_a_part_cancels_the_body_at_once(passed: Any) -> None:
    crashing = app(receives, started, sleeps(1), raises(Boom("died")))
    slow = app(receives, started, receives, sleeps(10), stopped)
    since = anyio.current_time()
    with pytest.raises(LifespanCrashed, match="died"):
        async with LifespanManager(Starlette(lifespan=lifespan_of(crashing, slow))):
            try:
                await anyio.sleep_forever()
            finally:
                assert passed(since, 1)
    assert passed(since, 11)


@pytest.mark.parametrize("concurrent", [False, True])
async def test_8_two_parts_crash(concurrent: bool, drive: Any) -> None:
    crashing = [app(receives, started, sleeps(1), raises(Boom(f"died {n}"))) for n in (1, 2)]
    application = Starlette(lifespan=lifespan_of(*crashing, concurrent=concurrent))
    with pytest.raises(LifespanCrashed, match="died"):
        await drive(LifespanManager(application), lambda: anyio.sleep(2))


@pytest.mark.parametrize("concurrent", [False, True])
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("when", ["startup", "serving", "shutdown"])
def test_20_a_part_that_exits(backend: str, concurrent: bool, kind: Any, when: str) -> None:
    """It is raised where the lifespan was begun, and the siblings are shut down."""
    ended: list[str] = []

    async def sibling(scope: Any, receive: Any, send: Any) -> None:
        await well_behaved(scope, receive, send)
        ended.append("sibling")

    async def main() -> None:
        with pytest.raises(kind):
            async with LifespanManager(application):
                await anyio.sleep(2)
        ended.append("main goes on")

    before = {"startup": [], "serving": [started, sleeps(1)], "shutdown": [started, receives]}
    exits = app(receives, *before[when], raises(kind()))
    application = Starlette(lifespan=lifespan_of(sibling, exits, concurrent=concurrent))
    name, options = BACKENDS[backend]()
    anyio.run(main, backend=name, backend_options=options)
    assert ended[-1] == "main goes on"
    assert "sibling" in ended or when == "startup"


@pytest.mark.parametrize("concurrent", [False, True])
async def test_4_a_part_that_raises_in_its_startup_in_mode_on(concurrent: bool, drive: Any) -> None:
    raising = app(receives, raises(Boom("no database")))
    application = Starlette(lifespan=lifespan_of(well_behaved, raising, concurrent=concurrent))
    with pytest.raises(StartupFailed, match="no database"):
        await drive(LifespanManager(application, mode="on"))
    await drive(LifespanManager(application))


@pytest.mark.parametrize("concurrent", [False, True])
async def test_1_a_part_without_a_lifespan_in_mode_on(
    concurrent: bool, drive: Any, log: Any
) -> None:
    without = app(raises(Boom("no lifespan")))
    application = Starlette(lifespan=lifespan_of(without, well_behaved, concurrent=concurrent))
    await drive(LifespanManager(application, mode="on"))
    assert "(it raised Boom: no lifespan, at " in log.text
