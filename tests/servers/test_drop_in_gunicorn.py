"""``anylifespan.servers.gunicorn``, beside Gunicorn's own where that is right."""

from __future__ import annotations

import logging
from math import inf
from typing import Any

import anyio
import pytest
from apps import Boom, app, hangs, raises, receives, sends, sleeps, started, well_behaved

pytest.importorskip("gunicorn.asgi")

from gunicorn.asgi.lifespan import LifespanManager as GunicornsOwn
from gunicorn.asgi.lifespan import LifespanStartupFailed
from gunicorn.config import Config

from anylifespan._core.lifespan import Lifespan
from anylifespan.servers.gunicorn import (
    ASGIWorker,
    LifespanManager,
    _drain_timeout,
    _shutdown_timeout,
)

pytestmark = pytest.mark.anyio

logger = logging.getLogger("anylifespan")


@pytest.fixture(params=["asyncio", "uvloop"])
def backend(request: pytest.FixtureRequest) -> str:
    """Gunicorn's own is for asyncio alone."""
    return request.param


@pytest.fixture(params=[GunicornsOwn, LifespanManager], ids=["Gunicorn's", "ours"])
def either(request: pytest.FixtureRequest) -> Any:
    return request.param


# As Gunicorn's own


async def test_startup_and_shutdown(either: Any, log: pytest.LogCaptureFixture) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["pool"] = 1
        await well_behaved(scope, receive, send)

    state = {"given": True}
    manager = either(application, logger, state)
    assert (manager.app, manager.logger, manager.state) == (application, logger, state)
    await manager.startup()
    assert state == {"given": True, "pool": 1}
    assert "ASGI lifespan startup complete" in log.messages
    await manager.shutdown()
    assert "ASGI lifespan shutdown complete" in log.messages


async def test_the_state_is_made_if_there_is_none(either: Any) -> None:
    assert either(well_behaved, logger).state == {}


@pytest.mark.parametrize("then", [[], [raises(Boom("died"))]])
@pytest.mark.parametrize("message", ["0 databases", "no database", "without one"])
async def test_startup_failed(either: Any, message: str, then: list[Any]) -> None:
    failing = app(receives, sends("lifespan.startup.failed", message), *then)
    with pytest.raises(LifespanStartupFailed, match=rf"^Lifespan startup failed: {message}$"):
        await either(failing, logger).startup()


async def test_startup_failed_without_a_message(either: Any) -> None:
    failing = app(receives, sends("lifespan.startup.failed"))
    with pytest.raises(LifespanStartupFailed, match=r"^Lifespan startup failed: Unknown error$"):
        await either(failing, logger).startup()


@pytest.mark.parametrize("steps", [[raises(Boom("died"))], [receives, raises(Boom("died"))], []])
async def test_the_application_raises_or_returns_in_its_startup(
    either: Any, steps: list[Any]
) -> None:
    with pytest.raises(RuntimeError, match=r"^Lifespan startup failed: ") as info:
        await either(app(*steps), logger).startup()
    assert not isinstance(info.value, LifespanStartupFailed)
    assert not steps or "died" in str(info.value)


@pytest.mark.parametrize(
    "last", [sends("lifespan.shutdown.failed", "no goodbye"), raises(Boom("no goodbye"))]
)
async def test_an_error_in_the_shutdown_is_logged(
    either: Any, last: Any, log: pytest.LogCaptureFixture
) -> None:
    manager = either(app(receives, started, receives, last), logger)
    await manager.startup()
    await manager.shutdown()
    (error,) = [record for record in log.records if record.levelname == "ERROR"]
    assert error.getMessage().startswith("Lifespan shutdown error: ")
    assert "no goodbye" in error.getMessage()


# Where it goes beyond


async def test_what_the_application_raised_is_the_cause() -> None:
    boom = Boom("died")
    with pytest.raises(RuntimeError) as info:
        await LifespanManager(app(receives, raises(boom)), logger).startup()
    assert info.value.__cause__ is not None
    assert info.value.__cause__.__cause__ is boom


async def test_the_limit_of_the_startup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYLIFESPAN_STARTUP_TIMEOUT", "3")
    with pytest.raises(RuntimeError, match=r"^Lifespan startup timed out: .* within 3 seconds"):
        await LifespanManager(app(receives, hangs), logger).startup()


