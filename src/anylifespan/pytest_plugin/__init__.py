"""Fixtures that run an application for pytest tests.

pytest loads the plugin wherever this package is installed, so the plugin postpones most imports
until a fixture is used.
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
    """Deselect tests that would run an application on a backend that it does not support.

    ``anylifespan_backends`` lists the supported backends.
    """
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
    """The application for the other fixtures. Override this fixture, or set ``anylifespan_app``."""
    import pkgutil

    name = pytestconfig.getini("anylifespan_app")
    if not name:
        pytest.fail(
            f"{', '.join(_up.FIXTURES)} need an application: define a fixture asgi_app "
            'that returns it, or set anylifespan_app = "module:attribute" in pytest\'s '
            "configuration",
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
    """The running application's :class:`~anylifespan.LifespanManager`.

    Use this in asynchronous tests that anyio's plugin, pytest-asyncio or pytest-trio runs. If the
    lifespan crashes during a test, that test fails. If the application raises SystemExit, the
    SystemExit is wrapped in a LifespanError, as its cause.
    """
    # asgi_app is a parameter so that pytest tears down this fixture before asgi_app.
    lifespan: Any = _runners.fixture_for("lifespan", request)
    return lifespan  # type: ignore[no-any-return]


@pytest.fixture(scope=_options.scope)
def asgi_client(request: pytest.FixtureRequest, asgi_app: ASGIApp) -> ASGIClient:
    """An httpx2 or httpx ``AsyncClient`` for the running application.

    Use this in asynchronous tests, like :func:`asgi_lifespan`. The client's ``lifespan`` is the
    value of :func:`asgi_lifespan`.
    """
    # asgi_app is a parameter so that pytest tears down this fixture before asgi_app.
    client: Any = _runners.fixture_for("client", request)
    return client  # type: ignore[no-any-return]


@pytest.fixture(scope=_options.scope)
def asgi_sync_client(asgi_app: ASGIApp, pytestconfig: pytest.Config) -> Iterator[ASGISyncClient]:
    """An httpx2 or httpx ``Client`` for an application that runs in another thread.

    Use this in synchronous tests. The application runs on the first backend in
    ``anylifespan_backends``, or on asyncio by default. The client's ``lifespan`` is the
    :class:`~anylifespan.from_thread.BlockingLifespan`.
    """
    with _up.sync_client_up(asgi_app, pytestconfig) as client:
        yield client


@pytest.fixture(scope=_options.scope)
def asgi_server(asgi_app: ASGIApp, pytestconfig: pytest.Config) -> Iterator[ASGIServer]:
    """A server for the application, on a free port of 127.0.0.1. Its address is its ``url``.

    Use this in synchronous or asynchronous tests: Uvicorn runs in another thread. The server's
    ``lifespan`` is the :class:`~anylifespan.from_thread.BlockingLifespan`.
    """
    with _up.server_up(asgi_app, pytestconfig) as server:
        yield server
