"""The order that the command sends to a fresh process, and the news that the process sends back."""

from __future__ import annotations

import os
import pickle
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ._result import Result


@dataclass(frozen=True)
class Order:
    """Lifespans to run in a fresh process, one after another.

    :ivar app: ``module:attribute``
    :ivar options: the manager's options
    :ivar looks_for_leaks: whether to look for leaks
    :ivar ignored: patterns for known leaks
    :ivar profiles: whether to measure where the time is spent
    """

    app: str
    factory: bool
    app_dir: str
    options: dict[str, Any]
    backend: str
    lifespans: int
    looks_for_leaks: bool
    ignored: tuple[str, ...]
    profiles: bool
    log_level: str


@dataclass
class News:
    """The latest news from the process that runs the lifespans.

    :ivar doing: what the process is doing, such as ``"startup"``
    :ivar limit: seconds that the current step may take; None for no limit
    :ivar since: when the current step started, by the monotonic clock, which all processes share
    :ivar usage_error: the error message if nothing can be run
    :ivar ended_at: the frames in which the application ended the process
    :ivar is_over: whether everything is done, although the process may not have ended yet
    """

    result: Result
    doing: str = "import"
    limit: float | None = None
    since: float = field(default_factory=time.monotonic)
    usage_error: str | None = None
    ended_at: list[dict[str, Any]] = field(default_factory=list)
    is_over: bool = False

    def begin(self, doing: str, limit: float | None) -> None:
        self.doing, self.limit, self.since = doing, limit, time.monotonic()


class Letters:
    """A directory where one process writes the order, and the other process writes the news."""

    def __init__(self, directory: str) -> None:
        self._order = Path(directory, "order")
        self._news = Path(directory, "news")

    def send_order(self, order: Order) -> None:
        self._order.write_bytes(pickle.dumps(order))

    def order(self) -> Order:
        order: Order = pickle.loads(self._order.read_bytes())  # noqa: S301 - nobody else writes it
        return order

    def send_news(self, news: News) -> None:
        # Replace the file atomically, so that nobody reads half of the news.
        draft = self._news.with_suffix(".draft")
        draft.write_bytes(pickle.dumps(news))
        os.replace(draft, self._news)

    def news(self) -> News | None:
        """Return the latest news; None if there is none yet."""
        try:
            news: News = pickle.loads(self._news.read_bytes())  # noqa: S301
        except FileNotFoundError:
            return None
        return news
