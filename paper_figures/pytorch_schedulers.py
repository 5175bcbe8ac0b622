"""Sixteen PyTorch schedulers, each stepped by torch and as the formula that it is here, on one page.

The settings of L. Monigatti's visual guide: SGD with a rate of 10⁻³, four epochs of eight steps, the
scheduler stepped after every update. White: the guide's 32 steps; grey: what follows when one goes on. Line:
our schedule, read from the guide's line of code. Dots: the rate in torch's optimizer, measured here. Grey
dots: the momentum that the scheduler sets. The guide doesn't draw LambdaLR and MultiplicativeLR, which take a
function; here both take 1/(1 + t/10), and MultiplicativeLR multiplies its values up.

What surprises: CosineAnnealingLR trains at eta_min one step after the guide's last, and then climbs back to
its first rate; with warm restarts it never does. PolynomialLR with total_iters = 8 trains for 24 of the 32
steps at a rate of 0. ExponentialLR with a factor of 1/2 per step goes no further in all than two steps at the
first rate. CyclicLR's "exp_range" is "triangular" until its gamma is set. CyclicLR and OneCycleLR give a
momentum of 0.8 to 0.95 to an SGD that was made without. OneCycleLR's peak falls between two steps; one step
past its end the linear one is negative, and two past it torch fails. Torch's docstrings, which the guide
quotes, count milestones and the start factor in epochs, as for a scheduler that is stepped once in each; here
they count steps.
"""

import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ratelab.experiments import dialects
from ratelab.experiments.sources import Source
from ratelab.experiments.spec import Measure
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import claim, ours as asked
from ratelab.paper_figures.house.style import label_edges, look, new_figure
from ratelab.paper_figures.house.table import Table, lines_of, table_of
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


def function(t: int) -> float:
    """The factor that LambdaLR and MultiplicativeLR are given here."""
    return 1 / (1 + t / 10)


def data(full: bool = False, report: Report = quiet) -> Table:
    """A line per scheduler and step: the rates, ours and torch's, and torch's momentum, empty where there is
    none; the full form is the quick one."""
    found: list[dict[str, object]] = []
    for k, (text, settings) in enumerate(SCHEDULERS):
        name, schedule = text.partition("(")[0], ours(text)
        horizon = SHOWN if name == "OneCycleLR" else STEPS  # where it ends
        rates = np.pad(LR * multipliers(schedule, horizon), (0, STEPS - horizon), constant_values=np.nan)
        torch, momentum = stepped(text)
        found += lines_of(
            {"scheduler": name, "settings": settings, "schedule": repr(schedule)},
            {"t": range(STEPS), "ours": rates, "torch": torch, "momentum": momentum},
        )
        report(k + 1, len(SCHEDULERS))
    return table_of(found)


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


def draw(table: Table) -> Figure:
    """Four in a row, in the guide's order."""
    figure = new_figure(4.4)
    panels = figure.subplots(4, 4, sharex=True, sharey=True)
    curves = table.groups("scheduler", "settings")
    for panel, ((name, settings), curve) in zip(panels.flat, curves, strict=True):
        title = f"{name}\n{settings}".replace("WarmRestarts\n", "Warm-\nRestarts, ")  # or it is too wide
        draw_one(panel, curve, title)
    label_edges(panels, x="step $t$", y="rate / $10^{-3}$")
    figure.legend(handles=legend(), loc="outside lower center", ncols=2)
    return figure


def draw_one(panel: "Axes", curve: Table, title: str) -> None:
    """Ours as a line, torch's as dots."""
    t = curve["t"]
    panel.axvspan(SHOWN, STEPS + 1, color="0.93", lw=0)
    panel.plot(t, curve["momentum"], ".", color="0.6", ms=1.6, mew=0)
    panel.plot(t, curve["ours"] / LR, color=look(curve.first("schedule")).colour, lw=2.4)
    panel.plot(t, curve["torch"] / LR, "o", mfc="white", mec="0.1", ms=1.4, mew=0.3)
    panel.set(xlim=(-2, STEPS + 1), ylim=(-0.1, 1.1), xticks=(0, 32, 64), yticks=(0, 0.5, 1))
    panel.set_title(title, fontsize="small", linespacing=1.1, pad=2)


def legend() -> list[Artist]:
    """What is the same in all panels."""
    return [
        Line2D([], [], color="0.4", lw=2.4, label="line: ours (coloured by its shape)"),
        Line2D([], [], ls="", marker="o", mfc="white", mec="0.1", ms=2.5, mew=0.5, label="dots: torch's"),
        Line2D([], [], color="0.6", ls="", marker="o", ms=2.5, label="momentum that it sets, same axis"),
        Patch(color="0.93", label="after the guide's 32 steps"),
    ]


