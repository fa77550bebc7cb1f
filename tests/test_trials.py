"""The observation itself: what must never be seen would be seen."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from apps import receives, started, stopped
from catalogue import SERVED, START_FAILED, Behaviour, Make, Outcome, Resources, steps
from trials import Fault, Report, Trial, run
from verdicts import check

pytestmark = pytest.mark.usefixtures("tidy")

kept: list[Any] = []


@pytest.fixture(autouse=True)
def _cleanup() -> Iterator[None]:
    kept.clear()
    yield
    for one in kept:
        if isinstance(one, threading.Event):
            one.set()
        elif isinstance(one, int):
            os.close(one)


async def leaves_a_task(receive: Any, send: Any) -> None:
    kept.append(asyncio.get_running_loop().create_task(anyio.sleep(1000)))


async def leaves_a_generator(receive: Any, send: Any) -> None:
    async def generator() -> Any:
        yield

    kept.append(generator())
    await kept[0].__anext__()


async def leaves_a_thread(receive: Any, send: Any) -> None:
    kept.append(threading.Event())
    threading.Thread(target=kept[0].wait).start()


async def leaves_a_descriptor(receive: Any, send: Any) -> None:
    kept.extend(os.pipe())


async def does_not_await(receive: Any, send: Any) -> None:
    checkpoint()  # type: ignore[unused-coroutine]


async def retrieves_no_exception(receive: Any, send: Any) -> None:
    asyncio.get_running_loop().create_future().set_exception(ValueError())


async def raises_where_nobody_listens(receive: Any, send: Any) -> None:
    class Unraisable:
        def __del__(self) -> None:
            raise ValueError

    Unraisable()


def closes_in_another_order(resources: Resources) -> Any:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        first, second = resources.hold("first"), resources.hold("second")
        await first.__aenter__()
        await second.__aenter__()
        await first.__aexit__(None, None, None)
        await second.__aexit__(None, None, None)

    return application


def closes_nothing(resources: Resources) -> Any:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        kept.append(resources.hold("something"))
        await kept[0].__aenter__()

    return application


def observe(make: Make, outcome: Outcome = SERVED) -> Report:
    behaviour = Behaviour("odd", "5", make, outcome, outcome)
    return run(Trial(behaviour, "startup", "auto", "asyncio"))


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        (leaves_a_task, "tasks were left"),
        (leaves_a_generator, "a generator was left"),
        (leaves_a_thread, "threads were left"),
        (leaves_a_descriptor, "descriptors were left"),
        (does_not_await, "never awaited"),
        (retrieves_no_exception, "never retrieved"),
        (raises_where_nobody_listens, "unraisable"),
    ],
)
def test_what_is_left_behind_is_seen(step: Any, problem: str) -> None:
    report = observe(steps(receives, started, step, receives, stopped))
    assert any(problem in one for one in report.problems)
    with pytest.raises(AssertionError, match=problem):
        check(report)


@pytest.mark.parametrize(
    ("make", "problem"),
    [(closes_in_another_order, "was closed while"), (closes_nothing, "a generator was left")],
)
def test_what_is_held_is_seen(make: Make, problem: str) -> None:
    assert any(problem in one for one in observe(make).problems)


def test_another_outcome_is_seen() -> None:
    make = steps(receives, started, receives, stopped)
    check(observe(make))
    with pytest.raises(AssertionError, match="it was to raise"):
        check(observe(make, START_FAILED))


def test_an_interruption_that_gets_lost_is_seen() -> None:
    report = observe(steps(receives, started, receives, stopped))
    report.fired = True
    report.trial = replace(report.trial, fault=Fault("cancel scope", "caller", 1, "asleep"))
    with pytest.raises(AssertionError, match="the cancellation got lost"):
        check(report)


def test_what_nothing_explains_is_seen() -> None:
    report = observe(steps(receives, started, receives, stopped))
    report.trial = replace(report.trial, seed=0)
    check(report)
    report.history.remove("sent lifespan.startup.complete")
    with pytest.raises(AssertionError, match="nothing explains"):
        check(report)
