"""What an application leaves behind after its shutdown is told."""

from __future__ import annotations

import json
import os
import socket
import tracemalloc
import warnings
from collections.abc import Iterator
from typing import Any

import leaky_app
import pytest
from apps import Boom, well_behaved
from test_cli import TESTS, anylifespan, line_of, rows
from test_example import PROJECT
from test_pytest_plugin import run
from test_pytest_plugin import session as session  # a fixture

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


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start(25)
    yield
    tracemalloc.stop()


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
async def test_each_kind_is_told_with_its_place(leaves: set[str], traced: None, kind: str) -> None:
    leaves.add(kind)
    told = await warning_of_a_lifespan()
    first, leak, *lines = told.splitlines()
    assert first == "leaky_app.app has left behind:"
    assert leak.startswith(f"{kind} ")
    assert place(kind) in lines[-2]
    assert LINES[kind] in lines[-1]
    others = [other for other in LINES if other != kind]
    assert not [line for line in lines if line.startswith(tuple(others))]
    for one in leaky_app.kept:
        if kind == "async generator":
            await one.aclose()
        elif hasattr(one, "cancel"):
            one.cancel()


@pytest.mark.anyio
async def test_what_is_about_to_end_is_let_end(leaves: set[str]) -> None:
    leaves.add("ended")
    async with asgi_client(leaky_app.app):
        pass


@pytest.mark.anyio
async def test_without_tracemalloc_it_is_said_how_to_know(leaves: set[str]) -> None:
    leaves.add("socket")
    with pytest.warns(LeakWarning, match=r"socket \('0.0.0.0', 0\) \(with python -X tracemalloc"):
        async with asgi_client(leaky_app.app):
            pass


@pytest.mark.anyio
async def test_what_no_object_owns(leaves: set[str]) -> None:
    """As of libraries that are written in C."""
    descriptors: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        descriptors.append(os.open(__file__, os.O_RDONLY))
        descriptors.append(socket.socket().detach())
        await well_behaved(scope, receive, send)

    with pytest.warns(LeakWarning, match=r"file .*test_leaks.py\nsocket descriptor \d+$"):
        async with asgi_client(app):
            pass
    for descriptor in descriptors:
        os.close(descriptor)


@pytest.mark.anyio
async def test_where_there_is_no_list_of_descriptors(
    leaves: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows: the rest is told."""

    def listdir(path: str) -> list[str]:
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "listdir", listdir)
    leaves.update({"socket", "thread"})
    told = await warning_of_a_lifespan()
    assert "thread lingering" in told
    assert "socket" not in told


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
        assert all(leak.endswith("(3 times)") for leak in leaks)
        for kind in ("task", "thread", "socket"):
            assert place(kind) in report
            assert LINES[kind] in report
        assert report.count("File ") == 3
    assert done.returncode == 0


@pytest.mark.processes
def test_strictly_that_is_a_failure() -> None:
    assert check("--repeat", "1", "--strict").returncode == 1
    done = check("--strict")
    assert done.returncode == 2
    assert "--strict is about what --repeat finds" in done.stderr


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
