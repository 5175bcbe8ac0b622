"""Risk against the number of updates, for one's own results and for schedules that are only looked at.

One picture per problem and method: a panel per averaging (rows) and learning rate (columns), a colour per
schedule at the longest horizon. Solid: the exact expected risk, or the mean of the runs where none is known.
Band: 95 % pointwise interval of that mean. Dotted: the worst-case bound for the same iterate. Triangle: a
rate that is claimed.
"""

import itertools
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from experiments.spec import Selector, select
from experiments.store import Curve, Results
from paper_figures import _style
from theory.arrays import Array, InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KEY = "Line: exact (or mean of runs). Band: 95 % pointwise interval of the mean. Dotted: worst-case bound."
SKY = 1e200
"""A risk above is drawn as what it is, diverged: not at all."""
COLUMNS = ("problem", "method", "schedule", "averaging", "lr", "t", "exact", "mean", "low", "high", "bound")
LETTERS = 17
"""Of the smallest text, per inch."""


def save(results: Results, folder: Path) -> list[Path]:
    """Write risk-1.pdf, .png and .csv, one set per problem and method; returns the paths."""
    spec = results.spec
    written = []
    for number, (problem, method) in enumerate(itertools.product(spec.problems, spec.methods), 1):
        data = {
            (s, a, lr): curve_data(results, Curve(problem, method, s, a, lr, spec.longest))
            for s, a, lr in itertools.product(spec.schedules, spec.averagings, spec.lr)
        }
        rows = (
            [repr(problem), repr(method), repr(s), repr(a), lr, *line]
            for (s, a, lr), columns in data.items()
            for line in zip(*(column.tolist() for column in columns.values()), strict=True)
        )
        stem = folder / f"risk-{number}"
        written += _style.save_figure(draw(results, problem, method, data), stem)
        written.append(_style.save_table(COLUMNS, rows, stem.with_suffix(".csv")))
    return written


def curve_data(results: Results, curve: Curve) -> dict[str, Array]:
    """t, exact, mean, low, high, bound of one curve, each (K,); NaN where something isn't known."""
    runs, exact, bound = results.runs(curve), results.exact(curve), results.bound(curve)
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


def draw(results: Results, problem: Any, method: Any, data: Mapping[Any, Mapping[str, Array]]) -> Figure:
    """The picture of one problem and method; `data` maps (schedule, averaging, lr) to `curve_data`."""
    spec = results.spec
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
                _draw_curve(panel, data[schedule, averaging, lr], look, spec.label(schedule))
            panel.set(xscale="log", yscale="log", ylim=_limits(data.values()))
            here = Selector(problem, method, averaging=averaging, lr=lr)
            drawn = [_line(data[schedule, averaging, lr]) for schedule in spec.schedules]
            times = next(iter(data.values()))["t"].astype(np.float64)
            _draw_triangles(panel, _claimed(results, here), times, np.array(drawn))
            panel.set_title(f"{spec.label(averaging)}, lr = {lr:g}{unit}")
        for panel in axes[-1]:
            panel.set_xlabel("updates t")
        for panel in axes[:, 0]:
            panel.set_ylabel("risk")
        lines = (spec.title, f"{spec.label(problem)}, {spec.label(method)}", KEY)
        text = "\n".join(textwrap.fill(line, int(LETTERS * width)) for line in lines if line)
        figure.suptitle(text, fontsize=7)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        abreast = max(1, int(LETTERS * width / (8 + max(map(len, labels)))))
        figure.legend(handles, labels, loc="outside lower center", ncols=abreast)
    return figure


def _line(curve: Mapping[str, Array]) -> Array:
    """What is drawn solid: the exact risk, or the mean of the runs where none is known."""
    return curve["mean"] if np.isnan(curve["exact"]).all() else curve["exact"]


def _draw_curve(panel: "Axes", curve: Mapping[str, Array], look: _style.Look, label: str) -> None:
    shown = curve["t"] > 0
    t, _, mean, low, high, bound = (np.where(v < SKY, v, np.nan)[shown] for v in curve.values())
    panel.fill_between(t, np.maximum(low, 1e-3 * mean), high, color=look.colour, alpha=0.25, linewidth=0)
    line = _line(curve)[shown]
    panel.plot(t, np.where(line < SKY, line, np.nan), label=label, **look.line())
    panel.plot(t, bound, color=look.colour, linestyle=":", linewidth=0.7)


def _limits(curves: Iterable[Mapping[str, Array]]) -> tuple[float, float]:
    """Room for the risks; bounds may lie far above and are cut."""
    drawn = [np.concatenate([c["exact"][c["t"] > 0], c["mean"][c["t"] > 0]]) for c in curves]
    values = np.concatenate(drawn)
    values = values[(values < SKY) & (values > 0)]
    if not len(values):
        return 1e-3, 1.0
    low = float(values.min())
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
