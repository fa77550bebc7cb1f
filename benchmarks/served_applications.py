"""What Uvicorn serves for served.py: one Starlette application, alone and with the middleware."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from anylifespan import LifespanMiddleware


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("Hello, world!")


def _starlette() -> Starlette:
    return Starlette(routes=[Route("/", hello)])


alone = _starlette()
with_middleware = LifespanMiddleware(_starlette())
with_drain = LifespanMiddleware(_starlette(), drain_timeout=10)
