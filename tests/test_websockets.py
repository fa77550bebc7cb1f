"""``client.websocket()``: the application's WebSockets, by the API of httpx2."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from apps import Boom, answers_lifespan
from fastapi import FastAPI, WebSocket, WebSocketException
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Ping, Pong, TextMessage

from anylifespan import LifespanCrashed, LifespanManager
from anylifespan.testing import ASGIClient, asgi_client

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

# Since httpx2 2.9.
websockets: Any = pytest.importorskip("httpx2.websockets", exc_type=ImportError)
WebSocketDisconnect = websockets.WebSocketDisconnect
WebSocketUpgradeError = websockets.WebSocketUpgradeError

pytestmark = pytest.mark.anyio

ACCEPT = {"type": "websocket.accept"}


def client_of(request: Callable[..., Any], **options: Any) -> Any:
    """A client of an application whose WebSockets go so."""
    return asgi_client(answers_lifespan(request), **options)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send(ACCEPT)
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


# Messages


async def test_text_bytes_and_json() -> None:
    async with client_of(echo) as client, client.websocket("/") as websocket:
        await websocket.send_text("täxt")
        assert await websocket.receive_text() == "täxt"
        await websocket.send_bytes(b"\0\xff")
        assert await websocket.receive_bytes() == b"\0\xff"
        await websocket.send_json({"book": [1, 2]})
        assert await websocket.receive_json() == {"book": [1, 2]}


async def test_a_long_message_is_read_in_parts() -> None:
    async with client_of(echo) as client:
        async with client.websocket("/", max_message_size_bytes=1_000_000) as websocket:
            await websocket.send_text("x" * 900_000)
            assert len(await websocket.receive_text()) == 900_000


async def test_a_message_in_several_frames_is_one_for_the_application() -> None:
    async with client_of(echo) as client, client.websocket("/") as websocket:
        for data, is_last in (("one ", False), ("message", True)):
            frame = websocket.connection.send(TextMessage(data, message_finished=is_last))
            await websocket.stream.write(frame)
        assert await websocket.receive_text() == "one message"


async def test_neither_side_need_read_what_the_other_sends() -> None:
    done = anyio.Event()

    async def request(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        await done.wait()
        for _ in range(102):
            await receive()

    async with client_of(request) as client, client.websocket("/") as websocket:
        for number in range(100):
            await websocket.send_text(str(number))
        done.set()


async def test_a_ping_is_answered() -> None:
    async with client_of(echo) as client, client.websocket("/") as websocket:
        answered = await websocket.ping()
        with anyio.fail_after(1):
            await answered.wait()
        await websocket.send(Ping(b"another"))
        await websocket.send(Pong(b"to no ping"))
        await websocket.send_text("and it goes on")
        assert await websocket.receive_text() == "and it goes on"


# Opening


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("https://shop.example", 443),
        ("http://shop.example", 80),
        ("wss://shop.example", 443),
        ("ws://shop.example", 80),
    ],
)
async def test_the_port_that_an_application_sees(url: str, port: int) -> None:
    seen: list[Any] = []

    async def request(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["server"])
        await send(ACCEPT)
        await receive()

    async with client_of(request) as client, client.websocket(f"{url}/"):
        pass
    assert seen == [("shop.example", port)]


async def test_what_an_application_sees() -> None:
    seen: list[Any] = []

    async def request(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        await send({**ACCEPT, "subprotocol": "b", "headers": [(b"x-name", b"value")]})
        await receive()

    async with client_of(request, base_url="https://shop.example") as client:
        async with client.websocket("/a?b=c", subprotocols=["a", "b"]) as websocket:
            assert websocket.subprotocol == "b"
            assert websocket.response.headers["x-name"] == "value"
    (scope,) = seen
    assert (scope["type"], scope["scheme"], scope["path"]) == ("websocket", "wss", "/a")
    assert scope["server"] == ("shop.example", 443)
    assert scope["query_string"] == b"b=c"
    assert scope["subprotocols"] == ["a", "b"]
    assert scope["extensions"] == {"websocket.http.response": {}}
    assert "method" not in scope


async def test_an_absolute_url() -> None:
    async with client_of(echo) as client, client.websocket("ws://test/") as websocket:
        await websocket.send_text("hello")
        assert await websocket.receive_text() == "hello"


async def test_it_sees_the_state_of_the_lifespan() -> None:
    async def request(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        await send({"type": "websocket.send", "text": scope["state"]["greeting"]})
        await receive()

    async with client_of(request, state={"greeting": "hello"}) as client:
        async with client.websocket("/") as websocket:
            assert await websocket.receive_text() == "hello"


async def test_one_that_is_closed_before_it_is_accepted() -> None:
    async def request(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.close", "code": 4001, "reason": "no"})

    async with client_of(request) as client:
        with pytest.raises(WebSocketUpgradeError) as info:
            async with client.websocket("/"):
                raise AssertionError("it was not accepted")
    response = info.value.response
    assert response is not None
    assert response.status_code == 403
    assert response.extensions["websocket_close"] == (4001, "no")


async def test_fastapi_denies_one() -> None:
    shop = FastAPI()

    @shop.websocket("/")
    async def orders(websocket: WebSocket) -> None:
        raise WebSocketException(1008, "who is it?")

    async with asgi_client(shop) as client:
        with pytest.raises(WebSocketUpgradeError) as info:
            async with client.websocket("/"):
                raise AssertionError("it was not accepted")
    assert info.value.response.extensions["websocket_close"] == (1008, "who is it?")


async def test_a_denial_with_a_response() -> None:
    async def request(scope: Any, receive: Any, send: Any) -> None:
        start = {"status": 401, "headers": [(b"x-why", b"password")]}
        await send({"type": "websocket.http.response.start", **start})
        await send({"type": "websocket.http.response.body", "body": b"no ", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"entry"})

    async with client_of(request) as client:
        with pytest.raises(WebSocketUpgradeError) as info:
            async with client.websocket("/"):
                raise AssertionError("it was not accepted")
        response = info.value.response
        assert response.status_code == 401
        assert response.headers["x-why"] == "password"
        assert response.text == "no entry"


async def test_one_that_is_never_accepted() -> None:
    async def request(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()

    async with client_of(request, timeout=2) as client:
        with pytest.raises(Exception, match="has sent nothing for 2 s in WebSocket /orders"):
            async with client.websocket("/orders"):
                raise AssertionError("it was not accepted")


async def test_without_a_word_it_is_no_websocket() -> None:
    async def request(scope: Any, receive: Any, send: Any) -> None:
        pass

    async with client_of(request) as client:
        with pytest.raises(RuntimeError, match="returned without starting a response to WebSocket"):
            async with client.websocket("/"):
                raise AssertionError("it was not accepted")


DENIAL = {"type": "websocket.http.response.start", "status": 403}
CLOSE = {"type": "websocket.close"}
WRONG = [
    ([{"type": "websocket.send", "text": "too early"}], "not accepted"),
    ([ACCEPT, ACCEPT], "accepted"),
    ([ACCEPT, DENIAL], "accepted"),
    ([ACCEPT, CLOSE, ACCEPT], "closed"),
    ([{"type": "http.response.start"}], "not accepted"),
]


@pytest.mark.parametrize(("messages", "state"), WRONG)
async def test_a_wrong_message_is_the_applications_error(messages: list[Any], state: str) -> None:
    async def request(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    wrong = f"unexpected {messages[-1]['type']} to WebSocket /: it is {state}$"
    with pytest.raises(RuntimeError, match=wrong):
        async with client_of(request) as client:
            async with client.websocket("/"):
                await anyio.sleep(1)


@pytest.mark.parametrize(
    ("messages", "state"), [([DENIAL, CLOSE], "denied"), ([CLOSE, ACCEPT], "closed")]
)
async def test_after_a_denial_it_is_logged(
    messages: list[Any], state: str, log: pytest.LogCaptureFixture
) -> None:
    async def request(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    async with client_of(request) as client:
        with pytest.raises(WebSocketUpgradeError):
            async with client.websocket("/"):
                raise AssertionError("it was not accepted")
    wrong = f"unexpected {messages[-1]['type']} to WebSocket /: it is {state}"
    assert log.text.endswith(f"{wrong}\n")


# Closing


async def test_the_application_learns_how_it_was_closed() -> None:
    last: list[Any] = []

    async def request(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        last.extend([await receive(), await receive()])

    async with client_of(request) as client:
        async with client.websocket("/") as websocket:
            await websocket.close(4000, "enough")
    # However often it asks.
    assert last == [{"type": "websocket.disconnect", "code": 4000, "reason": "enough"}] * 2


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [({}, 1000, ""), ({"code": 1012, "reason": "restart"}, 1012, "restart")],
)
async def test_the_test_learns_how_it_was_closed(
    message: dict[str, Any], code: int, reason: str
) -> None:
    received: list[Any] = []

    async def request(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        await send({"type": "websocket.close", **message})
        received.append(await receive())
        # These come too late, which is no error.
        await send({"type": "websocket.send", "text": "too late"})
        await send({"type": "websocket.close"})

    async with client_of(request) as client:
        async with client.websocket("/") as websocket:
            with pytest.raises(WebSocketDisconnect) as info:
                await websocket.receive_text()
    assert (info.value.code, info.value.reason) == (code, reason)
    assert received == [{"type": "websocket.disconnect", "code": code, "reason": reason}]


async def test_one_that_returns_closes_it() -> None:
    async def request(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        await send({"type": "websocket.send", "text": "last"})

    async with client_of(request) as client, client.websocket("/") as websocket:
        assert await websocket.receive_text() == "last"
        with pytest.raises(WebSocketDisconnect) as info:
            await websocket.receive_text()
        assert info.value.code == 1000


async def raises_after_accepting(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send(ACCEPT)
    raise Boom("in the WebSocket")


async def test_what_it_raises_is_raised_when_it_is_left() -> None:
    async with client_of(raises_after_accepting) as client:
        with pytest.raises(Boom, match="in the WebSocket"):
            async with client.websocket("/") as websocket:
                with pytest.raises(WebSocketDisconnect) as info:
                    await websocket.receive_text()
                assert info.value.code == 1011


async def test_or_it_is_logged(log: pytest.LogCaptureFixture) -> None:
    async with client_of(raises_after_accepting, raise_app_exceptions=False) as client:
        async with client.websocket("/") as websocket:
            with pytest.raises(WebSocketDisconnect):
                await websocket.receive_text()
    assert "The application has raised in WebSocket /." in log.text


async def test_what_it_raises_before_it_accepts() -> None:
    async def request(scope: Any, receive: Any, send: Any) -> None:
        raise Boom

    async with client_of(request) as client:
        with pytest.raises(Boom):
            async with client.websocket("/"):
                raise AssertionError("it was not accepted")


async def test_the_tests_own_exception_comes_as_it_is() -> None:
    boom = Boom()
    async with client_of(echo) as client:
        with pytest.raises(Boom) as info:
            async with client.websocket("/"):
                raise boom
    assert info.value is boom


async def test_several_exceptions_come_in_their_group() -> None:
    async with client_of(echo) as client:
        with pytest.raises(BaseExceptionGroup) as info:
            async with client.websocket("/"):
                raise BaseExceptionGroup("both", [Boom(), ValueError()])
    assert len(info.value.exceptions[0].exceptions) == 2


async def test_one_that_is_open_when_the_client_is_closed() -> None:
    order: list[Any] = []

    async def request(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        order.append((await receive())["code"])

    app = answers_lifespan(request, on_shutdown=lambda: order.append("shutdown"))
    async with asgi_client(app) as client:
        headers = {"connection": "upgrade", "upgrade": "websocket"}
        opened = await client.send(client.build_request("GET", "/", headers=headers), stream=True)
        assert opened.status_code == 101
    assert order == [1006, "shutdown"]


async def test_one_that_the_client_has_closed_is_read_to_its_end() -> None:
    may_end = anyio.Event()

    async def request(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        await send({"type": "websocket.send", "text": "unread"})
        await may_end.wait()

    async with client_of(request) as client:
        headers = {"connection": "upgrade", "upgrade": "websocket"}
        async with client.stream("GET", "/", headers=headers) as opened:
            stream = opened.extensions["network_stream"]
            frames = Connection(ConnectionType.CLIENT)
            await stream.write(frames.send(CloseConnection(1000)))
            await stream.write(b"after the end")
            may_end.set()
            assert await stream.read(100) == b""
            assert await stream.read(100) == b""


async def test_a_clients_network_stream_has_no_socket() -> None:
    async with client_of(echo) as client, client.websocket("/") as websocket:
        assert websocket.stream.get_extra_info("socket") is None


def test_without_httpx2_it_is_said_what_to_install() -> None:
    import subprocess

    script = (
        "import sys; sys.modules['httpx2'] = None\n"
        "import anyio\n"
        "from anylifespan import LifespanManager\n"
        "from anylifespan.testing import ASGIClient\n"
        "async def main():\n"
        "    async def app(scope, receive, send): ...\n"
        "    async with ASGIClient(LifespanManager(app)).websocket('/'): ...\n"
        "anyio.run(main)"
    )
    done = subprocess.run([sys.executable, "-c", script], stderr=subprocess.PIPE, timeout=60)
    assert b"needs httpx2 2.9 or later: pip install 'anylifespan[testing]'" in done.stderr


async def test_a_crash_of_the_application_is_raised_when_it_is_left() -> None:
    """In a fixture, say, where no body can be cancelled."""

    async def accepts(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        await anyio.sleep_forever()

    manager = LifespanManager(answers_lifespan(accepts, crash_after=1))
    await manager.startup()
    async with ASGIClient(manager) as client:
        with pytest.raises(LifespanCrashed):
            async with client.websocket("/") as websocket:
                await websocket.receive_text()
        with pytest.raises(LifespanCrashed):
            async with client.websocket("/"):
                raise AssertionError("it was accepted")
    with pytest.raises(LifespanCrashed):
        await manager.shutdown()


async def test_an_exit_after_a_denial_is_raised() -> None:
    async def request(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.close"})
        raise SystemExit(3)

    async with client_of(request) as client:
        with pytest.raises(SystemExit):
            async with client.websocket("/"):
                raise AssertionError("it was not accepted")


def test_it_is_a_client_of_httpx2() -> None:
    assert ASGIClient.websocket.__doc__
