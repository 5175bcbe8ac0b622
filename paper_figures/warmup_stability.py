r"""On least squares the linear scaling rule holds until the largest stable step, and warmup can't move that.

Least squares with fresh features instead of ImageNet: dimension 100, log-uniform eigenvalues from 0.01 to 1,
label noise N(0, 0.1²), 90 epochs of 1024 examples, lr = B η_0 for batch B, divided by 10 at epochs 30, 60 and
80 as in Goyal et al.; η_0 is a tenth of the limit at B = 1. Exact expected risk.

Top left: the largest stable constant step against the batch, where Σ ηλ/(B(2 − η(1 + 1/B)λ)) = 1. It lies
between 2B/(tr H + (B + 1)L) and 2/L (shaded): in proportion to the batch while noise limits it, B < tr H/L =
22, and constant when only curvature does. The line of the rule meets it at B = 226. Top right: no warmup;
bottom left: the lr grows from η_0 to Bη_0 over 5 epochs. Circles: mean and 95 % interval of simulated runs at
B = 128. Bottom right: risk over that at B = 1 after as many examples, by warmup and epoch; line: ratio of the
levels of constant steps, σ² k/(1 − k), k the sum above.

Curves match within 4 % up to B = 16, within 57 % up to 128, and after the drops within 4 % again. At B = 256
they diverge with warmup as without, at the same rate, only later: the limit of a quadratic doesn't depend on
where one is, so what is unstable at first is unstable for ever. Where the step is stable, no warmup is never
behind, and after a constant warmup the risk falls, it doesn't spike. For warmup to repair what it repairs in
networks the limit has to change along the way.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ratelab.experiments.crosscheck import cross_check
from ratelab.experiments.engines import step
from ratelab.experiments.estimates import Estimate, mean_estimate
from ratelab.experiments.methods import SGD
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import Claim, mean_interval
from ratelab.paper_figures.house.style import new_figure, ordered, slope_triangle
from ratelab.paper_figures.house.table import Table
from ratelab.problems import philox
from ratelab.problems.problem import critical_lr, exact_risk
from ratelab.problems.regression import StreamingLeastSquares
from ratelab.problems.spectra import LogUniform
from ratelab.theory.arrays import Array
from ratelab.theory.combine import Product, Warmup
from ratelab.theory.schedules import Constant, MultiStep, Piecewise, Schedule, multipliers

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
SHOWN, LARGEST = (1, 16, 64, 128, 256), 128
"""LARGEST is the largest batch that is stable."""

WARMUPS = ("no warmup", "gradual warmup", "constant warmup")
NONE, GRADUAL, CONSTANT = range(3)
PER_EPOCH = 4
TIMES = np.arange(EPOCHS * PER_EPOCH + 1) / PER_EPOCH
CHECKED = (1, 3, 5)


def problem(batch: int) -> StreamingLeastSquares:
    """Fresh features, `batch` of them at every update."""
    return StreamingLeastSquares(SPECTRUM, LABEL_SD, batch)


ETA = 0.1 * critical_lr(problem(1))


def rate(warmup: int, batch: int) -> Schedule:
    """The rate over Bη_0: the drops, and what comes before."""
    per = EPOCH // batch
    drops = MultiStep(tuple(per * epoch for epoch in DROPS), gamma=0.1)
    if warmup == NONE:
        return drops
    if warmup == GRADUAL:
        return Warmup(drops, WARM * per, start=1 / batch, overlap=True)
    return Product(drops, Piecewise((WARM * per,), values=(1 / batch, 1.0)))


@dataclass(frozen=True)
class Scaling:
    """limits: the largest stable step, (LIMIT_BATCHES,). risk: exact, (WARMUPS, BATCHES, TIMES).

    levels: what constant steps Bη_0 end with, infinite beyond the limit, (BATCHES,)
    runs: simulated risks at LARGEST after CHECKED epochs, without and with gradual warmup, (R, 2, CHECKED)
    """

    limits: Array
    risk: Array
    levels: Array
    runs: Array

    def at(self, warmup: int, batch: int, epoch: float) -> float:
        """The exact risk."""
        return float(self.risk[warmup, BATCHES.index(batch), round(epoch * PER_EPOCH)])

    def over_one(self, warmup: int, epoch: float) -> Array:
        """The risk over that at B = 1 without warmup, (BATCHES,)."""
        here = self.risk[:, :, round(epoch * PER_EPOCH)]
        return np.asarray(here[warmup] / here[NONE, 0])


def _exact(warmup: int, batch: int) -> Array:
    per = EPOCH // batch
    s = multipliers(rate(warmup, batch), EPOCHS * per)[None]
    records = np.rint(TIMES * per).astype(np.int64)
    risk = exact_risk(problem(batch), s, np.array([ETA * batch]), [np.ones_like(s)], records)
    return np.asarray(risk[0, 0, 0])


def _level(batch: int) -> float:
    """Half of σ² k/(1 − k)."""
    lr, lam = ETA * batch, SPECTRUM.eigenvalues()
    k = float(np.sum(lr * lam / (batch * (2 - lr * (1 + 1 / batch) * lam))))
    return LABEL_SD**2 * k / (1 - k) / 2 if lr < critical_lr(problem(batch)) else math.inf


def _runs(count: int) -> Array:
    per = EPOCH // LARGEST
    both = [multipliers(rate(warmup, LARGEST), EPOCHS * per) for warmup in (NONE, GRADUAL)]
    steps = np.stack(both)[:, : CHECKED[-1] * per]
    key = philox.stream_key(0, repr(problem(LARGEST)))
    records, lrs = np.array(CHECKED) * per, np.array([ETA * LARGEST])
    mixings = [np.ones_like(steps)]
    found = step.simulate(problem(LARGEST), SGD(), steps, lrs, mixings, records, key, range(count))
    return found[:, :, 0, 0]


def data(full: bool = False, report: Report = quiet) -> Scaling:
    """Exact risks of every batch and warmup; 64 runs, in full 512."""
    risk = np.empty((len(WARMUPS), len(BATCHES), len(TIMES)))
    for done, (i, b) in enumerate(np.ndindex(risk.shape[:2])):
        risk[i, b] = _exact(i, BATCHES[b])
        report(done + 1, 2 * len(WARMUPS) * len(BATCHES))
    return Scaling(
        limits=np.array([critical_lr(problem(batch)) for batch in LIMIT_BATCHES]),
        risk=risk,
        levels=np.array([_level(batch) for batch in BATCHES]),
        runs=_runs(512 if full else 64),
    )


def simple(batch: int) -> float:
    """2B/(tr H + (B + 1)L), below the limit, and equal to it where all eigenvalues are L."""
    return 2 * batch / (float(SPECTRUM.eigenvalues().sum()) + (batch + 1) * SPECTRUM.largest)


COLUMNS = ("panel", "warmup", "schedule", "batch", "epoch", "value", "low", "high", "predicted")
SEEN = 1e2
"""Risks beyond are not drawn."""


def rows(d: Scaling) -> Iterator[tuple[object, ...]]:
    """The limit with its bounds and the rule's line, risks, simulated means, ratios to B = 1."""
    empty = math.nan
    for batch, limit in zip(LIMIT_BATCHES, d.limits.tolist(), strict=True):
        bounds = simple(batch), 2 / SPECTRUM.largest
        yield "limit", "none", repr(Constant()), float(batch), empty, limit, *bounds, ETA * batch
    for i, batch in ((i, batch) for i in (NONE, GRADUAL) for batch in SHOWN):
        label = WARMUPS[i], repr(rate(i, batch)), float(batch)
        for t, risk in zip(TIMES.tolist(), d.risk[i, BATCHES.index(batch)].tolist(), strict=True):
            if t > 0 and risk < SEEN:
                yield "risk", *label, t, risk, empty, empty, empty
    low, high = mean_interval(d.runs)
    for i, k in np.ndindex(low.shape):
        at = WARMUPS[i], repr(rate(i, LARGEST)), float(LARGEST), float(CHECKED[k])
        numbers = (float(v[i, k]) for v in (d.runs.mean(axis=0), low, high))
        yield "runs", *at, *numbers, d.at(i, LARGEST, CHECKED[k])
    for i, epoch in np.ndindex(len(WARMUPS), EPOCHS + 1):
        if epoch in (WARM, 30, 90):
            for b, ratio in enumerate(d.over_one(i, epoch).tolist()):
                level = float(d.levels[b] / d.levels[0]) if epoch == 30 else empty
                if ratio < SEEN:
                    at = WARMUPS[i], repr(rate(i, BATCHES[b])), float(BATCHES[b]), float(epoch)
                    yield "ratio", *at, ratio, empty, empty, level


