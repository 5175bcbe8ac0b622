"""optax: schedules are functions from the update's index to an absolute rate, defined for every index.

Read is the text of `optax.schedules`, or any function (a live optax schedule is an opaque closure), which is
sampled over the horizon. optax holds a schedule's end value for ever, counts a warmup as part of decay_steps,
and lets a boundary b act from update b on, as we do. It computes in float32.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

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
from ratelab.experiments.dialects._words import REQUIRED, bound, call, is_call, needed, number, whole
from ratelab.theory.combine import Clip, Cooldown, Held, Repeat, Scaled, Then, Warmup, Within
from ratelab.theory.cycles import CosineRestarts, CosineWave
from ratelab.theory.feedback import ReduceLROnPlateau
from ratelab.theory.schedules import (
    Constant,
    Cosine,
    Exponential,
    Geometric,
    Linear,
    MultiStep,
    Piecewise,
    Polynomial,
    Schedule,
    Step,
    WarmupStableDecay,
    closing,
    cycle_length,
    multipliers,
    updates,
)

MAX_PIECES: Final = 1000
_WARMUP: Final = {"init_value": REQUIRED, "peak_value": REQUIRED, "warmup_steps": REQUIRED}
_DECAY: Final = {"transition_begin": 0, "staircase": False, "end_value": None}
PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "constant_schedule": {"value": REQUIRED},
    "linear_schedule": {
        "init_value": REQUIRED,
        "end_value": REQUIRED,
        "transition_steps": REQUIRED,
        "transition_begin": 0,
    },
    "polynomial_schedule": {
        "init_value": REQUIRED,
        "end_value": REQUIRED,
        "power": REQUIRED,
        "transition_steps": REQUIRED,
        "transition_begin": 0,
    },
    "piecewise_constant_schedule": {"init_value": REQUIRED, "boundaries_and_scales": None},
    "piecewise_interpolate_schedule": {
        "interpolate_type": REQUIRED,
        "init_value": REQUIRED,
        "boundaries_and_scales": None,
    },
    "exponential_decay": {
        "init_value": REQUIRED,
        "transition_steps": REQUIRED,
        "decay_rate": REQUIRED,
        **_DECAY,
    },
    "cosine_decay_schedule": {
        "init_value": REQUIRED,
        "decay_steps": REQUIRED,
        "alpha": 0.0,
        "exponent": 1.0,
    },
    "linear_onecycle_schedule": {
        "transition_steps": REQUIRED,
        "peak_value": REQUIRED,
        "pct_start": 0.3,
        "pct_final": 0.85,
        "div_factor": 25.0,
        "final_div_factor": 1e4,
    },
    "cosine_onecycle_schedule": {
        "transition_steps": REQUIRED,
        "peak_value": REQUIRED,
        "pct_start": 0.3,
        "div_factor": 25.0,
        "final_div_factor": 1e4,
    },
    "warmup_constant_schedule": _WARMUP,
    "warmup_cosine_decay_schedule": {
        **_WARMUP,
        "decay_steps": REQUIRED,
        "end_value": 0.0,
        "exponent": 1.0,
    },
    "warmup_exponential_decay_schedule": {
        **_WARMUP,
        "transition_steps": REQUIRED,
        "decay_rate": REQUIRED,
        **_DECAY,
    },
    "join_schedules": {"schedules": REQUIRED, "boundaries": REQUIRED},
    "sgdr_schedule": {"cosine_kwargs": REQUIRED},
}
_PLATEAU: Final = {
    "factor": 0.1,
    "patience": 10,
    "rtol": 1e-4,
    "atol": 0.0,
    "cooldown": 0,
    "accumulation_size": 1,
    "min_scale": 0.0,
}


# -- reading ---------------------------------------------------------------------------------------


def read(source: object, *, lr: float | None = None, horizon: int | None = None) -> Training:
    """The text of a schedule, of `optax.contrib.reduce_on_plateau`, or of a chain of both; or a function.

    Rates are absolute: an lr beside them only becomes the unit of the multipliers (and of reduce_on_plateau,
    which holds none, the rate). A function is sampled over the horizon, as optax computes it, in float32,
    except our own `schedule(...)`, which knows what it says.
    """
    if isinstance(source, Lookup):
        return Training(source.lr, source.schedule, source.horizon)
    if isinstance(source, str):
        if (constant := plain(source)) is not None:
            return training(flat(constant), lr, horizon)
        return _read_call(*call(source), lr=lr, horizon=horizon)
    if not callable(source):
        raise DialectError(f"{source!r} is no optax schedule; give its text, or the function and a horizon")
    if horizon is None:
        raise DialectError(
            "an optax schedule is an opaque function; give the horizon over which to sample it"
        )
    return sampled(_sample(source, horizon), lr, f"sampled over {horizon} updates: an opaque function")


def _read_call(name: str, given: dict[str, Any], *, lr: float | None, horizon: int | None) -> Training:
    match name, given:
        case "reduce_on_plateau", _:
            return Training(1.0 if lr is None else lr, _plateau(given, Constant()), horizon)
        case "chain", {"0": ("scale_by_learning_rate", inner), "1": ("reduce_on_plateau", rule), **rest}:
            if not rest:
                inner = bound("scale_by_learning_rate", inner, {"learning_rate": REQUIRED})
                open_loop = training(_part(inner["learning_rate"]), lr, horizon)
                assert isinstance(open_loop.schedule, Schedule)
                return Training(open_loop.lr, _plateau(rule, open_loop.schedule), open_loop.horizon)
    notes: list[str] = []
    return training(_part((name, given), notes), lr, horizon, tuple(notes))


def _part(source: Any, notes: list[str] | None = None) -> Part:
    notes = [] if notes is None else notes
    if not is_call(source):
        return flat(rate("a schedule: it", source))
    name, given = source
    if name not in PARAMETERS:
        raise DialectError(f"{name} is not a schedule of optax that is read here: {', '.join(PARAMETERS)}")
    a = bound(name, given, PARAMETERS[name])
    match name:
        case "constant_schedule":
            return flat(rate(f"{name}: value", a["value"]))
        case "linear_schedule" | "polynomial_schedule":
            return _transition(name, a)
        case "piecewise_constant_schedule":
            return _constants(name, a)
        case "piecewise_interpolate_schedule":
            return _interpolated(
                name, a["interpolate_type"], rate(f"{name}: init_value", a["init_value"]), _scales(name, a)
            )
        case "linear_onecycle_schedule" | "cosine_onecycle_schedule":
            return _onecycle(name, a)
        case "exponential_decay":
            return _exponential(name, a)
        case "cosine_decay_schedule":
            start, steps = rate(f"{name}: init_value", a["init_value"]), _positive(name, "decay_steps", a)
            end = start * rate(f"{name}: alpha", a["alpha"])
            return cosine(start, end, steps, rate(f"{name}: exponent", a["exponent"]))
        case "join_schedules":
            return _join(name, [_part(each, notes) for each in a["schedules"]], a["boundaries"], notes)
        case "sgdr_schedule":
            cycles = [each[1] if isinstance(each, tuple) else each for each in a["cosine_kwargs"]]
            parts = [_part(("warmup_cosine_decay_schedule", each)) for each in cycles]
            turns = np.cumsum([each["decay_steps"] for each in cycles]).tolist()
            return _join(name, parts, turns[:-1], notes)
    return _warmed(name, a, notes)


def _transition(name: str, a: dict[str, Any]) -> Part:
    start, end = rate(f"{name}: init_value", a["init_value"]), rate(f"{name}: end_value", a["end_value"])
    steps = whole(f"{name}: transition_steps", a["transition_steps"])
    part = flat(start) if steps <= 0 else curve(start, end, steps, rate(f"{name}: power", a.get("power", 1)))
    return _delayed(part, start, whole(f"{name}: transition_begin", a["transition_begin"]))


def _delayed(part: Part, start: float, begin: int) -> Part:
    """`transition_begin`: the first value held for that many updates; optax takes a negative one for 0."""
    return part if begin <= 0 or part.schedule == Constant() else joined([flat(start), part], [begin])


def _exponential(name: str, a: dict[str, Any], start_key: str = "init_value") -> Part:
    start, gamma = rate(f"{name}: {start_key}", a[start_key]), rate(f"{name}: decay_rate", a["decay_rate"])
    every = number(f"{name}: transition_steps", a["transition_steps"])
    if every <= 0 or gamma == 0 or (start == 0 and a["end_value"] is None):
        return flat(start)
    shape: Schedule
    if a["staircase"]:
        shape = Step(gamma, every=whole(f"{name}: transition_steps", every))
    else:
        shape = Exponential(gamma ** (1 / every))
    part = _delayed(Part(start, shape), start, whole(f"{name}: transition_begin", a["transition_begin"]))
    if a["end_value"] is None:
        return part
    end = rate(f"{name}: end_value", a["end_value"])
    if start == 0 or (end >= start if gamma < 1 else end <= start):
        return flat(max(start, end) if gamma < 1 else min(start, end))
    bounds = {"low": end} if gamma < 1 else {"high": end}
    return Part(start, Clip(part.schedule, lr=start, **bounds))


def _constants(name: str, a: dict[str, Any]) -> Part:
    start = rate(f"{name}: init_value", a["init_value"])
    scales = sorted((max(b, 0), scale) for b, scale in _scales(name, a).items())
    if start == 0 or not scales:
        return flat(start)
    if len({scale for _, scale in scales}) == 1:
        return Part(start, MultiStep(tuple(b for b, _ in scales), scales[0][1]))
    values = np.cumprod([1.0, *(scale for _, scale in scales)]).tolist()
    return Part(start, Piecewise(tuple(b for b, _ in scales), tuple(values)))


def _interpolated(name: str, kind: object, start: float, scales: dict[int, float]) -> Part:
    """A chain of curves between the accumulated values; the last curve holds its end for ever."""
    if kind not in ("linear", "cosine"):
        raise DialectError(f"{name}: interpolate_type is {kind!r}; optax knows 'linear' and 'cosine'")
    if min(scales, default=0) < 0:
        raise DialectError(f"{name}: a boundary is {min(scales)}; give boundaries >= 0")
    parts: list[Part] = []
    begins: list[int] = []
    here, value = 0, start
    for boundary, scale in sorted(scales.items()):
        if boundary > here:
            between = curve if kind == "linear" else cosine
            parts.append(between(value, value * scale, boundary - here))
            begins.append(here)
        here, value = boundary, value * scale
    return joined(parts, begins[1:]) if parts else flat(value)


def _onecycle(name: str, a: dict[str, Any]) -> Part:
    steps, peak = _positive(name, "transition_steps", a), rate(f"{name}: peak_value", a["peak_value"])
    div, final = (_above_zero(name, key, a) for key in ("div_factor", "final_div_factor"))
    top = int(number(f"{name}: pct_start", a["pct_start"]) * steps)
    if name.startswith("cosine"):
        return _interpolated(name, "cosine", peak / div, {top: div, steps: 1 / (div * final)})
    middle = int(number(f"{name}: pct_final", a["pct_final"]) * steps)
    # two phases that end together: the later key replaces the earlier one, in optax as here
    return _interpolated(name, "linear", peak / div, {top: div, middle: 1 / div, steps: 1 / final})


def _warmed(name: str, a: dict[str, Any], notes: list[str]) -> Part:
    start, peak = rate(f"{name}: init_value", a["init_value"]), rate(f"{name}: peak_value", a["peak_value"])
    steps = whole(f"{name}: warmup_steps", a["warmup_steps"])
    if name == "warmup_constant_schedule":
        if steps <= 0 and start != peak:
            notes.append(f"without warmup steps optax stays at init_value = {start}, not at the peak")
        return flat(start) if steps <= 0 else curve(start, peak, steps)
    if steps < 0:
        raise DialectError(f"{name}: warmup_steps is {steps}; give 0 or more")
    if name == "warmup_cosine_decay_schedule":
        total = whole(f"{name}: decay_steps", a["decay_steps"])
        if total <= steps:
            raise DialectError(
                f"{name}: decay_steps is {total} and includes the {steps} warmup_steps: optax wants more"
            )
        notes.append(f"decay_steps = {total} includes the warmup: the cosine takes {total - steps} updates")
        end = rate(f"{name}: end_value", a["end_value"]) if peak else 0.0
        rest = cosine(peak, end, total - steps, rate(f"{name}: exponent", a["exponent"]))
    else:
        rest = _exponential(name, a, "peak_value")
    return joined([curve(start, peak, steps), rest], [steps]) if steps else rest


def _join(name: str, parts: Sequence[Part], boundaries: object, notes: list[str]) -> Part:
    """optax asks the boundaries one after the other, and the last one that is reached wins."""
    if not isinstance(boundaries, list | tuple) or not parts:
        raise DialectError(f"{name} takes a list of schedules and a list of boundaries")
    turns = [whole(f"{name}: a boundary", boundary) for boundary in boundaries]
    if min(turns, default=0) < 0:
        raise DialectError(f"{name}: a boundary is {min(turns)}; give boundaries >= 0")
    if len(parts) != len(turns) + 1:
        notes.append(f"{len(parts)} schedules and {len(turns)} boundaries: optax ignores what is left over")
    kept = [(0, parts[0])]
    for turn, part in zip(turns, parts[1:], strict=False):
        kept = [(begin, one) for begin, one in kept if begin < turn] + [(turn, part)]
    return joined([part for _, part in kept], [begin for begin, _ in kept[1:]])


def _plateau(given: dict[str, Any], schedule: Schedule) -> ReduceLROnPlateau:
    """optax counts to patience and reduces there, torch (and we) beyond it; its cooldown is torch's."""
    name = "reduce_on_plateau"
    a = bound(name, given, _PLATEAU)
    rtol, atol = rate(f"{name}: rtol", a["rtol"]), rate(f"{name}: atol", a["atol"])
    patience = whole(f"{name}: patience", a["patience"])
    if patience < 1:
        raise DialectError(f"{name}: patience {patience} reduces at every new best in optax; give 1 or more")
    if rtol and atol:
        raise DialectError(f"{name}: rtol and atol at once have no name in our terms; set one of them to 0")
    if a["accumulation_size"] != 1:
        raise DialectError(f"{name}: accumulation_size {a['accumulation_size']}: show the rule means instead")
    return ReduceLROnPlateau(
        factor=rate(f"{name}: factor", a["factor"]),
        patience=patience - 1,
        threshold=rtol or atol,
        threshold_mode="rel" if rtol else "abs",
        cooldown=whole(f"{name}: cooldown", a["cooldown"]),
        low=rate(f"{name}: min_scale", a["min_scale"]),
        eps=0.0,
        schedule=schedule,
    )


