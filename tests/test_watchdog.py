"""What is logged while the event loop is blocked, from a thread, in real time."""

from __future__ import annotations

import time
from collections.abc import Callable

import anyio
import pytest

from anylifespan._core.log import Log
from anylifespan._diagnosis import watchdog
from anylifespan._diagnosis.watchdog import time_reported

LIMIT = 10.0  # seconds for what should not take long


class Lines:
    """A logger that keeps what it is given."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, text: str, *args: object, **options: object) -> None:
        self.lines.append(text % args)


def block_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.01)  # it blocks here


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_limit_that_passes_while_it_is_blocked(backend: str) -> None:
    logger = Lines()

    async def main() -> None:
        with time_reported("startup", 0.1, Log(logger)):
            block_until(lambda: bool(logger.lines))

    anyio.run(main, backend=backend)
    [line] = logger.lines
    assert line.startswith("The application's startup has taken ")
    assert "Its limit of 0.1 seconds is over. It is at:" in line
    assert "it blocks here" in line


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_is_said_again_and_again(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a limit, too."""
    monkeypatch.setattr(watchdog, "_EVERY", 0.2)
    logger = Lines()

    async def main() -> None:
        with time_reported("shutdown", None, Log(logger)):
            block_until(lambda: len(logger.lines) == 3)

    anyio.run(main, backend=backend)
    assert len(logger.lines) >= 3
    assert "limit" not in "".join(logger.lines)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_ends_with_the_event_loop(backend: str) -> None:
    reporting = None

    async def main() -> None:
        nonlocal reporting
        reporting = time_reported("startup", 0.1, Log(Lines()))
        reporting.__enter__()

    anyio.run(main, backend=backend)
    block_until(lambda: "anylifespan watchdog" not in names_of_threads())
    assert "anylifespan watchdog" not in names_of_threads()
    assert reporting is not None
    reporting.__exit__(None, None, None)


def names_of_threads() -> list[str]:
    return [thread.name for thread in watchdog.threading.enumerate()]
