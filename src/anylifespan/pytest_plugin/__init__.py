"""Pytest fixtures for a running application.

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
    """Deselect tests that would run an application on a backend that it does not support."""
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
    """The :class:`~anylifespan.LifespanManager` of the running application.

    For asynchronous tests that anyio's plugin, pytest-asyncio or pytest-trio runs. If the lifespan
    crashes during a test, that test fails. SystemExit is raised as the cause of a LifespanError.
    """
    # asgi_app is a parameter so that pytest tears this fixture down first.
    lifespan: Any = _runners.fixture_for("lifespan", request)
    return lifespan  # type: ignore[no-any-return]


@pytest.fixture(scope=_options.scope)
def asgi_client(request: pytest.FixtureRequest, asgi_app: ASGIApp) -> ASGIClient:
    """An ``AsyncClient`` for the running application, from httpx2 or else httpx.

    For asynchronous tests, like :func:`asgi_lifespan`, which is the client's ``lifespan``.
    """
    # asgi_app is a parameter so that pytest tears this fixture down first.
    client: Any = _runners.fixture_for("client", request)
    return client  # type: ignore[no-any-return]


@pytest.fixture(scope=_options.scope)
def asgi_sync_client(asgi_app: ASGIApp, pytestconfig: pytest.Config) -> Iterator[ASGISyncClient]:
    """A ``Client`` for an application that runs in another thread, from httpx2 or else httpx.

    For synchronous tests. The application runs on asyncio, or on the first backend in
    ``anylifespan_backends``. The client's ``lifespan`` is the
    :class:`~anylifespan.from_thread.BlockingLifespan`.
    """
    with _up.sync_client_up(asgi_app, pytestconfig) as client:
        yield client


@pytest.fixture(scope=_options.scope)
def asgi_server(asgi_app: ASGIApp, pytestconfig: pytest.Config) -> Iterator[ASGIServer]:
    """A server for the application, at its ``url``, on a free port of 127.0.0.1.

    For synchronous and asynchronous tests, since Uvicorn runs in another thread. The server's
    ``lifespan`` is the :class:`~anylifespan.from_thread.BlockingLifespan`.
    """
    with _up.server_up(asgi_app, pytestconfig) as server:
        yield server
