"""Cases about the application's startup, and about startups that fail."""

from __future__ import annotations

from .._application import FAILURE
from .._case import Strength, called, case, ends, expect, lifespan_spec, nothing_is_refused, row
from .._record import Record
from .._scenarios import (
    FAILS,
    FAILS_AND_LINGERS,
    FAILS_AND_RAISES,
    FAILS_WITHOUT_MESSAGE,
    STARTS_SLOWLY,
    WELL,
)

REQUIRED, ADVISED, INFORMATIVE = Strength
FAILED_EVENT = lifespan_spec("Startup Failed - send event", "should")


@case("startup.event", REQUIRED, lifespan_spec("Startup - receive event"), WELL)
def event(record: Record) -> None:
    """The first event that the application receives is {"type": "lifespan.startup"}."""
    called(record)
    expect(record.events, "the application received none")
    expect(record.events[0] == "lifespan.startup", f"its type was {record.events[0]!r}")


@case(
    "startup.complete-before-requests",
    REQUIRED,
    lifespan_spec("Startup Complete - send event", "must"),
    STARTS_SLOWLY,
)
def complete_before_requests(record: Record) -> None:
    """Before startup.complete, no request is processed, and the driver's block is not entered."""
    called(record)
    complete = record.position("sent", type="lifespan.startup.complete")
    for what in ("request", "entered"):
        early = record.position(what)
        if early is not None:
            expect(
                complete is not None and complete < early,
                "a request came to the application while it was starting"
                if what == "request"
                else "the driver was entered while the application was starting",
            )


@case(
    "startup.is-waited-for",
    REQUIRED,
    lifespan_spec("Startup Complete - send event", "must"),
    STARTS_SLOWLY,
)
def is_waited_for(record: Record) -> None:
    """A startup that takes a second or two is not cut short, and requests are served afterwards."""
    called(record)
    left = record.noted("left")
    complete = record.sent("lifespan.startup.complete")
    expect(complete, f"the application was left with {left[0]['how']}" if left else "it was not")
    expect(record.came_up, f"nothing was served afterwards: it {record.how}")


@case(
    "startup.refuses-connections",
    INFORMATIVE,
    lifespan_spec("Startup - receive event"),
    STARTS_SLOWLY,
    drivers=False,
)
def refuses_connections(record: Record) -> None:
    """Before startup.complete, connections are refused, rather than accepted and kept waiting."""
    called(record)
    expect(not record.seen.get("took connections"), "they are taken, and wait")


@case("startup.failed-is-fatal", REQUIRED, FAILED_EVENT, FAILS)
def failed_is_fatal(record: Record) -> None:
    """After startup.failed, a server exits, and a driver raises."""
    _is_fatal(record)


@case("startup.failed-message-is-logged", REQUIRED, FAILED_EVENT, FAILS)
def failed_message_is_logged(record: Record) -> None:
    """The message of startup.failed is logged, printed or raised."""
    called(record)
    expect(FAILURE in record.output, f"{FAILURE!r} was nowhere in its output")


@case("startup.failed-exit-status", ADVISED, row(6), FAILS, drivers=False)
def failed_exit_status(record: Record) -> None:
    """After startup.failed, the exit status indicates a failure, so that supervisors notice it."""
    called(record)
    expect(record.failed, f"it {record.how}")


@case("startup.failed-without-message", REQUIRED, FAILED_EVENT, FAILS_WITHOUT_MESSAGE)
def failed_without_message(record: Record) -> None:
    """send() accepts startup.failed without a message, and the failed startup is fatal."""
    called(record)
    nothing_is_refused(record)
    _is_fatal(record)


@case("startup.failed-then-raises", REQUIRED, FAILED_EVENT, FAILS_AND_RAISES)
def failed_then_raises(record: Record) -> None:
    """startup.failed is fatal even if the application then raises, as Starlette applications do."""
    _is_fatal(record)


@case("startup.failed-then-lingers", ADVISED, row(6), FAILS_AND_LINGERS)
def failed_then_lingers(record: Record) -> None:
    """startup.failed is fatal within seconds even if the application then does not return."""
    _is_fatal(record)


def _is_fatal(record: Record) -> None:
    called(record)
    expect(not record.came_up, f"it served nevertheless, and {record.how}")
    ends(record)
