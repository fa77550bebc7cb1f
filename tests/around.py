"""The application of a scenario, under the middleware.

``APP`` in the environment names the application, as ``{app}`` does in a server's command::

    anylifespan conform -- env APP={app} uvicorn around:app --port {port}
"""

from __future__ import annotations

import os
import pkgutil
import signal
import time
from typing import Any

import anyio.to_thread

from anylifespan import LifespanMiddleware

# Seconds.
STARTUP = float(os.environ.get("STARTUP_TIMEOUT", "5"))
SHUTDOWN = float(os.environ.get("SHUTDOWN_TIMEOUT", "3"))
DRAIN = float(os.environ.get("DRAIN_TIMEOUT", "2"))
BLOCKS = float(os.environ.get("BLOCKS", "0"))

if "TERMINATED" in os.environ:
    os.kill(os.getpid(), signal.SIGTERM)  # while the server imports this

inner = pkgutil.resolve_name(os.environ["APP"])


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """Run the scenario's application, and block its startup for ``BLOCKS`` seconds."""

    async def receive_and_block() -> Any:
        event = await receive()
        if event["type"] == "lifespan.startup" and BLOCKS:
            time.sleep(BLOCKS)  # noqa: ASYNC251 - the startup blocks here
        return event

    if scope.get("path") == "/thread":
        inner.files.note("thread")
        await anyio.to_thread.run_sync(time.sleep, 30)  # which nobody can cancel
    await inner(scope, receive_and_block, send)


app = LifespanMiddleware(
    bare, startup_timeout=STARTUP, shutdown_timeout=SHUTDOWN, drain_timeout=DRAIN
)

watched = LifespanMiddleware(
    bare,
    startup_timeout=10,
    start_in_background=True,
    liveness_path="/live",
    readiness_path="/ready",
    on_crash="log",
)
