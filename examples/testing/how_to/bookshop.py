import os
import sqlite3
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Request


@asynccontextmanager
async def lifespan(app):
    database = sqlite3.connect(os.environ.get("DATABASE", ":memory:"))
    try:
        database.execute("CREATE TABLE IF NOT EXISTS orders (book TEXT)")
        yield {"database": database}
    finally:
        database.close()


app = FastAPI(lifespan=lifespan)


def exchange_rate():
    raise ConnectionError("the bank is closed")


@app.post("/orders/{book}")
async def order(book: str, request: Request) -> None:
    request.state.database.execute("INSERT INTO orders VALUES (?)", (book,))


@app.get("/orders")
async def orders(request: Request) -> list[str]:
    return [book for (book,) in request.state.database.execute("SELECT book FROM orders")]


@app.get("/price")
async def price(rate: Annotated[float, Depends(exchange_rate)]) -> float:
    return 10 * rate
