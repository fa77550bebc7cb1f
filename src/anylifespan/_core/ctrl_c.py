"""Protect the library's own code from Ctrl-C on trio.

On trio, Ctrl-C raises KeyboardInterrupt at whatever line is running, except in protected frames.
While a protected frame is running, KeyboardInterrupt is delayed until the main task's next
checkpoint, where code has to expect exceptions anyway. trio protects its own frames. This module
also protects the core's frames, and everything that they call. Otherwise, Ctrl-C could stop the
core at any line and leave the application running.

The application and the user's other code are called without protection. Otherwise, an endless loop
in the application could not be interrupted at all. If Ctrl-C interrupts the application's code, the
KeyboardInterrupt is handled like any exception that the application raises.
"""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

T = TypeVar("T")

_subjects: list[Any] = []
_calls_the_user: set[object] = set()


def protected(subject: T) -> T:
    """Protect a function, or the methods of a class, from Ctrl-C once trio is used."""
    _subjects.append(subject)
    return subject


def unprotected(function: T) -> T:
    """Exclude a protected class's method, and the user's code that it calls, from protection."""
    _calls_the_user.add(function)
    return function


def protect(trio: Any) -> None:
    """Tell trio which functions are protected and which are not.

    trio looks at a frame's code object, so this also applies to frames that are already running.
    """
    while _subjects:
        subject = _subjects.pop()
        for member in vars(subject).values() if inspect.isclass(subject) else [subject]:
            function = getattr(member, "fget", member)
            # A decorator's wrapper may share its code object with many other functions.
            if not inspect.isfunction(function) or hasattr(function, "__wrapped__"):
                continue
            if function in _calls_the_user:
                trio.lowlevel.disable_ki_protection(function)
            else:
                trio.lowlevel.enable_ki_protection(function)
