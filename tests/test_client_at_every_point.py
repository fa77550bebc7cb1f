"""``asgi_client`` is disturbed at each of its scheduling points, with streams and a WebSocket open.

After that no request runs any more, each has ended before the shutdown, nothing is left open, and
nothing has got lost; in the usual order of tasks, and in orders that depend on a seed.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
import trio
from anyio.lowlevel import checkpoint
from apps import Boom
from clocks import CLOSING, run_on
from leftovers import collected_garbage, complaints, generators, still_open, threads_and_descriptors
from points import ASLEEP, AWAKE, BEING_WOKEN, Points
from trials import _interrupt

from anylifespan.testing import asgi_client

pytest.importorskip("httpx2.websockets", exc_type=ImportError)  # since 2.9

pytestmark = [pytest.mark.exhaustible, pytest.mark.usefixtures("tidy")]

START = {"type": "http.response.start", "status": 200, "headers": []}
DRAIN_TIMEOUT = 1.0
# Seconds that a session takes at the most: two for its body, and the drain of each of the three
# requests that it leaves, and of those that are left then.
LIMIT = 2 + 4 * DRAIN_TIMEOUT + 0.1
CANCELLATIONS = {
    "asyncio": [
        ("cancel scope", ASLEEP),
        ("cancel scope", BEING_WOKEN),
        ("cancel task", ASLEEP),
        ("cancel task", BEING_WOKEN),
    ],
    "trio": [
        ("cancel scope", ASLEEP),
        ("cancel scope", AWAKE),
        ("Ctrl-C", ASLEEP),
        ("Ctrl-C", AWAKE),
    ],
}
REQUESTS = ["lifespan", "/stream", "/deaf", "/socket", "/"]


@dataclass
class Session:
    """A test with a client, and what was seen of it.

    :ivar whom: who is struck: "caller", or the application in one of its calls
    :ivar point: at which of its scheduling points
    :ivar seed: of the order of tasks, and of when another task cancels the caller
    """

    backend: str
    whom: str
    what: str
    point: int
    moment: str
    seed: int | None = None
    fired: bool = False
    cancelled: bool = False
    history: list[str] = field(default_factory=list)
    logged: list[object] = field(default_factory=list)
    error: BaseException | None = None
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    def points_of(self, whom: str) -> Points:
        at = self.point if whom == self.whom else 0
        return Points(at, self.moment, self.strike, tell=lambda: None)

    def strike(self) -> BaseException | None:
        if self.over:
            return None
        self.fired = True
        if self.what == "raise":
            return Boom(self.whom)
        if self.what == "cancel scope":
            self.scope.cancel()
        elif self.what == "cancel task":
            self.task.cancel()
        else:
            _interrupt()
        return None

    # The application

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        name = scope.get("path", "lifespan")
        call = {"lifespan": self.lifespan, "/": self.slow, "/socket": self.echo}.get(
            name, self.endless
        )
        self.history.append(f"began {name}")
        try:
            await self.points_of(name).through(call(receive, send, name))
        finally:
            self.history.append(f"ended {name}")

    async def lifespan(self, receive: Any, send: Any, name: str) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.history.append("shuts down")
        await send({"type": "lifespan.shutdown.complete"})

    async def slow(self, receive: Any, send: Any, name: str) -> None:
        await send(START)
        await anyio.sleep(0.5)
        await send({"type": "http.response.body", "body": b"hello"})

    async def endless(self, receive: Any, send: Any, name: str) -> None:
        """A stream that ends when its client leaves, or one that is deaf to that."""
        await send(START)
        async with anyio.create_task_group() as task_group:

            async def listen() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                if name != "/deaf":
                    task_group.cancel_scope.cancel()

            task_group.start_soon(listen)
            while True:
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
                await anyio.sleep(0.1)

    async def echo(self, receive: Any, send: Any, name: str) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})

    # The test

    async def test(self) -> None:
        client: Any
        async with asgi_client(
            self.app,
            leaks="off",
            drain_timeout=DRAIN_TIMEOUT,
            logger=_Logger(self.logged),
        ) as client:
            async with (
                client.stream("GET", "/stream") as stream,
                client.stream("GET", "/deaf"),
                client.websocket("/socket") as websocket,
                aclosing(stream.aiter_raw()) as parts,
            ):
                assert await anext(parts) == b"x"
                await websocket.send_text("hello")
                assert await websocket.receive_text() == "hello"
                assert (await client.get("/")).text == "hello"
                await anyio.sleep(0.5)
                assert await anext(parts) == b"x"

    async def main(self) -> None:
        bystanders = {task.id for task in anyio.get_running_tasks()}
        self.over = False
        if self.backend != "trio":
            self.task = asyncio.current_task()
        with generators() as begun:
            began_at = anyio.current_time()
            async with anyio.create_task_group() as company:
                if self.seed is not None and self.whom == "another":
                    company.start_soon(self.cancel_somewhen, random.Random(self.seed))
                await self.call()
                company.cancel_scope.cancel()
            self.seconds = anyio.current_time() - began_at
            if self.backend == "trio":
                await anyio.wait_all_tasks_blocked()
            for one in anyio.get_running_tasks():
                if one.id not in bystanders and one.name != CLOSING:
                    self.problems.append(f"a task was left: {one}")
            self.problems += [f"a generator was left: {one}" for one in still_open(begun)]

    async def cancel_somewhen(self, chance: random.Random) -> None:
        await anyio.sleep(chance.choice([0, 0.1, 0.5, 1.0, 1.5]))
        for _ in range(chance.randrange(8)):
            await checkpoint()
        self.strike()

    async def call(self) -> None:
        with anyio.CancelScope() as self.scope:
            try:
                await self.points_of("caller").through(self.test())
            except BaseException as exc:
                self.error = exc
            self.over = True
            try:
                for _ in range(3):
                    await checkpoint()
            except KeyboardInterrupt as exc:
                self.error = exc
        self.cancelled = self.scope.cancelled_caught

    # The verdict

    def run(self) -> None:
        with (
            threads_and_descriptors(self.problems),
            complaints(self.problems) as complain,
            collected_garbage(),
        ):
            try:
                run_on(self.backend, self.main, seed=self.seed, complain=complain)
            except BaseException as exc:
                self.error = exc
        self.problems += self.wrong()
        assert not self.problems, "\n".join(
            ["", f"{self}", *self.problems, f"raised: {self.error!r}", f"after {self.seconds} s"]
        )

    def wrong(self) -> Iterator[str]:
        began = [one[6:] for one in self.history if one.startswith("began ")]
        ended = [one[6:] for one in self.history if one.startswith("ended ")]
        if sorted(began) != sorted(ended):
            yield f"what began and what ended: {began}, {ended}"
        if "shuts down" in self.history:
            later = self.history[self.history.index("shuts down") :]
            if later[1:] != ["ended lifespan"]:
                yield f"after the shutdown had begun: {later}"
        elif self.whom != "lifespan" and "began lifespan" in began:
            in_startup = self.history == ["began lifespan", "ended lifespan"]
            if not (self.whom in ("caller", "another") and in_startup):
                yield "it was not shut down"
        if self.seconds > LIMIT:
            yield f"it took {self.seconds} seconds"
        seen = list(_all_of([self.error, *self.logged]))
        kinds = {
            "raise": Boom,
            "Ctrl-C": KeyboardInterrupt,
            "cancel task": asyncio.CancelledError,
            "cancel scope": (asyncio.CancelledError, trio.Cancelled),
        }
        if not self.fired:
            if self.error is not None:
                yield "nothing was to be raised"
        elif not any(isinstance(one, kinds[self.what]) for one in seen) and not self.cancelled:
            yield f"what was done got lost: {self.what}"


def _all_of(errors: list[Any]) -> Iterator[BaseException]:
    """Those, and all that led to them, or is in a group with others."""
    left = [error for error in errors if isinstance(error, BaseException)]
    seen: set[int] = set()
    while left:
        error = left.pop()
        if id(error) not in seen:
            seen.add(id(error))
            yield error
            more = (error.__cause__, error.__context__, *getattr(error, "exceptions", ()))
            left += [one for one in more if one is not None]


class _Logger(logging.Logger):
    def __init__(self, logged: list[object]) -> None:
        super().__init__("sessions", logging.DEBUG)
        self._logged = logged

    def handle(self, record: logging.LogRecord) -> None:
        self._logged.append(record.exc_info[1] if record.exc_info else record.getMessage())


@pytest.mark.parametrize(
    ("backend", "what", "moment"),
    [(backend, *one) for backend, some in CANCELLATIONS.items() for one in some],
)
def test_the_test_is_cancelled(
    backend: str, what: str, moment: str, figures: dict[str, int]
) -> None:
    for point in itertools.count(1):
        session = Session(backend, "caller", what, point, moment)
        session.run()
        if not session.fired:
            break
        figures["cancelled clients"] += 1
    assert point > 20


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("whom", REQUESTS)
def test_the_application_raises(backend: str, whom: str, figures: dict[str, int]) -> None:
    for point in itertools.count(1):
        session = Session(backend, whom, "raise", point, AWAKE)
        session.run()
        if not session.fired:
            break
        figures["requests that raise"] += 1
    assert point > 1


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_any_order(backend: str, request: pytest.FixtureRequest, figures: dict[str, int]) -> None:
    for seed in range(200 if request.config.getoption("--exhaustive") else 20):
        whom = "another" if seed % 2 else "nobody"
        Session(backend, whom, "cancel scope", 0, "", seed).run()
        figures["schedules of clients"] += 1
