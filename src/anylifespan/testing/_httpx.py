"""httpx2, or else httpx, whichever is installed, and what is the same of their two clients."""

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
    """``client.websocket()`` of httpx2, for an application that is no network.

    :param kind: the class of httpx2 that has it
    :raises ModuleNotFoundError: if it has none
    """
    try:
        websocket = kind.websocket
    except AttributeError:
        raise ModuleNotFoundError(
            "client.websocket() needs httpx2 2.9 or later: pip install 'anylifespan[testing]'"
        ) from None
    return websocket(client, url, **{"keepalive_ping_interval_seconds": None, **options})


def is_of_websocket(raised: object) -> bool:
    """Whether it is what httpx2 raises where a WebSocket has ended."""
    from httpx2.websockets import WebSocketDisconnect, WebSocketNetworkError

    return isinstance(raised, (WebSocketDisconnect, WebSocketNetworkError))
