"""Change the code of the library, and see whether the tests notice.

``nox -s mutation`` runs this, or ``python tests/mutation.py --all _core/protocol.py`` for all that
can be changed in one module. Each module is changed in a copy of the project of its own. What the
tests do not notice must be listed, with the reason, in equivalent_mutants.toml.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = Path(__file__).parent.parent
LIBRARY = Path("src", "anylifespan")

# The tests that are to notice what is changed in a module: one list is one run of pytest. Those
# that are quick to notice come first, since the first that does ends it. After a colon stands
# which tests of a file are meant.
ROWS = [["test_rows_of_the_caller", "test_bad_input", "test_requests"], ["test_rows_of_the_app"]]
EVERY = ["test_every_behaviour", "test_every_schedule"]
# One with each plugin: the others take as long again, several times.
IN_FIXTURES = ["test_in_fixtures:(module-crashes or trio-function-crashes)"]
TESTS = {
    "_core/protocol": [["test_protocol"], ["test_rows_of_the_app"], ["test_every_message_order"]],
    "_core/blocks": [["test_blocks"], ["test_rows_of_the_caller"]],
    "_core/runs": [["test_used_twice"], ["test_compose", "test_middleware"]],
    "_core/manager": [
        *ROWS,
        ["test_limits", "test_hostile", "test_testing", *EVERY],
        ["test_ctrl_c"],
        IN_FIXTURES,
    ],
    "_core/lifespan _core/mailbox _core/ranks _core/outcome": [
        *ROWS,
        ["test_limits", "test_hostile", "test_where", "test_progress", "test_hooks", *EVERY],
        ["test_ctrl_c"],
    ],
    "_core/requests": [*ROWS, ["test_requests", "test_hooks"], ["test_compose", "test_middleware"]],
    "_core/options": [*ROWS, ["test_testing", "test_limits"], ["test_leaks:bad_options"]],
    "_core/log _core/application _core/attempt _core/exceptions": [
        *ROWS,
        ["test_hostile", "test_limits"],
        ["test_compose", "test_middleware", "test_start_in_background", "test_every_behaviour"],
    ],
    "_core/hosting": [*ROWS, [*EVERY, "test_from_thread", "test_profile"], IN_FIXTURES],
    "_core/inside": [["test_swallowed"]],
    "_core/where": [["test_where", "test_hostile"], ["test_rows_of_the_app"]],
    "_core/frames": [["test_frames", "test_progress"], ["test_cli"]],
    "_core/progress": [["test_progress"]],
    "_core/hooks _core/observer": [["test_hooks"], ["test_every_behaviour"]],
    (
        "instrumentation/__init__ instrumentation/_fields instrumentation/logging "
        "instrumentation/opentelemetry instrumentation/prometheus instrumentation/structlog"
    ): [["test_instrumentation"]],
    "_diagnosis/profile _diagnosis/sampler": [["test_profile"]],
    "_core/ctrl_c": [["test_ctrl_c"], ["test_ctrl_c_at_every_line"]],
    "__init__ errors": [["test_public_names", "test_bad_input", "test_rows_of_the_app"]],
    "compose": [
        ["test_compose", "test_limits", "test_used_twice", "test_public_names"],
        ["test_bad_input", "test_every_behaviour"],
    ],
    "middleware/_health middleware/_in_background": [
        ["test_health", "test_start_in_background", "test_ctrl_c_at_every_line"],
    ],
    "middleware/__init__ middleware/_run middleware/_by_request middleware/_on_crash": [
        ["test_middleware", "test_used_twice", "test_ways_in"],
        ["test_health", "test_start_in_background", "test_stop"],
        ["servers/test_under_servers:(middleware and (uvicorn or daphne))"],
    ],
    (
        "testing/__init__ testing/_client testing/_transport testing/_exchange "
        "testing/_httpx testing/_websocket"
    ): [
        ["test_testing", "test_streaming", "test_websockets"],
        ["test_leaks", "test_client_at_every_point"],
    ],
    "testing/_sync_client testing/_sync_transport testing/_reported": [["test_sync_client"]],
    "testing/_server testing/_serving": [["test_server"]],
    "from_thread _portal": [["test_from_thread"], ["test_sync_client", "test_server"]],
    "compat/asgi_lifespan": [["test_compat_asgi_lifespan"]],
    "pytest_plugin/__init__ pytest_plugin/_options pytest_plugin/_up": [
        ["test_pytest_plugin", "test_plugin_blames", "test_plugin_runners"],
        ["test_leaks:plugin"],
    ],
    "pytest_plugin/_runners": [["test_plugin_runners"], ["test_pytest_plugin"]],
    "pytest_plugin/_by_anyio pytest_plugin/_by_asyncio pytest_plugin/_by_trio": [
        ["test_plugin_runners"]
    ],
    "_diagnosis/leaks _diagnosis/files": [["test_leaks"]],
    "_diagnosis/watchdog": [["test_watchdog", "test_limits"], ["test_cli"]],
    "_diagnosis/origins": [["test_leaks"]],
    "_process/signals": [
        ["test_cli"],
        ["test_stop", "servers/test_drop_in_uvicorn", "servers/test_drop_in_corn"],
        ["servers/test_under_servers:(drop-in-uvicorn or drop-in-hypercorn)"],
    ],
    "_stop/draining _stop/refusal _stop/request _stop/drain": [["test_stop", "test_middleware"]],
    "_process/notice": [["test_stop"], ["servers/test_under_servers:middleware-uvicorn"]],
    "_process/server": [["test_middleware", "servers/test_drop_in_uvicorn"]],
    "__main__ cli/_load cli/_run cli/_target": [["test_cli"]],
    "cli/__init__ cli/_check cli/_fresh cli/_lifespans cli/_order cli/_report cli/_result": [
        ["test_check"],
        ["test_cli", "test_leaks:(check or strictly or last)"],
    ],
    (
        "conformance/__init__ conformance/_application conformance/_case conformance/_client "
        "conformance/_driver conformance/_kit conformance/_play conformance/_process "
        "conformance/_record conformance/_scenario conformance/_scenarios conformance/_server "
        "conformance/_websocket conformance/_cases/__init__"
    ): [
        ["conformance/test_drivers", "conformance/test_record"],
        ["conformance/test_odd_servers"],
        ["conformance/test_conform"],
        ["conformance/test_faults"],
    ],
    "cli/_conform cli/_conform_reports cli/_driven": [
        ["conformance/test_reports"],
        ["conformance/test_conform"],
    ],
    "servers/uvicorn servers/_uvicorn_options": [
        ["servers/test_drop_in_uvicorn"],
        ["servers/test_under_servers:drop-in-uvicorn"],
    ],
    "servers/_click servers/_command": [["servers/test_commands"]],
    "servers/gunicorn": [
        ["servers/test_drop_in_gunicorn"],
        ["servers/test_under_servers:drop-in-gunicorn"],
    ],
    "servers/_corn servers/hypercorn servers/anycorn": [
        ["servers/test_drop_in_corn"],
        ["servers/test_commands"],
        ["servers/test_under_servers:(drop-in-hypercorn or drop-in-anycorn)"],
    ],
}
TOPICS = {
    "callers": "caller",
    "lifespan": "lifespan or requests",
    "messages": "messages",
    "serving": "serving or crash",
    "shutdown": "shutdown",
    "signals": "signal",
    "startup": "startup",
    "state": "state",
    "unsupported": "unsupported",
    "workers": "workers",
}
TESTS |= {
    f"conformance/_cases/{name}": [
        ["conformance/test_drivers"],
        [f"conformance/test_faults:its_case and ({topics})"],
        ["conformance/test_odd_servers"],
        ["conformance/test_faults:right_server and asyncio"],
    ]
    for name, topics in TOPICS.items()
}
STEPS = {f"{name}.py": steps for names, steps in TESTS.items() for name in names.split()}
# Each server that is started takes its time.
FEW = {module: 10 for module in STEPS if module.startswith("servers/")}
FEW |= {module: 5 for module in STEPS if module.startswith("conformance/")}

CONFIG = """
[cosmic-ray]
module-path = {module}
timeout = 300.0
test-command = {command}

