"""What an application leaves behind after its shutdown is reported."""

from __future__ import annotations

import _thread
import json
import os
import socket
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import leaky_app
import pytest
from apps import Boom, well_behaved
from test_cli import TESTS, anylifespan, line_of, rows
from test_example import PROJECT
from test_pytest_plugin import run
from test_pytest_plugin import session as session  # a fixture

from anylifespan import LifespanUnsupported
from anylifespan.testing import LeakWarning, asgi_client

LINES = {
    "task": "the task is here",
    "thread": "the thread is here",
    "socket": "the socket is made here",
    "file": "the file is opened here",
    "async generator": "the generator is here",
}


@pytest.fixture
def leaves(tidy: None) -> Iterator[set[str]]:
    """What is to be left behind; it is cleared away in the end."""
    before = leaky_app.leaves.copy()
    leaky_app.leaves.clear()
    leaky_app.until.clear()
    yield leaky_app.leaves
    leaky_app.leaves.clear()
    leaky_app.leaves.update(before)
    leaky_app.until.set()
    for one in leaky_app.kept:
        getattr(one, "close", int)()
    leaky_app.kept.clear()


def place(kind: str) -> str:
    return f'leaky_app.py", line {line_of(LINES[kind], "leaky_app.py")}'


async def warning_of_a_lifespan() -> str:
    with pytest.warns(LeakWarning) as caught:
        async with asgi_client(leaky_app.app):
            pass
    (warning,) = caught
    assert warning.filename == leaky_app.__file__
    return str(warning.message)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", LINES)
async def test_each_kind_is_told_with_its_place(leaves: set[str], kind: str) -> None:
    """And nothing of those that called the application; the warning ends with the line of code."""
    leaves.add(kind)
    warning = await warning_of_a_lifespan()
    first, leak, *lines = warning.splitlines()
    assert first == "leaky_app.app has left behind:"
    assert leak.startswith(f"{kind} ")
    assert place(kind) in lines[-1]
    assert LINES[kind] not in lines[-1]
    assert len(lines) == 1
    others = [other for other in LINES if other != kind]
    assert not [line for line in lines if line.startswith(tuple(others))]
    for one in leaky_app.kept:
        if kind == "async generator":
            await one.aclose()
        elif hasattr(one, "cancel"):
            one.cancel()


@pytest.mark.anyio
async def test_a_task_that_runs_no_code_of_the_application(leaves: set[str]) -> None:
    """For ``asyncio.create_task(asyncio.sleep(3600))``, the warning shows the library's line."""
    leaves.add("timer")
    with pytest.warns(LeakWarning) as caught:
        async with asgi_client(leaky_app.app):
            pass
    (warning,) = caught
    _, leak, *lines = str(warning.message).splitlines()
    assert leak.startswith("task ")
    assert ", in sleep_forever" in lines[-1]
    for one in leaky_app.kept:
        if hasattr(one, "cancel"):
            one.cancel()


@pytest.mark.anyio
async def test_what_is_about_to_end_is_let_end(leaves: set[str]) -> None:
    leaves.add("ended")
    async with asgi_client(leaky_app.app):
        pass


@pytest.mark.anyio
async def test_several_are_listed_with_their_lines(leaves: set[str]) -> None:
    leaves.update({"socket", "thread"})
    warning = (await warning_of_a_lifespan()).splitlines()
    assert [line.split()[0] for line in warning if not line.startswith(" ")] == [
        "leaky_app.app",
        "socket",
        "thread",
    ]
    assert [line for line in warning if LINES["socket"] in line]


@pytest.mark.anyio
async def test_files_that_others_have_open_are_not_its_own(
    leaves: set[str], tmp_path: Path
) -> None:
    """Neither those from before, nor those that the test has opened meanwhile."""
    leaves.add("file")
    path = tmp_path / "opened by the test"
    path.touch()
    with path.open() as _, pytest.raises(LeakWarning, match=r"behind:\nfile ") as info:
        async with asgi_client(leaky_app.app, leaks="error"):
            leaky_app.kept.append(path.open())
    assert path.name not in str(info.value)


@pytest.mark.anyio
async def test_a_file_that_somebody_has_open_may_be_opened_and_closed(tmp_path: Path) -> None:
    path = tmp_path / "opened by the test"
    path.touch()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        path.open().close()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    with path.open():
        async with asgi_client(application, leaks="error"):
            pass


