"""Validate the options of the manager, and of the functions and classes that use it."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

Mode = Literal["auto", "on", "off"]
Leaks = Literal["warn", "error", "off"]
_MODES = get_args(Mode)
_LEAKS = get_args(Leaks)
# In seconds. It is reasonable to keep a server waiting this long, and Gunicorn has the same
# default.
DEFAULT_TIMEOUT = 30.0
# Seconds after which somebody who is watching starts to wonder.
REPORT_AFTER = 5.0


def check_mode(mode: Any) -> Mode:
    """Return the mode if it is valid.

    :raises ValueError: if the mode is unknown
    """
    if mode not in _MODES:
        raise ValueError(f'mode must be "auto", "on" or "off", got {mode!r}')
    checked: Mode = mode
    return checked


def check_leaks(how: Any, ignored: Any) -> None:
    """Check the options for leak reports: how to report leaks, and which leaks to ignore.

    :raises ValueError: if the way to report leaks is unknown
    :raises TypeError: if the patterns are not a list of strings
    """
    if how not in _LEAKS:
        raise ValueError(f'leaks must be "warn", "error" or "off", got {how!r}')
    if isinstance(ignored, str) or not all(isinstance(one, str) for one in ignored):
        raise TypeError(f"ignore_leaks must be a list of patterns, got {ignored!r}")


def check_state(state: Any) -> dict[str, Any]:
    """Return the given dict itself, or a new dict if None is given.

    :raises TypeError: if the state is not a dict
    """
    if state is None:
        return {}
    if not isinstance(state, dict):
        raise TypeError(f"state must be a dict or None, got {type(state).__name__}: {state!r}")
    return state


def check_seconds(name: str, value: Any) -> float:
    """Return a timeout in seconds, or infinity for None.

    :raises TypeError: if the value is not a number
    :raises ValueError: if the value is negative or NaN
    """
    if value is None:
        return math.inf
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(
            f"{name} must be a number of seconds, or None for no limit, got "
            f"{type(value).__name__}: {value!r}"
        )
    if not value >= 0:
        raise ValueError(f"{name} must be zero or more seconds, or None for no limit, got {value}")
    try:
        return float(value)
    except OverflowError:  # an int beyond all floats
        return math.inf


def in_seconds(value: float) -> str:
    """Format a number of seconds, for example as "5 seconds"."""
    return f"{value:g} second{'' if value == 1 else 's'}"
