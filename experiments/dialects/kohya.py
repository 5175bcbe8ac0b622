"""The LoRA trainers of the Colab notebooks, in three layers: a choice, its TOML, every step's rate.

1. A person fills in a form: `Choice`. 2. The notebook writes a training configuration: `toml(choice)`. 3. The
trainer (kohya-ss sd-scripts, train_network.py) reads it, with rules of its own: `read`, `trainings`, `rates`.
What is lost between the layers becomes a note. Read in hollowstrawberry's Lora_Trainer and Lora_Trainer_XL
notebooks, in sd-scripts' get_scheduler_fix and in LoraEasyCustomOptimizer's RexAnnealingWarmRestarts; the
rates are checked numerically against traces of those.
"""

import ast
import functools
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias, get_type_hints

import numpy as np
from annotated_types import Ge, Interval
from pydantic import ConfigDict, TypeAdapter, ValidationError

from ratelab.experiments import dialects
from ratelab.experiments.dialects import DialectError, Training, transformers
from ratelab.experiments.dialects._words import REQUIRED, bound, call
from ratelab.theory.arrays import Array, InputError
from ratelab.theory.combine import Clip, Repeat, Warmup, Within
from ratelab.theory.cycles import CosineWave
from ratelab.theory.notation import describe
from ratelab.theory.reading import closest, did_you_mean, nearest
from ratelab.theory.sampled import Values
from ratelab.theory.schedules import Constant, Cosine, Piecewise, Rex, Schedule, cycle_length, updates

Rate: TypeAlias = Annotated[float, Interval(ge=0, le=1e6)]
Count: TypeAlias = Annotated[int, Interval(ge=1, le=10**9)]
Steps: TypeAlias = Annotated[int, Ge(0), "steps"] | Annotated[float, Ge(0), "ratio of the steps"]

REX: Final = "LoraEasyCustomOptimizer.RexAnnealingWarmRestarts.RexAnnealingWarmRestarts"
LR_END: Final = 1e-7
"""transformers' polynomial ends at this absolute rate unless told otherwise."""

_STRICT: Final = ConfigDict(strict=True, allow_inf_nan=False)
_READ_BY: Final = {
    "lr_scheduler_num_cycles": ("cosine_with_restarts", "cosine_with_min_lr", "warmup_stable_decay"),
    "lr_scheduler_power": ("polynomial",),
    "lr_scheduler_timescale": ("inverse_sqrt",),
    "lr_scheduler_min_lr_ratio": ("cosine_with_min_lr", "warmup_stable_decay"),
    "lr_decay_steps": ("warmup_stable_decay",),
}
"""Which schedulers read an argument; for the others it has no effect."""

_NAMES: Final = (
    "constant",
    "constant_with_warmup",
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "inverse_sqrt",
    "cosine_with_min_lr",
    "warmup_stable_decay",
    "piecewise_constant",
)
_KEYS: Final = {
    "num_warmup_steps": "lr_warmup_steps",
    "num_decay_steps": "lr_decay_steps",
    "num_cycles": "lr_scheduler_num_cycles",
    "power": "lr_scheduler_power",
    "timescale": "lr_scheduler_timescale",
    "min_lr_rate": "lr_scheduler_min_lr_ratio",
    "min_lr_ratio": "lr_scheduler_min_lr_ratio",
}
"""What transformers' arguments are called in the configuration; others go into lr_scheduler_args."""

_RULES: Final = {"step_rules": REQUIRED}
_REX: Final = {
    "gamma": REQUIRED,
    "cycle_multiplier": 1,
    "first_cycle_max_steps": 1,
    "min_lr": 1e-6,
    "warmup_steps": 0,
    "last_epoch": -1,
    "d": 0.9,
}


