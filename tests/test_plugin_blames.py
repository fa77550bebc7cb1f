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
    "does_not_raise": "with pytest.raises(ValueError):\n        pass",
    "skips": "pytest.skip('no')",
    "xfails": "pytest.xfail('no')",
}
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

@pytest.fixture(scope="module")
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

async def test_subject(asgi_lifespan, after):
    if "_MOMENT_" == "during":
        await die(asgi_lifespan)
    _LAST_

async def test_innocent(asgi_lifespan):
    pass
"""

# What becomes of the test itself without a crash, and what a crash in its call makes of it.
PASSED = {"passes": "passed", "skips": "skipped", "xfails": "xfailed"}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("crash", CRASHES)
@pytest.mark.parametrize("scope", ["function", "module"])
def test_of_a_session(session: pytest.Pytester, backend: str, crash: str, scope: str) -> None:
    cases = list(itertools.product(ENDS, WHEN))
    session.makepyfile(apps_that_die=APP.replace("CRASH", CRASHES[crash]))
    session.makefile(".ini", pytest=f"[pytest]\nanylifespan_scope = {scope}\n")
    for end, when in cases:
        text = TESTS.replace("_LAST_", ENDS[end]).replace("_MOMENT_", when)
        text = text.replace("_EVENT_LOOP_", backend)
        session.makepyfile(**{f"test_{end}_{when}": text})
    done = session.inline_run()
    outcomes: dict[tuple[str, str], dict[str, str]] = {}
    texts: dict[tuple[str, str], str] = {}
    for report in done.getreports("pytest_runtest_logreport"):
        file, _, name = report.nodeid.partition("::")  # type: ignore[union-attr]
        outcome = "xfailed" if getattr(report, "wasxfail", None) else report.outcome
        if outcome != "passed":
            key = (file.removesuffix(".py"), name)
            outcomes.setdefault(key, {})[report.when] = outcome  # type: ignore[union-attr, index]
            texts[key] = texts.get(key, "") + str(report.longrepr) + str(report.sections)  # type: ignore[union-attr]
    for end, when in cases:
        key = (f"test_{end}_{when}", "test_subject")
        expected = {"call": PASSED.get(end, "failed")}
        if when == "before":
            expected = {"setup": "failed"}
        elif when == "during" and end in ("passes", "skips"):
            expected = {"call": "failed"}
        elif when == "after":
            expected["teardown"] = "failed"
        expected = {phase: one for phase, one in expected.items() if one != "passed"}
        assert outcomes.get(key, {}) == expected, key
        assert (when == "never") is ("LifespanCrashed" not in texts.get(key, "")), key
        assert (f"test_{end}_{when}", "test_innocent") not in outcomes, key


@pytest.mark.parametrize("when", ["never", "during"])
def test_a_run_that_is_broken_off(session: pytest.Pytester, when: str) -> None:
    session.makepyfile(apps_that_die=APP.replace("CRASH", CRASHES["raises"]))
    text = TESTS.replace("_LAST_", "pytest.exit('enough')").replace("_MOMENT_", when)
    session.makepyfile(test_broken_off=text.replace("_EVENT_LOOP_", "asyncio"))
    done = session.runpytest_inprocess()
    assert ("ValueError: lost" in done.stdout.str() + done.stderr.str()) is (when == "during")
