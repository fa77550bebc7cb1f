"""Many requests of each kind, and what has become of every one of them when the server stops."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable

import anyio
import anyio.to_thread
import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from anylifespan.conformance._server import Server

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

# How many requests are under way at the stop.
SLOW, STREAMS, WEBSOCKETS = 10, 5, 5
LIMIT = 20.0  # seconds for each
# Seconds that endless ones have when all is over: a server that has not stopped never ends them.
AFTERWARDS = 2.0


def all_ended(package: str) -> dict[str, int]:
    """Return what becomes of those requests if none is lost.

    :param package: of the server: Granian closes WebSockets without a code
    """
    closed = "broken off" if package == "granian" else "closed (1012)"
    return {
        "slow request: 200": SLOW,
        "stream: ended": STREAMS,
        f"WebSocket: {closed}": WEBSOCKETS,
    }


def quick_requests(counted: Counter[str]) -> Counter[str]:
    """Return only the requests that came meanwhile."""
    return Counter({what: count for what, count in counted.items() if what.startswith("quick")})


def _first_of(raised: BaseException) -> BaseException:
    return _first_of(raised.exceptions[0]) if isinstance(raised, BaseExceptionGroup) else raised


class Load:
    """Requests to a server, all of them counted.

    :ivar counted: by their kind and by what has become of them
    """

    def __init__(self, server: Server) -> None:
        self.counted: Counter[str] = Counter()
        self._server = server
        self._goes_on = True
        self._under_way = 0
        self._all_under_way = anyio.Event()
        self._endless: anyio.CancelScope

    def across(self, act: Callable[[], object]) -> None:
        """Have requests under way, and go on with others, while this is done.

        :param act: is called in a thread, when all of them are under way
        """
        try:
            anyio.run(self._across, act)
        except BaseExceptionGroup as exc:
            raise _first_of(exc) from None  # all WebSockets may be refused alike

    async def _across(self, act: Callable[[], object]) -> None:
        async with anyio.create_task_group() as requests:
            requests.start_soon(self._until_afterwards)
            with anyio.fail_after(LIMIT):
                await self._all_under_way.wait()
            for _ in range(SLOW):
                requests.start_soon(self._slow)
            await anyio.to_thread.run_sync(self._wait_for_slow_requests)
            requests.start_soon(self._one_after_another)
            try:
                await anyio.to_thread.run_sync(act)
            finally:
                self._goes_on = False
            self._endless.deadline = anyio.current_time() + AFTERWARDS

    def _wait_for_slow_requests(self) -> None:
        self._server.wait_until(lambda: len(self._server.noted("request", path="/slow")) >= SLOW)

    async def _until_afterwards(self) -> None:
        with anyio.CancelScope() as self._endless:
            async with anyio.create_task_group() as endless:
                for _ in range(STREAMS):
                    endless.start_soon(self._stream)
                for _ in range(WEBSOCKETS):
                    endless.start_soon(self._websocket)

    def _is_under_way(self) -> None:
        self._under_way += 1
        if self._under_way == STREAMS + WEBSOCKETS:
            self._all_under_way.set()

    async def _slow(self) -> None:
        async with self._client() as client:
            await self._get(client, "/slow", "slow request")

    async def _one_after_another(self) -> None:
        while self._goes_on:
            async with self._client() as client:
                await self._get(client, "/quick", "quick request")
            await anyio.sleep(0.01)

    async def _get(self, client: httpx.AsyncClient, path: str, kind: str) -> None:
        try:
            response = await client.get(path, headers={"connection": "close"})
        except httpx.HTTPError:
            # It may not have come to the application at all.
            self._count(kind, "not answered")
        else:
            self._count(kind, f"{response.status_code}")

    async def _stream(self) -> None:
        async with self._client() as client:
            try:
                async with client.stream("GET", "/stream") as response:
                    chunks = response.aiter_raw()
                    await anext(chunks)
                    self._is_under_way()
                    async for _ in chunks:
                        pass
            except httpx.HTTPError:
                self._count("stream", "broken off")
            except anyio.get_cancelled_exc_class():
                self._count("stream", "left open")
                raise
            else:
                self._count("stream", "ended")

    async def _websocket(self) -> None:
        async with connect(f"ws://127.0.0.1:{self._server.port}/", proxy=None) as socket:
            await socket.recv()
            self._is_under_way()
            try:
                await socket.recv()
            except ConnectionClosed as exc:
                code = exc.rcvd.code if exc.rcvd is not None else None
                self._count("WebSocket", f"closed ({code})" if code else "broken off")
            except anyio.get_cancelled_exc_class():
                self._count("WebSocket", "left open")
                raise

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self._server.port}", timeout=LIMIT)

    def _count(self, kind: str, outcome: str) -> None:
        self.counted[f"{kind}: {outcome}"] += 1
