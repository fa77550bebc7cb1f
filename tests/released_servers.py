"""The released servers: how each is started, and which cases of the kit it fails.

In a command, the fields of the kit are filled in: ``{app}``, ``{host}``, ``{port}``, ``{workers}``
and ``{directory}``, where the application of a scenario is.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from anylifespan.cli._conform import read_expected

TESTS = Path(__file__).parent
PROJECT = TESTS.parent
PYTHON = [sys.executable, "-m"]
BIND = ["-b", "{host}:{port}"]
PORT = ["--host", "{host}", "--port", "{port}"]
WORKERS = ["--workers", "{workers}"]


@dataclass(frozen=True)
class Server:
    """One way to serve.

    :ivar package: what has to be installed
    :ivar command: what to run
    :ivar knows_lifespan: whether it sends the lifespan at all
    :ivar restarts: whether it starts another worker for one that has ended
    :ivar websockets: whether it has them
    """

    package: str
    command: Sequence[str]
    knows_lifespan: bool = True
    restarts: bool = False
    websockets: bool = True

    @property
    def installed(self) -> bool:
        return find_spec(self.package) is not None

    def around(self, target: str, **environment: str) -> Server:
        """Return the same server, but with an application around the scenario's.

        :param target: that application, such as ``"around:app"``; ``APP`` names the scenario's
        :param environment: further environment variables
        """
        path = python_path("{directory}", TESTS, TESTS / "servers", PROJECT)
        environment = {"APP": "{app}", "PYTHONPATH": path, **environment}
        command = [target if part == "{app}" else part for part in self.command]
        variables = [f"{name}={value}" for name, value in environment.items()]
        return replace(self, command=["env", *variables, *command])

    def with_options(self, *options: str) -> Server:
        return replace(self, command=[*self.command, *options])


def python_path(*places: str | Path | None) -> str:
    """Return a PYTHONPATH of these places, if given, followed by that of this process."""
    return os.pathsep.join(str(one) for one in (*places, os.environ.get("PYTHONPATH")) if one)


def _script(name: str) -> str:
    """A command that is installed where Python is."""
    return str(Path(sys.executable).with_name(name))


def gunicorn(worker: str, *, package: str = "gunicorn", timeout: int = 15) -> Server:
    """Gunicorn with some class of workers.

    :param timeout: seconds after which it kills a worker that blocks; its drop-in takes them for
        the startup
    """
    command = [*PYTHON, "gunicorn", *BIND, *WORKERS, "--no-control-socket", "-k", worker]
    limits = ["--timeout", str(timeout), "--graceful-timeout", "4"]
    return Server(package, [*command, *limits, "{app}"], restarts=True)


def _corn(module: str, backend: str) -> list[str]:
    return [*PYTHON, module, *BIND, "-k", backend, *WORKERS, "--graceful-timeout", "3", "{app}"]


SERVERS = {
    "uvicorn": Server("uvicorn", [*PYTHON, "uvicorn", *PORT, *WORKERS, "{app}"]),
    "gunicorn": gunicorn("asgi"),
    "granian": Server(
        "granian", [*PYTHON, "granian", "--interface", "asgi", *PORT, *WORKERS, "{app}"]
    ),
    **{
        f"{name}, {backend}": Server(name, _corn(name, backend))
        for name in ("hypercorn", "anycorn")
        for backend in ("asyncio", "trio")
    },
    "daphne": Server(
        "daphne",
        [*PYTHON, "daphne", "-b", "{host}", "-p", "{port}", "{app}"],
        knows_lifespan=False,
    ),
}
# Whatever an application does, one of them runs its lifespan twice, and the other no shutdown.
OTHER_SERVERS = {
    # A module of Envoy, in Rust, that embeds Python.
    "pyvoy": Server(
        "pyvoy",
        [_script("pyvoy"), "--websockets", "{app}", "--address", "{host}", "--port", "{port}"],
    ),
    # uWebSockets, in C++.
    "socketify": Server("socketify", [*PYTHON, "socketify", "{app}", *PORT]),
}


def command_of_ours(name: str, *options: str, startup: float = 5, shutdown: float = 3) -> Server:
    """A server's own command with the drop-in inside: ``python -m anylifespan.servers.uvicorn``.

    :param name: ``uvicorn``, ``hypercorn`` or ``anycorn``
    :param startup: its limit in seconds
    :param shutdown: its limit in seconds
    """
    limits = [f"--startup-timeout={startup:g}", f"--shutdown-timeout={shutdown:g}"]
    bind = PORT if name == "uvicorn" else BIND
    command = [*PYTHON, f"anylifespan.servers.{name}", *bind, *WORKERS, *limits, *options]
    return Server(name, [*command, "{app}"])


DROP_INS = {
    "uvicorn": command_of_ours("uvicorn", "--timeout-graceful-shutdown", "3"),
    "gunicorn": gunicorn("anylifespan.servers.gunicorn.ASGIWorker"),
    **{
        f"{name}, {backend}": command_of_ours(name, "-k", backend, "--graceful-timeout", "3")
        for name in ("hypercorn", "anycorn")
        for backend in ("asyncio", "trio")
    },
}

BY_ITSELF, MIDDLEWARE, DROP_IN = "by itself", "with LifespanMiddleware", "by the drop-in"
EXPECTED = TESTS / "conformance" / "expected"

# The status depends on which of the processes is the first to notice that the worker has ended.
_OF_THE_STATUS = {
    "startup.failed-exit-status",
    "serving.stops-after-the-lifespan-returned",
    "crash.exit-status",
    "shutdown.failed-is-a-failure",
}
# Its process ends when it likes, whatever the application still does.
_OF_THE_LAST_MOMENTS = {
    "shutdown.after-the-last-request",
    "shutdown.answers-the-last-request",
    "shutdown.is-waited-for",
    "shutdown.waits-for-the-application",
}
# When one of the workers has ended, the others are killed, whatever they still do.
_OF_OTHER_WORKERS = {"workers.shutdown-in-each"}
_UNSTEADY = {
    "hypercorn": _OF_THE_STATUS | _OF_OTHER_WORKERS,
    "anycorn": _OF_THE_STATUS | _OF_OTHER_WORKERS,
    "pyvoy": _OF_THE_LAST_MOMENTS,
}


def of_servers() -> dict[tuple[str, str], Server]:
    """By their name and the way in which they are used."""
    servers: dict[tuple[str, str], Server] = {}
    for name, server in (SERVERS | OTHER_SERVERS).items():
        servers[name, BY_ITSELF] = server
        servers[name, MIDDLEWARE] = server.around("around:app")
        if name in DROP_INS:
            servers[name, DROP_IN] = DROP_INS[name]
    return servers


def file_of(name: str, way: str) -> Path:
    """Lists the cases that a server, or a driver, is expected to fail."""
    slug = re.sub(r"\W+", "-", f"{name} {way}").strip("-").lower()
    return EXPECTED / f"{slug}.txt"


def expected(name: str, way: str) -> frozenset[str]:
    file = file_of(name, way)
    return read_expected(str(file) if file.exists() else None)


def unsteady(name: str) -> set[str]:
    """The cases that a server passes now and then."""
    return _UNSTEADY.get(name.partition(",")[0], set())
