r"""Torch's schedulers and scikit-learn's on MNIST: the rates that they really make, and what comes of them.

Top: the five torch schedulers of "A Gentle Introduction to Learning Rate Schedulers" (2025), with settings of
our own, beside the constant rate 0.1: a perceptron with 128 hidden units, batch 64, ten epochs on 8,000
images (in full 20 on 55,000); others are kept for ReduceLROnPlateau to look at. Bottom: the four rules of
scikit-learn's SGDClassifier for softmax regression with its alpha = 10⁻⁴, an image per update, five epochs
on 8,000 (in full ten on 55,000). Left: the rates really used, closed loops replayed on the losses that they
saw. Lines: mean over seeds; bands: its 95 % interval, of rates the range over seeds.

Nothing is gained by a decay in ten epochs: the constant rate trains furthest, and none of the five beats its
test error by a twentieth. ReduceLROnPlateau and "adaptive" see a loss that still falls, and never act in ten
and in five epochs; a CyclicLR whose cycles don't end with the run stops at the top of one. The article says
that SGDClassifier typically uses a fixed rate; its default, "optimal", is 1/(alpha (t0 + t)), which starts at
10 whatever the data. The heuristic behind t0 assumes samples of norm 1; these images have 9, the first update
multiplies the loss by more than 100, and the run is spent on the way back.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator

from ratelab.experiments.spec import Claim, Measure, Spec
from ratelab.experiments.store import Results
from ratelab.paper_figures.house.about import About, Report, portion, quiet
from ratelab.paper_figures.house.claims import OfSeeds, claim, paired
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
CONSTANT, OPTIMAL, INVSCALING, ADAPTIVE = "constant", "optimal", "invscaling", "adaptive"


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


def _end(quantity: str, trainer: str, label: str, what: str = "runs") -> OfSeeds:
    """A quantity at the end."""
    return lambda d: _curve(d, trainer, label, what).runs(quantity)[1][:, -1]


def _over_constant(label: str) -> Measure:
    """The test error of a rule of scikit-learn's, at the end."""
    return paired(_end("test_error", SKLEARN, label), _end("test_error", SKLEARN, CONSTANT))


def _mean_of_five(d: Table) -> Array:
    """The test error of torch's schedulers at the end."""
    five = [label for label in d.where("trainer", TORCH).values("label") if label != CONSTANT]
    return np.asarray(np.mean([_end("test_error", TORCH, label)(d) for label in five], axis=0))


def _loss_after(updates: int) -> OfSeeds:
    """The training loss of "optimal"."""
    return lambda d: _curve(d, SKLEARN, OPTIMAL).where("t", updates)["train_loss"]


def _fall(d: Table, label: str) -> tuple[float, float, float]:
    """Of a rule of scikit-learn's, the first rate and the last, and the number of the last update."""
    curve = _curve(d, SKLEARN, label, "rate")
    return float(curve["rate"][0]), float(curve["rate"][-1]), float(curve["t"][-1])


_ARTICLE, _GUIDE = "A Gentle Introduction to Learning Rate Schedulers", "scikit-learn's user guide, 1.5"


def _decline(d: Table) -> float:
    first, last, _ = _fall(d, OPTIMAL)
    return last / first


def _since(d: Table) -> float:
    first, last, updates = _fall(d, OPTIMAL)
    return (first / last - 1) * 1000 / (updates - 1)


def _exponent(d: Table) -> float:
    first, last, updates = _fall(d, INVSCALING)
    return math.log(first / last) / math.log(updates)


def _apart(d: Table) -> float:
    once, again = (_end("train_loss", SKLEARN, ADAPTIVE, what)(d) for what in ("runs", "again"))
    return float(np.abs(once - again).max())


def _quoted(sentence: str) -> Claim:
    return quoted("five_schedulers", sentence, trainer=TORCH, what="runs")


CLAIMS = (
    claim(
        "a fixed rate often leads to suboptimal results: mean test error of the five over that of 0.1",
        _ARTICLE,
        paired(_mean_of_five, _end("test_error", TORCH, CONSTANT)),
        "at most 1",
        refuted="in ten epochs the constant rate errs least",
    ),
    _quoted("each of the five ends below the constant rate's training loss: largest ratio"),
    _quoted("none lowers the constant rate's test error by more than a twentieth: smallest ratio"),
    claim(
        "SGDClassifier typically uses a fixed rate: last rate over first, by default",
        _ARTICLE,
        _decline,
        "1 ± 0.01",
        refuted='its default, "optimal", falls like 1/(t0 + t)',
    ),
    claim(
        '"optimal" is 1/(alpha (t0 + t)): its first rate at the default alpha, where t0 is 1000',
        _GUIDE,
        lambda d: _fall(d, OPTIMAL)[0],
        "10 ± 1e-9",
    ),
    claim(
        "... over the last, less one, times t0: the updates made since",
        _GUIDE,
        _since,
        "1 ± 1e-9",
    ),
    claim(
        "its t0 assumes that the norm of the training samples is about 1: mean norm of the images",
        _GUIDE,
        lambda d: float(d.where("what", "images").first("norm")),
        "1 ± 0.5",
        refuted="pixels in [0, 1], as the guide advises, make it 9",
    ),
    claim(
        "... so that first updates are comparable with the weights: training loss after one over before",
        _GUIDE,
        paired(_loss_after(1), _loss_after(0)),
        "at most 1",
        refuted="it is multiplied by more than 100",
    ),
    quoted(
        "sklearn_schedules",
        'the default, "optimal", ends below the constant rate\'s test error: ratio',
        trainer=SKLEARN,
        what="runs",
    ),
    claim(
        '"invscaling" is eta0/t^power_t: exponent between the first rate and the last',
        _GUIDE,
        _exponent,
        "0.5 ± 1e-9",
    ),
    claim(
        '"adaptive" is constant while the loss keeps falling: ratio of test errors',
        _GUIDE,
        _over_constant(ADAPTIVE),
        "1 ± 0.05",
    ),
    claim(
        "two trainings with other records end the same: largest difference of training losses",
        "what records don't change",
        _apart,
        "0",
    ),
)