async def test_the_limit_of_the_shutdown(
    monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ANYLIFESPAN_SHUTDOWN_TIMEOUT", "3")
    manager = LifespanManager(app(receives, started, receives, hangs), logger)
    await manager.startup()
    await manager.shutdown()
    (warning,) = [record for record in log.records if record.levelname == "WARNING"]
    assert warning.getMessage().startswith("Lifespan shutdown timed out: ")
    assert "in hangs" in warning.getMessage()


@pytest.mark.parametrize("value", ["soon", "-1"])
def test_a_limit_that_is_none(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ANYLIFESPAN_STARTUP_TIMEOUT", value)
    with pytest.raises(ValueError, match="ANYLIFESPAN_STARTUP_TIMEOUT must be"):
        LifespanManager(well_behaved, logger)


async def test_a_crash_is_told(log: pytest.LogCaptureFixture) -> None:
    async def waits(receive: Any, send: Any) -> None:
        await anyio.sleep(1)

    manager = LifespanManager(app(receives, started, waits, raises(Boom("died"))), logger)
    await manager.startup()
    await anyio.sleep(2)
    await manager.shutdown()
    assert "Lifespan shutdown error: the application's lifespan crashed" in log.text
    assert "Boom: died" in log.text


async def test_a_crash_right_after_the_startup() -> None:
    with pytest.raises(RuntimeError, match=r"^Lifespan startup failed: .* crashed .*: Boom: died"):
        await LifespanManager(app(receives, started, raises(Boom("died"))), logger).startup()


# The worker


def worker(application: Any, **settings: Any) -> Any:
    """One that no arbiter has started."""
    cfg = Config()
    for name, value in settings.items():
        cfg.set(name, value)
    made = ASGIWorker.__new__(ASGIWorker)
    made.cfg, made.asgi, made.state, made.log = cfg, application, {}, logger
    made.alive, made.notify = True, lambda: None
    return made


@pytest.mark.parametrize(
    ("application", "status"),
    [
        (app(receives, sends("lifespan.startup.failed", "no")), 3),
        (app(receives, started, sleeps(0.01), raises(Boom("died"))), 1),
        (app(receives, started, receives, raises(Boom("no goodbye"))), None),
    ],
)
async def test_the_status_that_the_worker_ends_with(
    monkeypatch: pytest.MonkeyPatch, application: Any, status: int | None
) -> None:
    async def serve(self: Any) -> None:
        with anyio.move_on_after(1):
            while self.alive:  # noqa: ASYNC110 - as Gunicorn's worker does
                await anyio.sleep(0.01)

    monkeypatch.setattr(ASGIWorker.__mro__[1], "_serve", serve)
    ended = None
    try:
        await worker(application)._serve()
    except SystemExit as exc:
        ended = exc.code
    assert ended == status


@pytest.mark.parametrize(("timeout", "limit"), [(0, inf), (7, 7)])
async def test_a_timeout_of_zero_is_no_limit(
    monkeypatch: pytest.MonkeyPatch, timeout: int, limit: float
) -> None:
    limits: list[float] = []

    async def wait_started(self: Any, timeout: float) -> None:
        limits.append(timeout)
        raise SystemExit

    monkeypatch.setattr(Lifespan, "wait_started", wait_started)
    with pytest.raises(SystemExit):
        await worker(well_behaved, timeout=timeout)._serve()
    assert limits == [limit]


@pytest.mark.parametrize(
    ("graceful", "seconds"), [(30, 27), (6, 3), (4, 4 / 3), (3, 1), (1, 1), (0, 1)]
)
def test_what_is_left_of_the_graceful_timeout(graceful: float, seconds: float) -> None:
    assert _shutdown_timeout(graceful) == seconds


@pytest.mark.parametrize(
    ("graceful", "seconds"), [(30, 14), (9, 3.5), (6, 2), (3, 1), (1, 1 / 3), (0, 0)]
)
def test_what_requests_have_of_the_graceful_timeout(graceful: float, seconds: float) -> None:
    assert _drain_timeout(graceful) == seconds
