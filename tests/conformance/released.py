"""The servers and drivers that the kit judges, as they are released, and what is known of them.

What fails is kept in ``expected``, a file for each.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from drivers import OTHERS, OURS

from anylifespan.cli._conform import choose, read_expected
from anylifespan.cli._driven import DriverProcess
from anylifespan.conformance import Case, Verdict
from anylifespan.conformance._kit import Judge, judge, of_server

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
PATIENCE = 8.0

BY_ITSELF, MIDDLEWARE, DROP_IN = "by itself", "with LifespanMiddleware", "by the drop-in"
_PYTHON = [sys.executable, "-m"]
_BIND = ["-b", "{host}:{port}"]
_PORT = ["--host", "{host}", "--port", "{port}"]
_ADDRESS = ["--address", "{host}", "--port", "{port}"]
_GUNICORN = [*_PYTHON, "gunicorn", *_BIND, "-w", "{workers}", "--no-control-socket"]
_GUNICORN += ["--timeout", "15", "--graceful-timeout", "4"]


@dataclass(frozen=True)
class Server:
    """A server as it is started.

    :ivar package: what has to be installed
    :ivar first: what comes before the application
    :ivar drop_in: the same for the server with the drop-in inside; None if there is none
    :ivar last: what comes after the application
    """

    package: str
    first: list[str]
    drop_in: list[str] | None = None
    last: Sequence[str] = ()

    def commands(self) -> dict[str, list[str]]:
        """By the way in which it is used."""
        commands = {
            BY_ITSELF: [*self.first, "{app}", *self.last],
            MIDDLEWARE: ["env", "APP={app}", *self.first, "with_middleware:app", *self.last],
        }
        if self.drop_in is not None:
            commands[DROP_IN] = [*self.drop_in, "{app}"]
        return commands


def _script(name: str) -> str:
    """A command that is installed where Python is."""
    return str(Path(sys.executable).with_name(name))


def _uvicorn(module: str) -> list[str]:
    return [*_PYTHON, module, *_PORT, "--workers", "{workers}"]


def _corn(module: str, backend: str) -> list[str]:
    return [*_PYTHON, module, *_BIND, "-k", backend, "-w", "{workers}", "--graceful-timeout", "3"]


_LIMITS = ["--startup-timeout", "5", "--shutdown-timeout", "3"]
SERVERS = {
    "uvicorn": Server(
        "uvicorn",
        _uvicorn("uvicorn"),
        [
            *_uvicorn("anylifespan.servers.uvicorn"),
            *("--timeout-graceful-shutdown", "3"),
            *_LIMITS,
        ],
    ),
    "gunicorn": Server(
        "gunicorn",
        [*_GUNICORN, "-k", "asgi"],
        [*_GUNICORN, "-k", "anylifespan.servers.gunicorn.ASGIWorker"],
    ),
    "granian": Server(
        "granian",
        [*_PYTHON, "granian", "--interface", "asgi", *_PORT, "--workers", "{workers}"],
    ),
    **{
        f"{name}, {backend}": Server(
            name,
            _corn(name, backend),
            [*_corn(f"anylifespan.servers.{name}", backend), *_LIMITS],
        )
        for name in ("hypercorn", "anycorn")
        for backend in ("asyncio", "trio")
    },
    "daphne": Server("daphne", [*_PYTHON, "daphne", "-b", "{host}", "-p", "{port}"]),
    # A module of Envoy, in Rust, that embeds Python.
    "pyvoy": Server("pyvoy", [_script("pyvoy"), "--websockets"], last=_ADDRESS),
    # uWebSockets, in C++.
    "socketify": Server("socketify", [*_PYTHON, "socketify"], last=_PORT),
}
DISTRIBUTIONS = [
    *dict.fromkeys(server.package for server in SERVERS.values()),
    "asgi-lifespan",
    "starlette",
    "async-asgi-testclient",
    "asgi-tools",
    "mangum",
    "ray",
]


def of_servers() -> dict[tuple[str, str], Judge]:
    """By their name and the way in which they are used."""
    return {
        (name, way): of_server(command, patience=PATIENCE)
        for name, server in SERVERS.items()
        for way, command in server.commands().items()
    }


def of_drivers() -> dict[tuple[str, str], Judge]:
    """By their name and the backend."""
    drivers: Mapping[str, tuple[str, tuple[str, ...]]] = {
        **{f"anylifespan, {name.replace('_', ' ')}": (name, ("asyncio", "trio")) for name in OURS},
        **{title: (driver.__name__, backends) for title, (driver, backends) in OTHERS.items()},
    }
    new = partial(DriverProcess, app_dir=str(HERE), patience=PATIENCE)
    return {
        (title, backend): new(f"drivers:{name}", backend=backend)
        for title, (name, backends) in drivers.items()
        for backend in backends
    }


def chosen(name: str, way: str) -> list[Case]:
    return choose((), SERVERS[name].commands()[way] if name in SERVERS else ())


def verdicts(name: str, way: str, judge_together: Judge) -> list[Verdict]:
    """Of all cases, in their order."""
    together = chosen(name, way)
    of = {one.case.name: one for one in judge(together, judge_together, jobs=4)}
    return [of[case.name] for case in together]


def file_of(name: str, way: str) -> Path:
    slug = re.sub(r"\W+", "-", f"{name} {way}").strip("-").lower()
    return HERE / "expected" / f"{slug}.txt"


def expected(name: str, way: str) -> frozenset[str]:
    file = file_of(name, way)
    return read_expected(str(file) if file.exists() else None)


def versions() -> str:
    return ", ".join(f"{one} {version(one)}" for one in DISTRIBUTIONS)
