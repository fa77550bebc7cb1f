"""One request through ``manager.app``, against wrappers that one would write by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from typing import Any

import asgi_lifespan
from interleaved import Contestants, Values, seconds_in_rounds

from anylifespan import LifespanManager

App = Callable[[Any, Any, Any], Awaitable[None]]

VARIABLES = [ContextVar[int](f"variable_{number}") for number in range(10)]


def app_that_sets(count: int) -> App:
    """An application that sets so many context variables in its startup."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            scope["state"].update(database="one", cache="another")
            for variable in VARIABLES[:count]:
                variable.set(count)
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})

    return app


def by_hand(app: App, state: dict[str, Any]) -> App:
    async def with_state(scope: Any, receive: Any, send: Any) -> None:
        scope["state"] = state.copy()
        await app(scope, receive, send)

    return with_state


def by_hand_with(count: int, app: App, state: dict[str, Any]) -> App:
    async def with_state_and_variables(scope: Any, receive: Any, send: Any) -> None:
        scope["state"] = state.copy()
        tokens = [variable.set(count) for variable in VARIABLES[:count]]
        try:
            await app(scope, receive, send)
        finally:
            for token in reversed(tokens):
                token.var.reset(token)

    return with_state_and_variables


async def measure(backend: str, *, quick: bool) -> dict[str, Values]:
    """Seconds for one request."""
    rounds, calls = (3, 10) if quick else (300, 300)
    managers = {count: LifespanManager(app_that_sets(count)) for count in (0, 1, 10)}
    for manager in managers.values():
        await manager.startup()
    state = managers[0].state
    async with asgi_lifespan.LifespanManager(app_that_sets(0)) as peer:
        apps = {
            "by hand": by_hand(app_that_sets(0), state),
            "by hand, 1 variable": by_hand_with(1, app_that_sets(0), state),
            "by hand, 10 variables": by_hand_with(10, app_that_sets(0), state),
            "manager.app": managers[0].app,
            "manager.app, 1 variable": managers[1].app,
            "manager.app, 10 variables": managers[10].app,
            "asgi-lifespan": peer.app,  # which gives all requests one state
            "the application alone": app_that_sets(0),
        }
        contestants: Contestants = {name: partial(_request, app) for name, app in apps.items()}
        values = await seconds_in_rounds(contestants, rounds=rounds, calls=calls)
    for manager in managers.values():
        await manager.shutdown()
    return {"a request": values}


def _request(app: App) -> Awaitable[None]:
    return app({"type": "http"}, None, None)
