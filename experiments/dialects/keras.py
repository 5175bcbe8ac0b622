"""keras: schedules that map every step of the optimizer to an absolute rate, and callbacks per epoch.

Read are the texts and live objects of `keras.optimizers.schedules`, the ReduceLROnPlateau callback, and any
function of an epoch, as LearningRateScheduler takes it, which is sampled over the horizon. keras does not
count a warmup in decay_steps, lets a boundary b act from step b + 1 on, and computes in float32, or in
integers where the first rate is one: such text is refused, because it is never what was meant.
"""

import inspect
import math
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any, Final, cast

import numpy as np

from ratelab.experiments.dialects import DialectError, Training
from ratelab.experiments.dialects._absolute import (
    Part,
    cosine,
    curve,
    digits,
    first_of,
    flat,
    joined,
    lead,
    length_of,
    levels,
    plain,
    rate,
    sampled,
    steps_of,
    table,
    training,
    window,
)
from ratelab.experiments.dialects._words import REQUIRED, bound, call, needed, number, whole
from ratelab.theory.arrays import Array
from ratelab.theory.combine import Held, Repeat, Scaled, Then, Warmup, Within
from ratelab.theory.cycles import CosineRestarts
from ratelab.theory.feedback import ReduceLROnPlateau
from ratelab.theory.notation import parse
from ratelab.theory.sampled import Values
from ratelab.theory.schedules import (
    Constant,
    Cosine,
    Exponential,
    Geometric,
    InversePower,
    Linear,
    MultiStep,
    Piecewise,
    Polynomial,
    Schedule,
    Step,
    cycle_length,
    multipliers,
)

MAX_PIECES: Final = 1000
_DECAY: Final = {
    "initial_learning_rate": REQUIRED,
    "decay_steps": REQUIRED,
    "decay_rate": REQUIRED,
    "staircase": False,
    "name": None,
}
PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "ExponentialDecay": _DECAY,
    "InverseTimeDecay": _DECAY,
    "PiecewiseConstantDecay": {"boundaries": REQUIRED, "values": REQUIRED, "name": None},
    "PolynomialDecay": {
        "initial_learning_rate": REQUIRED,
        "decay_steps": REQUIRED,
        "end_learning_rate": 0.0001,
        "power": 1.0,
        "cycle": False,
        "name": None,
    },
    "CosineDecay": {
        "initial_learning_rate": REQUIRED,
        "decay_steps": REQUIRED,
        "alpha": 0.0,
        "name": None,
        "warmup_target": None,
        "warmup_steps": 0,
    },
    "CosineDecayRestarts": {
        "initial_learning_rate": REQUIRED,
        "first_decay_steps": REQUIRED,
        "t_mul": 2.0,
        "m_mul": 1.0,
        "alpha": 0.0,
        "name": None,
    },
}
_PLATEAU: Final = {
    "monitor": "val_loss",
    "factor": 0.1,
    "patience": 10,
    "verbose": 0,
    "mode": "auto",
    "min_delta": 1e-4,
    "cooldown": 0,
    "min_lr": 0.0,
}


# -- reading ---------------------------------------------------------------------------------------