[cosmic-ray.distributor]
name = "local"

[cosmic-ray.filters.operators-filter]
# | is used in annotations only, * in signatures, and ** in calls, where nothing else may stand.
# What is compared by identity (None, enumerations, tasks) is equal to nothing else, and raises a
# TypeError when asked for its order.
exclude-operators = [
    "core/ReplaceBinaryOperator_(BitOr|Mul|Pow)_.*",
    "core/ReplaceComparisonOperator_Is_(Eq|Lt|LtE|Gt|GtE)",
    "core/ReplaceComparisonOperator_IsNot_(NotEq|Lt|LtE|Gt|GtE)",
    # What is compared (small numbers, infinity, names) is the same object if it is equal.
    "core/ReplaceComparisonOperator_(Eq_Is|NotEq_IsNot)",
]
"""
# Without these a class or a function does the same in a test: they speak to type checkers, make
# things quick, or keep frozen what nothing changes. Whether Ctrl-C may interrupt a line is what
# test_ctrl_c_at_every_line.py tries; most protected code is called by other such code, so that one
# decorator alone makes no difference.
DECLARE = {"abstractmethod", "cache", "dataclass", "lru_cache", "overload", "protected"}
DECLARE |= {"unprotected"}
# The rarer event loops would notice no more.
CHOSEN = "not uvloop and not eager and not each_transition"
# A mutant may wait for ever. Most time is virtual; tests that start processes end those themselves
# after half a minute, and else would leave them behind.
PATIENCE = 15
PATIENCE_WITH_PROCESSES = 45
WITH_PROCESSES = (
    "test_cli",
    "test_from_thread",
    "test_server",
    "test_sync_client",
    "test_in_fixtures",
    "test_leaks",
    "servers/",
    "conformance/test_odd_servers",
    "conformance/test_faults",
    "conformance/test_conform",
)
# Other people's plugins take longer to be imported than most tests to run.
FEW_PLUGINS = "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1"
ABOUT_PLUGINS = ("test_in_fixtures", "test_leaks", "conformance/test_conform")
REQUIRED = 0.97
# What the tests say of the library as it is, by their command; nothing if they pass.
UNDISTURBED: dict[str, str] = {}

Mutant = tuple[str, str, str]


@dataclass
class Result:
    """What became of a module's mutants.

    :ivar mutants: how many there are
    :ivar tried: how many of them were tried
    :ivar survivors: those that no test has noticed
    :ivar broken: what its tests say of the module as it is, if they fail
    """

    module: str
    mutants: int = 0
    tried: int = 0
    survivors: list[Mutant] = field(default_factory=list)
    broken: str = ""


def main() -> int:
    options = arguments()
    known = known_mutants()
    killed = counted = unexplained = broken = 0
    with ThreadPoolExecutor(2) as pool:
        for result in pool.map(partial(mutate, options=options), options.modules or STEPS):
            tell(result, known)
            broken += bool(result.broken)
            killed += result.tried - len(result.survivors)
            explained = sum(bool(known.get(one)) for one in result.survivors)
            counted += result.tried - explained
            unexplained += len(result.survivors) - explained
    share = killed / max(counted, 1)
    print(f"{killed} of {counted} mutants killed that make a difference ({share:.1%})")
    return 1 if share < REQUIRED or unexplained or broken else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("modules", nargs="*", help='such as "_core/log.py"; without any, all')
    parser.add_argument("--sample", type=int, default=10, help="how many mutants of each module")
    parser.add_argument("--seed", type=int, default=0, help="which ones")
    parser.add_argument("--all", action="store_true", help="all mutants")
    options = parser.parse_args()
    if unlisted := sorted({*modules_with_code()} - STEPS.keys()):
        parser.error(f"no tests are listed for {', '.join(unlisted)}")
    if unknown := sorted({*options.modules} - STEPS.keys()):
        parser.error(f"no such module: {', '.join(unknown)}")
    return options


def modules_with_code() -> Iterator[str]:
    for path in (PROJECT / LIBRARY).rglob("*.py"):
        if len(ast.parse(path.read_text()).body) > 1:  # more than a docstring
            yield path.relative_to(PROJECT / LIBRARY).as_posix()


def tell(result: Result, known: dict[Mutant, str]) -> None:
    if result.broken:
        print(f"{result.module}: its tests fail as it is\n{result.broken}", flush=True)
        return
    killed = result.tried - len(result.survivors)
    tried = f"{result.tried} tried of {result.mutants}"
    print(f"{result.module}: {killed} of {result.tried} mutants killed ({tried})")
    for survivor in result.survivors:
        _, before, after = survivor
        print(f"  - {before}\n  + {after}\n    {known.get(survivor) or 'NOT EXPLAINED'}")
    sys.stdout.flush()


def mutate(module: str, options: argparse.Namespace) -> Result:
    """Try the mutants of a module, or a sample of them."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory)
        for name in ("src", "tests", "examples", "docs", "pyproject.toml"):
            source = PROJECT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("_build"))
            else:
                shutil.copy2(source, copy / name)
        # The copy is what is imported, wherever the project is installed.
        environment = {**os.environ, "PYTHONPATH": str(copy / "src")}
        run = partial(subprocess.run, cwd=copy, env=environment)
        command = shlex.join(["sh", "-c", " && ".join(map(pytest, STEPS[module]))])
        # What fails by itself would seem to notice everything.
        if command not in UNDISTURBED:
            done = run(shlex.split(command), capture_output=True, text=True)
            UNDISTURBED[command] = done.stdout + done.stderr if done.returncode else ""
        if broken := UNDISTURBED[command]:
            return Result(module, broken=broken)
        path = str(LIBRARY / module)
        config = CONFIG.format(module=json.dumps(path), command=json.dumps(command))
        (copy / "mutation.toml").write_text(config)
        tools = Path(sys.executable).parent
        session = ["mutation.toml", "mutation.sqlite"]
        run([tools / "cosmic-ray", "init", *session], check=True)
        run([tools / "cr-filter-operators", *reversed(session)], check=True)
        with use_db(str(copy / "mutation.sqlite"), WorkDB.Mode.open) as database:
            limit = None if options.all else min(options.sample, FEW.get(module, options.sample))
            mutants = keep_some(database, (copy / path).read_text(), limit, options.seed)
        run([tools / "cosmic-ray", "exec", *session], check=True)
        with use_db(str(copy / "mutation.sqlite"), WorkDB.Mode.open) as database:
            return outcome(module, mutants, database)


