"""What each application waits for in its startup; ``SABOTAGE`` says what is wrong with it."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

SABOTAGE = os.environ.get("SABOTAGE", "")


async def connect() -> None:
    if SABOTAGE == "closed port":
        await anyio.connect_tcp("127.0.0.1", 9)
    if SABOTAGE == "hangs":
        await anyio.sleep_forever()
    if SABOTAGE == "blocks":
        time.sleep(60)  # noqa: ASYNC251


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    await connect()
    yield
