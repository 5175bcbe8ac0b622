r"""Batch sizes on the airfoil data: the book's four runs, one of which is past the edge of stability.

Dive into Deep Learning, section 12.5: least squares, f = ½ mean (xᵀw + b − y)², on the first 1500 of 1503
rows, all six columns standardised over all rows; w ~ N(0, 0.01²), b = 0; every epoch a fresh permutation. The
Hessian has κ = 12.1 and L = 2.10. (`TableLeastSquares` takes all 1503 rows, so the runs are made here.)

Left: two epochs with batches of 1, 10 and 100: mean over runs, and the band that holds 95 % of them. Dotted:
the exact expected loss when rows are drawn with replacement, which is higher. Markers on the right: what two
builds of the book print, one run each. What is left is noise: a fixed rate does not go to f* (dashed).

Middle: gradient descent with the book's rate 1, exact mean over starts. It is not that "there is little
progress" and that it "stalls after 6 steps": 98 % of the excess is gone after 6 updates, and then the loss
grows, because 1 lies above 2/L = 0.953. The book records every second update up to the tenth (circles), and
its axis ends at 0.35. With 2/(L + μ) the same ten updates go on to f*. Right: the excess of the rate 1 by
eigenvectors of the Hessian: the steepest grows by (1 − L)² per update, all others vanish.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from ratelab.experiments.estimates import Estimate, fraction_estimate, mean_estimate, ratio_estimate
from ratelab.experiments.spec import Claim
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import Claim
from ratelab.paper_figures.house.style import VERMILION, new_figure, ordered
from ratelab.paper_figures.house.table import Table
from ratelab.problems import philox
from ratelab.problems.data.datasets import load
from ratelab.problems.data.minibatches import minibatches
from ratelab.theory.arrays import Array
from ratelab.theory.moments import Minibatches, exact_risk

ABOUT = About(
    title="Minibatches of the airfoil data",
    group="Dive into Deep Learning",
    source="Zhang, Lipton, Li and Smola 2023, section 12.5",
    link="https://d2l.ai/chapter_optimization/minibatch-sgd.html",
    topics=("batch size", "condition number", "noise"),
    seconds=(2, 6),
    data=("airfoil",),
)

ROWS, START_SD, EVERY = 1500, 0.01, 200
"""Rows, sd of the weights at the start, and after how many examples the book looks at the loss."""

BATCHES = ((1, 0.005), (10, 0.05), (100, 0.4))
PRINTED = {1: (0.245, 0.244), 10: (0.246, 0.246), 100: (0.246, 0.244), ROWS: (0.247, 0.248)}
"""The loss after two epochs (of gradient descent: ten), as two builds of the book print it."""

UPDATES = 20
"""Of gradient descent; the book has ten."""


class Regression(NamedTuple):
    """The table seen from its minimiser, in the eigenbasis of its Hessian, eigenvalues ascending."""

    eigenvalues: Array
    features: Array
    residuals: Array
    minimum: float
    start: Array
    """Mean (6,) of the start's δ."""
    spread: Array
    """(6, 5): δ is `start` plus this times N(0, 1)."""


@dataclass(frozen=True)
class Losses:
    """What was run, and what is known exactly.

    minimum: f*;  eigenvalues (6,) of the Hessian
    excess (3, R, 16): f − f* of the runs of `BATCHES`, at the start and every `EVERY` examples
    replaced (3, 15): its exact mean when rows are drawn with replacement, without the start
    descents (R, 21): f − f* of gradient descent with rate 1, from the runs' starts
    parts (6, 21): its exact mean, by eigenvector;  best (21,): the exact mean with the rate 2/(L + μ)
    """

    minimum: float
    eigenvalues: Array
    excess: Array
    replaced: Array
    descents: Array
    parts: Array
    best: Array


