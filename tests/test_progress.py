"""A startup or a shutdown that takes long is reported while it lasts."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import pytest
from apps import app, hangs, receives, sends, sleeps, started, stopped, well_behaved
from starlette.applications import Starlette

from anylifespan import LifespanManager, StartupFailed, StartupTimeout, lifespan_of

pytestmark = pytest.mark.anyio


async def connect() -> None:
    await anyio.sleep(41)  # the database is not there yet


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    await connect()
    yield
    await anyio.sleep(12)  # the queue is not empty yet


def lines(log: Any) -> list[str]:
    assert {record.levelno for record in log.records} <= {logging.WARNING}
    return [record.getMessage().partition(", waiting at ")[0] for record in log.records]


def places(log: Any) -> list[str]:
    return [record.getMessage().partition(", waiting at ")[2] for record in log.records]


async def test_each_time_after_twice_as_long(log: Any) -> None:
    async with LifespanManager(Starlette(lifespan=lifespan), startup_timeout=None):
        assert lines(log) == [
            "The application is still starting after 5 seconds (no limit)",
            "The application is still starting after 10 seconds (no limit)",
            "The application is still starting after 20 seconds (no limit)",
            "The application is still starting after 40 seconds (no limit)",
        ]
        (place,) = set(places(log))
        number = connect.__code__.co_firstlineno + 1
        line = "await anyio.sleep(41)  # the database is not there yet"
        assert place == f"{__file__}:{number} in connect: {line}"
        log.clear()
    assert lines(log) == [
        "The application is still shutting down after 5 seconds (limit: 30 seconds)",
        "The application is still shutting down after 10 seconds (limit: 30 seconds)",
    ]
    assert places(log)[0].endswith(
        "in lifespan: await anyio.sleep(12)  # the queue is not empty yet"
    )


async def test_startup_and_shutdown_of_servers(log: Any) -> None:
    manager = LifespanManager(Starlette(lifespan=lifespan), startup_timeout=60, report_after=30)
    await manager.startup()
    await manager.shutdown()
    assert lines(log) == ["The application is still starting after 30 seconds (limit: 60 seconds)"]


async def test_two_who_wait_for_the_shutdown_get_one_report(log: Any) -> None:
    manager = LifespanManager(app(receives, started, receives, sleeps(8), stopped))
    await manager.startup()
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(manager.shutdown)
        task_group.start_soon(manager.shutdown)
    assert lines(log) == [
        "The application is still shutting down after 5 seconds (limit: 30 seconds)"
    ]


@pytest.mark.parametrize("report_after", [None, 50])
async def test_never(report_after: float | None, log: Any) -> None:
    options: dict[str, Any] = {"startup_timeout": 60, "report_after": report_after}
    async with LifespanManager(Starlette(lifespan=lifespan), **options):
        pass
    assert not log.records


async def test_a_limit_comes_first(log: Any) -> None:
    with pytest.raises(StartupTimeout):
        async with LifespanManager(Starlette(lifespan=lifespan), startup_timeout=5):
            pass
    assert not log.records


async def test_at_once(log: Any) -> None:
    """Without a second that has passed, there is no twice as long."""
    async with LifespanManager(Starlette(lifespan=lifespan), startup_timeout=60, report_after=0):
        pass
    assert lines(log) == [
        "The application is still starting after 0 seconds (limit: 60 seconds)",
        "The application is still shutting down after 0 seconds (limit: 30 seconds)",
    ]


async def test_less_than_a_second(log: Any) -> None:
    """The seconds are rounded to tenths."""
    takes_a_while = app(receives, sleeps(0.6), started, receives, stopped)
    async with LifespanManager(takes_a_while, startup_timeout=60, report_after=0.125):
        pass
    assert lines(log) == [
        "The application is still starting after 0.1 seconds (limit: 60 seconds)",
        "The application is still starting after 0.2 seconds (limit: 60 seconds)",
        "The application is still starting after 0.5 seconds (limit: 60 seconds)",
    ]


async def test_what_lingers_after_its_last_word_is_no_longer_starting(log: Any) -> None:
    says_no = sends("lifespan.startup.failed")
    manager = LifespanManager(app(receives, says_no, sleeps(4)), report_after=3)
    with pytest.raises(StartupFailed):
        await manager.startup()
    assert not log.records


async def test_what_lingers_after_its_last_word_is_no_longer_shutting_down(log: Any) -> None:
    application = app(receives, started, receives, stopped, sleeps(4))
    async with LifespanManager(application, report_after=3):
        pass
    assert not log.records


async def test_what_tasks_of_it_wait_for(log: Any) -> None:
    async def load(number: int) -> None:
        # Each at a line of its own.
        if number == 0:
            await anyio.sleep(6)
        if number == 1:
            await anyio.sleep(7)
        if number > 1:
            await anyio.sleep(8)

    async def loads(number: int, receive: Any, send: Any) -> None:
        async with anyio.create_task_group() as task_group:
            for one in range(number):
                task_group.start_soon(load, one)

    async with LifespanManager(app(receives, partial(loads, 2), started, receives, stopped)):
        (place,) = places(log)
        waiting, *tasks = place.split("; and at ")
        assert " in loads: async with anyio.create_task_group()" in waiting
        assert [one.rpartition(": ")[2] for one in tasks] == [
            "await anyio.sleep(6)",
            "await anyio.sleep(7)",
        ]


async def test_nothing_is_reported_after_its_last_word(log: Any) -> None:
    failing = app(receives, sends("lifespan.startup.failed", "no database"), hangs)
    with pytest.raises(StartupFailed):
        async with LifespanManager(failing, report_after=1):
            raise AssertionError("it has started")
    (message,) = log.messages
    assert "still runs 5 seconds after it had sent lifespan.startup.failed" in message


@pytest.mark.parametrize(
    ("tasks", "others"), [(3, []), (4, ["2 other places"]), (9, ["7 other places"])]
)
async def test_not_too_many_places(log: Any, tasks: int, others: list[str]) -> None:
    code = "async def load(number):\n"
    code += "".join(f" if number == {n}:\n  await anyio.sleep(6)\n" for n in range(9))
    names: dict[str, Any] = {"anyio": anyio, "__name__": "loads"}
    exec(compile(code, __file__, "exec"), names)

    async def loads(receive: Any, send: Any) -> None:
        async with anyio.create_task_group() as task_group:
            for one in range(tasks):
                task_group.start_soon(names["load"], one)

    async with LifespanManager(app(receives, loads, started, receives, stopped)):
        (place,) = places(log)
    assert place.count("; and at ") == 3
    assert [one for one in place.split("; and at ")[3:] if "other places" in one] == others


async def test_no_line_of_its_own(log: Any) -> None:
    code = """
async def application(scope, receive, send):
    await receive()
    await anyio.sleep(6)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
"""
    names: dict[str, Any] = {"anyio": anyio, "__name__": "anyio.made_up"}
    exec(code, names)
    async with LifespanManager(names["application"]):
        assert places(log) == ["a line that is not its own"]


async def test_parts_are_reported_by_the_whole(log: Any) -> None:
    inner = Starlette(lifespan=lifespan)
    whole = Starlette(lifespan=lifespan_of(inner))
    async with LifespanManager(whole, startup_timeout=60, report_after=40):
        assert lines(log) == [
            "The application is still starting after 40 seconds (limit: 60 seconds)"
        ]
        assert " in connect: " in places(log)[0]
        log.clear()
    assert not log.records


@pytest.mark.parametrize("value", [-1, float("nan"), "5", True])
def test_nonsense(value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="report_after must be"):
        LifespanManager(well_behaved, report_after=value)
