"""What a request can ask about a stop, and wait for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyio import Event

KEY = "anylifespan.draining"


class Draining:
    """Whether the server is being stopped: requests that are open should come to their end.

    Get it with :func:`draining`. It is set when the server is asked to stop, and never cleared.
    """

    def __init__(self) -> None:
        self._event = Event()

    def __repr__(self) -> str:
        return f"<Draining, {'set' if self.is_set() else 'not set'}>"

    def is_set(self) -> bool:
        """Whether the server is being stopped."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Wait until the server is being stopped."""
        await self._event.wait()

    def _set(self) -> None:
        self._event.set()


def draining(scope: Mapping[str, Any]) -> Draining:
    """Whether the server that has sent this request is being stopped::

        async def events(request):
            stop = draining(request.scope)
            while not stop.is_set():
                yield await next_event()

    :class:`~anylifespan.LifespanMiddleware` knows it, and so do the servers of
    ``anylifespan.servers``, from the moment when the server itself does. Anywhere else, in a test
    say, what this returns is never set, so that the application need not care.

    :param scope: the scope of an ``http`` or ``websocket`` request
    """
    found = scope.get(KEY)
    return found if isinstance(found, Draining) else Draining()
