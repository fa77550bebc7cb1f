"""A server that does no more than the specification says: ``await server.ask("startup")``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from anyio import CancelScope, create_memory_object_stream, create_task_group


class PlainServer:
    """Drives the lifespan of an application, and sends it requests.

    :ivar state: that of the lifespan
    :ivar raised: what the application has raised in its lifespan
    """

    raised: BaseException | None = None

    def __init__(
        self,
        app: Any,
        ask: Callable[[str], Awaitable[dict[str, Any]]],
        state: dict[str, Any],
        lifespan: CancelScope,
    ) -> None:
        self.ask = ask
        self.state = state
        self.break_off = lifespan.cancel
        self._app = app

    async def request(self, kind: str = "http", **scope: Any) -> list[Any]:
        """One request; what the application has sent."""
        return await request(self._app, kind, state=self.state.copy(), **scope)


async def request(app: Any, kind: str = "http", **scope: Any) -> list[Any]:
    """One request, without a lifespan; what the application has sent."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request" if kind == "http" else "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": kind, **scope}, receive, send)
    return sent


@asynccontextmanager
async def plain_server(app: Any, state: dict[str, Any] | None = None) -> AsyncIterator[PlainServer]:
    state = {} if state is None else state
    events, events_of_app = create_memory_object_stream[dict[str, Any]](1)
    answers_of_app, answers = create_memory_object_stream[dict[str, Any]](1)

    async def ask(phase: str) -> dict[str, Any]:
        await events.send({"type": f"lifespan.{phase}"})
        return await answers.receive()

    async def lifespan() -> None:
        with scope:
            try:
                await app(
                    {"type": "lifespan", "asgi": {"version": "3.0"}, "state": state},
                    events_of_app.receive,
                    answers_of_app.send,
                )
            except (Exception, SystemExit) as exc:
                server.raised = exc

    scope = CancelScope()
    server = PlainServer(app, ask, state, scope)
    with events, events_of_app, answers_of_app, answers:
        async with create_task_group() as task_group:
            task_group.start_soon(lifespan)
            yield server
