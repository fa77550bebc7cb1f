"""What a lifespan is made of: the primitives of anyio, one by one."""

from __future__ import annotations

import anyio
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint
from interleaved import Values, seconds_in_rounds


async def cancel_scope() -> None:
    with anyio.CancelScope():  # noqa: ASYNC100 - nothing else is to be measured
        pass


async def cancel_scope_with_deadline() -> None:
    with anyio.CancelScope(deadline=anyio.current_time() + 30):  # noqa: ASYNC100
        pass


async def stream() -> None:
    sender, receiver = anyio.create_memory_object_stream[None](1)
    sender.close()
    receiver.close()


async def task_group() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(_yield_three_times)
        await _yield_three_times()


async def task_group_and_event() -> None:
    event = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(event.wait)
        await _yield_three_times()
        event.set()


async def task_group_and_stream() -> None:
    sender, receiver = anyio.create_memory_object_stream[None](1)
    async with anyio.create_task_group() as group:
        group.start_soon(receiver.receive)
        await _yield_three_times()
        sender.send_nowait(None)
    sender.close()
    receiver.close()


async def _yield_three_times() -> None:
    for _ in range(3):
        await checkpoint()


PARTS = {
    "a checkpoint": checkpoint,
    "a shielded checkpoint": cancel_shielded_checkpoint,
    "a cancel scope": cancel_scope,
    "a cancel scope with a deadline": cancel_scope_with_deadline,
    "a memory object stream, made and closed": stream,
    "a task group of one task": task_group,
    "a task group of one task that waits for an event": task_group_and_event,
    "a task group of one task that waits for a memory object stream": task_group_and_stream,
}


async def measure(backend: str, *, quick: bool) -> dict[str, Values]:
    """Seconds of each part."""
    rounds, calls = (3, 2) if quick else (150, 30)
    return {"parts": await seconds_in_rounds(PARTS, rounds=rounds, calls=calls)}
