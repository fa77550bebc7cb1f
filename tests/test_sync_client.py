"""``asgi_sync_client``: the client for synchronous tests, with the application in a thread."""

from __future__ import annotations

import io
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from inspect import signature
from typing import Annotated, Any

import anyio
import httpx2
import pytest
from apps import Boom, answers_lifespan, app, raises, receives, started, well_behaved
from clocks import LOOPS
from fastapi import Depends, FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from starlette.responses import RedirectResponse, StreamingResponse

from anylifespan import (
    LifespanCrashed,
    LifespanUnsupported,
    ShutdownTimeout,
    StartupFailed,
    draining,
)
from anylifespan.from_thread import BlockingLifespan, start_blocking_lifespan
from anylifespan.testing import (
    ASGISyncClient,
    ASGISyncTransport,
    LeakWarning,
    asgi_client,
    asgi_sync_client,
)

BACKENDS: dict[str, tuple[str, dict[str, Any]]] = {
    "asyncio": ("asyncio", {}),
    "trio": ("trio", {}),
}
if "uvloop" in LOOPS:
    BACKENDS["uvloop"] = ("asyncio", {"use_uvloop": True})

START = {"type": "http.response.start", "status": 200, "headers": []}
END = {"type": "http.response.body", "body": b""}
ACCEPT = {"type": "websocket.accept"}

try:
    from httpx2.websockets import WebSocketDisconnect as WebSocketClosed
    from httpx2.websockets import WebSocketUpgradeError
except ImportError:  # pragma: no cover
    HAS_WEBSOCKETS = False
else:
    HAS_WEBSOCKETS = True
needs_websockets = pytest.mark.skipif(not HAS_WEBSOCKETS, reason="httpx2 has them since 2.9")

ClientOf = Callable[..., Any]


@pytest.fixture(params=BACKENDS)
def client_of(request: pytest.FixtureRequest) -> ClientOf:
    """``with client_of(app) as client``, with the application on each backend."""
    backend, backend_options = BACKENDS[request.param]

    def client_of(app: Any, **options: Any) -> Any:
        return asgi_sync_client(app, backend, backend_options, **options)

    return client_of


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        # Those of a pool wait for more; those of a WebSocket of httpx2 are left to themselves.
        if not thread.name.startswith(("Trio thread", "AnyIO worker thread")):
            thread.join(5)
            assert not thread.is_alive()


def chunk(body: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": True}


async def hangs(scope: Any, receive: Any, send: Any) -> None:
    await anyio.sleep_forever()


async def hangs_after_start(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send(chunk(b"one"))
    await anyio.sleep_forever()


async def price() -> int:
    return 3


def shop() -> FastAPI:
    shop = FastAPI()

    @shop.get("/price")
    async def read_price(price: Annotated[int, Depends(price)]) -> int:
        return price

    @shop.post("/upload")
    async def upload(request: Request) -> int:
        return len(await request.body())

    @shop.get("/login")
    async def login(response: Response) -> None:
        response.set_cookie("session", "abc")

    @shop.get("/session")
    async def session(request: Request) -> str | None:
        return request.cookies.get("session")

    @shop.get("/old")
    async def old() -> RedirectResponse:
        return RedirectResponse("/price")

    @shop.websocket("/echo")
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.send_json(await websocket.receive_json())
        except WebSocketDisconnect as exc:
            shop.state.code = exc.code

    return shop


# Requests


def test_requests_as_with_any_client(client_of: ClientOf) -> None:
    application = shop()
    with client_of(application, mode="auto") as client:
        assert client.get("/price").json() == 3
        application.dependency_overrides[price] = lambda: 5
        assert client.get("/price").json() == 5
        client.get("/login")
        assert client.get("/session").json() == "abc"
        assert client.get("/old").status_code == 307
        assert client.get("/old", follow_redirects=True).json() == 5
        assert client.get("/none").status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        lambda: {"content": b"12345"},
        lambda: {"content": (part for part in (b"123", b"45"))},
        lambda: {"content": io.BytesIO(b"12345")},
        lambda: {"json": 12345},
    ],
    ids=["bytes", "generator", "file", "json"],
)
def test_the_body_of_a_request(client_of: ClientOf, body: Callable[[], Any]) -> None:
    with client_of(shop()) as client:
        assert client.post("/upload", **body()).json() == 5


