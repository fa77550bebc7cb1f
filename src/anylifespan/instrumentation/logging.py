"""Structured records for :mod:`logging`, for formatters that write the extra fields."""

from __future__ import annotations

import logging

from .._core.hooks import LifespanDetails
from ._fields import fields_of, level_of, name_of, prefixed


class LoggingHook:
    """Logs the events of each lifespan, with their fields in ``extra``.

    The message is the event's name, such as ``lifespan.startup.begins`` or
    ``lifespan.startup.complete``. The fields are attributes of the record:
    ``lifespan.application``, ``lifespan.backend``, ``lifespan.seconds``, ``lifespan.where``,
    ``lifespan.number`` and ``lifespan.part_of``. Successes have level INFO, failures and timeouts
    ERROR, and crashes CRITICAL, with the exception.

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
