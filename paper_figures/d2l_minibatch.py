r"""Batch sizes on the airfoil data: the book's four runs, one of which is past the edge of stability.

Dive into Deep Learning, section 12.5: least squares, f = ½ mean (xᵀw + b − y)², on the first 1500 of 1503
rows, all six columns standardised over all rows; w ~ N(0, 0.01²), b = 0; every epoch a fresh permutation.
(`TableLeastSquares` takes all 1503 rows, so the runs are made here.)

Left: two epochs with batches of 1, 10 and 100: mean over runs, and the band that holds 95 % of them. Dotted:
the exact expected loss when rows are drawn with replacement, which is higher. Markers on the right: what two
builds of the book print, one run each. Dashed: the minimum.

Middle: gradient descent with the book's rate 1, exact mean over starts. The book plots every second update up
to the tenth (circles): little progress, and none after the sixth. For the first circle has 97 % of the excess
behind it, and after the sixth update the excess grows: 1 lies above 2/L = 0.953. After ten updates 2/(L + μ)
leaves less than a tenth of the rate 1's excess. Right: the excess of the rate 1 by eigenvectors of
the Hessian: the steepest direction's grows by (1 − L)² per update, and after 20 it is all of it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from ratelab.experiments.judging.estimates import Estimate, fraction_estimate
from ratelab.experiments.sources import Source
from ratelab.experiments.spec import Claim, Measure
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import claim, mean, ours, paired
from ratelab.paper_figures.house.style import VERMILION, Look, new_figure, ordered
from ratelab.paper_figures.house.table import Table, lines_of, table_of
from ratelab.problems import philox
from ratelab.problems.data.datasets import load
from ratelab.problems.data.minibatches import minibatches
from ratelab.theory.arrays import Array
from ratelab.theory.moments import Minibatches, exact_risk

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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

LAST = {1: 2, 10: 2, 100: 2, ROWS: 10}
"""The epochs after which they are."""

KEPT = {1: [0, 7, 15], 10: [15], 100: [15], ROWS: [2, 10, 19, 20]}
"""The records at which claims speak of single runs, by batch."""

UPDATES = 20
"""Of gradient descent; the book has ten."""

Lines = Iterator[dict[str, object]]


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


def data(full: bool = False, report: Report = quiet) -> Table:
    """1024 runs of each, in full 4096."""
    runs = 4096 if full else 1024
    found = [*descended(runs), *printed()]
    for done, (batch, lr) in enumerate(BATCHES, 1):
        excess = descend(batch, lr, runs)
        curves = {"loss": excess.mean(axis=0), "with_replacement": np.append(np.nan, replaced(batch, lr))}
        found += measured(batch, lr, np.arange(excess.shape[1]) * EVERY / ROWS, excess, curves)
        report(done, len(BATCHES))
    return table_of(found)


def measured(batch: int, lr: float, epochs: Array, excess: Array, curves: Mapping[str, Array]) -> Lines:
    """What is known of the mean, the band of 95 % of the runs (R, K), and each run where a claim needs it."""
    f, head = regression().minimum, {"batch": batch, "lr": lr}
    low, high = np.quantile(excess, (0.025, 0.975), axis=0)
    columns = {name: f + values for name, values in {**curves, "low": low, "high": high}.items()}
    yield from lines_of({"what": "mean", **head, "minimum": f}, {"epoch": epochs} | columns)
    for seed, run in enumerate(f + excess[:, KEPT[batch]]):
        yield from lines_of(
            {"what": "run", **head, "seed": seed}, {"epoch": epochs[KEPT[batch]], "loss": run}
        )


def descended(runs: int) -> Lines:
    """Gradient descent with the rate 1, also by eigenvectors, and with the best rate."""
    f, eigenvalues = regression().minimum, regression().eigenvalues
    delta = [starts(runs)]
    for _ in range(UPDATES):
        delta.append(delta[-1] - eigenvalues * delta[-1])
    excess = np.stack([0.5 * d**2 @ eigenvalues for d in delta], axis=-1)
    epochs, parts = np.arange(UPDATES + 1.0), descent_parts(1.0)
    yield from measured(ROWS, 1.0, epochs, excess, {"loss": parts.sum(axis=0)})
    grouped = {
        "steepest direction": parts[-1],
        "flattest direction": parts[0],
        "other directions": parts[1:-1].sum(axis=0),
    }
    for what, part in grouped.items():
        yield from lines_of({"what": what, "batch": ROWS, "lr": 1.0}, {"epoch": epochs, "loss": part})
    best = 2 / (eigenvalues[0] + eigenvalues[-1])
    losses = f + descent_parts(best).sum(axis=0)
    yield from lines_of({"what": "best rate", "batch": ROWS, "lr": best}, {"epoch": epochs, "loss": losses})
    yield {"what": "2/L", "batch": ROWS, "lr": 2 / eigenvalues[-1]}


def printed() -> Lines:
    for batch, losses in PRINTED.items():
        yield from lines_of({"what": "printed", "batch": batch, "epoch": LAST[batch]}, {"loss": losses})


def draw(table: Table) -> Figure:
    """Minibatches, gradient descent, and its parts."""
    figure = new_figure(3.1)
    left, middle, right = figure.subplots(1, 3)
    styles = dict(zip((1, 10, 100, 1500), ordered(4), strict=True))
    draw_minibatches(left, table, styles)
    draw_descent(middle, table.where("batch", 1500), styles[1500])
    for axes in (left, middle):
        axes.axhline(table.first("minimum"), color="0.5", ls="--", lw=0.7, zorder=0.5)
    for what, dash in (("steepest direction", "-"), ("flattest direction", "-."), ("other directions", ":")):
        part = table.where("what", what)
        right.plot(part["epoch"], part["loss"], ls=dash, color="0.2", label=what)
    right.set(xlabel="updates", ylabel="excess loss", yscale="log", ylim=(1e-6, 1), xticks=[0, 5, 10, 15, 20])
    left.fill_between([], [], [], color="0.5", alpha=0.25, lw=0, label="band: 95 % of the runs")
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def draw_minibatches(axes: "Axes", table: Table, styles: dict[int, Look]) -> None:
    for batch in (1, 10, 100):
        curve, ends = (table.where("batch", batch).where("what", what) for what in ("mean", "printed"))
        style = styles[batch]
        axes.fill_between(curve["epoch"], curve["low"], curve["high"], color=style.colour, alpha=0.13, lw=0)
        axes.plot(curve["epoch"], curve["with_replacement"], ":", color=style.colour, lw=0.9)
        axes.plot(curve["epoch"], curve["loss"], label=f"batch {batch}", **style.line())
        beside = 0.06 + 0.06 * np.log10(batch)
        axes.plot(ends["epoch"] + beside, ends["loss"], style.marker, color=style.colour, mew=0)
    axes.plot([], [], ":", color="0.35", lw=0.9, label="with replacement")
    axes.set(xlabel="epochs", ylabel="loss", xlim=(0, 2.25), ylim=(0.2405, 0.2585))
    axes.set(xticks=[0, 0.5, 1, 1.5, 2], yticks=[0.242, 0.246, 0.25, 0.254, 0.258])


def draw_descent(axes: "Axes", all_rows: Table, style: Look) -> None:
    gd, best, ends = (all_rows.where("what", what) for what in ("mean", "best rate", "printed"))
    axes.fill_between(gd["epoch"], gd["low"], gd["high"], color=style.colour, alpha=0.25, lw=0)
    axes.plot(gd["epoch"], gd["loss"], "-", color=style.colour, label=r"all rows, $\eta = 1$")
    axes.plot(gd["epoch"][2:11:2], gd["loss"][2:11:2], "o", mfc="white", mec=style.colour, label="recorded")
    axes.plot(best["epoch"], best["loss"], "-.", color=VERMILION, label=r"all rows, $\eta = 2/(L + \mu)$")
    axes.plot(ends["epoch"] + 0.6, ends["loss"], style.marker, color=style.colour, mew=0)
    axes.plot([], [], "D", color="0.35", mew=0, label="printed in the book")
    axes.set(xlabel="epochs = updates", xlim=(0, 20), ylim=(0.238, 0.302))
    axes.set(xticks=[0, 5, 10, 15, 20], yticks=[0.24, 0.26, 0.28, 0.30])


def excess(what: str, batch: int, epoch: float, y: str = "loss") -> Callable[[Table], Array]:
    """f − f* of every run (R,), or of a curve (1,)."""

    def of(table: Table) -> Array:
        found = table.where("what", what).where("batch", batch).where("epoch", epoch)
        return np.asarray(found[y] - table.first("minimum"))

    return of


def left(after: int, before: int) -> Callable[[Table], float]:
    """Of gradient descent's excess loss after some updates, of that after fewer."""
    return lambda table: float(excess("mean", ROWS, after)(table)[0] / excess("mean", ROWS, before)(table)[0])


