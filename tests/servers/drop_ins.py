"""Serves by the functions of a drop-in: ``python drop_ins.py NAME BACKEND HOST PORT``."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import anyio
from around import DRAIN, SHUTDOWN, STARTUP, bare

# A drop-in keeps some of this for itself.
GRACE = DRAIN + 1


def serve_by_uvicorn(host: str, port: int) -> None:
    from anylifespan.servers.uvicorn import run

    limits = {"startup_timeout": STARTUP, "shutdown_timeout": SHUTDOWN}
    run(bare, host=host, port=port, timeout_graceful_shutdown=round(GRACE), **limits)


def serve_by_corn(name: str, backend: str, host: str, port: int) -> None:
    config: Any = importlib.import_module(f"{name}.config").Config()
    config.bind = [f"{host}:{port}"]
    config.startup_timeout, config.shutdown_timeout = STARTUP, SHUTDOWN
    config.graceful_timeout = GRACE
    serve = importlib.import_module(f"anylifespan.servers.{name}").serve
    anyio.run(serve, bare, config, backend=backend)


def serve_by_example(backend: str, port: int) -> None:
    from examples.tiny_server import serve

    anyio.run(serve, bare, port, STARTUP, backend=backend)


if __name__ == "__main__":
    name, backend, host, port = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    if name == "uvicorn":
        serve_by_uvicorn(host, port)
    elif name == "tiny_server":
        serve_by_example(backend, port)
    else:
        serve_by_corn(name, backend, host, port)
