r"""A cooldown takes the logarithm out of the worst case, but needs 39 % of the steps to be cosine's equal.

The bound Ω of the last iterate of stochastic subgradient steps on a convex function, D = G = 1, for constant
steps with a cooldown (WSD without its warmup; over the last 20 % of the steps unless said otherwise) and for
cosine, with the lr that minimises it. It has the form start/lr + noise·lr, so the best lr is known exactly.

Top left: Ω from the first t steps, for three T; it drops when the cooldown begins, because that takes
away the noise's part. Top right: the last Ω against the lr at T = 400; markers: the minimum. All these curves
are one curve, moved: at twice the best lr each is 5/4 of its minimum, so that no schedule is less sensitive
than another. Bottom left: √T Ω against the part of the steps that is cooled; markers: sums at T = 10⁵; lines:
the limits for T → ∞,

    linear 2 √((1 + artanh(1 − c))/(2 − c)),    1 − √u √((3 − (3/2) log 3 + log(3/c − 2))/(1 − 2c/3));

grey: T = 400 at two fixed lrs, where c = 2a²/(1 + a²) is best, a = lr √T < 1. Bottom right: √T Ω against T;
for constant steps it is √(1 + H_{T−1}) and grows like √log T, for the others it is level.

Schaipp et al. find in it what they see in language models: the drop, the lr of cosine twice that of WSD, a
longer cooldown being better. Not all that Hägele et al. see is in it: 1 − √u beats linear only while less
than 56 % of the steps are cooled, by 1.6 % at 20 %, less the longer the run; the gain doesn't end at 20 %;
and WSD passes cosine at 39 % (linear) and 33 % (1 − √u), not between 10 and 20 %.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter
from scipy.optimize import curve_fit

from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import Claim
from ratelab.paper_figures.house.style import looks, new_figure
from ratelab.paper_figures.house.table import Table
from ratelab.theory.arrays import Array
from ratelab.theory.bounds import Bound, omega, omega_curve
from ratelab.theory.combine import Cooldown
from ratelab.theory.schedules import Constant, Cosine, Fall, Linear, Schedule

ABOUT = About(
    title="Cooldowns in the worst case",
    group="Papers",
    source="Schaipp et al. 2025, figures 2 to 5, 11 and 20; Hägele et al. 2024",
    link="https://arxiv.org/abs/2501.18965",
    topics=("bounds", "decay", "shapes"),
    seconds=(1, 6),
)


def _wsd(cooled: float, shape: Fall = "linear") -> Schedule:
    return Cooldown(Constant(), cooled, shape)


SCHEDULES: tuple[tuple[str, Schedule], ...] = (
    ("constant", Constant()),
    (r"WSD, $1 - \sqrt{u}$", _wsd(0.2, "1-sqrt")),
    ("WSD, linear cooldown", _wsd(0.2)),
    ("cosine", Cosine()),
    ("linear", Linear()),
)
CONSTANT, SQRT, WSD, COSINE, LINEAR = range(5)
FALLS: tuple[Fall, ...] = ("linear", "1-sqrt")

HORIZONS = (200, 300, 400, 500, 600)
T = 400
FRACTIONS = np.round(np.linspace(0.02, 1.0, 50), 2)
FIXED = (0.02, 0.04)
LRS = np.geomspace(2.0**-8, 0.5, 43)
GROWTH = tuple(int(n) for n in np.rint(np.geomspace(10, 10**6, 16)))
POINTS = 150


@dataclass(frozen=True)
class Bounds:
    """Everything for D = G = 1.

    along: Ω of WSD and cosine from the first t steps, (2, HORIZONS, POINTS); NaN where there is none
    forgotten: the part D²/(2 Σ η) of it, for WSD at T
    sweep: Ω at T, (SCHEDULES, LRS); lrs and least: the best lr and Ω of it
    tuned: √T Ω at a large T, (FALLS, FRACTIONS); fixed: √T Ω at T and FIXED lrs, linear, (FIXED, FRACTIONS)
    growth: √T Ω, (SCHEDULES, GROWTH)
    best_lrs: of WSD and cosine, (2, HORIZONS)
    stated: the paper's own bound for WSD over Ω, at T = 10⁴
    """

    along: Array
    forgotten: Array
    sweep: Array
    lrs: Array
    least: Array
    tuned: Array
    fixed: Array
    growth: Array
    best_lrs: Array
    stated: float

    def crossing(self, fall: int, level: float) -> float:
        """The part of the steps whose cooldown brings √T Ω down to `level`."""
        return float(np.interp(-level, -self.tuned[fall], FRACTIONS))


def _bound(schedule: Schedule, horizon: int) -> Bound:
    return omega(schedule(horizon), 1.0, 1.0)


def _times(horizon: int) -> Array:
    """Numbers of steps t, all of them or POINTS."""
    return np.rint(np.linspace(1, horizon, POINTS))


def _along(schedule: Schedule, horizon: int) -> Array:
    steps = _bound(schedule, horizon).best_lr * schedule(horizon)
    return omega_curve(steps, _times(horizon).astype(np.int64) - 1, 1.0, 1.0)


def _forgotten() -> Array:
    steps = _bound(_wsd(0.2), T).best_lr * _wsd(0.2)(T)
    return np.asarray(1 / (2 * np.cumsum(steps)[_times(T).astype(np.int64) - 1]))


def _stated(horizon: int, start: int) -> float:
    """The bound of Schaipp et al. for WSD with a cooldown from `start` on, as in their code's tests."""
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, 2 * horizon))])
    total, left = horizon + start, horizon - start
    bracket = 2 / 3 + (horizon + 2 * start) / (3 * total) + harmonic[total - 2] - harmonic[left + 1]
    bracket += -left * (start - 1) / (3 * (left + 2) * total) + 1 / left**2 + harmonic[left - 1] / (left + 1)
    return math.sqrt(4 * bracket / total)


