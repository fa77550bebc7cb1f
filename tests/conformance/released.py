"""The servers and drivers that the kit judges, as they are released."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path

import released_servers
from drivers import OTHERS, OURS
from released_servers import OTHER_SERVERS, SERVERS

from anylifespan.cli._conform import choose
from anylifespan.cli._driven import DriverProcess
from anylifespan.conformance import Case, Verdict
from anylifespan.conformance._kit import Judge, judge, of_server

HERE = Path(__file__).parent
PATIENCE = 8.0

DISTRIBUTIONS = [
    *dict.fromkeys(server.package for server in (SERVERS | OTHER_SERVERS).values()),
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
        one: of_server(server.command, patience=PATIENCE)
        for one, server in released_servers.of_servers().items()
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
    server = released_servers.of_servers().get((name, way))
    return choose((), server.command if server is not None else ())


def verdicts(name: str, way: str, judge_together: Judge) -> list[Verdict]:
    """Of all cases, in their order."""
    together = chosen(name, way)
    of = {one.case.name: one for one in judge(together, judge_together, jobs=4)}
    return [of[case.name] for case in together]


def versions() -> str:
    return ", ".join(f"{one} {version(one)}" for one in DISTRIBUTIONS)
