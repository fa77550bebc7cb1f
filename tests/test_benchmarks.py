"""That the benchmarks work, all of them; how fast anything is, no test says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("written")
    command = [sys.executable, BENCHMARKS, "--quick", "--into", directory, "--plots", directory]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


def rows(text: str, title: str) -> list[list[str]]:
    """The cells of a table under a title, without its head."""
    section = text.partition(f"## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if not row[0].startswith("---")]


@pytest.mark.processes
def test_the_table_has_every_peer_on_every_backend(written: Path) -> None:
    text = (written / "RESULTS.md").read_text()
    everywhere = {
        "the application alone",
        "async with",
        "startup() and shutdown()",
        "serve in a task group",
        "asgi-lifespan",
        "anycorn",
        "hypercorn",
    }
    on_asyncio = everywhere | {"uvicorn", "gunicorn", "granian"}
    for body in ("an empty body", "a body of ten checkpoints"):
        tables: dict[str, set[str]] = {}
        for first, *_ in rows(text, f"One lifespan with {body}"):
            if first.startswith("on "):
                name = first
            tables.setdefault(name, set()).add(first)
        assert {name: table - {name} for name, table in tables.items()} == {
            "on asyncio": on_asyncio,
            "on uvloop": on_asyncio,
            "on trio": everywhere,
        }


@pytest.mark.processes
def test_the_table_has_all_bounds(written: Path) -> None:
    (_, *bounds) = rows((written / "RESULTS.md").read_text(), "What it is to reach")
    assert len(bounds) == 20
    for _, _, measured, verdict in bounds:
        assert measured[0].isdigit()
        assert verdict in ("reached", "**not reached**")


@pytest.mark.processes
@pytest.mark.parametrize(
    ("title", "count"),
    [
        ("What the parts", 24),
        ("One request", 8),
        ("One request that Uvicorn", 6),
        ("500 tests", 12),
        ("Imports", 3),
        ("Alive at once", 8),
        ("From a crash to", 6),
    ],
)
def test_the_table_has_the_rest(written: Path, title: str, count: int) -> None:
    text = (written / "RESULTS.md").read_text()
    title = next(line[3:] for line in text.splitlines() if line.startswith(f"## {title}"))
    heads = ("", "on asyncio", "on uvloop", "on trio")
    assert len([row for row in rows(text, title) if row[0] not in heads]) == count


@pytest.mark.processes
@pytest.mark.parametrize(
    ("name", "label"), [("lifespans.svg", "startup() and shutdown()"), ("alive.svg", "kB for each")]
)
def test_the_plots_are_drawn(written: Path, name: str, label: str) -> None:
    builder = ElementTree.TreeBuilder(insert_comments=True)  # text is drawn, beside a comment
    parsed = ElementTree.parse(written / name, ElementTree.XMLParser(target=builder))
    assert label in [(element.text or "").strip() for element in parsed.iter()]