@pytest.mark.anyio
async def test_as_errors(leaves: set[str]) -> None:
    leaves.add("socket")
    with pytest.raises(LeakWarning, match=r"socket \('0.0.0.0', 0\)") as info:
        async with asgi_client(leaky_app.app, leaks="error"):
            pass
    assert str(info.value).endswith(f"# {LINES['socket']}")


@pytest.mark.anyio
async def test_not_at_all(leaves: set[str]) -> None:
    leaves.update({"socket", "thread"})
    async with asgi_client(leaky_app.app, leaks="off"):
        pass


@pytest.mark.anyio
@pytest.mark.parametrize(
    "pattern", ["linger*", "thread lingering", "*/leaky_app.py", "*leaky_app.py:{line}", "app"]
)
async def test_those_that_are_known(leaves: set[str], pattern: str) -> None:
    leaves.add("thread")
    pattern = pattern.format(line=line_of(LINES["thread"], "leaky_app.py"))
    async with asgi_client(leaky_app.app, leaks="error", ignore_leaks=[pattern]):
        pass


@pytest.mark.anyio
@pytest.mark.parametrize("pattern", ["ling", "leaky_app.py", "*:1"])
async def test_a_pattern_is_of_all_of_a_name(leaves: set[str], pattern: str) -> None:
    leaves.add("thread")
    with pytest.raises(LeakWarning):
        async with asgi_client(leaky_app.app, leaks="error", ignore_leaks=[pattern]):
            pass


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"leaks": "maybe"}, ValueError, 'leaks must be "warn", "error" or "off", got \'maybe\''),
        ({"ignore_leaks": "pool"}, TypeError, "must be a list of patterns, got 'pool'"),
        ({"ignore_leaks": [1]}, TypeError, "must be a list of patterns"),
    ],
)
async def test_bad_options(options: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        async with asgi_client(well_behaved, **options):
            pass


# What is not the application's


@pytest.mark.anyio
async def test_what_a_test_makes_while_the_application_is_up(leaves: set[str]) -> None:
    until = threading.Event()
    async with asgi_client(leaky_app.app, leaks="error"):
        thread = threading.Thread(target=until.wait)
        thread.start()
        task = leaky_app.spawn(leaky_app.poll)
        generator = leaky_app.numbers()
        await anext(generator)
        kept = [socket.socket(), open(__file__)]  # noqa: ASYNC230, SIM115
    until.set()
    thread.join()
    await generator.aclose()
    if hasattr(task, "cancel"):
        task.cancel()
    for one in kept:
        one.close()


@pytest.mark.anyio
async def test_what_another_application_left_meanwhile(leaves: set[str]) -> None:
    async with asgi_client(well_behaved, leaks="error"):
        leaves.update({"socket", "thread"})
        async with asgi_client(leaky_app.app, leaks="off"):
            pass


_pool = ThreadPoolExecutor(1)


class _Holder:
    pool: ThreadPoolExecutor


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["of a module", "of the application", "of a class"])
async def test_pools_of_threads(leaves: set[str], kind: str) -> None:
    """One of a module lives as long as the process does."""
    pool = _pool if kind == "of a module" else ThreadPoolExecutor(1)
    if kind == "of a class":
        _Holder.pool = pool

    async def app(scope: Any, receive: Any, send: Any) -> None:
        pool.submit(int).result()
        await well_behaved(scope, receive, send)

    if kind == "of a module":
        async with asgi_client(app, leaks="error"):
            pass
    else:
        with pytest.raises(LeakWarning, match="thread ThreadPoolExecutor"):
            async with asgi_client(app, leaks="error"):
                pass
    pool.shutdown()
    if kind == "of a module":
        globals()["_pool"] = ThreadPoolExecutor(1)


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["sentry-sdk.BackgroundWorker", "OtelBatchSpanRecordProcessor"])
async def test_threads_that_serve_the_whole_process(leaves: set[str], name: str) -> None:
    until = threading.Event()
    thread = threading.Thread(target=until.wait, name=name)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        thread.start()
        await well_behaved(scope, receive, send)

    async with asgi_client(app, leaks="error"):
        pass
    until.set()
    thread.join()


@pytest.mark.anyio
async def test_what_it_has_closed(leaves: set[str]) -> None:
    kept: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        kept.extend([socket.socket(), open(__file__)])  # noqa: ASYNC230, SIM115
        for one in kept:
            one.close()
        await well_behaved(scope, receive, send)

    async with asgi_client(app, leaks="error"):
        pass


