"""``anylifespan check``: its verdicts, each from a process of its own."""

from __future__ import annotations

import json
import ntpath
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_cli import (
    LIMIT,
    TESTS,
    anylifespan,
    check,
    check_that_it_is_said_as_json,
    line_of,
    rows,
)

from anylifespan.cli import _fresh, _report
from anylifespan.cli._order import Order

pytestmark = pytest.mark.processes

ONE = ("--backend", "asyncio")


def result_of(*arguments: str, **options: Any) -> Any:
    done = anylifespan("check", *arguments, "--app-dir", str(TESTS), "--json", *ONE, **options)
    (result,) = json.loads(done.stdout)["results"]
    return result


# Which backends it runs on


@pytest.mark.parametrize(
    ("app", "runs_on", "fails_on", "why"),
    [
        ("asyncio_only_and_says_so", "asyncio", "trio", "RuntimeError: no running event loop"),
        ("asyncio_only", "asyncio", "trio", "it raised RuntimeError: no running event loop"),
        ("trio_only", "trio", "asyncio", "it raised RuntimeError: must be called from async"),
    ],
)
def test_it_is_well_on_one_of_them(app: str, runs_on: str, fails_on: str, why: str) -> None:
    done = check(app)
    assert f"\n{fails_on}: needs {runs_on}: " in done.stdout
    (line,) = [one for one in done.stdout.splitlines() if f": needs {runs_on}: " in one]
    assert why in line
    assert re.search(rf", at \S+cli_apps\.py:\d+ in {app}$", line)
    assert done.stdout.rpartition("\n\n")[2] == f"{line}\n"
    assert done.returncode == 0


def test_what_it_leaves_behind_where_it_does_not_run_is_of_no_interest() -> None:
    done = check("fails_on_trio_and_leaves_a_socket", "--repeat", "1", "--strict")
    assert [row[4:] for row in rows(done.stdout)] == [["left behind"], ["nothing"], []]
    assert "trio: left behind" not in done.stdout
    assert done.returncode == 0


@pytest.mark.parametrize("app", ["asyncio_only", "asyncio_only_and_says_so"])
def test_but_where_it_is_asked_for_it_must_run(app: str) -> None:
    done = check(app, *ONE, "--backend", "trio", "--mode", "on")
    assert "trio: Lifespan" in done.stdout or "trio: StartupFailed" in done.stdout
    assert "needs asyncio:" not in done.stdout
    assert done.returncode == 1


def test_one_whose_line_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "fails.py").write_text(
        "import asyncio\n"
        "async def app(scope, receive, send):\n"
        "    await receive()\n"
        "    answer = 'complete' if asyncio._get_running_loop() else 'failed'\n"
        "    await send({'type': f'lifespan.startup.{answer}'})\n"
        "    await receive()\n"
        "    await send({'type': 'lifespan.shutdown.complete'})\n"
    )
    done = anylifespan("check", "fails:app", cwd=tmp_path)
    said = "trio: needs asyncio: the application failed to start: no reason given\n"
    assert done.stdout.endswith(said)
    assert done.returncode == 0


def test_one_that_runs_on_neither_fails_on_both() -> None:
    done = check("raises_in_startup")
    assert done.stdout.count("StartupFailed") == 2
    assert "needs" not in done.stdout


# What it does to its process


def test_each_backend_has_a_fresh_import() -> None:
    assert check("starts_only_once").returncode == 0


def test_it_ends_the_process() -> None:
    done = check("ends_the_process", *ONE)
    assert rows(done.stdout)[1][:3] == ["asyncio", "ended the process", "not run"]
    said = (
        "asyncio: ProcessEnded\nthe application ended the process with status 0 during its startup"
    )
    assert said in done.stdout
    line = line_of("os._exit(0)")
    assert f'It is at:\n  File "{TESTS}/cli_apps.py", line {line}, in ends_the_' in done.stdout
    assert done.returncode == 1


def test_it_is_killed_in_its_shutdown() -> None:
    result = result_of("cli_apps:ends_the_process_in_shutdown")
    assert result["startup"]["outcome"] == "complete"
    assert result["shutdown"]["outcome"] == "ended the process"
    assert result["failure"]["message"] == (
        "the application ended the process by SIGKILL during its shutdown"
    )


def test_it_ends_the_process_as_it_is_imported(tmp_path: Path) -> None:
    (tmp_path / "exits.py").write_text("import sys; sys.exit(3)\n")
    done = anylifespan("check", "exits:app", *ONE, cwd=tmp_path)
    assert "the application ended the process with status 3 while it was imported" in done.stdout
    assert done.returncode == 1


def test_it_blocks_the_whole_process() -> None:
    result = result_of("cli_apps:blocks_the_whole_process", "--startup-timeout", "0.1")
    assert result["startup"]["outcome"] == "blocked"
    assert result["failure"]["error"] == "ProcessBlocked"
    assert "in its startup" in result["failure"]["message"]


