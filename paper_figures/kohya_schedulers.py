"""What a Colab form promises and what the LoRA trainer does: the rate of every step, scheduler by scheduler.

The form of hollowstrawberry's Lora_Trainer_XL with its own values (10 epochs, 2 repeats, batch 4, learning
rate 3·10⁻⁴, warmup 5 %, number 3) and 93 pictures, through the trainer (kohya-ss sd-scripts). Solid: the
unet's rate at each of the 470 steps that are taken. Dotted: what the form's words say, a warmup over 5 % of
the steps and then the shape, with 3 restarts, or 3 cycles of the paper's REX. In the titles: the mean rate of
both, in units of the learning rate. Panels 1 to 7 are the form's choices, the eighth is cosine in the older
Lora_Trainer; the last row is what the trainer knows besides and takes from a configuration file.

The notebook reckons with 46.5 steps an epoch, the trainer takes 47. The warmup is lost for constant, and for
cosine in the XL notebook; elsewhere it is t/W, so that the first step moves nothing. The number 3 makes two
restarts. polynomial stops at an absolute 10⁻⁷. rex warms up in each of its cycles, stays high for longer than
the paper's (d = 0.9 instead of 1/2), ends each at 6 % of its peak, and with the two steps that are left over
it begins a fourth cycle.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ratelab.experiments.dialects import kohya
from ratelab.experiments.dialects.kohya import Choice
from ratelab.experiments.spec import Claim
from ratelab.experiments.spec import Claim
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.claims import Claim
from ratelab.paper_figures.house.style import look, new_figure
from ratelab.paper_figures.house.table import Table
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

LR, TEXT_ENCODER_LR, NUMBER, WARMUP = 3e-4, 6e-5, 3, 0.05
IMAGES, REPEATS, BATCH, EPOCHS = 93, 2, 4, 10
FLOOR, PEAK_DECAY = 1e-9, 0.9
"""rex's min_lr and gamma, as the notebook writes them."""

FORM: tuple[tuple[str, Schedule], ...] = (
    ("constant", Constant()),
    ("constant_with_warmup", Constant()),
    ("linear", Linear()),
    ("cosine", Cosine()),
    ("cosine_with_restarts", CosineRestarts(NUMBER + 1.0)),
    ("polynomial", Polynomial(float(NUMBER))),
    ("rex", Repeat(Rex(), 1 / NUMBER)),
)
"""The form's choices, and their shapes as its words have it."""

CONFIGURED: tuple[tuple[str, str], ...] = (
    ("inverse_sqrt", ""),
    ("cosine_with_min_lr", "lr_scheduler_min_lr_ratio = 0.1"),
    ("warmup_stable_decay", "lr_decay_steps = 0.2"),
    ("piecewise_constant", """lr_scheduler_args = ["step_rules='1:150,0.3:300,0.1'"]"""),
)
"""What only a configuration file says."""

NAMES = (*(name for name, _ in FORM), "cosine, older notebook", *(name for name, _ in CONFIGURED))


@dataclass(frozen=True)
class Rates:
    """In units of the part's learning rate, (schedulers, steps); NaN where the form promises nothing.

    steps_per_epoch: as the trainer takes them
    """

    unet: Array
    text_encoder: Array
    chosen: Array
    steps_per_epoch: float

    def of(self, name: str) -> Array:
        """The unet's."""
        return np.asarray(self.unet[NAMES.index(name)])

    @property
    def rex_cycle(self) -> int:
        """Steps of a cycle of rex, as the notebook rounds them."""
        return int(self.unet.shape[1]) // NUMBER


def data(full: bool = False, report: Report = quiet) -> Rates:
    """Read by the dialect, which counts the steps too; the full form is the quick one."""
    report(0, 1)
    said = [kohya.trainings(source) for source in sources()]
    horizon = said[0]["unet"].horizon
    assert horizon is not None
    words = [multipliers(Warmup(shape, WARMUP), horizon) for _, shape in FORM]
    words += [words[NAMES.index("cosine")], *(np.full(horizon, np.nan) for _ in CONFIGURED)]
    unet, text_encoder = (
        np.array([parts[part].rates() / parts[part].lr for parts in said])
        for part in ("unet", "text_encoder")
    )
    return Rates(unet, text_encoder, np.array(words), horizon / EPOCHS)


