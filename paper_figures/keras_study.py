r"""Four Keras schedules on Fashion-MNIST: validation loss and accuracy, and the rates that they are made of.

B. Chen's study, at its size: 8,000 images, an MLP 300-100-10, batch 64, 100 epochs from a rate of 0.01; the
2,000 images kept for validation are drawn by seed here, where the notebook keeps the last. Mean over
twelve seeds, with the 95 % interval of the mean as a band; diamonds: what the notebook prints after its one
run.

Top left: the rates of the epochs. The text has time-based decay as lr/(1 + 10⁻⁴ epoch), which is hardly a
decay; its code hands that rule the rate of the epoch before, so that it compounds and ends at 0.61 of the
start. Neither makes a difference that twelve seeds show; that it ends 3 % above the constant rate's loss, as
the notebook's two runs have it, isn't so. Step and exponential decay do end above it, and stand still for
the second half. Bottom right says why: the same losses against the sum of the rates so far lie within a tenth
of one curve, and those of lower rates a little below it. The noise matters little here, so the sum is what
counts, and that of exponential decay, however long it is trained, is 0.01/(1 − e^−0.1), ten and a half epochs
at the full rate; that of step decay is twenty.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from ratelab.experiments.estimates import MIN_SEEDS, Estimate, mean_estimate, ratio_estimate
from ratelab.experiments.spec import Spec
from ratelab.experiments.store import Curve, Results
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import Claim, mean_interval
from ratelab.paper_figures.house.studies import study
from ratelab.paper_figures.house.style import looks, new_figure
from ratelab.paper_figures.house.table import Table
from ratelab.theory.arrays import Array, Integers
from ratelab.theory.schedules import Schedule, multipliers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ABOUT = About(
    title="Four Keras schedules, and the sum of their rates",
    group="Tutorials and trainers",
    source="B. Chen 2020, Learning Rate Schedule in Practice: an example with Keras and TensorFlow 2.0",
    link="https://github.com/BindiChen/machine-learning/tree/master/tensorflow2/006-learning-rate-schedules",
    topics=("networks", "decay"),
    seconds=(175, 175),
    data=("fashion_mnist",),
)

Measure: TypeAlias = Callable[["Runs"], Estimate]

CONSTANT, TIME_BASED, STEP, EXPONENTIAL, INTENDED = range(5)
NAMES = (
    "constant",
    "time-based, as the code has it",
    "step decay",
    "exponential decay",
    "time-based, as the text has it",
)
NOTEBOOK = ((0.4062, 0.8545), (0.4199, 0.8520), (0.4765, 0.8365), (0.5359, 0.8235))
"""Validation loss and accuracy in the last line that it prints for each."""


@dataclass(frozen=True)
class Runs:
    """Of each curve: its schedule's text, the rate of every epoch (5, T), and of every seed, at `epochs`
    (K,), validation loss and error (5, seeds, K)."""

    schedules: tuple[str, ...]
    epochs: Integers
    rates: Array
    loss: Array
    error: Array

    @property
    def spent(self) -> Array:
        """The sum of the rates up to the records, (5, K)."""
        sums = np.cumsum(self.rates, axis=1)
        return np.where(self.epochs > 0, sums[:, self.epochs - 1], 0.0)


def data(full: bool = False, report: Report = quiet) -> Runs:
    """Both studies; they have no form but the full one."""
    printed = study("keras_study_as_printed", report=lambda done, total: report(done, 2 * total))

    def later(done: float, total: int) -> None:
        report(total + done, 2 * total)

    intended = study("keras_study_as_intended", report=later, change=_time_based)
    curves = [(results, s) for results in (printed, intended) for s in results.spec.schedules]
    read = [_read(results, schedule) for results, schedule in curves]
    epochs, rates, loss, error = zip(*read, strict=True)
    texts = tuple(repr(schedule) for _, schedule in curves)
    return Runs(texts, epochs[0], np.array(rates), np.array(loss), np.array(error))


def _time_based(spec: Spec) -> Spec:
    """The constant rate is the same in both studies."""
    return replace(spec, schedules=spec.schedules[1:], claims=())


def _read(results: Results, schedule: object) -> tuple[Integers, Array, Array, Array]:
    """Epochs, rates, validation losses and errors of a schedule of a study."""
    spec = results.spec
    assert isinstance(schedule, Schedule)
    averaging, lr = spec.averagings[0], spec.lr[0]
    curve = Curve(spec.problems[0], spec.methods[0], schedule, averaging, lr, spec.longest)
    loss, error = (results.runs(curve, quantity) for quantity in ("validation_loss", "validation_error"))
    return loss["t"].values, lr * multipliers(schedule, spec.longest), loss.values, error.values


COLUMNS = ("schedule", "curve", "quantity", "epoch", "rate_sum", "value", "low", "high")


def rows(d: Runs) -> Iterator[tuple[object, ...]]:
    """Rates by epoch, then mean and interval at the records, then what the notebook prints."""
    nothing = float("nan")
    for k, key in enumerate(zip(d.schedules, NAMES, strict=True)):
        for epoch, rate in enumerate(d.rates[k].tolist()):
            yield *key, "rate", epoch, nothing, rate, nothing, nothing
        for quantity, runs in (("loss", d.loss[k]), ("accuracy", 1 - d.error[k])):
            columns = d.epochs, d.spent[k], runs.mean(axis=0), *mean_interval(runs)
            for line in zip(*(column.tolist() for column in columns), strict=True):
                yield *key, quantity, *line
    for key, printed in zip(zip(d.schedules, NAMES, strict=True), NOTEBOOK, strict=False):
        for quantity, value in zip(("loss", "accuracy"), printed, strict=True):
            yield *key, f"printed {quantity}", d.rates.shape[1], nothing, value, nothing, nothing


def draw(table: Table) -> Figure:
    """Rates and loss above; accuracy, and loss against the sum of the rates, below."""
    figure = new_figure(4.2)
    panels = figure.subplots(2, 2)
    (rate, loss), (accuracy, against) = panels
    for style, (name, curve) in zip(looks(table.values("schedule")), table.groups("curve"), strict=True):
        steps = curve.where("quantity", "rate")
        rate.plot(steps["epoch"] + 1, steps["value"], label=name, **style.line())
        for panel, quantity in ((loss, "loss"), (accuracy, "accuracy")):
            _draw_runs(panel, curve.where("quantity", quantity), "epoch", style.line())
            seen = curve.where("quantity", f"printed {quantity}")
            panel.plot(seen["epoch"], seen["value"], "D", ms=3.5, mfc="white", mec=style.colour, zorder=4)
        _draw_runs(against, curve.where("quantity", "loss"), "rate_sum", style.line())
    rate.set(ylabel="learning rate", yscale="log", ylim=(3e-7, 2e-2))
    for panel in (loss, against):
        panel.set(ylabel="validation loss", yscale="log", ylim=(0.38, 1.15), yticks=(0.4, 0.5, 0.6, 0.8, 1))
        panel.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        panel.yaxis.set_minor_formatter(NullFormatter())
    accuracy.set(ylabel="validation accuracy", ylim=(0.74, 0.88))
    for panel in (rate, loss, accuracy):
        panel.set(xlabel="epoch", xlim=(0, 103))
    against.set(xlabel="sum of the rates so far", xscale="log", xlim=(0.018, 1.1))
    against.set(xticks=(0.02, 0.05, 0.1, 0.2, 0.5, 1))
    against.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    against.xaxis.set_minor_formatter(NullFormatter())
    rate.plot([], [], "D", ms=3.5, mfc="white", mec="0.2", label="the notebook's last line")
    rate.fill_between([], [], [], color="0.75", lw=0, label="band: 95 % interval of the mean")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def _draw_runs(panel: "Axes", curve: Table, x: str, style: dict[str, Any]) -> None:
    panel.fill_between(curve[x], curve["low"], curve["high"], color=style["color"], alpha=0.2, lw=0)
    panel.plot(curve[x], curve["value"], **style)


def _accuracy(curve: int) -> Measure:
    return lambda d: mean_estimate(1 - d.error[curve, :, -1], minimum=MIN_SEEDS)


def _above_constant(curve: int) -> Measure:
    """Ratio of the last validation losses."""
    return lambda d: ratio_estimate(
        d.loss[curve, :, -1], d.loss[CONSTANT, :, -1], paired=True, minimum=MIN_SEEDS
    )


def _second_half(curve: int) -> Measure:
    """The last validation loss against that of epoch 48."""
    return lambda d: ratio_estimate(
        d.loss[curve, :, -1], d.loss[curve, :, d.epochs.searchsorted(48)], paired=True, minimum=MIN_SEEDS
    )


def _at_the_same_sum(curve: int) -> Measure:
    """The last validation loss against the constant rate's where the sum of its rates was as large."""

    def measure(d: Runs) -> Estimate:
        sums, total = d.spent[CONSTANT, 1:], d.spent[curve, -1]
        there = [np.interp(np.log(total), np.log(sums), loss[1:]) for loss in d.loss[CONSTANT]]
        return ratio_estimate(d.loss[curve, :, -1], there, paired=True, minimum=MIN_SEEDS)

    return measure


