"""Combine lifespans: add lifespans to an application, or run several lifespans as one.

In this module, as in Starlette and FastAPI, a lifespan is a function that is called with the
application and returns an asynchronous context manager. The context manager yields a mapping for
the state, or None.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, MutableMapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from contextvars import copy_context
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from anyio import Event, create_task_group

from ._core.application import (
    ASGI3App,
    ASGIApp,
    Receive,
    Scope,
    Send,
    as_asgi3,
    name_of,
    wrapped_last,
)
from ._core.ctrl_c import protected, unprotected
from ._core.exceptions import contains, in_full
from ._core.lifespan import Lifespan as _Whole
from ._core.lifespan import current_lifespan
from ._core.log import DEFAULT
from ._core.manager import LifespanManager
from ._core.options import DEFAULT_TIMEOUT, check_seconds
from ._core.requests import Variables, request_app, variables_of
from ._core.runs import Runs
from .errors import LifespanError, LifespanUnsupported

if TYPE_CHECKING:
    _LoggerAdapter = logging.LoggerAdapter[logging.Logger]
else:
    _LoggerAdapter = logging.LoggerAdapter  # generic from Python 3.11 on

Lifespan = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]


def with_lifespan(
    app: ASGIApp, *lifespans: Lifespan, shutdown_timeout: float | None = DEFAULT_TIMEOUT
) -> ASGI3App:
    """Wrap an application so that these lifespans run in addition to its own, if it has one::

        app = with_lifespan(get_asgi_application(), lifespan)

    The lifespans start in the given order, followed by the application's own lifespan. They stop in
    reverse order. The mapping that a lifespan yields is added to the state as soon as the lifespan
    has started, and requests see the context variables that the lifespans set.

    The outer manager (the manager of the returned application) enforces the startup timeout. It
    also cancels the inner application's own shutdown when the outer manager's shutdown timeout has
    passed. If the application crashes, the combined lifespan crashes at once.

    :param app: an ASGI application. It does not have to support the lifespan protocol: Django and
        wrapped WSGI applications can be used too
    :param lifespans: functions that ``Starlette(lifespan=...)`` would accept; they are called with
        ``app``
    :param shutdown_timeout: how many seconds the application's own shutdown may take; None for no
        limit other than the outer manager's
    :raises TypeError: if ``app`` cannot be an ASGI application, or one of the lifespans is not a
        lifespan function
    :raises RuntimeError: during startup, if two of the lifespans set the same key in the state
    """
    as_asgi3(app)
    for lifespan in lifespans:
        _check_lifespan(lifespan)
    return _WithLifespan(app, lifespans, check_seconds("shutdown_timeout", shutdown_timeout))


def lifespan_of(
    *apps: ASGIApp,
    lifespan: Lifespan | None = None,
    concurrent: bool = False,
    shutdown_timeout: float | None = DEFAULT_TIMEOUT,
) -> Callable[[Any], AbstractAsyncContextManager[Any]]:
    """Combine the lifespans of these applications into one lifespan for another application::

        app = FastAPI(lifespan=lifespan_of(reports, lifespan=lifespan))
        app.mount("/reports", reports)

    The lifespans start in the given order and stop in reverse order. If ``lifespan`` is given, it
    starts before them and stops after them. If one application fails to start, the applications
    that have already started are shut down. If one crashes, the combined lifespan crashes too.
    Errors name the application that they come from. The combined lifespan yields everything that
    the applications put into their states.

    The outer manager (the manager of the outer application) enforces the startup timeout. It also
    cancels the applications' shutdowns when the outer manager's shutdown timeout has passed. If the
    outer manager's mode is ``"on"``, an exception in an application's startup is an error.

    :param apps: ASGI applications; those without a lifespan are skipped
    :param lifespan: the outer application's own lifespan, a function that
        ``Starlette(lifespan=...)`` would accept
    :param concurrent: start all applications concurrently, and stop all of them concurrently
    :param shutdown_timeout: how many seconds each application's shutdown may take; None for no
        limit other than the outer manager's
    :raises TypeError: if one of ``apps`` cannot be an ASGI application, or ``lifespan`` is not a
        lifespan function
    :raises RuntimeError: when the combined lifespan is entered, if two of the lifespans set the
        same key in the state
    """
    for app in apps:
        as_asgi3(app)
    if lifespan is not None:
        _check_lifespan(lifespan)
    seconds = check_seconds("shutdown_timeout", shutdown_timeout)
    return partial(
        _lifespans, apps=apps, lifespan=lifespan, concurrent=concurrent, shutdown_timeout=seconds
    )


@asynccontextmanager
@protected
async def _lifespans(
    app: Any,
    *,
    apps: tuple[ASGIApp, ...],
    lifespan: Lifespan | None,
    concurrent: bool,
    shutdown_timeout: float,
) -> AsyncIterator[Any]:
    count = len(apps)
    whole = current_lifespan()
    parts = [
        _Part(one, {}, shutdown_timeout, whole, f" (application {number} of {count})" * (count > 1))
        for number, one in enumerate(apps, 1)
    ]
    state = _State({})
    async with AsyncExitStack() as stack:
        if lifespan is not None:
            own = _Entered(_checked(lifespan, lifespan(app)))
            state.add(await stack.enter_async_context(own), name_of(lifespan))
        if concurrent:
            await stack.enter_async_context(_AtOnce(parts, whole).manager)
        else:
            for part in parts:
                await part.enter(stack)
        for part in parts:
            state.add(part.state, part.name)
        # If the server does not support state, Starlette raises an error for any mapping.
        yield state.whole or None


def combine(
    main: ASGIApp,
    *others: ASGIApp,
    concurrent: bool = False,
    shutdown_timeout: float | None = DEFAULT_TIMEOUT,
) -> ASGI3App:
    """Return an application that serves like ``main`` and runs all applications' lifespans.

    This is the same as ``with_lifespan(main, lifespan_of(*others))``. The other applications start
    before ``main`` and shut down after it, so ``main`` finds their state in its startup.

    :param main: the ASGI application that handles requests
    :param others: ASGI applications whose lifespans are run
    :param concurrent: start the other applications concurrently, and stop them concurrently
    :param shutdown_timeout: how many seconds each application's shutdown may take; None for no
        limit
    :raises TypeError: if one of the applications cannot be an ASGI application
    :raises RuntimeError: during startup, if two of the applications set the same key in the state
    """
    lifespan = lifespan_of(*others, concurrent=concurrent, shutdown_timeout=shutdown_timeout)
    return with_lifespan(main, lifespan, shutdown_timeout=shutdown_timeout)


@protected
class _WithLifespan:
    def __init__(
        self, app: ASGIApp, lifespans: tuple[Lifespan, ...], shutdown_timeout: float
    ) -> None:
        self._app = app
        self._shutdown_timeout = shutdown_timeout
        self._lifespans = lifespans
        self._asgi3_app, _ = as_asgi3(app)
        self._runs: Runs[ASGI3App] = Runs()  # how requests call the application in each

    def __repr__(self) -> str:
        return f"<{self._app!r} with {len(self._lifespans)} lifespans>"

    def __getattr__(self, name: str) -> Any:
        raise wrapped_last(self, name, self.__dict__.get("_app"))

    @unprotected
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        if scope["type"] == "lifespan":
            return await self._lifespan(scope, receive, send)
        return await (self._runs.of(scope) or self._asgi3_app)(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        phase = "startup"
        entered: list[_Entered] = []
        try:
            async with AsyncExitStack() as stack:
                stack.push(partial(_raise_swallowed, entered))
                state = scope.setdefault("state", {})
                request_app = await self._start(stack, state, entered)
                stack.enter_context(self._runs.under_way(request_app, state))
                await send({"type": "lifespan.startup.complete"})
                phase = "shutdown"
                await receive()
        except Exception as exc:
            await send({"type": f"lifespan.{phase}.failed", "message": in_full(exc)})
            raise
        await send({"type": "lifespan.shutdown.complete"})

    async def _start(
        self,
        stack: AsyncExitStack,
        scope_state: MutableMapping[str, Any],
        entered: list[_Entered],
    ) -> ASGI3App:
        before = copy_context()
        state = _State(scope_state)
        for lifespan in self._lifespans:
            entered.append(_Entered(_checked(lifespan, lifespan(self._app))))
            state.add(await stack.enter_async_context(entered[-1]), name_of(lifespan))
        part = _Part(self._app, state.whole, self._shutdown_timeout, current_lifespan())
        with state.watched(part.name):
            await part.enter(stack)
        # The application's manager gives requests the state and the application's own variables.
        variables = Variables()
        variables_of(copy_context(), before=before, into=variables)
        return request_app(part.app, state.whole, variables) if variables.given else part.app


@protected
class _Entered:
    """A lifespan that the user wrote. Ctrl-C can interrupt its entry, but not its exit.

    :ivar swallowed: the exception that the lifespan suppressed when it was exited, if any
    """

    def __init__(self, lifespan: AbstractAsyncContextManager[Mapping[str, Any] | None]) -> None:
        self._lifespan = lifespan
        self.swallowed: BaseException | None = None

    @unprotected
    async def __aenter__(self) -> Mapping[str, Any] | None:
        return await self._lifespan.__aenter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        # Ctrl-C must not interrupt this, or the lifespan could be left open.
        handled = await self._lifespan.__aexit__(exc_type, exc, traceback)
        if handled:
            self.swallowed = exc
        return handled


def _raise_swallowed(entered: list[_Entered], *exc_info: object) -> None:
    """Raise the first exception that a lifespan suppressed, if any.

    A lifespan may suppress an exception, but the application has stopped serving, so the exception
    has to be raised anyway.
    """
    for lifespan in reversed(entered):
        if lifespan.swallowed is not None:
            raise lifespan.swallowed


@protected
class _Part(LifespanManager):
    """Drives one of several lifespans. Errors and log messages name the application.

    :param whole: the lifespan that this one is part of, if this library drives that lifespan. If
        this part crashes, the whole crashes too. If the whole is cancelled because time ran out, so
        is this part
    """

    _acts_on_crash = False

    def __init__(
        self,
        app: ASGIApp,
        state: dict[str, Any],
        shutdown_timeout: float | None,
        whole: _Whole | None,
        which: str = "",
    ) -> None:
        title = getattr(app, "title", None)  # FastAPI's
        self.name = f"{name_of(app)}{f' {title!r}' if isinstance(title, str) else ''}{which}"
        logger: Any = _Prefixed(DEFAULT, {"prefix": self.name})
        super().__init__(
            app,
            # If the whole must have a lifespan, an exception in a part's startup is an error.
            mode="on" if whole is not None and whole.required else "auto",
            state=state,
            startup_timeout=None,
            shutdown_timeout=shutdown_timeout,
            logger=logger,
        )
        self._whole = whole

    async def enter(self, stack: AsyncExitStack) -> None:
        """Start the application, and register its shutdown with the stack.

        If the application has no lifespan, only log that it has none.
        """
        try:
            await stack.enter_async_context(self)
        except LifespanUnsupported:
            self._log_unsupported()

    async def __aenter__(self) -> LifespanManager:
        with self._named():
            return await super().__aenter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._named():
            await super().__aexit__(exc_type, exc, traceback)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except LifespanError as error:
            error.args = (f"{self.name}: {error}",)
            raise


class _Prefixed(_LoggerAdapter):
    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        prefix = str(self.extra["prefix"] if self.extra else "").replace("%", "%%")
        return f"{prefix}: {msg}", kwargs


@protected
class _AtOnce:
    """An application that only runs the lifespans of other applications, concurrently."""

    def __init__(self, parts: list[_Part], whole: _Whole | None) -> None:
        self.manager = LifespanManager(
            self._lifespan, mode="on", startup_timeout=None, shutdown_timeout=None
        )
        self.manager._whole = whole
        self.manager._acts_on_crash = False
        self._parts = parts

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        self._exit: BaseException | None = None
        self._stop = Event()
        async with create_task_group() as self._serving:
            started = []
            for part in self._parts:
                part._whole = current_lifespan()
                started.append(Event())
                self._serving.start_soon(self._serve, part, started[-1])
            for event in started:
                await event.wait()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            self._stop.set()
        if self._exit is not None:
            raise self._exit
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, part: _Part, started: Event) -> None:
        try:
            async with part:
                started.set()
                await self._stop.wait()
        except LifespanUnsupported:
            part._log_unsupported()
            started.set()
        except BaseException as exc:
            if not contains(exc):
                raise
            # If the task raised this exception, asyncio would stop the event loop.
            self._exit = exc
            self._serving.cancel_scope.cancel()


class _State:
    """The state that several lifespans share. Each key belongs to one of the lifespans."""

    def __init__(self, whole: MutableMapping[str, Any]) -> None:
        self.whole: Any = whole
        self._owners: dict[str, str] = {}

    def add(self, part: Mapping[str, Any] | None, owner: str) -> None:
        if not isinstance(part, (Mapping, type(None))):
            raise TypeError(
                f"the lifespan {owner} must yield a mapping for the state, or None, got "
                f"{type(part).__name__}: {part!r}"
            )
        for key, value in (part or {}).items():
            if key in self._owners:
                raise self._clash(key, owner)
            self._owners[key] = owner
            self.whole[key] = value

    @contextmanager
    def watched(self, owner: str) -> Iterator[None]:
        """After the block, raise an error if the application has changed another lifespan's key."""
        before = {key: self.whole[key] for key in self._owners}
        yield
        for key, value in before.items():
            if key not in self.whole or self.whole[key] is not value:
                raise self._clash(key, owner)

    def _clash(self, key: str, owner: str) -> RuntimeError:
        return RuntimeError(
            f"two lifespans set state[{key!r}]: that of {self._owners[key]}, and then that of "
            f"{owner}; requests have one state for both, so give one of the keys another name"
        )


def _check_lifespan(lifespan: object) -> None:
    hint = "a function of the application that returns an async context manager"
    if not callable(lifespan):
        raise TypeError(f"a lifespan must be {hint}, got {type(lifespan).__name__}: {lifespan!r}")
    try:
        with suppress(ValueError):  # what is written in C has no signature
            inspect.signature(lifespan).bind(None)
    except TypeError as exc:
        raise TypeError(
            f"a lifespan must be {hint}, but {name_of(lifespan)} cannot be called with the "
            f"application alone ({exc}); the lifespans of applications are had by lifespan_of()"
        ) from exc
    if inspect.isasyncgenfunction(lifespan) or inspect.iscoroutinefunction(lifespan):
        raise TypeError(
            f"a lifespan must be {hint}: decorate {name_of(lifespan)} with "
            "@contextlib.asynccontextmanager"
        )


def _checked(
    lifespan: Lifespan, returned: object
) -> AbstractAsyncContextManager[Mapping[str, Any] | None]:
    if isinstance(returned, AbstractAsyncContextManager):
        return returned
    raise TypeError(
        f"the lifespan {name_of(lifespan)} must return an async context manager, got "
        f"{type(returned).__name__}; decorate it with @contextlib.asynccontextmanager"
    )
