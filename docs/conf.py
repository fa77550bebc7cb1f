"""How Sphinx builds the site: ``nox -s docs``. It needs no network."""

from __future__ import annotations

import re
from typing import Any

from anylifespan import __version__

project = "anylifespan"
copyright = "the anylifespan authors"  # noqa: A001 - Sphinx calls it so
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx_click",
    "sphinx_copybutton",
]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
smartquotes = False  # which would make a dash of the "--" in commands
exclude_patterns = ["_build"]

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_type_aliases = dict.fromkeys(["ASGIApp", "ASGI3App"], "ASGIApp")
python_use_unqualified_type_names = True
maximum_signature_line_length = 80

html_theme = "furo"
html_title = f"anylifespan {release}"
html_extra_path = ["llms.txt"]


def _name_files_of_the_project(app: Any, page: str, source: list[str]) -> None:
    """Links to files outside of the pages lead somewhere in the repository, but not here."""
    out_of_the_pages = re.escape("../" * (page.count("/") + 1))
    links = rf"\[([^\]]+)\]\({out_of_the_pages}(\w[^)]*)\)"
    source[0] = re.sub(links, lambda link: _named(*link.groups()), source[0])


def _named(text: str, path: str) -> str:
    return f"`{path}`" if text == path else f"{text} (`{path}`)"


def _mark_up(app: Any, ctx: Any, lines: list[str]) -> None:
    """The help of a command is plain text, with patterns and the names of options in it."""
    lines[:] = [
        re.sub(r"(?<=[ (])(--[a-z-]+|\*\S+\d)", r"``\1``", line)
        if not line.lstrip().startswith("..")
        else line
        for line in lines
    ]


def setup(app: Any) -> None:
    app.connect("sphinx-click-process-description", _mark_up)
    app.connect("sphinx-click-process-options", _mark_up)
    app.connect("source-read", _name_files_of_the_project)
