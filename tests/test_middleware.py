"""``LifespanMiddleware``: one lifespan under any server."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint
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
from conftest import BACKENDS
from plain_server import plain_server, request

from anylifespan import (
    LifespanCrashed,
    LifespanError,
    LifespanManager,
    LifespanMiddleware,
    LifespanUnsupported,
    ShutdownFailed,
    ShutdownTimeout,
    StartupFailed,
    StartupTimeout,
    with_lifespan,
)
from anylifespan._process.server import Server, find_server, terminate
from anylifespan.testing import asgi_client

pytestmark = pytest.mark.anyio

COMPLETE = {"type": "lifespan.startup.complete"}
STOPPED = {"type": "lifespan.shutdown.complete"}
SERVED = [{"type": "served"}]
REFUSED = 503

greeting: ContextVar[str] = ContextVar("greeting", default="unset")


class Shop:
    """An application with everything: its lifespan takes the given steps.

    :ivar starts: how often it has been started
    :ivar seen: the greeting and the state that each request saw
    """

    def __init__(self, *steps: Any) -> None:
        self.lifespan = app(*(steps or (receives, started, receives, stopped)))
        self.starts = 0
        self.seen: list[tuple[str, dict[str, Any]]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            self.starts += 1
            greeting.set("hello")
            scope["state"]["number"] = self.starts
            await self.lifespan(scope, receive, send)
        else:
            self.seen.append((greeting.get(), scope.get("state")))
            await send({"type": "served"})


def crashing(at: anyio.Event, error: Exception) -> list[Any]:
    async def wait(receive: Any, send: Any) -> None:
        await at.wait()

    return [receives, started, wait, raises(error)]


# Under a server that sends the lifespan


async def test_a_whole_lifespan() -> None:
    shop = Shop()
    async with plain_server(LifespanMiddleware(shop), {"given": True}) as server:
        assert await server.ask("startup") == COMPLETE
        assert server.state == {"given": True, "number": 1}
        assert await server.request() == SERVED
        assert await server.ask("shutdown") == STOPPED
    assert shop.seen == [("hello", {"given": True, "number": 1})]


async def test_what_is_put_into_the_state_further_out_survives() -> None:
    shop = Shop()
    middleware = LifespanMiddleware(shop)
    async with plain_server(middleware) as server:
        await server.ask("startup")
        await request(middleware, state={"user": "Ada"})
        await request(middleware, state={"user": "Ada", "number": 7})
        await server.ask("shutdown")
    assert shop.seen == [
        ("hello", {"user": "Ada", "number": 1}),
        ("hello", {"user": "Ada", "number": 7}),
    ]


async def test_it_can_be_started_again() -> None:
    shop = Shop()
    middleware = LifespanMiddleware(shop)
    for number in (1, 2):
        async with plain_server(middleware) as server:
            await server.ask("startup")
            await server.request()
            await server.ask("shutdown")
        assert shop.seen[-1] == ("hello", {"number": number})


async def test_other_scopes_are_passed_through() -> None:
    shop = Shop()
    assert await request(LifespanMiddleware(shop), "telepathy") == SERVED
    assert shop.starts == 0


async def test_a_startup_that_hangs_is_told_with_its_place() -> None:
    async with plain_server(LifespanMiddleware(app(hangs), startup_timeout=3)) as server:
        answer = await server.ask("startup")
    assert answer["type"] == "lifespan.startup.failed"
    assert "did not finish its startup within 3 seconds. It was waiting at:" in answer["message"]
    assert 'apps.py", line' in answer["message"]
    assert "in hangs" in answer["message"]
    assert isinstance(server.raised, StartupTimeout)


async def test_a_startup_that_fails_is_told() -> None:
    failing = app(receives, sends("lifespan.startup.failed", "no database"))
    async with plain_server(LifespanMiddleware(failing)) as server:
        answer = await server.ask("startup")
    assert answer == {
        "type": "lifespan.startup.failed",
        "message": "the application failed to start: no database",
    }
    assert isinstance(server.raised, StartupFailed)


async def test_a_startup_that_raises_is_told_with_its_traceback() -> None:
    """And raised on, as if there were no middleware."""
    boom = Boom("no database")
    failing = app(receives, raises(boom))
    async with plain_server(LifespanMiddleware(failing, mode="on")) as server:
        answer = await server.ask("startup")
    first, second, *_, last = answer["message"].splitlines()
    assert first == "the application raised in its startup: Boom: no database"
    assert second == "Traceback (most recent call last):"
    assert last == "apps.Boom: no database"
    assert server.raised is boom


async def test_a_traceback_that_the_application_has_sent_is_not_told_twice() -> None:
    sent = "Traceback (most recent call last):\n  its own"
    failing = app(receives, sends("lifespan.startup.failed", sent), raises(Boom("no broker")))
    async with plain_server(LifespanMiddleware(failing)) as server:
        answer = await server.ask("startup")
    assert "its own" not in answer["message"]
    first, *traceback = answer["message"].splitlines()
    assert first == "the application failed to start: Boom: no broker"
    assert traceback[0] == "Traceback (most recent call last):"
    assert traceback[-1] == "apps.Boom: no broker"


@pytest.mark.parametrize(
    ("steps", "error"),
    [
        ([sends("lifespan.startup.failed", "no database")], "start: no database"),
        (
            [started, receives, sends("lifespan.shutdown.failed", "no goodbye")],
            "shut down: no goodbye",
        ),
    ],
)
async def test_a_manager_around_it_says_once_what_has_failed(steps: list[Any], error: str) -> None:
    failing = LifespanMiddleware(app(receives, *steps))
    with pytest.raises(LifespanError) as caught:
        async with LifespanManager(failing):
            pass
    assert str(caught.value) == f"the application failed to {error}"


async def test_without_a_lifespan_it_serves() -> None:
    async with plain_server(LifespanMiddleware(app(raises(Boom())))) as server:
        assert await server.ask("startup") == COMPLETE
        assert await server.ask("shutdown") == STOPPED


async def test_without_a_lifespan_in_mode_on() -> None:
    async with plain_server(LifespanMiddleware(app(raises(Boom())), mode="on")) as server:
        answer = await server.ask("startup")
    assert answer["type"] == "lifespan.startup.failed"
    assert "the application has no lifespan" in answer["message"]
    assert isinstance(server.raised, LifespanUnsupported)


async def test_in_mode_off_the_application_is_left_alone() -> None:
    shop = Shop()
    async with plain_server(LifespanMiddleware(shop, mode="off")) as server:
        assert await server.ask("startup") == COMPLETE
        await server.request()
        assert await server.ask("shutdown") == STOPPED
    assert shop.starts == 0
    assert shop.seen == [("unset", {})]


async def test_a_shutdown_that_hangs_is_told_with_its_place() -> None:
    hanging = app(receives, started, receives, hangs)
    async with plain_server(LifespanMiddleware(hanging, shutdown_timeout=3)) as server:
        await server.ask("startup")
        answer = await server.ask("shutdown")
    assert answer["type"] == "lifespan.shutdown.failed"
    assert "did not finish its shutdown within 3 seconds" in answer["message"]
    assert "in hangs" in answer["message"]
    assert isinstance(server.raised, ShutdownTimeout)


async def test_a_shutdown_that_raises_is_told_and_raised_on() -> None:
    boom = Boom("no goodbye")
    failing = app(receives, started, receives, raises(boom))
    async with plain_server(LifespanMiddleware(failing)) as server:
        await server.ask("startup")
        answer = await server.ask("shutdown")
    assert answer["type"] == "lifespan.shutdown.failed"
    assert "apps.Boom: no goodbye" in answer["message"]
    assert server.raised is boom


async def test_a_server_that_raises_at_the_answer_does_not_lose_it(
    log: pytest.LogCaptureFixture,
) -> None:
    async def send(message: Any) -> None:
        raise ConnectionError("the server does not want to know")

    async def receive() -> dict[str, Any]:
        return {"type": "lifespan.startup"}

    failing = LifespanMiddleware(app(receives, sends("lifespan.startup.failed", "no database")))
    with pytest.raises(ConnectionError):
        await failing({"type": "lifespan", "state": {}}, receive, send)
    assert log.messages == ["the application failed to start: no database"]


async def test_a_server_that_breaks_off_lets_the_application_shut_down(
    log: pytest.LogCaptureFixture,
) -> None:
    events: list[str] = []

    async def says_goodbye(receive: Any, send: Any) -> None:
        await checkpoint()
        events.append("goodbye")

    shop = app(receives, started, receives, says_goodbye, stopped)
    async with plain_server(LifespanMiddleware(shop)) as server:
        await server.ask("startup")
        server.break_off()
    assert events == ["goodbye"]
    assert log.messages == []


async def test_a_server_that_breaks_off_and_a_shutdown_that_fails(
    log: pytest.LogCaptureFixture,
) -> None:
    failing = app(receives, started, receives, raises(Boom("no goodbye")))
    async with plain_server(LifespanMiddleware(failing)) as server:
        await server.ask("startup")
        server.break_off()
    assert log.messages == ["ShutdownFailed: the application failed to shut down: Boom: no goodbye"]
    assert "Boom: no goodbye" in log.text


async def lose_the_server(middleware: Any) -> None:
    """Drive a lifespan whose ``receive()`` raises instead of the shutdown."""
    events = iter([{"type": "lifespan.startup"}])

    async def receive() -> dict[str, Any]:
        await checkpoint()
        for event in events:
            return event
        raise ConnectionError

    async def send(message: Any) -> None:
        await checkpoint()

    await middleware({"type": "lifespan", "state": {}}, receive, send)


async def test_a_server_whose_receive_raises(log: pytest.LogCaptureFixture) -> None:
    """Its exception goes on, and an error of the shutdown is logged."""
    failing = LifespanMiddleware(app(receives, started, receives, raises(Boom("no goodbye"))))
    with pytest.raises(ConnectionError):
        await lose_the_server(failing)
    assert log.messages == ["The server has broken off the lifespan; its shutdown failed."]
    assert "no goodbye" in log.text


async def test_a_server_whose_receive_raises_and_a_shutdown_that_is_fine(
    log: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(ConnectionError):
        await lose_the_server(LifespanMiddleware(well_behaved))
    assert log.messages == []


# A crash


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_on_crash_is_called(asynchronous: bool) -> None:
    at = anyio.Event()
    crashes: list[LifespanCrashed] = []

    async def tell(crash: LifespanCrashed) -> None:
        await checkpoint()
        crashes.append(crash)

    on_crash: Any = tell if asynchronous else crashes.append
    middleware = LifespanMiddleware(app(*crashing(at, Boom("died"))), on_crash=on_crash)
    async with plain_server(middleware) as server:
        await server.ask("startup")
        at.set()
        await wait_all_tasks_blocked()
        (crash,) = crashes
        answer = await server.ask("shutdown")
    assert answer == {"type": "lifespan.shutdown.failed", "message": str(crash)}
    assert "Boom: died" in str(crash)
    assert isinstance(crash.__cause__, Boom)
    assert server.raised is crash.__cause__


async def test_on_crash_is_cancelled_by_the_shutdown(log: pytest.LogCaptureFixture) -> None:
    at = anyio.Event()
    ended: list[str] = []

    async def pages(crash: LifespanCrashed) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("paged")

    async with plain_server(
        LifespanMiddleware(app(*crashing(at, Boom())), on_crash=pages)
    ) as server:
        await server.ask("startup")
        at.set()
        await wait_all_tasks_blocked()
        assert (await server.ask("shutdown"))["type"] == "lifespan.shutdown.failed"
    assert ended == ["paged"]
    assert len(log.messages) == 1


def pages_into(ended: list[str]) -> Any:
    """An on_crash that takes a second to clean up."""

    async def pages(crash: LifespanCrashed) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1)
            ended.append("paged")

    return pages


async def test_on_crash_is_waited_for_if_the_driver_is_cancelled() -> None:
    at = anyio.Event()
    ended: list[str] = []
    shop = app(*crashing(at, Boom()))
    with anyio.CancelScope() as scope:
        async with LifespanManager(LifespanMiddleware(shop, on_crash=pages_into(ended))):
            at.set()
            await wait_all_tasks_blocked()
            scope.cancel()
            await anyio.sleep_forever()
    assert ended == ["paged"]


async def test_a_server_that_breaks_off_lets_on_crash_clean_up() -> None:
    ended: list[str] = []
    at = anyio.Event()
    shop = app(*crashing(at, Boom()))
    async with plain_server(LifespanMiddleware(shop, on_crash=pages_into(ended))) as server:
        await server.ask("startup")
        at.set()
        await wait_all_tasks_blocked()
        server.break_off()
    assert ended == ["paged"]


async def test_on_crash_that_cannot_be_cancelled_does_not_hold_up_the_shutdown(
    log: pytest.LogCaptureFixture,
) -> None:
    at, sent = anyio.Event(), anyio.Event()

    async def pages(crash: LifespanCrashed) -> None:
        with anyio.CancelScope(shield=True):
            await sent.wait()

    middleware = LifespanMiddleware(app(*crashing(at, Boom())), on_crash=pages)
    async with plain_server(middleware) as server:
        await server.ask("startup")
        at.set()
        await wait_all_tasks_blocked()
        since = anyio.current_time()
        assert (await server.ask("shutdown"))["type"] == "lifespan.shutdown.failed"
        assert anyio.current_time() - since == pytest.approx(5)
    assert log.messages[1].startswith(
        f"on_crash ({pages!r}) still runs 5 seconds after it was cancelled"
    )
    sent.set()
    await wait_all_tasks_blocked()


async def test_on_crash_that_exits_ends_the_driver_with_it() -> None:
    at = anyio.Event()

    def exits(crash: LifespanCrashed) -> None:
        sys.exit(3)

    middleware = LifespanMiddleware(app(*crashing(at, Boom())), on_crash=exits)
    async with plain_server(middleware) as server:
        await server.ask("startup")
        at.set()
        await wait_all_tasks_blocked()
        assert isinstance(server.raised, SystemExit)
        assert server.raised.code == 3


async def test_on_crash_that_raises_is_logged(log: pytest.LogCaptureFixture) -> None:
    def fails(crash: LifespanCrashed) -> None:
        raise Boom("not even that")

    at = anyio.Event()
    middleware = LifespanMiddleware(app(*crashing(at, Boom())), on_crash=fails)
    async with plain_server(middleware) as server:
        await server.ask("startup")
        at.set()
        await wait_all_tasks_blocked()
        await server.ask("shutdown")
    assert "not even that" in log.text
    assert f"on_crash ({fails!r}) raised an exception." in log.messages


async def test_after_a_crash_that_is_only_logged_it_serves_on(
    log: pytest.LogCaptureFixture,
) -> None:
    at = anyio.Event()
    shop = Shop(*crashing(at, Boom("died")))
    async with plain_server(LifespanMiddleware(shop, on_crash="log")) as server:
        await server.ask("startup")
        at.set()
        await wait_all_tasks_blocked()
        assert log.messages == ["The application's lifespan crashed while serving."]
        assert await server.request() == SERVED
        assert (await server.ask("shutdown"))["type"] == "lifespan.shutdown.failed"


async def test_a_crash_is_raised_where_no_server_can_be_stopped() -> None:
    """Nothing is signalled, as that would end the whole test run."""
    at, boom = anyio.Event(), Boom("died")
    with handled(signal.SIGTERM) as received:
        async with plain_server(LifespanMiddleware(app(*crashing(at, boom)))) as server:
            await server.ask("startup")
            assert server.raised is None
            at.set()
            await wait_all_tasks_blocked()
            assert server.raised is boom
    assert received == []


async def test_a_crash_right_after_the_startup_is_raised() -> None:
    boom = Boom("died")
    async with plain_server(LifespanMiddleware(app(receives, started, raises(boom)))) as server:
        await server.ask("startup")
        await wait_all_tasks_blocked()
        assert server.raised is boom


async def test_a_crash_while_the_server_is_told_of_the_startup() -> None:
    at = anyio.Event()

    async def receive() -> dict[str, Any]:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        at.set()
        await wait_all_tasks_blocked()

    middleware = LifespanMiddleware(app(*crashing(at, Boom("died"))))
    with pytest.raises(Boom, match="died"):
        await middleware({"type": "lifespan", "state": {}}, receive, send)


def test_on_windows_it_raises_the_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with handled(signal.SIGTERM) as received:
        terminate()
    assert received == [signal.SIGTERM]


async def test_a_crash_is_one_of_our_manager(log: pytest.LogCaptureFixture) -> None:
    at, boom = anyio.Event(), Boom("died")
    with pytest.raises(LifespanCrashed, match="crashed while serving: Boom: died") as info:
        async with LifespanManager(LifespanMiddleware(app(*crashing(at, boom)))):
            at.set()
            await anyio.sleep_forever()
    assert info.value.__cause__ is boom
    assert [record.exc_info[1] for record in log.records if record.exc_info] == [boom, boom]


@contextmanager
def handled(number: signal.Signals) -> Iterator[list[int]]:
    """The signals that are received, of one that is handled."""
    received: list[int] = []
    before = signal.signal(number, lambda number, _: received.append(number))
    try:
        yield received
    finally:
        signal.signal(number, before)


def as_a_server_would(call: Callable[[], object]) -> None:
    """Call something with nobody of pytest among those that have called."""
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()  # in C, where a signal has to wake the main thread


def test_a_crash_stops_a_server_by_its_signal(backend: str) -> None:
    async def serve() -> None:
        at = anyio.Event()
        async with plain_server(LifespanMiddleware(app(*crashing(at, Boom())))) as server:
            await server.ask("startup")
            assert received == []
            at.set()
            await wait_all_tasks_blocked()
            assert server.raised is None
            answers.append(await server.ask("shutdown"))

    name, options = BACKENDS[backend]()
    answers: list[Any] = []
    exits: list[Any] = []

    def run() -> None:
        try:
            anyio.run(serve, backend=name, backend_options=options)
        except SystemExit as exc:
            exits.append(exc.code)

    with handled(signal.SIGTERM) as received:
        as_a_server_would(run)
    assert received == [signal.SIGTERM]
    if name == "trio":
        assert [answer["type"] for answer in answers] == ["lifespan.shutdown.failed"]
    else:
        # Otherwise the process would end by the signal, or with 0.
        assert (answers, exits) == ([], [1])


def test_a_crash_under_our_manager_signals_nobody(backend: str) -> None:
    """Outside of pytest, and in a process that handles SIGTERM."""

    async def drive() -> None:
        at = anyio.Event()
        try:
            async with LifespanManager(LifespanMiddleware(app(*crashing(at, Boom())))):
                at.set()
                await anyio.sleep_forever()
        except LifespanCrashed as crash:
            crashes.append(crash)

    name, options = BACKENDS[backend]()
    crashes: list[LifespanCrashed] = []
    run = partial(anyio.run, drive, backend=name, backend_options=options)
    with handled(signal.SIGTERM) as received:
        as_a_server_would(run)
        as_a_server_would(function_of("uvicorn.server", "serve", run))  # as a drop-in is called
    assert received == []
    assert len(crashes) == 2


def test_a_crash_of_a_part_stops_the_server_which_runs_the_whole(backend: str) -> None:
    """The whole could only raise, and servers ignore that while they serve."""

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        yield

    async def serve() -> None:
        at = anyio.Event()
        part = LifespanMiddleware(app(*crashing(at, Boom())))
        async with plain_server(with_lifespan(part, lifespan)) as server:
            await server.ask("startup")
            at.set()
            await wait_all_tasks_blocked()

    name, options = BACKENDS[backend]()
    run = partial(anyio.run, serve, backend=name, backend_options=options)
    with handled(signal.SIGTERM) as received:
        as_a_server_would(function_of("uvicorn.server", "serve", run))
    assert received == [signal.SIGTERM]


def test_a_client_for_tests_is_no_server(backend: str) -> None:
    """Not outside of pytest either, where a request may start a mounted application."""
    found: list[Server | None] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        found.append(find_server())
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    async def drive() -> None:
        async with asgi_client(application, mode="off") as client:
            await client.get("/")

    name, options = BACKENDS[backend]()
    with handled(signal.SIGTERM):
        as_a_server_would(lambda: anyio.run(drive, backend=name, backend_options=options))
    assert found == [None]


def test_the_end_of_the_event_loop_stops_nobody(backend: str) -> None:
    """An application that a request has started is cancelled with it, which is no crash."""
    name, options = BACKENDS[backend]()
    middleware = LifespanMiddleware(Shop())
    with handled(signal.SIGTERM) as received:
        as_a_server_would(
            lambda: anyio.run(request, middleware, backend=name, backend_options=options)
        )
    assert received == []


async def test_a_crash_that_is_only_logged_is_none_of_our_manager() -> None:
    at = anyio.Event()
    shop = LifespanMiddleware(app(*crashing(at, Boom("died"))), on_crash="log")
    manager = LifespanManager(shop)
    with pytest.raises(ShutdownFailed, match="died"):
        async with manager:
            at.set()
            await wait_all_tasks_blocked()
            assert manager.crash is None


def test_a_main_thread_that_waits_in_c_is_woken() -> None:
    """By the signal itself, and not when it next comes back to Python."""
    woken = threading.Event()

    def send() -> None:
        server = find_server()
        assert server is not None
        server.stop()
        assert woken.wait(10)

    before = signal.signal(signal.SIGTERM, lambda *_: woken.set())
    try:
        as_a_server_would(send)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert woken.is_set()


def found() -> Server | None:
    """What find_server() finds."""
    found: list[Any] = []
    as_a_server_would(lambda: found.append(find_server()))
    return found[0]


def test_what_handles_no_signal_is_no_server() -> None:
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert found() is None


@pytest.mark.parametrize(
    "module",
    ["starlette.testclient", "asgi_lifespan._manager", "async_asgi_testclient.testing", "unittest"],
)
def test_a_test_client_is_no_server(module: str) -> None:
    with handled(signal.SIGTERM):
        assert called_from(module, "startup", found_here) is None


def found_here() -> Any:
    return find_server()


def called_from(module: str, function: str, call: Callable[[], Any]) -> Any:
    """What the call returns, from a function of some module, in a thread."""
    returned: list[Any] = []
    as_a_server_would(lambda: returned.append(function_of(module, function, call)()))
    return returned[0]


def function_of(module: str, function: str, call: Callable[[], Any]) -> Any:
    namespace: dict[str, Any] = {"__name__": module, "call": call}
    exec(f"def {function}(): return call()", namespace)
    return namespace[function]


@pytest.mark.parametrize(
    ("modules", "hides_failures"),
    [
        (["uvicorn.server"], True),
        (["daphne.server"], True),
        (["granian.server"], False),
        (["gunicorn.workers.base", "uvicorn.server"], False),
    ],
)
def test_which_servers_end_as_if_their_shutdown_had_not_failed(
    modules: list[str], hides_failures: bool
) -> None:
    call = found_here
    for module in reversed(modules):
        call = function_of(module, "serve", call)
    with handled(signal.SIGTERM):
        server = called_from("__main__", "main", call)
    assert server.hides_failures is hides_failures


def test_hypercorn_on_trio_handles_sigint_alone() -> None:
    server = called_from("hypercorn.trio.run", "worker_serve", found_here)
    with handled(signal.SIGINT) as received:
        server.stop()
    assert received == [signal.SIGINT]


def test_hypercorn_with_no_signal_handled() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert called_from("hypercorn.trio.run", "worker_serve", found_here) is None
    finally:
        signal.signal(signal.SIGINT, before)


def _worker(function: str, handles_sigterm: bool = False) -> None:
    if handles_sigterm:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    else:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = called_from("hypercorn.asyncio.run", function, found_here)
    if server is not None:
        server.stop()


@pytest.mark.parametrize(
    ("function", "expected"), [("asyncio_worker", [signal.SIGTERM]), ("serve", [])]
)
def test_a_worker_that_handles_no_signal_has_its_supervisor_sent_it(
    function: str, expected: list[int]
) -> None:
    """But not any process that has started another which serves."""
    with handled(signal.SIGTERM) as received:
        worker = multiprocessing.get_context("spawn").Process(target=_worker, args=[function])
        worker.start()
        worker.join(30)
    assert worker.exitcode == 0
    assert received == expected


def test_a_server_that_handles_a_signal_is_sent_it_in_a_process_that_another_has_started() -> None:
    """Hypercorn without workers, in a process that a test has started, say."""
    with handled(signal.SIGTERM) as received:
        context = multiprocessing.get_context("spawn")
        worker = context.Process(target=_worker, args=["asyncio_worker", True])
        worker.start()
        worker.join(30)
    assert worker.exitcode == 0
    assert received == []


# Under a server that sends no lifespan


async def test_the_first_request_starts_it() -> None:
    shop = Shop()
    middleware = LifespanMiddleware(shop)
    assert await request(middleware) == SERVED
    assert await request(middleware, "websocket") == SERVED
    assert shop.seen == [("hello", {"number": 1})] * 2


async def test_requests_that_come_meanwhile_wait_for_that_start() -> None:
    go = anyio.Event()

    async def wait(receive: Any, send: Any) -> None:
        await go.wait()

    shop = Shop(receives, wait, started, receives, stopped)
    middleware = LifespanMiddleware(shop)
    async with anyio.create_task_group() as task_group:
        for _ in range(5):
            task_group.start_soon(request, middleware)
        await wait_all_tasks_blocked()
        assert shop.seen == []
        go.set()
    assert shop.seen == [("hello", {"number": 1})] * 5


async def test_a_failed_start_answers_503_to_all_that_waited_and_is_tried_again(
    log: pytest.LogCaptureFixture,
) -> None:
    fails = True

    async def lifespan(receive: Any, send: Any) -> None:
        await receive()
        await wait_all_tasks_blocked()
        kind = "failed" if fails else "complete"
        await send({"type": f"lifespan.startup.{kind}"} | ({"message": "no"} if fails else {}))
        await receive()

    shop = Shop(lifespan)
    middleware = LifespanMiddleware(shop)
    answers: list[int] = []

    async def ask() -> None:
        sent = await request(middleware)
        answers.append(sent[0]["status"])
        assert [message["type"] for message in sent] == [
            "http.response.start",
            "http.response.body",
        ]

    async with anyio.create_task_group() as task_group:
        for _ in range(3):
            task_group.start_soon(ask)
    assert answers == [REFUSED] * 3
    assert shop.starts == 1
    assert log.messages == [
        f"{middleware!r} is started by a request, since the server has not sent it a lifespan.",
        "The application is not available: the application failed to start: no",
    ]
    fails = False
    assert await request(middleware) == SERVED
    assert shop.starts == 2


async def test_if_the_request_that_starts_it_is_cancelled_the_next_one_does() -> None:
    shop = Shop()
    original, first = shop.lifespan, anyio.CancelScope()
    hanging = app(hangs)

    async def lifespan(*args: Any) -> None:
        await (hanging if shop.starts == 1 else original)(*args)

    shop.lifespan = lifespan
    middleware = LifespanMiddleware(shop)

    async def ask_in_vain() -> None:
        with first:
            await request(middleware)

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(ask_in_vain)
        await wait_all_tasks_blocked()
        task_group.start_soon(request, middleware)
        await wait_all_tasks_blocked()
        first.cancel()
    assert first.cancelled_caught
    assert shop.seen == [("hello", {"number": 2})]


async def test_a_server_that_sends_its_lifespan_after_all(log: pytest.LogCaptureFixture) -> None:
    """The application does not run twice."""
    shop = Shop(receives, started, receives, raises(Boom("no goodbye")))
    middleware = LifespanMiddleware(shop)
    await request(middleware)
    async with plain_server(middleware) as server:
        await server.ask("startup")
        assert log.messages[-1].endswith("apps.Boom: no goodbye")
        assert shop.starts == 2
        await server.ask("shutdown")


def test_in_another_event_loop_it_is_started_anew() -> None:
    shop = Shop()
    middleware = LifespanMiddleware(shop)

    async def ask_twice() -> None:
        await request(middleware)
        await request(middleware)

    for library in ("asyncio", "trio", "asyncio"):
        anyio.run(ask_twice, backend=library)
    assert [state["number"] for _, state in shop.seen] == [1, 1, 2, 2, 3, 3]


async def test_a_websocket_is_refused_before_it_is_accepted() -> None:
    middleware = LifespanMiddleware(app(receives, sends("lifespan.startup.failed")))
    assert await request(middleware, "websocket") == [
        {"type": "websocket.close", "code": 1013, "reason": "Try again later"}
    ]
    start, body = await request(middleware, "websocket", extensions={"websocket.http.response": {}})
    assert (start["type"], start["status"]) == ("websocket.http.response.start", REFUSED)
    assert body["type"] == "websocket.http.response.body"


@pytest.mark.parametrize(
    ("kind", "expected"), [("http", ["send", "send"]), ("websocket", ["receive", "send"])]
)
async def test_a_refusal_waits_for_the_connection_of_a_websocket_alone(
    kind: str, expected: list[str]
) -> None:
    """The specification has the application receive ``websocket.connect`` before its answer."""
    calls: list[str] = []

    async def receive() -> Any:
        calls.append("receive")
        return {"type": f"{kind}.connect"}

    async def send(message: Any) -> None:
        calls.append("send")

    middleware = LifespanMiddleware(app(receives, sends("lifespan.startup.failed")))
    await middleware({"type": kind}, receive, send)
    assert calls == expected


async def test_a_crash_is_noticed_without_a_server_too() -> None:
    at = anyio.Event()
    crashes: list[LifespanCrashed] = []
    shop = Shop(*crashing(at, Boom("died")))
    middleware = LifespanMiddleware(shop, on_crash=crashes.append)
    await request(middleware)
    at.set()
    await wait_all_tasks_blocked()
    assert [str(crash.__cause__) for crash in crashes] == ["died"]


# Bad input


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"startup_timeout": -1}, ValueError, "startup_timeout must be zero or more"),
        ({"shutdown_timeout": "1"}, TypeError, "shutdown_timeout must be a number"),
        ({"mode": "maybe"}, ValueError, "mode must be"),
        ({"on_crash": "panic"}, ValueError, 'on_crash must be "terminate", "log" or a function'),
    ],
)
def test_bad_options(options: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        LifespanMiddleware(well_behaved, **options)


def test_what_is_no_application() -> None:
    with pytest.raises(TypeError, match="app must be an ASGI application"):
        LifespanMiddleware("main:app")  # type: ignore[arg-type]


async def test_it_is_an_application_for_the_manager_as_well() -> None:
    shop = Shop()
    async with LifespanManager(LifespanMiddleware(shop), mode="on") as manager:
        assert manager.state == {"number": 1}
        assert await request(manager.app) == SERVED


def test_repr() -> None:
    assert repr(LifespanMiddleware(well_behaved)).startswith("<LifespanMiddleware of <function")
