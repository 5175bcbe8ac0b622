r"""The rates of six policies in Dive into Deep Learning: what the text says, and what the code trains at.

Rate in every epoch. Pale and broad: the formula of the text, in the epoch that it is given for. Narrow and
coloured: the rates of the PyTorch code, found by going through its loop, with PyTorch's own MultiStepLR.
Constant 0.3; 0.1 (t + 1)^−½; 0.5 halved in epochs 15 and 30, where the last epoch is 29; a cosine from 0.3 to
0.01 in 20 epochs; linear warmup in 5 epochs and the cosine in the 15 after them. The factor policy,
max(0.01, 2 · 0.9^t) on a logarithmic axis, is only plotted in the book, never trained with.

The two differ in every panel but the first. The PyTorch loop asks the book's own schedulers after an epoch,
with the number of the epoch just done, and the first epoch is the optimizer's own: their rates come one epoch
late. For the warmup this means a first epoch at the full rate and a second one at rate 0. MultiStepLR counts
its own calls: 30 of them went into the plot, so that training begins after the last milestone and stays at
0.125. The factor policy multiplies before it answers: it begins at 1.8, and the 50 values of its plot end 3 %
above the floor.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from ratelab.experiments.sources import Source
from ratelab.experiments.spec import Measure
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import claim, ours
from ratelab.paper_figures.house.style import label_edges, looks, new_figure, shade
from ratelab.paper_figures.house.table import Table, lines_of, table_of
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

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ABOUT = About(
    title="Schedules of a textbook, as written and as trained",
    group="Dive into Deep Learning",
    source="Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 12.11",
    link="https://d2l.ai/chapter_optimization/lr-scheduler.html",
    topics=("shapes", "warmup", "decay", "networks"),
    seconds=(3, 3),
)

EPOCHS = 30
FLOOR = 0.01


def looped(text: Array) -> Array:
    """The book's training: the optimizer is made with the peak; after an epoch it gets scheduler(epoch)."""
    rate, trained = text.max(), []
    for epoch in range(len(text)):
        trained.append(rate)
        rate = text[epoch]
    return np.array(trained)


def multiplied(text: Array) -> Array:
    """The book's FactorScheduler, which multiplies and then answers."""
    rate, answers = float(text[0]), []
    for _ in text:
        rate = max(FLOOR, rate * 0.9)
        answers.append(rate)
    return np.array(answers)


def plotted_before(text: Array) -> Array:
    """PyTorch's own scheduler: 30 steps for the plot, and those of training after them."""
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=float(text[0]))
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[15, 30], gamma=0.5)
    rates = []
    for _ in range(2 * EPOCHS):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return np.array(rates[EPOCHS:])


@dataclass(frozen=True)
class Policy:
    """As the text has it; `code` makes the code's rates of the text's, both (epochs,)."""

    formula: str
    schedule: Schedule
    code: Callable[[Array], Array] = looped
    epochs: int = EPOCHS


COSINE = Cosine(final=1 / 30)
POLICIES = {
    "constant": Policy("constant: $0.3$", Scaled(Constant(), factor=0.3)),
    "square root": Policy(r"square root: $0.1\,(t+1)^{-1/2}$", Scaled(InversePower(0.5), factor=0.1)),
    "factor": Policy(
        r"factor: $\max(0.01,\ 2 \cdot 0.9^t)$",
        Clip(Scaled(Exponential(0.9), factor=2.0), low=FLOOR),
        multiplied,
        epochs=50,
    ),
    "multistep": Policy(
        "multistep: 0.5, halved at 15, 30", Scaled(MultiStep((15, 30), gamma=0.5), factor=0.5), plotted_before
    ),
    "cosine": Policy(r"cosine: $0.3 \to 0.01$ at 20", Scaled(Within(COSINE, length=20), factor=0.3)),
    "warmup + cosine": Policy(
        "warmup to 5, cosine to 20",
        Scaled(Warmup(Within(COSINE, length=15), length=5, start=0.0), factor=0.3),
    ),
}


def data(full: bool = False, report: Report = quiet) -> Table:
    """A line per policy and epoch, by the text and by the code; the full form is the quick one."""
    found: list[dict[str, object]] = []
    for name, policy in POLICIES.items():
        head = {"schedule": repr(policy.schedule), "policy": name, "formula": policy.formula}
        text = multipliers(policy.schedule, policy.epochs)
        for by, rates in (("text", text), ("code", policy.code(text))):
            found += lines_of(head | {"by": by}, {"epoch": np.arange(policy.epochs), "rate": rates})
    return table_of(found)


