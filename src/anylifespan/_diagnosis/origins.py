"""Record which objects an application creates, and where. Ignore other code's objects.

Code that runs for an application runs in a context with the application's mark. The lifespan starts
in such a context. Tasks, and functions that run in threads, inherit the mark. Requests receive it
with the startup's context variables. Objects that are created without the mark belong to other
code.
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

# Shared threads that run functions for any code, by the prefixes of their names.
_POOLS = ("AnyIO worker thread", "asyncio_", "Trio thread")
# The modules that call the application or run its tasks. Stacks are cut off there.
_CALLERS = {
    "anylifespan._core.lifespan",
    "anylifespan._core.requests",
    "asyncio.events",
    "trio._core._run",
}


class Origins:
    """The objects that one application has created.

    :ivar threads, sockets: the objects that the application has created, each with the frames that
        created it, outermost first
    :ivar files: the frames that opened each of the application's files, by the file's path
    :ivar open_before: the files that were open when the application opened its first file
    :ivar generators: the asynchronous generators that the application has started
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
        """Record the objects that the application creates during the block."""
        _listen_to_python()
        with _generators_noted(), self._tasks_of_trio_noted():
            yield

    @contextmanager
    def marked(self) -> Iterator[Callable[[], None]]:
        """Mark code that starts in the block as the application's.

        Call the yielded function to remove the mark. The end of the block also removes the mark.
        """
        token = _mark.set(self)

        def end() -> None:
            if _mark.get() is self:
                # Reset the mark rather than set it to None, since a request receives the mark only
                # if the variable has no value in the request's context.
                _mark.reset(token)

        try:
            yield end
        finally:
            end()

    def tasks(self) -> Iterator[tuple[str, Any]]:
        """Yield the name and the coroutine of each of the application's tasks.

        On trio, some of the tasks may have ended.
        """
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
        # System tasks do not inherit the context, but the code that starts them runs in it.
        lowlevel = sys.modules["trio"].lowlevel
        lowlevel.add_instrument(self)
        try:
            yield
        finally:
            lowlevel.remove_instrument(self)

    def task_spawned(self, task: Any) -> None:
        """Record a task if the application starts it. trio calls this method for each new task."""
        if _mark.get() is self:
            self._trio_tasks.add(task)


_mark: ContextVar[Origins | None] = ContextVar("anylifespan_application", default=None)
# A thread does not inherit the context of the thread that started it.
_origins_of_threads: weakref.WeakKeyDictionary[Any, Origins] = weakref.WeakKeyDictionary()
_is_listening = False


def _listen_to_python() -> None:
    """Have Python report new threads, sockets and files. Audit hooks can never be removed."""
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
    # The hook is also called while the interpreter exits, when this module may be empty.
    notes, mark, origins_of_threads = _NOTES, _mark, _origins_of_threads
    # Unlike current_thread(), this does not create a Thread object for a thread that has none.
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

    # Let debuggers and coverage trace the hook.
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
    """Return the application's frames in the current stack, outermost first."""
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
    """The state of a thread's generator hooks.

    :ivar depth: how many blocks are recording the thread's generators
    :ivar others: the event loop's own hook, which is called as well
    """

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
    """Record the asynchronous generators that start during the block.

    However many applications are running, a single hook is installed in front of the event loop's
    hook.
    """
    hook = sys.get_asyncgen_hooks().firstiter
    if hook is not _generator_begun:
        _hooks.others = hook
        sys.set_asyncgen_hooks(firstiter=_generator_begun)
    _hooks.depth += 1
    try:
        yield
    finally:
        _hooks.depth -= 1
        # The event loop may have restored its own hook meanwhile.
        if _hooks.depth == 0 and sys.get_asyncgen_hooks().firstiter is _generator_begun:
            sys.set_asyncgen_hooks(firstiter=_hooks.others)
