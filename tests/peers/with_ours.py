"""A plugin for pytest: the class of a peer replaced by ours, before its tests import it.

``-p with_ours``, with the name of the suite in the environment variable PEER.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any


def asgi_lifespan() -> None:
    import asgi_lifespan

    from anylifespan.compat.asgi_lifespan import LifespanManager, LifespanNotSupported

    asgi_lifespan.LifespanManager = LifespanManager  # type: ignore[assignment, misc]
    asgi_lifespan.LifespanNotSupported = LifespanNotSupported  # type: ignore[assignment, misc]


def uvicorn() -> None:
    """Its lifespan, its configuration and its command."""
    import uvicorn.config
    import uvicorn.lifespan.on

    from anylifespan.servers.uvicorn import Config, Lifespan, command, run

    uvicorn.lifespan.on.LifespanOn = Lifespan  # type: ignore[assignment, misc]
    # uvicorn.main itself is the command.
    its_main: Any = import_module("uvicorn.main")
    its_main.main = command()
    its_main.run = run
    for module in (uvicorn, uvicorn.config, its_main):
        module.Config = Config  # type: ignore[misc, attr-defined]


def hypercorn() -> None:
    import hypercorn.asyncio.lifespan
    import hypercorn.trio.lifespan

    from anylifespan.servers.hypercorn import AsyncioLifespan, TrioLifespan

    hypercorn.asyncio.lifespan.Lifespan = AsyncioLifespan  # type: ignore[assignment, misc]
    hypercorn.trio.lifespan.Lifespan = TrioLifespan  # type: ignore[assignment, misc]


def gunicorn() -> None:
    import gunicorn.asgi.lifespan

    from anylifespan.servers.gunicorn import LifespanManager

    gunicorn.asgi.lifespan.LifespanManager = LifespanManager


def starlette() -> None:
    """Every application that its TestClient drives is under the middleware."""
    from starlette.testclient import TestClient

    from anylifespan import LifespanMiddleware

    init: Any = TestClient.__init__

    def init_with_ours(self: Any, app: Any, *args: Any, **options: Any) -> None:
        init(self, LifespanMiddleware(app), *args, **options)

    TestClient.__init__ = init_with_ours  # type: ignore[method-assign]


fastapi = starlette


def testclient() -> None:
    """Its TestClient itself."""
    import starlette.testclient
    from as_testclient import TestClient

    starlette.testclient.TestClient = TestClient  # type: ignore[assignment, misc]


def httpx() -> None:
    """Its transport for applications."""
    sys.modules["httpx2"] = None  # type: ignore[assignment]
    import httpx

    from anylifespan.testing import ASGITransport

    httpx.ASGITransport = ASGITransport  # type: ignore[assignment, misc]


globals()[os.environ["PEER"]]()
