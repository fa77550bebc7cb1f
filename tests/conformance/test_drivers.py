"""All ways into a lifespan of this library pass all cases, as the tests of any driver may show."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from drivers import OURS, compatible

from anylifespan import LifespanManager
from anylifespan.conformance import Case, cases

pytestmark = pytest.mark.anyio

FOR_DRIVERS = [case for case in cases if case.for_drivers]


@pytest.mark.parametrize("way", OURS)
@pytest.mark.parametrize("case", FOR_DRIVERS, ids=str)
async def test_every_way_in_passes(case: Case, way: str) -> None:
    verdict = await case.check(OURS[way])
    assert verdict.outcome == "passed"


@pytest.mark.parametrize("case", FOR_DRIVERS, ids=str)
async def test_the_one_that_stands_in_for_asgi_lifespan_raises_without_a_lifespan(
    case: Case,
) -> None:
    if case.topic == "unsupported" and case.name not in (
        "unsupported.no-more-events",
        "unsupported.raise-is-logged",
    ):
        with pytest.raises(AssertionError, match=r"LifespanNotSupported|ValueError"):
            await case.check(compatible)
    else:
        assert (await case.check(compatible)).outcome == "passed"


BY_NAME = {case.name: case for case in cases}


@asynccontextmanager
async def without_state(app: Any) -> AsyncIterator[Any]:
    async def call(scope: Any, receive: Any, send: Any) -> None:
        scope = {key: value for key, value in scope.items() if key != "state"}
        await app(scope, receive, send)

    async with LifespanManager(call) as manager:
        yield manager


async def test_cases_of_the_state_do_not_apply_without_one() -> None:
    for name in ("state.in-requests", "state.added-while-serving"):
        verdict = await BY_NAME[name].check(without_state)
        assert (verdict.outcome, verdict.seen) == ("skipped", "the lifespan scope has no state")
    with pytest.raises(AssertionError, match="seen: it has none"):
        await BY_NAME["state.offered"].check(without_state)


@asynccontextmanager
async def without_websockets(app: Any) -> AsyncIterator[Any]:
    """And it reads requests before it passes them on."""

    async def call(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            assert await receive() == {"type": "http.request", "body": b"", "more_body": False}
        if scope["type"] != "websocket":
            await manager.app(scope, receive, send)

    async with LifespanManager(app) as manager:
        yield SimpleNamespace(app=call, state=manager.state)


@pytest.mark.parametrize("name", ["state.in-websockets", "state.copied-for-each-websocket"])
async def test_cases_of_websockets_do_not_apply_without_them(name: str) -> None:
    verdict = await BY_NAME[name].check(without_websockets)
    assert verdict.outcome == "skipped"
    assert verdict.seen == "no WebSocket came to the application"


async def test_a_case_for_servers_is_refused() -> None:
    (case,) = [one for one in cases if one.name == "signal.sigint-stops"]
    with pytest.raises(ValueError, match=r"signal\.sigint-stops is for servers: leave out"):
        await case.check(LifespanManager)
