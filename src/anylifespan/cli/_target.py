"""The application to run, and the backends to run it on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio
import click

from .. import LifespanManager

T = TypeVar("T")

BACKENDS: dict[str, tuple[str, dict[str, Any]]] = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}


@dataclass(frozen=True)
class Target:
    """The application, and the options for its lifespan."""

    name: str
    load: Callable[[], Any]
    options: dict[str, Any]

    def new_manager(self, **options: Any) -> LifespanManager:
        """Create a manager for one lifespan of the application.

        :raises click.UsageError: if the application cannot be loaded, or an option is not valid
        """
        app = self.load()
        try:
            return LifespanManager(app, **{**self.options, **options})
        except (TypeError, ValueError) as exc:
            hint = " (--factory does so)" if "if it is a factory" in str(exc) else ""
            raise click.UsageError(f"{self.name}: {exc}{hint}") from exc


def run_on(backend: str, function: Callable[[], Awaitable[T]]) -> T:
    """Run an asynchronous function in a backend's event loop, and return its result."""
    name, options = BACKENDS[backend]
    try:
        return anyio.run(function, backend=name, backend_options=options)
    except BaseException as exc:
        if sys.version_info < (3, 11):
            # This is how anyio.run() ends after Ctrl-C.
            if isinstance(exc, asyncio.CancelledError):
                raise KeyboardInterrupt from exc
        raise
