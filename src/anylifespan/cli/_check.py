"""``anylifespan check``: one whole lifespan on each backend."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from traceback import StackSummary

import anyio
import anyio.lowlevel
import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from .. import LifespanCrashed, LifespanManager, LifespanUnsupported
from .._diagnosis.leaks import Watch
from .._diagnosis.watchdog import Watchdog
from ._report import (
    Failure,
    LeftBehind,
    Phase,
    Result,
    print_failure,
    print_left_behind,
    print_table,
    print_why_unsupported,
)
from ._target import Target, run_on

# Seconds that an event loop has to end, once nothing is left to do in it.
_END = 5.0


class Check:
    """Checks the application on each backend, and prints how it went.

    :param repeat: how many lifespans, to see what they leave behind; None for one, without looking
    :param ignored: patterns of leaks that are known
    :param strict: whether it is a failure to leave something behind
    """

    def __init__(
        self,
        target: Target,
        backends: tuple[str, ...],
        *,
        repeat: int | None,
        strict: bool,
        ignored: tuple[str, ...],
        as_json: bool,
        messages: Console,
    ) -> None:
        self.target = target
        self.backends = backends
        self.repeat = repeat
        self.strict = strict
        self.ignored = ignored
        self.as_json = as_json
        self.messages = messages
        self.required = target.options["mode"] == "on"
        self.results: list[Result] = []
        self.progress: Progress
        self.watchdog = Watchdog(self.give_up)

    def run(self) -> int:
        """Do it.

        :return: the exit status
        """
        for backend in self.backends:
            self.results.append(Result(backend))
            # Outside of the event loop, since a factory may run one of its own. With mode "on" what
            # raises in its startup is told apart from what has no lifespan.
            mode = "off" if self.target.options["mode"] == "off" else "on"
            managers = [self.target.new_manager(mode=mode) for _ in range(self.repeat or 1)]
            run_on(backend, partial(self.check, managers))
            self.watchdog.expect_by(None)
        return self.report()

    async def check(self, managers: list[LifespanManager]) -> None:
        result = self.results[-1]
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(self.watchdog.beat)
            await anyio.lowlevel.checkpoint()
            if self.repeat is None:
                await self.lifespans(managers, result)
            else:
                watch = Watch(self.ignored)
                with watch.noted():
                    with watch.marked():
                        await self.lifespans(managers, result)
                    result.left_behind = LeftBehind.of(await watch.leaks())
            task_group.cancel_scope.cancel()
        # An application that was given up on may hold up the end of the event loop.
        self.watchdog.expect_by(_END)

    async def lifespans(self, managers: list[LifespanManager], result: Result) -> None:
        """One after the other, until one fails."""
        for manager in managers:
            result.startup, result.shutdown = Phase(), Phase()
            await self.one_lifespan(manager, result)
            if result.failure is not None:
                break

    async def one_lifespan(self, manager: LifespanManager, result: Result) -> None:
        options = self.target.options
        phase = result.startup
        try:
            with self.watched(phase, "startup", options["startup_timeout"]):
                await manager.startup()
            phase = result.shutdown
            result.state = sorted(map(str, manager.state))
            with self.watched(phase, "shutdown", options["shutdown_timeout"]):
                await manager.shutdown()
        except LifespanUnsupported as exc:
            phase.outcome = "unsupported"
            result.why_unsupported = exc.message
            if self.required or exc.swallowed:
                result.failure = Failure.of(exc)
        except LifespanCrashed as exc:
            phase.outcome = "crashed"
            result.failure = Failure.of(exc)
        except (Exception, SystemExit) as exc:  # noqa: BLE001 - it is reported
            phase.outcome = "timed out" if isinstance(exc, TimeoutError) else "failed"
            result.failure = Failure.of(exc)
        result.supported = manager.supported
        result.startup.seconds = manager.startup_seconds
        result.shutdown.seconds = manager.shutdown_seconds

    @contextmanager
    def watched(self, phase: Phase, name: str, timeout: float | None) -> Iterator[None]:
        self.watchdog.expect_by(timeout)
        limit = "no limit" if timeout is None else f"limit {timeout:g} s"
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        disable = self.as_json or not self.messages.is_terminal
        with Progress(
            *columns, console=self.messages, transient=True, disable=disable
        ) as self.progress:
            self.progress.add_task(f"{self.results[-1].backend}: {name} ({limit})")
            yield
        phase.outcome = "complete"

    def give_up(self, where: StackSummary) -> None:
        """For the watchdog: the event loop will not come back."""
        self.progress.stop()
        result = self.results[-1]
        if result.failure is None:
            phase = result.startup if result.startup.outcome == "not run" else result.shutdown
            phase.outcome = "blocked"
            result.failure = Failure.blocked(where)
        self.report()

    def report(self) -> int:
        ok = all(result.failure is None for result in self.results)
        if self.strict:
            ok = ok and not any(result.left_behind for result in self.results)
        if self.as_json:
            results = [result.to_json() for result in self.results]
            report = {"app": self.target.name, "ok": ok, "results": results}
            click.echo(json.dumps(report, indent=2))
        else:
            console = Console()
            print_table(console, self.results)
            for result in self.results:
                print_failure(console, result)
                print_why_unsupported(console, result)
                print_left_behind(console, result)
            untried = self.backends[len(self.results) :]
            if untried:
                console.print(f"\nNot tried: {', '.join(untried)}")
        return 0 if ok else 1
