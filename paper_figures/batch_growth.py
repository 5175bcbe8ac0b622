r"""Growing the batch instead of decaying the step: the same curve per epoch while the step is small.

A quadratic with additive noise, of covariance C/B for a batch of B, and least squares with fresh Gaussian
features, whose noise grows with the distance as well; dimension 10, eigenvalues log-uniform from 1 to 1/100,
label noise 0.01. The schedule is that of the Wide ResNets of Smith, Kindermans, Ying and Le (2018): 200
epochs, here of 400 examples, and after 60, 120 and 160 of them a factor 5, by which the step decays, the
batch grows, or first the batch grows and then the step decays (hybrid). Exact expected risk: an update is a
linear map of the second moments, here with a batch that changes.

Per example, drift and noise are the same to first order in ηλ, so at the step 0.1/L the three curves lie
within 4 % of each other (top left), and growth needs 37 % of the updates (top right). At 1.6/L with 16 times
the batch, so with the same noise scale η/B, they don't: the noise that stays in a direction is in proportion
to η/(B (2 − ηλ)), and only a smaller step lowers the second factor. Multiplicative noise (bottom left)
changes little of this. Markers: mean of simulated runs with a growing batch, bars: its 95 % interval.

Bottom middle: growth over step decay after 120 epochs against the first step, with η/B = 0.05/L throughout.
It goes to infinity at the stability limit 2/L (dotted), where a fifth of the step is stable all the same, and
a larger batch is of no use. Right: what is left of E δ after 5 updates of step η/5 and after one of step η,
on as many examples: growth forgets the start faster than decay up to ηλ = 1.24, beyond it more slowly.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.figure import Figure

from ratelab.experiments.estimates import Estimate, mean_estimate
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import Claim, mean_interval
from ratelab.paper_figures.house.style import looks, new_figure, shade
from ratelab.paper_figures.house.table import Table
from ratelab.problems import philox
from ratelab.problems.noise import Gaussian
from ratelab.problems.problem import critical_lr, exact_risk
from ratelab.problems.quadratic import Quadratic
from ratelab.problems.regression import StreamingLeastSquares
from ratelab.problems.spectra import LogUniform
from ratelab.theory.arrays import Array
from ratelab.theory.moments import steady_risk
from ratelab.theory.schedules import Constant, MultiStep, Schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ABOUT = About(
    title="Growing the batch instead of decaying the step",
    group="Papers",
    source="Smith, Kindermans, Ying and Le 2018",
    link="https://arxiv.org/abs/1711.00489",
    topics=("batch size", "decay", "noise"),
    seconds=(3, 10),
)

EPOCHS, MILESTONES, FACTOR, EXAMPLES = 200, (60, 120, 160), 5, 400
SPECTRUM, SD = LogUniform(dim=10, condition_number=100.0), 0.01
STARTS = ((0.1, 2), (1.6, 32))
"""Steps and batches to begin with: the same noise scale."""

POLICIES: tuple[tuple[str, Schedule], ...] = (
    ("decaying step", MultiStep(tuple(m / EPOCHS for m in MILESTONES), gamma=1 / FACTOR)),
    ("hybrid", MultiStep(tuple(m / EPOCHS for m in MILESTONES[1:]), gamma=1 / FACTOR)),
    ("growing batch", Constant()),
)
"""Names, and how the step goes."""

NOISES = ("additive", "least squares")
EVERY, SEEN = 2, 10
"""Epochs between records of the exact risk and of the runs."""

BATCHES = tuple(range(1, 40))
"""Of the sweep, each with the step B/20."""


@dataclass(frozen=True)
class Growth:
    """Exact risks and updates of the policies at records, runs with a growing batch at the step 1.6, a sweep.

    risk (starts, noises, policies, K), updates (starts, policies, K), runs (noises, R, records of runs)
    reference (starts, noises): the risk at the first milestone by ratelab's recursion
    floor (starts, noises, 2): where it stays with five times the batch, and with a fifth of the step
    ratio (noises, steps): growth over decay at the second milestone; NaN where the start isn't stable
    left (2, stiffness): of E δ, with growth and with decay
    """

    risk: Array
    updates: Array
    runs: Array
    reference: Array
    floor: Array
    steps: Array
    ratio: Array
    stiffness: Array
    left: Array

    def apart(self, start: int, noise: int) -> float:
        """The largest factor between the risk of growth and that of step decay, at equal epochs."""
        decay, _, growth = np.log(self.risk[start, noise])
        return float(np.exp(np.abs(growth - decay).max()))

    def over(self, start: int, noise: int, epoch: int) -> float:
        """The risk of growth over that of step decay."""
        decay, _, growth = self.risk[start, noise, :, epoch // EVERY]
        return float(growth / decay)


def problem(noise: str, batch: int) -> Quadratic | StreamingLeastSquares:
    """With batches of this size; both have the covariance sd² H / B at the minimiser."""
    if noise == "additive":
        return Quadratic(SPECTRUM, noise=Gaussian(SD / batch**0.5, "hessian"))
    return StreamingLeastSquares(SPECTRUM, label_sd=SD, batch=batch)


def stages(policy: int, lr: float, batch: int) -> list[tuple[float, int, int]]:
    """Step, batch and epochs between milestones."""
    lengths = np.diff([0, *MILESTONES, EPOCHS]).tolist()
    grown = [(0, 0, 0, 0), (0, 1, 1, 1), (0, 1, 2, 3)][policy]
    return [
        (lr / FACTOR ** (k - g), batch * FACTOR**g, n)
        for k, (g, n) in enumerate(zip(grown, lengths, strict=True))
    ]


def curve(noise: str, policy: int, lr: float, batch: int) -> tuple[Array, Array]:
    """Risk and updates at epochs 0, 2, 4, …

    The second moments m (d,) obey m' = M m + c, M symmetric: n updates are M^n and Σ_{k<n} M^k c.
    """
    lam = SPECTRUM.eigenvalues()
    m, risk, updates = problem(noise, batch).start ** 2, [], [0.0]
    risk.append(0.5 * lam @ m)
    for eta, size, epochs in stages(policy, lr, batch):
        moments = np.diag((1 - eta * lam) ** 2)
        if noise == "least squares":
            moments += eta**2 / size * (np.diag(lam**2) + np.outer(lam, lam))
        n = EVERY * EXAMPLES / size
        values, vectors = np.linalg.eigh(moments)
        values = values.clip(0.0)  # rounding: it is positive semidefinite
        kept = vectors * values**n @ vectors.T
        added = vectors * ((1 - values**n) / (1 - values)) @ vectors.T @ (eta**2 * SD**2 * lam / size)
        for _ in range(epochs // EVERY):
            m = kept @ m + added
            risk.append(0.5 * lam @ m)
            updates.append(updates[-1] + n)
    return np.array(risk), np.array(updates)


def simulated(noise: str, lr: float, batch: int, runs: int, report: Report) -> Array:
    """Risk of runs with a growing batch at epochs 0, 10, … (R, K), update by update."""
    key = philox.stream_key(0, "batch_growth", noise)
    delta = torch.from_numpy(np.tile(problem(noise, batch).start, (runs, 1)))
    risk, t = [problem(noise, batch).risk(delta)], 0
    for eta, size, epochs in stages(2, lr, batch):
        stage, n = problem(noise, size), SEEN * EXAMPLES // size
        for _ in range(epochs // SEEN):
            sample = [torch.from_numpy(part) for part in stage.sample(key, range(runs), t, n)]
            for k in range(n):
                delta = delta - eta * stage.gradient(delta, *(part[:, k] for part in sample))
            t += n
            risk.append(stage.risk(delta))
            report(len(risk) + len(risk), 2 * (1 + EPOCHS // SEEN))
    return torch.stack(risk, dim=1).numpy()


def data(full: bool = False, report: Report = quiet) -> Growth:
    """Exact curves, and 64 runs at the large step to check them; in full 512."""
    found = np.array([[[curve(noise, p, *start) for p in range(3)] for noise in NOISES] for start in STARTS])
    runs = [simulated(noise, *STARTS[1], 512 if full else 64, report) for noise in NOISES]
    ratio, x = np.full((len(NOISES), len(BATCHES)), np.nan), np.linspace(0.02, 1.98, 99)
    for (i, noise), (k, batch) in product(enumerate(NOISES), enumerate(BATCHES)):
        if batch / 20 < critical_lr(problem(noise, batch)):
            decay, growth = (curve(noise, p, batch / 20, batch)[0][MILESTONES[1] // EVERY] for p in (0, 2))
            ratio[i, k] = growth / decay
    return Growth(
        risk=found[:, :, :, 0],
        updates=found[:, 0, :, 1],
        runs=np.array(runs),
        reference=np.array([[_reference(noise, *start) for noise in NOISES] for start in STARTS]),
        floor=np.array([[_floors(noise, *start) for noise in NOISES] for start in STARTS]),
        steps=np.array(BATCHES) / 20,
        ratio=ratio,
        stiffness=x,
        left=np.stack([np.abs(1 - x), (1 - x / FACTOR) ** FACTOR]),
    )


def _reference(noise: str, lr: float, batch: int) -> float:
    """The risk at the first milestone by `theory.moments`, whose batch is fixed."""
    horizon = MILESTONES[0] * EXAMPLES // batch
    s = np.ones((1, horizon))
    risk = exact_risk(problem(noise, batch), s, np.array([lr]), [s], np.array([horizon]))
    return float(risk[0, 0, 0, 0])


def _floors(noise: str, lr: float, batch: int) -> tuple[float, float]:
    return (
        steady_risk(problem(noise, FACTOR * batch).law, lr),
        steady_risk(problem(noise, batch).law, lr / FACTOR),
    )


COLUMNS = ("panel", "noise", "policy", "schedule", "x", "updates", "y", "mean", "low", "high")


def rows(d: Growth) -> Iterator[tuple[object, ...]]:
    """x is epochs, a step or ηλ; y is a risk, or what the panel shows."""
    nan = float("nan")
    low, high = mean_interval(np.moveaxis(d.runs, 1, 0))
    seen = np.stack([d.runs.mean(axis=1), low, high], axis=-1)
    for s, i, p in np.ndindex(d.risk.shape[:3]):
        start = (
            f"step {STARTS[s][0]:g}, batch {STARTS[s][1]}",
            NOISES[i],
            POLICIES[p][0],
            repr(POLICIES[p][1]),
        )
        for k, (updates, risk) in enumerate(
            zip(d.updates[s, p].tolist(), d.risk[s, i, p].tolist(), strict=True)
        ):
            epoch = k * EVERY
            shown = (s, p) == (1, 2) and epoch % (2 * SEEN) == SEEN
            runs = seen[i, epoch // SEEN].tolist() if shown else [nan] * 3
            yield *start, float(epoch), updates, risk, *runs
    name, schedule = POLICIES[2]
    for i, noise in enumerate(NOISES):
        for x, y in zip(d.steps.tolist(), d.ratio[i].tolist(), strict=True):
            if np.isfinite(y):
                yield "ratio", noise, name, repr(schedule), x, nan, y, nan, nan, nan
    for (name, schedule), left in zip((POLICIES[2], POLICIES[0]), d.left, strict=True):
        for x, y in zip(d.stiffness.tolist(), left.tolist(), strict=True):
            yield "left", "", name, repr(schedule), x, nan, y, nan, nan, nan


def draw(table: Table) -> Figure:
    """Risk against epochs and against updates; on the bottom right, where the ways part."""
    figure = new_figure(4.3)
    axes = figure.subplots(2, 3)
    small, large = table.values("panel")[:2]
    faces = _faces(table.where("panel", small))
    for panel, start, noise, x in (
        (axes[0, 0], small, "additive", "x"),
        (axes[0, 1], large, "additive", "x"),
        (axes[0, 2], small, "additive", "updates"),
        (axes[1, 0], large, "least squares", "x"),
    ):
        _draw_risk(panel, table.where("panel", start).where("noise", noise), x, faces)
        panel.set_title(f"{noise}, {start}" if x == "x" else "the first per update")
    _draw_ratio(axes[1, 1], table.where("panel", "ratio"), faces)
    _draw_left(axes[1, 2], table.where("panel", "left"), faces)
    for panel in axes[:, 0]:
        panel.set_ylabel("expected risk")
    handles, labels = axes[0, 1].get_legend_handles_labels()
    dotted, names = axes[1, 1].get_legend_handles_labels()
    figure.legend([*handles, *dotted], [*labels, *names], loc="outside lower center", ncols=3)
    return figure


def _faces(table: Table) -> dict[str, dict[str, Any]]:
    """Lines of the policies, coloured by what the step does; they cover each other, so broad ones below."""
    names = table.values("policy")
    decay, hybrid, growth = (look.line() for look in looks(table.values("schedule")))
    return dict(
        zip(
            names,
            (
                decay | {"linestyle": "-", "linewidth": 2.8, "alpha": 0.6},
                hybrid | {"color": shade(hybrid["color"], -0.4), "linestyle": (0, (1, 1.3)), "zorder": 4},
                growth | {"linestyle": (0, (5, 2)), "zorder": 3},
            ),
            strict=True,
        )
    )


def _draw_risk(panel: "Axes", table: Table, x: str, faces: dict[str, dict[str, Any]]) -> None:
    for name, line in table.groups("policy"):
        panel.plot(line[x] / (1 if x == "x" else 1000), line["y"], label=name, **faces[name])
        seen = line.above("mean", 0.0)
        if len(seen):
            reach = [seen["mean"] - seen["low"], seen["high"] - seen["mean"]]
            panel.errorbar(
                seen["x"],
                seen["mean"],
                reach,
                fmt="o",
                ms=3,
                lw=0.8,
                color="0.2",
                mfc="white",
                zorder=5,
                label=r"mean of runs, bar: its 95 % interval",
            )
    panel.set(yscale="log", ylim=(1e-8, 0.3), xlabel="epochs" if x == "x" else "updates, in thousands")
    panel.set_yticks([1e-8, 1e-6, 1e-4, 1e-2])
    if x == "x":
        panel.set_xticks([0, 60, 120, 160, 200])


def _draw_ratio(panel: "Axes", table: Table, faces: dict[str, dict[str, Any]]) -> None:
    for (noise, name), line in table.groups("noise", "policy"):
        face = faces[name] | (
            {"linestyle": "-"}
            if noise == "additive"
            else {"linestyle": "", "marker": "x", "ms": 4, "markevery": 2}
        )
        panel.plot(line["x"], line["y"], label=f"growing batch, {noise}", **face)
    panel.axvline(2, color="0.5", ls=":", lw=0.8)
    panel.set(yscale="log", xlim=(0, 2.1), ylim=(0.9, 25))
    panel.set_xticks([0, 0.5, 1, 1.5, 2])
    panel.set_yticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    panel.set(title="growth over decay, epoch 120", xlabel=r"first step $\eta$, in units of $1/L$")


def _draw_left(panel: "Axes", table: Table, faces: dict[str, dict[str, Any]]) -> None:
    for name, line in table.groups("policy"):
        panel.plot(line["x"], line["y"], **faces[name])
    panel.set(title=r"what is left of $E\,\delta$", xlabel=r"$\eta\lambda$", xlim=(0, 2), ylim=(0, 1))
    panel.set(xticks=[0, 0.5, 1, 1.5, 2], yticks=[0, 0.5, 1])


_PAPER = "Smith, Kindermans, Ying and Le 2018"


def _saved(d: Growth, policy: int) -> float:
    return float(d.updates[0, policy, -1] / d.updates[0, 0, -1])


def _first_order(d: Growth) -> float:
    """How far growth lies above decay, over (1 − 1/5) η/2 · Σ λ²/Σ λ, at the second milestone, step 0.1."""
    lam = SPECTRUM.eigenvalues()
    expected = (1 - 1 / FACTOR) * STARTS[0][0] / 2 * (lam @ lam) / lam.sum()
    return float((d.over(0, 0, MILESTONES[1]) - 1) / expected)


def _simulation(noise: int) -> Claim[Growth]:
    """The mean over records of simulated over exact risk, past the start, which is the same in all runs."""
    seen = slice(SEEN // EVERY, None, SEEN // EVERY)

    def measure(d: Growth) -> Estimate:
        return mean_estimate((d.runs[noise, :, 1:] / d.risk[1, noise, 2, seen]).mean(axis=1))

    sentence = f"simulated over exact risk with a growing batch, {NOISES[noise]}, mean over records"
    return Claim(sentence, "two engines, one law", measure, 1.0, 0.1)


def _apart(start: int, noise: int, sentence: str) -> Claim[Growth]:
    finding = "near the stability limit a growing batch keeps the noise that a large step amplifies"
    return Claim(
        sentence,
        f"{_PAPER}, abstract: the same learning curve; within 5 % is meant here",
        lambda d: d.apart(start, noise),
        1.05,
        relation="at_most",
        expect="refuted" if start else "supported",
        finding=finding if start else "",
    )


def _forgets(d: Growth) -> float:
    """The largest ratio of what is left of the start, growth over decay."""
    return float((d.left[0] / d.left[1]).max())


CLAIMS: tuple[Claim[Growth], ...] = (
    Claim(
        "fewer parameter updates: growing the batch takes this part of step decay's",
        f"{_PAPER}; derived from factor 5 at epochs 60, 120, 160 of 200",
        lambda d: _saved(d, 2),
        (60 + 60 / 5 + 40 / 25 + 40 / 125) / 200,
        1e-9,
    ),
    Claim(
        "... and the hybrid this part",
        f"{_PAPER}; derived likewise",
        lambda d: _saved(d, 1),
        (60 + 140 / 5) / 200,
        1e-9,
    ),
    _apart(0, 0, "almost identical learning curves, additive noise, step 0.1: largest factor between them"),
    _apart(0, 1, "... least squares"),
    _apart(1, 0, "... step 1.6, additive noise"),
    _apart(1, 1, "... step 1.6, least squares"),
    Claim(
        "the step can be raised further with B in proportion to it: risk after step decay, step 1.6 over 0.1",
        f"{_PAPER}, abstract; that the curves agree within 5 % is meant here",
        lambda d: float(d.risk[1, 0, 0, -1] / d.risk[0, 0, 0, -1]),
        1.0,
        0.05,
    ),
    Claim(
        "... and before the first milestone",
        f"{_PAPER}, abstract; that the curves agree within 5 % is meant here",
        lambda d: float(d.risk[1, 0, 0, MILESTONES[0] // EVERY] / d.risk[0, 0, 0, MILESTONES[0] // EVERY]),
        1.0,
        0.05,
        expect="refuted",
        finding="the noise scale is the same, the risk is not: it has a factor 1/(2 - step x curvature)",
    ),
    Claim(
        "growth over decay at the second milestone, step 0.1: its excess over the first-order one",
        "derived here: η (1 - 1/5)/2 Σλ²/Σλ",
        _first_order,
        1.0,
        0.1,
    ),
    Claim(
        "... step 1.6: over the ratio of the two steady states",
        "derived in the caption",
        lambda d: d.over(1, 0, MILESTONES[1]) / float(d.floor[1, 0, 0] / d.floor[1, 0, 1]),
        1.0,
        0.01,
    ),
    Claim(
        "growth forgets the start at least as fast at every stable step: what is left, over decay's",
        "derived here; it holds for small steps",
        _forgets,
        1.0,
        relation="at_most",
        expect="refuted",
        finding="a step beyond 1.24/curvature overshoots and forgets more slowly than five of a fifth",
    ),
    Claim(
        "in the stiffness 0.1, growth forgets faster by this factor in the exponent",
        "derived here: 1 + (1 - 1/5) 0.1/2 + ...",
        lambda d: float(np.log(d.left[0, 4]) / np.log(d.left[1, 4])),
        1.0 + 0.04,
        0.005,
    ),
    *(_simulation(noise) for noise in range(2)),
    Claim(
        "risk at the first milestone over that of the recursion with a fixed batch: largest deviation",
        "two programs, one law",
        lambda d: float(np.abs(d.risk[:, :, 2, MILESTONES[0] // EVERY] / d.reference - 1).max()),
        0.0,
        1e-9,
    ),
)
