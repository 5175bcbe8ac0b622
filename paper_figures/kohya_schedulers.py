"""What a Colab form asks for and what the LoRA trainer does: the rate of every step, scheduler by scheduler.

The form of hollowstrawberry's Lora_Trainer_XL with its own values (10 epochs, 2 repeats, batch 4, learning
rate 3·10⁻⁴, warmup 5 %, number 3) and 93 pictures of one shape, through the trainer (kohya-ss sd-scripts).
Solid: the unet's rate at each of the 470 steps that are taken. Dotted: the form's words as they are read
here, a warmup over 5 % of the steps for all but constant and then the shape, with 3 restarts, or 3 cycles of
the REX of Chen, Wolfe and Kyrillidis (2022), (1 − z)/(1 − z/2). In the titles: the mean rate of both, in
units of the learning rate. Panels 1 to 7 are the form's choices, the eighth is cosine in the older
Lora_Trainer; the last row is what the trainer knows besides and takes from a configuration file.

The notebook reckons with 46.5 steps an epoch and announces around 465; the trainer takes 47, and 470. The
warmup is lost for cosine in the XL notebook; elsewhere it is t/W, so that the first step moves nothing. The
number 3 makes two restarts. polynomial stops at an absolute 10⁻⁷. rex warms up in each of its cycles, stays
high for longer than with d = 1/2 (the notebook sets d = 0.9), ends each cycle at 6 % of its peak, and with
the two steps that are left over it begins a fourth.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ratelab.experiments.dialects import kohya
from ratelab.experiments.dialects.kohya import Choice
from ratelab.experiments.sources import Source
from ratelab.experiments.spec import Measure
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import claim, ours
from ratelab.paper_figures.house.style import label_edges, look, new_figure
from ratelab.paper_figures.house.table import Table, lines_of, table_of
from ratelab.theory.arrays import Array
from ratelab.theory.combine import Repeat, Warmup
from ratelab.theory.cycles import CosineRestarts
from ratelab.theory.schedules import Constant, Cosine, Linear, Polynomial, Rex, Schedule, multipliers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ABOUT = About(
    title="LoRA trainers: what is chosen and what is trained",
    group="Tutorials and trainers",
    source="hollowstrawberry, Lora_Trainer_XL; kohya-ss sd-scripts",
    link="https://github.com/hollowstrawberry/kohya-colab",
    topics=("shapes", "warmup", "cycles"),
    seconds=(1, 1),
)

LR, NUMBER, EPOCHS = 3e-4, 3, 10
FILLED = Choice(
    "linear",
    number=NUMBER,
    warmup=0.05,
    unet_lr=LR,
    text_encoder_lr=6e-5,
    images=93,
    repeats=2,
    batch_size=4,
    epochs=EPOCHS,
    notebook="Lora_Trainer_XL",
)
"""The form filled in."""
FLOOR, PEAK_DECAY, REX_D = 1e-9, 0.9, 0.9
"""rex's min_lr, gamma and d, as the notebook writes them."""

FORM: dict[str, Schedule] = {
    "constant": Constant(),
    "constant_with_warmup": Constant(),
    "linear": Linear(),
    "cosine": Cosine(),
    "cosine_with_restarts": CosineRestarts(NUMBER + 1.0),
    "polynomial": Polynomial(float(NUMBER)),
    "rex": Repeat(Rex(), 1 / NUMBER),
}
"""The form's choices, and the shapes that its words are read as."""

PROMISED = FORM | {"cosine, older notebook": Cosine()}
CONFIGURED = {
    "inverse_sqrt": "",
    "cosine_with_min_lr": "lr_scheduler_min_lr_ratio = 0.1",
    "warmup_stable_decay": "lr_decay_steps = 0.2",
    "piecewise_constant": """lr_scheduler_args = ["step_rules='1:150,0.3:300,0.1'"]""",
}
"""What only a configuration file says."""


