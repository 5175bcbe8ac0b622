"""torch.optim.lr_scheduler and SWALR as a dialect: text or live schedulers to our schedules, and back.

torch computes most rates recursively, from the rate in force; alone, each class follows a closed form, and so
do products of those that only multiply, and sequences of those that restart from one. These are mapped
without stepping anything. What has no closed form (functions, chains through a floor) is sampled, over a
horizon that must then be given, from torch itself.
"""

import functools
import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ratelab.experiments.dialects import DialectError, Training, _torch_idioms, ratelab as dialect_ratelab
from ratelab.experiments.dialects._torch_idioms import Call, neat
from ratelab.experiments.dialects._words import (
    NO_LR,
    REQUIRED,
    bound,
    call,
    check_group,
    is_call,
    refuse_lr,
    refuse_name,
)
from ratelab.theory.arrays import Array, InputError
from ratelab.theory.combine import Product, Repeat, Scaled, Then, Warmup, Within
from ratelab.theory.cycles import CosineWave, OneCycle, Triangular
from ratelab.theory.feedback import Feedback, ReduceLROnPlateau
from ratelab.theory.reading import Word
from ratelab.theory.sampled import Values
from ratelab.theory.schedules import (
    Constant,
    Cosine,
    Exponential,
    Linear,
    MultiStep,
    Piecewise,
    Polynomial,
    Schedule,
    Step,
    updates,
)

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler


SIGNATURES: Final[Mapping[str, Mapping[str, Any]]] = {
    "LambdaLR": {"lr_lambda": REQUIRED},
    "MultiplicativeLR": {"lr_lambda": REQUIRED},
    "StepLR": {"step_size": REQUIRED, "gamma": 0.1},
    "MultiStepLR": {"milestones": REQUIRED, "gamma": 0.1},
    "ConstantLR": {"factor": 1 / 3, "total_iters": 5},
    "LinearLR": {"start_factor": 1 / 3, "end_factor": 1.0, "total_iters": 5},
    "ExponentialLR": {"gamma": REQUIRED},
    "PolynomialLR": {"total_iters": 5, "power": 1.0},
    "CosineAnnealingLR": {"T_max": REQUIRED, "eta_min": 0.0},
    "ChainedScheduler": {"schedulers": REQUIRED},
    "SequentialLR": {"schedulers": REQUIRED, "milestones": REQUIRED},
    "ReduceLROnPlateau": {
        "mode": "min",
        "factor": 0.1,
        "patience": 10,
        "threshold": 1e-4,
        "threshold_mode": "rel",
        "cooldown": 0,
        "min_lr": 0,
        "eps": 1e-8,
    },
    "CyclicLR": {
        "base_lr": REQUIRED,
        "max_lr": REQUIRED,
        "step_size_up": 2000,
        "step_size_down": None,
        "mode": "triangular",
        "gamma": 1.0,
        "scale_fn": None,
        "scale_mode": "cycle",
        "cycle_momentum": True,
        "base_momentum": 0.8,
        "max_momentum": 0.9,
    },
    "CosineAnnealingWarmRestarts": {"T_0": REQUIRED, "T_mult": 1, "eta_min": 0.0},
    "OneCycleLR": {
        "max_lr": REQUIRED,
        "total_steps": None,
        "epochs": None,
        "steps_per_epoch": None,
        "pct_start": 0.3,
        "anneal_strategy": "cos",
        "cycle_momentum": True,
        "base_momentum": 0.85,
        "max_momentum": 0.95,
        "div_factor": 25.0,
        "final_div_factor": 1e4,
        "three_phase": False,
    },
    "SWALR": {"swa_lr": REQUIRED, "anneal_epochs": 10, "anneal_strategy": "cos"},
}
_NESTING: Final = ("ChainedScheduler", "SequentialLR")
_MULTIPLYING: Final = ("StepLR", "MultiStepLR", "ConstantLR", "LinearLR", "ExponentialLR", "PolynomialLR")
_RESTARTING: Final = (*_MULTIPLYING, "CosineAnnealingLR", "CosineAnnealingWarmRestarts")
_MOMENTUM: Final = ("cycle_momentum", "base_momentum", "max_momentum")


