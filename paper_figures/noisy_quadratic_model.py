r"""Larger batches save updates in proportion, then nothing: momentum moves the end, and helps only near it.

The noisy quadratic model of Zhang et al. (2019): eigenvalues h_i = 1/i, i ≤ 10⁴, gradient noise of variance
h_i/B in each direction for batch size B, x_0 = 1 in every coordinate. Left: the fewest updates until the
expected risk is 0.01, against the batch size; constant steps, lr tuned for every point. Lines: momentum β
from 0, which is SGD, to 63/64; markers: the best of these β, in its colour; dashed: SGD with each coordinate
preconditioned by h_i^−1/2, as the paper models Adam and K-FAC by powers of h; dotted: perfect scaling. Right:
the best effective lr, lr/(1 − β).

Small batches: B times the updates is constant, the best lr grows like B, and every β needs the same updates
at the same effective lr. SGD stops where its lr meets the limit 2/h_1; momentum keeps the effective lr
growing, so it scales on to batches tens of times larger and ends tens of times lower, where β = 63/64 is too
much: it needs almost twice the updates of 31/32. The preconditioner extends perfect scaling too, and in this
model saves updates at every batch size, four times as many or more.

Exact, by closed forms for constant steps. The quick form joins eigenvalues from i = 40 on in groups within
5 % of each other.
"""

import math
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import brentq, minimize_scalar
from scipy.special import exp1

from ratelab.experiments.judging.evidence import slope_weights
from ratelab.experiments.sources import Source
from ratelab.experiments.spec import Measure
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import claim, ours
from ratelab.paper_figures.house.style import new_figure, ordered, slope_triangle
from ratelab.paper_figures.house.table import Table, lines_of, table_of
from ratelab.theory.arrays import Array
from ratelab.theory.moments import Additive, exact_risk

ABOUT = About(
    title="Batch size and updates in the noisy quadratic model",
    group="Papers",
    source="Zhang et al. 2019, the figures of its noisy quadratic model",
    link="https://arxiv.org/abs/1907.04164",
    topics=("batch size", "momentum", "noise"),
    seconds=(5, 90),
)

DIM, TARGET = 10**4, 0.01
BATCHES = 2.0 ** np.arange(22)
MOMENTA = 1 - 0.5 ** np.arange(7)


def data(full: bool = False, report: Report = quiet) -> Table:
    """A line per method and batch size; the full form takes each eigenvalue by itself.

    `best`: 1 for the best momentum; `stepped`: updates by the recursion, at the largest batch size.
    """
    h, count = spectrum(1.0 if full else 1.05)
    methods = [(beta, 0.0) for beta in MOMENTA.tolist()] + [(0.0, 0.5)]
    found = np.empty((len(methods), len(BATCHES), 2))
    for done, (i, k) in enumerate(np.ndindex(found.shape[:2]), 1):
        found[i, k] = Model(h, count, float(BATCHES[k]), *methods[i]).fewest()
        report(done, len(methods) * len(BATCHES))
    updates, lrs = np.moveaxis(found, 2, 0)
    best = updates == updates[:-1].min(axis=0)
    table: list[dict[str, object]] = []
    for i, beta in enumerate(MOMENTA.tolist()):
        columns = {"updates": updates[i], "effective_lr": lrs[i] / (1 - beta), "best": best[i].astype(int)}
        table += lines_of({"method": "heavy ball", "momentum": beta}, {"batch": BATCHES} | columns)
        table[-1]["stepped"] = Model(h, count, float(BATCHES[-1]), beta).stepped(lrs[i, -1])
    table += lines_of({"method": "preconditioned"}, {"batch": BATCHES, "updates": updates[-1]})
    return table_of(table)


def spectrum(ratio: float) -> tuple[Array, Array]:
    """Eigenvalues and how many of the 10⁴ each stands for: neighbours within `ratio` share their mean."""
    edges = [1]
    while edges[-1] <= DIM:
        edges.append(min(max(edges[-1] + 1, int(edges[-1] * ratio)), DIM + 1))
    count = np.diff(edges).astype(float)
    return np.add.reduceat(1 / np.arange(1.0, DIM + 1), np.array(edges[:-1]) - 1) / count, count


