"""Type-checked, not run: what is not an application, or an option, is reported."""

from __future__ import annotations

from typing import Any

from anylifespan import LifespanManager


async def plain(scope: Any, receive: Any, send: Any) -> None: ...


async def two_parameters(environ: Any, start_response: Any) -> None: ...


def not_async(scope: Any, receive: Any, send: Any) -> None: ...


# Each of these is an error; an ignore that is not needed would be one, too.
LifespanManager(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
LifespanManager("main:app")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
LifespanManager(two_parameters)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
LifespanManager(not_async)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
LifespanManager(plain, mode="never")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
LifespanManager(plain, startup_timeout="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
LifespanManager(plain, state=[])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
LifespanManager(plain, "on")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
