"""Draw the pictures of the pages: ``nox -s pictures``. It needs Graphviz's ``dot``.

- startup.svg and shutdown.svg show the table of transitions in ``_core/protocol.py``.
- check.svg shows ``anylifespan check`` of an example, as a terminal does.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.text import Text

from anylifespan._core.protocol import (
    ENDED,
    PHASES,
    STARTUP,
    TRANSITIONS,
    Event,
    Phase,
    State,
)

DOCS = Path(__file__).parent
# What reads well on a light and on a dark page.
LINES = "#7f8b99"
FILLED = {
    Phase.STARTING: "#cfe2f7",
    Phase.SERVING: "#cdeccf",
    Phase.STOPPING: "#f7e6b5",
    Phase.STOPPED: "#e0e0e0",
    Phase.FAILED: "#f6cfc9",
}
WORDS = {
    Event.FOREIGN_MESSAGE: "another protocol's message",
    Event.RECEIVE_STARTUP: "receives startup",
    Event.RETURN: "returns",
    Event.RAISE: "raises",
    Event.SHUTDOWN: "is asked to shut down",
    Event.TIMEOUT: "time runs out",
    Event.CANCEL: "is cancelled",
    Event.PART_CRASH: "a part crashes",
}
BEFORE_SERVING = {*STARTUP, State.START_LATE, State.START_CANCELLING}

CHECKS = [
    "examples.bookshop:app --repeat 3",
    "main:app --startup-timeout 1 --backend asyncio",
]
HANGS = """\
from contextlib import asynccontextmanager

import anyio
from fastapi import FastAPI


async def connect(url):
    await anyio.sleep_forever()  # as if nobody answered


@asynccontextmanager
async def lifespan(app):
    await connect("postgres://database")
    yield


app = FastAPI(lifespan=lifespan)
"""

Edges = Mapping[tuple[State, State], list[str]]


def transitions() -> Edges:
    """What leads from one state to another."""
    found = defaultdict(list)
    for before, following in TRANSITIONS.items():
        for event, after in following.items():
            message = event.value.removeprefix("lifespan.")
            found[before, after].append(WORDS.get(event, message))
    return found


def edges_by_picture() -> dict[str, Edges]:
    """The same, for those of the startup and for what follows."""
    found = transitions()
    startup = {pair: words for pair, words in found.items() if pair[0] in BEFORE_SERVING}
    shutdown = {pair: words for pair, words in found.items() if pair[0] not in BEFORE_SERVING}
    return {"startup": startup, "shutdown": shutdown}


def graph(edges: Edges) -> str:
    """States and what leads from one to the other, in Graphviz's language."""
    return "\n".join(["digraph {", *_style(), *_nodes(edges), *_edges(edges), "}"])


def checked() -> str:
    """What a terminal shows of two checks, in colour."""
    with TemporaryDirectory() as directory:
        Path(directory, "main.py").write_text(HANGS)
        environment = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": "80"}
        environment["PYTHONPATH"] = str(DOCS.parent)
        shown = []
        for arguments in CHECKS:
            command = [sys.executable, "-m", "anylifespan", "check", *arguments.split()]
            done = subprocess.run(
                command, cwd=directory, env=environment, capture_output=True, text=True
            )
            shown.append(f"\x1b[1m$ anylifespan check {arguments}\x1b[0m\n{done.stdout}")
        return "\n".join(shown).replace(f"{directory}{os.sep}", "")


def name(state: State) -> str:
    return state.name.lower().replace("_", " ")


def _style() -> Iterator[str]:
    yield "graph [bgcolor=transparent rankdir=LR nodesep=0.15 ranksep=0.3]"
    yield f'node [shape=box style="rounded,filled" color="{LINES}" fontname=sans fontsize=12'
    yield "height=0.3 margin=0.1]"
    yield f'edge [color="{LINES}" fontcolor="{LINES}" fontname=sans fontsize=10 arrowsize=0.6]'


def _nodes(edges: Edges) -> Iterator[str]:
    for state in dict.fromkeys(state for pair in edges for state in pair):
        filled = FILLED[PHASES.get(state, Phase.FAILED)]
        lines = 2 if state in ENDED else 1
        yield f'"{name(state)}" [fillcolor="{filled}" peripheries={lines}]'


def _edges(edges: Edges) -> Iterator[str]:
    for (before, after), labels in edges.items():
        label = "\\n".join(labels)
        yield f'"{name(before)}" -> "{name(after)}" [label="{label}"]'


def main() -> None:
    for picture, edges in edges_by_picture().items():
        command = ["dot", "-Tsvg", "-o", str(DOCS / f"{picture}.svg")]
        subprocess.run(command, input=graph(edges), text=True, check=True)
    console = Console(record=True, width=80, file=StringIO())
    console.print(Text.from_ansi(checked()))
    drawn = console.export_svg(title="anylifespan check", unique_id="check")
    # Its font would be fetched from elsewhere.
    (DOCS / "check.svg").write_text(re.sub(r"@font-face {[^}]*}\s*", "", drawn))


if __name__ == "__main__":
    main()
