"""Find out which of an object's lifespans a request belongs to.

Two managers may drive the same application, middleware or combined application, at the same time or
one after another. So the object itself stores nothing about a lifespan. Each request looks up its
own lifespan.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, Generic, TypeVar

from .hosting import current_token

R = TypeVar("R")

State = MutableMapping[str, Any]

_numbers = count(1)


@dataclass(frozen=True, eq=False)
class _Entry(Generic[R]):
    token: object
    run: R
    state: State


class Runs(Generic[R]):
    """An object's active lifespans, each with the data that its requests need.

    A request belongs to the lifespan that runs in the same event loop. If there are several
    lifespans, each of them is marked with a key in its state, so the shallow copies of the state
    that requests receive contain the key too.
    """

    def __init__(self) -> None:
        self._key = f"anylifespan.{next(_numbers)}"
        self._under_way: tuple[_Entry[R], ...] = ()

    @contextmanager
    def under_way(self, run: R, state: State) -> Iterator[None]:
        """Register a lifespan in the running event loop during a block.

        :param state: the lifespan's state
        """
        entry = _Entry(current_token(), run, state)
        self._under_way += (entry,)
        self._mark()
        try:
            yield
        finally:
            state.pop(self._key, None)
            self._under_way = tuple(one for one in self._under_way if one is not entry)

    def of(self, scope: MutableMapping[str, Any]) -> R | None:
        """Return the data of a request's lifespan, or None if the event loop has no lifespan.

        If the server does not support state for requests, return the latest lifespan's data.
        """
        if not self._under_way:
            return None
        token = current_token()
        here = [one for one in self._under_way if one.token is token]
        if len(here) > 1:
            marked = (scope.get("state") or {}).get(self._key)
            here = [one for one in here if one is marked] or here
        return here[-1].run if here else None

    def _mark(self) -> None:
        if len(self._under_way) > 1:
            for one in self._under_way:
                one.state[self._key] = one
