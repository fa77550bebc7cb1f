"""Middleware that runs an application's lifespan with this library, under any server."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary, ref

from .._core.application import ASGI3App, ASGIApp, Receive, Scope, Send, as_asgi3, wrapped_last
from .._core.ctrl_c import protected, unprotected
from .._core.hosting import current_token
from .._core.lifespan import current_lifespan
from .._core.options import DEFAULT_TIMEOUT, REPORT_AFTER, Mode
from .._core.protocol import Phase
from .._core.runs import Runs
from .._process.server import find_server
from .._stop.refusal import refuse
from ..errors import LifespanCrashed
from ._by_request import StartsByRequest
from ._health import Health
from ._on_crash import OnCrash
from ._run import RETRY_AFTER, UNAVAILABLE, Run


@protected
class LifespanMiddleware:
    """ASGI middleware that drives the lifespan of the application inside it::

        app = LifespanMiddleware(FastAPI(lifespan=lifespan), startup_timeout=20)

    The middleware answers the server's lifespan itself and runs the application's lifespan with
    :class:`~anylifespan.LifespanManager`. So the application behaves the same under every server.
    Timeouts apply, and the server's log shows where the application was stuck. Crashes of the
    lifespan are detected. Requests see the context variables that were set during startup, and each
    request has its own copy of the state.

    If you need the application object itself, add the middleware inside the application, as
    Starlette, FastAPI and similar frameworks allow::

        app.add_middleware(LifespanMiddleware, startup_timeout=20)

    Under a server that does not support lifespans (Daphne), or if the middleware is mounted in
    another application, the first request starts the application, and a WARNING is logged. Requests
    that arrive during the startup wait for it. If the startup fails, all of these requests are
    answered with 503, and the next request tries again. The application is shut down when the
    server's Twisted reactor stops. Under any other server without lifespan support, the application
    is cancelled when the event loop ends.

    If the server is asked to stop during the startup, the startup is cancelled. So a startup that
    hangs ends at once, even if it has no time limit. While a startup or a shutdown blocks the event
    loop, a thread logs where the application is stuck.

    Several servers may drive one middleware, at the same time or one after another. Each server has
    its own lifespan, and each request belongs to the lifespan whose state the request has.

    :param app: an ASGI application
    :param startup_timeout: seconds the startup may take; None for no limit
    :param shutdown_timeout: seconds the shutdown may take; None for no limit
    :param drain_timeout: seconds that open requests have to end once SIGINT, SIGTERM or the
        supervisor stops the server. From then on, :func:`~anylifespan.draining` is set for
        these requests. When the time is over, they receive a disconnect from ``receive()``. They
        are cancelled half a second later, and their responses are ended properly: with the last
        chunk, with close code 1012 for a WebSocket, or with 503 if the response has not started. A
        response with a ``Content-Length`` is broken off. With None, requests are never cut off, and
        an endless stream keeps most servers from ever running the shutdown
    :param report_after: seconds after which a startup or a shutdown that is not over is logged,
        with the line of the application's own code that is waiting; see
        :class:`~anylifespan.LifespanManager`
    :param start_in_background: whether the server starts to serve at once, without waiting for the
        startup. Until the startup is complete, requests are answered with 503 and ``Retry-After``.
        A startup that fails is then treated as a crash; see ``on_crash``
    :param liveness_path: a path such as ``"/live"``. The middleware itself responds to requests for
        the path with the application's status as JSON. The status code is 200, or 503 once the
        application has crashed or failed to start
    :param readiness_path: the same, but the status code is 200 only while the application is
        serving and the server is not being stopped
    :param mode: what to do with an application that has no lifespan; see
        :class:`~anylifespan.LifespanManager`
    :param on_crash: what to do if the application's lifespan crashes while the application is
        serving. The crash is always logged. ``"terminate"`` stops the driver. A server process is
        sent the signal for a graceful stop, and ends with status 1 (Hypercorn always ends with 0;
        ``anylifespan.servers.hypercorn`` avoids this). Any other driver (a test client,
        :class:`~anylifespan.LifespanManager`) receives the exception, as if there were no
        middleware. ``"log"`` continues to serve. A function, which may be asynchronous, is called
        with the :exc:`LifespanCrashed`. The function is cancelled when the server stops, and the
        server does not wait for a function that ignores the cancellation. If the function calls
        ``sys.exit()``, the server stops as with ``"terminate"``. In any case, the server receives
        ``lifespan.shutdown.failed`` in answer to its shutdown.
    :raises TypeError: if ``app`` cannot be an ASGI application, or a parameter has a wrong type
    :raises ValueError: if ``mode`` or ``on_crash`` is unknown, a path does not begin with a slash,
        both paths are the same, or a number of seconds is negative or not a number
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        startup_timeout: float | None = DEFAULT_TIMEOUT,
        shutdown_timeout: float | None = DEFAULT_TIMEOUT,
        drain_timeout: float | None = None,
        report_after: float | None = REPORT_AFTER,
        start_in_background: bool = False,
        liveness_path: str | None = None,
        readiness_path: str | None = None,
        mode: Mode = "auto",
        on_crash: OnCrash = "terminate",
    ) -> None:
        if on_crash not in ("terminate", "log") and not callable(on_crash):
            raise ValueError(f'on_crash must be "terminate", "log" or a function, got {on_crash!r}')
        _check_that_it_gets_lifespans(app)
        self.app = app
        self._asgi3_app, _ = as_asgi3(app)
        self._options: dict[str, Any] = {
            "startup_timeout": startup_timeout,
            "shutdown_timeout": shutdown_timeout,
            "drain_timeout": drain_timeout,
            "report_after": report_after,
            "start_in_background": bool(start_in_background),
            "mode": mode,
            "on_crash": on_crash,
        }
        self._runs: Runs[ASGI3App] = Runs()  # how requests call the application in each
        Run(app, self._runs, {}, **self._options)  # raises now if an option is wrong
        self._health = Health(liveness_path, readiness_path)
        # The latest run in each event loop. This does not keep the event loops alive. The very last
        # run is kept, so that its outcome remains available.
        self._latest: WeakKeyDictionary[Any, ref[Run]] = WeakKeyDictionary()
        self._last: Run | None = None
        self._starts = StartsByRequest(repr(self), self._new_run)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.app!r}>"

    @property
    def phase(self) -> Phase:
        """The phase of the application's latest lifespan in the running event loop."""
        run = self._run()
        return Phase.IDLE if run is None else run.phase

    @property
    def crash(self) -> LifespanCrashed | None:
        """The application's crash while serving, or its failure to start in the background.

        None if neither has happened. A host application with its own health checks can raise this
        exception in them.
        """
        run = self._run()
        return None if run is None else run.crash

    @property
    def draining(self) -> bool:
        """Whether the server is being stopped, so that open requests should end."""
        run = self._run()
        return run is not None and run.draining

    def __getattr__(self, name: str) -> Any:
        raise wrapped_last(self, name, self.__dict__.get("app"))

    @unprotected
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        if scope["type"] == "lifespan":
            # If the server sends a lifespan after all, the application must not run twice.
            await self._starts.undo()
            run = self._new_run(scope, whole=current_lifespan(), server=find_server())
            return await run.answer(receive, send)
        if scope["type"] not in ("http", "websocket"):
            return await self._asgi3_app(scope, receive, send)
        if self._health.is_asked(scope):
            return await self._answer_probe(scope, send)
        app = self._runs.of(scope)
        while app is None:
            if not await self._start_by_request(scope):
                return await refuse(scope, receive, send, UNAVAILABLE, RETRY_AFTER)
            app = self._runs.of(scope)
        return await app(scope, receive, send)

    async def _answer_probe(self, scope: Scope, send: Send) -> None:
        run = self._run()
        is_down = self._runs.of(scope) is None and (run is None or run.failed_to_start)
        if is_down and self._health.is_asked_for_readiness(scope):
            # Perhaps no other requests arrive until the application is ready.
            await self._start_by_request(scope)
            run = self._run()
        await self._health.answer(scope, send, Phase.IDLE.value if run is None else run.status)

    async def _start_by_request(self, scope: Scope) -> bool:
        """Start the application, unless the server is about to end.

        A server that is about to end may still accept requests.

        :return: False if the application was not started; see :meth:`StartsByRequest.start`
        """
        run = self._run()
        if run is not None and run.server_ends:
            return False
        return await self._starts.start(scope)

    def _new_run(self, scope: Scope | None = None, **options: Any) -> Run:
        run = Run(self.app, self._runs, scope or {}, **self._options, **options)
        self._latest[current_token()] = ref(run)
        self._last = run
        return run

    def _run(self) -> Run | None:
        """Return the running event loop's latest run; outside an event loop, the very last run."""
        try:
            latest = self._latest.get(current_token())
        except RuntimeError:
            return self._last
        return None if latest is None else latest()


def _check_that_it_gets_lifespans(app: Any) -> None:
    module = type(app).__module__
    if module.startswith("litestar.") and module != "litestar.app":
        raise TypeError(
            "among the middleware of Litestar, LifespanMiddleware would get requests and no "
            "lifespan: wrap the application instead, app = LifespanMiddleware(Litestar(...))"
        )
