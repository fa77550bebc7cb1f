"""Fixtures for asynchronous tests that anyio's plugin runs: an application that is up.

The plugin is loaded wherever this package is installed, so it imports what it needs when a fixture
is used.
"""

from __future__ import annotations

import dataclasses
import pkgutil
import traceback
from collections.abc import AsyncIterator, Generator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ._core.application import ASGIApp
    from ._core.manager import LifespanManager
    from .errors import LifespanCrashed
    from .testing import ASGIClient


@dataclasses.dataclass
class _Up:
    """An application that is up, and whether a test has reported its crash."""

    app: ASGIApp
    reported: bool = False


_UP = pytest.StashKey["dict[LifespanManager, _Up]"]()
# Not "package", which pytest takes for "session" where a plugin defines the fixture.
_SCOPES = ("function", "class", "module", "session")
_BACKENDS = ("asyncio", "trio")
_LISTS = ("anylifespan_ignore_leaks", "anylifespan_backends")
_OPTIONS = {
    "anylifespan_app": 'the application of asgi_app: "module:attribute"',
    "anylifespan_mode": "the mode of asgi_lifespan: on (the default), auto or off",
    "anylifespan_startup_timeout": "seconds the startup may take (30); none for no limit",
    "anylifespan_shutdown_timeout": "seconds the shutdown may take (30); none for no limit",
    "anylifespan_leaks": "what to do about what is left behind: warn (the default), error or off",
    "anylifespan_ignore_leaks": "patterns of known leaks: of names, or of places as */pool.py:42",
    "anylifespan_backends": "on what the application runs: asyncio, trio, or (the default) both",
    "anylifespan_base_url": "what the URLs of asgi_client are relative to (http://test)",
    "anylifespan_scope": f"the scope of the fixtures: {', '.join(_SCOPES)}; by default the first",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    for name, text in _OPTIONS.items():
        if name in _LISTS:
            parser.addini(name, text, type="args", default=[])
        else:
            parser.addini(name, text, default="")


def pytest_configure(config: pytest.Config) -> None:
    """What is wrong with the configuration is told before anything is run."""
    from ._core.options import check_mode, check_seconds
    from ._diagnosis.leaks import check_leaks

    if _scope("", config) not in _SCOPES:
        raise pytest.UsageError(
            f"anylifespan_scope must be one of {', '.join(_SCOPES)}, got {_scope('', config)!r}"
        )
    unknown = set(_backends(config)) - set(_BACKENDS)
    if unknown:
        raise pytest.UsageError(
            f"anylifespan_backends must be of {', '.join(_BACKENDS)}, got {', '.join(unknown)}"
        )
    if not _base_url(config).startswith(("http://", "https://")):
        raise pytest.UsageError(
            f"anylifespan_base_url must begin with http:// or https://, got {_base_url(config)!r}"
        )
    try:
        check_mode(_mode(config))
        check_leaks(*_leaks(config))
        for name in ("anylifespan_startup_timeout", "anylifespan_shutdown_timeout"):
            check_seconds(name, _seconds(config, name))
    except ValueError as exc:
        raise pytest.UsageError(f"in the options of anylifespan: {exc}") from exc


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what would run an application on a backend that it is not made for."""
    left_out = [item for item in items if _backend_of(item) not in (None, *_backends(config))]
    if left_out:
        known = set(left_out)
        items[:] = [item for item in items if item not in known]
        config.hook.pytest_deselected(items=left_out)


def _backend_of(item: pytest.Item) -> str | None:
    """That on which it runs an application; None if it runs none, or does not say where."""
    if "asgi_lifespan" not in getattr(item, "fixturenames", ()):
        return None
    backend = getattr(getattr(item, "callspec", None), "params", {}).get("anyio_backend")
    return backend[0] if isinstance(backend, tuple) else backend


def _backends(config: pytest.Config) -> Sequence[str]:
    return config.getini("anylifespan_backends") or _BACKENDS


def _base_url(config: pytest.Config) -> str:
    return config.getini("anylifespan_base_url") or "http://test"


def _scope(fixture_name: str, config: pytest.Config) -> Any:
    return config.getini("anylifespan_scope") or "function"


def _mode(config: pytest.Config) -> Any:
    return config.getini("anylifespan_mode") or "on"


def _leaks(config: pytest.Config) -> tuple[Any, list[str]]:
    return config.getini("anylifespan_leaks") or "warn", config.getini("anylifespan_ignore_leaks")


def _seconds(config: pytest.Config, name: str) -> float | None:
    value = config.getini(name) or "30"
    try:
        return None if value == "none" else float(value)
    except ValueError:
        raise ValueError(f"{name} must be a number of seconds, or none, got {value!r}") from None


@pytest.fixture(scope=_scope)
def asgi_app(pytestconfig: pytest.Config) -> ASGIApp:
    """The application for :func:`asgi_lifespan` and :func:`asgi_client`: override it, or configure
    ``anylifespan_app``.
    """
    name = pytestconfig.getini("anylifespan_app")
    if not name:
        pytest.fail(
            "asgi_lifespan and asgi_client need an application: have a fixture asgi_app return it, "
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


@pytest.fixture(scope=_scope)
async def asgi_lifespan(
    anyio_backend: Any, asgi_app: ASGIApp, pytestconfig: pytest.Config
) -> AsyncIterator[LifespanManager]:
    """The application's :class:`~anylifespan.LifespanManager`; the application is up.

    If it dies while a test runs, that test fails. SystemExit is raised as the cause of a
    LifespanError.
    """
    from ._core.exceptions import describe
    from ._core.manager import LifespanManager
    from ._diagnosis.leaks import leaks_reported
    from .errors import LifespanCrashed, LifespanError

    manager = LifespanManager(
        asgi_app,
        mode=_mode(pytestconfig),
        startup_timeout=_seconds(pytestconfig, "anylifespan_startup_timeout"),
        shutdown_timeout=_seconds(pytestconfig, "anylifespan_shutdown_timeout"),
    )
    up = pytestconfig.stash.setdefault(_UP, {})
    this = _Up(asgi_app)
    try:
        async with leaks_reported(asgi_app, *_leaks(pytestconfig)) as is_up, manager:
            is_up()
            up[manager] = this
            yield manager
    except (LifespanCrashed, SystemExit) as exc:
        # An exit would end the event loop of the plugin that runs the fixture, for other tests too.
        error: LifespanError | None = manager.crash
        if error is None:
            error = LifespanError(f"the application raised {describe(exc)}")
            error.__cause__ = exc
        if not this.reported:
            raise error from error.__cause__
    finally:
        up.pop(manager, None)


@pytest.fixture(scope=_scope)
async def asgi_client(
    asgi_lifespan: LifespanManager, pytestconfig: pytest.Config
) -> AsyncIterator[ASGIClient]:
    """An ``AsyncClient`` of httpx2, or else httpx, for the application that is up.

    Its ``lifespan`` is the :class:`~anylifespan.LifespanManager`.
    """
    from .testing import ASGIClient

    async with ASGIClient(asgi_lifespan, base_url=_base_url(pytestconfig)) as client:
        yield client


def _fails_in(phase: str) -> Any:
    """If the application has died in this phase of a test, that is what has failed.

    Later tests, with the same application, are not to blame.
    """

    @pytest.hookimpl(wrapper=True)
    def run(item: pytest.Item) -> Generator[None, object, object]:
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
                text = "".join(traceback.format_exception(crash))
                item.add_report_section(phase, "crash of the application", text)
            raise
        for crash in _new_crashes(item):
            raise crash
        return result

    return run


def _check_that_its_own_is_up(item: pytest.Item) -> None:
    """pytest keeps a fixture for its scope even where another module overrides asgi_app."""
    fixtures: dict[str, Any] = getattr(item, "funcargs", {})
    if "asgi_lifespan" not in fixtures:
        return
    this = item.config.stash.get(_UP, {}).get(fixtures["asgi_lifespan"])
    if this is not None and this.app is not fixtures["asgi_app"]:
        pytest.fail(
            f"the application that is up is {this.app!r}, of an earlier test; asgi_app of this "
            f"test is {fixtures['asgi_app']!r}. One application is up for each "
            f"{_scope('', item.config)} (anylifespan_scope): choose a narrower scope, or define "
            "one asgi_app for all of its tests",
            pytrace=False,
        )


pytest_runtest_setup = _fails_in("setup")
pytest_runtest_call = _fails_in("call")
pytest_runtest_teardown = _fails_in("teardown")


def _new_crashes(item: pytest.Item) -> list[LifespanCrashed]:
    if "asgi_lifespan" not in getattr(item, "fixturenames", ()):
        return []
    up = item.config.stash.get(_UP, {})
    crashes = []
    for manager, this in up.items():
        crash = None if this.reported else manager.crash
        if crash is not None:
            this.reported = True
            crashes.append(crash)
    return crashes
