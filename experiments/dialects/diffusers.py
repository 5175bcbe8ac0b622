"""diffusers' schedules: `get_scheduler`, its functions and live schedulers.

What diffusers shares with transformers has the same formulas, at every t: see `dialect_transformers`. Its
own:

- piecewise_constant, with step_rules such as "1:10,0.1:20,0.005": the multiplier is 1 before t = 10, 0.1
  before t = 20 and then 0.005. The steps are counted from the beginning of the training.
- get_linear_schedule_with_warmup falls from f_max to f_min, both ratios of the lr.
- get_scheduler ignores num_cycles for a cosine and has no lr_end; the functions themselves take them.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from ratelab.experiments.dialects import DialectError, Training, transformers
from ratelab.experiments.dialects._words import REQUIRED, bound, call, needed, number, whole
from ratelab.experiments.dialects.transformers import PEERS, Named, text
from ratelab.theory.combine import Scaled, Then
from ratelab.theory.schedules import Constant, MultiStep, Piecewise, Schedule, Step

MAX_RULES: Final = 1000
_LAST: Final[Mapping[str, Any]] = {"last_epoch": -1}
GET_SCHEDULER: Final[Mapping[str, Any]] = {
    "name": REQUIRED,
    "optimizer": None,
    "step_rules": None,
    "num_warmup_steps": None,
    "num_training_steps": None,
    "num_cycles": 1,
    "power": 1.0,
    **_LAST,
}
_SHARED: Final = ("cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup")
PARAMETERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "linear": {**PEERS["linear"].parameters, "f_min": 0.0, "f_max": 1.0},
    **{key: PEERS[key].parameters for key in _SHARED},
    "piecewise_constant": {"step_rules": REQUIRED, **_LAST},
}
_FUNCTIONS: Final[Mapping[str, str]] = {
    **{key: PEERS[key].function for key in ("linear", *_SHARED)},
    "piecewise_constant": "get_piecewise_constant_schedule",
}
_USED: Final[Mapping[str, tuple[str, ...]]] = {  # what get_scheduler passes on
    "constant": (),
    "constant_with_warmup": ("num_warmup_steps",),
    "piecewise_constant": ("step_rules",),
    "linear": ("num_warmup_steps", "num_training_steps"),
    "cosine": ("num_warmup_steps", "num_training_steps"),
    "cosine_with_restarts": ("num_warmup_steps", "num_training_steps", "num_cycles"),
    "polynomial": ("num_warmup_steps", "num_training_steps", "power"),
}


def read(
    source: object, *, lr: float | None = None, horizon: int | None = None, group: int | None = None
) -> Training:
    """What `source` says: a call of get_scheduler or of one of diffusers' schedule functions, or a live
    scheduler; everything as in `dialect_transformers.read`.

    >>> read('get_scheduler("piecewise_constant", optimizer, step_rules="1:10,0.1:20,0.01")').schedule
    Piecewise(boundaries=(10, 20), values=(1.0, 0.1, 0.01))
    """
    if not isinstance(source, str):
        return transformers.live(source, _recognised, _built, lr, horizon, group)
    name, given = call(source)
    if name != "get_scheduler":
        key = transformers.function_of(name, _FUNCTIONS)
        a = bound(name, given, {"optimizer": None, **PARAMETERS[key]})
        return _built(key, a, transformers.lr_of(a, lr), horizon)
    a = bound(name, given, GET_SCHEDULER)
    key = transformers.key_of(a["name"], PARAMETERS, "diffusers")
    N = transformers.updates_in(a["num_training_steps"], horizon)
    passed = {entry: N if entry == "num_training_steps" else a[entry] for entry in _USED[key]}
    if passed.get("num_warmup_steps", 0) is None:
        raise DialectError(f"{key} needs num_warmup_steps; write it, 0 for none")
    lost = [
        entry
        for entry in ("step_rules", "num_warmup_steps", "num_cycles", "power")
        if entry not in passed and a[entry] not in (GET_SCHEDULER[entry], 0)
    ]
    notes = (f"diffusers ignores {', '.join(lost)} with {key}",) if lost else ()
    arguments = bound(key, {**passed, "last_epoch": a["last_epoch"]}, PARAMETERS[key])
    training = _built(key, arguments, transformers.lr_of(a, lr), N)
    return replace(training, notes=(*notes, *training.notes))


def _built(key: str, a: Mapping[str, Any], lr: float | None, horizon: int | None) -> Training:
    if key == "piecewise_constant":
        plain = transformers.built("constant", a, lr, horizon)
        return replace(plain, schedule=_piecewise(a["step_rules"]))
    training = transformers.built(key, a, lr, horizon)
    if key != "linear":
        return training
    low, high = number("f_min", a["f_min"]), number("f_max", a["f_max"])
    if not high > 0:
        raise DialectError(f"f_max is {high!r}; write one above 0, or lower the lr")
    W, N = whole("num_warmup_steps", a["num_warmup_steps"], least=0), training.horizon
    line = transformers.linear(W, 0 if N is None else N, low / high)
    return replace(training, schedule=line if high == 1 else Scaled(line, high))


def _piecewise(rules: object) -> Piecewise:
    """ "1:10,0.1:20,0.005": of two rules with the same step the last one counts."""
    if not isinstance(rules, str):
        raise DialectError(
            f'step_rules is {rules!r}, which diffusers cannot split; write "1:10,0.1:20,0.005"'
        )
    try:
        *pairs, last = rules.split(",")
        values = {int(step): float(factor) for factor, step in (pair.split(":") for pair in pairs)}
        steps = tuple(sorted(step for step in values if step > 0))
        return Piecewise(steps, values=(*(values[step] for step in steps), float(last)))
    except ValueError as error:
        raise DialectError(f'step_rules is {rules!r} ({error}); write "1:10,0.1:20,0.005"') from None


def _recognised(function: Any) -> tuple[Named, float | None] | None:
    """A function of diffusers' own, by the function that made it; its arguments are what it encloses."""
    maker = getattr(function, "__qualname__", "").partition(".")[0]
    keys = {made_by: key for key, made_by in _FUNCTIONS.items()}
    if not getattr(function, "__module__", "").startswith("diffusers.") or maker not in keys:
        return None
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    a = {name: cell.cell_contents for name, cell in cells}
    unit = a.pop("lr_init", None)
    if "rules_dict" in a:
        rules = [f"{factor!r}:{step}" for step, factor in a.pop("rules_dict").items()]
        a = {"step_rules": ",".join([*rules, repr(a.pop("last_lr_multiple"))])}
    return (keys[maker], bound(maker, a, PARAMETERS[keys[maker]])), unit