def test_what_the_body_of_a_request_raises_is_the_tests_own(client_of: ClientOf) -> None:
    def body() -> Iterator[bytes]:
        yield b"one"
        raise Boom("in the test")

    with client_of(shop(), drain_timeout=5) as client:
        with pytest.raises(Boom, match="in the test"):
            client.post("/upload", content=body())


def test_a_body_that_waits_for_the_response(client_of: ClientOf) -> None:
    """Both stream at once."""
    seen = threading.Event()

    def body() -> Iterator[bytes]:
        yield b"one"
        assert seen.wait(10)
        yield b"two"

    async def echo(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send(chunk(message["body"]))
        await send(END)

    with client_of(answers_lifespan(echo)) as client:
        with client.stream("POST", "/", content=body()) as response:
            parts = response.iter_raw()
            assert next(parts) == b"one"
            seen.set()
            assert b"".join(parts) == b"two"


def test_the_state_and_the_manager(client_of: ClientOf) -> None:
    async def request(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({**END, "body": scope["state"]["greeting"]})

    with client_of(answers_lifespan(request), state={"greeting": b"hello"}) as client:
        assert client.get("/").content == b"hello"
        assert client.lifespan.state == {"greeting": b"hello"}
        assert client.lifespan.manager.phase.value == "serving"
    assert client.lifespan.manager.phase.value == "stopped"


def test_the_context_is_that_of_the_caller(client_of: ClientOf) -> None:
    variable: ContextVar[str] = ContextVar("variable")

    async def request(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({**END, "body": variable.get("unset").encode()})

    with client_of(answers_lifespan(request)) as client:
        token = variable.set("of the test")
        assert client.get("/").text == "of the test"
        variable.reset(token)


def test_requests_of_many_threads(client_of: ClientOf) -> None:
    together = threading.Barrier(5)

    async def request(scope: Any, receive: Any, send: Any) -> None:
        await anyio.to_thread.run_sync(together.wait, 10)
        await send(START)
        await send({**END, "body": scope["path"].encode()})

    with client_of(answers_lifespan(request)) as client, ThreadPoolExecutor(5) as threads:
        texts = threads.map(lambda path: client.get(path).text, ["/a", "/b", "/c", "/d", "/e"])
        assert list(texts) == ["/a", "/b", "/c", "/d", "/e"]


# Streams


def test_a_response_streams_as_it_is_sent(client_of: ClientOf) -> None:
    may_go_on: list[anyio.Event] = []

    async def request(scope: Any, receive: Any, send: Any) -> None:
        may_go_on.append(anyio.Event())
        await send(START)
        await send(chunk(b"one"))
        await may_go_on[0].wait()
        await send({**END, "body": b"two"})

    with client_of(answers_lifespan(request)) as client:
        with client.stream("GET", "/") as response:
            parts = response.iter_raw()
            assert next(parts) == b"one"
            client.lifespan.call(may_go_on[0].set)
            assert list(parts) == [b"two"]


def test_leaving_a_response_early_disconnects(client_of: ClientOf) -> None:
    ends = []

    async def events() -> Any:
        try:
            for number in range(40):
                yield f"data: {number}\n\n"
            await anyio.sleep_forever()
        finally:
            ends.append(True)

    application = FastAPI()
    application.get("/events")(lambda: StreamingResponse(events(), media_type="text/event-stream"))
    with client_of(application) as client:
        with client.stream("GET", "/events") as response:
            lines = (line for line in response.iter_lines() if line)
            assert [next(lines) for _ in range(40)] == [f"data: {number}" for number in range(40)]
            assert not ends
        assert ends


def test_a_read_timeout_is_kept(client_of: ClientOf) -> None:
    with client_of(answers_lifespan(hangs), drain_timeout=0) as client:
        with pytest.raises(httpx2.ReadTimeout):
            client.get("/", timeout=0.01)


def test_requests_that_still_run_are_ended_before_the_shutdown(
    client_of: ClientOf, log: pytest.LogCaptureFixture
) -> None:
    order = []

    async def request(scope: Any, receive: Any, send: Any) -> None:
        try:
            await hangs_after_start(scope, receive, send)
        finally:
            order.append("request")

    application = answers_lifespan(request, on_shutdown=lambda: order.append("shutdown"))
    with client_of(application, drain_timeout=0.05) as client:
        response = client.send(client.build_request("GET", "/"), stream=True)
    assert order == ["request", "shutdown"]
    assert "GET /" in log.text
    response.close()  # late, and harmless


def test_a_request_can_know_that_the_client_is_closed(client_of: ClientOf) -> None:
    knew = []

    async def request(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await draining(scope).wait()
        knew.append(True)

    with client_of(answers_lifespan(request)) as client:
        client.send(client.build_request("GET", "/"), stream=True)
    assert knew


# What the application raises


@pytest.mark.parametrize("error", [Boom("no stock"), SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize("before", [[], [START, chunk(b"one")]], ids=["at once", "in the midst"])
def test_what_a_request_raises_reaches_the_test(
    client_of: ClientOf, error: BaseException, before: list[Any]
) -> None:
    async def request(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/":
            await send(START)
            return await send(END)
        for message in before:
            await send(message)
        raise error

    with client_of(answers_lifespan(request)) as client:
        with pytest.raises(type(error)) as info:
            client.get("/")
        assert info.value is error
        assert client.get("/fine").status_code == 200  # it is not the end of the event loop


def test_or_it_is_what_a_server_would_make_of_it(client_of: ClientOf) -> None:
    with client_of(answers_lifespan(raises_boom), raise_app_exceptions=False) as client:
        assert client.get("/").status_code == 500


async def raises_boom(scope: Any, receive: Any, send: Any) -> None:
    raise Boom


def test_a_response_that_is_not_whole(client_of: ClientOf) -> None:
    async def request(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(chunk(b"one"))

    with client_of(answers_lifespan(request)) as client:
        with pytest.raises(RuntimeError, match="has returned without completing its response"):
            client.get("/")


def test_what_it_raises_when_it_is_left_is_raised_there(client_of: ClientOf) -> None:
    async def request(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(chunk(b"one"))
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        raise Boom("left alone")

    with client_of(answers_lifespan(request)) as client:
        with pytest.raises(Boom, match="left alone"):
            with client.stream("GET", "/"):
                pass


# WebSockets


@needs_websockets
def test_a_websocket(client_of: ClientOf) -> None:
    application = shop()
    with client_of(application) as client:
        with client.websocket("/echo") as websocket:
            websocket.send_json({"book": 1})
            assert websocket.receive_json() == {"book": 1}
            websocket.close(4000)
        assert application.state.code == 4000


@needs_websockets
def test_subprotocols(client_of: ClientOf) -> None:
    async def request(scope: Any, receive: Any, send: Any) -> None:
        await send({**ACCEPT, "subprotocol": scope["subprotocols"][1]})
        await receive()
        await receive()

    with client_of(answers_lifespan(request)) as client:
        with client.websocket("/", subprotocols=["a", "b"]) as websocket:
            assert websocket.subprotocol == "b"


@needs_websockets
def test_one_that_the_application_closes(client_of: ClientOf) -> None:
    async def request(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        await send({"type": "websocket.close", "code": 4001, "reason": "sold out"})

    with client_of(answers_lifespan(request)) as client:
        with pytest.raises(WebSocketClosed) as info, client.websocket("/") as websocket:
            websocket.receive_text()
    assert (info.value.code, info.value.reason) == (4001, "sold out")


@needs_websockets
def test_one_that_is_denied(client_of: ClientOf) -> None:
    async def request(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.close", "code": 4001, "reason": "no"})

    with client_of(answers_lifespan(request)) as client:
        with pytest.raises(WebSocketUpgradeError) as info:
            with client.websocket("/"):
                raise AssertionError("it was not accepted")
    response = info.value.response
    assert response is not None
    assert response.extensions["websocket_close"] == (4001, "no")


@needs_websockets
def test_what_it_raises_in_a_websocket_is_raised_when_that_is_left(client_of: ClientOf) -> None:
    async def request(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        raise Boom("in a WebSocket")

    with client_of(answers_lifespan(request)) as client:
        with pytest.raises(Boom, match="in a WebSocket"):
            with client.websocket("/") as websocket:
                with pytest.raises(WebSocketClosed) as info:
                    websocket.receive_text()
                assert info.value.code == 1011


# A crash of the application


def waits_for(what: str, client: Any) -> object:
    """What a test may be in when the application dies."""
    if what == "response":
        return client.get("/hangs")
    if what == "stream":
        with client.stream("GET", "/") as response:
            return response.read()
    if what == "call":
        return client.lifespan.call(anyio.sleep_forever)
    with client.websocket("/") as websocket:
        return websocket.receive_text()


@pytest.mark.parametrize(
    "what", ["response", "stream", "call", pytest.param("websocket", marks=needs_websockets)]
)
def test_who_waits_for_an_application_that_dies_gets_the_crash(
    client_of: ClientOf, what: str, log: pytest.LogCaptureFixture
) -> None:
    async def request(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await send(ACCEPT)
            await anyio.sleep_forever()
        elif scope["path"] == "/hangs":
            await anyio.sleep_forever()
        await hangs_after_start(scope, receive, send)

    application = answers_lifespan(request, crash_after=0.1)
    with pytest.raises(LifespanCrashed) as info:
        with client_of(application, drain_timeout=0) as client:
            waits_for(what, client)
    assert isinstance(info.value.__cause__, Boom)
    assert "Besides" not in str(getattr(info.value, "__notes__", ""))


def test_so_does_whoever_asks_later(client_of: ClientOf) -> None:
    application = answers_lifespan(hangs, crash_after=0.05)
    with pytest.raises(LifespanCrashed):
        with client_of(application, drain_timeout=0) as client:
            for _ in range(3):
                with pytest.raises(LifespanCrashed):
                    client.get("/")
            died = True
    assert died


def test_a_crash_that_nobody_waited_for_is_raised_in_the_end(client_of: ClientOf) -> None:
    left = False
    with pytest.raises(LifespanCrashed):
        with client_of(answers_lifespan(hangs, crash_after=0)) as client:
            client.lifespan.portal.call(client.lifespan.manager.wait_crashed)
            left = True
    assert left


# The lifespan


def test_a_startup_that_fails(client_of: ClientOf) -> None:
    with pytest.raises(StartupFailed, match="no database"):
        with client_of(app(receives, raises(Boom("no database")))):
            raise AssertionError("it has not started")


def test_an_application_without_a_lifespan_is_an_error(client_of: ClientOf) -> None:
    async def answers(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send(START)
        await send(END)

    with pytest.raises(LifespanUnsupported):
        with client_of(answers):
            raise AssertionError("it has not started")
    with client_of(answers, mode="auto") as client:
        assert client.get("/").status_code == 200


def test_leaks_are_reported(client_of: ClientOf) -> None:
    async def leaves_a_thread(receive: Any, send: Any) -> None:
        threading.Thread(target=end.wait, name="left behind", daemon=True).start()

    end = threading.Event()
    leaky = app(receives, leaves_a_thread, started, receives)
    try:
        with pytest.raises(LeakWarning, match="thread left behind"):
            with client_of(leaky, leaks="error"):
                pass
        with client_of(leaky, leaks="error", ignore_leaks=["left behind"]):
            pass
    finally:
        end.set()


def test_what_the_test_makes_meanwhile_is_its_own(client_of: ClientOf) -> None:
    end = threading.Event()
    with client_of(shop(), leaks="error") as client:
        assert client.get("/price").json() == 3
        threading.Thread(target=end.wait).start()
    end.set()


def test_bad_options_are_told_before_the_application_is_started() -> None:
    async def started(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    for wrong in (
        {"leaks": "maybe"},
        {"ignore_leaks": "*"},
        {"drain_timeout": -1},
        {"startup_timeout": -1},
        {"nonsense": 1},
        {"mode": "maybe"},
    ):
        with pytest.raises((TypeError, ValueError)):
            with asgi_sync_client(started, **wrong):  # type: ignore[arg-type]
                pass


def test_it_has_the_options_of_its_twin() -> None:
    ours = signature(asgi_sync_client).parameters
    theirs = signature(asgi_client).parameters
    assert {name: ours[name].default for name in theirs} == {
        name: parameter.default for name, parameter in theirs.items()
    }
    assert ours.keys() - theirs.keys() == {"backend", "backend_options"}


# The parts


def test_the_transport_with_a_client_of_httpx2() -> None:
    with start_blocking_lifespan(shop()) as lifespan:
        for _ in range(2):  # another one, when the first is closed
            transport = ASGISyncTransport(lifespan)
            with httpx2.Client(transport=transport, base_url="http://test") as client:
                assert client.get("/price").json() == 3
            transport.close()  # again, which is harmless


def test_the_transport_by_its_defaults() -> None:
    clients: list[Any] = []

    async def request(scope: Any, receive: Any, send: Any) -> None:
        clients.append(scope["client"])
        raise Boom("no stock")

    with start_blocking_lifespan(answers_lifespan(request)) as lifespan:
        transport = ASGISyncTransport(lifespan)
        with httpx2.Client(transport=transport, base_url="http://test") as client:
            with pytest.raises(Boom, match="no stock"):
                client.get("/")
    assert clients == [("127.0.0.1", 123)]


def test_a_client_for_an_application_that_is_up() -> None:
    with start_blocking_lifespan(shop()) as lifespan, ASGISyncClient(lifespan) as client:
        assert isinstance(client, httpx2.Client)
        assert client.lifespan is lifespan
        assert client.get("/price").json() == 3


def test_ctrl_c_leaves_the_request() -> None:
    main_thread = threading.main_thread().ident
    assert main_thread is not None
    cancelled = []

    async def request(scope: Any, receive: Any, send: Any) -> None:
        try:
            while True:
                signal.pthread_kill(main_thread, signal.SIGINT)
                await anyio.sleep(5)
        finally:
            cancelled.append(True)

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        with asgi_sync_client(answers_lifespan(request), drain_timeout=0) as client:
            client.get("/")
    assert cancelled
    assert time.monotonic() - begun < 4


def test_ctrl_c_cancels_a_call() -> None:
    main_thread = threading.main_thread().ident
    assert main_thread is not None
    cancelled = threading.Event()

    async def hangs() -> None:
        signal.pthread_kill(main_thread, signal.SIGINT)
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    with start_blocking_lifespan(well_behaved) as lifespan:
        with pytest.raises(KeyboardInterrupt):
            lifespan.call(hangs)
        assert cancelled.wait(5)
        assert lifespan.call(lambda: 3) == 3


def test_its_repr_says_how_it_is() -> None:
    with start_blocking_lifespan(well_behaved) as lifespan:
        assert isinstance(lifespan, BlockingLifespan)
        assert repr(lifespan).endswith("serving>>")


def test_leaving_a_client_while_a_request_blocks_the_event_loop(
    client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anylifespan._portal.ANSWER", 0.2)
    monkeypatch.setattr(
        "anylifespan.testing._sync_transport.time_to_close", lambda drain: drain + 0.1
    )
    release, blocks = threading.Event(), threading.Event()

    async def blocking(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await well_behaved(scope, receive, send)
            return
        blocks.set()
        release.wait(60)
        await send(START)
        await send(END)

    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(ShutdownTimeout, match="blocks its event loop") as caught:
            with client_of(blocking, drain_timeout=0.1, shutdown_timeout=0.1) as client:
                request = pool.submit(client.get, "/")
                assert blocks.wait(30)
        assert "release.wait(60)" in str(caught.value)
        release.set()
        assert request.result(30).status_code == 200
