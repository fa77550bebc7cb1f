"""What ``application`` serves, as an application of FastAPI with the middleware added to it.

It is a module of its own since importing FastAPI takes as long as starting a server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from application import BEHAVIOUR, TIMEOUT, crash, greeting, seen_by
from fastapi import FastAPI, Request, WebSocket

from anylifespan import LifespanMiddleware


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
    print("app: starting", flush=True)
    greeting.set("from the lifespan")
    if BEHAVIOUR == "hangs in startup":
        await connect()
    if BEHAVIOUR == "fails to start":
        raise ValueError("no database")
    crash[:] = [anyio.Event()]
    async with anyio.create_task_group() as task_group:
        if BEHAVIOUR == "crashes":
            task_group.start_soon(lose_the_database)
        yield {"database": "open"}
        task_group.cancel_scope.cancel()
    if BEHAVIOUR == "hangs in shutdown":
        await disconnect()
    print("app: stopped", flush=True)


async def connect() -> None:
    await anyio.sleep_forever()  # the startup hangs here


async def disconnect() -> None:
    await anyio.sleep_forever()  # the shutdown hangs here


async def lose_the_database() -> None:
    await crash[0].wait()
    raise ValueError("lost the database")


async def serve(request: Request) -> dict[str, Any]:
    if request.url.path == "/crash":
        crash[0].set()
    return seen_by(request.scope)


async def serve_websocket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_json(seen_by(websocket.scope))
    await websocket.receive()


app = FastAPI(lifespan=lifespan)
app.add_middleware(LifespanMiddleware, startup_timeout=TIMEOUT, shutdown_timeout=TIMEOUT)
app.get("/")(serve)
app.get("/crash")(serve)
app.websocket("/")(serve_websocket)
