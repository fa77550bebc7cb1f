"""The pages about frameworks: their code is a project, whose tests and check pass as they stand."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from pages import PROJECT, snippets_of

from anylifespan import LifespanCrashed
from anylifespan.testing import asgi_client

pytestmark = pytest.mark.processes

PAGES = sorted(path.stem for path in (PROJECT / "docs" / "frameworks").glob("*.md"))
# What django-admin startproject writes, as far as it matters here.
SETTINGS = """
ALLOWED_HOSTS = ["test"]
ROOT_URLCONF = "shop.urls"
SECRET_KEY = "for the tests alone"
"""


@pytest.fixture
def project(page: str, tmp_path: Path) -> Path:
    """The code of a page, each in its file."""
    if page == "django":
        (tmp_path / "shop").mkdir()
        (tmp_path / "shop" / "settings.py").write_text(SETTINGS)
    for name, code in snippets_of(f"docs/frameworks/{page}.md").items():
        if "." in name:
            (tmp_path / name).write_text(code)
    return tmp_path


def run(command: list[str], project: Path) -> str:
    command = [sys.executable, *command]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("page", PAGES)
def test_its_tests_pass(project: Path) -> None:
    output = run(["-m", "pytest", "-q", "-p", "no:cacheprovider"], project)
    assert "passed" in output
    assert "warning" not in output


@pytest.mark.parametrize("page", PAGES)
def test_its_check_passes(page: str, project: Path) -> None:
    command = shlex.split(snippets_of(f"docs/frameworks/{page}.md")["check"])
    output = run(["-m", *command], project)
    assert "asyncio  complete" in output
    assert "no lifespan" not in output


@pytest.mark.parametrize("page", ["fastapi"])
def test_a_mounted_application(project: Path) -> None:
    script = "from mounted import app; from anylifespan.testing import asgi_sync_client\n"
    script += "with asgi_sync_client(app) as client: print(client.get('/reports/').text)"
    assert run(["-c", script], project) == '["sales"]\n'


@pytest.mark.anyio
async def test_a_background_task_that_raises() -> None:
    names: dict[str, object] = {"__name__": "background"}
    exec(snippets_of("docs/frameworks/starlette.md")["background.py"], names)
    with pytest.raises(LifespanCrashed, match="the broker has closed the connection"):
        async with asgi_client(names["app"]) as client:
            await client.lifespan.wait_crashed()
