"""The lifespan of an application for synchronous code, in an event loop in another thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal

from ._core.application import ASGI3App, ASGIApp
from ._core.manager import LifespanManager


@dataclass(frozen=True)
class BlockingLifespan:
    """An application that is up in another thread.

    :ivar manager: its :class:`~anylifespan.LifespanManager`, to be used in that thread alone
    :ivar portal: calls into its event loop: ``lifespan.portal.call(function, *args)``
    """

    manager: LifespanManager
    portal: BlockingPortal

    @property
    def app(self) -> ASGI3App:
        """The application as requests call it, in the event loop of the portal."""
        return self.manager.app

    @property
    def state(self) -> dict[str, Any]:
        """The state of the lifespan. What is in it belongs to the event loop of the portal."""
        return self.manager.state


@contextmanager
def start_blocking_lifespan(
    app: ASGIApp,
    backend: str = "asyncio",
    backend_options: dict[str, Any] | None = None,
    **options: Any,
) -> Iterator[BlockingLifespan]:
    """Have an application up while a block of synchronous code runs::

        with start_blocking_lifespan(app) as lifespan:
            lifespan.portal.call(send_invoices, lifespan.state["database"])

    It is started in an event loop of its own, in a thread of its own, and shut down in the end. An
    exception in the block goes on, KeyboardInterrupt too, once that is done. A KeyboardInterrupt in
    the startup cancels it.

    :param app: an ASGI application
    :param backend: ``"asyncio"`` or ``"trio"``
    :param backend_options: as :func:`anyio.run` takes them
    :param options: those of :class:`~anylifespan.LifespanManager`
    :raises LifespanError: what goes wrong in the startup, and in the end what went wrong meanwhile
        (a crash) or in the shutdown
    :raises TypeError: if ``app`` cannot be an ASGI application, or an option is of a wrong type
    :raises ValueError: if an option is not a valid one
    """
    manager = LifespanManager(app, **options)
    with (
        start_blocking_portal(backend, backend_options) as portal,
        portal.wrap_async_context_manager(manager),
    ):
        yield BlockingLifespan(manager, portal)
