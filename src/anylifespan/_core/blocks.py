"""Detect whether the body of an ``async with`` always runs in the task that enters the block.

The body always runs in that task, unless the block is in a generator and contains a ``yield``, as
in many pytest fixtures. In that case, code outside the block runs at the ``yield``. An exception in
that code does not pass through the block, and neither does a cancellation (PEP 789). Generators
that are decorated with ``@asynccontextmanager`` are different: exceptions in the body of the
context manager are thrown into the generator.

Only the compiler knows where a block ends, so this module reads the bytecode.
"""

from __future__ import annotations

import dis
import inspect
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import pairwise
from types import CodeType, FrameType
from typing import Any

from .attempt import attempt

_ASYNCHRONOUS = (
    inspect.CO_COROUTINE
    | inspect.CO_ITERABLE_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
    | inspect.CO_GENERATOR
)


def runs_the_body(frame: FrameType | None) -> bool:
    """Return whether the body of an ``async with`` runs in the task that enters the block.

    :param frame: the frame that called ``__aenter__()``
    """
    if not _is_below_a_generator(frame):  # as most are; the rest takes much longer
        return True
    while frame is not None and frame.f_code.co_flags & _ASYNCHRONOUS:
        code, at, driver = frame.f_code, frame.f_lasti, frame.f_back
        if code.co_flags & inspect.CO_ASYNC_GENERATOR:
            # A generator whose bytecode cannot be read is assumed to yield.
            if not attempt(lambda: _yields_in_its_block(code, at), otherwise=True):  # noqa: B023
                return True
            if driver is None or driver.f_code.co_name != "__aenter__":
                return False
        elif attempt(lambda: _enters_a_block(code, at), otherwise=False):  # noqa: B023
            return True
        # This frame only enters the block on behalf of its caller, as AsyncExitStack's methods do.
        frame = driver
    return True


def _is_below_a_generator(frame: FrameType | None) -> bool:
    while frame is not None and (flags := frame.f_code.co_flags) & _ASYNCHRONOUS:
        if flags & inspect.CO_ASYNC_GENERATOR:
            return True
        frame = frame.f_back
    return False


@lru_cache(maxsize=256)
def _enters_a_block(code: CodeType, at: int) -> bool:
    """Return whether the code at this offset awaits ``__aenter__()`` for an ``async with``."""
    before = [one for one in dis.get_instructions(code) if one.offset <= at]
    awaits = max(place for place, one in enumerate(before) if one.opname == "GET_AWAITABLE")
    if sys.version_info < (3, 11):
        return before[awaits - 1].opname == "BEFORE_ASYNC_WITH"
    return before[awaits].arg == 1  # "after a call to __aenter__"


@lru_cache(maxsize=256)
def _yields_in_its_block(code: CodeType, at: int) -> bool:
    """Return whether an asynchronous generator yields inside the block that it is entering.

    If the generator calls a function that enters the block on the generator's behalf, check all
    surrounding blocks. If there are none, assume that the generator yields inside the block.
    """
    blocks = [*_blocks(code)]
    around = [block for block in blocks if block(at)]
    if _enters_a_block(code, at):
        following = (one.offset for one in dis.get_instructions(code) if one.offset > at)
        around = next(new for offset in following if (new := _entered(blocks, at, offset)))
    yields = [one.offset for one in dis.get_instructions(code) if _is_yield(one)]
    return not around or any(block(offset) for block in around for offset in yields)


Block = Callable[[int], bool]  # whether an instruction is inside


def _entered(blocks: list[Block], before: int, offset: int) -> list[Block]:
    return [block for block in blocks if block(offset) and not block(before)]


def _is_yield(instruction: dis.Instruction) -> bool:
    if sys.version_info < (3, 11):
        return instruction.opname == "YIELD_VALUE"
    # ASYNC_GEN_WRAP is an instruction in Python 3.11, and an argument in later versions.
    return "ASYNC_GEN_WRAP" in instruction.opname + instruction.argrepr


def _blocks(code: CodeType) -> Iterator[Block]:
    """Yield the ``with`` and ``async with`` blocks of a function."""
    if sys.version_info < (3, 11):
        for one in dis.get_instructions(code):
            if one.opname in ("SETUP_WITH", "SETUP_ASYNC_WITH"):
                yield range(one.offset + 1, one.argval).__contains__
        return
    table: list[Any] = dis.Bytecode(code).exception_entries  # type: ignore[attr-defined]
    instructions = [*dis.get_instructions(code)]
    for one, following in pairwise(instructions):
        if following.opname == "WITH_EXCEPT_START":
            yield _Handled(table, one.offset).__contains__


class _Handled:
    """The instructions in a block: those whose exceptions eventually reach the block's handler."""

    def __init__(self, table: list[Any], handler: int) -> None:
        self._table = table
        self._handler = handler

    def __contains__(self, offset: int) -> bool:
        while True:
            handlers = [one.target for one in self._table if one.start <= offset < one.end]
            if not handlers:
                return False
            if handlers[0] == self._handler:
                return True
            offset = handlers[0]
