"""Ctrl-C in the midst of the library's own code, on trio.

There Ctrl-C raises KeyboardInterrupt in whatever line the process is at, but for frames that are
protected from it: for them it waits for the next checkpoint of the main task, where code has to
expect it. trio's own frames are protected, and so are those of the core, with all that they call:
each line of it could otherwise be the last, with an application that runs on.

The application is called unprotected, as other code of the user's is: an endless loop in it could
otherwise not be interrupted at all. In its code, Ctrl-C is an exception that it raises itself.
"""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

T = TypeVar("T")

_subjects: list[Any] = []
_calls_the_user: set[object] = set()


def protected(subject: T) -> T:
    """Protect a function, or the methods of a class, once trio is there."""
    _subjects.append(subject)
    return subject


def unprotected(function: T) -> T:
    """Leave a method of such a class out, and what it calls: the user's own code."""
    _calls_the_user.add(function)
    return function


def protect(trio: Any) -> None:
    """Tell trio. It looks at the code of a frame, so that this holds for those that run already."""
    while _subjects:
        subject = _subjects.pop()
        for member in vars(subject).values() if inspect.isclass(subject) else [subject]:
            function = getattr(member, "fget", member)
            # What a decorator has put in the place of a function may be the code of many.
            if not inspect.isfunction(function) or hasattr(function, "__wrapped__"):
                continue
            if function in _calls_the_user:
                trio.lowlevel.disable_ki_protection(function)
            else:
                trio.lowlevel.enable_ki_protection(function)
