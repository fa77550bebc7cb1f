"""The fixtures of the pytest plugin, whichever plugin runs the test, and in synchronous tests."""

from __future__ import annotations

import httpx2
import pytest

APPLICATION = """
import anyio

at = []

async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] != "websocket.disconnect":
            if message["type"] == "websocket.receive":
                await send({"type": "websocket.send", "text": message["text"]})
        return
    if scope["type"] == "http":
        if scope["path"] == "/crash":
            at[0].set()
            await anyio.sleep_forever()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/stream":
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            while (await receive())["type"] != "http.disconnect":
                pass
            print("LEFT")
        await send({"type": "http.response.body", "body": b"hello"})
        return
    await receive()
    at[:] = [anyio.Event()]
    print("STARTED")
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

ASYNCHRONOUS = """
import anyio
import pytest
from anylifespan import LifespanManager, Phase
from anylifespan.testing import ASGIClient
HEAD

MARK
async def test_request(asgi_client, asgi_lifespan):
    assert isinstance(asgi_client, ASGIClient)
    assert isinstance(asgi_lifespan, LifespanManager)
    assert asgi_client.lifespan is asgi_lifespan
    assert asgi_lifespan.phase is Phase.SERVING
    assert (await asgi_client.get("/")).text == "hello"

MARK
async def test_stream(asgi_client):
    async with asgi_client.stream("GET", "/stream") as response:
        assert response.status_code == 200

MARK
@pytest.mark.skipif(not WEBSOCKETS, reason="httpx2 has them since 2.9")
async def test_websocket(asgi_client):
    async with asgi_client.websocket("/") as websocket:
        await websocket.send_text("hello")
        assert await websocket.receive_text() == "hello"
"""

SYNCHRONOUS = """
import pytest
from anylifespan import Phase
from anylifespan.testing import ASGISyncClient

def test_request(asgi_sync_client):
    assert isinstance(asgi_sync_client, ASGISyncClient)
    assert asgi_sync_client.lifespan.manager.phase is Phase.SERVING
    assert asgi_sync_client.get("/").text == "hello"

def test_stream(asgi_sync_client):
    with asgi_sync_client.stream("GET", "/stream") as response:
        assert response.status_code == 200

@pytest.mark.skipif(not WEBSOCKETS, reason="httpx2 has them since 2.9")
def test_websocket(asgi_sync_client):
    with asgi_sync_client.websocket("/") as websocket:
        websocket.send_text("hello")
        assert websocket.receive_text() == "hello"
"""

ANYIO_BACKEND = """
@pytest.fixture(scope="session")
def anyio_backend():
    return "{}"
