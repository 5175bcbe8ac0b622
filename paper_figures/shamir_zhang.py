r"""Four averagings of one run: what the last iterate loses on a support vector machine and in the worst case.

In the spirit of the experiments of Shamir and Zhang (2013), who train support vector machines on other data:
here the hinge loss on 1,000 rows of a9a with weight decay μ = 10⁻³, one row per update, risk against a
certified minimum; mean of 64 runs and its 95 % pointwise interval. Left: steps 1/(μt). Middle: steps 1/√t,
which suit the averages better than 0.3/√t and 3/√t. Lines: the last iterate, the average of all iterates, of
the last half (where t is a power of 2), and polynomial decay averaging of order 3.

The last half and the polynomial decay end less than 7 % apart and win. With 1/(μt) the first step is 1000
long, and the average of all iterates, which remembers it, is the worst; with 1/√t the last iterate ends as
the worst, and at the best of the three constants it is still 1.6 times above the last half. The log T of the
bounds doesn't show here: on the left all lines fall at least like 1/T, and the bounds, with the G that the
largest row gives, are a hundred and a thousand times larger.

Right: where it does show, the strongly convex function on which Harvey et al. (2019) proved that the log is
real, f(x) = max_i h_iᵀx + ½‖x‖² with exact steps 1/t: T times the risk of the last iterate grows by 1/4 with
every unit of log T (dotted: their lower bound), that of every average levels off.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ratelab.experiments.engines.train import Job, train
from ratelab.experiments.estimates import Estimate, mean_estimate, ratio_estimate
from ratelab.experiments.evidence import NoFit, fit_trajectories
from ratelab.experiments.methods import SGD
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import Claim, mean_interval
from ratelab.paper_figures.house.style import AVERAGE, LAST, new_figure, shade, slope_triangle
from ratelab.paper_figures.house.table import Table
from ratelab.problems import philox
from ratelab.problems.networks import LinearClassifier, Split
from ratelab.theory.arrays import Array, InputError, Integers
from ratelab.theory.averaging import Last, PolynomialDecay, Tail, Uniform
from ratelab.theory.bounds import omega_curve
from ratelab.theory.schedules import InversePower, multipliers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ABOUT = About(
    title="Last iterate, suffix and polynomial decay averaging",
    group="Papers",
    source="Shamir and Zhang 2013, averaging schemes; Harvey et al. 2019, lower bound",
    link="https://proceedings.mlr.press/v28/shamir13.html",
    topics=("averaging", "rates", "bounds", "decay"),
    seconds=(10, 105),
    data=("a9a",),
)

MU, RUNS = 1e-3, 64
CONSTANTS = (1.0, 0.3, 3.0)
"""Of the steps c/√t; the first one is drawn."""


def half_tail(steps: Array) -> Array:
    """Averages x over (t/2, t] wherever t is a power of 2: starts anew after each of these times."""
    t = np.arange(1, len(steps) + 1)
    start = np.where(t > 1, 2 ** np.ceil(np.log2(np.maximum(t, 2)) - 1), 0)
    return np.asarray(1 / (t - start))


AVERAGINGS: tuple[tuple[str, Callable[[Array], Array]], ...] = (
    ("last iterate", Last()),
    ("all iterates", Uniform()),
    ("last half", half_tail),
    ("polynomial decay", PolynomialDecay(3.0)),
)
LASTS, ALL, HALF, DECAY = range(4)


@dataclass(frozen=True)
class Results:
    """Risk at times (K,) with steps 1/(μt), shape (runs, averagings, K).

    bounds (2, K): of Shamir and Zhang for the last iterate, of Rakhlin et al. for the last half
    doublings (J,), root (runs, constants, averagings, J), omega (J,): with steps c/√t, and Ω for the first c
    horizons (H,), instance (averagings, H): T and the risk after T updates of Harvey's instance
    """

    times: Integers
    strong: Array
    bounds: Array
    doublings: Integers
    root: Array
    omega: Array
    horizons: Array
    instance: Array

    def ratio(self, averaging: int) -> Estimate:
        """Of mean risks at the end to that of the last half, steps 1/(μt)."""
        return ratio_estimate(self.strong[:, averaging, -1], self.strong[:, HALF, -1], paired=True)

    def root_ratio(self, averaging: int) -> Estimate:
        """As `ratio` with steps c/√t, at the averaging's best c to the last half at c = 1."""
        c = int(self.root[:, :, averaging, -1].mean(axis=0).argmin())
        return ratio_estimate(self.root[:, c, averaging, -1], self.root[:, 0, HALF, -1], paired=True)

    def exponent(self, averaging: int) -> Estimate:
        """Over the last two decades, steps 1/(μt)."""
        fit = fit_trajectories(self.times, self.strong[:, averaging])
        if isinstance(fit, NoFit):
            raise InputError(f"no exponent: {fit.reason}")
        return Estimate(fit.exponent, *fit.interval, exact=False)

    def growth(self, averaging: int) -> float:
        """Of T times the risk per unit of log T, over the last doubling of Harvey's instance."""
        scaled = self.horizons * self.instance[averaging]
        return float((scaled[-1] - scaled[-2]) / math.log(2))


