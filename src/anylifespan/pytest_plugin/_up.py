"""Runs applications for the fixtures, and fails tests during which an application crashes."""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from . import _options

if TYPE_CHECKING:
    from .._core.application import ASGIApp
    from .._core.manager import LifespanManager
    from ..errors import LifespanCrashed
    from ..testing import ASGIClient, ASGIServer, ASGISyncClient

FIXTURES = ("asgi_lifespan", "asgi_client", "asgi_sync_client", "asgi_server")


class _Up:
    """A running application, and whether the application's crash has been reported by a test."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.manager: LifespanManager | None = None
        self.reported = False

    @property
    def crash(self) -> LifespanCrashed | None:
        return None if self.manager is None else self.manager.crash


_UP = pytest.StashKey["list[_Up]"]()


# Running applications


@asynccontextmanager
async def lifespan_up(app: ASGIApp, config: pytest.Config) -> AsyncIterator[LifespanManager]:
    """Run an application for the fixture ``asgi_lifespan``, whichever plugin runs the fixture."""
    from .._core.manager import LifespanManager
    from .._diagnosis.leaks import leaks_reported

    leaks = _options.of_leaks(config)
    manager = LifespanManager(app, **_options.of_manager(config))
    with _noted(app, config) as up:
        async with leaks_reported(app, leaks["leaks"], leaks["ignore_leaks"]) as is_up, manager:
            is_up()
            up.manager = manager
            yield manager


def client_for(lifespan: LifespanManager, config: pytest.Config) -> ASGIClient:
    """Create the client for the fixture ``asgi_client``, whichever plugin runs the fixture."""
    from ..testing import ASGIClient, ASGITransport

    drain_timeout = _options.drain_timeout(config)
    transport = ASGITransport(lifespan.app, drain_timeout=drain_timeout, lifespan=lifespan)
    return ASGIClient(lifespan, transport=transport, base_url=_options.base_url(config))


@contextmanager
def sync_client_up(app: ASGIApp, config: pytest.Config) -> Iterator[ASGISyncClient]:
    """Run an application and provide a client, for the fixture ``asgi_sync_client``."""
    from ..testing import asgi_sync_client

    client = asgi_sync_client(
        app,
        _options.backends(config)[0],
        drain_timeout=_options.drain_timeout(config),
        base_url=_options.base_url(config),
        **_options.of_manager(config),
        **_options.of_leaks(config),
    )
    with _noted(app, config) as up, client as sync_client:
        up.manager = sync_client.lifespan.manager
        yield sync_client


@contextmanager
def server_up(app: ASGIApp, config: pytest.Config) -> Iterator[ASGIServer]:
    """Run an application and a server for the fixture ``asgi_server``."""
    from ..testing import asgi_server

    if "asyncio" not in _options.backends(config):
        pytest.fail(
            "asgi_server runs on asyncio, as Uvicorn does, and anylifespan_backends does not have "
            "it: use asgi_client or asgi_sync_client",
            pytrace=False,
        )
    serving = asgi_server(
        app,
        drain_timeout=_options.drain_timeout(config),
        **_options.of_manager(config),
        **_options.of_leaks(config),
    )
    with _noted(app, config) as up, serving as server:
        up.manager = server.lifespan.manager
        yield server


@contextmanager
def _noted(app: ASGIApp, config: pytest.Config) -> Iterator[_Up]:
    """Register an application as running while the block runs.

    A SystemExit is wrapped in a LifespanError, as its cause. Otherwise, the SystemExit would end
    the plugin's event loop, which other tests need, too.
    """
    from .._core.exceptions import describe
    from ..errors import LifespanCrashed, LifespanError

    this = _Up(app)
    ups = config.stash.setdefault(_UP, [])
    ups.append(this)
    try:
        yield this
    except (LifespanCrashed, SystemExit) as exc:
        error: LifespanError | None = this.crash
        if error is None:
            error = LifespanError(f"the application raised {describe(exc)}")
            error.__cause__ = exc
        if not this.reported:
            raise error from error.__cause__
    finally:
        ups.remove(this)


# Failing tests for crashes


def fails_in(phase: str) -> Any:
    """Create a hook that fails a test if an application crashes in this phase of the test.

    Later tests with the same application do not fail for the same crash.

    :return: a pytest hook
    """

    @pytest.hookimpl(wrapper=True)
    def run(item: pytest.Item) -> Generator[None, object, object]:
        __tracebackhide__ = True  # what others raise is theirs
        try:
            result = yield
            if phase == "setup":
                _check_that_its_own_is_up(item)
        except (pytest.exit.Exception, KeyboardInterrupt):
            raise  # the test gets no report any more, so the fixture raises the crash
        except BaseException as exc:
            crashes = _new_crashes(item)
            if crashes and isinstance(exc, pytest.skip.Exception):
                raise crashes[0] from crashes[0].__cause__
            for crash in crashes:
                if not isinstance(exc, type(crash)):
                    text = "".join(traceback.format_exception(crash))
                    item.add_report_section(phase, "crash of the application", text)
            raise
        for crash in _new_crashes(item):
            raise crash
        return result

    return run


def _check_that_its_own_is_up(item: pytest.Item) -> None:
    """Fail a test if the application that it uses is not the test's own ``asgi_app``.

    pytest keeps a fixture's value for the whole scope, even if another module overrides
    ``asgi_app``.
    """
    fixtures: dict[str, Any] = getattr(item, "funcargs", {})
    managers = [getattr(fixtures.get(name), "lifespan", fixtures.get(name)) for name in FIXTURES]
    managers = [getattr(one, "manager", one) for one in managers if one is not None]
    for this in item.config.stash.get(_UP, []):
        if not any(this.manager is one for one in managers):
            continue
        app = item._request.getfixturevalue("asgi_app")  # type: ignore[attr-defined]
        if this.app is not app:
            pytest.fail(
                f"the application that is up is {this.app!r}, of an earlier test; asgi_app of this "
                f"test is {app!r}. One application is up for each "
                f"{_options.scope('', item.config)} (anylifespan_scope): choose a narrower scope, "
                "or define one asgi_app for all of its tests",
                pytrace=False,
            )


def _new_crashes(item: pytest.Item) -> list[LifespanCrashed]:
    if not uses_fixtures(item):
        return []
    crashes = []
    for this in item.config.stash.get(_UP, []):
        crash = None if this.reported else this.crash
        if crash is not None:
            this.reported = True
            crashes.append(crash)
    return crashes


def uses_fixtures(item: pytest.Item) -> bool:
    """Return whether a test uses one of this plugin's fixtures that run an application."""
    return not set(FIXTURES).isdisjoint(getattr(item, "fixturenames", ()))
