"""``anylifespan.servers.uvicorn``, beside Uvicorn's own where that is right."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from inspect import signature
from typing import Any

import anyio
import pytest
from apps import (
    Boom,
    app,
    hangs,
    raises,
    receives,
    sends,
    started,
    stopped,
    well_behaved,
)
from plain_server import request

uvicorn = pytest.importorskip("uvicorn")

from uvicorn.lifespan.on import LifespanOn  # noqa: E402

from anylifespan.servers._uvicorn_options import Options  # noqa: E402
from anylifespan.servers.uvicorn import Config, Lifespan  # noqa: E402

pytestmark = pytest.mark.anyio

greeting: ContextVar[str] = ContextVar("greeting", default="unset")


@pytest.fixture(params=["asyncio", "uvloop"])
def backend(request: pytest.FixtureRequest) -> str:
    """Uvicorn is for asyncio alone."""
    return request.param


@pytest.fixture(params=[LifespanOn, Lifespan], ids=["Uvicorn's", "ours"])
def either(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level("INFO", logger="uvicorn.error")
    return caplog


def config(application: Any, **options: Any) -> Any:
    options = {"log_config": None, "proxy_headers": False} | options
    return Config(application, **options)


# As Uvicorn's own


async def test_startup_and_shutdown(either: Any, log: pytest.LogCaptureFixture) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["pool"] = 1
        await well_behaved(scope, receive, send)

    lifespan = either(config(application))
    await lifespan.startup()
    assert (lifespan.should_exit, lifespan.state) == (False, {"pool": 1})
    await lifespan.shutdown()
    assert not lifespan.should_exit
    assert log.messages == [
        "Waiting for application startup.",
        "Application startup complete.",
        "Waiting for application shutdown.",
        "Application shutdown complete.",
    ]


@pytest.mark.parametrize("mode", ["auto", "on"])
async def test_startup_failed(either: Any, mode: str, log: pytest.LogCaptureFixture) -> None:
    failing = app(receives, sends("lifespan.startup.failed", "no database"))
    lifespan = either(config(failing, lifespan=mode))
    await lifespan.startup()
    assert lifespan.should_exit
    waiting, why, failed = log.messages
    assert waiting == "Waiting for application startup."
    assert failed == "Application startup failed. Exiting."
    assert "no database" in why
    assert "Exception in" not in why


async def test_unsupported(either: Any, log: pytest.LogCaptureFixture) -> None:
    lifespan = either(config(app(raises(Boom()))))
    await lifespan.startup()
    assert not lifespan.should_exit
    (why,) = [message for message in log.messages if "lifespan" in message]  # and no second line
    assert "unsupported" in why or "has no lifespan (it raised Boom" in why
    assert log.messages[-1] == "Application startup complete."
    log.clear()
    await lifespan.shutdown()
    assert not lifespan.should_exit
    assert log.messages == []


@pytest.mark.parametrize("steps", [[raises(Boom("died"))], [receives, raises(Boom("died"))]])
async def test_raises_in_mode_on(
    either: Any, steps: list[Any], log: pytest.LogCaptureFixture
) -> None:
    lifespan = either(config(app(*steps), lifespan="on"))
    await lifespan.startup()
    assert lifespan.should_exit
    assert "Exception in 'lifespan' protocol\n" in log.text
    assert "Boom: died" in log.text
    assert log.messages[-1] == "Application startup failed. Exiting."


async def test_shutdown_failed(either: Any, log: pytest.LogCaptureFixture) -> None:
    failing = app(receives, started, receives, sends("lifespan.shutdown.failed", "no goodbye"))
    lifespan = either(config(failing))
    await lifespan.startup()
    await lifespan.shutdown()
    assert lifespan.should_exit
    assert "no goodbye" in log.messages[-2]
    assert log.messages[-1] == "Application shutdown failed. Exiting."


async def test_raises_in_shutdown(either: Any, log: pytest.LogCaptureFixture) -> None:
    failing = app(receives, started, receives, raises(Boom("no goodbye")))
    lifespan = either(config(failing, lifespan="on"))
    await lifespan.startup()
    await lifespan.shutdown()
    assert lifespan.should_exit
    assert "Boom: no goodbye" in log.text
    assert log.messages[-1] == "Application shutdown failed. Exiting."


# Where it goes beyond


async def test_requests_see_the_context_variables(log: pytest.LogCaptureFixture) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send(greeting.get())
            return
        greeting.set("hello")
        await well_behaved(scope, receive, send)

    configuration = config(application)
    lifespan = Lifespan(configuration)
    await lifespan.startup()
    assert await request(configuration.loaded_app) == ["hello"]
    await lifespan.shutdown()
    assert configuration.loaded_app is application


async def test_one_configuration_for_two_servers() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send(dict(scope["state"]))
            return
        scope["state"]["server"] = len(servers)
        await well_behaved(scope, receive, send)

    configuration = config(application)
    servers: list[Lifespan] = []
    apps: list[Any] = []
    for number in (1, 2):
        servers.append(Lifespan(configuration))
        await servers[-1].startup()
        apps.append(configuration.loaded_app)
        assert await request(apps[-1], state=servers[-1].state.copy()) == [{"server": number}]
    await servers[0].shutdown()
    assert configuration.loaded_app is apps[1]
    await servers[1].shutdown()
    assert configuration.loaded_app is application


@pytest.mark.parametrize("phase", ["startup", "shutdown"])
async def test_a_timeout(phase: str, log: pytest.LogCaptureFixture) -> None:
    hanging = app(receives, hangs) if phase == "startup" else app(receives, started, hangs)
    lifespan = Lifespan(config(hanging, startup_timeout=3, shutdown_timeout=3))
    await lifespan.startup()
    if phase == "shutdown":
        await lifespan.shutdown()
    assert lifespan.should_exit
    assert f"did not finish its {phase} within 3 seconds. It was waiting at:" in log.messages[-2]
    assert log.messages[-1] == f"Application {phase} failed. Exiting."


async def test_any_configuration_of_uvicorns_will_do() -> None:
    configuration = uvicorn.Config(app(receives, hangs), log_config=None)
    lifespan = Lifespan(configuration)
    begun = anyio.current_time()
    await lifespan.startup()
    assert anyio.current_time() - begun == pytest.approx(30, abs=1e-3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_a_startup(
    number: signal.Signals, log: pytest.LogCaptureFixture
) -> None:
    """And whoever handles it, as Uvicorn does, is told too."""
    received: list[int] = []

    def handle(number: int, _: object) -> None:
        received.append(number)

    async def interrupted(receive: Any, send: Any) -> None:
        signal.raise_signal(number)
        await anyio.sleep_forever()

    others: dict[signal.Signals, Any] = {signal.SIGINT: handle, signal.SIGTERM: handle}
    before = {one: signal.signal(one, handler) for one, handler in others.items()}
    try:
        lifespan = Lifespan(config(app(receives, interrupted)))
        with pytest.raises(SystemExit) as info:
            await lifespan.startup()
        assert info.value.code == 128 + number
        assert {one: signal.getsignal(one) for one in others} == others
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    assert lifespan.should_exit
    assert log.messages == ["Waiting for application startup.", "Application startup cancelled."]
    assert received == [number]
    await lifespan.shutdown()


async def test_a_cancelled_startup(log: pytest.LogCaptureFixture) -> None:
    """By the task that waits for it; Ctrl-C ends it in the same way."""
    before = signal.getsignal(signal.SIGTERM)
    lifespan = Lifespan(config(app(receives, hangs)))
    with anyio.move_on_after(1) as limit:
        await lifespan.startup()
    assert limit.cancelled_caught
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.fixture
def terminated() -> Iterator[list[int]]:
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    yield received
    signal.signal(signal.SIGTERM, before)


def crashing(at: anyio.Event) -> Any:
    async def wait(receive: Any, send: Any) -> None:
        await at.wait()

    return app(receives, started, wait, raises(Boom("died")))


async def test_a_crash_makes_the_server_exit_with_a_status(
    terminated: list[int], log: pytest.LogCaptureFixture
) -> None:
    at = anyio.Event()
    lifespan = Lifespan(config(crashing(at)))
    await lifespan.startup()
    at.set()
    await anyio.wait_all_tasks_blocked()
    assert lifespan.should_exit
    assert terminated == [signal.SIGTERM]
    with pytest.raises(SystemExit) as info:
        await lifespan.shutdown()
    assert info.value.code == 1
    assert "crashed while serving: Boom: died" in log.messages[-2]
    assert log.messages[-1] == "Application shutdown failed. Exiting."


def test_a_server_in_another_thread_is_left_alone(
    terminated: list[int], log: pytest.LogCaptureFixture
) -> None:
    """There Uvicorn handles no signals, so they are somebody else's."""

    async def serve() -> None:
        at = anyio.Event()
        lifespan = Lifespan(config(crashing(at)))
        await lifespan.startup()
        at.set()
        await anyio.wait_all_tasks_blocked()
        assert lifespan.should_exit
        with pytest.raises(SystemExit):
            await lifespan.shutdown()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    thread.join(30)
    assert terminated == []
    assert "The server is not in the main thread, and so cannot be stopped." in log.messages
    assert log.messages[-1] == "Application shutdown failed. Exiting."


