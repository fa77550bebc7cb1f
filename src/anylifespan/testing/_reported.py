"""Runs an application's startup and shutdown, and reports the application's leaks."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AsyncExitStack

from .._core.application import ASGIApp
from .._core.manager import LifespanManager
from .._core.options import Leaks
from .._diagnosis.leaks import leaks_reported


class Reported:
    """Starts an application, shuts it down and reports its leaks.

    The startup and the shutdown may run in different tasks.

    :param leaks: what to do about leaks, as for :func:`asgi_client`
    :param ignored: patterns for known leaks
    """

    def __init__(
        self, app: ASGIApp, manager: LifespanManager, leaks: Leaks, ignored: Iterable[str]
    ) -> None:
        self._manager = manager
        self._report = leaks_reported(app, leaks, ignored)
        self._left_open = AsyncExitStack()

    async def startup(self) -> None:
        async with AsyncExitStack() as stack:
            is_up = await stack.enter_async_context(self._report)
            await self._manager.startup()
            is_up()
            self._left_open = stack.pop_all()

    async def shutdown(self) -> None:
        """Shut the application down, and report its leaks if the application had started."""
        async with self._left_open:
            await self._manager.shutdown()
