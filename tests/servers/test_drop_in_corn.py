"""``anylifespan.servers.hypercorn`` and ``anycorn``, beside their own where those are right."""

from __future__ import annotations

import asyncio
import importlib
import logging
import signal
import sys
import threading
from typing import Any

import anyio
import httpx
import pytest
from apps import Boom, app, hangs, raises, receives, sends, started, well_behaved

from anylifespan import LifespanCrashed, Phase, ShutdownTimeout, StartupTimeout
from anylifespan.servers._corn import serve, serve_as_worker

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

pytestmark = pytest.mark.anyio


class Kind:
    """One of the two servers, and whose lifespan is used.

    :ivar utils: the module with the server's errors
    """

    def __init__(self, name: str, backend: str, ours: bool) -> None:
        self.name = name
        self.ours = ours
        self._on_trio = backend == "trio"
        pytest.importorskip(name)
        self.utils = importlib.import_module(f"{name}.utils")
        self.config = importlib.import_module(f"{name}.config").Config()
        self.config.startup_timeout = self.config.shutdown_timeout = 3
        # To standard error, and only what matters here.
        logging.getLogger(f"{name}.error").propagate = True

    def lifespan(self, application: Any, state: dict[str, Any] | None = None) -> Any:
        wrapped = self.utils.wrap_app(application, 2**16, "asgi")
        module = f"anylifespan.servers.{self.name}" if self.ours else f"{self.name}.lifespan"
        name = "Lifespan"
        loop = []
        if self.name == "hypercorn":
            library = "trio" if self._on_trio else "asyncio"
            if self.ours:
                name = f"{library.title()}Lifespan"
            else:
                module = f"hypercorn.{library}.lifespan"
            if not self._on_trio:
                loop = [asyncio.get_running_loop()]
        kind = getattr(importlib.import_module(module), name)
        return kind(wrapped, self.config, *loop, {} if state is None else state)


