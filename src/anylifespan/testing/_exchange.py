"""One request to the application, which runs in a task of its own, and what it answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import anyio
from anyio import (
    CancelScope,
    ClosedResourceError,
    EndOfStream,
    Event,
    WouldBlock,
    move_on_after,
    sleep,
)

from .._core.application import ASGI3App, Scope
from .._core.ctrl_c import protected, unprotected
from .._core.exceptions import is_cancellation
from ._httpx import httpx

# So many messages may the application be ahead of its client, as with the buffer of a socket.
_AHEAD = 16
# Seconds that a message takes which nobody gets.
_PACE = 0.01
_IGNORED = ("http.response.push", "http.response.trailers", "http.response.debug")


class ResponseIncomplete(RuntimeError):
    """The application has returned without a whole response, or was cancelled."""


@protected
class Exchange(ABC):
    """A request, and the response to it.

    :param app: the application as requests call it
    :param scope: the scope of the request
    :ivar raised: what the application has raised, as long as nobody has been given that
    :ivar failure: what has gone wrong beside its answer
    :ivar has_begun: whether its task has had its first turn
    :ivar over: set when the application has returned or raised
    :ivar is_complete: whether the application has sent the last message of its response
    """

    def __init__(self, app: ASGI3App, scope: Scope) -> None:
        self.has_begun = False
        self.over = Event()
        self.raised: BaseException | None = None
        self.failure: Exception | None = None
        self._app = app
        self._scope = scope
        self._disconnected = Event()
        self.is_complete = False
        self._has_started = False
        self._to_client, self._from_app = anyio.create_memory_object_stream[Any](_AHEAD)

    def __str__(self) -> str:
        return f"{self._scope.get('method', 'WebSocket')} {self._scope['path']}"

    # The side of the application

    async def run(self) -> None:
        """Have the application answer it."""
        self.has_begun = True
        try:
            if not self._disconnected.is_set():  # as long as it was waiting for its first turn
                await self._call()
        except BaseException as exc:
            self.raised = exc
            if is_cancellation(exc):
                raise
        finally:
            self.close_ends_of_app()
            self.over.set()

    @unprotected
    async def _call(self) -> None:
        await self._app(self._scope, self.receive, self.send)

    def close_ends_of_app(self) -> None:
        """The application neither sends nor receives any more."""
        self._to_client.close()

    @abstractmethod
    async def receive(self) -> Any:
        """The ``receive()`` of the application."""

    @abstractmethod
    async def send(self, message: Any) -> None:
        """The ``send()`` of the application."""

    async def _pass_on(self, message: Any) -> None:
        try:
            try:
                # A whole response takes no turn of the event loop, as long as nobody has to wait.
                self._to_client.send_nowait(message)
            except WouldBlock:
                await self._to_client.send(message)
        except (anyio.BrokenResourceError, ClosedResourceError):
            await self._send_to_nobody()

    async def _send_to_nobody(self) -> None:
        # For servers it is no error of the application that its client has left. An application
        # that does not notice must leave others, and a clock that is not a real one, the time to.
        await sleep(_PACE)

    # The side of the client

    async def next_message(self, timeout: float | None) -> Any:
        """What the application sends next; None if it is over.

        :param timeout: seconds to wait
        :raises httpx.ReadTimeout: after that time
        """
        with suppress(WouldBlock):
            return self.message_at_hand()
        if timeout is None:
            return await self._next_message()
        with move_on_after(timeout):
            return await self._next_message()
        raise httpx.ReadTimeout(f"the application has sent nothing for {timeout:g} s in {self}")

    def message_at_hand(self) -> Any:
        """The same without waiting.

        :raises anyio.WouldBlock: if there is none yet
        """
        try:
            return self._from_app.receive_nowait()
        except (EndOfStream, ClosedResourceError):  # the latter by disconnect()
            return None

    async def _next_message(self) -> Any:
        try:
            return await self._from_app.receive()
        except EndOfStream:
            return None

    def disconnect(self) -> None:
        """The client has gone."""
        self._disconnected.set()
        self._from_app.close()

    def fail(self, failure: Exception) -> None:
        """Have the client wait no longer."""
        self.failure = failure
        self._to_client.close()

    async def wait_over(self, seconds: float) -> None:
        """Wait so long for the application to return."""
        with move_on_after(seconds):
            await self.over.wait()

    def is_well(self) -> bool:
        """Whether the response is complete, and nothing has gone wrong."""
        return self.is_complete and self.raised is None and self.failure is None

    def take_raised(self) -> BaseException | None:
        """What the application has raised, for the one who will raise it."""
        raised, self.raised = self.raised, None
        if raised is None or not is_cancellation(raised):
            return raised
        # Whoever waits for the response has not been cancelled.
        broken_off = ResponseIncomplete(f"the application has been cancelled in {self}")
        broken_off.__cause__ = raised
        return broken_off

    def take_error(self) -> BaseException | None:
        """What is wrong with a response that has come to its end, for the one who will raise it."""
        error = self.take_raised()
        if self.failure is not None:
            return self.failure
        if error is not None or self.is_complete:
            return error
        lacks = "completing its response" if self._has_started else "starting a response"
        return ResponseIncomplete(f"the application has returned without {lacks} to {self}")


@protected
class HTTPExchange(Exchange):
    """One of HTTP.

    :param body: that of the request, which is read as the application receives it
    :param length: how many bytes it has; None if that is not known
    :ivar debug: what the application says of its response, by the extension for that
    :ivar trailers: the headers after the body, as they come; None if there are to be none
    """

    def __init__(
        self, app: ASGI3App, scope: Scope, body: AsyncIterator[bytes], length: int | None
    ) -> None:
        super().__init__(app, scope)
        self._body = body
        self._length = length
        self._has_body = True  # more of it, that the application has not received
        self._ahead = b""  # of the body, and read already
        self.debug: dict[str, Any] | None = None
        self.trailers: Any = None
        self._has_sent_body = False
        self._has_no_response_body = scope["method"] == "HEAD"
        self._reading = anyio.Lock()
        self._read_scope: CancelScope | None = None

    async def receive(self) -> Any:
        if not self._disconnected.is_set():
            async with self._reading:
                if self._has_body and not self._disconnected.is_set():
                    with CancelScope() as self._read_scope:
                        return await self._read()
            await self._disconnected.wait()
        # Without a checkpoint, as servers have it: some applications look whether they are
        # disconnected with a cancel scope that is cancelled already.
        return {"type": "http.disconnect"}

    @unprotected
    async def _read(self) -> Any:
        part, self._ahead = self._ahead, b""
        try:
            if not part and self._length != 0:
                part = await self._body.__anext__()
            if self._length is not None:
                self._length = max(0, self._length - len(part))
                if self._length == 0 and part:
                    self._ahead = await self._body.__anext__()  # the header may be wrong
                self._has_body = self._length > 0 or bool(self._ahead)
        except StopAsyncIteration:
            self._has_body = False
        except Exception as exc:  # noqa: BLE001 - it is raised where the client waits
            self._disconnected.set()
            self.fail(exc)
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": part, "more_body": self._has_body}

    async def send(self, message: Any) -> None:
        kind = message["type"]
        if kind == "http.response.debug":
            self.debug = message["info"]
        elif kind == "http.response.trailers" and self.trailers is not None:
            self._take_trailers(message)
        if kind in _IGNORED:
            return
        if kind == "http.response.start" and not self._has_started:
            self._has_started = True
            self.trailers = [] if message.get("trailers") else None
        elif kind == "http.response.body" and self._has_started and not self._has_sent_body:
            self._has_sent_body = not message.get("more_body", False)
            self.is_complete = self._has_sent_body and self.trailers is None
        else:
            raise RuntimeError(f"unexpected {kind} in the response to {self}: {self._state()}")
        if kind == "http.response.body":
            if self._has_no_response_body:
                message = {"type": kind}
            elif not isinstance(message.get("body", b""), bytes):
                message = {**message, "body": bytes(message["body"])}  # it may be written to again
        await self._pass_on(message)
        if self.is_complete:
            self._disconnected.set()

    def _take_trailers(self, message: Any) -> None:
        if self.is_complete or not self._has_sent_body:
            raise RuntimeError(f"unexpected trailers in the response to {self}: {self._state()}")
        self.trailers += message.get("headers") or ()
        if not message.get("more_trailers", False):
            self.is_complete = True
            self._disconnected.set()

    def disconnect(self) -> None:
        super().disconnect()
        if self._read_scope is not None:
            self._read_scope.cancel()

    def _state(self) -> str:
        if self.is_complete:
            return "it is complete"
        return "its body is sent" if self._has_started else "it has not been started"
