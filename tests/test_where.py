"""``.where``: the place at which the application was waiting."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import pytest
from fastapi import FastAPI

from anylifespan import LifespanManager, ShutdownTimeout, StartupTimeout

pytestmark = pytest.mark.anyio

THIS = "test_where.py"


async def connect() -> None:
    await anyio.sleep_forever()  # the hanging line


@asynccontextmanager
async def database() -> AsyncIterator[None]:
    await connect()
    yield


@asynccontextmanager
async def stack_of_resources(app: Any) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(database())
        yield


async def where(application: Any) -> list[tuple[str, str]]:
    with pytest.raises(StartupTimeout) as info:
        async with LifespanManager(application, startup_timeout=1):
            pass
    for frame in info.value.where:
        assert frame.line
        shown = f'File "{frame.filename}", line {frame.lineno}, in {frame.name}' in str(info.value)
        assert shown is ("site-packages" not in frame.filename)
        assert shown is (frame.line.splitlines()[0] in str(info.value))
    return [(frame.name, frame.line or "") for frame in info.value.where if THIS in frame.filename]


async def test_through_context_managers() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        async with stack_of_resources(None):
            pass

    assert await where(application) == [
        ("application", "async with stack_of_resources(None):"),
        ("stack_of_resources", "await stack.enter_async_context(database())"),
        ("database", "await connect()"),
        ("connect", "await anyio.sleep_forever()  # the hanging line"),
    ]


async def test_through_a_framework() -> None:
    assert [name for name, _ in await where(FastAPI(lifespan=stack_of_resources))] == [
        "stack_of_resources",
        "database",
        "connect",
    ]


async def test_on_the_way_out() -> None:
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(connect)
            yield

    with pytest.raises(ShutdownTimeout) as info:
        async with LifespanManager(FastAPI(lifespan=lifespan), shutdown_timeout=1):
            pass
    names = [frame.name for frame in info.value.where if THIS in frame.filename]
    assert names == ["lifespan", "connect"]
    assert info.value.__cause__ is None


async def test_even_if_the_app_hides_its_cancellation() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        try:
            await connect()
        except BaseException:
            raise RuntimeError("could not connect") from None

    assert [name for name, _ in await where(application)] == ["application", "connect"]


async def test_into_child_tasks() -> None:
    async def worker(which: str) -> None:
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(connect)
            task_group.start_soon(connect)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(worker, "one")

    names = [name for name, _ in await where(application)]
    assert names[0] == "application"
    assert sorted(names[1:]) == ["connect", "worker"]


@pytest.mark.parametrize("by", ["async with", "startup()"])
async def test_into_the_lifespan_of_another_application(by: str) -> None:
    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await connect()

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        manager = LifespanManager(inner)
        if by == "startup()":
            await manager.startup()
        async with manager:
            raise AssertionError("not reached")

    assert [name for name, _ in await where(outer)] == ["outer", "inner", "connect"]


async def test_an_async_iterator() -> None:
    async def messages() -> AsyncIterator[int]:
        await connect()
        yield 1

    async def application(scope: Any, receive: Any, send: Any) -> None:
        async for _ in messages():
            pass

    assert [name for name, _ in await where(application)] == ["application", "messages", "connect"]


async def test_an_awaitable_of_its_own() -> None:
    class Connection:
        def __await__(self) -> Any:
            yield from connect().__await__()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await Connection()

    assert [name for name, _ in await where(application)] == [
        "application",
        "__await__",
        "connect",
    ]


async def test_awaitables_that_refer_to_each_other() -> None:
    class Circle:
        def __await__(self) -> Any:
            return self

        def __iter__(self) -> Any:
            return self

        def __next__(self) -> Any:
            return next(self.inner)

        def __init__(self) -> None:
            self.outer = coroutines[0]
            self.inner = connect().__await__()

        def send(self, value: Any) -> Any:
            return self.inner.send(value)

        def throw(self, *exc: Any) -> Any:
            return self.inner.throw(*exc)

    coroutines: list[Any] = []

    async def circular() -> None:
        await Circle()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        coroutines.append(circular())
        await coroutines[0]

    assert [name for name, _ in await where(application)][:2] == ["application", "circular"]


async def test_no_frame_of_its_own(backend: str) -> None:
    async def main() -> None:
        with pytest.raises(StartupTimeout, match="no frame of its own to be seen") as info:
            async with LifespanManager(lambda *args: anyio.sleep_forever(), startup_timeout=1):
                pass
        assert list(info.value.where) == []

    await main()
