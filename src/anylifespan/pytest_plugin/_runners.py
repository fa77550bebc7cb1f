"""Finds the plugin that runs an asynchronous test, and the fixtures for that plugin."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

import pytest

# Maps each plugin's module to the module in this package that has fixtures for the plugin.
_MODULES = {
    "anyio.pytest_plugin": "_by_anyio",
    "pytest_asyncio.plugin": "_by_asyncio",
    "pytest_trio.plugin": "_by_trio",
}
_LOADED = pytest.StashKey["set[str]"]()
_ITEM = pytest.StashKey[pytest.Item]()


def load(config: pytest.Config) -> None:
    """Register the fixtures for each supported plugin that pytest has loaded."""
    plugins = {getattr(plugin, "__name__", "") for plugin in config.pluginmanager.get_plugins()}
    config.stash[_LOADED] = loaded = {_MODULES[name] for name in plugins & _MODULES.keys()}
    for name in loaded:
        module = importlib.import_module(f"{__package__}.{name}")
        config.pluginmanager.register(module, f"anylifespan{name}")


def runs(item: pytest.Item) -> None:
    """Remember the test whose fixtures are set up from now on."""
    item.config.stash[_ITEM] = item


def set_up_backend_first(item: pytest.Item) -> None:
    """Move ``anyio_backend`` to the front of a test's fixtures.

    pytest sets up a test's fixtures in the order of ``fixturenames``, and does not know that this
    plugin's fixtures depend on the backend. When the backend changes, setting it up first tears
    down fixtures that used the previous backend.
    """
    names: list[str] = item.fixturenames  # type: ignore[attr-defined]
    if "anyio_backend" in names:
        names.remove("anyio_backend")
        names.insert(0, "anyio_backend")


def fixture_for(what: str, request: pytest.FixtureRequest) -> object:
    """Return the value of the fixture for the plugin that runs the current test.

    :param what: ``"lifespan"`` or ``"client"``
    """
    item = request.config.stash[_ITEM]
    runner = _runner_of(item)
    if runner is None:
        pytest.fail(
            f"the fixture asgi_{what} is for asynchronous tests that are run by anyio's plugin, "
            "pytest-asyncio or pytest-trio, but none of them runs this test: mark it, for example "
            "with pytest.mark.anyio. In synchronous tests, use asgi_sync_client",
            pytrace=False,
        )
    name = f"_asgi_{what}{runner}"
    value = request.getfixturevalue(name)
    # pytest would keep this fixture's value even after the fixture that the value came from has
    # been torn down for the next backend.
    internal: Any = request
    finish = partial(internal._fixturedef.finish, request=request)
    internal._get_active_fixturedef(name).addfinalizer(finish)
    return value


def backend_of(item: pytest.Item) -> str | None:
    """Return the backend that a test runs on; None if the backend is unknown."""
    runner = _runner_of(item) or ""
    if runner != "_by_anyio":
        return "trio" if runner == "_by_trio" else "asyncio" if runner else None
    backend = getattr(getattr(item, "callspec", None), "params", {}).get("anyio_backend")
    return backend[0] if isinstance(backend, tuple) else backend


def _runner_of(item: pytest.Item) -> str | None:
    """Return the suffix of the fixtures' names for a test; None if no supported plugin runs it."""
    loaded = item.config.stash[_LOADED]
    if "_by_trio" in loaded and item.get_closest_marker("trio") is not None:
        return "_by_trio"
    asyncio = item.get_closest_marker("asyncio")
    if "_by_asyncio" in loaded and asyncio is not None:
        scope = asyncio.kwargs.get("loop_scope", asyncio.kwargs.get("scope"))
        return f"_by_asyncio_{scope or item.config.getini('asyncio_default_test_loop_scope')}"
    if "_by_anyio" in loaded and "anyio_backend" in getattr(item, "fixturenames", ()):
        return "_by_anyio"
    return None
