"""Prints a check's results for people, and as annotations for GitHub."""

from __future__ import annotations

import os
from collections import Counter
from traceback import StackSummary

from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .._diagnosis.leaks import Leak
from .._diagnosis.profile import Line
from ._result import LeftBehind, Phase, Place, Result

# How many keys of a state, and how many logged errors, are shown.
_KEYS = 6
_LOGGED = 3
# For a profile: the most lines shown, the fewest seconds shown, and the width of the bars.
_PROFILED = 10
_SHORT = 0.001
_BAR = 12
_STYLES = {"complete": "green", "unsupported": "yellow", "not run": "dim"}


def print_table(console: Console, results: list[Result]) -> None:
    """Print a table with a row for each backend."""
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
        if result.left_behind is not None and result.needs is None:
            cells.append(_summary(result.left_behind))
        table.add_row(*cells)
    console.print(table)


def print_details(console: Console, result: Result) -> None:
    """Print the details of a result that are not in the table."""
    if result.needs is not None:
        _print_need(console, result)
        return
    print_failure(console, result)
    if result.why_unsupported is not None and result.failure is None:
        _print(console, f"{result.backend}: no lifespan", "bold yellow", result.why_unsupported)
    if result.only_once is not None:
        heading = f"{result.backend}: starts only once in a process"
        _print(console, heading, "bold yellow", result.only_once)
    if result.held_up:
        text = "It held up the end of its process, which was killed. Does a thread still run, or "
        text += "a process?"
        _print(console, f"{result.backend}: does not end", "bold yellow", text)
    _print_logged(console, result)
    _print_profile(console, result)
    _print_left_behind(console, result)


def print_failure(console: Console, result: Result) -> None:
    """Print why and where a lifespan failed, if it did."""
    failure = result.failure
    if failure is None:
        return
    which = f" (lifespan {result.lifespans})" if result.lifespans > 1 else ""
    _print(console, f"{result.backend}: {failure.error}{which}", "bold red", failure.message)
    if failure.traceback and failure.at:
        # The traceback may begin with an exception that led to this one, somewhere in a library.
        place = f"{failure.at['file']}:{failure.at['line']} in {failure.at['function']}"
        console.print(Text(f"at {place}"), soft_wrap=True)
    if failure.where:
        waits = failure.error not in ("EventLoopBlocked", "ProcessEnded")
        console.print("It was waiting at:" if waits else "It is at:")
        where = StackSummary.from_list(
            [(one["file"], one["line"], one["function"], None) for one in failure.where]
        )
        console.print(Text("".join(where.format()).rstrip()), soft_wrap=True)
    if failure.traceback:
        console.print(Text(failure.traceback), soft_wrap=True)


def print_annotations(console: Console, results: list[Result], *, strict: bool) -> None:
    """Print the workflow commands that make GitHub show problems beside the code."""
    for result in results:
        title = f"anylifespan check, {result.backend}"
        if result.failure is not None:
            kind = "error" if result.needs is None else "notice"
            _annotate(console, kind, title, result.failure.message, result.failure.at)
        for one in result.left_behind or ():
            text = f"left behind: {one.kind} {_name(one, result)}"
            place = one.where[-1] if one.where else None
            _annotate(console, "error" if strict else "warning", title, text, place)


def _annotate(console: Console, kind: str, title: str, text: str, place: Place | None) -> None:
    where = ""
    if place is not None:
        file = _relative(place["file"], os.environ.get("GITHUB_WORKSPACE"))
        where = f"file={_escaped(file)},line={place['line']},"
    title = _escaped(title)
    console.out(f"::{kind} {where}title={title}::{_escaped(text, data=True)}", highlight=False)


def _relative(file: str, directory: str | None = None) -> str:
    try:
        return os.path.relpath(file, directory)
    except ValueError:  # on another drive of Windows
        return file


def _escaped(text: str, *, data: bool = False) -> str:
    for character in "%\r\n" if data else "%\r\n:,":
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def _print(console: Console, heading: str, style: str, text: str) -> None:
    console.print()
    console.print(Text(heading, style=style))
    console.print(Text(text), soft_wrap=True)


def _print_need(console: Console, result: Result) -> None:
    why = result.why_unsupported if result.failure is None else result.failure.in_a_line
    console.print()
    console.print(Text(f"{result.backend}: needs {result.needs}: {why}"), soft_wrap=True)


def _print_logged(console: Console, result: Result) -> None:
    number = len(result.logged)
    if not number:
        return
    console.print()
    errors = f"{number} error{'' if number == 1 else 's'}"
    heading = f"{result.backend}: logged {errors} in its startup"
    console.print(Text(heading, style="bold yellow"))
    for one in result.logged[:_LOGGED]:
        line = one["message"].partition("\n")[0]
        console.print(Text(f"{one['logger']}: {line}"), soft_wrap=True)


def _print_profile(console: Console, result: Result) -> None:
    for phase, lines in result.profile.items():
        spent = [
            (one[how], how, Line(**one))
            for one in lines
            for how in ("waiting", "blocking")
            if one[how] >= _SHORT
        ]
        spent.sort(key=lambda one: -one[0])
        if spent:
            heading = f"{result.backend}: where the time of the {phase} has gone"
            console.print()
            console.print(Text(heading, style="bold"))
            console.print(_table_of_time(spent[:_PROFILED]))


def _table_of_time(spent: list[tuple[float, str, Line]]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(3):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    longest, *_ = spent[0]
    for seconds, how, line in spent:
        style = "red" if how == "blocking" else "cyan"
        bar = Bar(longest, 0, seconds, width=_BAR, color=style)
        file = _relative(line.file)
        place = f"{line.file if file.startswith('..') else file}:{line.line} in {line.function}"
        what = Text(how, style=style)
        table.add_row(f"{seconds:.3f} s", what, bar, Text(f"{place}\n{line.code}"))
    return table


def _print_left_behind(console: Console, result: Result) -> None:
    if result.left_behind:
        console.print()
        console.print(Text(f"{result.backend}: left behind", style="bold yellow"))
    for one in result.left_behind or ():
        places = tuple((place["file"], place["line"], place["function"]) for place in one.where)
        console.print(Text(str(Leak(one.kind, _name(one, result), places))), soft_wrap=True)


def _name(one: LeftBehind, result: Result) -> str:
    """Return a leak's name and, if there were several lifespans, how often the leak occurred.

    A leak that grows with each lifespan is worse than a leak that occurs once.
    """
    if result.lifespans == 1:
        return one.name
    return f"{one.name} ({one.times} in {result.lifespans} lifespans)"


def _keys(state: list[str]) -> str:
    """Return the first few keys of a state, and how many more there are."""
    more = len(state) - _KEYS
    return ", ".join(state[:_KEYS]) + (f" and {more} more" if more > 0 else "")


def _summary(left_behind: list[LeftBehind]) -> str:
    counts = Counter[str]()
    for one in left_behind:
        counts[one.kind] += one.times
    return ", ".join(f"{n} {kind}{'s' if n > 1 else ''}" for kind, n in counts.items()) or "nothing"


def _cell(phase: Phase) -> Text:
    seconds = "" if phase.seconds is None else f" {phase.seconds:.3f} s"
    return Text(phase.outcome + seconds, style=_STYLES.get(phase.outcome, "red"))
