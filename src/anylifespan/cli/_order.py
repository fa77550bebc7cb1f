"""What the command asks of a process of its own, and what it hears from that."""

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
    """Lifespans to be run in a fresh process, one after another.

    :ivar app: ``module:attribute``
    :ivar options: of the manager
    :ivar looks_for_leaks: whether to see what they leave behind
    :ivar ignored: patterns of leaks that are known
    :ivar profiles: whether to see where the time goes
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
    """How it stands there.

    :ivar doing: what it is doing, in words
    :ivar limit: seconds for that; None for no limit
    :ivar since: when it began that, by the monotonic clock, which all processes share
    :ivar usage_error: why there is nothing to be run
    :ivar ended_at: where the application has ended the process
    :ivar is_over: whether all is done, but for the end of the process
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
    """A directory in which one process leaves the order, and another its news."""

    def __init__(self, directory: str) -> None:
        self._order = Path(directory, "order")
        self._news = Path(directory, "news")

    def send_order(self, order: Order) -> None:
        self._order.write_bytes(pickle.dumps(order))

    def order(self) -> Order:
        order: Order = pickle.loads(self._order.read_bytes())  # noqa: S301 - nobody else writes it
        return order

    def send_news(self, news: News) -> None:
        # At once, so that nobody reads half of it.
        draft = self._news.with_suffix(".draft")
        draft.write_bytes(pickle.dumps(news))
        os.replace(draft, self._news)

    def news(self) -> News | None:
        """The latest; None if there is none yet."""
        try:
            news: News = pickle.loads(self._news.read_bytes())  # noqa: S301
        except FileNotFoundError:
            return None
        return news
