"""Fixtures for tests: an application that is up.

The plugin is loaded wherever this package is installed, so it imports what it needs when a fixture
is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from . import _options, _runners, _up

if TYPE_CHECKING:
    from .._core.application import ASGIApp
    from .._core.manager import LifespanManager
    from ..testing import ASGIClient, ASGIServer, ASGISyncClient


def pytest_addoption(parser: pytest.Parser) -> None:
    _options.add_to(parser)


def pytest_configure(config: pytest.Config) -> None:
    _options.check(config)
    _runners.load(config)


def pytest_itemcollected(item: pytest.Item) -> None:
    if _up.uses_fixtures(item):
        _runners.set_up_backend_first(item)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what would run an application on a backend that it is not made for."""
    backends = (None, *_options.backends(config))
    left_out = [
        one for one in items if _up.uses_fixtures(one) and _runners.backend_of(one) not in backends
    ]
    if left_out:
        known = set(left_out)
        items[:] = [item for item in items if item not in known]
        config.hook.pytest_deselected(items=left_out)


def pytest_runtest_protocol(item: pytest.Item) -> None:
    _runners.runs(item)


pytest_runtest_setup = _up.fails_in("setup")
pytest_runtest_call = _up.fails_in("call")
pytest_runtest_teardown = _up.fails_in("teardown")


@pytest.fixture(scope=_options.scope)
def asgi_app(pytestconfig: pytest.Config) -> ASGIApp:
    """The application for the other fixtures: override it, or configure ``anylifespan_app``."""
    import pkgutil

    name = pytestconfig.getini("anylifespan_app")
    if not name:
        pytest.fail(
            f"{', '.join(_up.FIXTURES)} need an application: have a fixture asgi_app return it, "
            'or set anylifespan_app = "module:attribute" in the configuration of pytest',
            pytrace=False,
        )
    try:
        app: ASGIApp = pkgutil.resolve_name(name)
    except (ModuleNotFoundError, AttributeError, ValueError) as exc:
        pytest.fail(
            f'anylifespan_app = "{name}" cannot be imported ({exc}): expected "module:attribute", '
            "from a directory that is in the option pythonpath of pytest",
            pytrace=False,
        )
    return app


@pytest.fixture(scope=_options.scope)
def asgi_lifespan(request: pytest.FixtureRequest, asgi_app: ASGIApp) -> LifespanManager:
    """The application's :class:`~anylifespan.LifespanManager`; the application is up.

    For asynchronous tests of anyio's plugin, pytest-asyncio and pytest-trio. If it dies while a
    test runs, that test fails. SystemExit is raised as the cause of a LifespanError.
    """
    lifespan: Any = _runners.fixture_for("lifespan", request)
    return lifespan  # type: ignore[no-any-return]


@pytest.fixture(scope=_options.scope)
def asgi_client(request: pytest.FixtureRequest, asgi_app: ASGIApp) -> ASGIClient:
    """An ``AsyncClient`` of httpx2, or else httpx, for the application that is up.

    For asynchronous tests, as :func:`asgi_lifespan`, which is its ``lifespan``.
    """
    client: Any = _runners.fixture_for("client", request)
    return client  # type: ignore[no-any-return]


@pytest.fixture(scope=_options.scope)
def asgi_sync_client(asgi_app: ASGIApp, pytestconfig: pytest.Config) -> Iterator[ASGISyncClient]:
    """A ``Client`` of httpx2, or else httpx, for an application that is up in another thread.

    For synchronous tests. It runs on asyncio, or on the first of ``anylifespan_backends``. Its
    ``lifespan`` is the :class:`~anylifespan.from_thread.BlockingLifespan`.
    """
    with _up.sync_client_up(asgi_app, pytestconfig) as client:
        yield client


@pytest.fixture(scope=_options.scope)
def asgi_server(asgi_app: ASGIApp, pytestconfig: pytest.Config) -> Iterator[ASGIServer]:
    """A server with the application, on a free port of 127.0.0.1: its ``url`` says where.

    For synchronous and asynchronous tests: Uvicorn runs in another thread. Its ``lifespan`` is the
    :class:`~anylifespan.from_thread.BlockingLifespan`.
    """
    with _up.server_up(asgi_app, pytestconfig) as server:
        yield server
