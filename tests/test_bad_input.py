"""What cannot work is told at once, in words, and leaves nothing behind."""

from __future__ import annotations

import functools
import math
import pickle
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from traceback import FrameSummary, StackSummary
from typing import Any
from unittest.mock import AsyncMock

import anyio
import pytest
from apps import app, receives, started, stopped, well_behaved
from conftest import BACKENDS

from anylifespan import (
    LifespanManager,
    LifespanMiddleware,
    LifespanProtocolError,
    LifespanUnsupported,
    Phase,
    ShutdownTimeout,
    StartupFailed,
    StartupTimeout,
    combine,
    lifespan_of,
    with_lifespan,
)
from anylifespan._core.application import is_async_def

pytestmark = pytest.mark.anyio


@pytest.fixture
async def no_task_left() -> Any:
    before = len(anyio.get_running_tasks())
    yield
    await anyio.wait_all_tasks_blocked()
    assert len(anyio.get_running_tasks()) == before


# The application


async def asgi3(scope: Any, receive: Any, send: Any) -> None:
    await well_behaved(scope, receive, send)


class Instance:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await well_behaved(scope, receive, send)

    async def method(self, scope: Any, receive: Any, send: Any) -> None:
        await well_behaved(scope, receive, send)


async def asgi3_of_any_arguments(*args: Any, **options: Any) -> None:
    await well_behaved(*args)


async def asgi3_with_an_option(scope: Any, receive: Any, send: Any, *, option: int = 0) -> None:
    await well_behaved(scope, receive, send)


class AwaitableInstance:
    def __init__(self, scope: Any, receive: Any, send: Any) -> None:
        self.arguments = scope, receive, send

    def __await__(self) -> Any:
        return well_behaved(*self.arguments).__await__()


class ASGI2Class:
    def __init__(self, scope: Any) -> None:
        self.scope = scope

    async def __call__(self, receive: Any, send: Any) -> None:
        assert self.scope["asgi"] == {"version": "2.0", "spec_version": "2.0"}
        await well_behaved(self.scope, receive, send)


def asgi2_function(scope: Any) -> Any:
    assert scope["asgi"]["version"] == "2.0"
    return functools.partial(well_behaved, scope)


def not_async_but_awaitable(scope: Any, receive: Any, send: Any) -> Any:
    return well_behaved(scope, receive, send)


def marked_as_asgi2(*args: Any) -> Any:
    return asgi2_function(*args)


marked_as_asgi2._asgi_double_callable = True  # type: ignore[attr-defined]


def marked_as_asgi3(scope: Any, *args: Any) -> Any:
    return well_behaved(scope, *args)


marked_as_asgi3._asgi_single_callable = True  # type: ignore[attr-defined]


class WithoutSignature:
    def __init__(self, *scope: Any) -> None:
        self.scope = scope

    @property
    def __signature__(self) -> Any:
        raise ValueError("written in C")

    async def __call__(self, *args: Any) -> None:
        await well_behaved(*self.scope, *args)


@pytest.mark.parametrize(
    "application",
    [
        asgi3,
        asgi3_of_any_arguments,
        asgi3_with_an_option,
        Instance(),
        Instance().method,
        functools.partial(asgi3),
        lambda *args: asgi3(*args),
        AwaitableInstance,
        ASGI2Class,
        asgi2_function,
        not_async_but_awaitable,
        marked_as_asgi2,
        marked_as_asgi3,
        WithoutSignature(),
        lambda scope: WithoutSignature(scope),
        lambda scope: lambda *args: well_behaved(scope, *args),
        AsyncMock(wraps=asgi3),
    ],
    ids=lambda application: getattr(application, "__name__", type(application).__name__),
)
async def test_whatever_is_an_asgi_application(application: Any) -> None:
    async with LifespanManager(application, mode="on") as manager:
        assert manager.supported is True


class NoParameters:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("not called")


class NotCallableInstances:
    def __init__(self, scope: Any) -> None:
        raise AssertionError("not called")