def data(full: bool = False, report: Report = quiet) -> Bounds:
    """All sums as they stand; those against the cooled part at T = 10⁵, in full 10⁶."""
    far = 10**6 if full else 10**5
    growth = np.empty((len(SCHEDULES), len(GROWTH)))
    for i, (_, schedule) in enumerate(SCHEDULES):
        growth[i] = [math.sqrt(n) * _bound(schedule, n).best for n in GROWTH]
    tuned = np.empty((len(FALLS), len(FRACTIONS)))
    for k, cooled in enumerate(FRACTIONS.tolist()):
        tuned[:, k] = [math.sqrt(far) * _bound(_wsd(cooled, fall), far).best for fall in FALLS]
        report(k + 1, len(FRACTIONS))
    at = [_bound(schedule, T) for _, schedule in SCHEDULES]
    pair = [SCHEDULES[WSD][1], SCHEDULES[COSINE][1]]
    return Bounds(
        along=np.array([[_along(schedule, n) for n in HORIZONS] for schedule in pair]),
        forgotten=_forgotten(),
        sweep=np.array([[bound.at(lr) for lr in LRS] for bound in at]),
        lrs=np.array([bound.best_lr for bound in at]),
        least=np.array([bound.best for bound in at]),
        tuned=tuned,
        fixed=np.array([[math.sqrt(T) * _bound(_wsd(c), T).at(lr) for c in FRACTIONS] for lr in FIXED]),
        growth=growth,
        best_lrs=np.array([[_bound(schedule, n).best_lr for n in HORIZONS] for schedule in pair]),
        stated=_stated(10**4, 8000) / _bound(_wsd(0.2), 10**4).best,
    )


def limit(fall: int, cooled: float) -> float:
    """√T Ω for T → ∞: √(∫ η²/S / ∫ η), S the integral of η from there to the end."""
    if fall == 0:
        return 2 * math.sqrt((1 + math.atanh(1 - cooled)) / (2 - cooled))
    return math.sqrt((3 - 1.5 * math.log(3) + math.log(3 / cooled - 2)) / (1 - 2 * cooled / 3))


AXES = ("horizon", "updates", "lr", "cooled")
COLUMNS = ("panel", "schedule", "name", *AXES, "value", "predicted")


