"""Cases for drivers only, about the code that enters the driver."""

from __future__ import annotations

from .._case import Strength, case, expect, row, served
from .._record import Record
from .._scenarios import BODY_RAISES, CANCELLED_IN_BODY, CANCELLED_IN_STARTUP, ERROR

_, ADVISED, _ = Strength


@case("caller.error-in-the-body-runs-the-shutdown", ADVISED, row("c"), BODY_RAISES)
def error_in_the_body_runs_the_shutdown(record: Record) -> None:
    """If an exception is raised inside the driver's block, the application is shut down."""
    served(record)
    expect(record.sent("lifespan.shutdown.complete"), "it was not")


@case("caller.error-in-the-body-is-raised", ADVISED, row("c"), BODY_RAISES)
def error_in_the_body_is_raised(record: Record) -> None:
    """An exception raised inside the driver's block is raised from the block unchanged."""
    served(record)
    expect(record.seen.get("raised") is ERROR, f"it {record.how}")


@case("caller.cancelled-in-startup", ADVISED, row("a"), CANCELLED_IN_STARTUP)
def cancelled_in_startup(record: Record) -> None:
    """If the caller is cancelled during the startup, the application is not left running."""
    expect(record.lifespans, "the application was never called with the lifespan scope")
    expect(record.noted("left"), "the application was still running afterwards")


@case("caller.cancelled-in-the-body", ADVISED, row("b"), CANCELLED_IN_BODY)
def cancelled_in_the_body(record: Record) -> None:
    """If the code inside the driver's block is cancelled, the application is shut down."""
    served(record)
    expect(record.sent("lifespan.shutdown.complete"), "it was not")
