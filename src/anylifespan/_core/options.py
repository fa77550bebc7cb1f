"""The options of the manager and of those that use it: checked when they are given."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

Mode = Literal["auto", "on", "off"]
Leaks = Literal["warn", "error", "off"]
_MODES = get_args(Mode)
_LEAKS = get_args(Leaks)
# Seconds: what a server may reasonably be kept waiting for, and what Gunicorn chose.
DEFAULT_TIMEOUT = 30.0
# Seconds after which somebody who watches begins to wonder.
REPORT_AFTER = 5.0


def check_mode(mode: Any) -> Mode:
    """One of the modes.

    :raises ValueError: if it is none
    """
    if mode not in _MODES:
        raise ValueError(f'mode must be "auto", "on" or "off", got {mode!r}')
    checked: Mode = mode
    return checked


def check_leaks(how: Any, ignored: Any) -> None:
    """How leaks are reported, and the patterns of those that are not.

    :raises ValueError: if there is no such way to report leaks
    :raises TypeError: if the patterns are none
    """
    if how not in _LEAKS:
        raise ValueError(f'leaks must be "warn", "error" or "off", got {how!r}')
    if isinstance(ignored, str) or not all(isinstance(one, str) for one in ignored):
        raise TypeError(f"ignore_leaks must be a list of patterns, got {ignored!r}")


def check_state(state: Any) -> dict[str, Any]:
    """The given dict itself, or a new one for None.

    :raises TypeError: if it is not a dict
    """
    if state is None:
        return {}
    if not isinstance(state, dict):
        raise TypeError(f"state must be a dict or None, got {type(state).__name__}: {state!r}")
    return state


def check_seconds(name: str, value: Any) -> float:
    """A timeout in seconds, infinity for None.

    :raises TypeError: if it is not a number
    :raises ValueError: if it is negative or not a number (NaN)
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
    """A length of time in words."""
    return f"{value:g} second{'' if value == 1 else 's'}"
