"""An application that a driver runs in this process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from anyio import move_on_after, sleep

from ._application import TICK
from ._record import Record

Driver = Callable[[Any], AbstractAsyncContextManager[Any]]
# A function that runs inside the driver's block.
Body = Callable[["Driven"], Awaitable[None]]
Cancel = Callable[[], None]
# The flags "go", "stop" and "answer" are treated as set after this many checks of any flag.
_LOOKS = 20


class Memory:
    """The notes and flags of an application that runs in this process."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._flags: set[str] = set()
        self._looks = 0

    def note(self, what: str, **details: Any) -> None:
        self._record.notes.append({"what": what, **details})

    def set(self, flag: str) -> None:
        self._flags.add(flag)

    def is_set(self, flag: str) -> bool:
        self._looks += 1
        waited = flag in ("go", "stop", "answer") and self._looks > _LOOKS
        return waited or flag in self._flags

    def take(self, flag: str) -> bool:
        taken = flag in self._flags
        self._flags.discard(flag)
        return taken


class Driven:
    """The application that is running inside the driver's block.

    :param running: the object that the driver has yielded, with ``app`` and ``state``
    :ivar cancel: a function that cancels the code that has entered the driver
    :ivar patience: seconds to wait for the application to note something
    """

    def __init__(
        self, running: Any, memory: Memory, record: Record, patience: float, cancel: Cancel
    ) -> None:
        self.record = record
        self.patience = patience
        self.cancel = cancel
        self._running = running
        self._memory = memory
        self._port = 50000

    def set(self, flag: str) -> None:
        self._memory.set(flag)

    async def wait_noted(self, what: str) -> None:
        with move_on_after(self.patience):
            while not self.record.noted(what):  # noqa: ASYNC110 - there is no event
                await sleep(TICK)

    async def get(self, *paths: str) -> None:
        self._port += 1  # another connection
        for path in paths:
            statuses: list[int] = []

            async def send(message: Any, statuses: list[int] = statuses) -> None:
                if message["type"] == "http.response.start":
                    statuses.append(message["status"])

            await self._running.app(self._scope(path), _nothing_more, send)
            self.record.answers[path] = statuses[0] if statuses else None

    async def websocket(self, path: str) -> None:
        events = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}]

        async def receive() -> Any:
            return events.pop(0)

        async def send(message: Any) -> None:
            pass

        self._port += 1
        scope = {**self._scope(path), "type": "websocket", "scheme": "ws"}
        await self._running.app(scope, receive, send)

    def _scope(self, path: str) -> dict[str, Any]:
        return {**_SCOPE, "path": path, "client": ("127.0.0.1", self._port)}


_SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "query_string": b"",
    "headers": [],
    "server": ("127.0.0.1", 8000),
}


async def _nothing_more() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}
