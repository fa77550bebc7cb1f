"""The results as pictures: docs/lifespans.svg and docs/alive.svg."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from report import BACKENDS, Results

mpl.use("svg")
import matplotlib.pyplot as plt

# The same results give the same files.
mpl.rcParams.update({"svg.hashsalt": "anylifespan", "font.size": 9})
OURS, THEIRS = "#2a6f97", "#b8b8b8"
WAYS_IN = ("async with", "startup() and shutdown()", "serve in a task group")


def draw(results: Results, into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    _lifespans(results, into / "lifespans.svg")
    _alive(results, into / "alive.svg")


def _lifespans(results: Results, file: Path) -> None:
    """One lifespan by each driver: ratios to asgi-lifespan, quartile to quartile."""
    figure, columns = plt.subplots(1, len(BACKENDS), figsize=(9, 3.2), layout="constrained")
    for axes, backend in zip(columns, BACKENDS, strict=True):
        group = "an empty body"
        ratios = {
            name: results.ratio(backend, group, name, "asgi-lifespan")
            for name in results.names(backend, group)
            if name != "the application alone"
        }
        names = sorted(ratios, key=lambda name: -ratios[name].median)
        axes.barh(
            names,
            [ratios[name].median for name in names],
            xerr=(
                [ratios[name].median - ratios[name].low for name in names],
                [ratios[name].high - ratios[name].median for name in names],
            ),
            color=[OURS if name in WAYS_IN else THEIRS for name in names],
            error_kw={"elinewidth": 0.8},
        )
        axes.axvline(1, color="black", linewidth=0.6, linestyle=":")
        axes.set_title(f"on {backend}")
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("time of one lifespan; asgi-lifespan takes 1")
    _save(figure, file)


def _alive(results: Results, file: Path) -> None:
    """What one costs while many are alive."""
    figure, columns = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained")
    for axes, (group, factor, label) in zip(
        columns,
        (("alive at once", 1e6, "µs for each"), ("memory", 1e-3, "kB for each")),
        strict=True,
    ):
        for backend, style in (("asyncio", "o-"), ("trio", "s--")):
            for package, color in (("anylifespan", OURS), ("asgi-lifespan", THEIRS)):
                names = [name for name in results.names(backend, group) if name.startswith(package)]
                axes.plot(
                    [int(name.rpartition(" ")[2]) for name in names],
                    [results.median(backend, group, name) * factor for name in names],
                    style,
                    color=color,
                    label=f"{package}, on {backend}",
                )
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_ylabel(label)
        axes.set_xlabel("alive at once")
        axes.spines[["top", "right"]].set_visible(False)
    columns[1].legend(fontsize=8)
    _save(figure, file)


def _save(figure: Figure, file: Path) -> None:
    figure.savefig(file, metadata={"Date": None, "Creator": None})
    plt.close(figure)
