"""What it takes to import the package, in processes that have done nothing else."""

from __future__ import annotations

import os
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
    for number in range(3 if quick else 41):
        for name, (before, measured) in IMPORTS.items():
            seconds = float(_output(SCRIPT.format(before=before, measured=measured)))
            if number:  # the first time the modules are compiled
                values[name].append(seconds)
    return {"import": values}


def _output(script: str) -> str:
    # What has been compiled is to be kept, as it is everywhere but on some machines for tests.
    kept = {**os.environ}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=kept).stdout
