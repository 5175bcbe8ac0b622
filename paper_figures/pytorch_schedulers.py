"""Sixteen PyTorch schedulers, each stepped by torch and as the formula that it is here, on one page.

The settings of L. Monigatti's visual guide: SGD with a rate of 10⁻³, four epochs of eight steps, the
scheduler stepped after every update. White: the guide's 32 steps; grey: what follows when one goes on. Line:
our schedule, read from the guide's line of code. Dots: the rate in torch's optimizer, measured here. Grey
dots: the momentum that the scheduler sets. The guide doesn't draw LambdaLR and MultiplicativeLR, which take a
function; here both take 1/(1 + t/10), and MultiplicativeLR multiplies its values up.

What surprises: CosineAnnealingLR climbs back to its first rate after T_max, and neither it nor the warm
restarts ever train at eta_min. PolynomialLR with total_iters = 8 trains for 24 of the 32 steps at a rate of
0. ExponentialLR with a factor of 1/2 per step goes no further in all than two steps at the first rate.
CyclicLR's "exp_range" is "triangular" until its gamma is set. CyclicLR and OneCycleLR ignore the optimizer's
rate, and give a momentum of 0.8 to 0.95 to an SGD that was made without. OneCycleLR's peak falls between two
steps; one step past its end the linear one is negative, and two past it torch fails. Milestones and start
factors count steps of the scheduler, not epochs as the guide's comments have it.
"""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ratelab.experiments import dialects
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import Claim
from ratelab.paper_figures.house.style import look, new_figure
from ratelab.paper_figures.house.table import Table
from ratelab.theory.arrays import Array
from ratelab.theory.reading import call
from ratelab.theory.schedules import Compounding, InversePower, Schedule, multipliers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ABOUT = About(
    title="PyTorch's schedulers, step by step",
    group="Tutorials and trainers",
    source="Monigatti 2022, A Visual Guide to Learning Rate Schedulers in PyTorch",
    link="https://www.leoniemonigatti.com/blog/pytorch-learning-rate-schedulers.html",
    topics=("shapes", "cycles", "decay"),
    seconds=(4, 4),
)

LR, EPOCH, SHOWN, STEPS = 1e-3, 8, 32, 65
"""The optimizer's rate, steps in an epoch, the guide's steps, and the steps here: as far as 2 T_max."""

SCHEDULERS: tuple[tuple[str, str], ...] = (
    ("StepLR(step_size=4, gamma=0.5)", "every 4 steps, factor 1/2"),
    ("MultiStepLR(milestones=[8, 24, 28], gamma=0.5)", "at 8, 24, 28, factor 1/2"),
    ("ConstantLR(factor=0.5, total_iters=8)", "1/2 for 8 steps"),
    ("LinearLR(start_factor=0.5, total_iters=8)", "from 1/2 in 8 steps"),
    ("ExponentialLR(gamma=0.5)", "factor 1/2"),
    ("PolynomialLR(total_iters=8, power=1)", "power 1, 8 steps"),
    ("PolynomialLR(total_iters=8, power=2)", "power 2, 8 steps"),
    ("CosineAnnealingLR(T_max=32, eta_min=1e-4)", "32 steps"),
    ("CosineAnnealingWarmRestarts(T_0=8, T_mult=1, eta_min=1e-4)", "every 8 steps"),
    ("CyclicLR(base_lr=1e-4, max_lr=1e-3, step_size_up=4, mode='triangular')", "triangular, 4 steps up"),
    ("CyclicLR(base_lr=1e-4, max_lr=1e-3, step_size_up=4, mode='triangular2')", "triangular2"),
    ("CyclicLR(base_lr=1e-4, max_lr=1e-3, step_size_up=4, mode='exp_range')", "exp range"),
    ("OneCycleLR(max_lr=1e-3, steps_per_epoch=8, epochs=4, anneal_strategy='cos')", "cosine, 32 steps"),
    ("OneCycleLR(max_lr=1e-3, steps_per_epoch=8, epochs=4, anneal_strategy='linear')", "linear, 32 steps"),
    ("LambdaLR()", "$1/(1 + t/10)$"),
    ("MultiplicativeLR()", "the same function"),
)
"""As the guide writes them, and the settings in words. The last two take `function`."""