def test_it_holds_up_the_end() -> None:
    done = check("holds_up_the_end", *ONE)
    assert rows(done.stdout)[1][:3] == ["asyncio", "complete 0 s", "complete 0 s"]
    assert "asyncio: does not end\nIt held up the end of its process" in done.stdout
    assert done.returncode == 0


def test_its_own_processes_are_none_of_ours() -> None:
    done = check("forks", *ONE)
    assert rows(done.stdout)[1][:3] == ["asyncio", "complete 0 s", "complete 0 s"]
    assert done.stderr == ""
    assert done.returncode == 0


def test_a_process_that_it_leaves_is_ended_and_reported() -> None:
    done = check("leaves_a_process", *ONE)
    assert "asyncio: does not end\n" in done.stdout
    assert done.returncode == 0


def test_a_signal_without_a_name() -> None:
    done = check("ends_by_a_signal_without_a_name", *ONE)
    said = f"the application ended the process by signal {signal.SIGRTMIN + 6} during its startup"
    assert said in done.stdout


def test_what_logging_makes_of_a_wrong_call_is_no_failure() -> None:
    done = check("logs_badly", *ONE)
    assert "asyncio: logged 1 error in its startup\nshop: %d books\n" in done.stdout
    assert done.returncode == 0


def test_what_it_prints_may_not_be_printable_here() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    arguments = ("--app-dir", str(TESTS), *ONE)
    done = anylifespan("check", "cli_apps:prints_snow", *arguments, env=environment)
    assert done.stdout.startswith("\\u2603\n\\u2603\n")
    assert done.returncode == 0


def test_modules_beside_the_application_do_not_take_the_place_of_pythons(tmp_path: Path) -> None:
    # The library imports it before it imports the application.
    (tmp_path / "random.py").write_text("raise ImportError('this is another random')\n")
    (tmp_path / "main.py").write_text(
        "async def well(scope, receive, send):\n"
        "    for phase in ('startup', 'shutdown'):\n"
        "        await receive()\n"
        "        await send({'type': f'lifespan.{phase}.complete'})\n"
    )
    # As the command does it, unlike python -m.
    program = "import sys; sys.path.pop(0); from anylifespan.__main__ import main; main()"
    command = [sys.executable, "-c", program, "check", "main:well", *ONE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, cwd=tmp_path)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_the_command_ends_the_process_too(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "anylifespan", "check", "cli_apps:tells_its_process"]
    process = subprocess.Popen(
        [*command, "--app-dir", str(TESTS), "--startup-timeout", "none"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    other = int(process.stdout.readline())
    process.send_signal(number)
    process.communicate(timeout=LIMIT)
    assert process.returncode == 128 + number
    with pytest.raises(ProcessLookupError):
        os.kill(other, 0)


def test_the_limit_of_the_startup_is_none_of_the_shutdown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fresh, "_PATIENCE", 0.1)
    order = Order(
        "cli_apps:slow_to_stop",
        factory=False,
        app_dir=str(TESTS),
        options={"mode": "auto", "startup_timeout": 0.2, "shutdown_timeout": None},
        backend="asyncio",
        lifespans=1,
        looks_for_leaks=False,
        ignored=(),
        profiles=False,
        log_level="info",
    )
    news = _fresh.run_in_fresh_process(
        order, on_news=lambda _: None, out=lambda _: None, err=lambda _: None
    )
    assert news.result.failure is None


def test_ctrl_c_lets_it_clean_up() -> None:
    command = [sys.executable, "-m", "anylifespan", "check", "cli_apps:cleans_up"]
    process = subprocess.Popen(
        [*command, "--app-dir", str(TESTS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "hello\n"
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=LIMIT)
    assert output == "goodbye\n"
    assert errors.strip() == "Aborted!"
    assert process.returncode == 1


def test_flags_of_python_are_passed_on() -> None:
    command = [sys.executable, "-W", "error::UserWarning", "-m", "anylifespan", "check"]
    command += ["cli_apps:warns", "--app-dir", str(TESTS), *ONE, "--mode", "on"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert "UserWarning: old" in done.stdout
    assert done.returncode == 1


def test_on_windows_ctrl_c_comes_to_both_and_there_are_no_groups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(_fresh, "_END", 0.1)
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    _fresh._interrupt(process)
    assert process.poll() is None
    _fresh._kill(process)
    assert process.poll() is not None


# Several lifespans


def test_what_grows_is_told_apart_from_what_is_made_once() -> None:
    done = check("grows", *ONE, "--repeat", "3")
    one, each = (
        f"line {line_of(text)}, in grows" for text in ("the one socket", "the socket of each")
    )
    names = [line for line in done.stdout.splitlines() if line.startswith("socket ")]
    assert [name[-17:] for name in names] == ["1 in 3 lifespans)", "3 in 3 lifespans)"]
    assert done.stdout.index(one) < done.stdout.index(each)


def test_one_that_can_be_started_only_once_in_a_process() -> None:
    result = result_of("cli_apps:starts_only_once", "--repeat", "3")
    assert result["failure"] is None
    assert result["lifespans"] == 3
    assert "it can be started only once, at " in result["only_once"]
    assert [one["times"] for one in result["left_behind"]] == [3]
    done = check("starts_only_once", *ONE, "--repeat", "2")
    assert "\nasyncio: starts only once in a process\nthe application raised in its" in done.stdout
    assert done.returncode == 0


def test_which_lifespan_has_failed(tmp_path: Path) -> None:
    environment = {**os.environ, "DIRECTORY": str(tmp_path / "begun")}
    arguments = ("--app-dir", str(TESTS), "--repeat", "3", "--mode", "on", *ONE)
    done = anylifespan("check", "cli_apps:fails_the_second_time", *arguments, env=environment)
    assert "asyncio: LifespanUnsupported (lifespan 2)" in done.stdout
    assert done.returncode == 1


def test_only_the_second_start_can_be_the_one_too_many() -> None:
    done = check("fails_the_third_time", *ONE, "--repeat", "4")
    assert "asyncio: StartupFailed (lifespan 3)" in done.stdout
    assert "starts only once" not in done.stdout
    assert done.returncode == 1


# What it says


def test_json_is_all_that_is_written_to_standard_output() -> None:
    done = check("says_goodbye", "--json", *ONE)
    assert json.loads(done.stdout)["ok"] is True
    assert done.stderr == "hello\ngoodbye\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nowhere:app"],
        ["main"],
        ["cli_apps:well", "--strict"],
        ["cli_apps:well", "--startup-timeout", "soon"],
        ["cli_apps:well", "--github"],
        ["cli_apps:well", "--colour"],
        [],
    ],
)
def test_what_is_wrong_is_said_as_json(arguments: list[str]) -> None:
    done = anylifespan("check", "--app-dir", str(TESTS), "--json", *arguments)
    check_that_it_is_said_as_json(done)


def test_errors_that_it_logged_in_its_startup() -> None:
    done = check("logs_errors", *ONE)
    heading, *lines = done.stdout.partition("\n\n")[2].splitlines()
    assert heading == "asyncio: logged 5 errors in its startup"
    line = line_of('raise ConnectionError("refused")')
    place = f"{TESTS}/cli_apps.py:{line} in logs_errors"
    assert lines == [
        f"shop: no database: ConnectionError: refused, at {place}",
        "shop: no database 0",
        "shop: no database 1",
    ]
    assert done.returncode == 0


def test_a_startup_that_is_too_slow() -> None:
    assert check("slow", "--max-startup", "20").returncode == 0
    done = check("slow", *ONE, "--max-startup", "0.1")
    assert "asyncio: StartupTooSlow\nthe startup took 0.2" in done.stdout
    assert "more than the 0.1 of --max-startup" in done.stdout
    assert done.returncode == 1


def test_another_backend_is_no_excuse_for_being_slow() -> None:
    done = check("is_slow_on_asyncio", "--max-startup", "0.2")
    assert "asyncio: StartupTooSlow\n" in done.stdout
    assert done.returncode == 1


def test_a_file_on_another_drive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "path", ntpath)
    assert _report._relative(r"C:\\Python\\json.py", r"D:\\shop") == r"C:\\Python\\json.py"


