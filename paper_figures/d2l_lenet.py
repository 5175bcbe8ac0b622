r"""LeNet on Fashion-MNIST under five schedules, as the book's code trains it and as its text has it.

Dive into Deep Learning 12.11: SGD, batch 256, 30 epochs, five seeds; the quick form takes 2,500 of the 60,000
images in batches of 128 and tests on 1,000, so that an epoch has 20 updates and not 235. Training loss and
test accuracy after every epoch: mean over the seeds, with the 95 % interval of the mean as a band. Left: at
the rates that the PyTorch code trains at, one epoch late and with a multistep that stands at 0.125 (figure
d2l_schedules). Right: at the rates of the text. Diamonds beside the accuracies on the left: what builds of
the book print at the end of single runs on 60,000 images, with which the full form's ends agree.

Warmup does not make the network converge better initially, in either form: after five epochs its training
loss is above that of the cosine without it, and it ends with the same accuracy. The square root policy does
not work quite a bit better than the constant rate; it begins at a third of that rate. It overfits less, as
the book says. Cosine ends smoother than the constant rate; on 60,000 images it also ends more accurate, on
2,500 five seeds can't tell. Nor can they tell in either form whether the halving of multistep, which starts
at 0.5 and loses a run of five there, makes a better solution.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator, NullFormatter

from ratelab.experiments.estimates import MIN_SEEDS, Estimate, mean_estimate, ratio_estimate
from ratelab.experiments.spec import Quantity
from ratelab.experiments.store import Curve, Results
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import Claim, mean_interval
from ratelab.paper_figures.house.studies import study
from ratelab.paper_figures.house.style import looks, new_figure
from ratelab.paper_figures.house.table import Table
from ratelab.problems.networks import LeNet
from ratelab.theory.arrays import Array, Integers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ABOUT = About(
    title="LeNet under five schedules",
    group="Dive into Deep Learning",
    source="Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 12.11",
    link="https://d2l.ai/chapter_optimization/lr-scheduler.html",
    topics=("networks", "warmup", "decay"),
    seconds=(90, 2000),
    data=("fashion_mnist",),
)

Measure: TypeAlias = Callable[[dict[str, "Runs"]], Estimate]

CONSTANT, ROOT, MULTISTEP, COSINE, WARMUP = range(5)
BOOK = ((0.877, 0.888, 0.891), (0.877, 0.883), (0.884, 0.890), (0.901, 0.898), (0.899,))
"""Test accuracies that builds of the book print, one run each."""

SETTLED = 10
"""Epoch from which the test error's wobble is measured."""


@dataclass(frozen=True)
class Runs:
    """Of a study: its schedules' texts and labels, the images trained on, and of every seed at `epochs`

    train_loss, train_error, test_error: (5, seeds, epochs)
    gap: test loss minus training loss, (5, seeds, epochs)
    wobble: mean |Δ log test error| from epoch to epoch, from epoch 10 on, (5, seeds)
    """

    schedules: tuple[str, ...]
    labels: tuple[str, ...]
    images: int
    epochs: Integers
    train_loss: Array
    train_error: Array
    test_error: Array
    gap: Array
    wobble: Array


def data(full: bool = False, report: Report = quiet) -> dict[str, Runs]:
    """Both studies, "as printed" and "as intended"."""
    printed = study("d2l_lenet_as_printed", full, lambda done, total: report(done, 2 * total))
    intended = study("d2l_lenet_as_intended", full, lambda done, total: report(total + done, 2 * total))
    return {"as printed": _read(printed), "as intended": _read(intended)}


def _read(results: Results) -> Runs:
    spec = results.spec
    (problem,), (method,), (averaging,), (lr,) = spec.problems, spec.methods, spec.averagings, spec.lr
    assert isinstance(problem, LeNet)
    curves = [Curve(problem, method, s, averaging, lr, spec.longest) for s in spec.schedules]

    def read(quantity: Quantity) -> Array:
        return np.array([results.runs(curve, quantity).values for curve in curves])

    train_loss, test_error = read("train_loss"), read("test_error")
    return Runs(
        schedules=tuple(repr(s) for s in spec.schedules),
        labels=tuple(spec.label(s) for s in spec.schedules),
        images=problem.data.rows or 60_000,
        epochs=results.runs(curves[0], "train_loss")["t"].values,
        train_loss=train_loss,
        train_error=read("train_error"),
        test_error=test_error,
        gap=read("test_loss") - train_loss,
        wobble=np.abs(np.diff(np.log(test_error[..., SETTLED:]))).mean(axis=-1),
    )