def pytest(names: list[str]) -> str:
    """The command for one run of it."""
    files = [f"tests/{name.partition(':')[0]}.py" for name in names]
    chosen = " and ".join([CHOSEN, *(name.partition(":")[2] for name in names if ":" in name)])
    processes = any(name.startswith(WITH_PROCESSES) for name in names)
    patience = PATIENCE_WITH_PROCESSES if processes else PATIENCE
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-k", chosen]
    command += ["-o", f"faulthandler_timeout={patience}", "-o", "faulthandler_exit_on_timeout=true"]
    if "its_case" in chosen:  # most of these are left out otherwise
        command.append("--exhaustive")
    if names[0].startswith(ABOUT_PLUGINS):
        return shlex.join([*command, *files])
    # Some of the project's own options are for plugins that are then missing.
    command += ["-o", "addopts=", "-p", "anyio.pytest_plugin"]
    return f"{FEW_PLUGINS} {shlex.join([*command, *files])}"


def lines_of_other_pythons(source: str) -> set[int]:
    """The lines that tell versions of Python apart, and those that this one does not run."""
    lines = set()
    for node in ast.walk(ast.parse(source)):
        if is_about_the_version(node):
            lines.add(node.lineno)
        body = getattr(node, "body", None)
        for place, one in enumerate(body if isinstance(body, list) else ()):
            if isinstance(one, ast.If) and is_about_the_version(one.test):
                for other in not_run(one, body[place + 1 :]):
                    lines.update(range(other.lineno, other.end_lineno + 1))
    return lines


