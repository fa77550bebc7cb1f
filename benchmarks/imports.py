"""What it takes to import the package, in processes that have done nothing else."""

from __future__ import annotations

import subprocess
import sys

from interleaved import Values

IMPORTS = {
    "import anyio": ("", "import anyio"),
    "import anylifespan, beyond anyio": ("import anyio", "import anylifespan"),
    "its manager, beyond anyio and asyncio": (
        "import anyio, asyncio",
        "from anylifespan import LifespanManager",
    ),
}
SCRIPT = """
import time
{before}
begun = time.perf_counter()
{measured}
print(time.perf_counter() - begun)
"""


async def measure(backend: str, *, quick: bool) -> dict[str, Values]:
    """Seconds of each import."""
    values: Values = {name: [] for name in IMPORTS}
    for _ in range(2 if quick else 40):
        for name, (before, measured) in IMPORTS.items():
            script = SCRIPT.format(before=before, measured=measured)
            values[name].append(float(_output([sys.executable, "-c", script])))
    return {"import": values}


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
