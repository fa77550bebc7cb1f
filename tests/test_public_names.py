"""The package itself: its names, and what it costs to import it."""

from __future__ import annotations

import ast
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import anylifespan

SOURCE = Path(anylifespan.__file__).read_text()


def names_for_type_checkers() -> dict[str, str]:
    imports = [node for node in ast.walk(ast.parse(SOURCE)) if isinstance(node, ast.ImportFrom)]
    return {alias.name: f".{node.module}" for node in imports if node.level for alias in node.names}


def test_type_checkers_see_what_there_is() -> None:
    assert names_for_type_checkers() == anylifespan._MODULES
    assert set(anylifespan._MODULES) <= set(dir(anylifespan))


def test_a_star_and_help_show_them() -> None:
    assert sorted(anylifespan._MODULES) == anylifespan.__all__
    names: dict[str, object] = {}
    exec("from anylifespan import *", names)
    assert set(anylifespan.__all__) <= set(names)
    text = pydoc.plain(pydoc.render_doc(anylifespan))
    for name in anylifespan.__all__:
        assert f"class {name}(" in text or f"    {name}(" in text


@pytest.mark.parametrize("name", anylifespan._MODULES)
def test_each_name_is_there(name: str) -> None:
    assert getattr(anylifespan, name).__name__ == name


def test_a_name_that_there_is_not() -> None:
    with pytest.raises(AttributeError, match="module 'anylifespan' has no attribute 'Manager'"):
        _ = anylifespan.Manager  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="cannot import name 'Manager'"):
        from anylifespan import Manager  # type: ignore[attr-defined] # noqa: F401


@pytest.mark.parametrize("name", ["", "LifespanManager", "LifespanMiddleware"])
def test_an_import_loads_nothing_that_may_not_be_needed(name: str) -> None:
    """``import anylifespan`` loads not even itself, and the rest no more than anyio."""
    unwanted = {"asyncio", "click", "httpx", "httpx2", "multiprocessing", "pytest", "rich", "trio"}
    unwanted |= set() if name else {"anyio"}
    script = (
        f"import sys; before = set(sys.modules); import anylifespan\n"
        f"{f'anylifespan.{name}' if name else ''}\n"
        f"print(*sorted({unwanted!r} & (sys.modules.keys() - before)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []
