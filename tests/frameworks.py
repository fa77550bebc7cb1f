"""Applications of the frameworks there are, each with a given lifespan.

``lifespan`` is what Starlette and FastAPI call one: ``(app) -> async context manager``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import cache
from typing import Any

from blacksheep import Application, Router
from blacksheep.server.application import ApplicationEvent
from django.conf import settings
from django.core.asgi import get_asgi_application
from fastapi import FastAPI
from litestar import Litestar
from quart import Quart
from quart_trio import QuartTrio
from starlette.applications import Starlette

Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]


def starlette(lifespan: Lifespan) -> Any:
    return Starlette(lifespan=lifespan)


def fastapi(lifespan: Lifespan) -> Any:
    return FastAPI(lifespan=lifespan)


def litestar(lifespan: Lifespan) -> Any:
    return Litestar(lifespan=[lifespan], openapi_config=None, logging_config=None)


def quart(lifespan: Lifespan) -> Any:
    return _while_serving(Quart("catalogue"), lifespan)


def quart_trio(lifespan: Lifespan) -> Any:
    return _while_serving(QuartTrio("catalogue"), lifespan)


def quart_trio_with_a_task(task: Callable[[], Any]) -> Any:
    """In the nursery that Quart-Trio opens around the lifespan."""
    app = QuartTrio("catalogue")

    @app.before_serving
    async def start_task() -> None:
        app.nursery.start_soon(task)

    return app


def blacksheep(lifespan: Lifespan) -> Any:
    app = _blacksheep_app()
    app.on_start, app.on_stop = ApplicationEvent(app), ApplicationEvent(app)
    app.started = False

    @app.lifespan
    async def context() -> AsyncIterator[None]:
        async with lifespan(app):
            yield

    return app


@cache
def _blacksheep_app() -> Application:
    """One for all: BlackSheep keeps each that is ever made, and searches the call stack for it."""
    return Application(router=Router())


def django() -> Any:
    """Django has no lifespan."""
    if not settings.configured:
        settings.configure(ROOT_URLCONF=(), ALLOWED_HOSTS=["test"], LOGGING_CONFIG=None)
    return get_asgi_application()


def _while_serving(app: Quart, lifespan: Lifespan) -> Quart:
    @app.while_serving
    async def context() -> AsyncIterator[None]:
        async with lifespan(app):
            yield

    return app
