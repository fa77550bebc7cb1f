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

from anyio import create_task_group

from ._core.application import ASGI3App, ASGIApp, Receive, Scope, Send, as_asgi3, name_of
from ._core.exceptions import in_full
from ._core.manager import LifespanManager
from ._core.options import check_seconds
from ._core.requests import request_app, variables_set
from .errors import LifespanError

if TYPE_CHECKING:
    _LoggerAdapter = logging.LoggerAdapter[logging.Logger]
else:
    _LoggerAdapter = logging.LoggerAdapter  # generic from Python 3.11 on

Lifespan = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]


def with_lifespan(
    app: ASGIApp, *lifespans: Lifespan, shutdown_timeout: float | None = 30.0
) -> ASGI3App:
    """An application with these lifespans, beside its own if it has one::

        app = with_lifespan(get_asgi_application(), lifespan)

    They are entered one after the other, then the application's own is started; in the end they are
    left the other way round. What they yield is in the state from then on, and the context
    variables that they set are seen by requests. The limit of the startup is kept by whoever drives
    it all.

    :param app: an ASGI application; one that refuses the lifespan protocol (Django) will do, as
        will one of WSGI that was wrapped
    :param lifespans: functions as ``Starlette(lifespan=...)`` takes them; called with ``app``
    :param shutdown_timeout: seconds the application's own shutdown may take, which nobody further
        out can cut short; None for no limit
    :raises TypeError: if one of them is none
    :raises RuntimeError: in the startup, if two of them set the same key of the state
    """
    as_asgi3(app)
    for lifespan in lifespans:
        _check_lifespan(lifespan)
    return _WithLifespan(app, lifespans, check_seconds("shutdown_timeout", shutdown_timeout))


def lifespan_of(
    *apps: ASGIApp, concurrent: bool = False, shutdown_timeout: float | None = 30.0
) -> Callable[[Any], AbstractAsyncContextManager[Any]]:
    """The lifespans of these applications, as one to be given to another::

        app = FastAPI(lifespan=lifespan_of(reports))
        app.mount("/reports", reports)

    They start one after the other and stop the other way round. If one does not start, those that
    have been started are shut down; if one crashes, so does the whole. The errors name the
    application. What they put into their states is yielded. The limit of the startup is kept by
    whoever drives it all.

    :param apps: ASGI applications; those that have no lifespan are passed over
    :param concurrent: start all at once, and stop all at once
    :param shutdown_timeout: seconds the shutdown of each may take, which nobody further out can cut
        short; None for no limit
    :raises TypeError: if one of them cannot be an ASGI application
    :raises RuntimeError: when entered, if two of them set the same key of their states
    """
    for app in apps:
        as_asgi3(app)
    seconds = check_seconds("shutdown_timeout", shutdown_timeout)

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[Any]:
        count = len(apps)
        managers = [
            _SubManager(app, {}, seconds, f" (application {number} of {count})" * (count > 1))
            for number, app in enumerate(apps, 1)
        ]
        async with AsyncExitStack() as stack:
            if concurrent:
                at_once = LifespanManager(
                    _AtOnce(managers), mode="on", startup_timeout=None, shutdown_timeout=None
                )
                await stack.enter_async_context(at_once)
            else:
                for manager in managers:
                    await stack.enter_async_context(manager)
            state = _State({})
            for manager in managers:
                state.add(manager.state, manager.name)
            # Starlette complains of any mapping where the server knows no state.
            yield state.whole or None

    return lifespan


def combine(
    main: ASGIApp,
    *others: ASGIApp,
    concurrent: bool = False,
    shutdown_timeout: float | None = 30.0,
) -> ASGI3App:
    """An application that serves as ``main`` does, and runs the lifespans of all.

    The others are started before it and shut down after it, so that its startup finds their state.

    :param main: the ASGI application for the requests
    :param others: ASGI applications of which the lifespans are wanted
    :param concurrent: start the others all at once, and stop them all at once
    :param shutdown_timeout: seconds the shutdown of each may take; None for no limit
    :raises TypeError: if one of them cannot be an ASGI application
    :raises RuntimeError: in the startup, if two of them set the same key of the state
    """
    lifespan = lifespan_of(*others, concurrent=concurrent, shutdown_timeout=shutdown_timeout)
    return with_lifespan(main, lifespan, shutdown_timeout=shutdown_timeout)


class _WithLifespan:
    def __init__(
        self, app: ASGIApp, lifespans: tuple[Lifespan, ...], shutdown_timeout: float
    ) -> None:
        self._app = app
        self._shutdown_timeout = shutdown_timeout
        self._lifespans = lifespans
        self._request_app, _ = as_asgi3(app)

    def __repr__(self) -> str:
        return f"<{self._app!r} with {len(self._lifespans)} lifespans>"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            await self._request_app(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        phase = "startup"
        swallowed: list[BaseException] = []
        try:
            async with AsyncExitStack() as stack:
                stack.push(partial(_raise_first, swallowed))
                await self._start(stack, scope.setdefault("state", {}), swallowed)
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
        swallowed: list[BaseException],
    ) -> None:
        before = copy_context()
        state = _State(scope_state)
        for lifespan in self._lifespans:
            context_manager = _Unswallowing(_checked(lifespan, lifespan(self._app)), swallowed)
            state.add(await stack.enter_async_context(context_manager), name_of(lifespan))
        manager = _SubManager(self._app, state.whole, self._shutdown_timeout)
        with state.watched(manager.name):
            await stack.enter_async_context(manager)
        variables = variables_set(before, copy_context())
        # The manager's gives requests the state, and the application's own variables.
        self._request_app = (
            request_app(manager.app, state.whole, variables) if variables else manager.app
        )


class _Unswallowing:
    """A lifespan that may swallow an exception, as context managers do; yet nothing serves then.

    :param swallowed: where to put the exception
    """

    def __init__(
        self,
        lifespan: AbstractAsyncContextManager[Mapping[str, Any] | None],
        swallowed: list[BaseException],
    ) -> None:
        self._lifespan = lifespan
        self._swallowed = swallowed

    async def __aenter__(self) -> Mapping[str, Any] | None:
        return await self._lifespan.__aenter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        handled = await self._lifespan.__aexit__(exc_type, exc, traceback)
        if handled and exc is not None:
            self._swallowed.append(exc)
        return handled


def _raise_first(swallowed: list[BaseException], *exc_info: object) -> None:
    if swallowed:
        raise swallowed[0]


class _SubManager(LifespanManager):
    """Drives one of several lifespans; its errors and its log lines say which."""

    def __init__(
        self, app: ASGIApp, state: dict[str, Any], shutdown_timeout: float, which: str = ""
    ) -> None:
        title = getattr(app, "title", None)  # FastAPI's
        self.name = f"{name_of(app)}{f' {title!r}' if isinstance(title, str) else ''}{which}"
        logger: Any = _Prefixed(logging.getLogger("anylifespan"), {"prefix": self.name})
        super().__init__(
            app,
            state=state,
            startup_timeout=None,
            shutdown_timeout=shutdown_timeout,
            logger=logger,
        )

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


class _AtOnce:
    """An application that is nothing but the lifespans of others, side by side."""

    def __init__(self, managers: list[_SubManager]) -> None:
        self._managers = managers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        async with create_task_group() as serving:
            async with create_task_group() as starting:
                for manager in self._managers:
                    starting.start_soon(serving.start, manager.serve)
            await send({"type": "lifespan.startup.complete"})
            await receive()
            for manager in self._managers:
                manager.request_shutdown()
        await send({"type": "lifespan.shutdown.complete"})


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
