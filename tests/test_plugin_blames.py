"""Which test the plugin blames for a crash: that in which it happened, and no other.

Sessions of pytest over every way in which a test ends, when the application dies, and the scope of
the fixtures; each with an innocent test behind it.
"""

from __future__ import annotations

import itertools

import pytest
from test_pytest_plugin import session as session  # a fixture

ENDS = {
    "passes": "pass",
    "fails": "assert 1 == 2",
    "pytest_fail": "pytest.fail('no')",
    "does_not_raise": "with pytest.raises(ValueError): pass",
    "skips": "pytest.skip('no')",
    "xfails": "pytest.xfail('no')",
}
BREAKS_OFF = {"breaks_off": "pytest.exit('enough')"}
WHEN = ["never", "before", "during", "after"]
CRASHES = {"raises": "ValueError('lost')", "exits": "SystemExit(3)"}

APP = """
import anyio

class App:
    async def __call__(self, scope, receive, send):
        self.death = anyio.Event()
        self.stopping = False
        await receive()
        await send({"type": "lifespan.startup.complete"})

        async def stop():
            await receive()
            self.stopping = True
            self.death.set()

        async with anyio.create_task_group() as task_group:
            task_group.start_soon(stop)
            await self.death.wait()
            if not self.stopping:
                raise CRASH
        await send({"type": "lifespan.shutdown.complete"})
"""

TESTS = """
import anyio
import pytest
from apps_that_die import App

pytestmark = pytest.mark.anyio

@pytest.fixture(scope="session")
def anyio_backend():
    return "_EVENT_LOOP_"

@pytest.fixture(scope="_SCOPE_")
def asgi_app():
    return App()

async def die(lifespan):
    asgi_app = lifespan._app
    asgi_app.death.set()
    await lifespan.wait_crashed()

@pytest.fixture
async def before(asgi_lifespan, request):
    if "_MOMENT_" == "before":
        await die(asgi_lifespan)

@pytest.fixture
async def after(asgi_lifespan, before):
    yield
    if "_MOMENT_" == "after":
        await die(asgi_lifespan)

class TestOneApplication:
    async def test_subject(self, asgi_lifespan, after):
        if "_MOMENT_" == "during":
            await die(asgi_lifespan)
        _LAST_

    async def test_innocent(self, asgi_lifespan):
        pass
"""

# What becomes of the test itself without a crash, and what a crash in its call makes of it.
PASSED = {"passes": "passed", "skips": "skipped", "xfails": "xfailed"}
SCOPES = ["function", "class", "module", "session"]


def _write(session: pytest.Pytester, end: str, when: str, scope: str, backend: str) -> str:
    """A module of tests whose application has this scope; its name."""
    text = TESTS.replace("_LAST_", {**ENDS, **BREAKS_OFF}[end]).replace("_MOMENT_", when)
    text = text.replace("_EVENT_LOOP_", backend).replace("_SCOPE_", scope)
    return session.makepyfile(**{f"test_{end}_{when}": text}).name


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("crash", CRASHES)
@pytest.mark.parametrize("scope", SCOPES)
def test_of_a_session(session: pytest.Pytester, backend: str, crash: str, scope: str) -> None:
    session.makepyfile(apps_that_die=APP.replace("CRASH", CRASHES[crash]))
    session.makefile(".ini", pytest=f"[pytest]\nanylifespan_scope = {scope}\n")
    cases = {
        _write(session, end, when, scope, backend): (end, when)
        for end, when in itertools.product(ENDS, WHEN)
    }
    # An application of the whole session dies once in it, so each case has a session of its own.
    sessions = [[name] for name in cases] if scope == "session" else [list(cases)]
    outcomes: dict[tuple[str, str], dict[str, str]] = {}
    texts: dict[tuple[str, str], str] = {}
    for report in [report for names in sessions for report in _reports(session, names)]:
        key = (report.nodeid.partition("::")[0], report.nodeid.rpartition("::")[2])
        outcome = "xfailed" if getattr(report, "wasxfail", None) else report.outcome
        outcomes.setdefault(key, {})[report.when] = outcome
        texts[key] = texts.get(key, "") + str(report.longrepr) + str(report.sections)
    assert {name for name, _ in outcomes} == set(cases)
    for name, (end, when) in cases.items():
        expected = {"setup": "passed", "call": PASSED.get(end, "failed"), "teardown": "passed"}
        if when == "before":
            expected = {"setup": "failed", "teardown": "passed"}
        elif when == "during" and end in ("passes", "skips"):
            expected["call"] = "failed"
        elif when == "after":
            expected["teardown"] = "failed"
        assert outcomes[name, "test_subject"] == expected, name
        assert (when == "never") is ("LifespanCrashed" not in texts[name, "test_subject"]), name
        assert set(outcomes[name, "test_innocent"].values()) == {"passed"}, name


def _reports(session: pytest.Pytester, names: list[str]) -> list[pytest.TestReport]:
    return session.inline_run(*names).getreports("pytest_runtest_logreport")  # type: ignore[return-value]


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("when", ["never", "during"])
def test_a_run_that_is_broken_off(session: pytest.Pytester, when: str, scope: str) -> None:
    session.makepyfile(apps_that_die=APP.replace("CRASH", CRASHES["raises"]))
    session.makefile(".ini", pytest=f"[pytest]\nanylifespan_scope = {scope}\n")
    name = _write(session, "breaks_off", when, scope, "asyncio")
    done = session.runpytest_inprocess(name)
    assert ("ValueError: lost" in done.stdout.str() + done.stderr.str()) is (when == "during")
