"""What an application makes, and where, as opposed to what others make meanwhile.

Code that runs for an application does so in a context with a mark of its own: its lifespan is
started in one, tasks and functions in threads inherit it, and requests get it with the variables of
the startup. What is made without the mark is somebody else's.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from typing import Any

from .._core.hosting import on_trio
from .files import Identity, open_files

Places = list[tuple[str, int, str]]

# Threads in which anybody's functions are run, one after another.
_POOLS = ("AnyIO worker thread", "asyncio_", "Trio thread")
# The code that calls the application or runs its tasks: the stack is cut here.
_CALLERS = {
    "anylifespan._core.lifespan",
    "anylifespan._core.requests",
    "asyncio.events",
    "trio._core._run",
}


class Origins:
    """What one application has made.

    :ivar threads, sockets: those that it has made, each with the frames that did, outermost first
    :ivar files: the same by the path of each file that it has opened
    :ivar open_before: the files that were open when it opened the first
    :ivar generators: the asynchronous ones that it has begun
    """

    def __init__(self) -> None:
        self.threads: weakref.WeakKeyDictionary[Any, Places] = weakref.WeakKeyDictionary()
        self.sockets: weakref.WeakKeyDictionary[Any, Places] = weakref.WeakKeyDictionary()
        self.files: dict[str, Places] = {}
        self.open_before: set[tuple[int, Identity]] = set()
        self.generators: weakref.WeakSet[Any] = weakref.WeakSet()
        self._trio_tasks: weakref.WeakSet[Any] = weakref.WeakSet()

    @contextmanager
    def noted(self) -> Iterator[None]:
        """While it lives: note what it makes."""
        _listen_to_python()
        with _generators_noted(), self._tasks_of_trio_noted():
            yield

    @contextmanager
    def marked(self) -> Iterator[Callable[[], None]]:
        """While it starts: what is begun here is the application's, till the call at the latest."""
        token = _mark.set(self)

        def end() -> None:
            if _mark.get() is self:
                # What is not set at all is given to requests.
                _mark.reset(token)

        try:
            yield end
        finally:
            end()

    def tasks(self) -> Iterator[tuple[str, Any]]:
        """Its tasks: the name and the coroutine of each. On trio some may have ended."""
        if on_trio():
            for task in self._trio_tasks:
                yield task.name, task.coro
        else:
            for task in sys.modules["asyncio"].all_tasks():
                if _context_of(task).get(_mark) is self:
                    yield task.get_name(), task.get_coro()

    @contextmanager
    def _tasks_of_trio_noted(self) -> Iterator[None]:
        if not on_trio():
            yield
            return
        # System tasks do not inherit the context, but whoever starts one has it.
        lowlevel = sys.modules["trio"].lowlevel
        lowlevel.add_instrument(self)
        try:
            yield
        finally:
            lowlevel.remove_instrument(self)

    def task_spawned(self, task: Any) -> None:
        """For trio, which calls its instruments where a task is started."""
        if _mark.get() is self:
            self._trio_tasks.add(task)


_mark: ContextVar[Origins | None] = ContextVar("anylifespan_application", default=None)
# A thread has no context of the one that started it.
_origins_of_threads: weakref.WeakKeyDictionary[Any, Origins] = weakref.WeakKeyDictionary()
_is_listening = False


def _listen_to_python() -> None:
    """Have Python call us for what is made, for good: its hooks cannot be taken away."""
    global _is_listening
    if not _is_listening:
        _is_listening = True
        made = _listener()
        sys.addaudithook(made)
        if sys.version_info < (3, 12):  # where it has no event for threads
            module: Any = threading
            start = module._start_new_thread

            def start_new_thread(function: Any, *args: Any) -> Any:
                made("_thread.start_new_thread", (function,))
                return start(function, *args)

            module._start_new_thread = start_new_thread


def _listener() -> Callable[[str, tuple[Any, ...]], None]:
    # It is called as the interpreter ends, too, when this module may be empty.
    notes, mark, origins_of_threads = _NOTES, _mark, _origins_of_threads
    # Unlike current_thread(), this makes no object for a thread that has none.
    threads, this = vars(threading)["_active"], threading.get_ident

    def made(event: str, args: tuple[Any, ...]) -> None:
        note = notes.get(event)
        if note is not None:
            origins = mark.get()
            thread = threads.get(this()) if origins is None else None
            if thread is not None:
                origins = origins_of_threads.get(thread)
            if origins is not None:
                note(origins, args[0])

    # Have it traced, by debuggers and by coverage.
    made.__cantrace__ = True  # type: ignore[attr-defined]
    return made


def _thread_made(origins: Origins, function: Any) -> None:
    thread = getattr(function, "__self__", None)
    if isinstance(thread, threading.Thread) and not thread.name.startswith(_POOLS):
        origins.threads[thread] = _places()
        _origins_of_threads[thread] = origins


def _socket_made(origins: Origins, made: Any) -> None:
    origins.sockets[made] = _places()


def _file_opened(origins: Origins, path: Any) -> None:
    if isinstance(path, (str, bytes, os.PathLike)):
        places = _places()
        if not any(file.startswith("<frozen importlib") for file, _, _ in places[-3:]):
            if not origins.files:
                origins.open_before = open_files()
            origins.files[os.fsdecode(path)] = places


_NOTES: dict[str, Callable[[Origins, Any], None]] = {
    "_thread.start_new_thread": _thread_made,
    "_thread.start_joinable_thread": _thread_made,
    "socket.__new__": _socket_made,
    "open": _file_opened,
}


def _places() -> Places:
    """The frames that lead here, of what the application has called."""
    places: Places = []
    frame = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") not in _CALLERS:
        if frame.f_globals.get("__name__") != __name__:
            code = frame.f_code
            places.append((code.co_filename, frame.f_lineno or 0, code.co_name))
        frame = frame.f_back  # type: ignore[assignment]
    return places[::-1]


def _context_of(task: Any) -> Context:
    if sys.version_info < (3, 12):
        contexts = (one for one in gc.get_referents(task) if isinstance(one, Context))
        return next(contexts, Context())
    context: Context = task.get_context()
    return context


class _Hooks(threading.local):
    """How often the generators of this thread are noted, and who else wants to know of them."""

    depth = 0
    others: Any = None


_hooks = _Hooks()


def _generator_begun(generator: Any) -> None:
    origins = _mark.get()
    if origins is not None:
        origins.generators.add(generator)
    _hooks.others(generator)  # every event loop has one


@contextmanager
def _generators_noted() -> Iterator[None]:
    """However many applications are up, there is one hook of ours in front of the event loop's."""
    hook = sys.get_asyncgen_hooks().firstiter
    if hook is not _generator_begun:
        _hooks.others = hook
        sys.set_asyncgen_hooks(firstiter=_generator_begun)
    _hooks.depth += 1
    try:
        yield
    finally:
        _hooks.depth -= 1
        # The event loop may have put its own back meanwhile.
        if _hooks.depth == 0 and sys.get_asyncgen_hooks().firstiter is _generator_begun:
            sys.set_asyncgen_hooks(firstiter=_hooks.others)
