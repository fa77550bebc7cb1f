"""Call the application for requests, with its lifespan's state and context variables."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Sequence, Set
from contextvars import Context, ContextVar, copy_context
from typing import Any

from .application import ASGI3App, Receive, Scope, Send, is_async_def

_UNSET = object()
_NOT_FOR_REQUESTS = ("current_async_library_cvar", "decimal_context")


class Variables:
    """The context variables that requests receive from the startup, each with its value.

    :ivar given: variables that the application set. Every request receives them
    :ivar lent: variables that were set before the application started, and still have the same
        value. Requests in which such a variable has no value receive it, because the application
        may have set it to the same value
    """

    __slots__ = ("given", "lent")

    def __init__(self) -> None:
        self.given: list[tuple[ContextVar[Any], Any]] = []
        self.lent: list[tuple[ContextVar[Any], Any]] = []

    def missing(self) -> list[tuple[ContextVar[Any], Any]]:
        """Return the variables to set for a request in the current context."""
        return self.given + [one for one in self.lent if one[0].get(_UNSET) is _UNSET]


def changed_since(before: Context) -> set[ContextVar[Any]]:
    """Return the context variables whose values differ from those in an earlier context."""
    return {
        variable
        for variable, value in copy_context().items()
        if before.get(variable, _UNSET) is not value
    }


def variables_of(
    startup: Context,
    *,
    before: Context,
    without: Set[ContextVar[Any]] = frozenset(),
    into: Variables,
) -> None:
    """Collect the context variables that requests receive from a startup.

    Two variables are left out. One is ``decimal``'s context: any arithmetic sets it, and requests
    should not share a precision. The other one belongs to the event loop.

    :param before: the context before the startup
    :param without: variables that are meant for the startup alone
    :param into: the variables are added to this object
    """
    for variable, value in startup.items():
        if variable.name not in _NOT_FOR_REQUESTS and variable not in without:
            found = before.get(variable, _UNSET) is value
            (into.lent if found else into.given).append((variable, value))


def request_app(app: ASGI3App, state: dict[str, Any], variables: Variables) -> ASGI3App:
    """Return an application that a server can call for requests.

    Every ``http`` and ``websocket`` scope receives a shallow copy of the state, as the lifespan
    specification requires ("Lifespan State"). Keys that are already in the scope's state are kept:
    an outer middleware has set them for this request. During the request, the startup's context
    variables are set in the calling task's context. They are reset afterwards. To run the request
    in a separate context, a coroutine would have to step through the application.
    """

    given, lent = variables.given, variables.lent

    def app_with_lifespan(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] in ("http", "websocket"):
            if scope.get("state"):
                scope["state"] = {**state, **scope["state"]}
            else:
                scope["state"] = state.copy()
            if given or lent:
                return _run_with(variables.missing(), app, scope, receive, send)
        return app(scope, receive, send)

    if sys.version_info >= (3, 12) and is_async_def(app):
        # Servers and frameworks check whether an application is a coroutine function. A function
        # that can be marked as one does not have to be wrapped in another coroutine.
        return inspect.markcoroutinefunction(app_with_lifespan)

    async def coroutine_function(scope: Scope, receive: Receive, send: Send) -> Any:
        return await app_with_lifespan(scope, receive, send)

    return coroutine_function


async def _run_with(
    variables: Sequence[tuple[ContextVar[Any], Any]],
    app: ASGI3App,
    scope: Scope,
    receive: Receive,
    send: Send,
) -> Any:
    tokens = [variable.set(value) for variable, value in variables]
    try:
        # Pass on the returned value, since a server may complain about it.
        return await app(scope, receive, send)
    finally:
        try:
            for token in reversed(tokens):
                token.var.reset(token)
        except ValueError:
            # An unfinished request that is closed, for example by the garbage collector, is closed
            # in another context. The tokens are not valid there, and the request's own context is
            # gone.
            pass
