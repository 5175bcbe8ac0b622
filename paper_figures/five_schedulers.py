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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ratelab.experiments.estimates import MIN_SEEDS, Estimate, ratio_estimate
from ratelab.experiments.spec import Spec
from ratelab.experiments.store import Curve, Results
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import Claim, mean_interval
from ratelab.paper_figures.house.studies import study
from ratelab.paper_figures.house.style import looks, new_figure
from ratelab.paper_figures.house.table import Table
from ratelab.theory.arrays import Array
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


@dataclass(frozen=True)
class Trainer:
    """S schedules, the constant rate last: rates used at times (P,), losses and errors at records (K,).

    rates (S, seeds, P), losses and errors (seeds, K, S)
    """

    labels: tuple[str, ...]
    schedules: tuple[str, ...]
    times: Array
    rates: Array
    records: Array
    losses: Array
    errors: Array

    def against_constant(self, values: Array, schedule: int) -> Estimate:
        """At the end, seed by seed."""
        return ratio_estimate(values[:, -1, schedule], values[:, -1, -1], paired=True, minimum=MIN_SEEDS)


@dataclass(frozen=True)
class Trainers:
    """Both libraries; the mean norm of the images; how far two trainings of "adaptive" end apart."""

    torch: Trainer
    sklearn: Trainer
    norm: float
    apart: float


def by_epoch(name: str, full: bool, report: Report, rules: Sequence[Schedule | Feedback] = ()) -> Results:
    """examples/NAME.toml, of its schedules these `rules` if any, recorded whenever a rule is shown a loss."""

    def change(spec: Spec) -> Spec:
        wanted = tuple(rules) or spec.schedules
        return replace(spec, record_every=spec.feedback_every, claims=(), schedules=wanted)

    return study(name, full, report, change)


def seen(results: Results, rule: Schedule | Feedback, quantity: str) -> Array:
    """A quantity of all seeds at all records."""
    spec = results.spec
    curve = Curve(spec.problems[0], spec.methods[0], rule, spec.averagings[0], spec.lr[0], spec.horizons[0])
    return np.asarray(results.runs(curve, quantity).to_numpy(), dtype=np.float64)


