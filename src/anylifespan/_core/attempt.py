"""Call code of the application's own objects, with a fallback if it raises an exception."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def attempt(ask: Callable[[], T], otherwise: T) -> T:
    """Return a function's result, or a fallback value if the function raises an exception.

    The function describes objects that this library does not control. For example, an exception may
    not be printable, or a class may have no usable name. An error in the description must never
    replace the error that is being described.

    :param otherwise: the value to return if the function raises an exception
    """
    try:
        return ask()
    except Exception:  # noqa: BLE001 - what is shown instead says so
        return otherwise
