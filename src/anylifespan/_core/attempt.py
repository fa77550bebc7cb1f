"""Ask the application's own objects for something, even if their code raises an exception."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def attempt(ask: Callable[[], T], otherwise: T) -> T:
    """Return what a function returns, or a substitute if the function raises an exception.

    The function describes objects that are not ours. An exception may not be printable, or a class
    may have no usable name. An error in such a description must never replace the error that is
    described.

    :param otherwise: what to return if the function raises an exception
    """
    try:
        return ask()
    except Exception:  # noqa: BLE001 - what is shown instead says so
        return otherwise
