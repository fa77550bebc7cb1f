"""An event with which requests can detect that the server is being stopped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyio import Event

KEY = "anylifespan.draining"


class Draining:
    """An event that is set when the server starts to stop, so that open requests can end.

    :func:`draining` returns the event for a request. The event is never cleared.
    """

    def __init__(self) -> None:
        self._event = Event()

    def __repr__(self) -> str:
        return f"<Draining, {'set' if self.is_set() else 'not set'}>"

    def is_set(self) -> bool:
        """Return whether the server is being stopped."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Wait until the server is being stopped."""
        await self._event.wait()

    def _set(self) -> None:
        self._event.set()


def draining(scope: Mapping[str, Any]) -> Draining:
    """Return the :class:`Draining` event for this request::

        async def events(request):
            stop = draining(request.scope)
            while not stop.is_set():
                yield await next_event()

    Under :class:`~anylifespan.LifespanMiddleware` and the servers in ``anylifespan.servers``, the
    event is set as soon as the server knows that it must stop. Anywhere else, such as in a test,
    the event is never set, so the application does not need a special case.

    :param scope: the scope of an ``http`` or ``websocket`` request
    """
    found = scope.get(KEY)
    return found if isinstance(found, Draining) else Draining()
