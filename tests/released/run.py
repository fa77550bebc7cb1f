"""Released applications and frameworks: checked, driven in tests, and sabotaged. Prints a table.

Run it by ``nox -s released``, with the names of some for those alone.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
APPLICATIONS = HERE / "applications"
SABOTAGES = ("closed port", "hangs", "blocks")
# What an operator reads before he scrolls.
LINES = 10
LIMIT = 300  # seconds; some take long to be imported
# Seconds; Prefect's own startup takes six.
STARTUP_TIMEOUT = {"with_prefect": "20"}
# By which the packages are called, where that is not the module's name.
PACKAGES = {"with_starlette_admin": "starlette-admin", "with_strawberry": "strawberry-graphql"}
PACKAGES |= {"with_quart_trio": "quart-trio", "with_taskiq": "taskiq-fastapi"}

TESTS = """
import pytest
from {module} import app

from anylifespan.testing import asgi_client as new_client

pytestmark = pytest.mark.anyio


@pytest.fixture(params={backends})
def anyio_backend(request):
    return request.param


@pytest.fixture
def asgi_app():
    return app


async def test_client():
    async with new_client(app, leaks="off") as client:
        assert (await client.get("/")).status_code < 600


async def test_plugin(asgi_client):
    assert (await asgi_client.get("/")).status_code < 600
"""


@dataclass
class Row:
    name: str
    runs_on: str = ""
    found: str = ""
    tests: str = ""
    sabotages: str = ""

    def __str__(self) -> str:
        cells = (self.name, self.runs_on, self.found, self.tests, self.sabotages)
        return f"| {' | '.join(cells)} |"


def main(names: list[str]) -> int:
    modules = sorted(path.stem for path in APPLICATIONS.glob("with_*.py"))
    rows = [row_of(one) for one in modules if not names or one.removeprefix("with_") in names]
    print("| application | runs on | found by check | tests | sabotage is located |")
    print("| --- | --- | --- | --- | --- |")
    print(*rows, sep="\n")
    return 0


def row_of(module: str) -> Row:
    print(f"{module} ...", file=sys.stderr, flush=True)
    package = PACKAGES.get(module, module.removeprefix("with_").replace("_", "-"))
    try:
        row = Row(f"{package} {version(package)}")
    except PackageNotFoundError:
        return Row(package, "not installed")
    done = run_check(module, "--json", "--repeat", "3")
    report = json.loads(done.stdout)
    if "error" in report:
        row.runs_on = f"not imported: {report['error'].splitlines()[-1]}"
        return row
    results = report["results"]
    backends = [one["backend"] for one in results if not one["failure"] and one["supported"]]
    row.runs_on = ", ".join(backends) or "neither"
    row.found = "; ".join(findings(results)) or "nothing"
    if backends:
        row.tests = tests_of(module, backends)
        row.sabotages = ", ".join(sabotaged(module, backends[0]))
    return row


def findings(results: list[dict[str, Any]]) -> Iterator[str]:
    for one in results:
        name = one["backend"]
        if one["failure"] and not one["needs"]:
            yield f"{name}: {one['failure']['message'].splitlines()[0]}"
        if one["needs"]:
            continue
        if one["only_once"]:
            yield f"{name}: starts only once in a process"
        for leak in one["left_behind"] or ():
            yield f"{name}: {leak['kind']} ({leak['times']} in {one['lifespans']})"
        if one["logged"]:
            yield f"{name}: logged {len(one['logged'])} errors"


def tests_of(module: str, backends: list[str]) -> str:
    path = APPLICATIONS / f"test_{module}.py"
    path.write_text(TESTS.format(module=module, backends=backends))
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "-c", os.devnull)
    outcomes: list[str] = []
    try:
        for backend in backends:
            for test in ("test_client", "test_plugin"):  # some start only once in a process
                done = run("pytest", f"{path}::{test}[{backend}]", *options)
                outcomes.append("passed" if done.returncode == 0 else f"{test} on {backend} failed")
    finally:
        path.unlink()
    return ", ".join(dict.fromkeys(outcomes))


def sabotaged(module: str, backend: str) -> Iterator[str]:
    """What is wrong, for each sabotage; "yes" if the output names the line soon."""
    for sabotage in SABOTAGES:
        limit = STARTUP_TIMEOUT.get(module, "3")
        arguments = ("--backend", backend, "--startup-timeout", limit, "--mode", "on")
        done = run_check(module, *arguments, SABOTAGE=sabotage)
        details = done.stdout.partition(f"\n{backend}: ")[2].splitlines()[:LINES]
        is_named = any(re.search(r'database\.py"?[,:]', line) for line in details)
        yield "yes" if is_named and done.returncode == 1 else f"**no** ({sabotage})"


def run_check(module: str, *arguments: str, **environment: str) -> Any:
    command = ("anylifespan", "check", f"{module}:app", "--app-dir", str(APPLICATIONS))
    return run(*command, *arguments, **environment)


def run(*command: str, **environment: str) -> Any:
    environment = {**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{APPLICATIONS}", **environment}
    return subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env=environment,
        cwd=APPLICATIONS,
        stdin=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
