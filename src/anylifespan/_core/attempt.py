"""Ask the application's own objects for something, even if their code raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def attempt(ask: Callable[[], T], otherwise: T) -> T:
    """What there is to be seen of an object that is not ours.

    An exception may not be printable, a class may have no usable name. They are asked in order to
    describe what happened, which must never replace what happened.

    :param otherwise: what to show if the object raises
    """
    try:
        return ask()
    except Exception:  # noqa: BLE001 - what is shown instead says so
        return otherwise
