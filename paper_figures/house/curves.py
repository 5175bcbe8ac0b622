"""The picture of one's own results: a curve per schedule or per anything else, panels for the rest.

Solid: the exact expected risk, or the mean of the runs where none is known. Band: 95 % pointwise interval of
that mean. Dotted: the worst-case bound for the same iterate. Triangles: rates that are claimed.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from ratelab.paper_figures.house.style import (
    Look,
    distinct,
    few_powers,
    letters,
    looks,
    new_figure,
    ordered,
    slope_triangle,
)
from ratelab.paper_figures.house.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DIVERGED = 1e200
"""A risk above is drawn as what it is, diverged: not at all."""
ABREAST = 3
"""Panels in a row that fit the page; with more the figure is wider."""
NUMBERS = ("lr", "horizon", "t")


def draw(
    table: Table,
    *,
    title: str = "",
    x: str = "t",
    by: str = "schedule",
    down: str = "averaging",
    across: str = "lr",
    labels: Mapping[str, str] | None = None,
    xlabel: str = "updates $t$",
    ylabel: str = "risk",
    linear: bool = False,
    tight: bool = False,
    compensate: float = 0.0,
    slopes: Sequence[tuple[str | float, str | float, float]] = (),
) -> Figure:
    """A panel per value of the columns `down` and `across`, in it a curve per value of `by` over column `x`.

    labels: what a value is called; others are written as they are
    compensate: p, for y · x^p
    slopes: (value of `down`, value of `across`, power): a triangle of slope −power in that panel
    """
    names = {} if labels is None else labels
    shown = table.above(x, 0.0) if not linear else table
    curves = shown.values(by)
    faces = dict(zip(curves, _faces(by, curves), strict=True))
    rows, columns = shown.values(down), shown.values(across)
    height = 1.0 + 1.9 * len(rows) + 0.15 * max(0, len(curves) - 6)  # long names stand one below the other
    figure = new_figure(height, max(1.0, len(columns) / ABREAST))
    axes = figure.subplots(len(rows), len(columns), sharex=True, sharey=True, squeeze=False)
    for (r, row), (c, column) in ((r, c) for r in enumerate(rows) for c in enumerate(columns)):
        panel, here = axes[r, c], shown.where(down, row).where(across, column)
        for value, curve in here.groups(by):
            _draw_curve(panel, curve, x, faces[value], _name(by, value, names), compensate, by in NUMBERS)
        panel.set(xscale="linear" if linear else "log", yscale="log")
        varied = [(axis, v) for axis, v in ((down, row), (across, column)) if len(table.values(axis)) > 1]
        words = ", ".join(_name(axis, value, names) for axis, value in varied)
        panel.set_title(textwrap.fill(words, int(letters(figure) / len(columns))))
        if columns.index(column) == 0:
            panel.set_ylabel(ylabel)
        if rows.index(row) == len(rows) - 1:
            panel.set_xlabel(xlabel)
    low, high = _limits(shown, x, (by, down, across), compensate, tight)
    for panel in axes.flat:
        _set_scale(panel, low, high, linear, shown.values(x))
    for row, column, power in slopes:
        if row in rows and column in columns:
            here = shown.where(down, row).where(across, column)
            _draw_triangle(axes[rows.index(row), columns.index(column)], here, x, by, power, compensate)
    _add_words(figure, axes[0, 0], title, table)
    return figure


def _faces(by: str, values: Sequence[Any]) -> list[Look]:
    if by == "schedule":
        return looks([str(value) for value in values])
    return ordered(len(values)) if by in NUMBERS else distinct(len(values))


def _name(axis: str, value: Any, labels: Mapping[str, str]) -> str:
    """What a value is called; neither a dollar nor an underscore in front means anything to matplotlib."""
    text = f"{value:.12g}" if isinstance(value, float) else str(value)
    prefix = {"lr": "lr = ", "horizon": "T = "}.get(axis, "")
    called = (prefix + labels.get(f"{axis} {text}", labels.get(text, text))).replace("$", r"\$")
    return f" {called}" if called.startswith("_") else called


def line(curve: Table) -> NDArray[Any]:
    """What is drawn solid: the exact risk, or the mean of the runs where none is known."""
    return curve["mean"] if np.isnan(curve["exact"]).all() else curve["exact"]


def _draw_curve(
    panel: "Axes", curve: Table, x: str, face: Look, label: str, compensate: float, marked: bool
) -> None:
    at, factor = curve[x], curve[x] ** compensate if compensate else np.ones(len(curve))
    mean, low, high, bound, solid = (
        factor * np.where(v < DIVERGED, v, np.nan)
        for v in (curve["mean"], curve["low"], curve["high"], curve["bound"], line(curve))
    )
    if np.isfinite(low).any():
        panel.fill_between(at, np.maximum(low, 1e-3 * mean), high, color=face.colour, alpha=0.25, linewidth=0)
    marker: dict[str, Any] = {"marker": face.marker} if len(curve) < 12 else {}
    panel.plot(at, solid, label=label, **face.line(), **marker)
    if np.isfinite(bound).any():
        panel.plot(at, bound, color=face.colour, linestyle=":", linewidth=0.7)


def _limits(
    table: Table, x: str, axes: tuple[str, ...], compensate: float, tight: bool
) -> tuple[float, float]:
    """Room for the risks; bounds may lie far above and are cut, and so is a run on its way out. Tight where
    there is nothing but them."""
    factor = table[x] ** compensate if compensate else np.ones(len(table))
    values = np.concatenate([factor * table["exact"], factor * table["mean"]])
    values = values[(values < DIVERGED) & (values > 0)]
    if not len(values):
        return 1e-3, 1.0
    low, high = float(values.min()), float(values.max())
    begin = [float(line(curve)[0] * curve[x][0] ** compensate) for _, curve in table.groups(*axes)]
    highest = 1e6 * max([value for value in begin if 0 < value < DIVERGED], default=high)
    return (low / 1.3, min(1.3 * high, highest)) if tight else (low / 15, min(10 * high, highest))


def _set_scale(panel: "Axes", low: float, high: float, linear: bool, ticks: Sequence[float]) -> None:
    panel.set_ylim(low, high)
    few_powers(panel, low, high)
    if linear:
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    elif len(ticks) < 9:
        panel.xaxis.set_major_locator(FixedLocator(ticks))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        panel.xaxis.set_minor_locator(NullLocator())


def _draw_triangle(
    axes: "Axes", table: Table, x: str, by: str, power: float, compensate: float, decades: float = 0.8
) -> None:
    """Below everything drawn over the decade that it spans, left of those that are there."""
    place = len(axes.texts)
    left = float(table[x].max()) / 10 ** (1.0 + 1.1 * place)
    under = np.inf
    for _, curve in table.groups(by):
        inside = (curve[x] >= left / 2) & (curve[x] <= 8 * left)
        room = (
            line(curve)[inside]
            * curve[x][inside] ** compensate
            * (curve[x][inside] / left) ** (power - compensate)
        )
        room = room[np.isfinite(room) & (room > 0)]
        under = min([under, *room.tolist()])
    slope = compensate - power
    if under < DIVERGED and slope:
        slope_triangle(axes, left, 0.5 * under, slope, f"${slope:.3g}$", decades)


def _add_words(figure: Figure, panel: "Axes", title: str, table: Table) -> None:
    """The title above; the legend below, which says what lines and bands are; in lines that fit the page."""
    across = letters(figure)
    if title:
        lines = [textwrap.fill(part, across) for part in title.replace("$", r"\$").splitlines() if part]
        figure.suptitle("\n".join(lines), fontsize="small")
    handles, labels = panel.get_legend_handles_labels()
    unknown = [np.isnan(curve["exact"]).all() for _, curve in table.groups("problem", "method", "schedule")]
    said = "line: exact, or mean of runs" if any(unknown) else "line: exact"
    said = "line: mean of runs" if all(unknown) else said
    grey: list[Any] = [Line2D([], [], color="0.4", label=said)]
    if np.isfinite(table["low"]).any():
        grey.append(Patch(color="0.4", alpha=0.25, lw=0, label="band: 95 % interval of the mean of the runs"))
    if np.isfinite(table["bound"]).any():
        grey.append(Line2D([], [], color="0.4", ls=":", lw=0.7, label="dotted: worst-case bound"))
    handles, labels = [*handles, *grey], [*labels, *(str(part.get_label()) for part in grey)]
    abreast = max(1, int(across / (8 + max(map(len, labels)))))
    figure.legend(handles, labels, loc="outside lower center", ncols=min(abreast, len(labels)))
