"""One measurement on one backend, in a process of its own: ``worker.py crash trio values.json``."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import anyio
import client_suites
import crash
import imports
import lifespans
import many_alive
import parts
import per_request
import pyperf
import served

MEASUREMENTS = {
    "lifespans": (lifespans.measure, "second"),
    "parts": (parts.measure, "second"),
    "requests": (per_request.measure, "second"),
    "served": (served.measure, "second"),
    "suites": (client_suites.measure, "second"),
    "imports": (imports.measure, "second"),
    "alive": (many_alive.measure_time, "second"),
    "memory": (many_alive.measure_memory, "byte"),
    "crash": (crash.measure, "second"),
}


def main(name: str, backend: str, file: Path, *, quick: bool) -> None:
    measure, unit = MEASUREMENTS[name]
    values = anyio.run(
        partial(measure, backend, quick=quick),
        backend="trio" if backend == "trio" else "asyncio",
        backend_options={"use_uvloop": True} if backend == "uvloop" else {},
    )
    benchmarks = [
        pyperf.Benchmark(
            [pyperf.Run(numbers, metadata={"name": f"{backend}, {group}, {one}", "unit": unit})]
        )
        for group, contestants in values.items()
        for one, numbers in contestants.items()
    ]
    pyperf.BenchmarkSuite(benchmarks).dump(str(file))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), quick=sys.argv[4:] == ["--quick"])
