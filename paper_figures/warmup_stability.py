r"""On least squares linear scaling holds far below the largest stable step; a warmup doesn't move that step.

Least squares with fresh features instead of ImageNet: dimension 100, log-uniform eigenvalues from 0.01 to 1,
label noise N(0, 0.1²), 90 epochs of 1024 examples, lr = B η_0 for batch B, divided by 10 at epochs 30, 60 and
80 as in Goyal et al.; η_0 is a tenth of the limit at B = 1. Exact expected risk.

Top left: the largest stable constant step against the batch, where k = Σ ηλ/(B(2 − η(1 + 1/B)λ)) is 1. It
lies between 2B/(tr H + (B + 1)L) and 2/L (shaded), the maximum that no batch moves. The rule takes 0.57 of it
at B = 128 and is beyond it at 256. Top right: no warmup; bottom left: the lr grows from η_0 to Bη_0 over 5
epochs. Circles: mean and 95 % interval of simulated runs at B = 128. Bottom right: risk over that at B = 1
after as many examples, by warmup and epoch; line: ratio of the levels of constant steps, σ² k/(1 − k).

With gradual warmup the curves from epoch 20 on are within a tenth of that of B = 1 up to B = 16, and not up
to 128; after the second drop they are within a tenth again. Without warmup larger batches are above B = 1
from epoch 1 on, but never above the same batch with gradual warmup, and after a constant warmup the risk
falls. At B = 256 they diverge with gradual warmup as without, at the same rate.
"""

import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ratelab.experiments.engines import step
from ratelab.experiments.engines.job import Job
from ratelab.experiments.judging.crosscheck import cross_check
from ratelab.experiments.methods import SGD
from ratelab.experiments.sources import Source
from ratelab.experiments.spec import Measure
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import claim, mean, ours
from ratelab.paper_figures.house.exact import last_risk
from ratelab.paper_figures.house.style import mean_interval, new_figure, ordered, slope_triangle
from ratelab.paper_figures.house.table import Table, lines_of, table_of
from ratelab.problems import philox
from ratelab.problems.problem import critical_lr
from ratelab.problems.regression import StreamingLeastSquares
from ratelab.problems.spectra import LogUniform
from ratelab.theory.arrays import Array
from ratelab.theory.averaging import Last
from ratelab.theory.combine import Product, Warmup
from ratelab.theory.schedules import MultiStep, Piecewise, Schedule, multipliers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ABOUT = About(
    title="Batch size, warmup and the largest stable step",
    group="Papers",
    source="Goyal et al. 2017, figures 1 to 3",
    link="https://arxiv.org/abs/1706.02677",
    topics=("batch size", "noise", "warmup"),
    seconds=(1, 4),
)

SPECTRUM = LogUniform(dim=100, condition_number=100.0)
LABEL_SD, EPOCH, EPOCHS, WARM, DROPS = 0.1, 1024, 90, 5, (30, 60, 80)
LIMIT_BATCHES = tuple(2**i for i in range(14))
BATCHES = tuple(2**i for i in range(9))
LARGEST = 128
"""The largest batch that is stable."""
STABLE = BATCHES.index(LARGEST) + 1

NONE, GRADUAL, CONSTANT = WARMUPS = "no warmup", "gradual warmup", "constant warmup"
PER_EPOCH = 4
TIMES = np.arange(EPOCHS * PER_EPOCH + 1) / PER_EPOCH
CHECKED = (1, 3, 5)


def problem(batch: int) -> StreamingLeastSquares:
    """Fresh features, `batch` of them at every update."""
    return StreamingLeastSquares(SPECTRUM, LABEL_SD, batch)


ETA = 0.1 * critical_lr(problem(1))


def rate(warmup: str, batch: int) -> Schedule:
    """The rate over Bη_0: the drops, and what comes before."""
    per = EPOCH // batch
    drops = MultiStep(tuple(per * epoch for epoch in DROPS), gamma=0.1)
    if warmup == NONE:
        return drops
    if warmup == GRADUAL:
        return Warmup(drops, WARM * per, start=1 / batch, overlap=True)
    return Product(drops, Piecewise((WARM * per,), values=(1 / batch, 1.0)))


def exact(warmup: str, batch: int) -> Array:
    """The risk at TIMES."""
    per = EPOCH // batch
    records = np.rint(TIMES * per).astype(np.int64)
    steps = multipliers(rate(warmup, batch), EPOCHS * per)
    return np.asarray(last_risk(problem(batch), steps, np.array([ETA * batch]), records)[0])


