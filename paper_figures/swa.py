r"""Stochastic weight averaging: the mean of the cycles' ends against the last one, exactly and on a network.

Izmailov et al. (2018) decay the step over most of the budget, here 75 %, then go on with cyclical or constant
steps (top left, in units of the first) and average the models at the ends of cycles. Top middle: exact
expected risk on a quadratic (dimension 20, eigenvalues log-uniform from 1 to 1/100, noise covariance C = 0.01
H, first step 1/L, cycles of 50 updates) against the number k of averaged models, of the average and of the
last model. Dotted: the average of all n = 50 k iterates with constant steps, whose risk times n tends to
tr(H⁻¹C)/2 (Polyak and Juditsky 1992). Cycles' ends alone have 2.0 times its risk with constant steps, and 1.4
times with cyclical ones.

Top right: the independent models that k averaged ones are worth, over k: the risk of one over k times that of
the average. Neighbours are correlated, by (1 − ηλ)^50 with constant steps, so 400 models are worth 0.77 times
as many. Circles: the same by the variance of the mean of an autoregression from its steady state. So cyclical
models are better ones and constant steps explore more, as the paper says of networks; the cyclical average is
the better here.

Bottom: a perceptron with 256 hidden units on Fashion-MNIST, momentum 0.9, cycles of one epoch: test error,
training loss, and the error of the average over the last model's. Lines: mean over seeds; bands: its 95 %
interval. At the end the average errs less than the last model, with constant steps by more than with cyclical
ones; with these its training loss lies below that of conventional training (cosine), where the paper often
finds it slightly above on its networks.
"""

import math
from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ratelab.experiments.judging.estimates import MIN_SEEDS, ratio_estimate
from ratelab.experiments.sources import Source
from ratelab.experiments.spec import Measure
from ratelab.experiments.store import Results
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import OfSeeds, claim, ours, paired
from ratelab.paper_figures.house.studies import quoted, study, tidy
from ratelab.paper_figures.house.style import look, mean_interval, new_figure, slope_triangle
from ratelab.paper_figures.house.table import Table, lines_of, table_of
from ratelab.problems.noise import Gaussian
from ratelab.problems.problem import exact_risk
from ratelab.problems.quadratic import Quadratic
from ratelab.problems.spectra import LogUniform
from ratelab.theory.affine import fold, update
from ratelab.theory.arrays import Array
from ratelab.theory.averaging import Averaging, Last, StochasticWeightAveraging, Tail
from ratelab.theory.combine import Scaled, Then
from ratelab.theory.cycles import Sawtooth
from ratelab.theory.schedules import Constant, Cosine, Linear, Schedule, multipliers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ABOUT = About(
    title="Stochastic weight averaging",
    group="Papers",
    source="Izmailov, Podoprikhin, Garipov, Vetrov and Wilson 2018",
    link="https://arxiv.org/abs/1803.05407",
    topics=("averaging", "cycles", "networks"),
    seconds=(70, 1300),
    data=("fashion_mnist",),
)

COSINE, CYCLICAL, CONSTANT = "cosine", "cyclical", "constant"
LAST, AVERAGE, EVERY = "last", "average", "every iterate"
START = 0.75
"""Where averaging starts, in parts of the budget."""

CYCLE, CYCLES, SD = 50, 400, 0.1
QUADRATIC = Quadratic(LogUniform(dim=20, condition_number=100.0), noise=Gaussian(SD, "hessian"))
HORIZON = 4 * CYCLE * CYCLES


def schedules(cycle: int) -> dict[str, Schedule]:
    """Those of examples/swa.toml, for a cycle of so many updates."""
    return {
        COSINE: Cosine(),
        CYCLICAL: Then(Linear(final=0.5), second=Scaled(Sawtooth(cycle, final=0.02), factor=0.5), at=START),
        CONSTANT: Then(Linear(final=0.25), second=Scaled(Constant(), factor=0.25), at=START),
    }


def exact() -> dict[tuple[str, str], Array]:
    """Of every schedule and averaging, the risk on the quadratic after k = 0 … K cycles."""
    steps = np.stack([multipliers(schedule, HORIZON) for schedule in schedules(CYCLE).values()])
    averagings: dict[str, Averaging] = {
        LAST: Last(),
        AVERAGE: StochasticWeightAveraging(START, cycle=CYCLE),
        EVERY: Tail(START),
    }
    mixings = [np.stack([averaging(row) for row in steps]) for averaging in averagings.values()]
    ends = round(START * HORIZON) + CYCLE * np.arange(CYCLES + 1)
    risk = exact_risk(QUADRATIC, steps, np.array([1.0]), mixings, ends)
    return dict(zip(product(schedules(CYCLE), averagings), risk[:, 0].reshape(-1, CYCLES + 1), strict=True))


