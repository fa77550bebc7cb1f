"""Run Anycorn with this library's lifespan support, on asyncio or trio.

On the command line, use ``python -m anylifespan.servers.anycorn main:app -k trio``. In code, use
``await serve(app, config)``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any, Literal

import anycorn
import anycorn.run
import click
from anycorn.statsd import StatsdLogger
from anycorn.utils import LifespanFailureError, LifespanTimeoutError, wrap_app
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from . import _corn
from ._click import with_timeouts
from ._command import replaced


class Lifespan(_corn.Lifespan):
    """A replacement for ``anycorn.lifespan.Lifespan``."""

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

    If the lifespan crashes, the server stops gracefully and LifespanCrashed is raised.

    :param app: the application
    :param config: Anycorn's configuration
    :param shutdown_trigger: returns an awaitable. When the awaitable completes, the server stops,
        even during its startup. None to stop on SIGINT and SIGTERM
    :param task_status: reports the addresses that the server is bound to
    :param mode: the kind of application; None to detect it
    :raises LifespanFailureError: if the startup or the shutdown fails. This is Anycorn's own
        exception
    :raises LifespanTimeoutError: if the startup or the shutdown times out. This is Anycorn's own
        exception
    :raises LifespanCrashed: if the application crashes while serving
    """
    config.set_statsd_logger_class(StatsdLogger)  # before the lifespan has the log made
    lifespan = Lifespan(wrap_app(app, config.wsgi_max_body_size, mode), config, {})
    server: Any = partial(anycorn.serve, task_status=task_status)
    await _corn.serve(
        lifespan,
        lambda app, stop: server(app, config, shutdown_trigger=stop, mode="asgi"),
        shutdown_trigger,
    )


_anyio_worker = anycorn.run.anyio_worker
_worker_serve = anycorn.run.worker_serve


def worker(config: Any, sockets: Any = None, shutdown_event: Any = None) -> None:
    """Run one of Anycorn's workers with this library's lifespan support.

    Anycorn's command runs this in place of its own worker.
    """
    with replaced(anycorn.run, "worker_serve", _serve_as_worker):
        _anyio_worker(config, sockets, shutdown_event)


async def _serve_as_worker(app: Any, config: Any, *, sockets: Any, shutdown_trigger: Any) -> None:
    config.set_statsd_logger_class(StatsdLogger)
    server = partial(_worker_serve, sockets=sockets)
    await _corn.serve_as_worker(Lifespan(app, config, {}), server, wrap_app, shutdown_trigger)


@contextmanager
def _configured(startup_timeout: float | None, shutdown_timeout: float | None) -> Iterator[None]:
    """Have Anycorn's command run :func:`worker` while the block runs."""
    module = import_module("anycorn.__main__")

    def run(config: Any) -> int:
        _corn.set_timeouts(config, startup_timeout, shutdown_timeout)
        return anycorn.run.run(config)

    with replaced(module, "run", run), replaced(anycorn.run, "anyio_worker", worker):
        yield


def command() -> click.Command:
    """Return Anycorn's own command with two additional options."""
    return with_timeouts(import_module("anycorn.__main__").main, _corn.TIMEOUT, _configured)


if __name__ == "__main__":
    import_module("anylifespan.servers.anycorn").command()()