def rates(results: Results, rule: Schedule | Feedback, times: Array) -> Array:
    """The rates of all seeds at these updates; a closed loop's factor is replayed on the losses it saw."""
    spec, horizon = results.spec, results.spec.horizons[0]
    if not isinstance(rule, Feedback):
        return np.tile(spec.lr[0] * multipliers(rule, horizon)[times.astype(int)], (spec.runs, 1))
    shown = seen(results, rule, "validation_loss")[:, 1:]
    factors = np.column_stack([np.ones(spec.runs), replay(rule, shown)])
    steps = spec.lr[0] * multipliers(rule.schedule, horizon)[times.astype(int)]
    return np.asarray(steps * factors[:, times.astype(int) // spec.feedback_every])


def trainer(results: Results, closed: Results, times: Array) -> Trainer:
    """What became of every schedule; `closed` has the closed loops' losses epoch by epoch."""
    spec = results.spec
    rules = [*spec.schedules[1:], spec.schedules[0]]
    losses, errors = (
        np.stack([seen(results, rule, quantity) for rule in rules], axis=-1)
        for quantity in ("train_loss", "test_error")
    )
    return Trainer(
        labels=tuple(spec.label(rule) for rule in rules),
        schedules=tuple(map(repr, rules)),
        times=times,
        rates=np.array([rates(closed, rule, times) for rule in rules]),
        records=np.array(spec.times(spec.horizons[0]), dtype=np.float64),
        losses=losses,
        errors=errors,
    )


def data(full: bool = False, report: Report = quiet) -> Trainers:
    """Three trainings: torch's, scikit-learn's, and once more "adaptive", to see what it saw."""
    torch = by_epoch("five_schedulers", full, lambda done, of: report(0.6 * done / of, 1))
    sklearn = study("sklearn_schedules", full, lambda done, of: report(0.6 + 0.3 * done / of, 1))
    adaptive = [rule for rule in sklearn.spec.schedules if isinstance(rule, Feedback)]
    closed = by_epoch("sklearn_schedules", full, lambda done, of: report(0.9 + 0.1 * done / of, 1), adaptive)
    horizon, last = torch.spec.horizons[0], sklearn.spec.horizons[0] - 1
    even = np.linspace(0, horizon - 1, 161).round()
    spaced = np.unique(np.geomspace(1, last + 1, 120).round()) - 1
    ends = [seen(results, adaptive[0], "train_loss")[:, -1] for results in (sklearn, closed)]
    network: Any = sklearn.spec.problems[0]
    return Trainers(
        torch=trainer(torch, torch, even),
        sklearn=trainer(sklearn, closed, spaced),
        norm=float(np.linalg.norm(network.parts()["train"].features, axis=1).mean()),
        apart=float(np.abs(ends[0] - ends[1]).max()),
    )


COLUMNS = ("trainer", "panel", "label", "schedule", "updates", "y", "low", "high")


def rows(d: Trainers) -> Iterator[tuple[object, ...]]:
    """scikit-learn's rates count from 1, as there; low and high of rates are the range over seeds."""
    for name, t, offset in (("torch", d.torch, 0), ("scikit-learn", d.sklearn, 1)):
        for i in (-1, *range(len(t.labels) - 1)):  # the constant rate below what may equal it
            head = t.labels[i], t.schedules[i]
            r = t.rates[i]
            rate = r.mean(axis=0), r.min(axis=0), r.max(axis=0)
            yield from _lines((name, "rate", *head), t.times + offset, rate)
            for panel, values in (("training loss", t.losses), ("test error, %", 100 * t.errors)):
                runs = values[:, :, i]
                curve = runs.mean(axis=0), *mean_interval(runs)
                yield from _lines((name, panel, *head), t.records, curve)


def _lines(
    head: tuple[str, ...], x: Array, curve: tuple[Array, Array, Array]
) -> Iterator[tuple[object, ...]]:
    for point in np.column_stack([x, *curve]).tolist():
        yield *head, *point


def draw(table: Table) -> Figure:
    """A row per library: rates, training loss, test error; torch's from the first epoch on."""
    figure = new_figure(4.4)
    axes = figure.subplots(2, 3)
    for row, (name, part) in zip(axes, table.groups("trainer"), strict=True):
        faces = dict(zip(part.values("schedule"), looks(part.values("schedule")), strict=True))
        for panel, (what, curves) in zip(row, part.groups("panel"), strict=True):
            for schedule, line in curves.groups("schedule"):
                face, shown = faces[schedule], line if what == "rate" else line.above("updates", 0.0)
                x, colour = shown["updates"], face.colour
                panel.fill_between(x, shown["low"], shown["high"], color=colour, alpha=0.2, lw=0)
                panel.plot(x, shown["y"], label=line.first("label"), **face.line())
            panel.set(title=f"{name}: {what}", yscale="log", xlabel="updates")
            _scale(panel, name == "torch", what)
    found = [panel.get_legend_handles_labels() for panel in axes[:, 0]]
    entries = {
        label: handle for handles, labels in found for handle, label in zip(handles, labels, strict=True)
    }
    entries["band: 95 % interval"] = Patch(color="0.4", alpha=0.25, lw=0)
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=3)
    return figure


def _scale(panel: "Axes", linear: bool, what: str) -> None:
    """Numbers that can be read, on axes that span less than two powers of ten."""
    if not linear:
        panel.set_xscale("log")
    low, high = panel.get_ylim()
    if high < 100 * low:
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7) if high < 10 * low else (1, 2, 5)))
        panel.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        panel.yaxis.set_minor_formatter(NullFormatter())


_ARTICLE, _GUIDE = "A Gentle Introduction to Learning Rate Schedulers", "scikit-learn's user guide, 1.5"
OPTIMAL, INVSCALING, ADAPTIVE = range(3)


def _furthest(d: Trainers) -> Estimate:
    """The largest training loss among the five, over the constant rate's."""
    found = [d.torch.against_constant(d.torch.losses, i) for i in range(5)]
    return max(found, key=lambda estimate: estimate.value)


