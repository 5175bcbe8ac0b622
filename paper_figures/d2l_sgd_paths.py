r"""Three schedules on the way to a minimum: SGD on x₁² + 2x₂² with N(0, 1) noise on the gradient.

Top: a path from (−5, −2) over contours of f, as in Dive into Deep Learning, section 12.4. Bottom: its end,
enlarged. The ellipse holds 95 % of the exact law of the last iterate, the cross is its mean, the dots are the
last iterates of 300 runs, the star is the minimiser. Left: the constant step 0.1 hovers around it after 50
updates. Middle: 0.1 exp(−0.1 t) stops short of it, and 1000 updates don't help. Right: 0.1 (1 + 0.1 t)^−½
is closer after 50. The book's counter t is incremented before its first use, so its first value is 2.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Rectangle

from paper_figures import _style
from paper_figures._claims import Claim
from problems import philox
from problems.noise import Gaussian
from problems.quadratic import Quadratic
from problems.spectra import Given
from theory.affine import last_iterate
from theory.arrays import Array
from theory.combine import Scaled
from theory.schedules import Constant, Exponential, InversePower, Schedule, multipliers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LR = 0.1
PROBLEM = Quadratic(Given((2.0, 4.0)), noise=Gaussian(1.0), initial=(-5.0, -2.0))
SCHEDULES: tuple[tuple[str, str, Schedule, int], ...] = (
    ("constant", r"$\eta_t = 0.1$", Constant(), 50),
    ("exponential", r"$\eta_t = 0.1\,e^{-0.1t}$", Scaled(Exponential(math.exp(-0.1)), math.exp(-0.2)), 1000),
    (
        "inverse square root",
        r"$\eta_t = 0.1\,(1+0.1t)^{-1/2}$",
        Scaled(InversePower(0.5, timescale=12.0), 1.2**-0.5),
        50,
    ),
)
"""Name, formula with the book's t = 2, 3, …, multipliers (the first is s(2)), updates."""

SHOWN = 300
"""How many of the runs' ends are drawn."""

REACH = math.sqrt(-2 * math.log(0.05))
"""How many standard deviations the 95 % ellipse of a plane Gaussian law reaches."""


@dataclass(frozen=True)
class Panel:
    """One schedule: a path (T + 1, 2), exact mean (2,) and sd (2,) of x_T, the ends (R, 2) of R runs."""

    path: Array
    mean: Array
    sd: Array
    ends: Array

    @property
    def risk(self) -> float:
        """E f(x_T) − f*, exact."""
        return float(0.5 * PROBLEM.eigenvalues @ (self.mean**2 + self.sd**2))

    @property
    def covered(self) -> float:
        """The share of the ends inside the 95 % ellipse."""
        return float(np.mean((((self.ends - self.mean) / self.sd) ** 2).sum(axis=1) <= REACH**2))


def data(runs: int = 2000, seed: int = 0) -> dict[str, Panel]:
    """The panels by name."""
    return {name: _panel(schedule, horizon, runs, seed) for name, _, schedule, horizon in SCHEDULES}


def _panel(schedule: Schedule, horizon: int, runs: int, seed: int) -> Panel:
    steps = LR * multipliers(schedule, horizon)
    (noise,) = PROBLEM.sample(philox.stream_key(seed, repr(PROBLEM)), range(runs), 0, horizon)
    x = np.tile(PROBLEM.start, (runs, 1))
    path = [x[0]]
    for t, eta in enumerate(steps):
        x = x - eta * (PROBLEM.eigenvalues * x + noise[:, t])
        path.append(x[0])
    mean, sd = last_iterate(steps, PROBLEM.eigenvalues, PROBLEM.start, PROBLEM.law.noise)
    return Panel(np.array(path), mean, sd, x)