"""

BOTH = """
@pytest.fixture(scope="session", params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param
"""

# Of each way to run tests: what is before them, their mark, the configuration, and the scopes that
# the fixtures may have.
HIGHER = ("function", "class", "module", "session")
RUNNERS = {
    "anyio, asyncio": (ANYIO_BACKEND.format("asyncio"), "@pytest.mark.anyio", "", HIGHER),
    "anyio, trio": (ANYIO_BACKEND.format("trio"), "@pytest.mark.anyio", "", HIGHER),
    "asyncio": ("", "@pytest.mark.asyncio", "", ("function",)),
    "asyncio, module": ("", '@pytest.mark.asyncio(loop_scope="module")', "", HIGHER[:3]),
    "asyncio, session": (
        "",
        "@pytest.mark.asyncio",
        "asyncio_default_test_loop_scope = session",
        HIGHER,
    ),
    "asyncio, auto": ("", "", "asyncio_mode = auto", ("function",)),
    "trio": ("", "@pytest.mark.trio", "", ("function",)),
    "trio, mode": ("", "", "trio_mode = true", ("function",)),
    "synchronous": ("", "", "", HIGHER),
}
CASES = [(runner, scope) for runner, (*_, scopes) in RUNNERS.items() for scope in scopes]


# Only for what is about both.
RUNNERS["anyio, both"] = (BOTH, "@pytest.mark.anyio", "", HIGHER)


def run(session: pytest.Pytester, runner: str, more: str = "", **options: str) -> pytest.RunResult:
    head, mark, configuration, _ = RUNNERS[runner]
    tests = SYNCHRONOUS if runner == "synchronous" else ASYNCHRONOUS
    websockets = str(hasattr(httpx2.Client, "websocket"))
    text = (tests + more).replace("WEBSOCKETS", websockets)
    session.makepyfile(shop=APPLICATION, test_shop=text.replace("HEAD", head).replace("MARK", mark))
    lines = ["[pytest]", "pythonpath = .", "asyncio_default_fixture_loop_scope = function"]
    lines += ["anylifespan_app = shop:app", configuration]
    lines += [f"anylifespan_{name} = {value}" for name, value in options.items()]
    session.makefile(".ini", pytest="\n".join(lines))
    return session.runpytest_inprocess("-s", "-p", "no:cacheprovider")


@pytest.fixture
def session(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """With all of them loaded, as where all are installed."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    plugins = "-p anyio -p anylifespan -p asyncio -p trio"
    monkeypatch.setenv("PYTEST_ADDOPTS", plugins)
    return pytester


@pytest.mark.parametrize(("runner", "scope"), CASES)
def test_requests_streams_and_websockets(session: pytest.Pytester, runner: str, scope: str) -> None:
    done = run(session, runner, scope=scope, leaks="error")
    skipped = 0 if hasattr(httpx2.Client, "websocket") else 1
    done.assert_outcomes(passed=3 - skipped, skipped=skipped)
    output = done.stdout.str()
    starts = 3 - skipped if scope in ("function", "class") else 1
    assert output.count("STARTED") == output.count("SHUT DOWN") == starts
    assert output.count("LEFT") == 1


CLEANS_UP = """
@pytest.fixture(autouse=True)
def clean_up(asgi_client):
    yield
"""


@pytest.mark.parametrize("scope", HIGHER)
def test_a_fixture_around_each_test_on_both_backends(session: pytest.Pytester, scope: str) -> None:
    """It may be set up before pytest has changed the backend: with 9.1 it had the old client."""
    done = run(session, "anyio, both", CLEANS_UP, scope=scope, leaks="error")
    skipped = 0 if hasattr(httpx2.Client, "websocket") else 2
    done.assert_outcomes(passed=6 - skipped, skipped=skipped)


# It would hang, so whatever ends it is the crash.
DIES = {
    "asynchronous": """
MARK
async def test_dies(asgi_client):
    with anyio.fail_after(5):
        await asgi_client.get("/crash")

def test_innocent():
    pass
""",
    "synchronous": """
def test_dies(asgi_sync_client):
    asgi_sync_client.get("/crash", timeout=5)

def test_innocent():
    pass
""",
}


@pytest.mark.parametrize(("runner", "scope"), [one for one in CASES if one[0] == "synchronous"])
def test_a_crash_fails_the_synchronous_test_that_waits(
    session: pytest.Pytester, runner: str, scope: str
) -> None:
    done = run(session, runner, DIES["synchronous"], scope=scope, drain_timeout="0.1")
    assert done.parseoutcomes()["failed"] == 1
    assert "errors" not in done.parseoutcomes()
    done.stdout.fnmatch_lines(["*LifespanCrashed: *crashed while serving: ValueError: lost*"])
    done.stdout.fnmatch_lines(["FAILED test_shop.py::test_dies*"])


@pytest.mark.parametrize("runner", ["anyio, asyncio", "anyio, trio", "asyncio", "trio"])
def test_a_crash_fails_the_test_that_is_running(session: pytest.Pytester, runner: str) -> None:
    done = run(session, runner, DIES["asynchronous"], drain_timeout="0.1")
    assert done.parseoutcomes()["failed"] == 1
    assert "errors" not in done.parseoutcomes()
    done.stdout.fnmatch_lines(["*LifespanCrashed: *crashed while serving: ValueError: lost*"])
    assert "TimeoutError" not in done.stdout.str()  # it did not have to wait for that


@pytest.mark.parametrize(
    ("runner", "backends", "left_out"),
    [
        ("asyncio", "trio", 3),
        ("asyncio", "asyncio", 0),
        ("trio", "asyncio", 3),
        ("trio", "trio", 0),
        ("synchronous", "trio", 0),
    ],
)
def test_the_backends_that_the_application_runs_on(
    session: pytest.Pytester, runner: str, backends: str, left_out: int
) -> None:
    done = run(session, runner, backends=backends)
    assert done.parseoutcomes().get("deselected", 0) == left_out
    assert "failed" not in done.parseoutcomes()


def test_synchronous_tests_run_on_the_backend_of_the_application(session: pytest.Pytester) -> None:
    more = """
def test_backend(asgi_sync_client):
    import sniffio
    assert asgi_sync_client.lifespan.call(backend) == "trio"

async def backend():
    import trio
    return "trio" if trio.lowlevel.in_trio_run() else "asyncio"
"""
    done = run(session, "synchronous", more.replace("    import sniffio\n", ""), backends="trio")
    assert "failed" not in done.parseoutcomes()


@pytest.mark.parametrize("fixture", ["client", "lifespan"])
def test_a_synchronous_test_with_an_asynchronous_fixture(
    session: pytest.Pytester, fixture: str
) -> None:
    done = run(session, "synchronous", f"def test_wrong(asgi_{fixture}): pass\n")
    assert done.parseoutcomes()["errors"] == 1
    done.stdout.fnmatch_lines([f"the fixture asgi_{fixture} is for asynchronous tests that are*"])


SERVED = """
import httpx

def test_request(asgi_server):
    assert httpx.get(asgi_server.url).text == "hello"

MARK
async def test_in_an_asynchronous_test(asgi_server):
    async with httpx.AsyncClient() as client:
        assert (await client.get(asgi_server.url)).text == "hello"
"""
SERVER_DIES = """
import httpx

def test_dies(asgi_server):
    with httpx.Client() as client:
        client.get(f"{asgi_server.url}/crash")
    asgi_server.lifespan.portal.call(asgi_server.lifespan.manager.wait_crashed)

def test_innocent(asgi_server):
    pass
"""


@pytest.mark.parametrize(
    ("runner", "scope"),
    [
        ("anyio, asyncio", "session"),
        ("anyio, trio", "function"),
        ("asyncio", "function"),
        ("trio", "function"),
    ],
)
def test_a_server(session: pytest.Pytester, runner: str, scope: str) -> None:
    done = run(session, runner, SERVED, scope=scope, leaks="error")
    assert "failed" not in done.parseoutcomes()
    assert "errors" not in done.parseoutcomes()
    assert done.stdout.str().count("STARTED") == done.stdout.str().count("SHUT DOWN") > 0


@pytest.mark.parametrize("scope", ["function", "session"])
def test_a_crash_of_a_server_fails_the_test_that_is_running(
    session: pytest.Pytester, scope: str
) -> None:
    done = run(session, "synchronous", SERVER_DIES, scope=scope, drain_timeout="0.1")
    assert done.parseoutcomes()["failed"] == 1
    assert "errors" not in done.parseoutcomes()
    done.stdout.fnmatch_lines(["FAILED test_shop.py::test_dies*LifespanCrashed*"])


def test_a_server_for_an_application_that_runs_on_trio_alone(session: pytest.Pytester) -> None:
    done = run(session, "synchronous", "def test_wrong(asgi_server): pass\n", backends="trio")
    assert done.parseoutcomes()["errors"] == 1
    done.stdout.fnmatch_lines(["asgi_server runs on asyncio, as Uvicorn does*"])