def sources() -> list[Choice | str]:
    """The form filled in, and configuration files of as many steps."""
    forms: list[Choice | str] = [_choice(name, "Lora_Trainer_XL") for name, _ in FORM]
    written = kohya.toml(_choice("linear", "Lora_Trainer_XL"))
    files = [written.replace('"linear"', f'"{name}"\n{line}') for name, line in CONFIGURED]
    return [*forms, _choice("cosine", "Lora_Trainer"), *files]


def _choice(name: str, notebook: str) -> Choice:
    return Choice(
        name,  # type: ignore[arg-type]  # checked by Choice itself
        number=NUMBER,
        warmup=WARMUP,
        unet_lr=LR,
        text_encoder_lr=TEXT_ENCODER_LR,
        images=IMAGES,
        repeats=REPEATS,
        batch_size=BATCH,
        epochs=EPOCHS,
        notebook=notebook,  # type: ignore[arg-type]  # checked by Choice itself
    )


COLUMNS = ("scheduler", "schedule", "step", "trained", "chosen", "mean_trained", "mean_chosen")


def rows(rates: Rates) -> Iterator[tuple[object, ...]]:
    """One row per scheduler and step; rates of the unet, means in units of its learning rate."""
    read = [repr(kohya.trainings(source)["unet"].schedule) for source in sources()]
    for name, schedule, trained, chosen in zip(NAMES, read, rates.unet, rates.chosen, strict=True):
        means = round(float(trained.mean()), 6), round(float(chosen.mean()), 6)
        for step, (ours, words) in enumerate(zip(trained, chosen, strict=True)):
            yield name, schedule, step, float(LR * ours), float(LR * words), *means


def draw(table: Table) -> Figure:
    """The form's choices first."""
    figure = new_figure(4.0)
    panels = figure.subplots(3, 4, sharex=True, sharey=True)
    for panel, (name, curve) in zip(panels.flat, table.groups("scheduler"), strict=True):
        draw_one(panel, curve, name.replace("_", " "))
    for panel in panels[:, 0]:
        panel.set_ylabel("rate / $10^{-4}$")
    for panel in panels[-1]:
        panel.set_xlabel("step")
    line = Line2D([], [], color="0.4", label="solid: as the trainer steps (unet)")
    dots = Line2D([], [], color="0.2", ls=":", label="dotted: as the form's words have it")
    figure.legend(handles=[line, dots], loc="outside lower center", ncols=2)
    return figure


def draw_one(panel: "Axes", curve: Table, name: str) -> None:
    """What is trained over what is chosen, their means in the title."""
    mean, words = curve.first("mean_trained"), curve.first("mean_chosen")
    said = f", words {words:.3f}" if words == words else ""
    panel.plot(curve["step"], 1e4 * curve["trained"], color=look(curve.first("schedule")).colour, lw=1.4)
    panel.plot(curve["step"], 1e4 * curve["chosen"], ":", color="0.2", lw=0.9)
    panel.set(xlim=(-9, 479), ylim=(-0.1, 3.2), xticks=(0, 235, 470), yticks=(0, 1, 2, 3))
    panel.set_title(f"{name}\nmean {mean:.3f}{said}", fontsize="small", linespacing=1.1, pad=2)


FORM_WORDS, TRAINER, DERIVED = "Lora_Trainer_XL", "sd-scripts", "derived here"
WARMED = ("constant_with_warmup", "linear", "cosine_with_restarts", "polynomial")


def _mean_of_rex(d: Rates) -> float:
    """Over its first cycle, from the peak to the last step before the next warmup."""
    rex = d.of("rex")
    peak = int(rex[: d.rex_cycle].argmax())
    return float(rex[peak : d.rex_cycle].mean())


