"""timm's schedulers as a dialect: text or live schedulers to our schedules, and back.

timm computes every rate from the count t that the training loop hands over, per epoch (`t_in_epochs`, its
default) or per update. Its counts include or exclude the warmup (`warmup_prefix`), its floors and first
warmup rates are absolute, and what the first update uses is not the formula but the optimizer's lr (or
`warmup_lr_init`), because the loop only calls the scheduler afterwards.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ratelab.experiments.dialects import DialectError, Training
from ratelab.experiments.dialects._words import (
    REQUIRED,
    bound,
    call,
    is_call,
    number,
    refuse_lr,
    refuse_name,
    rounded,
)
from ratelab.theory.arrays import InputError
from ratelab.theory.combine import Clip, Cooldown, Held, Product, Repeat, Scaled, Then, Warmup, Within
from ratelab.theory.cycles import CosineRestarts
from ratelab.theory.feedback import Feedback, ReduceLROnPlateau
from ratelab.theory.sampled import Values
from ratelab.theory.schedules import (
    Constant,
    Cosine,
    Exponential,
    InversePower,
    Linear,
    MultiStep,
    Piecewise,
    Polynomial,
    Schedule,
    Step,
    Tanh,
    WarmupStableDecay,
    closing,
    cycle_length,
    multipliers,
    updates,
)

if TYPE_CHECKING:
    from timm.scheduler.scheduler import Scheduler
    from torch.optim import Optimizer

Arguments = Mapping[str, Any]

_NOISE: Final = {"noise_range_t": None, "noise_pct": 0.67, "noise_std": 1.0, "noise_seed": 42}
_CYCLES: Final = {"lr_min": 0.0, "cycle_mul": 1.0, "cycle_decay": 1.0, "cycle_limit": 1}
_WARMUP: Final = {"warmup_t": 0, "warmup_lr_init": 0.0}
_WHOLE: Final = {"optimizer": None, "t_initial": REQUIRED}
_STEPS: Final = {"optimizer": None, "decay_t": REQUIRED, "decay_rate": 1.0}
_CLOCK: Final = {"t_in_epochs": True} | _NOISE
_INCLUDED: Final = _WARMUP | {"warmup_prefix": False} | _CLOCK
_IN_FRONT: Final = _WARMUP | {"warmup_prefix": True} | _CLOCK
_LAST: Final = {"initialize": True}
SIGNATURES: Final[Mapping[str, Mapping[str, Any]]] = {
    "CosineLRScheduler": _WHOLE | _CYCLES | _INCLUDED | {"k_decay": 1.0} | _LAST,
    "TanhLRScheduler": _WHOLE | {"lb": -7.0, "ub": 3.0} | _CYCLES | _INCLUDED | _LAST,
    "PolyLRScheduler": _WHOLE | {"power": 0.5} | _CYCLES | _INCLUDED | {"k_decay": 1.0} | _LAST,
    "StepLRScheduler": _STEPS | _IN_FRONT | _LAST,
    "MultiStepLRScheduler": _STEPS | _IN_FRONT | _LAST,
    "WSDLRScheduler": _WHOLE
    | {"decay_t": REQUIRED, "lr_min": 0.0}
    | {"stable_fn": "constant", "stable_timescale": None, "stable_power": 0.5}
    | {"decay_fn": "1-sqrt", "decay_power": 0.5, "decay_ratio": 0.1}
    | _WARMUP
    | _CLOCK
    | _LAST,
    "PlateauLRScheduler": {"optimizer": None, "decay_rate": 0.1, "patience_t": 10, "threshold": 1e-4}
    | {"cooldown_t": 0}
    | _WARMUP
    | {"lr_min": 0.0, "mode": "max", "noise_range_t": None, "noise_type": "normal"}
    | {"noise_pct": 0.67, "noise_std": 1.0, "noise_seed": None}
    | _LAST,
    "create_scheduler_v2": {"optimizer": None, "sched": "cosine", "num_epochs": 300, "decay_epochs": None}
    | {"decay_milestones": (90, 180, 270), "cooldown_epochs": 0, "patience_epochs": 10}
    | {"decay_rate": 0.1, "min_lr": 0.0, "warmup_lr": 1e-5, "warmup_epochs": 0, "warmup_prefix": False}
    | {"noise": None, "noise_pct": 0.67, "noise_std": 1.0, "noise_seed": 42}
    | {"cycle_mul": 1.0, "cycle_decay": 0.1, "cycle_limit": 1, "k_decay": 1.0, "decay_fn": None}
    | {"stable_timescale": None, "plateau_mode": "max", "step_on_epochs": True, "updates_per_epoch": 0},
}
"""The arguments of timm 1.0.31, in order, with their defaults."""

_CLASSES: Final = {
    "cosine": "CosineLRScheduler",
    "tanh": "TanhLRScheduler",
    "poly": "PolyLRScheduler",
    "step": "StepLRScheduler",
    "constant": "StepLRScheduler",
    "multistep": "MultiStepLRScheduler",
    "wsd": "WSDLRScheduler",
    "rsqrt": "WSDLRScheduler",
    "plateau": "PlateauLRScheduler",
}
_POWERS: Final = {0.5: "1-sqrt", 1.0: "linear", 2.0: "1-square"}
_FOREVER: Final = 2**53
_FINITE: Final = "a finite number is wanted"


class _NoFormError(DialectError):
    """No combination of our schedules says it in a formula; a live scheduler is sampled instead."""


def read(
    source: object, *, lr: float | None = None, horizon: int | None = None, updates_per_epoch: int = 1
) -> Training:
    """What a configured scheduler says, or text such as `CosineLRScheduler(optimizer, t_initial=300)`, or
    `create_scheduler_v2(optimizer, sched="cosine", num_epochs=300)`.

    Text: lr is the optimizer's rate (not needed where the optimizer is written out, `SGD(..., lr=0.1)`);
    without it lr is 1, and absolute rates (lr_min, warmup_lr_init) are refused. A live scheduler holds its
    lr, that of the first parameter group.

    updates_per_epoch holds each rate for that many updates when the scheduler steps per epoch; with 1, one of
    our updates is one of its epochs. The horizon, unless given, is the length that timm itself works out.

    A live scheduler without a closed form (a function as decay_fn, k-decay of a polynomial, cycles that do
    not end on whole counts) is sampled: `Values`, and a note. DialectError for noise, which is random, for
    what timm refuses, and for text without a closed form.
    """
    if updates_per_epoch < 1:
        raise DialectError(f"updates_per_epoch is {updates_per_epoch}; give at least 1")
    if not isinstance(source, str):
        return _from_object(source, lr, horizon, updates_per_epoch)
    name, given = call(source)
    if name not in SIGNATURES:
        raise DialectError(f"{name} is no scheduler of timm; known: {', '.join(SIGNATURES)}")
    arguments = bound(name, given, SIGNATURES[name])
    for key, member in arguments.items():
        if key != "optimizer":
            refuse_name(name, key, member)
    written = _lr_of(arguments["optimizer"])
    if written is not None and lr not in (None, written):
        raise DialectError(f"lr is {lr}, but the optimizer is written with lr={written}; leave lr out")
    rate = lr if written is None else written
    length = None
    if name == "create_scheduler_v2":
        _check(name, arguments)
        updates_per_epoch = (
            _whole("updates_per_epoch", arguments["updates_per_epoch"], 0) or updates_per_epoch
        )
        made = _created(arguments, updates_per_epoch)
        if made is None:  # sched="none" is no scheduler at all
            return Training(1.0 if rate is None else rate, Constant(), horizon)
        name, arguments, length = made
    return _training(name, arguments, rate, horizon, updates_per_epoch, length)


def write(training: Training) -> str:
    """The scheduler as timm code, one call; the optimizer's lr and who steps it stand in a comment.

    It is written when reading it back gives the same rates (rtol 1e-12) over the horizon, or over 1000
    updates when there is none; DialectError with the reason otherwise.
    """
    name, arguments, every = _call_of(training)
    for key in ("lr_min", "warmup_lr_init"):
        if key in arguments:
            arguments[key] = rounded(arguments[key])
    shown = [f"{key}={member!r}" for key, member in arguments.items() if member != SIGNATURES[name][key]]
    text = f"{name}({', '.join(['optimizer', *shown])})"
    try:
        again = read(text, lr=training.lr, horizon=training.horizon, updates_per_epoch=every)
        if isinstance(training.schedule, Schedule):
            T = training.horizon or 1000
            same = np.allclose(again.rates(T), training.rates(T), rtol=1e-12, atol=1e-15 * training.lr)
        else:
            same = again.schedule == training.schedule
    except InputError as error:
        raise _unsayable(training.schedule, str(error)) from None
    if not same:
        raise _unsayable(training.schedule, f"the nearest, {text}, gives other rates")
    step = (
        f"step(epoch + 1) after every epoch of {every} updates" if every > 1 else "step_update(updates done)"
    )
    if name == "PlateauLRScheduler":
        step = "step(epoch + 1, metric)"
    return f"{text}  # the optimizer's lr is {training.lr!r}; call {step}"


def scheduler(
    optimizer: "Optimizer", schedule: Schedule, horizon: int, *, t_in_epochs: bool = False
) -> "Scheduler":
    """A timm Scheduler that drives `optimizer` with any schedule of ours.

    Each group's rate is its own initial lr (times its `lr_scale`, as everywhere in timm) * multiplier. Call
    `step_update(n)` after n updates, or with t_in_epochs `step(n)` after n epochs, the horizon then counting
    epochs. timm's loops step once after the last update: the rate is then what the schedule closes with. A
    count beyond that is an InputError. The state is plain values and the multipliers are not in it.
    """
    if not isinstance(schedule, Schedule):
        raise DialectError(
            f"{schedule!r} is not a schedule: timm's schedulers are functions of a count. "
            "A closed-loop rule is driven by dialects.torch.scheduler"
        )
    if horizon < 1:
        raise InputError(f"horizon is {horizon}; a scheduler drives at least 1 update")
    return _schedule_class()(optimizer, schedule, horizon, t_in_epochs)


# -- reading ---------------------------------------------------------------------------------------


def _from_object(source: Any, lr: float | None, horizon: int | None, every: int) -> Training:
    refuse_lr(lr)
    name = type(source).__name__
    if not hasattr(source, "base_values") or not hasattr(source, "_get_lr"):
        raise DialectError(f"{name} is no scheduler of timm; give a timm.scheduler object or its text")
    base, settings = float(source.base_values[0]), source.optimizer.param_groups[0]
    own = vars(source)
    if getattr(source, "notation", None) is not None:  # one of ours
        made = Training(base, source.schedule, source.horizon)
    elif type(source).__module__.split(".")[0] != "timm" or name not in SIGNATURES:
        made = _sampled(source, base, horizon, every, f"{name} is not one of timm's own classes")
    else:
        given = {key: own[key] for key in SIGNATURES[name] if key in own and key != "optimizer"}
        if name == "PlateauLRScheduler":
            given |= _plateau_settings(source.lr_scheduler)
        try:
            made = _training(name, {**SIGNATURES[name], **given}, base, horizon, every, None)
        except _NoFormError as reason:
            made = _sampled(source, base, horizon, every, str(reason))
    notes = made.notes
    if len({float(value) for value in source.base_values}) > 1:
        notes += ("the parameter groups have different rates: this is the first group's",)
    return replace(made, lr=made.lr * float(settings.get("lr_scale", 1.0)), notes=notes)


def _plateau_settings(inner: Any) -> dict[str, Any]:
    return {
        "decay_rate": inner.factor,
        "patience_t": inner.patience,
        "threshold": inner.threshold,
        "cooldown_t": inner.cooldown,
        "mode": inner.mode,
        "lr_min": inner.min_lrs[0],
    }


def _sampled(source: Any, base: float, horizon: int | None, every: int, reason: str) -> Training:
    """The rates of a live scheduler as its own formula gives them, over the horizon."""
    _quiet(vars(source))
    if not source.t_in_epochs:
        every = 1
    length = getattr(source, "get_cycle_length", None)
    if horizon is None and length is None:
        raise DialectError(f"{type(source).__name__} is sampled ({reason}): give the horizon")
    counts = int(length()) if horizon is None and length is not None else -(-(horizon or 0) // every)
    start = source.warmup_lr_init if getattr(source, "warmup_t", 0) else base
    if base <= 0:
        raise DialectError(f"the optimizer's lr is {base}; multiples of it say nothing")
    try:
        rates = [start, *(source._get_lr(t)[0] for t in range(1, counts))][:counts]
        schedule = Values.of(np.asarray(rates, dtype=np.float64) / base)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise DialectError(f"{type(source).__name__} gives no rates: {error}") from error
    note = f"sampled over {counts} {'epochs' if source.t_in_epochs else 'updates'}: {reason}"
    return Training(base, _held(schedule, every), counts * every if horizon is None else horizon, (note,))


def _training(
    name: str, a: Arguments, lr: float | None, horizon: int | None, every: int, length: int | None
) -> Training:
    """A class of timm and its arguments in our terms; `length` is in its own counts."""
    _quiet(a)
    _check(name, a)
    per_epoch = bool(a.get("t_in_epochs", True))
    every = every if per_epoch else 1
    absolute = [key for key in ("lr_min", "warmup_lr_init") if a.get(key)]
    if "warmup_lr_init" in absolute and not a["warmup_t"]:
        absolute.remove("warmup_lr_init")  # it then says nothing
    if absolute and lr is None:
        raise DialectError(f"{absolute[0]} is an absolute rate in timm: give the optimizer's lr")
    if lr is not None and not 0 < lr < math.inf:
        raise DialectError(f"the optimizer's lr is {lr}; multiples of it say nothing")
    ratios = {key: rounded(a[key] / (lr or 1.0)) for key in absolute}
    final, start = ratios.get("lr_min", 0.0), ratios.get("warmup_lr_init", 0.0)
    W = _whole("warmup_t", a["warmup_t"], 0)
    notes = [f"{key} is an absolute rate in timm: {key}/lr = {ratio!r} here" for key, ratio in ratios.items()]
    if per_epoch and every == 1:
        notes.append("stepped per epoch: an update here is an epoch there, unless updates_per_epoch is given")
    rule: Schedule | Feedback
    if name == "PlateauLRScheduler":
        rule = _plateau(a, final, _held(_begun(Constant(), a, W, start, prefix=True), every), lr or 1.0)
        notes.append("the rule sees one metric per epoch; timm hides those of the warmup from it")
    else:
        if length is None:
            length = _length(name, a)
        counts = None if horizon is None else -(-horizon // every)
        rule = _held(_READERS[name](a, final, W, start, length if counts is None else counts), every)
    own = length * every if length is not None else None
    return Training(1.0 if lr is None else lr, rule, own if horizon is None else horizon, tuple(notes))


def _held(schedule: Schedule, every: int) -> Schedule:
    return Held(schedule, every) if every > 1 else schedule


def _quiet(a: Arguments) -> None:
    if a.get("noise_range_t") is not None:
        raise DialectError("noise_range_t makes the rates random, and a schedule is not; leave the noise out")


def _lr_of(optimizer: Any) -> float | None:
    """The lr of an optimizer that is written out in the call."""
    if is_call(optimizer):
        lr = optimizer[1].get("lr")
        return float(lr) if isinstance(lr, int | float) else None
    return None


def _check(name: str, a: Arguments) -> None:
    """DialectError where an argument is of another type than its default says."""
    for key, default in SIGNATURES[name].items():
        given = a[key]
        if key in ("optimizer", "decay_fn", "initialize") or key.startswith("noise"):
            continue  # read elsewhere, or without effect here
        if isinstance(default, str):
            if not isinstance(given, str):
                raise DialectError(f"{key} is {given!r}; a word is wanted, such as {default!r}")
        elif key == "decay_milestones" or (key == "decay_t" and name == "MultiStepLRScheduler"):
            if not isinstance(given, list | tuple):
                raise DialectError(f"{key} is {given!r}; a list of counts is wanted")
            for member in given:
                number(key, member, _FINITE)
        elif not isinstance(default, bool) and (given is not None or default is not None):
            number(key, given, _FINITE)


def _whole(key: str, given: Any, least: int) -> int:
    if not number(key, given, _FINITE).is_integer():
        raise DialectError(f"{key} is {given!r}; a whole number is wanted")
    if given < least:
        raise DialectError(f"{key} is {given!r}; it must be at least {least}")
    return int(given)


def _cosine(a: Arguments, final: float, W: int, start: float, _: int | None) -> Schedule:
    warp = _warp(a)
    return _begun(_cycles(a, final, lambda low: Cosine(final=low, warp=warp)), a, W, start)


def _poly(a: Arguments, final: float, W: int, start: float, _: int | None) -> Schedule:
    power = float(a["power"])
    if power < 0:
        raise DialectError(f"power is {power}; a negative one divides by zero at the end")
    if _warp(a) != 1:
        raise _NoFormError(
            "k_decay of a polynomial has no name here; give the configured object to sample it"
        )

    def shape(low: float) -> Schedule:
        return Linear(final=low) if power == 1 else Polynomial(power=power, final=low)

    return _begun(_cycles(a, final, shape, closes=power > 0), a, W, start)


def _tanh(a: Arguments, final: float, W: int, start: float, _: int | None) -> Schedule:
    low, high = float(a["lb"]), float(a["ub"])
    if not low < high:
        raise DialectError(f"lb is {low} and ub is {high}; timm wants lb < ub")
    schedule = _cycles(a, final, lambda f: Tanh(final=f, low=low, high=high), closes=False)
    if not W or a["warmup_prefix"]:
        return _begun(schedule, a, W, start)
    # timm's ramp leads to the curve's value at W, where the others' leads to lr
    level = float(multipliers(schedule, W + 1)[W])
    if a["cycle_limit"] > 1 or start > 1e12 * level or not level:
        raise _NoFormError("a warmup over several tanh cycles, or to a rate of 0, has no name here")
    rest = Clip(schedule, high=level) if final <= 1 else Clip(schedule, low=level)
    return Product(Warmup(Constant(), W, start=start / level), rest)


def _step(a: Arguments, _: float, W: int, start: float, horizon: int | None) -> Schedule:
    every, gamma = a["decay_t"], float(a["decay_rate"])
    if not every > 0:
        raise DialectError(f"decay_t is {every}; it must be above 0")
    if gamma == 1:
        return _begun(Constant(), a, W, start)
    if every == 1:
        return _begun(Exponential(gamma), a, W, start)
    if every == int(every):
        return _begun(Step(gamma, every=int(every)), a, W, start)
    if horizon is None:
        raise DialectError(f"decay_t is {every}, so the steps are not equally long; give the horizon")
    drops = np.diff(np.arange(horizon) // every).astype(int)  # several at once when decay_t < 1
    milestones = np.repeat(np.arange(1, horizon), drops).tolist()
    steps = Within(MultiStep(tuple(milestones), gamma=gamma), horizon, beyond="error")
    return _begun(steps, a, W, start)


def _multistep(a: Arguments, _: float, W: int, start: float, __: int | None) -> Schedule:
    given = a["decay_t"]
    if list(given) != sorted(given):
        raise DialectError(f"decay_t is {given!r}; timm bisects it: give a sorted list")
    first = 0 if W and a["warmup_prefix"] else 1  # the first update is made before timm looks at milestones
    acts = tuple(max(math.ceil(m) - 1, first) for m in given)
    return _begun(MultiStep(acts, gamma=float(a["decay_rate"])), a, W, start)


def _wsd(a: Arguments, final: float, W: int, start: float, _: int | None) -> Schedule:
    N, D = _whole("t_initial", a["t_initial"], 1), _whole("decay_t", a["decay_t"], 1)
    if D > N:
        raise DialectError(f"decay_t is {D} of t_initial = {N}; it must be at most that")
    name, power, ratio, stable = a["decay_fn"], a["decay_power"], a["decay_ratio"], a["stable_fn"]
    word = name if name in ("linear", "1-sqrt", "cosine") else None
    if name == "power":
        word = _POWERS.get(float(power))
    if name == "exp" and math.isclose(final, ratio, rel_tol=1e-12):
        word = "exponential"  # timm's normalised exponential is a plain one when it ends at its own ratio
    if word is None:
        raise _NoFormError(
            f"decay_fn={name!r} with these numbers has no name here; give the configured object"
        )
    if stable == "constant":
        held: Schedule = Constant() if final <= 1 else Scaled(Constant(), final)
        if final > 1:  # timm never goes below lr_min: nothing is left to decay
            return _begun(held, a, W, start, prefix=True)
    elif stable in ("rsqrt", "power"):
        timescale = a["stable_timescale"] if a["stable_timescale"] is not None else W
        if not timescale > 0:
            raise DialectError(f"stable_timescale is {timescale}; without a warmup give a positive one")
        if final:
            raise _NoFormError(
                f"stable_fn={stable!r} with lr_min > 0 has no name here; give the configured object"
            )
        held = InversePower(
            0.5 if stable == "rsqrt" else float(a["stable_power"]), timescale=float(timescale)
        )
    else:
        raise DialectError(f"stable_fn is {stable!r}; timm has constant, rsqrt and power")
    cooled = Cooldown(held, D, shape=word, final=final)
    return _begun(Within(cooled, N), a, W, start, prefix=True)


def _plateau(a: Arguments, low: float, schedule: Schedule, lr: float) -> Feedback:
    if a["mode"] not in ("min", "max"):
        raise DialectError(f"mode is {a['mode']!r}; timm has min and max")
    return ReduceLROnPlateau(
        factor=float(a["decay_rate"]),
        patience=_whole("patience_t", a["patience_t"], 0),
        mode=a["mode"],
        threshold=float(a["threshold"]),
        cooldown=_whole("cooldown_t", a["cooldown_t"], 0),
        low=low,
        eps=rounded(1e-8 / lr),
        schedule=schedule,
    )


_READERS: Final[Mapping[str, Callable[[Arguments, float, int, float, int | None], Schedule]]] = {
    "CosineLRScheduler": _cosine,
    "TanhLRScheduler": _tanh,
    "PolyLRScheduler": _poly,
    "StepLRScheduler": _step,
    "MultiStepLRScheduler": _multistep,
    "WSDLRScheduler": _wsd,
}


def _warp(a: Arguments) -> float:
    warp = float(a["k_decay"])
    if not warp > 0:
        raise DialectError(f"k_decay is {warp}; it must be above 0")
    return warp


def _cycles(
    a: Arguments, final: float, shape: Callable[[float], Schedule], *, closes: bool = True
) -> Schedule:
    """cycle_limit cycles of a shape, then `final` for ever. closes: whether the shape itself ends there."""
    N, growth = _whole("t_initial", a["t_initial"], 1), float(a["cycle_mul"])
    limit = math.ceil(a["cycle_limit"])
    rest = Scaled(Constant(), final)
    if limit < 1:
        return rest
    if limit == 1:
        once = Within(shape(final), N)
        return once if closes else Then(once, rest, at=N)
    if growth < 1:
        raise _NoFormError(f"cycle_mul is {growth}; cycles that shrink have no name here")
    repeated = Repeat(shape(0.0), N, growth=growth, decay=float(a["cycle_decay"]), floor=final)
    total = _total(N, growth, limit)
    return repeated if total >= _FOREVER else Then(repeated, rest, at=total)


def _total(N: int, growth: float, limit: int) -> int:
    """The counts in `limit` cycles; at least 2^53 means for ever."""
    if growth == 1:
        return N * limit
    total, length = 0, float(N)
    for _ in range(limit):
        if length != int(length):
            raise _NoFormError(f"cycle_mul = {growth} makes a cycle of {length} counts, not a whole number")
        total, length = total + int(length), length * growth
        if total >= _FOREVER:
            break
    return total


def _begun(schedule: Schedule, a: Arguments, W: int, start: float, prefix: bool | None = None) -> Schedule:
    """The schedule behind timm's warmup, which leads from `start` to 1 whatever the schedule begins with."""
    first = float(multipliers(schedule, 1)[0])
    begins_at_one = math.isclose(first, 1.0, rel_tol=1e-14)
    if W:
        prefix = bool(a["warmup_prefix"]) if prefix is None else prefix
        if begins_at_one:
            return Warmup(schedule, W, start=start, overlap=not prefix)
        return Then(Warmup(Constant(), W, start=start), schedule, at=W)  # overlapping only when constant
    if begins_at_one:
        return schedule
    if isinstance(schedule, Scaled):  # a constant
        return Piecewise((1,), (1.0, schedule.factor))
    return Product(Piecewise((1,), (1 / first, 1.0)), schedule)


