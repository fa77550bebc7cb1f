"""Real servers, as processes on loopback."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

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


class Process:
    """A server that runs.

    :ivar output: the lines that it has written so far
    """

    def __init__(self, server: Server, app: str, behaviour: str, **environment: str) -> None:
        self.port = _free_port()
        self.output: list[str] = []
        self._news = threading.Condition()
        self._over = False
        command = [part.format(app=app, port=self.port) for part in server.command]
        others = [environment.get("PYTHONPATH"), os.environ.get("PYTHONPATH")]
        path = [str(HERE), str(PROJECT), *filter(None, others)]
        environment |= {
            "BEHAVIOUR": behaviour,
            "PYTHONPATH": os.pathsep.join(path),
            "PYTHONUNBUFFERED": "1",
        }
        self._popen = subprocess.Popen(
            command,
            cwd=HERE,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # so that all of its processes can be found
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            self._tell(lambda line=line: self.output.append(line.rstrip()))
        self._tell(lambda: setattr(self, "_over", True))

    def _tell(self, what: Callable[[], object]) -> None:
        with self._news:
            what()
            self._news.notify_all()

    def wait_for(self, pattern: str, times: int = 1, limit: float = LIMIT) -> bool:
        """Wait until it has written this so often; whether it has."""

        def written() -> bool:
            return self.count(pattern) >= times

        with self._news:
            self._news.wait_for(lambda: written() or self._over, limit)
            return written()

    def count(self, pattern: str) -> int:
        """How often it has written this; two processes may write it into one line."""
        with self._news:
            return len(re.findall(pattern, "\n".join(self.output), re.MULTILINE))

    def wait_listening(self) -> None:
        """Wait until it takes connections, which Granian does a moment after it says so."""
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.01)  # there is nothing to wait for

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def wait_ended(self, limit: float) -> tuple[int | None, float]:
        """Its status and how many seconds it took to end; no status if it has not ended."""
        begun = time.monotonic()
        try:
            status: int | None = self._popen.wait(limit)
        except subprocess.TimeoutExpired:
            status = None
        else:
            self._reader.join(LIMIT)
        return status, time.monotonic() - begun

    def leaves_processes(self) -> bool:
        """Whether others are left of it; a moment is given to those that only notice its end."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            try:
                os.killpg(self._popen.pid, 0)
            except ProcessLookupError:
                return False
            time.sleep(0.01)  # only the end of one's children can be waited for
        return True

    def kill(self) -> None:
        """End whatever is left of it."""
        with suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait(LIMIT)
        self._reader.join(LIMIT)
        assert self._popen.stdout is not None
        self._popen.stdout.close()


@contextmanager
def running(server: Server, app: str, behaviour: str = "", **environment: str) -> Iterator[Process]:
    process = Process(server, app, behaviour, **environment)
    try:
        yield process
    finally:
        process.kill()


def _free_port() -> int:
    """One below those that systems give to connections, any of which may come before the server."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
