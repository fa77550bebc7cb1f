"""The example: a FastAPI application that opens and migrates its database in its lifespan."""

from __future__ import annotations

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
