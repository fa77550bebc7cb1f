"""The reports of ``anylifespan conform``, for results that are made up: one of each standing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from textwrap import dedent
from typing import Any
from xml.etree import ElementTree

from rich.console import Console

from anylifespan import __version__
from anylifespan.cli._conform import Result
from anylifespan.cli._conform_reports import (
    print_list,
    print_report,
    to_json,
    to_junit,
    to_markdown,
)
from anylifespan.conformance import Case, Strength, Verdict, cases
from anylifespan.conformance._case import Source

SOURCE = Source("the specification", "https://example.org/spec")
SOME = next(case for case in cases if case.for_servers and case.for_drivers)
FOR_SERVERS = next(case for case in cases if not case.for_drivers)
FOR_DRIVERS = next(case for case in cases if not case.for_servers)


def case(name: str, strength: Strength = Strength.REQUIRED, like: Case = SOME) -> Case:
    return replace(like, name=name, sentence=f"What {name} says.", strength=strength, source=SOURCE)


def result(standing: Any, judged: Case, *, counts: bool = False, seen: str = "") -> Result:
    outcome = {"expected": "failed", "passes now": "passed"}.get(standing, standing)
    output = "" if outcome == "passed" else "\n".join(f"line {n}" for n in range(1, 11))
    return Result(Verdict(judged, outcome, seen, output), standing, counts)


RESULTS = [
    result("passed", case("tea.hot")),
    result("failed", case("tea.green"), counts=True, seen="it was black"),
    result("failed", case("tea.sweet", Strength.ADVISED), seen="salt\nor a | b"),
    result("failed", case("tea.cheap", Strength.INFORMATIVE), seen="ten pounds"),
    result("passes now", case("tea.strong"), counts=True),
    result("expected", case("cup.clean"), seen="a\x1b spot"),
    result("skipped", case("cup.large"), seen="there is none"),
    result("error", case("cup.whole"), seen="it was dark"),
    result("error", case("cup.dry"), seen="it was dark"),
]


def printed(what: Callable[[Console], None]) -> str:
    console = Console(width=60, force_terminal=False, highlight=False)
    with console.capture() as captured:
        what(console)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def text(block: str) -> str:
    return dedent(block).strip("\n")


def test_on_a_terminal() -> None:
    shown = printed(lambda console: print_report(console, RESULTS, all_details=False))
    assert shown == text(
        """
        tea
          ✓ tea.hot
          ✗ tea.green  fails (required)
              expected  What tea.green says.
              seen      it was black
              source    the specification
              output    line 3
                        line 4
                        line 5
                        line 6
                        line 7
                        line 8
                        line 9
                        line 10
          ✗ tea.sweet  fails (advised)
              expected  What tea.sweet says.
              seen      salt
                        or a | b
              source    the specification
          ✗ tea.cheap  no
              expected  What tea.cheap says.
              seen      ten pounds
              source    the specification
          ! tea.strong  passes now: take it out of the expected failures
        cup
          ✗ cup.clean  fails, as expected
          - cup.large  does not apply
          ! cup.whole  could not be judged
              expected  What cup.whole says.
              seen      it was dark
              source    the specification
          ! cup.dry  could not be judged
              expected  What cup.dry says.
              seen      it was dark
              source    the specification

        required     1 of 6 passed  1 failed, 1 passed unexpectedly,
                                    1 failed as expected, 1 not
                                    applicable, 2 could not be
                                    judged
        advised      0 of 1 passed  1 failed
        informative  0 of 1 passed  1 failed
        """
    )


def test_all_details() -> None:
    """Also of what does not count, but without what the server wrote."""
    some = [one for one in RESULTS if one.case.name in ("tea.hot", "tea.strong", "cup.large")]
    shown = printed(lambda console: print_report(console, some, all_details=True))
    assert shown == text(
        """
        tea
          ✓ tea.hot
          ! tea.strong  passes now: take it out of the expected failures
              expected  What tea.strong says.
              seen
              source    the specification
        cup
          - cup.large  does not apply
              expected  What cup.large says.
              seen      there is none
              source    the specification

        required  1 of 2 passed  1 passed unexpectedly, 1 not
                                 applicable
        """
    )


def test_the_colours_of_failures() -> None:
    """Red for what counts, yellow for what does not."""
    console = Console(width=60, color_system="standard", force_terminal=True)
    with console.capture() as captured:
        print_report(console, RESULTS[:3], all_details=False)
    assert "\x1b[1;31m  ✗ \x1b[0m\x1b[1;31mtea.green" in captured.get()
    assert "\x1b[33m  ✗ \x1b[0m\x1b[33mtea.sweet" in captured.get()
    assert "\x1b[32m  ✓ " in captured.get()


def test_a_list() -> None:
    listed = [
        case("tea.hot"),
        case("tea.green", Strength.ADVISED, FOR_SERVERS),
        case("cup.clean", Strength.INFORMATIVE, FOR_DRIVERS),
    ]
    assert printed(lambda console: print_list(console, listed)) == text(
        """
        tea
          tea.hot
              What tea.hot says.
              required, servers and drivers; the specification
          tea.green
              What tea.green says.
              advised, servers; the specification
        cup
          cup.clean
              What cup.clean says.
              informative, drivers; the specification
        """
    )


def test_markdown() -> None:
    assert (
        to_markdown("a server", RESULTS)
        == text(
            """
        ### Lifespan conformance of `a server`

        | strength | passed | of |
        | --- | --- | --- |
        | required | 1 | 6 |
        | advised | 0 | 1 |
        | informative | 0 | 1 |

        | case | strength | | seen |
        | --- | --- | --- | --- |
        | tea.green | required | fails | it was black |
        | tea.sweet | advised | fails | salt or a \\| b |
        | tea.cheap | informative | fails | ten pounds |
        | tea.strong | required | passes now: take it out of the expected failures |  |
        | cup.clean | required | fails, as expected | a\x1b spot |
        | cup.large | required | does not apply | there is none |
        | cup.whole | required | could not be judged | it was dark |
        | cup.dry | required | could not be judged | it was dark |
        """
        )
        + "\n"
    )


def test_markdown_if_everything_passed() -> None:
    assert (
        to_markdown("a server", RESULTS[:1])
        == text(
            """
        ### Lifespan conformance of `a server`

        | strength | passed | of |
        | --- | --- | --- |
        | required | 1 | 1 |
        """
        )
        + "\n"
    )


def test_junit() -> None:
    (suite,) = ElementTree.fromstring(to_junit("a server", RESULTS))
    assert suite.attrib == {
        "name": "lifespan conformance of a server",
        "tests": "9",
        "failures": "2",
        "errors": "2",
        "skipped": "4",
    }
    assert [
        (one.get("classname"), one.get("name"), [(kind.tag, kind.get("message")) for kind in one])
        for one in suite
    ] == [
        ("tea", "tea.hot", []),
        ("tea", "tea.green", [("failure", "it was black")]),
        ("tea", "tea.sweet", [("skipped", "salt\nor a | b")]),
        ("tea", "tea.cheap", [("skipped", "ten pounds")]),
        (
            "tea",
            "tea.strong",
            [("failure", "passes now: take it out of the expected failures")],
        ),
        ("cup", "cup.clean", [("skipped", "a spot")]),
        ("cup", "cup.large", [("skipped", "there is none")]),
        ("cup", "cup.whole", [("error", "it was dark")]),
        ("cup", "cup.dry", [("error", "it was dark")]),
    ]
    assert suite[1][0].text == "\n".join(
        [
            "expected: What tea.green says.",
            "source: the specification (required)",
            "",
            *(f"line {number}" for number in range(1, 11)),
        ]
    )


def test_json() -> None:
    assert to_json("a server", RESULTS[:2], ok=False) == {
        "anylifespan": __version__,
        "judged": "a server",
        "ok": False,
        "summary": {"required": {"passed": 1, "failed": 1}},
        "cases": [
            {
                "name": f"tea.{name}",
                "expected": f"What tea.{name} says.",
                "strength": "required",
                "source": "the specification",
                "url": "https://example.org/spec",
                "standing": standing,
                "seen": seen,
            }
            for name, standing, seen in [
                ("hot", "passed", ""),
                ("green", "failed", "it was black"),
            ]
        ],
    }
