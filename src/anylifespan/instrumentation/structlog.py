"""Events for structlog."""

from __future__ import annotations

from typing import Any

import structlog

from .._core.hooks import LifespanDetails
from ._fields import fields_of, level_of, name_of


class StructlogHook:
    """Logs what happens to a lifespan, as events of structlog.

    The event is a name, ``lifespan.startup.begins`` or ``lifespan.startup.complete``, and
    ``application``, ``backend``, ``seconds``, ``where``, ``number`` and ``part_of`` are its
    fields. What goes well has the level info, a failure or a timeout error, a crash critical, with
    the exception as ``exc_info``.

    :param logger: where to; by default ``structlog.get_logger("anylifespan")``
    """

    def __init__(self, logger: Any = None) -> None:
        self._logger = structlog.get_logger("anylifespan") if logger is None else logger

    def __call__(self, details: LifespanDetails) -> None:
        fields = fields_of(details)
        if details.error is not None:
            fields["exc_info"] = details.error
        self._logger.log(level_of(details), name_of(details), **fields)
