r"""Three schedules on the way to a minimum: SGD on x₁² + 2x₂² with N(0, 1) noise on the gradient.

Dive into Deep Learning, section 12.4. Top: a path from (−5, −2) over contours of f. Bottom: its end,
enlarged. The ellipse holds 95 % of the exact law of the last iterate, the cross is its mean, the dots are the
last iterates of 300 runs, the star is the minimiser, the diamond is the end that a build of the book prints.
Titles give the exact expected f after 50 updates, and later, after 1000.

Left: the constant step 0.1 hovers around the minimiser, and more updates don't help. Middle: the steps
0.1 exp(−0.1 t) sum to 0.86, so the flat direction keeps a sixth of its start after 1000 updates, though its
variance is a fifth of the constant step's. Right: 0.1 (1 + 0.1 t)^−½ is closer than either after 50 updates,
and closer still after 1000. The book's counter t is incremented before its first use: it begins at 2.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Rectangle

from ratelab.experiments.judging.estimates import fraction_estimate
from ratelab.experiments.sources import Source
from ratelab.experiments.spec import Measure
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import claim, ours
from ratelab.paper_figures.house.style import look, new_figure
from ratelab.paper_figures.house.table import Lines, Table, table_of
from ratelab.problems import philox
from ratelab.problems.noise import Gaussian
from ratelab.problems.quadratic import Quadratic
from ratelab.problems.spectra import Given
from ratelab.theory.affine import last_iterate
from ratelab.theory.arrays import Array
from ratelab.theory.combine import Scaled
from ratelab.theory.schedules import Constant, Exponential, InversePower, Schedule, multipliers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ABOUT = About(
    title="Stochastic gradient descent on the way to a minimum",
    group="Dive into Deep Learning",
    source="Zhang, Lipton, Li and Smola 2023, section 12.4",
    link="https://d2l.ai/chapter_optimization/sgd.html",
    topics=("decay", "noise"),
    seconds=(1.5, 6),
)

LR = 0.1
PROBLEM = Quadratic(Given((2.0, 4.0)), noise=Gaussian(1.0), initial=(-5.0, -2.0))
CONSTANT, EXPONENTIAL, ROOT = "constant", "exponential", "inverse square root"
SCHEDULES: dict[str, tuple[str, Schedule, int, tuple[float, float]]] = {
    CONSTANT: (r"$\eta_t = 0.1$", Constant(), 50, (0.129825, -0.037771)),
    EXPONENTIAL: (
        r"$\eta_t = 0.1\,e^{-0.1t}$",
        Scaled(Exponential(math.exp(-0.1)), math.exp(-0.2)),
        1000,
        (-0.769652, -0.093216),
    ),
    ROOT: (
        r"$\eta_t = 0.1\,(1+0.1t)^{-1/2}$",
        Scaled(InversePower(0.5, timescale=12.0), 1.2**-0.5),
        50,
        (-0.012226, -0.037868),
    ),
}
"""Formula with the book's t = 2, 3, …, multipliers (the first is s(2)), updates, a printed end."""

EARLY, LATE = 50, 1000
"""Updates after which the law is looked at."""

SHOWN = 300
"""How many of the runs' ends are drawn."""

BLOCK = 50
"""Updates whose noise is in memory at a time."""

REACH = math.sqrt(-2 * math.log(0.05))
"""How many standard deviations the 95 % ellipse of a plane Gaussian law reaches."""


def data(full: bool = False, report: Report = quiet) -> Table:
    """A line per point: the path, the exact law's mean and sd after some updates, a printed end, some ends.

    runs, inside: 10,000 runs, in full 40,000, and how many of them end in the ellipse.
    """
    lines: Lines = []
    for done, (name, (formula, schedule, horizon, printed)) in enumerate(SCHEDULES.items(), 1):
        path, ends = _simulate(schedule, horizon, runs=40_000 if full else 10_000)
        inside = int(np.sum(distance(ends, *_law(schedule, horizon)) <= REACH**2))
        at = {"schedule": repr(schedule), "name": name, "formula": formula, "updates": horizon}
        at |= {"runs": len(ends), "inside": inside}
        points = [("path", t, x) for t, x in enumerate(path)]
        for t in (EARLY, LATE):
            mean, sd = _law(schedule, t)
            points += [("mean", t, mean), ("sd", t, sd)]
        points.append(("printed", horizon, np.array(printed)))
        points += [("end of run", run, x) for run, x in enumerate(ends[:SHOWN])]
        lines += [{**at, "what": what, "index": k, "x1": x1, "x2": x2} for what, k, (x1, x2) in points]
        report(done, len(SCHEDULES))
    return table_of(lines)


