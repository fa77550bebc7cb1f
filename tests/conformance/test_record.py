"""What a record answers about the notes of an application."""

from __future__ import annotations

from anylifespan.conformance._record import Record

NOTES = [
    {"what": "lifespan"},
    {"what": "sent", "type": "lifespan.startup.complete"},
    {"what": "request", "path": "/", "number": 1},
    {"what": "request", "path": "/", "number": 2},
]


def test_the_position_is_that_of_the_first_note() -> None:
    assert Record(notes=NOTES).position("request", path="/") == 2


def test_without_such_a_note_there_is_no_position() -> None:
    assert Record(notes=NOTES).position("request", path="/late") is None


def test_what_was_sent() -> None:
    assert Record(notes=NOTES).sent("lifespan.startup.complete")
    assert not Record(notes=NOTES).sent("lifespan.shutdown.complete")
