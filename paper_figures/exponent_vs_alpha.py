"""Measured against predicted: the exponent of the risk when steps fall like t^−α, as α goes from 0 to 1.

SGD on quadratics of dimension 10 with log-uniform eigenvalues and N(0, 1) gradient noise, exact risk after up
to 10⁶ updates. The exponent is minus the slope over the last two decades, its bar what the window has not
settled (half the difference of the slopes of its halves). Lines: the prediction, α for the last iterate and 1
for the average; at α = 1 (dashes) both are min(1, 2μC), C the constant of the step. Left: condition number 2,
C = 1.5/L. Right: condition number 10, C = 1/L.

Open markers: μ Σ η is below 5 where the window starts, so it is too early for the asymptotic rate, and a
slope read there may be anything: close to α = 1 a run would have to last longer than anyone can wait. On the
right, α = 0.65 and 0.7 show that the average needs still more than that: what t times its risk lacks in its
limit fades like t^−(1−α), not exponentially.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ratelab.experiments.evidence import window
from ratelab.experiments.regime import SETTLED
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import Claim, exponent
from ratelab.paper_figures.house.style import AVERAGE, LAST, new_figure
from ratelab.paper_figures.house.table import Table
from ratelab.problems.noise import Gaussian
from ratelab.problems.problem import exact_risk
from ratelab.problems.quadratic import Quadratic
from ratelab.problems.spectra import LogUniform
from ratelab.theory import rates
from ratelab.theory.arrays import Array, record_times
from ratelab.theory.averaging import Last, Uniform
from ratelab.theory.schedules import InversePower, multipliers

ABOUT = About(
    title="The exponent of the risk against that of the steps",
    group="Papers",
    source="Bach and Moulines 2011, their rates for strongly convex functions",
    link="https://papers.nips.cc/paper/2011/hash/40008b9a5380fcacce3976bf7c08af5b-Abstract.html",
    topics=("rates", "averaging", "decay"),
    seconds=(2, 2),
)

SETTINGS = ((2.0, 1.5), (10.0, 1.0))
"""Condition number, C in units of 1/L (L = 1)."""

AVERAGINGS = (("last iterate", Last()), ("average", Uniform()))
HORIZON = 10**6
ALPHAS = np.linspace(0, 1, 21)


@dataclass(frozen=True)
class Exponents:
    """Measured and predicted exponents and half-widths, shape (settings, averagings, alphas).

    settled (settings, alphas): whether μ Σ η has reached 5 at the start of the window.
    margin: half of what a factor log t would shift a slope by.
    """

    measured: Array
    drift: Array
    predicted: Array
    settled: NDArray[np.bool_]
    margin: float

    def worst(self, setting: int, averaging: int, settled: bool = True) -> float:
        """The largest distance of measured from predicted, among the settled (or the premature) ones."""
        off = np.abs(self.measured - self.predicted)[setting, averaging]
        return float(off[self.settled[setting] == settled].max())


def data(full: bool = False, report: Report = quiet) -> Exponents:
    """Every α in both settings; one size."""
    times = record_times(HORIZON, 121)[1:]
    shape = len(SETTINGS), len(AVERAGINGS), len(ALPHAS)
    measured, drift, predicted = np.empty(shape), np.empty(shape), np.empty(shape)
    settled = np.empty((len(SETTINGS), len(ALPHAS)), dtype=bool)
    margin = np.nan
    for done, (i, j) in enumerate(np.ndindex(settled.shape)):
        kappa, lr = SETTINGS[i]
        problem = Quadratic(LogUniform(dim=10, condition_number=kappa), noise=Gaussian(1.0))
        mu, alpha = problem.constants.mu, float(ALPHAS[j])
        s = multipliers(InversePower(alpha), HORIZON)[None]
        mixings = [averaging(s[0])[None] for _, averaging in AVERAGINGS]
        risk = exact_risk(problem, s, np.array([lr]), mixings, times)
        settled[i, j] = mu * lr * np.cumsum(s)[times - 1][window(times)][0] >= SETTLED
        for a, predict in enumerate((rates.quadratic_last, rates.quadratic_averaged)):
            fit = exponent(times, risk[0, 0, a])
            measured[i, a, j], drift[i, a, j], margin = fit.exponent, fit.drift, fit.margin
            predicted[i, a, j] = predict(alpha, 2 * mu * lr).power
        report(done + 1, settled.size)
    return Exponents(measured, drift, predicted, settled, margin)


COLUMNS = ("condition_number", "lr", "averaging", "alpha", "measured", "drift", "predicted", "settled")


def rows(d: Exponents) -> Iterator[tuple[object, ...]]:
    """One row per exponent; `settled` is 1 or 0."""
    for i, a, j in np.ndindex(d.measured.shape):
        numbers = (float(v[i, a, j]) for v in (d.measured, d.drift, d.predicted))
        yield *SETTINGS[i], AVERAGINGS[a][0], float(ALPHAS[j]), *numbers, int(d.settled[i, j])


STYLES: dict[str, tuple[str, str, Any]] = {
    "last iterate": (LAST, "o", "-"),
    "average": (AVERAGE, "s", (0, (5, 1.5))),
}


def draw(table: Table) -> Figure:
    """The two settings side by side."""
    figure = new_figure(2.9)
    axes = figure.subplots(1, 2, sharey=True)
    for panel, ((kappa, lr), part) in zip(axes, table.groups("condition_number", "lr"), strict=True):
        for averaging, points in part.groups("averaging"):
            colour, marker, dash = STYLES[averaging]
            alpha, measured, settled = points["alpha"], points["measured"], points["settled"] == 1
            line = points["predicted"]
            half = 0.035 if marker == "o" else 0.02
            panel.plot(alpha[:-1], line[:-1], color=colour, ls=dash, zorder=1)
            panel.plot([1 - half, 1 + half], 2 * [line[-1]], color=colour, zorder=1)
            panel.errorbar(alpha, measured, points["drift"], fmt="none", ecolor=colour, zorder=2)
            for face, chosen in ((colour, settled), ("white", ~settled)):
                panel.plot(alpha[chosen], measured[chosen], marker, color=colour, mfc=face, mew=0.8, zorder=3)
        panel.set(xlabel=r"exponent $\alpha$ of the steps $C\,t^{-\alpha}$")
        panel.set(xlim=(-0.03, 1.04), ylim=(-0.06, 1.35), yticks=[0, 0.25, 0.5, 0.75, 1, 1.25])
        panel.set_title(rf"$\kappa = {kappa:g}$, $C = {lr:g}/L$, $2\mu C = {2 * lr / kappa:g}$")
    axes[0].set_ylabel("exponent of the risk")
    figure.legend(handles=_legend(), loc="outside lower center", ncols=2)
    return figure


def _legend() -> list[Artist]:
    points = [
        Line2D([], [], color=colour, ls=dash, marker=marker, label=f"{name}: line predicted, marker measured")
        for name, (colour, marker, dash) in STYLES.items()
    ]
    early = r"open: too early, $\mu\sum\eta < 5$"
    bar = "bar: what the window has not settled"
    return [
        *points,
        Line2D([], [], color="0.4", ls="", marker="o", mfc="white", mew=0.8, label=early),
        Line2D([], [], color="0.4", ls="", marker="|", ms=8, label=bar),
    ]


_MARGIN = 0.0438
_SOURCE = "Bach and Moulines 2011; within half of what a factor log t would shift the slope"


def _sentence(setting: int, a: int, when: str) -> str:
    kappa, lr = SETTINGS[setting]
    return f"{AVERAGINGS[a][0]}, κ = {kappa:g}, C = {lr:g}/L, {when}: largest |measured − predicted| exponent"


def _measure(setting: int, a: int, settled: bool = True) -> Callable[[Exponents], float]:
    return partial(Exponents.worst, setting=setting, averaging=a, settled=settled)


CLAIMS: tuple[Claim[Exponents], ...] = (
    *(
        Claim(_sentence(i, a, "not too early"), _SOURCE, _measure(i, a), 0.0, _MARGIN)
        for i, a in ((0, 0), (0, 1), (1, 0))
    ),
    Claim(
        _sentence(1, 1, "not too early"),
        "a belief: μ Σ η ≥ 5 is enough for the average too",
        _measure(1, 1),
        0.0,
        _MARGIN,
        expect="refuted",
        finding="t times the average's risk approaches its limit like t^-(1-α): at α = 0.7 that still shows",
    ),
    Claim(
        "the tolerance of these claims is that of the verdicts",
        "ratelab.experiments.evidence.margin",
        lambda d: d.margin,
        _MARGIN,
        1e-4,
    ),
    *(
        Claim(
            _sentence(1, a, "too early"),
            "a slope read too early may be anything; number chosen here",
            _measure(1, a, settled=False),
            0.1,
            relation="at_least",
        )
        for a in range(2)
    ),
)
