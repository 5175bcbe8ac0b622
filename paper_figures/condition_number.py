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
from collections.abc import Callable
from functools import partial

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import brentq

from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import claim, ours
from ratelab.paper_figures.house.style import look, new_figure, slope_triangle
from ratelab.paper_figures.house.table import Lines, Table, lines_of, table_of
from ratelab.problems.noise import Gaussian
from ratelab.problems.quadratic import Quadratic
from ratelab.problems.spectra import LogUniform
from ratelab.theory import moments
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

SCHEDULES: dict[str, tuple[Schedule, float]] = {
    "constant": (Constant(), 0.0),
    r"$c/\sqrt{t}$": (InversePower(0.5), 0.0),
    "linear": (Linear(), 1.0),
    "cosine": (Cosine(), 2.0),
}
"""Shape, and q: how it ends."""

KAPPAS = np.geomspace(10, 1000, 9)
DIM, TARGET, SD = 20, 1e-3, 0.1


def problem(kappa: float) -> Quadratic:
    """λ_i δ_i² = 1/d in every direction."""
    spectrum = LogUniform(dim=DIM, condition_number=kappa)
    start = (DIM * spectrum.eigenvalues()) ** -0.5
    return Quadratic(spectrum, noise=Gaussian(SD), initial=tuple(start.tolist()))


def predicted(q: float) -> Array:
    """The predicted number of updates for every condition number, up to a factor."""
    sums = [np.sum(problem(kappa).eigenvalues ** (-q / (q + 1))) for kappa in KAPPAS.tolist()]
    return np.asarray(KAPPAS ** (1 / (q + 1)) * np.array(sums))


def data(full: bool = False, report: Report = quiet) -> Table:
    """A line per schedule and condition number; one size. The predicted shape goes through the last point."""
    lines: Lines = []
    for name, (schedule, q) in SCHEDULES.items():
        updates, lrs = np.transpose([fewest(problem(kappa), schedule) for kappa in KAPPAS.tolist()])
        shape = predicted(q) / predicted(q)[-1] * updates[-1]
        found = {"condition_number": KAPPAS, "updates": updates, "lr": lrs, "shape": shape}
        lines += lines_of({"schedule": repr(schedule), "name": name}, found)
        report(len(lines), len(SCHEDULES) * len(KAPPAS))
    return table_of(lines)


def fewest(quadratic: Quadratic, schedule: Schedule) -> tuple[float, float]:
    """The fewest updates to the target over all lrs, interpolated, and the lr."""
    return _along(quadratic, schedule) if facts(schedule).anytime else _bisect(quadratic, schedule)


def _excess(quadratic: Quadratic, schedule: Schedule, lrs: Array, records: Integers) -> Array:
    """The log of the risk over the target, (lrs, K)."""
    s = multipliers(schedule, int(records[-1]))[None]
    risk = moments.exact_risk(quadratic.law, s, lrs, [np.ones_like(s)], records)[0, :, 0]
    return np.log(risk) - math.log(TARGET)


def _best(cost: Callable[[Array], Array]) -> tuple[float, float]:
    """The least of the costs of lrs, and its lr: on a grid, and on a finer one around the best."""
    lrs = np.geomspace(1e-3, 10, 30)
    for _ in range(2):
        costs = cost(lrs)
        best = int(costs.argmin())
        found = float(costs[best]), float(lrs[best])
        lrs = np.geomspace(lrs[max(best - 1, 0)], lrs[min(best + 1, len(lrs) - 1)], 13)
    return found


def _along(quadratic: Quadratic, schedule: Schedule) -> tuple[float, float]:
    """When each lr's trajectory first meets the target, and the soonest of them."""
    records = record_times(int(250 / quadratic.eigenvalues.min()), 300)[1:]
    log_t = np.log(records)

    def meets(excess: Array) -> float:
        if excess.min() > 0:
            return math.inf
        k = max(int(np.argmax(excess <= 0)), 1)
        return float(np.interp(0, excess[[k, k - 1]], log_t[[k, k - 1]]))

    found, lr = _best(lambda lrs: np.array([*map(meets, _excess(quadratic, schedule, lrs, records))]))
    return math.exp(found), lr


def _bisect(quadratic: Quadratic, schedule: Schedule) -> tuple[float, float]:
    """The T at which the best lr's risk is the target; T changes by a factor, as the risk does."""

    def tuned(log_horizon: float) -> tuple[float, float]:
        horizon = np.array([round(math.exp(log_horizon))])
        return _best(lambda lrs: _excess(quadratic, schedule, lrs, horizon)[:, 0])

    high = math.log(100)
    while tuned(high)[0] > 0:
        high += 1.0
    found = brentq(lambda log_horizon: tuned(log_horizon)[0], high - 1.0, high, xtol=2e-3)
    return math.exp(found), tuned(found)[1]


def slope(kappa: Array, values: Array) -> float:
    """Of log values on log κ."""
    return float(np.polyfit(np.log(kappa), np.log(values), 1)[0])


def draw(table: Table) -> Figure:
    """Updates on the left, their lr on the right."""
    figure = new_figure(3.0)
    left, right = figure.subplots(1, 2)
    for (schedule, name), curve in table.groups("schedule", "name"):
        face, kappa = look(schedule), curve["condition_number"]
        style = face.line() | {"marker": face.marker}
        if name == "cosine":  # lies on the line of linear
            style |= {"mfc": "none", "ms": 5.5}
        measured, shape = slope(kappa, curve["updates"]), slope(kappa, curve["shape"])
        label = f"{name}: slope {measured:.2f}, predicted {shape:.2f}"
        left.plot(kappa, curve["shape"], ":", color=face.colour, lw=0.7)
        left.plot(kappa, curve["updates"], label=label, **style)
        right.plot(kappa, curve["lr"], **style)
    left.plot([], [], ":", color="0.4", lw=0.7, label="predicted shape, through the last point")
    slope_triangle(left, 150, 2e3, 1.0, "$1$", decades=0.5)
    slope_triangle(right, 100, 0.5, 0.5, "$1/2$", decades=0.5)
    left.set(ylabel="updates to risk $10^{-3}$")
    right.set(ylabel="best lr, in units of $1/L$")
    for panel in (left, right):
        panel.set(xlabel=r"condition number $\kappa$", xscale="log", yscale="log")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _slope(name: str, y: str, table: Table) -> float:
    """Of a schedule's updates, or of its lr."""
    curve = table.where("name", name)
    return slope(curve["condition_number"], curve[y])


def _saved(table: Table) -> float:
    """Updates of c/√t over those of a constant step, at the largest condition number."""
    root, constant = (table.where("name", name)["updates"][-1] for name in (ROOT, CONSTANT))
    return float(root / constant)


CONSTANT, ROOT, *_ = SCHEDULES
_HERE = ours("derived in the caption")
CLAIMS = (
    *(
        claim(
            f"{type(schedule).__name__}: slope of log updates on log condition number",
            _HERE,
            partial(_slope, name, "updates"),
            f"{slope(KAPPAS, predicted(q)):.6g} ± 0.04",
        )
        for name, (schedule, q) in SCHEDULES.items()
    ),
    claim(
        "c/sqrt(t) against constant at condition number 1000: ratio of updates",
        _HERE,
        _saved,
        "0.5 ± 0.05",
    ),
    claim("the best constant step: slope of its log", _HERE, partial(_slope, CONSTANT, "lr"), "0 ± 0.04"),
    claim("the best c of c/sqrt(t): slope of its log", _HERE, partial(_slope, ROOT, "lr"), "0.5 ± 0.04"),
)