class NotAwaitableInstances:
    def __init__(self, scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("not called")


def wsgi(environ: Any, start_response: Any) -> Any:
    raise AssertionError("not called")


def factory() -> Any:
    raise AssertionError("not called")


def factory_with_options(settings: Any = None) -> Any:
    raise AssertionError("not called")


async def too_many(scope: Any, receive: Any, send: Any, more: Any) -> None:
    raise AssertionError("not called")


async def one_parameter(scope: Any) -> None:
    raise AssertionError("not called")


@pytest.mark.parametrize(
    ("application", "message"),
    [
        (None, "a callable, got NoneType"),
        (42, "a callable, got int"),
        ("main:app", "got str: import it first"),
        (NoParameters, r"got \(\); if its instances are applications, pass an instance"),
        (NotCallableInstances, r"got \(scope: .*; if its instances"),
        (NotAwaitableInstances, "and can be awaited, got"),
        (wsgi, "wsgi is not an ASGI app.*a WSGI application must be wrapped first"),
        (factory, r"got \(\) .*; if it is a factory, call it"),
        (factory_with_options, "got .*; if it is a factory, call it"),
        (too_many, r"got \(scope: .*more: .*\)"),
        (one_parameter, r"takes \(scope, receive, send\) and can be awaited, got \(scope"),
    ],
)
def test_what_is_not_an_asgi_application(application: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        LifespanManager(application)


def test_a_coroutine_object() -> None:
    with pytest.raises(TypeError, match=r"got the coroutine asgi3\(\): pass the function itself"):
        LifespanManager(asgi3(None, None, None))


def returns_nothing(scope: Any, receive: Any, send: Any) -> Any:
    return None


def asgi2_not_callable(scope: Any) -> Any:
    return 42


class CallableOnlyWithItsScope:
    async def __call__(self, scope: Any) -> None:
        raise AssertionError("not run")


def asgi2_factory(settings: Any) -> Any:
    return asgi3


def asgi2_not_awaitable(scope: Any) -> Any:
    return lambda receive, send: None


@pytest.mark.parametrize("mode", ["auto", "on"])
@pytest.mark.parametrize(
    ("application", "message"),
    [
        (returns_nothing, "returns_nothing returned NoneType, which cannot be awaited"),
        (asgi2_not_callable, r"asgi2_not_callable\(scope\) returned int; expected a callable"),
        (CallableOnlyWithItsScope(), "returned coroutine; expected a callable"),
        (asgi2_factory, r"asgi2_factory\(scope\) returned function; .*: if it is a factory, call"),
        (asgi2_not_awaitable, "returned NoneType, which cannot be awaited"),
    ],
)
async def test_a_sync_function_is_told_when_it_is_called(
    drive: Any, mode: Any, application: Any, message: str, no_task_left: None
) -> None:
    manager = LifespanManager(application, mode=mode)
    with pytest.raises(StartupFailed, match=message) as info:
        await drive(manager)
    assert isinstance(info.value.__cause__, TypeError)
    assert manager.phase is Phase.FAILED


# The options


@pytest.mark.parametrize("name", ["startup_timeout", "shutdown_timeout"])
@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (-1, ValueError, "must be zero or more seconds, or None for no limit, got -1"),
        (-math.inf, ValueError, "got -inf"),
        (math.nan, ValueError, "got nan"),
        (True, TypeError, "must be a number of seconds, or None for no limit, got bool: True"),
        ("30", TypeError, "got str: '30'"),
        ([], TypeError, "got list"),
    ],
)
def test_a_timeout(name: str, value: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=f"{name} {message}" if message.startswith("must") else message):
        LifespanManager(well_behaved, **{name: value})


@pytest.mark.parametrize("mode", ["AUTO", "", None, 1, []])
def test_an_unknown_mode(mode: Any) -> None:
    with pytest.raises(ValueError, match='mode must be "auto", "on" or "off", got'):
        LifespanManager(well_behaved, mode=mode)


