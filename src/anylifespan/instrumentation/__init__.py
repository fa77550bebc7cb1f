"""Hooks for what happens to every lifespan of the process: traces, metrics and structured logs.

::

    from anylifespan.instrumentation import set_hooks
    from anylifespan.instrumentation.opentelemetry import OpenTelemetryHook

    set_hooks([OpenTelemetryHook()])

A hook is any callable that takes :class:`LifespanDetails`. Each module of this package needs the
tool that it is named after, and nothing else does.
"""

from __future__ import annotations

from .._core.hooks import Hook, LifespanDetails, get_hooks, set_hooks

__all__ = ["Hook", "LifespanDetails", "get_hooks", "set_hooks"]
