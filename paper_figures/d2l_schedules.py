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

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from ratelab.experiments.spec import Claim, Measure
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import claim
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
    return np.append(text.max(), text[:-1])


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


def written_and_trained(
    sentence: str, source: str, measure: Callable[[str], Measure], printed: str, finding: str
) -> tuple[Claim, Claim]:
    """What holds of the text's rates and doesn't of the code's; `measure` is told which."""
    return (
        claim(f"{sentence}, in the text", source, measure("text"), printed),
        claim(f"{sentence}, in training", source, measure("code"), printed, refuted=finding),
    )


_BOOK = "Dive into Deep Learning 12.11"
_MILESTONES = f"{_BOOK}: milestones=[15, 30], gamma=0.5"
_LATE = "the loop asks the scheduler after the epoch, so that every rate comes one epoch late"

CLAIMS = (
    claim(
        "square root: the run starts at the rate that the code prints, 0.10",
        f"{_BOOK}, printed",
        of("square root", "code", lambda rate: rate[0]),
        "0.10 ± 0.0051",
    ),
    *written_and_trained(
        "square root: the rate of epoch 8 is a third of the first",
        f"{_BOOK}: (t + 1)^-1/2",
        lambda by: of("square root", by, lambda rate: rate[8] / rate[0]),
        f"{1 / 3} ± 1e-12",
        f"it is 8^-1/2: {_LATE}",
    ),
    *written_and_trained(
        "cosine: the target rate is reached in epoch 20",
        f"{_BOOK}: max_update=20, final_lr=0.01",
        lambda by: of("cosine", by, lambda rate: rate[20]),
        "0.01 ± 1e-12",
        f"in epoch 21; {_LATE}",
    ),
    claim(
        "multistep: training starts at 0.5",
        f"{_BOOK}: lr=0.5",
        of("multistep", "code", lambda rate: rate[0]),
        "0.5 ± 1e-12",
        refuted="at 0.125: the scheduler had been stepped 30 times, through both milestones, for its plot",
    ),
    *written_and_trained(
        "multistep: the rate is halved in epoch 15",
        _MILESTONES,
        lambda by: of("multistep", by, lambda rate: rate[15] / rate[14]),
        "0.5 ± 1e-12",
        "training is at a constant rate: both milestones had passed in the plot",
    ),
    claim(
        "multistep: two milestones leave a quarter of the first rate, in the text",
        _MILESTONES,
        of("multistep", "text", lambda rate: rate[-1] / rate[0]),
        "0.25 ± 1e-12",
        refuted="half: the milestone 30 lies behind the last of 30 epochs, which is epoch 29",
    ),
    claim(
        "warmup: the rate climbs by the same amount in each of 5 epochs, in the text: the largest step",
        f"{_BOOK}: warmup_steps=5, base_lr=0.3",
        of("warmup + cosine", "text", lambda rate: np.diff(rate[:6]).max()),
        "0.06 ± 1e-12",
    ),
    claim(
        "warmup: a large learning rate is avoided initially: the first rate of training is below the peak",
        f"{_BOOK}: a period during which the rate increases to its initial maximum",
        of("warmup + cosine", "code", lambda rate: rate[0] / rate.max()),
        "at most 0.5",
        refuted="the first epoch of training is at the peak, 0.3, the rate that the optimizer is made with",
    ),
    claim(
        "warmup: training never stands still: the second rate is above 0",
        "derived here",
        of("warmup + cosine", "code", lambda rate: rate[1]),
        "at least 1e-6",
        refuted="the second epoch is at the warmup's first rate, 0: all of its updates change nothing",
    ),
    claim(
        "factor: the first rate is base_lr",
        f"{_BOOK}: base_lr=2.0",
        of("factor", "code", lambda rate: rate[0]),
        "2 ± 1e-12",
        refuted="1.8: the scheduler multiplies before it answers",
    ),
    claim(
        "factor: the 50 rates of the plot reach the floor stop_factor_lr",
        f"{_BOOK}: stop_factor_lr=1e-2",
        of("factor", "code", lambda rate: rate[-1]),
        "at most 0.01 ± 1e-12",
        refuted="the last of them is 2 * 0.9^50, 3 % above it; the next would be the first at the floor",
    ),
)
