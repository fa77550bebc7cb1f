"""Under a WSGI server, by the gunicorn.conf.py of docs/servers.md, as it stands."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from pages import snippets_of
from processes import Process, running
from released_servers import Server

MAIN = """
import os
from contextlib import asynccontextmanager

import anyio
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

async def dies(die):
    await die.wait()
    raise RuntimeError("the consumer died")

@asynccontextmanager
async def lifespan(app):
    print("starting up", os.getpid())
    if os.environ["BEHAVIOUR"] == "fails":
        raise RuntimeError("no database")
    die = anyio.Event()
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(dies, die)
        yield {"database": "open", "die": die}
        task_group.cancel_scope.cancel()
    print("has shut down", os.getpid())

async def front_page(request):
    return PlainTextResponse(request.state.database)

async def crash(request):
    request.state.die.set()
    return PlainTextResponse("")

app = Starlette(routes=[Route("/", front_page), Route("/crash", crash)], lifespan=lifespan)
"""
GUNICORN = Server(
    "gunicorn",
    [sys.executable, "-m", "gunicorn", "-c", "{app}", "-b", "127.0.0.1:{port}"],
)


@contextmanager
def serving(directory: Path, behaviour: str = "") -> Iterator[Process]:
    (directory / "main.py").write_text(MAIN)
    file = directory / "gunicorn.conf.py"
    file.write_text(snippets_of("docs/servers.md")["wsgi"])
    environment = {"BEHAVIOUR": behaviour, "PYTHONPATH": str(directory)}
    with running(GUNICORN, str(file), **environment) as process:
        yield process


def test_the_lifespan_of_a_worker(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        assert server.wait_for("starting up")
        server.wait_listening()
        response = httpx.get(f"http://127.0.0.1:{server.port}/")
        assert (response.status_code, response.text) == (200, "open")
        server.signal(signal.SIGTERM)
        assert server.wait_ended(10) == 0
        assert server.count("has shut down") == 1


def test_a_worker_whose_lifespan_crashes_is_replaced(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.wait_listening()
        httpx.get(f"http://127.0.0.1:{server.port}/crash")
        assert server.wait_for("starting up", times=2)
        assert "RuntimeError: the consumer died" in "\n".join(server.output)
        assert httpx.get(f"http://127.0.0.1:{server.port}/").text == "open"
        server.signal(signal.SIGTERM)
        assert server.wait_ended(10) == 0
        assert server.count("has shut down") == 1


def test_a_startup_that_fails(tmp_path: Path) -> None:
    with serving(tmp_path, "fails") as server:
        assert server.wait_ended(20) == 3  # Gunicorn's "worker failed to boot"
        assert "RuntimeError: no database" in "\n".join(server.output)


pytestmark = pytest.mark.skipif(not GUNICORN.installed, reason="gunicorn is not installed")
