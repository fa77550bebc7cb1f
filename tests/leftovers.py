"""What a lifespan may leave behind, and nobody would notice."""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def threads_and_descriptors(problems: list[str]) -> Iterator[None]:
    """Those of others may end meanwhile."""
    threads = set(threading.enumerate())
    descriptors = len(os.listdir("/proc/self/fd"))
    yield
    if set(threading.enumerate()) - threads:
        problems.append(f"threads were left: {threading.enumerate()}")
    if len(os.listdir("/proc/self/fd")) > descriptors:
        problems.append(f"descriptors were left: {os.listdir('/proc/self/fd')}")


@contextmanager
def collected_garbage() -> Iterator[None]:
    """Whatever is dropped inside has been finalized in the end, and nothing else has to be."""
    gc.collect()
    gc.disable()
    try:
        yield
        gc.collect(0)
    finally:
        gc.enable()


@contextmanager
def generators() -> Iterator[list[weakref.ref[Any]]]:
    """The asynchronous generators that are begun."""
    begun: list[weakref.ref[Any]] = []
    hooks = sys.get_asyncgen_hooks()

    def firstiter(generator: Any) -> None:
        begun.append(weakref.ref(generator))
        hooks.firstiter(generator)

    sys.set_asyncgen_hooks(firstiter=firstiter)
    try:
        yield begun
    finally:
        sys.set_asyncgen_hooks(firstiter=hooks.firstiter)


def still_open(begun: list[weakref.ref[Any]]) -> Iterator[object]:
    """Those of the generators that were not run to their end, or closed."""
    for reference in begun:
        generator = reference()
        if generator is not None and generator.ag_frame is not None:
            yield generator


class _Complaints(logging.Handler):
    def __init__(self, problems: list[str]) -> None:
        super().__init__(logging.ERROR)  # that a step took long is no matter
        self._problems = problems

    def emit(self, record: logging.LogRecord) -> None:
        self._problems.append(f"{record.name}: {self.format(record)}")


@contextmanager
def complaints(problems: list[str]) -> Iterator[Callable[[object], None]]:
    """What nobody was told of but the event loop, the warnings module or the interpreter."""
    hook = sys.unraisablehook
    handler = _Complaints(problems)
    loggers = [logging.getLogger("asyncio"), logging.getLogger("trio")]
    sys.unraisablehook = lambda info: problems.append(f"unraisable: {info.exc_value!r}")
    for logger in loggers:
        logger.addHandler(handler)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            yield lambda complaint: problems.append(f"the event loop: {complaint}")
    finally:
        sys.unraisablehook = hook
        for logger in loggers:
            logger.removeHandler(handler)
    problems += [f"{warning.category.__name__}: {warning.message}" for warning in warned]
