"""Runs lifespans in a fresh process, and also reports if the application ends or blocks it."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from tempfile import TemporaryDirectory
from typing import IO, NoReturn

from .._core.lifespan import PATROL
from ._lifespans import END as END_OF_LOOP
from ._order import Letters, News, Order
from ._result import Failure, Result

# The program copies this process's sys.path before it imports anything else. With -c, the current
# directory comes first in sys.path, and modules in that directory would shadow Python's own.
_PROGRAM = """
import sys
sys.path[:] = sys.argv.pop().split("\\n")
from anylifespan.cli._lifespans import main
main(sys.argv[1])
"""
_INTERVAL = 0.05
# Seconds that a process may take to end, once everything is done.
_END = 5.0
# If a limit is exceeded by this many seconds, the whole process must be blocked. Otherwise, the
# process would have abandoned the application, and its own watchdog would have ended the process.
_PATIENCE = PATROL + END_OF_LOOP + 2

Write = Callable[[str], object]


def run_in_fresh_process(
    order: Order, *, on_news: Callable[[News], object], out: Write, err: Write
) -> News:
    """Run lifespans in a process of their own, with a fresh import of the application.

    :param on_news: called repeatedly with the latest news from the process
    :param out: called with each line that the process writes to its standard output
    :param err: called with each line that the process writes to its standard error
    """
    with TemporaryDirectory(prefix="anylifespan-") as directory:
        letters = Letters(directory)
        letters.send_order(order)
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        process = subprocess.Popen(  # noqa: S603 - it is this library
            [sys.executable, *flags, "-u", "-c", _PROGRAM, directory, "\n".join(sys.path)],
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # so that all that it starts can be ended
        )
        readers = [_read(process.stdout, out), _read(process.stderr, err)]
        try:
            with ended_by_signals():
                news = _wait(process, letters, on_news, News(Result(order.backend)))
        except KeyboardInterrupt:
            _interrupt(process)
            raise
        finally:
            hangs = process.poll() is None
            if hangs:
                _kill(process)
            # Processes that the application has started may keep these pipes open.
            is_held = not _joined(readers)
            if is_held:
                _kill(process)
        if news.is_over:
            news.result.held_up = hangs or is_held
        else:
            _put_down_its_end(news, process.returncode, hangs=hangs)
        return news


def _wait(
    process: subprocess.Popen[str], letters: Letters, on_news: Callable[[News], object], news: News
) -> News:
    """Wait until the process ends or its time is up, and return its latest news."""
    over_at = math.inf
    while process.poll() is None and time.monotonic() < over_at:
        news = letters.news() or news
        on_news(news)
        if news.is_over:
            over_at = min(over_at, time.monotonic() + _END)
        elif news.limit is None:
            over_at = math.inf
        else:
            over_at = news.since + news.limit + _PATIENCE
        with suppress(subprocess.TimeoutExpired):
            process.wait(_INTERVAL)
    return letters.news() or news


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raise SystemExit on SIGTERM or SIGHUP, so that other processes are cleaned up.

    A process in a session of its own does not end when this process ends.
    """

    def end(number: int, frame: object) -> NoReturn:
        sys.exit(128 + number)  # as a shell reports it

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _joined(readers: list[threading.Thread]) -> bool:
    deadline = time.monotonic() + _END
    for reader in readers:
        reader.join(max(0.0, deadline - time.monotonic()))
    return not any(reader.is_alive() for reader in readers)


def _interrupt(process: subprocess.Popen[str]) -> None:
    """Interrupt the application's process, which has not received Ctrl-C, and wait for its end."""
    if sys.platform != "win32":
        process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_END)


def _kill(process: subprocess.Popen[str]) -> None:
    if sys.platform == "win32":
        process.kill()
    else:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with all that it has started
    process.wait()


def _read(stream: IO[str] | None, write: Write) -> threading.Thread:
    def read() -> None:
        with stream:  # type: ignore[union-attr]
            for line in stream:  # type: ignore[union-attr]
                # Even if nobody reads the output any more, the application must be able to write.
                with suppress(Exception):
                    write(line.rstrip("\n"))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # the real-time signals have none
        return f"signal {number}"


def _put_down_its_end(news: News, status: int, *, hangs: bool) -> None:
    """Record that the process has ended too early, or had to be killed."""
    result, when = news.result, news.doing
    if hangs:
        result.phase.outcome = "blocked"
        result.failure = Failure(
            "ProcessBlocked",
            f"the application blocks its whole process in its {when}, so that not even a thread "
            "can say where: something in C holds the global interpreter lock",
        )
        return
    how = f"with status {status}" if status >= 0 else f"by {_name_of(-status)}"
    during = "while it was imported" if when == "import" else f"during its {when}"
    result.phase.outcome = "ended the process"
    result.failure = Failure(
        "ProcessEnded",
        f"the application ended the process {how} {during}",
        where=news.ended_at,
        at=news.ended_at[-1] if news.ended_at else None,
    )
