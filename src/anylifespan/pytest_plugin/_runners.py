"""Which plugin runs an asynchronous test, and so has to run the asynchronous fixtures."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

import pytest

# Of each, by the module that is its plugin: the module here that has fixtures for it.
_MODULES = {
    "anyio.pytest_plugin": "_by_anyio",
    "pytest_asyncio.plugin": "_by_asyncio",
    "pytest_trio.plugin": "_by_trio",
}
_LOADED = pytest.StashKey["set[str]"]()
_ITEM = pytest.StashKey[pytest.Item]()


def load(config: pytest.Config) -> None:
    """Have fixtures for each of the plugins that are there."""
    plugins = {getattr(plugin, "__name__", "") for plugin in config.pluginmanager.get_plugins()}
    config.stash[_LOADED] = loaded = {_MODULES[name] for name in plugins & _MODULES.keys()}
    for name in loaded:
        module = importlib.import_module(f"{__package__}.{name}")
        config.pluginmanager.register(module, f"anylifespan{name}")


def runs(item: pytest.Item) -> None:
    """Note that this is the test whose fixtures are set up from now on."""
    item.config.stash[_ITEM] = item


def set_up_backend_first(item: pytest.Item) -> None:
    """Have a change of the backend end what depends on it before a fixture asks for that.

    pytest sets up the fixtures of a test in the order of their names. It does not know that those
    of this plugin depend on the backend, so that fixtures which depend on them might come before.
    """
    names: list[str] = item.fixturenames  # type: ignore[attr-defined]
    if "anyio_backend" in names:
        names.remove("anyio_backend")
        names.insert(0, "anyio_backend")


def fixture_for(what: str, request: pytest.FixtureRequest) -> object:
    """The value of a fixture, from the plugin that runs the current test.

    :param what: ``"lifespan"`` or ``"client"``
    """
    item = request.config.stash[_ITEM]
    runner = _runner_of(item)
    if runner is None:
        pytest.fail(
            f"the fixture asgi_{what} is for asynchronous tests that are run by anyio's plugin, "
            "pytest-asyncio or pytest-trio, and this test is run by none of them: mark it for one, "
            "as with pytest.mark.anyio. For synchronous tests there is asgi_sync_client",
            pytrace=False,
        )
    name = f"_asgi_{what}{runner}"
    value = request.getfixturevalue(name)
    # pytest keeps what a fixture has returned even if that was the value of another one, which is
    # torn down for the next backend.
    internal: Any = request
    finish = partial(internal._fixturedef.finish, request=request)
    internal._get_active_fixturedef(name).addfinalizer(finish)
    return value


def backend_of(item: pytest.Item) -> str | None:
    """The backend that a test runs on; None if it is not known."""
    runner = _runner_of(item) or ""
    if runner != "_by_anyio":
        return "trio" if runner == "_by_trio" else "asyncio" if runner else None
    backend = getattr(getattr(item, "callspec", None), "params", {}).get("anyio_backend")
    return backend[0] if isinstance(backend, tuple) else backend


def _runner_of(item: pytest.Item) -> str | None:
    """The end of the names of the fixtures for it."""
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
