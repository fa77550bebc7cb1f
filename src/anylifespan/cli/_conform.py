"""``anylifespan conform``: judges servers and drivers, case by case."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..conformance import Case, Strength, Verdict, cases
from ..conformance._kit import CannotRun, Judge, judge
from ._fresh import ended_by_signals

Standing = Literal["passed", "failed", "expected", "passes now", "skipped", "error"]


@dataclass(frozen=True)
class Result:
    """A verdict, and whether it was expected.

    :ivar standing: the outcome, or ``"expected"`` for an expected failure, or ``"passes now"`` for
        a case that passes although it is expected to fail
    :ivar counts: whether the command fails because of this result
    """

    verdict: Verdict
    standing: Standing
    counts: bool

    @property
    def case(self) -> Case:
        return self.verdict.case


@dataclass(frozen=True)
class Conformance:
    """Judges cases, and compares each verdict with the expected failures.

    :ivar judge: the function that judges the cases of one scenario
    :ivar chosen: the cases to judge
    :ivar expected: the names of the cases that are expected to fail
    :ivar strict: whether the command also fails if an advised case fails
    :ivar jobs: how many scenarios to run at a time
    """

    judge: Judge
    chosen: Sequence[Case]
    expected: frozenset[str]
    strict: bool
    jobs: int

    def results(self, messages: Console) -> list[Result]:
        """Judge all cases, and return the results in the order of ``chosen``.

        :raises click.UsageError: if the server or the driver cannot be run
        """
        verdicts: dict[str, Verdict] = {}
        try:
            with ended_by_signals(), _progress(messages, len(self.chosen)) as progress:
                for verdict in judge(self.chosen, self.judge, jobs=self.jobs):
                    verdicts[verdict.case.name] = verdict
                    progress.advance(progress.task_ids[0])
        except CannotRun as exc:
            raise click.UsageError(str(exc)) from exc
        return [self._result(verdicts[case.name]) for case in self.chosen]

    def _result(self, verdict: Verdict) -> Result:
        case = verdict.case
        if case.name in self.expected and verdict.outcome == "failed":
            return Result(verdict, "expected", counts=False)
        if case.name in self.expected and verdict.outcome == "passed":
            return Result(verdict, "passes now", counts=True)
        counting = {Strength.REQUIRED, Strength.ADVISED} if self.strict else {Strength.REQUIRED}
        return Result(
            verdict,
            verdict.outcome,
            counts=verdict.outcome == "failed" and case.strength in counting,
        )


def exit_status(results: Sequence[Result]) -> int:
    """Return 1 if a result counts as a failure, else 2 if a case could not be judged, else 0."""
    if any(result.counts for result in results):
        return 1
    return 2 if any(result.standing == "error" for result in results) else 0


def choose(patterns: Sequence[str], command: Sequence[str]) -> list[Case]:
    """Return the requested cases that can be judged.

    :param patterns: names, topics, or patterns such as ``state.*``; empty for all cases
    :param command: the server's command; empty for a driver
    :raises click.UsageError: if a pattern matches no case
    """
    chosen = [case for case in cases if (case.for_servers if command else case.for_drivers)]
    if not any("{workers}" in part for part in command):
        chosen = [case for case in chosen if case.scenario.workers == 1]
    for pattern in patterns:
        if not any(_fits(case, pattern) for case in chosen):
            raise click.UsageError(
                f"No case fits {pattern!r} here; anylifespan conform --list shows their names."
            )
    return [case for case in chosen if not patterns or any(_fits(case, one) for one in patterns)]


def _fits(case: Case, pattern: str) -> bool:
    return pattern == case.topic or fnmatchcase(case.name, pattern)


def check_command(command: Sequence[str]) -> None:
    """Check that a command can be run, and has fields for the application and the port.

    :raises click.UsageError: if the command cannot be run, or a field is missing
    """
    text = " ".join(command)
    for field in ("{app}", "{port}"):
        if field not in text:
            raise click.UsageError(
                f"The command has no {field}, where the kit puts what the server is to use, as in: "
                "anylifespan conform -- uvicorn {app} --host {host} --port {port}"
            )
    if shutil.which(command[0]) is None:
        raise click.UsageError(f"There is no command {command[0]}, or it cannot be run.")


def read_expected(path: str | None) -> frozenset[str]:
    """Read the names of the cases that are expected to fail from a file.

    Each line contains one name. A ``#`` starts a comment.

    :param path: the path of the file; None if no case is expected to fail
    :raises click.UsageError: if a name in the file is not the name of a case
    """
    if path is None:
        return frozenset()
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    names = [line.partition("#")[0].strip() for line in lines]
    known = {case.name for case in cases}
    for name in filter(None, names):
        if name not in known:
            raise click.UsageError(
                f"{path}: there is no case {name!r}; anylifespan conform --list shows their names."
            )
    return frozenset(filter(None, names))


@contextmanager
def _progress(messages: Console, total: int) -> Iterator[Progress]:
    """Show the progress, if the console is a terminal."""
    columns = (TextColumn("cases"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    progress = Progress(*columns, console=messages, transient=True)
    progress.add_task("", total=total)
    # rich 13 ends even a disabled progress with an empty line.
    with progress if messages.is_terminal else nullcontext():
        yield progress
