"""Lifespans put together: given to applications that have none, and of several run as one.

A lifespan here is what Starlette and FastAPI call one: a function that is called with an
application and returns an asynchronous context manager, which yields a mapping for the state, or
None.
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
    """An application with these lifespans, beside its own if it has one::

        app = with_lifespan(get_asgi_application(), lifespan)

    They start in this order, then the application's own does; they stop in reverse. What they yield
    is in the state from then on, and requests see the context variables that they set.

    The outer manager enforces the startup timeout, and cancels the application's own shutdown when
    its time is over. A crash of the application is one of the whole at once.

    :param app: an ASGI application; one that refuses the lifespan protocol (Django) will do, as
        will one of WSGI that was wrapped
    :param lifespans: functions as ``Starlette(lifespan=...)`` takes them; called with ``app``
    :param shutdown_timeout: seconds the application's own shutdown may take at most; None for no
        limit but that of the outer manager
    :raises TypeError: if one of them is none
    :raises RuntimeError: in the startup, if two of them set the same key of the state
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
    """The lifespans of these applications, as one to be given to another::

        app = FastAPI(lifespan=lifespan_of(reports, lifespan=lifespan))
        app.mount("/reports", reports)

    They start in this order and stop in reverse. The lifespan of the application itself, if it has
    one, starts before them and stops after them. If one does not start, those that have been
    started are shut down; if one crashes, so does the whole. The errors name the application. What
    they put into their states is yielded.

    The outer manager enforces the startup timeout, and cancels the shutdown of parts when its time
    is over. If it has mode ``"on"``, an application that raises in its startup is an error.

    :param apps: ASGI applications; those that have no lifespan are passed over
    :param lifespan: the own lifespan of the application that this is given to, as
        ``Starlette(lifespan=...)`` takes it
    :param concurrent: start all at once, and stop all at once
    :param shutdown_timeout: seconds the shutdown of each may take at most; None for no limit but
        that of the outer manager
    :raises TypeError: if one of them cannot be an ASGI application
    :raises RuntimeError: when entered, if two of them set the same key of their states
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
        # Starlette complains of any mapping where the server knows no state.
        yield state.whole or None


def combine(
    main: ASGIApp,
    *others: ASGIApp,
    concurrent: bool = False,
    shutdown_timeout: float | None = DEFAULT_TIMEOUT,
) -> ASGI3App:
    """An application that serves as ``main`` does, and runs the lifespans of all.

    The same as ``with_lifespan(main, lifespan_of(*others))``: the others are started before it and
    shut down after it, so that its startup finds their state.

    :param main: the ASGI application for the requests
    :param others: ASGI applications of which the lifespans are wanted
    :param concurrent: start the others all at once, and stop them all at once
    :param shutdown_timeout: seconds the shutdown of each may take; None for no limit
    :raises TypeError: if one of them cannot be an ASGI application
    :raises RuntimeError: in the startup, if two of them set the same key of the state
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
        # Its manager gives requests the state, and the application's own variables.
        variables = Variables()
        variables_of(copy_context(), before=before, into=variables)
        return request_app(part.app, state.whole, variables) if variables.given else part.app


@protected
class _Entered:
    """A lifespan that the user wrote: Ctrl-C may interrupt how it is entered, not how it is left.

    :ivar swallowed: what it swallowed as it was left, as context managers may
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
        # Protected from Ctrl-C, or it could be left open.
        handled = await self._lifespan.__aexit__(exc_type, exc, traceback)
        if handled:
            self.swallowed = exc
        return handled


def _raise_swallowed(entered: list[_Entered], *exc_info: object) -> None:
    """A lifespan may swallow an exception, but nothing serves then: the first of them goes on."""
    for lifespan in reversed(entered):
        if lifespan.swallowed is not None:
            raise lifespan.swallowed


@protected
class _Part(LifespanManager):
    """Drives one of several lifespans; its errors and its log lines say which.

    :param whole: the lifespan that it is a part of, if that is driven by this library: a crash is
        that one's too, and so is the end of its time
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
            # What raises in its startup is an error where the whole must have a lifespan.
            mode="on" if whole is not None and whole.required else "auto",
            state=state,
            startup_timeout=None,
            shutdown_timeout=shutdown_timeout,
            logger=logger,
        )
        self._whole = whole

    async def enter(self, stack: AsyncExitStack) -> None:
        """Start it, and have the stack shut it down; without a lifespan, there is nothing to do."""
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
    """An application that is nothing but the lifespans of others, side by side."""

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
            # Out of a task, asyncio would end the event loop for it.
            self._exit = exc
            self._serving.cancel_scope.cancel()


class _State:
    """The state of several lifespans: each key belongs to one of them."""

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
        """While the application fills the state itself."""
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
