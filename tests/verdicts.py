"""Whether a trial went as docs/semantics.md has it.

An application that was disturbed is no longer the one of the catalogue. But what it has received,
sent and done was observed, and :mod:`model` tells what that means. Two things cannot be seen from
the application: when it was asked to shut down, and when it was given up. So all moments are tried,
and what became of the lifespan must have an explanation.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import trio
from apps import Boom
from model import CUTS, Model
from trials import IN_A_LINE, Report, Trial, on_trio, run

from anylifespan import LifespanCrashed, Phase

# What is raised, or None, and what the manager shows in the end.
Verdict = tuple[type[BaseException] | None, Phase, bool | None]
STRUCK = {
    "raise": Boom,
    "Ctrl-C": KeyboardInterrupt,
    "cancel task": asyncio.CancelledError,
    "cancel scope": (asyncio.CancelledError, trio.Cancelled),
}
AT_A_TIMEOUT = ("startup", "cancel task", "being woken")
# Seconds, the shortest time after which an application is ever given up.
LINGER = 5.0


def try_it(trial: Trial) -> bool:
    """Run it, and check it.

    :return: whether its fault came to pass
    """
    # Nothing holds the report any longer than this: what is dropped in the next trial would not be
    # found then.
    report = run(trial)
    check(report)
    return report.fired


def check(report: Report) -> None:
    """Fail, with all there is to say, if it did not go as it should."""
    problems = [*report.problems, *_wrong_outcome(report)]
    assert not problems, "\n".join(
        [
            "",
            f"{report.trial}",
            *problems,
            f"raised: {report.errors}, cancelled: {report.cancelled}, told: {report.told}",
            f"in the end: {report.phase}, supported: {report.supported}",
            f"after {report.seconds} seconds; the application {report.history}",
        ]
    )


def _wrong_outcome(report: Report) -> Iterator[str]:
    if report.fired or report.trial.seed is not None:
        yield from _unexplained(report)
        return
    outcome = report.trial.behaviour.outcome(report.trial.mode, report.trial.way)
    if [type(error) for error in report.errors] != ([outcome.error] if outcome.error else []):
        yield f"it was to raise {outcome.error}"
    if outcome.text not in str(report.error):
        yield f"{outcome.text!r} is not in {report.error}"
    if (report.phase, report.supported) != (outcome.phase, outcome.supported):
        yield f"it was to end as {outcome}"


def _unexplained(report: Report) -> Iterator[str]:
    trial = report.trial
    fault = trial.fault if report.fired else None
    yield from _lost(report)
    history = report.history
    if fault is not None and fault.moment == IN_A_LINE and fault.what == "Ctrl-C":
        if trial.backend != "trio" or report.phase is Phase.IDLE:
            return  # each line is as likely as not to have had its effect
        history = history or ["raised KeyboardInterrupt"]  # in the line that calls it
    possible = _explanations(
        tuple(history),
        trial.mode,
        abandoned=fault is not None and fault.whom != "app",
        late=report.seconds >= LINGER,
        given_up=trial.may_be_given_up,
    )
    if (report.phase, report.supported) not in {verdict[1:] for verdict in possible}:
        yield f"nothing explains how it ended; what could: {possible}"
    told = {verdict[0] for verdict in possible}
    as_crashes = {LifespanCrashed} if told & {SystemExit, KeyboardInterrupt} else set()
    if not {type(error) for error in report.told} <= told | as_crashes:
        yield f"another task was told {report.told}, and there was but {told}"
    if fault is None:
        if not {type(error) for error in report.errors} <= told:
            yield f"it was to raise one of {told}"
        if not report.errors and not report.told and None not in told:
            yield f"nobody was told of {told}"
        return
    if fault.whom == "app":
        # An exception where a task group waits for its tasks leaves it open, which is told.
        told |= {LifespanCrashed} if "PEP 789" in str(report.error) else set()
        if (type(report.error) if report.error else None) not in told:
            yield f"it was to raise one of {told}"
        return
    struck = [error for error in _with_contexts(report.errors) if _is_stroke(report, error)]
    for error in report.errors:
        if not _is_stroke(report, error) and type(error) not in told:
            yield f"{error!r} is none of {told}"
    if isinstance(report.error, (SystemExit, KeyboardInterrupt)):
        return  # on asyncio it stops the event loop, whatever else there was to be raised
    if fault.what == "raise" and not struck:
        yield "what the body raised got lost"
    if fault.whom == "body" and trial.way == "async with" and report.errors != struck[-1:]:
        yield "what the body raised was to come out as it was"


def _lost(report: Report) -> Iterator[str]:
    """What was to be raised, by the table of ranks, or at least logged."""
    fault = report.trial.fault
    errors = report.errors
    if not report.fired or fault is None:
        pass
    elif fault.moment == IN_A_LINE and fault.what == "Ctrl-C" and report.trial.backend != "trio":
        # asyncio protects no line, so that what comes after may fail, in the application too.
        if not errors and not any(
            isinstance(one, KeyboardInterrupt) for one in _with_contexts(report.raised)
        ):
            yield "Ctrl-C got lost"
        return
    if fault is not None and fault.what == "cancel task" and report.trial.way == "serve":
        return  # anyio's TaskGroup.start() drops what the task has raised
    if report.trial.way == "startup":
        # Where the caller shuts down in a ``finally``, its error has the interruption as context.
        errors = [*_with_contexts(errors)]
    exits = [error for error in errors if isinstance(error, (KeyboardInterrupt, SystemExit))]
    if report.fired and fault.whom == "caller" and not exits and not report.came_late:
        crashed = any(isinstance(error, LifespanCrashed) for error in report.errors)
        # asyncio's own cancellation waits for the next checkpoint; and so does one that comes
        # while anyio's task group passes an error on.
        may_be_late = fault.what == "cancel task" or report.trial.way == "serve"
        # On Python 3.10, anyio takes it for the timeout that expires in the same step.
        at_a_timeout = (report.trial.way, fault.what, fault.moment) == AT_A_TIMEOUT
        is_lost_in_anyio = sys.version_info < (3, 11) and at_a_timeout
        is_seen = report.cancelled or (report.errors if may_be_late else crashed)
        if fault.what == "Ctrl-C":
            yield "Ctrl-C got lost"
        elif not is_seen and not is_lost_in_anyio:
            yield "the cancellation got lost"
    shown = {id(one) for one in _with_causes([*report.errors, *report.told, *report.logged])}
    texts = "\n".join(one for one in report.logged if isinstance(one, str))
    for raised in report.raised:
        if exits and isinstance(raised, KeyboardInterrupt):
            continue  # one stands for the other
        if _is_lost_by_anyio(report):
            continue
        if id(raised) not in shown and type(raised).__name__ not in texts:
            yield f"what the application raised got lost: {raised!r}"


def _with_causes(errors: list[Any]) -> Iterator[BaseException]:
    """Those, and all that led to them, or is in a group with others."""
    left = [error for error in errors if isinstance(error, BaseException)]
    seen: set[int] = set()
    while left:
        error = left.pop()
        if id(error) in seen:
            continue
        seen.add(id(error))
        yield error
        more = (error.__cause__, error.__context__, *getattr(error, "exceptions", ()))
        left += [one for one in more if one is not None]


def _is_stroke(report: Report, error: BaseException) -> bool:
    return isinstance(error, STRUCK[report.trial.fault.what])


def _with_contexts(errors: list[BaseException]) -> Iterator[BaseException]:
    for error in errors:
        one: BaseException | None = error
        while one is not None:
            yield one
            one = one.__context__


@cache
def _explanations(
    history: tuple[str, ...], mode: str, *, abandoned: bool, late: bool, given_up: bool
) -> frozenset[Verdict]:
    """All that can have become of an application with such a history.

    :param abandoned: whether its caller may have stopped to wait for it
    :param late: whether it may have run out of time
    :param given_up: whether its caller may have left it running
    """
    facts = [_fact(one) for one in history]
    verdicts: set[Verdict] = set()
    for asked in [None, *range(len(facts) + 1)]:
        for cut in [None, *range(len(facts) + 1)]:
            for why in CUTS if cut is not None else [""]:
                if why == "ran out of time" and not late:
                    continue
                verdicts |= _follow(facts, mode, asked, cut, why, abandoned, given_up)
    return frozenset(verdicts)


def _follow(
    facts: list[str],
    mode: str,
    asked: int | None,
    cut: int | None,
    why: str,
    abandoned: bool,
    given_up: bool,
) -> set[Verdict]:
    model = Model()
    errors: set[type[BaseException] | None] = set()
    for place, fact in enumerate([*facts, ""]):
        if place == asked == cut and model.serves:
            model.happens("asked")  # before it is cut; elsewhere the order makes no difference
        if place == cut:
            if not model.is_possible(why):
                return set()
            if why == "nobody waits" and not abandoned and not model.has_said_its_last_word:
                return set()
            model.happens(why)
        if place == asked:
            model.happens("asked")
        if given_up:
            errors.add(model.error(mode))
        if fact == "received lifespan.shutdown":
            if not model.asked:
                return set()
        elif fact in EXITS:
            model.happens("exited")
            errors.add(EXITS[fact])
        elif fact:
            model.happens(fact)
    if not model.end:
        # It was never called.
        if not model.cut or facts:
            return set()
        model.happens("returned")
    if model.end != "exited":
        errors.add(model.error(mode))
    phase = model.phase
    if mode == "on" and model.supported is False:
        phase = Phase.FAILED
    return {(error, phase, model.supported) for error in errors}


EXITS: dict[str, type[BaseException]] = {
    "raised SystemExit": SystemExit,
    "raised KeyboardInterrupt": KeyboardInterrupt,
}


def _fact(told: str) -> str:
    """What it means for the model that the application has told of something."""
    if told in EXITS or told in ("returned", "received lifespan.shutdown"):
        return told
    if told == "received lifespan.startup":
        return "received"
    if told.startswith(("raised ", "was cancelled")):
        return "raised"
    return told.replace("tried", "sent").replace("websocket.accept", "http.response.start")


def _is_lost_by_anyio(report: Report) -> bool:
    """On asyncio, ``TaskGroup.start()`` drops what its task raised, if it is then cancelled."""
    trial = report.trial
    in_start = trial.way == "serve" and "sent lifespan.startup.complete" not in report.history
    return in_start and report.cancelled and not on_trio(trial.backend)