def law_of_cycle(schedule: Schedule) -> tuple[Array, float]:
    """What averages of k = 1 … K models are worth (K,), and n = 50 k times their risk as k grows.

    Ends of cycles are x' = a x + w, E w² = q in every direction: variance v = q/(1 − a²), correlation a^j.
    """
    lam, noise, k = QUADRATIC.eigenvalues, QUADRATIC.law.noise, np.arange(1, CYCLES + 1)
    cycle = fold(update(multipliers(schedule, HORIZON)[-CYCLE:, None], lam, noise))
    a, q = cycle.matrix[:, 0, 0], cycle.covariance[:, 0, 0]
    v = q / (1 - a**2)
    mean = v * ((1 + a) / (1 - a) - 2 * a * (1 - a ** k[:, None]) / (k[:, None] * (1 - a) ** 2)) / k[:, None]
    return (lam @ v) / (mean @ lam), CYCLE * float(lam @ (q / (1 - a) ** 2)) / 2


def data(full: bool = False, report: Report = quiet) -> Table:
    """The network's steps, the quadratic exactly, the study of examples/swa.toml, and its ratios of errors.

    x is epochs or the number k of averaged models, y is what the panel says, law what it should be.
    """
    results = study("swa", full, report)
    runs = network(results)
    return table_of([*steps(results), *quadratic(), *runs, *ratios(table_of(runs))])


def head(what: str, label: str, averaging: str) -> dict[str, object]:
    """What a line is about; its schedule is what goes on while models are averaged."""
    whole = schedules(CYCLE)[label]
    phase = whole.second if isinstance(whole, Then) else whole
    return {"what": what, "label": label, "schedule": repr(phase), "averaging": averaging}


