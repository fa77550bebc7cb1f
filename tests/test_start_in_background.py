"""A startup in the background: the server is up at once, and requests are refused meanwhile."""

from __future__ import annotations

import logging
import sys
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from apps import Boom, app, deaf, hangs, raises, receives, sends, sleeps, started, stopped
from plain_server import plain_server, request

from anylifespan import (
    LifespanCrashed,
    LifespanManager,
    LifespanMiddleware,
    Phase,
    StartupFailed,
    StartupTimeout,
)
from anylifespan._process.server import Server

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

pytestmark = pytest.mark.anyio

COMPLETE = {"type": "lifespan.startup.complete"}
STOPPED = {"type": "lifespan.shutdown.complete"}
SERVED = [{"type": "served"}]


def in_background(*steps: Any, **options: Any) -> LifespanMiddleware:
    lifespan = app(*steps)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            scope["state"]["pool"] = 1
            await lifespan(scope, receive, send)
        else:
            assert scope["state"] == {"pool": 1}
            await send({"type": "served"})

    return LifespanMiddleware(application, start_in_background=True, **options)


async def refused(application: Any) -> tuple[int, bytes, bytes | None]:
    start, body = await request(application)
    return start["status"], body["body"], dict(start["headers"]).get(b"retry-after")


IS_STARTING = (503, b"The application is starting.\n", b"5")
IS_DOWN = (503, b"The application is not available.\n", None)


async def test_requests_are_refused_until_it_is_started() -> None:
    middleware = in_background(receives, sleeps(60), started, receives, stopped, startup_timeout=99)
    async with plain_server(middleware) as server:
        assert await server.ask("startup") == COMPLETE
        await anyio.sleep(59)
        assert middleware.phase is Phase.STARTING
        assert await refused(middleware) == IS_STARTING
        start, body = await request(middleware)
        length = dict(start["headers"])[b"content-length"]
        assert int(length) == len(body["body"])
        assert await request(middleware, "websocket") == [
            {"type": "websocket.close", "code": 1013, "reason": "Try again later"}
        ]
        await anyio.sleep(2)
        assert middleware.phase is Phase.SERVING
        assert await server.request() == SERVED
        assert await server.ask("shutdown") == STOPPED
    assert server.raised is None


async def test_a_shutdown_meanwhile_cancels_it(log: pytest.LogCaptureFixture) -> None:
    middleware = in_background(receives, hangs)
    async with plain_server(middleware) as server:
        await server.ask("startup")
        await wait_all_tasks_blocked()
        assert await server.ask("shutdown") == STOPPED
    assert server.raised is None
    assert middleware.phase is Phase.STOPPED
    assert middleware.crash is None
    assert log.messages == ["Application startup cancelled."]


async def test_a_shutdown_at_once_cancels_it() -> None:
    middleware = in_background(receives, hangs)
    async with plain_server(middleware) as server:
        await server.ask("startup")
        assert await server.ask("shutdown") == STOPPED
    assert server.raised is None


async def test_a_notice_of_a_stop_cancels_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stopping = False
    found = Server(lambda: None, lambda: stopping)
    monkeypatch.setattr("anylifespan.middleware.find_server", lambda: found)
    middleware = in_background(receives, hangs, startup_timeout=None)
    async with plain_server(middleware) as server:
        await server.ask("startup")
        stopping = True
        await anyio.sleep(1)
        assert middleware.phase is Phase.STOPPED
        assert middleware.crash is None
        assert await refused(middleware) == IS_DOWN
        assert await server.ask("shutdown") == STOPPED


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_event_loop_that_ends_meanwhile_cancels_it(
    backend: str, log: pytest.LogCaptureFixture
) -> None:
    middleware = in_background(receives, hangs)

    async def one_request() -> None:
        assert await refused(middleware) == IS_STARTING
        await wait_all_tasks_blocked()

    anyio.run(one_request, backend=backend)
    assert "did not start" not in log.text


async def test_one_that_ignores_its_cancellation_is_left(log: pytest.LogCaptureFixture) -> None:
    until = anyio.Event()
    middleware = in_background(receives, deaf(until))
    async with plain_server(middleware) as server:
        await server.ask("startup")
        await wait_all_tasks_blocked()
        since = anyio.current_time()
        await server.ask("shutdown")
        assert anyio.current_time() - since == pytest.approx(5, abs=0.1)
        until.set()
    assert "ignores the cancellation" in log.text


