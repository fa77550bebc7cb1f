"""A request that the application handles in a task of its own, and the response to the request."""

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

# How many messages the application may send before the client reads them, as with a socket buffer.
_AHEAD = 16
# Seconds that sending a message takes if nobody receives it.
_PACE = 0.01
_IGNORED = ("http.response.push", "http.response.trailers", "http.response.debug")


class ResponseIncomplete(RuntimeError):
    """Raised if the application is cancelled, or returns before its response is complete."""


@protected
class Exchange(ABC):
    """A request and its response.

    :param app: the application for requests
    :param scope: the request's scope
    :ivar raised: the exception that the application has raised, until :meth:`take_raised` returns
        the exception
    :ivar failure: an error outside the application's response, such as a lifespan crash
    :ivar has_begun: whether the request's task has started to run
    :ivar over: an event that is set when the application has returned or raised an exception
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

    # The application's side

    async def run(self) -> None:
        """Call the application, and store the exception that it raises, if any."""
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
        """Close the application's ends of the streams, since the application has ended."""
        self._to_client.close()

    @abstractmethod
    async def receive(self) -> Any:
        """Return the next message for the application, which calls this as ``receive()``."""

    @abstractmethod
    async def send(self, message: Any) -> None:
        """Handle a message from the application, which calls this as ``send()``."""

    async def _pass_on(self, message: Any) -> None:
        try:
            try:
                # Do not yield to the event loop unless the application has to wait for the client.
                self._to_client.send_nowait(message)
            except WouldBlock:
                await self._to_client.send(message)
        except (anyio.BrokenResourceError, ClosedResourceError):
            await self._send_to_nobody()

    async def _send_to_nobody(self) -> None:
        # As on a server, sending to a client that has disconnected is not an error. Sleep, so that
        # an application that ignores the disconnect lets other tasks run and a mock clock advance.
        await sleep(_PACE)

    # The client's side

    async def next_message(self, timeout: float | None) -> Any:
        """Return the next message from the application; None if there are no more.

        :param timeout: seconds to wait; None for no limit
        :raises httpx.ReadTimeout: if no message arrives in that time
        """
        with suppress(WouldBlock):
            return self.message_at_hand()
        if timeout is None:
            return await self._next_message()
        with move_on_after(timeout):
            return await self._next_message()
        raise httpx.ReadTimeout(f"the application has sent nothing for {timeout:g} s in {self}")

    def message_at_hand(self) -> Any:
        """Return the next message without waiting; None if there are no more.

        :raises anyio.WouldBlock: if no message has arrived yet
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
        """Tell the application that the client has disconnected, and read no more messages."""
        self._disconnected.set()
        self._from_app.close()

    def fail(self, failure: Exception) -> None:
        """Record a failure, so that the client stops waiting."""
        self.failure = failure
        self._to_client.close()

    async def wait_over(self, seconds: float) -> None:
        """Wait for the application to end, for at most ``seconds`` seconds."""
        with move_on_after(seconds):
            await self.over.wait()

    def is_well(self) -> bool:
        """Return whether the response is complete and no error has occurred."""
        return self.is_complete and self.raised is None and self.failure is None

    def take_raised(self) -> BaseException | None:
        """Return the exception that the application has raised, if any, and clear it.

        The caller must raise or log the exception.
        """
        raised, self.raised = self.raised, None
        if raised is None or not is_cancellation(raised):
            return raised
        # The code that waits for the response has not been cancelled.
        broken_off = ResponseIncomplete(f"the application has been cancelled in {self}")
        broken_off.__cause__ = raised
        return broken_off

    def take_error(self) -> BaseException | None:
        """Return the error of a response that has ended, if any, for the caller to raise or log."""
        error = self.take_raised()
        if self.failure is not None:
            return self.failure
        if error is not None or self.is_complete:
            return error
        lacks = "completing its response" if self._has_started else "starting a response"
        return ResponseIncomplete(f"the application has returned without {lacks} to {self}")


@protected
class HTTPExchange(Exchange):
    """An HTTP request and its response.

    :param body: the request's body, which is read as the application receives it
    :param length: the length of the body in bytes; None if it is unknown
    :ivar debug: the information that the application sends with the ``http.response.debug``
        extension, if any
    :ivar trailers: the trailing headers, as they arrive; None if the response has no trailers
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
        # Return without a checkpoint, as servers do. Some applications check for a disconnect
        # inside a cancel scope that is already cancelled.
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
