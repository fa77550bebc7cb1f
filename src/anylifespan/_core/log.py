"""Logging that cannot affect a lifespan."""

from __future__ import annotations

import logging
import sys
import traceback
from contextlib import suppress
from typing import Any

DEFAULT = logging.getLogger("anylifespan")


class Log:
    """Logs to a logger, and continues if the logger raises an exception.

    Filters, handlers and formatters are the user's code, but they run inside this library's code.
    For example, a filter may look up the current request when there is none. The filter's exception
    would end the lifespan, although the application has not failed. Messages that could not be
    logged are written to standard error, as in :mod:`logging` itself.

    :param logger: a logger, or an object that has a logger's methods
    """

    __slots__ = ("_logger",)

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def debug(self, text: str, *args: object) -> None:
        self._log("debug", text, args, None)

    def info(self, text: str, *args: object) -> None:
        self._log("info", text, args, None)

    def warning(self, text: str, *args: object, exc_info: BaseException | None = None) -> None:
        self._log("warning", text, args, exc_info)

    def error(self, text: str, *args: object, exc_info: BaseException | None = None) -> None:
        self._log("error", text, args, exc_info)

    def complaint(self, raised: BaseException) -> None:
        """Log an exception from a task that should not raise any."""
        self._log("error", "%s", (raised,), raised)

    def _log(
        self, level: str, text: str, args: tuple[object, ...], exc_info: BaseException | None
    ) -> None:
        try:
            getattr(self._logger, level)(text, *args, exc_info=exc_info, stacklevel=3)
        except KeyboardInterrupt:
            raise
        except BaseException as exc:  # noqa: BLE001 - a handler that exits is no reason to stop
            _print(f"anylifespan: {text % args if args else text}", exc_info, exc)


def _print(text: str, reported: BaseException | None, failure: BaseException) -> None:
    with suppress(Exception):  # there is no other place to report it
        print(text, file=sys.stderr)
        if reported is not None:
            traceback.print_exception(reported)
        print("The logger raised this when it was given the above:", file=sys.stderr)
        traceback.print_exception(failure)


DEFAULT_LOG = Log(DEFAULT)
