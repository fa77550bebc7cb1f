"""Cases about the signals that supervisors and Ctrl-C send."""

from __future__ import annotations

from .._case import Source, Strength, answered, called, case, ends, expect, stopped
from .._record import Record
from .._scenarios import (
    HANGS_IN_SHUTDOWN,
    INTERRUPTED,
    INTERRUPTED_IN_STARTUP,
    TERMINATED_IN_STARTUP,
    WELL,
)

_, ADVISED, _ = Strength
SUPERVISORS = Source("systemd, Docker and Kubernetes stop a process in this way")
CTRL_C = Source("Ctrl-C in a terminal")


@case("signal.sigint-stops", ADVISED, CTRL_C, INTERRUPTED)
def sigint_stops(record: Record) -> None:
    """On SIGINT, the server shuts down the application and exits."""
    answered(record)
    ends(record)
    called(record)
    expect(record.sent("lifespan.shutdown.complete"), "it ended without a shutdown")


@case("signal.sigterm-in-hung-startup", ADVISED, SUPERVISORS, TERMINATED_IN_STARTUP)
def sigterm_in_hung_startup(record: Record) -> None:
    """SIGTERM ends a server whose application hangs during its startup."""
    called(record)
    ends(record)


@case("signal.sigint-in-hung-startup", ADVISED, CTRL_C, INTERRUPTED_IN_STARTUP)
def sigint_in_hung_startup(record: Record) -> None:
    """SIGINT ends a server whose application hangs during its startup."""
    called(record)
    ends(record)


@case("signal.sigint-in-hung-shutdown", ADVISED, CTRL_C, HANGS_IN_SHUTDOWN)
def sigint_in_hung_shutdown(record: Record) -> None:
    """SIGINT, sent up to three times, ends a server whose application hangs during its shutdown."""
    stopped(record)
    ends(record)


@case("signal.leaves-no-process", ADVISED, SUPERVISORS, WELL, drivers=False)
def leaves_no_process(record: Record) -> None:
    """A server that has exited leaves no processes behind."""
    answered(record)
    expect(not record.left, "it did")
