"""A FastAPI application with two others mounted, of which it runs the lifespans::

    anylifespan check examples.mounted:app

Requests to either see the state that its own lifespan has made.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request

from anylifespan import lifespan_of


@asynccontextmanager
async def open_catalogue(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    yield {"books": ["Solaris", "The Left Hand of Darkness"]}


@asynccontextmanager
async def open_reports(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    yield {"sold": []}


catalogue = FastAPI(title="Catalogue", lifespan=open_catalogue)
reports = FastAPI(title="Reports", lifespan=open_reports)


@catalogue.get("/")
async def list_books(request: Request) -> list[str]:
    books: list[str] = request.state.books
    return books


@reports.post("/{book}")
async def sell(request: Request, book: str) -> list[str]:
    sold: list[str] = request.state.sold
    sold.append(book)
    return sold


app = FastAPI(lifespan=lifespan_of(catalogue, reports))
app.mount("/catalogue", catalogue)
app.mount("/reports", reports)
