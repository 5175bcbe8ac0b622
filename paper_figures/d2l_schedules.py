r"""The rates of six policies in Dive into Deep Learning: what the text says, and what the code trains at.

Rate in every epoch. Pale and broad: the formula of the text, in the epoch that it is given for. Narrow and
coloured: the rates of the PyTorch code, found by going through its loop, with PyTorch's own MultiStepLR.
Constant 0.3; 0.1 (t + 1)^−½; 0.5 halved in epochs 15 and 30; a cosine from 0.3 to 0.01 in 20 epochs; linear
warmup in 5 epochs and the cosine in the 15 after them. The factor policy, max(0.01, 2 · 0.9^t) on a
logarithmic axis, is only plotted in the book, never trained with.

The two differ in every panel but the first. The training loop asks the scheduler after an epoch, with the
number of the epoch just done, and the first epoch is the optimizer's own: all rates come one epoch late. For
the warmup this means a first epoch at the full rate, which it is there to avoid, and a second one at rate 0.
MultiStepLR counts its own calls: 30 of them went into the plot, so that training begins after the last
milestone and stays at 0.125; nor is the milestone 30 ever reached in the text's 30 epochs. The factor policy
multiplies before it answers: it begins at 1.8 where the text has 2, and the 50 values of its plot end just
above the floor.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from ratelab.experiments.spec import Claim
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import Claim
from ratelab.paper_figures.house.style import looks, new_figure, shade
from ratelab.paper_figures.house.table import Table
from ratelab.theory.arrays import Array
from ratelab.theory.combine import Clip, Scaled, Warmup, Within
from ratelab.theory.schedules import (
    Constant,
    Cosine,
    Exponential,
    InversePower,
    MultiStep,
    Schedule,
    multipliers,
)

ABOUT = About(
    title="Schedules of a textbook, as written and as trained",
    group="Dive into Deep Learning",
    source="Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 12.11",
    link="https://d2l.ai/chapter_optimization/lr-scheduler.html",
    topics=("shapes", "warmup", "decay", "networks"),
    seconds=(3, 3),
)

EPOCHS, FACTOR_EPOCHS = 30, 50
FLOOR = 0.01
POLICIES: dict[str, Schedule] = {
    "constant": Scaled(Constant(), factor=0.3),
    "square root": Scaled(InversePower(0.5), factor=0.1),
    "factor": Scaled(Exponential(0.9), factor=2.0),
    "multistep": Scaled(MultiStep((15, 30), gamma=0.5), factor=0.5),
    "cosine": Scaled(Within(Cosine(final=1 / 30), length=20), factor=0.3),
    "warmup + cosine": Scaled(
        Warmup(Within(Cosine(final=1 / 30), length=15), length=5, start=0.0), factor=0.3
    ),
}
"""As the text has them; the floor of "factor" is put on in `data`."""

FORMULAS = {
    "constant": r"constant: $0.3$",
    "square root": r"square root: $0.1\,(t+1)^{-1/2}$",
    "factor": r"factor: $\max(0.01,\ 2 \cdot 0.9^t)$",
    "multistep": "multistep: 0.5, halved at 15, 30",
    "cosine": r"cosine: $0.3 \to 0.01$ at 20",
    "warmup + cosine": "warmup to 5, cosine to 20",
}


@dataclass(frozen=True)
class Rates:
    """Learning rates of the epochs, (T,): by the text's formula, and of the code."""

    text: Array
    code: Array


def data(full: bool = False, report: Report = quiet) -> dict[str, Rates]:
    """The rates by policy; the full form is the quick one."""
    found = {}
    for name, schedule in POLICIES.items():
        if name == "factor":
            found[name] = Rates(multipliers(Clip(schedule, low=FLOOR), FACTOR_EPOCHS), _factor_calls())
        elif name == "multistep":
            found[name] = Rates(multipliers(schedule, EPOCHS), _stepped_for_a_plot())
        else:
            text = multipliers(schedule, EPOCHS)
            found[name] = Rates(text, _loop(text))
    return found


