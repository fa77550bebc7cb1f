"""Servers with several processes: those whose command has ``{workers}``."""

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
    """Each worker that runs a lifespan waits for its shutdown."""
    served(record)
    stopped = _processes(record, "sent", type="lifespan.shutdown.complete")
    missing = _processes(record, "lifespan") - stopped
    expect(not missing, f"{len(missing)} of {len(_processes(record, 'lifespan'))} did not")


@case("workers.state-of-their-own", REQUIRED, lifespan_spec("Lifespan State", "will"), WORKERS)
def state_of_their_own(record: Record) -> None:
    """Requests have the state of the worker that runs them."""
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
    """If the startup fails in every worker, the server ends, and does not start others for ever."""
    called(record)
    expect(not record.came_up, f"it served nevertheless, and {record.how}")
    expect(record.ended, f"it {record.how}, and has started {len(record.lifespans)} workers")


@case("workers.crash-is-noticed", ADVISED, row(8), WORKER_CRASHES)
def crash_is_noticed(record: Record) -> None:
    """If the lifespan of a worker crashes, another one takes its place, or the server ends."""
    served(record)
    others = len(_processes(record, "lifespan")) > 2
    expect(others or record.seen.get("ended by itself"), "the worker served on")


def _processes(record: Record, what: str, **details: str) -> set[int]:
    return {note["process"] for note in record.noted(what, **details)}
