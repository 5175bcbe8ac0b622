"""Risks, losses and errors against the number of updates or epochs, for one's own results; and schedules that
are only looked at.

One picture per problem, method and quantity: the risk where there is one, of networks the test error and the
training loss. A panel per averaging (rows) and learning rate (columns), a colour per schedule at the longest
horizon. Solid: the exact expected risk, or the mean of the runs where none is known. Band: 95 % pointwise
interval of that mean. Dotted: the worst-case bound for the same iterate. Triangle: a rate that is claimed.
"""

import itertools
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from experiments.spec import Quantity, Selector, is_network, quantities, select
from experiments.store import Curve, Results
from paper_figures import _style
from theory.arrays import Array, InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KEY = "Line: exact (or mean of runs). Band: 95 % pointwise interval of the mean. Dotted: worst-case bound."
KEY_OF_RUNS = "Line: mean of runs. Band: 95 % pointwise interval of the mean."
DRAWN = frozenset[Quantity](("risk", "test_error", "train_loss"))
"""Of what is kept of the runs; the tables hold all of it."""
SKY = 1e200
"""A risk above is drawn as what it is, diverged: not at all."""
COLUMNS = ("problem", "method", "schedule", "averaging", "lr", "t", "exact", "mean", "low", "high", "bound")
LETTERS = 17
"""Of the smallest text, per inch."""


def save(results: Results, folder: Path) -> list[Path]:
    """Write risk-1.pdf, .png and .csv, one set per problem, method and quantity; returns the paths.

    What isn't drawn is in a .csv all the same.
    """
    spec = results.spec
    written = []
    for number, (problem, method) in enumerate(itertools.product(spec.problems, spec.methods), 1):
        for quantity in quantities(problem):
            data = {
                (s, a, lr): curve_data(results, Curve(problem, method, s, a, lr, spec.longest), quantity)
                for s, a, lr in itertools.product(spec.schedules, spec.averagings, spec.lr)
            }
            rows = (
                [repr(problem), repr(method), repr(s), repr(a), lr, *line]
                for (s, a, lr), columns in data.items()
                for line in zip(*(column.tolist() for column in columns.values()), strict=True)
            )
            stem = folder / f"{quantity}-{number}"
            if quantity in DRAWN:
                written += _style.save_figure(draw(results, problem, method, data, quantity), stem)
            written.append(_style.save_table(COLUMNS, rows, stem.with_suffix(".csv")))
    return written


def curve_data(results: Results, curve: Curve, quantity: Quantity = "risk") -> dict[str, Array]:
    """t, exact, mean, low, high, bound of one curve, each (K,); NaN where something isn't known."""
    runs, exact, bound = results.runs(curve, quantity), results.exact(curve), results.bound(curve)
    unknown = np.full(runs.sizes["t"], np.nan)
    low = high = unknown
    if len(runs) > 1:
        low, high = _style.mean_interval(runs.values)
    with np.errstate(over="ignore"):  # a sum of diverging runs
        mean = runs.values.mean(axis=0)
    return {
        "t": runs["t"].values,
        "exact": unknown if exact is None else exact.values,
        "mean": mean,
        "low": low,
        "high": high,
        "bound": unknown if bound is None else bound.values,
    }


def draw(
    results: Results,
    problem: Any,
    method: Any,
    data: Mapping[Any, Mapping[str, Array]],
    quantity: Quantity = "risk",
) -> Figure:
    """The picture of one problem and method; `data` maps (schedule, averaging, lr) to `curve_data`."""
    spec = results.spec
    epochs = spec.clock == "epoch"
    linear = epochs or spec.record_every is not None
    first = 0 if linear else 1
    looks = _style.looks(spec.schedules)
    unit = "" if spec.lr_unit == "absolute" else f" × {spec.lr_unit}"
    rows, columns = len(spec.averagings), len(spec.lr)
    width = max(_style.FULL, 0.8 + 2.2 * columns)
    with _style.paper():
        figure = _style.figure(width, 1.0 + 1.9 * rows)
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for (r, averaging), (c, lr) in itertools.product(enumerate(spec.averagings), enumerate(spec.lr)):
            panel = axes[r, c]
            for schedule, look in zip(spec.schedules, looks, strict=True):
                _draw_curve(panel, data[schedule, averaging, lr], look, spec.label(schedule), first)
            low, high = _limits(data.values(), first, tight=linear or quantity != "risk")
            panel.set(xscale="linear" if linear else "log", yscale="log", ylim=(low, high))
            if high < 100 * low:  # too few powers of ten to read the axis by
                panel.yaxis.set_major_locator(
                    LogLocator(subs=(1, 2, 5)) if high > 10 * low else MaxNLocator(5)
                )
                panel.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
                panel.yaxis.set_minor_formatter(NullFormatter())
            here = Selector(problem, method, averaging=averaging, lr=lr)
            drawn = [_line(data[schedule, averaging, lr]) for schedule in spec.schedules]
            times = next(iter(data.values()))["t"].astype(np.float64)
            if quantity == "risk":
                _draw_triangles(panel, _claimed(results, here), times, np.array(drawn))
            panel.set_title(f"{spec.label(averaging)}, lr = {lr:g}{unit}")
        for panel in axes[-1]:
            panel.set_xlabel("epochs" if epochs else "updates t")
            if epochs:
                panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        for panel in axes[:, 0]:
            panel.set_ylabel(quantity.replace("_", " "))
        lines = (
            spec.title,
            f"{spec.label(problem)}, {spec.label(method)}",
            KEY_OF_RUNS if is_network(problem) else KEY,
        )
        text = "\n".join(textwrap.fill(line, int(LETTERS * width)) for line in lines if line)
        figure.suptitle(text, fontsize=7)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        abreast = max(1, int(LETTERS * width / (8 + max(map(len, labels)))))
        figure.legend(handles, labels, loc="outside lower center", ncols=abreast)
    return figure


