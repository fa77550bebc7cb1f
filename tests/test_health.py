"""Liveness and readiness: paths that the middleware answers before the application is asked."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from apps import Boom, app, hangs, raises, receives, sends, started, stopped
from conftest import BACKENDS
from plain_server import plain_server, request
from starlette.applications import Starlette
from starlette.routing import Mount

from anylifespan import LifespanMiddleware, Phase
from anylifespan._process.server import Server

pytestmark = pytest.mark.anyio

SERVED = [{"type": "served"}]
PATHS: dict[str, Any] = {"liveness_path": "/live", "readiness_path": "/ready"}


def healthy(*steps: Any, **options: Any) -> LifespanMiddleware:
    lifespan = app(*(steps or (receives, started, receives, stopped)))

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await lifespan(scope, receive, send)
        else:
            await send({"type": "served"})

    return LifespanMiddleware(application, **{**PATHS, **options})


async def probe(application: Any, path: str, **scope: Any) -> tuple[int, str]:
    """The status of the response, and what it says."""
    start, body = await request(application, method="GET", path=path, **scope)
    headers = dict(start["headers"])
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"content-length"] == b"%d" % len(body["body"])
    assert headers[b"cache-control"] == b"no-store"
    return start["status"], json.loads(body["body"])["status"]


async def both(application: Any) -> tuple[int, int, str]:
    live, status = await probe(application, "/live")
    ready, same = await probe(application, "/ready")
    assert same == status
    return live, ready, status


async def test_while_it_serves() -> None:
    middleware = healthy()
    async with plain_server(middleware) as server:
        await server.ask("startup")
        assert await both(middleware) == (200, 200, "serving")
        assert (middleware.phase, middleware.crash, middleware.draining) == (
            Phase.SERVING,
            None,
            False,
        )
        await server.ask("shutdown")
    assert await both(middleware) == (200, 503, "stopped")
    assert middleware.phase is Phase.STOPPED


async def test_while_it_starts_and_while_it_stops() -> None:
    go = anyio.Event()

    async def waits(receive: Any, send: Any) -> None:
        await go.wait()

    middleware = healthy(receives, waits, started, receives, waits, stopped)
    async with plain_server(middleware) as server, anyio.create_task_group() as task_group:
        task_group.start_soon(server.ask, "startup")
        await wait_all_tasks_blocked()
        assert await both(middleware) == (200, 503, "starting")
        go.set()
        await wait_all_tasks_blocked()
        go = anyio.Event()
        task_group.start_soon(server.ask, "shutdown")
        await wait_all_tasks_blocked()
        assert await both(middleware) == (200, 503, "stopping")
        go.set()


async def test_while_the_server_is_being_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    stopping = False
    found = Server(lambda: None, lambda: stopping)
    monkeypatch.setattr("anylifespan.middleware.find_server", lambda: found)
    middleware = healthy()
    async with plain_server(middleware) as server:
        await server.ask("startup")
        stopping = True
        await anyio.sleep(1)
        assert await both(middleware) == (200, 503, "draining")
        assert middleware.draining
        assert middleware.phase is Phase.SERVING
        await server.ask("shutdown")


async def test_after_a_crash() -> None:
    at, boom = anyio.Event(), Boom("lost the database")

    async def waits(receive: Any, send: Any) -> None:
        await at.wait()

    middleware = healthy(receives, started, waits, raises(boom), on_crash="log")
    async with plain_server(middleware) as server:
        await server.ask("startup")
        at.set()
        await wait_all_tasks_blocked()
        assert await both(middleware) == (503, 503, "crashed")
        assert middleware.crash is not None
        assert middleware.crash.__cause__ is boom
        await server.ask("shutdown")


async def test_without_a_lifespan_it_is_ready() -> None:
    middleware = healthy(receives)
    async with plain_server(middleware) as server:
        await server.ask("startup")
        assert await both(middleware) == (200, 200, "serving")
        await server.ask("shutdown")


async def test_head_gets_no_body() -> None:
    start, body = await request(healthy(), method="HEAD", path="/live")
    assert start["status"] == 200
    assert dict(start["headers"])[b"content-length"] == b"19"
    assert body["body"] == b""


@pytest.mark.parametrize(
    "scope",
    [
        {"method": "POST", "path": "/live"},
        {"method": "GET", "path": "/live/"},
        {"method": "GET", "path": "/"},
        {"kind": "websocket", "path": "/live"},
    ],
)
async def test_other_requests_are_for_the_application(scope: Any) -> None:
    middleware = healthy()
    async with plain_server(middleware) as server:
        await server.ask("startup")
        assert await request(middleware, **scope) == SERVED
        await server.ask("shutdown")


async def test_by_default_there_are_no_such_paths() -> None:
    middleware = healthy(liveness_path=None, readiness_path=None)
    async with plain_server(middleware) as server:
        await server.ask("startup")
        assert await request(middleware, method="GET", path="/ready") == SERVED
        await server.ask("shutdown")


@pytest.mark.parametrize("root", ["/shop", "/shop/v1"])
async def test_below_where_it_is_mounted(root: str) -> None:
    main = Starlette(routes=[Mount(root, healthy())])
    assert await probe(main, f"{root}/live", headers=[], root_path="") == (200, "idle")


async def test_a_root_path_that_the_server_does_not_repeat() -> None:
    assert await probe(healthy(), "/live", root_path="/shop") == (200, "idle")
    assert await probe(healthy(), "/live", root_path="/li") == (200, "idle")


# Where no server sends a lifespan


async def test_a_liveness_probe_starts_nothing() -> None:
    middleware = healthy()
    assert await probe(middleware, "/live") == (200, "idle")
    assert (middleware.phase, middleware.crash, middleware.draining) == (Phase.IDLE, None, False)


async def test_a_readiness_probe_starts_it() -> None:
    """Until it is ready, there may be no other request."""
    middleware = healthy()
    assert await probe(middleware, "/ready") == (200, "serving")


async def test_a_readiness_probe_starts_it_again() -> None:
    fails = True

    async def lifespan(receive: Any, send: Any) -> None:
        await sends(f"lifespan.startup.{'failed' if fails else 'complete'}")(receive, send)

    middleware = healthy(receives, lifespan, hangs)
    assert await probe(middleware, "/ready") == (503, "failed")
    assert await probe(middleware, "/live") == (503, "failed")
    fails = False
    assert await probe(middleware, "/ready") == (200, "serving")
    assert await probe(middleware, "/live") == (200, "serving")


def test_outside_of_an_event_loop_the_latest_is_meant(backend: str) -> None:
    middleware = healthy()

    async def serve() -> None:
        async with plain_server(middleware) as server:
            await server.ask("startup")
            await server.ask("shutdown")
        assert await anyio.to_thread.run_sync(lambda: middleware.phase) is Phase.STOPPED

    assert middleware.phase is Phase.IDLE
    name, options = BACKENDS[backend]()
    anyio.run(serve, backend=name, backend_options=options)


# Nonsense


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (
            {"liveness_path": "live"},
            ValueError,
            'liveness_path must begin with a slash, as "/l',
        ),
        ({"readiness_path": ""}, ValueError, "readiness_path must begin with a slash"),
        ({"readiness_path": b"/ready"}, TypeError, "readiness_path must be a str or None, got byt"),
        ({"liveness_path": "/ready"}, ValueError, "are both '/ready'"),
    ],
)
def test_bad_paths(options: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        healthy(**options)
