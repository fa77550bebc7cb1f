"""Hooks see what happens to a lifespan, and change nothing about it.

That they see it in order whatever happens is tried by all harnesses, in every other trial.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import FrozenInstanceError
from typing import Any

import anyio
import pytest
from apps import (
    Boom,
    app,
    deaf,
    hangs,
    in_child_task,
    raises,
    receives,
    sends,
    sleeps,
    started,
    stopped,
    well_behaved,
)
from hooked import Seen, seen_by_hook

from anylifespan import (
    LifespanCrashed,
    LifespanError,
    LifespanManager,
    LifespanMiddleware,
    ShutdownFailed,
    StartupFailed,
    StartupTimeout,
    combine,
)
from anylifespan.instrumentation import LifespanDetails, get_hooks, set_hooks
from anylifespan.testing import asgi_client

pytestmark = pytest.mark.anyio

failed = sends("lifespan.startup.failed")
user: ContextVar[str] = ContextVar("user", default="nobody")


@pytest.fixture(autouse=True)
def seen() -> Iterator[Seen]:
    with seen_by_hook() as seen:
        yield seen


async def drive_to_the_end(app: Any, **options: Any) -> BaseException | None:
    manager = LifespanManager(app, startup_timeout=5, shutdown_timeout=5, **options)
    try:
        async with manager:
            await anyio.sleep(2)
    except (LifespanError, Boom, SystemExit) as exc:
        return exc
    return None


RECEIVED = app(receives, started, receives)
SERVES = (receives, started)
OUTCOMES: dict[str, tuple[Any, str]] = {
    "well behaved": (well_behaved, "startup:complete shutdown shutdown:complete"),
    "ends silently": (RECEIVED, "startup:complete shutdown shutdown:complete"),
    "has no lifespan": (app(), "startup:unsupported"),
    "raises in its startup": (app(receives, raises(Boom())), "startup:unsupported"),
    "fails to start": (app(receives, failed), "startup:failed"),
    "hangs in its startup": (app(hangs), "startup:timeout"),
    "exits in its startup": (app(receives, raises(SystemExit(3))), "startup:failed"),
    "crashes": (app(*SERVES, sleeps(1), raises(Boom())), "startup:complete serving:crashed"),
    "returns while it serves": (app(*SERVES), "startup:complete"),
    "fails to stop": (
        app(*SERVES, receives, raises(Boom())),
        "startup:complete shutdown shutdown:failed",
    ),
    "hangs in its shutdown": (
        app(*SERVES, receives, hangs),
        "startup:complete shutdown shutdown:timeout",
    ),
    "does not listen": (app(*SERVES, hangs), "startup:complete shutdown shutdown:timeout"),
}


@pytest.mark.parametrize(("application", "expected"), OUTCOMES.values(), ids=OUTCOMES)
async def test_outcome(application: Any, expected: str, seen: Seen) -> None:
    error = await drive_to_the_end(application)
    assert seen.sequence(seen.details[0].number) == f"startup {expected}"
    assert seen.errors == ([] if error is None else [error])
    assert seen.around[-1][1].startswith("leaves")


async def test_an_error_in_mode_on_is_a_failure(seen: Seen) -> None:
    error = await drive_to_the_end(app(), mode="on")
    assert seen.details[-1].outcome == "failed"
    assert seen.errors == [error]


async def test_mode_off_is_nothing_to_report(seen: Seen) -> None:
    await drive_to_the_end(well_behaved, mode="off")
    assert seen.details == []


async def test_a_startup_that_nobody_waits_for_any_longer(seen: Seen) -> None:
    with anyio.move_on_after(1):
        await drive_to_the_end(app(receives, hangs))
    assert seen.details[-1].outcome == "cancelled"
    assert seen.details[-1].error is None
    assert seen.details[-1].seconds == pytest.approx(1)


async def test_an_application_that_ignores_its_cancellation(seen: Seen) -> None:
    """It is reported when it is left running, not when it ends at last."""
    end = anyio.Event()
    manager = LifespanManager(app(receives, deaf(end)), startup_timeout=1)
    with pytest.raises(StartupTimeout):
        await manager.startup()
    assert seen.sequence(seen.details[0].number) == "startup startup:timeout"
    assert seen.details[-1].seconds == pytest.approx(6)
    end.set()
    await anyio.sleep(1)
    assert len(seen.details) == 2


async def test_ctrl_c_in_a_hook_goes_on() -> None:
    def interrupted(details: LifespanDetails) -> None:
        raise KeyboardInterrupt

    set_hooks([interrupted])
    with pytest.raises(KeyboardInterrupt):
        async with LifespanManager(well_behaved):
            raise AssertionError("it was started")


async def test_what_there_is_to_know(seen: Seen, anyio_backend_name: str) -> None:
    crashes = app(receives, sleeps(3), started, sleeps(0.5), raises(Boom("boom")))
    await drive_to_the_end(crashes)
    begun, complete, crash = seen.details
    assert (begun.seconds, complete.seconds, crash.seconds) == pytest.approx((0, 3, 0.5))
    assert {one.backend for one in seen.details} == {anyio_backend_name}
    assert {one.application for one in seen.details} == {
        f"{crashes.__module__}.{crashes.__qualname__}"
    }
    assert len({one.number for one in seen.details}) == 1
    assert {one.part_of for one in seen.details} == {None}
    assert isinstance(crash.error, LifespanCrashed)
    assert isinstance(crash.error.__cause__, Boom)
    with pytest.raises(FrozenInstanceError):
        crash.seconds = 0  # type: ignore[misc]


async def test_where_it_was_waiting(seen: Seen) -> None:
    await drive_to_the_end(app(receives, hangs))
    (timeout,) = [one for one in seen.details if one.outcome == "timeout"]
    assert timeout.seconds == pytest.approx(5)
    assert [frame.name for frame in timeout.where][-1] == "hangs"
    assert not seen.details[0].where


async def test_a_shutdown_takes_until_the_application_has_ended(seen: Seen) -> None:
    await drive_to_the_end(app(*SERVES, receives, sleeps(1), stopped, sleeps(2)))
    assert seen.details[-1].seconds == pytest.approx(3)


async def test_parts_are_lifespans_of_their_own(seen: Seen) -> None:
    await drive_to_the_end(LifespanMiddleware(combine(well_behaved, app(*SERVES, receives))))
    whole = {one.number: one.part_of for one in seen.details}
    assert list(whole) == sorted(whole)
    first, *others = whole
    assert whole[first] is None
    assert len(others) >= 2
    assert set(whole.values()) <= {None, *whole}
    assert all(whole[one] is not None for one in others)
    for number in whole:
        assert seen.sequence(number) == ("startup startup:complete shutdown shutdown:complete")


async def test_a_startup_in_the_background_that_fails(seen: Seen) -> None:
    middleware = LifespanMiddleware(
        app(receives, sends("lifespan.startup.failed", "no database")),
        start_in_background=True,
        on_crash="log",
    )
    with pytest.raises(ShutdownFailed):
        async with LifespanManager(middleware):
            await anyio.sleep(1)
    part = next(one for one in seen.details if one.part_of is not None)
    assert part.part_of == seen.details[0].number
    assert seen.sequence(part.number) == "startup startup:failed"


@pytest.mark.parametrize("in_child", [False, True], ids=["by itself", "by a child task"])
async def test_a_context_manager_is_around_the_phase(in_child: bool, seen: Seen) -> None:
    """In the application's own task, but not for requests."""
    users = []

    async def ask(receive: Any, send: Any) -> None:
        users.append(user.get())

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await ask(receive, send)
            return
        await lifespan(scope, receive, send)

    sends_it = in_child_task(started) if in_child else started
    lifespan = app(ask, receives, ask, sends_it, receives, ask, stopped)

    @contextmanager
    def as_user(details: LifespanDetails) -> Iterator[None]:
        before = user.get()
        user.set(details.phase)
        yield
        user.set(before)

    def hook(details: LifespanDetails) -> AbstractContextManager[None] | None:
        return as_user(details) if details.outcome is None else None

    set_hooks([*get_hooks(), hook])
    async with LifespanManager(application) as manager:
        await manager.app({"type": "http"}, None, None)  # type: ignore[arg-type]
    assert users == ["startup", "startup", "nobody", "shutdown"]
    assert user.get() == "nobody"