def test_config_chooses_the_lifespan() -> None:
    for mode, expected in (("auto", Lifespan), ("on", Lifespan), ("off", None)):
        configuration = config(app(stopped), lifespan=mode)
        configuration.load()
        assert (configuration.lifespan_class is Lifespan) is (expected is Lifespan)


@pytest.mark.parametrize("option", ["startup_timeout", "shutdown_timeout"])
def test_bad_timeouts(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option} must be zero or more"):
        config(well_behaved, **{option: -1})


async def test_what_has_become_of_it(either: Any) -> None:
    well = either(config(well_behaved))
    await well.startup()
    await well.shutdown()
    assert (well.error_occurred, well.startup_failed, well.shutdown_failed) == (False,) * 3
    unstarted = either(config(app(receives, sends("lifespan.startup.failed", "no"))))
    await unstarted.startup()
    assert (unstarted.startup_failed, unstarted.shutdown_failed) == (True, False)
    unstopped = either(config(app(receives, started, receives, sends("lifespan.shutdown.failed"))))
    await unstopped.startup()
    await unstopped.shutdown()
    assert (unstopped.startup_failed, unstopped.shutdown_failed) == (False, True)
    raised = either(config(app(receives, raises(Boom())), lifespan="on"))
    await raised.startup()
    assert raised.error_occurred


def test_what_the_configuration_takes_can_be_seen() -> None:
    names = list(signature(Config).parameters)
    assert set(signature(uvicorn.Config).parameters) < set(names)
    assert names[-2:] == ["startup_timeout", "shutdown_timeout"]
    assert "kwargs" not in names
    # And editors see it, which read the types.
    assert {"app", *Options.__annotations__, *names[-2:]} >= set(names)
