"""The command, as the process that people run."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from anylifespan._process.signals import Signals
from anylifespan.cli._report import _keys

TESTS = Path(__file__).parent
LIMIT = 30  # seconds for a process to end, on a slow machine
TIMEOUTS = ("--startup-timeout", "0.1", "--shutdown-timeout", "0.1")


def anylifespan(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "anylifespan", *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        **options,
    )


def check(app: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return anylifespan("check", f"cli_apps:{app}", "--app-dir", str(TESTS), *arguments)


def line_of(text: str, file: str = "cli_apps.py") -> int:
    lines = (TESTS / file).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def rows(output: str) -> list[list[str]]:
    table = output.partition("\n\n")[0].splitlines()
    return [re.split(r"\s{2,}", re.sub(r"\d+\.\d+ s", "0 s", line.strip())) for line in table]


def check_that_it_is_said_as_json(done: subprocess.CompletedProcess[str]) -> None:
    """What is wrong with the arguments of a command, which is on standard error as well."""
    report = json.loads(done.stdout)
    assert report.keys() == {"ok", "error"}
    assert report["ok"] is False
    assert report["error"].split()[0] in " ".join(done.stderr.split())
    assert done.returncode == 2


# check


def test_check_all_well() -> None:
    done = check("with_state", "--backend", "asyncio", "--backend", "uvloop", "--backend", "trio")
    assert rows(done.stdout) == [
        ["backend", "startup", "shutdown", "state"],
        ["asyncio", "complete 0 s", "complete 0 s", "cache, database"],
        ["uvloop", "complete 0 s", "complete 0 s", "cache, database"],
        ["trio", "complete 0 s", "complete 0 s", "cache, database"],
    ]
    assert (done.returncode, done.stderr) == (0, "")


def test_check_unsupported_is_not_a_failure() -> None:
    done = check("without")
    assert [row[:3] for row in rows(done.stdout)[1:]] == [
        ["asyncio", "unsupported 0 s", "not run"],
        ["trio", "unsupported 0 s", "not run"],
    ]
    assert done.returncode == 0


def test_check_unsupported_in_mode_on() -> None:
    done = check("without", "--mode", "on", "--backend", "trio")
    assert "trio: LifespanUnsupported" in done.stdout
    assert f'cli_apps.py", line {line_of("assert scope")}, in without' in done.stdout
    assert done.returncode == 1


def test_check_in_mode_off() -> None:
    done = check("raises_in_startup", "--mode", "off", "--backend", "asyncio")
    assert rows(done.stdout)[1] == ["asyncio", "complete 0 s", "complete 0 s", "-"]
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("app", "startup", "shutdown", "error", "said"),
    [
        ("raises_in_startup", "failed", "not run", "StartupFailed", "ValueError: no database"),
        ("fails_in_startup", "failed", "not run", "StartupFailed", "to start: no database"),
        ("starlette_fails", "failed", "not run", "StartupFailed", "start: ValueError: no database"),
        ("hangs_in_startup", "timed out", "not run", "StartupTimeout", "within 0.1 seconds."),
        ("raises_in_shutdown", "complete", "failed", "ShutdownFailed", "ValueError: no goodbye"),
        ("hangs_in_shutdown", "complete", "timed out", "ShutdownTimeout", "within 0.1 seconds."),
        ("crashes_at_once", "crashed", "not run", "LifespanCrashed", "ValueError: died"),
        ("exits", "failed", "not run", "SystemExit", "raised SystemExit: 3"),
    ],
)
def test_check_a_failure(app: str, startup: str, shutdown: str, error: str, said: str) -> None:
    done = check(app, *TIMEOUTS)
    table = rows(done.stdout)[1:]
    assert [row[0] for row in table] == ["asyncio", "trio"]
    for row in table:
        assert row[1].startswith(startup)
        assert row[2].startswith(shutdown)
        assert f"\n\n{row[0]}: {error}\n" in done.stdout
    assert done.stdout.count(said) >= 2
    assert "site-packages" not in done.stdout
    assert "src/anylifespan" not in done.stdout
    assert done.returncode == 1


def test_check_tells_where_it_hangs() -> None:
    done = check("starlette_hangs", *TIMEOUTS, "--backend", "trio")
    where = f'cli_apps.py", line {line_of("await anyio.sleep_forever()")}, in hanging_lifespan'
    assert done.stdout.endswith(f"{where}\n    await anyio.sleep_forever()\n")
    assert done.stdout.count('File "') == 1


@pytest.mark.parametrize("app", ["blocks_in_startup", "blocks_in_shutdown"])
def test_check_an_app_that_blocks_the_event_loop(app: str) -> None:
    done = check(app, *TIMEOUTS)
    phase = 1 if app == "blocks_in_startup" else 2
    assert rows(done.stdout)[1][phase].startswith("blocked")
    assert f'", line {line_of("time.sleep(60)") + (phase - 1) * 5}, in {app}\n' in done.stdout
    assert "asyncio: EventLoopBlocked\nthe application blocks the event loop" in done.stdout
    assert "trio: EventLoopBlocked\n" in done.stdout
    assert done.returncode == 1


@pytest.fixture
def impatient(tmp_path: Path) -> tuple[str, ...]:
    """``impatient:NAME`` is ``cli_apps:NAME``, without the patience that people have."""
    (tmp_path / "impatient.py").write_text(
        "import anylifespan._core.lifespan, anylifespan.cli._lifespans, anylifespan.cli._run, sys\n"
        "anylifespan._core.lifespan.PATROL = 0.1\n"
        "anylifespan.cli._lifespans.END = anylifespan.cli._run._END = 0.1\n"
        f"sys.path.insert(0, {str(TESTS)!r})\n"
        "from cli_apps import *\n"
    )
    return ("--app-dir", str(tmp_path), "--backend", "trio", *TIMEOUTS)


def test_check_an_app_that_holds_up_the_end(impatient: tuple[str, ...]) -> None:
    done = anylifespan("check", "impatient:deaf_in_startup", *impatient)
    assert "StartupTimeout" in done.stdout
    assert "it was cancelled, and still runs" in done.stdout
    assert "WARNING: The application still runs 0.1 seconds after it was cancelled" in done.stderr
    assert done.returncode == 1


def test_check_json() -> None:
    done = check("hangs_in_shutdown", "--json", *TIMEOUTS, "--backend", "asyncio")
    report = json.loads(done.stdout)
    (result,) = report.pop("results")
    assert report == {"app": "cli_apps:hangs_in_shutdown", "ok": False}
    assert result["backend"] == "asyncio"
    assert result["supported"] is True
    assert result["startup"] == {"outcome": "complete", "seconds": result["startup"]["seconds"]}
    assert result["shutdown"]["outcome"] == "timed out"
    assert result["shutdown"]["seconds"] >= 0.1
    assert result["state"] == []
    assert result["failure"]["error"] == "ShutdownTimeout"
    assert [place["function"] for place in result["failure"]["where"]] == ["application", "hangs"]
    assert done.returncode == 1


def test_check_json_all_well() -> None:
    report = json.loads(check("with_state", "--json").stdout)
    assert report["ok"] is True
    assert [one["state"] for one in report["results"]] == [["cache", "database"]] * 2


# Bad usage


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check"], "Missing argument 'APP'"),
        (["check", "main"], "APP must be MODULE:ATTRIBUTE, for example main:app, got 'main'"),
        (["check", ":app"], "APP must be MODULE:ATTRIBUTE"),
        (["check", "nowhere:app"], "There is no module nowhere, looking in /"),
        (["check", "cli_apps.nowhere:app"], "There is no module cli_apps.nowhere, looking in /"),
        (["check", "cli_apps:wel"], "has no attribute wel; is it well"),
        (["check", "apps:main"], "has no attribute main; is it app?"),
        (["check", "cli_apps:Namespace.other"], "cli_apps.Namespace has no attribute other"),
        (["check", "broken:app"], 'broken.py", line 1, in <module>'),
        (["check", "needy:app"], "ModuleNotFoundError: No module named 'not_installed'"),
        (["check", "cli_apps:number"], "cli_apps:number: app must be an ASGI application, a call"),
        (["check", "cli_apps:number", "--factory"], "cli_apps.number is no factory: int cannot"),
        (
            ["check", "cli_apps:factory"],
            "if it is a factory, call it and pass the result (--factory do",
        ),
        (["check", "cli_apps:failing_factory", "--factory"], "ValueError: no settings"),
        (["check", "cli_apps:well", "--mode", "never"], "'never' is not one of"),
        (["check", "cli_apps:well", "--startup-timeout", "soon"], "'soon' is not a number of sec"),
        (["check", "cli_apps:well", "--shutdown-timeout", "-1"], "must be zero or more seconds"),
        (["check", "cli_apps:well", "--backend", "curio"], "'curio' is not one of"),
        (["run", "nowhere:app"], "There is no module nowhere"),
        (["walk"], "No such command 'walk'"),
    ],
)
def test_bad_usage(arguments: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "needy.py").write_text("import not_installed\n")
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = anylifespan(*arguments, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path})
    assert message in " ".join(done.stderr.split())
    assert done.stdout == ""
    assert done.returncode == 2


def test_a_backend_that_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['uvloop'] = None\n")
    # Not there is what find_spec() says of it, and what an import of it does.
    program = (
        "import importlib.util as util; found = util.find_spec\n"
        "util.find_spec = lambda name: None if name in ('trio', 'uvloop') else found(name)\n"
        "from anylifespan.__main__ import main; main()\n"
    )
    command = [sys.executable, "-c", program, "check", "cli_apps:well", "--app-dir", str(TESTS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert [row[0] for row in rows(done.stdout)] == ["backend", "asyncio"]
    command += ["--backend", "uvloop"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert "uvloop is not installed: pip install 'anylifespan[uvloop]'" in done.stderr
    assert done.returncode == 2


@pytest.mark.parametrize("missing", ["click", "rich", "difflib"])
def test_without_what_the_command_needs(missing: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None\nimport runpy\n"
    program += "runpy.run_module('anylifespan', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT
    )
    assert done.returncode == 1
    if missing == "difflib":  # not of its extra, so not for it to explain
        assert "ModuleNotFoundError" in done.stderr
    else:
        needs = f"The anylifespan command needs {missing}, which is not installed: "
        assert done.stderr == needs + "pip install 'anylifespan[cli]'\n"


def test_a_dotted_attribute_and_a_factory() -> None:
    assert check("Namespace.inner", "--backend", "asyncio").returncode == 0
    assert check("factory", "--factory", "--backend", "asyncio").returncode == 0
    assert check("factory_with_an_event_loop", "--factory").returncode == 0


def test_no_limit() -> None:
    assert check("well", "--startup-timeout", "none", "--shutdown-timeout", "None").returncode == 0


def test_version_and_help() -> None:
    assert anylifespan("--version").stdout.startswith("anylifespan, version ")
    assert "SIGINT or SIGTERM" in anylifespan("run", "-h").stdout


# On a terminal


def on_a_terminal(*arguments: str) -> tuple[str, int]:
    """What it writes to a terminal of 80 columns, and its exit status."""
    here, there = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "anylifespan", *arguments],
        stdin=there,
        stdout=there,
        stderr=there,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
    )
    os.close(there)
    output = b""
    try:
        while select.select([here], [], [], LIMIT)[0]:
            try:
                output += os.read(here, 4096)
            except OSError:  # its other end is closed
                break
        return output.decode(), process.wait(LIMIT)
    finally:
        os.close(here)
        process.kill()
        process.wait()


@pytest.mark.parametrize("app", ["hangs_in_startup", "blocks_in_startup"])
def test_a_spinner_while_a_phase_runs(app: str) -> None:
    arguments = ("check", f"cli_apps:{app}", "--app-dir", str(TESTS), "--backend", "trio")
    output, status = on_a_terminal(*arguments, "--startup-timeout", "0.3")
    assert "trio: startup (limit 0.3 s)" in output
    assert "0:00:00" in output
    assert status == 1


# run


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    processes = []

    def start(app: str, *arguments: str, log: int = subprocess.PIPE) -> subprocess.Popen[str]:
        name = app if ":" in app else f"cli_apps:{app}"
        process = subprocess.Popen(
            [sys.executable, "-m", "anylifespan", "run", name, "--app-dir", str(TESTS), *arguments],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def read_until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stderr is not None
    lines = ""
    for line in process.stderr:
        lines += line
        if text in line:
            return lines
    raise AssertionError(f"{text!r} was not written, but {lines!r}")


backends = pytest.mark.parametrize("backend", ["asyncio", "uvloop", "trio"])


@backends
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_until_a_signal(start: Start, backend: str, number: signal.Signals) -> None:
    process = start("well", "--backend", backend)
    read_until(process, "Application startup complete.")
    process.send_signal(number)
    _, errors = process.communicate(timeout=LIMIT)
    assert errors.splitlines() == [
        f"INFO: Received {number.name}.",
        "INFO: Waiting for application shutdown.",
        "INFO: Application shutdown complete.",
    ]
    assert process.returncode == 0


@backends
def test_run_a_signal_in_a_hung_startup(start: Start, backend: str) -> None:
    process = start("hangs_in_startup", "--backend", backend)
    read_until(process, "Waiting for application startup.")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=LIMIT)
    assert "Application startup cancelled." in errors
    assert process.returncode == 128 + signal.SIGINT


@backends
def test_run_a_second_signal_in_a_hung_shutdown(start: Start, backend: str) -> None:
    process = start("hangs_in_shutdown", "--backend", backend)
    read_until(process, "Application startup complete.")
    process.send_signal(signal.SIGINT)
    read_until(process, "Waiting for application shutdown.")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=LIMIT)
    assert process.returncode == 128 + signal.SIGTERM


@backends
def test_run_a_crash(start: Start, backend: str) -> None:
    _, errors = start("crashes", "--backend", backend).communicate(timeout=LIMIT)
    assert f"{backend}: LifespanCrashed\n" in errors
    assert "ValueError: died" in errors


@pytest.mark.parametrize(
    ("app", "error"),
    [
        ("crashes", "LifespanCrashed"),
        ("fails_in_startup", "StartupFailed"),
        ("hangs_in_startup", "StartupTimeout"),
        ("blocks_in_startup", "EventLoopBlocked"),
        ("exits", "SystemExit"),
    ],
)
def test_run_a_failure(start: Start, app: str, error: str) -> None:
    process = start(app, *TIMEOUTS)
    _, errors = process.communicate(timeout=LIMIT)
    assert f"asyncio: {error}\n" in errors
    assert process.returncode == 1


@pytest.mark.parametrize("log", ["closed", "full"])
def test_run_shuts_down_though_its_log_cannot_be_written(start: Start, log: str) -> None:
    """As with ``2>&1 | head -1``, or on a disk that is full."""
    reading, writing = os.pipe()
    if log == "full":
        os.close(writing)
        writing = os.open("/dev/full", os.O_WRONLY)
    process = start("says_goodbye", log=writing)
    os.close(writing)
    assert process.stdout is not None
    assert process.stdout.readline() == "hello\n"
    os.close(reading)
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "goodbye\n"
    assert process.wait(LIMIT) == 0


def test_run_a_shutdown_that_times_out(start: Start) -> None:
    process = start("hangs_in_shutdown", *TIMEOUTS)
    read_until(process, "Application startup complete.")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=LIMIT)
    assert "asyncio: ShutdownTimeout\n" in errors
    assert process.returncode == 1


def test_run_signals_while_the_event_loop_is_blocked(start: Start) -> None:
    process = start("blocks_while_serving")
    read_until(process, "BLOCKED")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=LIMIT)
    assert process.returncode in (128 + signal.SIGINT, 128 + signal.SIGTERM)


def test_run_one_signal_while_the_event_loop_is_blocked(
    start: Start, impatient: tuple[str, ...]
) -> None:
    process = start("impatient:blocks_while_serving", *impatient)
    read_until(process, "BLOCKED")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=LIMIT)
    assert "trio: EventLoopBlocked\n" in errors
    assert process.returncode == 1


def test_run_an_app_that_holds_up_the_end(start: Start, impatient: tuple[str, ...]) -> None:
    process = start("impatient:deaf_in_startup", *impatient)
    _, errors = process.communicate(timeout=LIMIT)
    assert "it was cancelled, and still runs" in errors
    assert process.returncode == 1


@pytest.mark.parametrize("command", ["check", "run"])
def test_help_tells_the_defaults(command: str) -> None:
    done = anylifespan(command, "--help")
    text = " ".join(done.stdout.split())
    assert text.count("[default: 30.0]") == 2
    for default in ("[default: .]", "[default: auto]", "[default: info]"):
        assert default in text
    assert ("[default: asyncio]" in text) is (command == "run")


def test_to_repeat_it_less_than_once() -> None:
    done = check("well", "--repeat", "0")
    assert done.returncode == 2
    assert "0 is not in the range x>=1" in done.stderr


def test_check_starts_it_once_on_each_backend() -> None:
    done = check("says_goodbye")
    assert done.stdout.count("hello\n") == done.stdout.count("goodbye\n") == 2


def test_check_runs_the_event_loop_that_it_is_asked_for() -> None:
    done = check("tells_its_loop", "--backend", "uvloop")
    assert done.stdout.startswith("uvloop\n")


def test_check_tells_where_the_event_loop_is_blocked() -> None:
    done = check("blocks_in_startup", *TIMEOUTS, "--backend", "asyncio")
    assert "\nIt is at:\n" in done.stdout
    assert "It was waiting at" not in done.stdout


def test_check_does_not_wrap_a_traceback() -> None:
    done = check("raises_at_length", "--backend", "asyncio")
    assert f"ValueError: {'no database ' * 20}".rstrip() in done.stdout


def test_check_says_why_there_is_no_lifespan() -> None:
    done = check("without", "--backend", "asyncio")
    assert "asyncio: no lifespan\nit raised AssertionError, at " in done.stdout
    assert done.returncode == 0


def test_check_a_lifespan_that_is_swallowed() -> None:
    done = check("swallowed", "--backend", "asyncio")
    assert "starlette.applications.Starlette inside it has a lifespan" in done.stdout
    assert done.returncode == 1


def test_check_shows_some_keys_of_a_large_state() -> None:
    done = check("with_a_large_state", "--backend", "asyncio")
    text = " ".join(done.stdout.split())
    assert "a_rather_long_key_05 and 24 more" in text
    assert "a_rather_long_key_06" not in text


@pytest.mark.parametrize(("number", "more"), [(6, "f"), (7, "f and 1 more"), (8, "f and 2 more")])
def test_how_many_keys_are_left_out(number: int, more: str) -> None:
    assert _keys(list("abcdefgh"[:number])) == f"a, b, c, d, e, {more}"


def test_signals_are_handled_as_before_when_it_is_over() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    with Signals(lambda: None):
        assert all(a != b for a, b in zip(before, map(signal.getsignal, numbers), strict=True))
    assert [signal.getsignal(number) for number in numbers] == before
