"""That the pictures of the pages show what there is; ``nox -s pictures`` draws them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from xml.etree import ElementTree

import pytest
from pages import PROJECT

sys.path.insert(0, str(PROJECT / "docs"))
import pictures

SVG = "{http://www.w3.org/2000/svg}"


def drawn(picture: str) -> ElementTree.Element:
    return ElementTree.parse(PROJECT / "docs" / f"{picture}.svg").getroot()


def arrows(picture: str) -> Iterator[tuple[str, list[str]]]:
    """The title and the label of each."""
    for group in drawn(picture).iter(f"{SVG}g"):
        if group.get("class") == "edge":
            title, *labels = (
                "".join(one.itertext()) for one in (group[0], *group.iter(f"{SVG}text"))
            )
            yield title, labels


@pytest.mark.parametrize("picture", ["startup", "shutdown"])
def test_the_table_of_transitions(picture: str) -> None:
    assert dict(arrows(picture)) == {
        f"{pictures.name(before)}->{pictures.name(after)}": words
        for (before, after), words in pictures.edges_by_picture()[picture].items()
    }


@pytest.mark.processes
def test_the_check() -> None:
    def words(text: str) -> list[str]:
        text = re.sub(r"\x1b\[[\d;]*m", "", text.replace("\xa0", " "))
        return sorted(re.sub(r"\d+", "0", text).split())

    texts = [
        "".join(one.itertext())
        for one in drawn("check").iter(f"{SVG}text")
        if not (one.get("class") or "").endswith("title")
    ]
    assert words(" ".join(texts)) == words(pictures.checked())
