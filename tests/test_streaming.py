"""``asgi_client`` streams: requests and responses as they are sent, and their ends."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import Any

import anyio
import httpx2
import pytest
from anyio.lowlevel import checkpoint
from apps import Boom, answers_lifespan
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from anylifespan import LifespanCrashed, LifespanManager, draining
from anylifespan._stop.drain import Drain
from anylifespan.testing import ASGIClient, ASGITransport, asgi_client
from anylifespan.testing._exchange import HTTPExchange

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

pytestmark = pytest.mark.anyio

START = {"type": "http.response.start", "status": 200, "headers": []}
END = {"type": "http.response.body", "body": b""}

# On trio the generators of httpx2 complain of it.
READS_A_PART = pytest.mark.filterwarnings(
    "ignore:Async generator 'httpx2:ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


def chunk(body: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": True}


def client_of(request: Callable[..., Any], **options: Any) -> Any:
    """A client of an application that answers its requests so."""
    return asgi_client(answers_lifespan(request), **options)


# Responses


async def test_a_response_streams_as_it_is_sent() -> None:
    may_go_on = anyio.Event()

    async def events(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(chunk(b"one\n"))
        await may_go_on.wait()
        await send(chunk(b"two\n"))
        await send(END)

    async with client_of(events) as client, client.stream("GET", "/") as response:
        assert response.status_code == 200
        lines = response.aiter_lines()
        assert await lines.__anext__() == "one"
        may_go_on.set()
        assert [line async for line in lines] == ["two"]


@READS_A_PART
async def test_server_sent_events_that_never_end() -> None:
    async def numbers() -> AsyncIterator[str]:
        number = 0
        while True:
            yield f"data: {number}\n\n"
            number += 1
            await anyio.sleep(1)

    async def events(_: Request) -> StreamingResponse:
        return StreamingResponse(numbers(), media_type="text/event-stream")

    async with asgi_client(Starlette(routes=[Route("/", events)])) as client:
        async with client.stream("GET", "/") as response:
            received = response.aiter_lines()
            first = [await received.__anext__() for _ in range(3)]
    assert first == ["data: 0", "", "data: 1"]


async def test_a_client_that_does_not_read_is_waited_for() -> None:
    sent = 0

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send(START)
        while True:
            await send(chunk(b"x"))
            sent += 1

    async with client_of(endless) as client:
        async with client.stream("GET", "/"):
            await anyio.wait_all_tasks_blocked()
            assert 0 < sent < 100


async def test_it_is_over_when_the_application_has_returned() -> None:
    done = False

    async def later() -> None:
        nonlocal done
        await anyio.sleep(10)
        done = True

    async def answer(_: Request) -> PlainTextResponse:
        return PlainTextResponse("hello", background=BackgroundTask(later))

    async with asgi_client(Starlette(routes=[Route("/", answer)])) as client:
        assert (await client.get("/")).text == "hello"
        assert done


async def test_a_part_may_be_written_to_again() -> None:
    async def request(scope: Any, receive: Any, send: Any) -> None:
        buffer = bytearray(b"one")
        await send(START)
        await send({"type": "http.response.body", "body": buffer, "more_body": True})
        buffer[:] = b"two"
        await send({"type": "http.response.body", "body": memoryview(buffer)})
        buffer[:] = b"end"

    async with client_of(request) as client:
        assert (await client.get("/")).content == b"onetwo"


async def test_what_a_response_says_of_itself() -> None:
    """As with Starlette's TestClient, for templates."""

    async def request(scope: Any, receive: Any, send: Any) -> None:
        assert "http.response.debug" in scope["extensions"]
        info = {"template": "shop.html", "context": {"books": 3}}
        await send({"type": "http.response.debug", "info": info})
        await send(START)
        await send(END)

    async with client_of(request) as client:
        response = await client.get("/")
    assert response.extensions["http.response.debug"]["template"] == "shop.html"
    assert (response.template, response.context) == ("shop.html", {"books": 3})


async def test_trailers() -> None:
    async def request(scope: Any, receive: Any, send: Any) -> None:
        assert "http.response.trailers" in scope["extensions"]
        await send({**START, "trailers": True})
        await send({"type": "http.response.body", "body": b"one"})
        for number, more in ((b"1", True), (b"2", False)):
            headers = [(b"x-number", number)]
            trailers = {"type": "http.response.trailers", "headers": headers}
            await send({**trailers, "more_trailers": more})

    async with client_of(request) as client:
        response = await client.get("/")
    assert response.content == b"one"
    trailers = response.extensions["http.response.trailers"]
    assert trailers == [(b"x-number", b"1"), (b"x-number", b"2")]


