"""What a suite of tests takes, each of which starts an application and sends it one request."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

from interleaved import Values

HERE = Path(__file__).parent / "suites"
# Each with its file, and with what asgi_client is to do about leaks.
SUITES = {
    "asgi_client": ("test_asgi_client.py", "warn"),
    "asgi_client, leaks off": ("test_asgi_client.py", "off"),
    "asgi_sync_client": ("test_asgi_sync_client.py", ""),
    "asgi-lifespan and httpx2": ("test_asgi_lifespan.py", ""),
    "TestClient": ("test_starlette.py", ""),
    "pytest alone": ("test_no_client.py", ""),
}
# No plugin but the one that runs coroutines: others may be installed here, or not.
COMMAND = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider"]
COMMAND += ["-p", "anyio"]


async def measure(backend: str, *, quick: bool) -> dict[str, Values]:
    """Seconds of the processor for each suite, the start of pytest included."""
    environment = {**os.environ, "BACKEND": backend, "TESTS": "5" if quick else "500"}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    values: Values = {name: [] for name in SUITES}
    for number in range(2 if quick else 9):
        for name, (file, leaks) in SUITES.items():
            seconds = _seconds_of([*COMMAND, file], {**environment, "LEAKS": leaks})
            if number:  # the first time the modules are compiled
                values[name].append(seconds)
    return {"a suite of tests": values}


def _seconds_of(command: list[str], environment: dict[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=HERE, env=environment, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
