"""A stop: requests know of it, then they are cut, and the application is shut down after them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import anyio
import pytest
from anyio import CancelScope, create_task_group, get_cancelled_exc_class, wait_all_tasks_blocked
from anyio.lowlevel import checkpoint
from apps import Boom, app, hangs, receives, started, stopped, well_behaved
from plain_server import PlainServer, plain_server, request
from starlette.requests import Request

from anylifespan import Draining, LifespanMiddleware, StartupFailed, draining
from anylifespan._core.hosting import event_loop
from anylifespan._core.log import DEFAULT_LOG
from anylifespan._process.server import Server
from anylifespan._process.signals import beside_handlers, outliving_sigterm
from anylifespan._stop.drain import GRACE, drain_within, time_to_close, within
from anylifespan._stop.request import FLUSH, OpenRequest

pytestmark = pytest.mark.anyio

TIMEOUT = 10.0
FINAL = {"type": "http.response.body", "body": b""}
START = {"type": "http.response.start", "status": 200, "headers": []}
CHUNK = {"type": "http.response.body", "body": b"...", "more_body": True}


class Stopped:
    """A server that is being stopped, as soon as it is said so.

    :ivar is_stopping: to be set
    :ivar hides_failures: whether its process ends as if nothing had failed
    """

    is_stopping = False
    hides_failures = False

    def __call__(self) -> Server:
        return Server(lambda: None, lambda: self.is_stopping, self.hides_failures)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Stopped:
    """The server that the middleware finds has called it."""
    server = Stopped()
    for module in ("anylifespan.middleware", "anylifespan.middleware._by_request"):
        monkeypatch.setattr(f"{module}.find_server", server)
    return server


class Exchange:
    """A request under way, and its response.

    :ivar sent: what the application has sent
    :ivar raised: what it raised
    """

    def __init__(self, kind: str, **scope: Any) -> None:
        path = {"path": "/", **({"method": "GET"} if kind == "http" else {})}
        self.scope = {"type": kind, **path, **scope}
        self.sent: list[Any] = []
        self.raised: BaseException | None = None
        self.reads = anyio.Event()  # whether the client does
        self.reads.set()
        self.ended_at = 0.0

    async def run(self, application: Any) -> None:
        try:
            await application(self.scope, anyio.sleep_forever, self.send)
        except Exception as exc:
            self.raised = exc
        self.ended_at = anyio.current_time()

    async def send(self, message: Any) -> None:
        await self.reads.wait()
        self.sent.append(message)


def _with_lifespan(handle: Any, lifespan: Any = well_behaved) -> Any:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await (lifespan if scope["type"] == "lifespan" else handle)(scope, receive, send)

    return application


@asynccontextmanager
async def stopping(
    handle: Any, kind: str = "http", timeout: float | None = TIMEOUT, **scope: Any
) -> AsyncIterator[tuple[PlainServer, Exchange, Callable[[], float]]]:
    """A server that gives its application a request, and then shuts it down.

    The body is run between the two; the last of what it gets says how long the stop has taken.
    """

    middleware = LifespanMiddleware(_with_lifespan(handle), drain_timeout=timeout)
    exchange = Exchange(kind, **scope)
    began: list[float] = []
    async with plain_server(middleware) as server, create_task_group() as task_group:
        await server.ask("startup")
        task_group.start_soon(exchange.run, middleware)
        await wait_all_tasks_blocked()
        yield server, exchange, lambda: anyio.current_time() - began[0]
        began.append(anyio.current_time())
        await server.ask("shutdown")
        assert server.raised is None


async def forever(scope: Any, receive: Any, send: Any) -> None:
    """An endless stream, which does not ask whether anybody listens."""
    await send(START)
    await send(CHUNK)
    await anyio.sleep_forever()


# What a request can know


async def test_without_the_middleware_nothing_is_ever_drained() -> None:
    never = draining({"type": "http"})
    assert not never.is_set()
    with anyio.move_on_after(1000) as limit:
        await never.wait()
    assert limit.cancelled_caught


@pytest.mark.parametrize("timeout", [None, TIMEOUT])
async def test_a_request_knows_when_the_server_stops(timeout: float | None) -> None:
    """Also if it is never cut."""
    seen: list[Any] = []

    async def handle(scope: Any, receive: Any, send: Any) -> None:
        stop = draining(scope)
        seen.extend([stop.is_set(), repr(stop)])
        await stop.wait()
        seen.append(stop.is_set())

    async with stopping(handle, timeout=timeout):
        assert seen == [False, "<Draining, not set>"]
    assert seen[2:] == [True]


async def test_it_knows_it_when_the_server_does(server: Stopped) -> None:
    """Which shuts the lifespan down only after it."""
    known = anyio.Event()

    async def handle(scope: Any, receive: Any, send: Any) -> None:
        assert isinstance(draining(scope), Draining)
        await draining(scope).wait()
        known.set()

    async with stopping(handle):
        server.is_stopping = True
        with anyio.fail_after(1):
            await known.wait()


# What becomes of it


async def test_one_that_ends_in_time_is_left_alone() -> None:
    async def handle(scope: Any, receive: Any, send: Any) -> str:
        await draining(scope).wait()
        await anyio.sleep(TIMEOUT - 1)
        await send(START)
        await send(FINAL)
        return "returned"

    async with stopping(handle) as (_, exchange, _):
        pass
    assert exchange.sent == [START, FINAL]


async def test_a_stream_that_listens_is_disconnected(server: Stopped) -> None:
    messages: list[Any] = []

    async def handle(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(CHUNK)
        messages.append(await receive())
        messages.append(await receive())

    async with stopping(handle) as (_, exchange, _):
        began = anyio.current_time()
        server.is_stopping = True
        await anyio.sleep(TIMEOUT + 1)
        assert messages == [{"type": "http.disconnect"}] * 2
        assert exchange.sent == [START, CHUNK, FINAL]
        assert exchange.ended_at - began == pytest.approx(TIMEOUT, abs=0.2)


async def test_a_stream_that_does_not_listen_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    async with stopping(forever, path="/events") as (_, exchange, seconds):
        pass
    assert seconds() == pytest.approx(TIMEOUT + GRACE, abs=0.1)
    assert exchange.sent == [START, CHUNK, FINAL]
    [record] = caplog.records
    assert record.getMessage() == (
        "The server is stopping, and its drain_timeout of 10 seconds is over: cutting 1 request "
        "(GET /events)."
    )


async def test_one_that_has_not_answered_is_answered_with_503() -> None:
    async def handle(scope: Any, receive: Any, send: Any) -> None:
        await anyio.sleep_forever()

    async with stopping(handle) as (_, exchange, _):
        pass
    start, body = exchange.sent
    assert start["status"] == 503
    assert dict(start["headers"])[b"content-length"] == b"%d" % len(body["body"])
    assert body == {"type": "http.response.body", "body": b"The server is stopping.\n"}


CLOSED = {"type": "websocket.close", "code": 1012, "reason": "The server is stopping."}
REFUSED = {"type": "websocket.close", "code": 1013, "reason": "Try again later"}


@pytest.mark.parametrize(
    ("messages", "ending"),
    [
        ([], [REFUSED]),
        (["websocket.accept"], [CLOSED]),
        (["websocket.accept", "websocket.send"], [CLOSED]),
        (["websocket.accept", "websocket.close"], []),
    ],
)
async def test_a_websocket_is_closed(messages: list[str], ending: list[Any]) -> None:
    received: list[Any] = []
    sent = [{"type": kind} for kind in messages]

    async def handle(scope: Any, receive: Any, send: Any) -> None:
        for message in sent:
            await send(message)
        received.append(await receive())

    async with stopping(handle, "websocket") as (_, exchange, _):
        pass
    assert exchange.sent == sent + ending
    assert received == [
        {"type": "websocket.disconnect", "code": 1012, "reason": "The server is stopping."}
    ]


async def test_a_websocket_that_is_not_accepted_is_answered_where_the_server_can() -> None:
    extensions = {"websocket.http.response": {}}
    async with stopping(forever_silent, "websocket", extensions=extensions) as (_, exchange, _):
        pass
    start, body = exchange.sent
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 503)
    assert body["type"] == "websocket.http.response.body"


async def forever_silent(scope: Any, receive: Any, send: Any) -> None:
    await anyio.sleep_forever()


KIND = "http.response"
LENGTH = {**START, "headers": [(b"Content-Length", b"1000")]}
WITH_TRAILERS = {**START, "trailers": True}
TRAILERS: dict[str, Any] = {"type": "http.response.trailers", "headers": []}


@pytest.mark.parametrize(
    ("messages", "ending"),
    [
        # Only the error of the client can tell it that the rest is missing.
        ([LENGTH, CHUNK], []),
        ([START, FINAL], []),
        ([START, {"type": "http.response.pathsend", "path": "/file"}], []),
        ([START, {"type": "http.response.zerocopysend", "file": 1, "more_body": True}], [FINAL]),
        ([{"type": "http.response.push", "path": "/", "headers": []}, START], [FINAL]),
        ([{"type": "http.response.debug", "info": {}}, START], [FINAL]),
        ([WITH_TRAILERS, CHUNK], [FINAL, TRAILERS]),
        ([WITH_TRAILERS, FINAL], [TRAILERS]),
        ([WITH_TRAILERS, FINAL, {**TRAILERS, "more_trailers": True}], [TRAILERS]),
        ([WITH_TRAILERS, FINAL, TRAILERS], []),
        ([{"type": "of something else"}, START], [FINAL]),
    ],
)
async def test_a_response_is_ended_from_where_it_stands(
    messages: list[Any], ending: list[Any]
) -> None:
    async def handle(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)
        await anyio.sleep_forever()

    async with stopping(handle) as (_, exchange, _):
        pass
    assert exchange.sent == messages + ending


async def test_it_is_not_cancelled_in_the_midst_of_a_message() -> None:
    """The rest of the response could not be made sense of."""

    async def slowly(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await draining(scope).wait()
        exchange.reads = anyio.Event()
        await send(CHUNK)
        await checkpoint()
        pytest.fail("it was not cancelled")

    async with create_task_group() as task_group:
        async with stopping(slowly) as (_, exchange, seconds):
            task_group.start_soon(_read_after, exchange, TIMEOUT + GRACE + FLUSH / 2)
    assert exchange.sent == [START, CHUNK, FINAL]
    assert seconds() == pytest.approx(TIMEOUT + GRACE + FLUSH / 2, abs=0.1)


async def _read_after(exchange: Exchange, seconds: float) -> None:
    await anyio.sleep(seconds)
    exchange.reads.set()


async def test_one_that_is_woken_as_it_is_cancelled_sends_no_more() -> None:
    exchange = Exchange("http")
    woken = anyio.Event()

    async def handle(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await woken.wait()
        await send(CHUNK)

    open_request = OpenRequest(exchange.scope, anyio.sleep_forever, exchange.send, None)
    async with create_task_group() as task_group:
        task_group.start_soon(open_request.run, handle)
        await wait_all_tasks_blocked()
        woken.set()
        open_request.disconnect()
        open_request.cancel()
    assert exchange.sent == [START, FINAL]


async def test_a_client_that_does_not_read_is_not_waited_for() -> None:
    async def handle(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await draining(scope).wait()
        exchange.reads = anyio.Event()
        await send(CHUNK)

    async with stopping(handle) as (_, exchange, seconds):
        pass
    assert seconds() == pytest.approx(TIMEOUT + GRACE + FLUSH, abs=0.1)
    assert exchange.sent == [START]


async def test_a_client_that_does_not_read_the_end_is_not_waited_for() -> None:
    async def handle(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await receive()
        exchange.reads = anyio.Event()

    async with stopping(handle) as (_, exchange, seconds):
        pass
    assert seconds() == pytest.approx(TIMEOUT + FLUSH, abs=0.1)
    assert exchange.sent == [START]


async def test_one_that_ignores_its_cancellation_is_left(caplog: pytest.LogCaptureFixture) -> None:
    go = anyio.Event()

    async def handle(scope: Any, receive: Any, send: Any) -> None:
        with CancelScope(shield=True):
            await go.wait()  # the request waits here

    async with create_task_group() as task_group:
        async with stopping(handle) as (_, exchange, seconds):
            task_group.start_soon(_set_after, go, 100)
        assert seconds() == pytest.approx(100, abs=0.1)  # for the end of the test's server
    _, still_runs = [record.getMessage() for record in caplog.records]
    assert still_runs.startswith("GET / still runs 6 seconds after it was cancelled")
    assert "test_stop.py" in still_runs
    assert "in handle" in still_runs
    assert exchange.sent[0]["status"] == 503


async def test_the_shutdown_does_not_wait_for_one_that_cannot_be_ended(server: Stopped) -> None:
    """A server asks for it only when all requests have ended, which a thread may delay."""
    go, stopped_at = anyio.Event(), [0.0]

    async def handle(scope: Any, receive: Any, send: Any) -> None:
        with CancelScope(shield=True):
            await go.wait()

    async def stops(receive: Any, send: Any) -> None:
        stopped_at[0] = anyio.current_time()
        await stopped(receive, send)

    lifespan = app(receives, started, receives, stops)

    middleware = LifespanMiddleware(_with_lifespan(handle, lifespan), drain_timeout=TIMEOUT)
    async with plain_server(middleware) as plain:
        assert await plain.ask("startup") == {"type": "lifespan.startup.complete"}
        async with create_task_group() as task_group:
            task_group.start_soon(plain.request)
            await wait_all_tasks_blocked()
            began = anyio.current_time()
            server.is_stopping = True
            await anyio.sleep(100)
            # What comes now is not to start it again.
            [late, _] = await plain.request()
            assert late["status"] == 503
            go.set()
        # The server learns of it when it asks.
        assert await plain.ask("shutdown") == {"type": "lifespan.shutdown.complete"}
    assert stopped_at[0] - began == pytest.approx(TIMEOUT + GRACE + FLUSH + 5, abs=0.3)


async def _set_after(event: anyio.Event, seconds: float) -> None:
    await anyio.sleep(seconds)
    event.set()


@pytest.mark.parametrize(
    ("messages", "ending"), [([], []), ([START], [FINAL]), ([START, FINAL], [])]
)
async def test_what_it_raises_when_it_is_disconnected_is_raised(
    messages: list[Any], ending: list[Any]
) -> None:
    boom = Boom("the client has gone")

    async def handle(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)
        await receive()
        raise boom

    async with stopping(handle) as (_, exchange, _):
        pass
    assert exchange.raised is boom
    assert exchange.sent == messages + ending


async def test_what_it_raises_otherwise_is_raised_alone() -> None:
    boom = Boom("not found")

    async def handle(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        raise boom

    async with stopping(handle) as (_, exchange, _):
        assert exchange.raised is boom
    assert exchange.sent == [START]


async def test_one_that_asks_again_and_again_can_be_cancelled() -> None:
    async def handle(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        with CancelScope(shield=True):
            await anyio.sleep(2 * GRACE)
        await receive()
        pytest.fail("it was not cancelled")

    async with stopping(handle) as (_, exchange, _):
        pass
    assert exchange.raised is None


async def test_one_that_looks_now_and_then_whether_it_is_disconnected() -> None:
    """With a cancel scope that is cancelled already, as ``Request.is_disconnected()``."""
    looks = []

    async def handle(scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        while not await request.is_disconnected():
            looks.append(True)
            await anyio.sleep(0.1)

    async with stopping(handle) as (_, exchange, _):
        pass
    assert exchange.raised is None
    assert looks


async def test_two_that_listen_are_both_disconnected() -> None:
    received: list[Any] = []

    async def handle(scope: Any, receive: Any, send: Any) -> None:
        async def listen() -> None:
            received.append(await receive())

        async with create_task_group() as task_group:
            task_group.start_soon(listen)
            task_group.start_soon(listen)

    async with stopping(handle):
        pass
    assert received == [{"type": "http.disconnect"}] * 2


async def test_a_cancelled_request_is_not_answered() -> None:
    """The server has broken it off."""
    scopes: list[CancelScope] = []

    async def handle(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        try:
            await receive()
        except get_cancelled_exc_class():
            scopes.append(CancelScope())
            raise

    middleware = LifespanMiddleware(_with_lifespan(handle), drain_timeout=TIMEOUT)
    async with plain_server(middleware) as server:
        await server.ask("startup")
        exchange = Exchange("http")
        with anyio.move_on_after(1):
            await exchange.run(middleware)
        await server.ask("shutdown")
    assert len(scopes) == 1
    assert exchange.sent == [START]


async def test_requests_that_have_ended_before_make_no_difference() -> None:
    async def handle(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await (checkpoint() if "short" in scope else anyio.sleep_forever())

    middleware = LifespanMiddleware(_with_lifespan(handle), drain_timeout=TIMEOUT)
    async with plain_server(middleware) as plain, create_task_group() as task_group:
        await plain.ask("startup")
        await plain.request(path="/", short=True)
        endless = Exchange("http")
        task_group.start_soon(endless.run, middleware)
        await wait_all_tasks_blocked()
        await plain.ask("shutdown")
    assert endless.sent == [START, FINAL]


async def test_those_that_come_when_time_is_over_are_refused(server: Stopped) -> None:
    async with stopping(forever) as (plain, _, _):
        server.is_stopping = True
        await anyio.sleep(TIMEOUT / 2)
        assert (await plain.request(path="/", method="GET", handled="in time"))[0] == START
        await anyio.sleep(TIMEOUT)
        [start, _] = await plain.request(path="/", method="GET")
        assert start["status"] == 503


async def test_the_log_does_not_name_all(caplog: pytest.LogCaptureFixture) -> None:
    middleware = LifespanMiddleware(_with_lifespan(forever), drain_timeout=0)
    async with plain_server(middleware) as plain, create_task_group() as task_group:
        await plain.ask("startup")
        for number in range(11):
            task_group.start_soon(Exchange("http", path=f"/{number}").run, middleware)
        task_group.start_soon(Exchange("websocket", path="/ws").run, middleware)
        await wait_all_tasks_blocked()
        await plain.ask("shutdown")
    [record] = caplog.records
    assert "cutting 12 requests (GET /0, GET /1, GET /10, GET /2, GET /3 and 7 more)." in (
        record.getMessage()
    )


async def test_other_scopes_are_left_alone() -> None:
    middleware = LifespanMiddleware(_with_lifespan(forever_silent), drain_timeout=TIMEOUT)
    with anyio.move_on_after(1) as limit:
        await request(middleware, "telepathy")
    assert limit.cancelled_caught


async def test_the_shutdown_comes_after_the_requests() -> None:
    order: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await draining(scope).wait()
            await anyio.sleep(3)
            order.append("request")
            return

        async def stops(receive: Any, send: Any) -> None:
            order.append("shutdown")

        await app(receives, started, receives, stops, stopped)(scope, receive, send)

    middleware = LifespanMiddleware(application, drain_timeout=TIMEOUT)
    async with plain_server(middleware) as plain, create_task_group() as task_group:
        await plain.ask("startup")
        task_group.start_soon(Exchange("http").run, middleware)
        await wait_all_tasks_blocked()
        await plain.ask("shutdown")
    assert order == ["request", "shutdown"]


async def test_a_server_that_breaks_off_has_its_requests_cut_at_once(passed: Any) -> None:
    """Before the shutdown, even though the server is being cancelled."""
    order: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            try:
                await anyio.sleep_forever()
            finally:
                order.append("request")

        async def stops(receive: Any, send: Any) -> None:
            order.append("shutdown")

        await app(receives, started, receives, stops, stopped)(scope, receive, send)

    events = iter(["lifespan.startup"])

    async def receive() -> dict[str, str]:
        for event in events:
            return {"type": event}
        task_group.start_soon(Exchange("http").run, middleware)
        await wait_all_tasks_blocked()
        scope.cancel()
        began.append(anyio.current_time())
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: Any) -> None:
        await checkpoint()

    began: list[float] = []
    middleware = LifespanMiddleware(application, drain_timeout=TIMEOUT)
    async with create_task_group() as task_group:
        with CancelScope() as scope:
            await middleware({"type": "lifespan", "state": {}}, receive, send)
        assert passed(began[0], GRACE)
    assert order == ["request", "shutdown"]


# In the startup


@pytest.mark.parametrize("timeout", [None, 30])
async def test_a_startup_is_cancelled(server: Stopped, timeout: float | None) -> None:
    middleware = LifespanMiddleware(app(receives, hangs), startup_timeout=timeout)
    async with plain_server(middleware) as plain:

        async def stop() -> None:
            await anyio.sleep(5)
            server.is_stopping = True

        async with create_task_group() as task_group:
            task_group.start_soon(stop)
            began = anyio.current_time()
            answer = await plain.ask("startup")
    assert anyio.current_time() - began == pytest.approx(5, abs=0.2)
    message = "the application's startup was cancelled, since the server is being stopped"
    assert answer == {"type": "lifespan.startup.failed", "message": message}
    assert isinstance(plain.raised, StartupFailed)


async def test_a_startup_by_a_request_is_cancelled(server: Stopped) -> None:
    middleware = LifespanMiddleware(app(receives, hangs), startup_timeout=None)

    async def stop() -> None:
        await anyio.sleep(5)
        server.is_stopping = True

    async with create_task_group() as task_group:
        task_group.start_soon(stop)
        [start, _] = await request(middleware)
    assert start["status"] == 503


@pytest.mark.parametrize("way", ["stop", "limit"])
async def test_a_startup_that_the_server_does_not_wait_for(
    way: str, server: Stopped, caplog: pytest.LogCaptureFixture
) -> None:
    """Gunicorn has its own limit, after which it serves without a lifespan, and logs nothing."""
    hang = True

    async def hangs_at_first(receive: Any, send: Any) -> None:
        if hang:
            await hangs(receive, send)

    lifespan = app(receives, hangs_at_first, started, receives, stopped)

    async def handle(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "served"})

    middleware = LifespanMiddleware(
        _with_lifespan(handle, lifespan),
        startup_timeout=None,
        liveness_path="/live",
        readiness_path="/ready",
    )
    async with plain_server(middleware) as plain:
        async with create_task_group() as task_group:
            task_group.start_soon(plain.ask, "startup")
            await wait_all_tasks_blocked()
            server.is_stopping = way == "stop"
            if way == "limit":
                plain.break_off()
            await anyio.sleep(1)
            task_group.cancel_scope.cancel()
        logged = [one.getMessage() for one in caplog.records if "broken off" in one.getMessage()]
        if way == "stop":
            assert logged == []
            return
        [message] = logged
        assert message.endswith("startup_timeout must be shorter.")
        [live, body] = await request(middleware, method="GET", path="/live")
        assert (live["status"], body["body"]) == (503, b'{"status": "failed"}\n')
        hang = False
        # As one that is not well is asked whether it is ready, it tries to be.
        [ready, _] = await request(middleware, method="GET", path="/ready")
        assert ready["status"] == 200


# The status of the process


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The statuses that the server's process has been ended with."""
    statuses: list[Any] = []

    async def note(self: Server, raised: BaseException) -> None:
        assert isinstance(raised, SystemExit)
        statuses.append(raised.code)

    monkeypatch.setattr(Server, "exit", note)
    return statuses


