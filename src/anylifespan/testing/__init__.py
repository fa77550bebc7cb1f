"""Clients and a server for testing a running application.

:func:`asgi_client` is for asynchronous tests, and :func:`asgi_sync_client` is for synchronous ones.
Both clients send requests straight to the application. :func:`asgi_server` is for browsers, and for
anything else that needs a port.
"""

from .._diagnosis.leaks import LeakWarning as LeakWarning
from ._client import ASGIClient as ASGIClient
from ._client import asgi_client as asgi_client
from ._server import ASGIServer as ASGIServer
from ._server import asgi_server as asgi_server
from ._sync_client import ASGISyncClient as ASGISyncClient
from ._sync_client import asgi_sync_client as asgi_sync_client
from ._sync_transport import ASGISyncTransport as ASGISyncTransport
from ._transport import ASGITransport as ASGITransport