def _length(name: str, a: Arguments) -> int | None:
    """timm's own get_cycle_length: how many counts the schedule lasts; None where it never ends."""
    if "t_initial" not in a:
        return None
    N, W = _whole("t_initial", a["t_initial"], 1), _whole("warmup_t", a["warmup_t"], 0)
    if name == "WSDLRScheduler":
        return N + W
    growth, limit = float(a["cycle_mul"]), max(1, int(a["cycle_limit"]))
    if growth > 1 and limit * math.log2(growth) > 53:
        return None
    total = N * limit if growth == 1 else math.floor(N * (growth**limit - 1) / (growth - 1))
    return total + W if a["warmup_prefix"] else total


def _created(a: Arguments, every: int) -> tuple[str, dict[str, Any], int | None] | None:
    """create_scheduler_v2: the class, its arguments and the length of the training, in the class's counts."""
    sched = a["sched"]
    if sched == "none":
        return None
    if sched not in _CLASSES:
        raise DialectError(f"timm's create_scheduler_v2 has no sched={sched!r}; known: {', '.join(_CLASSES)}")
    if a["noise"] is not None:
        _quiet({"noise_range_t": a["noise"]})
    if not a["step_on_epochs"] and not a["updates_per_epoch"]:
        raise DialectError("step_on_epochs=False needs updates_per_epoch")
    unit = 1 if a["step_on_epochs"] else every
    name = _CLASSES[sched]
    made = {**SIGNATURES[name], **_created_shared(a, unit, SIGNATURES[name]), **_created_own(a, unit)}
    return name, made, _created_length(name, made, a, unit)


