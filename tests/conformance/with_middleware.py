"""The application of the cases, under the middleware::

anylifespan conform -- env APP={app} uvicorn with_middleware:app --port {port}
"""

from __future__ import annotations

import os
import pkgutil

from anylifespan import LifespanMiddleware

app = LifespanMiddleware(
    pkgutil.resolve_name(os.environ["APP"]),
    startup_timeout=5,
    shutdown_timeout=3,
    drain_timeout=2,
)