async def test_variables_of_the_startup_still_reach_requests() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            user.set("the application's")
            await well_behaved(scope, receive, send)
        else:
            users.append(user.get())

    users: list[str] = []
    async with LifespanManager(application) as manager:
        await manager.app({"type": "http"}, None, None)  # type: ignore[arg-type]
    assert users == ["the application's"]


async def test_a_context_manager_gets_the_error() -> None:
    got: list[Any] = []

    class Around:
        def __enter__(self) -> None:
            pass

        def __exit__(self, *args: object) -> bool:
            got.append(args)
            return True  # which swallows nothing

    set_hooks([lambda details: None if details.outcome else Around()])
    error = await drive_to_the_end(app(receives, sends("lifespan.startup.failed", "no")))
    assert isinstance(error, StartupFailed)
    assert got == [(StartupFailed, error, got[0][2])]


async def test_context_managers_are_left_in_reverse_order() -> None:
    order = []

    def hook(name: str) -> Any:
        @contextmanager
        def around() -> Iterator[None]:
            order.append(f"enters {name}")
            yield
            order.append(f"leaves {name}")

        return lambda details: None if details.outcome else around()

    set_hooks([hook("one"), hook("two")])
    with anyio.move_on_after(1):
        await drive_to_the_end(app(receives, hangs))
    assert order == ["enters one", "enters two", "leaves two", "leaves one"]