def _simulate(schedule: Schedule, horizon: int, runs: int) -> tuple[Array, Array]:
    """The path of the first run, (T + 1, 2), and the ends of all, (R, 2)."""
    steps = LR * multipliers(schedule, horizon)
    key = philox.stream_key(0, repr(PROBLEM))
    x = np.tile(PROBLEM.start, (runs, 1))
    path = [x[0]]
    for first in range(0, horizon, BLOCK):
        (noise,) = PROBLEM.sample(key, range(runs), first, BLOCK)
        for t in range(BLOCK):
            x = x - steps[first + t] * (PROBLEM.eigenvalues * x + noise[:, t])
            path.append(x[0])
    return np.array(path), x


def _law(schedule: Schedule, updates: int) -> tuple[Array, Array]:
    """Exact mean and standard deviation (2,) of the iterate."""
    steps = LR * multipliers(schedule, updates)
    return last_iterate(steps, PROBLEM.eigenvalues, PROBLEM.start, PROBLEM.law.noise)


def distance(points: Array, mean: Array, sd: Array) -> Array:
    """How many standard deviations `points` (…, 2) lie from the mean, squared."""
    return np.asarray((((points - mean) / sd) ** 2).sum(axis=-1))


def point(panel: Table, what: str, index: float) -> Array:
    """(x1, x2) of a line of the table."""
    line = panel.where("what", what).where("index", index)
    return np.array([line.first("x1"), line.first("x2")])


def expected(panel: Table, updates: float) -> float:
    """E f = E x₁² + 2 E x₂² of the exact law."""
    mean, sd = point(panel, "mean", updates), point(panel, "sd", updates)
    return float(np.array([1.0, 2.0]) @ (mean**2 + sd**2))