@pytest.fixture(params=["hypercorn", "anycorn"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=["its own", "ours"])
def either(request: pytest.FixtureRequest, name: str, backend: str) -> Kind:
    return Kind(name, backend, request.param == "ours")


@pytest.fixture
def ours(name: str, backend: str) -> Kind:
    return Kind(name, backend, ours=True)


class Task:
    """``handle_lifespan()`` as a task, and what it has raised."""

    def __init__(self, lifespan: Any) -> None:
        self.lifespan = lifespan
        self.over = False
        self.raised: BaseException | None = None
        self.scope = anyio.CancelScope()

    async def run(self) -> None:
        try:
            with self.scope:
                await self.lifespan.handle_lifespan()
        except Exception as exc:
            self.raised = exc
        self.over = True


# As the servers' own


async def test_startup_and_shutdown(either: Kind) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["pool"] = 1
        await well_behaved(scope, receive, send)

    state: dict[str, Any] = {}
    lifespan = either.lifespan(application, state)
    assert lifespan.state is state
    task = Task(lifespan)
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(task.run)
        await lifespan.wait_for_startup()
        assert state == {"pool": 1}
        assert lifespan.startup.is_set()
        assert not lifespan.shutdown.is_set()
        await lifespan.wait_for_shutdown()
        assert lifespan.shutdown.is_set()
    assert lifespan.supported
    assert task.raised is None


async def test_the_end_of_a_request_does_not_end_the_lifespan(ours: Kind) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await well_behaved(scope, receive, send)

    lifespan = ours.lifespan(application)
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        await lifespan.manager.app({"type": "http"}, None, None)
        await anyio.wait_all_tasks_blocked()
        assert lifespan.manager.phase is Phase.SERVING
        await lifespan.wait_for_shutdown()
    assert lifespan.manager.phase is Phase.STOPPED


async def test_unsupported(either: Kind, capfd: pytest.CaptureFixture[str]) -> None:
    lifespan = either.lifespan(app(raises(Boom())))
    task = Task(lifespan)
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(task.run)
        await lifespan.startup.wait()
        await lifespan.wait_for_startup()
        assert not lifespan.supported
        await lifespan.wait_for_shutdown()
    assert task.raised is None
    assert "continuing without Lifespan support" in capfd.readouterr().err


async def test_startup_failed(either: Kind) -> None:
    lifespan = either.lifespan(app(receives, sends("lifespan.startup.failed", "no database")))
    task = Task(lifespan)
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(task.run)
        await lifespan.wait_for_startup()
    assert isinstance(task.raised, either.utils.LifespanFailureError)
    assert str(task.raised) == "Lifespan failure in startup. 'no database'"


async def test_a_startup_that_is_not_done_in_time(either: Kind) -> None:
    lifespan = either.lifespan(app(receives, hangs))
    task = Task(lifespan)
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(task.run)
        with pytest.raises(either.utils.LifespanTimeoutError, match="awaiting startup") as info:
            await lifespan.wait_for_startup()
        task_group.cancel_scope.cancel()
    if either.ours:
        assert isinstance(info.value.__cause__, StartupTimeout)
        assert task.over


async def test_shutdown_failed(either: Kind) -> None:
    failing = app(receives, started, receives, sends("lifespan.shutdown.failed", "no goodbye"))
    lifespan = either.lifespan(failing)
    task = Task(lifespan)
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(task.run)
        await lifespan.wait_for_startup()
        await lifespan.wait_for_shutdown()
    assert isinstance(task.raised, either.utils.LifespanFailureError)
    assert str(task.raised) == "Lifespan failure in shutdown. 'no goodbye'"


# Where they go beyond


async def test_a_shutdown_that_is_not_done_in_time(
    ours: Kind, capfd: pytest.CaptureFixture[str]
) -> None:
    """Hypercorn's own calls it a startup, on trio."""
    lifespan = ours.lifespan(app(receives, started, receives, hangs))
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        with pytest.raises(ours.utils.LifespanTimeoutError, match="awaiting shutdown") as info:
            await lifespan.wait_for_shutdown()
    assert isinstance(info.value.__cause__, ShutdownTimeout)
    assert "in hangs" in capfd.readouterr().err


async def test_an_application_that_returns_at_once(ours: Kind) -> None:
    lifespan = ours.lifespan(app())
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        await lifespan.wait_for_shutdown()
    assert not lifespan.supported


async def test_a_crash_is_raised(ours: Kind) -> None:
    async def waits(receive: Any, send: Any) -> None:
        await anyio.sleep(1)

    lifespan = ours.lifespan(app(receives, started, waits, raises(Boom("died"))))
    task = Task(lifespan)
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(task.run)
        await lifespan.wait_for_startup()
        await lifespan.shutdown.wait()
        await lifespan.wait_for_shutdown()
    assert isinstance(task.raised, LifespanCrashed)
    assert isinstance(task.raised.__cause__, Boom)


async def test_a_server_that_is_cancelled_lets_the_application_shut_down(ours: Kind) -> None:
    ended: list[bool] = []

    async def says_goodbye(receive: Any, send: Any) -> None:
        await anyio.sleep(1)
        ended.append(True)

    lifespan = ours.lifespan(app(receives, started, receives, says_goodbye))
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        task_group.cancel_scope.cancel()
    assert ended == [True]


# serve()


class Shop:
    """Serves one request, and then crashes or not."""

    def __init__(self, *, crashes: bool) -> None:
        self.asked = anyio.Event()
        self.lifespan = app(receives, started, self.until_asked, raises(Boom("died")))
        if not crashes:
            self.lifespan = well_behaved

    async def until_asked(self, receive: Any, send: Any) -> None:
        await self.asked.wait()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.lifespan(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"served"})
        self.asked.set()


async def test_serve_that_is_cancelled(ours: Kind) -> None:
    serve = importlib.import_module(f"anylifespan.servers.{ours.name}").serve
    with anyio.move_on_after(1) as limit:
        await serve(app(receives, hangs), ours.config, shutdown_trigger=anyio.sleep_forever)
    assert limit.cancelled_caught


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("crashes", [False, True])
def test_serve_until_the_trigger_or_a_crash(
    ours: Kind, backend: str, crashes: bool, free_tcp_port: int
) -> None:
    """In another thread, where no signals are handled."""
    serve = importlib.import_module(f"anylifespan.servers.{ours.name}").serve
    ours.config.bind = [f"127.0.0.1:{free_tcp_port}"]
    # The log goes to statsd only if this is called before the config creates the log.
    calls: list[tuple[str, object]] = []
    ours.config.set_statsd_logger_class = lambda kind: calls.append(
        (kind.__module__, ours.config._log)
    )
    outcome: list[type[BaseException]] = []

    async def main() -> None:
        shop = Shop(crashes=crashes)
        trigger = None if crashes else shop.asked.wait
        await serve(shop, ours.config, shutdown_trigger=trigger)

    def run() -> None:
        try:
            anyio.run(main, backend=backend)
        except BaseException as exc:
            outcome.append(type(exc))

    thread = threading.Thread(target=run, daemon=True)  # which lets a failing test end
    thread.start()
    with httpx.Client(transport=httpx.HTTPTransport(retries=8), timeout=30) as client:
        assert client.get(f"http://127.0.0.1:{free_tcp_port}/").text == "served"
    thread.join(30)
    assert outcome == ([LifespanCrashed] if crashes else [])
    statsd = f"hypercorn.{backend}.statsd" if ours.name == "hypercorn" else "anycorn.statsd"
    assert calls[0] == (statsd, None)


