"""The ways in which this library is used with a server: under its middleware, or by a drop-in."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from released_servers import (
    BY_ITSELF,
    DROP_IN,
    MIDDLEWARE,
    SERVERS,
    Server,
    command_of_ours,
    gunicorn,
)
from scenarios import TIMEOUT

HERE = Path(__file__).parent
# The middleware as an application of FastAPI gets it, by add_middleware().
ADDED = "with LifespanMiddleware, added to FastAPI"
UNDER = {BY_ITSELF: "around:bare", MIDDLEWARE: "around:app", ADDED: "fastapi_application:app"}


def _by_function(name: str, backend: str, package: str, *, websockets: bool = True) -> Server:
    script = str(HERE / "drop_ins.py")
    command = [sys.executable, script, name, backend, "{host}", "{port}"]
    return Server(package, command, websockets=websockets)


# By the functions that a program calls; what serves by itself is an example.
DROP_INS = {
    "uvicorn": _by_function("uvicorn", "asyncio", "uvicorn"),
    "gunicorn": gunicorn("anylifespan.servers.gunicorn.ASGIWorker", timeout=5),
    **{
        f"{name}, {backend}": _by_function(name, backend, name)
        for name in ("hypercorn", "anycorn")
        for backend in ("asyncio", "trio")
    },
    **{
        f"tiny_server, {backend}": _by_function("tiny_server", backend, "h11", websockets=False)
        for backend in ("asyncio", "trio")
    },
}


@dataclass(frozen=True)
class Way:
    """A server, and how it comes by its lifespan."""

    server: Server
    target: str


def ways_of(name: str) -> dict[str, Way]:
    """All ways to serve with a server."""
    ways = {}
    if name in SERVERS:
        ways = {way: Way(SERVERS[name], target) for way, target in UNDER.items()}
    if name in DROP_INS:
        ways[DROP_IN] = Way(DROP_INS[name], UNDER[BY_ITSELF])
    return ways


def command(name: str, *options: str) -> Server:
    """A server's own command with the drop-in inside, and short limits."""
    return command_of_ours(name, *options, startup=TIMEOUT, shutdown=TIMEOUT)


_UVICORN_WORKER = gunicorn("uvicorn_worker.UvicornWorker", package="uvicorn_worker")
_HYPERCORN, _ANYCORN = SERVERS["hypercorn, asyncio"], SERVERS["anycorn, asyncio"]
_RESPAWNING = SERVERS["granian"].with_options("--respawn-failed-workers")

# Several workers under a supervisor, by the command line.
SUPERVISED = {
    "uvicorn --workers 2": Way(SERVERS["uvicorn"], UNDER[MIDDLEWARE]),
    "gunicorn -w 2 -k asgi": Way(SERVERS["gunicorn"], UNDER[MIDDLEWARE]),
    "gunicorn -w 2 -k uvicorn_worker.UvicornWorker": Way(_UVICORN_WORKER, UNDER[MIDDLEWARE]),
    "granian --workers 2": Way(SERVERS["granian"], UNDER[MIDDLEWARE]),
    "granian --workers 2 --respawn-failed-workers": Way(_RESPAWNING, UNDER[MIDDLEWARE]),
    "hypercorn -w 2": Way(_HYPERCORN, UNDER[MIDDLEWARE]),
    "anycorn -w 2": Way(_ANYCORN, UNDER[MIDDLEWARE]),
    "python -m anylifespan.servers.uvicorn --workers 2": Way(
        command("uvicorn", "--timeout-graceful-shutdown", "3"), UNDER[BY_ITSELF]
    ),
    "gunicorn -w 2 -k anylifespan.servers.gunicorn.ASGIWorker": Way(
        DROP_INS["gunicorn"], UNDER[BY_ITSELF]
    ),
    "python -m anylifespan.servers.hypercorn -w 2": Way(
        command("hypercorn", "--graceful-timeout", "3"), UNDER[BY_ITSELF]
    ),
    "python -m anylifespan.servers.anycorn -w 2": Way(
        command("anycorn", "--graceful-timeout", "3"), UNDER[BY_ITSELF]
    ),
}