@pytest.mark.parametrize(("is_stopped", "statuses"), [(True, [128 + signal.SIGTERM]), (False, [])])
async def test_the_status_after_a_startup(
    server: Stopped, exits: list[Any], is_stopped: bool, statuses: list[int]
) -> None:
    """If a signal has ended it, that of a shell; a failure is the server's own affair."""
    server.is_stopping = is_stopped
    middleware = LifespanMiddleware(app(receives, hangs), startup_timeout=10)
    async with plain_server(middleware) as plain:
        assert (await plain.ask("startup"))["type"] == "lifespan.startup.failed"
    assert exits == statuses


@pytest.mark.parametrize("is_stopped", [True, False])
@pytest.mark.parametrize("hides_failures", [True, False])
async def test_the_status_after_a_shutdown_that_failed(
    server: Stopped, exits: list[Any], is_stopped: bool, hides_failures: bool
) -> None:
    """A server that a signal has stopped may hide it."""
    server.hides_failures = hides_failures
    middleware = LifespanMiddleware(app(receives, started, receives, hangs), shutdown_timeout=10)
    async with plain_server(middleware) as plain:
        await plain.ask("startup")
        server.is_stopping = is_stopped
        await anyio.sleep(1)
        assert (await plain.ask("shutdown"))["type"] == "lifespan.shutdown.failed"
    assert exits == ([1] if is_stopped and hides_failures else [])