_SUM = "derived here: with little noise the sum of the rates is what counts"
_NOTEBOOK = "the notebook's last line, one run"
_IMAGES = 2 * (0.85 * 0.15 / 2000) ** 0.5
"""Two standard errors of an accuracy of 0.85 on 2,000 images: theirs are others than ours."""


def _ends(name: str, curve: int) -> Claim[Runs]:
    printed = NOTEBOOK[curve][1]
    return Claim(f"{name}: the last validation accuracy", _NOTEBOOK, _accuracy(curve), printed, _IMAGES)


CLAIMS: tuple[Claim[Runs], ...] = (
    _ends("constant", CONSTANT),
    _ends("time-based", TIME_BASED),
    _ends("step decay", STEP),
    _ends("exponential decay", EXPONENTIAL),
    Claim(
        "time-based decay ends 2 % and more above the constant rate's validation loss",
        "the notebook: 0.4199 against 0.4062, one run each",
        _above_constant(TIME_BASED),
        1.02,
        relation="at_least",
        expect="refuted",
        finding="no difference: two runs of one schedule differ by more than that",
    ),
    Claim(
        "step decay ends a tenth and more above it",
        "the notebook: 0.4765 against 0.4062, one run each",
        _above_constant(STEP),
        1.1,
        relation="at_least",
    ),
    Claim(
        "exponential decay ends a quarter and more above it",
        "the notebook: 0.5359 against 0.4062, one run each",
        _above_constant(EXPONENTIAL),
        1.25,
        relation="at_least",
    ),
    Claim(
        "exponential decay stands still for the second half: last loss against that of epoch 48",
        "the notebook: 0.5359 against 0.5368",
        _second_half(EXPONENTIAL),
        1.0,
        tolerance=0.005,
    ),
    Claim(
        "exponential decay ends within a tenth of where the constant rate is at the same sum of rates",
        _SUM,
        _at_the_same_sum(EXPONENTIAL),
        1.0,
        tolerance=0.1,
    ),
    Claim(
        "step decay ends within a tenth of where the constant rate is at the same sum of rates",
        _SUM,
        _at_the_same_sum(STEP),
        1.0,
        tolerance=0.1,
    ),
    Claim(
        "and below rather than above it, because at lower rates there is less noise",
        "derived here",
        _at_the_same_sum(STEP),
        1.0,
        relation="at_most",
    ),
    Claim(
        "the sum of all rates of exponential decay, in epochs at the full rate",
        "derived here: 1/(1 - exp(-0.1)), a geometric series that 100 epochs exhaust",
        lambda d: float(d.spent[EXPONENTIAL, -1] / d.rates[EXPONENTIAL, 0]),
        1 / (1 - np.exp(-0.1)),
        tolerance=1e-3,
    ),
    Claim(
        "time-based: the rate of epoch 100",
        "the notebook: 0.006105673 printed",
        lambda d: float(d.rates[TIME_BASED, 99]),
        0.006105673,
        tolerance=0.51e-8,
    ),
    Claim(
        "time-based: the rate of epoch 100 is lr/(1 + 1e-4 epoch)",
        "the article's formula",
        lambda d: float(d.rates[TIME_BASED, 99]),
        0.01 / (1 + 99e-4),
        tolerance=1e-6,
        expect="refuted",
        finding="0.0061: Keras hands the rule the rate of the epoch before, and the rule divides that",
    ),
    Claim(
        "exponential decay: the rate of epoch 100",
        "the notebook: 5.017468e-07 printed",
        lambda d: float(d.rates[EXPONENTIAL, 99]),
        5.017468e-07,
        tolerance=0.51e-12,
    ),
)
