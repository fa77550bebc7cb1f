"""SIGINT and SIGTERM: the first is told to the event loop, the second ends the process."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import anyio

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """Handles the signals inside of a ``with``.

    :param on_first: called in the signal handler, when the first one is received
    """

    def __init__(self, on_first: Callable[[], object]) -> None:
        self._numbers: list[int] = []
        self._on_first = on_first
        self._handlers: dict[signal.Signals, Any] = {}
        self._listening, self._calling = socket.socketpair()
        self._listening.setblocking(False)

    @property
    def received(self) -> signal.Signals | None:
        """The first signal; None before."""
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
        """To be run in the event loop: call back when the first signal is received."""
        await anyio.wait_readable(self._listening)
        callback()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # Unlike the handlers of an event loop, Python's own are run even while it is blocked; and
        # one may be run in the midst of another, so each is counted before anything else.
        self._numbers.append(number)
        if len(self._numbers) > 1:
            os._exit(128 + number)  # as a shell reports it
        self._on_first()
        self._calling.send(b"\0")