def steps(results: Results) -> Iterator[dict[str, object]]:
    """The network's, in units of the first."""
    horizon, cycle = results.spec.longest, results.spec.record_every or 1
    epochs = np.linspace(0, horizon // cycle, 24 * horizon // cycle + 1)
    shown = np.linspace(0, horizon - 1, len(epochs)).astype(int)
    for label, schedule in schedules(cycle).items():
        yield from lines_of(
            head("step", label, ""), {"x": epochs, "y": multipliers(schedule, horizon)[shown]}
        )


def quadratic() -> Iterator[dict[str, object]]:
    """Risks, with what they come to for large k, and what averages are worth, over k."""
    risk, k = exact(), np.unique(np.geomspace(1, CYCLES, 40).astype(int))
    worth, many = {}, {(CONSTANT, EVERY): float(np.sum(QUADRATIC.law.noise / QUADRATIC.eigenvalues)) / 2}
    for label in (CYCLICAL, CONSTANT):
        worth[label], many[label, AVERAGE] = law_of_cycle(schedules(CYCLE)[label])
    for curve in product((CYCLICAL, CONSTANT), (LAST, AVERAGE, EVERY)):
        if curve != (CYCLICAL, EVERY):
            law = many.get(curve, math.nan) / (CYCLE * k)
            yield from lines_of(head("risk", *curve), {"x": k, "y": risk[curve][k], "law": law})
    yield head("risk", COSINE, LAST) | {"x": 1, "y": risk[COSINE, LAST][-1]}
    for label, law in worth.items():
        y = risk[label, LAST][k] / risk[label, AVERAGE][k] / k
        yield from lines_of(head("worth", label, AVERAGE), {"x": k, "y": y, "law": law[k - 1] / k})


def network(results: Results) -> list[dict[str, object]]:
    """The study's runs."""
    spec = results.spec
    assert spec.schedules == tuple(schedules(spec.record_every or 1).values())
    return tidy(results, ("test_error", "train_loss"), what="runs")


def ratios(runs: Table) -> Iterator[dict[str, object]]:
    """The error of the average of k models over that of the last."""
    for label in (CYCLICAL, CONSTANT):
        (_, last), (_, average) = (
            runs.where("label", label).where("averaging", averaging).runs("test_error")
            for averaging in (LAST, AVERAGE)
        )
        start = round(START * (last.shape[1] - 1))
        for k, (above, below) in enumerate(zip(average.T[start:], last.T[start:], strict=True)):
            if k > 0:
                ratio = ratio_estimate(above, below, paired=True, minimum=MIN_SEEDS)
                found = {"x": k, "y": ratio.value, "low": ratio.low, "high": ratio.high}
                yield head("ratio", label, AVERAGE) | found


def draw(table: Table) -> Figure:
    """The quadratic on top, the network below."""
    figure = new_figure(4.3)
    axes = figure.subplots(2, 3)
    step, risk, worth, error, loss, ratio = axes.flat
    phases = table.where("what", "step").groups("label", "schedule")
    colours = {label: look(schedule).colour for (label, schedule), _ in phases}
    for panel, what in ((step, "step"), (risk, "risk"), (worth, "worth"), (ratio, "ratio")):
        for (label, averaging), line in table.where("what", what).groups("label", "averaging"):
            style = {"color": colours[label]} | STYLES[averaging]
            if len(line) == 1:  # the end of cosine, to compare with
                panel.axhline(line.first("y"), **style)
                continue
            if what == "ratio":
                panel.fill_between(
                    line["x"], line["low"], line["high"], color=colours[label], alpha=0.2, lw=0
                )
            panel.plot(line["x"], line["y"], **style)
            if what == "worth":
                panel.plot(line["x"], line["law"], **style | STYLES["law"])
    runs = table.where("what", "runs")
    for label, averaging in SHOWN:
        curve = runs.where("label", label).where("averaging", averaging)
        style = {"color": colours[label]} | STYLES[averaging]
        draw_runs(error, curve, "test_error", 100, style)
        draw_runs(loss, curve, "train_loss", 1, style)
    _label(axes)
    handles: list[Artist] = [
        Line2D([], [], color=colour, label=f"{label} steps") for label, colour in colours.items()
    ]
    handles += [Line2D([], [], color="0.3", label=text, **STYLES[key]) for key, text in WORDS.items()]
    handles += [Patch(color="0.4", alpha=0.25, lw=0, label="band: 95 % interval over seeds")]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def draw_runs(panel: "Axes", curve: Table, quantity: str, unit: float, style: dict[str, Any]) -> None:
    """From shortly before the models are averaged on; there is a record at the end of every epoch."""
    t, runs = curve.runs(quantity)
    start = round(START * (len(t) - 1))
    first = start + 1 if curve.first("averaging") == AVERAGE else start - max(2, (len(t) - 1) // 8)
    epochs, shown = np.arange(len(t))[first:], unit * runs[:, first:]
    panel.fill_between(epochs, *mean_interval(shown), color=style["color"], alpha=0.2, lw=0)
    panel.plot(epochs, shown.mean(axis=0), **style)


SHOWN = ((CONSTANT, LAST), (CYCLICAL, LAST), (CYCLICAL, AVERAGE), (CONSTANT, AVERAGE), (COSINE, LAST))
"""Of the network, steps and which model."""

STYLES: dict[str, dict[str, Any]] = {
    "": {},
    LAST: {"linestyle": (0, (5, 1.5))},
    AVERAGE: {"linestyle": "-"},
    EVERY: {"linestyle": (0, (1, 1))},
    "law": {"linestyle": "", "marker": "o", "markersize": 3, "markerfacecolor": "white", "markevery": 2},
}
WORDS = {
    LAST: "last model",
    AVERAGE: "average of cycles' ends",
    EVERY: "average of all iterates",
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


def _curve(d: Table, what: str, label: str, averaging: str) -> Table:
    return d.where("what", what).where("label", label).where("averaging", averaging)


def _end(label: str, averaging: str, quantity: str = "test_error") -> OfSeeds:
    """Of the network."""
    return lambda d: _curve(d, "runs", label, averaging).runs(quantity)[1][:, -1]


def _errors(above: tuple[str, str], below: tuple[str, str]) -> Measure:
    """The ratio of two test errors: (schedule, averaging) over (schedule, averaging)."""
    return paired(_end(*above), _end(*below))


def _exact(d: Table, what: str, label: str, averaging: str, column: str = "y") -> float:
    """What the quadratic comes to."""
    return float(_curve(d, what, label, averaging)[column][-1])


def _over_law(d: Table, what: str, label: str, averaging: str) -> float:
    return _exact(d, what, label, averaging) / _exact(d, what, label, averaging, "law")


def _risks(above: tuple[str, str], below: tuple[str, str]) -> Measure:
    """The ratio of two risks on the quadratic, of 400 models or of as many cycles' iterates."""
    return lambda d: _exact(d, "risk", *above) / _exact(d, "risk", *below)


_PAPER = Source("Izmailov et al. 2018", "section 3.1", "another setting", "second hand")
_JUDITSKY = Source(
    "Polyak and Juditsky 1992",
    "theorem 1",
    "this setting",
    "second hand",
    setting="a linear problem, steps constant while averaged",
)
_ASKED, _LAW = ours("asked here"), ours("variance of the mean of an autoregression")

CLAIMS = (
    quoted(
        "swa", "the average errs less than the last model, constant steps: ratio of test errors", what="runs"
    ),
    quoted("swa", "... cyclical steps: ratio of test errors", what="runs"),
    quoted(
        "swa",
        "the cyclical average and conventional training with the same budget are within 2 %: ratio of errors",
        what="runs",
    ),
    claim(
        "individual models are more accurate with cyclical than with constant steps: ratio of test errors",
        _PAPER,
        _errors((CYCLICAL, LAST), (CONSTANT, LAST)),
        "at most 1",
    ),
    claim(
        "... on the quadratic, exactly: ratio of risks",
        _LAW,
        _risks((CYCLICAL, LAST), (CONSTANT, LAST)),
        "0.5302 ± 0.001",
    ),
    claim(
        "constant steps explore more efficiently: gain of averaging over that with cyclical steps",
        _PAPER,
        paired(
            lambda d: _end(CONSTANT, AVERAGE)(d) * _end(CYCLICAL, LAST)(d),
            lambda d: _end(CONSTANT, LAST)(d) * _end(CYCLICAL, AVERAGE)(d),
        ),
        "at most 1",
    ),
    claim(
        "... on the quadratic, exactly: models that 400 are worth, constant over cyclical steps",
        _LAW,
        lambda d: _exact(d, "worth", CONSTANT, AVERAGE) / _exact(d, "worth", CYCLICAL, AVERAGE),
        f"{309 / 243.7} ± 0.002",
    ),
    claim(
        "the training loss of the average is slightly worse than SGD's: cyclical average over cosine",
        _PAPER.at("section 1", "often"),
        paired(_end(CYCLICAL, AVERAGE, "train_loss"), _end(COSINE, LAST, "train_loss")),
        "at least 1",
        refuted="on this perceptron it is a few per cent better",
    ),
    claim(
        "averaging k models divides the risk by k: models that 400 are worth, constant steps",
        ours("were they independent"),
        lambda d: CYCLES * _exact(d, "worth", CONSTANT, AVERAGE),
        "400 ± 4",
        refuted="neighbours are correlated: 400 are worth 309, or 243 with cyclical steps",
    ),
    claim(
        "... over what the law of a cycle says, constant steps",
        _LAW,
        lambda d: _over_law(d, "worth", CONSTANT, AVERAGE),
        "1 ± 0.01",
    ),
    claim(
        "... over what the law of a cycle says, cyclical steps",
        _LAW,
        lambda d: _over_law(d, "worth", CYCLICAL, AVERAGE),
        "1 ± 0.01",
    ),
    claim(
        "average of every iterate: n times its risk, over tr(H^-1 C)/2",
        _JUDITSKY,
        lambda d: _over_law(d, "risk", CONSTANT, EVERY),
        "1 ± 0.02",
    ),
    claim(
        "of cycles' ends over every iterate's, constant steps: ratio of risks",
        _LAW,
        _risks((CONSTANT, AVERAGE), (CONSTANT, EVERY)),
        "2.01 ± 0.05",
    ),
    claim(
        "of cycles' ends, cyclical steps, over every iterate's, constant steps: ratio of risks",
        _LAW,
        _risks((CYCLICAL, AVERAGE), (CONSTANT, EVERY)),
        "1.36 ± 0.05",
    ),
    claim(
        "the cyclical average is the better one on the quadratic: ratio of risks",
        _ASKED,
        _risks((CYCLICAL, AVERAGE), (CONSTANT, AVERAGE)),
        "at most 0.7",
    ),
)
