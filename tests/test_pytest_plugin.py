"""The fixtures of the pytest plugin, in sessions of pytest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# Without a framework, which would be imported anew in each session.
SHOP = """
import anyio

at = []

async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["state"]["greeting"]})
        return
    await receive()
    at[:] = [anyio.Event()]
    scope["state"]["greeting"] = b"hello"
    await send({"type": "lifespan.startup.complete"})
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(die)
        await receive()
        task_group.cancel_scope.cancel()
    print("SHUT DOWN")
    await send({"type": "lifespan.shutdown.complete"})

async def die():
    await at[0].wait()
    raise ValueError("lost the database")
"""

CONFIGURATION = """
[pytest]
pythonpath = .
"""


@pytest.fixture
def session(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    # Those of others take most of the time.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p anyio -p anylifespan -p no:cacheprovider -s")
    pytester.makepyfile(shop=SHOP)
    return pytester


def run(
    session: pytest.Pytester, tests: str, configuration: str = "", app: str = "shop:app"
) -> pytest.RunResult:
    session.makepyfile(test_shop=HEAD + tests)
    session.makefile(".ini", pytest=f"{CONFIGURATION}\nanylifespan_app = {app}\n{configuration}")
    return session.runpytest_inprocess()


HEAD = """
import anyio
import pytest
import shop
from anylifespan import LifespanManager, Phase

pytestmark = pytest.mark.anyio

@pytest.fixture(params=["asyncio", "trio"], scope="session")
def anyio_backend(request):
    return request.param
"""

A_REQUEST = """
async def test_one(asgi_client):
    assert (await asgi_client.get("/")).text == "hello"
    assert asgi_client.lifespan.phase is Phase.SERVING

async def test_two(asgi_lifespan, asgi_client):
    assert asgi_client.lifespan is asgi_lifespan

def test_without():
    pass
"""


@pytest.mark.parametrize(
    ("scope", "starts"), [("", 4), ("function", 4), ("module", 2), ("session", 2)]
)
def test_each_scope(session: pytest.Pytester, scope: str, starts: int) -> None:
    done = run(session, A_REQUEST, f"anylifespan_scope = {scope}")
    done.assert_outcomes(passed=5)
    assert done.stdout.str().count("SHUT DOWN") == starts


def test_a_fixture_of_ones_own_gives_the_application(session: pytest.Pytester) -> None:
    tests = """
@pytest.fixture
def asgi_app():
    async def app(scope, receive, send):
        await receive()
        scope["state"]["mine"] = True
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    return app

async def test_one(asgi_lifespan):
    assert asgi_lifespan.state == {"mine": True}
"""
    run(session, tests, app="").assert_outcomes(passed=2)


AN_APPLICATION_OF_THE_MODULE = """
@pytest.fixture(scope="SCOPE")
def asgi_app():
    async def app(scope, receive, send):
        await receive()
        scope["state"]["of"] = __name__
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    return app

async def test_it(asgi_lifespan):
    assert asgi_lifespan.state == {"of": __name__}
"""


@pytest.mark.parametrize("scope", ["function", "class", "module", "session"])
def test_no_test_gets_the_application_of_another(session: pytest.Pytester, scope: str) -> None:
    tests = HEAD + AN_APPLICATION_OF_THE_MODULE.replace("SCOPE", scope)
    session.makepyfile(test_first=tests, test_second=tests)
    session.makefile(".ini", pytest=f"[pytest]\nanylifespan_scope = {scope}\n")
    done = session.runpytest_inprocess()
    if scope == "session":  # whose fixture pytest keeps
        done.assert_outcomes(passed=2, errors=2)
        done.stdout.fnmatch_lines(
            [
                "the application that is up is * at *; asgi_app of this test is * at *. "
                "One application is up for each session (anylifespan_scope): *"
            ]
        )
    else:
        done.assert_outcomes(passed=4)


CRASH = """
async def test_one(asgi_client):
    shop.at[0].set()
    await asgi_client.lifespan.wait_crashed()
    {last}

async def test_two():
    pass
