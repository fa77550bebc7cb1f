"""Many managers alive at once: what each of them costs, in time and in memory."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Awaitable, Callable

import asgi_lifespan
from interleaved import Values
from lifespans import app

from anylifespan import LifespanManager

# In every measurement so many lifespans are driven; only how many at once is different.
LIFESPANS = 10_000
COUNTS = (10, 100, 1_000, 10_000)
QUICK_COUNTS = (10, 100)

Stop = Callable[[], Awaitable[object]]


async def start() -> Stop:
    manager = LifespanManager(app)
    await manager.startup()
    return manager.shutdown


async def start_asgi_lifespan() -> Stop:
    manager = asgi_lifespan.LifespanManager(app)
    await manager.__aenter__()
    return lambda: manager.__aexit__(None, None, None)


STARTS = {"anylifespan": start, "asgi-lifespan": start_asgi_lifespan}


async def seconds_each(start: Callable[[], Awaitable[Stop]], count: int, lifespans: int) -> float:
    gc.collect()
    begun = time.perf_counter()
    for _ in range(lifespans // count):
        stops = [await start() for _ in range(count)]
        # The last one first, as the nurseries of asgi-lifespan need it on trio.
        for stop in reversed(stops):
            await stop()
    return (time.perf_counter() - begun) / lifespans


async def bytes_each(start: Callable[[], Awaitable[Stop]], count: int) -> float:
    await (await start())()  # what is made only once
    gc.collect()
    tracemalloc.start()
    stops = [await start() for _ in range(count)]
    gc.collect()
    used = tracemalloc.get_traced_memory()[0] / count
    tracemalloc.stop()
    for stop in reversed(stops):
        await stop()
    return used


async def measure_time(backend: str, *, quick: bool) -> dict[str, Values]:
    """Seconds for each lifespan, by how many are alive at once."""
    counts = QUICK_COUNTS if quick else COUNTS
    values: Values = {f"{name}, {count}": [] for name in STARTS for count in counts}
    for _ in range(2 if quick else 5):
        for name, one in STARTS.items():
            for count in counts:
                lifespans = counts[-1] if quick else LIFESPANS
                values[f"{name}, {count}"].append(await seconds_each(one, count, lifespans))
    return {"alive at once": values}


async def measure_memory(backend: str, *, quick: bool) -> dict[str, Values]:
    """Bytes of each manager that is up and has nothing to do, with its task."""
    counts = QUICK_COUNTS if quick else COUNTS
    return {
        "memory": {
            f"{name}, {count}": [await bytes_each(one, count)]
            for name, one in STARTS.items()
            for count in counts
        }
    }
