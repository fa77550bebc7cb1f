"""One manager that drives an ASGI application's lifespan, identically on asyncio and trio."""

from __future__ import annotations

from ._manager import LifespanManager as LifespanManager
from ._protocol import Phase as Phase
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

__version__ = "0.1.0"
