"""Where the time has gone: what was put in comes out, by lines, in real time."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread
from test_cli import check, line_of

from anylifespan import LifespanManager
from anylifespan._core.log import Log
from anylifespan._diagnosis import sampler
from anylifespan._diagnosis.profile import Line, Profile
from anylifespan._diagnosis.sampler import Sample, Sampler
from anylifespan._diagnosis.watchdog import time_reported

BACKENDS: dict[str, Any] = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}
SECONDS = 0.4


@pytest.fixture(params=BACKENDS)
def run(request: pytest.FixtureRequest) -> Any:
    name, options = BACKENDS[request.param]
    return lambda main: anyio.run(main, backend=name, backend_options=options)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of many tests it takes longer to look, so that it would be done less often."""
    monkeypatch.setattr(sampler, "_SHARE", 1)


class Stopwatch:
    """How long the lines of an application have really taken."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def lap(self, name: str) -> Iterator[None]:
        began_at = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - began_at


def profiled(run: Any, startup: Any) -> tuple[dict[str, Line], list[Line], float]:
    """The lines of a startup, by their comment; all of them; and how long it took."""
    profile = Profile()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await startup()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def main() -> float:
        manager = LifespanManager(application)
        with Sampler(0.01, profile.add):
            await manager.startup()
        await manager.shutdown()
        return manager.startup_seconds or 0

    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.001)  # as the command has it
    try:
        seconds = run(main)
    finally:
        sys.setswitchinterval(interval)
    lines = {line.code.partition("  # ")[2]: line for line in profile.lines()}
    return lines, profile.lines(), seconds


NUMBERS = list(range(1000))
names: dict[str, Any] = {"NUMBERS": NUMBERS, "time": time, "__name__": "numbers_of_nobody"}
# In no file, so that its lines are not the application's.
exec(
    compile(
        """
def numbers_for(seconds):
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        yield NUMBERS
""",
        "<numbers>",
        "exec",
    ),
    names,
)
numbers_for: Any = names["numbers_for"]


def is_about(seconds: float) -> Any:
    return pytest.approx(seconds, rel=0.1, abs=0.12)


def test_waiting_and_blocking(run: Any, often: None) -> None:
    watch = Stopwatch()

    async def startup() -> None:
        with watch.lap("it waits"):
            await anyio.sleep(SECONDS)  # it waits
        with watch.lap("it sleeps"):
            time.sleep(SECONDS)  # noqa: ASYNC251  # it sleeps
        with watch.lap("it computes"):
            compute()
        with watch.lap("a thread"):
            await to_thread.run_sync(compute_in_thread)  # a thread

    def compute() -> None:
        all(map(json.dumps, numbers_for(SECONDS)))  # it computes

    def compute_in_thread() -> None:
        all(map(json.dumps, numbers_for(SECONDS)))

    lines, every, seconds = profiled(run, startup)
    assert sum(line.seconds for line in every) == is_about(seconds)
    for comment in ("it waits", "a thread"):
        assert lines[comment].waiting == is_about(watch.seconds[comment])
        assert lines[comment].blocking == is_about(0)
    assert lines["noqa: ASYNC251  # it sleeps"].blocking == is_about(watch.seconds["it sleeps"])
    assert lines["noqa: ASYNC251  # it sleeps"].waiting == 0
    assert lines["it computes"].blocking == is_about(watch.seconds["it computes"])


def test_tasks_that_wait_at_the_same_time_are_each_counted(run: Any, often: None) -> None:
    watch = Stopwatch()

    async def short() -> None:
        with watch.lap("short"):
            await anyio.sleep(SECONDS)  # short

    async def long() -> None:
        with watch.lap("long"):
            await anyio.sleep(2 * SECONDS)  # long

    async def startup() -> None:
        async with anyio.create_task_group() as task_group:  # both
            task_group.start_soon(short)
            task_group.start_soon(long)

    lines, _, seconds = profiled(run, startup)
    for comment in ("short", "long"):
        assert lines[comment].waiting == is_about(watch.seconds[comment])
    assert lines["both"].waiting == is_about(seconds)


def test_what_runs_in_many_small_steps_blocks(run: Any, often: None) -> None:
    async def startup() -> None:
        for _ in range(60):
            step()
            await anyio.lowlevel.checkpoint()  # between two steps

    def step() -> None:
        all(map(json.dumps, numbers_for(0.005)))  # a step

    _, every, seconds = profiled(run, startup)
    # Where others need the processor as well, it runs a part of the time only.
    assert sum(line.blocking for line in every) > seconds / 2


def test_without_a_clock_of_what_a_thread_has_used(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows: only what is seen to run is said to block."""
    monkeypatch.delattr(time, "pthread_getcpuclockid")

    async def startup() -> None:
        await anyio.sleep(SECONDS)  # it waits

    lines, _, seconds = profiled(run, startup)
    assert lines["it waits"].waiting == is_about(seconds)