def _row(panel: str, i: int, value: float, predicted: float = math.nan, **at: float) -> tuple[object, ...]:
    """One point of schedule i; no entry where a panel has no such axis."""
    name, schedule = SCHEDULES[i]
    axes = (float(at.get(axis, math.nan)) for axis in AXES)
    return panel, repr(schedule), name, *axes, float(value), float(predicted)


def rows(d: Bounds) -> Iterator[tuple[object, ...]]:
    """One row per point of each of the four panels."""
    for i, k, n in np.ndindex(d.along.shape):
        if k % 2 == 0:  # five horizons are hard to tell apart
            t = float(_times(HORIZONS[k])[n])
            yield _row("along", (WSD, COSINE)[i], float(d.along[i, k, n]), horizon=HORIZONS[k], updates=t)
    for i in range(len(SCHEDULES)):
        for lr, value in zip(LRS, d.sweep[i], strict=True):
            yield _row("lr", i, value, lr=lr, horizon=T)
        yield _row("best lr", i, d.least[i], lr=d.lrs[i], horizon=T)
        for n, value in zip(GROWTH, d.growth[i], strict=True):
            yield _row("growth", i, value, horizon=n)
    for k, c in enumerate(FRACTIONS):
        yield _row("cooled", COSINE, d.growth[COSINE, -1], d.growth[COSINE, -1], cooled=c)
        for fall, i in enumerate((WSD, SQRT)):
            yield _row("cooled", i, d.tuned[fall, k], limit(fall, c), cooled=c)
        for j, lr in enumerate(FIXED):
            yield _row("fixed lr", WSD, d.fixed[j, k], lr=lr, cooled=c, horizon=T)


def draw(table: Table) -> Figure:
    """Along the run, against the lr, the part that is cooled, and the horizon."""
    figure = new_figure(4.4)
    axes = figure.subplots(2, 2)
    texts = table.where("panel", "growth").values("schedule")
    styles = dict(zip(texts, (look.line() for look in looks(texts)), strict=True))
    for (schedule, _), curve in table.where("panel", "along").groups("schedule", "horizon"):
        axes[0, 0].plot(curve["updates"], curve["value"], **styles[schedule])
        axes[0, 0].plot(curve["updates"][-1], curve["value"][-1], "o", color=styles[schedule]["color"])
    for (schedule, name), curve in table.where("panel", "lr").groups("schedule", "name"):
        axes[0, 1].plot(curve["lr"], curve["value"], label=name, **styles[schedule])
    for schedule, best in table.where("panel", "best lr").groups("schedule"):
        axes[0, 1].plot(best["lr"], best["value"], "o", color=styles[schedule]["color"])
    for schedule, curve in table.where("panel", "growth").groups("schedule"):
        axes[1, 1].plot(curve["horizon"], curve["value"], **styles[schedule])
    _draw_cooled(axes[1, 0], table, styles)
    axes[0, 0].set(xlabel="steps $t$ of $T$ = 200, 400, 600", ylabel=r"bound $\Omega_t$, lr tuned")
    axes[0, 0].set(ylim=(0.07, 0.3), xlim=(0, 620))
    axes[0, 1].set(
        xlabel="lr", ylabel=r"$\Omega$ after $T$ = 400", xscale="log", yscale="log", ylim=(0.09, 1)
    )
    _plain_ticks(axes[0, 1], (0.1, 0.2, 0.5, 1.0))
    axes[1, 1].set(xlabel="horizon $T$", ylabel=r"$\sqrt{T}\,\Omega$, lr tuned", xscale="log")
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def _draw_cooled(panel: Axes, table: Table, styles: dict[str, dict[str, Any]]) -> None:
    for (schedule, name), curve in table.where("panel", "cooled").groups("schedule", "name"):
        panel.plot(curve["cooled"], curve["predicted"], **styles[schedule])
        if name != "cosine":
            marker = {"color": styles[schedule]["color"], "ls": ""}
            panel.plot(curve["cooled"][1::4], curve["value"][1::4], "^" if "sqrt" in name else "s", **marker)
    for lr, curve in table.where("panel", "fixed lr").groups("lr"):
        dash = "--" if lr < 0.03 else ":"
        panel.plot(curve["cooled"], curve["value"], dash, color="0.6", label=f"lr {lr:g} at $T$ = 400")
    panel.set(xlabel="part of the steps that is cooled", ylabel=r"$\sqrt{T}\,\Omega$", ylim=(1.95, 3.0))