async def test_serve_raises_the_error_of_the_server_bare(ours: Kind) -> None:
    serve = importlib.import_module(f"anylifespan.servers.{ours.name}").serve
    failing = app(receives, sends("lifespan.startup.failed", "no database"))
    with pytest.raises(ours.utils.LifespanFailureError, match="no database"):
        await serve(failing, ours.config, shutdown_trigger=anyio.sleep_forever)


async def test_serve_raises_several_errors_of_the_server_in_their_group(ours: Kind) -> None:
    async def fails_twice(app: Any, stop: Any) -> None:
        raise ExceptionGroup("both", [Boom("the socket"), Boom("the log")])

    with pytest.raises(ExceptionGroup) as info:
        await serve(ours.lifespan(well_behaved), fails_twice, anyio.sleep_forever)
    assert info.group_contains(Boom, match="the socket")
    assert info.group_contains(Boom, match="the log")


async def test_serve_raises_that_it_took_too_long_bare(ours: Kind) -> None:
    serve = importlib.import_module(f"anylifespan.servers.{ours.name}").serve
    ours.config.startup_timeout = 1
    with pytest.raises(ours.utils.LifespanTimeoutError):
        await serve(app(receives, hangs), ours.config, shutdown_trigger=anyio.sleep_forever)


async def test_a_crash_right_after_the_startup_serves_nobody(ours: Kind) -> None:
    serve = importlib.import_module(f"anylifespan.servers.{ours.name}").serve
    crashing = app(receives, started, raises(Boom("died")))
    with pytest.raises(LifespanCrashed, match="died"):
        await serve(crashing, ours.config, shutdown_trigger=anyio.sleep_forever)


async def test_the_lifespan_is_over_when_the_application_has_returned(either: Kind) -> None:
    """As the server's own; nobody has to ask."""
    lifespan = either.lifespan(app(receives, started))
    task = Task(lifespan)
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(task.run)
        await lifespan.wait_for_startup()
        await lifespan.shutdown.wait()
    assert task.over
    assert task.raised is None


@pytest.mark.parametrize("steps", [[], [raises(Boom())]])
async def test_the_lifespan_is_over_where_there_is_none(either: Kind, steps: list[Any]) -> None:
    lifespan = either.lifespan(app(*steps))
    task = Task(lifespan)
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(task.run)
        await lifespan.startup.wait()
        await lifespan.shutdown.wait()
    assert task.over


# As a worker


@pytest.mark.parametrize("by_sigterm", [False, True])
async def test_a_worker_stops_at_its_trigger_and_at_sigterm(ours: Kind, by_sigterm: bool) -> None:
    """Which its supervisor sends as soon as another worker has ended."""
    trigger = anyio.Event()
    served: list[bool] = []

    async def worker_serve(app: Any, config: Any, shutdown_trigger: Any) -> None:
        if by_sigterm:
            signal.raise_signal(signal.SIGTERM)
        else:
            trigger.set()
        await shutdown_trigger()
        served.append(trigger.is_set())

    lifespan = ours.lifespan(well_behaved)
    await serve_as_worker(lifespan, worker_serve, ours.utils.wrap_app, trigger.wait)
    assert served == [not by_sigterm]
    assert lifespan.manager.phase is Phase.STOPPED
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


async def test_the_error_of_a_worker_is_raised_bare(ours: Kind) -> None:
    async def worker_serve(app: Any, config: Any, shutdown_trigger: Any) -> None:
        await shutdown_trigger()

    lifespan = ours.lifespan(app(receives, sends("lifespan.startup.failed", message="no")))
    with pytest.raises(ours.utils.LifespanFailureError, match="no"):
        await serve_as_worker(lifespan, worker_serve, ours.utils.wrap_app, anyio.sleep_forever)
