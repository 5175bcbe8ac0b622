r"""Torch's schedulers and scikit-learn's on MNIST: the rates that they really make, and what comes of them.

Top: the five torch schedulers of "A Gentle Introduction to Learning Rate Schedulers" (2025), with settings of
our own, beside the constant rate 0.1: a perceptron with 128 hidden units, batch 64, ten epochs on 8,000
images (in full 20 on 55,000); others are kept for ReduceLROnPlateau to look at. Bottom: the four rules of
scikit-learn's SGDClassifier for softmax regression with its alpha = 10⁻⁴, an image per update, five epochs
on 8,000 (in full ten on 55,000). Left: the rates really used, closed loops replayed on the losses that they
saw. Lines: mean over seeds; bands: its 95 % interval, of rates the range over seeds.

In ten epochs none of the five lowers the constant rate's test error by a twentieth, and not all lower its
training loss: one ends at 1.4 times it. ReduceLROnPlateau and "adaptive" never act in ten and in five epochs.
SGDClassifier's default, "optimal", is 1/(alpha (t0 + t)), which
starts at 10 whatever the data. The heuristic behind t0 assumes samples of norm 1; these images have 9, the
first update multiplies the training loss by more than 100, and the run ends above the constant rate's error.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator

from ratelab.experiments.spec import Claim, Spec
from ratelab.experiments.store import Results
from ratelab.paper_figures.house.about import About, Report, portion, quiet
from ratelab.paper_figures.house.claims import OfSeeds, claim, ours, paired
from ratelab.paper_figures.house.studies import quoted, study, tidy
from ratelab.paper_figures.house.style import Look, band, looks, new_figure, plain_numbers
from ratelab.paper_figures.house.table import Table, lines_of, table_of
from ratelab.theory.arrays import Array, Integers
from ratelab.theory.feedback import Feedback, replay
from ratelab.theory.schedules import Schedule, multipliers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ABOUT = About(
    title="Torch's schedulers and scikit-learn's on MNIST",
    group="Tutorials and trainers",
    source="A Gentle Introduction to Learning Rate Schedulers (2025); scikit-learn's user guide, 1.5",
    link="https://machinelearningmastery.com/a-gentle-introduction-to-learning-rate-schedulers/",
    topics=("shapes", "decay", "cycles", "networks"),
    seconds=(60, 450),
    data=("mnist",),
)

TORCH, SKLEARN = "torch", "scikit-learn"
OPTIMAL, ADAPTIVE, PLATEAU = "optimal", "adaptive", "ReduceLROnPlateau(0.5, patience=1)"


def data(full: bool = False, report: Report = quiet) -> Table:
    """Rates and runs of both libraries; "adaptive" once more, to see what it saw; the images' mean norm."""
    torch = by_epoch("five_schedulers", full, portion(report, 0, 0.6))
    sklearn = study("sklearn_schedules", full, portion(report, 0.6, 0.9))
    loops = [rule for rule in sklearn.spec.schedules if isinstance(rule, Feedback)]
    closed = by_epoch("sklearn_schedules", full, portion(report, 0.9, 1), loops)
    kept = ("train_loss", "validation_loss", "test_error")
    runs = tidy(torch, kept, trainer=TORCH, what="runs")
    again = tidy(closed, kept, trainer=SKLEARN, what="again")
    even = np.linspace(0, torch.spec.longest - 1, 161).round().astype(int)
    spaced = np.unique(np.geomspace(1, sklearn.spec.longest, 120).round()).astype(int) - 1
    network: Any = sklearn.spec.problems[0]
    norm = np.linalg.norm(network.parts()["train"].features, axis=1).mean()
    return table_of(
        [
            *rates(TORCH, torch.spec, table_of(runs), even),
            *runs,
            *rates(SKLEARN, sklearn.spec, table_of(again), spaced),
            *tidy(sklearn, kept, trainer=SKLEARN, what="runs"),
            *again,
            {"trainer": SKLEARN, "what": "images", "norm": float(norm)},
        ]
    )


def by_epoch(name: str, full: bool, report: Report, rules: Sequence[Schedule | Feedback] = ()) -> Results:
    """examples/NAME.toml, of its schedules these `rules` if any, recorded whenever a rule is shown a loss."""

    def change(spec: Spec) -> Spec:
        wanted = tuple(rules) or spec.schedules
        return replace(spec, record_every=spec.feedback_every, claims=(), schedules=wanted)

    return study(name, full, report, change)


def rates(trainer: str, spec: Spec, seen: Table, updates: Integers) -> Iterator[dict[str, object]]:
    """The rates of a trainer's schedules at these updates; scikit-learn's count from 1, as there."""
    t = updates + 1 if trainer == SKLEARN else updates
    for rule in spec.schedules:
        head = {"trainer": trainer, "what": "rate", "schedule": repr(rule), "label": spec.label(rule)}
        for seed, rate in enumerate(used(spec, rule, seen)):
            yield from lines_of(head | {"seed": seed}, {"t": t, "rate": rate[updates]})