def test_the_more_it_takes_to_look_the_rarer_it_is(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    def places_waiting(coroutine: object) -> Any:
        looks.append(1)
        until = time.thread_time() + 0.005
        while time.thread_time() < until:
            pass
        return []

    monkeypatch.setattr(sampler, "places_waiting", places_waiting)

    async def startup() -> None:
        await anyio.sleep(1.2)

    profiled(run, startup)
    assert 2 <= len(looks) <= 5


def test_the_longest_comes_first_and_the_shortest_are_left_out() -> None:
    profile = Profile()
    for line, seconds in ((1, 0.002), (2, 0.006), (3, 0.00005)):
        profile.add(Sample(seconds, blocks=False, stacks=[(("main.py", line, "lifespan"),)]))
    assert [line.line for line in profile.lines()] == [2, 1]


def test_what_is_not_the_applications_is_not_blamed_on_it(run: Any) -> None:
    """A callback of the event loop that blocks it, and is of nobody who is known."""
    profile = Profile()

    async def main() -> None:
        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            namespace: dict[str, Any] = {"sleep": time.sleep, "__name__": "asyncio.made_up"}
            exec("def block(): sleep(0.5)", namespace)
            await anyio.sleep(0.1)
            namespace["block"]()
            await send({"type": "lifespan.startup.complete"})

        manager = LifespanManager(application)
        with Sampler(0.01, profile.add):
            await manager.startup()
        await manager.shutdown()

    run(main)
    assert sum(line.seconds for line in profile.lines()) < 0.3


def test_it_ends_with_the_event_loop(run: Any) -> None:
    looking = None

    async def main() -> None:
        nonlocal looking
        looking = Sampler(0.01, lambda _: None)
        looking.start()
        await anyio.sleep(0.1)

    run(main)
    assert looking is not None
    looking.join(10)
    assert not looking.is_alive()


# The line at the end of a slow startup


class Lines:
    """A logger that keeps what it is given."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, text: str, *args: object, **options: object) -> None:
        self.lines.append(text % args)


@asynccontextmanager
async def lifespan() -> AsyncIterator[None]:
    await anyio.sleep(SECONDS)  # the database
    time.sleep(SECONDS)  # noqa: ASYNC251 - the settings
    yield


async def application(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    async with lifespan():
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})


@pytest.mark.parametrize("slow", [True, False])
def test_a_slow_startup_is_summed_up(run: Any, slow: bool) -> None:
    logger = Lines()

    async def main() -> None:
        manager = LifespanManager(application)
        with time_reported("startup", 30, Log(logger), 0.2 if slow else 20):
            await manager.startup()
        await manager.shutdown()

    run(main)
    if not slow:
        assert not logger.lines
        return
    (line,) = logger.lines
    assert line.startswith("The application's startup took ")
    assert " s waiting at " in line
    assert f"{__file__}:{line_of('# the database', 'test_profile.py')} in lifespan: await" in line
    assert " s blocking at " in line
    assert f"{__file__}:{line_of('- the settings', 'test_profile.py')} in lifespan: time" in line


# anylifespan check --profile


@pytest.mark.processes
def test_check_shows_a_profile() -> None:
    done = check("slow", "--profile", "--backend", "trio")
    heading, line, code = done.stdout.partition("\n\n")[2].splitlines()
    assert heading == "trio: where the time of the startup has gone"
    seconds, _, how, bar, place = line.split(maxsplit=4)
    assert float(seconds) == pytest.approx(0.2, abs=0.1)
    assert how == "waiting"
    assert set(bar) == {"█"}
    assert place.startswith("tests/apps.py:")
    assert code.strip() == "await anyio.sleep(seconds)"
    assert done.returncode == 0


@pytest.mark.processes
def test_a_profile_as_json() -> None:
    done = check("slow", "--profile", "--json", "--backend", "asyncio")
    (result,) = json.loads(done.stdout)["results"]
    (line,) = result["profile"]["startup"]
    assert line["function"] == "step"
    assert line["waiting"] == pytest.approx(0.2, abs=0.1)
    assert line["blocking"] == pytest.approx(0, abs=0.05)
    assert result["profile"]["shutdown"] == []
