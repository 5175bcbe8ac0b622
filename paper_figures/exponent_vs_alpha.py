"""Measured against predicted: the exponent of the risk when steps fall like t^−α, as α goes from 0 to 1.

SGD on quadratics of dimension 10 with N(0, 1) gradient noise, exact risk after up to 10⁶ updates; the
exponent is the slope over the last two decades, its bar what the window has not settled (half the
difference of the slopes of its halves). Lines: the prediction, α for the last iterate and 1 for the
average; at α = 1 (bars) both are min(1, 2μC), C the constant of the step. Left: condition number 2, C =
1.5/L. Right: condition number 10, C = 1/L. Open markers: μ Σ η is below 5 where the window starts, so it is
too early for the asymptotic rate, and a slope read there may be anything: close to α = 1 a run would have
to last longer than anyone can wait. On the right, α = 0.65 and 0.7 show that the average needs still more
than that.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from experiments import evidence
from experiments.evidence import Status
from paper_figures import _style
from paper_figures._claims import Claim, exponent
from problems.noise import Gaussian
from problems.problem import exact_risk
from problems.quadratic import Quadratic
from problems.spectra import LogUniform
from theory import rates
from theory.arrays import Array, record_times
from theory.averaging import Last, Uniform
from theory.schedules import InversePower, multipliers

SETTINGS = ((2.0, 1.5), (10.0, 1.0))
"""Condition number, C in units of 1/L (L = 1)."""

AVERAGINGS = (Last(), Uniform())
_NAMES = ("last iterate", "average")
_COLOURS = (_style.LAST, _style.AVERAGE)
_MARKERS = "os"


@dataclass(frozen=True)
class Exponents:
    """Measured and predicted exponents and half-widths, shape (settings, averagings, alphas).

    settled (settings, alphas): whether μ Σ η has reached 5 at the start of the window.
    margin: half of what a factor log t would shift a slope by.
    """

    alphas: Array
    measured: Array
    drift: Array
    predicted: Array
    settled: NDArray[np.bool_]
    margin: float

    def worst(self, setting: int, averaging: int, settled: bool = True) -> float:
        """The largest distance of measured from predicted, among the settled (or the premature) ones."""
        chosen = self.settled[setting] == settled
        off = np.abs(self.measured - self.predicted)[setting, averaging]
        return float(off[chosen].max())


def data(horizon: int = 10**6, count: int = 21) -> Exponents:
    """`count` exponents α from 0 to 1, both settings."""
    alphas, times = np.linspace(0, 1, count), record_times(horizon, 121)[1:]
    shape = len(SETTINGS), len(AVERAGINGS), count
    measured, drift, predicted = np.empty(shape), np.empty(shape), np.empty(shape)
    settled = np.empty((len(SETTINGS), count), dtype=bool)
    margin = 0.0
    for i, (kappa, lr) in enumerate(SETTINGS):
        problem = Quadratic(LogUniform(dim=10, condition_number=kappa), noise=Gaussian(1.0))
        mu = problem.strong_convexity
        for j, alpha in enumerate(alphas.tolist()):
            s = multipliers(InversePower(alpha), horizon)[None]
            risk = exact_risk(
                problem, s, np.array([lr]), [averaging(s[0])[None] for averaging in AVERAGINGS], times
            )
            assert risk is not None
            settled[i, j] = evidence.regime(mu, times, lr * np.cumsum(s)[times - 1]) is None
            for a, predict in enumerate((rates.quadratic_last, rates.quadratic_averaged)):
                fit = exponent(times, risk[0, 0, a])
                measured[i, a, j], drift[i, a, j], margin = fit.exponent, fit.drift, fit.margin
                predicted[i, a, j] = predict(alpha, 2 * mu * lr).power
    return Exponents(alphas, measured, drift, predicted, settled, margin)


def draw(d: Exponents) -> Figure:
    """The two settings side by side."""
    with _style.paper():
        figure = _style.figure(_style.FULL, 2.9)
        axes = figure.subplots(1, 2, sharey=True)
        for i, ((kappa, lr), panel) in enumerate(zip(SETTINGS, axes, strict=True)):
            for a in range(len(AVERAGINGS)):
                colour, marker = _COLOURS[a], _MARKERS[a]
                panel.plot(
                    d.alphas[:-1], d.predicted[i, a, :-1], color=colour, lw=0.9, ls=_DASHES[a], zorder=1
                )
                panel.plot(1, d.predicted[i, a, -1], "_", color=colour, ms=12 - 5 * a, mew=0.9, zorder=1)
                panel.errorbar(
                    d.alphas, d.measured[i, a], d.drift[i, a], fmt="none", ecolor=colour, lw=0.7, zorder=2
                )
                for face, chosen in ((colour, d.settled[i]), ("white", ~d.settled[i])):
                    points = d.alphas[chosen], d.measured[i, a, chosen]
                    panel.plot(*points, marker, color=colour, mfc=face, mew=0.8, zorder=3)
            panel.set(
                xlabel=r"exponent $\alpha$ of the steps $C\,t^{-\alpha}$",
                xlim=(-0.03, 1.04),
                ylim=(-0.06, 1.35),
            )
            panel.set_title(rf"$\kappa = {kappa:g}$, $C = {lr:g}/L$, $2\mu C = {2 * lr / kappa:g}$")
        axes[0].set_ylabel("exponent of the risk")
        figure.legend(handles=_legend(), loc="outside lower center", ncols=4)
    return figure


_DASHES = ("-", (0, (5, 1.5)))


def _legend() -> list[Artist]:
    points = [
        Line2D([], [], color=colour, ls=dash, marker=marker, label=f"{name}: predicted, measured")
        for name, colour, dash, marker in zip(_NAMES, _COLOURS, _DASHES, _MARKERS, strict=True)
    ]
    early = Line2D(
        [], [], color="0.4", ls="", marker="o", mfc="white", mew=0.8, label=r"too early: $\mu\sum\eta < 5$"
    )
    bar = Line2D([], [], color="0.4", ls="", marker="|", ms=8, label="unsettled by the window")
    return [*points, early, bar]


COLUMNS = ("condition_number", "lr", "averaging", "alpha", "measured", "drift", "predicted", "settled")


def rows(d: Exponents) -> Iterator[tuple[object, ...]]:
    """One row per exponent."""
    for i, a, j in np.ndindex(d.measured.shape):
        at = i, a, j
        numbers = (float(v[at]) for v in (d.measured, d.drift, d.predicted))
        yield *SETTINGS[i], repr(AVERAGINGS[a]), float(d.alphas[j]), *numbers, int(d.settled[i, j])


_MARGIN = 0.0438
_SOURCE = "Bach and Moulines 2011; within half of what a factor log t would shift the slope"


def _close(setting: int, a: int, belief: str = "") -> Claim[Exponents]:
    kappa, lr = SETTINGS[setting]
    sentence = (
        f"{_NAMES[a]}, κ = {kappa:g}, C = {lr:g}/L, not too early: largest |measured − predicted| exponent"
    )
    measure: Callable[[Exponents], float] = lambda d: d.worst(setting, a)  # noqa: E731
    expect: Status = "refuted" if belief else "supported"
    return Claim(sentence, belief or _SOURCE, measure, 0.0, _MARGIN, expect=expect)


CLAIMS: tuple[Claim[Exponents], ...] = (
    _close(0, 0),
    _close(0, 1),
    _close(1, 0),
    _close(1, 1, belief="a belief: μ Σ η ≥ 5 is enough for the average too"),
    Claim(
        "the tolerance of these claims is that of the verdicts",
        "evidence.margin",
        lambda d: d.margin,
        _MARGIN,
        1e-4,
    ),
    *(
        Claim[Exponents](
            f"{_NAMES[a]}, κ = 10, too early: largest |measured − predicted| exponent",
            "a slope read too early may be anything",
            partial(Exponents.worst, setting=1, averaging=a, settled=False),
            0.1,
            relation="at_least",
        )
        for a in range(2)
    ),
)