class _NoClosedFormError(InputError):
    """Why torch's rates are sampled."""


def read(
    source: object, *, lr: float | None = None, horizon: int | None = None, group: int | None = None
) -> Training:
    """What a configured scheduler, or text such as `StepLR(optimizer, step_size=30)`, says.

    Text: lr is the optimizer's rate; without it lr is 1, and a floor given as an absolute rate is refused.
    The optimizer argument may be left out, and schedulers nest.

    A live scheduler holds its lr. Whether it was stepped or not, its schedule is given from its beginning; a
    note says at which update it stands, and whether the optimizer's rate is another one by now. `group`
    chooses the parameter group; without it all groups must say the same (see `groups`).

    Functions (LambdaLR, MultiplicativeLR, CyclicLR's scale_fn) and combinations without a closed form are
    sampled over the horizon: `Values`, and a note that says why. DialectError when the horizon is missing
    then, when torch itself would fail, and for schedulers that are not torch's own.
    """
    if isinstance(source, str):
        return _from_text(source, lr, horizon)
    refuse_lr(lr)
    if group is not None:
        return _from_object(source, group, horizon)
    each = groups(source, horizon=horizon)
    if any(one != each[0] for one in each):
        raise DialectError(
            f"the {len(each)} parameter groups have different rates; choose one with group=0 to "
            f"{len(each) - 1}, or read all with ratelab.experiments.dialects.torch.groups"
        )
    return each[0]


def groups(source: object, *, horizon: int | None = None) -> tuple[Training, ...]:
    """What a live scheduler says about each parameter group of its optimizer."""
    optimizer = getattr(source, "optimizer", None)
    if optimizer is None:
        raise DialectError(f"{type(source).__name__} has no optimizer; give a torch scheduler or its text")
    return tuple(_from_object(source, i, horizon) for i in range(len(optimizer.param_groups)))


def write(training: Training) -> str:
    """The scheduler as torch code: torch's own class where it gives the same rates, else ours.

    torch's own class is written when reading it back gives the same rates (to 1e-12) over the horizon, or
    for an anytime schedule without a horizon, over 1000 updates. Otherwise the line makes a scheduler of
    `scheduler`, and needs the horizon. The optimizer's lr stands in a comment.
    """
    comment = f"  # the optimizer's lr is {training.lr!r}"
    own = _idiom(training)
    if own is not None:
        return own + comment
    if training.horizon is None:
        raise DialectError(f"no class of torch gives {training.schedule!r} for ever; give the horizon")
    notation = dialect_ratelab.write(training)
    line = f"dialect_torch.scheduler(optimizer, {notation!r}, horizon={training.horizon})"
    return f"{line}{comment}; from ratelab.experiments.dialects import torch as dialect_torch"


def scheduler(
    optimizer: "Optimizer", schedule: Schedule | Feedback | str, horizon: int, last_epoch: int = -1
) -> "LRScheduler":
    """A torch LRScheduler that drives `optimizer` with any schedule of ours, given as such or as notation.

    Each group's rate is its own initial lr * multiplier. Step it after every update; a closed-loop rule's
    `step(metric)` shows it a metric. The state is plain values; resume with load_state_dict, or with
    `last_epoch` as for torch's own. Past its horizon it raises InputError.
    """
    from ratelab.experiments.dialects._torch_scheduler import (  # torch takes a second to import
        FeedbackLR,
        ScheduleLR,
    )

    made = dialect_ratelab.read(schedule).schedule if isinstance(schedule, str) else schedule
    if isinstance(made, Schedule):
        return ScheduleLR(optimizer, made, horizon, last_epoch)
    if isinstance(made, Feedback):
        return FeedbackLR(optimizer, made, horizon, last_epoch)
    raise DialectError(f"{made!r} is neither a schedule nor a closed-loop rule")