def _loop(scheduler: Array) -> Array:
    """The book's training: the optimizer is made with the peak; after an epoch it gets scheduler(epoch)."""
    lr, used = float(scheduler.max()), []
    for epoch in range(EPOCHS):
        used.append(lr)
        lr = float(scheduler[epoch])
    return np.array(used)


def _factor_calls() -> Array:
    """The book's FactorScheduler, which multiplies and then answers."""
    rate, answers = 2.0, []
    for _ in range(FACTOR_EPOCHS):
        rate = max(FLOOR, rate * 0.9)
        answers.append(rate)
    return np.array(answers)


def _stepped_for_a_plot() -> Array:
    """PyTorch's own scheduler: 30 steps for the plot, and those of training after them."""
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[15, 30], gamma=0.5)
    rates = []
    for _ in range(2 * EPOCHS):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return np.array(rates[EPOCHS:])


COLUMNS = ("schedule", "policy", "formula", "by", "epoch", "rate")


def rows(found: dict[str, Rates]) -> Iterator[tuple[object, ...]]:
    """One row per epoch, by the text and by the code."""
    for policy, rates in found.items():
        for by, values in (("text", rates.text), ("code", rates.code)):
            for epoch, rate in enumerate(values.tolist()):
                yield repr(POLICIES[policy]), policy, FORMULAS[policy], by, epoch, rate


def draw(table: Table) -> Figure:
    """A panel per policy."""
    figure = new_figure(3.5)
    panels = figure.subplots(2, 3).flat
    styles = looks(table.values("schedule"))
    for panel, style, (policy, curves) in zip(panels, styles, table.groups("policy"), strict=True):
        for by, curve in curves.groups("by"):
            epochs = np.append(curve["epoch"], len(curve))
            rates = np.append(curve["rate"], curve["rate"][-1])
            pale = {"color": shade(style.colour, 0.6), "lw": 3.2}
            line = pale if by == "text" else {"color": style.colour, "lw": 1.1}
            panel.step(epochs, rates, where="post", solid_capstyle="butt", **line)
        panel.set_title(curves.first("formula"), fontsize="medium")
        if policy == "factor":
            panel.axhline(0.01, color="0.35", lw=0.6, ls=":")
            panel.set(yscale="log", ylim=(0.007, 3.5), yticks=(0.01, 0.1, 1))
            panel.set_yticklabels(("0.01", "0.1", "1"))
            panel.yaxis.set_minor_formatter(NullFormatter())
        else:
            top = curves["rate"].max()
            panel.set_ylim(-0.04 * top, 1.12 * top)  # a rate of 0 is seen above the axis
            panel.yaxis.set_major_locator(MaxNLocator(4, steps=(1, 2, 5, 10)))
        panel.set(xlim=(0, epochs[-1]), xticks=range(0, len(curve) + 1, 10))
    for panel in figure.axes[3:]:
        panel.set_xlabel("epoch $t$")
    for panel in figure.axes[::3]:
        panel.set_ylabel("learning rate")
    labelled = figure.axes[0]
    labelled.plot([], [], color="0.72", lw=3.2, label="as the text has it")
    labelled.plot([], [], color="0.1", lw=1.1, label="as the PyTorch code has it")
    labelled.plot([], [], color="0.35", lw=0.6, ls=":", label="floor 0.01")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


_BOOK = "Dive into Deep Learning 12.11"
_EXACT = 1e-12
_LATE = "the loop asks the scheduler after the epoch, so that every rate comes one epoch late"

