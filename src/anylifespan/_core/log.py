"""A log that cannot change what becomes of a lifespan."""

from __future__ import annotations

import logging
import sys
import traceback
from contextlib import suppress
from typing import Any

DEFAULT = logging.getLogger("anylifespan")


class Log:
    """Logs to a logger, and goes on if that raises.

    Filters, handlers and formatters are the user's code, and run in the midst of ours: one that
    asks for the current request, where there is none, would end the lifespan in the place of the
    application. What could not be logged goes to standard error, as with :mod:`logging` itself.

    :param logger: a logger, or what has its methods
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
        """Log what a task has raised that was to raise nothing."""
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