OURS: dict[str, Schedule] = {
    "LambdaLR()": InversePower(1.0, timescale=10.0),
    "MultiplicativeLR()": Compounding(0.1),
}
"""What no text says, because it holds a function."""

_FORMULAS = ("CosineAnnealingWarmRestarts", "CyclicLR", "OneCycleLR", "LambdaLR")
IS_RECURSIVE = np.array([not text.startswith(_FORMULAS) for text, _ in SCHEDULERS])
"""Whether torch multiplies the rate in force; else it evaluates a formula."""


def function(t: int) -> float:
    """The factor that LambdaLR and MultiplicativeLR are given here."""
    return 1 / (1 + t / 10)


@dataclass(frozen=True)
class Traces:
    """Rates (schedulers, steps), ours and torch's, and torch's momentum; NaN where there is none."""

    ours: Array
    torch: Array
    momentum: Array

    @property
    def difference(self) -> Array:
        """The largest of each scheduler, relative to torch's rate, or to LR where that is 0.

        Of those that torch evaluates as a formula relative to the largest rate: a formula's terms cancel.
        """
        largest = np.nanmax(self.torch, axis=1, keepdims=True)
        unit = np.where(self.torch == 0, LR, np.abs(self.torch))
        unit = np.where(IS_RECURSIVE[:, None], unit, largest)
        return np.asarray(np.nanmax(np.abs(self.ours - self.torch) / unit, axis=1))

    def rates(self, text: str) -> Array:
        """torch's, of the one scheduler whose text this is a part of."""
        (row,) = [k for k, (call, _) in enumerate(SCHEDULERS) if text in call]
        return np.asarray(self.torch[row])


def data(full: bool = False, report: Report = quiet) -> Traces:
    """Every scheduler twice; the full form is the quick one."""
    found = np.full((3, len(SCHEDULERS), STEPS), np.nan)
    for k, (text, _) in enumerate(SCHEDULERS):
        schedule = ours(text)
        horizon = SHOWN if text.startswith("OneCycleLR") else STEPS  # where it ends
        found[0, k, :horizon] = LR * multipliers(schedule, horizon)
        found[1, k], found[2, k] = stepped(text)
        report(k + 1, len(SCHEDULERS))
    return Traces(*found)


def ours(text: str) -> Schedule:
    """The schedule that the dialect reads, as multiples of LR."""
    if text in OURS:
        return OURS[text]
    schedule = dialects.read("torch", text, lr=LR, horizon=STEPS).schedule
    assert isinstance(schedule, Schedule)
    return schedule


def stepped(text: str) -> tuple[Array, Array]:
    """The rate and the momentum that each step of the guide's loop finds in the optimizer; torch may fail."""
    import torch  # takes seconds
    from torch.optim import lr_scheduler

    name, arguments = call(text)
    given: dict[str, Any] = {"lr_lambda": function} if text in OURS else dict(arguments)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR)
    scheduler = getattr(lr_scheduler, name)(optimizer, **given)
    found = np.full((2, STEPS), np.nan)
    for t in range(STEPS):
        group = optimizer.param_groups[0]
        found[:, t] = group["lr"], group["momentum"] or np.nan
        optimizer.step()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's of itself
                scheduler.step()
        except ValueError:
            break
    return found[0], found[1]


COLUMNS = ("scheduler", "settings", "schedule", "t", "ours", "torch", "momentum", "shown", "difference")


def rows(traces: Traces) -> Iterator[tuple[object, ...]]:
    """One row per scheduler and step; rates in units of 10⁻³."""
    for k, (text, settings) in enumerate(SCHEDULERS):
        name = text.partition("(")[0]
        kept = traces.ours[k] / LR, traces.torch[k] / LR, traces.momentum[k]
        for t, numbers in enumerate(zip(*(values.tolist() for values in kept), strict=True)):
            yield name, settings, repr(ours(text)), t, *numbers, SHOWN, float(traces.difference[k])


