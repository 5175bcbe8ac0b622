r"""A line fitted by "SGD" that saw one batch a thousand times, and what its schedule did and didn't gain.

J. Krohn's notebook: y = 2 − x/2 + N(0, 1), x in [0, 8], 8,000,000 points, batches of 32; a step at a rate of
0.02, then 1000 rounds at 0.02·0.995^k. Its loop takes next(iter(loader)) of a loader that doesn't shuffle, so
that every round sees the same 32 points: gradient descent on them. Left: the mean squared error on the batch;
diamonds: the costs that the notebook prints; dashed: what these 32 points allow. Middle: the excess of the
mean squared error over the true line's on all points, for the notebook's 32 points (thick) and on average
over 1000 other draws of 32 (thin; band: 95 % interval of the mean). Right: the same as intended, with 32 new
points every round: exact expectation, means of 64 runs (markers) with their 95 % intervals, and dotted what
is left of the start.

As printed the cost falls without any noise. For the notebook's 32 points the schedule pays: it stops before
the line fits their noise, and, by luck, nearer to the true line than fresh batches do on average. Over other
draws it doesn't, and one batch costs a factor of 3.8. As intended the schedule lowers the excess by 7 %
against the constant rate, but what it leaves is hardly noise: nearly all of it is left of the start, because
0.995^k gives the rate up before the line has turned. Decaying to 0 by the last round, from the same rate,
leaves a fortieth of it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ratelab.experiments.engines import step
from ratelab.experiments.estimates import mean_estimate, ratio_estimate
from ratelab.experiments.methods import SGD
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import Claim, mean_interval
from ratelab.paper_figures.house.style import look, new_figure
from ratelab.paper_figures.house.table import Table
from ratelab.problems import philox
from ratelab.problems.data.datasets import load
from ratelab.problems.problem import exact_risk
from ratelab.problems.regression import TableLeastSquares
from ratelab.theory.arrays import Array, Integers, record_times
from ratelab.theory.schedules import Constant, Exponential, Linear, Schedule, multipliers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ABOUT = About(
    title="A line by SGD, as printed and as intended",
    group="Tutorials and trainers",
    source="J. Krohn, ML-foundations, notebook learning-rate-scheduling",
    link="https://github.com/jonkrohn/ML-foundations/blob/master/notebooks/learning-rate-scheduling.ipynb",
    topics=("decay", "noise", "batch size"),
    seconds=(5, 5),
)

ROUNDS, BATCH, LR, START = 1001, 32, 0.04, (0.9, 0.1)
"""Its cost has no half, so its rate of 0.02 is 0.04 here; slope and intercept at the start."""
TRUE_LINE, SECOND_MOMENTS = np.array([-0.5, 2.0]), np.array([[64 / 3, 4.0], [4.0, 1.0]])
"""And E zzᵀ of z = (x, 1) for x even in [0, 8]."""
SCHEDULES: tuple[tuple[str, Schedule], ...] = (
    (r"$0.995^k$ (the notebook's)", Exponential(0.995)),
    ("constant", Constant()),
    ("linear to 0", Linear()),
)
NOTEBOOK, CONSTANT, LINEAR = range(3)
PRINTED_AT = tuple(range(1, ROUNDS, 50))
PRINTED = (
    *(2.76, 1.32, 1.07, 0.956, 0.893, 0.857, 0.835, 0.821, 0.811, 0.804),
    *(0.799, 0.795, 0.793, 0.791, 0.789, 0.788, 0.787, 0.786, 0.786, 0.786),
)
"""Updates before "Step 0", "Step 50", ..., and the costs that the notebook prints there."""
DRAWS, RUNS = 1000, 64


@dataclass(frozen=True)
class Fits:
    """Mean squared errors at K records; excesses are over the true (or the best) line's on all points.

    cost, one_draw: on the notebook's batch and of its line on all points, (schedules, K)
    draws: of other batches, each seen in every round, (draws, schedules, K)
    fresh, left: with new batches, exact, and what is left of the start in it, (schedules, K)
    runs: the same by simulation, (runs, schedules, K)
    best: the least cost on the batch
    """

    times: Integers
    cost: Array
    one_draw: Array
    draws: Array
    fresh: Array
    left: Array
    runs: Array
    best: float


def data(full: bool = False, report: Report = quiet) -> Fits:
    """Descent on given batches in closed loops; fresh batches exactly and by simulation."""
    times = record_times(ROUNDS, 30, also=(*PRINTED_AT, *range(10, ROUNDS, 10)))
    s = np.array([multipliers(schedule, ROUNDS) for _, schedule in SCHEDULES])
    x, y = load("line").features, load("line").targets
    z = np.column_stack([x, np.ones(BATCH)])
    line = descend(z[None], y[None], np.array(START), s, times)[0]
    off = line - TRUE_LINE
    report(1, 3)
    problem = TableLeastSquares("line_population", batch=BATCH, initial=START)
    key = philox.stream_key(0, repr(problem))
    features, residuals = (part[:, 0].astype(float) for part in problem.sample(key, range(DRAWS), ROUNDS, 1))
    drawn = descend(features, residuals, problem.start, s, times)
    report(2, 3)
    fresh = exact_risk(problem, s, np.array([LR]), [np.ones_like(s)], times)
    runs = step.simulate(problem, SGD(), s, np.array([LR]), [np.ones_like(s)], times, key, range(RUNS))
    kept = np.cumprod(1 - LR * s[:, :, None] * problem.eigenvalues, axis=1)
    kept = np.concatenate([np.ones_like(kept[:, :1]), kept], axis=1)[:, times] * problem.start
    report(3, 3)
    return Fits(
        times,
        cost=np.mean((line @ z.T - y) ** 2, axis=-1),
        one_draw=np.einsum("ski,ij,skj->sk", off, SECOND_MOMENTS, off),
        draws=drawn**2 @ problem.eigenvalues,
        fresh=2 * fresh[:, 0, 0],
        left=kept**2 @ problem.eigenvalues,
        runs=2 * runs[:, :, 0, 0],
        best=2 * TableLeastSquares("line", batch=BATCH, replacement=False).minimum,
    )


def descend(z: Array, y: Array, start: Array, s: Array, times: Integers) -> Array:
    """Gradient descent on (1/2n) Σ (zᵀw − y)² of R batches, z (R, n, d): (R, schedules, K, d)."""
    gram = np.einsum("rni,rnj->rij", z, z) / z.shape[1]
    right = np.einsum("rni,rn->ri", z, y) / z.shape[1]
    w = np.tile(start, (len(z), len(s), 1))
    path = [w]
    for t in range(s.shape[1]):
        w = w - LR * s[:, t, None] * (w @ gram - right[:, None])
        path.append(w)
    return np.stack(path, axis=2)[:, :, times]


COLUMNS = (
    *("panel", "line", "schedule", "name", "t", "value", "low", "high"),
    *("best", "left_of_start"),
)


def rows(d: Fits) -> Iterator[tuple[object, ...]]:
    """One row per panel, line and record; what isn't there is NaN."""
    nan = math.nan
    for i, (name, schedule) in enumerate(SCHEDULES):
        low, high = mean_interval(d.draws[:, i])
        few = mean_interval(d.runs[:, i])
        means = d.draws[:, i].mean(axis=0), d.runs[:, i].mean(axis=0)
        for k, t in enumerate(d.times.tolist()):
            head = repr(schedule), name, t
            if i != LINEAR:
                yield "cost", "batch", *head, float(d.cost[i, k]), nan, nan, d.best, nan
                yield "same", "notebook", *head, float(d.one_draw[i, k]), nan, nan, nan, nan
                yield "same", "draws", *head, float(means[0][k]), float(low[k]), float(high[k]), nan, nan
            yield "fresh", "exact", *head, float(d.fresh[i, k]), nan, nan, nan, float(d.left[i, k])
            interval = float(few[0][k]), float(few[1][k])
            yield "fresh", "runs", *head, float(means[1][k]), *interval, nan, nan
    for t, cost in zip(PRINTED_AT, PRINTED, strict=True):
        yield "cost", "printed", repr(SCHEDULES[0][1]), SCHEDULES[0][0], t, cost, nan, nan, nan, nan