# What is


@pytest.mark.anyio
async def test_a_thread_beside_those_of_the_process(leaves: set[str]) -> None:
    until = threading.Event()
    threads = [
        threading.Thread(target=until.wait, name=name) for name in ("sentry.monitor", "mine")
    ]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for thread in threads:
            thread.start()
        await well_behaved(scope, receive, send)

    with pytest.raises(LeakWarning, match=r"behind:\nthread mine\n"):
        async with asgi_client(app, leaks="error"):
            pass
    until.set()
    for thread in threads:
        thread.join()


@pytest.mark.anyio
async def test_what_is_made_in_a_request(leaves: set[str]) -> None:
    made: list[socket.socket] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await well_behaved(scope, receive, send)
        else:
            made.append(socket.socket())
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

    with pytest.raises(LeakWarning, match=r"socket .*\n.*test_leaks.py.* in app\n"):
        async with asgi_client(app, leaks="error") as client:
            await client.get("/")
    made[0].close()


@pytest.mark.anyio
async def test_what_threads_of_it_make(leaves: set[str]) -> None:
    """Those that it has sent functions to, and those that it has started."""
    made: list[socket.socket] = []

    def make() -> None:
        made.append(socket.socket())

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await anyio.to_thread.run_sync(make)
        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        await well_behaved(scope, receive, send)

    with pytest.raises(LeakWarning) as info:
        async with asgi_client(app, leaks="error", startup_timeout=None):
            pass
    assert str(info.value).count("\nsocket ") == 2
    assert str(info.value).count(" in make") == 2
    for one in made:
        one.close()


@pytest.mark.anyio
async def test_files_that_are_opened_by_descriptor(leaves: set[str]) -> None:
    descriptors: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        descriptors.append(os.open(__file__, os.O_RDONLY))
        with open(descriptors[0], closefd=False):  # noqa: ASYNC230 - no other file is opened
            pass
        await well_behaved(scope, receive, send)

    with pytest.raises(LeakWarning, match=r"file .*test_leaks.py\n.* in app\n"):
        async with asgi_client(app, leaks="error"):
            pass
    os.close(descriptors[0])


@pytest.mark.anyio
async def test_descriptors_that_are_closed_meanwhile(
    leaves: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a thread: all others are looked at."""
    real, closed = os.fstat, -1

    def fstat(descriptor: int) -> os.stat_result:
        if descriptor == closed:
            raise OSError(9, "Bad file descriptor")
        return real(descriptor)

    monkeypatch.setattr(os, "fstat", fstat)
    leaves.add("file")
    closed = 0
    await warning_of_a_lifespan()


@pytest.mark.anyio
async def test_threads_that_are_no_objects(leaves: set[str]) -> None:
    """As libraries start them by ``_thread`` alone: there is nothing to be seen of them."""
    until, ended = threading.Event(), threading.Event()

    def run() -> None:
        until.wait()
        ended.set()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        _thread.start_new_thread(run, ())
        await well_behaved(scope, receive, send)

    async with asgi_client(app, leaks="error"):
        pass
    until.set()
    assert ended.wait(10)


@pytest.mark.anyio
async def test_a_thread_that_is_about_to_end_is_let_end(leaves: set[str]) -> None:
    stop = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        threading.Thread(target=stop.wait).start()
        await well_behaved(scope, receive, send)
        stop.set()

    async with asgi_client(app, leaks="error"):
        pass


@pytest.mark.anyio
async def test_the_hook_of_the_event_loop_is_put_back(leaves: set[str]) -> None:
    """Whether the application starts or not, whatever becomes of the block, and however often."""

    async def fails(scope: Any, receive: Any, send: Any) -> None:
        raise Boom

    before = sys.get_asyncgen_hooks()
    for _ in range(3):
        with pytest.raises(LifespanUnsupported):
            async with asgi_client(fails):
                pass
        assert sys.get_asyncgen_hooks() == before
        with pytest.raises(Boom):
            async with asgi_client(well_behaved), asgi_client(well_behaved):
                assert sys.get_asyncgen_hooks().firstiter != before.firstiter
                raise Boom
        assert sys.get_asyncgen_hooks() == before


@pytest.mark.anyio
async def test_where_there_is_no_list_of_descriptors(
    leaves: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows: the rest is reported."""

    def listdir(path: str) -> list[str]:
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "listdir", listdir)
    leaves.update({"file", "thread"})
    warning = await warning_of_a_lifespan()
    assert "thread lingering" in warning
    assert "file" not in warning.replace("File", "")


