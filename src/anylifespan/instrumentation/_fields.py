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


def facts_of(details: LifespanDetails) -> dict[str, Any]:
    """Which lifespan it is, and the line where the application was waiting, if it timed out."""
    facts: dict[str, Any] = {
        "application": details.application,
        "backend": details.backend,
        "number": details.number,
    }
    if details.where:
        facts["where"] = innermost_lines([details.where])
    return facts


def fields_of(details: LifespanDetails) -> dict[str, Any]:
    """What there is to say besides the name, without what is empty."""
    fields = facts_of(details)
    if details.part_of is not None:
        fields["part_of"] = details.part_of
    if details.outcome is not None:
        fields["seconds"] = round(details.seconds, 6)
    return fields


def prefixed(fields: dict[str, Any]) -> dict[str, Any]:
    """The same, where the names stand among those of others."""
    return {f"lifespan.{name}": value for name, value in fields.items()}