@pytest.mark.parametrize("raised", [ValueError("no"), SystemExit(3), Boom("no")])
async def test_a_hook_that_raises(raised: BaseException, seen: Seen, log: Any) -> None:
    def hook(details: LifespanDetails) -> None:
        raise raised

    set_hooks([hook, *get_hooks()])
    assert await drive_to_the_end(well_behaved) is None
    assert seen.sequence(seen.details[0].number).endswith("shutdown:complete")
    assert len(log.records) == 4
    assert {record.getMessage() for record in log.records} == {
        f"The hook {hook!r} raised an exception."
    }
    assert {record.exc_info[1] for record in log.records} == {raised}


async def test_a_hook_that_returns_something_else(log: Any) -> None:
    set_hooks([lambda details: "a span"])  # type: ignore[list-item,return-value]
    assert await drive_to_the_end(well_behaved) is None
    assert {record.getMessage() for record in log.records} == {
        "A hook returned 'a span', where it may return a context manager or None."
    }


async def test_hooks_are_those_of_the_time_when_the_lifespan_begins(seen: Seen) -> None:
    late = Seen()
    async with LifespanManager(well_behaved):
        set_hooks([late])
    assert seen.sequence(seen.details[0].number).endswith("shutdown:complete")
    assert late.details == []
    set_hooks(None)
    await drive_to_the_end(well_behaved)
    assert late.details == []


async def test_a_hook_may_shut_the_application_down(seen: Seen) -> None:
    """Hooks hear of the startup first, and then of the shutdown."""

    def hook(details: LifespanDetails) -> None:
        if (details.phase, details.outcome) == ("startup", "complete"):
            manager.cancel()

    set_hooks([*get_hooks(), hook])
    manager = LifespanManager(well_behaved)
    with pytest.raises(LifespanError):
        async with manager:
            pass
    assert seen.sequence(seen.details[0].number) == (
        "startup startup:complete shutdown shutdown:failed"
    )


async def test_the_client_is_reported_as_any_manager(seen: Seen) -> None:
    async with asgi_client(well_behaved):
        pass
    assert len(seen.details) == 4


@pytest.mark.parametrize("nonsense", [["no"], [None], [Seen]])
def test_what_is_no_hook(nonsense: Any, seen: Seen) -> None:
    with pytest.raises(TypeError, match="a hook is called with LifespanDetails"):
        set_hooks(nonsense)
    assert get_hooks() == (seen,)


def test_a_class_is_no_hook() -> None:
    with pytest.raises(TypeError, match="give an instance of it"):
        set_hooks([Seen])  # type: ignore[list-item]


def test_the_adapters_load_what_they_are_named_after_and_nothing_else_does() -> None:
    unwanted = {"opentelemetry", "prometheus_client", "structlog"}
    script = (
        "import sys, anylifespan.instrumentation, anylifespan.instrumentation.logging; "
        f"print({unwanted!r} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