def draw(table: Table) -> Figure:
    """The limit, risk without and with gradual warmup, and what is left of the differences."""
    figure = new_figure(4.4)
    axes = figure.subplots(2, 2)
    limit = table.where("panel", "limit")
    bounds = r"band: $2B/(\mathrm{tr}H + (B + 1)L)$ to $2/L$"
    axes[0, 0].fill_between(limit["batch"], limit["low"], limit["high"], color="0.9", lw=0, label=bounds)
    axes[0, 0].plot(limit["batch"], limit["value"], color="black", label="largest stable step")
    rule = limit["predicted"] < 4 * limit["high"]
    axes[0, 0].plot(limit["batch"][rule], limit["predicted"][rule], "--", color="0.4", label=r"$B\,\eta_0$")
    slope_triangle(axes[0, 0], 12, 0.018, 1.0, "$1$", decades=0.6)
    for panel, warmup in ((axes[0, 1], "no warmup"), (axes[1, 0], "gradual warmup")):
        _draw_risk(panel, table, warmup)
    _draw_ratio(axes[1, 1], table.where("panel", "ratio"))
    axes[0, 0].set(xlabel="batch size $B$", ylabel="constant step", xscale="log", yscale="log")
    axes[0, 0].set(ylim=(5e-3, 5))
    for panel in (axes[0, 1], axes[1, 0]):
        panel.set(xlabel="epoch", xscale="log", yscale="log", ylim=(1e-5, 1.0))
        panel.set(xticks=(1, 5, 10, 30, 90), xticklabels=("1", "5", "10", "30", "90"))
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def _draw_risk(panel: Axes, table: Table, warmup: str) -> None:
    risk = table.where("panel", "risk").where("warmup", warmup)
    curves = list(risk.groups("batch"))
    for (batch, curve), own in zip(curves, ordered(len(curves)), strict=True):
        label = f"$B$ = {batch:g}" if warmup == "no warmup" else None
        panel.plot(curve["epoch"], curve["value"], label=label, **own.line())
    runs = table.where("panel", "runs").where("warmup", warmup)
    reach = np.stack([runs["value"] - runs["low"], runs["high"] - runs["value"]])
    marks: dict[str, Any] = {
        "fmt": "o",
        "mfc": "none",
        "color": "0.3",
        "elinewidth": 1.0,
        "zorder": 5,
    }
    label = f"simulated, $B$ = {runs.first('batch'):g}" if warmup == "no warmup" else None
    panel.errorbar(runs["epoch"], runs["value"], reach, label=label, **marks)
    panel.set_ylabel(f"risk, {warmup}")


