r"""Three schedules on the way to a minimum: SGD on x₁² + 2x₂² with N(0, 1) noise on the gradient.

Dive into Deep Learning, section 12.4. Top: a path from (−5, −2) over contours of f. Bottom: its end,
enlarged. The ellipse holds 95 % of the exact law of the last iterate, the cross is its mean, the dots are the
last iterates of 300 runs, the star is the minimiser, the diamond is the end that a build of the book prints.
Titles give the exact expected f after 50 updates, and later, after 1000.

Left: the constant step 0.1 hovers around the minimiser, and more updates don't help. Middle: the steps
0.1 exp(−0.1 t) sum to 0.86, so the flat direction keeps a sixth of its start, however long it runs, though
its variance is a fifth of the constant step's. Right: 0.1 (1 + 0.1 t)^−½ is closer after 50 updates, and
nearer still after 1000. The book's counter t is incremented before its first use, so its first value is 2.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Rectangle

from ratelab.experiments.estimates import Estimate, fraction_estimate
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import Claim
from ratelab.paper_figures.house.style import look, new_figure
from ratelab.paper_figures.house.table import Table
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
SCHEDULES: tuple[tuple[str, str, Schedule, int, tuple[float, float]], ...] = (
    ("constant", r"$\eta_t = 0.1$", Constant(), 50, (0.129825, -0.037771)),
    (
        "exponential",
        r"$\eta_t = 0.1\,e^{-0.1t}$",
        Scaled(Exponential(math.exp(-0.1)), math.exp(-0.2)),
        1000,
        (-0.769652, -0.093216),
    ),
    (
        "inverse square root",
        r"$\eta_t = 0.1\,(1+0.1t)^{-1/2}$",
        Scaled(InversePower(0.5, timescale=12.0), 1.2**-0.5),
        50,
        (-0.012226, -0.037868),
    ),
)
"""Name, formula with the book's t = 2, 3, …, multipliers (the first is s(2)), updates, a printed end."""

SHOWN = 300
"""How many of the runs' ends are drawn."""

BLOCK = 50
"""Updates whose noise is in memory at a time."""

REACH = math.sqrt(-2 * math.log(0.05))
"""How many standard deviations the 95 % ellipse of a plane Gaussian law reaches."""


@dataclass(frozen=True)
class Panel:
    """One schedule: a path (T + 1, 2), exact mean (2,) and sd (2,) of x_T, the ends (R, 2) of R runs.

    early, late: E f(x_t) − f* after 50 and after 1000 updates, exact
    """

    path: Array
    mean: Array
    sd: Array
    ends: Array
    early: float
    late: float

    def distance(self, points: Array) -> Array:
        """How many standard deviations `points` (…, 2) lie from the mean, squared."""
        return np.asarray((((points - self.mean) / self.sd) ** 2).sum(axis=-1))

    def covered(self) -> Estimate:
        """The probability of ending inside the 95 % ellipse."""
        return fraction_estimate(int(np.sum(self.distance(self.ends) <= REACH**2)), len(self.ends))


def data(full: bool = False, report: Report = quiet) -> dict[str, Panel]:
    """The panels by name, of 10,000 runs each, in full of 40,000."""
    panels: dict[str, Panel] = {}
    for name, _, schedule, horizon, _ in SCHEDULES:
        panels[name] = _panel(schedule, horizon, runs=40_000 if full else 10_000)
        report(len(panels), len(SCHEDULES))
    return panels


def _panel(schedule: Schedule, horizon: int, runs: int) -> Panel:
    steps = LR * multipliers(schedule, horizon)
    key = philox.stream_key(0, repr(PROBLEM))
    x = np.tile(PROBLEM.start, (runs, 1))
    path = [x[0]]
    for first in range(0, horizon, BLOCK):
        (noise,) = PROBLEM.sample(key, range(runs), first, BLOCK)
        for t in range(BLOCK):
            x = x - steps[first + t] * (PROBLEM.eigenvalues * x + noise[:, t])
            path.append(x[0])
    mean, sd = _law(schedule, horizon)
    early, late = (
        float(0.5 * PROBLEM.eigenvalues @ (m**2 + s**2)) for m, s in (_law(schedule, t) for t in (50, 1000))
    )
    return Panel(np.array(path), mean, sd, x, early, late)


def _law(schedule: Schedule, updates: int) -> tuple[Array, Array]:
    """Exact mean and standard deviation (2,) of the iterate."""
    steps = LR * multipliers(schedule, updates)
    return last_iterate(steps, PROBLEM.eigenvalues, PROBLEM.start, PROBLEM.law.noise)


COLUMNS = ("schedule", "name", "formula", "updates", "what", "index", "x1", "x2", "early", "late")


def rows(panels: dict[str, Panel]) -> Iterator[tuple[object, ...]]:
    """The path, the exact mean and standard deviation, a printed end and `SHOWN` ends, one point per row."""
    for name, formula, schedule, horizon, printed in SCHEDULES:
        panel = panels[name]
        parts = {
            "path": panel.path,
            "mean": panel.mean[None],
            "sd": panel.sd[None],
            "printed": np.array([printed]),
            "end of run": panel.ends[:SHOWN],
        }
        for what, points in parts.items():
            for index, (x1, x2) in enumerate(points.tolist()):
                yield repr(schedule), name, formula, horizon, what, index, x1, x2, panel.early, panel.late


