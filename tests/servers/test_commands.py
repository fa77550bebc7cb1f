"""The servers' own commands with the drop-in inside: ``python -m anylifespan.servers.uvicorn``."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest
from processes import HERE, LIMIT, Process, Server, own_command, running

pytestmark = pytest.mark.processes

TERMINATED = -signal.SIGTERM


ONE = {
    "uvicorn": own_command("uvicorn"),
    "hypercorn": own_command("hypercorn"),
    "hypercorn, uvloop": own_command("hypercorn", "-k", "uvloop"),
    "hypercorn, trio": own_command("hypercorn", "-k", "trio"),
    "hypercorn, no worker": own_command("hypercorn", "-w", "0"),
    "anycorn": own_command("anycorn"),
    "anycorn, trio": own_command("anycorn", "-k", "trio"),
    "anycorn, no worker": own_command("anycorn", "-w", "0"),
}
FAILING = {name: ONE[name] for name in ("uvicorn", "hypercorn", "hypercorn, no worker", "anycorn")}
TWO = {
    "uvicorn": own_command("uvicorn", "--workers", "2"),
    "hypercorn": own_command("hypercorn", "-w", "2"),
    "hypercorn, trio": own_command("hypercorn", "-w", "2", "-k", "trio"),
    "anycorn": own_command("anycorn", "-w", "2"),
}
# Uvicorn looks at the files of some directory, the others at those of modules.
RELOAD = {
    "uvicorn": own_command(
        "uvicorn", "--reload", "--reload-delay", "0.1", "--reload-dir", "{directory}"
    ),
    "hypercorn": own_command("hypercorn", "--reload"),
    "anycorn": own_command("anycorn", "--reload"),
}


def each(servers: dict[str, Server]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", list(servers))


def stop(process: Process) -> int | None:
    process.signal(signal.SIGTERM)
    status, _ = process.wait_ended(LIMIT)
    assert not process.leaves_processes()
    return status


@each(ONE)
def test_it_serves_and_stops(name: str) -> None:
    with running(ONE[name], "application:bare") as process:
        assert process.wait_for(ONE[name].ready)
        process.wait_listening()
        answer = httpx.get(f"http://127.0.0.1:{process.port}/", timeout=LIMIT)
        # Context variables show that it is our lifespan.
        assert answer.json()["greeting"] == "from the lifespan"
        assert stop(process) == (TERMINATED if name == "uvicorn" else 0)
        assert process.output.count("app: stopped") == 1


@each(FAILING)
def test_the_limits_are_kept(name: str) -> None:
    with running(ONE[name], "application:bare", "hangs in startup") as process:
        status, _ = process.wait_ended(LIMIT)
    assert status == (3 if name == "uvicorn" else 1)
    output = "\n".join(process.output)
    assert "did not finish its startup within 1 second" in output
    assert "the startup hangs here" in output


@each(FAILING)
def test_a_crash_is_seen_in_the_status(name: str) -> None:
    """Hypercorn's own command loses it."""
    with running(ONE[name], "application:bare", "crashes") as process:
        assert process.wait_for(ONE[name].ready)
        process.wait_listening()
        httpx.get(f"http://127.0.0.1:{process.port}/crash", timeout=LIMIT)
        status, _ = process.wait_ended(LIMIT)
    # Anycorn's depends on which of its processes is the first to notice.
    assert status in ((0, 1) if name.startswith("anycorn") else (1,))
    assert "lost the database" in "\n".join(process.output)


@each(TWO)
def test_there_are_two_workers(name: str) -> None:
    with running(TWO[name], "application:bare") as process:
        assert process.wait_for(TWO[name].ready, times=2)
        assert stop(process) == 0
        assert process.count("app: starting") == 2
        # Hypercorn and Anycorn kill the other workers when the first has ended.
        stops = process.count("app: stopped")
        assert stops in ((2,) if name == "uvicorn" else (1, 2))


@each(RELOAD)
def test_it_reloads(name: str, tmp_path: Path) -> None:
    module = tmp_path / "reloaded.py"
    source = (HERE / "application.py").read_text()
    module.write_text(source)
    server = RELOAD[name]
    line = [part.replace("{directory}", str(tmp_path)) for part in server.command]
    server = replace(server, command=line)
    with running(server, "reloaded:bare", PYTHONPATH=str(tmp_path)) as process:
        assert process.wait_for("app: starting")
        assert process.wait_for(server.ready)
        module.write_text(source.replace("app: starting", "app: starting again"))
        assert process.wait_for("app: starting again")
        assert process.output.count("app: stopped") == 1
        stop(process)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [("uvicorn", "--reload-dir"), ("hypercorn", "--bind"), ("anycorn", "--bind")],
)
def test_its_help_shows_their_options_and_ours(name: str, theirs: str) -> None:
    ran = _run(name, "--help")
    assert ran.returncode == 0
    assert theirs in ran.stdout
    assert "--startup-timeout" in ran.stdout
    assert "none for no" in ran.stdout


@pytest.mark.parametrize("name", ["uvicorn", "hypercorn", "anycorn"])
@pytest.mark.parametrize("value", ["soon", "-1"])
def test_a_limit_that_is_none(name: str, value: str) -> None:
    ran = _run(name, "application:bare", f"--startup-timeout={value}")
    assert ran.returncode == 2
    assert "--startup-timeout" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_what_is_wrong_by_their_own_rules() -> None:
    ran = _run("hypercorn", "application:bare", "--workers", "many")
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
