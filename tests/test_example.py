"""The examples, as they stand."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from test_cli import TESTS, TIMEOUTS, anylifespan, rows

from anylifespan import LifespanManager

pytestmark = pytest.mark.anyio

PROJECT = TESTS.parent


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.syspath_prepend(PROJECT)
    monkeypatch.setenv("BOOKSHOP_DATABASE", str(tmp_path / "books.db"))
    monkeypatch.delitem(sys.modules, "examples.bookshop", raising=False)
    from examples.bookshop import app

    return app


async def test_books_are_listed_and_sold(app: Any) -> None:
    for copies in (1, 0):  # the second time, the database is there already
        async with (
            # Without limits: a virtual clock does not wait for the threads that SQLite is used in.
            LifespanManager(app, mode="on", startup_timeout=None, shutdown_timeout=None) as manager,
            httpx.AsyncClient(
                transport=httpx.ASGITransport(manager.app), base_url="http://test"
            ) as client,
        ):
            books = {book["title"]: book for book in (await client.get("/books")).json()}
            assert len(books) == 2
            solaris = books["Solaris"]
            assert solaris["copies"] == copies
            sold = await client.post(f"/books/{solaris['id']}/sell")
            assert sold.status_code == (200 if copies else 404)


def test_check() -> None:
    done = anylifespan("check", "examples.bookshop:app", cwd=PROJECT)
    assert rows(done.stdout)[1:] == [
        ["asyncio", "complete 0 s", "complete 0 s", "database"],
        ["trio", "complete 0 s", "complete 0 s", "database"],
    ]
    assert done.returncode == 0


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_check_with_a_startup_that_hangs(tmp_path: Path, backend: str) -> None:
    (tmp_path / "hanging.py").write_text(
        "import sys, anyio\n"
        f"sys.path.insert(0, {str(PROJECT)!r})\n"
        "import examples.bookshop as bookshop\n"
        "class Threads:\n"
        "    @staticmethod\n"
        "    async def run_sync(*args): await anyio.sleep_forever()\n"
        "bookshop.to_thread, app = Threads, bookshop.app\n"
    )
    arguments = ("--app-dir", str(tmp_path), "--backend", backend, *TIMEOUTS)
    done = anylifespan("check", "hanging:app", *arguments)
    call = "database = await to_thread.run_sync(open_database, path)"
    lines = (PROJECT / "examples" / "bookshop.py").read_text().splitlines()
    number = next(number for number, line in enumerate(lines, 1) if call in line)
    assert f'examples/bookshop.py", line {number}, in lifespan\n    {call}\n' in done.stdout
    assert done.returncode == 1


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import an example anew."""

    def example(name: str) -> Any:
        monkeypatch.syspath_prepend(PROJECT)
        monkeypatch.delitem(sys.modules, f"examples.{name}", raising=False)
        return importlib.import_module(f"examples.{name}")

    return example


def client_of(manager: LifespanManager) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(manager.app)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost:8000")


async def test_mounted_applications_have_their_lifespans_run(example: Any) -> None:
    async with LifespanManager(example("mounted").app, mode="on") as manager:
        async with client_of(manager) as client:
            assert "Solaris" in (await client.get("/catalogue/")).json()
            assert (await client.post("/reports/Solaris")).json() == ["Solaris"]
            assert (await client.post("/reports/Solaris")).json() == ["Solaris", "Solaris"]


async def test_a_mounted_mcp_server_is_up(example: Any) -> None:
    async with LifespanManager(example("with_mcp").app, mode="on") as manager:
        async with client_of(manager) as client:
            answer = await client.post(
                "/shop/mcp",
                headers={"accept": "application/json, text/event-stream"},
                json={
                    "jsonrpc": "2.0",
                    "id": 1,
                    "method": "tools/call",
                    "params": {"name": "stock", "arguments": {"title": "Solaris"}},
                },
            )
            assert answer.json()["result"]["structuredContent"] == {"result": 1}


@pytest.mark.parametrize("name", ["mounted", "django_with_lifespan"])
def test_check_the_others(name: str) -> None:
    done = anylifespan("check", f"examples.{name}:app", "--mode", "on", cwd=PROJECT)
    assert [row[:3] for row in rows(done.stdout)[1:]] == [
        ["asyncio", "complete 0 s", "complete 0 s"],
        ["trio", "complete 0 s", "complete 0 s"],
    ]


def test_the_tiny_server_is_tiny() -> None:
    assert len((PROJECT / "examples" / "tiny_server.py").read_text().splitlines()) < 125