def draw(table: Table) -> Figure:
    """Paths above, their ends below."""
    figure = new_figure(4.2)
    axes = figure.subplots(2, 3, sharex="row", sharey="row", height_ratios=(1.0, 0.95))
    (left, right), (low, high) = box = (-1.15, 0.55), (-0.5, 0.5)
    for column, ((schedule, name, formula, updates), panel) in enumerate(
        table.groups("schedule", "name", "formula", "updates")
    ):
        top, bottom = axes[:, column]
        for part in (top, bottom):
            _scene(part, panel, look(schedule).colour)
        top.add_patch(Rectangle((left, low), right - left, high - low, fill=False, ec="0.3", lw=0.6))
        ends, printed = panel.where("what", "end of run"), panel.where("what", "printed")
        label = f"last iterates of {len(ends)} runs"
        bottom.plot(ends["x1"], ends["x2"], ".", color="0.3", ms=2, mew=0, zorder=1.5, label=label)
        bottom.plot(
            printed["x1"], printed["x2"], "D", mfc="none", mec="black", zorder=4, label="printed in the book"
        )
        top.set_title(f"{name}\n{formula}\n{updates:.0f} updates", fontsize="medium")
        bottom.set_title(
            rf"$E\,f = {panel.first('early'):.3f}$, later ${panel.first('late'):.3f}$", fontsize="medium"
        )
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
    path, mean, sd = (panel.where("what", what) for what in ("path", "mean", "sd"))
    axes.plot(path["x1"], path["x2"], "-o", color=colour, lw=0.8, ms=2, mew=0, zorder=2, label="a path")
    centre = float(mean["x1"][0]), float(mean["x2"][0])
    width, height = 2 * REACH * float(sd["x1"][0]), 2 * REACH * float(sd["x2"][0])
    ellipse = Ellipse(centre, width, height, fc="#E69F0055", ec="#B36B00", lw=1.0, zorder=3)
    ellipse.set_label("95 % of the exact law")
    axes.add_patch(ellipse)
    axes.plot(*centre, "P", mfc="white", mec="black", mew=0.7, zorder=4, label="its mean")
    axes.plot(0, 0, "*", color="black", ms=9, mec="white", mew=0.4, zorder=3.5, label="minimiser")


_BOOK, _HERE = "Dive into Deep Learning 12.4", "derived here from the book's settings"
Panels = dict[str, Panel]


def _farthest(d: Panels) -> float:
    """The largest of the printed ends' squared distances."""
    return max(float(d[name].distance(np.array(printed))) for name, *_, printed in SCHEDULES)


def _coverage(name: str) -> Claim[Panels]:
    return Claim(
        f"{name}: the ellipse holds 95 % of the runs", _HERE, lambda d: d[name].covered(), 0.95, 0.01
    )


CLAIMS: tuple[Claim[Panels], ...] = (
    Claim(
        "constant: it will not improve after additional steps: E f after 1000 updates over E f after 50",
        _BOOK,
        lambda d: d["constant"].late / d["constant"].early,
        1.0,
        tolerance=1e-3,
    ),
    Claim(
        "exponential: the variance is significantly reduced, x₁'s over the constant's",
        _BOOK,
        lambda d: float((d["exponential"].sd[0] / d["constant"].sd[0]) ** 2),
        0.5,
        relation="at_most",
    ),
    Claim(
        "inverse square root: convergence gets better after only 50 steps: E f over the constant's",
        f"{_BOOK}; the number derived here",
        lambda d: d["inverse square root"].early / d["constant"].early,
        0.3813,
        tolerance=0.51e-4,
    ),
    Claim(
        "the ends that a build of the book prints lie in the 95 % ellipses: largest squared distance in sd",
        _BOOK,
        _farthest,
        REACH**2,
        relation="at_most",
    ),
    Claim(
        "exponential, mean of x₁: stops short",
        _HERE,
        lambda d: float(d["exponential"].mean[0]),
        -0.82574,
        0.51e-5,
    ),
    Claim("exponential, mean of x₂", _HERE, lambda d: float(d["exponential"].mean[1]), -0.04503, 0.51e-5),
    Claim("exponential, sd of x₁", _HERE, lambda d: float(d["exponential"].sd[0]), 0.0747, 0.51e-4),
    Claim("exponential, sd of x₂", _HERE, lambda d: float(d["exponential"].sd[1]), 0.0399, 0.51e-4),
    Claim("exponential, E f after 1000 updates", _HERE, lambda d: d["exponential"].late, 0.69467, 0.51e-5),
    Claim(
        "inverse square root, E f after 50", _HERE, lambda d: d["inverse square root"].early, 0.02251, 0.51e-5
    ),
    Claim("constant, sd of x₁", _HERE, lambda d: float(d["constant"].sd[0]), 0.16667, 0.51e-5),
    Claim("constant, sd of x₂", _HERE, lambda d: float(d["constant"].sd[1]), 0.125, 0.51e-5),
    *(_coverage(name) for name, *_ in SCHEDULES),
)
