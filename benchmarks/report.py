"""The results as tables: benchmarks/RESULTS.md."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from importlib.metadata import version
from typing import NamedTuple

import pyperf

BACKENDS = ("asyncio", "uvloop", "trio")
BY_HAND = "asgi-lifespan and httpx2"
# How many there are in a second.
UNITS = {"µs": 1e6, "s": 1}
COMPARED = (
    "anylifespan",
    "anyio",
    "trio",
    "uvloop",
    "asgi-lifespan",
    "anycorn",
    "granian",
    "gunicorn",
    "hypercorn",
    "uvicorn",
)


class Ratio(NamedTuple):
    """A median, with the quartiles around it."""

    low: float
    median: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


class Results:
    """What was measured, by backend, group and name."""

    def __init__(self, suite: pyperf.BenchmarkSuite) -> None:
        self._values: dict[tuple[str, str, str], tuple[float, ...]] = {}
        for benchmark in suite:
            backend, group, name = benchmark.get_name().split(", ", 2)
            self._values[backend, group, name] = benchmark.get_values()
        self.machine = next(iter(suite)).get_metadata()
        _, self.date = (moment.date() for moment in suite.get_dates())

    def names(self, backend: str, group: str) -> list[str]:
        return [name for one, other, name in self._values if (one, other) == (backend, group)]

    def median(self, backend: str, group: str, name: str) -> float:
        return statistics.median(self._values[backend, group, name])

    def ratio(self, backend: str, group: str, name: str, against: str) -> Ratio:
        """Of what was measured in the same rounds."""
        ours, theirs = (self._values[backend, group, one] for one in (name, against))
        ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
        if len(ratios) == 1:
            return Ratio(ratios[0], ratios[0], ratios[0])
        low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
        return Ratio(low, median, high)


class Bound(NamedTuple):
    """What is to be reached."""

    what: str
    measured: str
    median: float
    limit: float
    unit: str = ""


def bounds(results: Results) -> Iterator[Bound]:
    def ratio(what: str, backend: str, group: str, name: str, against: str, limit: float) -> Bound:
        measured = results.ratio(backend, group, name, against)
        return Bound(what, str(measured), measured.median, limit)

    for peer, limit in (("asgi-lifespan", 1.0), ("anycorn", 0.6)):
        for backend in BACKENDS:
            what = f"`async with`, against {peer}, on {backend}"
            yield ratio(what, backend, "an empty body", "async with", peer, limit)
    for backend, limit in (("asyncio", 1.3), ("trio", 0.85)):
        what = f"`startup()` and `shutdown()`, against hypercorn, on {backend}"
        way = "startup() and shutdown()"
        yield ratio(what, backend, "an empty body", way, "hypercorn", limit)
    what = "a request through `manager.app`, against a wrapper by hand"
    yield ratio(what, "asyncio", "a request", "manager.app", "by hand", 1.1)
    for options, limit in (("", 1.05), (" and drain_timeout", 1.11)):
        for backend in ("asyncio", "uvloop"):
            what = f"a request under Uvicorn, with the middleware{options}, on {backend}"
            name = f"with the middleware{options}"
            group = "a request under Uvicorn"
            yield ratio(what, backend, group, name, "without the middleware", limit)
    for backend in ("asyncio", "trio"):
        what = f"500 tests with `asgi_client`, against {BY_HAND}, on {backend}"
        yield ratio(what, backend, "a suite of tests", "asgi_client", BY_HAND, 1.0)
    beyond = results.median("asyncio", "import", "import anylifespan, beyond anyio") * 1e3
    yield Bound("`import anylifespan`, beyond `import anyio`", f"{beyond:.2f} ms", beyond, 6, " ms")
    for group, what, limit in (("alive at once", "time", 1.5), ("memory", "memory", 1.2)):
        for backend in ("asyncio", "trio"):
            what_of = f"{what} for each manager, many alive against 100, on {backend}"
            most = results.names(backend, group)
            most = [name for name in most if name.startswith("anylifespan")]
            yield ratio(what_of, backend, group, most[-1], "anylifespan, 100", limit)


def table(results: Results) -> str:
    """All of it, as RESULTS.md."""
    return "\n".join(_lines(results)) + "\n"


def _lines(results: Results) -> Iterator[str]:
    machine = results.machine
    yield "# Results"
    yield ""
    yield "What `nox -s bench` measured; [docs/performance.md](../docs/performance.md) explains it."
    yield ""
    yield f"- {machine['cpu_model_name']}, {machine['cpu_count']} cores; {machine['platform']}"
    yield f"- {machine['python_implementation']} {machine['python_version']}"
    yield "- " + ", ".join(f"{one} {version(one)}" for one in COMPARED)
    yield f"- {results.date}"
    yield ""
    yield "All contestants of a table take turns, some calls each, in every process. A ratio is the"
    yield "median of those of all rounds, with the quartiles in brackets; times are medians."
    yield ""
    yield from _bounds(results)
    for group in ("an empty body", "a body of ten checkpoints"):
        yield f"## One lifespan with {group}"
        yield ""
        for backend in BACKENDS:
            yield from _compared(results, backend, group, against="asgi-lifespan")
    yield "## What the parts cost"
    yield ""
    for backend in BACKENDS:
        yield from _compared(results, backend, "parts", against="a checkpoint")
    yield "## One request"
    yield ""
    yield from _compared(results, "asyncio", "a request", against="by hand")
    yield "## One request that Uvicorn serves"
    yield ""
    for backend in ("asyncio", "uvloop"):
        group = "a request under Uvicorn"
        yield from _compared(results, backend, group, against="without the middleware")
    yield "## 500 tests"
    yield ""
    yield "Each has a client of its own, and sends one request. What counts is the time of the"
    yield "processor, with the start of pytest."
    yield ""
    for backend in ("asyncio", "trio"):
        yield from _compared(results, backend, "a suite of tests", against=BY_HAND, unit="s")
    yield "## Imports"
    yield ""
    yield from _compared(results, "asyncio", "import", against="import anyio")
    yield "## Alive at once"
    yield ""
    yield "Each has been started, and waits; then all are shut down."
    yield ""
    yield from _alive(results)
    yield "## From a crash to the cancellation"
    yield ""
    for backend in BACKENDS:
        yield from _compared(results, backend, "a crash", against="a task group by hand")


def _bounds(results: Results) -> Iterator[str]:
    yield "## What it is to reach"
    yield ""
    yield "| what | at most | measured | |"
    yield "| --- | --- | --- | --- |"
    for bound in bounds(results):
        reached = "reached" if bound.median <= bound.limit else "**not reached**"
        yield f"| {bound.what} | {bound.limit:g}{bound.unit} | {bound.measured} | {reached} |"
    yield ""


def _compared(
    results: Results, backend: str, group: str, *, against: str, unit: str = "µs"
) -> Iterator[str]:
    yield f"| on {backend} | {unit} | against {against} |"
    yield "| --- | --- | --- |"
    names = results.names(backend, group)
    for name in sorted(names, key=lambda one: results.median(backend, group, one)):
        duration = results.median(backend, group, name) * UNITS[unit]
        ratio = "1" if name == against else results.ratio(backend, group, name, against)
        yield f"| {name} | {duration:.{3 if duration < 10 else 0}f} | {ratio} |"
    yield ""


def _alive(results: Results) -> Iterator[str]:
    yield "| | µs for each | against 100 | bytes for each | against 100 |"
    yield "| --- | --- | --- | --- | --- |"
    for backend in ("asyncio", "trio"):
        for name in results.names(backend, "alive at once"):
            cells = [f"{name}, on {backend}"]
            for group, factor in (("alive at once", 1e6), ("memory", 1)):
                hundred = f"{name.partition(', ')[0]}, 100"
                cells.append(f"{results.median(backend, group, name) * factor:.0f}")
                cells.append(str(results.ratio(backend, group, name, hundred)))
            yield f"| {' | '.join(cells)} |"
    yield ""
