"""Cases about applications without a lifespan."""

from __future__ import annotations

from .._application import FAILURE
from .._case import Strength, called, case, expect, lifespan_spec, row
from .._record import Record
from .._scenarios import (
    ANSWERS_HTTP,
    RAISES_AT_ONCE,
    RAISES_AT_STARTUP,
    RETURNS_AT_ONCE,
    RETURNS_AT_STARTUP,
)

REQUIRED, ADVISED, _ = Strength
SCOPE = lifespan_spec("Scope", "must")


@case("unsupported.raises-at-once", REQUIRED, SCOPE, RAISES_AT_ONCE)
def raises_at_once(record: Record) -> None:
    """If the application raises when it is called with the lifespan scope, requests are served."""
    _serves(record)


@case("unsupported.raises-at-startup", REQUIRED, SCOPE, RAISES_AT_STARTUP)
def raises_at_startup(record: Record) -> None:
    """If the application raises when it receives lifespan.startup, requests are served."""
    _serves(record)


@case("unsupported.no-more-events", REQUIRED, SCOPE, RAISES_AT_ONCE)
def no_more_events(record: Record) -> None:
    """If the application raises when it is called with the lifespan scope, it is not called with
    that scope again."""
    called(record)
    expect(len(record.lifespans) == 1, f"it was called {len(record.lifespans)} times")


@case("unsupported.raise-is-logged", ADVISED, row(4), RAISES_AT_STARTUP)
def raise_is_logged(record: Record) -> None:
    """An exception that the application raises when it receives lifespan.startup is logged."""
    called(record)
    expect(FAILURE in record.output, "nothing of it was in the output")


@case("unsupported.returns-at-once", ADVISED, row(2), RETURNS_AT_ONCE)
def returns_at_once(record: Record) -> None:
    """If the application returns when it is called with the lifespan scope, requests are served."""
    _serves(record)


@case("unsupported.returns-at-startup", ADVISED, row(2), RETURNS_AT_STARTUP)
def returns_at_startup(record: Record) -> None:
    """If the application returns after it has received lifespan.startup, requests are served."""
    _serves(record)


@case("unsupported.answers-as-http", ADVISED, row(3), ANSWERS_HTTP)
def answers_as_http(record: Record) -> None:
    """If the application answers the lifespan scope as if it were an HTTP request, requests are
    served."""
    _serves(record)


@case("unsupported.stops", ADVISED, row(1), RAISES_AT_ONCE)
def stops(record: Record) -> None:
    """If the application has no lifespan, a server still stops and a driver still exits without a
    failure."""
    called(record)
    expect(record.ended and not record.failed, f"it {record.how}")


def _serves(record: Record) -> None:
    called(record)
    expect(record.came_up, f"it did not: it {record.how}")
    expect(record.answers.get("/") == 200, f"a request was not answered: {record.answers}")
