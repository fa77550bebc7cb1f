"""Cases, and how they judge the record of a scenario."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from ._driver import Driver
from ._play import drive
from ._record import Record
from ._scenario import Scenario

# Seconds to wait for a server or a driver before it is considered to be hanging.
PATIENCE = 8.0

_ASGI = "https://asgi.readthedocs.io/en/latest/specs"


class Strength(Enum):
    """How binding a case is.

    A required case comes from the specification. Failing it is a fault, even where the
    specification says "should". An advised case comes from this library, where the specification
    is silent or leaves the choice open. An informative case reports how an implementation
    interprets the specification, where more than one interpretation is correct.
    """

    REQUIRED = "required"
    ADVISED = "advised"
    INFORMATIVE = "informative"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Source:
    """The text that a case is based on.

    :ivar text: the name of the section, with its verb, if any
    :ivar url: the URL of the section, if any
    """

    text: str
    url: str | None = None

    def __str__(self) -> str:
        return self.text


def lifespan_spec(section: str, verb: str = "") -> Source:
    """Return a section of the lifespan protocol 2.0 as the source of a case.

    :param verb: the section's verb, such as ``"must"`` or ``"should"``, if any
    """
    return _spec("ASGI lifespan 2.0", "lifespan.html", section, verb)


def http_spec(section: str, verb: str = "") -> Source:
    """Return a section of the ASGI HTTP and WebSocket specification 2.5 as the source of a case."""
    return _spec("ASGI HTTP and WebSocket 2.5", "www.html", section, verb)


def asgi_spec(section: str, verb: str = "") -> Source:
    """Return a section of ASGI 3.0 as the source of a case."""
    return _spec("ASGI 3.0", "main.html", section, verb)


def _spec(title: str, page: str, section: str, verb: str) -> Source:
    anchor = "-".join(section.lower().replace(" - ", " ").split())
    return Source(
        f"{title}, {section}" + (f" ({verb})" if verb else ""), f"{_ASGI}/{page}#{anchor}"
    )


def row(*numbers: int | str) -> Source:
    """Return rows of this library's tables, in docs/semantics.md, as the source of a case."""
    listed = " and ".join(map(str, numbers))
    return Source(f"anylifespan, docs/semantics.md, row{'s' * (len(numbers) > 1)} {listed}")


Outcome = Literal["passed", "failed", "skipped", "error"]


@dataclass(frozen=True)
class Verdict:
    """The result of judging a case.

    :ivar outcome: ``"passed"``, ``"failed"``, ``"skipped"`` if the case does not apply, or
        ``"error"`` if the case could not be judged
    :ivar seen: the behaviour that was seen instead, or the reason why the case was not judged
    :ivar output: the output and log messages of the case's scenario
    """

    case: Case
    outcome: Outcome
    seen: str = ""
    output: str = ""


class Failed(Exception):
    """Raised if a case fails, with the behaviour that was seen instead."""

    outcome: Outcome = "failed"


class Skipped(Exception):
    """Raised if a case does not apply, with the reason."""

    outcome: Outcome = "skipped"


class CannotJudge(Exception):
    """Raised if a case cannot be judged, with the reason."""

    outcome: Outcome = "error"


Judge = Callable[[Record], None]


@dataclass(frozen=True)
class Case:
    """One behaviour that is expected of servers and drivers.

    :ivar name: ``"topic.what-is-expected"``, which stays the same from release to release
    :ivar sentence: the expected behaviour
    :ivar strength: whether the specification requires the expected behaviour
    :ivar source: the text that the case is based on
    :ivar for_servers: whether the case can judge servers
    :ivar for_drivers: whether the case can judge drivers
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
        """Judge the record of the case's scenario."""
        outcome: Outcome = "passed"
        seen = ""
        try:
            _whole(record)
            self.judge(record)
        except (Failed, Skipped, CannotJudge) as exc:
            outcome, seen = exc.outcome, str(exc)
        return Verdict(self, outcome, seen, record.output)

    async def check(self, driver: Driver, *, patience: float = PATIENCE) -> Verdict:
        """Run this case with a driver, in the running event loop.

        :param driver: a callable that takes an application and returns an asynchronous context
            manager, which yields an object with ``app`` and ``state``
        :param patience: seconds that the driver may take
        :return: the verdict, whose outcome is ``"passed"``, or ``"skipped"`` if the case does not
            apply, for example because the driver does not offer the state
        :raises AssertionError: if the driver does not behave as expected; the message says what the
            driver did instead
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
    """Return a decorator that registers a judging function as a case.

    The function's docstring becomes the case's ``sentence``.

    :param servers: whether the case judges servers, if the scenario is for servers
    :param drivers: whether the case judges drivers, if the scenario is for drivers
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
    """Fail the case unless a condition holds.

    :param seen: what was seen instead
    """
    if not condition:
        raise Failed(seen)


# Conditions for judging a case


def _whole(record: Record) -> None:
    if record.broken_off:
        raise CannotJudge(record.broken_off)


def answered(record: Record) -> None:
    """Require that requests were answered, with or without a lifespan."""
    if not record.came_up:
        raise CannotJudge(f"it did not come up: it {record.how}")


def called(record: Record) -> None:
    """Require that the lifespan was run.

    If the lifespan was not run, only one case reports this, and the other cases are skipped.
    """
    if not record.lifespans:
        answered(record)
        raise Skipped("the application was never called with the lifespan scope")


def served(record: Record) -> None:
    """Require that requests were answered, with a lifespan."""
    called(record)
    answered(record)


def stopped(record: Record) -> None:
    """Require that the application was asked to shut down after requests were answered."""
    served(record)
    if not record.was_asked_to_shut_down:
        raise Skipped("the application never received lifespan.shutdown")


def with_websocket(record: Record) -> None:
    """Require that the application received a WebSocket."""
    answered(record)
    if not record.noted("websocket"):
        why = record.seen.get("websocket")
        raise Skipped("no WebSocket came to the application" + (f" ({why})" if why else ""))


def with_state(record: Record) -> None:
    """Require that the lifespan scope has a state."""
    served(record)
    if record.lifespans[0]["state"] is None:
        raise Skipped("the lifespan scope has no state")


# Checks that several cases share


def ends(record: Record) -> None:
    """Expect that the server or driver has ended, and did not have to be killed."""
    expect(record.ended, f"it {record.how}")


def nothing_is_refused(record: Record) -> None:
    """Expect that ``send()`` accepted every message."""
    refused = record.noted("refused")
    expect(not refused, f"send() raised {refused[0]['error']}" if refused else "")
