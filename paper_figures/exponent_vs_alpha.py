"""Measured against predicted: the exponent of the risk when steps fall like t^−α, as α goes from 0 to 1.

SGD on quadratics of dimension 10 with log-uniform eigenvalues and N(0, 1) gradient noise, exact risk after up
to 10⁶ updates. The exponent is minus the slope over the last two decades, its bar what the window has not
settled (half the difference of the slopes of its halves). Lines: the prediction, α for the last iterate and 1
for the average; at α = 1 (dashes) both are min(1, 2μC), C the constant of the step. Left: condition number 2,
C = 1.5/L. Right: condition number 10, C = 1/L.

Open markers: μ Σ η is below 5 where the window starts, so it is too early for the asymptotic rate, and a
slope read there is off by up to a half. On the right the average needs still more than that (α = 0.65 and
0.7): what t times its risk lacks in its limit fades like t^−(1−α), not exponentially.
"""

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from ratelab.experiments.judging.evidence import window
from ratelab.experiments.judging.regime import SETTLED
from ratelab.experiments.sources import Source
from ratelab.experiments.spec import Claim
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import claim, exponent, ours
from ratelab.paper_figures.house.style import ITERATES, Look, new_figure
from ratelab.paper_figures.house.table import Table, table_of
from ratelab.problems.noise import Gaussian
from ratelab.problems.quadratic import Quadratic
from ratelab.problems.spectra import LogUniform
from ratelab.theory import moments, rates
from ratelab.theory.arrays import record_times
from ratelab.theory.averaging import Last, Uniform
from ratelab.theory.schedules import InversePower, multipliers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ABOUT = About(
    title="The exponent of the risk against that of the steps",
    group="Papers",
    source="Bach and Moulines 2011, their rates for strongly convex functions",
    link="https://papers.nips.cc/paper/2011/hash/40008b9a5380fcacce3976bf7c08af5b-Abstract.html",
    topics=("rates", "averaging", "decay"),
    seconds=(2, 2),
)

NARROW, WIDE = SETTINGS = ((2.0, 1.5), (10.0, 1.0))
"""Condition number, C in units of 1/L (L = 1)."""

HORIZON = 10**6
ALPHAS = np.linspace(0, 1, 21).tolist()
PREDICTED = {"last iterate": rates.quadratic_last, "average": rates.quadratic_averaged}


def data(full: bool = False, report: Report = quiet) -> Table:
    """A line per setting, α and averaging; one size.

    settled: 1 where μ Σ η has reached 5 at the start of the window, else 0.
    """
    times, lines = record_times(HORIZON, 121)[1:], []
    for (kappa, lr), alpha in product(SETTINGS, ALPHAS):
        problem = Quadratic(LogUniform(dim=10, condition_number=kappa), noise=Gaussian(1.0))
        s = multipliers(InversePower(alpha), HORIZON)
        mixings = [averaging(s)[None] for averaging in (Last(), Uniform())]
        risks = moments.exact_risk(problem.law, s[None], np.array([lr]), mixings, times)[0, 0]
        settled = lr / kappa * s[: times[window(times)][0]].sum() >= SETTLED
        for (averaging, rate), risk in zip(PREDICTED.items(), risks, strict=True):
            fit, predicted = exponent(times, risk), rate(alpha, 2 * lr / kappa).power
            at = {"condition_number": kappa, "lr": lr, "averaging": averaging, "alpha": alpha}
            found = {"measured": fit.exponent, "drift": fit.drift, "predicted": predicted}
            lines.append({**at, **found, "settled": int(settled)})
        report(len(lines), len(SETTINGS) * len(ALPHAS) * len(PREDICTED))
    return table_of(lines)


def draw(table: Table) -> Figure:
    """The two settings side by side."""
    figure = new_figure(2.9)
    panels = figure.subplots(1, 2, sharey=True)
    for panel, ((kappa, lr), part) in zip(panels, table.groups("condition_number", "lr"), strict=True):
        for averaging, points in part.groups("averaging"):
            _points(panel, points, ITERATES[averaging])
        panel.set(xlabel=r"exponent $\alpha$ of the steps $C\,t^{-\alpha}$")
        panel.set(xlim=(-0.03, 1.04), ylim=(-0.06, 1.35), yticks=[0, 0.25, 0.5, 0.75, 1, 1.25])
        panel.set_title(rf"$\kappa = {kappa:g}$, $C = {lr:g}/L$, $2\mu C = {2 * lr / kappa:g}$")
    panels[0].set_ylabel("exponent of the risk")
    for name, face in ITERATES.items():
        says = f"{name}: line predicted, marker measured"
        panels[0].plot([], [], marker=face.marker, **face.line(), label=says)
    early, bar = r"open: too early, $\mu\sum\eta < 5$", "bar: what the window has not settled"
    panels[0].plot([], [], "o", color="0.4", mfc="white", mew=0.8, label=early)
    panels[0].plot([], [], "|", color="0.4", ms=8, label=bar)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _points(panel: "Axes", points: Table, face: Look) -> None:
    alpha, measured, predicted = points["alpha"], points["measured"], points["predicted"]
    settled, colour, marker = points["settled"] == 1, face.colour, face.marker
    half = 0.035 if marker == "o" else 0.02
    panel.plot(alpha[:-1], predicted[:-1], **face.line(), zorder=1)
    panel.plot([1 - half, 1 + half], 2 * [predicted[-1]], color=colour, zorder=1)
    panel.errorbar(alpha, measured, points["drift"], fmt="none", ecolor=colour, zorder=2)
    for fill, chosen in ((colour, settled), ("white", ~settled)):
        panel.plot(alpha[chosen], measured[chosen], marker, color=colour, mfc=fill, mew=0.8, zorder=3)


_SOURCE = Source(
    "Bach and Moulines 2011",
    "theorems 1 and 3",
    "this setting",
    "second hand",
    "upper bounds",
    setting="quadratics with bounded noise are among their functions",
)
_BELIEF = ours("a belief: μ Σ η ≥ 5 is enough for the average too")
_EARLY = ours("a slope read too early may be anything; number seen here")
_WITHIN = "0 ± 0.0438"
"""Half of what a factor log t would shift a slope by at 10⁶ updates (experiments.judging.evidence)."""


def _off(
    averaging: str,
    at: tuple[float, float],
    source: Source,
    printed: str,
    early: bool = False,
    refuted: str = "",
) -> Claim:
    """The largest distance of measured from predicted, among those that are settled, or too `early`."""
    kappa, lr = at

    def largest(table: Table) -> float:
        chosen = table.where("condition_number", kappa).where("averaging", averaging)
        points = chosen.where("settled", int(not early))
        return float(np.abs(points["measured"] - points["predicted"]).max())

    when = "too early" if early else "not too early"
    sentence = f"{averaging}, κ = {kappa:g}, C = {lr:g}/L, {when}: largest |measured − predicted| exponent"
    return claim(sentence, source, largest, printed, refuted=refuted)


CLAIMS = (
    _off("last iterate", NARROW, _SOURCE, _WITHIN),
    _off("average", NARROW, _SOURCE, _WITHIN),
    _off("last iterate", WIDE, _SOURCE, _WITHIN),
    _off(
        "average",
        WIDE,
        _BELIEF,
        _WITHIN,
        refuted="t times the average's risk approaches its limit like t^-(1-α): at α = 0.7 that still shows",
    ),
    _off("last iterate", WIDE, _EARLY, "0.5 ± 0.1", early=True),
    _off("average", WIDE, _EARLY, "0.5 ± 0.1", early=True),
)
