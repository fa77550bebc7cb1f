"""httpx2, or else httpx, whichever is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
