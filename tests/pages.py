"""What the pages show, for the tests that run it."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

PROJECT = Path(__file__).parents[1]
_BLOCK = re.compile(r"^<!-- ([\w. /]+) -->\n```\w*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_PYTHON = re.compile(r"^ *```python\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


def snippets_of(page: str) -> dict[str, str]:
    """The blocks of code that stand below a comment with their name, in order.

    :param page: a file of the project, such as ``docs/tutorial.md``
    """
    return dict(_BLOCK.findall((PROJECT / page).read_text()))


def python_of(page: str) -> list[str]:
    """Its blocks of Python that have no name, in order."""
    text = _BLOCK.sub("", (PROJECT / page).read_text())
    return [dedent(code) for code in _PYTHON.findall(text)]