FORMULAS = ("CosineAnnealingWarmRestarts", "CyclicLR", "OneCycleLR", "LambdaLR")
"""What torch evaluates as a formula; otherwise it multiplies the rate in force."""


def difference(curve: Table) -> float:
    """The largest, relative to torch's rate, or to LR where that is 0.

    Of what torch evaluates as a formula relative to the largest rate: a formula's terms cancel.
    """
    torch = curve["torch"]
    unit = np.where(torch == 0, LR, np.abs(torch))
    unit = np.nanmax(torch) if curve.first("scheduler") in FORMULAS else unit
    return float(np.nanmax(np.abs(curve["ours"] - torch) / unit))


def largest_difference(formulas: bool) -> Measure:
    """Of all that torch evaluates as a formula, or of all others."""
    return lambda table: max(
        difference(curve)
        for (name, _), curve in table.groups("scheduler", "settings")
        if (name in FORMULAS) == formulas
    )


def rates(table: Table, scheduler: str, settings: str = "") -> Array:
    """torch's; with these settings, where there are several."""
    found = table.where("scheduler", scheduler)
    return (found.where("settings", settings) if settings else found)["torch"]


def of(scheduler: str, number: Callable[[Array], Any], settings: str = "") -> Measure:
    """A number of torch's rates."""
    return lambda table: float(number(rates(table, scheduler, settings)))


def exp_range(table: Table) -> float:
    """The largest difference from triangular."""
    cycles = [rates(table, "CyclicLR", mode) for mode in ("exp range", "triangular, 4 steps up")]
    return float(np.abs(cycles[0] - cycles[1]).max())


GUIDE = Source(
    "Monigatti 2022",
    "Custom Learning Rate Schedulers with Lambda Functions",
    "this setting",
    "full text",
    setting="its two formulas; the function is ours",
)
TORCH = Source(
    "torch's docstrings",
    "torch/optim/lr_scheduler.py",
    "this setting",
    "full text",
    setting="torch's own class, stepped here",
)
QUOTED = Source(
    "torch's docstrings, quoted by Monigatti 2022",
    "torch/optim/lr_scheduler.py",
    "another setting",
    "full text",
    words="of a scheduler stepped once an epoch",
)
PRECISION, DERIVED = asked("docs/dialects.md"), asked("derived from torch's formula")
COSINE, LINEAR = "cosine, 32 steps", "linear, 32 steps"


def above_eta_min(cycle: int) -> float:
    """The last rate of a cosine of so many steps from 10 eta_min, in units of eta_min."""
    return 1 + 4.5 * (1 + math.cos(math.pi * (cycle - 1) / cycle))


