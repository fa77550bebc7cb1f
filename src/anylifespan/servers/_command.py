"""The servers' own commands, with all of their options, and this library's lifespan.

A command makes its server from names of its own modules. In a process that runs nothing else, those
names are given other values: the options are then as the installed version has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .._core.options import check_seconds

# By the phase.
HELP = {
    phase: f"Seconds the {phase} may take; none for no limit." for phase in ("startup", "shutdown")
}


def seconds(text: str) -> float | None:
    """A number of seconds; None for ``none``.

    :raises ValueError: if it is neither
    """
    number = None if text.lower() == "none" else float(text)
    check_seconds("a timeout", number)
    return number


@contextmanager
def replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    """A name of a module has another value."""
    original = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, original)
