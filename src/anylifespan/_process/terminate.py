"""Ending the server that this process is a worker of, in the way in which it ends gracefully."""

from __future__ import annotations

import os
import signal


def terminate() -> None:
    """Send the signal by which the server stops gracefully: SIGTERM, where somebody handles it.

    To be called by the event loop: a KeyboardInterrupt then comes to where one of Ctrl-C would, and
    not to the task that wants the server stopped.

    A server that handles SIGINT alone, as those on trio do by KeyboardInterrupt, gets that. Workers
    that handle neither (Hypercorn's and Anycorn's, unless told to have no workers) are stopped by
    the process that has started them, so that process gets the SIGTERM.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        if callable(signal.getsignal(number)):
            # Not os.kill(), which on Windows ends the process at once.
            signal.raise_signal(number)
            return
    import multiprocessing  # which is slow to import, and seldom needed

    supervisor = multiprocessing.parent_process()
    pid = None if supervisor is None else supervisor.pid
    os.kill(pid or os.getpid(), signal.SIGTERM)
