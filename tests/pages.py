"""What the pages show, for the tests that run it."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).parents[1]
_BLOCK = re.compile(r"^<!-- ([\w. /]+) -->\n```\w*\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def snippets_of(page: str) -> dict[str, str]:
    """The blocks of code that stand below a comment with their name, in order.

    :param page: a file of the project, such as ``docs/tutorial.md``
    """
    return dict(_BLOCK.findall((PROJECT / page).read_text()))
