"""Cases about the state that the lifespan passes to requests."""

from __future__ import annotations

from .._case import (
    Skipped,
    Strength,
    called,
    case,
    expect,
    http_spec,
    lifespan_spec,
    with_state,
    with_websocket,
)
from .._record import Record
from .._scenarios import ADDS_TO_STATE, WELL

REQUIRED, ADVISED, INFORMATIVE = Strength
STATE = lifespan_spec("Lifespan State", "will")


@case("state.offered", ADVISED, lifespan_spec("Scope"), WELL)
def offered(record: Record) -> None:
    """The lifespan scope has a state, which is optional, but which frameworks rely on."""
    called(record)
    expect(record.lifespans[0]["state"] is not None, "it has none")


@case("state.empty-at-first", REQUIRED, lifespan_spec("Scope"), WELL)
def empty_at_first(record: Record) -> None:
    """The state in the lifespan scope is an empty dict at first."""
    with_state(record)
    state = record.lifespans[0]["state"]
    expect(state == [], f"it was {state!r}")


@case("state.in-requests", REQUIRED, STATE, WELL)
def in_requests(record: Record) -> None:
    """HTTP requests have the state."""
    with_state(record)
    for note in record.noted("request"):
        expect("object" in (note["state"] or ()), f"{note['path']} had {note['state']}")


@case("state.in-websockets", REQUIRED, http_spec("WebSocket Connection Scope"), WELL)
def in_websockets(record: Record) -> None:
    """WebSockets have the state."""
    with_state(record)
    with_websocket(record)
    for note in record.noted("websocket"):
        expect("object" in (note["state"] or ()), f"{note['path']} had {note['state']}")


@case("state.same-objects", REQUIRED, STATE, WELL)
def same_objects(record: Record) -> None:
    """A request's state is a shallow copy, with the same objects that the lifespan put into the
    state."""
    with_state(record)
    for note in [*record.noted("request"), *record.noted("websocket")]:
        if "object" in (note["state"] or ()):
            expect(note["same_object"], f"{note['path']} had another object")


@case("state.copied-for-each-connection", REQUIRED, STATE, WELL)
def copied_for_each_connection(record: Record) -> None:
    """Items that a request adds to its state are not seen by requests on other connections."""
    with_state(record)
    _has_nothing_of(record, "/third", "/first", "/second")


@case("state.copied-for-each-request", REQUIRED, STATE, WELL)
def copied_for_each_request(record: Record) -> None:
    """Items that a request adds to its state are not seen by the next request on the same
    connection."""
    with_state(record)
    _has_nothing_of(record, "/second", "/first")


@case("state.copied-for-each-websocket", REQUIRED, STATE, WELL)
def copied_for_each_websocket(record: Record) -> None:
    """Items that a WebSocket adds to its state are not seen by requests."""
    with_state(record)
    with_websocket(record)
    _has_nothing_of(record, "/last", "/socket")


@case("state.not-shared-with-the-lifespan", REQUIRED, STATE, WELL)
def not_shared_with_the_lifespan(record: Record) -> None:
    """Items that requests add to their state are not seen by the lifespan."""
    with_state(record)
    notes = record.noted("state in the shutdown")
    if not notes:
        raise Skipped("the shutdown was not run")
    added = [key for key in notes[0]["state"] if key.startswith("of /")]
    expect(not added, f"in its shutdown, the state of the lifespan had {', '.join(added)}")


@case("state.left-alone", REQUIRED, STATE, WELL)
def left_alone(record: Record) -> None:
    """The server or driver adds nothing to the state."""
    with_state(record)
    for note in record.noted("request"):
        others = [
            key for key in note["state"] or () if key != "object" and not key.startswith("of /")
        ]
        expect(not others, f"{note['path']} found {', '.join(others)} in it")


@case("state.added-while-serving", INFORMATIVE, STATE, ADDS_TO_STATE)
def added_while_serving(record: Record) -> None:
    """An item that the lifespan adds to the state while requests are served is seen by later
    requests."""
    with_state(record)
    later = record.noted("request", path="/later")
    expect(later and "later" in (later[0]["state"] or ()), "it is not")


def _has_nothing_of(record: Record, path: str, *others: str) -> None:
    for note in record.noted("request", path=path):
        found = [other for other in others if f"of {other}" in (note["state"] or ())]
        expect(not found, f"{path} saw what {' and '.join(found)} had added")
