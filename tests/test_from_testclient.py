"""The examples of docs/from-testclient.md: each is run, Starlette's side and ours."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from textwrap import indent
from typing import Any

import anyio
import httpx2
import pytest
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.responses import RedirectResponse
from starlette.websockets import WebSocketDisconnect

from anylifespan.testing import asgi_client, asgi_sync_client

PAGE = Path(__file__).parents[1] / "docs" / "from-testclient.md"
SECTIONS = re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.DOTALL | re.MULTILINE)
EXAMPLES = [
    pytest.param(
        example,
        id=f"{title}, {number}",
        marks=pytest.mark.skipif(
            "WebSocket" in title and not hasattr(httpx2.Client, "websocket"),
            reason="httpx2 has them since 2.9",
        ),
    )
    for title, text in SECTIONS
    for number, example in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
]


def shop() -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, bool]]:
        yield {"open": True}

    shop = FastAPI(lifespan=lifespan)

    @shop.get("/")
    async def read() -> str:
        return "hello"

    @shop.get("/old")
    async def old() -> RedirectResponse:
        return RedirectResponse("/")

    @shop.get("/broken")
    async def broken() -> None:
        raise ValueError("lost the database")

    @shop.websocket("/echo")
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(text)

    @shop.websocket("/closed")
    async def closed(websocket: WebSocket) -> None:
        await websocket.close(1008)

    return shop


async def answer() -> int:
    return 42


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Starlette, that httpx2 is to come
@pytest.mark.parametrize("example", EXAMPLES)
def test_as_it_stands(example: str) -> None:
    names: dict[str, Any] = {
        "TestClient": TestClient,
        "WebSocketDisconnect": WebSocketDisconnect,
        "answer": answer,
        "app": shop(),
        "asgi_client": asgi_client,
        "asgi_sync_client": asgi_sync_client,
        "pytest": pytest,
    }
    if "WebSocketUpgradeError" in example:
        names["WebSocketUpgradeError"] = httpx2.websockets.WebSocketUpgradeError
    is_asynchronous = "await" in example or "async with" in example
    head = "async def example():" if is_asynchronous else "def example():"
    exec(f"{head}\n{indent(example, '    ')}", names)
    if is_asynchronous:
        anyio.run(names["example"])
    else:
        names["example"]()


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 23
