"""Hooks for events in all lifespans of the process: traces, metrics and structured logs.

::

    from anylifespan.instrumentation import set_hooks
    from anylifespan.instrumentation.opentelemetry import OpenTelemetryHook

    set_hooks([OpenTelemetryHook()])

A hook is any callable that takes :class:`LifespanDetails`. Each module in this package needs the
tool that it is named after. Nothing else in this library needs these tools.
"""

from __future__ import annotations

from .._core.hooks import Hook, LifespanDetails, get_hooks, set_hooks

__all__ = ["Hook", "LifespanDetails", "get_hooks", "set_hooks"]