def data(full: bool = False, report: Report = quiet) -> Results:
    """1,000 rows and 2¹³ updates; in the full form 10,000 and 2¹⁶."""
    rows = Split("a9a", rows=10_000 if full else 1000, test=1)
    network = LinearClassifier(rows, loss="hinge", batch=1, weight_decay=MU, replacement=True)
    top = 16 if full else 13
    times = np.unique(np.rint(2 ** (np.arange(15, 3 * top + 1) / 3)).astype(np.int64))
    strong = run(network, 1.0, (1 / MU,), times)[:, 0]
    report(1, 3)
    doublings = 2 ** np.arange(5, top + 1)
    root = run(network, 0.5, CONSTANTS, doublings)
    report(2, 3)
    horizons = 2 ** np.arange(3, 14 if full else 12)
    instance = np.stack([harvey(int(T)) for T in horizons], axis=1)
    report(3, 3)
    # steps up to 1/μ keep μ‖x‖ below the largest row's norm, and gradients are at most twice that
    squared = 4 * (float((network.parts()["train"].features ** 2).sum(axis=1).max()) + 1)
    distance = network.constants.D
    assert distance is not None
    factors = 17 * (1 + np.log(times)), np.full(len(times), (2 + 2.5 * math.log(2)) / 0.5)
    steps = CONSTANTS[0] * multipliers(InversePower(0.5), int(times[-1]) + 1)
    omega = omega_curve(steps, doublings, distance, squared)
    bounds = np.stack(factors) * squared / (MU * times)
    return Results(times, strong, bounds, doublings, root, omega, horizons.astype(float), instance)


def run(network: LinearClassifier, power: float, lrs: tuple[float, ...], times: Integers) -> Array:
    """Risk of 64 runs, shape (runs, lrs, averagings, K); all steps see the same rows."""
    s = multipliers(InversePower(power), int(times[-1]))[None]
    mixings = [averaging(s[0])[None] for _, averaging in AVERAGINGS]
    key = philox.stream_key(0, repr(network))
    job = Job(network, SGD(), s, np.array(lrs), mixings, times, key, range(RUNS), "float32")
    return np.asarray(train(job)["risk"][:, 0])


