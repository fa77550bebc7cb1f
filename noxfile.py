"""How to work on anylifespan: ``nox -s tests``, ``lint``, ``typing``, ``coverage``, and more."""

from __future__ import annotations

import os
import shutil
import subprocess

import nox

nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["lint", "typing", "coverage"]
# Use whatever Pythons there are, in CI too.
nox.options.error_on_missing_interpreters = False

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)

if shutil.which("pyenv"):
    # Its python3.X commands only work for the versions that are switched on.
    installed = subprocess.run(
        ["pyenv", "versions", "--bare"], capture_output=True, text=True, check=True
    ).stdout.split()
    switched_on = [one for one in installed if one.rpartition(".")[0] in PYTHONS]
    os.environ["PYENV_VERSION"] = ":".join([*switched_on, "system"])


# What is measured in forks of processes is not complete on Python 3.11.
NEWEST = next((one for one in reversed(PYTHONS) if shutil.which(f"python{one}")), None)


def install(session: nox.Session, group: str) -> None:
    session.install(
        "-e", ".[cli,trio,uvloop]", *nox.project.dependency_groups(PROJECT, group), silent=True
    )


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The tests, on each Python found."""
    install(session, "tests")
    session.run("pytest", "-n", "auto", *session.posargs)


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """The tests, on the oldest versions that pyproject.toml allows."""
    install(session, "tests")
    session.install("anyio==4.14.2", "trio==0.34", "click==8.1", "rich==13.0", silent=True)
    # Some servers need a later anyio.
    unfit = ["--ignore=tests/servers", "--ignore=tests/test_benchmarks.py"]
    session.run("pytest", "-n", "auto", *unfit, *session.posargs)


@nox.session
def pictures(session: nox.Session) -> None:
    """The diagrams of docs/design.md and the picture in README.md; needs Graphviz's dot."""
    install(session, "tests")
    session.run("python", "docs/pictures.py")


@nox.session
def debug(session: nox.Session) -> None:
    """The tests, with asyncio's and Python's own checks switched on."""
    install(session, "tests")
    session.run("python", "-X", "dev", "-m", "pytest", "-n", "auto", *session.posargs)


@nox.session
def servers(session: nox.Session) -> None:
    """The tables of docs/servers.md, from runs: about six minutes."""
    install(session, "tests")
    session.run("python", "tests/servers/table.py", env={"PYTHONPATH": "tests"})


@nox.session(python=NEWEST)
def hosts(session: nox.Session) -> None:
    """Ray Serve, real and local, AWS Lambda, and tools around applications: about a minute."""
    install(session, "hosts")
    session.run("pytest", "-q", "tests/hosts", *session.posargs)


@nox.session
def conformance(session: nox.Session) -> None:
    """The tables of docs/conformance.md, and what of them has changed: about twenty minutes."""
    install(session, "conformance")
    session.run("python", "tests/conformance/page.py", env={"PYTHONPATH": "tests"})


@nox.session
def peers(session: nox.Session) -> None:
    """The peers' own tests, bare and with this library: about ten minutes."""
    install(session, "peers")
    session.run("python", "tests/peers/run.py", *session.posargs)


@nox.session(python=NEWEST)
def released(session: nox.Session) -> None:
    """Released applications, checked, tested and sabotaged: about ten minutes."""
    install(session, "released")
    session.run("python", "tests/released/run.py", *session.posargs)


@nox.session(python=NEWEST)
def bench(session: nox.Session) -> None:
    """benchmarks/RESULTS.md and the plots of docs/performance.md: about ten minutes."""
    install(session, "bench")
    session.run("python", "benchmarks", *session.posargs)


@nox.session(python=NEWEST)
def docs(session: nox.Session) -> None:
    """The site, in docs/_build: without a warning."""
    install(session, "docs")
    pages = ["docs", "docs/_build"]
    session.run("sphinx-build", "-q", "-W", "--keep-going", "-E", "-b", "html", *pages)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and common mistakes."""
    session.install(*nox.project.dependency_groups(PROJECT, "lint"), silent=True)
    session.run("ruff", "format", "--check")
    session.run("ruff", "check")
    session.run("python", "tests/lint_assertions.py", "tests", "examples", "benchmarks")
    session.run("zizmor", "--offline", "--no-progress", ".github")


@nox.session
def typing(session: nox.Session) -> None:
    """Types: the library's own, and those that its users see."""
    install(session, "typing")
    session.run("mypy")
    session.run("pyright")


@nox.session(python=NEWEST)
def coverage(session: nox.Session) -> None:
    """All lines and branches of the library are to be run by the tests."""
    install(session, "tests")
    session.run("coverage", "erase")
    # What is exhaustible runs no other lines, only very often; all servers are to be run. In
    # os._exit() coverage saves its data, where a signal handler that calls it may come to wait for
    # itself.
    signals = "tests/test_cli.py::test_run_a_second_signal_in_a_hung_shutdown"
    options = ["-q", "-n", "auto", "--exhaustive", "-m", "not exhaustible", "--deselect", signals]
    # What these start runs no other lines either.
    options += ["--ignore=tests/test_benchmarks.py", "--ignore=tests/test_in_fixtures.py"]
    session.run("coverage", "run", "-m", "pytest", *options, *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def exhaustive(session: nox.Session) -> None:
    """More faults, schedules and message orders: about half an hour."""
    install(session, "tests")
    session.run("pytest", "-q", "-n", "auto", "--exhaustive", "-m", "exhaustible", *session.posargs)


@nox.session
def mutation(session: nox.Session) -> None:
    """Whether the tests notice what is changed in the library: about two hours."""
    install(session, "tests")
    session.install(*nox.project.dependency_groups(PROJECT, "mutation"), silent=True)
    session.run("python", "tests/mutation.py", *session.posargs)


@nox.session
@nox.parametrize("backend", ["asyncio", "uvloop", "trio"])
def soak(session: nox.Session, backend: str) -> None:
    """Very many lifespans in one process: about five minutes for each backend."""
    install(session, "tests")
    session.run("python", "tests/soak.py", backend, *(session.posargs or ["100000"]))
