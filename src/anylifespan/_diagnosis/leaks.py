"""What an application leaves behind: what is there after its shutdown, and was not there before."""

from __future__ import annotations

import gc
import io
import linecache
import os
import socket
import stat
import sys
import threading
import tracemalloc
import warnings
import weakref
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from traceback import FrameSummary, StackSummary, walk_stack
from types import AsyncGeneratorType
from typing import Any, cast

from anyio import TaskInfo, get_current_task, get_running_tasks
from anyio.lowlevel import checkpoint

from .._core.application import name_of
from .._core.frames import own_frames
from .._core.where import where_waiting

# Threads that wait for the next function to run, and are nobody's in particular.
_POOLS = ("AnyIO worker thread", "asyncio_", "Trio thread")
_MACHINERY = {"anyio", "anylifespan", "trio"}
# How often others are let run, to end what they are about to end anyway.
_MOMENT = 10


class LeakWarning(UserWarning):
    """An application has left something behind after its shutdown."""


@dataclass(frozen=True)
class Leak:
    """One thing that was left behind.

    :ivar kind: ``"task"``, ``"thread"``, ``"socket"``, ``"file"`` or ``"async generator"``
    :ivar name: what it calls itself
    :ivar places: the file, line and function of each frame where it is or was made, outermost first
    """

    kind: str
    name: str
    places: tuple[tuple[str, int, str], ...]

    def __str__(self) -> str:
        return "\n".join([f"{self.kind} {self.name}", *self.lines()])

    def lines(self) -> Iterator[str]:
        """Its places, as Python prints them."""
        for file, line, function in self.places:
            yield f'  File "{file}", line {line}' + (f", in {function}" if function else "")
            yield f"    {linecache.getline(file, line).strip()}"


class Inventory:
    """What there is now; to be made before the startup, in the event loop.

    What others begin meanwhile in the same event loop cannot be told from the application's.
    """

    def __init__(self) -> None:
        self._tasks = {task.id for task in get_running_tasks()}
        self._threads = set(threading.enumerate())
        self._files = set(_open_files())
        self._generators: weakref.WeakSet[AsyncGeneratorType[Any, Any]] = weakref.WeakSet()
        self._hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=self._see_generator)

    def _see_generator(self, generator: Any) -> None:
        self._generators.add(generator)
        # Each event loop has one.
        cast(Any, self._hooks.firstiter)(generator)

    async def leaks(self) -> list[Leak]:
        """What there is besides; to be called once, after the shutdown."""
        sys.set_asyncgen_hooks(*self._hooks)
        for _ in range(_MOMENT):
            await checkpoint()
        if next(self._candidates(), None) is not None:
            gc.collect()  # what nobody refers to is left to the garbage collector, not left behind
            await checkpoint()
        return list(self._candidates())

    def _candidates(self) -> Iterator[Leak]:
        this = get_current_task()
        for task in get_running_tasks():
            if task.id not in self._tasks and task != this and not _is_machinery(task):
                yield Leak("task", str(task.name), _places(where_waiting(task)))
        for thread in threading.enumerate():
            if thread not in self._threads and not thread.name.startswith(_POOLS):
                yield _thread(thread)
        for generator in list(self._generators):
            frame = generator.ag_frame
            if frame is not None and not generator.ag_running:
                place = FrameSummary(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
                yield Leak("async generator", name_of(generator), _places([place]))
        yield from _files({key[0] for key in _open_files() if key not in self._files})


@asynccontextmanager
async def without_leaks(app: object) -> AsyncIterator[None]:
    """Warn of what an application leaves behind, if it has started and shut down in the block.

    :param app: the application, for the text of the warning
    """
    inventory = Inventory()
    yield
    leaks = await inventory.leaks()
    if leaks:
        listed = "\n".join(map(str, leaks))
        # Told as if it came from where the first of them is.
        file, line, _ = next((leak.places[-1] for leak in leaks if leak.places), ("", 0, ""))
        text = f"{name_of(app)} has left behind:\n{listed}"
        warnings.warn_explicit(text, LeakWarning, file, line)


def _is_machinery(task: TaskInfo) -> bool:
    """Whether it belongs to what runs tests and task groups, and runs nothing of anybody else's."""
    frame = getattr(task.coro, "cr_frame", None)
    package = "" if frame is None else frame.f_globals.get("__name__", "").partition(".")[0]
    return package in _MACHINERY and not where_waiting(task)


def _thread(thread: threading.Thread) -> Leak:
    frame = sys._current_frames().get(thread.ident or 0)
    stack = StackSummary.extract(walk_stack(frame)) if frame is not None else StackSummary()
    stack.reverse()
    return Leak("thread", thread.name, _places(stack))


def _open_files() -> list[tuple[int, int, int]]:
    """The sockets and the files that are open: descriptor, device and inode of each."""
    try:
        descriptors = [int(name) for name in os.listdir("/dev/fd")]
    except OSError:  # Windows has no such list
        return []
    found: list[tuple[int, int, int]] = []
    for descriptor in descriptors:
        with suppress(OSError):  # that of the listing is closed again
            status = os.fstat(descriptor)
            if stat.S_ISSOCK(status.st_mode) or stat.S_ISREG(status.st_mode):
                found.append((descriptor, status.st_dev, status.st_ino))
    return found


def _files(descriptors: set[int]) -> Iterator[Leak]:
    owners = _owners(descriptors) if descriptors else {}
    for descriptor in sorted(descriptors):
        owner = owners.get(descriptor)
        kind = "socket" if stat.S_ISSOCK(os.fstat(descriptor).st_mode) else "file"
        name = f"descriptor {descriptor}"
        if isinstance(owner, socket.socket):
            name = str(owner.getsockname())
        elif kind == "file":
            with suppress(OSError):  # elsewhere than on Linux
                name = os.readlink(f"/dev/fd/{descriptor}")
        allocated = None if owner is None else tracemalloc.get_object_traceback(owner)
        if owner is not None and not tracemalloc.is_tracing():
            name += " (with python -X tracemalloc=25 it is said where it was opened)"
        stack = [FrameSummary(one.filename, one.lineno, "") for one in allocated or ()]
        yield Leak(kind, name, _places(stack))


def _owners(descriptors: set[int]) -> dict[int, object]:
    """The objects of Python that the descriptors belong to, as far as there are any."""
    owners: dict[int, object] = {}
    for one in gc.get_objects():
        # Not isinstance(), which runs code of proxies and mocks.
        if issubclass(type(one), (socket.socket, io.FileIO)):
            with suppress(ValueError):  # a closed file
                if one.fileno() in descriptors:
                    owners[one.fileno()] = one
    return owners


def _places(stack: Iterable[FrameSummary]) -> tuple[tuple[str, int, str], ...]:
    frames = own_frames(StackSummary.from_list(list(stack)))
    return tuple((one.filename, one.lineno or 0, one.name) for one in frames)
