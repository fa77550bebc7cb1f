"""Draining: give open requests time to end before the application is shut down."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from anyio import Event, move_on_after

from .._core.application import ASGI3App, Receive, Scope, Send
from .._core.ctrl_c import protected
from .._core.frames import show
from .._core.hosting import EventLoop
from .._core.lifespan import LINGER
from .._core.log import Log
from .._core.options import in_seconds
from .._core.where import where_waiting
from .draining import KEY, Draining
from .refusal import refuse
from .request import FLUSH, STOPPING, OpenRequest

# Seconds that a request has to end by itself, once it is disconnected.
GRACE = 0.5
# The maximum number of seconds that it takes to cut off all open requests, whatever they do.
_CUTTING = GRACE + FLUSH + LINGER
_SHOWN = 5  # how many of the requests that are cut the log names


@protected
class Drain:
    """The requests of one lifespan, and how they end when the server stops.

    :param timeout: seconds from the notice that the server is being stopped until requests are cut
        off; infinity for never
    :param log: the log for messages about requests that are cut off
    :param on_given_up: called if some requests are still running after everything has been tried
    :param why: the reason for cutting off requests, for the log message
    :param limit: the limit that has passed, as text for the log message; ``drain_timeout`` by
        default
    :ivar draining: set for the requests when the server is being stopped
    """

    def __init__(
        self,
        timeout: float,
        event_loop: EventLoop,
        log: Log,
        on_given_up: Callable[[], object] = lambda: None,
        *,
        why: str = "The server is stopping",
        limit: str = "",
    ) -> None:
        self.draining = Draining()
        self._timeout = timeout
        self._event_loop = event_loop
        self._log = log
        self._on_given_up = on_given_up
        self._why = why
        self._limit = limit or f"its drain_timeout of {in_seconds(timeout)} is over"
        self._open: set[OpenRequest] = set()
        self._hurried = Event()
        self._cuts = False  # whether time is over
        self._is_over = False  # whether nobody waits for requests any longer
        self._all_closed = Event()
        self._task: object = None

    def around(self, app: ASGI3App) -> ASGI3App:
        """Wrap the application so that requests can detect a stop, and be cut off if necessary."""
        draining = self.draining
        if self._timeout == math.inf:
            # Without a timeout, there is no need to track requests.
            def with_draining(scope: Scope, receive: Receive, send: Send) -> Any:
                scope[KEY] = draining
                return app(scope, receive, send)

            return with_draining

        # On trio, Ctrl-C cannot interrupt a protected method, but could interrupt a nested
        # function.
        return partial(self._answer, app)

    async def _answer(self, app: ASGI3App, scope: Scope, receive: Receive, send: Send) -> Any:
        if self._cuts:
            return await refuse(scope, receive, send, STOPPING)
        scope[KEY] = self.draining
        request = OpenRequest(scope, receive, send, self._event_loop.current_coroutine())
        self._open.add(request)
        try:
            return await request.run(app)
        finally:
            self._open.discard(request)
            if not self._open:
                self._all_closed.set()

    def begin(self) -> None:
        """Notify requests that the server is being stopped, and start the timeout.

        Call this in the server's event loop. Calling it again is harmless.
        """
        if self.draining.is_set():
            return
        self.draining._set()
        if self._timeout < math.inf:
            self._task = self._event_loop.start(self._run, "drain", None, self._log.complaint)

    async def finish(self) -> None:
        """Wait until no request is open, or the remaining requests have been given up.

        Without a timeout, do not wait.
        """
        self.begin()
        if self._timeout < math.inf:
            while self._open and not self._is_over:
                await self._next_closed().wait()
            self._is_over = True
            self._hurried.set()

    async def break_off(self) -> None:
        """Cut off open requests at once, and wait for them even if the caller is cancelled."""
        self.hurry()
        # The wait has a limit, since Ctrl-C may have ended the task that cuts off the requests.
        with move_on_after(_CUTTING, shield=True):
            await self.finish()

    def hurry(self) -> None:
        """Cut off open requests now. Call this in the server's event loop."""
        self._hurried.set()

    async def _run(self) -> None:
        try:
            await self._cut()
        finally:
            self._is_over = True
            self._all_closed.set()

    async def _cut(self) -> None:
        with move_on_after(self._timeout):
            await self._hurried.wait()
        if self._is_over:
            return
        self._cuts = True
        if self._open:
            interrupted = "the wait for requests was interrupted"
            self._log.warning(
                "%s, and %s: cutting %s.",
                self._why,
                interrupted if self._hurried.is_set() else self._limit,
                self._described(),
            )
        for disconnect_cancel_break_off, seconds in (
            (OpenRequest.disconnect, GRACE),
            (OpenRequest.cancel, FLUSH),
            (OpenRequest.break_off, LINGER),
        ):
            for request in tuple(self._open):
                disconnect_cancel_break_off(request)
            if await self._closed_within(seconds):
                return
        for request in tuple(self._open):
            self._log.warning(
                "%s still runs %s after it was cancelled: it ignores the cancellation, or waits "
                "for a thread that cannot be cancelled. Shutting down without it. It is waiting "
                "at:\n%s",
                request,
                in_seconds(FLUSH + LINGER),
                show(where_waiting(request.coroutine)),
            )
        self._on_given_up()

    async def _closed_within(self, seconds: float) -> bool:
        if self._open:
            with move_on_after(seconds):
                await self._next_closed().wait()
        return not self._open

    def _next_closed(self) -> Event:
        """Return an event that is set when no request is open, or when requests are given up."""
        if self._all_closed.is_set():
            self._all_closed = Event()
        return self._all_closed

    def _described(self) -> str:
        number = len(self._open)
        names = ", ".join(sorted(map(str, self._open))[:_SHOWN])
        more = f" and {number - _SHOWN} more" if number > _SHOWN else ""
        return f"{number} request{'' if number == 1 else 's'} ({names}{more})"


def time_to_close(drain_timeout: float) -> float:
    """Return the number of seconds within which open requests end or are given up."""
    return drain_timeout + _CUTTING


def drain_within(
    option: str, limit: float | None, timeout: float, event_loop: EventLoop, log: Log
) -> Drain:
    """Return a :class:`Drain` for a server that has its own time limit for requests.

    :param option: the name of the server's option for this limit
    :param limit: the server's limit in seconds; None if the server waits for ever
    :param timeout: seconds after which requests are cut off, within the server's limit; infinity
        for never
    """
    over = "" if limit is None else f"{timeout:g} of the {in_seconds(limit)} of {option} are over"
    return Drain(timeout, event_loop, log, limit=over)


def within(limit: float | None) -> float:
    """Return a drain timeout that fits into a server's own time limit for requests.

    :param limit: the server's limit in seconds; None if the server waits for ever
    :return: the timeout in seconds; infinity for no timeout
    """
    if limit is None:
        return math.inf
    return max(limit - GRACE - FLUSH / 2, limit / 2)