"""


@pytest.mark.parametrize("scope", ["function", "session"])
def test_a_crash_fails_the_test_that_was_running(session: pytest.Pytester, scope: str) -> None:
    done = run(session, CRASH.format(last=""), f"anylifespan_scope = {scope}")
    done.assert_outcomes(failed=2, passed=2)
    done.stdout.fnmatch_lines(
        [
            "*ValueError: lost the database",
            "*The above exception was the direct cause*",
            "*LifespanCrashed: the application's lifespan crashed *lost the database*",
            "FAILED test_shop.py::test_one*",
        ]
    )


def test_a_crash_beside_a_failure_is_told_with_it(session: pytest.Pytester) -> None:
    done = run(session, CRASH.format(last="assert 1 == 2"))
    done.assert_outcomes(failed=2, passed=2)
    done.stdout.fnmatch_lines(
        ["*assert 1 == 2", "*crash of the application*", "*ValueError: lost the database*"]
    )


def test_an_exit_in_the_shutdown_is_an_error_of_the_fixture(session: pytest.Pytester) -> None:
    tests = """
@pytest.fixture
def asgi_app():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise SystemExit(3)
    return app

async def test_one(asgi_lifespan):
    pass
"""
    run(session, tests).assert_outcomes(passed=2, errors=2)


@pytest.mark.parametrize("phase", ["startup", "shutdown"])
def test_an_exit_is_no_matter_for_other_tests(session: pytest.Pytester, phase: str) -> None:
    """It would end the event loop that anyio's plugin runs them in."""
    tests = f"""
@pytest.fixture
def asgi_app():
    async def app(scope, receive, send):
        await receive()
        if "{phase}" == "startup":
            raise SystemExit(3)
        await send({{"type": "lifespan.startup.complete"}})
        await receive()
        raise SystemExit(3)
    return app

@pytest.fixture(scope="session")
async def other(anyio_backend):
    yield

async def test_exits(other, asgi_lifespan):
    pass

async def test_other(other):
    pass
"""
    done = run(session, tests)
    done.assert_outcomes(passed=2 if phase == "startup" else 4, errors=2)
    done.stdout.fnmatch_lines(["*LifespanError: the application raised SystemExit: 3"])


def test_a_crash_beside_a_skip_is_a_failure(session: pytest.Pytester) -> None:
    done = run(session, CRASH.format(last="pytest.skip('not today')"))
    done.assert_outcomes(failed=2, passed=2)
    done.stdout.fnmatch_lines(["*LifespanCrashed: *lost the database*"])


@pytest.mark.parametrize(
    ("last", "outcome"),
    [
        ("assert 1 == 2", {"failed": 2}),
        ("pytest.skip('not today')", {"skipped": 2}),
        ("with anyio.fail_after(0.01): await anyio.sleep(10)", {"failed": 2}),
    ],
)
def test_however_a_test_ends_the_application_is_shut_down(
    session: pytest.Pytester, last: str, outcome: dict[str, int]
) -> None:
    tests = f"""
async def test_one(asgi_client):
    {last}
"""
    done = run(session, tests)
    done.assert_outcomes(**outcome)
    assert done.stdout.str().count("SHUT DOWN") == 2
    done.stdout.no_fnmatch_line("*crash of the application*")


def test_a_startup_that_hangs_is_told_with_its_place(session: pytest.Pytester) -> None:
    tests = """
@pytest.fixture
def asgi_app():
    async def app(scope, receive, send):
        await anyio.sleep_forever()  # it hangs here
    return app

async def test_one(asgi_client):
    pass
"""
    done = run(session, tests, "anylifespan_startup_timeout = 0.01")
    done.assert_outcomes(errors=2)
    done.stdout.fnmatch_lines(["*StartupTimeout: *within 0.01 seconds*", "*# it hangs here"])


def test_the_limits_by_default(session: pytest.Pytester) -> None:
    tests = """
async def test_one(asgi_client):
    manager = asgi_client.lifespan
    assert (manager._startup_timeout, manager._shutdown_timeout) == (30, 30)
    assert asgi_client._transport._drain_timeout == 1
"""
    run(session, tests).assert_outcomes(passed=2)


def test_mode_and_no_limits(session: pytest.Pytester) -> None:
    tests = """
@pytest.fixture
def asgi_app():
    async def app(scope, receive, send):
        assert scope["type"] == "http"
    return app

async def test_one(asgi_lifespan):
    assert asgi_lifespan.supported is False
"""
    configuration = "anylifespan_mode = auto\nanylifespan_startup_timeout = none"
    run(session, tests, configuration).assert_outcomes(passed=2)
    run(session, tests).assert_outcomes(errors=2)


