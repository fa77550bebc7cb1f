"""``anylifespan.compat.asgi_lifespan``: what asgi-lifespan documents, and where it is mended."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from apps import Boom, app, hangs, raises, receives, sends, sleeps, started, stopped, well_behaved
from plain_server import request

from anylifespan import LifespanCrashed, ShutdownFailed, StartupFailed
from anylifespan.compat.asgi_lifespan import LifespanManager, LifespanNotSupported

pytestmark = pytest.mark.anyio


async def test_requests_have_a_state_of_their_own() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            scope["state"]["pool"] = 1
            await well_behaved(scope, receive, send)
        else:
            await send(dict(scope["state"]))
            scope["state"]["leak"] = True

    async with LifespanManager(application) as manager:
        assert await request(manager.app) == [{"pool": 1}]
        assert await request(manager.app) == [{"pool": 1}]


def test_the_limits() -> None:
    manager = LifespanManager(well_behaved)
    assert (manager.startup_timeout, manager.shutdown_timeout) == (5, 5)
    manager = LifespanManager(well_behaved, None, 3)
    assert (manager.startup_timeout, manager.shutdown_timeout) == (None, 3)


@pytest.mark.parametrize("steps", [[raises(Boom())], [sends("http.response.start")], []])
async def test_not_supported(steps: list[Any]) -> None:
    with pytest.raises(LifespanNotSupported, match=r"^the application has no lifespan") as caught:
        async with LifespanManager(app(*steps)):
            raise AssertionError("it has not started")
    assert "mode" not in str(caught.value)
    assert caught.value.message


async def test_what_the_application_raises_in_its_startup_comes_as_it_is() -> None:
    boom = Boom("no database")
    failing = app(receives, sends("lifespan.startup.failed", "no database"), raises(boom))
    for application in (failing, app(receives, raises(boom))):
        with pytest.raises(Boom) as info:
            async with LifespanManager(application):
                raise AssertionError("it has not started")
        assert info.value is boom


async def test_what_the_application_raises_in_its_shutdown_comes_as_it_is() -> None:
    boom = Boom("no goodbye")
    with pytest.raises(Boom) as info:
        async with LifespanManager(app(receives, started, receives, raises(boom))):
            pass
    assert info.value is boom


async def test_a_startup_that_is_not_done_in_time(passed: Any) -> None:
    begun = anyio.current_time()
    with pytest.raises(TimeoutError):
        async with LifespanManager(app(receives, hangs)):
            raise AssertionError("it has not started")
    assert passed(begun, 5)


async def test_a_timeout_is_told_even_if_the_application_raises_when_it_is_cancelled() -> None:
    async def raises_then(receive: Any, send: Any) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise Boom("of the clean-up")

    with pytest.raises(TimeoutError) as caught:
        async with LifespanManager(app(receives, raises_then), startup_timeout=1):
            raise AssertionError("it has not started")
    assert isinstance(caught.value.__cause__, Boom)


async def test_a_shutdown_that_is_not_done_in_time(passed: Any) -> None:
    with pytest.raises(TimeoutError):
        async with LifespanManager(app(receives, started, receives, hangs), shutdown_timeout=2):
            begun = anyio.current_time()
    assert passed(begun, 2)


async def test_an_exception_in_the_body_comes_as_it_is_after_the_shutdown() -> None:
    goodbyes: list[bool] = []

    async def says_goodbye(receive: Any, send: Any) -> None:
        goodbyes.append(True)

    for error in (Boom("in the body"), StartupFailed("of another application")):
        error.__cause__ = Boom("another")
        with pytest.raises(type(error)) as info:
            async with LifespanManager(app(receives, started, receives, says_goodbye, stopped)):
                raise error
        assert info.value is error
    assert goodbyes == [True, True]


# Where it is mended


async def test_startup_failed_without_an_exception_is_told_at_once(passed: Any) -> None:
    begun = anyio.current_time()
    with pytest.raises(StartupFailed, match="no database"):
        async with LifespanManager(app(receives, sends("lifespan.startup.failed", "no database"))):
            raise AssertionError("it has not started")
    assert passed(begun, 0)


async def test_shutdown_failed_without_an_exception_is_told() -> None:
    failing = app(receives, started, receives, sends("lifespan.shutdown.failed", "no goodbye"))
    with pytest.raises(ShutdownFailed, match="no goodbye"):
        async with LifespanManager(failing):
            pass


async def test_a_crash_ends_the_body_at_once(passed: Any) -> None:
    boom = Boom("died")
    with pytest.raises(Boom) as info:
        async with LifespanManager(app(receives, started, sleeps(1), raises(boom))):
            begun = anyio.current_time()
            await anyio.sleep_forever()
    assert info.value is boom
    assert passed(begun, 1)


async def test_a_crash_by_words_alone() -> None:
    dying = app(receives, started, sleeps(1), sends("lifespan.shutdown.failed", "died"))
    with pytest.raises(LifespanCrashed, match="died"):
        async with LifespanManager(dying):
            await anyio.sleep_forever()