def read(source: object, *, lr: float | None = None, horizon: int | None = None) -> Training:
    """The text or the live object of a schedule or a callback, or a function of the epoch.

    Rates are absolute: an lr beside them only becomes the unit of the multipliers. The callbacks hold no rate
    of their own: ReduceLROnPlateau's is lr, and 1 without one; a function `f(epoch, rate)` starts from lr.
    Sampled over the horizon are such functions, a value for each epoch (`Held` makes updates of them),
    unknown schedule objects, and what has no formula here: PolynomialDecay with cycle=True, and restarts
    whose cycles are no whole numbers of steps or shrink towards a floor.
    """
    if isinstance(source, str):
        if (constant := plain(source)) is not None:
            return training(flat(constant), lr, horizon)
        name, given = call(source)
    else:
        name, live = type(source).__name__, cast(Any, source)
        if name == "LearningRateScheduler":
            return read(live.schedule, lr=lr, horizon=horizon)
        if name == "RatelabSchedule":
            ours = live.get_config()
            return Training(ours["lr"], cast(Schedule, parse(ours["schedule"], "schedule")), ours["horizon"])
        if name == "ReduceLROnPlateau":
            given = {key: getattr(live, key) for key in _PLATEAU}
        elif name in PARAMETERS:
            given = live.get_config()
        else:
            return _sampled_live(source, lr, horizon)
    if name == "ReduceLROnPlateau":
        return Training(1.0 if lr is None else lr, _plateau(given, lr), horizon)
    if name not in PARAMETERS:
        raise DialectError(f"{name} is no schedule of keras that is read here: {', '.join(PARAMETERS)}")
    a = bound(name, given, PARAMETERS[name])
    _in_floats(name, a)
    notes: list[str] = []
    part = _part(name, a, notes)
    if part is not None:
        return training(part, lr, horizon, tuple(notes))
    if horizon is None:
        raise DialectError(f"{name}: {notes[-1]}; give a horizon, to have it sampled")
    return sampled(_formula(name, a, horizon), lr, *notes, f"sampled over {horizon} updates")


def _part(name: str, a: dict[str, Any], notes: list[str]) -> Part | None:
    """The schedule in our terms; None where the last note says why it has to be sampled."""
    if name == "PiecewiseConstantDecay":
        return _pieces(a)
    start = rate(f"{name}: initial_learning_rate", a["initial_learning_rate"])
    key = "first_decay_steps" if name == "CosineDecayRestarts" else "decay_steps"
    if number(f"{name}: {key}", a[key]) <= 0:
        raise DialectError(f"{name}: {key} is {a[key]}; keras wants a number above 0")
    match name:
        case "ExponentialDecay" | "InverseTimeDecay":
            return _decay(name, start, a)
        case "PolynomialDecay":
            return _polynomial(name, start, a, notes)
        case "CosineDecay":
            return _cosine(name, start, a, notes)
    return _restarts(name, start, a, notes)


def _decay(name: str, start: float, a: dict[str, Any]) -> Part:
    gamma = rate(f"{name}: decay_rate", a["decay_rate"])
    every: float = a["decay_steps"]
    if start == 0:
        return flat(0.0)
    if name == "ExponentialDecay":
        if a["staircase"]:
            return Part(start, Step(gamma, every=whole(f"{name}: decay_steps", every)))
        return Part(start, Exponential(gamma ** (1 / every)))
    if gamma == 0:
        return flat(start)
    if a["staircase"]:
        steps = InversePower(1.0, timescale=1 / gamma)
        return Part(start, Held(steps, every=whole(f"{name}: decay_steps", every)))
    return Part(start, InversePower(1.0, timescale=every / gamma))


def _pieces(a: dict[str, Any]) -> Part:
    """keras holds values[k] while step <= boundaries[k]: our boundaries are one later."""
    name = "PiecewiseConstantDecay"
    boundaries, values = list(a["boundaries"]), list(a["values"])
    if not boundaries or len(values) != len(boundaries) + 1:
        raise DialectError(
            f"{name}: {len(boundaries)} boundaries and {len(values)} values; "
            "give one value more than boundaries, and at least one boundary"
        )
    marks = [
        int(number(f"{name}: a boundary", boundary)) for boundary in boundaries
    ]  # cast to the step's type
    if any(later <= mark for mark, later in pairwise(marks)):
        raise DialectError(f"{name}: boundaries {boundaries} do not increase; sort them")
    rates = [rate(f"{name}: a value", given) for given in values]
    unit = max(rates)
    if unit == 0:
        return flat(0.0)
    unit = rates[0] or unit
    turns = tuple(max(mark + 1, 0) for mark in marks)
    return Part(unit, Piecewise(turns, tuple(value / unit for value in rates)))


def _polynomial(name: str, start: float, a: dict[str, Any], notes: list[str]) -> Part | None:
    end, power = (
        rate(f"{name}: end_learning_rate", a["end_learning_rate"]),
        rate(f"{name}: power", a["power"]),
    )
    steps = whole(f"{name}: decay_steps", a["decay_steps"])
    if a["cycle"]:
        rate(f"{name}: end_learning_rate", end)
        notes.append("with cycle=True each cycle starts lower, at 1/(k + 1) of the range: no formula of ours")
        return None
    return curve(start, end, steps, power)