def level(batch: int) -> float:
    """What constant steps Bη_0 end with, half of σ² k/(1 − k); infinite beyond the limit."""
    lr, lam = ETA * batch, SPECTRUM.eigenvalues()
    k = float(np.sum(lr * lam / (batch * (2 - lr * (1 + 1 / batch) * lam))))
    return LABEL_SD**2 * k / (1 - k) / 2 if lr < critical_lr(problem(batch)) else math.inf


def simulated(warmups: tuple[str, ...], count: int) -> Array:
    """Risks of runs at LARGEST after CHECKED epochs, (R, warmups, CHECKED)."""
    per = EPOCH // LARGEST
    rates = [rate(warmup, LARGEST) for warmup in warmups]
    key = philox.stream_key(0, repr(problem(LARGEST)))
    records, lrs = np.array(CHECKED) * per, np.array([ETA * LARGEST])
    job = Job(problem(LARGEST), SGD(), rates, lrs, [Last()], EPOCHS * per, records, key, range(count))
    return step.compute(job)["risk"][:, :, 0, 0]


def data(full: bool = False, report: Report = quiet) -> Table:
    """The limit of every batch with its bounds and the rule's line; levels; exact risks; and 64 runs, in the
    full form 512."""
    batches = np.array(LIMIT_BATCHES)
    trace, L = float(SPECTRUM.eigenvalues().sum()), SPECTRUM.largest
    bounds = {"low": 2 * batches / (trace + (batches + 1) * L), "high": np.full(len(batches), 2 / L)}
    limits = np.array([critical_lr(problem(batch)) for batch in LIMIT_BATCHES])
    columns = {"batch": batches, "limit": limits, **bounds, "rule": ETA * batches}
    found = list(lines_of({"panel": "limit"}, columns))
    found += lines_of({"panel": "level"}, {"batch": BATCHES, "risk": [level(batch) for batch in BATCHES]})
    for k, (warmup, batch) in enumerate(itertools.product(WARMUPS, BATCHES)):
        labels = {"panel": "exact", "warmup": warmup, "batch": batch}
        found += lines_of(labels, {"epoch": TIMES, "risk": exact(warmup, batch)})
        report(k + 1, 2 * len(WARMUPS) * len(BATCHES))
    both = NONE, GRADUAL
    runs = simulated(both, 512 if full else 64)
    for seed, k in np.ndindex(runs.shape[:2]):
        labels = {"panel": "runs", "warmup": both[k], "batch": LARGEST, "seed": seed}
        found += lines_of(labels, {"epoch": CHECKED, "risk": runs[seed, k]})
    return table_of(found)


SEEN = 1e2
"""Risks beyond are not drawn."""


