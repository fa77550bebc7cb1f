"""One manager that drives an ASGI application's lifespan, identically on asyncio and trio."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._core.manager import LifespanManager as LifespanManager
    from ._core.protocol import Phase as Phase
    from ._stop.draining import Draining as Draining
    from ._stop.draining import draining as draining
    from .compose import combine as combine
    from .compose import lifespan_of as lifespan_of
    from .compose import with_lifespan as with_lifespan
    from .errors import LifespanCrashed as LifespanCrashed
    from .errors import LifespanError as LifespanError
    from .errors import LifespanProtocolError as LifespanProtocolError
    from .errors import LifespanUnsupported as LifespanUnsupported
    from .errors import ShutdownFailed as ShutdownFailed
    from .errors import ShutdownTimeout as ShutdownTimeout
    from .errors import StartupFailed as StartupFailed
    from .errors import StartupTimeout as StartupTimeout
    from .middleware import LifespanMiddleware as LifespanMiddleware

__all__ = [
    "Draining",
    "LifespanCrashed",
    "LifespanError",
    "LifespanManager",
    "LifespanMiddleware",
    "LifespanProtocolError",
    "LifespanUnsupported",
    "Phase",
    "ShutdownFailed",
    "ShutdownTimeout",
    "StartupFailed",
    "StartupTimeout",
    "combine",
    "draining",
    "lifespan_of",
    "with_lifespan",
]

__version__ = "0.1.0"

# These names are imported on first use. pytest imports this package for its plugin wherever the
# package is installed, and commands should start quickly.
_MODULES = {
    "Draining": "._stop.draining",
    "LifespanCrashed": ".errors",
    "LifespanError": ".errors",
    "LifespanManager": "._core.manager",
    "LifespanMiddleware": ".middleware",
    "LifespanProtocolError": ".errors",
    "LifespanUnsupported": ".errors",
    "Phase": "._core.protocol",
    "ShutdownFailed": ".errors",
    "ShutdownTimeout": ".errors",
    "StartupFailed": ".errors",
    "StartupTimeout": ".errors",
    "combine": ".compose",
    "draining": "._stop.draining",
    "lifespan_of": ".compose",
    "with_lifespan": ".compose",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_MODULES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