def plotted(after: int, before: int) -> Callable[[Table], float]:
    """The same of the loss, as the book plots it."""

    def loss(table: Table, epoch: int) -> float:
        return float(excess("mean", ROWS, epoch)(table)[0] + table.first("minimum"))

    return lambda table: loss(table, after) / loss(table, before)


def over(what: str, batch: int, epoch: float, y: str = "loss") -> Measure:
    """The mean excess loss of the runs over that of a curve."""
    return mean(lambda table: excess("run", batch, epoch)(table) / excess(what, batch, epoch, y)(table))


def growth(table: Table) -> float:
    """Of the mean, from the last update but one to the last."""
    before, after = (excess("run", ROWS, epoch)(table).mean() for epoch in (UPDATES - 1, UPDATES))
    return float(after / before)


def steepest(table: Table) -> float:
    """Its share of the excess loss after the last update."""
    part = table.where("what", "steepest direction").where("epoch", UPDATES).first("loss")
    return float(part / excess("mean", ROWS, UPDATES)(table)[0])


def slowing(table: Table) -> Array:
    """Batch 1: log of the factor by which the first epoch lowers the excess loss, over the second's."""
    half = 7 * EVERY / ROWS  # 1400 examples, the last record of the first epoch
    start, middle, end = (np.log(excess("run", 1, epoch)(table)) for epoch in (0, half, 2))
    return np.asarray(2 * middle - start - end)