@pytest.mark.anyio
async def test_an_exception_is_not_hidden_by_a_warning(leaves: set[str]) -> None:
    leaves.add("thread")
    with pytest.raises(Boom), warnings.catch_warnings():
        warnings.simplefilter("error")
        async with asgi_client(leaky_app.app):
            raise Boom


def test_the_fixtures_of_the_plugin_tell_it_too(session: pytest.Pytester) -> None:
    session.syspathinsert(TESTS)
    tests = """
@pytest.fixture
def asgi_app():
    import leaky_app
    leaky_app.leaves.clear()
    leaky_app.leaves.add("thread")
    leaky_app.until.clear()
    yield leaky_app.app
    leaky_app.until.set()

async def test_one(asgi_lifespan):
    pass
"""
    done = run(session, tests, "filterwarnings = default")
    done.assert_outcomes(passed=2, warnings=2)
    done.stdout.fnmatch_lines(["*LeakWarning: leaky_app.app has left behind:", "*thread lingering"])


# The command


def check(*arguments: str) -> Any:
    return anylifespan("check", "leaky_app:app", "--app-dir", str(TESTS), *arguments)


@pytest.mark.processes
def test_check_tells_what_each_lifespan_has_left() -> None:
    done = check("--repeat", "3")
    assert [row[0] for row in rows(done.stdout)[1::1] if row[0] in ("asyncio", "trio")] == [
        "asyncio",
        "trio",
    ]
    assert "3 tasks, 3" in done.stdout
    for backend in ("asyncio", "trio"):
        (report,) = [
            part for part in done.stdout.split("\n\n") if part.startswith(f"{backend}: left behind")
        ]
        leaks = [line for line in report.splitlines()[1:] if not line.startswith(" ")]
        assert [leak.split()[0] for leak in leaks] == ["task", "thread", "socket"]
        assert all(leak.endswith("(3 in 3 lifespans)") for leak in leaks)
        for kind in ("task", "thread", "socket"):
            assert place(kind) in report
            assert LINES[kind] in report
        assert report.count("File ") == 3
    assert done.returncode == 0


@pytest.mark.processes
def test_strictly_that_is_a_failure() -> None:
    assert check("--repeat", "1", "--strict").returncode == 1
    options = ("--app-dir", str(TESTS), "--repeat", "1", "--strict")
    assert anylifespan("check", "cli_apps:well", *options).returncode == 0
    assert anylifespan("check", "cli_apps:raises_in_startup", *options).returncode == 1
    done = check("--strict")
    assert done.returncode == 2
    assert "--strict needs --repeat, which finds the leaks" in done.stderr


@pytest.mark.processes
def test_check_as_json() -> None:
    done = check("--repeat", "2", "--json", "--strict", "--backend", "trio")
    report = json.loads(done.stdout)
    assert report["ok"] is False
    assert [(one["kind"], one["times"]) for one in report["results"][0]["left_behind"]] == [
        ("task", 2),
        ("thread", 2),
        ("socket", 2),
    ]
    (where,) = report["results"][0]["left_behind"][0]["where"]
    assert where["line"] == line_of(LINES["task"], "leaky_app.py")
    assert done.returncode == 1


@pytest.mark.processes
@pytest.mark.parametrize("name", ["bookshop", "mounted", "django_with_lifespan", "with_mcp"])
def test_the_examples_leave_nothing(name: str) -> None:
    app = (
        ["--factory", "examples.with_mcp:new_app"]
        if name == "with_mcp"
        else [f"examples.{name}:app"]
    )
    done = anylifespan("check", *app, "--repeat", "3", "--strict", cwd=PROJECT)
    assert [row[-1] for row in rows(done.stdout)] == ["left behind", "nothing", "nothing"]
    assert done.returncode == 0


@pytest.mark.processes
def test_a_lifespan_that_fails_is_the_last() -> None:
    done = anylifespan(
        "check", "cli_apps:raises_in_shutdown", "--app-dir", str(TESTS), "--repeat", "3"
    )
    assert done.stdout.count("ShutdownFailed") == 2
    assert done.returncode == 1