def _created_shared(a: Arguments, unit: int, known: Arguments) -> dict[str, Any]:
    """The arguments that the factory hands to every class that knows them."""
    shared = {
        "t_initial": a["num_epochs"] * unit,
        "lr_min": a["min_lr"],
        "warmup_t": a["warmup_epochs"] * unit,
        "warmup_lr_init": a["warmup_lr"],
        "warmup_prefix": bool(a["warmup_prefix"]),
        "t_in_epochs": bool(a["step_on_epochs"]),
    }
    shared |= {key: a[key] for key in ("cycle_mul", "cycle_decay", "cycle_limit", "k_decay")}
    return {key: member for key, member in shared.items() if key in known}


def _created_own(a: Arguments, unit: int) -> dict[str, Any]:
    """The arguments of one class only."""
    match a["sched"]:
        case "poly":
            return {"power": a["decay_rate"]}
        case "step":
            length = (90 if a["decay_epochs"] is None else a["decay_epochs"]) * unit
            return {"decay_t": length, "decay_rate": a["decay_rate"]}
        case "constant":
            return {"decay_t": 1, "decay_rate": 1.0}
        case "multistep":
            return {"decay_t": [m * unit for m in a["decay_milestones"]], "decay_rate": a["decay_rate"]}
        case "plateau" if not a["step_on_epochs"]:
            raise DialectError("timm's plateau steps per epoch only; leave step_on_epochs at True")
        case "plateau":
            patience, mode = a["patience_epochs"], a["plateau_mode"]
            return {"decay_rate": a["decay_rate"], "patience_t": patience, "mode": mode}
        case "wsd" | "rsqrt":
            return _created_wsd(a, unit)
    return {}


