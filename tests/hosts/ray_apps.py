"""What is deployed on Ray Serve: imported by each replica."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import anyio
from fastapi import FastAPI, Request

Lifespan = Callable[[Any], Any]
tenant: ContextVar[str] = ContextVar("tenant")


def shop(lifespan: Lifespan) -> FastAPI:
    app = FastAPI(lifespan=lifespan)

    @app.get("/")
    async def front_page(request: Request) -> dict[str, object]:
        await anyio.sleep(0.05)
        return {"replica": os.getpid(), "state": request.state.database, "tenant": tenant.get("")}

    @app.get("/crash")
    async def crash(request: Request) -> None:
        request.state.die.set()

    return app


def serves() -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[dict[str, object]]:
        async def worker(die: anyio.Event) -> None:
            await die.wait()
            raise RuntimeError("the consumer died")

        die = anyio.Event()
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(worker, die)
            tenant.set("main")
            yield {"database": "open", "die": die}
            print(f"shut down {os.getpid()}", flush=True)
            task_group.cancel_scope.cancel()

    return shop(lifespan)


def fails() -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        raise RuntimeError("no database")
        yield

    return shop(lifespan)


def hangs() -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        await anyio.sleep_forever()
        yield

    return shop(lifespan)
