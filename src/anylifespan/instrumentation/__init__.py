"""Hooks for the events of all lifespans in the process: traces, metrics and structured logs.

::

    from anylifespan.instrumentation import set_hooks
    from anylifespan.instrumentation.opentelemetry import OpenTelemetryHook

    set_hooks([OpenTelemetryHook()])

A hook is any callable that takes :class:`LifespanDetails`. Each module in this package needs the
library that the module is named after. Nothing else in anylifespan needs these libraries.
"""

from __future__ import annotations

from .._core.hooks import Hook, LifespanDetails, get_hooks, set_hooks

__all__ = ["Hook", "LifespanDetails", "get_hooks", "set_hooks"]
