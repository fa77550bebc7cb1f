"""Detect that the server is being stopped, as soon as the server itself does."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

from anyio import CancelScope, sleep

from .._core.hosting import event_loop
from .._core.log import DEFAULT_LOG
from .server import Server, signal_before
from .signals import beside_handlers, outliving_sigterm

# Gunicorn stops its workers with SIGQUIT when it receives SIGINT. Windows has no SIGQUIT.
_NAMES = ("SIGINT", "SIGTERM", "SIGQUIT")
_SIGNALS = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
# Seconds between two checks. Hypercorn and Anycorn use the same interval to check whether a worker
# must stop.
_INTERVAL = 0.1


@contextmanager
def notice_of_stop(server: Server | None, callback: Callable[[int], object]) -> Iterator[None]:
    """Call a function in the event loop when the server starts to stop.

    :param server: the server that drives the application; None if the driver is not a server, in
        which case the function is never called
    :param callback: called with the signal's number
    """
    if server is None:
        yield
    elif server.is_stopping is None:
        with noticed_signals(_SIGNALS, callback):
            yield
    else:
        look = _Look(server.is_stopping, partial(callback, signal.SIGTERM))
        task = event_loop("a notice").start(
            look.run, "notice of a stop", None, DEFAULT_LOG.complaint
        )
        try:
            with outliving_sigterm(server.is_stopping):
                yield
        finally:
            look.scope.cancel()
            del task  # which the event loop knows only as long as somebody else does


@contextmanager
def noticed_signals(numbers: Iterable[int], callback: Callable[[int], object]) -> Iterator[None]:
    """Call a function in the event loop for each of these signals.

    This includes a signal that the server received before the block.
    """
    with beside_handlers(numbers, callback):
        number = signal_before()
        if number is not None:
            event_loop("a notice").call_soon(partial(callback, number))
        yield


class _Look:
    def __init__(self, is_stopping: Callable[[], bool], callback: Callable[[], object]) -> None:
        self.scope = CancelScope()
        self._is_stopping = is_stopping
        self._callback = callback

    async def run(self) -> None:
        with self.scope:
            while not self._is_stopping():  # noqa: ASYNC110 - it is asked of another process
                await sleep(_INTERVAL)
            self._callback()
