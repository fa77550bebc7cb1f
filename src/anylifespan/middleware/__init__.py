"""This library's lifespan under any server: for applications whose server cannot be changed."""

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
    """An ASGI application around another, which drives the lifespan of that one::

        app = LifespanMiddleware(FastAPI(lifespan=lifespan), startup_timeout=20)

    It answers the server's lifespan itself and runs the application's with
    :class:`~anylifespan.LifespanManager`, so that everything an application can do means the same
    under every server: there are timeouts, with the place where the application was stuck in the
    server's log; a lifespan that dies is noticed; and requests see the context variables that were
    set in the startup, and a state of their own.

    Where the application object itself is needed, add it inside, which Starlette, FastAPI and their
    like can do::

        app.add_middleware(LifespanMiddleware, startup_timeout=20)

    Under a server that knows no lifespan (Daphne), or where it is mounted in another application,
    the first request starts the application, and others that come meanwhile wait for that. A
    WARNING says so. If it does not start, they are answered with 503, and the next request tries
    again. It is shut down when the server's Twisted reactor stops; under any other server without a
    lifespan it is cancelled when the event loop ends.

    When the server is asked to stop during the startup, that is cancelled, so that one that hangs
    ends at once, also without a limit. While a startup or a shutdown blocks the event loop, the log
    says where, from a thread.

    One middleware may be driven by several servers at once, or by one after another: each gets a
    lifespan of its own, and each request belongs to the one whose state it has.

    :param app: an ASGI application
    :param startup_timeout: seconds the startup may take; None for no limit
    :param shutdown_timeout: seconds the shutdown may take; None for no limit
    :param drain_timeout: seconds that open requests have from the moment when the server is asked
        to stop, by SIGINT, SIGTERM or its supervisor. From then on :func:`~anylifespan.draining` is
        set for them. When the time is over, they get a disconnect from ``receive()``, are cancelled
        half a second later, and their responses are ended properly: by the last chunk, a WebSocket
        by a close with code 1012, one that has not begun by 503. One with a ``Content-Length`` is
        broken off. None: requests are never cut, and an endless stream keeps most servers from
        ever running the shutdown
    :param report_after: seconds after which a startup or a shutdown that is not over is logged,
        with the application's own line where it is waiting; see
        :class:`~anylifespan.LifespanManager`
    :param start_in_background: have the server come up at once. Until the startup is complete,
        requests are answered with 503 and ``Retry-After``. A startup that fails is then a crash;
        see ``on_crash``
    :param liveness_path: a path, as ``"/live"``, that is answered before the application is asked:
        with 200, but 503 once it has crashed or failed to start, and its status as JSON
    :param readiness_path: the same, but with 200 only while the application serves and the server
        is not being stopped
    :param mode: what to do with an application that has no lifespan; see
        :class:`~anylifespan.LifespanManager`
    :param on_crash: what to do when the application's lifespan dies while it is serving, which is
        logged in any case. ``"terminate"`` stops whoever drives it: a server process is sent the
        signal by which it stops gracefully, and ends with status 1 (Hypercorn with 0, as always;
        its drop-in does better), and anybody else (a test client,
        :class:`~anylifespan.LifespanManager`) gets the exception, as if there were no middleware.
        ``"log"`` goes on serving. A function, which may be asynchronous, is called with the
        :exc:`LifespanCrashed`; it is cancelled when the server stops, which does not wait for one
        that ignores this. If it calls ``sys.exit()``, the server stops as for ``"terminate"``. In
        any case the server gets ``lifespan.shutdown.failed`` as the answer to its shutdown.
    :raises TypeError: if ``app`` cannot be an ASGI application, or a parameter is of a wrong type
    :raises ValueError: if an option is unknown, a path does not begin with a slash, or a number of
        seconds is negative or not a number
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
        # By the event loop, which is not to be kept from being collected; the last one of all is
        # kept, to be asked how it ended.
        self._latest: WeakKeyDictionary[Any, ref[Run]] = WeakKeyDictionary()
        self._last: Run | None = None
        self._starts = StartsByRequest(repr(self), self._new_run)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.app!r}>"

    @property
    def phase(self) -> Phase:
        """Where the application's lifespan is: the latest one in the running event loop."""
        run = self._run()
        return Phase.IDLE if run is None else run.phase

    @property
    def crash(self) -> LifespanCrashed | None:
        """How the application died while it was serving, or failed to start in the background.

        None if it did not. A host that has health checks of its own can raise it there.
        """
        run = self._run()
        return None if run is None else run.crash

    @property
    def draining(self) -> bool:
        """Whether the server is being stopped, so that requests should come to their end."""
        run = self._run()
        return run is not None and run.draining

    def __getattr__(self, name: str) -> Any:
        raise wrapped_last(self, name, self.__dict__.get("app"))

    @unprotected
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        if scope["type"] == "lifespan":
            # If the server sends it after all, the application is not to run twice.
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
            # No other request may come before it is ready.
            await self._start_by_request(scope)
            run = self._run()
        await self._health.answer(scope, send, Phase.IDLE.value if run is None else run.status)

    async def _start_by_request(self, scope: Scope) -> bool:
        """Whether it has started, or may; not in a server that ends and still takes requests."""
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
        """The latest in the running event loop; outside of one, in any."""
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
