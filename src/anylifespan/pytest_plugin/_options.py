"""The plugin's options in pytest's configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

# "package" is left out: pytest treats it as "session" if a plugin defines the fixture.
_SCOPES = ("function", "class", "module", "session")
_BACKENDS = ("asyncio", "trio")
_LISTS = ("anylifespan_ignore_leaks", "anylifespan_backends")
_SECONDS = (
    "anylifespan_startup_timeout",
    "anylifespan_shutdown_timeout",
    "anylifespan_drain_timeout",
)
_OPTIONS = {
    "anylifespan_app": 'the application of asgi_app: "module:attribute"',
    "anylifespan_mode": "the mode of the lifespan: on (the default), auto or off",
    "anylifespan_startup_timeout": "seconds the startup may take (30); none for no limit",
    "anylifespan_shutdown_timeout": "seconds the shutdown may take (30); none for no limit",
    "anylifespan_drain_timeout": "seconds a request may go on without its client (1); or none",
    "anylifespan_leaks": "what to do about what is left behind: warn (the default), error or off",
    "anylifespan_ignore_leaks": "patterns of known leaks: of names, or of places as */pool.py:42",
    "anylifespan_backends": "on what the application runs: asyncio, trio, or (the default) both",
    "anylifespan_base_url": "what the URLs of the clients are relative to (http://test)",
    "anylifespan_scope": f"the scope of the fixtures: {', '.join(_SCOPES)}; by default the first",
}


def add_to(parser: pytest.Parser) -> None:
    """Declare the options."""
    for name, text in _OPTIONS.items():
        if name in _LISTS:
            parser.addini(name, text, type="args", default=[])
        else:
            parser.addini(name, text, default="")


def check(config: pytest.Config) -> None:
    """Check the options before any test runs.

    :raises pytest.UsageError: if an option is not valid
    """
    from .._core.options import check_leaks, check_mode, check_seconds

    if scope("", config) not in _SCOPES:
        raise pytest.UsageError(
            f"anylifespan_scope must be one of {', '.join(_SCOPES)}, got {scope('', config)!r}"
        )
    unknown = set(backends(config)) - set(_BACKENDS)
    if unknown:
        raise pytest.UsageError(
            f"anylifespan_backends must be of {', '.join(_BACKENDS)}, got {', '.join(unknown)}"
        )
    if not base_url(config).startswith(("http://", "https://")):
        raise pytest.UsageError(
            f"anylifespan_base_url must begin with http:// or https://, got {base_url(config)!r}"
        )
    try:
        check_mode(config.getini("anylifespan_mode") or "on")
        check_leaks(*_leaks(config))
        for name in _SECONDS:
            check_seconds(name, _seconds(config, name))
    except ValueError as exc:
        raise pytest.UsageError(f"in the options of anylifespan: {exc}") from exc


def scope(fixture_name: str, config: pytest.Config) -> Any:
    """Return the fixtures' scope. pytest calls this for each fixture."""
    return config.getini("anylifespan_scope") or "function"


def backends(config: pytest.Config) -> Sequence[str]:
    """Return the backends that the application may run on."""
    return config.getini("anylifespan_backends") or _BACKENDS


def base_url(config: pytest.Config) -> str:
    """Return the clients' base URL."""
    return config.getini("anylifespan_base_url") or "http://test"


def of_manager(config: pytest.Config) -> dict[str, Any]:
    """Return the options for a LifespanManager."""
    return {
        "mode": config.getini("anylifespan_mode") or "on",
        "startup_timeout": _seconds(config, "anylifespan_startup_timeout"),
        "shutdown_timeout": _seconds(config, "anylifespan_shutdown_timeout"),
    }


def of_leaks(config: pytest.Config) -> dict[str, Any]:
    """Return the options for leak detection."""
    how, ignored = _leaks(config)
    return {"leaks": how, "ignore_leaks": ignored}


def drain_timeout(config: pytest.Config) -> float | None:
    """Return how many seconds a request may keep running after the client has closed it."""
    return _seconds(config, "anylifespan_drain_timeout")


def _leaks(config: pytest.Config) -> tuple[Any, list[str]]:
    return config.getini("anylifespan_leaks") or "warn", config.getini("anylifespan_ignore_leaks")


def _seconds(config: pytest.Config, name: str) -> float | None:
    value = config.getini(name) or ("1" if name == "anylifespan_drain_timeout" else "30")
    try:
        return None if value == "none" else float(value)
    except ValueError:
        raise ValueError(f"{name} must be a number of seconds, or none, got {value!r}") from None
