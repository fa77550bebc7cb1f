"""Objects that cannot be described, loggers that raise: the outcome and its cause are as ever.

More of them are in catalogue.py, and so in all harnesses.
"""

from __future__ import annotations

import gc
import logging
import time
from typing import Any

import anyio
import pytest
from apps import Boom, app, hangs, raises, receives, sends, sleeps, started, stopped
from catalogue import Unprintable

from anylifespan import (
    LifespanCrashed,
    LifespanManager,
    Phase,
    ShutdownFailed,
    StartupFailed,
    StartupTimeout,
)
from anylifespan._core.log import DEFAULT_LOG, Log

pytestmark = pytest.mark.anyio

UNPRINTABLE = "Unprintable: (its __str__() raises an exception)"


async def test_c_the_bodys_own_exception_is_raised_beside_one_that_cannot_be_printed() -> None:
    error = KeyError("mine")
    with pytest.raises(KeyError) as info:
        async with LifespanManager(app(receives, started, receives, raises(Unprintable()))):
            raise error
    assert info.value is error
    assert error.__notes__ == [
        f"Besides, ShutdownFailed: the application failed to shut down: {UNPRINTABLE}"
    ]


async def test_12_an_exception_that_cannot_be_printed_is_the_cause(drive: Any) -> None:
    error = Unprintable()
    with pytest.raises(ShutdownFailed, match="raises an exception") as info:
        await drive(LifespanManager(app(receives, started, receives, raises(error))))
    assert info.value.__cause__ is error
    assert info.value.message == UNPRINTABLE


class NoNotes(Exception):
    __notes__ = None


async def test_c_an_exception_that_takes_no_notes() -> None:
    error = NoNotes()
    with pytest.raises(NoNotes) as info:
        async with LifespanManager(app(receives, started, receives, raises(Boom("too")))):
            raise error
    assert info.value is error


class Odd:
    """What raises when it is shown."""

    def __repr__(self) -> str:
        raise RuntimeError("not to be shown")


async def test_17_a_message_that_cannot_be_shown(drive: Any) -> None:
    async def sends_something_odd(receive: Any, send: Any) -> None:
        await send(Odd())

    with pytest.raises(StartupFailed, match=r"Odd: its repr\(\) raises an exception"):
        await drive(LifespanManager(app(receives, sends_something_odd), mode="on"))


class Text(str):
    def __format__(self, spec: str) -> str:
        raise RuntimeError("not to be shown")

    __str__ = __repr__ = __format__  # type: ignore[assignment]


async def test_6_a_text_that_is_one_in_name_only(drive: Any) -> None:
    application = app(receives, sends("lifespan.startup.failed", Text("no database")))
    with pytest.raises(StartupFailed, match="failed to start: no database"):
        await drive(LifespanManager(application))


@pytest.mark.parametrize("name", [None, 7, "", ["odd"]])
async def test_7_a_module_without_a_proper_name(name: Any, drive: Any) -> None:
    module = {"__name__": name, "sleep": anyio.sleep_forever}
    exec("async def odd(scope, receive, send):\n    await sleep()", module)
    with pytest.raises(StartupTimeout) as info:
        await drive(LifespanManager(module["odd"], startup_timeout=1))
    assert [frame.name for frame in info.value.where] == ["odd"]


async def test_7_a_stack_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, drive: Any) -> None:
    def fails() -> Any:
        raise AttributeError("no tasks")

    monkeypatch.setattr("anylifespan._core.where.get_running_tasks", fails)
    with pytest.raises(StartupTimeout, match="no frame of its own to be seen"):
        await drive(LifespanManager(app(hangs), startup_timeout=1))


# Loggers