def draw(table: Table) -> Figure:
    """The notebook's own cost, its line's worth, and the one that it meant."""
    figure = new_figure(3.0)
    cost, same, fresh = figure.subplots(1, 3)
    draw_cost(cost, table.where("panel", "cost"))
    draw_same(same, table.where("panel", "same"))
    draw_fresh(fresh, table.where("panel", "fresh"))
    for panel in (cost, same, fresh):
        panel.set(xlabel="rounds", xlim=(-15, 1020), xticks=(0, 500, 1000))
    for panel in (same, fresh):
        panel.set(yscale="log", ylim=(2e-4, 3))
    figure.legend(handles=legend(table), loc="outside lower center", ncols=3)
    return figure


def draw_cost(panel: "Axes", table: Table) -> None:
    """On the batch."""
    for schedule, curve in table.where("line", "batch").groups("schedule"):
        panel.plot(curve["t"], curve["value"], **look(schedule).line())
        panel.axhline(curve.first("best"), color="0.4", lw=0.7, ls="--")
    printed = table.where("line", "printed")
    colour = look(printed.first("schedule")).colour
    panel.plot(printed["t"], printed["value"], "D", color=colour, mfc="white", mew=0.8)
    panel.set(yscale="log", ylim=(0.7, 3), ylabel="mean squared error on the batch")
    panel.set_yticks((0.7, 0.8, 1, 2, 3), ("0.7", "0.8", "1", "2", "3"))
    panel.set_yticks((), minor=True)
    panel.set_title("as printed: one batch")


