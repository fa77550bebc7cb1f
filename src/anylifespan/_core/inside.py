"""Find an application inside middleware that never passes on the lifespan.

Middleware that reads ``scope["path"]`` raises an exception for a lifespan scope, and middleware
that passes on only requests returns. In both cases, the middleware looks like an application
without a lifespan, so the framework inside the middleware is never started.
"""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

from .attempt import attempt

# Attributes in which middleware keeps the application that it wraps.
_WRAPPED = ("app", "_app", "asgi_app", "application", "asgi", "inner", "wrapped", "__wrapped__")
# Attributes in which Litestar, Quart, and this library's with_lifespan() keep the functions that
# they run at startup and shutdown.
_TO_RUN = (
    "on_startup",
    "on_shutdown",
    "_lifespan_managers",
    "before_serving_funcs",
    "after_serving_funcs",
    "while_serving_gens",
    "_lifespans",
)


def swallowed_by(app: object) -> object:
    """Return an application that has a lifespan and is wrapped by this application, or None.

    :param app: an application that appears to have no lifespan
    """
    seen = {id(app)}
    layers = [app]
    nothing: list[object] = []
    for layer in layers:
        for one in attempt(partial(_inside, layer), nothing):
            if id(one) not in seen:
                seen.add(id(one))
                layers.append(one)
                if attempt(partial(_has_lifespan, one), False):
                    return one
    return None


def _inside(app: Any) -> list[object]:
    """Return the callables that an application wraps in its attributes, closure or method."""
    wrapped = [_attribute(app, name) for name in _WRAPPED]
    if inspect.isfunction(app):
        wrapped += [cell.cell_contents for cell in app.__closure__ or ()]
    if inspect.ismethod(app):
        wrapped += [app.__self__, app.__func__]
    return [one for one in wrapped if callable(one)]


def _has_lifespan(app: Any) -> bool:
    router = _attribute(app, "router")
    if router is not None and hasattr(type(router), "lifespan"):  # Starlette and FastAPI
        default = type(router.lifespan_context).__name__ == "_DefaultLifespan"
        return not default or _is_to_run_something(router)
    return _is_to_run_something(app)


def _is_to_run_something(app: Any) -> bool:
    lists = (_attribute(app, name) for name in _TO_RUN)
    return any(isinstance(one, (list, tuple)) and len(one) > 0 for one in lists)


def _attribute(app: Any, name: str) -> Any:
    # Mocks create attributes when code accesses them.
    there = inspect.getattr_static(app, name, None) is not None
    return getattr(app, name) if there else None