async def test_a_server_that_breaks_off_has_it_cancelled() -> None:
    middleware = in_background(receives, hangs)
    async with plain_server(middleware) as server:
        await server.ask("startup")
        await wait_all_tasks_blocked()
        server.break_off()
    assert middleware.phase is Phase.STOPPED


async def test_a_server_that_breaks_off_waits_for_its_end() -> None:
    async def hangs_and_cleans_up(receive: Any, send: Any) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(2)
            cleaned_up.append(True)

    cleaned_up: list[bool] = []
    async with plain_server(in_background(receives, hangs_and_cleans_up)) as server:
        await server.ask("startup")
        await wait_all_tasks_blocked()
        server.break_off()
    assert cleaned_up == [True]


@pytest.mark.parametrize(
    ("steps", "kind"),
    [
        ([receives, sends("lifespan.startup.failed", "no database")], StartupFailed),
        ([receives, hangs], StartupTimeout),
        ([receives, raises(Boom("no database"))], Boom),
    ],
    ids=["says so", "hangs", "raises"],
)
async def test_a_failure_is_a_crash(
    steps: Any, kind: type[Exception], log: pytest.LogCaptureFixture
) -> None:
    middleware = in_background(*steps, mode="on", startup_timeout=3)
    async with plain_server(middleware) as server:
        assert await server.ask("startup") == COMPLETE
        await anyio.sleep(4)
        # There is no server to be stopped, so its driver gets it.
        assert isinstance(server.raised, kind)
        crash = middleware.crash
        assert isinstance(crash, LifespanCrashed)
        assert isinstance(crash.__cause__, StartupFailed)
        assert "did not start in the background: " in str(crash)
        assert crash.message == crash.__cause__.message
    assert [record.levelno for record in log.records] == [logging.ERROR]
    assert log.messages[0].startswith("The application did not start: ")


async def test_a_failure_that_is_only_logged() -> None:
    middleware = in_background(
        receives,
        sends("lifespan.startup.failed", "no database"),
        on_crash="log",
        liveness_path="/live",
    )
    async with plain_server(middleware) as server:
        await server.ask("startup")
        await wait_all_tasks_blocked()
        assert await refused(middleware) == IS_DOWN
        start, body = await request(middleware, method="GET", path="/live")
        assert (start["status"], body["body"]) == (503, b'{"status": "crashed"}\n')
        answer = await server.ask("shutdown")
    assert answer["type"] == "lifespan.shutdown.failed"
    assert "no database" in answer["message"]
    assert isinstance(server.raised, StartupFailed)


async def test_on_crash_is_called_with_a_failure() -> None:
    crashes: list[LifespanCrashed] = []
    failed = sends("lifespan.startup.failed", "no database")
    middleware = in_background(receives, failed, on_crash=crashes.append)
    async with plain_server(middleware) as server:
        await server.ask("startup")
        await wait_all_tasks_blocked()
        (crash,) = crashes
        assert crash.message == "no database"
        await server.ask("shutdown")


async def test_a_failure_stops_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    stops: list[bool] = []
    found = Server(lambda: stops.append(True), lambda: bool(stops))
    monkeypatch.setattr("anylifespan.middleware.find_server", lambda: found)
    middleware = in_background(receives, sends("lifespan.startup.failed", "no database"))
    async with plain_server(middleware) as server:
        await server.ask("startup")
        await anyio.sleep(1)
        assert stops == [True]
        assert server.raised is None
        answer = await server.ask("shutdown")
    assert "no database" in answer["message"]


@pytest.mark.parametrize("mode", ["auto", "on"])
async def test_a_crash_right_after_the_startup_is_one_crash(
    mode: Any, log: pytest.LogCaptureFixture
) -> None:
    boom = Boom("died")
    crashes: list[LifespanCrashed] = []
    middleware = in_background(receives, started, raises(boom), mode=mode, on_crash=crashes.append)
    async with plain_server(middleware) as server:
        await server.ask("startup")
        await wait_all_tasks_blocked()
        assert [crash.__cause__ for crash in crashes] == [boom]
        assert middleware.crash is not None
        assert (await server.ask("shutdown"))["type"] == "lifespan.shutdown.failed"
    assert [record.levelno for record in log.records] == [logging.ERROR]