def draw_same(panel: "Axes", table: Table) -> None:
    """On all points, of lines that saw one batch."""
    for schedule, curve in table.where("line", "draws").groups("schedule"):
        panel.plot(curve["t"], curve["value"], lw=0.7, **look(schedule).line())
        panel.fill_between(
            curve["t"], curve["low"], curve["high"], color=look(schedule).colour, alpha=0.3, lw=0
        )
    for schedule, curve in table.where("line", "notebook").groups("schedule"):
        panel.plot(curve["t"], curve["value"], **look(schedule).line() | {"linewidth": 1.8})
    panel.set_ylabel("excess over the true line, all points")
    panel.set_title("as printed, on all points")


def draw_fresh(panel: "Axes", table: Table) -> None:
    """On all points, of lines that saw new ones."""
    for schedule, curve in table.where("line", "exact").groups("schedule"):
        panel.plot(curve["t"], curve["value"], **look(schedule).line())
        panel.plot(curve["t"], curve["left_of_start"], ":", color=look(schedule).colour, lw=0.8)
    for i, (schedule, curve) in enumerate(table.where("line", "runs").groups("schedule")):
        style, few = look(schedule), curve["t"] % 150 == 1 + 50 * i
        panel.plot(curve["t"][few], curve["value"][few], style.marker, color=style.colour, mew=0)
        panel.fill_between(curve["t"], curve["low"], curve["high"], color=style.colour, alpha=0.3, lw=0)
    panel.set_title("as intended: new batches")


def legend(table: Table) -> list[Artist]:
    """Schedules, and what else is drawn."""
    entries: list[Artist] = [
        Line2D([], [], label=name, **look(schedule).line() | {"marker": look(schedule).marker})
        for (schedule, name), _ in table.groups("schedule", "name")
    ]
    entries.append(Line2D([], [], color="0.4", ls="", marker="D", mfc="white", label="printed costs"))
    entries.append(Line2D([], [], color="0.4", ls="--", lw=0.7, label="least cost on the batch"))
    entries.append(Line2D([], [], color="0.4", ls=":", lw=0.8, label="left of the start"))
    entries.append(Line2D([], [], color="0.4", lw=1.8, label="thick: the notebook's 32 points"))
    entries.append(Line2D([], [], color="0.4", lw=0.7, label="thin: mean over 1000 draws"))
    entries.append(Patch(color="0.4", alpha=0.3, lw=0, label="band: 95 % interval of the mean"))
    return entries


PRINTS, DERIVED = "Krohn, printed", "derived here"


def _end(d: Fits, schedule: int) -> float:
    return float(d.fresh[schedule, -1])


def _furthest(d: Fits) -> float:
    """From a printed cost, in units of its last digit."""
    costs = d.cost[NOTEBOOK, np.searchsorted(d.times, PRINTED_AT)]
    digit = 10.0 ** (np.floor(np.log10(PRINTED)) - 2)
    return float(np.max(np.abs(costs - PRINTED) / digit))


_LAPLACE = math.sqrt(math.pi) / (4 * BATCH) * math.sqrt(LR / ROUNDS)
LINEAR_NOISE = _LAPLACE * float(np.sum(np.sqrt(np.linalg.eigvalsh(SECOND_MOMENTS))))
"""Σ λ ∫ η² (λ/B) exp(−2λ ∫ η) for η = η₀ (T − t)/T and noise of variance 1 in the labels."""

