"""How every figure looks: a colour per kind of schedule, dashes and markers beside it, slope triangles.

Nothing here knows what is drawn, nor where it will be printed: the width of the page and the sizes of its
fonts are matplotlib's settings while a figure is drawn (`venues`). Colours are those of Okabe and Ito (2008)
with two of Tol's, told apart by the colour-blind; each comes with a dash and a marker, so that a grey print
still reads. What a figure uses of this file is copied into its script, so it needs matplotlib alone.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

    from ratelab.paper_figures.house.table import Table


def new_figure(height: float, pages: float = 1.0) -> Figure:
    """An empty figure as wide as `pages` pages, `height` inches high with a font of 8 points.

    Larger fonts make it higher in proportion, up to what the page allows (6 inches on slides).
    """
    width, highest = mpl.rcParams["figure.figsize"]
    return Figure(
        figsize=(pages * width, min(height * mpl.rcParams["font.size"] / 8, highest)), layout="constrained"
    )


def settled(figure: Figure) -> Figure:
    """The figure, its panels where a PNG has them for good: saving would lay out anew for each format."""
    figure.set_dpi(mpl.rcParams["savefig.dpi"])
    if engine := figure.get_layout_engine():
        engine.execute(figure)
    figure.set_layout_engine(None)
    return figure


LETTERS = 17
"""Of the smallest text, per inch, where the font has 8 points."""


def letters(figure: Figure) -> int:
    """How many fit across."""
    return int(LETTERS * 8 / float(mpl.rcParams["font.size"]) * figure.get_figwidth())


def few_powers(panel: "Axes", low: float, high: float) -> None:
    """Ticks between the powers of ten of a logarithmic y axis, where these are too few to read it by."""
    if high < 100 * low:
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if high > 10 * low else MaxNLocator(5))
        plain_numbers(panel.yaxis)


@dataclass(frozen=True)
class Look:
    """Colour, dash pattern and marker of one curve."""

    colour: str
    dash: Any
    marker: str

    def line(self) -> dict[str, Any]:
        """As keywords of `Axes.plot`, without the marker."""
        return {"color": self.colour, "linestyle": self.dash}


BLACK, BLUE, GREEN, PINK = "#000000", "#0072B2", "#009E73", "#CC79A7"
VERMILION, SKY, ORANGE, GREY = "#D55E00", "#56B4E9", "#E69F00", "#7F7F7F"
WINE, OLIVE = "#882255", "#999933"

LAST, AVERAGE = "#332288", "#CC6677"
"""Colours of the last iterate and the average, where a figure tells these apart and not schedules (Tol)."""

DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (3, 1, 1, 1)),
    (0, (1, 1)),
    (0, (7, 1.5, 1, 1.5)),
    (0, (2, 1)),
    (0, (5, 1, 1, 1, 1, 1)),
    (0, (4, 3)),
    (0, (9, 2)),
    (0, (1, 2.5)),
)
MARKERS = "so^DvPX*<>"

FAMILIES: tuple[tuple[str, str], ...] = (
    (BLACK, "Constant"),
    (BLUE, "InversePower Noam HorizonPower Refined"),
    (GREEN, "Linear Polynomial Rex Stages"),
    (PINK, "Cosine CosineRestarts CosineWave Tanh"),
    (VERMILION, "Exponential Geometric"),
    (SKY, "Compounding Bottou"),
    (ORANGE, "Step MultiStep Piecewise Values"),
    (GREY, "ReduceLROnPlateau GreedyLR SklearnAdaptive"),
    (WINE, "Triangular Sawtooth OneCycle Chebyshev Silver"),
    (OLIVE, "WarmupStableDecay TriStage"),
)
"""Colours and the shapes that wear them, which are each drawn in their family's dash and marker."""


def family(schedule: str) -> int:
    """Which of `FAMILIES` a schedule belongs to, by its text: "Warmup(Cosine(…), …)" is a cosine."""
    names = re.findall(r"[A-Za-z]\w*(?=\()", schedule) or [schedule]
    known = {name: i for i, (_, members) in enumerate(FAMILIES) for name in members.split()}
    if "InversePower" in names and re.search(r"power=1\.0\b", schedule):  # 1/t has the colour of inverse time
        return known["Bottou"]
    if "Cooldown" in names and "Constant" in names:  # trapezoid
        return known["WarmupStableDecay"]
    shapes = [name for name in names if name in known]
    moving = [name for name in shapes if name != "Constant"]  # Then(Constant(), second=Cosine()) is a cosine
    return known[(moving or shapes or ["Values"])[0]]


def look(schedule: str) -> Look:
    """The look of a schedule, by its text, the same in every figure."""
    i = family(schedule)
    return Look(FAMILIES[i][0], DASHES[i], MARKERS[i])


