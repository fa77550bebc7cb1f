"""``asgi_server``: an application that is up and listens, for browsers and the like."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from inspect import signature
from typing import Any

import anyio
import httpx
import pytest
import uvicorn
from apps import Boom, app, hangs, raises, receives, started, well_behaved
from clocks import LOOPS
from fastapi import FastAPI, WebSocket
from starlette.responses import StreamingResponse
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from anylifespan import (
    LifespanCrashed,
    LifespanUnsupported,
    ShutdownFailed,
    ShutdownTimeout,
    StartupFailed,
    draining,
)
from anylifespan.testing import LeakWarning, asgi_server, asgi_sync_client

START = {"type": "http.response.start", "status": 200, "headers": []}


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive()


def shop() -> FastAPI:
    async def lifespan(app: FastAPI) -> Any:
        app.state.threads = [threading.get_ident()]
        yield {"open": True}

    shop = FastAPI(lifespan=asynccontextmanager(lifespan))

    @shop.get("/")
    async def read() -> str:
        return "hello"

    @shop.get("/stream")
    async def stream() -> StreamingResponse:
        async def lines() -> Any:
            while True:
                yield "line\n"
                await anyio.sleep(0.01)

        return StreamingResponse(lines())

    @shop.websocket("/echo")
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_json({"text": text, "open": websocket.state.open})

    return shop


def has_requests(http: Any, *steps: Any) -> Any:
    """An application that does this in its lifespan, and that in a request."""
    lifespan = app(*steps) if steps else well_behaved

    async def has_requests(scope: Any, receive: Any, send: Any) -> None:
        await (lifespan if scope["type"] == "lifespan" else http)(scope, receive, send)

    return has_requests


async def hangs_after_start(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send({"type": "http.response.body", "body": b"one", "more_body": True})
    await anyio.sleep_forever()


@pytest.mark.parametrize("options", [{}, {"use_uvloop": True}] if "uvloop" in LOOPS else [{}])
def test_it_serves_http_and_websockets(options: dict[str, Any]) -> None:
    with asgi_server(shop(), backend_options=options, leaks="error") as server:
        assert server.url == f"http://127.0.0.1:{server.port}"
        assert repr(server) == f"<ASGIServer at {server.url}>"
        assert server.lifespan.manager.phase.value == "serving"
        assert httpx.get(f"{server.url}/").json() == "hello"
        with connect(f"ws://{server.host}:{server.port}/echo", proxy=None) as websocket:
            websocket.send("one")
            assert websocket.recv() == '{"text":"one","open":true}'
    assert server.lifespan.manager.phase.value == "stopped"
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url)


def test_two_at_once_and_one_application_again() -> None:
    app = shop()
    with asgi_server(app) as one, asgi_server(shop()) as other:
        assert one.port != other.port
        assert httpx.get(one.url).json() == httpx.get(other.url).json() == "hello"
    with asgi_server(app) as again:
        assert httpx.get(again.url).json() == "hello"


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="there is no IPv6")
def test_on_ipv6() -> None:
    with asgi_server(shop(), host="::1") as server:
        assert server.url == f"http://[::1]:{server.port}"
        assert httpx.get(server.url).json() == "hello"


def test_a_port_of_ones_own_choice_and_one_that_is_taken() -> None:
    with asgi_server(shop()) as server:
        with pytest.raises(OSError, match="in use"):
            with asgi_server(shop(), port=server.port):
                raise AssertionError
    with asgi_server(shop(), port=server.port) as again:
        assert again.port == server.port


def test_a_stream_and_a_websocket_are_ended_when_the_block_is_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with httpx.Client() as client, ThreadPoolExecutor(1) as pool, ExitStack() as stack:
        with asgi_server(shop(), drain_timeout=0.2) as server:
            websocket = stack.enter_context(
                connect(f"ws://{server.host}:{server.port}/echo", proxy=None)
            )
            response = client.send(client.build_request("GET", f"{server.url}/stream"), stream=True)
            lines = response.iter_lines()
            assert next(lines) == "line"
            rest = pool.submit(list, lines)
        with pytest.raises(ConnectionClosed):
            websocket.recv(5)
        assert set(rest.result(5)) == {"line"}
        response.close()
    assert "The test is over, and its drain_timeout of 0.2 seconds is over" in caplog.text


def test_a_request_can_know_that_the_test_is_over() -> None:
    async def http(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await draining(scope).wait()
        await send({"type": "http.response.body", "body": b"two"})

    with httpx.Client() as client:
        with asgi_server(has_requests(http), drain_timeout=None) as server:
            response = client.send(client.build_request("GET", server.url), stream=True)
            parts = response.iter_bytes()
            assert next(parts) == b"one"
        assert list(parts) == [b"two"]


def test_a_crash_stops_the_server_and_is_raised_when_the_block_is_left() -> None:
    event: list[anyio.Event] = []

    async def http(scope: Any, receive: Any, send: Any) -> None:
        event[0].set()
        await send(START)
        await send({"type": "http.response.body"})

    async def waits(receive: Any, send: Any) -> None:
        event.append(anyio.Event())
        await send({"type": "lifespan.startup.complete"})
        await event[0].wait()

    with pytest.raises(LifespanCrashed) as caught:
        with asgi_server(has_requests(http, receives, waits, raises(Boom()))) as server:
            assert httpx.get(server.url).status_code == 200
            server.lifespan.portal.call(server.lifespan.manager.wait_crashed)
            while True:  # until it has stopped
                try:
                    httpx.get(server.url)
                except httpx.TransportError:
                    break
    assert isinstance(caught.value.__cause__, Boom)


@pytest.mark.parametrize("error", [Boom(), KeyboardInterrupt(), SystemExit(3)])
def test_an_exception_in_the_block_goes_on(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        with asgi_server(shop()) as server:
            raise error
    assert caught.value is error
    assert server.lifespan.manager.phase.value == "stopped"


def test_errors_of_the_lifespan() -> None:
    with pytest.raises(StartupFailed):
        with asgi_server(app(receives, raises(Boom()))):
            raise AssertionError
    with pytest.raises(LifespanUnsupported):
        with asgi_server(app(raises(Boom()))):
            raise AssertionError
    with pytest.raises(ShutdownFailed):
        with asgi_server(app(receives, started, receives, raises(Boom()))):
            pass
    with asgi_server(app(raises(Boom())), mode="auto") as server:
        assert server.lifespan.manager.supported is False


def test_a_shutdown_that_hangs_with_a_request_that_hangs() -> None:
    hanging = has_requests(hangs_after_start, receives, started, receives, hangs)
    with httpx.Client() as client:
        with pytest.raises(ShutdownTimeout):
            with asgi_server(hanging, drain_timeout=0.1, shutdown_timeout=0.1) as server:
                response = client.send(client.build_request("GET", server.url), stream=True)
        response.close()


def test_a_request_that_blocks_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anylifespan._portal.ANSWER", 0.2)
    monkeypatch.setattr("anylifespan.testing._server.time_to_close", lambda drain: drain + 0.1)
    release, blocked = threading.Event(), threading.Event()

    async def blocks(scope: Any, receive: Any, send: Any) -> None:
        blocked.set()
        release.wait(60)

    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(ShutdownTimeout, match="blocks its event loop") as caught:
            with asgi_server(
                has_requests(blocks), drain_timeout=0.1, shutdown_timeout=0.1
            ) as server:
                request = pool.submit(httpx.get, server.url)
                assert blocked.wait(30)
        assert "release.wait(60)" in str(caught.value)
        release.set()
        assert request.result().status_code == 500


def test_a_client_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anylifespan.testing._serving.time_to_close", lambda drain: drain + 0.5)

    async def sends_much(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        while True:
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})

    with socket.socket() as client:
        with asgi_server(has_requests(sends_much), drain_timeout=0.1) as server:
            client.connect((server.host, server.port))
            client.sendall(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")
            assert client.recv(5)


def test_ctrl_c_cuts_the_requests() -> None:
    """The first, in the block, begins the shutdown; the second waits no longer for requests."""
    main_thread = threading.main_thread().ident
    assert main_thread is not None

    async def http(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await draining(scope).wait()
        signal.pthread_kill(main_thread, signal.SIGINT)
        await anyio.sleep_forever()

    with httpx.Client() as client:
        with pytest.raises(KeyboardInterrupt):
            with asgi_server(has_requests(http), drain_timeout=60) as server:
                response = client.send(client.build_request("GET", server.url), stream=True)
                raise KeyboardInterrupt
        response.close()
    assert server.lifespan.manager.phase.value in ("stopped", "failed")


def test_ctrl_c_in_the_startup() -> None:
    main_thread = threading.main_thread().ident
    assert main_thread is not None

    async def presses_ctrl_c(receive: Any, send: Any) -> None:
        signal.pthread_kill(main_thread, signal.SIGINT)
        await anyio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        with asgi_server(app(receives, presses_ctrl_c)):
            raise AssertionError("it has not started")


def test_what_is_left_behind_is_listed() -> None:
    async def leaks(receive: Any, send: Any) -> None:
        left_behind.append(socket.socket())

    left_behind: list[socket.socket] = []
    with pytest.warns(LeakWarning, match="socket"):
        with asgi_server(app(receives, started, receives, leaks)):
            pass
    left_behind[0].close()


def test_bad_input_is_refused_before_anything_is_started() -> None:
    with pytest.raises(TypeError, match="nonsense"):
        with asgi_server(shop(), nonsense=1):
            raise AssertionError
    with pytest.raises(TypeError, match="drain_timeout"):
        with asgi_server(shop(), drain_timeout="1"):  # type: ignore[arg-type]
            raise AssertionError
    with pytest.raises(TypeError):
        with asgi_server(None):  # type: ignore[arg-type]
            raise AssertionError


def test_a_server_that_does_not_come_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*args: object) -> None:
        raise Boom

    monkeypatch.setattr(uvicorn.Server, "startup", fails)
    with pytest.raises(Boom):
        with asgi_server(well_behaved):
            raise AssertionError


def test_without_uvicorn_or_websockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anylifespan.testing._serving.find_spec", lambda _: None)
    with asgi_server(shop(), ws="none") as server:
        assert httpx.get(server.url).json() == "hello"
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "anylifespan.testing._serving")
    with pytest.raises(ModuleNotFoundError, match="pip install uvicorn"):
        with asgi_server(shop()):
            raise AssertionError


def test_its_options_are_those_of_the_clients() -> None:
    of_client, of_server = signature(asgi_sync_client).parameters, signature(asgi_server).parameters
    assert of_client.keys() - of_server.keys() == {
        "backend",
        "raise_app_exceptions",
        "root_path",
        "client",
        "base_url",
    }
    for name in of_client.keys() & of_server.keys():
        assert of_client[name].default == of_server[name].default, name