def lines_that_declare(source: str) -> set[int]:
    """Those of decorators that declare something, and of constants and defaults that are seconds.

    A test that sees six seconds in the place of five only has the constant once more.
    """
    tree = ast.parse(source)
    lines = set()
    for node in ast.walk(tree):
        for one in getattr(node, "decorator_list", ()):
            name = one.func if isinstance(one, ast.Call) else one
            if isinstance(name, ast.Name) and name.id in DECLARE:
                lines.add(one.lineno)
        for default in getattr(getattr(node, "args", None), "kw_defaults", ()):
            if default is not None and is_seconds(default):
                lines.add(default.lineno)
    for one in tree.body:
        if isinstance(one, ast.If) and ast.unparse(one.test) == "TYPE_CHECKING":
            lines.add(one.lineno)  # what is imported for type checkers can be imported
        if isinstance(one, ast.Assign) and is_seconds(one.value):
            lines.add(one.lineno)
    return lines


def is_seconds(value: ast.expr) -> bool:
    """Whether it is a float, or a sum of constants."""
    if isinstance(value, ast.BinOp):
        return True
    return isinstance(value, ast.Constant) and isinstance(value.value, float)


def lines_of_texts_compared(source: str) -> set[int]:
    """The lines on which something is compared with a text, which is about no order."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Compare)]
    return {
        node.lineno
        for node in nodes
        for one in node.comparators
        if isinstance(one, ast.Constant) and isinstance(one.value, str)
    }


def is_about_the_version(node: Any) -> bool:
    return isinstance(node, ast.Compare) and ast.unparse(node.left) == "sys.version_info"


def not_run(one: ast.If, following: list[Any]) -> list[Any]:
    if not eval(ast.unparse(one.test), {"sys": sys}):
        return one.body
    return [*one.orelse, *(following if isinstance(one.body[-1], ast.Return) else ())]


def keep_some(database: Any, source: str, limit: int | None, seed: int) -> int:
    """Mark the others as done.

    :return: how many mutants there are that could be tried
    """
    mutants = []
    makes_no_difference = lines_of_other_pythons(source) | lines_that_declare(source)
    texts = lines_of_texts_compared(source)
    for item in database.pending_work_items:
        [one] = item.mutations
        line = one.start_pos[0]
        in_order = one.operator_name.rpartition("_")[2] in ("Lt", "LtE", "Gt", "GtE")
        if line in makes_no_difference or (line in texts and in_order):
            leave_out(database, [item.job_id])
        else:
            place = (one.start_pos, one.end_pos)
            mutants.append((place, one.operator_name, one.occurrence, item.job_id))
    # They come in any order, and have other ids each time.
    jobs = shuffled([(place, job) for place, _, _, job in sorted(mutants)], seed)
    if limit is not None:
        leave_out(database, jobs[limit:])
    return len(jobs)


def shuffled(jobs: list[tuple[Any, str]], seed: int) -> list[str]:
    """In a random order, but second mutants of a place come after the first ones of all places.

    An operator is replaced by a dozen others, and most tests notice all of them or none.
    """
    generator = random.Random(seed)
    generator.shuffle(jobs)
    seen: Counter[Any] = Counter()
    turns = []
    for place, job in jobs:
        turns.append((seen[place], job))
        seen[place] += 1
    return [job for _, job in sorted(turns, key=lambda turn: turn[0])]


def leave_out(database: Any, jobs: list[str]) -> None:
    database.set_multiple_results(jobs, WorkResult(worker_outcome=WorkerOutcome.SKIPPED))


def outcome(module: str, mutants: int, database: Any) -> Result:
    result = Result(module, mutants)
    for _, work in database.completed_work_items:
        # Left out, or what the tool cannot make of the code.
        if work.test_outcome in (None, TestOutcome.INCOMPETENT):
            continue
        result.tried += 1
        if work.test_outcome is TestOutcome.SURVIVED:
            result.survivors.append((module, *changed_lines(work.diff)))
    result.survivors.sort()
    return result


def changed_lines(diff: str) -> tuple[str, str]:
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    before = " ".join(line[1:].strip() for line in lines if line.startswith("-"))
    after = " ".join(line[1:].strip() for line in lines if line.startswith("+"))
    return before, after


def known_mutants() -> dict[Mutant, str]:
    with (Path(__file__).parent / "equivalent_mutants.toml").open("rb") as file:
        listed = tomllib.load(file)["mutants"]
    return {(one["module"], one["before"], one["after"]): one["reason"] for one in listed}


if __name__ == "__main__":
    sys.exit(main())