CLAIMS = (
    claim(
        "ours and torch's, the 7 of which torch evaluates a formula: largest difference, relative to its "
        "largest rate",
        PRECISION,
        largest_difference(formulas=True),
        "at most 1e-12",
    ),
    claim(
        "ours and torch's, the 9 of which torch multiplies the rate in force: largest difference, relative "
        "to torch's rate",
        PRECISION,
        largest_difference(formulas=False),
        "at most 1e-9",
    ),
    claim(
        'MultiStepLR, milestones = [8, ...] "list of epoch indices": the epoch of the first drop',
        QUOTED.at("MultiStepLR, milestones", QUOTED.words),
        of("MultiStepLR", lambda rates: np.argmax(rates < 0.75 * LR) / EPOCH),
        "8",
        refuted="stepped after every update, as in the guide, milestones are steps: the first is 8",
    ),
    claim(
        'LinearLR, start_factor = 0.5 "the number we multiply learning rate in the first epoch": its mean',
        QUOTED.at("LinearLR, start_factor", QUOTED.words),
        of("LinearLR", lambda rates: rates[:EPOCH].mean() / LR),
        "0.5 ± 1e-3",
        refuted="stepped after every update only the first step has 0.5, and the epoch on average 0.719",
    ),
    claim(
        "ExponentialLR, factor 1/2 per step: sum of the 32 rates, in units of the first",
        DERIVED,
        of("ExponentialLR", lambda rates: rates[:SHOWN].sum() / rates[0]),
        "2 ± 1e-8",
    ),
    claim(
        "PolynomialLR, total_iters = 8: share of the 32 steps at a rate of 0",
        DERIVED,
        of("PolynomialLR", lambda rates: np.mean(rates[:SHOWN] == 0), "power 1, 8 steps"),
        "0.75",
    ),
    claim(
        'CosineAnnealingLR, eta_min = 1e-4 "minimum learning rate": the rate at step 32, the smallest',
        TORCH.at("CosineAnnealingLR, eta_min"),
        of("CosineAnnealingLR", np.min),
        "1e-4 ± 1e-12",
    ),
    claim(
        "... but the guide's 32 steps end one before: their smallest rate over eta_min",
        DERIVED,
        of("CosineAnnealingLR", lambda rates: rates[:SHOWN].min() / 1e-4),
        f"{above_eta_min(32)} ± 1e-8",
    ),
    claim(
        "CosineAnnealingLR goes on after T_max = 32 by climbing: rate at step 64 over the first",
        DERIVED,
        of("CosineAnnealingLR", lambda rates: rates[64] / rates[0]),
        "1 ± 1e-9",
    ),
    claim(
        "CosineAnnealingWarmRestarts restarts where eta_min would come: the smallest rate over eta_min",
        DERIVED,
        of("CosineAnnealingWarmRestarts", lambda rates: rates.min() / 1e-4),
        f"{above_eta_min(8)} ± 1e-8",
    ),
    claim(
        'CyclicLR, mode "exp_range": largest difference from mode "triangular" as gamma is not set',
        TORCH.at("CyclicLR, gamma", "1 by default"),
        exp_range,
        "0 ± 1e-18",
    ),
    claim(
        "CyclicLR's first rate, for an optimizer's rate of 1e-3: base_lr",
        TORCH.at("CyclicLR, base_lr"),
        of("CyclicLR", lambda rates: rates[0], "triangular2"),
        "1e-4 ± 1e-15",
    ),
    claim(
        "CyclicLR and OneCycleLR cycle the momentum unless told not to: the largest of an SGD made without",
        TORCH.at("OneCycleLR, cycle_momentum and max_momentum"),
        lambda d: float(np.nanmax(d["momentum"][d["t"] < SHOWN])),
        "0.95 ± 1e-12",
    ),
    claim(
        "... and the smallest",
        TORCH.at("CyclicLR, cycle_momentum and base_momentum"),
        lambda d: float(np.nanmin(d["momentum"][d["t"] < SHOWN])),
        "0.8 ± 1e-12",
    ),
    claim(
        "OneCycleLR's first rate, for max_lr = 1e-3 and an optimizer's rate of 1e-3: max_lr/25",
        TORCH.at("OneCycleLR, div_factor"),
        of("OneCycleLR", lambda rates: rates[0], COSINE),
        "4e-5 ± 1e-15",
    ),
    claim(
        "OneCycleLR (linear), the last rate: max_lr/25/10,000",
        TORCH.at("OneCycleLR, final_div_factor"),
        of("OneCycleLR", lambda rates: rates[SHOWN - 1], LINEAR),
        "4e-9 ± 1e-18",
    ),
    claim(
        'OneCycleLR (linear), max_lr = 1e-3 "upper learning rate boundary in the cycle": its largest rate',
        TORCH.at("OneCycleLR, max_lr"),
        of("OneCycleLR", np.nanmax, LINEAR),
        "at most 1e-3",
    ),
    claim(
        "... which it doesn't reach, as the peak lies at step 8.6: its largest rate over max_lr",
        DERIVED,
        of("OneCycleLR", lambda rates: np.nanmax(rates) / 1e-3, LINEAR),
        f"{1 - 0.4 / 22.4} ± 1e-6",
    ),
    claim(
        "OneCycleLR (linear), one step past its 32: the rate, below 0",
        DERIVED,
        of("OneCycleLR", lambda rates: rates[SHOWN], LINEAR),
        f"{4e-9 - (1e-3 - 4e-9) / 22.4} ± 1e-9",
    ),
    claim(
        "... and torch fails at the next: the rates that it gives",
        TORCH.at("OneCycleLR, get_lr"),
        of("OneCycleLR", lambda rates: np.isfinite(rates).sum(), LINEAR),
        "33",
    ),
    claim(
        "LambdaLR over MultiplicativeLR with the same function, step 31: decades apart",
        GUIDE,
        lambda d: math.log10(rates(d, "LambdaLR")[31] / rates(d, "MultiplicativeLR")[31]),
        f"{-sum(math.log10(function(t)) for t in range(1, 31))} ± 1e-9",
    ),
)
