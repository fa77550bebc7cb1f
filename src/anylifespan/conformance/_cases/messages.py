"""Cases about messages that an application must not send, and about some that it may send."""

from __future__ import annotations

from .._case import Strength, asgi_spec, called, case, expect, nothing_is_refused, row
from .._record import Record
from .._scenarios import (
    ADDITIONAL_KEYS,
    STARTED_TWICE,
    STOPPED_UNASKED,
    UNKNOWN_MESSAGE,
    WRONG_MESSAGE,
)

REQUIRED, ADVISED, _ = Strength
ERRORS = asgi_spec("Error Handling", "should")


@case("messages.unknown-type-is-refused", REQUIRED, ERRORS, UNKNOWN_MESSAGE)
def unknown_type_is_refused(record: Record) -> None:
    """send() raises if the type of the message is unknown."""
    _is_refused(record, "lifespan.startup.nonsense")


@case("messages.wrong-python-type-is-refused", REQUIRED, ERRORS, WRONG_MESSAGE)
def wrong_python_type_is_refused(record: Record) -> None:
    """send() raises if the message of startup.failed is not a string."""
    _is_refused(record, "lifespan.startup.failed")


@case("messages.additional-keys-are-allowed", REQUIRED, ERRORS, ADDITIONAL_KEYS)
def additional_keys_are_allowed(record: Record) -> None:
    """send() does not raise if a message has keys that the specification does not define."""
    called(record)
    nothing_is_refused(record)
    expect(record.came_up, f"it did not serve: it {record.how}")


@case("messages.repeated-is-refused", ADVISED, row(17), STARTED_TWICE)
def repeated_is_refused(record: Record) -> None:
    """send() raises if startup.complete is sent again."""
    _is_refused(record, "lifespan.startup.complete")


@case("messages.unasked-is-refused", ADVISED, row(17), STOPPED_UNASKED)
def unasked_is_refused(record: Record) -> None:
    """send() raises if shutdown.complete is sent before startup.complete."""
    _is_refused(record, "lifespan.shutdown.complete")


@case("messages.refused-is-no-end", ADVISED, row(17), UNKNOWN_MESSAGE)
def refused_is_no_end(record: Record) -> None:
    """An application that handles the exception raised by send() continues, and is served."""
    called(record)
    again = record.noted("refused", type="lifespan.startup.complete")
    expect(not again, "what it sent then was refused, too")
    expect(record.came_up, f"it was not: it {record.how}")
    expect(record.answers.get("/") == 200, f"a request was not answered: {record.answers}")


def _is_refused(record: Record, kind: str) -> None:
    called(record)
    expect(record.noted("refused", type=kind), "it was not refused")
