"""The application as requests see it: with the state and the context variables of its lifespan."""

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
    """The context variables that requests get from the startup, each with its value.

    :ivar given: those that the application set: every request gets them
    :ivar lent: those that were set before it started, and have the same value still. Requests that
        have no value get this one, because the application may have set it again.
    """

    __slots__ = ("given", "lent")

    def __init__(self) -> None:
        self.given: list[tuple[ContextVar[Any], Any]] = []
        self.lent: list[tuple[ContextVar[Any], Any]] = []

    def missing(self) -> list[tuple[ContextVar[Any], Any]]:
        """Those to be set now, for a request."""
        return self.given + [one for one in self.lent if one[0].get(_UNSET) is _UNSET]


def changed_since(before: Context) -> set[ContextVar[Any]]:
    """The context variables that have got another value."""
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
    """Find out what requests get from a startup.

    Not the variable in which ``decimal`` keeps its context: any arithmetic sets it, and one
    precision is not meant for all requests. And not what belongs to the event loop.

    :param before: the context as the startup found it
    :param without: what it found there that is meant for the startup alone
    """
    for variable, value in startup.items():
        if variable.name not in _NOT_FOR_REQUESTS and variable not in without:
            found = before.get(variable, _UNSET) is value
            (into.lent if found else into.given).append((variable, value))


def request_app(app: ASGI3App, state: dict[str, Any], variables: Variables) -> ASGI3App:
    """The application as a server calls it for each request.

    Every ``http`` and ``websocket`` scope gets a shallow copy of the state, as the lifespan
    specification asks ("Lifespan State"), but for what is in the scope's state already: a
    middleware further out has put it there, for this request. And the request runs with the
    variables set. They are set in the context of the calling task, and taken back in the end,
    rather than in a context of the request's own: that would take a coroutine which steps through
    the application.
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
        # It need not be wrapped in another coroutine, if servers and frameworks, which look whether
        # an application is a coroutine function, can be told that this is as good as one.
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
        # A server may complain of an application that returns something.
        return await app(scope, receive, send)
    finally:
        try:
            for token in reversed(tokens):
                token.var.reset(token)
        except ValueError:
            # A request that is closed unfinished, by the garbage collector say, is closed in
            # another context, where the tokens are not valid; its own context is gone then.
            pass
