"""A bookshop: FastAPI, with a SQLite database that is opened and migrated in its lifespan.

On asyncio and on trio alike::

    anylifespan check examples.bookshop:app
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, TypedDict

from anyio import to_thread
from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel

MIGRATIONS = [
    "CREATE TABLE books (id INTEGER PRIMARY KEY, title TEXT NOT NULL, author TEXT NOT NULL)",
    "ALTER TABLE books ADD COLUMN copies INTEGER NOT NULL DEFAULT 1",
    """
    INSERT INTO books (title, author, copies) VALUES
        ('The Left Hand of Darkness', 'Ursula K. Le Guin', 3),
        ('Solaris', 'Stanisław Lem', 1)
    """,
]


class State(TypedDict):
    database: sqlite3.Connection


class Book(BaseModel):
    id: int
    title: str
    author: str
    copies: int


def open_database(path: str) -> sqlite3.Connection:
    # Each request uses it from a worker thread; SQLite itself takes them one after the other.
    database = sqlite3.connect(path, check_same_thread=False)
    database.row_factory = sqlite3.Row
    return database


def migrate(database: sqlite3.Connection) -> None:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    for number, migration in enumerate(MIGRATIONS[version:], start=version + 1):
        with database:
            database.execute(migration)
            database.execute(f"PRAGMA user_version = {number}")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[State]:
    path = os.environ.get("BOOKSHOP_DATABASE", ":memory:")
    database = await to_thread.run_sync(open_database, path)
    try:
        await to_thread.run_sync(migrate, database)
        yield {"database": database}
    finally:
        await to_thread.run_sync(database.close)


app = FastAPI(title="Bookshop", lifespan=lifespan)


def get_database(request: Request) -> sqlite3.Connection:
    database: sqlite3.Connection = request.state.database
    return database


Database = Annotated[sqlite3.Connection, Depends(get_database)]


@app.get("/books")
def list_books(database: Database) -> list[Book]:
    return [Book(**dict(row)) for row in database.execute("SELECT * FROM books ORDER BY title")]


@app.post("/books/{book_id}/sell")
def sell_book(book_id: int, database: Database) -> Book:
    with database:
        row = database.execute(
            "UPDATE books SET copies = copies - 1 WHERE id = ? AND copies > 0 RETURNING *",
            [book_id],
        ).fetchone()
    if row is None:
        raise HTTPException(404, "No copy of this book is left.")
    return Book(**dict(row))
