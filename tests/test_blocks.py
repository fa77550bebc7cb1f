"""Row 8 in and below generators: a crash cancels the body of a block that does not yield.

What counts is whether this very block contains a ``yield`` to the outside, whoever runs it further
out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
from apps import Boom, app, raises, receives, sleeps, started

from anylifespan import LifespanCrashed, LifespanManager

pytestmark = pytest.mark.anyio


def crashing() -> LifespanManager:
    return LifespanManager(app(receives, started, sleeps(1), raises(Boom("died"))))


class Wrapper:
    """A context manager of the user's own around a manager."""

    def __init__(self) -> None:
        self.manager = crashing()

    async def __aenter__(self) -> LifespanManager:
        return await self.manager.__aenter__()

    async def __aexit__(self, *exc_info: Any) -> None:
        await self.manager.__aexit__(*exc_info)


class OtherContextManager:
    """What other libraries make of an asynchronous generator, in place of contextlib's."""

    def __init__(self, generator: Any) -> None:
        self.generator = generator

    async def __aenter__(self) -> Any:
        return await self.generator.__anext__()

    async def __aexit__(self, kind: Any, exc: Any, traceback: Any) -> None:
        if exc is None:
            with suppress(StopAsyncIteration):
                await self.generator.__anext__()
        else:
            await self.generator.athrow(exc)


# Those that run the body themselves


async def helper() -> None:
    async with crashing():
        await anyio.sleep_forever()


async def that_awaits_a_helper() -> AsyncIterator[str]:
    await helper()
    yield "never"


async def that_yields_behind_its_block() -> AsyncIterator[str]:
    async with crashing():
        await anyio.sleep_forever()
    yield "never"


async def that_may_yield_in_blocks_beside_its_own() -> AsyncIterator[str]:
    with suppress(KeyError):
        if anyio.current_time() < 0:
            yield "never"
    async with crashing():
        await anyio.sleep_forever()
    with suppress(KeyError):
        yield "never"


async def that_yields_around_its_block() -> AsyncIterator[str]:
    with anyio.CancelScope():
        with suppress(KeyError):
            async with Wrapper():
                try:
                    await anyio.sleep_forever()
                finally:
                    await anyio.lowlevel.cancel_shielded_checkpoint()
    yield "never"


async def with_a_stack_that_it_leaves() -> AsyncIterator[str]:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(crashing())
        await anyio.sleep_forever()
    yield "never"


async def that_uses_a_context_manager() -> AsyncIterator[str]:
    async with made_by_contextlib():
        await anyio.sleep_forever()
    yield "never"


@asynccontextmanager
async def made_by_contextlib() -> AsyncIterator[None]:
    async with crashing():
        yield


async def generator_for_others() -> AsyncIterator[None]:
    async with crashing():
        yield


async def that_uses_another_context_manager() -> AsyncIterator[str]:
    async with OtherContextManager(generator_for_others()):
        await anyio.sleep_forever()
    yield "never"


@pytest.mark.parametrize(
    "generator",
    [
        that_awaits_a_helper,
        that_yields_behind_its_block,
        that_may_yield_in_blocks_beside_its_own,
        that_yields_around_its_block,
        with_a_stack_that_it_leaves,
        that_uses_a_context_manager,
        that_uses_another_context_manager,
    ],
)
async def test_8_the_body_is_cancelled_in_a_generator(generator: Any, passed: Any) -> None:
    since = anyio.current_time()
    with pytest.raises(LifespanCrashed, match="died"):
        async for _ in generator():
            raise AssertionError("yielded")
    assert passed(since, 1)


async def test_8_the_body_is_cancelled_under_another_context_manager(passed: Any) -> None:
    since = anyio.current_time()
    with pytest.raises(LifespanCrashed, match="died"):
        async with OtherContextManager(generator_for_others()):
            await anyio.sleep_forever()
    assert passed(since, 1)


# Those that yield in the block, so that it is run by nobody in particular


async def in_the_block() -> AsyncIterator[None]:
    async with crashing():
        yield


async def deep_in_the_block() -> AsyncIterator[None]:
    async with Wrapper():
        for _ in range(1):
            try:
                with suppress(KeyError):
                    yield
            finally:
                pass


async def in_a_handler_in_the_block() -> AsyncIterator[None]:
    async with crashing():
        try:
            raise KeyError  # noqa: TRY301
        except KeyError:
            yield


async def with_a_stack() -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(crashing())
        yield


async def by_hand() -> AsyncIterator[None]:
    manager = crashing()
    await manager.__aenter__()
    yield
    await manager.__aexit__(None, None, None)


async def in_the_block_of_a_context_manager() -> AsyncIterator[None]:
    async with made_by_contextlib():
        yield


@pytest.mark.parametrize(
    "generator",
    [
        in_the_block,
        deep_in_the_block,
        in_a_handler_in_the_block,
        with_a_stack,
        by_hand,
        in_the_block_of_a_context_manager,
    ],
)
async def test_8_nobody_is_cancelled_where_the_block_yields(generator: Any, passed: Any) -> None:
    since = anyio.current_time()
    running = generator()
    async for _ in running:
        await anyio.sleep(3)
        break
    assert passed(since, 3)
    with pytest.raises(LifespanCrashed, match="died"):
        await running.__anext__()
