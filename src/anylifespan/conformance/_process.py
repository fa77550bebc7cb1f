"""A server's or driver's process, with all the processes that it starts."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ._client import HOST, TICK

# Seconds for operations that do not take long, even on the slowest machine.
LIMIT = 30.0
# Seconds for processes to notice that the process that started them has ended.
_STRAGGLERS = 5.0


@contextmanager
def sigint_not_ignored() -> Iterator[None]:
    """Have processes that are started inside the block handle SIGINT as they do in a terminal.

    A shell starts its background jobs with SIGINT ignored. The processes that a job starts would
    inherit this setting, and some servers would then ignore SIGINT, too.
    """
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if not ignored or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class Processes:
    """The running processes, which are started and waited for in several threads."""

    def __init__(self) -> None:
        self._running: set[Process] = set()
        self._are_killed = False

    def add(self, process: Process) -> None:
        self._running.add(process)
        if self._are_killed:
            process.kill_group()

    def discard(self, process: Process) -> None:
        self._running.discard(process)

    def kill(self) -> None:
        """Kill all processes, including any that are added later, so that no thread has to wait."""
        self._are_killed = True
        for process in tuple(self._running):
            process.kill_group()


class Process:
    """A running process and its output.

    :param among: the running processes, to which this process is added
    :param directory: the working directory, if not the current one
    :ivar output: the lines that the process has written so far
    :raises OSError: if the command cannot be run
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        among: Processes,
        *,
        directory: Path | None = None,
    ) -> None:
        self.output: list[str] = []
        self._popen = subprocess.Popen(  # noqa: S603 - it is what the user gave to be run
            command,
            cwd=directory,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # so that all of its processes can be found
        )
        self._among = among
        among.add(self)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._popen.stdout is not None  # noqa: S101 - for the type checkers
        for line in self._popen.stdout:
            self.output.append(line.rstrip())

    @property
    def has_ended(self) -> bool:
        return self._popen.poll() is not None

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def wait_ended(self, limit: float) -> int | None:
        """Wait for the process to end, and return its status, or None after ``limit`` seconds."""
        try:
            status = self._popen.wait(limit)
        except subprocess.TimeoutExpired:
            return None
        self._reader.join(LIMIT)
        return status

    def leaves_processes(self) -> bool:
        """Return whether processes that this process has started are still running.

        The processes have a few seconds to notice that this process has ended.
        """
        deadline = time.monotonic() + _STRAGGLERS
        while time.monotonic() < deadline:
            try:
                os.killpg(self._popen.pid, 0)
            except ProcessLookupError:
                return False
            time.sleep(TICK)  # only the end of one's children can be waited for
        return True

    def kill(self) -> None:
        """Kill the process and all processes that it has started, and clean up."""
        self.kill_group()
        self._among.discard(self)
        self._popen.wait(LIMIT)
        self._reader.join(LIMIT)
        assert self._popen.stdout is not None  # noqa: S101 - for the type checkers
        self._popen.stdout.close()

    def kill_group(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)


class Port:
    """A free TCP port that no other instance uses until the port is given back.

    The port is below the range from which systems choose ports for outgoing connections.
    Otherwise, such a connection could take the port before the server does.

    :ivar number: the port
    """

    def __init__(self) -> None:
        while True:
            self.number = random.randrange(20_000, 32_000)  # noqa: S311 - it need not be secret
            # While this holds the port for UDP, other instances do not choose the port, and it
            # stays free for TCP.
            self._held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                self._held.bind((HOST, self.number))
                with socket.socket() as listener:
                    listener.bind((HOST, self.number))
            except OSError:
                self._held.close()
            else:
                return

    def give_back(self) -> None:
        self._held.close()