def harvey(horizon: int) -> Array:
    """Risk of the averagings after T steps 1/t, from 0, the minimiser, where f = 0.

    h_i = (a_1 ... a_{i−1}, −1, 0 ...), i ≤ T + 1, a_j = 1/(2(T + 1 − j)); the subgradient is that of the
    first active h_i.
    """
    a = 1 / (2 * np.arange(horizon, 0, -1.0))
    steps = np.ones(horizon)
    weights = [averaging(steps) for _, averaging in AVERAGINGS]
    weights[HALF] = Tail(0.5)(steps)
    mixing = np.stack(weights, axis=1)[..., None]
    x, average = np.zeros(horizon), np.zeros((4, horizon))
    for t in range(horizon):
        values = _products(a, x)
        first = int(np.argmax(values >= values.max() - 1e-12))
        h = np.where(np.arange(horizon) < first, a, 0.0)
        h[first : first + 1] = -1.0
        x = x - (h + x) / (t + 1)
        average = (1 - mixing[t]) * average + mixing[t] * x
    return np.asarray(_products(a, average).max(axis=1) + 0.5 * (average**2).sum(axis=1))


def _products(a: Array, x: Array) -> Array:
    """h_iᵀx for all i, along the last axis."""
    nothing = np.zeros((*x.shape[:-1], 1))
    before = np.concatenate([nothing, np.cumsum(a * x, axis=-1)], axis=-1)
    return np.asarray(before - np.concatenate([x, nothing], axis=-1))


COLUMNS = ("panel", "averaging", "t", "risk", "low", "high", "bound")


def rows(d: Results) -> Iterator[tuple[object, ...]]:
    """Mean risk and interval; of Harvey's instance ("harvey") T times the risk, and the bound log T/4."""
    nan = float("nan")
    for panel, times, risk in (("strong", d.times, d.strong), ("root", d.doublings, d.root[:, 0])):
        values = np.stack([risk.mean(axis=0), *mean_interval(risk)], axis=-1)
        for a, k in np.ndindex(values.shape[:2]):
            t = int(times[k])
            if a != HALF or t.bit_count() == 1:
                yield panel, AVERAGINGS[a][0], t, *values[a, k].tolist(), nan
    for a, k in np.ndindex(d.instance.shape):
        T = float(d.horizons[k])
        yield "harvey", AVERAGINGS[a][0], T, T * float(d.instance[a, k]), nan, nan, math.log(T) / 4


STYLES: dict[str, tuple[str, Any, str]] = {
    "last iterate": (LAST, "-", "o"),
    "all iterates": (shade(AVERAGE, 0.3), (0, (5, 1.5)), "s"),
    "last half": (AVERAGE, (0, (1, 1)), "^"),
    "polynomial decay": (shade(AVERAGE, -0.5), (0, (3, 1, 1, 1)), "D"),
}


def draw(table: Table) -> Figure:
    """1/(μt), 1/√t, and the instance of the lower bound."""
    figure = new_figure(2.9)
    axes = figure.subplots(1, 3)
    for panel, name in zip(axes, ("strong", "root", "harvey"), strict=True):
        _panel(panel, table.where("panel", name))
    slope_triangle(axes[0], 100, 0.4, -1, "$-1$")
    slope_triangle(axes[1], 100, 0.03, -0.5, "$-1/2$")
    axes[0].set(title=r"a9a, steps $1/(\mu t)$", ylabel="risk", yscale="log")
    axes[1].set(title=r"a9a, steps $1/\sqrt{t}$", ylabel="risk", yscale="log")
    axes[2].set(title="a worst case", ylabel=r"$T \times$ risk")
    bound = table.where("panel", "harvey").where("averaging", "last iterate")
    axes[2].plot(bound["t"], bound["bound"], ":", color="0.4", label=r"bound $\frac{1}{4}\log T$")
    handles, labels = axes[2].get_legend_handles_labels()
    band = Patch(color="0.6", alpha=0.5, lw=0)
    figure.legend(
        [*handles, band], [*labels, "band: 95 % interval of the mean"], loc="outside lower center", ncols=3
    )
    return figure


