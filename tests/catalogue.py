"""What applications do: each behaviour by its name, with its row of the table and its outcome.

The rows are those of docs/semantics.md. An application holds a resource for each of its steps, so
that it shows whether all of them were closed again, the last one first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import frameworks
from apps import (
    Boom,
    Step,
    hangs,
    in_child_task,
    raises,
    receives,
    sends,
    sleeps,
    started,
    stopped,
)

from anylifespan import (
    LifespanCrashed,
    LifespanMiddleware,
    LifespanProtocolError,
    LifespanUnsupported,
    Phase,
    ShutdownFailed,
    ShutdownTimeout,
    StartupFailed,
    StartupTimeout,
    draining,
    lifespan_of,
    with_lifespan,
)

# Seconds, all different, so that it shows which one has passed.
STARTUP_TIMEOUT = 12.0
SHUTDOWN_TIMEOUT = 14.0
BODY = 17.0
# Longer than any of the applications goes on by itself.
LONG = 100.0


class Resources:
    """What an application holds, and how it let go of it."""

    def __init__(self) -> None:
        self.held: list[str] = []
        self.mistakes: list[str] = []
        self.beside: list[Resources] = []
        self._count = 0

    @asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[None]:
        self._count += 1
        name = f"{name} (number {self._count})"
        self.held.append(name)
        try:
            yield
        finally:
            if self.held[-1] != name:
                self.mistakes.append(f"{name} was closed while {self.held} were held")
            self.held.remove(name)

    def for_another(self) -> Resources:
        """For a part that lets go of its own in an order of its own."""
        self.beside.append(Resources())
        return self.beside[-1]

    def problems(self) -> Iterator[str]:
        if self.held:
            yield f"not closed: {self.held}"
        yield from self.mistakes
        for one in self.beside:
            yield from one.problems()


Make = Callable[[Resources], Any]


@dataclass(frozen=True)
class Outcome:
    """How a lifespan ends of which nobody disturbs anything."""

    error: type[BaseException] | None
    phase: Phase
    supported: bool | None
    text: str = ""  # that is in the text of the error


@dataclass(frozen=True, repr=False)
class Behaviour:
    name: str
    row: str
    make: Make
    auto: Outcome
    on: Outcome
    backends: tuple[str, ...] = ("asyncio", "trio")
    # For how many seconds it ignores its cancellation; and what startup() and shutdown() raise,
    # which do not wait for its end, if that is something else.
    deaf: float = 0.0
    given_up: Outcome | None = None
    # Whether its lifespan is ended when the application is ended by an exception. Quart, Quart-Trio
    # and BlackSheep leave it suspended then, for the garbage collector to find.
    unwinds: bool = True

    def __repr__(self) -> str:
        return self.name

    @property
    def has_many_points(self) -> bool:
        """Whether it has so many scheduling points that to try each takes its time."""
        return self.name.startswith(("part", "middleware"))

    @property
    def modes(self) -> list[str]:
        """Those in which it comes to different ends."""
        return ["auto"] if self.auto == self.on else ["auto", "on"]

    def outcome(self, mode: str, way: str) -> Outcome:
        if self.given_up is not None and way == "startup":
            return self.given_up
        return self.auto if mode == "auto" else self.on


CATALOGUE: list[Behaviour] = []


def steps(*each: Step) -> Make:
    """An application that takes its steps, and holds a resource from each of them on."""

    def make(resources: Resources) -> Any:
        async def application(scope: Any, receive: Any, send: Any) -> None:
            assert scope["type"] == "lifespan"
            async with AsyncExitStack() as stack:
                for number, step in enumerate(each):
                    await stack.enter_async_context(resources.hold(f"resource {number}"))
                    await step(receive, send)

        return application

    return make


def add(
    name: str, row: str, make: Make, auto: Outcome, on: Outcome | None = None, **more: Any
) -> None:
    CATALOGUE.append(Behaviour(name, row, make, auto, on or auto, **more))


def boom(receive: Any, send: Any) -> Any:
    raise Boom("boom")


def caught(kind: type[Exception], step: Step) -> Step:
    async def catching(receive: Any, send: Any) -> None:
        try:
            await step(receive, send)
        except kind:
            return
        raise AssertionError(f"{kind.__name__} was not raised")

    return catching


def shielded(*each: Step) -> Step:
    async def shield(receive: Any, send: Any) -> None:
        with anyio.CancelScope(shield=True):
            for step in each:
                await step(receive, send)

    return shield


def swallows_cancellation(times: int) -> Step:
    """Hangs, and goes on hanging after each of the first cancellations."""

    async def step(receive: Any, send: Any) -> None:
        for _ in range(times):
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                continue

    return step


startup_failed = sends("lifespan.startup.failed", "no database")
shutdown_failed = sends("lifespan.shutdown.failed", "not saved")
answers_http = sends("http.response.start")

SERVED = Outcome(None, Phase.STOPPED, True)
WITHOUT = Outcome(None, Phase.STOPPED, False)
UNSUPPORTED = Outcome(LifespanUnsupported, Phase.FAILED, False, "has no lifespan")
RAISED_IN_STARTUP = Outcome(StartupFailed, Phase.FAILED, False, "Boom: boom")
START_FAILED = Outcome(StartupFailed, Phase.FAILED, True, "no database")
START_TIMED_OUT = Outcome(StartupTimeout, Phase.FAILED, None, "within 12 seconds")
START_FAILED_DEAF = Outcome(StartupTimeout, Phase.FAILED, True, "It had said: no database")
CRASHED = Outcome(LifespanCrashed, Phase.FAILED, True, "crashed while serving")
STOP_FAILED = Outcome(ShutdownFailed, Phase.FAILED, True, "not saved")
RAISED_IN_SHUTDOWN = Outcome(ShutdownFailed, Phase.FAILED, True, "Boom: boom")
STOP_TIMED_OUT = Outcome(ShutdownTimeout, Phase.FAILED, True, "within 14 seconds")


def exits(kind: type[BaseException], supported: bool | None) -> Outcome:
    return Outcome(kind, Phase.FAILED, supported)


# Before the startup is decided
add("raises_at_once", "1", steps(boom), WITHOUT, UNSUPPORTED)
add("raises_after_a_while", "1", steps(sleeps(1), boom), WITHOUT, UNSUPPORTED)
add("returns_at_once", "2", steps(), WITHOUT, UNSUPPORTED)
add("returns_on_startup", "2", steps(receives, sleeps(1)), WITHOUT, UNSUPPORTED)
add("answers_http", "3", steps(receives, answers_http), WITHOUT, UNSUPPORTED)
add(
    "answers_http_and_lingers",
    "3",
    steps(caught(LifespanProtocolError, answers_http), hangs),
    WITHOUT,
    UNSUPPORTED,
)
add(
    "answers_websocket_and_returns",
    "3",
    steps(receives, caught(LifespanProtocolError, sends("websocket.accept")), sleeps(1)),
    WITHOUT,
    UNSUPPORTED,
)
add("raises_in_startup", "4", steps(receives, boom), WITHOUT, RAISED_IN_STARTUP)
add("raises_late_in_startup", "4", steps(receives, sleeps(1), boom), WITHOUT, RAISED_IN_STARTUP)
add("fails_to_start", "6", steps(receives, startup_failed), START_FAILED)
add("fails_to_start_and_raises", "6", steps(receives, startup_failed, boom), START_FAILED)
add("fails_to_start_and_lingers", "6", steps(receives, startup_failed, hangs), START_FAILED)
add("hangs_before_it_receives", "7", steps(hangs), START_TIMED_OUT)
add("hangs_in_startup", "7", steps(receives, hangs), START_TIMED_OUT)
add("waits_for_another_event", "7", steps(receives, receives), START_TIMED_OUT)

# Serving
add("well_behaved", "5, 10", steps(receives, started, receives, stopped), SERVED)
add("slow", "5, 10", steps(receives, sleeps(1), started, receives, sleeps(1), stopped), SERVED)
add("answers_before_it_receives", "5", steps(started, receives, receives, stopped), SERVED)
add("crashes", "8", steps(receives, started, sleeps(1), boom), CRASHED)
add("crashes_right_after_startup", "8", steps(receives, started, boom), CRASHED)
add("breaks", "8", steps(receives, started, sleeps(1), shutdown_failed), CRASHED)
add("breaks_and_raises", "8", steps(receives, started, sleeps(1), shutdown_failed, boom), CRASHED)
add("breaks_and_lingers", "8", steps(receives, started, sleeps(1), shutdown_failed, hangs), CRASHED)
add("breaks_right_after_startup", "8", steps(receives, started, shutdown_failed, hangs), CRASHED)
add("returns_right_after_startup", "9", steps(receives, started), SERVED)
add("returns_while_serving", "9", steps(receives, started, sleeps(1)), SERVED)

# In shutdown
add("fails_to_stop", "11", steps(receives, started, receives, shutdown_failed), STOP_FAILED)
add(
    "fails_to_stop_and_raises",
    "11",
    steps(receives, started, receives, shutdown_failed, boom),
    STOP_FAILED,
)
add("raises_in_shutdown", "12", steps(receives, started, receives, boom), RAISED_IN_SHUTDOWN)
add(
    "raises_once_stopped",
    "12",
    steps(receives, started, receives, stopped, boom),
    RAISED_IN_SHUTDOWN,
)
add("returns_from_shutdown", "13", steps(receives, started, receives, sleeps(1)), SERVED)
add("hangs_in_shutdown", "14", steps(receives, started, receives, hangs), STOP_TIMED_OUT)
add("lingers_once_stopped", "15", steps(receives, started, receives, stopped, hangs), SERVED)
add(
    "fails_to_stop_and_lingers",
    "15",
    steps(receives, started, receives, shutdown_failed, hangs),
    STOP_FAILED,
)
add("receives_forever", "16", steps(receives, started, receives, stopped, receives), SERVED)
add(
    "receives_forever_shielded",
    "16",
    steps(receives, started, receives, stopped, shielded(receives)),
    SERVED,
)


def forwards_events(*then: Step) -> Step:
    """A child task waits for the next event meanwhile, and is cancelled in the end."""

    async def forward(receive: Any) -> None:
        while True:
            await receive()

    async def step(receive: Any, send: Any) -> None:
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(forward, receive)
            await anyio.sleep(1)
            for one in then:
                await one(receive, send)
            task_group.cancel_scope.cancel()

    return step


add(
    "cleans_up_while_it_waits_for_an_event",
    "16",
    steps(receives, started, receives, forwards_events(stopped, sleeps(2))),
    SERVED,
)
add(
    "cleans_up_after_its_failure_while_it_waits_for_an_event",
    "16",
    steps(receives, forwards_events(startup_failed, sleeps(2))),
    START_FAILED,
)
add(
    "lingers_while_it_waits_for_an_event",
    "15",
    steps(receives, started, receives, forwards_events(stopped, hangs)),
    SERVED,
)

# Mistakes
add(
    "sends_nonsense",
    "17",
    steps(receives, sends("lifespan.nonsense")),
    WITHOUT,
    Outcome(StartupFailed, Phase.FAILED, False, "lifespan.nonsense"),
)
add(
    "starts_twice",
    "17",
    steps(receives, started, caught(LifespanProtocolError, started), receives, stopped),
    SERVED,
)
add("starts_twice_and_dies", "17", steps(receives, started, started), CRASHED)
add(
    "stops_unasked",
    "17",
    steps(receives, caught(LifespanProtocolError, stopped), started, receives, stopped),
    SERVED,
)
add(
    "stops_twice",
    "17",
    steps(receives, started, receives, stopped, caught(LifespanProtocolError, stopped)),
    SERVED,
)

# In tasks of its own
add(
    "starts_and_stops_in_child_tasks",
    "18",
    steps(in_child_task(receives, started), in_child_task(receives, stopped)),
    SERVED,
)
add(
    "runs_in_a_child_task", "18", steps(in_child_task(receives, started, receives, stopped)), SERVED
)
add(
    "child_task_crashes",
    "18",
    steps(receives, started, in_child_task(sleeps(1), boom)),
    CRASHED,
)
add(
    "child_task_raises_in_startup",
    "18",
    steps(receives, in_child_task(sleeps(1), boom)),
    WITHOUT,
    RAISED_IN_STARTUP,
)

# Deaf to its cancellation, for longer than the longest patience (5 s) and not for a multiple of it
add(
    "deaf_in_startup",
    "19",
    steps(receives, shielded(sleeps(STARTUP_TIMEOUT + 8))),
    START_TIMED_OUT,
    deaf=8,
)
add(
    "deaf_once_it_failed_to_start",
    "19",
    steps(receives, startup_failed, shielded(sleeps(5 + 8))),
    START_FAILED,
    deaf=8,
    given_up=START_FAILED_DEAF,
)
add(
    "deaf_in_shutdown",
    "19",
    steps(receives, started, receives, shielded(sleeps(SHUTDOWN_TIMEOUT + 8))),
    STOP_TIMED_OUT,
    deaf=8,
)
add(
    "swallows_cancellation_in_startup",
    "19",
    steps(receives, swallows_cancellation(3)),
    START_TIMED_OUT,
)
add(
    "swallows_cancellation_in_shutdown",
    "19",
    steps(receives, started, receives, swallows_cancellation(3)),
    STOP_TIMED_OUT,
)

add(
    "deaf_and_raises_in_the_end",
    "19",
    steps(receives, started, receives, shielded(sleeps(SHUTDOWN_TIMEOUT + 8)), boom),
    STOP_TIMED_OUT,
    deaf=8,
)


# Hostile: what it raises, and what it consists of, cannot be described
class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


UNPRINTABLE = "Unprintable: (its __str__() raises an exception)"


def unprintable(receive: Any, send: Any) -> Any:
    raise Unprintable


def in_an_odd_module(*each: Step) -> Make:
    """Code that was put together by hand, in a module without a proper name."""

    def make(resources: Resources) -> Any:
        module: dict[str, Any] = {"__name__": object(), "app": steps(*each)(resources)}
        exec("async def odd(scope, receive, send):\n    await app(scope, receive, send)", module)
        return module["odd"]

    return make


add(
    "raises_the_unprintable",
    "4",
    steps(receives, unprintable),
    WITHOUT,
    Outcome(StartupFailed, Phase.FAILED, False, UNPRINTABLE),
)
add(
    "crashes_with_the_unprintable",
    "8",
    steps(receives, started, sleeps(1), unprintable),
    Outcome(LifespanCrashed, Phase.FAILED, True, UNPRINTABLE),
)
add(
    "fails_to_stop_with_the_unprintable",
    "12",
    steps(receives, started, receives, unprintable),
    Outcome(ShutdownFailed, Phase.FAILED, True, UNPRINTABLE),
)
add("hangs_in_an_odd_module", "7", in_an_odd_module(receives, hangs), START_TIMED_OUT)

# Ends the process
add(
    "exits_in_startup",
    "20",
    steps(receives, sleeps(1), raises(SystemExit(3))),
    exits(SystemExit, None),
)
add(
    "exits_in_shutdown",
    "20",
    steps(receives, started, receives, sleeps(1), raises(SystemExit(3))),
    exits(SystemExit, True),
)
add(
    "interrupted_while_serving",
    "20",
    steps(receives, started, sleeps(1), raises(KeyboardInterrupt())),
    exits(KeyboardInterrupt, True),
)


def asgi2(*each: Step) -> Make:
    def make(resources: Resources) -> Any:
        application = steps(*each)(resources)

        class Application:
            def __init__(self, scope: Any) -> None:
                self.scope = scope

            async def __call__(self, receive: Any, send: Any) -> None:
                await application(self.scope, receive, send)

        return Application

    return make


add("asgi2_well_behaved", "5, 10", asgi2(receives, started, receives, stopped), SERVED)
add("asgi2_crashes", "8", asgi2(receives, started, sleeps(1), boom), CRASHED)


# Made of parts, each with a lifespan of its own
def parts(*each: Make, concurrent: bool = False) -> Make:
    """An application with the lifespans of these parts."""

    def make(resources: Resources) -> Any:
        apps = [one(resources.for_another()) for one in each]
        lifespans = lifespan_of(*apps, concurrent=concurrent, shutdown_timeout=None)
        main = steps(receives, started, receives, stopped)(resources)
        return with_lifespan(main, lifespans, shutdown_timeout=None)

    return make


good_part = steps(receives, started, receives, stopped)
for concurrent, at_once in ((False, "one_by_one"), (True, "at_once")):
    add(f"parts_{at_once}", "5, 10", parts(good_part, good_part, concurrent=concurrent), SERVED)
    add(
        f"part_crashes_{at_once}",
        "8",
        parts(steps(receives, started, sleeps(1), boom), good_part, concurrent=concurrent),
        CRASHED,
    )
    add(
        f"part_fails_to_start_{at_once}",
        "6",
        parts(good_part, steps(receives, startup_failed), concurrent=concurrent),
        START_FAILED,
    )
    add(
        f"part_raises_in_startup_{at_once}",
        "4",
        parts(good_part, steps(receives, boom), concurrent=concurrent),
        SERVED,
        Outcome(StartupFailed, Phase.FAILED, True, "Boom: boom"),
    )
    add(
        f"part_has_no_lifespan_{at_once}",
        "1",
        parts(good_part, steps(boom), concurrent=concurrent),
        SERVED,
    )
    add(
        f"part_hangs_in_shutdown_{at_once}",
        "14",
        parts(steps(receives, started, receives, hangs), good_part, concurrent=concurrent),
        STOP_TIMED_OUT,
    )
    add(
        f"part_exits_in_startup_{at_once}",
        "20",
        parts(good_part, steps(receives, raises(SystemExit(3))), concurrent=concurrent),
        exits(SystemExit, None),
    )
    add(
        f"part_exits_in_shutdown_{at_once}",
        "20",
        parts(
            good_part,
            steps(receives, started, receives, sleeps(1), raises(SystemExit(3))),
            concurrent=concurrent,
        ),
        exits(SystemExit, True),
    )
    add(
        f"part_is_interrupted_while_serving_{at_once}",
        "20",
        parts(
            good_part,
            steps(receives, started, sleeps(1), raises(KeyboardInterrupt())),
            concurrent=concurrent,
        ),
        exits(KeyboardInterrupt, True),
    )


add(
    "says_that_it_stopped_unasked",
    "22, 10",
    steps(receives, started, sleeps(1), sends("lifespan.shutdown.complete"), receives, stopped),
    SERVED,
)


def in_middleware(app: Make, on_crash: Any = "log") -> Make:
    return lambda resources: LifespanMiddleware(
        app(resources), startup_timeout=None, shutdown_timeout=None, on_crash=on_crash
    )


def with_open_requests(app: Make, on_crash: Any = "log") -> Make:
    """Under a server that has requests open when it is asked to stop, which are drained."""

    def make(resources: Resources) -> Any:
        lifespan = app(resources)

        async def serve(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":
                await lifespan(scope, receive, send)
                return
            async with resources.for_another().hold(f"request {scope['path']}"):
                await REQUESTS[scope["path"]](scope, receive)

        middleware = LifespanMiddleware(
            serve, startup_timeout=None, shutdown_timeout=None, drain_timeout=1, on_crash=on_crash
        )

        async def ask(path: str) -> None:
            await middleware({"type": "http", "path": path}, client_stays, ignores)

        async def server(scope: Any, receive: Any, send: Any) -> None:
            async with anyio.create_task_group() as clients:

                async def send_and_ask(message: Any) -> None:
                    await send(message)
                    if message["type"] == "lifespan.startup.complete":
                        for path in REQUESTS:
                            clients.start_soon(ask, path)

                await middleware(scope, receive, send_and_ask)

        return server

    return make


async def client_stays() -> Any:
    await anyio.sleep_forever()


async def ignores(message: Any) -> None:
    pass


async def until_the_server_stops(scope: Any, receive: Any) -> None:
    await draining(scope).wait()


async def until_it_is_disconnected(scope: Any, receive: Any) -> None:
    await receive()


async def until_it_is_cancelled(scope: Any, receive: Any) -> None:
    await anyio.sleep_forever()


async def for_as_long_as_it_likes(scope: Any, receive: Any) -> None:
    await draining(scope).wait()
    with anyio.CancelScope(shield=True):
        await anyio.sleep(3)


REQUESTS = {
    f"/{function.__name__}": function
    for function in (
        until_the_server_stops,
        until_it_is_disconnected,
        until_it_is_cancelled,
        for_as_long_as_it_likes,
    )
}


add("middleware", "5, 10", in_middleware(good_part), SERVED)
add("middleware_drains", "5, 10", with_open_requests(good_part), SERVED)
add(
    "middleware_fails_to_start",
    "6",
    in_middleware(steps(receives, startup_failed)),
    START_FAILED,
)
add(
    "middleware_fails_to_stop",
    "11",
    in_middleware(steps(receives, started, receives, shutdown_failed)),
    STOP_FAILED,
)

add(
    "middleware_crashes",
    "8",
    in_middleware(steps(receives, started, sleeps(1), boom), "terminate"),
    CRASHED,
)
add(
    "middleware_crashes_with_open_requests",
    "8",
    with_open_requests(steps(receives, started, sleeps(1), boom), "terminate"),
    CRASHED,
)


# Frameworks, as released
def lifespan(resources: Resources, fails_in: str = "") -> frameworks.Lifespan:
    """A lifespan that holds something, and fails in one of its phases."""

    @asynccontextmanager
    async def context(app: Any) -> AsyncIterator[None]:
        async with resources.hold("database"), AsyncExitStack() as stack:
            await anyio.sleep(1)
            if fails_in == "startup":
                raise Boom("boom")
            if fails_in == "serving":
                task_group = await stack.enter_async_context(anyio.create_task_group())
                task_group.start_soon(dies)
            async with resources.hold("cache"):
                yield
            await anyio.sleep(1)
            if fails_in == "shutdown":
                raise Boom("boom")

    return context


async def dies() -> None:
    await anyio.sleep(1)
    raise Boom("boom")


def in_framework(build: Callable[[frameworks.Lifespan], Any], fails_in: str = "") -> Make:
    return lambda resources: build(lifespan(resources, fails_in))


for build, backends in (
    (frameworks.starlette, ("asyncio", "trio")),
    (frameworks.fastapi, ("asyncio", "trio")),
    (frameworks.litestar, ("asyncio", "trio")),
    (frameworks.quart, ("asyncio",)),
    (frameworks.quart_trio, ("trio",)),
    (frameworks.blacksheep, ("asyncio",)),
):
    name = build.__name__
    more = {
        "backends": backends,
        "unwinds": build in (frameworks.starlette, frameworks.fastapi, frameworks.litestar),
    }
    # BlackSheep logs why it does not start, and tells the server nothing.
    reason = "no reason given" if build is frameworks.blacksheep else "boom"
    add(name, "5, 10", in_framework(build), SERVED, **more)
    add(
        f"{name}_fails_to_start",
        "6",
        in_framework(build, "startup"),
        Outcome(StartupFailed, Phase.FAILED, True, reason),
        **more,
    )
    add(
        f"{name}_fails_to_stop",
        "12" if build is frameworks.blacksheep else "11",
        in_framework(build, "shutdown"),
        Outcome(ShutdownFailed, Phase.FAILED, True, "boom"),
        **more,
    )

for build in (frameworks.starlette, frameworks.fastapi, frameworks.litestar):
    add(f"{build.__name__}_task_group_dies", "8", in_framework(build, "serving"), CRASHED)
add(
    "quart_trio_task_group_dies",
    "8",
    lambda resources: frameworks.quart_trio_with_a_task(dies),
    CRASHED,
    backends=("trio",),
)
add("django", "1", lambda resources: frameworks.django(), WITHOUT, UNSUPPORTED)
