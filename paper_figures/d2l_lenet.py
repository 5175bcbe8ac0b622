r"""LeNet on Fashion-MNIST under five schedules, as the book's code trains it and as its text has it.

Dive into Deep Learning 12.11: SGD, batch 256, 30 epochs, five seeds; the quick form takes 2,500 of the 60,000
images in batches of 128 and tests on 1,000, so that an epoch has 20 updates and not 235. Training loss and
test accuracy after every epoch: mean over the seeds, with the 95 % interval of the mean as a band. Left: at
the rates that the PyTorch code trains at, one epoch late and with a multistep that stands at 0.125 (figure
d2l_schedules). Right: at the rates of the text. Diamonds beside the accuracies on the left: what builds of
the book print at the end of single runs on 60,000 images.

After five epochs the training loss with warmup is above that of the cosine without it, at either rates; the
book, which sees better convergence with it, names no comparison. The square root policy has a smoother curve
and overfits less than the constant rate, as the book says. On 2,500 images it also makes more test errors; on
60,000 five seeds can't tell. Cosine's test errors wobble less than the constant rate's. On 60,000 images they
are also fewer; on 2,500 five seeds can't tell, nor whether multistep makes fewer at the rates of the text.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from ratelab.experiments.sources import Source
from ratelab.experiments.spec import Claim, Measure
from ratelab.paper_figures.house.about import About, Report, portion, quiet
from ratelab.paper_figures.house.claims import OfSeeds, claim, mean, ours, paired
from ratelab.paper_figures.house.studies import quoted, study, tidy
from ratelab.paper_figures.house.style import band, looks, new_figure, plain_numbers
from ratelab.paper_figures.house.table import Table, table_of
from ratelab.problems.networks import LeNet
from ratelab.theory.arrays import Array

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

CODE, TEXT = "as printed", "as intended"
TITLES = {CODE: "rates of the code", TEXT: "rates of the text"}
BOOK = {
    "constant 0.3": (0.877, 0.888, 0.891),
    "square root": (0.877, 0.883),
    "multistep": (0.884, 0.890),
    "cosine": (0.901, 0.898),
    "warmup + cosine": (0.899,),
}
"""Of each policy, the test accuracies that builds of the book print, one run each."""
CONSTANT, ROOT, MULTISTEP, COSINE, WARMUP = BOOK


def data(full: bool = False, report: Report = quiet) -> Table:
    """Both studies: a line per form, policy, seed and epoch."""
    lines: list[dict[str, object]] = []
    for k, form in enumerate((CODE, TEXT)):
        name = f"d2l_lenet_{form.replace(' ', '_')}"
        results = study(name, full, portion(report, k / 2, (k + 1) / 2))
        (problem,) = results.spec.problems
        assert isinstance(problem, LeNet)
        kept = ("train_loss", "train_error", "test_loss", "test_error")
        lines += tidy(results, kept, form=form, images=problem.data.rows or 60_000)
    return table_of(lines)


def draw(table: Table) -> Figure:
    """Loss above, accuracy below; a column per study. The text's schedule gives the colour in both."""
    figure = new_figure(4.2)
    panels = figure.subplots(2, 2, sharey="row", width_ratios=(34, 30))
    faces = dict(zip(BOOK, looks(table.where("form", TEXT).values("schedule")), strict=True))
    for (above, below), (form, curves) in zip(panels.T, table.groups("form"), strict=True):
        for k, (policy, curve) in enumerate(curves.groups("label")):
            band(above, *curve.runs("train_loss"), faces[policy], policy)
            epochs, errors = curve.runs("test_error")
            band(below, epochs, 1 - errors, faces[policy])
            if form == CODE:
                place = np.full(len(BOOK[policy]), 31.0 + 0.7 * k)
                below.plot(place, BOOK[policy], "D", ms=3, mfc="none", mec=faces[policy].colour)
        above.set_title(f"{TITLES[form]}, {curves.first('images'):,.0f} images")
        below.set_xlabel("epoch")
        for panel in (above, below):
            panel.set(xlim=(0, 34.5 if form == CODE else 30.5), xticks=range(0, 31, 10))
    _set_scales(table, *panels[:, 0])
    last = panels[0, 1]
    last.fill_between([], [], [], color="0.75", lw=0, label="band: 95 % interval of the mean")
    last.plot([], [], "D", ms=3, mfc="none", mec="0.2", label="printed in the book (60,000 images)")
    figure.legend(*last.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _set_scales(table: Table, losses: "Axes", accuracies: "Axes") -> None:
    """Loss on a logarithmic axis; accuracies from the least of epoch 10 on."""
    curves = [curve for _, curve in table.groups("form", "label")]
    low = 0.85 * min(curve.runs("train_loss")[1].mean(axis=0).min() for curve in curves)
    losses.set(ylabel="training loss", yscale="log", ylim=(low, 2.6))
    losses.set_yticks([tick for tick in (0.1, 0.2, 0.5, 1.0, 2.0) if tick > low])
    plain_numbers(losses.yaxis)
    reached = 1 - max(curve.where("t", 10)["test_error"].mean() for curve in curves)
    accuracies.set(ylabel="test accuracy", ylim=(np.floor(10 * reached) / 10, 0.93))
    accuracies.yaxis.set_major_locator(MultipleLocator(0.1 if reached < 0.8 else 0.02))


def _at(quantity: str, policy: str, form: str = CODE, epoch: int = 30) -> OfSeeds:
    """A quantity at an epoch; seeds have the same start and the same order of the images."""
    return lambda d: d.where("form", form).where("label", policy).where("t", epoch)[quantity]


def _gap(policy: str, form: str = CODE) -> OfSeeds:
    """Test loss minus training loss at the end."""
    return _less(_at("test_loss", policy, form), _at("train_loss", policy, form))


def _wobble(policy: str, quantity: str = "test_error") -> OfSeeds:
    """Mean |Δ log| of a quantity from epoch to epoch, from epoch 10 on."""

    def measure(d: Table) -> Array:
        _, found = d.where("form", CODE).where("label", policy).above("t", 9).runs(quantity)
        return np.asarray(np.abs(np.diff(np.log(found))).mean(axis=1))

    return measure


def _less(one: OfSeeds, other: OfSeeds) -> OfSeeds:
    return lambda d: one(d) - other(d)


def _over(one: str, other: str, quantity: str, form: str = CODE, epoch: int = 30) -> Measure:
    """Of two policies."""
    return paired(_at(quantity, one, form, epoch), _at(quantity, other, form, epoch))


_BOOK = Source(
    "Dive into Deep Learning",
    "section 12.11.1 (chapter_optimization/lr-scheduler.md:184)",
    "this setting",
    "full text",
    setting="its network, data and the rates of its PyTorch code",
)
_ROOT = _BOOK.at("section 12.11.2 (chapter_optimization/lr-scheduler.md:276)", words="less")
_TEXT = Source(
    "Dive into Deep Learning",
    "section 12.11.3.2 (chapter_optimization/lr-scheduler.md:350)",
    "another setting",
    "full text",
    words="can; ever slightly",
)
_BUILDS = replace(
    _TEXT, place="section 12.11, outputs as notes quote two builds", seen="second hand", words=""
)
_SIZE = "2,500 of 60,000 images"
_BETTER = "square root works better than constant, {}: its test errors over the constant's"
_WARMUP = "with warmup it converges better initially than cosine without, {}: training loss after 5 epochs"


def _printed(full: bool = False) -> Claim:
    """The accuracies of builds: 0.901 and 0.898 with cosine, 0.877 and 0.883 with square root."""
    return claim(
        "cosine ends as far above the square root's test accuracy as builds print, 0.015 to 0.024",
        _BUILDS,
        mean(_less(_at("test_error", ROOT), _at("test_error", COSINE))),
        "0.02 ± 0.015",
        refuted=""
        if full
        else "farther, 0.13: here the square root makes 1.7 times the constant rate's errors",
        size=_SIZE,
    )


CLAIMS = (
    quoted("d2l_lenet_as_printed", _BETTER.format("as the code trains"), form=CODE),
    quoted("d2l_lenet_as_intended", _BETTER.format("as the text has it"), form=TEXT),
    claim(
        "square root has a smoother curve than constant: by how much less its training error wobbles",
        replace(_ROOT, words="rather more"),
        mean(_less(_wobble(CONSTANT, "train_error"), _wobble(ROOT, "train_error"))),
        "at least 0",
        size=_SIZE,
    ),
    claim(
        "square root overfits less than constant: test loss minus training loss, how much smaller at the end",
        _ROOT,
        mean(_less(_gap(CONSTANT), _gap(ROOT))),
        "at least 0",
        size=_SIZE,
    ),
    claim(
        "square root overfits less than constant, at the rates of the text",
        replace(_TEXT, place=_ROOT.place, words="less"),
        mean(_less(_gap(CONSTANT, TEXT), _gap(ROOT, TEXT))),
        "at least 0",
        size=_SIZE,
    ),
    claim(
        "constant: a gap between both accuracies, training's less test's, shows overfitting",
        _BOOK,
        mean(_less(_at("test_error", CONSTANT), _at("train_error", CONSTANT))),
        "at least 0",
        size=_SIZE,
    ),
    claim(
        "constant: the training accuracy keeps on increasing: its errors in epoch 30 over those in epoch 10",
        _BOOK,
        paired(_at("train_error", CONSTANT), _at("train_error", CONSTANT, epoch=10)),
        "at most 1",
        size=_SIZE,
    ),
    claim(
        "multistep can produce better solutions than constant, at the rates of the text: test errors",
        _TEXT,
        _over(MULTISTEP, CONSTANT, "test_error", TEXT),
        "at most 1",
        undecided="five seeds differ by more than the two policies do",
        size=_SIZE,
    ),
    claim(
        "cosine refines the solution in the end: by how much less its test error wobbles an epoch",
        ours("asked of section 12.11.3.3"),
        mean(_less(_wobble(CONSTANT), _wobble(COSINE))),
        "at least 0",
    ),
    replace(_printed(), full=replace(_printed(full=True), size="")),
    quoted("d2l_lenet_as_printed", "cosine ends below the constant rate's test error", form=CODE),
    quoted("d2l_lenet_as_printed", _WARMUP.format("as the code trains"), form=CODE),
    quoted("d2l_lenet_as_intended", _WARMUP.format("as the text has it"), form=TEXT),
)
