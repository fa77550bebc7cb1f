"""``with_lifespan``, ``lifespan_of`` and ``combine``: lifespans put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from a2wsgi import WSGIMiddleware
from anyio.lowlevel import checkpoint
from apps import (
    Boom,
    app,
    hangs,
    raises,
    receives,
    sends,
    started,
    stopped,
    well_behaved,
)
from fastapi import FastAPI
from plain_server import plain_server, request
from starlette.applications import Starlette

from anylifespan import (
    LifespanCrashed,
    LifespanManager,
    Phase,
    ShutdownFailed,
    StartupFailed,
    StartupTimeout,
    combine,
    lifespan_of,
    with_lifespan,
)

pytestmark = pytest.mark.anyio

greeting: ContextVar[str] = ContextVar("greeting", default="unset")
SERVED = [{"type": "served"}]


class Diary:
    """Applications and lifespans that write down what happens to them.

    :ivar entries: what has happened, in order
    """

    def __init__(self) -> None:
        self.entries: list[str] = []

    def app(self, name: str, *steps: Any, **state: Any) -> Any:
        """An application of which the lifespan takes the steps, and sets the state."""
        lifespan = app(*(steps or (receives, started, receives, stopped)))

        async def application(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "lifespan":
                self.entries.append(f"{name} saw {greeting.get()} {scope['state']}")
                await send({"type": "served"})
                return
            self.entries.append(f"{name} starts")
            scope["state"].update(state)
            try:
                await lifespan(scope, receive, send)
            finally:
                self.entries.append(f"{name} ends")

        application.__qualname__ = name
        return application

    def lifespan(self, name: str, **state: Any) -> Any:
        """A lifespan as Starlette takes one, which yields the state."""

        @asynccontextmanager
        async def lifespan(app: Any) -> AsyncIterator[Mapping[str, Any] | None]:
            self.entries.append(f"{name} opens")
            greeting.set(f"hello from {name}")
            try:
                await checkpoint()
                yield state or None
            finally:
                self.entries.append(f"{name} closes")
                await checkpoint()

        lifespan.__qualname__ = name
        return lifespan


@pytest.fixture
def diary() -> Diary:
    return Diary()


async def takes_a_second(receive: Any, send: Any) -> None:
    await anyio.sleep(1)


async def refuses(scope: Any, receive: Any, send: Any) -> None:
    """As Django does."""
    if scope["type"] == "lifespan":
        raise ValueError("no lifespan here")
    await send({"type": f"{greeting.get()} {scope['state']}"})


# with_lifespan


async def test_an_application_that_refuses_its_lifespan_is_given_one(diary: Diary) -> None:
    served = with_lifespan(refuses, diary.lifespan("pool", pool=1), diary.lifespan("cache"))
    async with LifespanManager(served, mode="on") as manager:
        assert manager.state == {"pool": 1}
        assert diary.entries == ["pool opens", "cache opens"]
    assert diary.entries[2:] == ["cache closes", "pool closes"]


async def test_a_lifespan_beside_the_applications_own(diary: Diary) -> None:
    served = with_lifespan(diary.app("shop", shop=2), diary.lifespan("pool", pool=1))
    async with LifespanManager(served, mode="on") as manager:
        assert manager.state == {"pool": 1, "shop": 2}
    assert diary.entries == ["pool opens", "shop starts", "shop ends", "pool closes"]


async def test_requests_see_the_state_and_the_variables_under_any_server(diary: Diary) -> None:
    served = with_lifespan(refuses, diary.lifespan("pool", pool=1))
    async with plain_server(served) as server:
        assert await server.ask("startup") == {"type": "lifespan.startup.complete"}
        assert await request(served) == [{"type": "hello from pool {'pool': 1}"}]
        assert await server.ask("shutdown") == {"type": "lifespan.shutdown.complete"}
    assert greeting.get() == "unset"


async def test_a_server_that_knows_no_state(diary: Diary) -> None:
    served = with_lifespan(refuses, diary.lifespan("pool", pool=1))

    async def without_state(scope: Any, receive: Any, send: Any) -> None:
        del scope["state"]
        await served(scope, receive, send)

    async with plain_server(without_state) as server:
        await server.ask("startup")
        assert await request(served) == [{"type": "hello from pool {'pool': 1}"}]
        await server.ask("shutdown")


async def test_wsgi(diary: Diary) -> None:
    def wsgi(environ: Any, start_response: Any) -> Any:
        raise AssertionError("no request is sent")

    served = with_lifespan(WSGIMiddleware(wsgi), diary.lifespan("pool"))
    async with LifespanManager(served, mode="on"):
        assert diary.entries == ["pool opens"]


async def test_without_lifespans_there_is_the_applications_own(diary: Diary) -> None:
    async with LifespanManager(with_lifespan(diary.app("shop")), mode="on"):
        assert diary.entries == ["shop starts"]


async def test_a_lifespan_that_raises_at_its_start(diary: Diary) -> None:
    @asynccontextmanager
    async def broken(app: Any) -> AsyncIterator[None]:
        raise Boom("no cache")
        yield

    served = with_lifespan(diary.app("shop"), diary.lifespan("pool"), broken)
    with pytest.raises(StartupFailed) as info:
        async with LifespanManager(served):
            pass
    assert info.value.message == "Boom: no cache"
    assert isinstance(info.value.__cause__, Boom)
    assert diary.entries == ["pool opens", "pool closes"]


async def test_an_application_that_does_not_start(diary: Diary) -> None:
    failing = diary.app("shop", receives, sends("lifespan.startup.failed", "no database"))
    with pytest.raises(StartupFailed, match="shop: the application failed to start: no database"):
        async with LifespanManager(with_lifespan(failing, diary.lifespan("pool"))):
            pass
    assert diary.entries == ["pool opens", "shop starts", "shop ends", "pool closes"]


async def test_an_application_that_does_not_shut_down(diary: Diary) -> None:
    failing = diary.app("shop", receives, started, receives, raises(Boom("no goodbye")))
    with pytest.raises(ShutdownFailed, match="no goodbye"):
        async with LifespanManager(with_lifespan(failing, diary.lifespan("pool"))):
            pass
    assert diary.entries[-1] == "pool closes"


async def test_an_application_that_crashes(diary: Diary) -> None:
    crashing = diary.app("shop", receives, started, takes_a_second, raises(Boom("died")))
    with pytest.raises(LifespanCrashed, match="died"):
        async with LifespanManager(with_lifespan(crashing, diary.lifespan("pool"))):
            await anyio.sleep_forever()
    assert diary.entries[-1] == "pool closes"


@asynccontextmanager
async def swallows(app: Any) -> AsyncIterator[None]:
    with suppress(Exception):
        yield


async def test_a_lifespan_that_swallows_a_failed_start(diary: Diary) -> None:
    failing = diary.app("shop", receives, sends("lifespan.startup.failed", "no database"))
    with pytest.raises(StartupFailed, match="failed to start: no database"):
        async with LifespanManager(with_lifespan(failing, swallows)):
            raise AssertionError("it has not started")


async def test_a_lifespan_that_swallows_a_crash(diary: Diary) -> None:
    crashing = diary.app("shop", receives, started, takes_a_second, raises(Boom("died")))
    with pytest.raises(LifespanCrashed, match="died"):
        async with LifespanManager(with_lifespan(crashing, swallows)):
            await anyio.sleep_forever()


async def test_a_lifespan_that_yields_something_else(diary: Diary) -> None:
    @asynccontextmanager
    async def wrong(app: Any) -> AsyncIterator[Any]:
        yield ""

    with pytest.raises(StartupFailed, match="wrong must yield a mapping for the state, or None"):
        async with LifespanManager(with_lifespan(diary.app("shop"), wrong)):
            raise AssertionError("it has not started")


async def test_a_part_that_hangs_in_its_shutdown_has_a_limit_of_its_own(passed: Any) -> None:
    hanging = app(receives, started, receives, hangs)
    for whole in (
        with_lifespan(hanging, shutdown_timeout=3),
        Starlette(lifespan=lifespan_of(hanging, shutdown_timeout=3)),
        Starlette(lifespan=lifespan_of(hanging, concurrent=True, shutdown_timeout=3)),
        combine(well_behaved, hanging, shutdown_timeout=3),
    ):
        with pytest.raises(ShutdownFailed, match="did not finish its shutdown within 3 seconds"):
            async with LifespanManager(whole):
                begun = anyio.current_time()
        assert passed(begun, 3)


async def test_one_that_crashes_while_another_hangs_in_its_shutdown(passed: Any) -> None:
    hanging = app(receives, started, receives, hangs)
    crashing = app(receives, started, takes_a_second, raises(Boom("died")))
    main = Starlette(lifespan=lifespan_of(hanging, crashing, shutdown_timeout=3))
    begun = anyio.current_time()
    with pytest.raises(LifespanCrashed, match="died"):
        async with LifespanManager(main):
            await anyio.sleep_forever()
    assert passed(begun, 4)


def test_a_limit_that_is_none() -> None:
    for compose in (with_lifespan, lifespan_of, combine):
        with pytest.raises(ValueError, match="shutdown_timeout must be zero or more"):
            compose(well_behaved, shutdown_timeout=-1)


async def test_cancelled_in_its_startup(diary: Diary) -> None:
    served = with_lifespan(diary.app("shop", hangs), diary.lifespan("pool"))
    with anyio.move_on_after(1):
        async with LifespanManager(served):
            pass
    assert diary.entries == ["pool opens", "shop starts", "shop ends", "pool closes"]


async def test_two_lifespans_that_set_one_key(diary: Diary) -> None:
    pool, cache = diary.lifespan("pool", pool=1), diary.lifespan("cache", pool=2)
    with pytest.raises(StartupFailed) as info:
        async with LifespanManager(with_lifespan(refuses, pool, cache)):
            pass
    clash = str(info.value.__cause__)
    assert "two lifespans set state['pool']" in clash
    assert clash.index(".pool,") < clash.index(".cache;")
    assert diary.entries[-2:] == ["cache closes", "pool closes"]


async def test_an_application_that_sets_a_key_of_a_lifespan(diary: Diary) -> None:
    served = with_lifespan(diary.app("shop", pool=2), diary.lifespan("pool", pool=1))
    with pytest.raises(StartupFailed, match=r"two lifespans set state\['pool'\]: .*pool, .*shop;"):
        async with LifespanManager(served):
            pass
    assert diary.entries[-2:] == ["shop ends", "pool closes"]


async def not_a_context_manager(app: Any) -> AsyncIterator[None]:
    yield


async def a_coroutine(app: Any) -> None:
    pass


@pytest.mark.parametrize(
    ("lifespan", "text"),
    [
        ("lifespan", "got str: 'lifespan'"),
        (not_a_context_manager, "decorate .*not_a_context_manager with @contextlib"),
        (a_coroutine, "decorate .*a_coroutine with @contextlib"),
        (refuses, "refuses cannot be called with the application alone .*lifespan_of\\(\\)"),
    ],
)
def test_what_is_no_lifespan(lifespan: Any, text: str) -> None:
    with pytest.raises(TypeError, match=f"^a lifespan must be a function .*{text}"):
        with_lifespan(well_behaved, lifespan)


async def test_a_lifespan_that_returns_something_else() -> None:
    def wrong(app: Any) -> Any:
        return {"pool": 1}

    with pytest.raises(StartupFailed, match="wrong must return an async context manager, got dict"):
        async with LifespanManager(with_lifespan(refuses, wrong)):
            pass


async def test_a_lifespan_that_is_written_in_c() -> None:
    """It has no signature that could be checked: it is told when it is called."""
    served = with_lifespan(refuses, dict.fromkeys)  # type: ignore[arg-type]
    with pytest.raises(StartupFailed):
        async with LifespanManager(served):
            pass


def test_what_is_no_application() -> None:
    for compose in (with_lifespan, lifespan_of, combine):
        with pytest.raises(TypeError, match="app must be an ASGI application"):
            compose("main:app")  # type: ignore[arg-type]


def test_repr() -> None:
    assert repr(with_lifespan(well_behaved)).endswith("with 0 lifespans>")


# lifespan_of


async def test_sub_applications_start_in_order_and_stop_in_reverse(diary: Diary) -> None:
    main = FastAPI(lifespan=lifespan_of(diary.app("first", one=1), diary.app("second", two=2)))
    async with LifespanManager(main, mode="on") as manager:
        assert manager.state == {"one": 1, "two": 2}
    assert diary.entries == ["first starts", "second starts", "second ends", "first ends"]


async def test_its_lifespan_can_be_run_again(diary: Diary) -> None:
    main = Starlette(lifespan=lifespan_of(diary.app("sub")))
    for _ in range(2):
        async with LifespanManager(main, mode="on"):
            pass
    assert diary.entries == ["sub starts", "sub ends"] * 2


@pytest.mark.parametrize("compose", [lifespan_of, combine])
@pytest.mark.parametrize("options", [{}, {"concurrent": False}, {"concurrent": True}])
async def test_side_by_side_or_one_after_the_other(
    diary: Diary, compose: Any, options: dict[str, bool]
) -> None:
    """Both start, and stop, after a second each: one after the other, by default."""

    steps = (receives, takes_a_second, started, receives, takes_a_second, stopped)
    apps = [diary.app(name, *steps) for name in ("first", "second")]
    if compose is combine:
        whole: Any = combine(diary.app("main"), *apps, **options)
    else:
        whole = Starlette(lifespan=lifespan_of(*apps, **options))
    manager = LifespanManager(whole)
    async with manager:
        pass
    seconds = 1 if options.get("concurrent") else 2
    assert manager.startup_seconds == pytest.approx(seconds, abs=1e-3)
    assert manager.shutdown_seconds == pytest.approx(seconds, abs=1e-3)


@pytest.mark.parametrize("concurrent", [False, True])
async def test_one_that_does_not_start_is_named_and_the_others_are_shut_down(
    diary: Diary, concurrent: bool
) -> None:
    failing = diary.app("bad", receives, sends("lifespan.startup.failed", "no database"))
    lifespan = lifespan_of(diary.app("good"), failing, concurrent=concurrent)
    with pytest.raises(
        StartupFailed, match=r"bad \(application 2 of 2\): .* failed to start: no database"
    ):
        async with LifespanManager(Starlette(lifespan=lifespan)):
            pass
    assert sorted(diary.entries) == ["bad ends", "bad starts", "good ends", "good starts"]


@pytest.mark.parametrize("concurrent", [False, True])
async def test_one_that_crashes_ends_all(diary: Diary, concurrent: bool) -> None:
    crashing = diary.app("bad", receives, started, takes_a_second, raises(Boom("died")))
    lifespan = lifespan_of(diary.app("good"), crashing, concurrent=concurrent)
    with pytest.raises(LifespanCrashed, match=r"bad \(application 2 of 2\): .*died"):
        async with LifespanManager(Starlette(lifespan=lifespan)):
            await anyio.sleep_forever()
    assert sorted(diary.entries) == ["bad ends", "bad starts", "good ends", "good starts"]


@pytest.mark.parametrize("concurrent", [False, True])
async def test_one_that_does_not_shut_down_is_named(diary: Diary, concurrent: bool) -> None:
    failing = diary.app("bad", receives, started, receives, raises(Boom("no goodbye")))
    lifespan = lifespan_of(diary.app("good"), failing, concurrent=concurrent)
    with pytest.raises(ShutdownFailed, match=r"bad \(application 2 of 2\): .*no goodbye"):
        async with LifespanManager(Starlette(lifespan=lifespan)):
            pass
    assert "good ends" in diary.entries


@pytest.mark.parametrize("concurrent", [False, True])
async def test_states_that_clash_are_told_with_both_names(diary: Diary, concurrent: bool) -> None:
    apps = diary.app("first", pool=1), diary.app("second", pool=2)
    lifespan = lifespan_of(*apps, concurrent=concurrent)
    with pytest.raises(StartupFailed) as info:
        async with LifespanManager(Starlette(lifespan=lifespan)):
            pass
    assert (
        "two lifespans set state['pool']: that of test_compose.first (application 1 of 2), and "
        "then that of test_compose.second (application 2 of 2);"
    ) in str(info.value)
    assert sorted(diary.entries)[::2] == ["first ends", "second ends"]


async def test_the_place_in_a_sub_application_is_told() -> None:
    main = FastAPI(lifespan=lifespan_of(well_behaved, app(receives, hangs)))
    with pytest.raises(StartupTimeout) as info:
        async with LifespanManager(main, startup_timeout=3):
            pass
    assert info.value.where[-1].name == "hangs"


async def test_those_without_a_lifespan_are_passed_over(
    diary: Diary, log: pytest.LogCaptureFixture
) -> None:
    main = FastAPI(lifespan=lifespan_of(refuses, diary.app("sub")))
    async with LifespanManager(main, mode="on"):
        assert diary.entries == ["sub starts"]
    (message,) = log.messages
    assert message.startswith(
        "test_compose.refuses (application 1 of 2): The application has no lifespan (it raised "
        f"ValueError: no lifespan here, at {__file__}:"
    )
    assert message.endswith(" in refuses); going on without it.")


async def test_a_fastapi_application_is_named_by_its_title() -> None:
    failing = FastAPI(title="Re%ports", lifespan=_broken)
    with pytest.raises(StartupFailed, match=r"fastapi\.applications\.FastAPI 'Re%ports': "):
        async with LifespanManager(Starlette(lifespan=lifespan_of(failing))):
            pass


@asynccontextmanager
async def _broken(app: Any) -> AsyncIterator[None]:
    raise Boom
    yield


@pytest.mark.parametrize("concurrent", [False, True])
async def test_the_own_lifespan_beside_those_of_parts(diary: Diary, concurrent: bool) -> None:
    lifespan = lifespan_of(
        diary.app("sub"), lifespan=diary.lifespan("pool", pool=1), concurrent=concurrent
    )
    async with LifespanManager(FastAPI(lifespan=lifespan), mode="on") as manager:
        assert manager.state == {"pool": 1}
    assert diary.entries == ["pool opens", "sub starts", "sub ends", "pool closes"]


async def test_the_own_lifespan_is_left_if_a_part_does_not_start(diary: Diary) -> None:
    failing = diary.app("sub", receives, sends("lifespan.startup.failed", "no database"))
    lifespan = lifespan_of(failing, lifespan=diary.lifespan("pool"))
    with pytest.raises(StartupFailed, match="no database"):
        async with LifespanManager(FastAPI(lifespan=lifespan)):
            pass
    assert diary.entries[0] == "pool opens"
    assert diary.entries[-1] == "pool closes"


async def test_of_no_applications() -> None:
    async with LifespanManager(Starlette(lifespan=lifespan_of()), mode="on") as manager:
        assert manager.state == {}


async def test_an_exception_in_the_body_comes_out_as_it_is(diary: Diary) -> None:
    boom = Boom("in the body")
    for concurrent in (False, True):
        lifespan = lifespan_of(diary.app("sub"), concurrent=concurrent)
        with pytest.raises(Boom) as info:
            async with lifespan(None):
                raise boom
        assert info.value is boom
    assert diary.entries == ["sub starts", "sub ends"] * 2


# combine


async def test_one_serves_and_the_lifespans_of_all_are_run(diary: Diary) -> None:
    main = combine(diary.app("main", main=1), diary.app("other", other=2))
    async with LifespanManager(main, mode="on") as manager:
        assert manager.state == {"other": 2, "main": 1}
        assert await request(manager.app) == SERVED
    assert diary.entries == [
        "other starts",
        "main starts",
        "main saw unset {'other': 2, 'main': 1}",
        "main ends",
        "other ends",
    ]


async def test_the_others_at_once(diary: Diary) -> None:
    main = combine(diary.app("main"), *map(diary.app, "abc"), concurrent=True)
    async with LifespanManager(main, mode="on"):
        assert diary.entries[-1] == "main starts"
    assert len(diary.entries) == 8


async def test_a_lifespan_that_swallows_whatever_comes_stops_cleanly(diary: Diary) -> None:
    class Swallows:
        async def __aenter__(self) -> None:
            diary.entries.append("opens")

        async def __aexit__(self, *exc_info: object) -> bool:
            diary.entries.append("closes")
            return True

    served = with_lifespan(diary.app("shop"), lambda app: Swallows())
    async with LifespanManager(served) as manager:
        pass
    assert manager.phase is Phase.STOPPED
    assert diary.entries == ["opens", "shop starts", "shop ends", "closes"]