CLAIMS: tuple[Claim[Fits], ...] = (
    Claim("the cost at the start", PRINTS, lambda d: float(d.cost[0, 0]), 33.3355, 0.51e-4),
    Claim("the cost after one step", PRINTS, lambda d: float(d.cost[0, 1]), 2.7568, 0.51e-4),
    Claim(
        "the 20 costs that it prints: the furthest of ours, in units of the printed last digit",
        PRINTS,
        _furthest,
        0.51,
        relation="at_most",
    ),
    Claim(
        "as printed, it is SGD: the largest rise of the cost between records is above 0",
        "Krohn: Optimize parameters via SGD",
        lambda d: float(np.diff(d.cost[NOTEBOOK]).max()),
        0.0,
        relation="at_least",
        expect="refuted",
        finding="the cost falls in every round: all see the same 32 points, and it is gradient descent",
    ),
    Claim(
        "as printed, the cost at the end",
        "docs/networks.md",
        lambda d: float(d.cost[NOTEBOOK, -1]),
        0.7853,
        0.51e-4,
    ),
    Claim(
        "as printed, the end above what the 32 points allow",
        "examples/line_as_printed.toml",
        lambda d: float(d.cost[NOTEBOOK, -1]) - d.best,
        0.0512,
        0.51e-4,
    ),
    Claim(
        "as intended, the excess at the end",
        "docs/networks.md",
        lambda d: _end(d, NOTEBOOK),
        0.0235,
        0.51e-4,
    ),
    Claim(
        "as intended, the mean excess of 64 runs over the exact one",
        DERIVED,
        lambda d: mean_estimate(d.runs[:, NOTEBOOK, -1] / d.fresh[NOTEBOOK, -1]),
        1.0,
        tolerance=0.1,
    ),
    Claim(
        '"Lower validation cost due to [...] learning rate scheduling", as intended: the excess falls by',
        "Krohn; 7 % in docs/networks.md",
        lambda d: 1 - _end(d, NOTEBOOK) / _end(d, CONSTANT),
        0.07,
        tolerance=0.0051,
    ),
    Claim(
        "as intended, the share of the excess that is noise is most of it",
        "Krohn: the cost can't reach 0 because of the noise",
        lambda d: 1 - float(d.left[NOTEBOOK, -1]) / _end(d, NOTEBOOK),
        0.5,
        relation="at_least",
        expect="refuted",
        finding="1 % is noise; 99 % is left of the start, which 0.995^k is too short to forget",
    ),
    Claim(
        "linear to 0 from the same rate, as intended: excess less what is left of the start, by Laplace",
        DERIVED,
        lambda d: _end(d, LINEAR) - float(d.left[LINEAR, -1]),
        LINEAR_NOISE,
        tolerance=0.05 * LINEAR_NOISE,
    ),
    Claim(
        "linear to 0 from the same rate, as intended: excess over the notebook's",
        DERIVED,
        lambda d: _end(d, LINEAR) / _end(d, NOTEBOOK),
        1 / 40,
        relation="at_most",
    ),
    Claim(
        "one batch instead of new ones costs something: excess at the end, printed over intended",
        DERIVED,
        lambda d: float(d.one_draw[NOTEBOOK, -1]) / _end(d, NOTEBOOK),
        1.0,
        relation="at_least",
        expect="refuted",
        finding="not for the notebook's 32 points, by luck: their line ends nearer to the true one",
    ),
    Claim(
        "but on average over draws of the 32 points it does: the mean excess is twice the intended one",
        DERIVED,
        lambda d: mean_estimate(d.draws[:, NOTEBOOK, -1] / d.fresh[NOTEBOOK, -1]),
        2.0,
        relation="at_least",
    ),
    Claim(
        "as printed, for the notebook's 32 points: its schedule's excess is below half the constant's",
        "Krohn: lower validation cost due to learning rate scheduling",
        lambda d: float(d.one_draw[NOTEBOOK, -1] / d.one_draw[CONSTANT, -1]),
        0.5,
        relation="at_most",
    ),
    Claim(
        "as printed, over 1000 draws of 32 points: mean excess of its schedule over the constant rate's",
        "Krohn: lower validation cost due to learning rate scheduling",
        lambda d: ratio_estimate(d.draws[:, NOTEBOOK, -1], d.draws[:, CONSTANT, -1], paired=True),
        1.0,
        relation="at_most",
        expect="refuted",
        finding="on average the start that it leaves costs more than the noise that it doesn't fit",
    ),
)
