"""The application of a scenario, mounted in one of FastAPI that the middleware is added to.

It is a module of its own since importing FastAPI takes as long as starting a server.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from around import DRAIN, SHUTDOWN, STARTUP, bare, inner
from fastapi import FastAPI

from anylifespan import LifespanMiddleware, lifespan_of

variable = sys.modules[type(inner).__module__].variable


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
    async with lifespan_of(bare)(app) as state:
        variable.set("set in the startup")  # those of a part are its own
        yield state


app = FastAPI(lifespan=lifespan)
app.add_middleware(
    LifespanMiddleware, startup_timeout=STARTUP, shutdown_timeout=SHUTDOWN, drain_timeout=DRAIN
)
app.mount("/", bare)
