r"""What a schedule saves as the condition number grows: updates to a target risk, every lr tuned.

Quadratic of dimension 20 with log-uniform eigenvalues between 1/κ and 1, gradient noise N(0, 0.1²), every
direction starting with the same share of the risk 1/2; target 10⁻³, last iterate, exact expected risk.
Constant and c/√t steps are read along one trajectory per lr; linear and cosine, which depend on the horizon
T, by bisection over T. Left: the fewest updates, with the slope of each line in the legend; dotted: the
predicted shape, through the last point. Right: the lr that needs them.

The flattest direction has to forget its start, so μ Σ η must reach the same number whatever κ. A step that
ends at η leaves noise in proportion to η, so a constant one is fixed by the target and needs T ∝ κ updates;
c/√t has Σ η = 2T times its last step, so it needs half as many, and c ∝ √T ∝ √κ. A step that ends like (1 −
t/T)^q leaves noise ∝ η_0^(1/(q+1)) T^(−q/(q+1)) λ^(−q/(q+1)) in a direction (Laplace's method), and η_0 ∝
κ/T gives

    T ∝ κ^(1/(q+1)) Σ_i λ_i^(−q/(q+1)),    which for log-uniform λ is of order κ/log κ,

with q = 1 for linear and q = 2 for cosine. Lines of slope 1 would mean that a schedule saves a constant
factor; these two save a factor log κ more.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import brentq

from ratelab.experiments.evidence import slope_weights
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import Claim
from ratelab.paper_figures.house.style import look, new_figure, slope_triangle
from ratelab.paper_figures.house.table import Table
from ratelab.problems.noise import Gaussian
from ratelab.problems.problem import exact_risk
from ratelab.problems.quadratic import Quadratic
from ratelab.problems.spectra import LogUniform
from ratelab.theory.arrays import Array, Integers, record_times
from ratelab.theory.schedules import Constant, Cosine, InversePower, Linear, Schedule, facts, multipliers

ABOUT = About(
    title="Updates to a target against the condition number",
    group="Papers",
    source="derived here; rates of the last iterate as in Bach and Moulines 2011",
    link="https://papers.nips.cc/paper/2011/hash/40008b9a5380fcacce3976bf7c08af5b-Abstract.html",
    topics=("condition number", "decay", "rates"),
    seconds=(4, 4),
)

SCHEDULES: tuple[tuple[str, Schedule, float], ...] = (
    ("constant", Constant(), 0.0),
    (r"$c/\sqrt{t}$", InversePower(0.5), 0.0),
    ("linear", Linear(), 1.0),
    ("cosine", Cosine(), 2.0),
)
"""Name, shape, and q: how it ends."""

CONDITION_NUMBERS = tuple(float(kappa) for kappa in np.geomspace(10, 1000, 9))
DIM, TARGET, SD = 20, 1e-3, 0.1


@dataclass(frozen=True)
class Costs:
    """Fewest updates and the lr that needs them, shape (schedules, condition numbers)."""

    updates: Array
    lrs: Array

    def slope(self, schedule: int) -> float:
        """Of log updates on log κ."""
        return _slope(self.updates[schedule])

    def lr_slope(self, schedule: int) -> float:
        """Of the log of the best lr on log κ."""
        return _slope(self.lrs[schedule])


def _slope(values: Array) -> float:
    return float(slope_weights(CONDITION_NUMBERS) @ np.log(values))


def problem(kappa: float) -> Quadratic:
    """λ_i δ_i² = 1/d in every direction."""
    spectrum = LogUniform(dim=DIM, condition_number=kappa)
    return Quadratic(
        spectrum, noise=Gaussian(SD), initial=tuple(((DIM * spectrum.eigenvalues()) ** -0.5).tolist())
    )


def predicted(q: float) -> Array:
    """The predicted number of updates for every condition number, up to a factor."""
    sums = [np.sum(problem(kappa).eigenvalues ** (-q / (q + 1))) for kappa in CONDITION_NUMBERS]
    return np.array(CONDITION_NUMBERS) ** (1 / (q + 1)) * np.array(sums) if q else np.array(CONDITION_NUMBERS)


def data(full: bool = False, report: Report = quiet) -> Costs:
    """All schedules at all condition numbers; the full form is the quick one."""
    found = np.empty((len(SCHEDULES), len(CONDITION_NUMBERS), 2))
    for done, (i, k) in enumerate(np.ndindex(found.shape[:2])):
        found[i, k] = fewest(problem(CONDITION_NUMBERS[k]), SCHEDULES[i][1])
        report(done + 1, len(found) * len(CONDITION_NUMBERS))
    updates, lrs = np.moveaxis(found, 2, 0)
    return Costs(updates, lrs)


def fewest(quadratic: Quadratic, schedule: Schedule) -> tuple[float, float]:
    """The fewest updates to the target over all lrs, interpolated, and the lr."""
    return _along(quadratic, schedule) if facts(schedule).anytime else _bisect(quadratic, schedule)


def _risk(quadratic: Quadratic, schedule: Schedule, lrs: Array, records: Integers) -> Array:
    s = multipliers(schedule, int(records[-1]))[None]
    risk = exact_risk(quadratic, s, lrs, [np.ones_like(s)], records)
    return risk[0, :, 0]


def _along(quadratic: Quadratic, schedule: Schedule) -> tuple[float, float]:
    """When each lr's trajectory first meets the target, and the soonest of them."""
    records = record_times(int(250 * quadratic.constants.L / quadratic.constants.mu), 300)[1:]
    lrs = np.geomspace(1e-3, 10, 30)
    for _ in range(2):
        log_risk = np.log(_risk(quadratic, schedule, lrs, records)) - math.log(TARGET)
        log_t, met = np.log(records), log_risk <= 0
        k = np.maximum(met.argmax(axis=1), 1)
        each = np.arange(len(lrs))
        before, after = log_risk[each, k - 1], log_risk[each, k]
        with np.errstate(invalid="ignore"):
            crossing = log_t[k - 1] + (log_t[k] - log_t[k - 1]) * before / (before - after)
        crossing = np.where(met.any(axis=1), crossing, np.inf)
        best = int(crossing.argmin())
        lrs, result = _around(lrs, best), (math.exp(crossing[best]), float(lrs[best]))
    return result


