"""The fields of a structured log, and the names of its events."""

from __future__ import annotations

import logging
from typing import Any

from .._core.frames import innermost_lines
from .._core.hooks import LifespanDetails

_LEVELS = {
    "failed": logging.ERROR,
    "timeout": logging.ERROR,
    "cancelled": logging.WARNING,
    "crashed": logging.CRITICAL,
}


def name_of(details: LifespanDetails) -> str:
    """Such as ``lifespan.startup.begins`` or ``lifespan.startup.complete``."""
    return f"lifespan.{details.phase}.{details.outcome or 'begins'}"


def level_of(details: LifespanDetails) -> int:
    """One of the levels of :mod:`logging`."""
    return _LEVELS.get(details.outcome or "", logging.INFO)


def fields_of(details: LifespanDetails) -> dict[str, Any]:
    """What there is to say besides the name, without what is empty.

    :return: with ``seconds`` as a number, and ``where`` as the line where the application was
        waiting
    """
    fields: dict[str, Any] = {
        "application": details.application,
        "backend": details.backend,
        "number": details.number,
    }
    if details.part_of is not None:
        fields["part_of"] = details.part_of
    if details.outcome is not None:
        fields["seconds"] = round(details.seconds, 6)
    if details.where:
        fields["where"] = innermost_lines([details.where])
    return fields
