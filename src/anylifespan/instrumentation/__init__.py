"""Hooks for what happens to every lifespan of the process: traces, metrics and structured logs.

::

    from anylifespan.instrumentation import set_hooks
    from anylifespan.instrumentation.opentelemetry import OpenTelemetryHook

    set_hooks([OpenTelemetryHook()])

A hook is any callable that takes :class:`LifespanDetails`. Without hooks a lifespan costs what it
costs anyway, and each of the modules beside this one needs what it is named after, and nothing else
does.
"""

from __future__ import annotations

from .._core.hooks import Hook, LifespanDetails, get_hooks, set_hooks

__all__ = ["Hook", "LifespanDetails", "get_hooks", "set_hooks"]
