"""Find assertions that say something else than they seem to, or that cannot fail.

``assert a == b if condition else c`` asserts just ``c`` if the condition does not hold, and
``assert (a, "message")`` nothing at all. ``nox -s lint`` runs this with the paths to look at.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path


def main(paths: Iterable[str]) -> int:
    found = [f"{file}:{one}" for file in files(paths) for one in mistakes(file.read_text())]
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


def files(paths: Iterable[str]) -> Iterator[Path]:
    for path in map(Path, paths):
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


def mistakes(source: str) -> Iterator[str]:
    """``line: message`` for each."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assert) and (message := mistake(node.test)):
            yield f"{node.lineno}: {message}"


def mistake(test: ast.expr) -> str | None:
    if isinstance(test, ast.IfExp):
        return (
            "the conditional expression is all that is asserted: write "
            "`assert a == (b if condition else c)`, or an if statement"
        )
    if isinstance(test, ast.Tuple) and test.elts:
        return "a tuple is always true: write `assert test, message`, without parentheses"
    if isinstance(test, ast.Constant) and test.value:
        return f"{ast.unparse(test)} is always true: assert what is to hold, or nothing"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