_BOOK = Source(
    "Dive into Deep Learning",
    "section 12.5.4 (chapter_optimization/minibatch-sgd.md)",
    "this setting",
    "full text",
    setting="its own data, rates and batches",
)
_BUILD = replace(_BOOK, place="section 12.5.4, outputs as notes quote a build", seen="second hand")
_SAMPLES = replace(
    _BOOK,
    place="section 12.4.4 (chapter_optimization/sgd.md)",
    setting="SGD on a finite sample, its own data",
)


def ordinary(batch: int) -> Claim:
    number, end = PRINTED[batch][0], excess("run", batch, LAST[batch])

    def below(table: Table) -> Estimate:
        runs = end(table) + table.first("minimum")
        return fraction_estimate(int(np.sum(runs < number)), len(runs))

    sentence = f"batch {batch}: the printed loss {number} is an ordinary one: the fraction of runs below"
    return claim(sentence, _BUILD, below, "0.5 ± 0.475")


def replacement(batch: int) -> Claim:
    sentence = f"batch {batch}: replacement decreases data efficiency: excess loss without over with"
    return claim(sentence, _SAMPLES, over("mean", batch, 2, "with_replacement"), "at most 1")


CLAIMS = (
    claim(
        "gradient descent: there is little progress: the plotted loss after 6 updates over that after 2",
        replace(_BOOK, words="as its plot has it"),
        plotted(6, 2),
        "at least 0.95",
    ),
    claim(
        "after 6 steps progress stalls: the plotted loss after 10 updates over that after 6",
        replace(_BOOK, words="as its plot has it"),
        plotted(10, 6),
        "at least 0.99",
    ),
    claim(
        "before the first record, two updates, 97 % of the excess loss are removed",
        ours(),
        lambda table: 1 - left(2, 0)(table),
        "0.97 ± 0.005",
    ),
    claim(
        "after 6 updates the excess loss grows: after 10 over after 6",
        ours(),
        left(10, 6),
        "at least 1.5",
    ),
    claim(
        "2/L lies below the book's learning rate 1",
        ours(),
        lambda table: table.where("what", "2/L").first("lr"),
        "0.953 ± 0.0005",
    ),
    claim(
        "in the end the runs' excess loss grows by (1 − L)² = 1.207 per update",
        ours(),
        growth,
        "1.207 ± 0.002",
    ),
    claim(
        "after 20 updates the steepest direction has all of the excess loss: its share",
        ours(),
        steepest,
        "at least 0.99",
    ),
    claim(
        "2/(L + μ) is better: the excess loss that the rate 1 leaves after 10 updates, over what it leaves",
        ours(),
        over("best rate", ROWS, 10),
        "at least 10",
    ),
    *(ordinary(batch) for batch in PRINTED),
    claim(
        "SGD converges faster than GD in terms of examples: excess loss after two epochs over GD's",
        _BOOK,
        paired(excess("run", 1, 2), excess("run", ROWS, 2)),
        "at most 1",
    ),
    claim(
        "batch 1: the decline slows down after one epoch, twofold: log of its factor, less the second's",
        _BOOK,
        mean(slowing),
        f"at most {np.log(0.5)}",
    ),
    *(replacement(batch) for batch, _ in BATCHES),
)
