"""Handlers for SIGINT and SIGTERM, in place of other handlers or in addition to them."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

import anyio

from .._core.hosting import event_loop

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def are_handled() -> bool:
    """Return whether this is the main thread, and a handler for SIGTERM is installed."""
    return _in_main_thread() and callable(signal.getsignal(signal.SIGTERM))


def _in_main_thread() -> bool:
    """Return whether this is the main thread, the only one that handles signals."""
    return threading.current_thread() is threading.main_thread()


class _Beside:
    """A handler for one signal, which also calls the handler that it has replaced."""

    def __init__(self, number: int, callback: Callable[[int], object]) -> None:
        self._number = number
        self._callback: Callable[[int], object] | None = callback
        self._other: Any = signal.getsignal(number)
        signal.signal(number, self)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._callback is not None:
            self._callback(number)
        self._other(number, frame)

    def remove(self) -> None:
        """Restore the previous handler, unless another handler has been installed since."""
        self._callback = None
        while isinstance(handler := signal.getsignal(self._number), _Beside):
            if handler._callback is not None:
                break  # somebody who came later is still there; it will put back the first
            signal.signal(self._number, handler._other)


@contextmanager
def beside_handlers(numbers: Iterable[int], callback: Callable[[int], object]) -> Iterator[None]:
    """Call a function in the event loop for each of these signals, besides existing handlers.

    Do nothing if the server has not installed handlers, or outside the main thread.

    :param callback: called with the signal's number
    """
    if not are_handled():
        yield
        return
    call_soon = event_loop("a handler of signals").call_soon
    handlers = [
        _Beside(number, lambda number: call_soon(partial(callback, number)))
        for number in numbers
        if callable(signal.getsignal(number))
    ]
    try:
        yield
    finally:
        for handler in handlers:
            handler.remove()


@contextmanager
def outliving_sigterm(will_end: Callable[[], bool]) -> Iterator[None]:
    """Keep SIGTERM from ending this process at once, if the process is about to end by itself.

    Hypercorn and Anycorn send SIGTERM to all workers as soon as one of them has ended, even to
    workers that are still answering requests or have yet to run the shutdown. They send it again
    when they end themselves. Do nothing in a process that already handles SIGTERM.

    :param will_end: returns whether the process is about to end. It is called in the event loop: a
        signal handler must not read an object that processes share, since the handler may have
        interrupted code that was reading the object
    """
    if not _in_main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    call_soon = event_loop("a handler of signals").call_soon

    def handle(number: int, frame: FrameType | None) -> None:
        call_soon(look)

    def look() -> None:
        if not will_end():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is handle:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


async def call_at_each(callback: Callable[[], object]) -> None:
    """Call a function for each SIGINT and SIGTERM, in place of other handlers, until cancelled."""
    if not _in_main_thread():
        return
    with anyio.open_signal_receiver(*_SIGNALS) as signals:
        async for _ in signals:
            callback()


class Signals:
    """Handles SIGINT and SIGTERM inside a ``with`` block. The second signal ends the process.

    :param on_first: called in the signal handler when the first signal is received
    """

    def __init__(self, on_first: Callable[[], object]) -> None:
        self._numbers: list[int] = []
        self._on_first = on_first
        self._handlers: dict[signal.Signals, Any] = {}
        self._listening, self._calling = socket.socketpair()
        self._listening.setblocking(False)

    @property
    def received(self) -> signal.Signals | None:
        """The first signal that was received; None if no signal was received yet."""
        return signal.Signals(self._numbers[0]) if self._numbers else None

    def __enter__(self) -> None:
        for number in _SIGNALS:
            self._handlers[number] = signal.signal(number, self._handle)

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._listening.close()
        self._calling.close()

    async def call_at_first(self, callback: Callable[[], object]) -> None:
        """Call a function when the first signal is received. Run this in the event loop."""
        await anyio.wait_readable(self._listening)
        callback()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # Unlike an event loop's handlers, Python's own handlers run even while the loop is blocked.
        # One handler may interrupt another, so each signal is recorded first.
        self._numbers.append(number)
        if len(self._numbers) > 1:
            os._exit(128 + number)  # as a shell reports it
        self._on_first()
        self._calling.send(b"\0")
