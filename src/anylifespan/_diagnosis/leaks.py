"""Find leaks: objects that an application created and did not clean up in its shutdown."""

from __future__ import annotations

import gc
import linecache
import sys
import threading
import warnings
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from traceback import FrameSummary, StackSummary
from typing import Any

from anyio.lowlevel import checkpoint

from .._core.application import name_of
from .._core.frames import users_frames
from .._core.options import Leaks
from .._core.where import places_in, places_of_library
from .files import identity_of, open_files
from .origins import Origins, Places

# How many checkpoints tasks have, and how many seconds each thread has, to end before they are
# reported.
_MOMENT = 10
_MOMENT_OF_THREADS = 0.1
# Threads of libraries that serve the whole process, whichever application started them.
_OF_THE_PROCESS = ("sentry-sdk.", "sentry.", "Otel", "tqdm", "pydevd", "MainThread")


class LeakWarning(UserWarning):
    """A warning about an application that has left something behind after its shutdown."""

    __module__ = "anylifespan.testing"  # where filters of warnings find it


@dataclass(frozen=True)
class Leak:
    """Something that an application left behind.

    :ivar kind: ``"task"``, ``"thread"``, ``"socket"``, ``"file"`` or ``"async generator"``
    :ivar name: the name of the task, thread or generator, the socket's address or the file's path
    :ivar places: the file, line and function of each of the user's frames where the leak is now or
        was created, outermost first
    """

    kind: str
    name: str
    places: tuple[tuple[str, int, str], ...]

    def __str__(self) -> str:
        return "\n".join([f"{self.kind} {self.name}", *self.lines()])

    def lines(self) -> Iterator[str]:
        """Yield the places formatted as lines of a traceback."""
        for file, line, function in self.places:
            yield f'  File "{file}", line {line}, in {function}'
            yield f"    {linecache.getline(file, line).strip()}"

    def matches(self, pattern: str) -> bool:
        """Return whether a pattern (see :mod:`fnmatch`) matches the name or one of the places."""
        names = [self.name, f"{self.kind} {self.name}"]
        for file, line, function in self.places:
            names += [file, f"{file}:{line}", function]
        return any(fnmatch(name, pattern) for name in names)


class Watch:
    """Watches one application for leaks, in one lifespan or in several successive ones.

    :param ignored: patterns of known leaks; see :meth:`Leak.matches`
    """

    def __init__(self, ignored: Iterable[str] = ()) -> None:
        self._ignored = tuple(ignored)
        self._origins = Origins()
        self.noted = self._origins.noted
        self.marked = self._origins.marked

    async def leaks(self) -> list[Leak]:
        """Return the application's leaks. Call this after the application's shutdown."""
        for _ in range(_MOMENT):
            await checkpoint()
            if not any(self._candidates()):
                return []
        for thread in self._lingering_threads():
            thread.join(_MOMENT_OF_THREADS)
        gc.collect()  # what nobody refers to is left to the garbage collector, not left behind
        await checkpoint()
        return list(self._candidates())

    def _candidates(self) -> Iterator[Leak]:
        candidates = [*self._tasks(), *self._threads(), *self._sockets(), *self._open_files()]
        for leak in [*candidates, *self._generators()]:
            if not any(map(leak.matches, self._ignored)):
                yield leak

    def _tasks(self) -> Iterator[Leak]:
        for name, coroutine in self._origins.tasks():
            places = places_in(coroutine) or places_of_library(coroutine)
            if places:  # others belong to the machinery that runs tasks
                yield Leak("task", name, _shown(places))

    def _threads(self) -> Iterator[Leak]:
        for thread in self._lingering_threads():
            yield Leak("thread", thread.name, _shown(self._origins.threads[thread]))

    def _lingering_threads(self) -> Iterator[threading.Thread]:
        for thread in list(self._origins.threads):
            if thread.is_alive() and not _serves_the_process(thread):
                yield thread

    def _sockets(self) -> Iterator[Leak]:
        for one, places in list(self._origins.sockets.items()):
            with suppress(OSError):  # closed by somebody else in this moment
                if one.fileno() != -1:
                    yield Leak("socket", str(one.getsockname()), _shown(places))

    def _open_files(self) -> Iterator[Leak]:
        opened = {}
        for path, places in list(self._origins.files.items()):  # threads may open more
            with suppress(OSError):  # it may have been removed
                opened[identity_of(path)] = path, places
        for _, identity in open_files() - self._origins.open_before if opened else ():
            if identity in opened:
                path, places = opened[identity]
                yield Leak("file", path, _shown(places))

    def _generators(self) -> Iterator[Leak]:
        for generator in list(self._origins.generators):
            frame = generator.ag_frame
            if frame is not None and not generator.ag_running:
                place = (frame.f_code.co_filename, frame.f_lineno or 0, frame.f_code.co_name)
                yield Leak("async generator", name_of(generator), _shown([place]))


@asynccontextmanager
async def leaks_reported(
    app: object, how: Leaks, ignored: Iterable[str]
) -> AsyncIterator[Callable[[], None]]:
    """Warn about the leaks of an application that starts and shuts down in the block.

    Call the yielded function once the application has started: what the caller creates after that
    is not reported.

    :param app: the application, for the text of the warning
    :raises LeakWarning: if there are leaks and ``how`` is ``"error"``
    """
    if how == "off":
        yield lambda: None
        return
    watch = Watch(ignored)
    with watch.noted():
        with watch.marked() as is_up:
            yield is_up
        leaks = await watch.leaks()
    if leaks:
        _report(app, leaks, how)


def _report(app: object, leaks: list[Leak], how: Leaks) -> None:
    # Python prints a line of code below a warning. So the warning refers to the last leak's line,
    # which then appears below the last leak in the list.
    last = next((leak for leak in leaks if leak.places), leaks[0])
    listed = [str(leak) for leak in leaks if leak is not last]
    *lines, code = [f"{last.kind} {last.name}", *last.lines()]
    text = "\n".join([f"{name_of(app)} has left behind:", *listed, *lines])
    if how == "error":
        raise LeakWarning(f"{text}\n{code}")
    file, line, _ = last.places[-1] if last.places else ("", 0, "")
    warnings.warn_explicit(text if last.places else f"{text}\n{code}", LeakWarning, file, line)


def _serves_the_process(thread: threading.Thread) -> bool:
    return thread.name.startswith(_OF_THE_PROCESS) or _is_of_a_global_pool(thread)


def _is_of_a_global_pool(thread: threading.Thread) -> bool:
    """Return whether a thread belongs to a global pool, which lives as long as the process."""
    # The first argument of a pool's thread is a weak reference to the pool.
    args: Any = getattr(thread, "_args", None) or (None,)
    pool = args[0]() if isinstance(args[0], weakref.ref) else None
    return pool is not None and any(
        value is pool
        for module in list(sys.modules.values())
        for value in list(getattr(module, "__dict__", {}).values())
    )


def _shown(places: Places) -> tuple[tuple[str, int, str], ...]:
    frames = users_frames(StackSummary.from_list([FrameSummary(*place) for place in places]))
    return tuple((one.filename, one.lineno or 0, one.name) for one in frames)
