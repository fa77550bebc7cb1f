"""The servers' own commands, with all of their options and with this library's lifespan support.

A command creates its server from names in its own modules. These names are temporarily replaced,
which is safe in a process that runs nothing else. The command therefore has all the options of the
installed version.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .._core.options import check_seconds

# Keyed by phase.
HELP = {
    phase: f"Seconds the {phase} may take; none for no limit." for phase in ("startup", "shutdown")
}


def seconds(text: str) -> float | None:
    """Convert a text to a number of seconds, or ``none`` to None.

    :raises ValueError: if the text is neither
    """
    number = None if text.lower() == "none" else float(text)
    check_seconds("a timeout", number)
    return number


@contextmanager
def replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    """Temporarily replace an attribute of a module, while the block runs."""
    original = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, original)