def draw(table: Table) -> Figure:
    """Four in a row, in the guide's order."""
    figure = new_figure(4.4)
    panels = figure.subplots(4, 4, sharex=True, sharey=True)
    for panel, ((name, settings), curve) in zip(
        panels.flat, table.groups("scheduler", "settings"), strict=True
    ):
        title = f"{name}\n{settings}".replace("WarmRestarts\n", "Warm-\nRestarts, ")  # or it is too wide
        draw_one(panel, curve, title)
    for panel in panels[:, 0]:
        panel.set_ylabel("rate / $10^{-3}$")
    for panel in panels[-1]:
        panel.set_xlabel("step $t$")
    figure.legend(handles=legend(), loc="outside lower center", ncols=2)
    return figure


def draw_one(panel: "Axes", curve: Table, title: str) -> None:
    """Ours as a line, torch's as dots."""
    t, shown, style = curve["t"], curve.first("shown"), look(curve.first("schedule"))
    panel.axvspan(shown, t[-1] + 2, color="0.93", lw=0)
    panel.plot(t, curve["momentum"], ".", color="0.6", ms=1.6, mew=0)
    panel.plot(t, curve["ours"], color=style.colour, lw=2.4)
    panel.plot(t, curve["torch"], "o", mfc="white", mec="0.1", ms=1.4, mew=0.3)
    panel.set(xlim=(-2, t[-1] + 2), ylim=(-0.1, 1.1), xticks=(0, 32, 64), yticks=(0, 0.5, 1))
    panel.set_title(title, fontsize="small", linespacing=1.1, pad=2)


def legend() -> list[Artist]:
    """What is the same in all panels."""
    return [
        Line2D([], [], color="0.4", lw=2.4, label="line: ours (coloured by its shape)"),
        Line2D([], [], ls="", marker="o", mfc="white", mec="0.1", ms=2.5, mew=0.5, label="dots: torch's"),
        Line2D([], [], color="0.6", ls="", marker="o", ms=2.5, label="momentum that it sets, same axis"),
        Patch(color="0.93", label="after the guide's 32 steps"),
    ]


GUIDE, DERIVED = "Monigatti 2022", "derived here"
TRIANGULAR, EXP_RANGE = "'triangular'", "'exp_range'"


def _worst(recursive: bool) -> Claim[Traces]:
    chosen = IS_RECURSIVE if recursive else ~IS_RECURSIVE
    kind = "multiplies the rate in force" if recursive else "evaluates a formula"
    unit = "torch's rate" if recursive else "its largest rate"
    return Claim(
        f"ours and torch's, the {chosen.sum()} of which torch {kind}: largest difference, relative to {unit}",
        "the precision that the dialects promise",
        lambda d: float(d.difference[chosen].max()),
        1e-9 if recursive else 1e-12,
        relation="at_most",
    )


