"""The first screen of the README: its three doors, as they stand."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from pages import snippets_of

DOORS = snippets_of("README.md")

# What the snippet for production stands in.
MAIN = """
from contextlib import asynccontextmanager

@asynccontextmanager
async def lifespan(app):
    {startup}
    yield
    print("SHUT DOWN")

{production}

@app.get("/")
async def front_page():
    return "hello"
"""
HANGS = "import anyio; await anyio.sleep_forever()"


@pytest.fixture
def main(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(main=MAIN.format(startup="pass", production=DOORS["production"]))
    return pytester


def test_production(main: pytest.Pytester) -> None:
    main.makepyfile(
        hangs=MAIN.format(startup=HANGS, production=DOORS["production"].replace("=10", "=0.1"))
    )
    command = [sys.executable, "-m", "uvicorn", "--port", "0", "hangs:app"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    for line in ("Waiting for application startup.", "Application startup failed. Exiting."):
        assert line in done.stderr
    assert "the application did not finish its startup within 0.1 seconds. It was" in done.stderr
    assert re.search(r'hangs\.py", line \d+, in lifespan\n +import anyio; await', done.stderr)


def test_tests(main: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    main.makeini("[pytest]\nanylifespan_app = main:app\npythonpath = .\n")
    main.makepyfile(DOORS["in tests"])
    done = main.runpytest_inprocess("-p", "anylifespan", "-s")
    done.assert_outcomes(passed=1)
    assert done.stdout.str().count("SHUT DOWN") == 1


def test_ci(main: pytest.Pytester) -> None:
    command = [sys.executable, "-m", *DOORS["in CI"].split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert re.search(r"asyncio +complete", done.stdout)


def test_each_door_takes_six_lines_at_most() -> None:
    for door in ("production", "in tests", "in CI"):
        assert len(DOORS[door].splitlines()) <= 6
