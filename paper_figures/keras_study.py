r"""Four Keras schedules on Fashion-MNIST: validation loss and accuracy, and the rates that they are made of.

B. Chen's study, at its size: 8,000 images, an MLP 300-100-10, batch 64, 100 epochs from a rate of 0.01; the
2,000 images kept for validation are drawn by seed here, where the notebook keeps the last. Mean over
twelve seeds, with the 95 % interval of the mean as a band; diamonds: what the notebook prints after its one
run.

Top left: the rates of the epochs. Read as lr₀/(1 + 10⁻⁴ epoch), time-based decay is hardly a decay; the code
hands that rule the rate of the epoch before, so that it compounds and ends at 0.61 of the start. With neither
does the loss end further than 2 % from the constant rate's; the notebook's two runs are 3 % apart. Step and
exponential decay end at 1.16 and 1.33 times it, and exponential decay stands still for the second half.
Bottom right: the same losses against the sum of the rates so far. Those of step and exponential decay end
within a tenth of where the constant rate is at the same sum, and below it. The sum of exponential decay,
however long it is trained, is below 0.01/(1 − e^−0.1), ten and a half epochs at the full rate; that of step
decay is below 10/(1 − 1/2), twenty.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ratelab.experiments.sources import Source
from ratelab.experiments.spec import Claim, Measure, Spec
from ratelab.paper_figures.house.about import About, Report, portion, quiet
from ratelab.paper_figures.house.claims import OfSeeds, claim, ours, paired
from ratelab.paper_figures.house.studies import quoted, study, tidy
from ratelab.paper_figures.house.style import band, looks, new_figure, plain_numbers
from ratelab.paper_figures.house.table import Table, lines_of, table_of
from ratelab.theory.arrays import Array
from ratelab.theory.schedules import Schedule, multipliers

ABOUT = About(
    title="Four Keras schedules, and the sum of their rates",
    group="Tutorials and trainers",
    source="B. Chen 2020, Learning Rate Schedule in Practice: an example with Keras and TensorFlow 2.0",
    link="https://github.com/BindiChen/machine-learning/tree/master/tensorflow2/006-learning-rate-schedules",
    topics=("networks", "decay"),
    seconds=(175, 175),
    data=("fashion_mnist",),
)

CODE, TEXT = "as printed", "as intended"
NOTEBOOK = {
    "constant": (0.4062, 0.8545),
    "time-based": (0.4199, 0.8520),
    "step decay": (0.4765, 0.8365),
    "exponential decay": (0.5359, 0.8235),
}
"""Of each schedule, the validation loss and accuracy in the last line that the notebook prints."""
CONSTANT, TIME_BASED, STEP, EXPONENTIAL = NOTEBOOK


def data(full: bool = False, report: Report = quiet) -> Table:
    """Both studies, which have no form but the full one: the rate of every epoch t, and the runs."""
    printed = study("keras_study_as_printed", report=portion(report, 0, 0.5))
    intended = study("keras_study_as_intended", report=portion(report, 0.5, 1), change=_time_based)
    kept = ("validation_loss", "validation_error")
    return table_of(
        line
        for form, results in ((CODE, printed), (TEXT, intended))
        for line in [*_rates(results.spec, form), *tidy(results, kept, what="runs", form=form)]
    )


def _time_based(spec: Spec) -> Spec:
    """The constant rate is the same in both studies."""
    return replace(spec, schedules=spec.schedules[1:], claims=())


def _rates(spec: Spec, form: str) -> Iterator[dict[str, object]]:
    for schedule in spec.schedules:
        assert isinstance(schedule, Schedule)
        head = {"what": "rate", "form": form, "schedule": repr(schedule), "label": spec.label(schedule)}
        rates = spec.lr[0] * multipliers(schedule, spec.longest)
        yield from lines_of(head, {"t": np.arange(1, len(rates) + 1), "rate": rates})


def draw(table: Table) -> Figure:
    """Rates and loss above; accuracy, and loss against the sum of the rates, below."""
    figure = new_figure(4.2)
    (rate, loss), (accuracy, against) = figure.subplots(2, 2)
    curves = table.groups("form", "label")
    for face, ((form, label), curve) in zip(looks(table.values("schedule")), curves, strict=True):
        steps, runs = curve.where("what", "rate"), curve.where("what", "runs")
        whose = {CODE: ", as the code has it", TEXT: ", from the first rate"}[form]
        name = label + whose if label == TIME_BASED else label
        rate.plot(steps["t"], steps["rate"], label=name, **face.line())
        epochs, losses = runs.runs("validation_loss")
        _, errors = runs.runs("validation_error")
        band(loss, epochs, losses, face, alpha=0.2)
        band(accuracy, epochs, 1 - errors, face, alpha=0.2)
        band(against, spent(curve), losses, face, alpha=0.2)
        if form == CODE:
            for panel, printed in zip((loss, accuracy), NOTEBOOK[label], strict=True):
                panel.plot(epochs[-1], printed, "D", ms=3.5, mfc="white", mec=face.colour, zorder=4)
    rate.set(ylabel="learning rate", yscale="log", ylim=(3e-7, 2e-2))
    for panel in (loss, against):
        panel.set(ylabel="validation loss", yscale="log", ylim=(0.38, 1.15), yticks=(0.4, 0.5, 0.6, 0.8, 1))
    accuracy.set(ylabel="validation accuracy", ylim=(0.74, 0.88))
    for panel in (rate, loss, accuracy):
        panel.set(xlabel="epoch", xlim=(0, 103))
    against.set(xlabel="sum of the rates so far", xscale="log", xlim=(0.018, 1.1))
    against.set(xticks=(0.02, 0.05, 0.1, 0.2, 0.5, 1))
    for axis in (loss.yaxis, against.yaxis, against.xaxis):
        plain_numbers(axis)
    rate.plot([], [], "D", ms=3.5, mfc="white", mec="0.2", label="the notebook's last line")
    rate.fill_between([], [], [], color="0.75", lw=0, label="band: 95 % interval of the mean")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def spent(curve: Table) -> NDArray[Any]:
    """The sum of a curve's rates up to each record."""
    epochs, _ = curve.where("what", "runs").runs("validation_loss")
    sums = np.append(0.0, np.cumsum(curve.where("what", "rate")["rate"]))
    return np.asarray(sums[epochs.astype(int)])