def _plain_ticks(panel: Axes, ticks: tuple[float, ...]) -> None:
    panel.set_yticks(ticks)
    panel.yaxis.set_major_formatter(ScalarFormatter())
    panel.yaxis.set_minor_formatter(NullFormatter())


def _fitted(d: Bounds, which: int) -> Array:
    """(A, B) of the least-squares fit of A T^B to the best lrs, as in the authors' code."""

    def fit(t: Array, a: float, b: float) -> Array:
        return a * t**b

    return np.asarray(curve_fit(fit, np.array(HORIZONS, float), d.best_lrs[which], p0=(0.5, -0.5))[0])


def _log_slope(d: Bounds, schedule: int) -> float:
    """The slope of T Ω² on log T over the last two decades."""
    late = np.log(GROWTH[-6:])
    return float(np.polyfit(late, d.growth[schedule, -6:] ** 2, 1)[0])


def _drop_by_noise(d: Bounds) -> float:
    """Which part of the drop during the cooldown at T is due to the noise's part of Ω."""
    begin, whole = int(np.searchsorted(_times(T), 0.8 * T)), d.along[0, HORIZONS.index(T)]
    return float(1 - (d.forgotten[begin] - d.forgotten[-1]) / (whole[begin] - whole[-1]))


def _furthest(d: Bounds) -> float:
    """The largest relative distance of a sum from its limit."""
    limits = np.array([[limit(fall, c) for c in FRACTIONS] for fall in range(2)])
    return float(np.max(np.abs(d.tuned / limits - 1)))


def _gain(d: Bounds) -> Array:
    """log of linear over 1 − √u, 20 % cooled, (GROWTH,)."""
    return np.asarray(np.log(d.growth[WSD] / d.growth[SQRT]))


def _reached(d: Bounds) -> float:
    """Of what cooling all steps gains over cooling 4 %, the part that cooling 20 % has."""
    at = d.tuned[0][np.searchsorted(FRACTIONS, (0.04, 0.2, 1.0))]
    return float((at[0] - at[1]) / (at[0] - at[2]))


def _twice(d: Bounds) -> float:
    """At twice the best lr, the largest of the five Ω/min Ω, read off the sweep."""
    logs = [np.interp(np.log(2 * d.lrs[i]), np.log(LRS), np.log(d.sweep[i])) for i in range(5)]
    return float(np.max(np.exp(logs) / d.least))


_SCHAIPP, _HAGELE = "Schaipp et al. 2025", "Hägele et al. 2024"