def looks(schedules: Sequence[str]) -> list[Look]:
    """One look per schedule: always in its own colour, in another dash and marker where its own are taken."""
    taken: list[tuple[str, int]] = []
    for schedule in schedules:
        i = family(schedule)
        k = next(k for k in itertools.count(i) if (FAMILIES[i][0], k) not in taken)
        taken.append((FAMILIES[i][0], k))
    n = len(DASHES)  # as many as markers; after a round the pairs are other ones
    return [Look(colour, DASHES[k % n], MARKERS[(k + k // n) % n]) for colour, k in taken]


def ordered(count: int) -> list[Look]:
    """Looks of something that has an order (a batch size, a momentum, a κ): from dark blue to ochre."""
    at = np.linspace(0.0, 0.78, count) if count > 1 else np.zeros(1)
    colours = [to_hex(mpl.colormaps["cividis"](x)) for x in at]
    return [Look(c, DASHES[i % len(DASHES)], MARKERS[i % len(MARKERS)]) for i, c in enumerate(colours)]


def distinct(count: int) -> list[Look]:
    """Looks of things that are neither schedules nor in an order: averagings, problems, methods."""
    colours = (LAST, AVERAGE, "#44AA99", "#999933", "#88CCEE", "#882255", "#117733", "#DDCC77")
    return [
        Look(colours[i % len(colours)], DASHES[i % len(DASHES)], MARKERS[i % len(MARKERS)])
        for i in range(count)
    ]


def t_quantile(p: float, freedom: int) -> float:
    """The quantile p > 1/2 of Student's t: √ν tan θ, where cos^(ν − 1) θ is the density of θ."""
    angle = np.linspace(0, np.pi / 2, 100_001)
    density = np.cos(angle) ** (freedom - 1)
    mass = np.append(0.0, np.cumsum(density[1:] + density[:-1]))
    return float(freedom**0.5 * np.tan(np.interp((2 * p - 1) * mass[-1], mass, angle)))


def mean_interval(runs: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The 95 % pointwise interval (Student's t) of the mean of `runs` (R, …) over its first axis."""
    with np.errstate(over="ignore", invalid="ignore"):  # of diverged runs: inf − inf
        reach = t_quantile(0.975, len(runs) - 1) * runs.std(axis=0, ddof=1) / len(runs) ** 0.5
        return runs.mean(axis=0) - reach, runs.mean(axis=0) + reach


def band(
    panel: "Axes", x: NDArray[Any], runs: NDArray[Any], face: Look, label: str = "", alpha: float = 0.13
) -> None:
    """The mean of `runs` (R, K) over x (K,), and its 95 % interval as a band, which one run doesn't have."""
    if len(runs) > 1:
        panel.fill_between(x, *mean_interval(runs), color=face.colour, alpha=alpha, lw=0)
    panel.plot(x, runs.mean(axis=0), label=label, **face.line())


def shade(colour: str, amount: float) -> str:
    """`colour` towards white (amount > 0, up to 1) or black (amount < 0)."""
    rgb = np.array(to_rgb(colour))
    r, g, b = rgb + amount * (1 - rgb) if amount > 0 else rgb * (1 + amount)
    return str(to_hex((float(r), float(g), float(b))))


def slope_triangle(
    axes: "Axes", x: float, y: float, slope: float, label: str, decades: float = 0.8, below: bool = True
) -> None:
    """A right triangle on log-log axes, its hypotenuse of this slope, from (x, y) over `decades` of x.

    `below`: the right angle lies under the hypotenuse, else above. The label stands beside the upright leg.
    """
    right, end = x * 10**decades, y * 10 ** (slope * decades)
    at_right = (slope > 0) == below
    corner_x, corner_y = (right, y) if at_right else (x, end)
    axes.plot(
        [x, right, corner_x, x], [y, end, corner_y, y], color="0.35", linewidth=0.7, solid_joinstyle="miter"
    )
    axes.annotate(
        label,
        (corner_x, (y * end) ** 0.5),
        xytext=(2.5 if at_right else -2.5, 0),
        textcoords="offset points",
        ha="left" if at_right else "right",
        va="center",
        fontsize="small",
        color="0.25",
    )


def plain_numbers(axis: "Axis") -> None:
    """Numbers, not powers of ten, at the major ticks of a logarithmic axis, and none at the minor ones."""
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.set_minor_formatter(NullFormatter())


ITERATES = {"last iterate": Look(LAST, "-", "o"), "average": Look(AVERAGE, (0, (5, 1.5)), "s")}
"""By what is looked at, in figures of no more than these two."""


def label_edges(panels: NDArray[Any], x: str, y: str) -> None:
    """Labels of the axes that a grid of panels (rows, columns) shares: below its last row, left of its first
    column."""
    for panel in panels[-1]:
        panel.set_xlabel(x)
    for panel in panels[:, 0]:
        panel.set_ylabel(y)


def looks_of(curves: "Table") -> dict[str, Look]:
    """A look for each "name" in a table, by its "schedule"."""
    names, schedules = zip(*(key for key, _ in curves.groups("name", "schedule")), strict=True)
    return dict(zip(names, looks(schedules), strict=True))