def _draw_ratio(panel: Axes, ratio: Table) -> None:
    """Over B = 1 at equal examples: by warmup and epoch."""
    marker = {5.0: "s", 30.0: "o", 90.0: "^"}
    face = {"no warmup": "black", "gradual warmup": "white", "constant warmup": "0.7"}
    for (warmup, epoch), curve in ratio.groups("warmup", "epoch"):
        if warmup == "no warmup" and epoch == 30:
            panel.plot(curve["batch"], curve["predicted"], color="0.5", lw=0.8, label="levels")
        own: dict[str, Any] = {"mfc": face[warmup], "mec": "black", "ls": ""}
        panel.plot(curve["batch"], curve["value"], marker[epoch], **own)
    for warmup, colour in face.items():
        panel.plot([], [], "o", mfc=colour, mec="black", ls="", label=warmup)
    for epoch, shape in marker.items():
        panel.plot([], [], shape, mfc="0.4", mec="0.4", ls="", label=f"after {epoch:g} epochs")
    panel.set(xlabel="batch size $B$", ylabel="risk over that at $B$ = 1", xscale="log", yscale="log")
    panel.set(yticks=(1, 10, 100), yticklabels=("1", "10", "100"))


def _match(d: Scaling, largest: int, since: int) -> float:
    """The largest relative distance from B = 1 after `since` epochs, batches up to `largest`, no warmup."""
    risk = d.risk[NONE, : BATCHES.index(largest) + 1, since * PER_EPOCH :]
    return float(np.max(np.abs(risk / risk[0] - 1)))


def _levelled(d: Scaling) -> float:
    """The largest relative distance of the ratios at epoch 30 from those of the levels, stable batches."""
    stable = slice(0, BATCHES.index(LARGEST) + 1)
    ratio, level = d.over_one(NONE, 30)[stable], (d.levels / d.levels[0])[stable]
    return float(np.max(np.abs(ratio / level - 1)))


def _worse(d: Scaling, warmup: int) -> Array:
    """Risk without warmup over that with it, stable batches above 1, (batches, TIMES)."""
    stable = slice(1, BATCHES.index(LARGEST) + 1)
    return np.asarray(d.risk[NONE, stable] / d.risk[warmup, stable])


def _growth(d: Scaling, warmup: int) -> float:
    """The log of the growth from epoch 20 to 30 at B = 256."""
    return math.log(d.at(warmup, 256, 30) / d.at(warmup, 256, 20))


def _spike(d: Scaling) -> float:
    """The largest risk after a constant warmup over that at its end, B = 128."""
    after = d.risk[CONSTANT, BATCHES.index(LARGEST), WARM * PER_EPOCH :]
    return float(after[1:].max() / after[0])


def _simulated(d: Scaling) -> Estimate:
    """Simulated over exact risk at B = 128, end of the gradual warmup."""
    return mean_estimate(d.runs[:, 1, -1] / d.at(GRADUAL, LARGEST, CHECKED[-1]))