CLAIMS: tuple[Claim[dict[str, Rates]], ...] = (
    Claim(
        "square root: the run starts at the rate that the code prints, 0.10",
        f"{_BOOK}, printed",
        lambda d: float(d["square root"].code[0]),
        0.10,
        tolerance=0.0051,
    ),
    Claim(
        "square root: the rate of epoch 8 is a third of the first, in the text",
        f"{_BOOK}: (t + 1)^-1/2",
        lambda d: float(d["square root"].text[8] / d["square root"].text[0]),
        1 / 3,
        _EXACT,
    ),
    Claim(
        "square root: the rate of epoch 8 is a third of the first, in training",
        f"{_BOOK}: (t + 1)^-1/2",
        lambda d: float(d["square root"].code[8] / d["square root"].code[0]),
        1 / 3,
        _EXACT,
        expect="refuted",
        finding=f"it is 8^-1/2: {_LATE}",
    ),
    Claim(
        "cosine: the target rate is reached in epoch 20, in the text",
        f"{_BOOK}: max_update=20, final_lr=0.01",
        lambda d: float(d["cosine"].text[20]),
        FLOOR,
        _EXACT,
    ),
    Claim(
        "cosine: the target rate is reached in epoch 20, in training",
        f"{_BOOK}: max_update=20, final_lr=0.01",
        lambda d: float(d["cosine"].code[20]),
        FLOOR,
        _EXACT,
        expect="refuted",
        finding=f"in epoch 21; {_LATE}",
    ),
    Claim(
        "multistep: training starts at 0.5",
        f"{_BOOK}: lr=0.5",
        lambda d: float(d["multistep"].code[0]),
        0.5,
        _EXACT,
        expect="refuted",
        finding="at 0.125: the scheduler had been stepped 30 times, through both milestones, for its plot",
    ),
    Claim(
        "multistep: the rate is halved in epoch 15, in the text",
        f"{_BOOK}: milestones=[15, 30], gamma=0.5",
        lambda d: float(d["multistep"].text[15] / d["multistep"].text[14]),
        0.5,
        _EXACT,
    ),
    Claim(
        "multistep: the rate is halved in epoch 15, in training",
        f"{_BOOK}: milestones=[15, 30], gamma=0.5",
        lambda d: float(d["multistep"].code[15] / d["multistep"].code[14]),
        0.5,
        _EXACT,
        expect="refuted",
        finding="training is at a constant rate: both milestones had passed in the plot",
    ),
    Claim(
        "multistep: two milestones leave a quarter of the first rate, in the text",
        f"{_BOOK}: milestones=[15, 30], gamma=0.5",
        lambda d: float(d["multistep"].text[-1] / d["multistep"].text[0]),
        0.25,
        _EXACT,
        expect="refuted",
        finding="half: the milestone 30 lies behind the last of 30 epochs, which is epoch 29",
    ),
    Claim(
        "warmup: the rate climbs by the same amount in each of 5 epochs, in the text: the largest step",
        f"{_BOOK}: warmup_steps=5, base_lr=0.3",
        lambda d: float(np.diff(d["warmup + cosine"].text[:6]).max()),
        0.06,
        _EXACT,
    ),
    Claim(
        "warmup: a large learning rate is avoided initially: the first rate of training is below the peak",
        f"{_BOOK}: a period during which the rate increases to its initial maximum",
        lambda d: float(d["warmup + cosine"].code[0] / d["warmup + cosine"].code.max()),
        0.5,
        relation="at_most",
        expect="refuted",
        finding="the first epoch of training is at the peak, 0.3, the rate that the optimizer is made with",
    ),
    Claim(
        "warmup: training never stands still: the second rate is above 0",
        "derived here",
        lambda d: float(d["warmup + cosine"].code[1]),
        1e-6,
        relation="at_least",
        expect="refuted",
        finding="the second epoch is at the warmup's first rate, 0: all of its updates change nothing",
    ),
    Claim(
        "factor: the first rate is base_lr",
        f"{_BOOK}: base_lr=2.0",
        lambda d: float(d["factor"].code[0]),
        2.0,
        _EXACT,
        expect="refuted",
        finding="1.8: the scheduler multiplies before it answers",
    ),
    Claim(
        "factor: the 50 rates of the plot reach the floor stop_factor_lr",
        f"{_BOOK}: stop_factor_lr=1e-2",
        lambda d: float(d["factor"].code[-1]),
        FLOOR,
        _EXACT,
        relation="at_most",
        expect="refuted",
        finding="the last of them is 2 * 0.9^50, 3 % above it; the next would be the first at the floor",
    ),
)
