"""The bookshop on Ray Serve, which replaces a replica whose lifespan has crashed::

    serve run examples.ray_serve:app

Ray asks each replica for its health, and stops one that is unhealthy, once it has started another
in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray import serve

from anylifespan import LifespanMiddleware


class Replica:
    """One of any ASGI application.

    :param build: makes the application
    :param options: those of the middleware
    """

    def __init__(self, build: Callable[[], Any], **options: Any) -> None:
        self.build = build
        self.options = options

    def __serve_build_asgi_app__(self) -> LifespanMiddleware:
        # A crash is for Ray to answer: the replica is not to stop itself.
        self.middleware = LifespanMiddleware(self.build(), on_crash="log", **self.options)
        return self.middleware

    async def check_health(self) -> None:
        if self.middleware.crash is not None:
            raise self.middleware.crash


WithLifespan = serve.deployment(serve.ingress()(Replica), num_replicas=2, health_check_period_s=2)


def bookshop() -> Any:
    from examples.bookshop import app

    return app


app = WithLifespan.bind(bookshop, startup_timeout=20)