def _created_length(name: str, made: Arguments, a: Arguments, unit: int) -> int:
    """The length of the training: a cycle's and the epochs that the factory adds, or just the epochs."""
    if "t_initial" in made:
        return (_length(name, made) or 0) + _whole("cooldown_epochs", a["cooldown_epochs"], 0) * unit
    counts = a["num_epochs"] * unit + (a["warmup_epochs"] * unit if a["warmup_prefix"] else 0)
    return _whole("num_epochs", counts, 0)


def _created_wsd(a: Arguments, unit: int) -> dict[str, Any]:
    length = a["num_epochs"] * unit - (0 if a["warmup_prefix"] else a["warmup_epochs"] * unit)
    decay = 0.2 if a["decay_epochs"] is None else a["decay_epochs"]
    timescale = a["stable_timescale"]
    rsqrt = a["sched"] == "rsqrt"
    return {
        "t_initial": length,
        "decay_t": round(decay * length if 0 < decay < 1 else decay * unit),
        "stable_fn": "rsqrt" if rsqrt else "constant",
        "stable_timescale": None if timescale is None else timescale * unit,
        "decay_fn": a["decay_fn"] or ("linear" if rsqrt else "1-sqrt"),
    }


# -- writing ---------------------------------------------------------------------------------------


def _unsayable(schedule: Schedule | Feedback, reason: str) -> DialectError:
    return DialectError(
        f"timm cannot say {schedule!r}: {reason}. dialects.timm.scheduler(optimizer, schedule, horizon) "
        "drives timm's loop with any schedule"
    )


