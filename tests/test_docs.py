"""The site: whatever is public has its place in the reference, and every page is in llms.txt."""

from __future__ import annotations

import re
from pathlib import Path

import anylifespan
import anylifespan.instrumentation
import anylifespan.testing
from anylifespan import pytest_plugin
from anylifespan.conformance import cases
from anylifespan.pytest_plugin import _options

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {str(path.relative_to(DOCS)): path.read_text() for path in DOCS.rglob("*.md")}
REFERENCE = "\n".join(text for name, text in PAGES.items() if name.startswith("reference/"))
NAMES_FOR_TESTS = {
    name for name in vars(anylifespan.testing) if name.startswith(("ASGI", "Leak", "asgi"))
}
DESCRIBED = set(re.findall(r"^\.\. auto\w+:: (\w+)", REFERENCE, re.MULTILINE))


def test_public_names_are_in_the_reference() -> None:
    assert set(anylifespan.__all__) <= DESCRIBED
    assert len(NAMES_FOR_TESTS) == 9
    assert NAMES_FOR_TESTS <= DESCRIBED
    assert {"Case", "Source", "Strength", "Verdict"} <= DESCRIBED
    assert {*anylifespan.instrumentation.__all__} <= {*DESCRIBED, "Hook"}
    assert {"BlockingLifespan", "start_blocking_lifespan", "LifespanNotSupported"} <= DESCRIBED


def test_fixtures_are_in_the_reference() -> None:
    fixtures = {name for name in vars(pytest_plugin) if name.startswith("asgi_")}
    assert len(fixtures) == 5
    assert fixtures <= DESCRIBED


def test_options_of_the_plugin_are_on_its_page() -> None:
    missing = [name for name in _options._OPTIONS if f"`{name}`" not in PAGES["testing.md"]]
    assert missing == []


def test_the_messages_to_look_up_are_those_of_the_library() -> None:
    package = Path(anylifespan.__file__).parent
    source = "".join(path.read_text() for path in package.rglob("*.py"))
    in_one_line = re.sub(r'"\n\s+f?"', "", source)
    phases = re.sub(
        r"its (startup|shutdown) within", "its {phase} within", PAGES["troubleshooting.md"]
    )
    messages = re.findall(r"^## `(.*)`$|`((?:and|was) [^`]+ be[^`]*)`", phases, re.MULTILINE)
    assert len(messages) == 15
    for heading, inline in messages:
        assert (heading or inline) in in_one_line


def test_every_page_is_in_llms_txt() -> None:
    listed = re.findall(r"\]\(([\w/-]+)\.html\)", (DOCS / "llms.txt").read_text())
    assert sorted(f"{name}.md" for name in listed) == sorted(PAGES.keys() - {"index.md"})


def test_links_between_pages_lead_somewhere() -> None:
    """Those to files outside of the pages, too, of which Sphinx knows nothing."""
    for name, text in PAGES.items():
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
            assert (DOCS / name).parent.joinpath(target).exists(), (name, target)


def test_the_number_of_cases_is_that_of_the_kit() -> None:
    project = DOCS.parent
    for page in ("README.md", "CHANGELOG.md"):
        assert f"{len(cases)} cases" in (project / page).read_text()
