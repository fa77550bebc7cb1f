"""Which of the lifespans of one object a request belongs to.

An application, a middleware or a composition may be driven by two managers at once, or by one after
another. So nothing of a lifespan is kept on the object: a request finds its own.
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
    """The lifespans of one object that are under way, each with what its requests need.

    A request belongs to the lifespan of its event loop. Where an event loop has several, each
    leaves a key in its state, and so in the shallow copies that requests get of it.
    """

    def __init__(self) -> None:
        self._key = f"anylifespan.{next(_numbers)}"
        self._under_way: tuple[_Entry[R], ...] = ()

    @contextmanager
    def under_way(self, run: R, state: State) -> Iterator[None]:
        """A lifespan is under way in the running event loop.

        :param state: its state
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
        """That of a request; None if there is none in its event loop.

        Where the server has no state for requests, the latest is meant.
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
