"""``LifespanMiddleware``: one lifespan under any server."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextvars import ContextVar
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
from plain_server import plain_server, request

from anylifespan import LifespanCrashed, LifespanManager, LifespanMiddleware
from anylifespan._process.terminate import terminate

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


async def test_a_startup_that_fails_is_told() -> None:
    failing = app(receives, sends("lifespan.startup.failed", "no database"))
    async with plain_server(LifespanMiddleware(failing)) as server:
        answer = await server.ask("startup")
    assert answer == {
        "type": "lifespan.startup.failed",
        "message": "the application failed to start: no database",
    }


async def test_a_startup_that_raises_is_told_with_its_traceback() -> None:
    failing = app(receives, raises(Boom("no database")))
    async with plain_server(LifespanMiddleware(failing, mode="on")) as server:
        answer = await server.ask("startup")
    first, second, *_, last = answer["message"].splitlines()
    assert first == "the application raised in its startup: Boom: no database"
    assert second == "Traceback (most recent call last):"
    assert last == "apps.Boom: no database"


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


async def test_without_a_lifespan_it_serves() -> None:
    async with plain_server(LifespanMiddleware(app(raises(Boom())))) as server:
        assert await server.ask("startup") == COMPLETE
        assert await server.ask("shutdown") == STOPPED


async def test_without_a_lifespan_in_mode_on() -> None:
    async with plain_server(LifespanMiddleware(app(raises(Boom())), mode="on")) as server:
        answer = await server.ask("startup")
    assert answer["type"] == "lifespan.startup.failed"
    assert "the application has no lifespan" in answer["message"]


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


async def test_a_server_whose_receive_raises(log: pytest.LogCaptureFixture) -> None:
    """Its exception goes on, and an error of the shutdown is logged."""
    events = iter([{"type": "lifespan.startup"}])

    async def receive() -> dict[str, Any]:
        await checkpoint()
        for event in events:
            return event
        raise ConnectionError

    async def send(message: Any) -> None:
        await checkpoint()

    failing = LifespanMiddleware(app(receives, started, receives, raises(Boom("no goodbye"))))
    with pytest.raises(BaseException) as info:  # noqa: PT011
        await failing({"type": "lifespan", "state": {}}, receive, send)
    assert isinstance(getattr(info.value, "exceptions", (None,))[0], ConnectionError)
    assert log.messages == ["The server has broken off the lifespan; its shutdown failed."]
    assert "no goodbye" in log.text


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
    assert f"on_crash of {middleware!r} raised an exception." in log.messages


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


@pytest.fixture
def received() -> Iterator[list[int]]:
    """The signals that were received, SIGTERM being handled."""
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    yield received
    signal.signal(signal.SIGTERM, before)


async def test_a_crash_stops_the_server_by_its_signal(received: list[int]) -> None:
    at = anyio.Event()
    async with plain_server(LifespanMiddleware(app(*crashing(at, Boom())))) as server:
        await server.ask("startup")
        assert received == []
        at.set()
        await wait_all_tasks_blocked()
        assert received == [signal.SIGTERM]
        assert (await server.ask("shutdown"))["type"] == "lifespan.shutdown.failed"


def test_a_server_that_handles_only_sigint_is_sent_that() -> None:
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    received: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    try:
        terminate()
    finally:
        signal.signal(signal.SIGINT, before)
    assert received == [signal.SIGINT]


def _worker() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    terminate()


def test_a_worker_that_handles_no_signal_has_its_supervisor_sent_it(received: list[int]) -> None:
    worker = multiprocessing.get_context("spawn").Process(target=_worker)
    worker.start()
    worker.join(30)
    assert worker.exitcode == 0
    assert received == [signal.SIGTERM]


def test_who_handles_no_signal_and_has_no_supervisor_is_ended() -> None:
    script = (
        "import signal; from anylifespan._process.terminate import terminate\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN); terminate()"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=30)
    assert done.returncode == -signal.SIGTERM


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
    assert log.messages == ["The application is not available: the application failed to start: no"]
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
        (message,) = log.messages
        assert message.endswith("apps.Boom: no goodbye")
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
