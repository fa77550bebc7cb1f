"""Serves ``application.bare`` by a drop-in: ``python drop_ins.py NAME BACKEND PORT``."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import anyio
from application import DRAIN, TIMEOUT, bare


def serve_by_uvicorn(port: int) -> None:
    from anylifespan.servers.uvicorn import run

    # One second is for itself.
    graceful = None if DRAIN is None else round(DRAIN + 1)
    limits = {"startup_timeout": TIMEOUT, "shutdown_timeout": TIMEOUT}
    run(bare, port=port, timeout_graceful_shutdown=graceful, **limits)


def serve_by_corn(name: str, backend: str, port: int) -> None:
    config: Any = importlib.import_module(f"{name}.config").Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.startup_timeout = config.shutdown_timeout = TIMEOUT
    if DRAIN is not None:
        config.graceful_timeout = DRAIN + 1
    serve = importlib.import_module(f"anylifespan.servers.{name}").serve
    anyio.run(serve, bare, config, backend=backend)


def serve_by_example(backend: str, port: int) -> None:
    from examples.tiny_server import serve

    anyio.run(serve, bare, port, TIMEOUT, backend=backend)


if __name__ == "__main__":
    name, backend, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if name == "uvicorn":
        serve_by_uvicorn(port)
    elif name == "tiny_server":
        serve_by_example(backend, port)
    else:
        serve_by_corn(name, backend, port)