def write(training: Training) -> str:
    """A call of get_scheduler, or of a schedule function where get_scheduler does not take the argument, with
    the rates of `training`, for its horizon, or for ever if it has none. DialectError otherwise.

    >>> write(Training(0.1, Piecewise((10, 20), values=(1.0, 0.1, 0.01))))
    'get_scheduler("piecewise_constant", optimizer, step_rules="1.0:10,0.1:20,0.01")  # the lr is 0.1'
    """
    schedule, lr = training.schedule, training.lr
    match schedule:
        case Piecewise() | MultiStep() | Step():
            rules = _rules(schedule, training.horizon)
            return text("get_scheduler", lr, "piecewise_constant", step_rules=rules)
        case Then(first=Constant(), second=Scaled(schedule=Constant(), factor=final), at=int(turn)):
            return write(replace(training, schedule=Piecewise((turn,), values=(1.0, final))))
        case Scaled(schedule=line, factor=high) if high > 0:
            key, a = transformers.said(Training(1.0, line, training.horizon))
            if key == "polynomial" and "power" not in a:
                key, a["f_min"] = "linear", a.pop("lr_end", 1e-7) * high
            if key != "linear":
                raise DialectError(f"diffusers scales a line, not {line!r}: multiply the lr by {high!r}")
            return text(_FUNCTIONS[key], lr, **a, f_max=high)
    try:
        key, a = transformers.said(training)
    except DialectError as error:
        raise DialectError(f"diffusers says no more of it than transformers: {error}") from None
    if key not in PARAMETERS:
        raise DialectError(
            f"diffusers has no {key}, as transformers calls {schedule!r}; it has {', '.join(PARAMETERS)}"
        )
    if set(a) <= set(_USED[key]):
        return text("get_scheduler", lr, key, **a)
    return text(_FUNCTIONS[key], lr, **a)


def _rules(schedule: Schedule, T: int | None) -> str:
    """A staircase as step_rules."""
    match schedule:
        case Piecewise(boundaries=turns) | MultiStep(milestones=turns) if T is None and all(
            isinstance(turn, int) for turn in turns
        ):
            T = int(max(turns, default=0)) + 1
    s = schedule(max(needed(T, schedule), 1))
    ends = (np.flatnonzero(np.diff(s)) + 1).tolist()
    if len(ends) > MAX_RULES:
        raise DialectError(f"{schedule!r} has {len(ends)} steps; at most {MAX_RULES} are written as rules")
    pairs = [f"{float(s[end - 1])!r}:{end}" for end in ends]
    return ",".join([*pairs, repr(float(s[-1]))])