def _line(curve: Mapping[str, Array]) -> Array:
    """What is drawn solid: the exact risk, or the mean of the runs where none is known."""
    return curve["mean"] if np.isnan(curve["exact"]).all() else curve["exact"]


def _draw_curve(panel: "Axes", curve: Mapping[str, Array], look: _style.Look, label: str, first: int) -> None:
    shown = curve["t"] >= first
    t, _, mean, low, high, bound = (np.where(v < SKY, v, np.nan)[shown] for v in curve.values())
    panel.fill_between(t, np.maximum(low, 1e-3 * mean), high, color=look.colour, alpha=0.25, linewidth=0)
    line = _line(curve)[shown]
    panel.plot(t, np.where(line < SKY, line, np.nan), label=label, **look.line())
    panel.plot(t, bound, color=look.colour, linestyle=":", linewidth=0.7)


def _limits(curves: Iterable[Mapping[str, Array]], first: int, tight: bool) -> tuple[float, float]:
    """Room for the risks; bounds may lie far above and are cut. Tight where there is nothing but them."""
    drawn = [np.concatenate([c["exact"][c["t"] >= first], c["mean"][c["t"] >= first]]) for c in curves]
    values = np.concatenate(drawn)
    values = values[(values < SKY) & (values > 0)]
    if not len(values):
        return 1e-3, 1.0
    low = float(values.min())
    if tight:
        return low / 1.3, min(1.3 * float(values.max()), 1e6 * low)
    return low / 15, min(10 * float(values.max()), 1e12 * low)  # a run on its way out leaves the picture


def _claimed(results: Results, panel: Selector) -> list[float]:
    """The powers that are claimed of any schedule in a panel; stalling has no slope to draw."""
    found = {
        claim.rate.power
        for claim in results.spec.claims
        for row in select(results.spec, claim.select)
        if claim.rate is not None
        and claim.rate.power != 0
        and all(
            getattr(row, axis) == getattr(panel, axis) for axis in ("problem", "method", "averaging", "lr")
        )
    }
    return sorted(found)


def _draw_triangles(axes: "Axes", powers: Iterable[float], times: Array, drawn: Array) -> None:
    """A triangle per power, side by side, below everything drawn (curves, K) over the decade it spans."""
    for place, power in enumerate(powers):
        left = float(times[-1]) / 10 ** (1.0 + 1.1 * place)
        under = (times >= left / 2) & (times <= 8 * left)
        room = drawn[:, under] * (times[under] / left) ** power
        room = room[np.isfinite(room) & (room > 0)]
        if len(room):
            _style.slope_triangle(axes, left, 0.5 * room.min(), -power, f"{-power:g}".replace("-", "−"))


def save_preview(steps: Mapping[str, Array], path: Path) -> Path:
    """Write a picture of step sequences, legend -> (T,), in the format of the file's ending."""
    if path.suffix not in (".png", ".pdf", ".svg"):
        raise InputError(f"--out {path}: give a name that ends in .png, .pdf or .svg")
    with _style.paper():
        figure = _style.figure(_style.FULL, 2.6)
        panel = figure.subplots()
        for legend, values in steps.items():
            panel.plot(values, label=legend)
        panel.set(xlabel="update t", ylabel="step", ylim=(0, None))
        panel.legend()
    return _style.save_picture(figure, path)