def sources() -> dict[str, Choice | str]:
    """The form filled in, and configuration files of as many steps."""
    names: tuple[Any, ...] = tuple(FORM)  # checked by Choice itself
    forms = {name: replace(FILLED, scheduler=name) for name in names}
    older = replace(FILLED, scheduler="cosine", notebook="Lora_Trainer")
    written = kohya.toml(FILLED)
    files = {name: written.replace('"linear"', f'"{name}"\n{line}') for name, line in CONFIGURED.items()}
    return {**forms, "cosine, older notebook": older, **files}


def data(full: bool = False, report: Report = quiet) -> Table:
    """A line per scheduler and step: rates in units of the part's learning rate, what is chosen empty where
    the form promises nothing; the full form is the quick one."""
    report(0, 1)
    found: list[dict[str, object]] = []
    for name, source in sources().items():
        parts = kohya.trainings(source)
        rates = {part: training.rates() / training.lr for part, training in parts.items()}
        columns = {"trained": rates["unet"], "text_encoder": rates["text_encoder"]}
        if name in PROMISED:
            shape = PROMISED[name]
            words = shape if name == "constant" else Warmup(shape, FILLED.warmup)
            columns["chosen"] = multipliers(words, len(rates["unet"]))
        labels = {"scheduler": name, "schedule": repr(parts["unet"].schedule)}
        found += lines_of(labels, {"step": range(len(rates["unet"])), **columns})
    return table_of(found)


def draw(table: Table) -> Figure:
    """The form's choices first."""
    figure = new_figure(4.0)
    panels = figure.subplots(3, 4, sharex=True, sharey=True)
    for panel, (name, curve) in zip(panels.flat, table.groups("scheduler"), strict=True):
        draw_one(panel, curve, name.replace("_", " "))
    label_edges(panels, x="step", y="rate / $10^{-4}$")
    line = Line2D([], [], color="0.4", label="solid: as the trainer steps (unet)")
    dots = Line2D([], [], color="0.2", ls=":", label="dotted: as the form's words are read")
    figure.legend(handles=[line, dots], loc="outside lower center", ncols=2)
    return figure


def draw_one(panel: "Axes", curve: Table, name: str) -> None:
    """What is trained over what is chosen, their means in the title."""
    mean, words = curve["trained"].mean(), curve["chosen"].mean()
    said = f", words {words:.3f}" if words == words else ""
    colour = look(curve.first("schedule")).colour
    panel.plot(curve["step"], 1e4 * LR * curve["trained"], color=colour, lw=1.4)
    panel.plot(curve["step"], 1e4 * LR * curve["chosen"], ":", color="0.2", lw=0.9)
    panel.set(xlim=(-9, 479), ylim=(-0.1, 3.2), xticks=(0, 235, 470), yticks=(0, 1, 2, 3))
    panel.set_title(f"{name}\nmean {mean:.3f}{said}", fontsize="small", linespacing=1.1, pad=2)


def of(name: str, number: Callable[[Array], Any]) -> Measure:
    """A number of one scheduler's rates, in units of the learning rate."""
    return lambda table: float(number(table.where("scheduler", name)["trained"]))


def cycle(rex: Array, k: int) -> Array:
    """The rates of a cycle of rex, as long as the notebook rounds it."""
    steps = len(rex) // NUMBER
    return rex[k * steps : (k + 1) * steps]


def after_warmup(rex: Array) -> float:
    """The mean over the first cycle, from the peak to the last step before the next warmup."""
    first = cycle(rex, 0)
    return float(first[first.argmax() :].mean())


NOTEBOOK = Source(
    "Lora_Trainer_XL",
    "Lora_Trainer_XL.ipynb",
    "this setting",
    "full text",
    setting="its form and the file that it writes, taken by its trainer",
)
TRAINER = Source(
    "sd-scripts",
    "train_network.py, line 800",
    "this setting",
    "full text",
    setting="the trainer itself, as it reads that file",
)
TRANSFORMERS = Source(
    "transformers",
    "optimization.py, the lambdas with num_warmup_steps",
    "this setting",
    "full text",
    setting="the functions that the trainer calls",
)
REX = Source(
    "LoraEasyCustomOptimizer",
    "RexAnnealingWarmRestarts.py, get_lr",
    "this setting",
    "full text",
    setting="the scheduler that the notebook names for rex",
)
WARMED = ("constant_with_warmup", "linear", "cosine_with_restarts", "polynomial")
DESCENT = 148
"""Steps of a cycle of rex after its warmup: 156 less 8."""