@dataclass(frozen=True)
class Model:
    """Heavy ball with constant steps on eigenvalues h, `count` of each, gradients times h^−power."""

    h: Array
    count: Array
    batch: float
    momentum: float
    power: float = 0.0

    def limit(self, lr: float) -> Array:
        """Of E x² in each direction as t → ∞."""
        b = self.momentum
        noise = lr * self.h**-self.power / (self.batch * (1 - b))
        return np.asarray((1 + b) * noise / (2 * (1 + b) - lr * self.h ** (1 - self.power)))

    def total(self, second: Array) -> float:
        """The risk."""
        return float(0.5 * (self.count * self.h) @ second)

    def risk(self, lr: float, t: float) -> float:
        """After t updates: x is an autoregression of order 2, known by the powers of its two roots.

        With p the response to an impulse, its mean is p_t − β p_{t−1}, and (x_t, x_{t−1}) has the covariance
        S − Aᵗ S (Aᵗ)ᵀ, A the 2 × 2 update and S the stationary covariance.
        """
        b = self.momentum
        trace = 1 + b - lr * self.h ** (1 - self.power)
        root = np.sqrt((trace**2 - 4 * b).astype(complex))
        one, two = (trace + root) / 2, (trace - root) / 2
        now = ((one ** (t + 1) - two ** (t + 1)) / root).real
        before = b * ((one**t - two**t) / root).real
        forgotten = 1 - now**2 - before**2 + 2 * now * before * trace / (1 + b)
        return self.total((now - before) ** 2 + self.limit(lr) * forgotten)

    def updates(self, lr: float) -> float:
        """When the risk meets the target."""

        def excess(log_t: float) -> float:
            return math.log(self.risk(lr, math.exp(log_t)) / TARGET)

        high = 4.0
        while excess(high) > 0:
            high += 2.0
        return math.exp(brentq(excess, high - 2.0 if high > 4 else 0.0, high, xtol=1e-5))

    def fewest(self) -> tuple[float, float]:
        """The fewest updates over all lrs that end below the target, and the lr."""
        top = 2 * (1 + self.momentum) * (1 - 1e-12)
        if self.total(self.limit(top)) > TARGET:
            top = brentq(lambda lr: self.total(self.limit(lr)) - TARGET, 1e-9, top)
        found = minimize_scalar(
            lambda x: math.log(self.updates(top * x)), bounds=(0.05, 0.9999), options={"xatol": 1e-3}
        )
        return math.exp(found.fun), top * float(found.x)

    def stepped(self, lr: float) -> float:
        """`updates` by the recursion of the second moments, in whole updates."""
        horizon = int(1.5 * self.updates(lr)) + 10
        law = Additive(self.h, np.sqrt(self.count), self.count * self.h / self.batch)
        shape, times = np.ones((1, horizon)), np.arange(1, horizon + 1)
        risk = exact_risk(law, shape, np.array([lr]), [shape], times, self.momentum)
        return float(times[np.argmax(risk[0, 0, 0] <= TARGET)])


