"""What a case is, and how it judges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from ._driver import Driver
from ._play import drive
from ._record import Record
from ._scenario import Scenario

# Seconds that a server or a driver has to go on, before it counts as hanging.
PATIENCE = 8.0

_ASGI = "https://asgi.readthedocs.io/en/latest/specs"


class Strength(Enum):
    """Whose word a case is.

    Failures of what the specification requires are faults, also where it says "should". What is
    advised comes from this library: the specification is silent, or leaves it open. What is
    informative says how an implementation reads the specification, where more than one reading is
    right.
    """

    REQUIRED = "required"
    ADVISED = "advised"
    INFORMATIVE = "informative"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Source:
    """Where a case comes from.

    :ivar text: the section, with its verb if it has one
    :ivar url: its address, if it has one
    """

    text: str
    url: str | None = None

    def __str__(self) -> str:
        return self.text


def lifespan_spec(section: str, verb: str = "") -> Source:
    """A section of the lifespan protocol 2.0.

    :param verb: ``"must"`` or ``"should"``, if it has one
    """
    return _spec("ASGI lifespan 2.0", "lifespan.html", section, verb)


def http_spec(section: str, verb: str = "") -> Source:
    """A section of the HTTP and WebSocket protocol 2.5."""
    return _spec("ASGI HTTP and WebSocket 2.5", "www.html", section, verb)


def asgi_spec(section: str, verb: str = "") -> Source:
    """A section of ASGI 3.0."""
    return _spec("ASGI 3.0", "main.html", section, verb)


def _spec(title: str, page: str, section: str, verb: str) -> Source:
    anchor = "-".join(section.lower().replace(" - ", " ").split())
    return Source(
        f"{title}, {section}" + (f" ({verb})" if verb else ""), f"{_ASGI}/{page}#{anchor}"
    )


def row(*numbers: int | str) -> Source:
    """Rows of this library's tables, in docs/semantics.md."""
    listed = " and ".join(map(str, numbers))
    return Source(f"anylifespan, docs/semantics.md, row{'s' * (len(numbers) > 1)} {listed}")


Outcome = Literal["passed", "failed", "skipped", "error"]


@dataclass(frozen=True)
class Verdict:
    """What became of a case.

    :ivar outcome: ``"passed"``, ``"failed"``, ``"skipped"`` if it does not apply, or ``"error"``
        if it could not be judged
    :ivar seen: what was seen instead of what was expected, or why it was not judged
    :ivar output: what was written and logged in its scenario
    """

    case: Case
    outcome: Outcome
    seen: str = ""
    output: str = ""


class Failed(Exception):
    """What was seen instead."""

    outcome: Outcome = "failed"


class Skipped(Exception):
    """Why a case does not apply."""

    outcome: Outcome = "skipped"


class CannotJudge(Exception):
    """Why a case could not be judged."""

    outcome: Outcome = "error"


Judge = Callable[[Record], None]


@dataclass(frozen=True)
class Case:
    """One thing that servers and drivers are expected to do.

    :ivar name: ``"topic.what-is-expected"``; it stays the same from release to release
    :ivar sentence: what is expected
    :ivar strength: whether the specification requires it
    :ivar source: where it comes from
    :ivar for_servers: whether servers can be judged
    :ivar for_drivers: whether drivers can be judged
    """

    name: str
    sentence: str
    strength: Strength
    source: Source
    scenario: Scenario
    judge: Judge
    for_servers: bool
    for_drivers: bool

    def __str__(self) -> str:
        return self.name

    @property
    def topic(self) -> str:
        return self.name.partition(".")[0]

    def verdict(self, record: Record) -> Verdict:
        """Judge what happened in its scenario."""
        outcome: Outcome = "passed"
        seen = ""
        try:
            _whole(record)
            self.judge(record)
        except (Failed, Skipped, CannotJudge) as exc:
            outcome, seen = exc.outcome, str(exc)
        return Verdict(self, outcome, seen, record.output)

    async def check(self, driver: Driver, *, patience: float = PATIENCE) -> Verdict:
        """Put a driver through this case, in the running event loop.

        :param driver: takes an application, and returns an asynchronous context manager which
            yields an object with ``app`` and ``state``
        :param patience: seconds that it may take
        :return: a verdict that has passed, or was skipped since the driver does not offer the state
        :raises AssertionError: if the driver does not do what is expected, with what it did instead
        :raises ValueError: if the case is not for drivers
        """
        if not self.for_drivers:
            raise ValueError(f"{self.name} is for servers: leave out cases without for_drivers")
        verdict = self.verdict(await drive(driver, self.scenario, patience))
        if verdict.outcome in ("failed", "error"):
            raise AssertionError(
                f"{self.name} ({self.strength}; {self.source})\n"
                f"expected: {self.sentence}\nseen: {verdict.seen}"
            )
        return verdict


_registered: dict[str, Case] = {}


def case(
    name: str,
    strength: Strength,
    source: Source,
    scenario: Scenario,
    *,
    servers: bool = True,
    drivers: bool = True,
) -> Callable[[Judge], Judge]:
    """Make a case of a function that judges; its docstring says what is expected.

    :param servers: whether servers are judged, if the scenario is for them
    :param drivers: whether drivers are judged, if the scenario is for them
    """

    def register(judge: Judge) -> Judge:
        assert name not in _registered, name  # noqa: S101 - a mistake of ours
        sentence = " ".join((judge.__doc__ or "").split())
        _registered[name] = Case(
            name,
            sentence,
            strength,
            source,
            scenario,
            judge,
            for_servers=servers and scenario.for_servers,
            for_drivers=drivers and scenario.for_drivers,
        )
        return judge

    return register


def registered() -> tuple[Case, ...]:
    return tuple(_registered.values())


def expect(condition: object, seen: str) -> None:
    """Fail the case, unless this is so.

    :param seen: what was seen instead
    """
    if not condition:
        raise Failed(seen)


# What judges presuppose


def _whole(record: Record) -> None:
    if record.broken_off:
        raise CannotJudge(record.broken_off)


def answered(record: Record) -> None:
    """Requests were answered, with a lifespan or without one."""
    if not record.came_up:
        raise CannotJudge(f"it did not come up: it {record.how}")


def called(record: Record) -> None:
    """The lifespan was run at all: otherwise only one case says that it was not."""
    if not record.lifespans:
        answered(record)
        raise Skipped("the application was never called with the lifespan scope")


def served(record: Record) -> None:
    """It came up with a lifespan."""
    called(record)
    answered(record)


def stopped(record: Record) -> None:
    """It was asked to shut down, after it came up."""
    served(record)
    if not record.was_asked_to_shut_down:
        raise Skipped("the application never received lifespan.shutdown")


def with_websocket(record: Record) -> None:
    """A WebSocket came to the application."""
    answered(record)
    if not record.noted("websocket"):
        why = record.seen.get("websocket")
        raise Skipped("no WebSocket came to the application" + (f" ({why})" if why else ""))


def with_state(record: Record) -> None:
    """It offers the state."""
    served(record)
    if record.lifespans[0]["state"] is None:
        raise Skipped("the lifespan scope has no state")


# What judges have in common


def ends(record: Record) -> None:
    """It has ended, and did not have to be killed."""
    expect(record.ended, f"it {record.how}")


def nothing_is_refused(record: Record) -> None:
    """send() took every message."""
    refused = record.noted("refused")
    expect(not refused, f"send() raised {refused[0]['error']}" if refused else "")
