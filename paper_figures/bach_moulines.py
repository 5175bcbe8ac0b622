r"""Averaging makes the constant of the step not matter, unless the step falls like 1/t: risk of SGD on x²/2.

Steps C t^−½ (left) and C/t (right), C = 1/5, 1 and 5, for the last iterate (top) and the average of all
iterates (bottom), after the picture of Bach and Moulines (2011) on robustness to wrong constants. Noise N(0,
1) on the gradient, start at distance 1. Lines: the exact expected risk. Markers: the mean of 64 runs; bands:
its 95 % pointwise interval. Triangles: the predicted slopes.

With t^−½ the last iterate decays like t^−½ in proportion to C, and every average like 1/(2t), whatever C.
With C/t the exponent is min(1, 2C), averaged or not: C = 1/5 is too small, and averaging doesn't rescue it.
C = 5 first multiplies the risk by a hundred; then it converges like 1/t, its average 2.5 times lower than its
last iterate.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ratelab.experiments.crosscheck import cross_check
from ratelab.experiments.engines import jump
from ratelab.experiments.estimates import Estimate, mean_estimate
from ratelab.experiments.methods import SGD
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import Claim, exponent, mean_interval
from ratelab.paper_figures.house.style import look, new_figure, shade, slope_triangle
from ratelab.paper_figures.house.table import Table
from ratelab.problems import philox
from ratelab.problems.noise import Gaussian
from ratelab.problems.problem import exact_risk
from ratelab.problems.quadratic import Quadratic
from ratelab.problems.spectra import Given
from ratelab.theory import rates
from ratelab.theory.arrays import Array, Integers, record_times
from ratelab.theory.averaging import Last, Uniform
from ratelab.theory.schedules import InversePower, multipliers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ABOUT = About(
    title="Robustness to the constant of the step",
    group="Papers",
    source="Bach and Moulines 2011, the figure on wrong constants",
    link="https://papers.nips.cc/paper/2011/hash/40008b9a5380fcacce3976bf7c08af5b-Abstract.html",
    topics=("averaging", "rates", "decay"),
    seconds=(1, 1),
)

PROBLEM = Quadratic(Given((1.0,)), noise=Gaussian(1.0), initial=(1.0,))
POWERS = (0.5, 1.0)
CONSTANTS = (0.2, 1.0, 5.0)
AVERAGINGS = (("last iterate", Last()), ("average", Uniform()))
HORIZON, RUNS = 10**6, 64


@dataclass(frozen=True)
class Curves:
    """Records (K,) with t ≥ 1, exact risk (powers, constants, averagings, K), and that of R runs, (R, …)."""

    times: Integers
    exact: Array
    runs: Array

    def exponent(self, power: int, constant: int, averaging: int) -> float:
        """Of the exact risk over the last two decades."""
        return exponent(self.times, self.exact[power, constant, averaging]).exponent

    def coefficients(self, averaging: int) -> Array:
        """For steps C t^−½ the limit of t^½ E x²/(C/2), of the average t E x̄²: both should be 1; (3,)."""
        scale = 2 * self.times[-1] ** (0.5, 1.0)[averaging] * self.exact[0, :, averaging, -1]
        return np.asarray(scale / np.array(CONSTANTS) * 2 if averaging == 0 else scale)


def data(full: bool = False, report: Report = quiet) -> Curves:
    """Exact risk by the moments' recursion, runs by jumping from record to record; one size."""
    times = record_times(HORIZON, 121)[1:]
    steps = np.stack([multipliers(InversePower(power), HORIZON) for power in POWERS])
    mixings = [np.stack([averaging(row) for row in steps]) for _, averaging in AVERAGINGS]
    lrs = np.array(CONSTANTS)
    exact = exact_risk(PROBLEM, steps, lrs, mixings, times)
    report(1, 2)
    key = philox.stream_key(0, repr(PROBLEM))
    runs = jump.simulate(PROBLEM, SGD(), steps, lrs, mixings, times, key, range(RUNS))
    report(2, 2)
    return Curves(times, exact, runs)


