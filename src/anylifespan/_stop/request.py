"""Requests that can be cut off: they are disconnected, then cancelled, and ended properly."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from anyio import CancelScope, move_on_after
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint

from .._core.application import Receive, Scope, Send
from .._core.ctrl_c import protected, unprotected
from .refusal import refusal

# Seconds that sending the end of a response may take if the client does not read it.
FLUSH = 1.0

_Messages = list[dict[str, Any]]

STOPPING = "The server is stopping."
# "Service Restart" in the registry of WebSocket close codes.
_CLOSE = {"type": "websocket.close", "code": 1012, "reason": STOPPING}


@protected
class OpenRequest:
    """A request that the application is handling.

    :ivar coroutine: the coroutine of the task that runs the request
    """

    __slots__ = (
        "_cancels_after_message",
        "_cut",
        "_ending",
        "_listening",
        "_receive",
        "_scope",
        "_send",
        "_sending",
        "_task_scope",
        "coroutine",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, coroutine: object) -> None:
        self.coroutine = coroutine
        self._scope = scope
        self._receive = receive
        self._send = send
        self._task_scope = CancelScope()
        self._listening: list[CancelScope] = []
        self._cut = False
        self._sending = 0
        self._cancels_after_message = False
        # The messages that would end the response properly now; None before it has started.
        self._ending: _Messages | None = None

    def __str__(self) -> str:
        return f"{self._scope.get('method', 'WebSocket')} {self._scope.get('path', '')}"

    async def run(self, app: Callable[..., Awaitable[Any]]) -> Any:
        """Call the application to answer the request."""
        returned = None
        try:
            with self._task_scope:
                returned = await self._call(app)
        except Exception:
            # If the application fails because it is disconnected, its response would stay open.
            if self._cut and self._ending:
                await self._end()
            raise
        if self._cut:
            await self._end()
        return returned

    @unprotected
    async def _call(self, app: Callable[..., Awaitable[Any]]) -> Any:
        return await app(self._scope, self.receive, self.send)

    def disconnect(self) -> None:
        """Make it look to the application as if the client had disconnected."""
        self._cut = True
        for scope in self._listening:
            scope.cancel()

    def cancel(self) -> None:
        """Cancel the application, but only after the message that it is sending, if any."""
        self._cancels_after_message = True
        if not self._sending:
            self._task_scope.cancel()

    def break_off(self) -> None:
        """Cancel the application, whatever it is doing."""
        self._task_scope.cancel()

    async def receive(self) -> Any:
        """Act as the application's ``receive()``.

        Return a disconnect once the request has been cut off.
        """
        if not self._cut:
            scope = CancelScope()
            self._listening.append(scope)
            try:
                with scope:
                    return await self._receive()
            finally:
                self._listening.remove(scope)
        # Some applications call receive() in a loop, so this must be a checkpoint. The checkpoint
        # is shielded, since other applications check for a disconnect in a cancel scope that is
        # already cancelled.
        if self._task_scope.cancel_called:
            await checkpoint()
        else:
            await cancel_shielded_checkpoint()
        if self._scope["type"] == "websocket":
            return {"type": "websocket.disconnect", "code": 1012, "reason": STOPPING}
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        """Act as the application's ``send()``."""
        if self._task_scope.cancel_called:
            # The cancellation has woken the task. Raise it now, before half a message is sent.
            await checkpoint()
        self._sending += 1
        try:
            await self._send(message)
        except BaseException:
            self._ending = []  # nobody knows what has been sent
            raise
        finally:
            self._sending -= 1
        self._ending = _ending_after(message, self._ending)
        if self._cancels_after_message:
            self._task_scope.cancel()

    async def _end(self) -> None:
        ending = refusal(self._scope, STOPPING) if self._ending is None else self._ending
        self._ending = []
        with move_on_after(FLUSH):
            for message in ending:
                await self._send(message)


def _ending_after(message: Any, ending: _Messages | None) -> _Messages | None:
    """Return the messages that would end the response, once this message has been sent.

    :param ending: the messages that would have ended the response before this message
    """
    kind, _, what = message["type"].rpartition(".")
    if kind == "websocket":
        return {"accept": [_CLOSE], "close": []}.get(what, ending)
    if not kind.endswith("http.response"):
        return ending
    if what == "start":
        return _ending_of_response(kind, message)
    if what == "trailers":
        return ending if message.get("more_trailers") else []
    if what in ("body", "pathsend", "zerocopysend") and not message.get("more_body"):
        return (ending or [])[1:]
    return ending


def _ending_of_response(kind: str, start: Any) -> _Messages:
    headers = (name.lower() for name, _ in start.get("headers", ()))
    if b"content-length" in headers:
        return []  # only the client's own error can tell it that the rest is missing
    ending: _Messages = [{"type": f"{kind}.body", "body": b""}]
    if start.get("trailers"):
        ending.append({"type": f"{kind}.trailers", "headers": []})
    return ending
