"""What hooks see of a lifespan, and whether it is in order, whatever happens to the lifespan."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from anylifespan import LifespanCrashed, LifespanError
from anylifespan.instrumentation import LifespanDetails, set_hooks

# A startup that begins and ends; then perhaps a crash, or a shutdown that begins and ends.
IN_ORDER = re.compile(r"startup startup:\w+( serving:crashed| shutdown shutdown:\w+)?")


class Seen:
    """A hook that keeps what it gets.

    :param raises: whether it raises each time, as do the context managers that it returns
    :ivar around: what became of its context managers, in order, by the number of the lifespan
    """

    def __init__(self, *, raises: bool = False) -> None:
        self.raises = raises
        self.details: list[LifespanDetails] = []
        self.around: list[tuple[int, str]] = []

    def __call__(self, details: LifespanDetails) -> _Around | None:
        self.details.append(details)
        if self.raises and len(self.details) % 2:
            raise LookupError("the hook raises")
        return _Around(self, details) if details.outcome is None else None

    @property
    def errors(self) -> list[BaseException]:
        return [one.error for one in self.details if one.error is not None]

    def sequence(self, number: int) -> str:
        """What happened to one lifespan, in words."""
        return " ".join(
            one.phase if one.outcome is None else f"{one.phase}:{one.outcome}"
            for one in self.details
            if one.number == number
        )

    def problems(self, *, raised: list[BaseException], crashed: bool) -> Iterator[str]:
        """What must never be seen.

        :param raised: by the lifespan's manager, at last
        :param crashed: whether the application has
        """
        if not self.details:
            return
        for number in dict.fromkeys(one.number for one in self.details):
            sequence = self.sequence(number)
            if IN_ORDER.fullmatch(sequence) is None:
                yield f"hooks have seen {sequence}"
            around = [text for one, text in self.around if one == number]
            begun = [one for one in sequence.split() if ":" not in one]
            expected = [text for one in begun for text in (f"enters {one}", f"leaves {one}")]
            if around != expected and not self.raises:
                yield f"their context managers have seen {around}"
        sequence = self.sequence(self.details[0].number)  # of the whole
        if ("serving:crashed" in sequence) is not crashed:
            yield f"crashed: {crashed}, and hooks have seen {sequence}"
        for error in raised:
            of_a_phase = isinstance(error, LifespanError) and not isinstance(error, LifespanCrashed)
            if of_a_phase and not any(error is one for one in self.errors):
                yield f"hooks have not seen {error!r}"
        if any(one.seconds < 0 for one in self.details):
            yield f"it took less than no time: {self.details}"


class _Around:
    def __init__(self, seen: Seen, details: LifespanDetails) -> None:
        self._seen = seen
        self._details = details

    def _note(self, what: str) -> None:
        self._seen.around.append((self._details.number, f"{what} {self._details.phase}"))

    def __enter__(self) -> None:
        self._note("enters")
        if self._seen.raises:
            raise LookupError("the context manager raises")

    def __exit__(self, *args: object) -> bool:
        self._note("leaves")
        return True  # which is to change nothing


@contextmanager
def seen_by_hook(*, raises: bool = False) -> Iterator[Seen]:
    """Set a hook for the lifespans that begin inside."""
    seen = Seen(raises=raises)
    set_hooks([seen])
    try:
        yield seen
    finally:
        set_hooks(None)
