r"""Bias and variance have exponents of their own when the spectrum is a power law, and steps t^−α trade them.

SGD on quadratics with λ_i = i^−a, i ≤ d, and λ_i δ_i² = i^−b at the start, noise of covariance H, steps ½ (1
+ t)^−α, exact risk after up to 10⁵ updates; the spectra are kernel regression's (Dieuleveut and Bach 2016),
the noise is additive here. Bias: no noise. Variance: start at the minimiser. Left and middle: minus the slope
over the last two decades against α, for a = 2, b = 3 (filled) and a = 3, b = 10 (open); bars: half the
difference of the slopes of the window's halves; lines: the limit,

    bias       last (1 − α)(b − 1)/a,    average the same, but at most 2;
    variance   last α up to 1/2, then min(α, (1 − α)(2 − 1/a));
               average 1 − (1 − α)/a up to 1/2 (there with a log t), then (1 − α)(2 − 1/a).

Up to α = 1/2 the last iterate's variance doesn't see the spectrum. Above 1/2 the variance holds several
powers of t that are nearly equal, and this window is too short: the slopes lie above their limits. Near α = 1
so do those of the bias, because Σ η is not a power of t yet. For a = 2, b = 3 the average balances bias and
variance near α = 1 − a/b = 1/3 at t^−2/3, kernel regression's optimal rate; the last iterate at α = 1/2 and
t^−1/2.

Right: the last iterate's bias at α = 0, with enough dimensions (λ_d Σ η = 0.01 at the end) and with 64. After
λ_d Σ η = 0.1 (dotted) the truncated spectrum acts like a strongly convex problem and fakes a faster rate.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ratelab.experiments.evidence import slope_weights
from ratelab.experiments.regime import UNTRUNCATED
from ratelab.experiments.verdict import Status
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import Claim, exponent
from ratelab.paper_figures.house.style import AVERAGE, LAST, new_figure, slope_triangle
from ratelab.paper_figures.house.table import Table
from ratelab.problems.noise import Gaussian, NoNoise
from ratelab.problems.problem import exact_risk
from ratelab.problems.quadratic import Quadratic
from ratelab.problems.spectra import PowerLaw
from ratelab.theory import rates
from ratelab.theory.arrays import Array, Integers, record_times
from ratelab.theory.averaging import Last, Uniform
from ratelab.theory.schedules import InversePower, multipliers

ABOUT = About(
    title="Power-law spectra: exponents of bias and variance",
    group="Papers",
    source="Dieuleveut and Bach 2016, their setting; exponents for this noise derived here",
    link="https://arxiv.org/abs/1408.0361",
    topics=("rates", "averaging", "noise", "decay"),
    seconds=(2, 40),
)

SETTINGS = ((2.0, 3.0), (3.0, 10.0))
"""a and b."""

PARTS, AVERAGINGS = ("bias", "variance"), (("last iterate", Last()), ("average", Uniform()))
ALPHAS = tuple(j / 10 for j in range(10))
LR, FEW, REACH = 0.5, 64, 0.01
"""The first step; dimensions of the truncated spectrum; λ_d Σ η at the end of the others."""


@dataclass(frozen=True)
class Risks:
    """Exact risk at times (K,), shape (settings, bias and variance, last and average, alphas, K).

    few (K,): the last iterate's bias for a = 2, α = 0 and FEW dimensions.
    """

    times: Integers
    risk: Array
    few: Array

    def exponent(self, setting: int, part: int, averaging: int, alpha: int) -> float:
        """Over the last two decades."""
        return exponent(self.times, self.risk[setting, part, averaging, alpha]).exponent

    def worst(self, setting: int, part: int, averaging: int, highest: float) -> float:
        """The largest |measured − limit| of the exponents for α up to `highest`."""
        at = [j for j, alpha in enumerate(ALPHAS) if alpha <= highest]
        found = [self.exponent(setting, part, averaging, j) for j in at]
        limit = [limits(*SETTINGS[setting], ALPHAS[j])[part, averaging] for j in at]
        return float(np.abs(np.subtract(found, limit)).max())

    def balance(self, averaging: int) -> float:
        """For a = 2: the exponent that bias and variance have at the α where it is the same."""
        bias, variance = np.array([[self.exponent(0, k, averaging, j) for j in range(10)] for k in range(2)])
        excess = variance - bias
        k = max(int(np.argmax(excess >= 0)), 1)
        share = excess[k - 1] / (excess[k - 1] - excess[k])
        return float(bias[k - 1] + share * (bias[k] - bias[k - 1]))

    def straightness(self) -> float:
        """Of t^(3/4) times the average's variance, a = 2, α = 1/2: its slope on log t in the window's second
        half over that in its first, which is 1 for a factor log t."""
        halves = [self.times[-1] * 0.1 ** np.array(reach) for reach in ((2, 1), (1, 0))]
        parts = [(self.times >= low) & (self.times <= high) for low, high in halves]
        values = self.risk[0, 1, 1, 5] * self.times**0.75
        early, later = (slope_weights(self.times[part]) @ values[part] for part in parts)
        return float(later / early)


def data(full: bool = False, report: Report = quiet) -> Risks:
    """All α in both settings; the full form has ten times the updates."""
    horizon = 1_000_000 if full else 100_000
    times = record_times(horizon, 121)[1:]
    risk = np.empty((2, 2, 2, len(ALPHAS), len(times)))
    for done, (i, j) in enumerate(np.ndindex(2, len(ALPHAS))):
        a, b = SETTINGS[i]
        total = LR * multipliers(InversePower(ALPHAS[j]), horizon).sum()
        risk[i, :, :, j] = risks(a, b, ALPHAS[j], math.ceil((total / REACH) ** (1 / a)), times)
        report(done + 1, 2 * len(ALPHAS))
    return Risks(times, risk, risks(*SETTINGS[0], 0.0, FEW, times)[0, 0])


def risks(a: float, b: float, alpha: float, dim: int, times: Integers) -> Array:
    """Exact bias and variance of the last iterate and the average, shape (2, 2, K)."""
    s = multipliers(InversePower(alpha), int(times[-1]))[None]
    mixings = [averaging(s[0])[None] for _, averaging in AVERAGINGS]
    start = np.arange(1.0, dim + 1) ** ((a - b) / 2)
    found = []
    for noise, factor in ((NoNoise(), 1.0), (Gaussian(1.0, "hessian"), 0.0)):
        problem = Quadratic(PowerLaw(dim, a), noise=noise, initial=tuple((factor * start).tolist()))
        risk = exact_risk(problem, s, np.array([LR]), mixings, times)
        found.append(risk[0, 0])
    return np.stack(found)


def limits(a: float, b: float, alpha: float) -> Array:
    """The exponents as t → ∞, shape (2, 2) as of `risks`."""
    bias = rates.power_law_bias_last(alpha, a, b), rates.power_law_bias_averaged(alpha, a, b)
    variance = rates.power_law_variance_last(alpha, a), rates.power_law_variance_averaged(alpha, a)
    return np.array([[rate.power for rate in part] for part in (bias, variance)])


COLUMNS = ("what", "a", "b", "averaging", "alpha", "exponent", "drift", "dimensions", "t", "risk")


def rows(d: Risks) -> Iterator[tuple[object, ...]]:
    """Exponents ("bias", "variance"), their limits ("bias limit", ...) on a finer grid of α, and two curves.

    `t` of the row "cut" is when few dimensions begin to show.
    """
    nan = float("nan")
    for i, k, m in np.ndindex(2, 2, 2):
        head = *SETTINGS[i], AVERAGINGS[m][0]
        for j, alpha in enumerate(ALPHAS):
            fit = exponent(d.times, d.risk[i, k, m, j])
            yield PARTS[k], *head, alpha, fit.exponent, fit.drift, nan, nan, nan
        for alpha in np.linspace(0, 0.9, 91).tolist():
            limit = float(limits(*SETTINGS[i], alpha)[k, m])
            yield f"{PARTS[k]} limit", *head, alpha, limit, nan, nan, nan, nan
    at = *SETTINGS[0], AVERAGINGS[0][0], 0.0, nan, nan
    enough = math.ceil((LR * float(d.times[-1]) / REACH) ** 0.5)
    for dimensions, curve in ((enough, d.risk[0, 0, 0, 0]), (FEW, d.few)):
        for t, risk in zip(d.times.tolist(), curve.tolist(), strict=True):
            yield "curve", *at, dimensions, t, risk
    yield "cut", *at, FEW, UNTRUNCATED * FEW**2 / LR, nan


STYLES = {"last iterate": (LAST, "o", 0.9), "average": (AVERAGE, "s", 1.5)}
DASHES: dict[float, Any] = {2.0: "-", 3.0: (0, (4, 1.5))}
"""By a."""


def draw(table: Table) -> Figure:
    """Exponents of the bias and of the variance, and what truncation does."""
    figure = new_figure(3.1)
    axes = figure.subplots(1, 3, width_ratios=(1, 1, 0.95))
    for panel, part in zip(axes[:2], ("bias", "variance"), strict=True):
        _exponents(panel, table, part)
        panel.set(title=part, xlabel=r"$\alpha$, steps $\propto t^{-\alpha}$", xlim=(-0.04, 0.95))
        panel.set_xticks([0, 0.2, 0.4, 0.6, 0.8])
    axes[0].set(ylabel="exponent", ylim=(-0.1, 3.2))
    axes[1].set(ylim=(-0.03, 0.9))
    curves = _curves(axes[2], table)
    averagings = [Line2D([], [], color=colour, marker=marker) for colour, marker, _ in STYLES.values()]
    settings = [Line2D([], [], color="0.4", ls=DASHES[a], marker="o", mfc=_face("0.4", a)) for a in DASHES]
    others = [Line2D([], [], color="0.4", ls=":"), Line2D([], [], color="0.4", ls="", marker="|")]
    names = [f"$a = {a:g}$, $b = {b:g}$" for (a, b), _ in table.groups("a", "b")]
    names += [f"$d = {d:.0f}$" for d in table.where("what", "curve").values("dimensions")]
    names += [r"$\lambda_d\sum\eta = 0.1$ for $d = 64$", "unsettled by the window"]
    handles = [*averagings, *settings, *curves, *others]
    figure.legend(handles, [*STYLES, *names], loc="outside lower center", ncols=4)
    return figure


def _face(colour: str, a: float) -> str:
    return colour if DASHES[a] == "-" else "white"


def _exponents(panel: Any, table: Table, part: str) -> None:
    for k, ((averaging, a), points) in enumerate(table.where("what", part).groups("averaging", "a")):
        colour, marker, size = STYLES[averaging]
        limit = table.where("what", f"{part} limit").where("averaging", averaging).where("a", a)
        panel.plot(limit["alpha"], limit["exponent"], color=colour, ls=DASHES[a], zorder=1)
        alpha, style = (
            points["alpha"],
            {"color": colour, "mfc": _face(colour, a), "ms": size * mpl.rcParams["lines.markersize"]},
        )
        panel.errorbar(alpha, points["exponent"], points["drift"], fmt="none", ecolor=colour, zorder=2)
        panel.plot(alpha, points["exponent"], marker, **style, zorder=5 - k / 4)  # the last iterate on top


def _curves(panel: Any, table: Table) -> list[Line2D]:
    curves, last, found = table.where("what", "curve"), table["t"][-2], []
    for (_, curve), dash in zip(curves.groups("dimensions"), ("-", (0, (2, 1))), strict=True):
        found += panel.plot(curve["t"], curve["risk"], color=LAST, ls=dash)
    panel.axvline(table.where("what", "cut").first("t"), color="0.4", ls=":", zorder=0)
    slope_triangle(panel, 9, 4e-4, -1, "$-1$")
    panel.set(xscale="log", yscale="log", xlim=(1, last), ylim=(0.03 / last, 1), xlabel="updates $t$")
    panel.set(ylabel="risk", title=r"bias, last iterate, $\alpha = 0$")
    return found


_TOLERANCE = 0.0438
"""Half of what a factor log t would shift a slope by at 10⁶ updates (experiments.evidence.margin)."""
_HERE = "derived here, for additive noise"
_OPTIMAL = "Dieuleveut and Bach 2016; for this noise derived here"


def _claim(
    sentence: str,
    source: str,
    measure: Callable[[Risks], float],
    predicted: float,
    tolerance: float = _TOLERANCE,
    finding: str = "",
) -> Claim[Risks]:
    expect: Status = "refuted" if finding else "supported"
    return Claim(sentence, source, measure, predicted, tolerance, expect=expect, finding=finding)


def _close(setting: int, part: int, averaging: int, highest: float) -> Claim[Risks]:
    a, b = SETTINGS[setting]
    what = f"a = {a:g}, b = {b:g}: exponent of the {PARTS[part]} of the {AVERAGINGS[averaging][0]}"
    sentence = f"{what}, α up to {highest:g}: largest |measured - limit|"
    return _claim(sentence, _HERE, lambda d: d.worst(setting, part, averaging, highest), 0.0)


CLAIMS: tuple[Claim[Risks], ...] = (
    *(_close(i, 0, 0, 0.6) for i in range(2)),
    *(_close(i, 0, 1, (0.6, 0.2)[i]) for i in range(2)),
    *(_close(i, 1, 0, 0.6) for i in range(2)),
    *(_close(i, 1, 1, 0.4) for i in range(2)),
    _claim("a = 2, b = 3: the average balances at (b - 1)/b", _OPTIMAL, lambda d: d.balance(1), 2 / 3),
    _claim("a = 2, b = 3: the last iterate balances at 1/2", _HERE, lambda d: d.balance(0), 0.5),
    _claim(
        "a = 2, α = 1/2: t^(3/4) times the average's variance grows like log t: ratio of slopes on log t",
        _HERE + "; a power t^0.07 would give 1.18",
        lambda d: d.straightness(),
        1.0,
        tolerance=0.15,
    ),
    _claim(
        "a = 2, α = 0.7: the last iterate's variance has reached its exponent (1 - α)(2 - 1/a)",
        "a belief",
        lambda d: d.exponent(0, 1, 0, 7),
        0.45,
        finding="t^-0.7 and t^-0.45 are both present, and a million updates are too few",
    ),
    _claim(
        "64 dimensions are enough to read the exponent of the bias, α = 0",
        "a belief",
        lambda d: exponent(d.times, d.few).exponent,
        1.0,
        finding="past λ_d Σ η = 0.1 the truncated spectrum is strongly convex and fakes a faster rate",
    ),
)
