"""Put a server or a driver through a scenario."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from http.client import HTTPException
from io import StringIO

from anyio import get_cancelled_exc_class, move_on_after

from ._application import Application
from ._driver import Driven, Driver, Memory
from ._process import Processes
from ._record import Record
from ._scenario import Scenario
from ._server import Server


def play(command: Sequence[str], scenario: Scenario, patience: float, among: Processes) -> Record:
    """Put a server through a scenario.

    :param command: the server's command, with the fields that :class:`Server` fills in
    :param patience: seconds to wait for the server before it is considered to be hanging
    :param among: the running processes, to which the server is added
    :raises OSError: if the command cannot be run
    """
    with Server(
        command,
        scenario.behaviour,
        workers=scenario.workers,
        patience=patience,
        among=among,
    ) as server:
        try:
            _play(server, scenario)
        except (OSError, HTTPException) as exc:
            server.record.broken_off = f"it does not behave as a server: {exc!r}"
    return server.record


def _play(server: Server, scenario: Scenario) -> None:
    if scenario.early is not None:
        scenario.early(server)
    if scenario.play is not None and server.comes_up():
        scenario.play(server)


async def drive(driver: Driver, scenario: Scenario, patience: float) -> Record:
    """Put a driver through a scenario, in the running event loop.

    :param patience: seconds that the whole scenario may take
    """
    assert scenario.body is not None  # noqa: S101 - only cases for drivers are judged by it
    record = Record()
    memory = Memory(record)
    application = Application(scenario.behaviour, memory)
    with (
        _captured() as output,
        move_on_after(patience) as limit,
        move_on_after(scenario.cancelled_after) as caller,
    ):
        try:
            async with driver(application) as running:
                record.came_up = True
                memory.note("entered")
                try:
                    await scenario.body(Driven(running, memory, record, patience, caller.cancel))
                except get_cancelled_exc_class():
                    record.seen["cancelled"] = True
                    raise
        except Exception as exc:  # noqa: BLE001 - whatever the driver raises is its outcome
            record.failed = True
            record.how = f"raised {exc!r}"
            record.seen["raised"] = exc
            traceback.print_exception(exc, file=output)
        else:
            record.how = "raised nothing"
    record.ended = not limit.cancelled_caught
    if limit.cancelled_caught:
        record.how = f"did not end within {patience:g} seconds"
    record.notes = list(record.notes)  # what the application notes now, it notes too late
    record.output = output.getvalue()
    return record


@contextmanager
def _captured() -> Iterator[StringIO]:
    """Capture the output and log messages of the block."""
    output = StringIO()
    handler = logging.StreamHandler(output)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        with redirect_stdout(output), redirect_stderr(output):
            yield output
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
