"""Cases about servers with several workers. The server's command must contain ``{workers}``."""

from __future__ import annotations

from .._case import Strength, called, case, expect, lifespan_spec, row, served
from .._record import Record
from .._scenarios import WORKER_CRASHES, WORKERS, WORKERS_FAIL

REQUIRED, ADVISED, _ = Strength
PROCESSES = lifespan_spec("Lifespan Protocol")


@case("workers.lifespan-in-each", REQUIRED, PROCESSES, WORKERS)
def lifespan_in_each(record: Record) -> None:
    """Each of two workers runs a lifespan."""
    served(record)
    expect(len(_processes(record, "lifespan")) == 2, f"{len(_processes(record, 'lifespan'))} did")


@case("workers.shutdown-in-each", REQUIRED, PROCESSES, WORKERS)
def shutdown_in_each(record: Record) -> None:
    """Each worker that runs a lifespan waits until the lifespan's shutdown is complete."""
    served(record)
    stopped = _processes(record, "sent", type="lifespan.shutdown.complete")
    missing = _processes(record, "lifespan") - stopped
    expect(not missing, f"{len(missing)} of {len(_processes(record, 'lifespan'))} did not")


@case("workers.state-of-their-own", REQUIRED, lifespan_spec("Lifespan State", "will"), WORKERS)
def state_of_their_own(record: Record) -> None:
    """Each request has the state of the worker that runs the request."""
    served(record)
    stateful = [note for note in record.noted("request") if "object" in (note["state"] or ())]
    for note in stateful:
        expect(note["same_object"], f"{note['path']} had that of another")


@case(
    "workers.failed-startup-is-fatal",
    REQUIRED,
    lifespan_spec("Startup Failed - send event", "should"),
    WORKERS_FAIL,
)
def failed_startup_is_fatal(record: Record) -> None:
    """If the startup fails in every worker, the server exits, and does not start new workers
    forever."""
    called(record)
    expect(not record.came_up, f"it served nevertheless, and {record.how}")
    expect(record.ended, f"it {record.how}, and has started {len(record.lifespans)} workers")


@case("workers.crash-is-noticed", ADVISED, row(8), WORKER_CRASHES)
def crash_is_noticed(record: Record) -> None:
    """If a worker's lifespan crashes, the worker is replaced by another one, or the server
    exits."""
    served(record)
    others = len(_processes(record, "lifespan")) > 2
    expect(others or record.seen.get("ended by itself"), "the worker served on")


def _processes(record: Record, what: str, **details: str) -> set[int]:
    return {note["process"] for note in record.noted(what, **details)}
