"""What nobody expects in the library's own lines: Ctrl-C on asyncio, which protects none of them.

test_ctrl_c_at_every_line.py tries all lines; here is what is done about it, one case each.
"""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from apps import app, receives, sleeps, started
from conftest import BACKENDS

from anylifespan import LifespanManager, Phase
from anylifespan._core.lifespan import Lifespan

pytestmark = pytest.mark.anyio


class Observed:
    """An application that says how it has ended."""

    def __init__(self) -> None:
        self.ended = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await receive()
            await anyio.sleep(1)
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            self.ended = "cancelled"
            raise


@pytest.mark.parametrize("method", ["wait_started", "wait_ended"])
async def test_the_application_is_cancelled(
    method: str, drive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(self: Lifespan, *args: Any, **options: Any) -> None:
        monkeypatch.undo()
        raise ZeroDivisionError("nobody has expected this")

    application = Observed()
    monkeypatch.setattr(Lifespan, method, fails)
    with pytest.raises(ZeroDivisionError):
        await drive(LifespanManager(application))
    await anyio.wait_all_tasks_blocked()
    assert application.ended == "cancelled"


def test_a_task_that_ends_in_a_line_of_the_librarys(
    asyncio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for the lifespan does not wait for ever."""

    def fails(self: Lifespan) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    async def main() -> None:
        async with manager:
            await anyio.sleep(2)

    manager = LifespanManager(app(receives, started, receives, sleeps(1)))
    monkeypatch.setattr(Lifespan, "_end", fails)
    name, options = BACKENDS[asyncio_backend]()
    with pytest.raises(KeyboardInterrupt):
        anyio.run(main, backend=name, backend_options=options)
    assert manager.phase is Phase.FAILED
