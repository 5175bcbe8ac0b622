r"""Stochastic weight averaging: the mean of the cycles' ends against the last one, exactly and on a network.

Izmailov et al. (2018) decay the step over most of the budget, here 75 %, then go on with cyclical or constant
steps (top left, in units of the first) and average the models at the ends of cycles. Top middle: exact
expected risk on a quadratic (dimension 20, eigenvalues log-uniform from 1 to 1/100, noise covariance
C = 0.01 H, first step 1/L, cycles of 50 updates) against the number k of averaged models. The average falls
like 1/k, the last model stays where its step keeps it. Dotted: the average of all n = 50 k iterates with
constant steps, whose risk times n tends to tr(H⁻¹C)/2 (Polyak and Juditsky 1992). To take cycles' ends alone
costs a factor 2 with constant steps, and 1.4 with cyclical ones, whose low ends average by themselves.

Top right: the independent models that k averaged ones are worth, over k: the risk of one over k times that of
the average. In flat directions neighbours are correlated, by (1 − ηλ)^50 with constant steps, so k models are
worth 0.77 k; and 0.61 k with cyclical steps, which move less. Circles: the same by the variance of the mean
of an autoregression from its steady state, in which the cyclical one doesn't start. So cyclical models are
better ones and constant steps explore more, as the paper says; the cyclical average is the better here.

Bottom: a perceptron with 256 hidden units on Fashion-MNIST, momentum 0.9, cycles of one epoch: test error,
training loss, and the error of the average over the last model's. Lines: mean over seeds; bands: its 95 %
interval. The average of a few models errs less than the last of them, with constant steps by more than with
cyclical ones; its training loss lies below that of conventional training (cosine), not above.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ratelab.experiments.estimates import MIN_SEEDS, Estimate, ratio_estimate
from ratelab.experiments.store import Curve
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import Claim, mean_interval
from ratelab.paper_figures.house.studies import study
from ratelab.paper_figures.house.style import look, new_figure, slope_triangle
from ratelab.paper_figures.house.table import Table
from ratelab.problems.noise import Gaussian
from ratelab.problems.problem import exact_risk
from ratelab.problems.quadratic import Quadratic
from ratelab.problems.spectra import LogUniform
from ratelab.theory.affine import fold, update
from ratelab.theory.arrays import Array
from ratelab.theory.averaging import Last, StochasticWeightAveraging, Tail
from ratelab.theory.combine import Scaled, Then
from ratelab.theory.cycles import Sawtooth
from ratelab.theory.schedules import Constant, Cosine, Linear, Schedule, multipliers

ABOUT = About(
    title="Stochastic weight averaging",
    group="Papers",
    source="Izmailov, Podoprikhin, Garipov, Vetrov and Wilson 2018",
    link="https://arxiv.org/abs/1803.05407",
    topics=("averaging", "cycles", "networks"),
    seconds=(70, 1300),
    data=("fashion_mnist",),
)

NAMES = ("cosine", "cyclical", "constant")
START = 0.75
"""Where averaging starts, in parts of the budget."""

CYCLE, CYCLES, SD = 50, 400, 0.1
QUADRATIC = Quadratic(LogUniform(dim=20, condition_number=100.0), noise=Gaussian(SD, "hessian"))
HORIZON = 4 * CYCLE * CYCLES


def schedules(cycle: int) -> tuple[Schedule, ...]:
    """Those of examples/swa.toml, for a cycle of so many updates."""
    return (
        Cosine(),
        Then(Linear(final=0.5), second=Scaled(Sawtooth(cycle, final=0.02), factor=0.5), at=START),
        Then(Linear(final=0.25), second=Scaled(Constant(), factor=0.25), at=START),
    )


CURVES = ((2, "last"), (1, "last"), (1, "average"), (2, "average"), (0, "last"))
"""Of the network, what is shown: the number of the schedule, and which model."""


@dataclass(frozen=True)
class Averaged:
    """Schedules are cosine, cyclical, constant; the last two are averaged.

    risk (schedules, [last, cycles' ends, every iterate], K + 1): of k = 0 … K averaged models, exact
    steps (schedules, points), errors and losses (seeds, epochs + 1, CURVES): the network's
    predicted (2, K): what averages of k models are worth by the law of a cycle
    excess (2,): by that law, the risk of an average of very many over tr(H⁻¹C)/2n
    limit: tr(H⁻¹C)/2
    """

    risk: Array
    predicted: Array
    excess: Array
    limit: float
    steps: Array
    errors: Array
    losses: Array

    def worth_of(self, schedule: int) -> Array:
        """The risk of one model over that of the average of k, (K,)."""
        return self.risk[schedule, 0, 1:] / self.risk[schedule, 1, 1:]


def exact() -> Array:
    """The risk on the quadratic at the ends of cycles."""
    steps = np.stack([multipliers(schedule, HORIZON) for schedule in schedules(CYCLE)])
    averagings = (Last(), StochasticWeightAveraging(START, cycle=CYCLE), Tail(START))
    mixings = [np.stack([averaging(row) for row in steps]) for averaging in averagings]
    ends = round(START * HORIZON) + CYCLE * np.arange(CYCLES + 1)
    risk = exact_risk(QUADRATIC, steps, np.array([1.0]), mixings, ends)
    return risk[:, 0]


def law_of_cycles() -> tuple[Array, Array]:
    """What averages of k = 1 … K models are worth, and the risk of very many over tr(H⁻¹C)/2n.

    Ends of cycles are x' = a x + w, E w² = q in every direction: variance v = q/(1 − a²), correlation a^j.
    """
    lam, noise, k = QUADRATIC.eigenvalues, QUADRATIC.law.noise, np.arange(1, CYCLES + 1)
    predicted, excess = [], []
    for schedule in schedules(CYCLE)[1:]:
        cycle = fold(update(multipliers(schedule, HORIZON)[-CYCLE:, None], lam, noise))
        a, q = cycle.matrix[:, 0, 0], cycle.covariance[:, 0, 0]
        v, many = q / (1 - a**2), q / (1 - a) ** 2
        mean = (
            v * ((1 + a) / (1 - a) - 2 * a * (1 - a ** k[:, None]) / (k[:, None] * (1 - a) ** 2)) / k[:, None]
        )
        predicted.append((lam @ v) / (mean @ lam))
        excess.append((lam @ many) * CYCLE / np.sum(noise / lam))
    return np.array(predicted), np.array(excess)


def data(full: bool = False, report: Report = quiet) -> Averaged:
    """The quadratic exactly, and the study of examples/swa.toml."""
    results = study("swa", full, report)
    spec = results.spec
    (problem,), (method,), (lr,), (horizon,) = spec.problems, spec.methods, spec.lr, spec.horizons
    cycle = spec.record_every or 1
    assert spec.schedules == schedules(cycle)
    averagings = dict(zip(("last", "average"), spec.averagings, strict=True))
    curves = [Curve(problem, method, spec.schedules[i], averagings[a], lr, horizon) for i, a in CURVES]
    errors, losses = (
        np.stack([results.runs(curve, quantity).to_numpy() for curve in curves], axis=-1)
        for quantity in ("test_error", "train_loss")
    )
    steps = np.stack([multipliers(s, horizon) for s in schedules(cycle)])
    predicted, excess = law_of_cycles()
    noise, lam = QUADRATIC.law.noise, QUADRATIC.eigenvalues
    return Averaged(
        risk=exact(),
        predicted=predicted,
        excess=excess,
        limit=float(np.sum(noise / lam) / 2),
        steps=steps[:, np.linspace(0, horizon - 1, 24 * horizon // cycle + 1).astype(int)],
        errors=errors,
        losses=losses,
    )


COLUMNS = ("panel", "phase", "schedule", "averaging", "x", "y", "low", "high")


def rows(d: Averaged) -> Iterator[tuple[object, ...]]:
    """x is epochs or the number of averaged models, y is what the panel says."""
    nan, epochs = float("nan"), d.errors.shape[1] - 1
    k = np.unique(np.geomspace(1, CYCLES, 40).astype(int))
    texts = [(name, repr(_phase(i))) for i, name in enumerate(NAMES)]
    for text, steps in zip(texts, d.steps.tolist(), strict=True):
        for i, step in enumerate(steps):
            yield "steps", *text, "", epochs * i / (len(steps) - 1), step, nan, nan
    for i, (a, averaging) in product((1, 2), enumerate(("last", "average", "every iterate"))):
        if (i, a) != (1, 2):
            for count, risk in zip(k.tolist(), d.risk[i, a, k].tolist(), strict=True):
                yield "risk", *texts[i], averaging, count, risk, nan, nan
    yield "risk", *texts[0], "last", 1, float(d.risk[0, 0, -1]), nan, nan
    for i in (1, 2):
        worth = d.worth_of(i) / np.arange(1, CYCLES + 1)
        law_worth = d.predicted[i - 1] / np.arange(1, CYCLES + 1)
        for count, ours, law in zip(
            k.tolist(), worth[k - 1].tolist(), law_worth[k - 1].tolist(), strict=True
        ):
            yield "worth", *texts[i], "average", count, ours, nan, nan
            yield "worth", *texts[i], "law", count, law, nan, nan
    start = round(START * epochs)
    for panel, values in (("error", 100 * d.errors), ("loss", d.losses)):
        for c, (i, averaging) in enumerate(CURVES):
            first = start + 1 if averaging == "average" else start - max(2, epochs // 8)
            yield from _runs((panel, *texts[i], averaging), first, values[:, first:, c])
    for i in (1, 2):
        for count in range(1, epochs - start + 1):
            ratio = _ratio(d.errors[:, start + count], (i, "average"), (i, "last"))
            yield "ratio", *texts[i], "average", count, ratio.value, ratio.low, ratio.high


def _phase(schedule: int) -> Schedule:
    """What the schedule does while models are averaged."""
    whole = schedules(CYCLE)[schedule]
    return whole.second if isinstance(whole, Then) else whole


def _runs(head: tuple[str, ...], first: int, runs: Array) -> Iterator[tuple[object, ...]]:
    low, high = mean_interval(runs)
    for k, line in enumerate(np.stack([runs.mean(axis=0), low, high], axis=-1).tolist()):
        yield *head, first + k, *line


def _ratio(ends: Array, above: tuple[int, str], below: tuple[int, str]) -> Estimate:
    """Of two of the CURVES, seed by seed; `ends` (seeds, CURVES)."""
    a, b = ends[:, CURVES.index(above)], ends[:, CURVES.index(below)]
    return ratio_estimate(a, b, paired=True, minimum=MIN_SEEDS)


def draw(table: Table) -> Figure:
    """The quadratic on top, the network below."""
    figure = new_figure(4.3)
    axes = figure.subplots(2, 3)
    for panel, name in zip(axes.flat, ("steps", "risk", "worth", "error", "loss", "ratio"), strict=True):
        for (schedule, averaging), line in table.where("panel", name).groups("schedule", "averaging"):
            style = {"color": look(schedule).colour} | STYLES[averaging]
            if name == "risk" and len(line) == 1:  # the end of cosine, to compare with
                panel.axhline(line.first("y"), **style)
                continue
            if not np.isnan(line["low"]).any():
                panel.fill_between(
                    line["x"], line["low"], line["high"], color=style["color"], alpha=0.2, lw=0
                )
            panel.plot(line["x"], line["y"], **style)
    _label(axes)
    phases = table.where("panel", "steps").groups("phase", "schedule")
    handles: list[Artist] = [
        Line2D([], [], color=look(text).colour, label=f"{name} steps") for (name, text), _ in phases
    ]
    handles += [Line2D([], [], color="0.3", label=text, **STYLES[key]) for key, text in WORDS.items()]
    handles += [Patch(color="0.4", alpha=0.25, lw=0, label="band: 95 % interval over seeds")]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


STYLES: dict[str, dict[str, Any]] = {
    "": {},
    "last": {"linestyle": (0, (5, 1.5))},
    "average": {"linestyle": "-"},
    "every iterate": {"linestyle": (0, (1, 1))},
    "law": {"linestyle": "", "marker": "o", "markersize": 3, "markerfacecolor": "white", "markevery": 2},
}
WORDS = {
    "last": "last model",
    "average": "average of cycles' ends",
    "every iterate": "average of all iterates",
    "law": "by the law of a cycle",
}


def _label(axes: Any) -> None:
    for panel in (axes[0, 1], axes[0, 2]):
        panel.set(xscale="log", xlabel="averaged models $k$")
        panel.set_xticks([1, 10, 100], ["1", "10", "100"])
    axes[0, 1].set_yscale("log")
    slope_triangle(axes[0, 1], 30, 2e-5, -1.0, "$-1$", decades=0.6)
    axes[0, 2].set_ylim(0.5, 1.03)
    for panel in (axes[0, 0], axes[1, 0], axes[1, 1]):
        panel.set_xlabel("epochs")
    axes[1, 2].set_xlabel("averaged models $k$")
    axes[1, 2].axhline(1, color="0.6", lw=0.7)
    names = (
        "step",
        "risk on a quadratic",
        "models it is worth, over $k$",
        "test error, %",
        "training loss",
        "error over the last one's",
    )
    for panel, name in zip(axes.flat, names, strict=True):
        panel.set_title(name)
    for panel in axes[1]:
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))


_PAPER = "Izmailov et al. 2018"


def _end(d: Averaged, above: tuple[int, int], below: tuple[int, int]) -> float:
    """The ratio of two risks at the end: (schedule, averaging) over (schedule, averaging)."""
    return float(d.risk[*above, -1] / d.risk[*below, -1])


def _explores(d: Averaged) -> Estimate:
    """The gain of averaging with constant steps over that with cyclical ones, seed by seed."""
    last, theirs, average_of_theirs, average, _ = d.errors[:, -1].T
    return ratio_estimate(average * theirs, last * average_of_theirs, paired=True, minimum=MIN_SEEDS)


CLAIMS: tuple[Claim[Averaged], ...] = (
    Claim(
        "the average errs less than the last model, constant steps: ratio of test errors",
        _PAPER,
        lambda d: _ratio(d.errors[:, -1], (2, "average"), (2, "last")),
        1.0,
        relation="at_most",
    ),
    Claim(
        "... cyclical steps: ratio of test errors",
        _PAPER,
        lambda d: _ratio(d.errors[:, -1], (1, "average"), (1, "last")),
        1.0,
        relation="at_most",
    ),
    Claim(
        "the cyclical average and conventional training with the same budget are within 2 %: ratio of errors",
        "examples/swa.toml; the paper's average is better",
        lambda d: _ratio(d.errors[:, -1], (1, "average"), (0, "last")),
        1.0,
        0.02,
    ),
    Claim(
        "individual models are more accurate with cyclical than with constant steps: ratio of test errors",
        _PAPER,
        lambda d: _ratio(d.errors[:, -1], (1, "last"), (2, "last")),
        1.0,
        relation="at_most",
    ),
    Claim(
        "... on the quadratic, exactly: ratio of risks",
        "derived here: steady states of the law of a cycle",
        lambda d: _end(d, (1, 0), (2, 0)),
        0.5302,
        0.001,
    ),
    Claim(
        "constant steps explore more efficiently: gain of averaging over that with cyclical steps",
        _PAPER,
        _explores,
        1.0,
        relation="at_most",
    ),
    Claim(
        "... on the quadratic, exactly: models that 400 are worth, constant over cyclical steps",
        "derived here: 309 over 243.7 by the law of a cycle",
        lambda d: float(d.worth_of(2)[-1] / d.worth_of(1)[-1]),
        309 / 243.7,
        0.002,
    ),
    Claim(
        "the training loss of the average is often slightly worse than SGD's: cyclical average over cosine",
        _PAPER,
        lambda d: _ratio(d.losses[:, -1], (1, "average"), (0, "last")),
        1.0,
        relation="at_least",
        expect="refuted",
        finding="on this perceptron it is a few per cent better",
    ),
    Claim(
        "averaging k models divides the risk by k: models that 400 are worth, constant steps",
        "if they were independent",
        lambda d: float(d.worth_of(2)[-1]),
        400.0,
        4.0,
        expect="refuted",
        finding="neighbours are correlated in flat directions: 400 are worth 309, or 243 with cyclical steps",
    ),
    Claim(
        "... over what the law of a cycle says, constant steps",
        "derived here: variance of the mean of an autoregression",
        lambda d: float(d.worth_of(2)[-1] / d.predicted[1, -1]),
        1.0,
        0.01,
    ),
    Claim(
        "... over what the law of a cycle says, cyclical steps",
        "derived here: variance of the mean of an autoregression",
        lambda d: float(d.worth_of(1)[-1] / d.predicted[0, -1]),
        1.0,
        0.01,
    ),
    Claim(
        "average of every iterate: n times its risk, over tr(H^-1 C)/2",
        "Polyak and Juditsky 1992",
        lambda d: float(CYCLE * CYCLES * d.risk[2, 2, -1] / d.limit),
        1.0,
        0.02,
    ),
    Claim(
        "of cycles' ends over every iterate's, constant steps: ratio to what the law of a cycle says",
        "derived here",
        lambda d: _end(d, (2, 1), (2, 2)) / float(d.excess[1]),
        1.0,
        0.02,
    ),
    Claim(
        "the cyclical average is the better one on the quadratic: ratio of risks over that of the law",
        "derived here",
        lambda d: _end(d, (1, 1), (2, 1)) / float(d.excess[0] / d.excess[1]),
        1.0,
        0.02,
    ),
)
