"""``async with LifespanManager(app)`` in the fixtures of each asynchronous plugin of pytest."""

from __future__ import annotations

import sys

import pytest

APPLICATION = """
import anyio

async def application(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    if CRASHES:
        await anyio.sleep(0.01)
        raise ValueError("boom")
    await receive()
    print("SHUT DOWN")
    await send({"type": "lifespan.shutdown.complete"})
"""

TESTS = """
import time
import pytest
from anylifespan import LifespanManager, Phase
{imports}

@{fixture}
async def manager({arguments}):
    async with LifespanManager(application) as manager:
        yield manager

{mark}
async def test_one(manager):
    assert manager.phase is Phase.SERVING
    if CRASHES:
        before = time.process_time()
        await anyio.sleep(0.1)
        assert time.process_time() - before < 0.05  # no busy loop
        assert manager.phase is Phase.FAILED

{mark}
async def test_two(manager):
    await anyio.sleep(0.05)

def test_three():
    pass
"""

ANYIO_BACKENDS = """
@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param
"""

RECIPES = {
    ("anyio", "function"): {
        "imports": ANYIO_BACKENDS,
        "fixture": "pytest.fixture",
        "arguments": "anyio_backend",
        "mark": "@pytest.mark.anyio",
    },
    ("anyio", "module"): {
        "imports": ANYIO_BACKENDS,
        "fixture": "pytest.fixture(scope='module')",
        "arguments": "anyio_backend",
        "mark": "@pytest.mark.anyio",
    },
    ("asyncio", "function"): {
        "imports": "import pytest_asyncio",
        "fixture": "pytest_asyncio.fixture",
        "arguments": "",
        "mark": "@pytest.mark.asyncio",
    },
    ("asyncio", "module"): {
        "imports": "import pytest_asyncio",
        "fixture": "pytest_asyncio.fixture(scope='module', loop_scope='module')",
        "arguments": "",
        "mark": "@pytest.mark.asyncio(loop_scope='module')",
    },
    ("trio", "function"): {  # it has no other scope
        "imports": "import pytest_trio",
        "fixture": "pytest_trio.trio_fixture",
        "arguments": "",
        "mark": "@pytest.mark.trio",
    },
}


@pytest.mark.parametrize("crashes", [False, True], ids=["well", "crashes"])
@pytest.mark.parametrize(("plugin", "scope"), RECIPES)
def test_fixture(pytester: pytest.Pytester, plugin: str, scope: str, crashes: bool) -> None:
    tests = TESTS.format_map(RECIPES[plugin, scope])
    pytester.makepyfile(f"CRASHES = {crashes}\n{APPLICATION}{tests}")
    result = pytester.runpytest_subprocess("-rA", "-p", "no:cacheprovider", timeout=60)

    backends = 2 if plugin == "anyio" else 1
    lifespans = backends * (2 if scope == "function" else 1)
    passed, told = 2 * backends + 1, lifespans
    if crashes:
        # It is raised where the fixture is left; the tests themselves run on. For pytest-trio that
        # is within the test, and pytest leaves a module's fixture in the set-up of the next test.
        passed -= lifespans if plugin == "trio" else lifespans - 1 if scope == "module" else 0
    kind = "failed" if plugin == "trio" else "errors"
    result.assert_outcomes(passed=passed, **({kind: told} if crashes else {}))
    output = result.stdout.str()
    if crashes:
        assert (
            output.count("LifespanCrashed: the application's lifespan crashed while") >= lifespans
        )
        assert 'raise ValueError("boom")' in output
    else:
        assert output.count("SHUT DOWN") == lifespans
    assert "warning" not in output.splitlines()[-1]


@pytest.mark.skipif(
    sys.version_info < (3, 11), reason="all of its steps are one task, which the crash cancels"
)
@pytest.mark.parametrize("crashes", [False, True], ids=["well", "crashes"])
def test_unittest(pytester: pytest.Pytester, crashes: bool) -> None:
    # asyncSetUp() and the clean-up are tasks of their own, and no generators.
    pytester.makepyfile(
        f"CRASHES = {crashes}\n"
        + APPLICATION
        + """
from unittest import IsolatedAsyncioTestCase
from anylifespan import LifespanManager, Phase

class Test(IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.manager = LifespanManager(application)
        await self.manager.__aenter__()
        self.addAsyncCleanup(self.manager.__aexit__, None, None, None)

    async def test_one(self):
        await anyio.sleep(0.05)
        assert self.manager.phase is (Phase.FAILED if CRASHES else Phase.SERVING)
"""
    )
    result = pytester.runpytest_subprocess("-rA", "-p", "no:cacheprovider", timeout=60)
    output = result.stdout.str()
    assert (
        "LifespanCrashed: the application's lifespan crashed while serving" in output
    ) is crashes
    assert ("SHUT DOWN" in output) is not crashes