async def test_one_that_exits_ends_the_driver_with_it() -> None:
    middleware = in_background(receives, raises(SystemExit(7)))
    async with plain_server(middleware) as server:
        await server.ask("startup")
        await wait_all_tasks_blocked()
        assert isinstance(server.raised, SystemExit)
        assert server.raised.code == 7


async def test_under_our_manager() -> None:
    middleware = in_background(receives, sleeps(3), started, receives, stopped)
    async with LifespanManager(middleware) as manager:
        assert await refused(manager.app) == IS_STARTING
        await anyio.sleep(4)
        assert await request(manager.app) == SERVED


async def test_started_by_a_request() -> None:
    middleware = in_background(receives, sleeps(3), started, hangs, readiness_path="/ready")
    assert await refused(middleware) == IS_STARTING
    start, _ = await request(middleware, method="GET", path="/ready")
    assert start["status"] == 503
    await anyio.sleep(4)
    assert await request(middleware) == SERVED


async def test_started_by_a_probe() -> None:
    middleware = in_background(receives, sleeps(3), started, hangs, readiness_path="/ready")
    for status in (503, 200):
        start, _ = await request(middleware, method="GET", path="/ready")
        assert start["status"] == status
        await anyio.sleep(4)


@pytest.mark.parametrize("exit_", [SystemExit(7), KeyboardInterrupt()], ids=["exit", "Ctrl-C"])
async def test_an_exit_in_a_group_ends_the_driver(exit_: BaseException) -> None:
    group = BaseExceptionGroup("two", [Boom("another"), exit_])
    middleware = in_background(receives, raises(group))
    raised: list[BaseException] = []

    async def lifespan() -> None:
        async def receive() -> dict[str, Any]:
            await wait_all_tasks_blocked()
            return {"type": "lifespan.startup"} if not sent else await anyio.sleep_forever()

        async def send(message: Any) -> None:
            sent.append(message)

        sent: list[Any] = []
        try:
            await middleware({"type": "lifespan", "state": {}}, receive, send)
        except BaseException as exc:
            raised.append(exc)

    await lifespan()
    assert raised == [exit_]
    assert middleware.crash is not None


async def test_a_startup_that_has_failed_in_the_moment_of_the_stop() -> None:
    """The application has said so, and is still cleaning up."""
    failed = sends("lifespan.startup.failed", "no database")
    middleware = in_background(receives, failed, sleeps(3))
    async with plain_server(middleware) as server:
        await server.ask("startup")
        await wait_all_tasks_blocked()
        answer = await server.ask("shutdown")
    assert answer["type"] == "lifespan.shutdown.failed"
    assert "no database" in answer["message"]


async def test_on_crash_of_a_failure_at_the_stop_is_cancelled() -> None:
    calls: list[str] = []

    async def on_crash(crash: LifespanCrashed) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            calls.append("cancelled")

    failed = sends("lifespan.startup.failed", "no database")
    middleware = in_background(receives, failed, on_crash=on_crash)
    async with plain_server(middleware) as server:
        await server.ask("startup")
        since = anyio.current_time()
        await server.ask("shutdown")
        assert anyio.current_time() - since < 1
    assert calls in (["cancelled"], [])


async def test_started_by_a_request_it_is_tried_again() -> None:
    fails = True

    async def decides(receive: Any, send: Any) -> None:
        await sends(f"lifespan.startup.{'failed' if fails else 'complete'}")(receive, send)
        if not fails:
            await hangs(receive, send)

    middleware = in_background(receives, decides, readiness_path="/ready")
    for _ in range(2):
        start, _body = await request(middleware)
        assert start["status"] == 503
        await wait_all_tasks_blocked()
    fails = False
    start, _body = await request(middleware, method="GET", path="/ready")
    assert start["status"] == 503
    await wait_all_tasks_blocked()
    assert await request(middleware) == SERVED
