r"""A line fitted by "SGD" that saw one batch a thousand times, and what its schedule did and didn't gain.

J. Krohn's notebook: y = 2 − x/2 + N(0, 1), x in [0, 8], 8,000,000 points, batches of 32; a step at a rate of
0.02, then 1000 rounds at 0.02·0.995^k. Its loop takes next(iter(loader)) of a loader that doesn't shuffle, so
that every round sees the same 32 points: gradient descent on them. Left: the mean squared error on the batch;
diamonds: the costs that the notebook prints; dashed: what these 32 points allow. Middle: the excess of the
mean squared error over the true line's on all points, for the notebook's 32 points (thick) and on average
over 1000 other draws of 32 (thin; band: 95 % interval of the mean). Right: the same as intended, with 32 new
points every round: exact expectation, means of 64 runs (markers) with their 95 % intervals, and dotted what
is left of the start.

As printed the cost falls at every record: the rounds are gradient descent on one batch. For the notebook's 32
points the schedule pays: it leaves 0.32 of the constant rate's excess, and, by luck, less than fresh batches
do on average. On average over other draws it doesn't (it does in a third of them), and one batch costs a
factor of 3.8. As intended the schedule lowers the excess by 7 % against the constant rate, but what it leaves
is hardly noise: 99 % is left of the start.
Decaying to 0 by the last round, from the same rate, leaves less than a fortieth of it.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from matplotlib.figure import Figure

from ratelab.experiments.engines import step
from ratelab.experiments.engines.job import Job
from ratelab.experiments.methods import SGD
from ratelab.experiments.sources import Source
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import claim, mean, ours, paired
from ratelab.paper_figures.house.style import look, mean_interval, new_figure
from ratelab.paper_figures.house.table import Table, lines_of, table_of
from ratelab.problems import philox
from ratelab.problems.data.datasets import load
from ratelab.problems.problem import exact_risk
from ratelab.problems.regression import TableLeastSquares
from ratelab.theory.arrays import Array, Integers, record_times
from ratelab.theory.averaging import Last
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
NOTEBOOK, CONSTANT, LINEAR = r"$0.995^k$ (the notebook's)", "constant", "linear to 0"
SCHEDULES: dict[str, Schedule] = {NOTEBOOK: Exponential(0.995), CONSTANT: Constant(), LINEAR: Linear()}
ONE_BATCH = (NOTEBOOK, CONSTANT)
"""Those that are looked at on the same batch in every round."""
PRINTED_AT = tuple(range(1, ROUNDS, 50))
PRINTED = (
    *(2.76, 1.32, 1.07, 0.956, 0.893, 0.857, 0.835, 0.821, 0.811, 0.804),
    *(0.799, 0.795, 0.793, 0.791, 0.789, 0.788, 0.787, 0.786, 0.786, 0.786),
)
"""Updates before "Step 0", "Step 50", ..., and the costs that the notebook prints there."""
DRAWS, RUNS = 1000, 64

Lines = Iterator[dict[str, object]]


def data(full: bool = False, report: Report = quiet) -> Table:
    """A line per panel, curve and record, and each draw and run at the end."""
    times = record_times(ROUNDS, 30, also=(*PRINTED_AT, *range(10, ROUNDS, 10)))
    problem = TableLeastSquares("line_population", batch=BATCH, initial=START)
    key = philox.stream_key(0, repr(problem))
    found = [*on_its_batch(times)]
    report(1, 3)
    found += on_other_batches(problem, key, times)
    report(2, 3)
    found += on_new_batches(problem, key, times)
    report(3, 3)
    return table_of(found)


def shapes(names: Iterable[str]) -> Array:
    """Multipliers (schedules, T)."""
    return np.array([multipliers(SCHEDULES[name], ROUNDS) for name in names])


def head(panel: str, line: str, name: str) -> dict[str, object]:
    return {"panel": panel, "line": line, "schedule": repr(SCHEDULES[name]), "name": name}


def on_its_batch(times: Integers) -> Lines:
    """Mean squared errors on its batch, and of its line on all points, there over the true line's."""
    z, y = np.column_stack([load("line").features, np.ones(BATCH)]), load("line").targets
    best = 2 * TableLeastSquares("line", batch=BATCH, replacement=False).minimum
    fitted = descend(z[None], y[None], np.array(START), shapes(ONE_BATCH), times)[0]
    for name, line in zip(ONE_BATCH, fitted, strict=True):
        cost, off = np.mean((line @ z.T - y) ** 2, axis=-1), line - TRUE_LINE
        yield from lines_of(head("cost", "batch", name) | {"best": best}, {"t": times, "value": cost})
        excess = np.einsum("ki,ij,kj->k", off, SECOND_MOMENTS, off)
        yield from lines_of(head("same", "notebook", name), {"t": times, "value": excess})
    yield from lines_of(head("cost", "printed", NOTEBOOK), {"t": PRINTED_AT, "value": PRINTED})


