"""Real servers, as processes on loopback."""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from anylifespan.conformance import _process

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
LIMIT = 30  # seconds for what should not take long, on a slow machine

_PYTHON = [sys.executable, "-m"]
_BIND = "127.0.0.1:{port}"


@dataclass(frozen=True)
class Server:
    """One way to serve.

    :ivar package: what has to be installed
    :ivar command: what to run; ``{app}`` and ``{port}`` are filled in
    :ivar ready: what it logs when it serves
    :ivar knows_lifespan: whether it sends the lifespan at all
    :ivar restarts: whether it starts another worker for one that has ended
    :ivar websockets: whether it has them
    :ivar workers: how many processes serve, each of which logs that it does
    """

    package: str
    command: list[str]
    ready: str
    knows_lifespan: bool = True
    restarts: bool = False
    websockets: bool = True
    workers: int = 1

    @property
    def installed(self) -> bool:
        return find_spec(self.package) is not None


def _drop_in(name: str, backend: str, package: str, ready: str, **options: bool) -> Server:
    script = str(HERE / "drop_ins.py")
    return Server(package, [sys.executable, script, name, backend, "{port}"], ready, **options)


_GUNICORN = [*_PYTHON, "gunicorn", "-b", _BIND, "--no-control-socket", "{app}"]
_GUNICORN += ["--timeout", "5", "--graceful-timeout", "3"]
_HYPERCORN = [*_PYTHON, "hypercorn", "-b", _BIND, "{app}"]
_ANYCORN = [*_PYTHON, "anycorn", "-b", _BIND, "{app}"]

# With the application's own lifespan, or that of the middleware.
SERVERS = {
    "uvicorn": Server(
        "uvicorn", [*_PYTHON, "uvicorn", "--port", "{port}", "{app}"], "Uvicorn running on"
    ),
    "gunicorn": Server(
        "gunicorn", [*_GUNICORN, "-k", "asgi"], "ASGI server listening", restarts=True
    ),
    "hypercorn, asyncio": Server("hypercorn", [*_HYPERCORN, "-k", "asyncio"], "Running on"),
    "hypercorn, trio": Server("hypercorn", [*_HYPERCORN, "-k", "trio"], "Running on"),
    "granian": Server(
        "granian",
        [*_PYTHON, "granian", "--interface", "asgi", "--port", "{port}", "{app}"],
        "Started worker-1$",
    ),
    "anycorn, asyncio": Server("anycorn", [*_ANYCORN, "-k", "asyncio"], "Running on"),
    "anycorn, trio": Server("anycorn", [*_ANYCORN, "-k", "trio"], "Running on"),
    "daphne": Server(
        "daphne",
        [*_PYTHON, "daphne", "-p", "{port}", "{app}"],
        "Listening on TCP",
        knows_lifespan=False,
    ),
}
DROP_INS = {
    "uvicorn": _drop_in("uvicorn", "asyncio", "uvicorn", "Uvicorn running on"),
    "gunicorn": Server(
        "gunicorn",
        [*_GUNICORN, "-k", "anylifespan.servers.gunicorn.ASGIWorker"],
        "ASGI server listening",
        restarts=True,
    ),
    **{
        f"{name}, {backend}": _drop_in(name, backend, name, "Running on")
        for name in ("hypercorn", "anycorn")
        for backend in ("asyncio", "trio")
    },
    **{
        f"tiny_server, {backend}": _drop_in(
            "tiny_server", backend, "h11", "Serving on", websockets=False
        )
        for backend in ("asyncio", "trio")
    },
}


def own_command(name: str, *options: str) -> Server:
    """The command of a server with the drop-in inside: ``-m anylifespan.servers.uvicorn``."""
    bind = ["--port", "{port}"] if name == "uvicorn" else ["-b", _BIND]
    limits = ["--startup-timeout", "1", "--shutdown-timeout", "1"]
    command = [*_PYTHON, f"anylifespan.servers.{name}", *bind, *limits, *options, "{app}"]
    return Server(name, command, "startup complete" if name == "uvicorn" else "Running on")