def _disagreements(d: Scaling) -> float:
    """For how many of two warmups the runs are at odds with the exact risk (level 10⁻³ together)."""
    exact = np.array([[d.at(i, LARGEST, epoch) for epoch in CHECKED] for i in range(2)])
    found = (cross_check(CHECKED, exact[i], d.runs[:, i], comparisons=2) for i in range(2))
    return float(sum(fault is not None for fault in found))


_GOYAL, _HERE = "Goyal et al. 2017", "derived in the caption"

CLAIMS: tuple[Claim[Scaling], ...] = (
    Claim(
        "the lr should not exceed a maximum independent of the batch: limit at B = 1 over that at 8192",
        f"{_GOYAL}, section 2.1, after Bottou et al.",
        lambda d: float(d.limits[0] / d.limits[-1]),
        1.0,
        tolerance=0.05,
        expect="refuted",
        finding="2/L is a maximum for every batch, but at B = 1 the limit is a 23rd of it",
    ),
    Claim(
        "small batches: the limit doubles with the batch, from B = 1 to 2",
        _HERE,
        lambda d: float(d.limits[1] / d.limits[0]),
        2.0,
        tolerance=0.1,
    ),
    Claim(
        "large batches: the limit at B = 8192 times L/2",
        _HERE,
        lambda d: float(d.limits[-1] * SPECTRUM.largest / 2),
        1.0,
        tolerance=0.005,
    ),
    Claim(
        "the limit is at least 2B/(tr H + (B + 1)L): the least ratio",
        _HERE,
        lambda d: float(np.min(d.limits / [simple(batch) for batch in LIMIT_BATCHES])),
        1.0,
        relation="at_least",
    ),
    Claim(
        "with lr in proportion to the batch training curves match: largest distance from B = 1, B up to 16",
        f"{_GOYAL}, section 2.1; closely: 5 %",
        lambda d: _match(d, 16, 1),
        0.0,
        tolerance=0.05,
    ),
    Claim(
        "and up to the limit: largest distance from B = 1, B up to 128",
        f"{_GOYAL}, section 2.1; closely: 5 %",
        lambda d: _match(d, LARGEST, 1),
        0.0,
        tolerance=0.05,
        expect="refuted",
        finding="at B = 128, 0.57 of the limit, the risk is up to 57 % above that at B = 1",
    ),
    Claim(
        "the distance at epoch 30 is that of the levels of constant steps: largest difference",
        _HERE,
        _levelled,
        0.0,
        tolerance=0.002,
    ),
    Claim(
        "after the drops they match again: largest distance from B = 1 after epoch 60, B up to 128",
        f"{_GOYAL}, figure 3: the same final error; 5 %",
        lambda d: _match(d, LARGEST, 61),
        0.0,
        tolerance=0.05,
    ),
    Claim(
        "without warmup the curve is inferior across all epochs: least risk relative to gradual warmup",
        f"{_GOYAL}, section 5.2",
        lambda d: float(_worse(d, GRADUAL)[:, PER_EPOCH:].min()),
        1.0,
        relation="at_least",
        expect="refuted",
        finding="where the step is stable it is never above, and up to eight times below",
    ),
    Claim(
        "without warmup the risk is at no time above that with gradual warmup: the largest ratio",
        "found here, for stable batches up to 128",
        lambda d: float(_worse(d, GRADUAL).max()),
        1.0,
        tolerance=1e-9,
        relation="at_most",
    ),
    Claim(
        "after a constant warmup the error spikes: largest risk after it over that at its end, B = 128",
        f"{_GOYAL}, section 5.2",
        _spike,
        1.0,
        relation="at_least",
        expect="refuted",
        finding="it falls at once, to less than half within a quarter of an epoch",
    ),
    Claim(
        "a gradual warmup lets large batches train: log10 of the risk at B = 256, epoch 30, over the start's",
        f"{_GOYAL}, section 2.2",
        lambda d: math.log10(d.at(GRADUAL, 256, 30) / d.at(GRADUAL, 256, 0)),
        0.0,
        relation="at_most",
        expect="refuted",
        finding="beyond the limit it diverges all the same, six epochs later",
    ),
    Claim(
        "what is unstable at first is unstable for ever: rate of growth at B = 256, with over without warmup",
        _HERE,
        lambda d: _growth(d, GRADUAL) / _growth(d, NONE),
        1.0,
        tolerance=0.001,
    ),
    Claim(
        "simulated over exact risk at the end of the warmup, B = 128",
        "two engines, one law",
        _simulated,
        1.0,
        tolerance=0.1,
    ),
    Claim("warmups whose runs are at odds with the exact risk", "two engines, one law", _disagreements, 0.0),
)
