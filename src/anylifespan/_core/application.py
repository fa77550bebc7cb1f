"""Check ASGI applications as early as possible, and adapt them to ASGI 3."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from .attempt import attempt

# These are Any rather than dicts: frameworks annotate their applications with their own TypedDicts,
# and a type checker would reject such an application if a scope had to be a dict[str, Any].
Scope = Any
Receive = Any
Send = Any
ASGI3App = Callable[[Scope, Receive, Send], Awaitable[None]]
ASGI2App = Callable[[Scope], Callable[[Receive, Send], Awaitable[None]]]
ASGIApp = ASGI3App | ASGI2App


def as_asgi3(app: ASGIApp) -> tuple[ASGI3App, str]:
    """Return an application as a single callable, and the ASGI version for which it was written.

    :raises TypeError: if the object is not an ASGI application
    """
    checked: Any = app
    if not callable(app):
        raise TypeError(_why_not_callable(app))
    if _is_double_callable(checked):
        return _single_callable(checked), "2.0"
    return checked, "3.0"


def is_async_def(app: Any) -> bool:
    """Return whether an application, or its ``__call__()``, is an ``async def`` function.

    The application may also be a bound ``async def`` method.
    """
    function = _function(app)
    return inspect.isfunction(function) and bool(function.__code__.co_flags & inspect.CO_COROUTINE)


class NotAwaitableError(TypeError):
    """Raised if an application returns something that cannot be awaited.

    If the application is a function without ``async``, only a call can reveal this.
    """


def _is_double_callable(app: Any) -> bool:
    # asgiref marks callables whose signature does not show their ASGI version.
    if getattr(app, "_asgi_single_callable", False):
        return False
    if getattr(app, "_asgi_double_callable", False):
        return True
    if _is_plainly_asgi3(app):
        return False
    try:
        signature = inspect.signature(app)
    except (TypeError, ValueError):  # written in C, or a mock: all that can be done is to call it
        return False
    if _takes(signature, 3) and (not inspect.isclass(app) or hasattr(app, "__await__")):
        return False
    if inspect.isclass(app):
        # The instance is called next, so its method takes self, receive and send.
        methods = (vars(base).get("__call__") for base in app.__mro__)
        method = next(filter(callable, methods), None)
        double = method is not None and _takes(inspect.signature(method), 3)
    else:
        # A callable that can also be called without arguments is a factory with options.
        double = not inspect.iscoroutinefunction(app) and not _takes(signature, 0)
    if _is_lifespan_function(app):
        raise TypeError(
            f"{name_of(app)} is a lifespan, not an ASGI application: give it to its application, "
            "as FastAPI(lifespan=...), or to with_lifespan(app, ...); lifespan_of(..., "
            "lifespan=...) takes it beside the lifespans of other applications"
        )
    if double and _takes(signature, 1):
        return True
    raise TypeError(
        f"{name_of(app)} is not an ASGI application: expected a callable that takes (scope, "
        f"receive, send) and can be awaited, got {signature}{_hint(app, signature)}"
    )


def _is_plainly_asgi3(app: Any) -> bool:
    """Return whether an application is clearly a coroutine function with three parameters.

    This check is fast, and most applications pass it. Inspecting the signature takes longer than
    all other steps of creating a manager.
    """
    function = _function(app)
    return (
        (is_async_def(app) or _is_marked(function))
        and function.__code__.co_argcount == (3 if function is app else 4)
        and not function.__code__.co_flags & inspect.CO_VARARGS
        and not function.__code__.co_kwonlyargcount
    )


def _is_marked(function: object) -> bool:
    return inspect.isfunction(function) and inspect.iscoroutinefunction(function)


def _is_lifespan_function(app: Any) -> bool:
    """Return whether an object looks like a Starlette lifespan function, or its return value."""
    if isinstance(app, AbstractAsyncContextManager):
        return True
    function = inspect.unwrap(app.func if isinstance(app, partial) else app)
    return inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function)


def _function(app: Any) -> Any:
    if inspect.isfunction(app):
        return app
    return app.__func__ if inspect.ismethod(app) else type(app).__call__


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _hint(app: Any, signature: inspect.Signature) -> str:
    if inspect.isclass(app):
        return "; if its instances are applications, pass an instance"
    if _takes(signature, 2):
        return "; a WSGI application must be wrapped first, for example with a2wsgi"
    if _takes(signature, 0):
        return "; if it is a factory, call it and pass the result"
    return ""


def wrapped_last(wrapper: object, name: str, app: object) -> AttributeError:
    """Return the error to raise when an attribute is not found on a wrapper.

    If the wrapped application has the attribute, the error message says so.
    """
    text = f"{type(wrapper).__name__} has no attribute {name!r}"
    if hasattr(app, name):
        text += f"; {name_of(app)}, which it wraps, has: set that up first, and wrap it last"
    return AttributeError(text, name=name, obj=wrapper)


def _why_not_callable(app: object) -> str:
    if inspect.iscoroutine(app):
        app.close()  # the error says it all; a "was never awaited" besides would only distract
        return (
            f"app must be an ASGI application, got the coroutine {app.__qualname__}(): pass the "
            "function itself, without calling it"
        )
    hint = ""
    if isinstance(app, str):
        hint = ": import it first (the anylifespan command takes such a string)"
    return f"app must be an ASGI application, a callable, got {type(app).__name__}{hint}"


def _single_callable(app: Any) -> ASGI3App:
    async def asgi3(scope: Scope, receive: Receive, send: Send) -> None:
        instance: object = app(scope)
        if not callable(instance) or _is_asgi3(instance) or _is_lifespan_function(instance):
            if inspect.iscoroutine(instance):
                instance.close()
            raise NotAwaitableError(
                f"{name_of(app)}(scope) returned {type(instance).__name__}; expected a callable "
                "that takes (receive, send), as in ASGI 2: if it is a factory, call it and pass "
                "the result"
            )
        await awaitable(app, instance(receive, send))

    return asgi3


def _is_asgi3(instance: Any) -> bool:
    try:
        signature = inspect.signature(instance)
    except (TypeError, ValueError):
        return False
    return _takes(signature, 3) and not _takes(signature, 2)


def awaitable(app: object, returned: object) -> Awaitable[None]:
    """Return an application's return value if it can be awaited.

    :raises NotAwaitableError: if the return value cannot be awaited
    """
    if inspect.isawaitable(returned):
        return returned
    raise NotAwaitableError(
        f"{name_of(app)} returned {type(returned).__name__}, which cannot be awaited: an ASGI "
        "application is an async def, or returns an awaitable; a WSGI application must be wrapped "
        "first, for example with a2wsgi"
    )


def name_of(app: object) -> str:
    """Return an application's name for messages: the module and name of its function or class."""

    def name() -> str:
        if isinstance(app, partial):
            return name_of(app.func)
        name = getattr(app, "__qualname__", None) or type(app).__qualname__
        return f"{getattr(app, '__module__', None) or type(app).__module__}.{name}"

    return attempt(name, object.__repr__(app))
