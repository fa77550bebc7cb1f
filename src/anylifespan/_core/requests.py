"""The application as requests see it: with the state and the context variables of its lifespan."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Sequence
from contextvars import Context, ContextVar
from typing import Any

from .application import ASGI3App, Receive, Scope, Send, is_async_def

Variables = Sequence[tuple[ContextVar[Any], Any]]
_UNSET = object()


def variables_set(before: Context, after: Context) -> Variables:
    """The context variables that were set between two moments, with their values.

    Not that in which ``decimal`` keeps its context: any arithmetic sets it, and one precision is
    not meant for all requests.
    """
    return tuple(
        [
            (variable, value)
            for variable, value in after.items()
            if before.get(variable, _UNSET) is not value and variable.name != "decimal_context"
        ]
    )


def request_app(app: ASGI3App, state: dict[str, Any], variables: Variables) -> ASGI3App:
    """The application as a server calls it for each request.

    Every ``http`` and ``websocket`` scope gets a shallow copy of the state, as the lifespan
    specification asks ("Lifespan State"), but for what is in the scope's state already: a
    middleware further out has put it there, for this request. And the request runs with the
    variables set. They are set in the context of the calling task, and taken back in the end,
    rather than in a context of the request's own: that would take a coroutine which steps through
    the application.
    """

    def app_with_lifespan(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] in ("http", "websocket"):
            if scope.get("state"):
                scope["state"] = {**state, **scope["state"]}
            else:
                scope["state"] = state.copy()
            if variables:
                return _run_with(variables, app, scope, receive, send)
        return app(scope, receive, send)

    if sys.version_info >= (3, 12) and is_async_def(app):
        # It need not be wrapped in another coroutine, if servers and frameworks, which look whether
        # an application is a coroutine function, can be told that this is as good as one.
        return inspect.markcoroutinefunction(app_with_lifespan)

    async def coroutine_function(scope: Scope, receive: Receive, send: Send) -> None:
        await app_with_lifespan(scope, receive, send)

    return coroutine_function


async def _run_with(
    variables: Variables, app: ASGI3App, scope: Scope, receive: Receive, send: Send
) -> None:
    tokens = [variable.set(value) for variable, value in variables]
    try:
        await app(scope, receive, send)
    finally:
        try:
            for token in reversed(tokens):
                token.var.reset(token)
        except ValueError:
            # A request that is closed unfinished, by the garbage collector say, is closed in
            # another context, where the tokens are not valid; its own context is gone then.
            pass