CLAIMS: tuple[Claim[Rates], ...] = (
    Claim(
        '"One epoch is a number of steps equal to: your number of images multiplied by their repeats, '
        'divided by batch size"',
        FORM_WORDS,
        lambda d: d.steps_per_epoch,
        IMAGES * REPEATS / BATCH,
        expect="refuted",
        finding="the last batch of an epoch is not full, but is a step: 47, and 470 steps instead of 465",
    ),
    Claim(
        "linear: steps of warmup, 5 % of the 465 that the notebook reckons with, rounded down",
        FORM_WORDS,
        lambda d: float(np.argmax(d.of("linear"))),
        23.0,
    ),
    Claim(
        "cosine with a warmup of 5 %: share of the steps before the peak",
        FORM_WORDS,
        lambda d: float(np.argmax(d.of("cosine"))) / len(d.of("cosine")),
        0.05,
        tolerance=0.0051,
        expect="refuted",
        finding="the XL notebook writes no lr_warmup_steps for cosine; the older one does",
    ),
    Claim(
        "constant with a warmup of 5 %: the first rate, in units of the learning rate, is low",
        FORM_WORDS,
        lambda d: float(d.of("constant")[0]),
        0.5,
        relation="at_most",
        expect="refuted",
        finding="the warmup is lost: sd-scripts refuses one for constant, and the notebook writes none",
    ),
    Claim(
        "with a warmup the first step moves nothing: the largest of four first rates",
        DERIVED + ", from the warmup's t/W",
        lambda d: max(float(d.of(name)[0]) for name in WARMED),
        0.0,
    ),
    Claim(
        '"cosine_with_restarts with 3 restarts": restarts',
        FORM_WORDS,
        lambda d: float(np.sum(np.diff(d.of("cosine_with_restarts")) > 0.5)),
        3.0,
        expect="refuted",
        finding="the number counts descents: 3 descents have 2 restarts",
    ),
    Claim(
        "polynomial: the last rate is transformers' lr_end = 1e-7, whatever the learning rate",
        TRAINER,
        lambda d: LR * float(d.of("polynomial")[-1]),
        1e-7,
        tolerance=0.51e-9,
    ),
    Claim(
        "rex: the peak of the third cycle, in units of the first",
        "gamma = 0.9 in the notebook",
        lambda d: float(d.of("rex")[2 * d.rex_cycle : 3 * d.rex_cycle].max() / d.of("rex").max()),
        PEAK_DECAY**2,
        tolerance=1e-9,
    ),
    Claim(
        "rex: mean over a cycle after its warmup, as of the paper's (1 - z)/(1 - z/2)",
        "Chen, Wolfe and Kyrillidis 2022",
        _mean_of_rex,
        2 - 2 * math.log(2),
        tolerance=0.005,
        expect="refuted",
        finding="the notebook sets d = 0.9 for the paper's 1/2",
    ),
    Claim(
        "rex: the same mean, of (1 - z)/((1 - d) + d (1 - z)) with d = 0.9",
        DERIVED + ": an integral",
        _mean_of_rex,
        10 / 9 - 10 / 81 * math.log(10),
        tolerance=0.005,
    ),
    Claim(
        "rex: the last rate of a cycle, in units of its peak, is its floor, min_lr = 1e-9",
        FORM_WORDS,
        lambda d: float(d.of("rex")[d.rex_cycle - 1] / d.of("rex").max()),
        FLOOR / LR,
        tolerance=1e-6,
        expect="refuted",
        finding="the last step of a cycle is at 6.4 % of its peak, the first of the next at the floor",
    ),
    Claim(
        "rex: the training ends as its third cycle does: the last rate over that cycle's last",
        FORM_WORDS,
        lambda d: float(d.of("rex")[-1] / d.of("rex")[3 * d.rex_cycle - 1]),
        1.0,
        tolerance=0.01,
        expect="refuted",
        finding="3 cycles of 156 steps leave 2 of the 470, which begin a fourth cycle with its warmup",
    ),
    Claim(
        "the text encoder's rates in units of its own: farthest from the unet's, by rex's absolute floor",
        DERIVED,
        lambda d: float(np.abs(d.text_encoder - d.unet).max()),
        FLOOR / TEXT_ENCODER_LR - FLOOR / LR,
        tolerance=1e-9,
    ),
)
