"""For Anycorn, on asyncio and trio: ``await serve(app, config)``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Literal

import anycorn
from anycorn.statsd import StatsdLogger
from anycorn.utils import LifespanFailureError, LifespanTimeoutError, wrap_app
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from . import _corn


class Lifespan(_corn.Lifespan):
    """In place of ``anycorn.lifespan.Lifespan``."""

    failure_error = LifespanFailureError
    timeout_error = LifespanTimeoutError


async def serve(
    app: Any,
    config: anycorn.Config,
    *,
    shutdown_trigger: Callable[[], Awaitable[object]] | None = None,
    task_status: TaskStatus[list[str]] = TASK_STATUS_IGNORED,
    mode: Literal["asgi", "wsgi"] | None = None,
) -> None:
    """Serve an application, as ``anycorn.serve()`` does.

    If the lifespan dies, the server stops gracefully and the crash is raised.

    :param app: the application
    :param config: Anycorn's configuration
    :param shutdown_trigger: when what it returns has been awaited, the server stops, also in its
        startup; None for SIGINT and SIGTERM
    :param task_status: told what the server is bound to
    :param mode: what the application is; None to find out
    :raises LifespanFailureError: Anycorn's own, if the application says that it failed
    :raises LifespanTimeoutError: Anycorn's own, if it is not done in time
    :raises LifespanCrashed: if it dies while serving
    """
    config.set_statsd_logger_class(StatsdLogger)  # before the lifespan has the log made
    lifespan = Lifespan(wrap_app(app, config.wsgi_max_body_size, mode), config, {})
    server: Any = partial(anycorn.serve, task_status=task_status)
    await _corn.serve(
        lifespan,
        lambda app, stop: server(app, config, shutdown_trigger=stop, mode="asgi"),
        shutdown_trigger,
    )
