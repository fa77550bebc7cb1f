"""An HTTP client, small enough to need nothing but Python."""

from __future__ import annotations

import http.client

HOST = "127.0.0.1"
TICK = 0.01  # seconds between two looks at what cannot be waited for


def connection_to(port: int, timeout: float) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(HOST, port, timeout=timeout)


def get(connection: http.client.HTTPConnection, path: str) -> int:
    """The status of the answer, which is read.

    :raises OSError: if there is none
    :raises http.client.HTTPException: if it is broken off
    """
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    return response.status