def draw(table: Table) -> Figure:
    """A panel per policy."""
    figure = new_figure(3.5)
    panels = figure.subplots(2, 3)
    styles = looks(table.values("schedule"))
    for panel, style, (policy, curves) in zip(panels.flat, styles, table.groups("policy"), strict=True):
        draw_rates(panel, curves, style.colour)
        panel.set_title(curves.first("formula"), fontsize="medium")
        if policy == "factor":
            scale_factor(panel)
        else:
            top = curves["rate"].max()
            panel.set_ylim(-0.04 * top, 1.12 * top)  # a rate of 0 is seen above the axis
            panel.yaxis.set_major_locator(MaxNLocator(4, steps=(1, 2, 5, 10)))
    label_edges(panels, "epoch $t$", "learning rate")
    labelled = panels[0, 0]
    labelled.plot([], [], color="0.72", lw=3.2, label="as the text has it")
    labelled.plot([], [], color="0.1", lw=1.1, label="as the PyTorch code has it")
    labelled.plot([], [], color="0.35", lw=0.6, ls=":", label="floor 0.01")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def draw_rates(panel: "Axes", curves: Table, colour: str) -> None:
    """The text's pale and broad, the code's narrow; the last epoch is as long as the others."""
    for by, curve in curves.groups("by"):
        face, width = (shade(colour, 0.6), 3.2) if by == "text" else (colour, 1.1)
        epochs, rates = np.append(curve["epoch"], len(curve)), np.append(curve["rate"], curve["rate"][-1])
        panel.step(epochs, rates, where="post", solid_capstyle="butt", color=face, lw=width)
        panel.set(xlim=(0, len(curve)), xticks=range(0, len(curve) + 1, 10))


def scale_factor(panel: "Axes") -> None:
    """A logarithmic axis, with the floor."""
    panel.axhline(0.01, color="0.35", lw=0.6, ls=":")
    panel.set(yscale="log", ylim=(0.007, 3.5), yticks=(0.01, 0.1, 1), yticklabels=("0.01", "0.1", "1"))
    panel.yaxis.set_minor_formatter(NullFormatter())


def of(policy: str, by: str, measure: Callable[[Array], float]) -> Measure:
    """What `measure` makes of the rates of all epochs, (epochs,)."""
    return lambda table: float(measure(table.where("policy", policy).where("by", by)["rate"]))


_BOOK = Source(
    "Dive into Deep Learning",
    "section 12.11.2, PyTorch tab (chapter_optimization/lr-scheduler.md:233, 265; loop 124 to 131)",
    "this setting",
    "full text",
    setting="its own PyTorch loop and schedulers",
)
_MULTISTEP = _BOOK.at("section 12.11.3.2, PyTorch tab (chapter_optimization/lr-scheduler.md:319 to 328, 361)")
_COSINE = _BOOK.at(
    "section 12.11.3.3, PyTorch tab (chapter_optimization/lr-scheduler.md:378, 429; loop 124 to 131)"
)
_WARMUP = _BOOK.at(
    "section 12.11.3.4, PyTorch tab (chapter_optimization/lr-scheduler.md:444, 471; loop 124 to 131)"
)
_CODE = ours("read in the book's PyTorch code")
_LATE = "the loop asks the scheduler after the epoch, so that every rate comes one epoch late"

CLAIMS = (
    claim(
        "square root: trained at 0.1 (t + 1)^-1/2: in epoch 8, a third of the first rate",
        _BOOK,
        of("square root", "code", lambda rate: rate[8] / rate[0]),
        f"{1 / 3} ± 1e-12",
        refuted=f"it is 8^-1/2: {_LATE}",
    ),
    claim(
        "cosine: trained with the target rate 0.01 at T = 20: in epoch 20",
        _COSINE,
        of("cosine", "code", lambda rate: rate[20]),
        "0.01 ± 1e-12",
        refuted=f"in epoch 21; {_LATE}",
    ),
    claim(
        "multistep: trained as plotted, from 0.5: the first rate",
        _MULTISTEP,
        of("multistep", "code", lambda rate: rate[0]),
        "0.5 ± 1e-12",
        refuted="at 0.125: the scheduler had been stepped 30 times, through both milestones, for its plot",
    ),
    claim(
        "multistep: trained as plotted, halved in epoch 15: the rate over that before",
        _MULTISTEP,
        of("multistep", "code", lambda rate: rate[15] / rate[14]),
        "0.5 ± 1e-12",
        refuted="training is at a constant rate: both milestones had passed in the plot",
    ),
    claim(
        "warmup: a period in which the rate increases to its maximum: the first rate of training over it",
        _WARMUP,
        of("warmup + cosine", "code", lambda rate: rate[0] / rate.max()),
        "at most 0.5",
        refuted="the first epoch of training is at the peak, 0.3, the rate that the optimizer is made with",
    ),
    claim(
        "warmup: the second epoch of training stands still: its rate",
        _CODE,
        of("warmup + cosine", "code", lambda rate: rate[1]),
        "0 ± 1e-12",
    ),
    claim(
        "factor: the scheduler multiplies before it answers: its first rate is 1.8",
        _CODE,
        of("factor", "code", lambda rate: rate[0]),
        "1.8 ± 1e-12",
    ),
    claim(
        "factor: the 50 rates of the plot end 3 % above the floor: the last over it",
        _CODE,
        of("factor", "code", lambda rate: rate[-1] / FLOOR),
        "1.03 ± 0.005",
    ),
)