@pytest.mark.parametrize(
    ("app", "text"),
    [
        (
            "",
            "asgi_lifespan, asgi_client, asgi_sync_client, asgi_server need an application: *",
        ),
        ("shop:nothing", 'anylifespan_app = "shop:nothing" cannot be imported (*'),
        ("nowhere:app", 'anylifespan_app = "nowhere:app" cannot be imported (*'),
        ("shop app", 'anylifespan_app = "shop app" cannot be imported (*'),
    ],
)
def test_without_an_application(session: pytest.Pytester, app: str, text: str) -> None:
    done = run(session, A_REQUEST, app=app)
    done.assert_outcomes(errors=4, passed=1)
    done.stdout.fnmatch_lines([text])


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("scope = galaxy", "ERROR: anylifespan_scope must be one of function, class, *galaxy'"),
        # pytest would take it for the session, since a plugin defines the fixtures.
        ("scope = package", "ERROR: anylifespan_scope must be one of *session, got 'package'"),
        ("shutdown_timeout = soon", "*must be a number of seconds, or none, got 'soon'"),
        ("startup_timeout = -1", "*startup_timeout must be zero or more seconds*"),
        (
            "backends = asyncio curio",
            "ERROR: anylifespan_backends must be of asyncio, trio, got *",
        ),
        ("base_url = shop.example", "ERROR: anylifespan_base_url must begin with http*'shop.exam*"),
        ("mode = maybe", '*mode must be "auto", "on" or "off", got \'maybe\''),
    ],
)
def test_bad_options(session: pytest.Pytester, option: str, text: str) -> None:
    done = run(session, A_REQUEST, f"anylifespan_{option}")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines([text])


@pytest.mark.parametrize(
    ("backends", "passed", "left_out"),
    [("", 5, 0), ("asyncio trio", 5, 0), ("asyncio", 3, 2), ("trio", 3, 2)],
)
def test_the_backends_that_the_application_runs_on(
    session: pytest.Pytester, backends: str, passed: int, left_out: int
) -> None:
    """Other tests run as ever."""
    done = run(session, A_REQUEST, f"anylifespan_backends = {backends}")
    done.assert_outcomes(passed=passed, deselected=left_out)


def test_a_backend_with_options(session: pytest.Pytester) -> None:
    tests = (
        A_REQUEST
        + """
@pytest.fixture(params=[("asyncio", {"use_uvloop": True}), ("trio", {})])
def anyio_backend(request):
    return request.param
"""
    )
    run(session, tests, "anylifespan_backends = asyncio").assert_outcomes(passed=3, deselected=2)


def test_a_backend_that_is_no_parameter_is_left_alone(session: pytest.Pytester) -> None:
    tests = (
        A_REQUEST
        + """
@pytest.fixture
def anyio_backend():
    return "trio"
"""
    )
    run(session, tests, "anylifespan_backends = asyncio").assert_outcomes(passed=3)


@pytest.mark.parametrize(
    ("configuration", "url"),
    [
        ("", "http://test"),
        ("anylifespan_base_url = https://shop.example/v1", "https://shop.example/v1/"),
    ],
)
def test_what_urls_are_relative_to(session: pytest.Pytester, configuration: str, url: str) -> None:
    tests = f"""
async def test_one(asgi_client):
    assert str(asgi_client.base_url) == {url!r}
"""
    run(session, tests, configuration).assert_outcomes(passed=2)


def test_to_import_it_imports_nothing_else() -> None:
    script = (
        "import sys, pytest\n"
        "before = set(sys.modules)\n"
        "import anylifespan.pytest_plugin\n"
        "print(*sorted({one.partition('.')[0] for one in set(sys.modules) - before}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["anylifespan"]


@pytest.mark.processes
def test_where_it_is_not_used_it_imports_hardly_anything(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text("def test_one(): pass")
    script = (
        "import sys, pytest\n"
        "assert pytest.main(['-q', '-p', 'no:cacheprovider']) == 0\n"
        "print(*sorted(one for one in sys.modules if one.startswith('anylifespan')))"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert set(done.stdout.splitlines()[-1].split()) <= {
        "anylifespan",
        "anylifespan._core",
        "anylifespan._core.options",
        "anylifespan.pytest_plugin",
        "anylifespan.pytest_plugin._by_anyio",
        "anylifespan.pytest_plugin._by_asyncio",
        "anylifespan.pytest_plugin._by_trio",
        "anylifespan.pytest_plugin._options",
        "anylifespan.pytest_plugin._runners",
        "anylifespan.pytest_plugin._up",
    }
