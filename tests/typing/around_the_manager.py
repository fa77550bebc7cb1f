"""What stands on the manager, as its users' type checkers see it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from django.core.asgi import get_asgi_application
from fastapi import FastAPI
from starlette.applications import Starlette

from anylifespan import (
    LifespanCrashed,
    LifespanManager,
    LifespanMiddleware,
    combine,
    lifespan_of,
    with_lifespan,
)
from anylifespan.compat import asgi_lifespan
from anylifespan.from_thread import start_blocking_lifespan
from anylifespan.servers.uvicorn import Config
from anylifespan.testing import asgi_client


@asynccontextmanager
async def with_state(app: FastAPI) -> AsyncGenerator[dict[str, Any], None]:
    yield {"pool": 1}


@asynccontextmanager
async def without_state(app: Any) -> AsyncGenerator[None, None]:
    yield


def tell(crash: LifespanCrashed) -> None:
    print(crash)


async def tell_later(crash: LifespanCrashed) -> None:
    print(crash)


sub = FastAPI(lifespan=with_state)
main = FastAPI(lifespan=lifespan_of(sub))
Starlette(lifespan=lifespan_of(sub, main, concurrent=True))
django = with_lifespan(get_asgi_application(), without_state, with_state, lifespan_of(sub))
LifespanManager(combine(main, sub, django))
app = LifespanMiddleware(django, startup_timeout=3, mode="on", on_crash=tell)
LifespanMiddleware(app, shutdown_timeout=None, on_crash=tell_later)
uvicorn.Config(app)
uvicorn.Server(Config(app, port=1, startup_timeout=3))


async def use() -> None:
    async with asgi_client(app, mode="auto", headers={"x": "y"}) as client:
        response = await client.get("/")
        status: int = response.status_code
        manager: LifespanManager = client.lifespan
        print(status, manager)

    async with asgi_lifespan.LifespanManager(app, startup_timeout=3) as old:
        LifespanManager(old.app)


def use_it_in_a_thread() -> None:
    with start_blocking_lifespan(app, "trio", mode="on") as lifespan:
        threads: int = lifespan.portal.call(lambda: 1)
        state: dict[str, Any] = lifespan.state
        print(threads, state)