CLAIMS: tuple[Claim[Bounds], ...] = (
    Claim(
        "the best lr of cosine, T = 200 to 600: A of the fit A T^B",
        f"{_SCHAIPP}, figure 3",
        lambda d: float(_fitted(d, 1)[0]),
        0.92,
        tolerance=0.0051,
    ),
    Claim(
        "the best lr of WSD, T = 200 to 600: A of the fit A T^B",
        f"{_SCHAIPP}, figure 3",
        lambda d: float(_fitted(d, 0)[0]),
        0.47,
        tolerance=0.0051,
    ),
    Claim(
        "the best constant lr is half of the best lr of cosine (T = 400)",
        f"{_HAGELE}, figure 3",
        lambda d: float(d.lrs[WSD] / d.lrs[COSINE]),
        0.5,
        tolerance=0.05,
    ),
    Claim(
        "from 20 % cooldown to linear decay the best lr grows by exp(0.7): log of the ratio at T = 400",
        f"{_SCHAIPP}, figure 12",
        lambda d: float(np.log(d.lrs[LINEAR] / d.lrs[WSD])),
        0.7,
        tolerance=0.051,
    ),
    Claim(
        "the drop of the bound during the cooldown comes from its noise term: its part of the drop",
        f"{_SCHAIPP}, figure 20; most of it, here",
        _drop_by_noise,
        0.8,
        relation="at_least",
    ),
    Claim(
        "constant steps: slope of T Ω² on log T",
        f"{_SCHAIPP}, figure 20: 1 + H",
        lambda d: _log_slope(d, CONSTANT),
        1.0,
        tolerance=0.01,
    ),
    Claim(
        "no logarithm after a cooldown: slope of T Ω² on log T for WSD",
        f"{_SCHAIPP}, figure 20",
        lambda d: _log_slope(d, WSD),
        0.0,
        tolerance=0.01,
    ),
    Claim(
        "the sums at T = 10^5 are at the limits of the caption: the largest relative distance",
        "derived here",
        _furthest,
        0.0,
        tolerance=1e-3,
    ),
    Claim(
        "the paper's formula for WSD over the sum that it bounds",
        f"{_SCHAIPP}; its limit, √(2 (1 + log 9)/(2 + log 9)), derived here",
        lambda d: d.stated,
        math.sqrt(2 * (1 + math.log(9)) / (2 + math.log(9))),
        tolerance=0.001,
    ),
    Claim(
        "with the best lr, cooling all steps is best: the best part",
        f"{_SCHAIPP}, figure 5",
        lambda d: float(FRACTIONS[d.tuned[0].argmin()]),
        1.0,
    ),
    Claim(
        "at a fixed lr the best part may be smaller than 1: at lr 0.02 and T = 400",
        f"{_SCHAIPP}, figure 4; 2 a²/(1 + a²), a = lr √T, derived here",
        lambda d: float(FRACTIONS[d.fixed[0].argmin()]),
        2 * 0.4**2 / (1 + 0.4**2),
        tolerance=0.02,
    ),
    Claim(
        "no schedule is less sensitive to the lr: Ω at twice the best lr over the least, the largest of five",
        f"start/lr + noise·lr; {_HAGELE}, figure 3, see slightly less for WSD than for cosine",
        _twice,
        1.25,
        tolerance=0.002,
    ),
    Claim(
        "WSD passes cosine where 10 to 20 % of the steps are cooled: the part, linear",
        f"{_HAGELE}, figure 5",
        lambda d: d.crossing(0, d.growth[COSINE, -1]),
        0.2,
        relation="at_most",
        expect="refuted",
        finding="in the bound a linear cooldown passes cosine at 39 % of the steps, 1 - √u at 33 %",
    ),
    Claim(
        "longer cooldowns gain nothing beyond 20 %: how much of the gain from 4 to 100 % is made there",
        f"{_HAGELE}, figure 5",
        _reached,
        0.9,
        relation="at_least",
        expect="refuted",
        finding="in the bound 35 % of the gain is still to come",
    ),
    Claim(
        "1 - √u beats linear where 20 % are cooled: log of the ratio of Ω at T = 10^6",
        f"{_HAGELE}, figures 4 and 16; its limit derived here",
        lambda d: float(_gain(d)[-1]),
        math.log(limit(0, 0.2) / limit(1, 0.2)),
        tolerance=1e-3,
    ),
    Claim(
        "1 - √u beats linear however much is cooled: ratio of Ω where all is cooled",
        f"{_HAGELE}: consistently; asked of long cooldowns here",
        lambda d: float(d.tuned[1, -1] / d.tuned[0, -1]),
        1.0,
        relation="at_most",
        expect="refuted",
        finding="in the bound linear is better where more than 56 % of the steps are cooled",
    ),
    Claim(
        "the longer the run, the more 1 - √u gains over linear: growth of that log from T = 10^2 to 10^6",
        f"{_HAGELE}, figure 4",
        lambda d: float(_gain(d)[-1] - _gain(d)[3]),
        0.0,
        relation="at_least",
        expect="refuted",
        finding="in the bound its gain shrinks with T, to 1.6 %",
    ),
)
