"""Event names and fields for structured logs."""

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
    """Return an event's name, such as ``lifespan.startup.begins``."""
    return f"lifespan.{details.phase}.{details.outcome or 'begins'}"


def level_of(details: LifespanDetails) -> int:
    """Return an event's :mod:`logging` level."""
    return _LEVELS.get(details.outcome or "", logging.INFO)


def facts_of(details: LifespanDetails) -> dict[str, Any]:
    """Return fields that identify the lifespan and, after a timeout, the line where it waited."""
    facts: dict[str, Any] = {
        "application": details.application,
        "backend": details.backend,
        "number": details.number,
    }
    if details.where:
        facts["where"] = innermost_lines([details.where])
    return facts


def fields_of(details: LifespanDetails) -> dict[str, Any]:
    """Return an event's non-empty fields, except for the event's name."""
    fields = facts_of(details)
    if details.part_of is not None:
        fields["part_of"] = details.part_of
    if details.outcome is not None:
        fields["seconds"] = round(details.seconds, 6)
    return fields


def prefixed(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with ``lifespan.`` in front of each name, to avoid clashes."""
    return {f"lifespan.{name}": value for name, value in fields.items()}