def on_other_batches(problem: TableLeastSquares, key: int, times: Integers) -> Lines:
    """Of lines that saw one other batch each."""
    z, y = (part[:, 0].astype(float) for part in problem.sample(key, range(DRAWS), ROUNDS, 1))
    off = descend(z, y, problem.start, shapes(ONE_BATCH), times)
    for name, excess in zip(ONE_BATCH, np.moveaxis(off**2 @ problem.eigenvalues, 1, 0), strict=True):
        yield from sampled("same", "draws", name, times, excess)


def on_new_batches(problem: TableLeastSquares, key: int, times: Integers) -> Lines:
    """With new batches: exactly, what is left of the start in it, and by simulation."""
    s, lr = shapes(SCHEDULES), np.array([LR])
    exact = exact_risk(problem, s, lr, [np.ones_like(s)], times)
    job = Job(problem, SGD(), list(SCHEDULES.values()), lr, [Last()], ROUNDS, times, key, range(RUNS))
    runs = step.compute(job)["risk"]
    kept = np.cumprod(1 - LR * s[:, :, None] * problem.eigenvalues, axis=1)
    kept = np.concatenate([np.ones_like(kept[:, :1]), kept], axis=1)[:, times] * problem.start
    left = kept**2 @ problem.eigenvalues
    for i, name in enumerate(SCHEDULES):
        columns = {"t": times, "value": 2 * exact[i, 0, 0], "left_of_start": left[i]}
        yield from lines_of(head("fresh", "exact", name), columns)
        yield from sampled("fresh", "runs", name, times, 2 * runs[:, i, 0, 0])


def sampled(panel: str, line: str, name: str, times: Integers, values: Array) -> Lines:
    """The mean of `values` (R, K) and its interval at every record, and each of them at the end."""
    low, high = mean_interval(values)
    columns = {"t": times, "value": values.mean(axis=0), "low": low, "high": high}
    yield from lines_of(head(panel, line, name), columns)
    ends = {"seed": np.arange(len(values)), "value": values[:, -1]}
    yield from lines_of(head(panel, "each", name) | {"t": ROUNDS}, ends)


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
    label(cost, table)
    figure.legend(loc="outside lower center", ncols=3)
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


def label(panel: "Axes", table: Table) -> None:
    """Schedules, and what else is drawn."""
    for (schedule, name), _ in table.groups("schedule", "name"):
        panel.plot([], [], label=name, marker=look(schedule).marker, **look(schedule).line())
    panel.plot([], [], "D", color="0.4", mfc="white", label="printed costs")
    panel.plot([], [], color="0.4", ls="--", lw=0.7, label="least cost on the batch")
    panel.plot([], [], color="0.4", ls=":", lw=0.8, label="left of the start")
    panel.plot([], [], color="0.4", lw=1.8, label="thick: the notebook's 32 points")
    panel.plot([], [], color="0.4", lw=0.7, label="thin: mean over 1000 draws")
    panel.fill_between([], [], [], color="0.4", alpha=0.3, lw=0, label="band: 95 % interval of the mean")


Entries: TypeAlias = Callable[[Table], Array]
"""(1,), or (R,) of each draw or run."""


def at(panel: str, line: str, name: str, y: str = "value", t: int = ROUNDS) -> Entries:
    """At a record, the last one if none is given."""
    return lambda table: table.where("panel", panel).where("line", line).where("name", name).where("t", t)[y]


def over(above: Entries, below: Entries) -> Entries:
    return lambda table: above(table) / below(table)


def less(more: Entries, by: Entries) -> Entries:
    return lambda table: more(table) - by(table)


def only(of: Entries) -> Callable[[Table], float]:
    """The one entry."""
    return lambda table: float(of(table).item())


def pays(table: Table) -> Array:
    """Of each draw, whether the schedule's excess ends below the constant rate's."""
    return (_DRAWS[NOTEBOOK](table) < _DRAWS[CONSTANT](table)).astype(float)


def rise(table: Table) -> float:
    """The largest of the notebook's cost between records."""
    return float(np.diff(table.where("line", "batch").where("name", NOTEBOOK)["value"]).max())


def furthest(table: Table) -> float:
    """From a printed cost, in units of its last digit."""
    ours, printed = table.where("line", "batch").where("name", NOTEBOOK), table.where("line", "printed")
    digit = 10.0 ** (np.floor(np.log10(printed["value"])) - 2)
    costs = ours["value"][np.searchsorted(ours["t"], printed["t"])]
    return float(np.max(np.abs(costs - printed["value"]) / digit))


_LAPLACE = math.sqrt(math.pi) / (4 * BATCH) * math.sqrt(LR / ROUNDS)
LINEAR_NOISE = _LAPLACE * float(np.sum(np.sqrt(np.linalg.eigvalsh(SECOND_MOMENTS))))
"""Σ λ ∫ η² (λ/B) exp(−2λ ∫ η) for η = η₀ (T − t)/T and noise of variance 1 in the labels."""

_COST = at("cost", "batch", NOTEBOOK)
_FRESH = {name: at("fresh", "exact", name) for name in SCHEDULES}
_LEFT = {name: at("fresh", "exact", name, "left_of_start") for name in SCHEDULES}
_DRAWS = {name: at("same", "each", name) for name in ONE_BATCH}
_ONE_DRAW = {name: at("same", "notebook", name) for name in ONE_BATCH}

