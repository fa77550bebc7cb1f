"""A transport for requests from synchronous code to an application in another thread."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

from anyio import to_thread

from .._portal import BlockedError
from .._stop.drain import time_to_close
from ..errors import LifespanCrashed
from ..from_thread import BlockingLifespan
from ._httpx import httpx
from ._transport import DRAIN_TIMEOUT, ASGITransport, Body


class ASGISyncTransport(httpx.BaseTransport):
    """Sends a ``Client``'s requests to an application that runs in another thread::

        with start_blocking_lifespan(app) as lifespan:
            transport = ASGISyncTransport(lifespan)
            with httpx2.Client(transport=transport, base_url="http://test") as client:
                ...

    This is the synchronous version of :class:`ASGITransport`. If the lifespan crashes, every call
    that is waiting for the application raises LifespanCrashed.

    :param lifespan: the application's lifespan
    :ivar is_closed: whether the transport has been closed since its last request

    The other parameters are the same as for :class:`ASGITransport`.
    """

    def __init__(
        self,
        lifespan: BlockingLifespan,
        raise_app_exceptions: bool = True,
        root_path: str = "",
        client: tuple[str, int] = ("127.0.0.1", 123),
        *,
        drain_timeout: float | None = DRAIN_TIMEOUT,
        logger: logging.Logger | None = None,
    ) -> None:
        self.lifespan = lifespan
        self.is_closed = False
        self._transport = ASGITransport(
            lifespan.app,
            raise_app_exceptions,
            root_path,
            client,
            drain_timeout=drain_timeout,
            logger=logger,
            lifespan=lifespan.manager,
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request.

        :return: the response, as soon as the application has started it
        :raises httpx.ReadTimeout: if the response does not start within the request's read timeout
        :raises LifespanCrashed: if the lifespan has crashed, or crashes while the request waits
        :raises RuntimeError: if the application returns without a response
        """
        self.is_closed = False
        return self.lifespan.call(self._begin, request)

    def close(self) -> None:
        """End all requests that are still running, as :meth:`ASGITransport.aclose` does."""
        if not self.is_closed:
            limit = time_to_close(self._transport._drain_timeout)
            with suppress(BlockedError):  # which the shutdown is going to raise
                self.lifespan._run(self._transport.aclose, limit=limit)
            self.is_closed = True

    async def _begin(self, request: httpx.Request) -> httpx.Response:
        if not isinstance(request.stream, httpx.AsyncByteStream):
            request = httpx.Request(
                request.method,
                request.url,
                headers=request.headers,
                stream=_RequestBody(request.stream),
                extensions=request.extensions,
            )
        response = await self._transport.handle_async_request(request)
        if response.is_closed:
            return response
        stream: Any = response.stream
        body = _ResponseBody(self, stream)
        extensions = dict(response.extensions)
        if "network_stream" in extensions:
            network = extensions["network_stream"]
            extensions["network_stream"] = _NetworkStream(self.lifespan, network)
        else:
            body.read_ahead()
        copy = httpx.Response(
            response.status_code, headers=response.headers, stream=body, extensions=extensions
        )
        vars(copy).update(extensions.get("http.response.debug", {}))
        return copy


class _RequestBody(httpx.AsyncByteStream):
    """A synchronous request's body, which is read in a worker thread."""

    def __init__(self, body: Any) -> None:
        self._parts = iter(body)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        part: bytes | None = await to_thread.run_sync(
            next, self._parts, None, abandon_on_cancel=True
        )
        if part is None:
            raise StopAsyncIteration
        return part


class _ResponseBody(httpx.SyncByteStream):
    """A response's body, streamed as the application sends it."""

    def __init__(self, transport: ASGISyncTransport, body: Body) -> None:
        self._transport = transport
        self._body = body
        self._read: list[bytes] = []
        self._is_complete = False

    def read_ahead(self) -> None:
        """Read the parts of the body that the application has already sent.

        Call this in the event loop. Most responses are complete by then, and reading them here
        avoids switching between the two threads.
        """
        self._read, self._is_complete = self._body.at_hand()

    def __iter__(self) -> Iterator[bytes]:
        yield from self._read
        while not self._is_complete:
            part = self._transport.lifespan.call(self._next)
            if part is None:
                break
            yield part

    def close(self) -> None:
        if not self._is_complete and not self._transport.is_closed:
            self._transport.lifespan._run(self._body.aclose)

    async def _next(self) -> bytes | None:
        async for part in self._body:
            return part
        return None


class _NetworkStream:
    """The server's side of a connection, for a WebSocket client in another thread.

    It replaces httpcore's stream in ``response.extensions["network_stream"]``.
    """

    def __init__(self, lifespan: BlockingLifespan, stream: Any) -> None:
        self._lifespan = lifespan
        self._stream = stream

    def get_extra_info(self, info: str) -> Any:
        """Return None, since there is no socket."""

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return the next frame for the client, or its first ``max_bytes`` bytes if it is longer.

        :return: no bytes if the connection has ended, or the lifespan has crashed
        """
        try:
            frames: bytes = self._lifespan.call(self._stream.read, max_bytes, timeout)
        except LifespanCrashed:
            frames = b""  # the crash is raised by the client's websocket(); this is like a network
        return frames

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send frames to the application."""
        with suppress(LifespanCrashed):  # as with a network, the client learns of it as it reads
            self._lifespan.call(self._stream.write, buffer, timeout)

    def close(self) -> None:
        """Disconnect from the application, and wait for the application to end the WebSocket."""
        self._lifespan._run(self._stream.aclose)
