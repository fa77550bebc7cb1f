"""The answer to a request that is not passed on to the application."""

from __future__ import annotations

from typing import Any

from .._core.application import Receive, Scope, Send


def refusal(scope: Scope, why: str) -> list[dict[str, Any]]:
    """What says that the application is not there, and may be later.

    :param why: in one sentence
    """
    kind = "http.response"
    if scope["type"] == "websocket":
        kind = "websocket.http.response"
        if kind not in (scope.get("extensions") or ()):
            return [{"type": "websocket.close", "code": 1013, "reason": "Try again later"}]
    body = f"{why}\n".encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    return [
        {"type": f"{kind}.start", "status": 503, "headers": headers},
        {"type": f"{kind}.body", "body": body},
    ]


async def refuse(scope: Scope, receive: Receive, send: Send, why: str) -> None:
    """Answer a request in the place of the application."""
    if scope["type"] == "websocket":
        await receive()
    for message in refusal(scope, why):
        await send(message)
