"""Structured log records, for :mod:`logging` formatters that write extra fields."""

from __future__ import annotations

import logging

from .._core.hooks import LifespanDetails
from ._fields import fields_of, level_of, name_of, prefixed


class LoggingHook:
    """Logs each lifespan's events, with their fields in ``extra``.

    The message is the event's name, such as ``lifespan.startup.begins`` or
    ``lifespan.startup.complete``. The fields are attributes of the record:
    ``lifespan.application``, ``lifespan.backend``, ``lifespan.seconds``, ``lifespan.where``,
    ``lifespan.number`` and ``lifespan.part_of``. Successes are logged at level INFO, cancellations
    at WARNING, failures and timeouts at ERROR, and crashes at CRITICAL. If there is an exception,
    the record includes it.

    :param logger: the logger to use; by default ``logging.getLogger("anylifespan.events")``
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logging.getLogger("anylifespan.events") if logger is None else logger

    def __call__(self, details: LifespanDetails) -> None:
        self._logger.log(
            level_of(details),
            name_of(details),
            exc_info=details.error,
            extra=prefixed(fields_of(details)),
        )