TITLES = {"as printed": "rates of the code", "as intended": "rates of the text"}
COLUMNS = ("study", "images", "schedule", "policy", "quantity", "epoch", "value", "low", "high")


def rows(found: dict[str, Runs]) -> Iterator[tuple[object, ...]]:
    """Mean and interval per study, policy and epoch, and the book's numbers.

    The schedule is the text's, also where the code trains at other rates: it gives the colour.
    """
    texts, nothing = found["as intended"].schedules, float("nan")
    for name, runs in found.items():
        for k, policy in enumerate(runs.labels):
            key = name, runs.images, texts[k], policy
            for quantity, values in (("loss", runs.train_loss[k]), ("accuracy", 1 - runs.test_error[k])):
                columns = runs.epochs, values.mean(axis=0), *mean_interval(values)
                for line in zip(*(column.tolist() for column in columns), strict=True):
                    yield *key, quantity, *line
            for printed in BOOK[k] if name == "as printed" else ():
                yield *key, "book", int(runs.epochs[-1]), printed, nothing, nothing


def draw(table: Table) -> Figure:
    """Loss above, accuracy below; a column per study."""
    figure = new_figure(4.2)
    panels = figure.subplots(2, 2, sharey="row", width_ratios=(34, 30))
    images = f"{table.first('images'):,.0f} images"
    for column, (form, curves) in zip(panels.T, table.groups("study"), strict=True):
        styles = looks(curves.values("schedule"))
        for k, (style, (policy, curve)) in enumerate(zip(styles, curves.groups("policy"), strict=True)):
            for panel, quantity in zip(column, ("loss", "accuracy"), strict=True):
                shown = curve.where("quantity", quantity)
                x, y = shown["epoch"], shown["value"]
                panel.fill_between(x, shown["low"], shown["high"], color=style.colour, alpha=0.13, lw=0)
                panel.plot(x, y, label=policy, **style.line())
            seen = curve.where("quantity", "book")["value"]
            column[1].plot(np.full(len(seen), 31.0 + 0.7 * k), seen, "D", ms=3, mfc="none", mec=style.colour)
        column[0].set_title(f"{TITLES[form]}, {images}")
        column[1].set_xlabel("epoch")
        for panel in column:
            panel.set(xlim=(0, 34.5 if form == "as printed" else 30.5), xticks=range(0, 31, 10))
    _set_scales(table, *panels[:, 0])
    last = panels[0, 1]
    last.fill_between([], [], [], color="0.75", lw=0, label="band: 95 % interval of the mean")
    last.plot([], [], "D", ms=3, mfc="none", mec="0.2", label="printed in the book (60,000 images)")
    figure.legend(*last.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _set_scales(table: Table, losses: "Axes", accuracies: "Axes") -> None:
    """Loss on a logarithmic axis; accuracies from the least of epoch 10 on."""
    loss = table.where("quantity", "loss")["value"]
    losses.set(ylabel="training loss", yscale="log", ylim=(0.85 * loss.min(), 2.6))
    losses.set_yticks([tick for tick in (0.1, 0.2, 0.5, 1.0, 2.0) if tick > 0.85 * loss.min()])
    losses.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    losses.yaxis.set_minor_formatter(NullFormatter())
    reached = table.where("quantity", "accuracy").where("epoch", 10)["value"].min()
    accuracies.set(ylabel="test accuracy", ylim=(np.floor(10 * reached) / 10, 0.93))
    accuracies.yaxis.set_major_locator(MultipleLocator(0.1 if reached < 0.8 else 0.02))


def _ratio(quantity: str, one: int, other: int, epoch: int = -1, form: str = "as printed") -> Measure:
    """Of the means over seeds at an epoch; seeds have the same start and the same order of the images."""

    def measure(found: dict[str, Runs]) -> Estimate:
        values = getattr(found[form], quantity)
        above, below = (values[k] if values.ndim == 2 else values[k, :, epoch] for k in (one, other))
        return ratio_estimate(above, below, paired=True, minimum=MIN_SEEDS)

    return measure


def _mean(quantity: str, one: int, less: int | None = None, form: str = "as printed") -> Measure:
    """At the end, of a quantity or of what it has above that of another policy."""

    def measure(found: dict[str, Runs]) -> Estimate:
        values = getattr(found[form], quantity)
        values = values if values.ndim == 2 else values[..., -1]
        return mean_estimate(values[one] - (0.0 if less is None else values[less]), minimum=MIN_SEEDS)

    return measure


_BOOK = "Dive into Deep Learning 12.11"
_LATE = "as the code trains"
_TEXT = "as the text has it"

CLAIMS: tuple[Claim[dict[str, Runs]], ...] = (
    Claim(
        f"square root works quite a bit better than constant, {_LATE}: at least 5 % fewer test errors",
        f"{_BOOK}.2; number chosen here",
        _ratio("test_error", ROOT, CONSTANT),
        0.95,
        relation="at_most",
        expect="refuted",
        finding="not even 5 % fewer: it begins at a third of the constant rate, and learns more slowly",
    ),
    Claim(
        f"square root works quite a bit better than constant, {_TEXT}: at least 5 % fewer test errors",
        f"{_BOOK}.2; number chosen here",
        _ratio("test_error", ROOT, CONSTANT, form="as intended"),
        0.95,
        relation="at_most",
        expect="refuted",
        finding="not even 5 % fewer, at the rates of the text as well",
    ),
    Claim(
        "square root overfits less than constant: test loss minus training loss, how much smaller at the end",
        f"{_BOOK}.2; number chosen here",
        _mean("gap", CONSTANT, less=ROOT),
        0.02,
        relation="at_least",
    ),
    Claim(
        "square root overfits less than constant, at the rates of the text",
        f"{_BOOK}.2; number chosen here",
        _mean("gap", CONSTANT, less=ROOT, form="as intended"),
        0.02,
        relation="at_least",
    ),
    Claim(
        "constant: a gap between training and test shows overfitting: test loss minus training loss",
        f"{_BOOK}.1; number chosen here",
        _mean("gap", CONSTANT),
        0.05,
        relation="at_least",
    ),
    Claim(
        "constant: the training loss keeps on falling: epoch 30 against epoch 10",
        f"{_BOOK}.1; number chosen here",
        lambda d: ratio_estimate(
            d["as printed"].train_loss[CONSTANT, :, 30],
            d["as printed"].train_loss[CONSTANT, :, SETTLED],
            paired=True,
            minimum=MIN_SEEDS,
        ),
        0.9,
        relation="at_most",
    ),
    Claim(
        "multistep finds better solutions than constant, at the rates of the text: test errors",
        f"{_BOOK}.3.2",
        _ratio("test_error", MULTISTEP, CONSTANT, form="as intended"),
        1.0,
        relation="at_most",
        expect="undecided",
        finding="five seeds differ by more than the two policies do",
    ),
    Claim(
        "cosine refines the solution in the end: its test error wobbles less: by how much an epoch",
        f"{_BOOK}.3.3; number chosen here",
        _mean("wobble", CONSTANT, less=COSINE),
        0.005,
        relation="at_least",
    ),
    Claim(
        "cosine ends a percentage point and more above the square root's test accuracy",
        f"{_BOOK}: 0.901 and 0.898 printed, against 0.877 and 0.883",
        _mean("test_error", ROOT, less=COSINE),
        0.01,
        relation="at_least",
    ),
    Claim(
        f"with warmup the network converges better initially, {_LATE}: training loss after 5 epochs",
        f"{_BOOK}.3.4",
        _ratio("train_loss", WARMUP, COSINE, epoch=5),
        1.0,
        relation="at_most",
        expect="refuted",
        finding="worse: one epoch is lost at rate 0, and the others are at lower rates",
    ),
    Claim(
        f"with warmup the network converges better initially, {_TEXT}: training errors after 5 epochs",
        f"{_BOOK}.3.4",
        _ratio("train_error", WARMUP, COSINE, epoch=5, form="as intended"),
        1.0,
        relation="at_most",
        expect="undecided",
        finding="1.5 times the errors in the mean, at lower rates; five seeds can't tell it from chance",
    ),
)
