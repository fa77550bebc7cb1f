"""Run the cases' scenarios in parallel, and judge the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from ._case import Case, Verdict
from ._play import play
from ._process import Processes, sigint_not_ignored

# A function that judges cases that share a scenario. It adds its process to the running processes.
Judge = Callable[[Sequence[Case], Processes], list[Verdict]]


class CannotRun(Exception):
    """Raised if the server or driver cannot be run at all."""


def judge(cases: Iterable[Case], judge_together: Judge, *, jobs: int) -> Iterator[Verdict]:
    """Judge cases, and yield each verdict as soon as it is known.

    :param jobs: how many scenarios are run at the same time
    :raises CannotRun: if the server or driver cannot be run at all
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
            # Whatever the reason, do not wait for threads that are waiting for their servers.
            pool.shutdown(wait=False, cancel_futures=True)
            among.kill()


def of_server(command: Sequence[str], *, patience: float) -> Judge:
    """Return a function that judges cases with a server that a command starts.

    :param patience: seconds to wait for the server before it is considered to be hanging
    """

    def judge_together(cases: Sequence[Case], among: Processes) -> list[Verdict]:
        try:
            record = play(command, cases[0].scenario, patience, among)
        except OSError as exc:
            raise CannotRun(f"{command[0]} cannot be run: {exc}") from exc
        return [case.verdict(record) for case in cases]

    return judge_together