def _idiom(training: Training) -> str | None:
    """The line of torch's own class, if its closed form gives the same rates."""
    lr, horizon, schedule = training.lr, training.horizon, training.schedule
    if not isinstance(schedule, Schedule):
        return _torch_idioms.plateau(schedule, lr)
    line = _torch_idioms.line(schedule, horizon, lr)
    if line is None:
        return None
    try:
        named, _ = _named(*call(line))
        again = Training(lr, _shape(named, lr, horizon))
        T = 1000 if horizon is None else horizon
        if horizon is None and isinstance(schedule, Within) and schedule.beyond == "error":
            T = updates(schedule.length, T)
        same = np.allclose(again.rates(T), training.rates(T), rtol=1e-12, atol=1e-16 * lr)
    except InputError:
        return None
    return line if same else None


# -- reading ---------------------------------------------------------------------------------------


def _from_text(text: str, lr: float | None, horizon: int | None) -> Training:
    name, given = call(text)
    if name == "scheduler":
        parameters = {"schedule": REQUIRED, "horizon": REQUIRED, "last_epoch": -1}
        ours = bound(name, _without_optimizer(given), parameters)
        return dialect_ratelab.read(ours["schedule"], lr=lr, horizon=ours["horizon"])
    named, stands = _named(name, given)
    return _training(named, lr, horizon, _position(stands + 1))


def _named(name: str, given: Mapping[str, Any]) -> tuple[Call, int]:
    """The arguments by name, defaults filled in, nested schedulers too; and the last_epoch of the whole."""
    if name not in SIGNATURES:
        raise DialectError(f"{name} is no scheduler of torch; known: {', '.join(SIGNATURES)}")
    parameters = {**SIGNATURES[name], "last_epoch": -1}
    arguments = bound(name, _without_optimizer(given), parameters)
    stands = arguments.pop("last_epoch")
    for key, member in arguments.items():
        refuse_name(name, key, member)
        if isinstance(member, list) and key not in ("schedulers", "milestones"):
            raise DialectError(
                f"{name}: {key} has a value per group; write one, or give the configured object"
            )
    if name in _NESTING:
        parts = arguments["schedulers"]
        if not isinstance(parts, list | tuple) or not all(is_call(part) for part in parts) or not parts:
            raise DialectError(f"{name}: schedulers is a list of schedulers, [LinearLR(...), StepLR(...)]")
        if any(part[0] == "ReduceLROnPlateau" for part in parts):
            raise DialectError(
                f"ReduceLROnPlateau is a closed loop; torch refuses it in a {name}, and so do we"
            )
        arguments["schedulers"] = [_named(*part)[0] for part in parts]
    return (name, arguments), stands


