"""Very many lifespans in one process, and whether anything grows: ``nox -s soak`` runs this.

To run one of its backends by itself::

    python tests/soak.py asyncio 100000
"""

from __future__ import annotations

import gc
import logging
import os
import random
import resource
import sys
import threading
import time
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path

import anyio
from anyio import create_task_group, get_running_tasks
from catalogue import BODY, CATALOGUE, LONG, SHUTDOWN_TIMEOUT, STARTUP_TIMEOUT, Behaviour, Resources
from clocks import run_on
from drives import DRIVES

from anylifespan import LifespanError, LifespanManager

AT_ONCE = 20
LOOKS = 10
# How much more memory there may be in the end than after the first tenth.
TOLERANCE = 1.05
HEADINGS = ("lifespans", "MiB", "objects", "tasks", "threads", "descriptors")


@dataclass
class Look:
    lifespans: int
    memory: float
    objects: int
    tasks: int
    threads: int
    descriptors: int


def main() -> int:
    backend, lifespans = sys.argv[1], int(sys.argv[2])
    kind = "trio" if backend == "trio" else "asyncio"
    # Row 20 ends the event loop, and with it the test.
    behaviours = [one for one in CATALOGUE if kind in one.backends and one.row != "20"]
    logging.disable(logging.CRITICAL)
    looks: list[Look] = []
    complaints: list[object] = []
    began_at = time.monotonic()

    async def soak() -> None:
        random_ = random.Random(0)
        for _ in range(LOOKS):
            for _ in range(lifespans // LOOKS // AT_ONCE):
                async with create_task_group() as task_group:
                    for _ in range(AT_ONCE):
                        task_group.start_soon(one_lifespan, behaviours, random_)
            # Those that were given up on have come to their end then.
            await anyio.sleep(LONG)
            looks.append(look((len(looks) + 1) * (lifespans // LOOKS)))
            print("".join(f"{value:>14,.6g}" for value in astuple(looks[-1])), flush=True)

    print(f"{backend}\n{''.join(f'{heading:>14}' for heading in HEADINGS)}")
    run_on(backend, soak, complain=complaints.append)
    seconds = time.monotonic() - began_at
    print(f"{lifespans:,} lifespans in {seconds:.0f} seconds, {len(complaints)} complaints")
    return 0 if is_flat(looks[0], looks[-1]) and not complaints else 1


async def one_lifespan(behaviours: list[Behaviour], random_: random.Random) -> None:
    manager = LifespanManager(
        random_.choice(behaviours).make(Resources()),
        mode=random_.choice(["auto", "on"]),
        startup_timeout=STARTUP_TIMEOUT,
        shutdown_timeout=SHUTDOWN_TIMEOUT,
    )
    with suppress(LifespanError):
        await random_.choice([*DRIVES.values()])(manager, body)


async def body() -> None:
    await anyio.sleep(BODY)


def look(lifespans: int) -> Look:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Look(
        lifespans,
        pages * resource.getpagesize() / 2**20,
        len(gc.get_objects()),
        len(get_running_tasks()),
        threading.active_count(),
        len(os.listdir("/proc/self/fd")),
    )


def is_flat(first: Look, last: Look) -> bool:
    counts = ("tasks", "threads", "descriptors")
    return (
        last.memory <= first.memory * TOLERANCE
        and last.objects <= first.objects * TOLERANCE
        and all(getattr(last, name) == getattr(first, name) for name in counts)
    )


if __name__ == "__main__":
    sys.exit(main())