def draw(panels: dict[str, Panel]) -> Figure:
    """Paths above, their ends below."""
    with _style.paper():
        figure = _style.figure(_style.FULL, 3.9)
        axes = figure.subplots(2, 3, sharex="row", sharey="row", height_ratios=(1.0, 0.95))
        box = (-1.15, 0.55), (-0.5, 0.5)
        for column, (name, formula, schedule, horizon) in enumerate(SCHEDULES):
            panel, colour = panels[name], _style.look(schedule).colour
            top, bottom = axes[:, column]
            for part in (top, bottom):
                _scene(part, panel, colour)
            (left, right), (low, high) = box
            top.add_patch(Rectangle((left, low), right - left, high - low, fill=False, ec="0.3", lw=0.6))
            ends = panel.ends[:SHOWN]
            bottom.plot(
                *ends.T,
                ".",
                color="0.3",
                ms=1.8,
                mew=0,
                zorder=1.5,
                label=f"last iterates of {len(ends)} runs",
            )
            top.set_title(f"{name}\n{formula}, {horizon} updates", fontsize=8)
            top.set(xlim=(-5.6, 1.4), ylim=(-3.1, 1.7), xlabel="$x_1$")
            bottom.set(xlim=box[0], ylim=box[1], xlabel="$x_1$")
        for part in axes[:, 0]:
            part.set_ylabel("$x_2$")
        handles, labels = axes[1, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _scene(axes: "Axes", panel: Panel, colour: str) -> None:
    x, y = np.meshgrid(np.linspace(-5.8, 1.6, 200), np.linspace(-3.3, 1.9, 140))
    levels = 0.02 * 3.0 ** np.arange(8)
    axes.contour(x, y, x**2 + 2 * y**2, levels=levels, colors="0.78", linewidths=0.5, zorder=0.5)
    axes.plot(*panel.path.T, "-o", color=colour, lw=0.8, ms=1.8, mew=0, zorder=2, label="a path")
    width, height = 2 * REACH * panel.sd
    ellipse = Ellipse(
        (panel.mean[0], panel.mean[1]), width, height, fc="#E69F0055", ec="#B36B00", lw=1.0, zorder=3
    )
    ellipse.set_label("95 % of the exact law")
    axes.add_patch(ellipse)
    axes.plot(*panel.mean, "P", mfc="white", mec="black", ms=4.5, mew=0.7, zorder=4, label="its mean")
    axes.plot(0, 0, "*", color="black", ms=9, mec="white", mew=0.4, zorder=3.5, label="minimiser")


COLUMNS = ("schedule", "what", "index", "x1", "x2")


def rows(panels: dict[str, Panel]) -> Iterator[tuple[object, ...]]:
    """The path, the exact mean and standard deviation, and the ends of all runs, one point per row."""
    for name, panel in panels.items():
        parts = {"path": panel.path, "mean": panel.mean[None], "sd": panel.sd[None], "end of run": panel.ends}
        for what, points in parts.items():
            for index, (x1, x2) in enumerate(points.tolist()):
                yield name, what, index, x1, x2


_BOOK = "Dive into Deep Learning 12.4"


def _claim(
    sentence: str, measure: Callable[[dict[str, Panel]], float], predicted: float, digits: int
) -> Claim[dict[str, Panel]]:
    return Claim(sentence, _BOOK, measure, predicted, tolerance=0.51 * 10**-digits)


def _coverage(name: str) -> Claim[dict[str, Panel]]:
    sentence, source = f"{name}: the ellipse holds 95 % of the runs", "three standard errors of 2000 runs"
    return Claim(sentence, source, lambda d: d[name].covered, 0.95, tolerance=0.015)


CLAIMS: tuple[Claim[dict[str, Panel]], ...] = (
    _claim("exponential, mean of x₁: stops short", lambda d: d["exponential"].mean[0], -0.82574, 5),
    _claim("exponential, mean of x₂", lambda d: d["exponential"].mean[1], -0.04503, 5),
    _claim("exponential, sd of x₁", lambda d: d["exponential"].sd[0], 0.0747, 4),
    _claim("exponential, sd of x₂", lambda d: d["exponential"].sd[1], 0.0399, 4),
    _claim("exponential, E f after 1000 updates", lambda d: d["exponential"].risk, 0.69467, 5),
    _claim("inverse square root, E f after 50 updates", lambda d: d["inverse square root"].risk, 0.02251, 5),
    _claim("constant, sd of x₁", lambda d: d["constant"].sd[0], 0.16667, 5),
    _claim("constant, sd of x₂", lambda d: d["constant"].sd[1], 0.125, 5),
    *(_coverage(name) for name, *_ in SCHEDULES),
)
