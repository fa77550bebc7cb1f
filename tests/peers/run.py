"""The peers' own tests, from their released source distributions, bare and with this library.

``nox -s peers`` runs this. What fails with ours and not without is listed in differences.toml, with
the reason, or is a fault.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree as ET

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).parent
# The suites, each with what of it is about more than its lifespan takes too long or needs more.
SUITES = {
    "asgi-lifespan": ["tests"],
    "uvicorn": ["tests"],
    "hypercorn": ["tests"],
    "gunicorn": ["tests", "-k", "lifespan or asgi"],
    "starlette": ["tests"],
    # All tests of Starlette, with asgi_sync_client in the place of its TestClient.
    "testclient": ["tests", "--ignore=tests/middleware/test_opentelemetry.py"],
    "fastapi": ["tests", "--ignore=tests/benchmarks"],
    "httpx": ["tests/test_asgi.py"],
}
# Where a suite is not called as the distribution that it is in.
DISTRIBUTIONS = {"testclient": "starlette"}
OPTIONS = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--continue-on-collection-errors"]
LIMIT = 900  # seconds for a suite


@dataclass
class Results:
    """What became of the tests of a suite."""

    passed: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)


def main() -> int:
    suites = sys.argv[1:] or [*SUITES]
    with (HERE / "differences.toml").open("rb") as file:
        differences = tomllib.load(file)["differences"]
    reasons = {(one["suite"], one["test"]): one["reason"] for one in differences}
    print(f"{'suite':24} {'bare':>6} {'ours':>6} {'different':>10} {'unexplained':>12}")
    unexplained: list[str] = []
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(2) as pool:
        for suite in suites:
            sources = unpacked(suite, Path(directory))
            bare, ours = pool.map(partial(run, suite, sources), (False, True))
            if not bare.passed:
                unexplained.append(f"{suite}: no test was run")
            broken = sorted(bare.passed & ours.failed | bare.passed - ours.passed - ours.failed)
            wrong = [test for test in broken if not reason_of(suite, test, reasons)]
            unexplained += [f"{suite}: {test}" for test in wrong]
            name = f"{suite} {version(DISTRIBUTIONS.get(suite, suite))}"
            print(f"{name:24} {len(bare.passed):6} {len(bare.passed & ours.passed):6} ", end="")
            print(f"{len(broken) - len(wrong):10} {len(wrong):12}", flush=True)
            for test in broken:
                print(f"    {test}: {reason_of(suite, test, reasons) or 'NOT EXPLAINED'}")
    return 1 if unexplained else 0


def reason_of(suite: str, test: str, reasons: dict[tuple[str, str], str]) -> str | None:
    """Why it fails, for all its parameters or for these."""
    return reasons.get((suite, test)) or reasons.get((suite, test.partition("[")[0]))


def unpacked(suite: str, parent: Path) -> Path:
    """The source distribution of the version that is installed."""
    directory = parent / suite
    suite = DISTRIBUTIONS.get(suite, suite)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += [f"--no-binary={suite}", f"--dest={directory}", f"{suite}=={version(suite)}"]
    subprocess.run(command, check=True)
    [archive] = directory.glob(f"{suite.replace('-', '?')}-*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(directory, filter="data")
    return directory / archive.name.removesuffix(".tar.gz")


def run(suite: str, sources: Path, with_ours: bool) -> Results:
    report = sources / f"{with_ours}.xml"
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    command = [sys.executable, "-m", "pytest", *OPTIONS, f"--junitxml={report}", *SUITES[suite]]
    # What their configuration adds may need plugins for parallel runs and coverage.
    command += ["-o", "addopts=", "-o", "filterwarnings=", "-o", "xfail_strict=false"]
    if with_ours:
        command += ["-p", "with_ours"]
        environment["PEER"] = suite.replace("-", "_")
    done = subprocess.run(
        command, cwd=sources, env=environment, capture_output=True, text=True, timeout=LIMIT
    )
    results = Results()
    if not report.exists():
        print(done.stdout[-2000:], done.stderr[-2000:], sep="\n")
        return results
    for case in ET.parse(report).iter("testcase"):
        test = f"{case.get('classname')}::{case.get('name')}"
        wrong = case.find("failure") is not None or case.find("error") is not None
        if wrong:
            results.failed.add(test)
        elif case.find("skipped") is None:
            results.passed.add(test)
    results.passed -= results.failed
    return results


if __name__ == "__main__":
    sys.exit(main())
