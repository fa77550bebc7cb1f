"""Change the code of the protocol and of the manager, and see whether the tests notice.

``nox -s mutation`` runs this. Each module is changed in a copy of the project of its own. What the
tests do not notice must be listed, with the reason, in equivalent_mutants.toml.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = Path(__file__).parent.parent
# Those that are quick to notice come first, since the first that does ends it.
TESTS = {
    "_core/protocol.py": [
        ["test_protocol"],
        ["test_rows_of_the_app"],
        ["test_every_message_order"],
    ],
    "_core/manager.py": [
        ["test_rows_of_the_caller", "test_bad_input", "test_requests"],
        ["test_rows_of_the_app"],
        ["test_in_fixtures", "test_every_behaviour", "test_every_schedule"],
    ],
}
CONFIG = """
[cosmic-ray]
module-path = "src/anylifespan/{module}"
timeout = 60.0
test-command = "sh -c '{command}'"

[cosmic-ray.distributor]
name = "local"

[cosmic-ray.filters.operators-filter]
# | is used in annotations only, and * in signatures. What is compared by identity (None,
# enumerations, tasks) is equal to nothing else, and raises a TypeError when asked for its order.
exclude-operators = [
    "core/ReplaceBinaryOperator_(BitOr|Mul)_.*",
    "core/ReplaceComparisonOperator_Is_(Eq|Lt|LtE|Gt|GtE)",
    "core/ReplaceComparisonOperator_IsNot_(NotEq|Lt|LtE|Gt|GtE)",
]
"""
# A mutant may wait for ever, and time is virtual. The rarer event loops would notice no more.
OPTIONS = (
    r"-x -q -p no:cacheprovider -k \"not uvloop and not eager and not each_transition\" "
    "-o faulthandler_timeout=6 -o faulthandler_exit_on_timeout=true"
)
# Other people's plugins take longer to be imported than most tests to run.
FEW_PLUGINS = "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1"
REQUIRED = 0.95

Mutant = tuple[str, str, str]


def main() -> int:
    with ThreadPoolExecutor() as pool:
        results = dict(zip(TESTS, pool.map(mutate, TESTS), strict=True))
    known = known_mutants()
    unexplained = 0
    for module, (tried, survivors) in results.items():
        killed = tried - len(survivors)
        print(f"{module}: {killed} of {tried} mutants killed ({killed / tried:.1%})")
        for survivor in survivors:
            reason = known.get(survivor, "")
            unexplained += not reason
            _, before, after = survivor
            print(f"  - {before}\n  + {after}\n    {reason or 'NOT EXPLAINED'}")
    enough = all(tried - len(left) >= REQUIRED * tried for tried, left in results.values())
    return 0 if enough and not unexplained else 1


def mutate(module: str) -> tuple[int, list[Mutant]]:
    """Try all mutants of a module.

    :return: how many there are, and those that survived
    """
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory)
        for name in ("src", "tests", "pyproject.toml"):
            source = PROJECT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / name)
        config = CONFIG.format(module=module, command=" && ".join(map(pytest, TESTS[module])))
        (copy / "mutation.toml").write_text(config)
        # The copy is what is imported, wherever the project is installed.
        environment = {**os.environ, "PYTHONPATH": str(copy / "src")}
        tools = Path(sys.executable).parent
        for command in (
            [tools / "cosmic-ray", "init", "mutation.toml", "mutation.sqlite"],
            [tools / "cr-filter-operators", "mutation.sqlite", "mutation.toml"],
            [tools / "cosmic-ray", "exec", "mutation.toml", "mutation.sqlite"],
        ):
            subprocess.run(command, cwd=copy, env=environment, check=True)
        with use_db(str(copy / "mutation.sqlite"), WorkDB.Mode.open) as database:
            return outcome(module, database)


def pytest(names: list[str]) -> str:
    files = " ".join(f"tests/{name}.py" for name in names)
    command = f"{sys.executable} -m pytest {OPTIONS}"
    if "test_in_fixtures" in names:  # which is about plugins
        return f"{command} {files}"
    return f"{FEW_PLUGINS} {command} -p anyio.pytest_plugin {files}"


def outcome(module: str, database: Any) -> tuple[int, list[Mutant]]:
    tried = 0
    survivors = []
    for _, result in database.completed_work_items:
        # Filtered out, or what the tool cannot make of the code.
        if result.test_outcome in (None, TestOutcome.INCOMPETENT):
            continue
        tried += 1
        if result.test_outcome is TestOutcome.SURVIVED:
            survivors.append((module, *changed_lines(result.diff)))
    return tried, survivors


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
