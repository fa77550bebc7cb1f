"""A server that is put through a scenario."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING

from . import _application
from ._client import HOST, TICK, connection_to, get
from ._process import LIMIT, Port, Process, Processes
from ._record import Note, Record

if TYPE_CHECKING:
    from ._websocket import WebSocket

MODULE = "lifespan_conformance"
# Seconds for one request while the server starts. It may bind its port long before it answers.
_TRY = 2.0

_APP = """\
from {module}_application import Application, Files

app = Application({behaviour!r}, Files({directory!r}))
"""


class Refused(Exception):
    """Raised if the server does not accept a WebSocket."""


class Server:
    """A running server with a scenario's application, as a context manager.

    :param command: the command to run; ``{app}``, ``{host}``, ``{port}``, ``{workers}`` and
        ``{directory}`` are filled in
    :param behaviour: the name of the lifespan's behaviour
    :param workers: how many workers the server should have
    :param patience: seconds to wait for the server before it is considered to be hanging
    :param among: the running processes, to which the server is added
    :ivar record: the record of what happens
    :ivar patience: the parameter ``patience``
    :ivar directory: the directory that contains the application
    :raises OSError: if the command cannot be run
    """

    def __init__(
        self,
        command: Sequence[str],
        behaviour: str,
        *,
        workers: int = 1,
        patience: float,
        among: Processes,
    ) -> None:
        self.record = Record()
        self.patience = patience
        self._port = Port()
        self.port = self._port.number
        self._temporary = TemporaryDirectory(prefix="anylifespan-")
        self.directory = Path(self._temporary.name)
        self._since: float | None = None
        self._put_application(behaviour)
        fields = {
            "app": f"{MODULE}:app",
            "host": HOST,
            "port": str(self.port),
            "workers": str(workers),
            "directory": self._temporary.name,
        }
        path = filter(None, [self._temporary.name, os.environ.get("PYTHONPATH")])
        environment = {"PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}
        try:
            self._process = Process(filled_in(command, fields), environment, among)
        except BaseException:
            self._clean_up()
            raise

    def _put_application(self, behaviour: str) -> None:
        shutil.copy(_application.__file__, self.directory / f"{MODULE}_application.py")
        text = _APP.format(module=MODULE, behaviour=behaviour, directory=self._temporary.name)
        (self.directory / f"{MODULE}.py").write_text(text)

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self.record.notes = self.notes()
        self.record.output = "\n".join(self._process.output)
        self._clean_up()

    def _clean_up(self) -> None:
        self._temporary.cleanup()
        self._port.give_back()

    # The application's notes and flags

    def notes(self) -> list[Note]:
        try:
            text = (self.directory / "notes").read_text()
        except FileNotFoundError:
            return []
        # The last line may be incomplete.
        return [json.loads(line) for line in text.splitlines(keepends=True) if line[-1] == "\n"]

    def noted(self, what: str, **details: object) -> list[Note]:
        return Record(self.notes()).noted(what, **details)

    def set(self, flag: str) -> None:
        (self.directory / flag).touch()

    def wait_until(self, done: Callable[[], object], limit: float | None = None) -> None:
        """Wait until a condition holds, the process has ended, or the time limit has passed."""
        deadline = time.monotonic() + (self.patience if limit is None else limit)
        while not (done() or self.has_ended or time.monotonic() > deadline):
            time.sleep(TICK)  # there is nothing to wait for

    def wait_noted(self, what: str, **details: object) -> None:
        self.wait_until(lambda: self.noted(what, **details))

    # How the server starts

    def comes_up(self) -> bool:
        """Wait until the server answers requests, and return whether it does.

        The limit is ``patience`` seconds from the first call of the application. A server that
        binds its port early keeps requests waiting, so each request has a short timeout, and is
        sent again.
        """
        deadline = time.monotonic() + LIMIT
        is_asked = False
        while not self.record.came_up and not self._process.has_ended:
            now = time.monotonic()
            if not is_asked and self.notes():
                is_asked = True
                deadline = now + self.patience
            if now > deadline:
                break
            self.record.came_up = self.answers("/up", min(_TRY, deadline - now))
            if not self.record.came_up:
                time.sleep(TICK)  # there is nothing to wait for
        if not self.record.came_up:
            if self._process.has_ended:
                self.wait_ended()
            else:
                self.record.how = f"neither served nor ended within {self.patience:g} seconds"
        return self.record.came_up

    def answers(self, path: str, timeout: float) -> bool:
        """Return whether the server answers a request with status 200 before the timeout."""
        with closing(connection_to(self.port, max(TICK, timeout))) as connection:
            try:
                return get(connection, path) == http.HTTPStatus.OK
            except (OSError, http.client.HTTPException):
                return False

    # Requests

    def get(self, *paths: str) -> None:
        """Request these paths on one connection, until a request is not answered."""
        with (
            closing(connection_to(self.port, self.patience)) as connection,
            suppress(OSError, http.client.HTTPException),
        ):
            for path in paths:
                self.record.answers[path] = None
                self.record.answers[path] = get(connection, path)

    def websocket(self, path: str) -> WebSocket:
        """Open a WebSocket.

        :raises Refused: if the server does not accept the WebSocket
        """
        # Users who only judge drivers do not need wsproto.
        from ._websocket import WebSocket

        return WebSocket(self.port, path, self.patience)

    def takes_connections(self) -> bool:
        with closing(connection_to(self.port, self.patience)) as connection:
            try:
                connection.connect()
            except OSError:
                return False
        return True

    # How the server ends

    @property
    def has_ended(self) -> bool:
        return self._process.has_ended

    @property
    def was_asked_to_shut_down(self) -> bool:
        return Record(self.notes()).was_asked_to_shut_down

    def signal(self, number: signal.Signals) -> None:
        self._since = time.monotonic()
        self._process.signal(number)

    def stop(self) -> None:
        """Stop the server with SIGTERM, as supervisors do, and wait until it has ended."""
        self.signal(signal.SIGTERM)
        self.wait_ended()

    def wait_ended(self) -> None:
        """Wait until the server has ended, and record how it ended and how long that took.

        The time is counted from the last signal, or from this call if there was no signal.
        """
        record = self.record
        since = time.monotonic() if self._since is None else self._since
        status = self._process.wait_ended(self.patience)
        if status is None:
            record.how = f"was still running after {self.patience:g} seconds"
            return
        record.ended = True
        # The signal that was sent kills some servers. Shells report this as 128 plus the signal.
        by_signal = {-signal.SIGTERM, 128 + signal.SIGTERM, -signal.SIGINT, 128 + signal.SIGINT}
        record.seen["status"] = status
        record.seen["seconds"] = time.monotonic() - since
        record.failed = status != 0 and status not in by_signal
        record.how = f"ended with status {status}"
        record.left = self._process.leaves_processes()


def filled_in(command: Sequence[str], fields: dict[str, str]) -> list[str]:
    """Fill in the fields of a command, and leave other braces as they are."""
    parts = []
    for part in command:
        for name, value in fields.items():
            part = part.replace(f"{{{name}}}", value)
        parts.append(part)
    return parts