async def test_where_there_is_no_server_nothing_ends_the_process(exits: list[Any]) -> None:
    middleware = LifespanMiddleware(app(receives, started, receives, hangs), shutdown_timeout=10)
    async with plain_server(middleware) as plain:
        await plain.ask("startup")
        assert (await plain.ask("shutdown"))["type"] == "lifespan.shutdown.failed"
    assert exits == []


# What is logged under a server


@pytest.mark.parametrize("is_a_server", [True, False])
async def test_what_takes_long_is_logged_under_a_server_alone(
    is_a_server: bool, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_a_server:
        request.getfixturevalue("server")
    reported: list[str] = []

    def time_reported(phase: str, *_: object) -> Any:
        reported.append(phase)
        return nullcontext()

    monkeypatch.setattr("anylifespan.middleware._run.time_reported", time_reported)
    async with plain_server(LifespanMiddleware(well_behaved)) as plain:
        await plain.ask("startup")
        await plain.ask("shutdown")
    assert reported == (["startup", "shutdown"] if is_a_server else [])


# After a crash


async def test_a_request_does_not_start_it_again_in_a_server_that_ends(server: Stopped) -> None:
    """Probes continue until the process has ended."""
    at = anyio.Event()

    async def dies(receive: Any, send: Any) -> None:
        await at.wait()
        raise Boom("died")

    lifespan = app(receives, started, dies)
    starts = 0

    async def application(scope: Any, receive: Any, send: Any) -> None:
        nonlocal starts
        assert scope["type"] == "lifespan"
        starts += 1
        await lifespan(scope, receive, send)

    middleware = LifespanMiddleware(application, readiness_path="/ready")
    async with plain_server(middleware) as plain:
        await plain.ask("startup")
        at.set()
        await wait_all_tasks_blocked()
        assert (await plain.ask("shutdown"))["type"] == "lifespan.shutdown.failed"
        for scope in ({"path": "/"}, {"method": "GET", "path": "/ready"}):
            [start, _] = await request(middleware, **scope)
            assert start["status"] == 503
    assert starts == 1


# Signals


@pytest.fixture
def handler() -> Any:
    """What handles SIGTERM."""
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    yield received
    signal.signal(signal.SIGTERM, before)


async def test_a_signal_is_noticed_beside_its_handler(handler: list[int]) -> None:
    noticed: list[int] = []
    there = signal.getsignal(signal.SIGTERM)
    with beside_handlers([signal.SIGTERM], noticed.append):
        signal.raise_signal(signal.SIGTERM)
        assert handler == [signal.SIGTERM]
        await wait_all_tasks_blocked()
        assert noticed == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is there


async def test_a_signal_that_nobody_handles_is_left_as_it_is(handler: list[int]) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with beside_handlers([signal.SIGTERM, signal.SIGUSR1], print):
        assert signal.getsignal(signal.SIGUSR1) is before


async def test_nothing_is_noticed_where_nobody_handles_sigterm() -> None:
    with beside_handlers([signal.SIGTERM], print):
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("first", [0, 1])
async def test_handlers_are_put_back_in_any_order(handler: list[int], first: int) -> None:
    there = signal.getsignal(signal.SIGTERM)
    noticed: list[list[int]] = [[], []]
    both = [beside_handlers([signal.SIGTERM], one.append) for one in noticed]
    for one in both:
        one.__enter__()
    both[first].__exit__(None, None, None)
    signal.raise_signal(signal.SIGTERM)
    await wait_all_tasks_blocked()
    assert handler == noticed[1 - first] == [signal.SIGTERM]
    assert noticed[first] == []
    both[1 - first].__exit__(None, None, None)
    assert signal.getsignal(signal.SIGTERM) is there


async def test_a_handler_that_came_later_is_left(handler: list[int]) -> None:
    def later(number: int, frame: Any) -> None:
        pytest.fail("it was not to be called")

    with beside_handlers([signal.SIGTERM], print):
        signal.signal(signal.SIGTERM, later)
    assert signal.getsignal(signal.SIGTERM) is later


# SIGTERM for a process that does not handle it


async def test_a_process_that_is_going_to_end_outlives_sigterm() -> None:
    asked: list[None] = []
    with outliving_sigterm(lambda: asked.append(None) or True):
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
            await wait_all_tasks_blocked()
    assert asked == [None, None]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


async def test_a_process_that_is_not_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    with outliving_sigterm(lambda: False):
        monkeypatch.setattr("os.kill", lambda *args: sent.append(args))
        signal.raise_signal(signal.SIGTERM)
        await wait_all_tasks_blocked()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert sent == [(os.getpid(), signal.SIGTERM)]


ENDED = """
import anyio, signal
from anylifespan._process.signals import outliving_sigterm

async def main():
    with outliving_sigterm(lambda: False):
        signal.raise_signal(signal.SIGTERM)
        await anyio.sleep_forever()

anyio.run(main, backend="{backend}")
"""


@pytest.mark.processes
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_is_ended_by_that_signal(backend: str) -> None:
    command = [sys.executable, "-c", ENDED.format(backend=backend)]
    assert subprocess.run(command, timeout=30).returncode == -signal.SIGTERM


async def test_a_process_that_handles_sigterm_is_left_as_it_is(handler: list[int]) -> None:
    there = signal.getsignal(signal.SIGTERM)
    with outliving_sigterm(lambda: True):
        assert signal.getsignal(signal.SIGTERM) is there


async def test_a_handler_of_sigterm_that_came_later_is_left() -> None:
    try:
        with outliving_sigterm(lambda: True):
            signal.signal(signal.SIGTERM, print)
        assert signal.getsignal(signal.SIGTERM) is print
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


# The limits of servers


@pytest.mark.parametrize(
    ("limit", "drain"), [(None, float("inf")), (30, 29), (2, 1), (1, 0.5), (0, 0)]
)
def test_the_drain_is_over_before_the_server_loses_patience(
    limit: float | None, drain: float
) -> None:
    assert within(limit) == drain


@pytest.mark.parametrize("limit", [3, None])
async def test_the_log_names_the_option_of_the_server(
    limit: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    timeout = within(limit)
    drain = drain_within("its_option", limit, timeout, event_loop("a test"), DEFAULT_LOG)
    answer = drain.around(forever)
    exchange = Exchange("http")
    async with create_task_group() as task_group:
        task_group.start_soon(exchange.run, answer)
        await wait_all_tasks_blocked()
        drain.begin()
        await anyio.sleep(100)
        cut = [record.getMessage() for record in caplog.records]
        task_group.cancel_scope.cancel()
    over = "The server is stopping, and 2 of the 3 seconds of its_option are over: cutting "
    assert [message.startswith(over) for message in cut] == ([True] if limit else [])


def test_how_long_others_wait_for_open_requests() -> None:
    """Until they have been disconnected, cancelled and given up."""
    assert time_to_close(3) == 3 + GRACE + FLUSH + 5
