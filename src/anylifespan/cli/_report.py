"""What came of a lifespan, for people and for machines."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from traceback import StackSummary
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import LifespanError, ShutdownTimeout, StartupTimeout
from .._core.frames import own_frames, own_traceback
from .._diagnosis.leaks import Leak


@dataclass
class Phase:
    """How one phase went.

    :ivar outcome: ``"complete"``, ``"failed"``, ``"timed out"``, ``"blocked"``, ``"crashed"``,
        ``"unsupported"``, or ``"not run"``
    """

    outcome: str = "not run"
    seconds: float | None = None


@dataclass
class Failure:
    """Why a lifespan failed, in words."""

    error: str
    message: str
    traceback: str | None = None
    where: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, raised: BaseException) -> Failure:
        cause = raised.__cause__ if isinstance(raised, LifespanError) else raised
        message = str(raised)
        if cause is raised:
            message = f"the application raised {type(raised).__name__}: {message}"
        where = StackSummary()
        if isinstance(raised, (StartupTimeout, ShutdownTimeout)):
            where = raised.where
        return cls(
            type(raised).__name__,
            message.partition(" It was waiting at:")[0],
            own_traceback(cause) if cause is not None else None,
            _places(where),
        )

    @classmethod
    def blocked(cls, where: StackSummary) -> Failure:
        return cls(
            "EventLoopBlocked",
            "the application blocks the event loop, so that it could not be cancelled; it should "
            "await, or run what takes long in a thread.",
            where=_places(where),
        )


@dataclass
class LeftBehind:
    """What the application left behind, and how often.

    :ivar times: in how many lifespans, all taken together
    """

    kind: str
    name: str
    times: int
    where: list[dict[str, Any]]

    @classmethod
    def of(cls, leaks: list[Leak]) -> list[LeftBehind]:
        alike: dict[Any, list[Leak]] = {}
        for leak in leaks:
            alike.setdefault((leak.kind, leak.places or leak.name), []).append(leak)
        return [
            cls(
                first.kind,
                first.name,
                len(rest) + 1,
                [
                    {"file": file, "line": line, "function": name}
                    for file, line, name in first.places
                ],
            )
            for first, *rest in alike.values()
        ]


@dataclass
class Result:
    """How a lifespan went on one backend."""

    backend: str
    startup: Phase = field(default_factory=Phase)
    shutdown: Phase = field(default_factory=Phase)
    supported: bool | None = None
    why_unsupported: str | None = None
    state: list[str] = field(default_factory=list)
    failure: Failure | None = None
    left_behind: list[LeftBehind] | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def _places(where: StackSummary) -> list[dict[str, Any]]:
    return [
        {"file": frame.filename, "line": frame.lineno, "function": frame.name}
        for frame in own_frames(where)
    ]


# How many keys of a state are shown.
_KEYS = 6
_STYLES = {"complete": "green", "unsupported": "yellow", "not run": "dim"}


def print_table(console: Console, results: list[Result]) -> None:
    """A row for each backend."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    headings = ["backend", "startup", "shutdown", "state"]
    if any(result.left_behind is not None for result in results):
        headings.append("left behind")
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading in headings[:3])
    for result in results:
        state = _keys(result.state) or ("-" if result.startup.outcome == "complete" else "")
        cells: list[str | Text] = [
            result.backend,
            _cell(result.startup),
            _cell(result.shutdown),
            state,
        ]
        if result.left_behind is not None:
            cells.append(_summary(result.left_behind))
        table.add_row(*cells)
    console.print(table)


def print_left_behind(console: Console, result: Result) -> None:
    """What was left behind there, and where it is or was made."""
    if result.left_behind:
        console.print()
        console.print(Text(f"{result.backend}: left behind", style="bold yellow"))
    for one in result.left_behind or ():
        times = "" if one.times == 1 else f" ({one.times} times)"
        leak = Leak(
            one.kind,
            one.name + times,
            tuple((place["file"], place["line"], place["function"]) for place in one.where),
        )
        console.print(Text(str(leak)), soft_wrap=True)


def _keys(state: list[str]) -> str:
    """The keys of a state, as many as can be read at a glance."""
    more = len(state) - _KEYS
    return ", ".join(state[:_KEYS]) + (f" and {more} more" if more > 0 else "")


def _summary(left_behind: list[LeftBehind]) -> str:
    counts = Counter[str]()
    for one in left_behind:
        counts[one.kind] += one.times
    return ", ".join(f"{n} {kind}{'s' if n > 1 else ''}" for kind, n in counts.items()) or "nothing"


def print_failure(console: Console, result: Result) -> None:
    """Why it failed there, and where."""
    failure = result.failure
    if failure is None:
        return
    console.print()
    console.print(Text(f"{result.backend}: {failure.error}", style="bold red"))
    console.print(Text(failure.message), soft_wrap=True)
    if failure.where:
        console.print("It was waiting at:" if failure.error != "EventLoopBlocked" else "It is at:")
        where = StackSummary.from_list(
            [(one["file"], one["line"], one["function"], None) for one in failure.where]
        )
        console.print(Text("".join(where.format()).rstrip()), soft_wrap=True)
    if failure.traceback:
        console.print(Text(failure.traceback), soft_wrap=True)


def print_why_unsupported(console: Console, result: Result) -> None:
    """Why it is taken to have no lifespan, where that is no failure."""
    if result.why_unsupported is not None and result.failure is None:
        console.print()
        console.print(Text(f"{result.backend}: no lifespan", style="bold yellow"))
        console.print(Text(result.why_unsupported), soft_wrap=True)


def _cell(phase: Phase) -> Text:
    seconds = "" if phase.seconds is None else f" {phase.seconds:.3f} s"
    return Text(phase.outcome + seconds, style=_STYLES.get(phase.outcome, "red"))