def draw(table: Table) -> Figure:
    """Paths above, their ends below."""
    figure = new_figure(4.2)
    axes = figure.subplots(2, 3, sharex="row", sharey="row", height_ratios=(1.0, 0.95))
    groups = table.groups("schedule", "name", "formula", "updates")
    for (top, bottom), ((schedule, name, formula, updates), panel) in zip(axes.T, groups, strict=True):
        for part in (top, bottom):
            _scene(part, panel, look(schedule).colour)
        (left, right), (low, high) = box = (-1.15, 0.55), (-0.5, 0.5)
        top.add_patch(Rectangle((left, low), right - left, high - low, fill=False, ec="0.3", lw=0.6))
        ends, printed = panel.where("what", "end of run"), point(panel, "printed", updates)
        label = f"last iterates of {len(ends)} runs"
        bottom.plot(ends["x1"], ends["x2"], ".", color="0.3", ms=2, mew=0, zorder=1.5, label=label)
        bottom.plot(*printed, "D", mfc="none", mec="black", zorder=4, label="printed in the book")
        top.set_title(f"{name}\n{formula}\n{updates:.0f} updates", fontsize="medium")
        early, late = expected(panel, EARLY), expected(panel, LATE)
        bottom.set_title(rf"$E\,f = {early:.3f}$, later ${late:.3f}$", fontsize="medium")
        top.set(xlim=(-5.6, 1.4), ylim=(-3.1, 1.7), xlabel="$x_1$")
        bottom.set(xlim=box[0], ylim=box[1], xlabel="$x_1$", xticks=[-1, -0.5, 0, 0.5])
    for part in axes[:, 0]:
        part.set_ylabel("$x_2$")
    handles, labels = axes[1, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _scene(axes: "Axes", panel: Table, colour: str) -> None:
    x, y = np.meshgrid(np.linspace(-5.8, 1.6, 200), np.linspace(-3.3, 1.9, 140))
    levels = 0.02 * 3.0 ** np.arange(8)
    axes.contour(x, y, x**2 + 2 * y**2, levels=levels, colors="0.78", linewidths=0.5, zorder=0.5)
    path, updates = panel.where("what", "path"), panel.first("updates")
    axes.plot(path["x1"], path["x2"], "-o", color=colour, lw=0.8, ms=2, mew=0, zorder=2, label="a path")
    mean, (width, height) = point(panel, "mean", updates), 2 * REACH * point(panel, "sd", updates)
    ellipse = Ellipse((mean[0], mean[1]), width, height, fc="#E69F0055", ec="#B36B00", lw=1.0, zorder=3)
    ellipse.set_label("95 % of the exact law")
    axes.add_patch(ellipse)
    axes.plot(*mean, "P", mfc="white", mec="black", mew=0.7, zorder=4, label="its mean")
    axes.plot(0, 0, "*", color="black", ms=9, mec="white", mew=0.4, zorder=3.5, label="minimiser")


Number: TypeAlias = Callable[[Table], float]
_BOOK = Source(
    "Dive into Deep Learning",
    "section 12.4.2 (chapter_optimization/sgd.md)",
    "this setting",
    "full text",
    setting="its own function, noise, schedules and updates",
)
_BUILD = replace(_BOOK, place="section 12.4, outputs as notes quote a build", seen="second hand")
_HERE = ours("derived here from the book's settings")


def _moment(name: str, what: str, axis: int) -> Number:
    """Mean or sd of x₁ (axis 0) or x₂ (axis 1) at the end."""
    return lambda table: float(point(table.where("name", name), what, SCHEDULES[name][2])[axis])


def _expected(name: str, updates: int) -> Number:
    return lambda table: expected(table.where("name", name), updates)


def _over(above: Number, below: Number, power: float = 1.0) -> Number:
    return lambda table: (above(table) / below(table)) ** power


def _farthest(table: Table) -> float:
    """The largest of the printed ends' squared distances."""
    panels = table.groups("name", "updates")
    found = [[point(panel, what, at) for what in ("printed", "mean", "sd")] for (_, at), panel in panels]
    return max(float(distance(*points)) for points in found)


def _covered(name: str) -> Measure:
    """The probability of ending inside the 95 % ellipse."""
    return lambda table: fraction_estimate(
        *(int(table.where("name", name).first(count)) for count in ("inside", "runs"))
    )


CLAIMS = (
    claim(
        "constant: it will not improve after additional steps: E f after 1000 updates over E f after 50",
        _BOOK.at("section 12.4.1 (chapter_optimization/sgd.md)"),
        _over(_expected(CONSTANT, LATE), _expected(CONSTANT, EARLY)),
        "1 ± 0.001",
    ),
    claim(
        "exponential: the variance is significantly reduced, x₁'s over the constant's",
        _BOOK,
        _over(_moment(EXPONENTIAL, "sd", 0), _moment(CONSTANT, "sd", 0), power=2),
        "at most 0.5",
    ),
    claim(
        "exponential: even after 1000 steps still very far from the optimum: E f over the constant's",
        replace(_BOOK, words="very"),
        _over(_expected(EXPONENTIAL, LATE), _expected(CONSTANT, LATE)),
        "at least 2",
    ),
    claim(
        "inverse square root: convergence gets better after only 50 steps: E f over the exponential's",
        _BOOK,
        _over(_expected(ROOT, EARLY), _expected(EXPONENTIAL, LATE)),
        "at most 1",
    ),
    claim(
        "the ends that a build of the book prints lie in the 95 % ellipses: largest squared distance in sd",
        _BUILD,
        _farthest,
        f"at most {REACH**2}",
    ),
    claim(
        "inverse square root: after 50 updates E f is 0.38 of the constant's",
        _HERE,
        _over(_expected(ROOT, EARLY), _expected(CONSTANT, EARLY)),
        "0.38 ± 0.005",
    ),
    claim(
        "inverse square root: closer still after 1000 updates: E f over that after 50",
        _HERE,
        _over(_expected(ROOT, LATE), _expected(ROOT, EARLY)),
        "at most 0.5",
    ),
    claim(
        "exponential: the mean of x₁ stops at a sixth of its start, −5",
        _HERE,
        lambda table: _moment(EXPONENTIAL, "mean", 0)(table) / PROBLEM.start[0],
        "0.167 ± 0.002",
    ),
    claim(
        "constant: the sd of x₁ is η/√(1 − (1 − ηλ)²), 1/6",
        _HERE,
        _moment(CONSTANT, "sd", 0),
        "0.16667 ± 0.51e-5",
    ),
    claim("constant: the sd of x₂ is 1/8", _HERE, _moment(CONSTANT, "sd", 1), "0.125 ± 0.51e-5"),
    *(
        claim(f"{name}: the ellipse holds 95 % of the runs", _HERE, _covered(name), "0.95 ± 0.01")
        for name in SCHEDULES
    ),
)