CLAIMS = (
    claim(
        'an epoch is images times repeats over batch size, "around" 465 steps in all: those taken over 465',
        NOTEBOOK.at("Lora_Trainer_XL.ipynb, lines 173 and 440", "around"),
        lambda d: float(d["step"].max() + 1) / FILLED.notebook_steps,
        "1 ± 0.02",
    ),
    claim(
        "an epoch's last batch is not full, but is a step: steps an epoch",
        TRAINER,
        lambda d: float(d["step"].max() + 1) / EPOCHS,
        "47",
    ),
    claim(
        "linear: steps of warmup, 5 % of the 465 that the notebook reckons with, rounded down",
        NOTEBOOK.at("Lora_Trainer_XL.ipynb, line 433"),
        of("linear", np.argmax),
        "23",
    ),
    claim(
        'cosine, "steps spent warming up" set to 5 %: share of the steps before the peak',
        NOTEBOOK.at("Lora_Trainer_XL.ipynb, lines 194 and 476"),
        of("cosine", lambda rates: np.argmax(rates) / len(rates)),
        "0.05 ± 0.0051",
        refuted="none: the XL notebook writes no lr_warmup_steps for cosine; the older one does",
    ),
    claim(
        "with a warmup the first step moves nothing: the largest of four first rates",
        TRANSFORMERS,
        lambda d: max(float(d.where("scheduler", name).first("trained")) for name in WARMED),
        "0",
    ),
    claim(
        "cosine_with_restarts, number 3, read as 3 restarts: how many there are",
        ours('asked here of a number that form and trainer call "restarts"'),
        of("cosine_with_restarts", lambda rates: np.sum(np.diff(rates) > 0.5)),
        "3",
        refuted="the number counts descents: 3 descents have 2 restarts",
    ),
    claim(
        "polynomial: the last rate is lr_end = 1e-7, whatever the learning rate",
        TRANSFORMERS.at("optimization.py, get_polynomial_decay_schedule_with_warmup"),
        of("polynomial", lambda rates: LR * rates[-1]),
        "1e-7 ± 0.51e-9",
    ),
    claim(
        "rex, gamma = 0.9: the peak of the third cycle, in units of the first",
        REX.at("RexAnnealingWarmRestarts.py, _update_cycle"),
        of("rex", lambda rex: cycle(rex, 2).max() / rex.max()),
        f"{PEAK_DECAY**2} ± 1e-9",
    ),
    claim(
        "rex is the paper's, (1 - z)/(1 - z/2): the mean over a cycle after its warmup",
        ours("its name, read as Chen, Wolfe and Kyrillidis 2022's"),
        of("rex", after_warmup),
        f"{2 - 2 * math.log(2)} ± 0.005",
        refuted="0.83: the notebook sets d = 0.9 where that is 1/2",
    ),
    claim(
        "rex: the same mean, of (1 - z)/((1 - d) + d (1 - z)) with d = 0.9",
        REX,
        of("rex", after_warmup),
        f"{10 / 9 - 10 / 81 * math.log(10)} ± 0.005",
    ),
    claim(
        "rex: the last rate of a cycle, in units of its peak, 1/(n (1 - d) + d) after a descent of n steps",
        REX,
        of("rex", lambda rex: cycle(rex, 0)[-1] / rex.max()),
        f"{1 / (DESCENT * (1 - REX_D) + REX_D)} ± 1e-4",
    ),
    claim(
        "rex: the two steps that three cycles leave begin a fourth: the last rate over the third's last",
        ours("the notebook's 470 // 3 steps a cycle"),
        of("rex", lambda rex: rex[-1] / cycle(rex, 2)[-1]),
        "at least 1.5",
    ),
    claim(
        "the text encoder's rates in units of its own: farthest from the unet's, by rex's absolute floor",
        ours(),
        lambda d: float(np.abs(d["text_encoder"] - d["trained"]).max()),
        f"{FLOOR / FILLED.text_encoder_lr - FLOOR / LR} ± 1e-9",
    ),
)
