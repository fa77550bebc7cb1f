"""Find out which files are open."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

Identity = tuple[int, int]


def open_files() -> set[tuple[int, Identity]]:
    """Return the descriptor and identity of each regular file that this process has open."""
    try:
        descriptors = [int(name) for name in os.listdir("/dev/fd")]
    except OSError:  # Windows has no such list
        return set()
    found = set()
    for descriptor in descriptors:
        with suppress(OSError):  # that of the listing is closed again, as may be any other
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode):
                found.add((descriptor, _identity(status)))
    return found


def identity_of(path: str) -> Identity:
    """Return the device and inode of the file at a path.

    :raises OSError: if there is no such file
    """
    return _identity(os.stat(path))


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino
