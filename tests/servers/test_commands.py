"""The servers' own commands with the drop-in inside: ``python -m anylifespan.servers.uvicorn``."""

from __future__ import annotations

import signal
import subprocess
import sys
from importlib import import_module
from typing import Any

import pytest
from released_servers import Server
from scenarios import PATIENCE, Record, play, shutdowns
from ways import HERE, command

from anylifespan.conformance._process import LIMIT, Processes
from anylifespan.conformance._server import Server as Running

pytestmark = pytest.mark.processes

TERMINATED = -signal.SIGTERM


ONE = {
    "uvicorn": command("uvicorn"),
    "hypercorn": command("hypercorn"),
    "hypercorn, uvloop": command("hypercorn", "-k", "uvloop"),
    "hypercorn, trio": command("hypercorn", "-k", "trio"),
    "hypercorn, no worker": command("hypercorn", "-w", "0"),
    "anycorn": command("anycorn"),
    "anycorn, trio": command("anycorn", "-k", "trio"),
    "anycorn, no worker": command("anycorn", "-w", "0"),
}
FAILING = {name: ONE[name] for name in ("uvicorn", "hypercorn", "hypercorn, no worker", "anycorn")}
TWO = {name: ONE[name] for name in ("uvicorn", "hypercorn", "hypercorn, trio", "anycorn")}
# Uvicorn looks at the files of some directory, the others at those of modules.
RELOAD = {
    "uvicorn": command(
        "uvicorn", "--reload", "--reload-delay", "0.1", "--reload-dir", "{directory}"
    ),
    "hypercorn": command("hypercorn", "--reload"),
    "anycorn": command("anycorn", "--reload"),
}


def each(servers: dict[str, Server]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", list(servers))


def played(server: Server, scenario: str) -> Record:
    record = play(server, "around:bare", scenario)
    print(record.output)  # to be seen if the test fails
    assert not record.left
    return record


@each(ONE)
def test_it_serves_and_stops(name: str) -> None:
    record = played(ONE[name], "behaves well")
    assert set(record.answers.values()) == {200}
    # Context variables show that it is our lifespan.
    assert {note["variable"] for note in record.noted("request")} == {"set in the startup"}
    assert record.seen["status"] == (TERMINATED if name == "uvicorn" else 0)
    assert shutdowns(record) == 1


@each(FAILING)
def test_the_limits_are_kept(name: str) -> None:
    record = played(ONE[name], "hangs in startup")
    assert record.seen["status"] == (3 if name == "uvicorn" else 1)
    assert "did not finish its startup within 1 second" in record.output
    assert "in hangs_in_startup" in record.output


@each(FAILING)
def test_a_crash_is_seen_in_the_status(name: str) -> None:
    """Hypercorn's own command loses it."""
    record = played(ONE[name], "crashes")
    # Anycorn's depends on which of its processes is the first to notice.
    assert record.seen["status"] in ((0, 1) if name.startswith("anycorn") else (1,))
    assert "conformance: the connection was lost" in record.output


@each(TWO)
def test_there_are_two_workers(name: str) -> None:
    record = played(TWO[name], "two behave well")
    assert record.seen["status"] == 0
    assert len({note["process"] for note in record.lifespans}) == 2
    # Hypercorn and Anycorn kill the other workers when the first has ended.
    stops = shutdowns(record)
    assert stops in ((2,) if name == "uvicorn" else (1, 2))


def test_workers_that_do_not_start_are_seen_in_the_status() -> None:
    """Uvicorn's own command ends with 0."""
    record = played(TWO["uvicorn"], "two fail to start")
    assert record.seen["status"] == 3


@each(RELOAD)
def test_it_reloads(name: str) -> None:
    with Running(
        RELOAD[name].command, "behaves well", patience=PATIENCE, among=Processes()
    ) as server:
        assert server.comes_up()
        module = server.directory / "lifespan_conformance.py"
        module.write_text(f"{module.read_text()}\n# changed\n")
        server.wait_until(lambda: len(server.noted("lifespan")) == 2, LIMIT)
        assert server.comes_up()
        assert shutdowns(server) == 1
        server.stop()
    assert not server.record.left


@pytest.mark.parametrize(
    ("name", "theirs", "seconds"),
    [("uvicorn", "--reload-dir", 30), ("hypercorn", "--bind", 60), ("anycorn", "--bind", 60)],
)
def test_its_help_shows_their_options_and_ours(name: str, theirs: str, seconds: int) -> None:
    ran = _run(name, "--help")
    assert ran.returncode == 0
    assert theirs in ran.stdout
    assert "--startup-timeout" in ran.stdout
    assert "none for no" in ran.stdout
    assert ran.stdout.count(f"[default: {seconds}") == 2


@pytest.mark.parametrize("name", ["uvicorn", "hypercorn", "anycorn"])
@pytest.mark.parametrize("value", ["soon", "-1"])
def test_a_limit_that_is_none(name: str, value: str) -> None:
    ran = _run(name, "around:bare", f"--startup-timeout={value}")
    assert ran.returncode == 2
    assert "--startup-timeout" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_what_is_wrong_by_their_own_rules() -> None:
    ran = _run("hypercorn", "around:bare", "--workers", "many")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "--workers" in ran.stderr


@pytest.mark.parametrize(
    ("flavour", "worker"),
    [("asyncio", "asyncio_worker"), ("asyncio", "uvloop_worker"), ("trio", "trio_worker")],
)
def test_a_worker_of_hypercorn(flavour: str, worker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is Hypercorn's own, but for what it serves with."""
    module = import_module(f"hypercorn.{flavour}.run")
    serves = module.worker_serve
    calls: list[Any] = []

    def theirs(**options: Any) -> None:
        calls.append((options, module.worker_serve is serves))

    monkeypatch.setattr(module, worker, theirs)
    getattr(import_module("anylifespan.servers.hypercorn"), worker)(config="theirs")
    assert calls == [({"config": "theirs"}, False)]
    assert module.worker_serve is serves


def test_without_a_limit() -> None:
    ran = _run("hypercorn", "nowhere:bare", "--startup-timeout", "none")
    assert "nowhere" in ran.stderr


def _run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", f"anylifespan.servers.{name}", *arguments]
    return subprocess.run(
        line, capture_output=True, text=True, cwd=HERE, timeout=LIMIT, check=False
    )