def risks(table: Table, warmup: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """The epochs (K,), and the exact risk of every batch there, (B, K)."""
    return table.where("panel", "exact").where("warmup", warmup).runs("risk", x="epoch", by="batch")


def draw(table: Table) -> Figure:
    """The limit, risk without and with gradual warmup, and what is left of the differences."""
    figure = new_figure(4.4)
    (steps, without), (gradual, ratio) = figure.subplots(2, 2)
    draw_limit(steps, table.where("panel", "limit"))
    for panel, warmup in ((without, "no warmup"), (gradual, "gradual warmup")):
        draw_risk(panel, table.where("warmup", warmup), warmup)
    draw_ratio(ratio, table)
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def draw_limit(panel: "Axes", table: Table) -> None:
    """Over the batch, between its bounds, with the line of the rule."""
    bounds = r"band: $2B/(\mathrm{tr}H + (B + 1)L)$ to $2/L$"
    panel.fill_between(table["batch"], table["low"], table["high"], color="0.9", lw=0, label=bounds)
    panel.plot(table["batch"], table["limit"], color="black", label="largest stable step")
    rule = table["rule"] < 4 * table["high"]
    panel.plot(table["batch"][rule], table["rule"][rule], "--", color="0.4", label=r"$B\,\eta_0$")
    slope_triangle(panel, 12, 0.018, 1.0, "$1$", decades=0.6)
    panel.set(xlabel="batch size $B$", ylabel="constant step", xscale="log", yscale="log", ylim=(5e-3, 5))


def draw_risk(panel: "Axes", table: Table, warmup: str) -> None:
    """Some batches, and the runs of one."""
    shown = (1, 16, 64, 128, 256)
    for batch, face in zip(shown, ordered(len(shown)), strict=True):
        curve = table.where("panel", "exact").where("batch", batch).above("epoch", 0)
        seen = curve["risk"] < SEEN
        label = f"$B$ = {batch}" if warmup == "no warmup" else None
        panel.plot(curve["epoch"][seen], curve["risk"][seen], label=label, **face.line())
    epochs, runs = table.where("panel", "runs").runs("risk", x="epoch")
    low, high = mean_interval(runs)
    middle = runs.mean(axis=0)
    marks: dict[str, Any] = {"fmt": "o", "mfc": "none", "color": "0.3", "elinewidth": 1.0, "zorder": 5}
    label = "simulated, $B$ = 128" if warmup == "no warmup" else None
    panel.errorbar(epochs, middle, np.stack([middle - low, high - middle]), label=label, **marks)
    panel.set(xlabel="epoch", ylabel=f"risk, {warmup}", xscale="log", yscale="log", ylim=(1e-5, 1.0))
    panel.set(xticks=(1, 5, 10, 30, 90), xticklabels=("1", "5", "10", "30", "90"))


def draw_ratio(panel: "Axes", table: Table) -> None:
    """Over B = 1 at equal examples: by warmup and epoch."""
    marker = {5: "s", 30: "o", 90: "^"}
    face = {"no warmup": "black", "gradual warmup": "white", "constant warmup": "0.7"}
    levels = table.where("panel", "level")
    panel.plot(levels["batch"], levels["risk"] / levels.first("risk"), color="0.5", lw=0.8, label="levels")
    epochs, base = risks(table, "no warmup")
    for (warmup, colour), (epoch, shape) in itertools.product(face.items(), marker.items()):
        k = int(np.argmax(epochs == epoch))
        ratio = risks(table, warmup)[1][:, k] / base[0, k]
        seen = ratio < SEEN
        panel.plot(levels["batch"][seen], ratio[seen], shape, mfc=colour, mec="black", ls="")
    for warmup, colour in face.items():
        panel.plot([], [], "o", mfc=colour, mec="black", ls="", label=warmup)
    for epoch, shape in marker.items():
        panel.plot([], [], shape, mfc="0.4", mec="0.4", ls="", label=f"after {epoch} epochs")
    panel.set(xlabel="batch size $B$", ylabel="risk over that at $B$ = 1", xscale="log", yscale="log")
    panel.set(yticks=(1, 10, 100), yticklabels=("1", "10", "100"))


def limit(number: Callable[[Array], Any]) -> Measure:
    """A number of the largest stable steps, by batch."""
    return lambda table: float(number(table.where("panel", "limit")["limit"]))


def of_limit(table: Table, batch: int) -> float:
    """The rule's step over the largest stable one."""
    found = table.where("panel", "limit").where("batch", batch)
    return float(found.first("rule") / found.first("limit"))


def at(table: Table, warmup: str, batch: int, epoch: int) -> float:
    """The exact risk."""
    return float(risks(table, warmup)[1][BATCHES.index(batch), epoch * PER_EPOCH])


def distance(table: Table, largest: int, since: int) -> float:
    """The largest relative one from B = 1 after `since` epochs, batches up to `largest`, gradual warmup."""
    risk = risks(table, GRADUAL)[1][: BATCHES.index(largest) + 1, since * PER_EPOCH :]
    return float(np.max(np.abs(risk / risk[0] - 1)))


def from_levels(table: Table) -> float:
    """The largest relative distance of the ratios at epoch 30 from those of the levels, stable batches."""
    risk = risks(table, NONE)[1][:STABLE, 30 * PER_EPOCH]
    level = table.where("panel", "level")["risk"][:STABLE]
    return float(np.max(np.abs(risk / risk[0] / (level / level[0]) - 1)))


def worse(table: Table) -> Array:
    """Risk without warmup over that with a gradual one, stable batches above 1, (batches, TIMES)."""
    without, gradual = (risks(table, warmup)[1][1:STABLE] for warmup in (NONE, GRADUAL))
    return np.asarray(without / gradual)


def above_baseline(table: Table) -> float:
    """The least risk without warmup over that of B = 1 from epoch 1 on, B from 16 to LARGEST."""
    risk = risks(table, NONE)[1][:STABLE, PER_EPOCH:]
    return float((risk[BATCHES.index(16) :] / risk[0]).min())


def growth(table: Table, warmup: str) -> float:
    """The log of the growth from epoch 20 to 30 at B = 256."""
    return math.log(at(table, warmup, 256, 30) / at(table, warmup, 256, 20))


def spike(table: Table) -> float:
    """The largest risk after a constant warmup over that at its end, B = 128."""
    after = risks(table, CONSTANT)[1][STABLE - 1, WARM * PER_EPOCH :]
    return float(after[1:].max() / after[0])


def runs_of(table: Table, warmup: str) -> Array:
    """Their risks after CHECKED epochs, (R, CHECKED)."""
    return table.where("panel", "runs").where("warmup", warmup).runs("risk", x="epoch")[1]


def disagreements(table: Table) -> float:
    """For how many of two warmups the runs are at odds with the exact risk (level 10⁻³ together)."""
    faults = []
    for warmup in (NONE, GRADUAL):
        expected = np.array([at(table, warmup, LARGEST, epoch) for epoch in CHECKED])
        faults.append(cross_check(CHECKED, expected, runs_of(table, warmup), comparisons=2))
    return float(sum(fault is not None for fault in faults))


GOYAL = Source("Goyal et al. 2017", "section 5.2", "another setting", "full text")
MATCH = GOYAL.at("section 5.2, figure 2c", "closely, after about 20 epochs")
HERE, ENGINES = ours("derived in the caption"), ours("two engines, one law")

CLAIMS = (
    claim(
        "the lr should not exceed a maximum independent of the batch: the largest limit over 2/L",
        GOYAL.at("section 2.1, after Bottou et al.", "suggest"),
        limit(lambda lrs: lrs.max() * SPECTRUM.largest / 2),
        "at most 1",
    ),
    claim(
        "small batches: the limit doubles with the batch, from B = 1 to 2",
        HERE,
        limit(lambda lrs: lrs[1] / lrs[0]),
        "2 ± 0.1",
    ),
    claim(
        "large batches: the limit at B = 8192 times L/2",
        HERE,
        limit(lambda lrs: lrs[-1] * SPECTRUM.largest / 2),
        "1 ± 0.005",
    ),
    claim(
        "the limit is at least 2B/(tr H + (B + 1)L): the least ratio",
        HERE,
        lambda d: float(np.nanmin(d["limit"] / d["low"])),
        "at least 1",
    ),
    claim(
        "the rule takes 0.57 of the limit at B = 128",
        HERE,
        lambda d: of_limit(d, LARGEST),
        "0.57 ± 0.01",
    ),
    claim(
        "with lr in proportion to the batch curves match, to 10 %: largest distance from B = 1, B up to 16",
        MATCH,
        lambda d: distance(d, 16, since=20),
        "0 ± 0.1",
    ),
    claim(
        "and up to the limit: largest distance from B = 1, B up to 128",
        ours("asked here: the paper says that scaling has an end"),
        lambda d: distance(d, LARGEST, since=20),
        "0 ± 0.1",
        refuted="at B = 128, 0.57 of the limit, the risk is up to 58 % above that at B = 1",
    ),
    claim(
        "the distance at epoch 30 is that of the levels of constant steps: largest difference",
        HERE,
        from_levels,
        "0 ± 0.002",
    ),
    claim(
        "after the drops they match, to 10 %: largest distance from B = 1 after epoch 60, B up to 128",
        GOYAL.at("section 5.3, figure 3", "closely, up to 8k"),
        lambda d: distance(d, LARGEST, since=61),
        "0 ± 0.1",
    ),
    claim(
        "without warmup a large batch is inferior to a small one across all epochs: least risk over that of "
        "B = 1, B from 16 to 128, from epoch 1 on",
        GOYAL.at("section 5.2, figure 2a"),
        above_baseline,
        "at least 1",
    ),
    claim(
        "without warmup the risk is at no time above that with gradual warmup: the largest ratio",
        ours("found here, for stable batches up to 128"),
        lambda d: float(worse(d).max()),
        "at most 1 ± 1e-9",
    ),
    claim(
        "after a constant warmup the error spikes: largest risk after it over that at its end, B = 128",
        GOYAL.at("sections 2.2 and 5.2, figure 2b", "can"),
        spike,
        "at least 1",
        refuted="it falls at once, to less than half within a quarter of an epoch",
    ),
    claim(
        "beyond some batch training with the rule diverges: its step over the largest stable one, B = 256",
        GOYAL.at("section 5.3", "beyond 64k"),
        lambda d: of_limit(d, 256),
        "at least 1",
    ),
    claim(
        "a warmup doesn't make an unstable step stable: rate of growth at B = 256, with over without warmup",
        HERE,
        lambda d: growth(d, GRADUAL) / growth(d, NONE),
        "1 ± 0.001",
    ),
    claim(
        "simulated over exact risk at the end of the warmup, B = 128",
        ENGINES,
        mean(lambda d: runs_of(d, GRADUAL)[:, -1] / at(d, GRADUAL, LARGEST, CHECKED[-1])),
        "1 ± 0.1",
    ),
    claim("warmups whose runs are at odds with the exact risk", ENGINES, disagreements, "0"),
)