@pytest.mark.parametrize("state", [[], "state", object(), [("a", 1)]])
def test_a_state_that_is_not_a_dict(state: Any) -> None:
    with pytest.raises(TypeError, match="state must be a dict or None, got"):
        LifespanManager(well_behaved, state=state)


def test_options_are_given_by_name() -> None:
    with pytest.raises(TypeError, match="positional"):
        LifespanManager(well_behaved, "on")  # type: ignore[misc]


# The messages


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (None, "not a message: expected a mapping .*, got NoneType: None"),
        ("lifespan.startup.complete", "not a message: .*, got str: 'lifespan"),
        ([("type", "lifespan.startup.complete")], "not a message: .*, got list"),
        ({}, "without a type: expected .*, got dict: {}"),
        ({"type": None}, "without a type"),
        ({"type": b"lifespan.startup.complete"}, "without a type"),
        ({"type": "lifespan.started"}, "the unknown type 'lifespan.started': expected one of"),
        ({"type": "startup.complete"}, "the unknown type 'startup.complete'"),
        ({"type": "lifespan.startup.failed", "message": None}, "not text: .*, got NoneType"),
        ({"type": "lifespan.startup.failed", "message": ["x" * 500]}, r"not text: .*\.\.\."),
    ],
)
async def test_a_malformed_message(
    drive: Any, message: Any, complaint: str, no_task_left: None
) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        with pytest.raises(LifespanProtocolError, match=complaint):
            await send(message)
        await app(started, receives, stopped)(scope, receive, send)

    async with LifespanManager(application, mode="on"):
        pass


async def test_a_task_that_was_waiting_for_an_event_as_the_application_ended() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        async def orphan() -> None:
            with pytest.raises(LifespanProtocolError, match="after the application had ended"):
                await receive()

        await app(receives, started)(scope, receive, send)
        task_group.start_soon(orphan)
        await anyio.sleep(1)

    async with anyio.create_task_group() as task_group:
        async with LifespanManager(application):
            await anyio.sleep(2)


async def test_a_task_that_outlived_the_application(backend: str) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        async def orphan() -> None:
            with pytest.raises(LifespanProtocolError, match="after the application had ended"):
                await receive()
            with pytest.raises(LifespanProtocolError, match="after the application had ended"):
                await receive()
            with pytest.raises(LifespanProtocolError, match="after it had shut down; expected not"):
                await send({"type": "lifespan.startup.complete"})

        await app(receives, started, receives, stopped)(scope, receive, send)
        task_group.start_soon(orphan)

    async with anyio.create_task_group() as task_group, LifespanManager(application):
        pass


# A lifespan is no application


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    yield


async def undecorated(app: Any) -> AsyncIterator[None]:
    yield


def lifespan_of_old(app: Any) -> Iterator[None]:
    yield


LIFESPANS = {
    "decorated": lifespan,
    "undecorated": undecorated,
    "generator": lifespan_of_old,
    "entered": lifespan(None),
    "partial": partial(lifespan),
    "lifespan_of": lifespan_of(well_behaved),
}


@pytest.mark.parametrize("given", LIFESPANS.values(), ids=LIFESPANS)
@pytest.mark.parametrize(
    "take", [LifespanManager, LifespanMiddleware, lifespan_of, with_lifespan, combine]
)
def test_a_lifespan_function_is_no_application(take: Any, given: Any) -> None:
    with pytest.raises(TypeError, match=r" is a lifespan, not an ASGI application: give it to its"):
        take(given)


async def test_a_function_that_returns_a_lifespan_is_no_application(drive: Any, mode: Any) -> None:
    with pytest.raises(StartupFailed, match=r"<lambda>\(scope\) returned _AsyncGeneratorContext"):
        await drive(LifespanManager(lambda scope: lifespan(scope), mode=mode))


# The order of the calls


async def test_used_twice(drive: Any, no_task_left: None) -> None:
    manager = LifespanManager(well_behaved)
    await drive(manager)
    for again in (manager.startup, manager.__aenter__, manager.serve):
        with pytest.raises(RuntimeError, match="one manager drives one lifespan; make a new one"):
            await again()
    assert manager.phase is Phase.STOPPED


