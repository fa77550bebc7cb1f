"""Cases about a lifespan that crashes or returns while requests are served."""

from __future__ import annotations

from .._application import CRASH
from .._case import Source, Strength, case, expect, row, served
from .._record import Record
from .._scenarios import CRASHES, FAILS_UNASKED, RETURNS

_, ADVISED, _ = Strength
# The specification is silent about crashes. It was agreed in principle that a crash is fatal.
FATAL = Source("anylifespan, docs/semantics.md, row 8; asgiref #276")


@case("crash.ends-the-server", ADVISED, FATAL, CRASHES)
def ends_the_server(record: Record) -> None:
    """If the lifespan raises while requests are served, the server's process ends or is replaced by
    another one, and a driver raises."""
    _does_not_serve_on(record)


@case("crash.is-logged", ADVISED, row(8), CRASHES)
def is_logged(record: Record) -> None:
    """An exception that the lifespan raises while requests are served is logged, printed or
    raised."""
    served(record)
    expect(CRASH in record.output, "nothing of it was in the output")


@case("crash.exit-status", ADVISED, row(8), CRASHES, drivers=False)
def exit_status(record: Record) -> None:
    """If the lifespan raises while requests are served, the server's exit status indicates a
    failure, unless the process is replaced by another one."""
    served(record)
    expect(record.failed or _is_replaced(record), f"it {record.how}")


@case("crash.cancels-the-body", ADVISED, row(8), CRASHES, servers=False)
def cancels_the_body(record: Record) -> None:
    """If the lifespan raises, the code inside the driver's block is cancelled."""
    served(record)
    expect(record.seen.get("cancelled"), "it was not cancelled")


@case("crash.by-an-unasked-failure", ADVISED, row(8), FAILS_UNASKED)
def by_an_unasked_failure(record: Record) -> None:
    """If the application sends shutdown.failed before it has received lifespan.shutdown, as
    Starlette applications may, this is treated as a crash."""
    _does_not_serve_on(record)


@case("serving.after-the-lifespan-returned", ADVISED, row(9), RETURNS)
def after_the_lifespan_returned(record: Record) -> None:
    """If the lifespan returns after startup.complete, requests are still served."""
    served(record)
    answer = record.answers.get("/after")
    expect(answer == 200, f"a request was not answered ({answer}); it {record.how}")


@case("serving.stops-after-the-lifespan-returned", ADVISED, row(9), RETURNS)
def stops_after_the_lifespan_returned(record: Record) -> None:
    """If the lifespan has returned, a server still stops and a driver still exits without a
    failure."""
    served(record)
    expect(record.ended and not record.failed, f"it {record.how}")


def _does_not_serve_on(record: Record) -> None:
    served(record)
    # ``record.ended`` is not enough, because a driver that raises nothing has also ended.
    ends = record.failed or "status" in record.seen
    expect(ends or _is_replaced(record), f"it {record.how}")


def _is_replaced(record: Record) -> bool:
    """Return whether another process, with a lifespan of its own, has replaced the first one."""
    return len({note["process"] for note in record.lifespans if "process" in note}) > 1
