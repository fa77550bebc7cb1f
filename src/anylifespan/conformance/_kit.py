"""Runs the scenarios of cases side by side, and judges what happened."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from ._case import Case, Verdict
from ._play import play
from ._process import Processes, sigint_not_ignored

# Judges cases that share a scenario, with a process that runs among others.
Judge = Callable[[Sequence[Case], Processes], list[Verdict]]


class CannotRun(Exception):
    """The server or driver cannot be run at all."""


def judge(cases: Iterable[Case], judge_together: Judge, *, jobs: int) -> Iterator[Verdict]:
    """Judge cases, and yield the verdicts as they come.

    :param jobs: how many scenarios are played at a time
    :raises CannotRun: if none can be
    """
    by_scenario: dict[int, list[Case]] = {}
    for case in cases:
        by_scenario.setdefault(id(case.scenario), []).append(case)
    among = Processes()
    with sigint_not_ignored(), ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(judge_together, group, among) for group in by_scenario.values()]
        try:
            for future in as_completed(futures):
                yield from future.result()
        finally:
            # Whatever the reason, no thread is waited for that waits for its server.
            pool.shutdown(wait=False, cancel_futures=True)
            among.kill()


def of_server(command: Sequence[str], *, patience: float) -> Judge:
    """For a server that is started by a command.

    :param patience: seconds that it has to go on
    """

    def judge_together(cases: Sequence[Case], among: Processes) -> list[Verdict]:
        try:
            record = play(command, cases[0].scenario, patience, among)
        except OSError as exc:
            raise CannotRun(f"{command[0]} cannot be run: {exc}") from exc
        return [case.verdict(record) for case in cases]

    return judge_together