COLUMNS = ("schedule", "power", "constant", "averaging", "runs", "t", "exact", "mean", "low", "high")


def rows(curves: Curves) -> Iterator[tuple[object, ...]]:
    """One row per curve and record."""
    values = np.stack([curves.exact, curves.runs.mean(axis=0), *mean_interval(curves.runs)], axis=-1)
    for s, c, a in np.ndindex(values.shape[:3]):
        curve = repr(InversePower(POWERS[s])), POWERS[s], CONSTANTS[c], AVERAGINGS[a][0], len(curves.runs)
        for t, line in zip(curves.times.tolist(), values[s, c, a].tolist(), strict=True):
            yield *curve, t, *line


SHADES = {0.2: 0.35, 1.0: 0.0, 5.0: -0.55}
MARKS = {0.2: ((0, (1, 1)), "v", "1/5"), 1.0: ("-", "^", "1"), 5.0: ((0, (5, 1.5)), "o", "5")}
"""By the constant: how far from the schedule's colour; dash, marker and text."""


def draw(table: Table) -> Figure:
    """Step exponents side by side, the last iterate above the average."""
    figure = new_figure(4.3)
    axes = figure.subplots(2, 2, sharex=True, sharey=True)
    for across, averaging in zip(axes, table.values("averaging"), strict=True):
        for panel, power in zip(across, table.values("power"), strict=True):
            _panel(panel, table.where("averaging", averaging).where("power", power))
            steps = {0.5: "C\\,t^{-1/2}", 1.0: "C/t"}[power]
            panel.set(title=f"{averaging}, $\\eta_t = {steps}$", xscale="log", yscale="log")
            panel.set(xlim=(1, 1e6), ylim=(1e-7, 1e4), yticks=10.0 ** np.arange(-7, 5))
            panel.set_yticklabels([f"$10^{{{k}}}$" if k % 2 == 0 else "" for k in range(-7, 5)])
    slope_triangle(axes[0, 0], 2e4, 1.5e-5, -0.5, "$-1/2$")
    slope_triangle(axes[1, 0], 2e3, 2e-5, -1, "$-1$")
    for panel in axes[:, 1]:
        slope_triangle(panel, 2e3, 2e-5, -1, "$-1$")
        slope_triangle(panel, 3e4, 4e-2, -0.4, "$-2/5$", below=False)
        panel.tick_params(labelleft=False)
    for panel in axes[1]:
        panel.set_xlabel("updates $t$")
    for panel in axes[:, 0]:
        panel.set_ylabel("expected risk")
    _legend(figure, int(table.first("runs")))
    return figure


def _panel(panel: "Axes", table: Table) -> None:
    for k, ((schedule, constant), curve) in enumerate(table.groups("schedule", "constant")):
        colour = shade(look(schedule).colour, SHADES[constant])
        dash, marker, _ = MARKS[constant]
        t, shown = curve["t"], slice(4 + 4 * k, None, 16)
        panel.fill_between(t, curve["low"], curve["high"], color=colour, alpha=0.3, lw=0)
        panel.plot(t, curve["exact"], color=colour, linestyle=dash)
        panel.plot(t[shown], curve["mean"][shown], marker, color=colour, mec="white", mew=0.4)


def _legend(figure: Figure, runs: int) -> None:
    lines = [
        Line2D([], [], color=shade("#777777", SHADES[constant]), ls=dash, marker=marker, mec="white", mew=0.4)
        for constant, (dash, marker, _) in MARKS.items()
    ]
    kinds = [
        Line2D([], [], color="0.4"),
        Line2D([], [], color="0.4", ls="", marker="o"),
        Patch(color="0.4", alpha=0.3, lw=0),
    ]
    names = [f"$C = {text}$" for _, _, text in MARKS.values()]
    says = ["line: exact expectation", f"marker: mean of {runs} runs", "band: its 95 % pointwise interval"]
    handles = [handle for pair in zip(lines, kinds, strict=True) for handle in pair]
    labels = [label for pair in zip(names, says, strict=True) for label in pair]
    figure.legend(handles, labels, loc="outside lower center", ncols=3)