def test_annotations_for_github(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_WORKSPACE", str(TESTS.parent))
    done = check("asyncio_only_and_says_so", "--github")
    annotation = done.stdout.splitlines()[-1]
    line = line_of("the line that needs asyncio")
    place = f"file=tests/cli_apps.py,line={line},title=anylifespan check%2C trio"
    assert annotation.startswith(f"::notice {place}::the application raised in its startup: Runt")
    done = check("hangs_in_shutdown", "--github", *ONE, "--shutdown-timeout", "0.1")
    annotation = done.stdout.splitlines()[-1]
    assert annotation.startswith("::error file=tests/apps.py,line=")
    assert annotation.endswith("::the application did not finish its shutdown within 0.1 seconds.")


@pytest.mark.parametrize("strict", [(), ("--strict",)])
def test_annotations_of_what_is_left_behind(strict: Any) -> None:
    done = check("grows", "--github", "--repeat", "1", *strict, *ONE)
    kind = "error" if strict else "warning"
    annotations = [line for line in done.stdout.splitlines() if line.startswith("::")]
    assert len(annotations) == 2
    for annotation in annotations:
        assert annotation.startswith(f"::{kind} file=")
        assert "::left behind: socket ('0.0.0.0', 0)" in annotation
    assert done.returncode == (1 if strict else 0)


def test_an_annotation_without_a_place(tmp_path: Path) -> None:
    (tmp_path / "exits.py").write_text("import sys; sys.exit(3)\n")
    done = anylifespan("check", "exits:app", "--github", *ONE, cwd=tmp_path)
    said = "::error title=anylifespan check%2C asyncio::the application ended the process"
    assert done.stdout.splitlines()[-1].startswith(said)
