"""Decide which exception to raise if several things went wrong at once.

This implements the table in docs/semantics.md ("If several things go wrong"). The exception with
the lowest rank is raised. The others, except cancellations and KeyboardInterrupts, are logged with
their tracebacks, and added to the raised exception as notes. A cancellation that is not raised is
not lost, since its source will deliver it again.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum, auto

from ..errors import LifespanCrashed, LifespanError
from .exceptions import EXITS, add_note, contains, describe, is_cancellation
from .log import Log


class Rank(IntEnum):
    """The order of precedence of exceptions. The lowest rank takes precedence."""

    EXIT = auto()  # Ctrl-C, or KeyboardInterrupt or SystemExit of the body or the application
    BODY = auto()  # the body's own exception
    CRASH = auto()  # why there is a cancellation, if there is one
    CANCELLATION = auto()
    LEFT_WRONGLY = auto()  # in another task, or with a scope of the body still open
    FAILURE = auto()  # of the startup or the shutdown


def settle(
    problems: Iterable[BaseException], log: Log, *, body: BaseException | None = None
) -> BaseException | None:
    """Return the exception to raise, if any. Log the others, and add notes about them to it.

    :param problems: the exceptions, other than the one that the body raised
    :param body: the exception that the block's body raised, if any
    """
    winner = body
    losers: list[BaseException] = []
    for problem in problems:
        if winner is None or _rank(problem, body) < _rank(winner, body):
            winner, problem = problem, winner
        if problem is not None:
            losers.append(problem)
    for loser in losers:
        if not is_cancellation(loser) and not isinstance(loser, KeyboardInterrupt):
            log.error("%s", describe(loser), exc_info=loser)
            add_note(winner, f"Besides, {describe(loser)}")
    return winner


def _rank(problem: BaseException, body: BaseException | None) -> Rank:
    if contains(problem, EXITS):
        return Rank.EXIT
    if is_cancellation(problem):
        return Rank.CANCELLATION
    if problem is body:
        return Rank.BODY
    if isinstance(problem, LifespanCrashed):
        return Rank.CRASH
    return Rank.FAILURE if isinstance(problem, LifespanError) else Rank.LEFT_WRONGLY