def _bisect(quadratic: Quadratic, schedule: Schedule) -> tuple[float, float]:
    """The T at which the best lr's risk is the target; T changes by a factor, as the risk does."""

    def excess(log_horizon: float) -> float:
        return math.log(_tuned(quadratic, schedule, round(math.exp(log_horizon)))[0] / TARGET)

    high = math.log(100)
    while excess(high) > 0:
        high += 1.0
    horizon = math.exp(brentq(excess, high - 1.0, high, xtol=2e-3))
    return horizon, _tuned(quadratic, schedule, round(horizon))[1]


def _tuned(quadratic: Quadratic, schedule: Schedule, horizon: int) -> tuple[float, float]:
    """The least risk after `horizon` updates and its lr."""
    lrs = np.geomspace(1e-3, 10, 30)
    for _ in range(2):
        risk = _risk(quadratic, schedule, lrs, np.array([horizon]))[:, 0]
        best = int(risk.argmin())
        lrs, result = _around(lrs, best), (float(risk[best]), float(lrs[best]))
    return result


def _around(lrs: Array, best: int) -> Array:
    return np.geomspace(lrs[max(best - 1, 0)], lrs[min(best + 1, len(lrs) - 1)], 13)


COLUMNS = ("schedule", "name", "condition_number", "updates", "lr", "shape", "slope", "shape_slope")


def rows(costs: Costs) -> Iterator[tuple[object, ...]]:
    """One row per schedule and condition number; the predicted shape goes through the last point."""
    for i, (name, schedule, q) in enumerate(SCHEDULES):
        shape = predicted(q) / predicted(q)[-1] * costs.updates[i, -1]
        slopes = costs.slope(i), _slope(shape)
        for kappa, *numbers in zip(CONDITION_NUMBERS, costs.updates[i], costs.lrs[i], shape, strict=True):
            yield repr(schedule), name, kappa, *map(float, numbers), *slopes


def draw(table: Table) -> Figure:
    """Updates on the left, their lr on the right."""
    figure = new_figure(3.0)
    left, right = figure.subplots(1, 2)
    for (schedule, name), curve in table.groups("schedule", "name"):
        style = look(schedule).line() | {"marker": look(schedule).marker}
        if name == "cosine":  # lies on the line of linear
            style |= {"mfc": "none", "ms": 5.5}
        kappa, slope, shape_slope = (
            curve["condition_number"],
            curve.first("slope"),
            curve.first("shape_slope"),
        )
        left.plot(kappa, curve["shape"], ":", color=look(schedule).colour, lw=0.7)
        left.plot(
            kappa, curve["updates"], label=f"{name}: slope {slope:.2f}, predicted {shape_slope:.2f}", **style
        )
        right.plot(kappa, curve["lr"], **style)
    left.plot([], [], ":", color="0.4", lw=0.7, label="predicted shape, through the last point")
    slope_triangle(left, 150, 2e3, 1.0, "$1$", decades=0.5)
    slope_triangle(right, 100, 0.5, 0.5, "$1/2$", decades=0.5)
    left.set(ylabel="updates to risk $10^{-3}$", xscale="log", yscale="log")
    right.set(ylabel="best lr, in units of $1/L$", xscale="log", yscale="log")
    for panel in (left, right):
        panel.set_xlabel(r"condition number $\kappa$")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


_CAPTION = "derived in the caption"


def _claim(i: int) -> Claim[Costs]:
    sentence = f"{type(SCHEDULES[i][1]).__name__}: slope of log updates on log condition number"
    return Claim(sentence, _CAPTION, lambda d: d.slope(i), _slope(predicted(SCHEDULES[i][2])), 0.04)


CLAIMS: tuple[Claim[Costs], ...] = (
    *(_claim(i) for i in range(len(SCHEDULES))),
    Claim(
        "c/sqrt(t) against constant at condition number 1000: ratio of updates",
        _CAPTION,
        lambda d: float(d.updates[1, -1] / d.updates[0, -1]),
        0.5,
        tolerance=0.05,
    ),
    Claim("the best constant step: slope of its log", _CAPTION, lambda d: d.lr_slope(0), 0.0, 0.04),
    Claim("the best c of c/sqrt(t): slope of its log", _CAPTION, lambda d: d.lr_slope(1), 0.5, 0.04),
)