def _best(d: Trainers) -> Estimate:
    """The smallest test error among the five, over the constant rate's."""
    found = [d.torch.against_constant(d.torch.errors, i) for i in range(5)]
    return min(found, key=lambda estimate: estimate.value)


def _five(d: Trainers) -> Estimate:
    """The mean test error of the five, over the constant rate's."""
    five, constant = d.torch.errors[:, -1, :-1].mean(axis=1), d.torch.errors[:, -1, -1]
    return ratio_estimate(five, constant, paired=True, minimum=MIN_SEEDS)


def _first_update(d: Trainers) -> Estimate:
    before, after = d.sklearn.losses[:, :2, OPTIMAL].T
    return ratio_estimate(after, before, paired=True, minimum=MIN_SEEDS)


def _rate(schedule: int, d: Trainers) -> Array:
    """The rates of a rule of scikit-learn's, of the first seed."""
    return np.asarray(d.sklearn.rates[schedule, 0])


CLAIMS: tuple[Claim[Trainers], ...] = (
    Claim(
        "a fixed rate often leads to suboptimal results: mean test error of the five over that of 0.1",
        _ARTICLE,
        _five,
        1.0,
        relation="at_most",
        expect="refuted",
        finding="in ten epochs the constant rate errs least",
    ),
    Claim(
        "each of the five ends below the constant rate's training loss: largest ratio",
        "examples/five_schedulers.toml",
        _furthest,
        1.0,
        relation="at_most",
        expect="refuted",
        finding="smaller rates go less far, and the loss is still falling",
    ),
    Claim(
        "none lowers the constant rate's test error by more than a twentieth: smallest ratio",
        "examples/five_schedulers.toml",
        _best,
        0.95,
        relation="at_least",
    ),
    Claim(
        "SGDClassifier typically uses a fixed rate: last rate over first, by default",
        _ARTICLE,
        lambda d: float(_rate(OPTIMAL, d)[-1] / _rate(OPTIMAL, d)[0]),
        1.0,
        0.01,
        expect="refuted",
        finding='its default, "optimal", falls like 1/(t0 + t)',
    ),
    Claim(
        '"optimal" is 1/(alpha (t0 + t)): its first rate at the default alpha, where t0 is 1000',
        _GUIDE,
        lambda d: float(_rate(OPTIMAL, d)[0]),
        10.0,
        1e-9,
    ),
    Claim(
        "... over the last, less one, times t0: the updates made since",
        _GUIDE,
        lambda d: float((_rate(OPTIMAL, d)[0] / _rate(OPTIMAL, d)[-1] - 1) * 1000 / (d.sklearn.times[-1])),
        1.0,
        1e-9,
    ),
    Claim(
        "its t0 assumes that the norm of the training samples is about 1: mean norm of the images",
        _GUIDE,
        lambda d: d.norm,
        1.0,
        0.5,
        expect="refuted",
        finding="pixels in [0, 1], as the guide advises, make it 9",
    ),
    Claim(
        "... so that first updates are comparable with the weights: training loss after one over before",
        _GUIDE,
        _first_update,
        1.0,
        relation="at_most",
        expect="refuted",
        finding="it is multiplied by more than 100",
    ),
    Claim(
        'the default, "optimal", ends below the constant rate\'s test error: ratio',
        "examples/sklearn_schedules.toml",
        lambda d: d.sklearn.against_constant(d.sklearn.errors, OPTIMAL),
        1.0,
        relation="at_most",
        expect="refuted",
        finding="it is still on the way back from its first updates",
    ),
    Claim(
        '"invscaling" is eta0/t^power_t: exponent between the first rate and the last',
        _GUIDE,
        lambda d: float(
            np.log(_rate(INVSCALING, d)[0] / _rate(INVSCALING, d)[-1]) / np.log(1 + d.sklearn.times[-1])
        ),
        0.5,
        1e-9,
    ),
    Claim(
        '"adaptive" is constant while the loss keeps falling: ratio of test errors',
        _GUIDE,
        lambda d: d.sklearn.against_constant(d.sklearn.errors, ADAPTIVE),
        1.0,
        0.05,
    ),
    Claim(
        "two trainings with other records end the same: largest difference of training losses",
        "what records don't change",
        lambda d: d.apart,
        0.0,
    ),
)
