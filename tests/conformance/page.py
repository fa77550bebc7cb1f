"""Fills the tables of docs/conformance.md, and the files of expected failures.

``nox -s conformance`` runs it; it says what has changed since.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import groupby

from released import of_drivers, of_servers, verdicts, versions
from released_servers import BY_ITSELF, PROJECT, expected, file_of

from anylifespan.conformance import Strength, Verdict, cases

PAGE = PROJECT / "docs" / "conformance.md"
BEGIN, END = "<!-- filled by nox -s conformance -->\n", "<!-- to here -->\n"
MARKS = {"passed": "✓", "failed": "✗", "skipped": "-", "error": "?"}

Verdicts = Mapping[str, Sequence[Verdict]]


def main() -> None:
    found: dict[tuple[str, str], list[Verdict]] = {}
    for (name, way), judge_together in {**of_servers(), **of_drivers()}.items():
        found[name, way] = verdicts(name, way, judge_together)
        report_changes(name, way, found[name, way])
    servers = {name for name, _ in of_servers()}

    def titled(of_servers: bool, by_itself: bool) -> Verdicts:
        return {
            title(name, way): of_all
            for (name, way), of_all in found.items()
            if (name in servers) is of_servers
            and (not of_servers or (way == BY_ITSELF) is by_itself)
        }

    lines = [
        f"As run with {versions()}.",
        *tables("Servers by themselves", titled(of_servers=True, by_itself=True)),
        *tables("Servers with this library", titled(of_servers=True, by_itself=False)),
        *tables("Drivers", titled(of_servers=False, by_itself=True)),
    ]
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + "\n".join(lines) + "\n" + END + after)


def title(name: str, way: str) -> str:
    return name if way == BY_ITSELF or name.endswith(f", {way}") else f"{name}, {way}"


def report_changes(name: str, way: str, found: Sequence[Verdict]) -> None:
    failures = [one.case.name for one in found if one.outcome in ("failed", "error")]
    before = expected(name, way)
    for case in sorted({*failures} ^ before):
        print(f"{name}, {way}: {case} {'fails now' if case in failures else 'passes now'}")
    sys.stdout.flush()
    file = file_of(name, way)
    if failures:
        file.write_text("".join(f"{case}\n" for case in failures))
    else:
        file.unlink(missing_ok=True)


def tables(heading: str, columns: Verdicts) -> list[str]:
    lines = ["", f"### {heading}", "", "| | | required | advised |", "| --- | --- | --- | --- |"]
    for number, (title, found) in enumerate(columns.items(), 1):
        counts = [passed(found, one) for one in (Strength.REQUIRED, Strength.ADVISED)]
        lines.append(f"| {number} | {title} | {counts[0]} | {counts[1]} |")
    by_name = [{one.case.name: one for one in found} for found in columns.values()]
    numbers = " | ".join(map(str, range(1, len(columns) + 1)))
    for topic, group in groupby(cases, lambda case: case.topic):
        rows = [case for case in group if any(case.name in column for column in by_name)]
        if not rows:
            continue
        lines += ["", f"| {topic} | | {numbers} |", "| --- | --- |" + " :-: |" * len(columns)]
        for case in rows:
            marks = [
                MARKS[column[case.name].outcome] if case.name in column else ""
                for column in by_name
            ]
            short = case.name.partition(".")[2].replace("-", " ")
            lines.append(f"| {short} | {case.strength} | {' | '.join(marks)} |")
    return lines


def passed(found: Sequence[Verdict], strength: Strength) -> str:
    of = [one for one in found if one.case.strength is strength and one.outcome != "skipped"]
    return f"{sum(one.outcome == 'passed' for one in of)} of {len(of)}"


if __name__ == "__main__":
    main()