@pytest.mark.parametrize(
    "messages",
    [
        [{**START, "trailers": True}, {"type": "http.response.trailers"}],
        [{**START, "trailers": True}, END, *[{"type": "http.response.trailers"}] * 2],
    ],
    ids=["too early", "again"],
)
async def test_trailers_at_the_wrong_time(messages: list[Any]) -> None:
    async def request(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    async with client_of(request) as client:
        with pytest.raises(RuntimeError, match="unexpected trailers in the response to GET /"):
            await client.get("/")


async def test_trailers_that_never_come() -> None:
    async def request(scope: Any, receive: Any, send: Any) -> None:
        await send({**START, "trailers": True})
        await send(END)

    async with client_of(request) as client:
        with pytest.raises(RuntimeError, match="without completing its response to GET /"):
            await client.get("/")


async def test_a_head_request_gets_no_body() -> None:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(chunk(b"not this"))
        await send(END)

    async with client_of(answer) as client:
        assert (await client.head("/")).content == b""


@pytest.mark.parametrize("kind", ["http.response.push", "http.response.trailers"])
async def test_messages_of_extensions_are_ignored_as_servers_do(kind: str) -> None:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": kind})
        await send(END)

    async with client_of(answer) as client:
        assert (await client.get("/")).status_code == 200


WRONG = [
    [END],
    [START, START],
    [START, END, END],
    [START, {"type": "http.response.nonsense"}],
    [{"type": "websocket.accept"}],
]


@pytest.mark.parametrize("messages", WRONG)
async def test_a_wrong_message_is_the_applications_error(messages: list[Any]) -> None:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    async with client_of(answer) as client:
        with pytest.raises(RuntimeError, match=f"unexpected {messages[-1]['type']}"):
            await client.get("/")


@pytest.mark.parametrize(("messages", "lacks"), [([], "starting"), ([START], "completing")])
async def test_a_response_that_is_not_whole(messages: list[Any], lacks: str) -> None:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    async with client_of(answer) as client:
        with pytest.raises(RuntimeError, match=f"returned without {lacks} .* to GET /orders"):
            await client.get("/orders")


# What the application raises


@pytest.mark.parametrize("messages", [[], [START], [START, chunk(b"x")], [START, END]])
async def test_what_it_raises_reaches_the_test(messages: list[Any]) -> None:
    boom = Boom()

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)
        raise boom

    async with client_of(answer) as client:
        with pytest.raises(Boom) as info:
            await client.get("/")
    assert info.value is boom


@pytest.mark.parametrize(
    ("messages", "outcome"),
    [([], 500), ([START], "broken off"), ([START, chunk(b"x")], "broken off"), ([START, END], 200)],
)
async def test_or_it_is_what_a_server_would_make_of_it(
    messages: list[Any], outcome: Any, log: pytest.LogCaptureFixture
) -> None:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)
        raise Boom("no database")

    async with client_of(answer, raise_app_exceptions=False) as client:
        if outcome == "broken off":
            with pytest.raises(httpx2.RemoteProtocolError, match="broken off"):
                await client.get("/")
        else:
            assert (await client.get("/")).status_code == outcome
    assert "The application has raised in GET /." in log.text
    assert "no database" in log.text


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("raises", [True, False])
async def test_an_exit_reaches_the_test(kind: type[BaseException], raises: bool) -> None:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        raise kind

    async with client_of(answer, raise_app_exceptions=raises) as client:
        with pytest.raises(kind):
            await client.get("/")


async def test_a_cancellation_of_its_own_does_not_cancel_the_test() -> None:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            try:
                await checkpoint()
            except BaseException as exc:
                cancelled = exc
        raise cancelled

    async with client_of(answer) as client:
        with pytest.raises(RuntimeError, match="has been cancelled in GET /"):
            await client.get("/")
        await checkpoint()


# Leaving a response


