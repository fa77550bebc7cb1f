"""What the servers serve: ``bare``, and ``app`` and ``watched``, the same under the middleware.

What its lifespan does is said by the environment, as are its limits of time.
"""

from __future__ import annotations

import json
import os
import time
from contextvars import ContextVar
from typing import Any

import anyio

from anylifespan import LifespanMiddleware

BEHAVIOUR = os.environ.get("BEHAVIOUR", "behaves well")
# Seconds for the startup and the shutdown; an hour stands for no limit.
TIMEOUT = float(os.environ.get("TIMEOUT", "1"))
DRAIN = float(os.environ["DRAIN"]) if "DRAIN" in os.environ else None

greeting: ContextVar[str] = ContextVar("greeting", default="unset")
crash: list[anyio.Event] = []


async def lifespan(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    print("app: starting", flush=True)
    greeting.set("from the lifespan")
    if BEHAVIOUR == "hangs in startup":
        await anyio.sleep_forever()  # the startup hangs here
    if BEHAVIOUR == "blocks in startup":
        time.sleep(1.7)  # noqa: ASYNC251 - the startup blocks here
    if BEHAVIOUR.startswith("starts slowly"):
        await anyio.sleep(1)
    if BEHAVIOUR == "fails to start":
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        return
    if "state" in scope:
        scope["state"]["database"] = "open"
    crash[:] = [anyio.Event()]
    await send({"type": "lifespan.startup.complete"})
    if BEHAVIOUR == "crashes again and again":
        await anyio.sleep(0.5)  # each server counts its start as a success meanwhile
        raise ValueError("lost the database")
    if BEHAVIOUR in ("crashes", "starts slowly and crashes"):
        await crash[0].wait()
        raise ValueError("lost the database")
    await receive()
    if BEHAVIOUR == "hangs in shutdown":
        await anyio.sleep_forever()  # the shutdown hangs here
    print("app: stopped", flush=True)
    await send({"type": "lifespan.shutdown.complete"})


async def http(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"] == "/stream":
        await stream(send)
    if scope["path"] == "/slow":
        print("app: slow request", flush=True)
        await anyio.sleep(0.6)
    if scope["path"] == "/quick":
        print("app: quick request", flush=True)
    body = json.dumps(seen_by(scope)).encode()
    if scope["path"] == "/crash":
        crash[0].set()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def stream(send: Any) -> None:
    """For ever."""
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    while True:
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        await anyio.sleep(0.1)


async def websocket(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": json.dumps(seen_by(scope))})
    await receive()  # until the client closes it: both at once is too much for some servers


def seen_by(scope: Any) -> dict[str, Any]:
    state = scope.setdefault("state", {})
    seen = {"greeting": greeting.get(), "state": dict(state)}
    state["of another request"] = True
    return seen


async def bare(scope: Any, receive: Any, send: Any) -> None:
    handle = {"lifespan": lifespan, "http": http, "websocket": websocket}[scope["type"]]
    await handle(scope, receive, send)


app = LifespanMiddleware(
    bare, startup_timeout=TIMEOUT, shutdown_timeout=TIMEOUT, drain_timeout=DRAIN
)

watched = LifespanMiddleware(
    bare,
    startup_timeout=10,
    start_in_background=True,
    liveness_path="/live",
    readiness_path="/ready",
    on_crash="log",
)
