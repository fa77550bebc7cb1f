"""The record of a scenario, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Note = dict[str, Any]


@dataclass
class Record:
    """The application's notes, and observations from outside the application.

    :ivar notes: the application's notes, in order
    :ivar came_up: whether requests were answered, or the driver was entered
    :ivar answers: the status of each response, by the path of the request; None if the request was
        not answered
    :ivar ended: whether the server or driver has ended without having to be killed
    :ivar failed: whether the server's exit status was a failure, or the driver raised an exception
    :ivar how: a description of how the server or driver ended
    :ivar seen: other observations, by name
    :ivar left: whether processes were left running
    :ivar broken_off: why a server could not be put through the complete scenario, if it could not
    :ivar output: the output and the log of the server or driver, including its exceptions
    """

    notes: list[Note] = field(default_factory=list)
    came_up: bool = False
    answers: dict[str, int | None] = field(default_factory=dict)
    ended: bool = False
    failed: bool = False
    how: str = "had to be killed"
    seen: dict[str, Any] = field(default_factory=dict)
    left: bool = False
    broken_off: str = ""
    output: str = ""

    def noted(self, what: str, **details: Any) -> list[Note]:
        """Return the notes of this kind that have these details."""
        return [
            note
            for note in self.notes
            if note["what"] == what
            and all(note.get(name) == value for name, value in details.items())
        ]

    @property
    def lifespans(self) -> list[Note]:
        return self.noted("lifespan")

    @property
    def events(self) -> list[str]:
        """The types of the events that the lifespan received."""
        return [note["event"]["type"] for note in self.noted("received")]

    @property
    def was_asked_to_shut_down(self) -> bool:
        return "lifespan.shutdown" in self.events

    def sent(self, kind: str) -> bool:
        return bool(self.noted("sent", type=kind))

    def position(self, what: str, **details: Any) -> int | None:
        """Return the index of the first note with these details; None if there is no such note."""
        found = self.noted(what, **details)
        return self.notes.index(found[0]) if found else None
