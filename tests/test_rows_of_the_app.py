"""What each thing an application can do means: the rows of the table in docs/semantics.md.

Each test is one row, on every backend and by every way in, with the same assertions.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from anyio import current_time, to_thread
from anyio.lowlevel import checkpoint
from apps import (
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
from conftest import BACKENDS
from drives import drive_async_with

from anylifespan import (
    LifespanCrashed,
    LifespanManager,
    LifespanProtocolError,
    LifespanUnsupported,
    Phase,
    ShutdownFailed,
    ShutdownTimeout,
    StartupFailed,
    StartupTimeout,
)

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup

pytestmark = pytest.mark.anyio

BOOM = "no database at db:5432"


def boom() -> ValueError:
    return ValueError(BOOM)


def levels(log: pytest.LogCaptureFixture) -> list[int]:
    return [record.levelno for record in log.records if record.name == "anylifespan"]


async def expect_unsupported(drive: Any, application: Any, log: Any, reason: str) -> None:
    served = []

    async def body() -> None:
        served.append((manager.supported, manager.phase))

    manager = LifespanManager(application)
    await drive(manager, body)
    assert served == [(False, Phase.SERVING)]
    assert manager.phase is Phase.STOPPED
    assert levels(log) == [logging.INFO]
    assert reason in log.text

    manager = LifespanManager(application, mode="on")
    with pytest.raises(LifespanUnsupported, match='use mode "auto"') as info:
        await drive(manager, body)
    assert reason in str(info.value)
    assert len(served) == 1
    assert manager.phase is Phase.FAILED
    assert manager.supported is False


async def test_1_raises_before_its_first_receive(drive: Any, log: Any) -> None:
    error = AssertionError("scope['type'] == 'http'")
    await expect_unsupported(drive, app(raises(error)), log, "raised AssertionError: scope")


async def test_1_the_exception_is_the_cause(drive: Any) -> None:
    error = boom()
    with pytest.raises(LifespanUnsupported) as info:
        await drive(LifespanManager(app(raises(error)), mode="on"))
    assert info.value.__cause__ is error


@pytest.mark.parametrize("steps", [[], [receives]], ids=["at once", "after receive"])
async def test_2_returns_before_startup_is_decided(drive: Any, log: Any, steps: Any) -> None:
    await expect_unsupported(drive, app(*steps), log, "returned before it had answered")


@pytest.mark.parametrize("steps", [[], [receives]], ids=["at once", "after receive"])
@pytest.mark.parametrize("kind", ["http.response.start", "websocket.accept"])
async def test_3_sends_a_message_of_another_protocol(
    drive: Any, log: Any, steps: Any, kind: str
) -> None:
    application = app(*steps, sends(kind))
    await expect_unsupported(drive, application, log, "a message from another protocol")


async def test_3_and_lingers(drive: Any, log: Any, passed: Any) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(2):
            with pytest.raises(LifespanProtocolError, match="scope\\['type'\\]"):
                await send({"type": "http.response.start"})
        await anyio.sleep_forever()

    since = current_time()
    await drive(LifespanManager(application))
    assert passed(since, 5)
    assert levels(log) == [logging.WARNING, logging.INFO]


async def test_3_and_again_which_gives_it_no_more_time(drive: Any, passed: Any) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        while True:
            with pytest.raises(LifespanProtocolError):
                await send({"type": "http.response.start"})
            await anyio.sleep(3)

    since = current_time()
    await drive(LifespanManager(application))
    assert passed(since, 5)


async def test_4_raises_in_startup_in_mode_auto(drive: Any, log: Any) -> None:
    manager = LifespanManager(app(receives, raises(boom())))
    await drive(manager)
    assert manager.supported is False
    assert manager.phase is Phase.STOPPED
    assert levels(log) == [logging.WARNING]
    assert "apps.py" in log.text
    assert f"ValueError: {BOOM}" in log.text


async def test_4_raises_a_cancellation_that_is_not_the_callers(drive: Any, log: Any) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if asyncio_or_trio is asyncio.CancelledError:
            raise asyncio.CancelledError
        with anyio.CancelScope() as cancel_scope:
            cancel_scope.cancel()
            await anyio.lowlevel.checkpoint()
        raise boom()

    async def body() -> None:
        await anyio.sleep(1)
        served.append(manager.phase)

    served: list[Phase] = []
    asyncio_or_trio = anyio.get_cancelled_exc_class()
    manager = LifespanManager(application)
    await drive(manager, body)
    assert served == [Phase.SERVING]
    assert levels(log) == [logging.WARNING]


async def test_4_raises_in_startup_in_mode_on(drive: Any, log: Any) -> None:
    error = boom()
    manager = LifespanManager(app(receives, raises(error)), mode="on")
    with pytest.raises(StartupFailed) as info:
        await drive(manager)
    assert str(info.value) == f"the application raised in its startup: ValueError: {BOOM}"
    assert info.value.message == f"ValueError: {BOOM}"
    assert info.value.__cause__ is error
    assert manager.phase is Phase.FAILED
    assert levels(log) == []


async def test_5_sends_startup_complete(drive: Any, mode: Any, log: Any) -> None:
    async def body() -> None:
        assert manager.supported is True
        assert manager.phase is Phase.SERVING
        assert manager.startup_seconds == pytest.approx(2)
        assert manager.shutdown_seconds is None

    manager = LifespanManager(app(receives, sleeps(2), started, receives, stopped), mode=mode)
    assert (manager.supported, manager.phase, manager.startup_seconds) == (None, Phase.IDLE, None)
    await drive(manager, body)
    assert levels(log) == []


async def test_5_without_having_asked_for_the_event(drive: Any, mode: Any) -> None:
    events = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "lifespan.startup.complete"})
        events.extend([await receive(), await receive()])
        await send({"type": "lifespan.shutdown.complete"})

    await drive(LifespanManager(application, mode=mode))
    assert events == [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]


@pytest.mark.parametrize("message", [None, BOOM])
async def test_6_startup_failed_and_returns(drive: Any, mode: Any, message: Any) -> None:
    manager = LifespanManager(app(receives, sends("lifespan.startup.failed", message)), mode=mode)
    with pytest.raises(StartupFailed) as info:
        await drive(manager)
    assert type(info.value) is StartupFailed
    assert info.value.message == (message or "no reason given")
    assert str(info.value) == f"the application failed to start: {message or 'no reason given'}"
    assert info.value.__cause__ is None
    assert manager.supported is True
    assert manager.phase is Phase.FAILED


async def test_6_startup_failed_and_raises(drive: Any, mode: Any) -> None:
    error = boom()
    application = app(receives, sends("lifespan.startup.failed", "no luck"), raises(error))
    with pytest.raises(StartupFailed) as info:
        await drive(LifespanManager(application, mode=mode))
    assert info.value.message == "no luck"
    assert info.value.__cause__ is error


@pytest.mark.parametrize(("timeout", "left"), [(30, 5), (8, 1), (None, 5)])
async def test_6_startup_failed_and_lingers(
    drive: Any, mode: Any, passed: Any, log: Any, timeout: Any, left: float
) -> None:
    application = app(receives, sleeps(7), sends("lifespan.startup.failed", "no luck"), hangs)
    manager = LifespanManager(application, mode=mode, startup_timeout=timeout, report_after=None)
    since = current_time()
    with pytest.raises(StartupFailed, match="no luck") as info:
        await drive(manager)
    assert type(info.value) is StartupFailed
    assert passed(since, 7 + left)
    assert levels(log) == [logging.WARNING]


async def test_6_startup_failed_and_receives_again(drive: Any, mode: Any, passed: Any) -> None:
    application = app(receives, sends("lifespan.startup.failed", "no luck"), receives)
    since = current_time()
    with pytest.raises(StartupFailed, match="no luck"):
        await drive(LifespanManager(application, mode=mode))
    assert passed(since, 0)


@pytest.mark.parametrize("steps", [[hangs], [receives, hangs], [receives, receives]])
async def test_7_does_not_decide_in_time(drive: Any, mode: Any, passed: Any, steps: Any) -> None:
    manager = LifespanManager(app(*steps), mode=mode, startup_timeout=3)
    since = current_time()
    with pytest.raises(StartupTimeout, match="did not finish its startup within 3 sec") as info:
        await drive(manager)
    assert passed(since, 3)
    assert isinstance(info.value, StartupFailed)
    assert isinstance(info.value, TimeoutError)
    assert info.value.timeout == 3
    assert info.value.where[-1].filename == __file__.replace("test_rows_of_the_app", "apps")
    assert info.value.__cause__ is None
    assert manager.supported is None
    assert manager.phase is Phase.FAILED


async def test_7_and_what_it_then_says_counts_for_nothing(drive: Any, mode: Any) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.startup.failed", "message": "I was cancelled"})
            await send("nonsense")
            raise boom()

    with pytest.raises(StartupTimeout) as info:
        await drive(LifespanManager(application, mode=mode, startup_timeout=3))
    assert isinstance(info.value.__cause__, ValueError)


async def test_8_raises_while_serving(structured_drive: Any, mode: Any, log: Any) -> None:
    error = boom()
    manager = LifespanManager(app(receives, started, sleeps(1), raises(error)), mode=mode)
    with pytest.raises(LifespanCrashed) as info:
        await structured_drive(manager, anyio.sleep_forever)
    assert str(info.value) == (
        f"the application's lifespan crashed while serving: ValueError: {BOOM}"
    )
    assert info.value.__cause__ is error
    assert manager.phase is Phase.FAILED
    assert levels(log) == [logging.ERROR]


@pytest.mark.parametrize("then", [[], [raises(ValueError(BOOM))]], ids=["returns", "raises"])
async def test_8_sends_shutdown_failed_unasked(structured_drive: Any, mode: Any, then: Any) -> None:
    unasked = sends("lifespan.shutdown.failed", BOOM)
    manager = LifespanManager(app(receives, started, sleeps(1), unasked, *then), mode=mode)
    with pytest.raises(LifespanCrashed, match=BOOM):
        await structured_drive(manager, anyio.sleep_forever)
    assert manager.phase is Phase.FAILED


async def test_8_the_body_is_cancelled_while_the_app_lingers(passed: Any) -> None:
    unasked = sends("lifespan.shutdown.failed", BOOM)
    since = current_time()
    with pytest.raises(LifespanCrashed, match=BOOM):
        async with LifespanManager(app(receives, started, sleeps(1), unasked, hangs)):
            try:
                await anyio.sleep_forever()
            finally:
                cancelled_at = current_time()
    assert cancelled_at - since == pytest.approx(1)
    assert passed(since, 6)


async def test_8_with_nobody_waiting(mode: Any, log: Any) -> None:
    error = boom()
    manager = LifespanManager(app(receives, started, sleeps(1), raises(error)), mode=mode)
    await manager.startup()
    await anyio.sleep(2)
    assert manager.phase is Phase.FAILED
    assert levels(log) == [logging.ERROR]
    with pytest.raises(LifespanCrashed, match=BOOM) as info:
        await manager.shutdown()
    assert info.value.__cause__ is error
    await manager.shutdown()


async def test_8_lingers_with_nobody_waiting() -> None:
    unasked = sends("lifespan.shutdown.failed", BOOM)
    manager = LifespanManager(
        app(receives, started, sleeps(1), unasked, hangs), shutdown_timeout=None
    )
    await manager.startup()
    await anyio.sleep(10)
    with pytest.raises(LifespanCrashed, match=BOOM):
        await manager.shutdown()


async def test_8_at_once_after_its_startup(drive: Any, mode: Any) -> None:
    async def body() -> None:
        raise AssertionError("it never served")

    manager = LifespanManager(app(receives, started, raises(boom())), mode=mode)
    with pytest.raises(LifespanCrashed, match=BOOM):
        await drive(manager, body)


async def test_9_returns_while_serving(drive: Any, mode: Any, log: Any, passed: Any) -> None:
    async def body() -> None:
        await anyio.sleep(1)
        assert manager.phase is Phase.SERVING
        assert manager.supported is True

    manager = LifespanManager(app(receives, started), mode=mode)
    since = current_time()
    await drive(manager, body)
    assert passed(since, 1)
    assert manager.phase is Phase.STOPPED
    assert manager.shutdown_seconds == 0
    assert levels(log) == [logging.INFO]


async def test_10_sends_shutdown_complete(drive: Any, mode: Any, log: Any, passed: Any) -> None:
    async def body() -> None:
        await anyio.sleep(1)

    application = app(receives, started, receives, sleeps(2), stopped, sleeps(1))
    manager = LifespanManager(application, mode=mode)
    since = current_time()
    await drive(manager, body)
    assert passed(since, 4)
    assert manager.phase is Phase.STOPPED
    assert manager.shutdown_seconds == pytest.approx(3)
    assert levels(log) == []


@pytest.mark.parametrize("then", [[], [raises(boom())]], ids=["returns", "raises"])
async def test_11_sends_shutdown_failed(drive: Any, mode: Any, then: Any) -> None:
    failed = sends("lifespan.shutdown.failed", "no luck")
    manager = LifespanManager(app(receives, started, receives, failed, *then), mode=mode)
    with pytest.raises(ShutdownFailed) as info:
        await drive(manager)
    assert str(info.value) == "the application failed to shut down: no luck"
    assert info.value.message == "no luck"
    assert isinstance(info.value.__cause__, ValueError) is bool(then)
    assert manager.phase is Phase.FAILED


@pytest.mark.parametrize("said", [[], [stopped]], ids=["before", "after"])
async def test_12_raises_in_shutdown(drive: Any, mode: Any, said: Any) -> None:
    error = boom()
    manager = LifespanManager(app(receives, started, receives, *said, raises(error)), mode=mode)
    with pytest.raises(ShutdownFailed) as info:
        await drive(manager)
    assert str(info.value) == f"the application failed to shut down: ValueError: {BOOM}"
    assert info.value.message == f"ValueError: {BOOM}"
    assert info.value.__cause__ is error


async def test_13_returns_from_shutdown_saying_nothing(drive: Any, mode: Any, log: Any) -> None:
    manager = LifespanManager(app(receives, started, receives), mode=mode)
    await drive(manager)
    assert manager.phase is Phase.STOPPED
    assert levels(log) == [logging.DEBUG]


async def test_14_does_not_finish_shutdown_in_time(drive: Any, mode: Any, passed: Any) -> None:
    manager = LifespanManager(
        app(receives, started, receives, hangs), mode=mode, shutdown_timeout=3
    )
    since = current_time()
    with pytest.raises(ShutdownTimeout, match="did not finish its shutdown within 3 s") as info:
        await drive(manager)
    assert passed(since, 3)
    assert isinstance(info.value, ShutdownFailed)
    assert isinstance(info.value, TimeoutError)
    assert info.value.timeout == 3
    assert [frame.name for frame in info.value.where] == ["application", "hangs"]
    assert manager.phase is Phase.FAILED


@pytest.mark.parametrize(("timeout", "left"), [(30, 5), (8, 1), (None, 5)])
async def test_15_lingers_after_shutdown_complete(
    drive: Any, mode: Any, passed: Any, log: Any, timeout: Any, left: float
) -> None:
    application = app(receives, started, receives, sleeps(7), stopped, hangs)
    manager = LifespanManager(application, mode=mode, shutdown_timeout=timeout, report_after=None)
    since = current_time()
    await drive(manager)
    assert passed(since, 7 + left)
    assert manager.phase is Phase.STOPPED
    assert levels(log) == [logging.WARNING]
    seconds = f"{left} second{'' if left == 1 else 's'}"
    said = "it had sent lifespan.shutdown.complete"
    assert f"still runs {seconds} after {said}; cancelling it" in log.text
    assert "in hangs" in log.text


async def test_15_lingers_after_shutdown_failed(drive: Any, passed: Any, log: Any) -> None:
    failed = sends("lifespan.shutdown.failed", "no luck")
    since = current_time()
    with pytest.raises(ShutdownFailed, match="no luck") as info:
        await drive(LifespanManager(app(receives, started, receives, failed, hangs)))
    assert type(info.value) is ShutdownFailed
    assert passed(since, 5)
    assert levels(log) == [logging.WARNING]


async def test_15_raises_when_it_is_cancelled(drive: Any, log: Any) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await app(receives, started, receives, stopped)(scope, receive, send)
        try:
            await anyio.sleep_forever()
        finally:
            raise boom()

    await drive(LifespanManager(application))
    assert levels(log) == [logging.WARNING, logging.WARNING]
    assert f"ValueError: {BOOM}" in log.text


async def test_16_receives_again_after_shutdown_complete(
    drive: Any, mode: Any, passed: Any, log: Any
) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        while True:
            event = await receive()
            await send({"type": f"{event['type']}.complete"})

    manager = LifespanManager(application, mode=mode)
    since = current_time()
    await drive(manager)
    assert passed(since, 0)
    assert manager.phase is Phase.STOPPED
    assert levels(log) == []


async def test_16_receives_again_inside_a_shield_of_its_own(
    drive: Any, passed: Any, log: Any
) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        with anyio.CancelScope(shield=True):
            while True:
                event = await receive()
                await send({"type": f"{event['type']}.complete"})

    manager = LifespanManager(application)
    since = current_time()
    await drive(manager)
    assert passed(since, 0)
    assert manager.phase is Phase.STOPPED
    assert levels(log) == []


async def test_17_an_invalid_message_raises_in_its_send(drive: Any, mode: Any) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        with pytest.raises(LifespanProtocolError, match=r"unknown type 'lifespan\.startup'"):
            await send({"type": "lifespan.startup"})
        await send({"type": "lifespan.startup.complete"})
        with pytest.raises(LifespanProtocolError, match="expected nothing until"):
            await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        with pytest.raises(LifespanProtocolError, match="expected nothing more"):
            await send({"type": "lifespan.shutdown.complete"})

    manager = LifespanManager(application, mode=mode)
    await drive(manager)
    assert manager.phase is Phase.STOPPED


STOP = "lifespan.shutdown.complete"


async def test_22_an_unasked_shutdown_complete_is_tolerated(
    drive: Any, mode: Any, log: Any
) -> None:
    application = app(receives, started, sends(STOP), sends(STOP), receives, stopped)
    manager = LifespanManager(application, mode=mode)
    await drive(manager)
    assert manager.phase is Phase.STOPPED
    assert levels(log) == [logging.WARNING] * 2
    assert log.messages[0] == (
        "The application sent lifespan.shutdown.complete before it was asked to shut down; "
        "going on."
    )


STOP = "lifespan.shutdown.complete"


async def test_22_and_then_returns(drive: Any, log: Any) -> None:
    manager = LifespanManager(app(receives, started, sends(STOP)))
    await drive(manager)
    assert manager.phase is Phase.STOPPED
    assert levels(log) == [logging.WARNING, logging.INFO]


STOP = "lifespan.shutdown.complete"


async def test_22_and_then_raises(drive: Any) -> None:
    application = app(receives, started, sends(STOP), raises(ValueError("died")))
    with pytest.raises(LifespanCrashed, match="ValueError: died"):
        await drive(LifespanManager(application))


async def test_17_what_it_does_then_decides(drive: Any) -> None:
    application = app(receives, sends("lifespan.shutdown.complete"))
    with pytest.raises(StartupFailed) as info:
        await drive(LifespanManager(application, mode="on"))
    assert isinstance(info.value.__cause__, LifespanProtocolError)
    assert str(info.value.__cause__) == (
        "the application sent lifespan.shutdown.complete after it had received lifespan.startup; "
        "expected lifespan.startup.complete or lifespan.startup.failed"
    )


async def test_18_handles_events_in_child_tasks(drive: Any, mode: Any, log: Any) -> None:
    async def body() -> None:
        assert manager.supported is True

    manager = LifespanManager(
        app(in_child_task(receives, started), in_child_task(receives, stopped))
    )
    await drive(manager, body)
    assert manager.phase is Phase.STOPPED
    assert levels(log) == []


async def test_16_receives_again_shielded(drive: Any, passed: Any) -> None:
    async def shielded(receive: Any, send: Any) -> None:
        with anyio.CancelScope(shield=True):
            await receive()

    since = current_time()
    await drive(LifespanManager(app(receives, started, receives, stopped, shielded)))
    assert passed(since, 0)


async def test_16_one_that_was_pending_stays_until_the_linger_is_over(
    drive: Any, passed: Any, log: Any
) -> None:
    async def waits_for_another(receive: Any, send: Any) -> None:
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as task_group:
                task_group.start_soon(receive)
                await anyio.sleep(1)
                await stopped(receive, send)

    since = current_time()
    await drive(LifespanManager(app(receives, started, receives, waits_for_another)))
    assert passed(since, 1 + 5)
    assert levels(log) == [logging.WARNING]


async def test_18_a_child_task_loops_for_events(drive: Any, passed: Any, log: Any) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        async def listen() -> None:
            while True:
                await (await senders.receive()).send(await receive())

        senders_in, senders = anyio.create_memory_object_stream[Any](10)
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(listen)
            with senders_in, senders:
                for _ in range(2):
                    event_in, events = anyio.create_memory_object_stream[Any](1)
                    with event_in, events:
                        await senders_in.send(event_in)
                        event = await events.receive()
                    if event["type"] == "lifespan.shutdown":
                        async with anyio.create_task_group() as inner:
                            inner.start_soon(receive)
                            await anyio.sleep(1)
                            await send({"type": "lifespan.shutdown.complete"})
                    await send({"type": "lifespan.startup.complete"})

    since = current_time()
    await drive(LifespanManager(application))
    # One was pending when the last word was said, so it stays, for as long as the linger lasts.
    assert passed(since, 1 + 5)
    assert levels(log) == [logging.WARNING]


@pytest.mark.parametrize("wrap", [in_child_task, lambda step: in_child_task(in_child_task(step))])
async def test_18_wraps_its_error_in_groups(structured_drive: Any, wrap: Any) -> None:
    error = boom()
    for steps, expected in [
        ([receives, wrap(raises(error))], StartupFailed),
        ([receives, started, wrap(raises(error))], LifespanCrashed),
        ([receives, started, receives, wrap(raises(error))], ShutdownFailed),
    ]:
        with pytest.raises(expected) as info:
            await structured_drive(LifespanManager(app(*steps), mode="on"), lambda: anyio.sleep(1))
        assert str(info.value).endswith(f": ValueError: {BOOM}")
        assert info.value.__cause__ is error


async def test_18_several_errors_in_one_group(drive: Any) -> None:
    group = ExceptionGroup("two", [ValueError("one"), ExceptionGroup("more", [KeyError("two")])])
    with pytest.raises(StartupFailed) as info:
        await drive(LifespanManager(app(receives, raises(group)), mode="on"))
    assert info.value.message == "ValueError: one; KeyError: 'two'"
    assert info.value.__cause__ is group


async def test_19_startup_gives_up_on_a_deaf_app(log: Any, passed: Any, until: Any) -> None:
    manager = LifespanManager(app(receives, deaf(until)), startup_timeout=3)
    since = current_time()
    with pytest.raises(StartupTimeout, match="it was cancelled, and still runs") as info:
        await manager.startup()
    assert passed(since, 8)
    assert [frame.name for frame in info.value.where] == ["application", "step"]
    assert levels(log) == [logging.WARNING]
    assert "still runs 5 seconds after it was cancelled" in log.text
    await manager.shutdown()
    until.set()
    await anyio.wait_all_tasks_blocked()
    await manager.shutdown()
    assert manager.phase is Phase.FAILED


async def test_19_shutdown_gives_up_on_a_deaf_app(log: Any, passed: Any, until: Any) -> None:
    manager = LifespanManager(app(receives, started, receives, deaf(until)), shutdown_timeout=3)
    await manager.startup()
    since = current_time()
    with pytest.raises(ShutdownTimeout, match="it was cancelled, and still runs"):
        await manager.shutdown()
    assert passed(since, 8)
    assert levels(log) == [logging.WARNING]
    until.set()
    await anyio.wait_all_tasks_blocked()


@pytest.mark.parametrize(
    ("steps", "error"),
    [
        ([sends("lifespan.startup.failed", "no luck")], StartupTimeout),
        ([started, receives, stopped], ShutdownTimeout),
        ([started, receives, sends("lifespan.shutdown.failed", "no luck")], ShutdownTimeout),
    ],
)
async def test_19_gives_up_on_one_that_had_said_its_last_word(
    steps: Any, error: Any, until: Any
) -> None:
    manager = LifespanManager(app(receives, *steps, deaf(until)))
    with pytest.raises(error, match="still runs") as info:
        await manager.startup()
        await manager.shutdown()
    assert ("no luck" in str(info.value)) is (info.value.message == "no luck")
    until.set()
    await anyio.wait_all_tasks_blocked()


async def test_19_gives_up_on_one_that_crashed(until: Any) -> None:
    said = sends("lifespan.shutdown.failed", "no luck")
    manager = LifespanManager(app(receives, started, sleeps(1), said, deaf(until)))
    await manager.startup()
    await anyio.sleep(2)
    with pytest.raises(LifespanCrashed, match="no luck; it was cancelled, and still runs"):
        await manager.shutdown()
    until.set()
    await anyio.wait_all_tasks_blocked()


async def test_19_structured_ways_wait_and_warn(
    structured_drive: Any, log: Any, passed: Any, until: Any
) -> None:
    since = current_time()

    async def end_it_after_a_while() -> None:
        await anyio.sleep(3 + 17)
        until.set()

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(end_it_after_a_while)
        with pytest.raises(StartupTimeout) as info:
            await structured_drive(LifespanManager(app(receives, deaf(until)), startup_timeout=3))
    assert "still runs" not in str(info.value)
    assert passed(since, 20)
    assert levels(log) == [logging.WARNING] * 3
    for seconds in (5, 10, 15):
        assert f"still runs {seconds} seconds after it was cancelled" in log.text
    assert "in step" in log.text


@pytest.fixture
async def until() -> AsyncIterator[anyio.Event]:
    """Lets a deaf application go at the latest when the test is over."""
    event = anyio.Event()
    yield event
    event.set()
    await anyio.wait_all_tasks_blocked()


async def test_19_sits_in_a_thread(structured_drive: Any, log: Any) -> None:
    import threading

    release = threading.Event()

    class Release(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            release.set()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await to_thread.run_sync(release.wait)

    logger = logging.getLogger("anylifespan")
    handler = Release()
    logger.addHandler(handler)
    try:
        with pytest.raises(StartupTimeout) as info:
            await structured_drive(LifespanManager(application, startup_timeout=3))
    finally:
        logger.removeHandler(handler)
    assert [frame.name for frame in info.value.where] == ["application"]
    assert levels(log)[0] == logging.WARNING


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=repr)
@pytest.mark.parametrize(
    "steps",
    [
        [],
        [receives],
        [receives, started],
        [receives, started, sleeps(1)],
        [receives, started, receives],
        [receives, started, receives, stopped],
    ],
    ids=["called", "startup", "at once", "serving", "shutdown", "said"],
)
@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "wrapped"])
def test_20_exits_pass_through(
    backend: str, drive: Any, mode: Any, error: BaseException, steps: Any, wrapped: bool
) -> None:
    # In a run of their own: a task that raises them, as serve() does, stops asyncio's event loop.
    exits = raises(BaseExceptionGroup("wrapped", [error]) if wrapped else error)
    manager = LifespanManager(app(*steps, exits), mode=mode)
    name, options = BACKENDS[backend]()
    with pytest.raises(type(error)) as info:
        anyio.run(drive, manager, lambda: anyio.sleep(2), backend=name, backend_options=options)
    assert info.value is error
    assert manager.phase is Phase.FAILED


async def test_20_an_exit_among_other_errors() -> None:
    group = BaseExceptionGroup("both", [boom(), SystemExit(3)])
    with pytest.raises(BaseExceptionGroup) as info:
        await drive_async_with(LifespanManager(app(receives, raises(group))))
    assert info.value is group


async def test_20_goes_before_an_exception_of_the_body() -> None:
    async def body() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise boom()

    with pytest.raises(SystemExit):
        await drive_async_with(
            LifespanManager(app(receives, started, sleeps(1), raises(SystemExit(3)))), body
        )


async def test_the_whole_scope(drive: Any) -> None:
    scopes: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(dict(scope))
        assert scope["state"] is state
        await well_behaved(scope, receive, send)

    state: dict[str, Any] = {"given": True}
    manager = LifespanManager(application, state=state)
    await drive(manager)
    assert scopes == [
        {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": {"given": True},
        }
    ]
    assert manager.state is state


async def test_4_shut_down_before_the_caller_of_startup_goes_on(mode: Any, log: Any) -> None:
    """Found by shuffling the order in which tasks are run."""

    async def shut_down_at_once() -> None:
        while manager.phase in (Phase.IDLE, Phase.STARTING):
            await checkpoint()
        await manager.shutdown()

    manager = LifespanManager(app(receives, raises(boom())), mode=mode)
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(shut_down_at_once)
        if mode == "on":
            with pytest.raises(StartupFailed, match=BOOM):
                await manager.startup()
            assert manager.phase is Phase.FAILED
        else:
            await manager.startup()
            assert levels(log) == [logging.WARNING]


def leaves_a_task_group_open(*before_it_starts: Any) -> Any:
    """An application like those of frameworks that do not close their generators (PEP 789)."""

    async def dies() -> None:
        await anyio.sleep(1)
        raise boom()

    async def generator() -> Any:
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(dies)
            yield

    async def leaves_it(receive: Any, send: Any) -> None:
        kept.append(generator())
        await kept[0].__anext__()

    kept: list[Any] = []
    return app(receives, leaves_it, *before_it_starts, started, receives)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_8_with_a_task_group_left_open(drive: Any, mode: Any, log: Any) -> None:
    manager = LifespanManager(leaves_a_task_group_open(), mode=mode)
    with pytest.raises(LifespanCrashed) as info:
        await drive(manager, lambda: anyio.sleep(3))
    assert "crashed while serving" in str(info.value)
    assert isinstance(info.value.__cause__, RuntimeError)
    assert manager.phase is Phase.FAILED


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_4_with_a_task_group_left_open(structured_drive: Any, log: Any, backend: str) -> None:
    """Trio cancels the body for it, so there is an error that says why."""
    manager = LifespanManager(leaves_a_task_group_open(raises(boom())), mode="auto")
    raised = None
    try:
        await structured_drive(manager, lambda: anyio.sleep(3))
    except LifespanCrashed as exc:
        raised = exc
    if raised is None:
        assert backend != "trio"
    else:
        assert "PEP 789" in str(raised)
        assert isinstance(raised.__cause__, Exception)


@pytest.mark.parametrize(
    ("steps", "error"),
    [([receives, hangs], StartupTimeout), ([receives, started, receives, hangs], ShutdownTimeout)],
    ids=["7", "14"],
)
async def test_7_and_14_by_default_after_thirty_seconds(
    drive: Any, passed: Any, steps: Any, error: Any
) -> None:
    since = current_time()
    with pytest.raises(error, match="within 30 seconds"):
        await drive(LifespanManager(app(*steps)))
    assert passed(since, 30)


async def test_8_while_it_still_says_why() -> None:
    """An application that has only said so is not one that ignores its cancellation."""
    failed = sends("lifespan.shutdown.failed", "no")
    manager = LifespanManager(app(receives, started, sleeps(1), failed, hangs))
    await manager.startup()
    await manager.wait_crashed()
    assert str(manager.crash) == "the application's lifespan crashed while serving: no"
    with pytest.raises(LifespanCrashed):
        await manager.shutdown()


async def test_19_async_with_has_seen_its_end() -> None:
    async def deaf_for_long(receive: Any, send: Any) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(30)

    manager = LifespanManager(app(receives, started, receives, deaf_for_long), shutdown_timeout=1)
    with pytest.raises(ShutdownTimeout) as info:
        async with manager:
            pass
    assert "still runs" not in str(info.value)