def _two_workers(server: Server, *options: str, **changes: Any) -> Server:
    command = [*server.command, "--workers", "2", *options]
    return replace(server, command=command, workers=2, **changes)


_UVICORN_WORKER = [*_GUNICORN, "-k", "uvicorn_worker.UvicornWorker"]

# Several workers under a supervisor, by the command line: with the lifespan of the middleware
# ("app") or that of the drop-in ("bare"). Supervisors may say that they run before the workers do.
SUPERVISED = {
    "uvicorn --workers 2": (_two_workers(SERVERS["uvicorn"], ready="startup complete"), "app"),
    "gunicorn -w 2 -k asgi": (_two_workers(SERVERS["gunicorn"]), "app"),
    "gunicorn -w 2 -k uvicorn_worker.UvicornWorker": (
        _two_workers(Server("uvicorn_worker", _UVICORN_WORKER, "startup complete")),
        "app",
    ),
    "granian --workers 2": (
        _two_workers(SERVERS["granian"], ready=r"Started worker-\d$"),
        "app",
    ),
    "granian --workers 2 --respawn-failed-workers": (
        _two_workers(SERVERS["granian"], "--respawn-failed-workers", ready=r"Started worker-\d$"),
        "app",
    ),
    "hypercorn -w 2": (_two_workers(SERVERS["hypercorn, asyncio"]), "app"),
    "anycorn -w 2": (_two_workers(SERVERS["anycorn, asyncio"]), "app"),
    "python -m anylifespan.servers.uvicorn --workers 2": (
        _two_workers(own_command("uvicorn", "--timeout-graceful-shutdown", "2")),
        "bare",
    ),
    "gunicorn -w 2 -k anylifespan.servers.gunicorn.ASGIWorker": (
        _two_workers(DROP_INS["gunicorn"]),
        "bare",
    ),
    "python -m anylifespan.servers.hypercorn -w 2": (
        _two_workers(own_command("hypercorn", "--graceful-timeout", "2")),
        "bare",
    ),
    "python -m anylifespan.servers.anycorn -w 2": (
        _two_workers(own_command("anycorn", "--graceful-timeout", "2")),
        "bare",
    ),
}


class Process(_process.Process):
    """A server that runs.

    :ivar output: the lines that it has written so far
    """

    def __init__(self, server: Server, app: str, behaviour: str, **environment: str) -> None:
        self._port = _process.Port()
        self.port = self._port.number
        command = [part.format(app=app, port=self.port) for part in server.command]
        others = [environment.get("PYTHONPATH"), os.environ.get("PYTHONPATH")]
        path = [str(HERE), str(PROJECT), *filter(None, others)]
        environment |= {
            "BEHAVIOUR": behaviour,
            "PYTHONPATH": os.pathsep.join(path),
            "PYTHONUNBUFFERED": "1",
        }
        super().__init__(command, environment, _process.Processes(), directory=HERE)

    def wait_for(self, pattern: str, times: int = 1, limit: float = LIMIT) -> bool:
        """Wait until it has written this so often; whether it has."""
        deadline = time.monotonic() + limit
        while self.count(pattern) < times:
            if not self._reader.is_alive() or time.monotonic() > deadline:
                return self.count(pattern) >= times
            time.sleep(0.01)  # there is nothing to wait for
        return True

    def count(self, pattern: str) -> int:
        """How often it has written this; two processes may write it into one line."""
        return len(re.findall(pattern, "\n".join(self.output), re.MULTILINE))

    def kill(self) -> None:
        super().kill()
        self._port.give_back()

    def wait_listening(self) -> None:
        """Wait until it takes connections, which Granian does a moment after it says so."""
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.01)  # there is nothing to wait for


@contextmanager
def running(server: Server, app: str, behaviour: str = "", **environment: str) -> Iterator[Process]:
    process = Process(server, app, behaviour, **environment)
    try:
        yield process
    finally:
        process.kill()
