"""``anylifespan conform``, as the command that people run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from test_cli import check_that_it_is_said_as_json

from anylifespan.cli._conform import choose
from anylifespan.cli._driven import DriverProcess
from anylifespan.conformance import Verdict, cases
from anylifespan.conformance._process import Processes, sigint_not_ignored

pytestmark = pytest.mark.processes

HERE = Path(__file__).parent
LIMIT = 60  # seconds for a run of a few cases, on a slow machine
TINY = [sys.executable, str(HERE / "faults.py"), "{app}", "{port}"]
SCOPE = ["--only", "lifespan"]
FAULT = [*TINY, "--fault", "startup.failed-message-is-logged"]


def conform(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "anylifespan", "conform", *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        **options,
    )


def judged(server: Sequence[str], *options: str) -> subprocess.CompletedProcess[str]:
    return conform(*options, "--", *server)


# What people read


def test_a_report_by_topic() -> None:
    done = judged(TINY, "--only", "lifespan.*", "--only", "startup.event")
    lines = done.stdout.splitlines()
    assert lines[:2] == ["lifespan", "  ✓ lifespan.runs"]
    assert lines[-6:-2] == ["  ✓ lifespan.context-variables", "startup", "  ✓ startup.event", ""]
    assert [line.split() for line in lines[-2:]] == [
        ["required", "8", "of", "8", "passed"],
        ["advised", "1", "of", "1", "passed"],
    ]
    assert (done.returncode, done.stderr) == (0, "")


def test_what_fails_is_shown_with_the_last_lines_of_the_output() -> None:
    done = judged(FAULT, "--only", "startup.failed-message-is-logged")
    text = " ".join(done.stdout.split())
    assert "✗ startup.failed-message-is-logged fails (required)" in text
    assert "expected The message of startup.failed is logged, printed or raised." in text
    assert "seen 'conformance: the database is down' was nowhere in its output" in text
    assert "source ASGI lifespan 2.0, Startup Failed - send event (should)" in text
    assert "output " in text
    assert "StartupFailed" in text
    assert text.endswith("required 0 of 1 passed 1 failed")
    assert done.returncode == 1


def test_an_output_is_shown_once() -> None:
    done = judged(
        [*TINY, "--fault", "crash.ends-the-server"], "--only", "crash.*", "--timeout", "2"
    )
    assert done.stdout.count("✗ crash") == 2
    assert done.stdout.count("      output") == 1
    assert done.returncode == 0  # all of it is advised


def test_the_command_fails_for_what_is_advised_if_it_is_strict() -> None:
    crash = [*TINY, "--fault", "crash.ends-the-server"]
    done = judged(crash, "--only", "crash.ends*", "--timeout", "2", "--strict")
    assert done.returncode == 1


def test_what_is_informative_is_no_failure() -> None:
    early = [*TINY, "--fault", "startup.refuses-connections"]
    done = judged(early, "--only", "startup.refuses-connections", "--strict")
    assert "✗ startup.refuses-connections  no" in done.stdout
    assert done.returncode == 0


def test_the_cases_can_be_listed() -> None:
    done = conform("--list")
    text = " ".join(done.stdout.split())
    for case in cases:
        assert f"{case.name} {case.sentence} {case.strength}, " in text
        assert case.sentence.endswith(".")
    assert "workers.lifespan-in-each Each of two workers" in text
    assert "required, servers; ASGI lifespan 2.0" in text
    assert "advised, drivers; anylifespan, docs/semantics.md, row c" in text
    assert (done.returncode, done.stderr) == (0, "")


def test_cases_that_do_not_apply_say_why_if_it_is_verbose() -> None:
    stateless = [*TINY, "--fault", "state.offered"]
    done = judged(stateless, "--only", "state.in-requests", "--verbose")
    text = " ".join(done.stdout.split())
    assert "- state.in-requests does not apply expected HTTP requests have the state." in text
    assert "seen the lifespan scope has no state" in text
    assert done.returncode == 0


# What programs read


def test_json_and_nothing_else() -> None:
    done = judged(FAULT, "--only", "startup.failed-[ime]*", "--json")
    report = json.loads(done.stdout)
    assert report["judged"] == " ".join(FAULT)
    assert report["ok"] is False
    assert report["summary"] == {
        "required": {"passed": 1, "failed": 1},
        "advised": {"passed": 1},
    }
    found = {case["name"]: case for case in report["cases"]}
    assert found["startup.failed-message-is-logged"] == {
        "name": "startup.failed-message-is-logged",
        "expected": "The message of startup.failed is logged, printed or raised.",
        "strength": "required",
        "source": "ASGI lifespan 2.0, Startup Failed - send event (should)",
        "url": "https://asgi.readthedocs.io/en/latest/specs/lifespan.html"
        "#startup-failed-send-event",
        "standing": "failed",
        "seen": "'conformance: the database is down' was nowhere in its output",
    }
    assert found["startup.failed-is-fatal"]["standing"] == "passed"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--driver", "nowhere"],
        ["--only", "no.such-case", "--", *TINY],
        ["--", "no-such-command"],
        ["--jobs", "many", "--", *TINY],
    ],
)
def test_what_is_wrong_is_said_as_json(arguments: list[str]) -> None:
    check_that_it_is_said_as_json(conform("--json", *arguments))


def test_the_json_of_the_servers_own_command_is_not_ours() -> None:
    done = conform("--jobs", "many", "--", "serve", "--json")
    assert done.stdout == ""
    assert done.returncode == 2


def test_files_for_ci_and_for_pages(tmp_path: Path) -> None:
    junit, markdown = tmp_path / "junit.xml", tmp_path / "table.md"
    options = ["--junit", str(junit), "--markdown", str(markdown)]
    done = judged(FAULT, "--only", "startup.failed-[ime]*", "--only", "requests", *options)
    assert done.returncode == 1
    (suite,) = ElementTree.parse(junit).getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("7", "1", "0")
    (failed,) = suite.findall("testcase[failure]")
    assert failed.get("name") == "startup.failed-message-is-logged"
    (failure,) = failed
    assert "was nowhere in its output" in failure.get("message", "")
    assert "expected: The message of startup.failed" in (failure.text or "")
    table = markdown.read_text().splitlines()
    assert table[0] == f"### Lifespan conformance of `{' '.join(FAULT)}`"
    assert "| required | 5 | 6 |" in table
    assert table[-1] == (
        "| startup.failed-message-is-logged | required | fails | "
        "'conformance: the database is down' was nowhere in its output |"
    )


def test_everything_passes_in_a_table(tmp_path: Path) -> None:
    markdown = tmp_path / "table.md"
    judged(TINY, "--only", "startup.event", "--markdown", str(markdown))
    assert markdown.read_text().splitlines()[-1] == "| required | 1 | 1 |"


# Expected failures


def expecting(tmp_path: Path, text: str, *only: str) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "expected.txt"
    file.write_text(text)
    options = [option for name in only for option in ("--only", name)]
    return judged(FAULT, "--expected-failures", str(file), *options)


def test_failures_that_are_expected(tmp_path: Path) -> None:
    names = "# known\n\nstartup.failed-message-is-logged  # and reported\n"
    done = expecting(tmp_path, names, "startup.failed-message-is-logged")
    assert "✗ startup.failed-message-is-logged  fails, as expected" in done.stdout
    assert done.returncode == 0


def test_expected_failures_that_pass(tmp_path: Path) -> None:
    done = expecting(tmp_path, "startup.event\n", "startup.event")
    assert "! startup.event  passes now: take it out of the expected failures" in done.stdout
    assert done.returncode == 1


def test_an_expected_failure_that_does_not_exist(tmp_path: Path) -> None:
    done = expecting(tmp_path, "startup.evnt\n", "startup.event")
    assert (
        "expected.txt: there is no case 'startup.evnt'; anylifespan conform --list" in done.stderr
    )
    assert done.returncode == 2


# What cannot be judged


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give the command that starts a server, after --, or a driver"),
        (["--driver", "drivers:async_with", "--", "x"], "Give the command that starts a server"),
        (["--", "python", "{app}"], "The command has no {port}, where the kit puts"),
        (["--", "python", "{port}"], "The command has no {app}, where the kit puts"),
        (["--", "no-such-server", "{app}", "{port}"], "There is no command no-such-server"),
        (["--only", "strtup", "--", *TINY], "No case fits 'strtup' here; anylifespan conform"),
        (["--only", "workers", "--", *TINY], "No case fits 'workers' here"),
        (["--only", "signal", "--driver", "drivers:async_with"], "No case fits 'signal' here"),
        (["--driver", "drivers"], "DRIVER must be MODULE:ATTRIBUTE, for example main:driver"),
        (["--driver", "drivers:none", "--app-dir", str(HERE)], "has no attribute none"),
    ],
)
def test_a_mistake_is_told_at_once(arguments: list[str], message: str) -> None:
    done = conform(*arguments)
    assert message in " ".join(done.stderr.split())
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize(
    ("command", "topics"),
    [
        (TINY, {case.topic for case in cases if case.for_servers} - {"workers"}),
        ([*TINY, "--w={workers}"], {case.topic for case in cases if case.for_servers}),
        ([], {case.topic for case in cases if case.for_drivers}),
    ],
)
def test_what_can_be_judged(command: list[str], topics: set[str]) -> None:
    assert {case.topic for case in choose([], command)} == topics


def test_servers_need_a_client_for_websockets() -> None:
    program = "import sys; sys.modules['wsproto'] = None\nimport runpy\n"
    program += "runpy.run_module('anylifespan', run_name='__main__')"
    command = [sys.executable, "-c", program, "conform", "--", *TINY]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert "wsproto is not installed: pip install 'anylifespan[cli]'" in done.stderr
    assert done.returncode == 2


def test_a_server_that_never_serves() -> None:
    broken = [sys.executable, "-c", "print('no such option'); raise SystemExit(64)"]
    done = judged([*broken, "{app}", "{port}"], "--only", "state.offered", "--timeout", "1")
    text = " ".join(done.stdout.split())
    assert "! state.offered could not be judged" in text
    assert "seen it did not come up: it ended with status 64" in text
    assert "output no such option" in text
    assert done.returncode == 2


def test_a_command_that_cannot_be_run(tmp_path: Path) -> None:
    no_program = tmp_path / "server"
    no_program.write_bytes(b"\x7fELF of nothing")
    no_program.chmod(0o755)
    done = judged([str(no_program), "{app}", "{port}"], *SCOPE)
    assert f"{no_program} cannot be run: " in " ".join(done.stderr.split())
    assert done.returncode == 2


# Drivers


def test_a_driver_passes() -> None:
    done = conform("--driver", "drivers:async_with", "--app-dir", str(HERE), "--only", "startup")
    assert "✓ startup.failed-is-fatal" in done.stdout
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ("crash.is-logged", "the process ended with status 1"),
        ("shutdown.return-ends-it", "the process had to be killed"),
    ],
)
def test_a_driver_that_takes_its_process_with_it(
    fault: str, seen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "faulty.py").write_text(
        "from faults import APPLICATIONS\n"
        "from anylifespan import LifespanManager\n\n"
        "def driver(app):\n"
        f"    return LifespanManager(APPLICATIONS[{fault!r}](app))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    options = ["--app-dir", str(tmp_path), "--only", fault, "--timeout", "1"]
    done = conform("--driver", "faulty:driver", *options)
    assert f"seen {seen}" in " ".join(done.stdout.split())


def test_a_driver_that_kills_its_process(tmp_path: Path) -> None:
    (tmp_path / "deadly.py").write_text(
        "import os, signal\n\ndef driver(app):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = conform(
        "--driver", "deadly:driver", "--app-dir", str(tmp_path), "--only", "startup.event"
    )
    assert "seen the process ended with status -9" in " ".join(done.stdout.split())


def judged_in_here(driver: str, directory: Path, patience: float) -> Verdict:
    order = DriverProcess(driver, str(directory), "asyncio", patience)
    (verdict,) = order([next(case for case in cases if case.name == "startup.event")], Processes())
    return verdict


def test_a_driver_has_time_to_be_imported(tmp_path: Path) -> None:
    """More than it has for its work."""
    source = "import time\n\nfrom anylifespan import LifespanManager as driver\n\ntime.sleep(3)\n"
    (tmp_path / "slow.py").write_text(source)
    assert judged_in_here("slow:driver", tmp_path, 0.5).outcome == "passed"


def test_a_driver_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anylifespan.cli._driven.LIMIT", 0.5)
    (tmp_path / "hangs.py").write_text("import time\n\ntime.sleep(1000)\n")
    verdict = judged_in_here("hangs:driver", tmp_path, 0.1)
    assert (verdict.outcome, verdict.seen) == ("failed", "the process had to be killed")


def test_the_tests_of_a_driver_as_the_page_has_them(tmp_path: Path) -> None:
    page = (HERE.parents[1] / "docs" / "conformance.md").read_text()
    (snippet,) = re.findall(r"```python\n(import pytest\n.*?)```", page, re.DOTALL)
    (tmp_path / "test_lifespan.py").write_text(snippet)
    (tmp_path / "drivers.py").write_text("from anylifespan import LifespanManager as driver\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "startup"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stdout
    startup = sum(case.for_drivers and "startup" in case.name for case in cases)
    assert f"{2 * startup} passed" in done.stdout


# How it ends


def processes_of(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_server_behind(number: signal.Signals, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = (
        f"import os, time\nopen({str(pids)!r}, 'a').write(f'{{os.getpid()}} ')\ntime.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, "{app}", "{port}"]
    kit = subprocess.Popen(
        [sys.executable, "-m", "anylifespan", "conform", *SCOPE, "--", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with kit:
        deadline = time.monotonic() + LIMIT
        while not (pids.exists() and pids.read_text()) and time.monotonic() < deadline:
            time.sleep(0.01)
        kit.send_signal(number)
        kit.wait(LIMIT)
    assert kit.returncode == (1 if number is signal.SIGINT else 128 + number)
    assert not any(processes_of(int(pid)) for pid in pids.read_text().split())


# Where it runs


def test_servers_do_not_ignore_sigint_where_this_process_does() -> None:
    """As in the background of a shell."""
    command = [sys.executable, "-c", "import signal; print(signal.getsignal(signal.SIGINT))"]

    def of_a_process() -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with sigint_not_ignored():
            assert "default_int_handler" in of_a_process()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_signals_are_left_alone() -> None:
    def handler() -> object:
        with sigint_not_ignored():
            return signal.getsignal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(handler).result() is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
