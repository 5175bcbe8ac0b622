"""The measuring: every way is warmed up and checked once, then all are timed in turn, several times over.

Turn by turn, because a machine drifts and is shared: only ratios within one run mean something. Of each way's
times the median is reported and the fastest beside it; ratios are taken of medians.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from rich.console import Console
from rich.table import Table

Role = Literal["ours", "yardstick", "peer"]


@dataclass(frozen=True)
class Way:
    """One way to do the job. `cells` is what `run` processes; `size` says how much that is, in words.

    Ours are held against the fastest "yardstick": `reach` is the factor by which they should be faster. The
    `reach` of another way is the factor by which ours should be faster than that one.
    """

    name: str
    role: Role
    size: str
    cells: int
    run: Callable[[], object]
    reach: float | None = None


def measure(ways: Sequence[Way], repetitions: int) -> dict[str, list[float]]:
    """ns per cell of every way, `repetitions` times, interleaved. A first run, untimed, compiles."""
    times: dict[str, list[float]] = {way.name: [] for way in ways}
    for way in ways:
        way.run()
    for _ in range(repetitions):
        for way in ways:
            start = time.perf_counter()
            way.run()
            times[way.name].append((time.perf_counter() - start) / way.cells * 1e9)
    return times


def report(
    title: str,
    ways: Sequence[Way],
    console: Console,
    repetitions: int = 5,
    unit: tuple[str, float] = ("ns", 1),
) -> None:
    """Measures the ways and prints their table, in a unit of so many ns."""
    name, size = unit
    times = {way: [ns / size for ns in values] for way, values in measure(ways, repetitions).items()}
    median = {name: float(np.median(values)) for name, values in times.items()}
    yardstick = min((way for way in ways if way.role == "yardstick"), key=lambda way: median[way.name])
    ours = next(way for way in ways if way.role == "ours")
    table = Table(
        title=title,
        caption=f"medians of {repetitions} interleaved repetitions; reach against {yardstick.name}",
    )
    table.add_column("way")
    table.add_column("measured on")
    for heading in (f"{name}, median", "fastest", f"÷ {ours.name}", "× yardstick", "reach"):
        table.add_column(heading, justify="right")
    for way in ways:
        cost, factor = median[way.name], median[yardstick.name] / median[way.name]
        held = factor if way.role == "ours" else cost / median[ours.name]
        table.add_row(
            way.name,
            way.size,
            f"{cost:.3g}",
            f"{min(times[way.name]):.3g}",
            f"{cost / median[ours.name]:.3g}",
            f"{factor:.3g}",
            "" if way.reach is None else f"≥ {way.reach:g}: {'met' if held >= way.reach else 'MISSED'}",
        )
    console.print(table)