def draw(table: Table) -> Figure:
    """Updates on the left, effective lrs on the right."""
    figure = new_figure(3.3)
    left, right = figure.subplots(1, 2)
    ball, other = table.where("method", "heavy ball"), table.where("method", "preconditioned")
    momenta = ball.values("momentum")
    for look, beta in zip(ordered(len(momenta)), momenta, strict=True):
        curve = ball.where("momentum", beta)
        best = curve.where("best", 1)
        name = "0$: SGD" if beta == 0 else f"{beta / (1 - beta):.0f}/{1 / (1 - beta):.0f}$"
        for panel, column, label in ((left, "updates", r"$\beta = " + name), (right, "effective_lr", None)):
            panel.plot(curve["batch"], curve[column], label=label, **look.line())
            panel.plot(best["batch"], best[column], "o", color=look.colour, mec="white", mew=0.4, zorder=4)
    left.plot(other["batch"], other["updates"], color="black", ls=(0, (4, 1.5)), label="preconditioned SGD")
    for curve in (table.where("momentum", 0.0), other):
        left.plot(curve["batch"], curve["updates"][0] / curve["batch"], ":", color="0.5", zorder=0)
    left.plot([], [], ":", color="0.5", label="perfect scaling")
    left.plot([], [], "o", color="0.4", label=r"best $\beta$")
    slope_triangle(left, 3, 2e4, -1, "$-1$")
    slope_triangle(right, 30, 0.02, 1, "$1$")
    left.set(ylabel="updates to risk 0.01", ylim=(30, 2e7))
    right.set(ylabel=r"best effective lr, $\eta/(1-\beta)$")
    for panel in (left, right):
        panel.set(xlabel="batch size $B$", xscale="log", yscale="log", xlim=(0.8, 3e6))
        panel.set_xticks(10.0 ** np.arange(0, 7))
    figure.legend(loc="outside lower center", ncols=5)
    return figure


Curve: TypeAlias = tuple[str, str | float]
"""A column, and the entry that the curve's rows have there, one per batch size."""

SGD: Curve = ("momentum", 0.0)
TUNED: Curve = ("best", 1)
PRECONDITIONED: Curve = ("method", "preconditioned")


def along(table: Table, curve: Curve, y: str) -> Array:
    """The smallest batch size first."""
    rows = table.where(*curve)
    return np.asarray(rows[y][np.argsort(rows["batch"])])


def slope(curve: Curve, y: str, low: int, high: int) -> Measure:
    """Of the log on log B, for batch sizes from 2^low to 2^high."""

    def of(table: Table) -> float:
        batches, values = (along(table, curve, name)[low : high + 1] for name in ("batch", y))
        return float(slope_weights(batches) @ np.log(values))

    return of


def at(curve: Curve, y: str, place: int) -> Measure:
    """At the smallest batch size (0) or the largest (-1)."""
    return lambda table: float(along(table, curve, y)[place])


def saving(y: str, curve: Curve, batches: slice) -> Measure:
    """The least of SGD's updates over a curve's, at some batch sizes."""
    return lambda table: float((along(table, SGD, y) / along(table, curve, y))[batches].min())


def too_much(table: Table) -> float:
    """The updates of the largest momentum over those of half its memory, at the largest batch size."""
    return float(np.divide(*(along(table, ("momentum", beta), "updates")[-1] for beta in MOMENTA[:-3:-1])))


def spread(y: str) -> Measure:
    """The largest over the smallest of all momenta, at most, B up to 16."""

    def of(table: Table) -> float:
        values = [along(table, ("momentum", beta), y)[:5] for beta in MOMENTA.tolist()]
        return float((np.max(values, axis=0) / np.min(values, axis=0)).max())

    return of


def scaling(curve: Curve) -> Measure:
    """The critical batch size over SGD's: B times the updates is twice what it is at first, interpolated."""

    def critical(table: Table, curve: Curve) -> float:
        batches, updates = (along(table, curve, name) for name in ("batch", "updates"))
        waste = np.maximum.accumulate(np.log2(batches * updates / updates[0]))
        return float(2 ** np.interp(1.0, waste, np.log2(batches)))

    return lambda table: critical(table, curve) / critical(table, SGD)


def disagreement(table: Table) -> float:
    """Of closed form and recursion at the largest batch size: the largest |log of the ratio|."""
    largest = table.above("stepped", 0)
    return float(np.abs(np.log(largest["stepped"] / largest["updates"])).max())