def _curve(d: Table, label: str) -> Table:
    """As the code has it."""
    return d.where("form", CODE).where("label", label)


def _at(quantity: str, label: str, epoch: int = 100) -> OfSeeds:
    return lambda d: _curve(d, label).where("what", "runs").where("t", epoch)[quantity]


def _above_constant(label: str) -> Measure:
    """Ratio of the last validation losses."""
    return paired(_at("validation_loss", label), _at("validation_loss", CONSTANT))


def _at_the_same_sum(label: str) -> Measure:
    """The last validation loss against the constant rate's where the sum of its rates was as large."""

    def constant(d: Table) -> Array:
        sums, total = spent(_curve(d, CONSTANT)), spent(_curve(d, label))[-1]
        _, losses = _curve(d, CONSTANT).where("what", "runs").runs("validation_loss")
        return np.array([np.interp(np.log(total), np.log(sums[1:]), loss[1:]) for loss in losses])

    return paired(_at("validation_loss", label), constant)


def _used(d: Table, label: str) -> Array:
    """The rates."""
    return _curve(d, label).where("what", "rate")["rate"]


_FILE = "learning-rate-schedules.ipynb, cell"
_PRINTED = Source(
    "B. Chen, notebook",
    f"{_FILE} 29",
    "this setting",
    "full text",
    words="one run",
    setting="its network, data, batch, rates and epochs; another 2,000 images are kept",
)
_ASKED = ours("asked here: with little noise the sum of the rates is what counts")


def _quoted(sentence: str) -> Claim:
    return quoted("keras_study_as_printed", sentence, form=CODE, what="runs")


def _from_the_first_rate(d: Table) -> Array:
    """The last loss of time-based decay as intended."""
    runs = d.where("form", TEXT).where("label", TIME_BASED).where("what", "runs")
    return runs.where("t", 100)["validation_loss"]


CLAIMS = (
    *(
        _quoted(f"{label}: the last validation error (accuracy {accuracy:.4f})")
        for label, (_, accuracy) in NOTEBOOK.items()
    ),
    _quoted("time-based decay ends 2 % and more above the constant rate's validation loss"),
    claim(
        "from the first rate, time-based decay ends within 2 % of the constant rate's validation loss",
        ours("lr in the notebook's rule read as the first rate"),
        paired(_from_the_first_rate, _at("validation_loss", CONSTANT)),
        "1 ± 0.02",
    ),
    claim(
        "step decay ends at 1.17 times the constant rate's validation loss, 0.4765 over 0.4062",
        _PRINTED.at(f"{_FILE}s 15 and 24", _PRINTED.words),
        _above_constant(STEP),
        f"{0.4765 / 0.4062} ± 0.05",
    ),
    _quoted("exponential decay ends at 1.32 times the constant rate's validation loss, 0.5359 over 0.4062"),
    claim(
        "exponential decay stands still for the second half: last loss against that of epoch 48",
        _PRINTED,
        paired(_at("validation_loss", EXPONENTIAL), _at("validation_loss", EXPONENTIAL, epoch=48)),
        f"{0.5359 / 0.5368} ± 0.002",
    ),
    claim(
        "exponential decay ends within a tenth of where the constant rate is at the same sum of rates",
        _ASKED,
        _at_the_same_sum(EXPONENTIAL),
        "1 ± 0.1",
    ),
    claim(
        "step decay ends within a tenth of where the constant rate is at the same sum of rates",
        _ASKED,
        _at_the_same_sum(STEP),
        "1 ± 0.1",
    ),
    claim("... and below it", _ASKED, _at_the_same_sum(STEP), "at most 1"),
    claim("... as exponential decay does", _ASKED, _at_the_same_sum(EXPONENTIAL), "at most 1"),
    claim(
        "the sum of all rates of exponential decay, in epochs at the full rate: 1/(1 - exp(-0.1))",
        ours("a geometric series that 100 epochs exhaust"),
        lambda d: float(_used(d, EXPONENTIAL).sum() / _used(d, EXPONENTIAL)[0]),
        f"{1 / (1 - math.exp(-0.1))} ± 1e-3",
    ),
    claim(
        "time-based: the rate of epoch 100",
        _PRINTED.at(f"{_FILE} 19"),
        lambda d: float(_used(d, TIME_BASED)[99]),
        "0.006105673 ± 0.51e-8",
    ),
    claim(
        "time-based: the rate of epoch 100 is lr0/(1 + 1e-4 epoch)",
        ours("lr in the notebook's rule read as the first rate"),
        lambda d: float(_used(d, TIME_BASED)[99]),
        f"{0.01 / (1 + 99e-4)} ± 1e-6",
        refuted="0.0061: Keras hands the rule the rate of the epoch before, and the rule divides that",
    ),
    claim(
        "exponential decay: the rate of epoch 100",
        _PRINTED.at(f"{_FILE} 29"),
        lambda d: float(_used(d, EXPONENTIAL)[99]),
        "5.017468e-07 ± 0.51e-12",
    ),
)