async def test_leaving_a_response_early_disconnects() -> None:
    received: list[Any] = []

    async def events(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(START)
        received.append(await receive())
        await send(chunk(b"nobody reads this"))

    async with client_of(events) as client:
        async with client.stream("GET", "/"):
            pass
        # It is waited for, so that a test can see what has become of it.
        assert received == [{"type": "http.disconnect"}]


async def test_one_that_looks_now_and_then_whether_it_is_disconnected() -> None:
    """With a cancel scope that is cancelled already, as ``Request.is_disconnected()``."""
    looks = []

    async def request(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(chunk(b"one"))
        starlette_request = Request(scope, receive)
        while not await starlette_request.is_disconnected():
            looks.append(True)
            await anyio.sleep(0.1)
        looks.append(False)

    async with client_of(request) as client:
        async with client.stream("GET", "/"):
            await anyio.sleep(0.25)
        assert looks[-1] is False
        assert len(looks) == 4


@READS_A_PART
async def test_a_generator_is_closed_when_its_response_is_left() -> None:
    closed = False

    async def forever() -> AsyncIterator[str]:
        nonlocal closed
        try:
            yield "first"
            await anyio.sleep_forever()
        finally:
            closed = True

    async def events(_: Request) -> StreamingResponse:
        return StreamingResponse(forever())

    async with asgi_client(Starlette(routes=[Route("/", events)])) as client:
        async with client.stream("GET", "/") as response:
            assert await response.aiter_text().__anext__() == "first"
        assert closed


async def test_what_it_raises_when_it_is_left_is_raised_there() -> None:
    async def events(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await receive()
        await receive()
        raise Boom

    async with client_of(events) as client:
        with pytest.raises(Boom):
            async with client.stream("GET", "/"):
                pass


async def test_but_not_in_the_place_of_the_tests_own_exception(
    log: pytest.LogCaptureFixture,
) -> None:
    async def events(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await receive()
        await receive()
        raise Boom

    async with client_of(events) as client:
        with pytest.raises(ValueError, match="the test"):
            async with client.stream("GET", "/"):
                raise ValueError("the test")
    assert "Boom" in log.text


async def test_one_that_ignores_it_holds_nothing_up_for_long() -> None:
    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        while True:
            await send(chunk(b"x"))
            await anyio.sleep(0.1)

    since = anyio.current_time()
    async with client_of(endless, drain_timeout=3) as client:
        async with client.stream("GET", "/"):
            pass
        assert anyio.current_time() - since == pytest.approx(3, abs=0.2)
        assert await lifespan_goes_on(client)


async def lifespan_goes_on(client: ASGIClient) -> bool:
    await checkpoint()
    return client.lifespan.phase.value == "serving"


# Leaving the client


async def hangs_after_start(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await anyio.sleep_forever()


async def test_requests_that_still_run_are_ended_before_the_shutdown(
    log: pytest.LogCaptureFixture,
) -> None:
    order: list[str] = []

    async def request(scope: Any, receive: Any, send: Any) -> None:
        try:
            await hangs_after_start(scope, receive, send)
        finally:
            order.append("request ended")

    app = answers_lifespan(request, on_shutdown=lambda: order.append("shutdown"))
    since = anyio.current_time()
    async with asgi_client(app) as client:
        await client.send(client.build_request("GET", "/events"), stream=True)
    assert order == ["request ended", "shutdown"]
    assert anyio.current_time() - since == pytest.approx(1.5, abs=0.1)
    assert "The client is closed, and its drain_timeout of 1 second is over" in log.text
    assert "cutting 1 request (GET /events)" in log.text


async def test_a_request_can_know_that_the_client_is_closed() -> None:
    async def request(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await draining(scope).wait()

    since = anyio.current_time()
    async with client_of(request) as client:
        await client.send(client.build_request("GET", "/"), stream=True)
    assert anyio.current_time() - since < 0.5


async def test_without_a_limit_they_are_waited_for() -> None:
    async def request(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await anyio.sleep(1000)

    since = anyio.current_time()
    async with client_of(request, drain_timeout=None) as client:
        await client.send(client.build_request("GET", "/"), stream=True)
    assert anyio.current_time() - since == pytest.approx(1000, abs=0.1)


async def test_without_a_limit_a_cancellation_cuts_them(log: pytest.LogCaptureFixture) -> None:
    order = []

    async def request(scope: Any, receive: Any, send: Any) -> None:
        try:
            await hangs_after_start(scope, receive, send)
        finally:
            order.append("request")

    app = answers_lifespan(request, on_shutdown=lambda: order.append("shutdown"))
    begun = anyio.current_time()
    with anyio.move_on_after(1) as scope:
        async with asgi_client(app, drain_timeout=None) as client:
            await client.send(client.build_request("GET", "/"), stream=True)
    assert scope.cancelled_caught
    assert order == ["request", "shutdown"]
    assert "the wait for requests was interrupted: cutting 1 request (GET /)" in log.text
    assert anyio.current_time() - begun < 2


async def test_a_request_that_is_left_before_its_first_turn(backend: str) -> None:
    """As a cancellation may have it in some schedules."""
    called = []

    async def request(scope: Any, receive: Any, send: Any) -> None:
        called.append(scope["path"])

    transport = ASGITransport(request)
    app = transport._app()
    no_body: Any = iter(())
    exchange = HTTPExchange(app, {"type": "http", "method": "GET", "path": "/"}, no_body, 0)
    transport._start(exchange)
    exchange.disconnect()
    await transport.aclose()
    assert exchange.over.is_set()
    assert called == (["/"] if "eager" in backend else [])


async def test_ctrl_c_twice_leaves_them(monkeypatch: pytest.MonkeyPatch) -> None:
    interruptions = []

    async def interrupted(self: Drain) -> None:
        interruptions.append(self)
        raise KeyboardInterrupt

    client = ASGIClient(LifespanManager(hangs_after_start))
    await client.send(client.build_request("GET", "/"), stream=True)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Drain, "finish", interrupted)
        await client.aclose()
    assert len(interruptions) == 2
    await interruptions[0].finish()


async def raises_when_left(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await receive()
    await receive()
    raise Boom(scope["path"])


async def test_what_a_request_raises_then_is_raised() -> None:
    with pytest.raises(Boom, match="/first"):
        async with client_of(raises_when_left) as client:
            await client.send(client.build_request("GET", "/first"), stream=True)


async def test_or_a_group_if_several_do() -> None:
    with pytest.raises(BaseExceptionGroup) as info:
        async with client_of(raises_when_left) as client:
            for path in ("/first", "/second"):
                await client.send(client.build_request("GET", path), stream=True)
    assert sorted(map(str, info.value.exceptions)) == ["/first", "/second"]


async def test_a_client_that_is_cancelled_leaves_the_request() -> None:
    received: list[Any] = []

    async def request(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        received.append(await receive())

    async with client_of(request) as client:
        with anyio.move_on_after(1):
            await client.get("/")
        await anyio.wait_all_tasks_blocked()
    assert received == [{"type": "http.disconnect"}]


# Requests


async def test_the_body_of_a_request_streams() -> None:
    order: list[str] = []

    async def body() -> AsyncIterator[bytes]:
        for part in (b"one", b"two"):
            order.append(f"sent {part.decode()}")
            yield part

    async def request(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["more_body"]:
            order.append(f"got {message['body'].decode()}")
        await send(START)
        await send(END)

    async with client_of(request) as client:
        await client.post("/", content=body())
    assert order == ["sent one", "got one", "sent two", "got two"]


async def test_both_ways_at_once() -> None:
    answers, answered = anyio.create_memory_object_stream[bytes](1)

    async def body() -> AsyncIterator[bytes]:
        yield b"one"
        yield await answered.receive()

    async def echo(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        while (message := await receive())["more_body"]:
            await send(chunk(message["body"]))
        await send(END)

    with answers, answered:
        async with client_of(echo) as client:
            async with client.stream("POST", "/", content=body()) as response:
                received = response.aiter_bytes()
                assert await received.__anext__() == b"one"
                await answers.send(b"two")
                assert [part async for part in received] == [b"two"]


async def test_what_the_body_of_a_request_raises_is_the_tests_own() -> None:
    received: list[str] = []

    async def body() -> AsyncIterator[bytes]:
        yield b"one"
        raise Boom

    async def request(scope: Any, receive: Any, send: Any) -> None:
        while not received or received[-1] == "http.request":
            received.append((await receive())["type"])

    async with client_of(request) as client:
        with pytest.raises(Boom):
            await client.post("/", content=body())
    assert received == ["http.request", "http.disconnect"]


async def test_one_that_leaves_while_its_body_is_read() -> None:
    received: list[Any] = []

    async def body() -> AsyncIterator[bytes]:
        await anyio.sleep_forever()
        yield b""

    async def request(scope: Any, receive: Any, send: Any) -> None:
        received.append(await receive())

    async with client_of(request) as client:
        with anyio.move_on_after(1):
            await client.post("/", content=body())
        await anyio.wait_all_tasks_blocked()
    assert received == [{"type": "http.disconnect"}]


@pytest.mark.parametrize("length", ["1", "3", "9", "invalid"])
async def test_a_header_that_is_wrong_about_the_length(length: str) -> None:
    received: list[Any] = []

    async def request(scope: Any, receive: Any, send: Any) -> None:
        received.append(await receive())
        while received[-1]["more_body"]:
            received.append(await receive())
        await send(START)
        await send(END)

    async def body() -> AsyncIterator[bytes]:
        yield b"12"
        yield b"34"

    async with client_of(request) as client:
        await client.post("/", content=body(), headers={"content-length": length})
    assert b"".join(message["body"] for message in received) == b"1234"


async def test_two_tasks_of_an_application_may_receive() -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(3):
            await anyio.sleep(1)
            yield b"x"

    received: list[str] = []

    async def request(scope: Any, receive: Any, send: Any) -> None:
        async def listen() -> None:
            while (message := await receive())["type"] == "http.request":
                received.append(message["body"].decode())

        async with anyio.create_task_group() as task_group:
            task_group.start_soon(listen)
            task_group.start_soon(listen)
            await anyio.sleep(9)
            await send(START)
            await send(END)

    async with client_of(request) as client:
        await client.post("/", content=body())
    assert received == ["x", "x", "x", ""]


async def test_the_context_is_that_of_the_caller() -> None:
    variable: ContextVar[str] = ContextVar("variable")

    async def request(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({**END, "body": variable.get().encode()})

    async with client_of(request) as client:
        variable.set("of the test")
        assert (await client.get("/")).text == "of the test"


async def test_what_an_application_sees_of_a_request() -> None:
    seen: list[Any] = []

    async def request(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        await send(START)
        await send(END)

    async with client_of(request, base_url="https://shop.example") as client:
        await client.get("/b%20c?d=e", headers={"X-Name": "value"})
    (scope,) = seen
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.3"}
    assert (scope["path"], scope["raw_path"]) == ("/b c", b"/b%20c")
    assert scope["query_string"] == b"d=e"
    assert scope["server"] == ("shop.example", 443)
    assert scope["scheme"] == "https"
    assert (b"x-name", b"value") in scope["headers"]


# Limits


async def test_a_read_timeout_is_kept() -> None:
    since = anyio.current_time()
    async with client_of(hangs_after_start, timeout=5) as client:
        with pytest.raises(httpx2.ReadTimeout, match="nothing for 5 s in GET /orders"):
            await client.get("/orders")
        assert 5 <= anyio.current_time() - since < 7


async def test_by_default_there_is_none() -> None:
    async def request(scope: Any, receive: Any, send: Any) -> None:
        await anyio.sleep(1000)
        await send(START)
        await send(END)

    async with client_of(request) as client:
        assert (await client.get("/")).status_code == 200


async def test_a_crash_in_the_midst_of_a_stream() -> None:
    app = answers_lifespan(hangs_after_start, crash_after=1)
    with pytest.raises(LifespanCrashed) as info:
        async with asgi_client(app) as client:
            async with client.stream("GET", "/") as response:
                await response.aread()
    assert not hasattr(info.value, "__notes__")


@pytest.mark.parametrize("path", ["/hangs", "/stream"])
async def test_who_waits_for_an_application_that_dies_gets_the_crash(
    path: str, log: pytest.LogCaptureFixture
) -> None:
    """In a fixture, say, where no body can be cancelled."""

    async def request(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/hangs":
            await anyio.sleep_forever()
        await hangs_after_start(scope, receive, send)

    manager = LifespanManager(answers_lifespan(request, crash_after=1))
    await manager.startup()
    async with ASGIClient(manager) as client:
        for _ in range(2):  # meanwhile, and later
            with pytest.raises(LifespanCrashed) as info:
                await client.get(path)
            assert isinstance(info.value.__cause__, Boom)
    with pytest.raises(LifespanCrashed):
        await manager.shutdown()


async def test_a_request_that_the_crash_has_left_is_over_when_the_client_is_closed() -> None:
    ended: list[str] = []

    async def request(scope: Any, receive: Any, send: Any) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.5)
            ended.append(scope["path"])

    manager = LifespanManager(answers_lifespan(request, crash_after=1))
    await manager.startup()
    async with ASGIClient(manager) as client:
        with pytest.raises(LifespanCrashed):
            await client.get("/")
    assert ended == ["/"]
    with pytest.raises(LifespanCrashed):
        await manager.shutdown()


# The transport alone


async def test_the_transport_with_a_client_of_httpx2() -> None:
    async def request(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({**END, "body": b"hello"})

    transport = ASGITransport(request)
    for _ in range(2):  # it may be used again when its client was closed
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            assert (await client.get("/")).text == "hello"


def test_in_one_event_loop_after_another() -> None:
    async def request(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(END)

    client: Any = httpx2.AsyncClient(transport=ASGITransport(request), base_url="http://test")

    async def one_request() -> None:
        assert (await client.get("/")).status_code == 200

    for backend in ("asyncio", "trio", "asyncio"):
        anyio.run(one_request, backend=backend)


def test_what_is_no_application() -> None:
    wrong: Any = "main:app"
    with pytest.raises(TypeError, match="import it first"):
        ASGITransport(wrong)
