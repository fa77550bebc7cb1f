"""What the lifespan does while requests are served."""

from __future__ import annotations

from .._application import CRASH
from .._case import Source, Strength, case, expect, row, served
from .._record import Record
from .._scenarios import CRASHES, FAILS_UNASKED, RETURNS

_, ADVISED, _ = Strength
# The specification is silent about it; that it is fatal is agreed in principle.
FATAL = Source("anylifespan, docs/semantics.md, row 8; asgiref #276")


@case("crash.ends-the-server", ADVISED, FATAL, CRASHES)
def ends_the_server(record: Record) -> None:
    """If the lifespan raises while requests are served, the process ends, or another one takes its
    place; a driver raises."""
    _does_not_serve_on(record)


@case("crash.is-logged", ADVISED, row(8), CRASHES)
def is_logged(record: Record) -> None:
    """What the lifespan raises while requests are served is logged, printed or raised."""
    served(record)
    expect(CRASH in record.output, "nothing of it was in the output")


@case("crash.exit-status", ADVISED, row(8), CRASHES, drivers=False)
def exit_status(record: Record) -> None:
    """If the lifespan raises while requests are served, the exit status is a failure, unless
    another process takes its place."""
    served(record)
    expect(record.failed or _is_replaced(record), f"it {record.how}")


@case("crash.cancels-the-body", ADVISED, row(8), CRASHES, servers=False)
def cancels_the_body(record: Record) -> None:
    """If the lifespan raises, what is done inside the driver is cancelled."""
    served(record)
    expect(record.seen.get("cancelled"), "it was not cancelled")


@case("crash.by-an-unasked-failure", ADVISED, row(8), FAILS_UNASKED)
def by_an_unasked_failure(record: Record) -> None:
    """shutdown.failed that was not asked for is a crash: applications of Starlette send it."""
    _does_not_serve_on(record)


@case("serving.after-the-lifespan-returned", ADVISED, row(9), RETURNS)
def after_the_lifespan_returned(record: Record) -> None:
    """If the lifespan returns after startup.complete, requests are served."""
    served(record)
    answer = record.answers.get("/after")
    expect(answer == 200, f"a request was not answered ({answer}); it {record.how}")


@case("serving.stops-after-the-lifespan-returned", ADVISED, row(9), RETURNS)
def stops_after_the_lifespan_returned(record: Record) -> None:
    """If the lifespan has returned, a server stops, and a driver is left, without a failure."""
    served(record)
    expect(record.ended and not record.failed, f"it {record.how}")


def _does_not_serve_on(record: Record) -> None:
    served(record)
    # A driver that raises nothing has ended, too.
    ends = record.failed or "status" in record.seen
    expect(ends or _is_replaced(record), f"it {record.how}")


def _is_replaced(record: Record) -> bool:
    """By a process with a lifespan of its own."""
    return len({note["process"] for note in record.lifespans if "process" in note}) > 1