def _scales(name: str, a: dict[str, Any]) -> dict[int, float]:
    given = a["boundaries_and_scales"] or {}
    if not isinstance(given, dict):
        raise DialectError(f"{name}: boundaries_and_scales is {given!r}; write a dict, {{update: factor}}")
    return {
        whole(f"{name}: a boundary", boundary): rate(f"{name}: a scale", scale)
        for boundary, scale in given.items()
    }


def _positive(name: str, key: str, a: dict[str, Any]) -> int:
    if (steps := whole(f"{name}: {key}", a[key])) < 1:
        raise DialectError(f"{name}: {key} is {steps}; optax wants 1 or more")
    return steps


def _above_zero(name: str, key: str, a: dict[str, Any]) -> float:
    if not (found := number(f"{name}: {key}", a[key])) > 0:
        raise DialectError(f"{name}: {key} is {a[key]}; give a number > 0")
    return found


def _sample(function: Callable[..., Any], horizon: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The function at 0..T-1: traced once for all of them if it allows that, else one after the other."""
    import jax

    try:
        rates = jax.vmap(function)(jax.numpy.arange(horizon))
    except (TypeError, ValueError):  # it asks the index for its value, which a traced one does not have
        rates = [function(t) for t in range(horizon)]
    return np.asarray(rates, dtype=np.float64).reshape(horizon)


# -- writing ---------------------------------------------------------------------------------------


def write(training: Training) -> str:
    """The text of an optax schedule with the same rates for the horizon's updates; it holds its end after.

    A schedule that depends on the horizon needs one. DialectError names the part that optax has no words for;
    `schedule` turns that too into a function for optax.
    """
    if isinstance(training.schedule, ReduceLROnPlateau):
        return _say_plateau(training.schedule, training.lr, training.horizon)
    if not isinstance(training.schedule, Schedule):
        raise DialectError(f"optax has no rule that says {training.schedule!r}")
    return _say(training.schedule, training.lr, training.horizon)


def _say(schedule: Schedule, lr: float, T: int | None) -> str:
    shape, N = window(schedule, T)
    match shape:
        case Constant():
            return _call("constant_schedule", value=lr)
        case Scaled(schedule=inner, factor=factor):
            return _say(inner, lr * factor, T)
        case Linear(final=final):
            return _line(lr, lr * final, steps_of(N, schedule))
        case Polynomial(power=power, final=final):
            steps = steps_of(N, schedule)
            return _call(
                "polynomial_schedule",
                init_value=lr,
                end_value=lr * final,
                power=power,
                transition_steps=steps,
            )
        case Cosine(cycles=0.5, warp=1.0, final=final, power=power):
            exponent = {} if power == 1 else {"exponent": power}
            steps = steps_of(N, schedule)
            return _call("cosine_decay_schedule", init_value=lr, decay_steps=steps, alpha=final, **exponent)
        case Exponential() | Step() | Geometric() | Clip():
            return _say_exponential(schedule, lr, T)
        case MultiStep() | Piecewise():
            return _say_table(schedule, lr, T)
        case Warmup():
            return _say_warmup(shape, lr, T)
        case Cooldown():
            return _say_cooldown(shape, lr, needed(T, schedule))
        case WarmupStableDecay(warmup=warmup, cooldown=cooldown):
            horizon = needed(T, schedule)
            flat_top = Warmup(Constant(), length=length_of(warmup, horizon, schedule))
            return _say_cooldown(
                Cooldown(flat_top, length=cooldown, shape=shape.shape, final=shape.final), lr, horizon
            )
        case Then(first=first, second=second, at=at):
            m = length_of(at, T, schedule)
            m = m if T is None else min(m, T)
            if m and isinstance(first, Constant) and isinstance(second, Exponential | Step | Geometric):
                return _say_exponential(schedule, lr, T)
            return _join_text([(first, m), (second, None if T is None else T - m)], lr)
        case Within():
            return _say_within(shape, lr, T)
        case Repeat() | CosineRestarts() | CosineWave():
            return _join_text(_cycles(schedule, needed(T, schedule)), lr)
        case Held(schedule=Exponential(gamma=gamma), every=every):
            return _say(Step(gamma, every=every), lr, T)
        case Held():
            return _say_table(schedule, lr, T)
    raise DialectError(
        f"optax has no schedule that says {schedule!r}; "
        "ratelab.experiments.dialects.optax.schedule makes a function of it that optax takes"
    )


def _call(name: str, **arguments: object) -> str:
    written = (
        f"{key}={digits(given) if isinstance(given, float) else given}" for key, given in arguments.items()
    )
    return f"optax.{name}({', '.join(written)})"


def _line(start: float, end: float, steps: int, begin: int = 0) -> str:
    delay = {"transition_begin": begin} if begin else {}
    return _call(
        "linear_schedule", init_value=float(start), end_value=float(end), transition_steps=steps, **delay
    )


def _join_text(pieces: Sequence[tuple[Schedule, int | None]], lr: float) -> str:
    """Schedules one after the other, each on its horizon, as one `join_schedules`; empty ones left out."""
    kept = [(one, length) for one, length in pieces if length is None or length > 0] or [(Constant(), None)]
    texts = [_say(one, lr, length) for one, length in kept]
    turns = np.cumsum([length for _, length in kept[:-1] if length is not None], dtype=np.int64).tolist()
    return texts[0] if len(texts) == 1 else _join_texts(texts, turns)


def _join_texts(texts: Sequence[str], turns: Sequence[int]) -> str:
    return f"optax.join_schedules([{', '.join(texts)}], {list(turns)})"


def _say_exponential(schedule: Schedule, lr: float, T: int | None) -> str:
    """What `exponential_decay` can hold: a delay, a decay, smooth or in steps, and one bound."""
    inner, bounds, begin = schedule, {}, {}
    if isinstance(inner, Clip):
        low, high, inner = inner.low / inner.lr, inner.high / inner.lr, inner.schedule
        first, grows = first_of(inner, T), _growth(inner, T)
        inert, end = (high >= first, low) if grows is None or grows < 1 else (low <= first, high)
        if grows is None or not inert or (grows < 1 and low > first) or (grows >= 1 and high < first):
            raise DialectError(f"optax bounds exponential decays only, and on one side: not {schedule!r}")
        bounds = {"end_value": float(lr * end)}
    if isinstance(inner, Then):
        begin = {"transition_begin": length_of(inner.at, T, schedule)}
        inner, T = inner.second, None if T is None else T - begin["transition_begin"]
    match inner:
        case Exponential(gamma=gamma):
            steps, staircase = 1, {}
        case Step(gamma=gamma, every=every):
            steps, staircase = length_of(every, T, schedule), {"staircase": True}
            steps = every if isinstance(every, int) else max(steps, 1)
        case Geometric(final=gamma):
            steps, staircase = steps_of(T, schedule), {}
        case _:
            raise DialectError(f"optax bounds exponential decays only, not {schedule!r}")
    if gamma == 0:  # which optax takes for "no decay"
        turn = begin.get("transition_begin", 0) + steps
        return _call("piecewise_constant_schedule", init_value=lr, boundaries_and_scales={turn: 0.0})
    return _call(
        "exponential_decay",
        init_value=lr,
        transition_steps=steps,
        decay_rate=gamma,
        **begin,
        **staircase,
        **bounds,
    )


def _growth(schedule: Schedule, T: int | None) -> float | None:
    match schedule:
        case Then(first=Constant(), second=second) if not isinstance(second, Then):
            return _growth(second, T)
        case Exponential(gamma=gamma) | Step(gamma=gamma) | Geometric(final=gamma):
            return gamma or None
    return None


def _say_table(schedule: Schedule, lr: float, T: int | None) -> str:
    """Values held for a while. A scale cannot lead away from 0, so then constants are joined."""
    turns, multiples = levels(schedule, T)
    values = [lr * multiple for multiple in multiples]
    if len(values) > MAX_PIECES:
        raise DialectError(f"{schedule!r} takes {len(values)} values; optax would need them one by one")
    if len(values) == 1:
        return _call("constant_schedule", value=values[0])
    if 0 in values[:-1]:
        return _join_texts([_call("constant_schedule", value=value) for value in values], turns)
    pairs = zip(turns, values, values[1:], strict=False)
    return _scaled_text("constant", values[0], {turn: new / old for turn, old, new in pairs})


def _scaled_text(kind: str, start: float, scales: dict[int, float]) -> str:
    written = ", ".join(f"{turn}: {digits(scale)}" for turn, scale in scales.items())
    arguments = f"init_value={digits(start)}, boundaries_and_scales={{{written}}}"
    if kind == "constant":
        return f"optax.piecewise_constant_schedule({arguments})"
    return f"optax.piecewise_interpolate_schedule('{kind}', {arguments})"


def _say_warmup(schedule: Warmup, lr: float, T: int | None) -> str:
    W = length_of(schedule.length, T, schedule)
    rest, left = schedule.schedule, None if T is None else T - W
    if not W:
        return _say(rest, lr, T)
    if schedule.overlap and not isinstance(rest, Constant):
        raise DialectError(
            f"optax joins schedules, and restarts their clock there: no overlap in {schedule!r}"
        )
    length = schedule.length if isinstance(schedule.length, int) else W
    peak = lr * first_of(rest, left)
    ramp, start, steps = _ramp(schedule, peak, length)
    if left is not None and left <= 0:
        return ramp
    shape, N = window(rest, left)
    if schedule.shape == "linear" and steps == W:
        match shape:
            case Constant():
                return _call("warmup_constant_schedule", init_value=start, peak_value=peak, warmup_steps=W)
            case Cosine(cycles=0.5, warp=1.0, final=final, power=power):
                exponent = {} if power == 1 else {"exponent": power}
                return _call(
                    "warmup_cosine_decay_schedule",
                    init_value=start,
                    peak_value=lr,
                    warmup_steps=W,
                    decay_steps=W + steps_of(N, schedule),
                    end_value=float(lr * final),
                    **exponent,
                )
    return _join_texts([ramp, _say(rest, lr, left)], [W])


def _ramp(schedule: Warmup, peak: float, W: int) -> tuple[str, float, int]:
    """The ramp of a warmup to `peak`, its first rate, and over how many transitions it goes."""
    begin = schedule.start
    match schedule.shape:
        case "linear" | "1-sqrt":
            power = 1.0 if schedule.shape == "linear" else 0.5
            first, steps = lead(begin, W, power)
            start = float(first * peak)
            if steps == 0 or start == peak:
                return _call("constant_schedule", value=peak), peak, steps
            if schedule.shape == "linear":
                return _line(start, peak, steps), start, steps
            return (
                _call(
                    "polynomial_schedule",
                    init_value=start,
                    end_value=peak,
                    power=0.5,
                    transition_steps=steps,
                ),
                start,
                steps,
            )
        case shape if isinstance(begin, str) or begin == 0:
            raise DialectError(f"optax has no {shape} rise from 0; give the warmup a start above 0")
        case "cosine":
            start = float(begin * peak)
            return _scaled_text("cosine", start, {W: 1 / begin}), start, W
        case _:
            start = float(begin * peak)
            text = _call("exponential_decay", init_value=start, transition_steps=W, decay_rate=1 / begin)
            return text, start, W


def _say_cooldown(schedule: Cooldown, lr: float, T: int) -> str:
    C = updates(schedule.length, T)
    if C == 0:
        return _say(schedule.schedule, lr, T)

    def inside(rest: Schedule) -> Cooldown:
        return Cooldown(rest, length=C, shape=schedule.shape, final=schedule.final)

    match schedule.schedule:
        case Scaled(schedule=inner, factor=factor):
            return _say_cooldown(inside(inner), lr * factor, T)
        case Warmup(length=length) as warm if length_of(length, T, warm) + C <= T:
            W = length_of(length, T, warm)
            cooled = Warmup(
                inside(warm.schedule), length=W, start=warm.start, shape=warm.shape, overlap=warm.overlap
            )
            return _say_warmup(cooled, lr, T)
        case Then(first=first, second=second, at=at) if T - updates(at, T) >= C:
            return _say(Then(first, inside(second), at=updates(at, T)), lr, T)
        case Constant():
            begin = T - C
            match schedule.shape:
                case "linear":
                    return _line(lr, lr * schedule.final, C, begin)
                case "cosine":
                    return _join_text([(Constant(), begin), (Cosine(schedule.final), C)], lr)
                case "exponential":
                    return _say(Then(Constant(), Geometric(schedule.final), at=begin), lr, T)
            raise DialectError(f"optax has no cooldown of the shape {schedule.shape!r}")
    raise DialectError(f"optax multiplies no schedules: a cooldown of {schedule.schedule!r} cannot be said")


def _say_within(schedule: Within, lr: float, T: int | None) -> str:
    inner, N = schedule.schedule, length_of(schedule.length, T, schedule) - (schedule.end == "T-1")
    if T is not None and (T <= N or schedule.beyond == "error"):
        multipliers(schedule, T)  # which refuses a horizon beyond the end
        return _say(inner, lr, N)
    end = Scaled(Constant(), factor=closing(inner, max(N, 0)))
    return _join_text([(inner, N), (end, None if T is None else T - N)], lr)


def _cycles(schedule: Schedule, T: int) -> list[tuple[Schedule, int]]:
    """A cyclic schedule cut into its cycles, each with its horizon; the last one may be cut short by T."""
    pieces: list[tuple[Schedule, int]] = []
    done = index = 0
    while done < T:
        if len(pieces) == MAX_PIECES:
            raise DialectError(f"{schedule!r} has more than {MAX_PIECES} cycles; optax would join them all")
        match schedule:
            case Repeat(schedule=inner):
                floor, height = schedule.floor, schedule.decay**index
                length = int(np.floor(cycle_length(schedule.period, T) * schedule.growth**index + 1e-9))
                piece = _lifted(inner, floor, height) if floor else Scaled(inner, factor=height)
            case CosineRestarts(cycles=cycles, final=final):
                if cycles < 1 or T % cycles:
                    raise DialectError(f"{schedule!r}: {cycles} cycles do not divide {T} updates")
                piece, length = Cosine(final), int(T / cycles)
            case CosineWave(half_period=length, final=final):
                if index % 2 and not final:
                    raise DialectError(f"optax has no cosine rise from 0: {schedule!r} past {length} updates")
                piece = Scaled(Cosine(1 / final), factor=final) if index % 2 else Cosine(final)
        pieces.append((piece, length))
        done, index = done + length, index + 1
    return pieces


def _lifted(inner: Schedule, floor: float, height: float) -> Schedule:
    """floor + (height - floor) * inner, for a shape with a floor of its own."""
    match inner:
        case Cosine(cycles=0.5, warp=1.0, final=final, power=power) if height >= floor:
            low = floor + (height - floor) * final
            return Scaled(Cosine(low / height, power=power), factor=height) if height else Cosine(0.0)
        case Linear(final=final) if height >= floor:
            low = floor + (height - floor) * final
            return Scaled(Linear(low / height), factor=height) if height else Linear(0.0)
    raise DialectError(f"optax cannot lift the cycles of {inner!r} to a floor of {floor}")


def _say_plateau(rule: ReduceLROnPlateau, lr: float, T: int | None) -> str:
    if rule.mode != "min":
        raise DialectError("optax's reduce_on_plateau watches a loss; show it minus the metric, mode='min'")
    if rule.eps:
        raise DialectError(f"optax's reduce_on_plateau has no eps: {rule.eps} cannot be said; set eps=0.0")
    if not rule.threshold:
        raise DialectError("optax's reduce_on_plateau wants a threshold above 0")
    tolerance = {"rtol": rule.threshold if rule.threshold_mode == "rel" else 0.0}
    plateau = _call(
        "contrib.reduce_on_plateau",
        factor=rule.factor,
        patience=rule.patience + 1,
        **tolerance,
        atol=rule.threshold if rule.threshold_mode == "abs" else 0.0,
        cooldown=rule.cooldown,
        min_scale=rule.low,
    )
    rates = digits(lr) if rule.schedule == Constant() else _say(rule.schedule, lr, T)
    return f"optax.chain(optax.scale_by_learning_rate({rates}), {plateau})"


# -- driving ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lookup:
    """Any schedule of ours as optax takes one: `optax.sgd(learning_rate=schedule(Cosine(), 0.1, 1000))`.

    A call with an update's index, traced or not, looks the rate up in a table. A traced index cannot raise:
    from T on, the rate stays what the formula gives at t = T (0 for `Linear()`), as optax's own schedules
    stay at their end, or the last rate where the formula does not reach T; before 0 it is the first.
    """

    schedule: Schedule
    lr: float
    horizon: int
    _rates: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_rates", table(self.schedule, self.lr, self.horizon))

    @cached_property
    def _table(self) -> Any:
        import jax

        with jax.ensure_compile_time_eval():  # even when the first call is traced, the table is an array
            return jax.numpy.asarray(self._rates)

    def __call__(self, count: Any) -> Any:
        import jax.numpy as jnp

        return self._table[jnp.clip(count, 0, self.horizon)]


def schedule(schedule: Schedule, lr: float, horizon: int) -> Lookup:
    """The function to give to optax as a learning rate; see `Lookup`."""
    return Lookup(schedule, lr, horizon)
