"""httpx2, or httpx if httpx2 is not installed, and helpers that both test clients use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx as httpx
else:
    try:
        import httpx2 as httpx
    except ModuleNotFoundError:
        try:
            import httpx as httpx
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                "anylifespan.testing needs httpx2 or httpx, and neither is installed: "
                "pip install 'anylifespan[testing]'"
            ) from None

BASE_URL = "http://test"


def open_websocket(kind: Any, client: Any, url: Any, options: dict[str, Any]) -> Any:
    """Call httpx2's ``client.websocket()``, without keepalive pings by default.

    :param kind: the client class that defines ``websocket()``
    :raises ModuleNotFoundError: if the class has no ``websocket()``
    """
    try:
        websocket = kind.websocket
    except AttributeError:
        raise ModuleNotFoundError(
            "client.websocket() needs httpx2 2.9 or later: pip install 'anylifespan[testing]'"
        ) from None
    return websocket(client, url, **{"keepalive_ping_interval_seconds": None, **options})


def is_of_websocket(raised: object) -> bool:
    """Return whether this is an exception that httpx2 raises when a WebSocket has ended."""
    from httpx2.websockets import WebSocketDisconnect, WebSocketNetworkError

    return isinstance(raised, (WebSocketDisconnect, WebSocketNetworkError))
