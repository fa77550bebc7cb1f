"""Responses to requests that are not passed on to the application."""

from __future__ import annotations

from typing import Any

from .._core.application import Receive, Scope, Send


def refusal(scope: Scope, why: str, retry_after: int | None = None) -> list[dict[str, Any]]:
    """Return the messages of a response that says that the application is unavailable.

    :param why: the reason, in one sentence
    :param retry_after: seconds after which the client may try again; None to omit the header
    """
    kind = "http.response"
    if scope["type"] == "websocket":
        kind = "websocket.http.response"
        if kind not in (scope.get("extensions") or ()):
            return [{"type": "websocket.close", "code": 1013, "reason": "Try again later"}]
    body = f"{why}\n".encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    if retry_after is not None:
        headers.append((b"retry-after", b"%d" % retry_after))
    return [
        {"type": f"{kind}.start", "status": 503, "headers": headers},
        {"type": f"{kind}.body", "body": body},
    ]


async def refuse(
    scope: Scope, receive: Receive, send: Send, why: str, retry_after: int | None = None
) -> None:
    """Answer a request in place of the application; see :func:`refusal`."""
    if scope["type"] == "websocket":
        await receive()
    for message in refusal(scope, why, retry_after):
        await send(message)