@cache
def regression() -> Regression:
    """As the book prepares it."""
    table = load("airfoil")
    columns = np.column_stack([table.features, table.targets])
    columns = ((columns - columns.mean(axis=0)) / columns.std(axis=0))[:ROWS]
    design, targets = np.column_stack([columns[:, :-1], np.ones(ROWS)]), columns[:, -1]
    minimiser = np.linalg.lstsq(design, targets)[0]
    eigenvalues, basis = np.linalg.eigh(design.T @ design / ROWS)
    residuals = targets - design @ minimiser
    spread = START_SD * basis.T[:, :-1]  # the intercept starts at 0
    minimum = float(0.5 * np.mean(residuals**2))
    return Regression(eigenvalues, design @ basis, residuals, minimum, -basis.T @ minimiser, spread)


def starts(runs: int) -> Array:
    """δ_0 (R, 6)."""
    normals = philox.normals(philox.stream_key(0, "airfoil"), range(runs), 0, 1, 5, philox.START)[:, 0]
    return np.asarray(regression().start + normals @ regression().spread.T)


def descend(batch: int, lr: float, runs: int, epochs: int = 2) -> Array:
    """f − f* (R, K) of minibatch SGD, at the start and every `EVERY` examples."""
    table, delta = regression(), starts(runs)
    updates = epochs * ROWS // batch
    key = philox.stream_key(0, "airfoil", str(batch))
    order = minibatches(key, range(runs), 0, updates, rows=ROWS, batch=batch, replacement=False)
    seen = [delta]
    for t in range(updates):
        z = table.features[order[:, t]]
        error = np.einsum("rbd,rd->rb", z, delta) - table.residuals[order[:, t]]
        delta = delta - lr / batch * np.einsum("rb,rbd->rd", error, z)
        if (t + 1) * batch % EVERY == 0:
            seen.append(delta)
    return np.stack([0.5 * d**2 @ table.eigenvalues for d in seen], axis=-1)


