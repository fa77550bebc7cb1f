from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from anyio import create_task_group, current_time
from clocks import VirtualClockLoop
from trio.testing import MockClock

from anylifespan import LifespanManager

try:
    from clocks import VirtualClockUvloop
except ImportError:  # pragma: no cover
    VirtualClockUvloop = None

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

pytest_plugins = ["pytester"]

BACKENDS: dict[str, Callable[[], tuple[str, dict[str, Any]]]] = {
    "asyncio": lambda: ("asyncio", {"loop_factory": VirtualClockLoop}),
    "trio": lambda: ("trio", {"clock": MockClock(autojump_threshold=0)}),
}
if VirtualClockUvloop is not None:
    BACKENDS["uvloop"] = lambda: ("asyncio", {"loop_factory": VirtualClockUvloop})


@pytest.fixture(params=sorted(BACKENDS))
def backend(request: pytest.FixtureRequest) -> str:
    """Every asynchronous test runs on each of these, with the same assertions."""
    return request.param


@pytest.fixture(params=sorted(BACKENDS.keys() - {"trio"}))
def asyncio_backend(request: pytest.FixtureRequest) -> str:
    """For what only asyncio can do."""
    return request.param


@pytest.fixture
def anyio_backend(backend: str) -> tuple[str, dict[str, Any]]:
    return BACKENDS[backend]()


@pytest.fixture
def passed() -> Callable[[float, float], bool]:
    """``passed(since, seconds)``: whether exactly so much time has passed on the virtual clock."""

    def passed(since: float, seconds: float) -> bool:
        return current_time() - since == pytest.approx(seconds, abs=1e-3)

    return passed


Body = Callable[[], Awaitable[object]]
Drive = Callable[..., Awaitable[None]]


async def _nothing() -> None:
    pass


async def drive_async_with(manager: LifespanManager, body: Body = _nothing) -> None:
    async with manager:
        await body()


async def drive_serve(manager: LifespanManager, body: Body = _nothing) -> None:
    try:
        async with create_task_group() as task_group:
            await task_group.start(manager.serve)
            await body()
            manager.request_shutdown()
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        raise group.exceptions[0] from group.exceptions[0].__cause__


async def drive_startup(manager: LifespanManager, body: Body = _nothing) -> None:
    await manager.startup()
    try:
        await body()
    finally:
        await manager.shutdown()


DRIVES: dict[str, Drive] = {
    "async with": drive_async_with,
    "serve": drive_serve,
    "startup": drive_startup,
}


@pytest.fixture(params=DRIVES)
def drive(request: pytest.FixtureRequest) -> Drive:
    """Each way into the lifespan: ``await drive(manager, body)``."""
    return DRIVES[request.param]


@pytest.fixture(params=["async with", "serve"])
def structured_drive(request: pytest.FixtureRequest) -> Drive:
    """The ways in that are part of the caller's tree of tasks."""
    return DRIVES[request.param]


@pytest.fixture(params=["auto", "on"])
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, logger="anylifespan")
    return caplog
