r"""A range test reads its own length as much as the problem, and cycles beat constant steps but not a decay.

Least squares with fresh features instead of Smith's networks: dimension 20, log-uniform eigenvalues from 10⁻³
to 1, label noise N(0, 0.1²), batch 1. Exact expected risk; every lr as a multiple of the largest stable
constant step.

Top left: Smith's policies with his numbers, base_lr a sixth of max_lr and stepsize 2000. In exp_range both
bounds decline like 0.99994^t, as he writes; frameworks scale the difference alone (thin). Top right: the
range test, a linearly growing lr, in 1000, 4000 and 16,000 updates; markers: where the risk turns. It turns
far below the limit (vertical line), because the noise grows with the lr, and the sooner the longer the test.
It is back at its start where a constant step ends there, at 0.96 times the limit for long tests. Without
noise (grey, 500 updates) it shrinks so far before the limit that it comes back at 2.30 times it, where
z (log z − 1) = 1, z = ηL − 1.

Bottom left: the policies with max_lr where the test of 4000 updates turns. The ends of cycles lie below a
constant base_lr at first; in the long run those of triangular lie above. Bottom right: risk after 24,000
updates against max_lr (vertical line: the one on the left). Cycles are early but pay for every rise: a linear
decay from the same max_lr to 0 ends six times lower. And the best constant step isn't within a factor of two
of the largest that converges, it is 35 times smaller.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import brentq

from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import Claim
from ratelab.paper_figures.house.style import looks, new_figure, ordered
from ratelab.paper_figures.house.table import Table
from ratelab.problems.noise import NoNoise
from ratelab.problems.problem import Problem, critical_lr, exact_risk
from ratelab.problems.quadratic import Quadratic
from ratelab.problems.regression import StreamingLeastSquares
from ratelab.problems.spectra import LogUniform
from ratelab.theory.arrays import Array, Integers
from ratelab.theory.combine import Product, Scaled, Then
from ratelab.theory.cycles import Triangular
from ratelab.theory.schedules import Constant, Exponential, Linear, Schedule, multipliers

ABOUT = About(
    title="Cyclical learning rates and the range test",
    group="Papers",
    source="Smith 2017, figures 1 to 4 and table 1",
    link="https://arxiv.org/abs/1506.01186",
    topics=("cycles", "noise", "shapes"),
    seconds=(1, 1),
)

SPECTRUM = LogUniform(dim=20, condition_number=1000.0)
PROBLEM = StreamingLeastSquares(SPECTRUM, label_sd=0.1)
LIMIT = critical_lr(PROBLEM)
CYCLE, BASE, GAMMA = 4000, 1 / 6, 0.99994
UPDATES, LONG = 24_000, 70_000

POLICIES: tuple[tuple[str, Schedule], ...] = (
    ("fixed at base lr", Scaled(Constant(), BASE)),
    ("triangular", Triangular(CYCLE, low=BASE)),
    ("triangular2", Triangular(CYCLE, low=BASE, decay=0.5)),
    ("exp range", Product(Triangular(CYCLE, low=BASE), Exponential(GAMMA))),
    ("decay in a cycle, then base lr", Then(Linear(final=BASE), Scaled(Constant(), BASE), at=CYCLE)),
    ("linear decay to 0", Linear()),
)
FIXED, TRIANGULAR, HALVED, RANGE, DECAY, LINEAR = range(6)
FRAMEWORK = Triangular(CYCLE, low=BASE, gamma=GAMMA)

TESTS = (1000, 4000, 16_000)
NOISELESS, TOP, POINTS = 500, 2.4, 500
TIMES = np.arange(200, LONG + 1, 200)
SHOWN = np.arange(0, UPDATES, 100)
MAXIMA = np.geomspace(0.005, 1.0, 60)
SEEN = 1e3
"""Risks beyond are not drawn."""


@dataclass(frozen=True)
class Cycles:
    """Rates over max_lr, exact risks; lrs over LIMIT, or over 2/L where there is no noise.

    rates: (POLICIES, SHOWN), and of a framework's exp_range; tests: along range tests, (TESTS, POINTS)
    turns, backs: where the risk of a test turns and where it is back at its start, (TESTS,)
    noiseless: the same without noise, (POINTS,); noiseless_best: the best constant lr, without noise
    along: (POLICIES, TIMES), with max_lr where the test of 4000 updates turns; NaN beyond 24,000 for linear
    sweep: after 24,000 updates, (POLICIES, MAXIMA)
    lag: from the third end of a cycle to the least risk, over the cycle, for triangular and triangular2
    """

    rates: Array
    framework: Array
    tests: Array
    turns: Array
    backs: Array
    noiseless: Array
    noiseless_best: float
    along: Array
    sweep: Array
    lag: Array

    def after(self, policy: int, updates: int) -> float:
        """The risk after so many updates."""
        return float(self.along[policy, np.searchsorted(TIMES, updates)])


def _tested(top: float = 2.0) -> Array:
    return np.arange(1, POINTS + 1) / POINTS * top


def _back(risk: Array, lrs: Array, start: float) -> float:
    late = (risk > start) & (np.arange(len(risk)) > risk.argmin())
    return float(lrs[late.argmax()]) if late.any() else math.inf


def _risk(problem: Problem, multipliers: Array, lrs: Array, records: Integers) -> Array:
    """(lrs, records)."""
    s = np.ascontiguousarray(multipliers)[None]
    risk = exact_risk(problem, s, lrs, [np.ones_like(s)], records)
    return np.asarray(risk[0, :, 0])


def _range_test(problem: Problem, limit: float, updates: int, top: float) -> Array:
    """The risk at POINTS of an lr that grows linearly up to `top` times the limit."""
    records = np.arange(1, POINTS + 1) * updates // POINTS
    return np.asarray(
        _risk(problem, np.arange(1, updates + 1) / updates, np.array([top * limit]), records)[0]
    )


def _horizon(policy: int) -> int:
    return UPDATES if policy == LINEAR else LONG


def _lag(policy: int, lr: float) -> float:
    around = np.arange(2 * CYCLE + CYCLE // 2, 3 * CYCLE + CYCLE // 2)
    risk = _risk(PROBLEM, multipliers(POLICIES[policy][1], LONG), np.array([lr]), around)[0]
    return float((around[risk.argmin()] - 3 * CYCLE) / CYCLE)


def data(full: bool = False, report: Report = quiet) -> Cycles:
    """All of it; the full form is the quick one."""
    tests = np.array([_range_test(PROBLEM, LIMIT, updates, 2.0) for updates in TESTS])
    turns = _tested()[tests.argmin(axis=1)]
    max_lr = float(turns[1] * LIMIT)
    along, sweep = np.full((len(POLICIES), len(TIMES)), np.nan), np.empty((len(POLICIES), len(MAXIMA)))
    for i, (_, schedule) in enumerate(POLICIES):
        records = TIMES[_horizon(i) >= TIMES]
        steps = multipliers(schedule, _horizon(i))
        along[i, : len(records)] = _risk(PROBLEM, steps, np.array([max_lr]), records)[0]
        sweep[i] = _risk(PROBLEM, steps[:UPDATES], MAXIMA * LIMIT, np.array([UPDATES]))[:, 0]
        report(i + 1, len(POLICIES))
    quadratic, lrs = Quadratic(SPECTRUM, noise=NoNoise()), np.linspace(0.01, 1, 100)
    constant = _risk(quadratic, np.ones(NOISELESS), 2 * lrs, np.array([NOISELESS]))[:, 0]
    return Cycles(
        rates=np.array([multipliers(schedule, UPDATES)[SHOWN] for _, schedule in POLICIES]),
        framework=multipliers(FRAMEWORK, UPDATES)[SHOWN],
        tests=tests,
        turns=turns,
        backs=np.array([_back(risk, _tested(), PROBLEM.constants.start_risk) for risk in tests]),
        noiseless=_range_test(quadratic, 2.0, NOISELESS, TOP),
        noiseless_best=float(lrs[constant.argmin()]),
        along=along,
        sweep=sweep,
        lag=np.array([_lag(policy, max_lr) for policy in (TRIANGULAR, HALVED)]),
    )


AXES = ("updates", "lr")
COLUMNS = ("panel", "name", "schedule", *AXES, "rate", "risk")


def rows(d: Cycles) -> Iterator[tuple[object, ...]]:
    """One row per point of each of the four panels; lrs in units of the stability limit."""
    empty = math.nan
    for i, (name, schedule) in enumerate(POLICIES):
        label = name, repr(schedule)
        for t, rate in zip(SHOWN.tolist(), d.rates[i].tolist(), strict=True):
            yield "policy", *label, float(t), empty, rate, empty
        for t, risk in zip(TIMES.tolist(), d.along[i].tolist(), strict=True):
            if t <= _horizon(i):
                yield "along", *label, float(t), float(d.turns[1]), empty, risk
        for lr, risk in zip(MAXIMA.tolist(), d.sweep[i].tolist(), strict=True):
            if risk < SEEN:
                yield "sweep", *label, float(UPDATES), lr, empty, risk
    for t, rate in zip(SHOWN.tolist(), d.framework.tolist(), strict=True):
        yield "framework", "exp range", repr(FRAMEWORK), float(t), empty, rate, empty
    for updates, curve in zip(TESTS, d.tests, strict=True):
        for lr, risk in zip(_tested().tolist(), curve.tolist(), strict=True):
            if risk < SEEN:
                yield "range test", f"range test of {updates}", "linear rise", float(updates), lr, empty, risk
    for lr, risk in zip(_tested(TOP).tolist(), d.noiseless.tolist(), strict=True):
        if risk < SEEN:
            yield (
                "noiseless test",
                "range test without noise",
                "linear rise",
                float(NOISELESS),
                lr,
                empty,
                risk,
            )


def draw(table: Table) -> Figure:
    """Policies, range tests, risk along the run, risk against max_lr."""
    figure = new_figure(4.4)
    axes = figure.subplots(2, 2)
    policies = table.where("panel", "policy")
    texts = [curve.first("schedule") for _, curve in policies.groups("name")]
    styles = {n: own.line() for n, own in zip(policies.values("name"), looks(texts), strict=True)}
    for name, curve in policies.groups("name"):
        axes[0, 0].plot(curve["updates"], curve["rate"], label=name, **styles[name])
    framework = table.where("panel", "framework")
    thin = styles["exp range"] | {"lw": 0.5}
    axes[0, 0].plot(framework["updates"], framework["rate"], label="exp range in frameworks", **thin)
    _draw_tests(axes[0, 1], table)
    for name, curve in table.where("panel", "along").groups("name"):
        axes[1, 0].plot(curve["updates"], curve["risk"], **styles[name])
    for name, curve in table.where("panel", "sweep").groups("name"):
        axes[1, 1].plot(curve["lr"], curve["risk"], **styles[name])
    axes[1, 1].axvline(table.where("panel", "along").first("lr"), color="0.6", lw=0.8)
    axes[0, 0].set(xlabel="updates", ylabel="rate over max lr", xticks=(0, 8000, 16000, 24000))
    axes[1, 0].set(xlabel="updates", ylabel="risk", yscale="log", ylim=(1e-5, 5e-3), xlim=(0, 72000))
    axes[1, 1].set(xlabel="max lr over the limit", ylabel="risk after 24,000", xscale="log", yscale="log")
    axes[1, 1].set(ylim=(1e-5, 1e-2))
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def _draw_tests(panel: Axes, table: Table) -> None:
    """Range tests, the limit, and where each turns."""
    tests = list(table.where("panel", "range test").groups("name"))
    for (name, curve), own in zip(tests, ordered(len(tests)), strict=True):
        best = int(curve["risk"].argmin())
        panel.plot(curve["lr"], curve["risk"], label=name, **own.line())
        panel.plot(curve["lr"][best], curve["risk"][best], own.marker, color=own.colour)
    curve = table.where("panel", "noiseless test")
    panel.plot(curve["lr"], curve["risk"], "-.", color="0.6", label=curve.first("name"))
    panel.axvline(1.0, color="0.6", lw=0.8)
    panel.set(xlabel="lr over the limit", ylabel="risk", yscale="log", xlim=(0, 2.4), ylim=(1e-6, 1e2))


def _printed(updates: Array) -> Array:
    """The triangular policy as Smith prints it, in units of max_lr."""
    step = CYCLE / 2
    cycle = np.floor(1 + updates / (2 * step))
    x = np.abs(updates / step - 2 * cycle + 1)
    return np.asarray(BASE + (1 - BASE) * np.maximum(0, 1 - x))


def _level_reached() -> float:
    """The lr whose constant steps end with the risk of the start: σ² k/(1 − k) = 2 f(x_0)."""
    lam = SPECTRUM.eigenvalues()

    def excess(lr: float) -> float:
        k = float(np.sum(lr * LIMIT * lam / (2 - 2 * lr * LIMIT * lam)))
        return PROBLEM.label_sd**2 * k / (1 - k) - 2 * PROBLEM.constants.start_risk

    return float(brentq(excess, 0.1, 0.9999))


def _best(d: Cycles, policy: int) -> float:
    return float(MAXIMA[d.sweep[policy].argmin()])


def _halving(d: Cycles) -> float:
    first, second = d.rates[HALVED, np.searchsorted(SHOWN, (CYCLE // 2, 3 * CYCLE // 2))]
    return float((second - BASE) / (first - BASE))


def _as_good(d: Cycles) -> float:
    """After how many updates the fixed base_lr has what triangular2 has after 24,000, over 24,000."""
    met = d.along[FIXED] <= d.after(HALVED, UPDATES)
    return float(TIMES[met.argmax()] / UPDATES) if met.any() else math.inf


_SMITH = "Smith 2017"

CLAIMS: tuple[Claim[Cycles], ...] = (
    Claim(
        "triangular is Smith's code: the largest distance over max_lr",
        f"{_SMITH}, section 3.1",
        lambda d: float(np.max(np.abs(d.rates[TRIANGULAR] - _printed(SHOWN.astype(float))))),
        0.0,
        tolerance=1e-12,
    ),
    Claim(
        "triangular2 cuts the difference of the bounds in half after each cycle: second over first",
        f"{_SMITH}, section 3.1",
        _halving,
        0.5,
        tolerance=1e-9,
    ),
    Claim(
        "in exp_range each boundary declines by gamma^iteration: a framework's base_lr after 20,000",
        f"{_SMITH}, section 3.1; torch's CyclicLR",
        lambda d: float(d.framework[np.searchsorted(SHOWN, 20_000)] / d.framework[0]),
        GAMMA**20_000,
        tolerance=0.01,
        expect="refuted",
        finding="as implemented only the difference of the bounds declines, base_lr stays",
    ),
    Claim(
        "the range test tells max_lr: where a test of 16,000 updates turns over where one of 1000 does",
        f"{_SMITH}, section 3.3: where the accuracy starts to fall",
        lambda d: float(d.turns[2] / d.turns[0]),
        1.0,
        tolerance=0.1,
        expect="refuted",
        finding="with noise the reading is halved in a test of 16 times the length",
    ),
    Claim(
        "a test of 16,000 updates is back at its start where constant steps end there: lr over the limit",
        "σ² k/(1 - k) = 2 f(x_0), derived here",
        lambda d: float(d.backs[2]),
        _level_reached(),
        tolerance=0.02,
    ),
    Claim(
        "without noise the range test overshoots: lr over 2/L at which it is back at its start",
        "z (log z - 1) = 1, z = ηL - 1, derived here",
        lambda d: _back(d.noiseless, _tested(TOP), PROBLEM.constants.start_risk),
        (1 + float(brentq(lambda z: z * (math.log(z) - 1) - 1, 3, 4))) / 2,
        tolerance=0.02,
    ),
    Claim(
        "the best lr is within a factor of two of the largest that converges: their ratio, without noise",
        f"{_SMITH}, section 3.3, after Bengio 2012",
        lambda d: d.noiseless_best,
        0.5,
        relation="at_least",
    ),
    Claim(
        "the best lr is within a factor of two of the largest that converges: their ratio, with noise",
        f"{_SMITH}, section 3.3, after Bengio 2012",
        lambda d: BASE * _best(d, FIXED),
        0.5,
        relation="at_least",
        expect="refuted",
        finding="for 24,000 updates the best constant step is 35 times smaller than the largest",
    ),
    Claim(
        "max_lr where the test turns is a good choice: best max_lr of triangular over it",
        f"{_SMITH}, section 3.3; within a factor of two",
        lambda d: _best(d, TRIANGULAR) / float(d.turns[1]),
        0.5,
        relation="at_least",
        expect="refuted",
        finding="the best max_lr for six cycles is a quarter of it",
    ),
    Claim(
        "it is best to stop at the end of a cycle: how much later the risk is least, in cycles, at most",
        f"{_SMITH}, section 3.2",
        lambda d: float(d.lag.max()),
        0.0,
        tolerance=0.02,
    ),
    Claim(
        "fewer iterations: updates that the fixed base_lr needs for what triangular2 has after 24,000",
        f"{_SMITH}, abstract; in units of 24,000",
        _as_good,
        1.2,
        relation="at_least",
    ),
    Claim(
        "after 25,000 iterations triangular2 has what fixed has after 70,000: ratio of the risks",
        f"{_SMITH}, table 1: 81.4 % both",
        lambda d: d.after(HALVED, UPDATES) / d.after(FIXED, LONG),
        1.0,
        relation="at_most",
        expect="refuted",
        finding="it has what the fixed base_lr has after 40,600, and is 4 % above that after 70,000",
    ),
    Claim(
        "a decay within one cycle, base_lr from then on, ends as far above triangular2: ratio of the risks",
        f"{_SMITH}, table 1: errors of 21.5 against 18.6 %",
        lambda d: d.after(DECAY, UPDATES) / d.after(HALVED, UPDATES),
        21.5 / 18.6,
        relation="at_least",
        expect="refuted",
        finding="it does end above, by 3 % only",
    ),
    Claim(
        "both increasing and decreasing are essential: risk of linear decay to 0 over that of triangular2",
        f"{_SMITH}, section 4.1.1",
        lambda d: d.after(LINEAR, UPDATES) / d.after(HALVED, UPDATES),
        1.0,
        relation="at_least",
        expect="refuted",
        finding="a linear decay from the same max_lr, which never rises, ends six times lower",
    ),
    Claim(
        "triangular ends above the fixed base_lr in the long run: ratio after 68,000 updates",
        "derived here: its ends have the noise of larger steps; by a tenth or more",
        lambda d: d.after(TRIANGULAR, 68_000) / d.after(FIXED, 68_000),
        1.1,
        relation="at_least",
    ),
)
