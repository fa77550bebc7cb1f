"""A small HTTP client that needs only the standard library."""

from __future__ import annotations

import http.client

HOST = "127.0.0.1"
TICK = 0.01  # seconds between two looks at what cannot be waited for


def connection_to(port: int, timeout: float) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(HOST, port, timeout=timeout)


def get(connection: http.client.HTTPConnection, path: str) -> int:
    """Send a GET request, read the complete response, and return the status.

    :raises OSError: if there is no response
    :raises http.client.HTTPException: if the response is cut off
    """
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    return response.status