def _cosine(name: str, start: float, a: dict[str, Any], notes: list[str]) -> Part:
    steps, alpha = whole(f"{name}: decay_steps", a["decay_steps"]), rate(f"{name}: alpha", a["alpha"])
    warmup = whole(f"{name}: warmup_steps", a["warmup_steps"])
    if a["warmup_target"] is None:
        if warmup:
            notes.append(f"warmup_steps = {warmup} has no effect without a warmup_target")
        return cosine(start, alpha * start, steps)
    peak = rate(f"{name}: warmup_target", a["warmup_target"])
    rest = cosine(peak, alpha * peak, steps)
    if warmup <= 0:
        notes.append(f"without warmup steps keras starts at the warmup_target, {peak}")
        return rest
    notes.append(f"decay_steps = {steps} come after the {warmup} steps of the warmup")
    return joined([curve(start, peak, warmup), rest], [warmup])


def _restarts(name: str, start: float, a: dict[str, Any], notes: list[str]) -> Part | None:
    first = number(f"{name}: first_decay_steps", a["first_decay_steps"])
    growth, decay = number(f"{name}: t_mul", a["t_mul"]), rate(f"{name}: m_mul", a["m_mul"])
    alpha = rate(f"{name}: alpha", a["alpha"])
    if growth < 1:
        raise DialectError(f"{name}: t_mul is {a['t_mul']}; below 1 keras' rates end in NaN")
    if first != int(first) or growth != int(growth):
        notes.append("cycles that are no whole numbers of steps have no formula of ours")
        return None
    if alpha and decay != 1:
        notes.append("keras shrinks the cycles above the floor alpha, by m_mul: no formula of ours")
        return None
    cycle = Repeat(Cosine(alpha), period=int(first), growth=float(growth), decay=decay)
    return Part(start, cycle) if start else flat(0.0)


def _formula(name: str, a: dict[str, Any], horizon: int) -> Array:
    """The two schedules that are sampled, as keras defines them, in float64."""
    t = np.arange(horizon, dtype=np.float64)
    start: float = a["initial_learning_rate"]
    if name == "PolynomialDecay":
        end, steps = a["end_learning_rate"], float(a["decay_steps"])
        p = t / (steps * np.maximum(np.ceil(t / steps), 1))
        return np.asarray((start - end) * (1 - p) ** a["power"] + end)
    growth, c = a["t_mul"], t / a["first_decay_steps"]
    if growth == 1:
        cycle = np.floor(c)
        u = c - cycle
    else:
        cycle = np.floor(np.log(1 + c * (growth - 1)) / math.log(growth) + 1e-12)
        u = (c - (growth**cycle - 1) / (growth - 1)) / growth**cycle
    wave = a["m_mul"] ** cycle * (1 + np.cos(np.pi * np.clip(u, 0, 1))) / 2
    return np.asarray(start * ((1 - a["alpha"]) * wave + a["alpha"]))


def _in_floats(name: str, a: dict[str, Any]) -> None:
    """keras takes the type of the first rate for all its arithmetic: 0.1 becomes 0 there, and pi 3."""
    key = "values" if name == "PiecewiseConstantDecay" else "initial_learning_rate"
    first = a[key][0] if isinstance(a[key], list | tuple) and a[key] else a[key]
    if isinstance(first, int) and not isinstance(first, bool):
        raise DialectError(
            f"{name}: {key} is written as the integer {first}, and keras then computes in integers "
            f"(0.1 becomes 0, pi becomes 3); write {float(first)}"
        )


