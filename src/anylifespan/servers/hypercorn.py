"""For Hypercorn, on asyncio and trio: ``await serve(app, config)``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Literal, cast

from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus
from hypercorn.utils import LifespanFailureError, LifespanTimeoutError, wrap_app

from .._core.hosting import on_trio
from . import _corn


class TrioLifespan(_corn.Lifespan):
    """In place of ``hypercorn.trio.lifespan.Lifespan``."""

    failure_error = LifespanFailureError
    timeout_error = LifespanTimeoutError


class AsyncioLifespan(TrioLifespan):
    """In place of ``hypercorn.asyncio.lifespan.Lifespan``."""

    def __init__(
        self,
        app: Any,
        config: Any,
        loop: asyncio.AbstractEventLoop,
        lifespan_state: dict[str, Any],
    ) -> None:
        super().__init__(app, config, lifespan_state)
        self.loop = loop


async def serve(
    app: Any,
    config: Any,
    *,
    shutdown_trigger: Callable[[], Awaitable[object]] | None = None,
    task_status: TaskStatus[list[str]] = TASK_STATUS_IGNORED,
    mode: Literal["asgi", "wsgi"] | None = None,
) -> None:
    """Serve an application, as ``hypercorn.asyncio.serve()`` and ``hypercorn.trio.serve()`` do.

    Which of them, the running event loop decides. If the lifespan dies, the server stops gracefully
    and the crash is raised.

    :param app: the application
    :param config: a :class:`hypercorn.Config`
    :param shutdown_trigger: when what it returns has been awaited, the server stops, also in its
        startup; None for SIGINT and SIGTERM
    :param task_status: told what the server is bound to, on trio alone, as Hypercorn does
    :param mode: what the application is; None to find out
    :raises LifespanFailureError: Hypercorn's own, if the application says that it failed
    :raises LifespanTimeoutError: Hypercorn's own, if it is not done in time
    :raises LifespanCrashed: if it dies while serving
    """
    wrapped = wrap_app(app, config.wsgi_max_body_size, mode)
    lifespan: TrioLifespan
    server: Any
    if on_trio():
        import hypercorn.trio
        import hypercorn.trio.statsd

        # Before the lifespan has the log made.
        config.set_statsd_logger_class(hypercorn.trio.statsd.StatsdLogger)
        lifespan = TrioLifespan(wrapped, config, {})
        server = partial(hypercorn.trio.serve, task_status=cast(Any, task_status))
    else:
        import hypercorn.asyncio
        import hypercorn.asyncio.statsd

        config.set_statsd_logger_class(hypercorn.asyncio.statsd.StatsdLogger)
        lifespan = AsyncioLifespan(wrapped, config, asyncio.get_running_loop(), {})
        server = hypercorn.asyncio.serve
    await _corn.serve(
        lifespan,
        lambda app, stop: server(app, config, shutdown_trigger=stop, mode="asgi"),
        shutdown_trigger,
    )
