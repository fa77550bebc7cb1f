"""The blocks of Python on pages that show a line or two: they run where a reader would put them.

Whole files on pages have names, and tests of their own.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import anyio
import frameworks
import httpx2
import pytest
import uvicorn.config
from fastapi import FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from mangum import Mangum
from pages import python_of
from plain_server import request

import anylifespan
from anylifespan import LifespanManager
from anylifespan.testing import asgi_client, asgi_sync_client

PAGES = ["README.md"] + [
    f"docs/{page}.md"
    for page in (
        "index",
        "servers",
        "deployment",
        "testing",
        "migrating",
        "semantics",
        "conformance",
    )
]
SNIPPETS = {
    f"{page}, {number}": code for page in PAGES for number, code in enumerate(python_of(page), 1)
}


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[dict[str, str]]:
    yield {"database": "open"}


def shop(subscribers: set[str]) -> FastAPI:
    app = FastAPI(lifespan=lifespan)

    @app.get("/")
    async def front_page() -> str:
        return "welcome"

    @app.get("/events")
    async def events() -> StreamingResponse:
        return StreamingResponse(subscribed())

    async def subscribed() -> AsyncIterator[str]:
        subscribers.add("a test")
        try:
            while True:
                yield "data: first\n"
                await anyio.sleep(0.01)
        finally:
            subscribers.remove("a test")

    @app.websocket("/orders")
    async def orders(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_json({"sold": (await websocket.receive_json())["book"] == 1})

    return app


async def serve(app: Any) -> None:
    sent = await request(app, path="/", method="GET", headers=[], query_string=b"")
    assert sent[0]["status"] == 200


async def send_invoices(database: str) -> None:
    assert database == "open"


class Lifespan:
    """That of somebody's library."""

    def __init__(self, app: Any) -> None:
        self._manager = LifespanManager(app)
        self.app, self.state = self._manager.app, self._manager.state
        self.startup, self.shutdown = self._manager.startup, self._manager.shutdown


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a reader has where a snippet stands."""
    subscribers: set[str] = set()
    app = shop(subscribers)
    for module, attributes in {
        "mylibrary": {"Lifespan": Lifespan},
        "drivers": {"driver": asynccontextmanager(drive)},
    }.items():
        monkeypatch.setitem(sys.modules, module, ModuleType(module))
        vars(sys.modules[module]).update(attributes)
    logging = {**uvicorn.config.LOGGING_CONFIG, "loggers": {}}
    monkeypatch.setattr(uvicorn.config, "LOGGING_CONFIG", logging)
    return {
        **{name: getattr(anylifespan, name) for name in anylifespan.__all__},
        "FastAPI": FastAPI,
        "Mangum": Mangum,
        "anyio": anyio,
        "app": app,
        "catalogue": FastAPI(lifespan=lifespan),
        "get_asgi_application": frameworks.django,
        "httpx": httpx2,
        "lifespan": lifespan,
        "manager": LifespanManager(app),
        "pytest": pytest,
        "reports": FastAPI(),
        "send_invoices": send_invoices,
        "serve": serve,
        "state": {},
        "subscribers": subscribers,
        "uvicorn": SimpleNamespace(run=lambda app, **options: uvicorn.Config(app, log_level=None)),
    }


async def drive(app: Any) -> AsyncIterator[Any]:
    async with LifespanManager(app) as manager:
        yield manager


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_it_runs(snippet: str, names: dict[str, Any]) -> None:
    anyio.run(run, snippet, names)  # in real time, since Django uses threads


async def run(snippet: str, names: dict[str, Any]) -> None:
    before = dict(names)
    code = compile(SNIPPETS[snippet], snippet, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    running = eval(code, names)
    if running is not None:
        await running
    if names["app"] is not before["app"]:
        async with asgi_client(names["app"]) as client:
            await client.get("/")
    for name, test in names.items():
        if name.startswith("test_") and inspect.isfunction(test):
            await run_test(test, before["app"])


async def run_test(test: Any, app: Any) -> None:
    """Run it as pytest would, if it needs no browser."""
    parameters = [*inspect.signature(test).parameters]
    if parameters == ["asgi_client"]:
        async with asgi_client(app) as client:
            await test(client)
    elif parameters == ["asgi_sync_client"]:
        with asgi_sync_client(app) as client:
            test(client)
    elif parameters == ["case"]:
        for mark in test.pytestmark:
            if mark.name == "parametrize":
                await test(mark.args[1][0])
    elif not parameters:
        await anyio.to_thread.run_sync(test)


def test_every_page_has_some() -> None:
    assert [page for page in PAGES if not python_of(page)] == []
