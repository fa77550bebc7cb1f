"""Start an application on its first request, if the server does not start it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import Context
from typing import Any
from weakref import WeakKeyDictionary, ref

from anyio import Event

from .._core.application import ASGI3App, Receive, Scope, Send
from .._core.ctrl_c import protected
from .._core.exceptions import in_full
from .._core.hosting import current_token
from .._core.log import DEFAULT_LOG
from .._process.server import find_server
from ..errors import LifespanError
from ._run import Run


class _Start:
    """A start in progress. Other requests wait until it is over."""

    def __init__(self) -> None:
        self.over = Event()
        self.failed = False


@protected
class StartsByRequest:
    """Starts one application on its first request, separately in each event loop.

    :param name: the name to use in the log
    :param new_run: creates the :class:`Run` that drives the application
    """

    def __init__(self, name: str, new_run: Callable[..., Run]) -> None:
        self._name = name
        self._new_run = new_run
        # Keyed by event loop.
        self._under_way: WeakKeyDictionary[Any, _Start] = WeakKeyDictionary()
        self._up: WeakKeyDictionary[Any, ref[Run]] = WeakKeyDictionary()
        self._has_warned = False

    async def start(self, scope: Scope) -> bool:
        """Start the application, or wait for the request that does.

        :param scope: the request's scope
        :return: False if the start failed. If the result is True, the application may still not
            have started, since the request that was starting it may have been cancelled
        """
        token = current_token()
        start = self._under_way.get(token)
        if start is not None:
            await start.over.wait()
            return not start.failed
        start = self._under_way[token] = _Start()
        try:
            start.failed = not await self._start(token, scope)
        finally:
            del self._under_way[token]
            start.over.set()
        return not start.failed

    async def undo(self) -> None:
        """Shut the application down again, if a request has started it in this event loop.

        Call this when the server sends a lifespan after all.
        """
        up = self._up.pop(current_token(), None)
        run = None if up is None else up()
        if run is not None:
            await _shut_down(run)

    async def _start(self, token: object, scope: Scope) -> bool:
        self._warn(scope)
        # The run belongs to no request, so it must not see a request's context variables.
        run = self._new_run(server=find_server(), context=Context())
        run.listen()
        try:
            await run.startup()
        except LifespanError as error:
            DEFAULT_LOG.error("The application is not available: %s", in_full(error))
            return False
        run.open_to_requests(_with_own_state_first(run))
        self._up[token] = ref(run)  # or the event loop could never be collected
        _shut_down_with_reactor(run)
        return True

    def _warn(self, scope: Scope) -> None:
        if self._has_warned:
            return
        self._has_warned = True
        if scope.get("root_path") or "app" in scope:
            DEFAULT_LOG.warning(
                "%s is started by a request, since it is mounted in an application whose lifespan "
                "does not include it. To have it started and shut down with that one, give that "
                "one lifespan_of(...) for its lifespan.",
                self._name,
            )
        else:
            DEFAULT_LOG.warning(
                "%s is started by a request, since the server has not sent it a lifespan.",
                self._name,
            )


def _with_own_state_first(run: Run) -> ASGI3App:
    """Return the run's application, with the run's own state taking precedence.

    If the request's scope already contains a state, the state comes from another lifespan, such as
    the lifespan of an application in which this one is mounted.
    """
    app = run.app

    async def own_state_first(scope: Scope, receive: Receive, send: Send) -> Any:
        if scope.get("state"):
            # The reference to the run also keeps the run alive, as long as requests can find it.
            scope["state"] = {**scope["state"], **run.state}
        return await app(scope, receive, send)

    return own_state_first


async def _shut_down(run: Run) -> None:
    try:
        await run.drain()
        await run.stop()
    except LifespanError as error:
        DEFAULT_LOG.error("%s", in_full(error))
        await run.exit_after_failure()


def _shut_down_with_reactor(run: Run) -> None:
    """Shut the run down when Twisted's reactor, on which Daphne runs, stops.

    The reactor waits for the shutdown.
    """
    reactor: Any = sys.modules.get("twisted.internet.reactor")
    if reactor is None or not reactor.running:
        return

    def deferred() -> Any:
        task = sys.modules["asyncio"].get_event_loop().create_task(_shut_down(run))
        return sys.modules["twisted.internet.defer"].Deferred.fromFuture(task)

    reactor.addSystemEventTrigger("before", "shutdown", deferred)