_SOURCE = "Bach and Moulines 2011"


def _exponents(a: int) -> Claim[Curves]:
    """Steps C t^−½: the constant doesn't enter the exponent."""
    predicted = (rates.quadratic_last, rates.quadratic_averaged)[a](0.5, 1.0).power

    def worst(d: Curves) -> float:
        return max((d.exponent(0, c, a) for c in range(3)), key=lambda p: abs(p - predicted))

    sentence = f"{AVERAGINGS[a][0]}, steps C t^-1/2: of the three exponents the one farthest off"
    return Claim(sentence, _SOURCE, worst, predicted, tolerance=0.02)


def _exponent(c: int, a: int) -> Claim[Curves]:
    """Steps C/t: it does."""
    predict = (rates.quadratic_last, rates.quadratic_averaged)[a]
    sentence = f"{AVERAGINGS[a][0]}, steps {CONSTANTS[c]:g}/t: the exponent"
    predicted = predict(1.0, 2 * CONSTANTS[c]).power
    return Claim(sentence, _SOURCE, lambda d: d.exponent(1, c, a), predicted, tolerance=0.02)


def _coefficient(a: int, sentence: str, source: str) -> Claim[Curves]:
    def worst(d: Curves) -> float:
        return float(max(d.coefficients(a).tolist(), key=lambda ratio: abs(ratio - 1)))

    return Claim(sentence, source, worst, 1.0, tolerance=0.01)


def _disagreements(d: Curves) -> float:
    """How many curves' runs are at odds with the exact risk, at a simultaneous level of 10⁻³."""
    curves = list(np.ndindex(d.exact.shape[:3]))
    found = (cross_check(d.times, d.exact[at], d.runs[:, *at], comparisons=len(curves)) for at in curves)
    return sum(fault is not None for fault in found)


def _of_runs(d: Curves) -> Estimate:
    """t times the average's risk, over the last two decades and the three constants, steps C t^−½."""
    late = d.times >= d.times[-1] / 100
    return mean_estimate((d.times * d.runs[:, 0, :, 1])[..., late].mean(axis=(1, 2)))


CLAIMS: tuple[Claim[Curves], ...] = (
    _exponents(0),
    _exponents(1),
    *(_exponent(c, a) for c in range(3) for a in range(2)),
    _coefficient(0, "last iterate, steps C t^-1/2: t^1/2 E x²/(C/2) at the end, the C farthest off", _SOURCE),
    _coefficient(
        1, "average, steps C t^-1/2: t E x² at the end, the C farthest off", "Polyak and Juditsky 1992"
    ),
    Claim(
        "the runs' averages, steps C t^-1/2: mean of t times the risk",
        "Polyak and Juditsky 1992",
        _of_runs,
        0.5,
        0.15,
    ),
    Claim(
        "steps 5/t: the last iterate's risk first grows, to at most so many times the start's",
        "Bach and Moulines 2011 for the sentence; 98.5 by hand, after two updates",
        lambda d: float(d.exact[1, 2, 0].max() / 0.5),
        98.5,
        tolerance=1e-6,
    ),
    Claim(
        "steps 5/t: the last iterate's risk over the average's, at the end",
        "derived here: t E x² -> C²/(2C - 1) and 2C/(2C - 1)",
        lambda d: float(d.exact[1, 2, 0, -1] / d.exact[1, 2, 1, -1]),
        2.5,
        tolerance=0.01,
    ),
    Claim(
        "averaging rescues a small constant: the average of 0.2/t steps decays like 1/t",
        "a hope; Bach and Moulines 2011 say otherwise",
        lambda d: d.exponent(1, 0, 1),
        1.0,
        tolerance=0.02,
        expect="refuted",
        finding="its exponent is that of its last iterate, min(1, 2C) = 0.4",
    ),
    Claim("curves whose runs are at odds with the exact risk", "two engines, one law", _disagreements, 0.0),
)
