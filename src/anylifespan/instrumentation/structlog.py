"""Events for structlog."""

from __future__ import annotations

from typing import Any

import structlog

from .._core.hooks import LifespanDetails
from ._fields import fields_of, level_of, name_of


class StructlogHook:
    """Logs each lifespan's events with structlog.

    The event is a name such as ``lifespan.startup.begins`` or ``lifespan.startup.complete``. The
    fields are ``application``, ``backend``, ``seconds``, ``where``, ``number`` and ``part_of``.
    Successes are logged at level info, cancellations at warning, failures and timeouts at error,
    and crashes at critical. If there is an exception, it is logged as ``exc_info``.

    :param logger: the logger to use; by default ``structlog.get_logger("anylifespan")``
    """

    def __init__(self, logger: Any = None) -> None:
        self._logger = structlog.get_logger("anylifespan") if logger is None else logger

    def __call__(self, details: LifespanDetails) -> None:
        fields = fields_of(details)
        if details.error is not None:
            fields["exc_info"] = details.error
        self._logger.log(level_of(details), name_of(details), **fields)