def small_batch_product(power: float) -> float:
    """B times the updates T as B → 0, where steps s/T are so small that x moves like exp(−s λ).

    The noise leaves s/T Σ h^(1 − power)/(4B), so BT = s Σ h^(1 − power)/(4 (target − bias(s))), least over s.
    """
    h = 1 / np.arange(1.0, DIM + 1)
    s = np.geomspace(10, 1e5, 1000)[:, None]
    left = TARGET - 0.5 * (np.exp(-2 * s * h ** (1 - power)) @ h)
    product = s[:, 0] * np.sum(h ** (1 - power)) / (4 * left)
    return float(product[left > 0].min())


_PRODUCTS = small_batch_product(0.0), small_batch_product(0.5)
_FLOOR = float(DIM / 4 * brentq(lambda u: exp1(u) - 2 * TARGET, 0.1, 10))
"""Of SGD without noise at lr 2: the risk is E₁(4T/d)/2, for many eigenvalues."""

_MODEL = Source(
    "Zhang et al. 2019",
    "on momentum, as the notes of STAT 4830 tell it, section 7",
    "this setting",
    "second hand",
    setting="its noisy quadratic model",
)
_NETWORKS = Source("Zhang et al. 2019", "section 1, after Shallue et al.", "another setting", "abstract")
_HERE = ours()
_CRITICAL = "critical batch size (twice the updates of perfect scaling) over SGD's: "

CLAIMS = (
    claim(
        "SGD, B up to 32: slope of log updates",
        replace(_NETWORKS, words="initially"),
        slope(SGD, "updates", 0, 5),
        "-1 ± 0.02",
    ),
    claim(
        "SGD, B from 2^18: slope of log updates",
        replace(_NETWORKS, words="diminishing returns"),
        slope(SGD, "updates", 18, 21),
        "0 ± 0.02",
    ),
    claim("SGD, B up to 32: slope of the log lr", _HERE, slope(SGD, "effective_lr", 0, 5), "1 ± 0.02"),
    claim("SGD, largest B: the lr nears 2/h_1", _HERE, at(SGD, "effective_lr", -1), "2 ± 0.02"),
    claim("SGD, B = 1: updates", _HERE, at(SGD, "updates", 0), f"{_PRODUCTS[0]} ± {_PRODUCTS[0] / 100}"),
    claim("SGD, largest B: updates", _HERE, at(SGD, "updates", -1), f"{_FLOOR} ± {_FLOOR / 100}"),
    claim(
        "momentum has no benefit at small B: most updates over fewest of all β, B up to 16",
        _MODEL,
        spread("updates"),
        "1 ± 0.02",
    ),
    claim("... largest over smallest of their best effective lrs", _HERE, spread("effective_lr"), "1 ± 0.02"),
    claim(
        "largest B: SGD's updates over momentum's",
        _HERE,
        saving("stepped", TUNED, slice(-1, None)),
        "at least 10",
    ),
    claim(
        "largest B: the updates of β = 63/64 over those of 31/32",
        _HERE,
        too_much,
        "1.9 ± 0.1",
    ),
    claim(_CRITICAL + "momentum", _MODEL, scaling(TUNED), "at least 10"),
    claim(
        _CRITICAL + "preconditioned",
        _MODEL.at("on preconditioning, as the same notes tell it"),
        scaling(PRECONDITIONED),
        "at least 10",
    ),
    claim(
        "momentum, B up to 2^12: slope of the log of the best effective lr",
        _HERE,
        slope(TUNED, "effective_lr", 0, 12),
        "1 ± 0.02",
    ),
    claim(
        "B = 1: SGD's updates over preconditioned SGD's",
        _HERE,
        saving("updates", PRECONDITIONED, slice(1)),
        f"{_PRODUCTS[0] / _PRODUCTS[1]} ± 0.05",
    ),
    claim(
        "... at every B: the least ratio",
        _HERE,
        saving("updates", PRECONDITIONED, slice(None)),
        "at least 4",
    ),
    claim(
        "largest B: closed form against recursion, largest |log of the ratio of updates|",
        ours("two ways, one law"),
        disagreement,
        "0 ± 0.02",
    ),
)
