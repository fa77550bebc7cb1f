"""An event loop that runs in its own thread, and calls into it from other threads."""

from __future__ import annotations

import math
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from contextvars import Context, copy_context
from functools import partial
from traceback import StackSummary
from typing import Any

import anyio
from anyio import CancelScope
from anyio.from_thread import BlockingPortal

from ._core.exceptions import is_cancellation
from ._core.hosting import EventLoop, event_loop
from ._core.log import DEFAULT, Log
from ._diagnosis.sampler import where_is

# Seconds after which an event loop that does not respond is considered blocked.
ANSWER = 5.0


class BlockedError(Exception):
    """Raised if the event loop does not respond because a function that it called does not return.

    :ivar where: the stack of the event loop's thread
    """

    def __init__(self, where: StackSummary) -> None:
        super().__init__(where)
        self.where = where


class PortalThread:
    """A thread, its event loop, and anyio's portal into the event loop.

    :ivar portal: anyio's portal
    :ivar is_given_up: whether the event loop was found to be blocked; if so, nothing waits for the
        thread to end
    """

    portal: BlockingPortal

    def __init__(self, backend: str, backend_options: dict[str, Any] | None) -> None:
        self.is_given_up = False
        self._opened: Future[None] = Future()
        self._ended: Future[None] = Future()
        self._tasks: dict[Call, object] = {}
        self._event_loop: EventLoop
        # At exit, Python waits for all threads except daemon threads.
        self._thread = threading.Thread(
            target=self._run, args=(backend, backend_options), name="anylifespan", daemon=True
        )

    def call_soon(self, function: Callable[[], object]) -> None:
        """Call a function in the event loop, without waiting for the function to return."""
        self._event_loop.call_soon(function)

    def start(self, call: Call) -> None:
        """Start a call in the event loop, without waiting for its result."""
        self.call_soon(partial(self._start, call, copy_context()))

    def wait(self, call: Call, limit: float = math.inf) -> tuple[Any, BaseException | None]:
        """Wait for a call that was started.

        :param limit: seconds after which this method starts to check whether the event loop is
            blocked
        :return: the call's result, and the exception that the call raised, if any
        :raises BlockedError: if the event loop is blocked
        """
        limit = 0 if self.is_given_up else limit
        while True:
            try:
                return call.outcome.result(min(limit, threading.TIMEOUT_MAX))
            except FutureTimeoutError:
                limit = ANSWER
            self._check_answers()

    def _check_answers(self) -> None:
        answered = threading.Event()
        self.call_soon(answered.set)
        if not answered.wait(ANSWER):
            self.is_given_up = True
            raise BlockedError(where_is(self._thread.ident or 0))

    def _start(self, call: Call, context: Context) -> None:
        async def run() -> None:
            try:
                await call.run()
            finally:
                del self._tasks[call]

        log = Log(DEFAULT)
        self._tasks[call] = self._event_loop.start(run, "anylifespan", context, log.complaint)

    def _run(self, backend: str, backend_options: dict[str, Any] | None) -> None:
        try:
            anyio.run(self._serve, backend=backend, backend_options=backend_options)
        except BaseException as exc:  # noqa: BLE001 - it is raised in the thread that waits for it
            self._ended.set_exception(exc)
        else:
            self._ended.set_result(None)

    async def _serve(self) -> None:
        async with BlockingPortal() as self.portal:
            self._event_loop = event_loop("a thread")
            self._opened.set_result(None)
            await self.portal.sleep_until_stopped()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the event loop during a block. Then wait for the thread, unless it was given up."""
        self._thread.start()
        wait([self._opened, self._ended], return_when=FIRST_COMPLETED)
        if self._ended.done():
            self._ended.result()
        cancels = True
        try:
            yield
            cancels = False
        finally:
            self.start(Call(self.portal.stop, cancels))
            if not self.is_given_up:
                self._ended.result()
                self._thread.join()


class Call:
    """A call in the event loop, which runs only once even if it is started several times.

    :ivar outcome: the call's result, and the exception that the call raised, if any
    """

    def __init__(self, function: Callable[..., Awaitable[Any]], *args: Any) -> None:
        self.outcome: Future[tuple[Any, BaseException | None]] = Future()
        self._function = function
        self._args = args
        self._has_begun = False
        self._scope: CancelScope | None = None

    async def run(self) -> None:
        if self._has_begun:
            return
        self._has_begun = True
        with CancelScope() as self._scope:
            result, error = None, None
            try:
                result = await self._function(*self._args)
            except BaseException as exc:  # an exit would end an event loop of asyncio
                if is_cancellation(exc):
                    self.outcome.cancel()
                    raise
                error = exc
            self.outcome.set_result((result, error))

    def cancel(self) -> None:
        self._has_begun = True
        if self._scope is not None:
            self._scope.cancel()