def _without_optimizer(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments without `optimizer`, by name or in front, or after the schedulers as ChainedScheduler has
    it."""
    by_position = [member for key, member in given.items() if key.isdigit()]
    place = next((at for at, member in enumerate(by_position) if isinstance(member, Word)), len(by_position))
    kept = by_position[:place] + by_position[place + 1 :]  # whatever it is called: opt, self.optimizer, ...
    named = {key: member for key, member in given.items() if not key.isdigit() and key != "optimizer"}
    return {**{str(index): member for index, member in enumerate(kept)}, **named}


def _from_object(source: Any, group: int, horizon: int | None) -> Training:
    from ratelab.experiments.dialects._torch_scheduler import FeedbackLR, ScheduleLR

    total = len(source.optimizer.param_groups)
    check_group(group, total)
    rate = float(source.optimizer.param_groups[group]["lr"])
    stands = _clock(source)
    if isinstance(source, ScheduleLR):
        rule = source.rule if isinstance(source, FeedbackLR) else source.schedule
        made = Training(float(source.base_lrs[group]), rule, source.horizon, _position(stands))
    else:
        made = _training(_described(source, group), _base(source, group), horizon, _position(stands))
    expected = _rate_at(made, stands)
    if expected is None or math.isclose(rate, expected, rel_tol=1e-6, abs_tol=1e-12 * made.lr):
        return made
    note = f"the optimizer's rate is {rate!r} where the schedule has {expected!r}: something else moved it"
    return replace(made, notes=(*made.notes, note))


def _rate_at(training: Training, t: int) -> float | None:
    """The rate of update t; None where the schedule does not reach that far, or is a closed loop."""
    try:
        return float(training.rates(t + 1)[t])
    except InputError:
        return None


def _position(stands: int) -> tuple[str, ...]:
    return (
        (f"the scheduler stands at update {stands}: its next rates are rates(T)[{stands}:]",)
        if stands
        else ()
    )


def _clock(source: Any) -> int:
    """The update at which a live scheduler stands."""
    name = type(source).__name__
    if name == "ChainedScheduler":  # it has no clock of its own
        return _clock(source._schedulers[0])
    return int(source._step_count - 1 if name == "SWALR" else source.last_epoch)


def _base(source: Any, group: int) -> float:
    """The rate that the schedule multiplies."""
    name, settings = type(source).__name__, source.optimizer.param_groups[group]
    if name in _NESTING:  # where an SWALR stands has been moved by its neighbours: where it began has not
        return float(_leaves(source)[0].base_lrs[group])
    if name == "SWALR":  # it starts where the optimizer stands, whatever the initial rate was
        t = min(_clock(source) / max(source.anneal_epochs, 1), 1)
        alpha = float(source.anneal_func(t))
        start = (float(settings["lr"]) - alpha * settings["swa_lr"]) / (1 - alpha) if alpha < 1 else None
        return float(source.base_lrs[group] if start is None else start)
    if name == "ReduceLROnPlateau":
        return float(settings.get("initial_lr", settings["lr"]))
    return float(source.base_lrs[group])


def _leaves(source: Any) -> list[Any]:
    if type(source).__name__ not in _NESTING:
        return [source]
    return [leaf for part in source._schedulers for leaf in _leaves(part)]


def _described(source: Any, group: int) -> Call:
    """A live scheduler as the call that makes it, for one parameter group."""
    name, own, settings = type(source).__name__, vars(source), source.optimizer.param_groups[group]
    if name not in SIGNATURES or not type(source).__module__.startswith("torch.optim."):
        raise DialectError(
            f"{type(source).__name__} is not a scheduler of torch; sample its rates: "
            "ratelab.theory.sampled.Values.of(rates / lr)"
        )
    arguments = {key: own[key] for key in SIGNATURES[name] if key in own}
    match name:
        case "LambdaLR" | "MultiplicativeLR":
            arguments["lr_lambda"] = source.lr_lambdas[group]
        case "MultiStepLR":
            arguments["milestones"] = sorted(source.milestones.elements())
        case "ChainedScheduler" | "SequentialLR":
            names = [type(leaf).__name__ for leaf in _leaves(source)]
            for shared in ("OneCycleLR", "SWALR"):
                if names.count(shared) > 1:
                    raise DialectError(
                        f"several {shared} keep their rates in one optimizer, where the last has overwritten "
                        "those of the others; give the text that makes them"
                    )
            arguments["schedulers"] = [_described(part, group) for part in source._schedulers]
            if name == "SequentialLR":
                arguments["milestones"] = list(source._milestones)
        case "ReduceLROnPlateau":
            arguments["min_lr"] = source.min_lrs[group]
        case "CyclicLR":
            arguments |= {"base_lr": source.base_lrs[group], "max_lr": source.max_lrs[group]}
            up = neat(source.total_size * source.step_ratio)
            arguments |= {"step_size_up": up, "step_size_down": source.total_size - up}
            arguments["scale_fn"] = source._scale_fn_custom
        case "OneCycleLR":
            first = source._schedule_phases[0]["end_step"]
            arguments |= {
                "max_lr": settings["max_lr"],
                "pct_start": neat((first + 1) / source.total_steps),
                "anneal_strategy": source._anneal_func_type,
                "div_factor": neat(settings["max_lr"] / settings["initial_lr"]),
                "final_div_factor": neat(settings["initial_lr"] / settings["min_lr"]),
                "three_phase": len(source._schedule_phases) == 3,
            }
        case "SWALR":
            arguments |= {"swa_lr": settings["swa_lr"], "anneal_strategy": source._anneal_strategy}
    return name, {**SIGNATURES[name], **arguments}


def _training(named: Call, lr: float | None, horizon: int | None, notes: tuple[str, ...]) -> Training:
    name, arguments = named
    if name == "ReduceLROnPlateau":
        return Training(1.0 if lr is None else lr, _plateau(arguments, lr), horizon, notes)
    if name in ("CyclicLR", "OneCycleLR"):
        lr = float(arguments["max_lr"])
    if arguments.get("cycle_momentum"):
        notes = (*notes, f"{name} moves the momentum too: lost, only rates are kept")
    if lr is None:
        notes = (*notes, NO_LR)
    try:
        schedule, more = _shape(named, lr, horizon), _remarks(named, horizon)
    except DialectError:
        raise
    except InputError as reason:
        if horizon is None:
            raise DialectError(f"{name}: {reason}; give the horizon, and its rates are sampled") from None
        lr, schedule = _sampled(named, lr, horizon)
        more = (f"{name} is sampled: {reason}",)
    return Training(1.0 if lr is None else lr, schedule, horizon, (*notes, *more))


def _remarks(named: Call, horizon: int | None) -> tuple[str, ...]:
    """What surprises people, where it will happen."""
    name, a = named
    far = math.inf if horizon is None else horizon
    if name == "CosineAnnealingLR" and far > a["T_max"] + 1:
        return (f"after update {a['T_max']} the rate rises again: torch's cosine does not stop at T_max",)
    if name == "OneCycleLR":
        return (f"past {_total(a)} updates torch fails, after one last value of no meaning",)
    if name in ("ConstantLR", "LinearLR") and a["total_iters"] <= 0:
        return ("total_iters is 0: torch keeps the starting factor for ever",)
    return ()


def _shape(named: Call, lr: float | None, horizon: int | None) -> Schedule:
    """The closed form, as multiples of lr; _NoClosedFormError, or InputError from a value, where none is."""
    name, a = named
    match name:
        case "LambdaLR":
            return _values([a["lr_lambda"](t) for t in range(_needed(horizon))])
        case "MultiplicativeLR":
            return _values(np.cumprod([1.0, *(a["lr_lambda"](t) for t in range(1, _needed(horizon)))]))
        case "StepLR":
            return Step(a["gamma"], every=_whole("step_size", a["step_size"]))
        case "MultiStepLR":
            milestones = (_whole("milestone", m) for m in a["milestones"])
            return MultiStep(tuple(m for m in milestones if m >= 0), gamma=a["gamma"])
        case "ConstantLR":
            return _constant(a["factor"], _whole("total_iters", a["total_iters"]))
        case "LinearLR":
            return _linear(a["start_factor"], a["end_factor"], _whole("total_iters", a["total_iters"]))
        case "ExponentialLR":
            return Exponential(a["gamma"])
        case "PolynomialLR":
            n = _whole("total_iters", a["total_iters"])
            return Within(Polynomial(a["power"]), length=n) if n > 0 else Constant()
        case "CosineAnnealingLR":
            return CosineWave(_whole("T_max", a["T_max"]), final=_ratio("eta_min", a["eta_min"], lr))
        case "CosineAnnealingWarmRestarts":
            part = Cosine(final=_ratio("eta_min", a["eta_min"], lr))
            return Repeat(part, period=_whole("T_0", a["T_0"]), growth=_whole("T_mult", a["T_mult"]))
        case "CyclicLR":
            return _cyclic(a)
        case "OneCycleLR":
            return _one_cycle(a)
        case "SWALR":
            return _swa(a, lr)
        case "ChainedScheduler":
            return _chained(a["schedulers"], lr, horizon)
        case "SequentialLR":
            return _sequential(a["schedulers"], a["milestones"], lr)
    raise _NoClosedFormError(f"{name} is a closed loop and cannot be a part")


def _constant(factor: float, n: int) -> Schedule:
    """`factor` for n updates, then 1. torch divides by `factor` there, and fails when it is 0."""
    if not 0 <= factor <= 1:
        raise DialectError(f"ConstantLR: factor is {factor}; torch takes 0 to 1")
    if n <= 0:
        return Scaled(Constant(), factor=factor)
    if factor == 0:
        return Within(Scaled(Constant(), factor=0.0), length=n, beyond="error")
    return Piecewise((n,), values=(factor, 1.0))


def _linear(start: float, end: float, n: int) -> Schedule:
    if not (0 < start <= 1 and 0 <= end <= 1):
        raise DialectError(
            f"LinearLR: start_factor is {start}, end_factor {end}; torch takes 0 to 1, and no start of 0"
        )
    if n <= 0:
        return Scaled(Constant(), factor=start)
    if end == 1:
        return Warmup(Constant(), length=n, start=start)
    part = Within(Linear(final=end / start), length=n)
    return part if start == 1 else Scaled(part, factor=start)


def _cyclic(a: Mapping[str, Any]) -> Schedule:
    if a["scale_fn"] is not None:
        raise _NoClosedFormError("its scale_fn is a function")
    up = a["step_size_up"]
    total = up + (up if a["step_size_down"] is None else a["step_size_down"])
    return Triangular(
        _whole("the cycle", total),
        low=_ratio("base_lr", a["base_lr"], a["max_lr"]),
        up=up / total,
        decay=0.5 if a["mode"] == "triangular2" else 1.0,
        gamma=a["gamma"] if a["mode"] == "exp_range" else 1.0,
    )


def _total(a: Mapping[str, Any]) -> int:
    """OneCycleLR's number of updates, given as such or as epochs of steps."""
    if a["total_steps"] is not None:
        return _whole("total_steps", a["total_steps"])
    if a["epochs"] is None or a["steps_per_epoch"] is None:
        raise DialectError("OneCycleLR needs total_steps, or epochs and steps_per_epoch")
    return _whole("epochs", a["epochs"]) * _whole("steps_per_epoch", a["steps_per_epoch"])


def _one_cycle(a: Mapping[str, Any]) -> Schedule:
    if a["pct_start"] * _total(a) == 1:
        raise DialectError("OneCycleLR: pct_start is 1 update, where torch divides by zero; make it another")
    start = 1 / a["div_factor"]
    cycle = OneCycle(
        peak=a["pct_start"],
        start=start,
        final=start / a["final_div_factor"],
        shape="cosine" if a["anneal_strategy"] == "cos" else "linear",
        three_phase=a["three_phase"],
    )
    return Within(cycle, length=_total(a), beyond="error")


def _swa(a: Mapping[str, Any], lr: float | None) -> Schedule:
    final, n = _ratio("swa_lr", a["swa_lr"], lr), a["anneal_epochs"]
    if n == 0:
        return Scaled(Constant(), factor=final)
    shape = Cosine(final=final) if a["anneal_strategy"] == "cos" else Linear(final=final)
    return Within(shape, length=_whole("anneal_epochs", n))


def _chained(parts: list[Call], lr: float | None, horizon: int | None) -> Schedule:
    """Parts that multiply the rate in force by a ratio of their own: the product of their closed forms.

    A cosine without a floor is one of them until T_max. With a floor it is not: torch applies
    (1 + cos a)/(1 + cos b) to the rate above the floor, whoever moved that. Nor is one that sets the rate
    outright, which wipes out what the parts before it did, while those after it act once, not in total.
    """
    cosines = [a["T_max"] for name, a in parts if name == "CosineAnnealingLR"]
    for name, a in parts:
        if name == "CosineAnnealingLR" and a["eta_min"] != 0:
            raise _NoClosedFormError("a chained cosine with a floor is no product of closed forms")
        if name not in (*_MULTIPLYING, "CosineAnnealingLR"):
            raise _NoClosedFormError(f"a chained {name} does not multiply the rate in force by a ratio")
    if cosines and horizon is not None and horizon > min(cosines):
        raise _NoClosedFormError("a chained cosine past its T_max is no product of closed forms")
    product = functools.reduce(Product, (_shape(part, lr, horizon) for part in parts))
    return Within(product, length=_whole("T_max", min(cosines)), beyond="error") if cosines else product


def _sequential(parts: list[Call], milestones: list[int], lr: float | None) -> Schedule:
    """At its milestone torch starts each part from its closed form at 0, so each runs as if it were alone."""
    for name, a in parts:
        if name not in _RESTARTING:
            raise _NoClosedFormError(f"a {name} in a sequence does not start from a closed form of its own")
        if a.get("total_iters", 1) <= 0 or min(a.get("milestones", [0]), default=0) < 0:
            raise _NoClosedFormError(f"a {name} whose end lies before its start behaves differently here")
    if len(milestones) != len(parts) - 1:
        raise DialectError(
            f"SequentialLR has {len(parts)} schedulers and {len(milestones)} milestones, not one less"
        )
    if any(b < a for a, b in zip([0, *milestones], milestones, strict=False)):
        raise _NoClosedFormError("its milestones are not in order")
    shapes = [_shape(part, lr, None) for part in parts]
    schedule, starts = shapes[-1], [0, *milestones]
    for k in reversed(range(len(milestones))):
        schedule = Then(shapes[k], schedule, at=_whole("milestone", milestones[k]) - starts[k])
    return schedule


def _plateau(a: Mapping[str, Any], lr: float | None) -> ReduceLROnPlateau:
    """torch's min_lr and eps are absolute rates."""
    return ReduceLROnPlateau(
        a["factor"],
        patience=a["patience"],
        mode=a["mode"],
        threshold=a["threshold"],
        threshold_mode=a["threshold_mode"],
        cooldown=a["cooldown"],
        low=_ratio("min_lr", a["min_lr"], lr),
        eps=_ratio("eps", a["eps"], lr),
    )


def _ratio(name: str, rate: Any, lr: float | None) -> float:
    """An absolute rate as a multiple of lr."""
    if isinstance(rate, list | tuple):
        raise DialectError(f"{name} has a value per group; write one, or give the configured object")
    if float(rate) == 0:
        return 0.0
    if lr is None:
        raise DialectError(f"{name} is an absolute rate, {rate}; give the optimizer's lr")
    if lr == 0:
        raise _NoClosedFormError(f"{name} is {rate} and the lr is 0, so there is no ratio")
    return float(rate) / float(lr)


def _whole(name: str, number: Any) -> int:
    if not isinstance(number, bool) and float(number).is_integer():
        return int(number)
    raise _NoClosedFormError(f"{name} is {number}, no whole number")


def _needed(horizon: int | None) -> int:
    if horizon is None:
        raise _NoClosedFormError("its rates come from a function")
    return horizon


def _values(multiples: Any) -> Schedule:
    try:
        return Values.of(np.asarray(multiples, dtype=np.float64))
    except InputError as error:
        raise DialectError(f"torch's rates here are no schedule: {error}") from None


# -- what torch itself does --------------------------------------------------------------------------


def _sampled(named: Call, lr: float | None, horizon: int) -> tuple[float, Schedule]:
    """The rates of a twin of the scheduler, stepped: the lr they are multiples of, and the multiples."""
    if lr is None:
        raise DialectError(f"{named[0]} is sampled from torch as rates; give the optimizer's lr")
    unit = lr or 1.0
    return unit, _values(_stepped(named, lr, horizon) / unit)


def _stepped(named: Call, lr: float, horizon: int) -> Array:
    """The rates that torch sets for updates 0..horizon-1; DialectError where torch fails."""
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    rates = np.empty(horizon)
    done = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the optimizer was not stepped: here it never is
            twin = _built(optimizer, named)
            for done in range(horizon):
                rates[done] = optimizer.param_groups[0]["lr"]
                if done < horizon - 1:
                    twin.step()
    except Exception as error:  # whatever a torch class, or a function within, may raise
        raise DialectError(
            f"torch itself fails after update {done}: {type(error).__name__}: {error}"
        ) from error
    return rates


def _built(optimizer: "Optimizer", named: Call) -> Any:
    """The real scheduler of a call."""
    from torch.optim import lr_scheduler, swa_utils

    name, arguments = named
    given = {key: member for key, member in arguments.items() if key not in _MOMENTUM}
    if "cycle_momentum" in arguments:
        given["cycle_momentum"] = False
    if "schedulers" in given:
        given["schedulers"] = [_built(optimizer, part) for part in given["schedulers"]]
    if name == "SWALR":
        return swa_utils.SWALR(optimizer, **given)
    if name == "ChainedScheduler":
        return lr_scheduler.ChainedScheduler(given["schedulers"], optimizer=optimizer)
    return getattr(lr_scheduler, name)(optimizer, **given)
