"""Servers as processes, with any application; ``scenarios`` is about that of the kit."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from released_servers import PROJECT, Server, python_path

from anylifespan.conformance._client import HOST
from anylifespan.conformance._process import LIMIT, Port, Processes
from anylifespan.conformance._process import Process as _Process
from anylifespan.conformance._server import filled_in


class Process(_Process):
    """A server that runs.

    :ivar port: where it listens
    :ivar output: the lines that it has written so far
    """

    def __init__(self, server: Server, app: str, **environment: str) -> None:
        self._port = Port()
        self.port = self._port.number
        fields = {"app": app, "host": HOST, "port": str(self.port), "workers": "1"}
        path = python_path(PROJECT, environment.get("PYTHONPATH"))
        environment |= {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
        super().__init__(filled_in(server.command, fields), environment, Processes())

    def wait_for(self, pattern: str, times: int = 1) -> bool:
        """Wait until it has written this so often; whether it has."""
        deadline = time.monotonic() + LIMIT
        while self.count(pattern) < times:
            if not self._reader.is_alive() or time.monotonic() > deadline:
                return self.count(pattern) >= times
            time.sleep(0.01)  # there is nothing to wait for
        return True

    def count(self, pattern: str) -> int:
        """How often it has written this; two processes may write it into one line."""
        return len(re.findall(pattern, "\n".join(self.output), re.MULTILINE))

    def wait_listening(self) -> None:
        """Wait until it takes connections."""
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection((HOST, self.port)):
                return
            time.sleep(0.01)  # there is nothing to wait for

    def kill(self) -> None:
        super().kill()
        self._port.give_back()


@contextmanager
def running(server: Server, app: str, **environment: str) -> Iterator[Process]:
    process = Process(server, app, **environment)
    try:
        yield process
    finally:
        process.kill()