def _panel(panel: "Axes", table: Table) -> None:
    for averaging, curve in table.groups("averaging"):
        colour, dash, marker = STYLES[averaging]
        shown = np.log2(curve["t"]) % 1 == 0
        if not np.isnan(curve["low"]).all():
            panel.fill_between(curve["t"], curve["low"], curve["high"], color=colour, alpha=0.3, lw=0)
        panel.plot(curve["t"], curve["risk"], color=colour, ls=dash)
        panel.plot(curve["t"][shown], curve["risk"][shown], marker, color=colour)
        panel.plot([], [], marker=marker, color=colour, ls=dash, label=averaging)
    panel.set(xscale="log", xlabel="updates $T$")


def _room(risk: Array, bound: Array) -> Estimate:
    """The bound over the mean risk, where that is least."""
    ratios = risk / bound
    found = mean_estimate(ratios[:, int(np.argmax(ratios.mean(axis=0)))])
    return Estimate(1 / found.value, 1 / found.high, 1 / found.low, exact=False)


_SOURCE = "Shamir and Zhang 2013"
_HARVEY = "Harvey et al. 2019"
Measure: TypeAlias = Callable[[Results], float | Estimate]


def _at_least(number: float, sentence: str, measure: Measure, source: str = _SOURCE) -> Claim[Results]:
    return Claim(sentence, f"{source}; number chosen here", measure, number, relation="at_least")


def _growth(averaging: int, predicted: float, source: str) -> Claim[Results]:
    sentence = f"T times the risk, {AVERAGINGS[averaging][0]}: growth per unit of log T, last doubling"
    return Claim(sentence, source, lambda d: d.growth(averaging), predicted, 0.005)


CLAIMS: tuple[Claim[Results], ...] = (
    _at_least(
        1000,
        "1/(μt), last iterate: the bound 17 G²(1 + log T)/(μT) over the risk, the least",
        lambda d: _room(d.strong[:, LASTS], d.bounds[0]),
    ),
    _at_least(
        100,
        "1/(μt), last half: the bound (4 + 5 log 2) G²/(μT) over the risk, the least",
        lambda d: _room(d.strong[:, HALF, ::3], d.bounds[1, ::3]),
        "Rakhlin, Shamir and Sridharan 2012",
    ),
    _at_least(
        50,
        "1/√t, last iterate: the bound Ω over the risk, the least",
        lambda d: _room(d.root[:, 0, LASTS, :-1], d.omega[:-1]),
        "Defazio et al. 2023",
    ),
    _at_least(1.5, "1/(μt): the last iterate's risk over the last half's", lambda d: d.ratio(LASTS)),
    _at_least(1.5, "1/(μt): the average's risk over the last half's", lambda d: d.ratio(ALL)),
    _at_least(1.2, "c/√t, best c: the last iterate's over the last half's", lambda d: d.root_ratio(LASTS)),
    Claim("1/(μt): polynomial decay over the last half", _SOURCE, lambda d: d.ratio(DECAY), 1.0, 0.1),
    _at_least(0.95, "1/(μt): exponent of the polynomial decay average", lambda d: d.exponent(DECAY)),
    Claim(
        "1/(μt): the last iterate falls more slowly than 1/T: exponent",
        f"{_SOURCE}, their bound read as a rate",
        lambda d: d.exponent(LASTS),
        0.95,
        relation="at_most",
        expect="refuted",
        finding="in this window it falls at least like 1/T: what the long first steps left still fades",
    ),
    Claim(
        "T times the last iterate's risk over log T/4, the smallest",
        _HARVEY,
        lambda d: float((d.horizons * d.instance[LASTS] / np.log(d.horizons) * 4).min()),
        1.0,
        relation="at_least",
    ),
    _growth(LASTS, 0.25, f"{_HARVEY}: of their bound"),
    _growth(HALF, 0.0, _HARVEY),
    _growth(DECAY, 0.0, f"{_SOURCE}: O(1/T)"),
    Claim(
        "T times the risk of the average of all iterates at the largest T: no log here either",
        "seen here; in the worst case it has one",
        lambda d: float(d.horizons[-1] * d.instance[ALL, -1]),
        1.39,
        tolerance=0.01,
    ),
)