def replaced(batch: int, lr: float, epochs: int = 2) -> Array:
    """The exact mean of f − f* (K,) with replacement.

    The recursion is linear in the first two moments of the start, which ten points share with its law.
    """
    table = regression()
    s = np.ones((1, epochs * ROWS // batch))
    records = np.arange(EVERY // batch, s.shape[1] + 1, EVERY // batch)
    found = []
    for shift in 5**0.5 * np.concatenate([table.spread.T, -table.spread.T]):
        law = Minibatches(table.eigenvalues, table.start + shift, table.features, table.residuals, batch)
        found.append(exact_risk(law, s, np.array([lr]), [s], records)[0, 0, 0])
    return np.asarray(np.mean(found, axis=0))


def descent_parts(lr: float) -> Array:
    """The exact mean of f − f* of gradient descent by eigenvector, (6, T + 1)."""
    table = regression()
    moment = table.start**2 + (table.spread**2).sum(axis=1)
    factor = (1 - lr * table.eigenvalues) ** 2
    powers = factor[:, None] ** np.arange(UPDATES + 1)
    return np.asarray(0.5 * (table.eigenvalues * moment)[:, None] * powers)


def data(full: bool = False, report: Report = quiet) -> Losses:
    """1024 runs of each, in full 4096."""
    table, runs = regression(), 4096 if full else 1024
    excess = []
    for batch, lr in BATCHES:
        excess.append(descend(batch, lr, runs))
        report(len(excess), len(BATCHES))
    delta = [starts(runs)]
    for _ in range(UPDATES):
        delta.append(delta[-1] - table.eigenvalues * delta[-1])
    return Losses(
        minimum=table.minimum,
        eigenvalues=table.eigenvalues,
        excess=np.stack(excess),
        replaced=np.stack([replaced(batch, lr) for batch, lr in BATCHES]),
        descents=np.stack([0.5 * d**2 @ table.eigenvalues for d in delta], axis=-1),
        parts=descent_parts(1.0),
        best=descent_parts(2 / (table.eigenvalues[0] + table.eigenvalues[-1])).sum(axis=0),
    )


COLUMNS = ("what", "batch", "lr", "epoch", "loss", "low", "high", "with_replacement", "minimum")


def rows(d: Losses) -> Iterator[tuple[object, ...]]:
    """Losses of the runs, what the book prints, and (parts) the excess loss in directions."""
    none, f = float("nan"), d.minimum
    for (batch, lr), runs, exact in zip(BATCHES, d.excess, d.replaced, strict=True):
        low, high = f + np.quantile(runs, (0.025, 0.975), axis=0)
        mean, other = f + runs.mean(axis=0), np.concatenate([[none], f + exact])
        for k, line in enumerate(np.stack([mean, low, high, other], axis=-1).tolist()):
            yield "minibatches", batch, lr, k * EVERY / ROWS, *line, f
    low, high = f + np.quantile(d.descents, (0.025, 0.975), axis=0)
    for k, line in enumerate(np.stack([f + d.parts.sum(axis=0), low, high], axis=-1).tolist()):
        yield "rate 1", ROWS, 1.0, k, *line, none, f
    rate = float(2 / (d.eigenvalues[0] + d.eigenvalues[-1]))
    for k, loss in enumerate(f + d.best):
        yield "best rate", ROWS, rate, k, float(loss), none, none, none, f
    for batch, numbers in PRINTED.items():
        for number in numbers:
            yield "printed", batch, none, 10 if batch == ROWS else 2, number, none, none, none, f
    for what, part in zip(("steepest", "flattest", "others"), _grouped(d.parts), strict=True):
        for k, excess in enumerate(part.tolist()):
            yield what, ROWS, 1.0, k, excess, none, none, none, f


def _grouped(parts: Array) -> tuple[Array, Array, Array]:
    return parts[-1], parts[0], parts[1:-1].sum(axis=0)


def draw(table: Table) -> Figure:
    """Minibatches, gradient descent, and its parts."""
    figure = new_figure(3.1)
    left, middle, right = figure.subplots(1, 3)
    styles = dict(zip((1, 10, 100, 1500), ordered(4), strict=True))
    printed = table.where("what", "printed")
    for batch, curve in table.where("what", "minibatches").groups("batch"):
        style = styles[batch]
        left.fill_between(curve["epoch"], curve["low"], curve["high"], color=style.colour, alpha=0.13, lw=0)
        left.plot(curve["epoch"], curve["with_replacement"], ":", color=style.colour, lw=0.9)
        left.plot(curve["epoch"], curve["loss"], label=f"batch {batch:.0f}", **style.line())
        ends = printed.where("batch", batch)
        beside = 0.06 + 0.06 * np.log10(batch)
        left.plot(ends["epoch"] + beside, ends["loss"], style.marker, color=style.colour, mew=0)
    left.plot([], [], ":", color="0.35", lw=0.9, label="with replacement")
    left.set(
        xlabel="epochs", ylabel="loss", xlim=(0, 2.25), ylim=(0.2405, 0.2585), xticks=[0, 0.5, 1, 1.5, 2]
    )
    gd, colour = table.where("what", "rate 1"), styles[1500].colour
    middle.fill_between(gd["epoch"], gd["low"], gd["high"], color=colour, alpha=0.25, lw=0)
    middle.plot(gd["epoch"], gd["loss"], "-", color=colour, label=r"all rows, $\eta = 1$")
    middle.plot(gd["epoch"][2:11:2], gd["loss"][2:11:2], "o", mfc="white", mec=colour, label="recorded")
    best = table.where("what", "best rate")
    middle.plot(best["epoch"], best["loss"], "-.", color=VERMILION, label=r"all rows, $\eta = 2/(L + \mu)$")
    ends = printed.where("batch", 1500)
    middle.plot(ends["epoch"] + 0.6, ends["loss"], styles[1500].marker, color=colour, mew=0)
    middle.plot([], [], "D", color="0.35", mew=0, label="printed in the book")
    middle.set(xlabel="epochs = updates", xlim=(0, 20), ylim=(0.238, 0.302), xticks=[0, 5, 10, 15, 20])
    left.set_yticks([0.242, 0.246, 0.25, 0.254, 0.258])
    middle.set_yticks([0.24, 0.26, 0.28, 0.30])
    for axes in (left, middle):
        axes.axhline(gd.first("minimum"), color="0.5", ls="--", lw=0.7, zorder=0.5)
    for what, dash in (("steepest", "-"), ("flattest", "-."), ("others", ":")):
        part = table.where("what", what)
        right.plot(
            part["epoch"],
            part["loss"],
            ls=dash,
            color="0.2",
            label=f"{what} direction" if dash != ":" else "other directions",
        )
    right.set(xlabel="updates", ylabel="excess loss", yscale="log", ylim=(1e-6, 1), xticks=[0, 5, 10, 15, 20])
    left.fill_between([], [], [], color="0.5", alpha=0.25, lw=0, label="band: 95 % of the runs")
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def _ordinary(batch: int, runs: Array, minimum: float) -> Estimate:
    """The fraction of the runs that end below what the current build prints."""
    return fraction_estimate(int(np.sum(minimum + runs < PRINTED[batch][0])), len(runs))


def _printed(batch: int) -> Claim[Losses]:
    place = [size for size, _ in BATCHES].index(batch) if batch < ROWS else -1
    return Claim(
        f"batch {batch}: the printed loss {PRINTED[batch][0]} is an ordinary one: the fraction of runs below",
        _BOOK,
        lambda d: _ordinary(batch, d.excess[place, :, -1] if place >= 0 else d.descents[:, 10], d.minimum),
        0.5,
        tolerance=0.475,
    )


def _slowing(d: Losses) -> Estimate:
    """Batch 1: log of the factor by which the first epoch lowers the excess loss, over the second's."""
    half = (d.excess.shape[-1] - 1) // 2  # 1400 examples, the last record of the first epoch
    start, middle, end = (np.log(d.excess[0, :, k]) for k in (0, half, -1))
    return mean_estimate(2 * middle - start - end)


_BOOK, _HERE = "Dive into Deep Learning 12.5", "derived here"


def _replacement(i: int) -> Claim[Losses]:
    batch, _ = BATCHES[i]
    return Claim(
        f"batch {batch}: replacement is less efficient, by a tenth at least: excess without over with",
        "Dive into Deep Learning 12.4 and exercise 3 of 12.5",
        lambda d: mean_estimate(d.excess[i, :, -1] / d.replaced[i, -1]),
        0.9,
        relation="at_most",
    )


CLAIMS: tuple[Claim[Losses], ...] = (
    Claim(
        "gradient descent: there is little progress: the share of the excess loss that 6 updates remove",
        _BOOK,
        lambda d: float(1 - d.parts.sum(axis=0)[6] / d.parts.sum(axis=0)[0]),
        0.5,
        relation="at_most",
        expect="refuted",
        finding="nearly all is removed, 97 % by the time of the book's first record, two updates",
    ),
    Claim(
        "after 6 steps progress stalls: the excess loss after 10 updates over that after 6",
        _BOOK,
        lambda d: float(d.parts.sum(axis=0)[10] / d.parts.sum(axis=0)[6]),
        1.0,
        tolerance=0.1,
        expect="refuted",
        finding="it grows, and without end: the learning rate 1 lies above 2/L = 0.953",
    ),
    Claim(
        "2/L lies below the book's learning rate 1",
        _HERE,
        lambda d: float(2 / d.eigenvalues[-1]),
        1.0,
        0.0,
        "at_most",
    ),
    Claim(
        "in the end the runs' excess loss grows by (1 − L)² = 1.207 per update",
        _HERE,
        lambda d: float(d.descents[:, -1].mean() / d.descents[:, -2].mean()),
        1.207,
        tolerance=0.002,
    ),
    Claim(
        "2/(L + μ) is better: the excess loss that the rate 1 leaves after 10 updates, over what it leaves",
        _HERE,
        lambda d: mean_estimate(d.descents[:, 10] / d.best[10]),
        2.0,
        relation="at_least",
    ),
    *(_printed(batch) for batch in PRINTED),
    Claim(
        "SGD converges faster than GD in terms of examples: excess loss after two epochs over GD's",
        _BOOK,
        lambda d: ratio_estimate(d.excess[0, :, -1], d.descents[:, 2], paired=True),
        1.0,
        relation="at_most",
    ),
    Claim(
        "batch 1: the decline slows down after one epoch: log of its factor in the first over the second",
        _BOOK,
        _slowing,
        float(np.log(0.5)),
        relation="at_most",
    ),
    *(_replacement(i) for i in range(len(BATCHES))),
)
