"""The application that is given to hosts and tools."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request


class Shop:
    """An application, and how often it has been started and shut down."""

    def __init__(self) -> None:
        self.history: list[str] = []
        self.app = FastAPI(lifespan=self.lifespan)
        self.app.add_api_route("/", self.front_page)

    @asynccontextmanager
    async def lifespan(self, app: Any) -> AsyncIterator[dict[str, str]]:
        self.history.append("up")
        yield {"database": "open"}
        self.history.append("down")

    async def front_page(self, request: Request) -> dict[str, str]:
        return {"database": request.state.database}