_FILE = "notebooks/learning-rate-scheduling.ipynb, cell"
_KROHN = Source(
    "Krohn, ML-foundations",
    f"{_FILE} 48",
    "this setting",
    "full text",
    setting="its data, batch, start, rates and rounds",
)
_EXACT, _ASKED = ours("exact expectation"), ours("asked here")

CLAIMS = (
    claim(
        "the cost at the start",
        _KROHN.at(f"{_FILE} 30"),
        only(at("cost", "batch", NOTEBOOK, t=0)),
        "33.3355 ± 0.51e-4",
    ),
    claim(
        "the cost after one step",
        _KROHN.at(f"{_FILE} 42"),
        only(at("cost", "batch", NOTEBOOK, t=1)),
        "2.7568 ± 0.51e-4",
    ),
    claim(
        "the 20 costs that it prints: the furthest of ours, in units of the printed last digit",
        _KROHN,
        furthest,
        "at most 0.51",
    ),
    claim(
        "its SGD rounds see new batches, on which the cost rises at times: its largest rise between records",
        ours(f"asked here of its rounds ({_FILE}s 20, 48 and 52)"),
        rise,
        "at least 0",
        refuted="it falls at every record: all rounds see the same 32 points, and it is gradient descent",
    ),
    claim("the cost at the end", _KROHN.at(f"{_FILE} 49"), only(_COST), "0.785 ± 0.51e-3"),
    claim(
        "as printed, the end above what the 32 points allow",
        ours("least squares on them"),
        only(less(_COST, at("cost", "batch", NOTEBOOK, "best"))),
        "0.0512 ± 0.51e-4",
    ),
    claim(
        "as intended, the excess at the end",
        ours("docs/networks.md"),
        only(_FRESH[NOTEBOOK]),
        "0.0235 ± 0.51e-4",
    ),
    claim(
        "as intended, the mean excess of 64 runs over the exact one",
        _EXACT,
        mean(over(at("fresh", "each", NOTEBOOK), _FRESH[NOTEBOOK])),
        "1 ± 0.1",
    ),
    claim(
        '"lower validation cost due to [...] (independently) learning rate scheduling", as printed: excess '
        "over the constant rate's",
        _KROHN.at(f"{_FILE} 52", "relative to a notebook without; independently of more rounds"),
        only(over(_ONE_DRAW[NOTEBOOK], _ONE_DRAW[CONSTANT])),
        "at most 1",
    ),
    claim(
        "... by so much",
        _ASKED,
        only(over(_ONE_DRAW[NOTEBOOK], _ONE_DRAW[CONSTANT])),
        "0.32 ± 0.0051",
    ),
    claim(
        "... as intended: the excess falls by 7 %",
        ours("docs/networks.md"),
        lambda table: 1 - only(over(_FRESH[NOTEBOOK], _FRESH[CONSTANT]))(table),
        "0.07 ± 0.0051",
    ),
    claim(
        "... as printed, on average over 1000 draws of 32 points: mean excess over the constant rate's",
        _ASKED,
        paired(_DRAWS[NOTEBOOK], _DRAWS[CONSTANT]),
        "at most 1",
        refuted="1.29: the start that it leaves costs more on average than the noise that it doesn't fit",
    ),
    claim(
        "... as printed: the share of the 1000 draws in which it pays",
        _ASKED,
        mean(pays),
        "0.33 ± 0.04",
    ),
    claim(
        "as intended, what the schedule leaves is noise: the share of the excess that is",
        _ASKED,
        lambda table: 1 - only(over(_LEFT[NOTEBOOK], _FRESH[NOTEBOOK]))(table),
        "at least 0.5",
        refuted="1 % is noise; 99 % is left of the start, which 0.995^k is too short to forget",
    ),
    claim(
        "linear to 0 from the same rate, as intended: excess less what is left of the start, by Laplace",
        ours("Laplace's method"),
        only(less(_FRESH[LINEAR], _LEFT[LINEAR])),
        f"{LINEAR_NOISE} ± {0.05 * LINEAR_NOISE}",
    ),
    claim(
        "linear to 0 from the same rate, as intended: excess over the notebook's",
        _EXACT,
        only(over(_FRESH[LINEAR], _FRESH[NOTEBOOK])),
        f"at most {1 / 40}",
    ),
    claim(
        "one batch instead of new ones costs something: excess at the end, printed over intended",
        _ASKED,
        only(over(_ONE_DRAW[NOTEBOOK], _FRESH[NOTEBOOK])),
        "at least 1",
        refuted="not for the notebook's 32 points, by luck: 0.71 of the excess of new ones",
    ),
    claim(
        "but on average over draws of the 32 points it does: the mean excess over the intended one",
        _ASKED,
        mean(over(_DRAWS[NOTEBOOK], _FRESH[NOTEBOOK])),
        "3.8 ± 0.3",
    ),
)