class AsksForTheRequest(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        raise LookupError("there is no request")


class Exits(logging.Handler):
    """As rich does where standard output is closed."""

    def emit(self, record: logging.LogRecord) -> None:
        raise SystemExit(1)


@pytest.fixture(params=["filter", "handler"])
def logger(request: pytest.FixtureRequest) -> logging.Logger:
    logger = logging.Logger("hostile", logging.DEBUG)
    if request.param == "filter":
        logger.addFilter(AsksForTheRequest())
    else:
        logger.addHandler(Exits())
    return logger


async def test_8_a_crash_is_seen_where_it_cannot_be_logged(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    manager = LifespanManager(
        app(receives, started, sleeps(1), raises(Boom("died"))), logger=logger
    )
    await manager.startup()
    crash = await manager.wait_crashed()
    assert isinstance(crash.__cause__, Boom)
    with pytest.raises(LifespanCrashed, match="died"):
        await manager.shutdown()
    err = capsys.readouterr().err
    assert "anylifespan: The application's lifespan crashed while serving." in err
    assert "Boom: died" in err
    assert ("LookupError: there is no request" in err) or ("SystemExit: 1" in err)


async def test_9_returning_is_tolerated_where_it_cannot_be_logged(
    logger: logging.Logger, drive: Any
) -> None:
    manager = LifespanManager(app(receives, started), logger=logger)
    await drive(manager, lambda: anyio.sleep(1))
    assert manager.phase is Phase.STOPPED


async def test_15_a_linger_is_ended_where_it_cannot_be_logged(
    logger: logging.Logger, drive: Any, passed: Any
) -> None:
    since = anyio.current_time()
    manager = LifespanManager(app(receives, started, receives, stopped, hangs), logger=logger)
    await drive(manager)
    assert passed(since, 5)
    assert manager.phase is Phase.STOPPED


async def test_what_cannot_be_logged_goes_to_standard_error(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    async with LifespanManager(app(raises(Boom("100%"))), logger=logger):
        pass
    err = capsys.readouterr().err
    assert err.startswith("anylifespan: The application has no lifespan (it raised Boom: 100%, at ")
    assert "None" not in err.splitlines()
    async with LifespanManager(app(receives, started), logger=logger):
        await anyio.sleep(1)
    err = capsys.readouterr().err
    assert err.startswith("anylifespan: The application's lifespan returned while serving;")
    assert "The logger raised this when it was given the above:\nTraceback" in err


async def test_ctrl_c_in_a_handler_is_no_error_of_the_logger() -> None:
    class Interrupted(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise KeyboardInterrupt

    logger = logging.Logger("interrupted")
    logger.addHandler(Interrupted())
    with pytest.raises(KeyboardInterrupt):
        Log(logger).warning("too late")


async def test_a_log_line_says_where_it_comes_from(log: pytest.LogCaptureFixture) -> None:
    async with LifespanManager(app(receives, started)):
        await anyio.sleep(1)
    assert [record.filename for record in log.records] == ["lifespan.py"]


# Very many tasks


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_where_it_waits_is_found_among_very_many_tasks(library: str) -> None:
    async def waits() -> None:
        await anyio.sleep_forever()

    async def many(task_group: Any, number: int) -> None:
        for _ in range(number):
            task_group.start_soon(waits)
        await anyio.wait_all_tasks_blocked()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        async with anyio.create_task_group() as task_group:
            await many(task_group, 2000)
            ready.set()

    async def main() -> None:
        nonlocal ready
        ready = anyio.Event()
        async with anyio.create_task_group() as others:
            await many(others, 2000)
            async with anyio.create_task_group() as task_group:
                manager = LifespanManager(application, startup_timeout=None)
                task_group.start_soon(manager.startup)
                await ready.wait()
                gc.disable()  # which has all the other tests' objects to look at
                began = time.process_time()
                where = where_waiting(manager._lifespan.coroutine)
                seconds.append(time.process_time() - began)
                gc.enable()
                names.extend(frame.name for frame in where)
                task_group.cancel_scope.cancel()
            others.cancel_scope.cancel()

    from anylifespan._core.where import where_waiting

    ready: Any = None
    seconds: list[float] = []
    names: list[str] = []
    anyio.run(main, backend=library)
    assert names == ["application", "waits"]
    # It took more than a second, and grew with the square of the tasks.
    assert seconds[0] < 1


def test_what_a_task_raises_that_was_to_raise_nothing_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    boom = Boom("it was not to happen")
    DEFAULT_LOG.complaint(boom)
    [record] = caplog.records
    assert (record.getMessage(), record.levelname) == ("it was not to happen", "ERROR")
    assert record.exc_info is not None
    assert record.exc_info[1] is boom