def _call_of(training: Training) -> tuple[str, dict[str, Any], int]:
    """The class of timm that looks like the schedule, its arguments, and the updates per count."""
    schedule, T, lr = training.schedule, training.horizon, training.lr
    if not lr > 0:
        raise _unsayable(schedule, f"its lr is {lr}")
    if not isinstance(schedule, Schedule):
        return (*_plateau_call(schedule, lr), 1)
    every = 1
    if isinstance(schedule, Held):
        every, schedule = schedule.every, schedule.schedule
        T = None if T is None else -(-T // every)
    more: dict[str, Any] = {"t_in_epochs": every > 1}
    first = float(multipliers(schedule, T or 1)[0])
    core, W = schedule, 0
    if isinstance(core, Then) and isinstance(core.first, Warmup) and core.first.length == core.at:
        core = Warmup(core.second, core.first.length, start=core.first.start, shape=core.first.shape)
    if isinstance(core, Warmup):
        start, prefix = core.start, not core.overlap
        if core.shape != "linear" or start == "1/W":
            raise _unsayable(schedule, "timm's warmup is linear in t/W and reaches lr at t = W")
        W, core = _count("the warmup", core.length, T, core), core.schedule
        if W:
            more |= {"warmup_t": W, "warmup_lr_init": lr / (W + 1) if start == "1/(W+1)" else lr * start}
            more["warmup_prefix"] = prefix
            T = T if T is None or not prefix else max(T - W, 1)
    elif isinstance(core, WarmupStableDecay):
        T = _count("the trapezoid", 1.0, T, core)
        W, C = updates(core.warmup, T), updates(core.cooldown, T)
        if W:
            more |= {"warmup_t": W, "warmup_lr_init": lr / (W + 1)}
        core, T = Cooldown(Constant(), C, shape=core.shape, final=core.final), max(T - W, 1)
    elif isinstance(core, Product) and isinstance(core.first, Piecewise) and core.first.boundaries == (1,):
        core = core.second
    name, arguments = _shape_call(core, T, lr)
    if "warmup_t" not in more and not math.isclose(first, 1.0, rel_tol=1e-13):
        begins = float(multipliers(core, T or 1)[0])
        if math.isclose(first, begins, rel_tol=1e-13):  # timm's first update uses lr, unless it warms up
            more |= {"warmup_t": 1, "warmup_lr_init": lr * first, "warmup_prefix": False}
    if name == "WSDLRScheduler":
        more.pop("warmup_prefix", None)
    return name, arguments | more, every


def _count(what: str, length: int | float, T: int | None, schedule: Schedule) -> int:
    if isinstance(length, int):
        return length
    if T is None:
        raise _unsayable(schedule, f"{what} is a fraction of a horizon that is not given")
    return updates(length, T)


def _shape_call(schedule: Schedule, T: int | None, lr: float) -> tuple[str, dict[str, Any]]:
    arguments: dict[str, Any]
    match schedule:
        case Constant():
            return "StepLRScheduler", {"decay_t": 1}
        case Exponential(gamma=gamma):
            return "StepLRScheduler", {"decay_t": 1, "decay_rate": gamma}
        case Step(gamma=gamma, every=every):
            length = every if isinstance(every, int) else cycle_length(every, _needed(T, schedule))
            return "StepLRScheduler", {"decay_t": length, "decay_rate": gamma}
        case MultiStep(milestones=milestones, gamma=gamma):
            acts = sorted(_count("a milestone", m, T, schedule) for m in milestones)
            return "MultiStepLRScheduler", {"decay_t": [m + 1 for m in acts], "decay_rate": gamma}
        case Within(schedule=inner, length=length, end="T", beyond="clip"):
            return _shape_call(inner, _count("its length", length, T, schedule), lr)
        case Then(first=Repeat() as inner, second=Scaled(schedule=Constant(), factor=factor), at=at) if (
            factor == inner.floor
        ):
            return _cycles_call(inner, _count("its length", at, T, schedule), lr)
        case Then(first=inner, second=Scaled(schedule=Constant())):
            return _shape_call(inner, T, lr)
        case Repeat():
            return _cycles_call(schedule, _needed(T, schedule), lr)
        case CosineRestarts(cycles=cycles, final=final) if cycles == int(cycles):
            T = _needed(T, schedule)
            arguments = {"t_initial": max(T // int(cycles), 1), "lr_min": lr * final}
            return "CosineLRScheduler", arguments | {"cycle_limit": int(cycles)}
        case Cosine(final=final, cycles=0.5, power=1.0, warp=warp):
            arguments = {"t_initial": _needed(T, schedule), "lr_min": lr * final}
            return "CosineLRScheduler", arguments | {"k_decay": warp}
        case Tanh(final=final, low=low, high=high):
            arguments = {"t_initial": _needed(T, schedule), "lr_min": lr * final}
            return "TanhLRScheduler", arguments | {"lb": low, "ub": high}
        case Linear(final=final):
            return "PolyLRScheduler", {"t_initial": _needed(T, schedule), "power": 1.0, "lr_min": lr * final}
        case Polynomial(power=power, final=final):
            return "PolyLRScheduler", {
                "t_initial": _needed(T, schedule),
                "power": power,
                "lr_min": lr * final,
            }
        case Cooldown(
            schedule=Constant() | InversePower() as stable, length=length, shape=shape, final=final
        ):
            T = _needed(T, schedule)
            arguments = {"t_initial": T, "decay_t": updates(length, T), "lr_min": lr * final}
            words = _decay_words(shape, final, schedule) | _stable_words(stable)
            return "WSDLRScheduler", arguments | words
    raise _unsayable(
        schedule,
        "it has cosine, tanh and polynomial cycles, steps, milestones and WSD, after a linear warmup",
    )


def _decay_words(shape: str, final: float, schedule: Schedule) -> dict[str, Any]:
    match shape:
        case "linear" | "1-sqrt" | "cosine":
            return {"decay_fn": shape}
        case "1-square":
            return {"decay_fn": "power", "decay_power": 2.0}
        case "exponential":
            return {"decay_fn": "exp", "decay_ratio": final}
    raise _unsayable(schedule, f"it has no cooldown of the shape {shape!r}")


def _stable_words(stable: Constant | InversePower) -> dict[str, Any]:
    if isinstance(stable, Constant):
        return {}
    return {"stable_fn": "power", "stable_power": stable.power, "stable_timescale": stable.timescale}


def _cycles_call(schedule: Repeat, T: int, lr: float) -> tuple[str, dict[str, Any]]:
    """Restarts: as many cycles as begin before T."""
    N = cycle_length(schedule.period, T)
    name, arguments = _shape_call(schedule.schedule, N, lr)
    if "cycle_mul" not in SIGNATURES[name]:
        raise _unsayable(schedule, "only its cosine, tanh and polynomial cycles restart")
    limit, covered, length = 0, 0.0, float(N)
    while covered < T:
        limit, covered, length = limit + 1, covered + length, length * schedule.growth
    restarts = {"cycle_mul": schedule.growth, "cycle_decay": schedule.decay, "cycle_limit": limit}
    return name, {**arguments, "lr_min": lr * schedule.floor, **restarts}


def _plateau_call(rule: Feedback, lr: float) -> tuple[str, dict[str, Any]]:
    if not isinstance(rule, ReduceLROnPlateau) or rule.threshold_mode != "rel":
        raise _unsayable(rule, "its one closed loop is torch's ReduceLROnPlateau with threshold_mode='rel'")
    arguments: dict[str, Any] = {
        "decay_rate": rule.factor,
        "patience_t": rule.patience,
        "threshold": rule.threshold,
        "cooldown_t": rule.cooldown,
        "lr_min": rule.low * lr,
        "mode": rule.mode,
    }
    match rule.schedule:
        case Warmup(schedule=Constant(), length=int(W), start=float(start), shape="linear"):
            arguments |= {"warmup_t": W, "warmup_lr_init": lr * start}
    return "PlateauLRScheduler", arguments


def _needed(T: int | None, schedule: Schedule) -> int:
    if not T:
        raise _unsayable(schedule, "it depends on the horizon; give one of at least 1 update")
    return T


# -- driving ---------------------------------------------------------------------------------------


@functools.cache
def _schedule_class() -> Any:
    """The subclass of timm's Scheduler, made when timm is first needed."""
    from timm.scheduler.scheduler import Scheduler

    class ScheduleLRScheduler(Scheduler):  # type: ignore[misc]  # timm may be missing, so its types are not read
        """Sets every group's rate to its initial lr * schedule(horizon)[t]."""

        def __init__(self, optimizer: Any, schedule: Schedule, horizon: int, t_in_epochs: bool) -> None:
            super().__init__(optimizer, param_group_field="lr", t_in_epochs=t_in_epochs)
            self.schedule, self.horizon, self.notation = schedule, horizon, repr(schedule)
            try:
                after = closing(schedule, horizon)
            except InputError:  # a plain function has no value there: the last one stays
                after = float(multipliers(schedule, horizon)[-1])
            self._multipliers = [*multipliers(schedule, horizon).tolist(), after]
            self.update_groups(self._get_lr(0))

        def _get_lr(self, t: int) -> Sequence[float]:
            if not 0 <= t <= self.horizon:
                raise InputError(f"count {t} is past the horizon of {self.horizon} of {self.notation}")
            return [value * self._multipliers[t] for value in self.base_values]

        def get_cycle_length(self, cycles: int = 0) -> int:  # noqa: ARG002  (timm's name)
            return self.horizon

        def state_dict(self) -> dict[str, Any]:
            return {k: v for k, v in super().state_dict().items() if k not in ("schedule", "_multipliers")}

    return ScheduleLRScheduler