CLAIMS: tuple[Claim[Traces], ...] = (
    _worst(recursive=False),
    _worst(recursive=True),
    Claim(
        'MultiStepLR, milestones = [8, ...] "list of epoch indices": the epoch of the first drop',
        GUIDE,
        lambda d: float(np.argmax(d.rates("MultiStepLR") < 0.75 * LR)) / EPOCH,
        8.0,
        expect="refuted",
        finding="the guide steps the scheduler after every update, so milestones are steps: the first is 8",
    ),
    Claim(
        'LinearLR, start_factor = 0.5 "the number we multiply learning rate in the first epoch": its mean',
        GUIDE,
        lambda d: float(d.rates("LinearLR")[:EPOCH].mean() / LR),
        0.5,
        tolerance=1e-3,
        expect="refuted",
        finding="only the first step has the factor 0.5; the next has 0.5625, and the epoch's mean is 0.719",
    ),
    Claim(
        "ExponentialLR, factor 1/2 per step: sum of the 32 rates, in units of the first",
        DERIVED,
        lambda d: float(d.rates("ExponentialLR")[:SHOWN].sum() / d.rates("ExponentialLR")[0]),
        2.0,
        tolerance=1e-8,
    ),
    Claim(
        "PolynomialLR, total_iters = 8: share of the 32 steps at a rate of 0",
        DERIVED,
        lambda d: float(np.mean(d.rates("power=1")[:SHOWN] == 0)),
        0.75,
    ),
    Claim(
        'CosineAnnealingLR, eta_min = 1e-4 "minimum learning rate": the smallest rate of the 32 steps',
        GUIDE,
        lambda d: float(d.rates("CosineAnnealingLR")[:SHOWN].min()),
        1e-4,
        tolerance=0.51e-6,
        expect="refuted",
        finding="eta_min would come one step after the last; the smallest rate is 2.2 % above it",
    ),
    Claim(
        "CosineAnnealingLR goes on after T_max = 32 by climbing: rate at step 64 over the first",
        DERIVED,
        lambda d: float(d.rates("CosineAnnealingLR")[64] / d.rates("CosineAnnealingLR")[0]),
        1.0,
        tolerance=1e-9,
    ),
    Claim(
        'CosineAnnealingWarmRestarts, eta_min = 1e-4 "minimum learning rate": the smallest rate',
        GUIDE,
        lambda d: float(d.rates("WarmRestarts").min()),
        1e-4,
        tolerance=0.51e-6,
        expect="refuted",
        finding="each restart comes where eta_min would: the smallest rate is 34 % above it",
    ),
    Claim(
        'CyclicLR, mode "exp_range": largest difference from mode "triangular" as gamma is not set',
        DERIVED,
        lambda d: float(np.abs(d.rates(EXP_RANGE) - d.rates(TRIANGULAR)).max()),
        0.0,
        tolerance=1e-18,
    ),
    Claim(
        "CyclicLR and OneCycleLR adjust the learning rate: momentum of an SGD that was made without, at most",
        GUIDE,
        lambda d: float(np.nanmax(d.momentum[:, :SHOWN], initial=0.0)),
        0.0,
        expect="refuted",
        finding="cycle_momentum is on by default: CyclicLR sets 0.8 to 0.9, OneCycleLR 0.85 to 0.95",
    ),
    Claim(
        "OneCycleLR's first rate, for max_lr = 1e-3 and an optimizer's rate of 1e-3: max_lr/25",
        "torch's default div_factor",
        lambda d: float(d.rates("'cos'")[0]),
        4e-5,
        tolerance=1e-15,
    ),
    Claim(
        "OneCycleLR (linear), the last rate is max_lr/25/10,000: relative error of torch's",
        "torch's default final_div_factor",
        lambda d: abs(float(d.rates("'linear'")[SHOWN - 1]) / 4e-9 - 1),
        0.0,
        tolerance=1e-12,
        expect="refuted",
        finding="torch gets there by subtracting rates of 1e-3, which leaves eleven digits; ours is exact",
    ),
    Claim(
        'OneCycleLR (linear), max_lr = 1e-3 "upper learning rate boundary in the cycle": its largest rate',
        GUIDE,
        lambda d: float(np.nanmax(d.rates("'linear'"))),
        1e-3,
        tolerance=0.51e-6,
        expect="refuted",
        finding="the peak lies at step 8.6, between two updates: the largest rate is 1.8 % below max_lr",
    ),
    Claim(
        "OneCycleLR (linear), one step past its 32: the rate",
        DERIVED,
        lambda d: float(d.rates("'linear'")[SHOWN]),
        0.0,
        relation="at_most",
    ),
    Claim(
        "LambdaLR over MultiplicativeLR with the same function, step 31: decades apart",
        "lr[t] = lr[0] f(t) and lr[t] = lr[t-1] f(t), as Monigatti 2022 writes them",
        lambda d: float(np.log10(d.rates("LambdaLR")[31] / d.rates("MultiplicativeLR")[31])),
        -sum(math.log10(function(t)) for t in range(1, 31)),
        tolerance=1e-9,
    ),
)