def _sampled_live(source: object, lr: float | None, horizon: int | None) -> Training:
    if not callable(source):
        raise DialectError(f"{source!r} is no schedule of keras; give its text, the object, or a function")
    if horizon is None:
        raise DialectError("a function has no formula; give the horizon over which to sample it")
    if hasattr(source, "get_config"):
        rates = [float(source(t)) for t in range(horizon)]
        note = f"sampled over {horizon} updates: a schedule of one's own"
    else:
        rates = _epochs(source, lr, horizon)
        note = f"sampled over {horizon} epochs, a value for each; Held(..., every=...) makes updates of them"
    return sampled(np.asarray(rates, dtype=np.float64), lr, note)


def _epochs(function: Callable[..., Any], lr: float | None, epochs: int) -> list[float]:
    """LearningRateScheduler's way: the rate of the epoch before goes in where there is a place for it."""
    try:
        places = [
            p
            for p in inspect.signature(function).parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
    except ValueError:
        places = []
    if len(places) < 2:
        return [float(function(epoch)) for epoch in range(epochs)]
    if lr is None:
        raise DialectError("the function takes the rate of the epoch before; give the lr it starts from")
    rates: list[float] = []
    for epoch in range(epochs):
        rates.append(float(function(epoch, rates[-1] if rates else lr)))  # it reads itself
    return rates


def _plateau(given: dict[str, Any], lr: float | None) -> ReduceLROnPlateau:
    """keras reduces at its patience, torch (and we) beyond it; its cooldown lets the last epoch count."""
    name = "ReduceLROnPlateau"
    a = bound(name, given, _PLATEAU)
    mode, low = a["mode"], rate(f"{name}: min_lr", a["min_lr"])
    if mode == "auto":
        if str(a["monitor"]).removeprefix("val_") != "loss":
            raise DialectError(
                f"{name}: mode='auto' asks the model what {a['monitor']!r} is; write mode='min' or mode='max'"
            )
        mode = "min"
    if low and lr is None:
        raise DialectError(f"{name}: min_lr = {low} is a rate, and the callback holds no other; give the lr")
    return ReduceLROnPlateau(
        factor=rate(f"{name}: factor", a["factor"]),
        patience=max(whole(f"{name}: patience", a["patience"]), 1) - 1,
        mode=mode,
        threshold=abs(number(f"{name}: min_delta", a["min_delta"])),
        threshold_mode="abs",
        cooldown=max(whole(f"{name}: cooldown", a["cooldown"]) - 1, 0),
        low=low / lr if lr else 0.0,
        eps=0.0,
    )


# -- writing ---------------------------------------------------------------------------------------


def write(training: Training) -> str:
    """The text of a keras schedule with the same rates for the horizon's updates, or of a callback.

    A constant rate is a plain number, as keras takes it. A schedule that depends on the horizon needs one.
    DialectError names what keras has no words for; `schedule` makes a keras object of that too.
    """
    if isinstance(training.schedule, ReduceLROnPlateau):
        return _say_plateau(training.schedule, training.lr)
    if not isinstance(training.schedule, Schedule):
        raise DialectError(f"keras has no callback that says {training.schedule!r}")
    return _say(training.schedule, training.lr, training.horizon)


def _say(schedule: Schedule, lr: float, T: int | None) -> str:
    shape, N = window(schedule, T)
    match shape:
        case Constant():
            return digits(lr)
        case Scaled(schedule=inner, factor=factor):
            return _say(inner, lr * factor, T)
        case Linear(final=final):
            return _poly(lr, lr * final, steps_of(N, schedule))
        case Polynomial(power=power, final=final):
            return _poly(lr, lr * final, steps_of(N, schedule), power)
        case Cosine(cycles=0.5, power=1.0, warp=1.0, final=final):
            return _call("CosineDecay", lr, decay_steps=steps_of(N, schedule), alpha=final)
        case Exponential(gamma=gamma):
            return _call("ExponentialDecay", lr, decay_steps=1, decay_rate=gamma)
        case Geometric(final=final):
            return _call("ExponentialDecay", lr, decay_steps=steps_of(T, schedule), decay_rate=final)
        case Step(gamma=gamma, every=every):
            steps = every if isinstance(every, int) else max(length_of(every, T, schedule), 1)
            return _call("ExponentialDecay", lr, decay_steps=steps, decay_rate=gamma, staircase=True)
        case InversePower(power=1.0, timescale=timescale):
            return _call("InverseTimeDecay", lr, decay_steps=timescale, decay_rate=1.0)
        case Held(schedule=InversePower(power=1.0, timescale=timescale), every=every):
            return _call("InverseTimeDecay", lr, decay_steps=every, decay_rate=1 / timescale, staircase=True)
        case Held(schedule=Exponential(gamma=gamma), every=every):
            return _say(Step(gamma, every=every), lr, T)
        case Warmup():
            return _say_warmup(shape, lr, T)
        case Repeat():
            return _say_repeat(shape, lr, T)
        case CosineRestarts(cycles=cycles, final=final) if cycles >= 1 and needed(T, schedule) % cycles == 0:
            first = max(int(needed(T, schedule) / cycles), 1)
            return _call("CosineDecayRestarts", lr, first_decay_steps=first, t_mul=1.0, alpha=final)
        case Within(schedule=inner) if T is not None and _inner(shape, T) >= T:
            return _say(inner, lr, _inner(shape, T))
        case MultiStep() | Piecewise() | Held() | Then() | Within():
            return _say_table(schedule, lr, T)
    raise DialectError(
        f"keras has no schedule that says {schedule!r}; "
        "ratelab.experiments.dialects.keras.schedule makes an object of it that keras takes"
    )


def _call(name: str, lr: float, **arguments: object) -> str:
    written = [f"{key}={digits(a) if isinstance(a, float) else a}" for key, a in arguments.items()]
    first = [] if name == "PiecewiseConstantDecay" else [f"initial_learning_rate={digits(float(lr))}"]
    return f"keras.optimizers.schedules.{name}({', '.join(first + written)})"


def _poly(start: float, end: float, steps: int, power: float = 1.0) -> str:
    return _call("PolynomialDecay", start, decay_steps=steps, end_learning_rate=float(end), power=power)


def _inner(schedule: Within, T: int) -> int:
    return length_of(schedule.length, T, schedule) - (schedule.end == "T-1")


def _say_warmup(schedule: Warmup, lr: float, T: int | None) -> str:
    """A ramp to a constant is a polynomial that rises; a linear one to a cosine is CosineDecay's own."""
    W = length_of(schedule.length, T, schedule)
    rest, left = schedule.schedule, None if T is None else T - W
    if not W:
        return _say(rest, lr, T)
    length = schedule.length if isinstance(schedule.length, int) else W
    peak = lr * first_of(rest, left)
    shape, N = window(rest, left)
    held = isinstance(shape, Constant) or (left is not None and left <= 0)
    power = {"linear": 1.0, "1-sqrt": 0.5}.get(schedule.shape)
    if power is not None and held:
        start, steps = lead(schedule.start, length, power)
        return _poly(start * peak, peak, steps, power) if steps else digits(peak)
    if power == 1 and not schedule.overlap and isinstance(shape, Cosine):
        start, steps = lead(schedule.start, length, power)
        if steps != W:
            raise DialectError(
                "keras reaches the peak when the warmup ends, not one update before; "
                "start='1/(W+1)' or a number can be said"
            )
        if (shape.cycles, shape.power, shape.warp) == (0.5, 1.0, 1.0):
            return _call(
                "CosineDecay",
                start * peak,
                decay_steps=steps_of(N, schedule),
                alpha=shape.final,
                warmup_target=lr,
                warmup_steps=W,
            )
    raise DialectError(f"keras warms up linearly, to a cosine or a constant: not {schedule!r}")


def _say_repeat(schedule: Repeat, lr: float, T: int | None) -> str:
    """keras: alpha + (1 - alpha) m_mul^i c; ours: floor + (decay^i - floor) (final + (1 - final) c)."""
    growth, decay, floor = schedule.growth, schedule.decay, schedule.floor
    period = schedule.period
    first = period if isinstance(period, int) else cycle_length(period, needed(T, schedule))
    exact = growth == int(growth) or (T is not None and _whole_cycles(first, growth, T))
    match schedule.schedule:
        case Cosine(cycles=0.5, power=1.0, warp=1.0, final=final) if exact:
            alpha = floor + (1 - floor) * final
            if decay == 1 or alpha == 0:
                return _call(
                    "CosineDecayRestarts",
                    lr,
                    first_decay_steps=first,
                    t_mul=growth,
                    m_mul=decay,
                    alpha=alpha,
                )
            raise DialectError("keras lowers its restarts above a fixed floor; give final=0.0, or decay=1.0")
    raise DialectError(f"keras repeats cosines of whole numbers of steps only: not {schedule!r}")


def _whole_cycles(first: int, growth: float, T: int) -> bool:
    done, length = 0.0, float(first)
    while done + length < T and length == int(length):
        done, length = done + length, length * growth
    return done + length >= T


def _say_table(schedule: Schedule, lr: float, T: int | None) -> str:
    """Values held for two updates or more on average; a boundary of ours is one less in keras."""
    turns, multiples = levels(schedule, T)
    if not isinstance(schedule, MultiStep | Piecewise) and (
        len(turns) > MAX_PIECES or 2 * len(multiples) > max(needed(T, schedule), 2)
    ):
        raise DialectError(f"keras joins no schedules, and {schedule!r} is no table of steps")
    values = [lr * multiple for multiple in multiples]
    if len(values) == 1:
        return digits(values[0])
    written = ", ".join(map(digits, values))
    return (
        f"keras.optimizers.schedules.PiecewiseConstantDecay(boundaries={[turn - 1 for turn in turns]}, "
        f"values=[{written}])"
    )


def _say_plateau(rule: ReduceLROnPlateau, lr: float) -> str:
    if rule.schedule != Constant():
        raise DialectError("keras' ReduceLROnPlateau takes no schedule beside it: the rate must be a number")
    if rule.threshold_mode == "rel" and rule.threshold:
        raise DialectError("keras' min_delta is absolute; a relative threshold cannot be said")
    if rule.eps:
        raise DialectError(f"keras' ReduceLROnPlateau has no eps: {rule.eps} cannot be said; set eps=0.0")
    monitor = {"min": "val_loss", "max": "val_accuracy"}[rule.mode]
    return (
        f"keras.callbacks.ReduceLROnPlateau(monitor={monitor!r}, factor={digits(rule.factor)}, "
        f"patience={rule.patience + 1}, mode={rule.mode!r}, min_delta={digits(rule.threshold)}, "
        f"cooldown={rule.cooldown + 1 if rule.cooldown else 0}, min_lr={digits(rule.low * lr)})"
    )


# -- driving ---------------------------------------------------------------------------------------


def schedule(schedule: Schedule, lr: float, horizon: int) -> Any:
    """A keras LearningRateSchedule: `keras.optimizers.SGD(learning_rate=schedule(Cosine(), 0.1, 1000))`.

    It looks each step's rate up in a table. From step T on the rate stays what the formula gives at t = T (0
    for `Linear()`), as keras' own schedules stay at their end, or the last rate where the formula does not
    reach T. get_config holds the notation, so that a saved optimizer loads again; a plain function is kept
    as the `Values` it gave.
    """
    try:
        parse(repr(schedule), "schedule")
    except ValueError:
        schedule = Values.of(multipliers(schedule, horizon))
    return _schedule_class()(repr(schedule), lr, horizon)


@cache
def _schedule_class() -> type:
    """The class, made when keras is there to derive it from."""
    import keras

    class RatelabSchedule(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]  # untyped here
        def __init__(self, schedule: str, lr: float, horizon: int) -> None:
            self.schedule, self.lr, self.horizon = schedule, lr, horizon
            self._rates = table(cast(Schedule, parse(schedule, "schedule")), lr, horizon)

        def __call__(self, step: Any) -> Any:
            rates = keras.ops.convert_to_tensor(self._rates, dtype=keras.config.floatx())
            return keras.ops.take(rates, keras.ops.clip(step, 0, self.horizon))

        def get_config(self) -> dict[str, Any]:
            return {"schedule": self.schedule, "lr": self.lr, "horizon": self.horizon}

    made: type = keras.saving.register_keras_serializable(package="ratelab")(RatelabSchedule)
    return made