# -- first layer: the form ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """What a person chooses in the notebook's form.

    number is the one field that means cycles (cosine_with_restarts, rex) or power (polynomial). warmup is a
    ratio of the steps. An epoch shows images x repeats pictures in batches of batch_size; the training lasts
    `epochs` or `steps`, of which exactly one is given. notebook: the XL notebook writes no warmup for cosine.

    >>> Choice("linear", images=93, repeats=2, batch_size=4, epochs=10).warmup_steps
    23
    """

    scheduler: Literal[
        "constant", "cosine", "cosine_with_restarts", "constant_with_warmup", "linear", "polynomial", "rex"
    ]
    number: Annotated[float, Ge(0)] | None = None
    warmup: Annotated[float, Interval(ge=0, le=1)] = 0.05
    unet_lr: Rate = 5e-4
    text_encoder_lr: Rate = 1e-4
    images: Count = 100
    repeats: Count = 2
    batch_size: Count = 4
    epochs: Count | None = None
    steps: Count | None = None
    notebook: Literal["Lora_Trainer", "Lora_Trainer_XL"] = "Lora_Trainer"

    def __post_init__(self) -> None:
        _check(self)
        if (self.epochs is None) == (self.steps is None):
            raise InputError(f"epochs = {self.epochs} and steps = {self.steps}: give exactly one of the two")

    @property
    def notebook_steps(self) -> int:
        """The steps the notebook reckons with: floor(epochs * images * repeats / batch_size)."""
        if self.epochs is None:
            return self.steps or 0
        return int(self.epochs * (self.images * self.repeats / self.batch_size))

    @property
    def trainer_steps(self) -> int:
        """The steps the trainer takes: the last batch of an epoch is not full, but is a step. Pictures of
        several shapes fill one bucket each, every one with such a last batch: then there are more.
        """
        if self.epochs is None:
            return self.steps or 0
        return self.epochs * -(-self.images * self.repeats // self.batch_size)

    @property
    def warmup_steps(self) -> int:
        """The warmup as the notebook computes it: floor(notebook_steps * warmup)."""
        return int(self.notebook_steps * self.warmup)


# -- second layer: the configuration -----------------------------------------------------------------


def toml(choice: Choice) -> str:
    """The training configuration that the notebook writes for a choice; keys that are not set are left out.

    The section [dataset] is ours: the trainer, which knows no sections, never reads its keys, but we need
    them to count the steps of an epoch.
    """
    kind = choice.scheduler
    silent = {"Lora_Trainer": ("constant", "rex"), "Lora_Trainer_XL": ("constant", "cosine", "rex")}
    return _written(
        {
            "network_arguments": {
                "unet_lr": choice.unet_lr,
                "text_encoder_lr": choice.text_encoder_lr,
                "network_train_unet_only": True if choice.text_encoder_lr == 0 else None,
            },
            "optimizer_arguments": {
                "learning_rate": choice.unet_lr,
                "lr_scheduler": "cosine" if kind == "rex" else kind,
                "lr_scheduler_type": REX if kind == "rex" else None,
                "lr_scheduler_args": _rex_args(choice) if kind == "rex" else None,
                "lr_scheduler_num_cycles": choice.number if kind == "cosine_with_restarts" else None,
                "lr_scheduler_power": choice.number if kind == "polynomial" else None,
                "lr_warmup_steps": None if kind in silent[choice.notebook] else choice.warmup_steps,
            },
            "training_arguments": {
                "max_train_steps": choice.steps,
                "max_train_epochs": choice.epochs,
                "train_batch_size": choice.batch_size,
            },
            "dataset": {"images": choice.images, "num_repeats": choice.repeats},
        }
    )


def _rex_args(choice: Choice) -> list[str]:
    """Cycles of trainer_steps // cycles steps, each with its share of the warmup."""
    cycles = choice.number or 1
    warmup = int(round(choice.trainer_steps * choice.warmup) // cycles)
    return [
        "min_lr=1e-9",
        "gamma=0.9",
        "d=0.9",
        f"first_cycle_max_steps={int(choice.trainer_steps // cycles)}",
        *([f"warmup_steps={warmup}"] if warmup else []),
    ]


def _written(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """TOML of the sections, without the keys that are None."""
    blocks = []
    for section, members in sections.items():
        lines = [f"{key} = {_literal(member)}" for key, member in members.items() if member is not None]
        blocks.append("\n".join([f"[{section}]", *lines]) + "\n")
    return "\n".join(blocks)


def _literal(member: object) -> str:
    return repr(member) if type(member) in (int, float) else json.dumps(member, ensure_ascii=False)


# -- third layer: the trainer ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Arguments:
    """The trainer's arguments on which its rates depend, with its own defaults."""

    learning_rate: Rate = 2e-6
    unet_lr: Rate | None = None
    text_encoder_lr: Rate | list[Rate] | None = None
    network_train_unet_only: bool = False
    network_train_text_encoder_only: bool = False
    optimizer_type: str = ""
    optimizer_args: list[str] | None = None
    lr_scheduler: str = "constant"
    lr_scheduler_type: str = ""
    lr_scheduler_args: list[str] | None = None
    lr_scheduler_num_cycles: Annotated[float, Ge(0)] = 1
    lr_scheduler_power: Annotated[float, Ge(0)] = 1.0
    lr_scheduler_timescale: Count | None = None
    lr_scheduler_min_lr_ratio: Annotated[float, Interval(ge=0, le=1)] | None = None
    lr_warmup_steps: Steps = 0
    lr_decay_steps: Steps = 0
    max_train_steps: Count = 1600
    max_train_epochs: Count | None = None
    train_batch_size: Count = 1
    gradient_accumulation_steps: Count = 1
    images: Count | None = None
    num_repeats: Count = 1

    def __post_init__(self) -> None:
        _check(self)


def read(
    source: object, *, lr: float | None = None, horizon: int | None = None, images: int | None = None
) -> Training:
    """The unet's rates (the text encoder's when nothing else is trained); arguments as in `trainings`."""
    said = trainings(source, lr=lr, horizon=horizon, images=images)
    (first, training), *others = said.items()
    notes = [f"these are the rates of {first}; for {part}, lr is {other.lr:g}" for part, other in others]
    return replace(training, notes=(*training.notes, *notes))


def rates(
    source: object, *, lr: float | None = None, horizon: int | None = None, images: int | None = None
) -> dict[str, Array]:
    """The rate of every step, for each of the parts that are trained; arguments as in `trainings`.

    >>> both = rates(Choice("linear", unet_lr=1e-3, text_encoder_lr=1e-4, warmup=0.5, steps=4))
    >>> both["unet"], both["text_encoder"]
    (array([0.    , 0.0005, 0.001 , 0.0005]), array([0.e+00, 5.e-05, 1.e-04, 5.e-05]))
    """
    said = trainings(source, lr=lr, horizon=horizon, images=images)
    return {part: training.rates() for part, training in said.items()}


def trainings(
    source: object, *, lr: float | None = None, horizon: int | None = None, images: int | None = None
) -> dict[str, Training]:
    """What the trainer does with a configuration, for "unet" and "text_encoder" (two: "text_encoder 1", ...).

    source: a `Choice`, the TOML text, or the path of a file. As on the trainer's command line, what is given
    here goes before what the file says: lr is its learning_rate, horizon the number of steps. images is
    the number of pictures in an epoch, repeats included, for files that count epochs and hold no [dataset];
    one bucket and one process are assumed.

    The trainer's rules: sections are flattened; a float lr_warmup_steps is a ratio of the steps, an int is
    steps; max_train_epochs goes before max_train_steps; the warmup starts at 0; constant, and every
    lr_scheduler_type, refuse a warmup; lr_scheduler_args are key=literal; unknown keys are ignored, here
    with a note. DialectError, with the reason, for what stops the trainer, and for what is no open loop.
    """
    text, notes = _text(source)
    flat = _flattened(text)
    if not flat.keys() & {"learning_rate", "unet_lr", "text_encoder_lr", "lr_scheduler", "lr_scheduler_type"}:
        raise DialectError("no learning_rate and no lr_scheduler: this is no training configuration")
    known = [field.name for field in fields(_Arguments)]
    given = {key: member for key, member in flat.items() if key in known}
    if lr is not None:
        given["learning_rate"] = lr
    if images is not None:
        given |= {"images": images, "num_repeats": 1}
    a = _Arguments(**given)
    notes += [*_misspelt(flat, known), *_without_effect(a, given, isinstance(source, Choice))]
    T, counted = _steps(a, given, horizon)
    shared = [*notes, *counted]
    said = {}
    for part, rate in _parts(a).items():
        schedule, more = _schedule(a, rate, T)
        said[part] = Training(float(rate), schedule, T, tuple(dict.fromkeys([*shared, *more])))
    return said


def _text(source: object) -> tuple[str, list[str]]:
    """The TOML, and what was lost on the way to it."""
    if isinstance(source, Choice):
        return toml(source), list(_lost(source))
    if isinstance(source, Path):
        try:
            return source.read_text(encoding="utf-8"), []
        except (OSError, UnicodeDecodeError) as error:
            raise DialectError(f"cannot read {source}: {error}") from None
    if isinstance(source, str):
        return source, []
    raise DialectError(f"{source!r} is no training configuration; give TOML text, a path or a Choice")


def _lost(choice: Choice) -> Iterator[str]:
    """The choices that do not reach the configuration."""
    kind = choice.scheduler
    if choice.warmup:
        lost = f"the choice warmup {choice.warmup:g} is lost: "
        if kind == "constant":
            yield lost + "constant takes no warmup; choose constant_with_warmup"
        elif kind == "cosine" and choice.notebook == "Lora_Trainer_XL":
            yield (
                lost + "the XL notebook writes no lr_warmup_steps for cosine; choose cosine_with_restarts "
                "and the number 1"
            )
        elif kind != "rex" and not choice.warmup_steps:
            yield lost + f"it is less than one step of {choice.notebook_steps}"
        elif kind == "rex" and not any(arg.startswith("warmup_steps") for arg in _rex_args(choice)):
            yield lost + "it is less than one step of every cycle"
    if choice.number is not None and kind not in ("cosine_with_restarts", "polynomial", "rex"):
        yield f"the choice number {choice.number:g} is lost: {kind} has neither cycles nor power"
    if choice.notebook_steps != choice.trainer_steps:
        yield (
            f"the notebook reckons with {choice.notebook_steps} steps, the trainer takes "
            f"{choice.trainer_steps}: an epoch's last batch is not full, but is a step"
        )


def _flattened(text: str) -> dict[str, Any]:
    """The keys of all sections in one table; of equal keys the last counts, and nested tables stay values."""
    try:
        sections = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise DialectError(f"this is not TOML: {error}") from None
    flat: dict[str, Any] = {}
    for name, section in sections.items():
        flat |= section if isinstance(section, dict) else {name: section}
    return flat


def _misspelt(flat: Mapping[str, Any], known: list[str]) -> Iterator[str]:
    """A configuration has many keys that are none of our business; those that look like ours are."""
    for key in (key for key in flat if key not in known):
        near = closest(key, known, cutoff=0.5 if key.startswith("lr_") else 0.85)
        if near:
            yield f"the trainer ignores the unknown key {key}{did_you_mean(near)}"


def _without_effect(a: _Arguments, given: Mapping[str, Any], chosen: bool) -> Iterator[str]:
    """What the configuration says and the trainer does not do."""
    name = a.lr_scheduler_type or a.lr_scheduler
    for key, readers in _READ_BY.items():
        if given.get(key) and name not in readers:
            yield f"{key} = {given[key]!r} has no effect: {name} does not read it"
    if name == "piecewise_constant" and a.lr_warmup_steps:
        yield f"lr_warmup_steps = {a.lr_warmup_steps!r} has no effect: piecewise_constant takes no warmup"
    if name == "cosine" and "lr_warmup_steps" not in given and not chosen:
        yield (
            "there is no lr_warmup_steps, so no warmup; the XL notebook leaves it out for cosine, whatever "
            "warmup was chosen"
        )
    if "max_train_epochs" in given and "max_train_steps" in given:
        yield f"max_train_steps = {a.max_train_steps} has no effect: max_train_epochs goes before it"
    if "learning_rate" in given and a.learning_rate not in _parts(a).values() and name != "polynomial":
        yield f"learning_rate = {a.learning_rate:g} has no effect: unet_lr and text_encoder_lr go before it"
    if a.optimizer_type.lower().startswith("dadapt") or a.optimizer_type.lower() == "prodigy":
        yield f"{a.optimizer_type} multiplies these rates by its own estimate, and takes one for all parts"


def _steps(a: _Arguments, given: Mapping[str, Any], horizon: int | None) -> tuple[int, list[str]]:
    """The number of steps the trainer takes."""
    counted: int | None = a.max_train_steps
    if a.max_train_epochs is not None:
        counted = None
        if a.images is not None:
            batches = -(-a.images * a.num_repeats // a.train_batch_size)
            counted = a.max_train_epochs * -(-batches // a.gradient_accumulation_steps)
    if horizon is not None:
        if isinstance(horizon, bool) or not isinstance(horizon, int) or horizon < 1:
            raise DialectError(f"horizon is {horizon!r}; give a number of steps, at least 1")
        differs = counted is not None and counted != horizon and given.keys() & {"images", "max_train_steps"}
        return horizon, [f"{horizon} steps as asked; the file says {counted}"] if differs else []
    if counted is None:
        raise DialectError(
            f"{a.max_train_epochs} epochs are as many steps as the pictures make: give images (repeats "
            "included), the number of steps, or a section [dataset] with images and num_repeats"
        )
    default = not given.keys() & {"max_train_epochs", "max_train_steps"}
    return counted, [f"no number of steps is given: the trainer takes {counted}"] if default else []


def _parts(a: _Arguments) -> dict[str, float]:
    """What is trained, and its learning rate."""
    found: dict[str, float] = {}
    if not a.network_train_text_encoder_only:
        found["unet"] = a.learning_rate if a.unet_lr is None else a.unet_lr
    if not a.network_train_unet_only:
        given = a.learning_rate if a.text_encoder_lr is None else a.text_encoder_lr
        several = given if isinstance(given, list) else [given]
        for index, rate in enumerate(several or [a.learning_rate], start=1):
            found["text_encoder" if len(several) < 2 else f"text_encoder {index}"] = rate
    if not found:
        raise DialectError("network_train_unet_only and network_train_text_encoder_only: nothing is trained")
    return found


def _schedule(a: _Arguments, rate: float, T: int) -> tuple[Schedule, list[str]]:
    """The multipliers of one part, and what is worth saying about them."""
    optimizer, name = a.optimizer_type.lower(), a.lr_scheduler
    if optimizer.endswith("schedulefree"):
        return Constant(), [f"{a.optimizer_type} keeps the rate: lr_scheduler = {name!r} has no effect"]
    relative = _arguments("optimizer_args", a.optimizer_args).get("relative_step", True)
    if name.startswith("adafactor") or (optimizer == "adafactor" and relative):
        raise DialectError(
            "adafactor takes its rates from the weights: no open loop; set relative_step=False"
        )
    given = _arguments("lr_scheduler_args", a.lr_scheduler_args)
    W = _portion(a.lr_warmup_steps, T)
    notes = [f"the warmup {a.lr_warmup_steps!r} is {W} of {T} steps"]
    if isinstance(a.lr_warmup_steps, int):
        notes = []
    if W and (a.lr_scheduler_type or name == "constant"):
        remedy = "set it in lr_scheduler_args" if a.lr_scheduler_type else "use constant_with_warmup"
        raise DialectError(
            f"{name} does not take a warmup (lr_warmup_steps is {W}): {remedy}, or leave it out"
        )
    if a.lr_scheduler_type:
        return _typed(a.lr_scheduler_type, given, rate, T)
    if name not in _NAMES:
        raise DialectError(
            f"lr_scheduler = {name!r}{nearest(name, _NAMES)}; open-loop schedulers: {', '.join(_NAMES)}"
        )
    schedule, more = _named(name, a, given, W, T)
    return schedule, notes + more


def _arguments(key: str, entries: list[str] | None) -> dict[str, Any]:
    """`key=literal` entries, as the trainer splits and evaluates them."""
    found: dict[str, Any] = {}
    for entry in entries or []:
        name, _, literal = entry.partition("=")
        fault = "" if entry.count("=") == 1 and name.isidentifier() else "one = is wanted, no blank before it"
        try:
            found[name] = ast.literal_eval(literal.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            fault = fault or getattr(error, "msg", None) or "not a number, a string, a list or the like"
        if fault:
            raise DialectError(f"{key}: {entry!r} is not key=literal ({fault}); write 'gamma=0.9'")
    return found


def _named(name: str, a: _Arguments, given: dict[str, Any], W: int, T: int) -> tuple[Schedule, list[str]]:
    """One of transformers' schedules, called as the trainer calls it, or diffusers' piecewise_constant."""
    if name == "piecewise_constant":
        text = _call("get_piecewise_constant_schedule", bound(name, given, _RULES))
        return _until(T, dialects.read("diffusers", text, horizon=T).schedule), []
    arguments: dict[str, Any] = {"num_warmup_steps": W, "num_training_steps": T}
    cycles = a.lr_scheduler_num_cycles
    if name == "constant":
        arguments = {}
    elif name == "constant_with_warmup":
        arguments = {"num_warmup_steps": W}
    elif name == "inverse_sqrt":
        arguments = {"num_warmup_steps": W, "timescale": a.lr_scheduler_timescale}
    elif name == "cosine_with_restarts":
        arguments["num_cycles"] = cycles
    elif name == "polynomial":
        arguments["power"] = a.lr_scheduler_power
    elif name == "cosine_with_min_lr":
        arguments |= {"num_cycles": cycles / 2, "min_lr_rate": a.lr_scheduler_min_lr_ratio}
    elif name == "warmup_stable_decay":
        D = _portion(a.lr_decay_steps, T)
        low = a.lr_scheduler_min_lr_ratio or 0.0
        arguments = {"num_warmup_steps": W, "num_decay_steps": D, "num_stable_steps": T - W - D}
        arguments |= {"num_cycles": cycles / 2, "min_lr_ratio": low}
    twice = sorted(arguments.keys() & given.keys())
    if twice:
        raise DialectError(f"lr_scheduler_args: the trainer sets {', '.join(twice)} itself; leave it out")
    end = given.get("lr_end", LR_END)
    if name == "polynomial" and not (isinstance(end, int | float) and end < a.learning_rate):
        raise DialectError(
            f"polynomial ends at the rate {end!r}, which learning_rate = {a.learning_rate:g} must exceed: "
            "raise it, or put a lower lr_end=... into lr_scheduler_args"
        )
    if name == "polynomial" and W == T:
        raise DialectError(
            f"a warmup of all {T} steps: polynomial stops the trainer, it divides by 0 at the end"
        )
    text = _call(transformers.PEERS[name].function, arguments | given)
    schedule = _until(T, dialects.read("transformers", text, lr=a.learning_rate, horizon=T).schedule)
    notes = []
    if W and name != "warmup_stable_decay":
        notes.append("the warmup starts at 0: the first step moves nothing")
    if name == "polynomial":
        notes.append(f"polynomial ends at {end!r} where the rate is {a.learning_rate:g}, else in proportion")
    return schedule, notes


def _until(T: int, schedule: object) -> Schedule:
    """The same for T steps, without what transformers does after them: the trainer never gets there."""
    match schedule:
        case Within(schedule=inner, length=length, end="T") if length == T:
            return inner
        case CosineWave(half_period=length, final=final) if length == T:
            return Cosine(final=final)
        case Warmup(schedule=inner, length=int(W)) if W < T:
            return replace(schedule, schedule=_until(T - W, inner))
    if not isinstance(schedule, Schedule):
        raise DialectError(f"{schedule!r} is a closed loop: its rates depend on the losses it sees")
    return schedule


def _portion(steps: int | float, T: int) -> int:
    """An int counts steps; a float is a ratio of all of them, rounded down."""
    return steps if isinstance(steps, int) else int(steps * T)


def _call(name: str, arguments: Mapping[str, Any]) -> str:
    return f"{name}({', '.join(['optimizer', *(f'{key}={member!r}' for key, member in arguments.items())])})"


def _typed(kind: str, given: dict[str, Any], rate: float, T: int) -> tuple[Schedule, list[str]]:
    """A scheduler by its class: rex, or one of torch's."""
    module, _, name = kind.rpartition(".")
    if name == "RexAnnealingWarmRestarts":
        return _rex(bound(name, given, _REX), rate, T)
    if module in ("", "torch.optim.lr_scheduler"):
        if rate == 0:  # not trained
            return Constant(), []
        said = dialects.read("torch", _call(name, given), lr=rate, horizon=T)
        return _until(T, said.schedule), list(said.notes)
    raise DialectError(f"lr_scheduler_type = {kind!r} is not known; torch's schedulers and {REX} are")


def _rex(given: dict[str, Any], rate: float, T: int) -> tuple[Schedule, list[str]]:
    """RexAnnealingWarmRestarts: in cycle k of C steps, the first W of them warming up,

        rate = min + (lr gamma^k - min) r,  r = i/W for i < W, else (1 - p)/((1 - d) + d (1 - p)),

    with i the step in the cycle and p = (i - W)/(C - W); min alone once lr gamma^k has fallen to it, and
    min = 0 where min_lr is not below lr. The first rate is min_lr, the last of a cycle is far above it, and
    steps left over begin another cycle. The next cycle has round((C - W) * cycle_multiplier) + W steps.
    """
    spec = _Rex(**{key: member for key, member in given.items() if key != "last_epoch"})
    C, W = spec.first_cycle_max_steps, spec.warmup_steps
    if W >= C:
        raise DialectError(f"warmup_steps={W} must be less than first_cycle_max_steps={C}")
    floor = spec.min_lr / rate if spec.min_lr < rate else 0.0  # so a rate of 0 has no floor either
    shape: Schedule = Rex(depth=spec.d)
    cycle = Warmup(shape, W, start=0.0) if W else shape
    notes = [f"every cycle begins with a warmup of {W} steps from {floor * rate:g}"] if W else []
    if T > C and T % C and spec.cycle_multiplier == 1:
        notes.append(f"after {T // C} cycles of {C} steps, the {T % C} left begin another one")
    if spec.cycle_multiplier == 1:
        cycles = Repeat(cycle, C, decay=spec.gamma, floor=floor)
        falls_below = spec.gamma ** ((T - 1) // C) < floor
        return Clip(cycles, low=floor) if falls_below else cycles, notes
    parts, peak, steps = [np.zeros(0)], 1.0, 0
    while steps < T:
        parts.append(floor + max(peak - floor, 0.0) * cycle(C))
        steps, peak = steps + C, peak * spec.gamma
        C = round((C - W) * spec.cycle_multiplier) + W
        if C == W:
            raise DialectError(f"cycle_multiplier={spec.cycle_multiplier}: the cycles shrink to nothing")
    return Values.of(np.concatenate(parts)[:T]), notes


@dataclass(frozen=True)
class _Rex:
    gamma: Annotated[float, Interval(ge=0, le=1e12)]
    cycle_multiplier: Annotated[float, Ge(0)]
    first_cycle_max_steps: Count
    min_lr: Rate
    warmup_steps: Annotated[int, Ge(0)]
    d: Annotated[float, Interval(ge=0, lt=1)]

    def __post_init__(self) -> None:
        _check(self)


# -- and back ----------------------------------------------------------------------------------------


def write(training: Training) -> str:
    """The configuration whose rates are those of `training`, for every part that is trained.

    DialectError with the reason where the trainer has no such schedule.

    >>> from ratelab.theory.schedules import Linear
    >>> print(write(Training(1e-3, Warmup(Linear(), 10, start=0.0), horizon=100)))
    [optimizer_arguments]
    learning_rate = 0.001
    lr_scheduler = "linear"
    lr_warmup_steps = 10
    <BLANKLINE>
    [training_arguments]
    max_train_steps = 100
    <BLANKLINE>
    """
    T, schedule = training.horizon, training.schedule
    if T is None:
        raise DialectError("a training configuration holds the number of steps; give the horizon")
    if not isinstance(schedule, Schedule):
        raise DialectError(f"{schedule!r} is a closed loop; the trainer has none")
    training = replace(training, lr=float(training.lr))
    text = _written(
        {
            "optimizer_arguments": {"learning_rate": training.lr, **_said(training, schedule, T)},
            "training_arguments": {"max_train_steps": T},
        }
    )
    read(text)  # what the trainer would refuse, such as a floor above the rate, is not written
    return text


def _said(training: Training, schedule: Schedule, T: int) -> dict[str, Any]:
    """The keys of [optimizer_arguments] for a schedule, but for the learning rate."""
    match schedule:
        case Repeat(schedule=Rex() | Warmup(schedule=Rex())):
            if schedule.decay ** ((T - 1) // cycle_length(schedule.period, T)) < schedule.floor:
                raise DialectError("rex stays at its floor once there: Clip(Repeat(..., floor=a), low=a)")
            return _said_as_rex(schedule, training.lr, T)
        case Clip(schedule=Repeat(schedule=Rex() | Warmup(schedule=Rex())) as cycles, high=1e12, lr=1.0) if (
            schedule.low == cycles.floor
        ):
            return _said_as_rex(cycles, training.lr, T)
        case Piecewise():
            _, a = call(dialects.write(training, "diffusers"))
            rules = [f"step_rules={a['step_rules']!r}"]
            return {"lr_scheduler": "piecewise_constant", "lr_scheduler_args": rules}
    try:
        return _said_by_name(training, T)
    except DialectError as error:
        return _said_as_class(training, error)


def _said_by_name(training: Training, T: int) -> dict[str, Any]:
    """One of transformers' schedules, as far as the trainer has it."""
    name, a = transformers.said(training)
    if name not in _NAMES:
        raise DialectError(f"the trainer has no {name}; it has {', '.join(_NAMES)} and rex")
    if a.get("num_training_steps", T) != T:
        raise DialectError(f"{name} ends with the training, after {T} steps, not {a['num_training_steps']}")
    said: dict[str, Any] = {"lr_scheduler": name}
    rest = []
    for key, member in a.items():
        if key == "num_training_steps" or (key, member) in (("num_warmup_steps", 0), ("lr_end", LR_END)):
            continue
        if key == "num_cycles" and name in ("cosine_with_min_lr", "warmup_stable_decay"):
            said[_KEYS[key]] = 2 * member  # the trainer halves it
        elif key in _KEYS and (key != "num_cycles" or name == "cosine_with_restarts"):
            said[_KEYS[key]] = member
        else:
            rest.append(f"{key}={member!r}")
    return {**said, "lr_scheduler_args": rest or None}


def _said_as_class(training: Training, reason: DialectError) -> dict[str, Any]:
    """One of torch's classes, where a single one with plain arguments says it."""
    try:
        name, a = call(dialects.write(training, "torch"))
    except InputError:
        raise reason from None
    said = []
    for key, member in a.items():
        plain = all(
            type(entry) in (int, float, str, bool) for entry in (member if type(member) is list else [member])
        )
        if key != "0" and not (plain and key.isidentifier()):
            raise reason
        said += [f"{key}={member!r}"] if key != "0" else []
    return {"lr_scheduler": "constant", "lr_scheduler_type": name, "lr_scheduler_args": said}


def _said_as_rex(schedule: Repeat, lr: float, T: int) -> dict[str, Any]:
    cycle, W = schedule.schedule, 0
    if schedule.growth != 1:
        raise DialectError("rex rounds the length of every cycle: its growth is not SGDR's")
    C = cycle_length(schedule.period, T)
    if isinstance(cycle, Warmup):
        if cycle.shape != "linear" or cycle.overlap or cycle.start != 0.0:
            raise DialectError("rex warms up linearly and from its floor: Warmup(Rex(...), start=0.0)")
        W, cycle = updates(cycle.length, C), cycle.schedule
        if W == C:
            raise DialectError(f"rex's warmup must be shorter than its cycles of {C} steps")
    if not isinstance(cycle, Rex) or cycle.final or schedule.floor >= 1:
        raise DialectError("rex has its floor, below 1, in the repetition: Repeat(Rex(), ..., floor=...)")
    return {
        "lr_scheduler": "cosine",
        "lr_scheduler_type": REX,
        "lr_scheduler_args": [
            f"min_lr={schedule.floor * lr!r}",
            f"gamma={schedule.decay!r}",
            f"d={cycle.depth!r}",
            f"first_cycle_max_steps={C}",
            *([f"warmup_steps={W}"] if W else []),
        ],
    }


# -- checks ------------------------------------------------------------------------------------------


def _check(table: Choice | _Arguments | _Rex) -> None:
    """DialectError naming every field of a dataclass that is outside its annotation."""
    faults = []
    cls: type = type(table)
    for name, (hint, adapter) in _adapters(cls).items():
        member = getattr(table, name)
        try:
            adapter.validate_python(member)
        except ValidationError:
            faults.append(f"{name} = {member!r}: give {describe(hint)}")
    if faults:
        raise DialectError("; ".join(faults))


@functools.cache
def _adapters(cls: type) -> dict[str, tuple[Any, TypeAdapter[Any]]]:
    hints = get_type_hints(cls, include_extras=True)
    return {name: (hint, TypeAdapter(hint, config=_STRICT)) for name, hint in hints.items()}