def used(spec: Spec, rule: Schedule | Feedback, seen: Table) -> Array:
    """The rates of all seeds (R, T): a closed loop's replayed on the losses it saw, others (1, T)."""
    if not isinstance(rule, Feedback):
        return spec.lr[0] * multipliers(rule, spec.longest)[None]
    _, losses = seen.where("schedule", repr(rule)).runs("validation_loss")
    factors = np.column_stack([np.ones(spec.runs), replay(rule, losses[:, 1:])])
    steps = spec.lr[0] * multipliers(rule.schedule, spec.longest)
    return steps * factors[:, np.arange(spec.longest) // spec.feedback_every]


def draw(table: Table) -> Figure:
    """A row per library: rates, training loss, test error; torch's from the first epoch on."""
    figure = new_figure(4.4)
    axes = figure.subplots(2, 3)
    for row, (name, part) in zip(axes, table.groups("trainer"), strict=True):
        runs = part.where("what", "runs")
        for face, (schedule, curve) in zip(
            looks(runs.values("schedule")), runs.above("t", 0).groups("schedule"), strict=True
        ):
            draw_rates(row[0], part.where("what", "rate").where("schedule", schedule), face)
            updates, losses = curve.runs("train_loss")
            _, errors = curve.runs("test_error")
            band(row[1], updates, losses, face, alpha=0.2)
            band(row[2], updates, 100 * errors, face, alpha=0.2)
        for panel, what in zip(row, ("rate", "training loss", "test error, %"), strict=True):
            panel.set(title=f"{name}: {what}", yscale="log", xlabel="updates")
            _scale(panel, name == TORCH)
    found = [panel.get_legend_handles_labels() for panel in axes[:, 0]]
    entries = {
        label: handle for handles, labels in found for handle, label in zip(handles, labels, strict=True)
    }
    entries["band: 95 % interval"] = Patch(color="0.4", alpha=0.25, lw=0)
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=3)
    return figure


def draw_rates(panel: "Axes", curve: Table, face: Look) -> None:
    """The mean over seeds, and the range."""
    x, runs = curve.runs("rate")
    panel.fill_between(x, runs.min(axis=0), runs.max(axis=0), color=face.colour, alpha=0.2, lw=0)
    panel.plot(x, runs.mean(axis=0), label=curve.first("label"), **face.line())


def _scale(panel: "Axes", linear: bool) -> None:
    """Numbers that can be read, on axes that span less than two powers of ten."""
    if not linear:
        panel.set_xscale("log")
    low, high = panel.get_ylim()
    if high < 100 * low:
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7) if high < 10 * low else (1, 2, 5)))
        plain_numbers(panel.yaxis)


def _curve(d: Table, trainer: str, label: str, what: str = "runs") -> Table:
    return d.where("trainer", trainer).where("label", label).where("what", what)


def _loss_after(updates: int) -> OfSeeds:
    """The training loss of "optimal"."""
    return lambda d: _curve(d, SKLEARN, OPTIMAL).where("t", updates)["train_loss"]


def _least_rate(d: Table) -> float:
    """Of the closed loops, the least of all rates over the first."""
    curves = ((TORCH, PLATEAU), (SKLEARN, ADAPTIVE))
    rates = [_curve(d, trainer, label, "rate")["rate"] for trainer, label in curves]
    return min(float(rate.min() / rate[0]) for rate in rates)


def _quoted(sentence: str) -> Claim:
    return quoted("five_schedulers", sentence, trainer=TORCH, what="runs")


_ASKED = ours("asked here")

CLAIMS = (
    _quoted("each of the five ends below the constant rate's training loss: largest ratio"),
    _quoted("none lowers the constant rate's test error by more than a twentieth: smallest ratio"),
    claim(
        "the images are not of norm 1, as the heuristic behind t0 assumes: their mean norm",
        ours("the assumption is in scikit-learn's user guide, section 1.5.8.1"),
        lambda d: float(d.where("what", "images").first("norm")),
        "9.2 ± 0.1",
    ),
    claim(
        '... and the first update of "optimal" is too large for them: training loss after it over before',
        _ASKED,
        paired(_loss_after(1), _loss_after(0)),
        "at least 100",
    ),
    quoted(
        "sklearn_schedules",
        'the default, "optimal", ends below the constant rate\'s test error: ratio',
        trainer=SKLEARN,
        what="runs",
    ),
    claim(
        'ReduceLROnPlateau and "adaptive" never act: their least rate over the first',
        _ASKED,
        _least_rate,
        "1",
    ),
)
