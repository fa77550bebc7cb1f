"""Measure, and write what came out: ``nox -s bench``, or ``python benchmarks --quick`` for a try.

Every measurement is made in several processes, one after the other; pyperf's format holds the
values, so that its own commands can look at results.json too.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import click
import pyperf
from plots import draw
from report import Results, table

HERE = Path(__file__).parent
# Name, backends, and how many processes.
MEASUREMENTS = [
    ("lifespans", ["asyncio", "uvloop", "trio"], 5),
    ("parts", ["asyncio", "uvloop", "trio"], 3),
    ("requests", ["asyncio"], 5),
    ("served", ["asyncio", "uvloop"], 3),
    ("suites", ["asyncio", "trio"], 1),
    ("imports", ["asyncio"], 1),
    ("alive", ["asyncio", "trio"], 1),
    ("memory", ["asyncio", "trio"], 1),
    ("crash", ["asyncio", "uvloop", "trio"], 3),
]


@click.command()
@click.option("--quick", is_flag=True, help="Only see that the benchmarks work.")
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    default=HERE,
    help="Where to write RESULTS.md, results.json and the plots.",
)
@click.option(
    "--plots",
    type=click.Path(file_okay=False, path_type=Path),
    default=HERE.parent / "docs",
    help="Where to draw the plots.",
)
def main(quick: bool, into: Path, plots: Path) -> None:
    """Measure this package and its peers side by side."""
    benchmarks: dict[str, pyperf.Benchmark] = {}
    # Process by process, so that a spell of noise meets all measurements alike.
    for number in range(1 if quick else max(processes for _, _, processes in MEASUREMENTS)):
        for name, backends, processes in MEASUREMENTS:
            for backend in backends if number < processes else ():
                click.echo(f"{name} on {backend}, {number + 1} of {1 if quick else processes}")
                for benchmark in run_worker(name, backend, quick=quick):
                    if (known := benchmarks.get(benchmark.get_name())) is None:
                        benchmarks[benchmark.get_name()] = benchmark
                    else:
                        known.add_runs(benchmark)
    suite = pyperf.BenchmarkSuite(list(benchmarks.values()))
    into.mkdir(parents=True, exist_ok=True)
    suite.dump(str(into / "results.json"), replace=True)
    results = Results(suite)
    (into / "RESULTS.md").write_text(table(results))
    draw(results, plots)
    click.echo(f"wrote {into / 'RESULTS.md'}, and plots in {plots}")


def run_worker(name: str, backend: str, *, quick: bool) -> pyperf.BenchmarkSuite:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "values.json"
        command: list[str | Path] = [sys.executable, HERE / "worker.py", name, backend, file]
        if quick:
            command.append("--quick")
        subprocess.run(command, check=True)
        return pyperf.BenchmarkSuite.load(str(file))


if __name__ == "__main__":
    main()