async def test_a_second_serve_leaves_the_first_alone() -> None:
    manager = LifespanManager(well_behaved)
    async with anyio.create_task_group() as task_group:
        await task_group.start(manager.serve)
        with pytest.raises(RuntimeError, match="one manager drives one lifespan"):
            await manager.serve()
        manager.request_shutdown()
    assert manager.phase is Phase.STOPPED


async def test_used_twice_at_the_same_time() -> None:
    async with LifespanManager(well_behaved) as manager:
        with pytest.raises(RuntimeError, match="one manager drives one lifespan"):
            await manager.startup()
        assert manager.phase is Phase.SERVING


async def test_shut_down_before_startup() -> None:
    manager = LifespanManager(well_behaved)
    with pytest.raises(RuntimeError, match=r"shutdown\(\) was called before the startup"):
        await manager.shutdown()
    with pytest.raises(RuntimeError, match=r"__aexit__\(\) was called before the startup"):
        await manager.__aexit__(None, None, None)
    with pytest.raises(RuntimeError, match=r"request_shutdown\(\) ends serve\(\), which has not"):
        manager.request_shutdown()
    assert manager.phase is Phase.IDLE


async def test_shut_down_during_startup() -> None:
    manager = LifespanManager(app(receives, receives))
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(manager.startup)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(RuntimeError, match="cancel the task that waits for the startup"):
            await manager.shutdown()
        task_group.cancel_scope.cancel()


async def test_request_shutdown_without_serve() -> None:
    async with LifespanManager(well_behaved) as manager:
        with pytest.raises(RuntimeError, match=r"if you called startup\(\), call shutdown\(\)"):
            manager.request_shutdown()


def test_outside_any_event_loop() -> None:
    async def ticked() -> None:
        async with LifespanManager(well_behaved):
            raise AssertionError("not reached")

    for coroutine in (
        LifespanManager(well_behaved).startup(),
        LifespanManager(well_behaved).wait_crashed(),
        ticked(),
    ):
        with pytest.raises(RuntimeError, match="needs a running event loop: use it in a coroutine"):
            coroutine.send(None)


@pytest.mark.parametrize("other", sorted(BACKENDS))
def test_in_another_event_loop(backend: str, other: str) -> None:
    async def shutdown() -> None:
        for what in (manager.shutdown, manager.wait_crashed):
            with pytest.raises(RuntimeError, match="in another event loop than the lifespan was"):
                await what()

    manager = LifespanManager(well_behaved)
    name, options = BACKENDS[backend]()
    anyio.run(manager.startup, backend=name, backend_options=options)
    name, options = BACKENDS[other]()
    anyio.run(shutdown, backend=name, backend_options=options)
    with pytest.raises(RuntimeError, match="needs a running event loop"):
        manager.shutdown().send(None)


# The errors themselves


def test_what_is_not_known_of_an_error() -> None:
    unsupported = LifespanUnsupported("it has none")
    assert unsupported.message == "it has none"
    assert not unsupported.swallowed


@pytest.mark.parametrize("kind", [StartupTimeout, ShutdownTimeout])
def test_errors_can_be_pickled(kind: Any) -> None:
    where = StackSummary.from_list([FrameSummary("main.py", 3, "lifespan", line="await x")])
    error = pickle.loads(pickle.dumps(kind("too late", message="m", timeout=3, where=where)))
    assert (str(error), error.message, error.timeout) == ("too late", "m", 3)
    assert error.where == where
    assert isinstance(error, TimeoutError)


def test_an_error_of_ones_own_needs_no_more_than_a_text() -> None:
    assert StartupFailed("text").message == "text"
    assert list(StartupTimeout("text").where) == []


def test_an_asynchronous_generator_is_no_async_def() -> None:
    assert is_async_def(asgi3)
    assert not is_async_def(undecorated)
    assert not is_async_def(print)
