"""Django with a lifespan, which it does not have of its own (ticket 31508)::

    anylifespan check examples.django_with_lifespan:app
    daphne examples.django_with_lifespan:app

Under Daphne, which sends no lifespan either, the first request starts it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from anylifespan import LifespanMiddleware, with_lifespan

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost", "test"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="for this example alone",  # noqa: S106
)
django.setup()

# Views are not given the scope, so they find the resources of the lifespan in a context variable.
prices: ContextVar[dict[str, int]] = ContextVar("prices")


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    prices.set({"tea": 3, "coffee": 4})  # a connection pool, in earnest
    yield
    prices.get().clear()


def price(request: HttpRequest, drink: str) -> JsonResponse:
    return JsonResponse({"price": prices.get()[drink]})


urlpatterns = [path("prices/<str:drink>", price)]

app = LifespanMiddleware(with_lifespan(get_asgi_application(), lifespan))
