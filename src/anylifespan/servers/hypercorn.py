"""Run Hypercorn with this library's lifespan support, on asyncio or trio.

On the command line, use ``python -m anylifespan.servers.hypercorn main:app -k trio``. In code, use
``await serve(app, config)``.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from importlib import import_module
from typing import Any, Literal, cast

from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus
from hypercorn.utils import LifespanFailureError, LifespanTimeoutError, wrap_app

from .._core.hosting import on_trio
from . import _corn
from ._command import HELP, replaced, seconds


class TrioLifespan(_corn.Lifespan):
    """A replacement for ``hypercorn.trio.lifespan.Lifespan``."""

    failure_error = LifespanFailureError
    timeout_error = LifespanTimeoutError


class AsyncioLifespan(TrioLifespan):
    """A replacement for ``hypercorn.asyncio.lifespan.Lifespan``."""

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

    The running event loop decides which of the two is used. If the lifespan crashes, the server
    stops gracefully and LifespanCrashed is raised.

    :param app: the application
    :param config: a :class:`hypercorn.Config`
    :param shutdown_trigger: returns an awaitable. When the awaitable completes, the server stops,
        even during its startup. None to stop on SIGINT and SIGTERM
    :param task_status: reports the addresses that the server is bound to; only on trio, as in
        Hypercorn
    :param mode: the kind of application; None to detect it
    :raises LifespanFailureError: if the startup or the shutdown fails. This is Hypercorn's own
        exception
    :raises LifespanTimeoutError: if the startup or the shutdown times out. This is Hypercorn's own
        exception
    :raises LifespanCrashed: if the application crashes while serving
    """
    wrapped = wrap_app(app, config.wsgi_max_body_size, mode)
    flavour = import_module("hypercorn.trio" if on_trio() else "hypercorn.asyncio")
    server: Any = flavour.serve
    if on_trio():
        server = partial(server, task_status=cast(Any, task_status))
    await _corn.serve(
        _lifespan(wrapped, config),
        lambda app, stop: server(app, config, shutdown_trigger=stop, mode="asgi"),
        shutdown_trigger,
    )


def _lifespan(app: Any, config: Any) -> TrioLifespan:
    """Return a lifespan for the running event loop.

    :param app: the application, as ``wrap_app()`` returns it
    """
    flavour = "trio" if on_trio() else "asyncio"
    # Set this before the lifespan causes the log to be created.
    config.set_statsd_logger_class(import_module(f"hypercorn.{flavour}.statsd").StatsdLogger)
    if on_trio():
        return TrioLifespan(app, config, {})
    return AsyncioLifespan(app, config, asyncio.get_running_loop(), {})


# The command


def asyncio_worker(**options: Any) -> None:
    """Run Hypercorn's asyncio worker with this library's lifespan support.

    Hypercorn's command runs this in place of its own worker.
    """
    _work("asyncio", "asyncio_worker", options)


def uvloop_worker(**options: Any) -> None:
    """Run Hypercorn's uvloop worker with this library's lifespan support."""
    _work("asyncio", "uvloop_worker", options)


def trio_worker(**options: Any) -> None:
    """Run Hypercorn's trio worker with this library's lifespan support."""
    _work("trio", "trio_worker", options)


def _work(flavour: str, worker: str, options: dict[str, Any]) -> None:
    module = import_module(f"hypercorn.{flavour}.run")
    with _serving(module):
        getattr(module, worker)(**options)


def _serving(module: Any) -> AbstractContextManager[None]:
    """Have Hypercorn's workers in this process use :func:`_serve_as_worker` while a block runs."""
    worker_serve = partial(_serve_as_worker, module.worker_serve)
    return replaced(module, "worker_serve", worker_serve)


async def _serve_as_worker(
    worker_serve: Any, app: Any, config: Any, *, sockets: Any, shutdown_trigger: Any
) -> None:
    server = partial(worker_serve, sockets=sockets)
    await _corn.serve_as_worker(_lifespan(app, config), server, wrap_app, shutdown_trigger)


def _run(config: Any, *, startup_timeout: float | None, shutdown_timeout: float | None) -> int:
    """Run Hypercorn as ``hypercorn.run.run()`` does, but with the workers in this module.

    :return: the exit status. Unlike in Hypercorn, a worker's failure status is not lost
    """
    module = import_module("hypercorn.run")
    join_exited = module._join_exited
    statuses: list[int] = []

    def join_and_note(processes: Any) -> Any:
        statuses.append(join_exited(processes))
        return statuses[-1]

    _corn.set_timeouts(config, startup_timeout, shutdown_timeout)
    flavour = "trio" if config.worker_class == "trio" else "asyncio"
    workers = import_module(f"hypercorn.{flavour}.run")
    worker = f"{config.worker_class}_worker"
    ours = _serving(workers)
    if config.workers and worker in globals():
        # Workers are separate processes, which import the function by name.
        ours = replaced(workers, worker, globals()[worker])
    with replaced(module, "_join_exited", join_and_note), ours:
        status: int = module.run(config)
    return next(filter(None, statuses), status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run Hypercorn's own command with two additional options.

    :param arguments: the command's arguments; by default from the command line
    :return: the exit status
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, usage=argparse.SUPPRESS)
    group = parser.add_argument_group("options of anylifespan")
    for name, text in HELP.items():
        group.add_argument(
            f"--{name}-timeout",
            type=seconds,
            default=_corn.TIMEOUT,
            metavar="SECONDS",
            help=f"{text} [default: {_corn.TIMEOUT:g}]",
        )
    own, theirs = parser.parse_known_args(arguments)
    module = import_module("hypercorn.__main__")
    with replaced(module, "run", partial(_run, **vars(own))):
        try:
            status: int = module.main(theirs)
        except SystemExit as exc:
            if exc.code == 0:  # it has shown its help
                print(f"\n{parser.format_help().strip()}")
            raise
    return status


if __name__ == "__main__":
    sys.exit(import_module("anylifespan.servers.hypercorn").main())
