"""A client for tests: the application is up, and requests go straight to it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ._core.application import ASGIApp
from ._core.manager import LifespanManager
from ._core.options import Mode
from ._diagnosis.leaks import Leaks, check_leaks, leaks_reported
from ._diagnosis.leaks import LeakWarning as LeakWarning

if TYPE_CHECKING:
    import httpx
else:
    try:
        import httpx2 as httpx
    except ModuleNotFoundError:
        try:
            import httpx
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                "anylifespan.testing needs httpx2 or httpx, and neither is installed: "
                "pip install 'anylifespan[testing]'"
            ) from None


BASE_URL = "http://test"


class ASGIClient(httpx.AsyncClient):
    """An ``AsyncClient`` whose requests go to an application that is up.

    :ivar lifespan: the :class:`~anylifespan.LifespanManager` of the application
    """

    def __init__(
        self,
        lifespan: LifespanManager,
        *,
        transport: Any = None,
        base_url: str = BASE_URL,
        **options: Any,
    ) -> None:
        transport = transport or httpx.ASGITransport(lifespan.app)
        super().__init__(transport=transport, base_url=base_url, **options)
        self.lifespan = lifespan


@asynccontextmanager
async def asgi_client(
    app: ASGIApp,
    *,
    mode: Mode = "on",
    startup_timeout: float | None = 30.0,
    shutdown_timeout: float | None = 30.0,
    report_after: float | None = 5.0,
    state: dict[str, Any] | None = None,
    logger: logging.Logger | None = None,
    leaks: Leaks = "warn",
    ignore_leaks: Iterable[str] = (),
    raise_app_exceptions: bool = True,
    root_path: str = "",
    client: tuple[str, int] = ("127.0.0.1", 123),
    base_url: str = BASE_URL,
    **options: Any,
) -> AsyncIterator[ASGIClient]:
    """Start an application, and have a client for it::

        async with asgi_client(app) as client:
            response = await client.get("/")

    The client is an ``AsyncClient`` of httpx2, or of httpx if that is not installed. If the
    application dies meanwhile, the body is cancelled and the crash is raised. In a fixture it is
    raised where the fixture is left.

    What the application itself leaves behind after its shutdown is listed in a :exc:`LeakWarning`:
    tasks, threads, sockets, files and asynchronous generators that it has made in its lifespan and
    in requests. What is made by others meanwhile, by the test for one, is not.

    :param app: an ASGI application
    :param mode: as for :class:`~anylifespan.LifespanManager`, but that by default an application
        without a lifespan is an error: in a test, one that silently does not start is the worst
    :param startup_timeout: seconds the startup may take; None for no limit
    :param shutdown_timeout: seconds the shutdown may take; None for no limit
    :param report_after: seconds after which a startup or a shutdown that is not over is logged
    :param state: the dict that the application fills; None for a new one
    :param logger: where to log what is not raised
    :param leaks: ``"warn"`` of what is left behind, raise it as an ``"error"``, or ``"off"``
    :param ignore_leaks: patterns, as of file names, for leaks that are known: of the name of a
        thread or a task, of the path of a file, or of the place where it is or was made, as
        ``"*/pool.py"`` or ``"*/pool.py:42"``
    :param raise_app_exceptions: whether what the application raises in a request is raised by the
        client, too
    :param root_path: the ``root_path`` of each request
    :param client: the ``client`` of each request: host and port
    :param base_url: what the URL of each request is relative to
    :param options: those of ``AsyncClient``
    :raises LifespanError: as ``async with LifespanManager(app)``
    :raises TypeError: if ``app`` cannot be an ASGI application, or an option is unknown
    :raises LeakWarning: of leaks that are errors
    """
    check_leaks(leaks, ignore_leaks)
    manager = LifespanManager(
        app,
        mode=mode,
        startup_timeout=startup_timeout,
        shutdown_timeout=shutdown_timeout,
        report_after=report_after,
        state=state,
        logger=logger,
    )
    transport = httpx.ASGITransport(manager.app, raise_app_exceptions, root_path, client)
    # Made before the application is started, so that a wrong option is told at once.
    asgi_client = ASGIClient(manager, transport=transport, base_url=base_url, **options)
    async with leaks_reported(app, leaks, ignore_leaks) as is_up, manager, asgi_client:
        is_up()
        yield asgi_client
