"""The tutorial, step by step, as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from pages import PROJECT, snippets_of

from anylifespan import LifespanCrashed, LifespanManager, StartupFailed, StartupTimeout
from anylifespan.testing import asgi_client, asgi_sync_client

pytestmark = pytest.mark.anyio

PAGE = (PROJECT / "docs" / "tutorial.md").read_text()
STEPS = snippets_of("docs/tutorial.md")
LIFESPAN = re.compile(r"@asynccontextmanager\n.*?(?=\n\napp = )", re.DOTALL)


def module(source: str) -> Any:
    """The module that a reader has at that step."""
    names: dict[str, Any] = {"__name__": "main"}
    exec(compile(source, "main.py", "exec"), names)
    return SimpleNamespace(**names)


def test_the_steps() -> None:
    assert list(STEPS) == ["main", "middleware", "consumer", "stream", "configuration", "test"]


async def test_the_application() -> None:
    async with asgi_client(module(STEPS["main"] + STEPS["middleware"]).app) as client:
        assert (await client.get("/")).json() == {"title": "Solaris"}


async def test_a_startup_that_hangs() -> None:
    source = STEPS["main"].replace("seconds_to_connect = 0", "seconds_to_connect = 60")
    main = module(source + STEPS["middleware"])
    with pytest.raises(StartupFailed) as caught:
        async with LifespanManager(main.app):
            pass
    error = caught.value.__cause__  # which the middleware has raised
    assert isinstance(error, StartupTimeout)
    assert error.timeout == 10
    places = re.findall(r'File "main.py", line \d+, in \w+', str(error))
    assert len(places) == 2
    for place in places:
        assert f"  {place}\n" in PAGE
        number = place.split()[3].rstrip(",")
    assert f"waiting at main.py:{number} in connect: await" in PAGE


async def test_a_background_task_that_dies(passed: Any) -> None:
    source, times = LIFESPAN.subn(STEPS["consumer"].rstrip(), STEPS["main"])
    assert times == 1
    main = module(source + STEPS["middleware"])
    since = anyio.current_time()
    with pytest.raises(LifespanCrashed, match="the broker has closed the connection"):
        async with LifespanManager(main.app):
            await anyio.sleep_forever()
    assert passed(since, 5)


def test_a_stream_that_never_ends() -> None:
    main = module(STEPS["main"] + STEPS["stream"] + STEPS["middleware"])
    with asgi_sync_client(main.app) as client, client.stream("GET", "/events") as response:
        assert next(response.iter_lines()) == "data: tick"


def test_a_test(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(STEPS["main"] + STEPS["middleware"])
    (tmp_path / "pytest.ini").write_text(STEPS["configuration"])
    (tmp_path / "test_main.py").write_text(STEPS["test"])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
