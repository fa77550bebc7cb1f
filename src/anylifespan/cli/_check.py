"""``anylifespan check``: runs complete lifespans on each backend, in fresh processes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ._fresh import run_in_fresh_process
from ._order import News, Order
from ._report import print_annotations, print_details, print_table
from ._result import Failure, LeftBehind, Result


@dataclass(frozen=True)
class Verdict:
    """The conditions under which an application passes the check.

    :ivar everywhere: whether the application must run on every backend, instead of at least one
    :ivar strict: whether leaks make the check fail
    :ivar max_startup: seconds that the startup may take; None for no limit
    """

    everywhere: bool
    strict: bool
    max_startup: float | None

    def judge(self, results: list[Result]) -> bool:
        """Complete the results, and return whether the application passes the check."""
        runs_on = [one.backend for one in results if one.supported and one.failure is None]
        if runs_on and not self.everywhere:
            for result in results:
                if result.backend not in runs_on:
                    result.needs = " or ".join(runs_on)
        for result in results:
            self._judge_seconds(result)
        left_behind = self.strict and any(one.left_behind for one in results if one.needs is None)
        return all(result.is_well for result in results) and not left_behind

    def _judge_seconds(self, result: Result) -> None:
        took, limit = result.startup.seconds, self.max_startup
        is_slow = took is not None and limit is not None and took > limit
        if is_slow and result.failure is None and result.needs is None:
            result.failure = Failure(
                "StartupTooSlow",
                f"the startup took {took:.3g} seconds, more than the {limit:g} of --max-startup",
            )


class Check:
    """Checks the application on each backend, and prints the results.

    :param order: what to run on each backend
    :param repeat: how many lifespans to run while looking for leaks; None for one lifespan, without
        looking for leaks
    """

    def __init__(
        self,
        order: Order,
        backends: tuple[str, ...],
        verdict: Verdict,
        *,
        repeat: int | None,
        as_json: bool,
        for_github: bool,
        messages: Console,
    ) -> None:
        self.order = order
        self.backends = backends
        self.verdict = verdict
        self.repeat = repeat
        self.as_json = as_json
        self.for_github = for_github
        self.messages = messages

    def run(self) -> int:
        """Run the check, and print the results.

        :return: the exit status
        :raises click.UsageError: if the application cannot be loaded, or an option is not valid
        """
        results = [self.lifespans_on(backend) for backend in self.backends]
        ok = self.verdict.judge(results)
        if self.as_json:
            self.print_json(results, ok)
        else:
            console = Console()
            print_table(console, results)
            for result in results:
                print_details(console, result)
            if self.for_github:
                print_annotations(console, results, strict=self.verdict.strict)
        return 0 if ok else 1

    def lifespans_on(self, backend: str) -> Result:
        """Run as many lifespans as requested on a backend, in one process if possible."""
        wanted = self.repeat or 1
        order = replace(self.order, backend=backend, looks_for_leaks=self.repeat is not None)
        result = self.in_fresh_process(replace(order, lifespans=wanted))
        if (
            result.failure is None
            or result.lifespans != 2
            or result.startup.outcome not in ("failed", "unsupported")
        ):
            return result
        # Perhaps the application cannot be started again in the same process.
        why = result.failure.in_a_line
        result.lifespans -= 1
        while result.lifespans < wanted:
            result = _merged(result, self.in_fresh_process(replace(order, lifespans=1)))
            if result.failure is not None:
                return result
        result.only_once = why
        return result

    def in_fresh_process(self, order: Order) -> Result:
        out = self.print_err if self.as_json else _print_out
        with self.spinner(order.backend) as show:
            news = run_in_fresh_process(order, on_news=show, out=out, err=self.print_err)
        if news.usage_error is not None:
            raise click.UsageError(news.usage_error)
        return news.result

    @contextmanager
    def spinner(self, backend: str) -> Iterator[Callable[[News], object]]:
        """Show what the process is doing, if the console is a terminal."""
        if self.as_json or not self.messages.is_terminal:
            yield lambda _: None
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        options: dict[str, Any] = {"console": self.messages, "transient": True}
        # Otherwise, text for standard output would go to the console that shows the spinner.
        options["redirect_stdout"] = sys.stdout.isatty()
        with Progress(*columns, **options) as progress:
            task = progress.add_task("")

            def show(news: News) -> None:
                limit = "no limit" if news.limit is None else f"limit {news.limit:g} s"
                doing = news.doing if news.doing == "import" else f"{news.doing} ({limit})"
                progress.update(task, description=f"{backend}: {doing}")

            yield show

    def print_err(self, line: str) -> None:
        # Print the line unchanged, without markup or highlighting.
        self.messages.out(line, highlight=False)

    def print_json(self, results: list[Result], ok: bool) -> None:
        report: dict[str, Any] = {"app": self.order.app, "ok": ok}
        click.echo(json.dumps({**report, "results": [one.to_json() for one in results]}, indent=2))


def _print_out(line: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding))


def _merged(result: Result, another: Result) -> Result:
    """Merge the results of lifespans that ran in one process and then in another one."""
    alike: dict[Any, LeftBehind] = {}
    for one in [*(result.left_behind or ()), *(another.left_behind or ())]:
        places = tuple(tuple(place.items()) for place in one.where)
        known = alike.setdefault((one.kind, places or one.name), replace(one, times=0))
        known.times += one.times
    return replace(
        another,
        lifespans=result.lifespans + another.lifespans,
        held_up=result.held_up or another.held_up,
        left_behind=None if another.left_behind is None else list(alike.values()),
    )
