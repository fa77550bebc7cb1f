"""Reports conformance results to people, programs, CI services and web pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any
from xml.etree import ElementTree

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .. import __version__
from ..conformance import Case, Strength
from ._conform import Result

_LINES = 8  # how many of the last lines of a server's output are shown
_MARKS = {
    "passed": ("✓", "green"),
    "expected": ("✗", "yellow"),
    "passes now": ("!", "bold red"),
    "skipped": ("-", "dim"),
    "error": ("!", "bold red"),
}
_NOTES = {
    "expected": "fails, as expected",
    "passes now": "passes now: take it out of the expected failures",
    "skipped": "does not apply",
    "error": "could not be judged",
}
_COUNTED = {
    "failed": "failed",
    "expected": "failed as expected",
    "passes now": "passed unexpectedly",
    "skipped": "not applicable",
    "error": "could not be judged",
}


def print_report(console: Console, results: Sequence[Result], *, all_details: bool) -> None:
    """Print the results, grouped by topic.

    For each failure, the expected behaviour, the observed behaviour and the last lines of the
    output are printed.

    :param all_details: whether to print details of skipped cases and expected failures, too
    """
    shown: set[str] = set()  # the outputs, which cases may share
    for topic, group in groupby(results, lambda result: result.case.topic):
        console.print(Text(topic, "bold"))
        for result in group:
            _print_result(console, result)
            if result.standing in ("failed", "error"):
                _print_details(console, result, shown)
            elif all_details and result.standing != "passed":
                _print_details(console, result, shown, with_output=False)
    console.print()
    _print_summary(console, results)


def _print_result(console: Console, result: Result) -> None:
    standing, case = result.standing, result.case
    if standing == "failed":
        mark, style = ("✗", "bold red") if result.counts else ("✗", "yellow")
        note = "no" if case.strength is Strength.INFORMATIVE else f"fails ({case.strength})"
    else:
        (mark, style), note = _MARKS[standing], _NOTES.get(standing, "")
    line = Text(f"  {mark} ", style).append(case.name, "" if standing == "passed" else style)
    console.print(line.append(f"  {note}", "dim") if note else line, soft_wrap=True)


def _print_details(
    console: Console, result: Result, shown: set[str], *, with_output: bool = True
) -> None:
    case, verdict = result.case, result.verdict
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    table.add_row("expected", Text(case.sentence))
    table.add_row("seen", Text(verdict.seen))
    table.add_row("source", Text(str(case.source)))
    if with_output and verdict.output not in shown:
        shown.add(verdict.output)
        last = "\n".join(verdict.output.splitlines()[-_LINES:])
        table.add_row("output", Text(last, "dim", no_wrap=True, overflow="ellipsis"))
    console.print(Padding(table, (0, 0, 0, 6)))


def _print_summary(console: Console, results: Sequence[Result]) -> None:
    table = Table.grid(padding=(0, 2))
    for strength, counts in summary(results).items():
        notes = [f"{count} {_COUNTED[what]}" for what, count in counts.items() if what != "passed"]
        passed = f"{counts['passed']} of {_judged(counts)} passed"
        table.add_row(strength, passed, Text(", ".join(notes), "dim"))
    console.print(table)


def _judged(counts: Counter[str]) -> int:
    """Return how many cases were not skipped."""
    return sum(counts.values()) - counts["skipped"]


def summary(results: Iterable[Result]) -> dict[str, Counter[str]]:
    """Return the number of cases with each standing, for each strength."""
    counts: dict[str, Counter[str]] = {}
    for result in results:
        counts.setdefault(str(result.case.strength), Counter())[result.standing] += 1
    return {str(one): counts[str(one)] for one in Strength if str(one) in counts}


def print_list(console: Console, cases: Iterable[Case]) -> None:
    """Print all cases, with the behaviour that each case expects."""
    for topic, group in groupby(cases, lambda case: case.topic):
        console.print(Text(topic, "bold"))
        for case in group:
            console.print(Text(f"  {case.name}"), soft_wrap=True)
            console.print(Padding(Text(case.sentence), (0, 0, 0, 6)))
            whom = _for_whom(case)
            details = f"{case.strength}, {whom}; {case.source}"
            console.print(Padding(Text(details, "dim"), (0, 0, 0, 6)))


def _for_whom(case: Case) -> str:
    if case.for_servers and case.for_drivers:
        return "servers and drivers"
    return "servers" if case.for_servers else "drivers"


def to_json(what: str, results: Sequence[Result], *, ok: bool) -> dict[str, Any]:
    """Return the results as data for JSON."""
    return {
        "anylifespan": __version__,
        "judged": what,
        "ok": ok,
        "summary": {strength: dict(counts) for strength, counts in summary(results).items()},
        "cases": [
            {
                "name": result.case.name,
                "expected": result.case.sentence,
                "strength": str(result.case.strength),
                "source": result.case.source.text,
                "url": result.case.source.url,
                "standing": result.standing,
                "seen": result.verdict.seen,
            }
            for result in results
        ],
    }


def to_junit(what: str, results: Sequence[Result]) -> str:
    """Return the results as JUnit XML, which CI services read.

    Results that make the command fail are reported as failures, and cases that could not be judged
    as errors. All other cases that have not passed are reported as skipped.
    """
    suite = ElementTree.Element(
        "testsuite",
        name=f"lifespan conformance of {what}",
        tests=str(len(results)),
        failures=str(sum(result.counts for result in results)),
        errors=str(sum(result.standing == "error" for result in results)),
        skipped=str(sum(_is_skipped(result) for result in results)),
    )
    for result in results:
        case = result.case
        element = ElementTree.SubElement(suite, "testcase", classname=case.topic, name=case.name)
        if result.standing == "passed":
            continue
        tag = "failure" if result.counts else "error" if result.standing == "error" else "skipped"
        message = result.verdict.seen or _NOTES.get(result.standing, "")
        detail = ElementTree.SubElement(element, tag, message=_printable(message))
        detail.text = _printable(
            f"expected: {case.sentence}\nsource: {case.source} ({case.strength})\n\n"
            f"{result.verdict.output}"
        )
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _is_skipped(result: Result) -> bool:
    return not result.counts and result.standing not in ("passed", "error")


def _printable(text: str) -> str:
    """Return the text without the characters that XML does not allow."""
    return "".join(one for one in text if one in "\t\n" or one >= " ")


def to_markdown(what: str, results: Sequence[Result]) -> str:
    """Return the results as Markdown tables, for a web page or a job summary."""
    lines = [f"### Lifespan conformance of `{what}`", ""]
    lines += ["| strength | passed | of |", "| --- | --- | --- |"]
    for strength, counts in summary(results).items():
        lines.append(f"| {strength} | {counts['passed']} | {_judged(counts)} |")
    others = [result for result in results if result.standing != "passed"]
    if others:
        lines += ["", "| case | strength | | seen |", "| --- | --- | --- | --- |"]
    for result in others:
        note = _NOTES.get(result.standing, "fails")
        seen = result.verdict.seen.replace("|", "\\|").replace("\n", " ")
        lines.append(f"| {result.case.name} | {result.case.strength} | {note} | {seen} |")
    return "\n".join(lines) + "\n"
