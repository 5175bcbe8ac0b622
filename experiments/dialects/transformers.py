"""transformers' schedules: `get_scheduler`, its functions, `TrainingArguments` and live schedulers.

The formulas are those of transformers 5, at every t, also after the training's end. With W = num_warmup_steps
and N = num_training_steps, which includes the warmup:

- The warmup is t/W, so that the first update moves nothing: `Warmup(..., start=0.0)` here. Only
  cosine_warmup_with_min_lr starts at 1/W or at warmup_lr_rate, and warmup_stable_decay at min_lr_ratio.
- A decay runs over N - W updates and is over at t = N, one step after the last; only the one of
  cosine_warmup_with_min_lr is over one update earlier.
- After N, linear, polynomial, cosine_with_restarts and warmup_stable_decay hold the value reached; the other
  cosines rise again.
- lr_end, min_lr, max_lr and eps are absolute rates, ratios of the lr here.

A warmup as long as the training or longer is read as it would run there.
"""

import functools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np

from ratelab.experiments.dialects import DialectError, Training
from ratelab.experiments.dialects._words import (
    NO_LR,
    REQUIRED,
    bound,
    call,
    check_group,
    needed,
    number,
    refuse_lr,
    rounded,
    whole,
)
from ratelab.theory.combine import Cooldown, Repeat, Scaled, Then, Warmup, Within
from ratelab.theory.cycles import CosineRestarts, CosineWave
from ratelab.theory.feedback import Feedback, GreedyLR, ReduceLROnPlateau
from ratelab.theory.reading import Word, nearest
from ratelab.theory.sampled import Values
from ratelab.theory.schedules import (
    Constant,
    Cosine,
    InversePower,
    Linear,
    Polynomial,
    Schedule,
    WarmupStableDecay,
    updates,
)

Named: TypeAlias = tuple[str, dict[str, Any]]  # what transformers calls a schedule, and its arguments
Notes: TypeAlias = tuple[str, ...]
Ramp: TypeAlias = Literal["linear", "cosine", "1-sqrt"]

_RAMPS: Final[tuple[Ramp, ...]] = ("linear", "cosine", "1-sqrt")
_FROM_ZERO: Final = "the warmup starts at 0: the first update moves nothing"
_RISES: Final = "after num_training_steps the rate rises again"


# -- the shapes, their arguments named as transformers names them ----------------------------------


def linear(num_warmup_steps: int, num_training_steps: int, final: float = 0.0) -> Schedule:
    """t/W, then down to `final` (0 in transformers, f_min in diffusers), which is held."""
    W, N = num_warmup_steps, num_training_steps
    return Within(_warmed(Linear(final), W), N) if W < N else _cut(W, final, at=W)


def cosine(
    num_warmup_steps: int, num_training_steps: int, num_cycles: float, min_lr_rate: float = 0.0
) -> Schedule:
    """t/W, then `num_cycles` waves until N, and on and on."""
    return _warmed(_wave(num_warmup_steps, num_training_steps, num_cycles, min_lr_rate), num_warmup_steps)


def restarts(num_warmup_steps: int, num_training_steps: int, num_cycles: float) -> Schedule:
    """t/W, then `num_cycles` falling half waves until N, then 0."""
    W, N = num_warmup_steps, num_training_steps
    if W >= N:
        return _cut(W, 0.0, at=W + 1)
    if num_cycles == 0:
        return _cut(W, 0.0, at=N)
    return Within(_warmed(CosineRestarts(num_cycles), W), N)


def polynomial(num_warmup_steps: int, num_training_steps: int, power: float, final: float) -> Schedule:
    """t/W, then down to `final`, which is held. For W = N the peer divides 0 by 0 at t = N, and so the
    schedule ends there.
    """
    W, N = num_warmup_steps, num_training_steps
    if W > N:
        return _cut(W, final, at=W)
    if W == N:
        return Within(_warmed(Constant(), W), N, beyond="error")
    return Within(_warmed(Polynomial(power, final), W), N) if power else _cut(W, final, at=N + 1)


def cosine_one_early(
    num_warmup_steps: int,
    num_training_steps: int,
    num_cycles: float,
    min_lr_rate: float,
    warmup_lr_rate: float | None,
) -> Schedule:
    """(t + 1)/W, or a line from warmup_lr_rate to 1 at t = W - 1, where the wave begins; for W = 0 it begins
    before the first update, and is kept as values, for N updates.
    """
    W, N = num_warmup_steps, num_training_steps
    if W == 0:
        p = np.arange(1, max(N, 1) + 1) / max(N, 1)
        return Values.of(Cosine(final=min_lr_rate, cycles=abs(num_cycles)).curve(p))
    wave = _wave(W, N, num_cycles, min_lr_rate, laps=2)
    if warmup_lr_rate is None:
        return Warmup(wave, W - 1, start="1/(W+1)") if W > 1 else wave
    return Warmup(wave, max(W - 1, 1), start=warmup_lr_rate, overlap=W == 1)


def stable_decay(
    num_warmup_steps: int,
    num_stable_steps: int,
    num_decay_steps: int,
    warmup_type: str,
    decay_type: str,
    min_lr_ratio: float,
    num_cycles: float,
) -> Schedule:
    """From min_lr_ratio up to 1 and down to min_lr_ratio, which is held. Where num_stable_steps < 0, the
    decay is under way when the warmup ends; that part is kept as values.
    """
    W, S, C, low = num_warmup_steps, num_stable_steps, num_decay_steps, min_lr_ratio
    rise, fall = _ramp("warmup_type", warmup_type), _ramp("decay_type", decay_type)
    up = Warmup(Constant(), W, start=low, shape=rise) if W else Constant()
    held, end = Scaled(Constant(), low), W + S + C
    if C == 0 or end <= W:
        return Then(up, held, at=max(end, W))
    if S < 0:
        whole_decay = stable_decay(0, 0, C, "linear", fall, low, num_cycles)
        return Then(Values.of(np.concatenate([up(W), whole_decay(C)[-S:]])), held, at=end)
    if fall == "cosine" and num_cycles != 0.5:
        wave = Within(Cosine(final=low, cycles=abs(num_cycles)), C)
        return Then(Then(up, wave, at=W + S), held, at=end)
    return Within(Cooldown(up, C, shape=fall, final=low), end)


def _warmed(schedule: Schedule, W: int) -> Schedule:
    return Warmup(schedule, W, start=0.0) if W else schedule


def _cut(W: int, final: float, at: int) -> Schedule:
    """A warmup, and `final` from `at` on."""
    return Then(_warmed(Constant(), W), Scaled(Constant(), final), at=at)


def _wave(W: int, N: int, cycles: float, final: float, laps: int = 1) -> Schedule:
    """The cosine after the warmup, for ever where it comes back to 1 at some update; else for `laps` times
    N - W updates.
    """
    length, cycles = max(1, N - W), abs(cycles)
    if cycles == 0:
        return Constant()
    half, waves = length / (2 * cycles), Fraction(cycles).limit_denominator(100)
    if half.is_integer():
        return CosineWave(int(half), final=final)
    if float(waves) == cycles:
        return Repeat(Cosine(final=final, cycles=float(waves.numerator)), waves.denominator * length)
    return Within(Cosine(final=final, cycles=laps * cycles), laps * length, beyond="error")


def _ramp(argument: str, given: object) -> Ramp:
    for known in _RAMPS:
        if given == known:
            return known
    raise DialectError(f"{argument} is {given!r}; transformers knows {', '.join(_RAMPS)}")


# -- what transformers calls them ------------------------------------------------------------------


class _Peer(NamedTuple):
    function: str
    parameters: Mapping[str, Any]  # of the function, after the optimizer, in order
    closure: str = ""  # the function that its LambdaLR holds


_GET_SCHEDULER: Final[Mapping[str, Any]] = {
    "name": REQUIRED,
    "optimizer": None,
    "num_warmup_steps": None,
    "num_training_steps": None,
    "scheduler_specific_kwargs": None,
}
_LAST: Final[Mapping[str, Any]] = {"last_epoch": -1}
_W: Final[Mapping[str, Any]] = {"num_warmup_steps": REQUIRED}
_WN: Final[Mapping[str, Any]] = {**_W, "num_training_steps": REQUIRED}
_MIN_LR: Final[Mapping[str, Any]] = {**_WN, "num_cycles": 0.5, **_LAST, "min_lr": None, "min_lr_rate": None}
_WSD: Final[Mapping[str, Any]] = {
    **_W,
    "num_decay_steps": REQUIRED,
    "num_training_steps": None,
    "num_stable_steps": None,
    "warmup_type": "linear",
    "decay_type": "cosine",
    "min_lr_ratio": 0.0,
    "num_cycles": 0.5,
    **_LAST,
}
_PLATEAU: Final[Mapping[str, Any]] = {
    "mode": "min",
    "factor": 0.1,
    "patience": 10,
    "threshold": 1e-4,
    "threshold_mode": "rel",
    "cooldown": 0,
    "min_lr": 0.0,
    "eps": 1e-8,
}
_GREEDY: Final[Mapping[str, Any]] = {
    "mode": "min",
    "factor": 0.95,
    "patience": 10,
    "threshold": 1e-6,
    "threshold_mode": "abs",
    "cooldown": 0,
    "warmup": 0,
    "min_lr": 1e-3,
    "max_lr": 1.0,
    "eps": 1e-8,
    "verbose": False,
    "smooth": False,
    "window_size": 50,
    "reset_start": 500,
}
PEERS: Final[Mapping[str, _Peer]] = {
    "linear": _Peer(
        "get_linear_schedule_with_warmup",
        {**_WN, **_LAST},
        "_get_linear_schedule_with_warmup_lr_lambda",
    ),
    "cosine": _Peer(
        "get_cosine_schedule_with_warmup",
        {**_WN, "num_cycles": 0.5, **_LAST},
        "_get_cosine_schedule_with_warmup_lr_lambda",
    ),
    "cosine_with_restarts": _Peer(
        "get_cosine_with_hard_restarts_schedule_with_warmup",
        {**_WN, "num_cycles": 1, **_LAST},
        "_get_cosine_with_hard_restarts_schedule_with_warmup_lr_lambda",
    ),
    "polynomial": _Peer(
        "get_polynomial_decay_schedule_with_warmup",
        {**_WN, "lr_end": 1e-7, "power": 1.0, **_LAST},
        "_get_polynomial_decay_schedule_with_warmup_lr_lambda",
    ),
    "constant": _Peer("get_constant_schedule", _LAST, "_get_constant_lambda"),
    "constant_with_warmup": _Peer(
        "get_constant_schedule_with_warmup",
        {**_W, **_LAST},
        "_get_constant_schedule_with_warmup_lr_lambda",
    ),
    "inverse_sqrt": _Peer(
        "get_inverse_sqrt_schedule",
        {**_W, "timescale": None, **_LAST},
        "_get_inverse_sqrt_schedule_lr_lambda",
    ),
    "reduce_lr_on_plateau": _Peer("get_reduce_on_plateau_schedule", _PLATEAU),
    "cosine_with_min_lr": _Peer("get_cosine_with_min_lr_schedule_with_warmup", _MIN_LR),
    "cosine_warmup_with_min_lr": _Peer(
        "get_cosine_with_min_lr_schedule_with_warmup_lr_rate",
        {**_MIN_LR, "warmup_lr_rate": None},
        "_get_cosine_with_min_lr_schedule_with_warmup_lr_rate_lambda",
    ),
    "warmup_stable_decay": _Peer("get_wsd_schedule", _WSD, "_get_wsd_scheduler_lambda"),
    "greedy": _Peer("get_greedy_schedule", _GREEDY),
}


# -- reading ---------------------------------------------------------------------------------------


def read(
    source: object, *, lr: float | None = None, horizon: int | None = None, group: int | None = None
) -> Training:
    """What `source` says: text or a live scheduler.

    Text is one call of get_scheduler, of one of transformers' schedule functions or of TrainingArguments, of
    which only what concerns the rate is read: warmup_steps below 1 is a ratio of the updates, rounded up, and
    so was the warmup_ratio of earlier versions. An optimizer that is written out in the call gives its lr. A
    num_training_steps that is missing or a bare name is `horizon`.

    A live LambdaLR is recognised by the name and the arguments of its function, without being called; any
    other function is sampled for `horizon` updates. `group` chooses the parameter group; without it all
    groups must say the same. DialectError where transformers itself would fail.

    >>> read('get_scheduler("constant_with_warmup", optimizer, 10)', lr=0.1).schedule
    Warmup(schedule=Constant(), length=10, start=0.0, shape='linear', overlap=False)
    """
    if not isinstance(source, str):
        return live(source, _recognised, built, lr, horizon, group)
    name, given = call(source)
    if name.endswith("TrainingArguments"):
        return _from_arguments(given, lr, horizon)
    if name == "get_scheduler":
        a = bound(name, given, _GET_SCHEDULER)
        extra = a["scheduler_specific_kwargs"]
        return _from_name(
            a["name"], a["num_warmup_steps"], a["num_training_steps"], extra, lr_of(a, lr), horizon
        )
    key = function_of(name, {key: peer.function for key, peer in PEERS.items()}, "TrainingArguments")
    a = bound(name, given, {"optimizer": None, **PEERS[key].parameters})
    return built(key, a, lr_of(a, lr), horizon)


def _from_arguments(given: Mapping[str, Any], lr: float | None, horizon: int | None) -> Training:
    """TrainingArguments; what else it holds does not concern the rate."""
    extra, N = given.get("lr_scheduler_kwargs"), given.get("max_steps", -1)
    if isinstance(extra, str):
        try:
            extra = json.loads(extra)
        except ValueError:
            raise DialectError(f"lr_scheduler_kwargs is {extra!r}; write a dict") from None
    N = horizon if isinstance(N, Word) or number("max_steps", N) <= 0 else N
    warmup = number("warmup_steps", given.get("warmup_steps", 0))
    ratio = number("warmup_ratio", given.get("warmup_ratio", 0.0))
    notes: Notes = ()
    if ratio and warmup:
        notes = ("warmup_ratio is lost: warmup_steps overrules it",)
    elif ratio:
        notes = (f"transformers 5 has no warmup_ratio: write warmup_steps={ratio!r}",)
        warmup = ratio
    if warmup < 0:
        raise DialectError(f"the warmup is {warmup!r}; write a number of updates, or a ratio below 1")
    if 0 < warmup < 1:
        W = math.ceil(_known(N, f"a warmup of {warmup!r}") * warmup)
        notes = (*notes, f"the warmup, {warmup!r} of the updates, is rounded up to {W}")
    else:
        W = int(warmup)
    rate = given.get("learning_rate", 5e-5 if lr is None else lr)
    rate = lr if isinstance(rate, Word) else number("learning_rate", rate)
    return _from_name(given.get("lr_scheduler_type", "linear"), W, N, extra, rate, horizon, notes)


def _from_name(
    name: object,
    W: object,
    N: object,
    extra: object,
    lr: float | None,
    horizon: int | None,
    notes: Notes = (),
) -> Training:
    """get_scheduler: which function, and which of the arguments reach it."""
    key = key_of(name, PEERS, "transformers")
    parameters = PEERS[key].parameters
    extra = {} if extra is None else extra
    if not isinstance(extra, dict) or not all(isinstance(entry, str) for entry in extra):
        raise DialectError(f"the schedule's own arguments are {extra!r}; write a dict with names as keys")
    N = updates_in(N, horizon)
    lost = {"num_warmup_steps"} if W and "num_warmup_steps" not in parameters else set()
    if key in ("constant", "constant_with_warmup"):
        lost, extra = lost | set(extra), {}
    if lost:
        notes = (*notes, f"transformers ignores {', '.join(sorted(lost))} with {key}")
    general = {"num_warmup_steps": W, "num_training_steps": N}
    passed = {entry: member for entry, member in general.items() if entry in parameters}
    if twice := set(passed) & set(extra):
        raise DialectError(f"{key} is given {', '.join(sorted(twice))} twice; leave it out of the dict")
    if "num_warmup_steps" in passed and W is None:
        raise DialectError(f"{key} needs num_warmup_steps; write it, 0 for none")
    training = built(key, bound(key, {**passed, **extra}, parameters), lr, N)
    return replace(training, notes=(*notes, *training.notes))


def built(key: str, a: Mapping[str, Any], lr: float | None, horizon: int | None) -> Training:
    """The schedule called `key`, with the arguments `a` of its function, in our terms."""
    if a.get("last_epoch", -1) != -1:
        raise DialectError(
            f"last_epoch is {a['last_epoch']!r}; leave it out: a schedule is read from its beginning"
        )
    if key in ("reduce_lr_on_plateau", "greedy"):
        return Training(_unit(lr, key), _rule(key, a, _unit(lr, key)), horizon)
    W, N = whole("num_warmup_steps", a.get("num_warmup_steps", 0), least=0), a.get("num_training_steps")
    N, cycles = updates_in(N, horizon), number("num_cycles", a.get("num_cycles", 0.5))
    if key == "warmup_stable_decay":
        schedule, N, notes = _phases(a, W, N, cycles)
    else:
        schedule, notes = _shape(key, a, lr, W, N, cycles), _remarks(key, a, lr, W, N)
    notes += [NO_LR] if lr is None else []
    return Training(1.0 if lr is None else lr, schedule, horizon if N is None else N, tuple(notes))


def _shape(
    key: str, a: Mapping[str, Any], lr: float | None, W: int, N: int | None, cycles: float
) -> Schedule:
    """The schedule called `key`, of W warmup updates among N."""
    match key:
        case "constant" | "constant_with_warmup":
            return _warmed(Constant(), W)
        case "inverse_sqrt":
            scale = W or 10_000 if a["timescale"] is None else number("timescale", a["timescale"])
            return _warmed(InversePower(0.5, timescale=float(scale)), W)
        case "linear":
            return linear(W, _known(N, key))
        case "cosine":
            return cosine(W, _known(N, key), cycles)
        case "cosine_with_min_lr":
            return cosine(W, _known(N, key), cycles, _lowest(a, lr))
        case "cosine_warmup_with_min_lr":
            start = None if a["warmup_lr_rate"] is None else number("warmup_lr_rate", a["warmup_lr_rate"])
            return cosine_one_early(W, _known(N, key), cycles, _lowest(a, lr), start)
        case "cosine_with_restarts":
            return restarts(W, _known(N, key), cycles)
    final = _ratio("lr_end", a["lr_end"], lr)
    if final >= 1:
        raise DialectError(f"lr_end is {a['lr_end']!r} and the lr {lr!r}; lr_end must be below it")
    return polynomial(W, _known(N, key), number("power", a["power"]), final)


def _remarks(key: str, a: Mapping[str, Any], lr: float | None, W: int, N: int | None) -> list[str]:
    """What is worth saying about the schedule called `key`."""
    notes = [_FROM_ZERO] if W else []
    match key:
        case "cosine" | "cosine_with_min_lr":
            return [*notes, _RISES]
        case "cosine_warmup_with_min_lr":
            return ["the cosine is over one update early, at num_training_steps - 1", _RISES]
        case "polynomial":
            final = _ratio("lr_end", a["lr_end"], lr)
            notes.append(f"lr_end={a['lr_end']!r} is an absolute rate, {final!r} of the lr")
            notes += ["the formula divides by zero at t = num_training_steps"] if W == N else []
    return notes


def _phases(a: Mapping[str, Any], W: int, N: int | None, cycles: float) -> tuple[Schedule, int, list[str]]:
    """warmup_stable_decay, whose three phases say how many updates there are: the schedule, these, notes."""
    C, S = whole("num_decay_steps", a["num_decay_steps"], least=0), a["num_stable_steps"]
    if S is None:
        S = _known(N, "warmup_stable_decay") - W - C
    else:
        S = whole("num_stable_steps", S, least=-math.inf)
    low, end = number("min_lr_ratio", a["min_lr_ratio"]), W + S + C
    schedule = stable_decay(W, S, C, a["warmup_type"], a["decay_type"], low, cycles)
    notes = [f"the warmup starts at min_lr_ratio={low!r}"] if W else []
    if end != N and a["num_training_steps"] is not None:
        notes.append("num_training_steps is lost: num_stable_steps overrules it")
    return schedule, end, notes


def _rule(key: str, a: Mapping[str, Any], lr: float) -> Feedback:
    rest = {
        name: a[name] for name in ("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown")
    }
    rest |= {"low": number("min_lr", a["min_lr"]) / lr, "eps": number("eps", a["eps"]) / lr}
    if key == "reduce_lr_on_plateau":
        return ReduceLROnPlateau(**rest)
    return GreedyLR(
        **rest,
        warmup=a["warmup"],
        high=number("max_lr", a["max_lr"]) / lr,
        window=a["window_size"] if a["smooth"] else 1,
        reset_start=max(whole("reset_start", a["reset_start"], least=0), 1),
    )


def live(
    source: Any,
    recognise: Callable[[Any], tuple[Named, float | None] | None],
    build: Callable[[str, Mapping[str, Any], float | None, int | None], Training],
    lr: float | None,
    horizon: int | None,
    group: int | None,
) -> Training:
    """A configured LambdaLR or closed-loop scheduler. `recognise` gives the name and the arguments of what a
    function of its LambdaLR computes, and the lr that absolute rates in them refer to, or None; `build` makes
    a Training of them.
    """
    kind = type(source).__name__
    key = {"ReduceLROnPlateau": "reduce_lr_on_plateau", "GreedyLR": "greedy"}.get(kind)
    if key is None and not getattr(source, "lr_lambdas", None):
        raise DialectError(
            f"{kind} is neither text nor a LambdaLR; torch's own schedulers are in the torch dialect"
        )
    refuse_lr(lr)
    total = len(source.optimizer.param_groups)
    if group is None:
        each = [live(source, recognise, build, None, horizon, i) for i in range(total)]
        if any(one != each[0] for one in each):
            raise DialectError(f"the {total} parameter groups have different rates; choose one, group=0")
        return each[0]
    check_group(group, total)
    given = "the lr is the one in force" if kind == "ReduceLROnPlateau" else "it is given from its beginning"
    notes: Notes = (f"the scheduler stands at t = {source.last_epoch}; {given}",) if source.last_epoch else ()
    if key is not None:
        return replace(_live_rule(source, key, group, horizon), notes=notes)
    function, rate = source.lr_lambdas[group], float(source.base_lrs[group])
    found = recognise(function)
    if found is None:
        T = _known(horizon, "an unknown function")
        sampled = np.array([float(function(t)) for t in range(T)])
        return Training(
            rate, Values.of(sampled), T, (*notes, f"an unknown function, sampled for {T} updates")
        )
    (name, a), unit = found
    training = build(name, a, rate if unit is None else unit, horizon)
    return replace(training, lr=rate, notes=(*notes, *training.notes))


def _live_rule(source: Any, key: str, group: int, horizon: int | None) -> Training:
    a = {**PEERS[key].parameters}
    a |= {name: member for name, member in vars(source).items() if name in a}
    a["min_lr"] = source.min_lrs[group]
    if key == "greedy":
        rate, a["max_lr"] = source._init_lrs[group], source.max_lrs[group]
    else:
        rate = source.optimizer.param_groups[group]["lr"]
    return built(key, a, float(rate), horizon)


def _recognised(function: Any) -> tuple[Named, float | None] | None:
    """A function of transformers' own, by its name; its arguments are those of a partial."""
    inner = function.func if isinstance(function, functools.partial) else function
    if not getattr(inner, "__module__", "").startswith("transformers."):
        return None
    a = dict(getattr(function, "keywords", {}))
    unit = a.pop("lr_init", None)
    keys = {peer.closure: key for key, peer in PEERS.items() if peer.closure}
    key = "cosine_with_min_lr" if "min_lr_rate" in a else "cosine"
    key = {**keys, PEERS["cosine"].closure: key}.get(inner.__name__, "")
    return ((key, bound(inner.__name__, a, PEERS[key].parameters)), unit) if key else None


# -- arguments -------------------------------------------------------------------------------------


def key_of(name: object, keys: Mapping[str, object], peer: str) -> str:
    """The name of a schedule; SchedulerType.COSINE is one too."""
    if isinstance(name, Word):
        last = name.rpartition(".")[2].lower()
        name = "reduce_lr_on_plateau" if last == "reduce_on_plateau" else last
    if isinstance(name, str) and name in keys:
        return str(name)
    raise DialectError(f"{peer} has no schedule {name!r}{nearest(str(name), keys)}; it has {', '.join(keys)}")


def function_of(name: str, functions: Mapping[str, str], *others: str) -> str:
    """The schedule whose function has this name."""
    for key, function in functions.items():
        if name == function:
            return key
    known = ["get_scheduler", *others, *functions.values()]
    raise DialectError(f"{name} is not read{nearest(name, known)}; write a call of {', '.join(known)}")


def lr_of(a: Mapping[str, Any], lr: float | None) -> float | None:
    """The lr of an optimizer that is written out among the arguments, else the one given."""
    match a["optimizer"]:
        case None | Word():
            return lr
        case (str(), {"lr": int() | float() as rate}):
            return float(rate)
        case (str(), dict()):
            return lr
    raise DialectError(
        f"{a['optimizer']!r} stands where the optimizer does; write the arguments by their names"
    )


def updates_in(N: object, horizon: int | None) -> int | None:
    """num_training_steps as written; the horizon, where it is missing or a bare name."""
    return horizon if N is None or isinstance(N, Word) else whole("num_training_steps", N, least=0)


def _known(N: object, what: str) -> int:
    if N is None:
        raise DialectError(f"{what} needs the number of updates; write it, or give the horizon")
    return whole("num_training_steps", N, least=0)


def _unit(lr: float | None, what: str) -> float:
    if lr is None or not lr > 0:
        raise DialectError(f"{what} holds absolute rates; give the optimizer's lr, above 0")
    return lr


def _ratio(name: str, given: object, lr: float | None) -> float:
    ratio = number(name, given) / _unit(lr, f"{name}, {given!r},")
    if ratio < 0:
        raise DialectError(f"{name} is {given!r}; rates are at least 0 here")
    return ratio


def _lowest(a: Mapping[str, Any], lr: float | None) -> float:
    if (a["min_lr"] is None) == (a["min_lr_rate"] is None):
        raise DialectError("give either min_lr, an absolute rate, or min_lr_rate, a ratio of the lr")
    return (
        number("min_lr_rate", a["min_lr_rate"]) if a["min_lr"] is None else _ratio("min_lr", a["min_lr"], lr)
    )


# -- writing ---------------------------------------------------------------------------------------


def write(training: Training) -> str:
    """A call of get_scheduler with the rates of `training`, for its horizon, or for ever if it has none.

    A warmup must start at 0, as `Warmup(..., start=0.0)` does, except in front of a constant or a cosine:
    there it is said as cosine_warmup_with_min_lr. (That one is given an update more, being over an update
    early.) DialectError for what transformers has no name for.

    >>> write(Training(0.1, Warmup(Linear(), 10, start=0.0), horizon=100))
    'get_scheduler("linear", optimizer, num_warmup_steps=10, num_training_steps=100)  # the lr is 0.1'
    """
    key, a = said(training)
    general = {name: member for name, member in a.items() if name in _WN}
    extra = {name: member for name, member in a.items() if name not in _WN}
    general |= {"scheduler_specific_kwargs": extra} if extra else {}
    return text("get_scheduler", training.lr, key, **general)


def text(function: str, lr: float, *names: str, **a: Any) -> str:
    """A call as a person writes it, with double quotes."""
    given = [repr(name) for name in names] + ["optimizer"] + [f"{name}={a[name]!r}" for name in a]
    return f"{function}({', '.join(given)})".replace("'", '"') + f"  # the lr is {lr!r}"


def said(training: Training) -> Named:
    """What transformers calls a schedule, and its arguments, without those that have their default values.
    DialectError says what is in the way.
    """
    schedule, T, lr = training.schedule, training.horizon, training.lr
    if not isinstance(schedule, Schedule):
        key, a = _said_rule(schedule, lr)
    else:
        inner, N, holds = _window(schedule, T)
        key, a = _said(inner, N, lr, holds=holds)
    defaults = PEERS[key].parameters
    return key, {name: member for name, member in a.items() if member != defaults[name]}


def _window(schedule: Schedule, T: int | None) -> tuple[Schedule, int | None, bool]:
    """A schedule, the number of updates it is laid out for, if known, and whether it holds its end value."""
    match schedule:
        case Within(schedule=inner, length=length, end="T", beyond=beyond):
            N = length if isinstance(length, int) else updates(length, needed(T, schedule))
        case Warmup(schedule=Within(schedule=core, length=int(own), end="T", beyond=beyond), length=int(W)):
            inner, N = replace(schedule, schedule=core), W + own
        case _:
            return schedule, T, False
    return inner, N, beyond == "clip" and (T is None or T > N)


def _said(schedule: Schedule, N: int | None, lr: float, *, holds: bool) -> Named:
    """The parts of a schedule, by what a warmup or a cooldown surrounds."""
    match schedule:
        case Then():
            return _said_cut(schedule, lr)
        case WarmupStableDecay(warmup=warmup, cooldown=length, shape=shape, final=final):
            trapezoid = Cooldown(Warmup(Constant(), warmup), length, shape=shape, final=final)
            return _said(trapezoid, N, lr, holds=holds)
        case Cooldown(schedule=up, length=length, shape=shape, final=final):
            C = updates(length, needed(N, schedule))
            if C == 0:
                return _said(up, N, lr, holds=holds)
            return _said_stable_decay(up, C, shape, final, needed(N, schedule))
        case Warmup(schedule=core, length=length, start=start, shape=shape):
            W = length if isinstance(length, int) else updates(length, needed(N, schedule))
            overlap = schedule.overlap and not isinstance(core, Constant)
            if holds and N is not None and W > N:
                raise DialectError(
                    f"the warmup of {W} updates is held where it is cut, at {N}; write {N} or less"
                )
            if W == 0 or ((start, shape) == (0.0, "linear") and not overlap):
                return _said_core(core, W, N, lr, holds)
            if (
                shape == "linear"
                and start != "1/W"
                and (not overlap or (W == 1 and not isinstance(start, str)))
            ):
                wave = _waves(core, None if holds or N is None else N - W)
                if isinstance(core, Constant) or wave is not None:
                    return _said_one_early(W - overlap, start, *(wave or (1, 0.0, 0.0)))
            if isinstance(core, Constant) and not isinstance(start, str) and not holds and shape in _RAMPS:
                return _said_stable_decay(schedule, 0, "linear", start, max(needed(N, schedule), W))
            plain = Warmup(core, length, start=0.0)
            raise DialectError(f"transformers warms up from 0 in a line, {plain!r}; not {schedule!r}")
    return _said_core(schedule, 0, N, lr, holds)


def _said_core(core: Schedule, W: int, N: int | None, lr: float, holds: bool) -> Named:
    """A shape behind the plain warmup."""
    warmup = {"num_warmup_steps": W}
    match core:
        case Constant():
            return ("constant_with_warmup", warmup) if W else ("constant", {})
        case InversePower(power=0.5, timescale=timescale) if not holds:
            return "inverse_sqrt", {
                **warmup,
                "timescale": None if timescale == (W or 10_000) else _short(timescale),
            }
        case CosineWave() | Repeat() if not holds and (wave := _waves(core, None)):
            length, cycles, final = wave
            key, extra = _said_cosine(cycles, final)
            return key, {**warmup, "num_training_steps": W + length, **extra}
        case Linear(final=0.0):
            key, extra = "linear", {}
        case Linear(final=final):
            key, extra = "polynomial", {"lr_end": _absolute(final, lr)}
        case Polynomial(power=power, final=final) if power > 0:
            key, extra = "polynomial", {"lr_end": _absolute(final, lr), "power": power}
        case CosineRestarts(cycles=cycles, final=0.0):
            key, extra = "cosine_with_restarts", {"num_cycles": _short(cycles)}
        case Cosine(final=final, cycles=cycles, power=1.0, warp=1.0) if holds:
            raise DialectError(
                f"transformers' cosine rises again where {core!r} is held; give a shorter horizon"
            )
        case Cosine(final=final, cycles=cycles, power=1.0, warp=1.0):
            key, extra = _said_cosine(cycles, final)
        case _:
            raise DialectError(
                f"transformers has no {core!r}{', held at its end' if holds else ''}; it has Constant, "
                "Linear, Polynomial, Cosine, CosineWave, CosineRestarts and InversePower(0.5), plain or in "
                "Warmup(..., start=0.0), and Cooldown(Warmup(Constant(), W, start=a), C, final=a)"
            )
    if needed(N, core) > W:
        return key, {**warmup, "num_training_steps": N, **extra}
    if holds:
        raise DialectError(f"the warmup of {W} updates is not over within {N}; write a shorter one")
    return "constant_with_warmup", warmup  # nothing else is seen of it


def _said_cosine(cycles: float, final: float) -> Named:
    a = {"num_cycles": cycles}
    return ("cosine_with_min_lr", {**a, "min_lr_rate": final}) if final else ("cosine", a)


def _waves(core: Schedule, length: int | None) -> tuple[int, float, float] | None:
    """The (length, cycles, final) of a cosine; one that is laid out for a horizon has the length given."""
    match core:
        case CosineWave(half_period=half, final=final):
            return half, 0.5, final
        case Repeat(schedule=Cosine(final=final, cycles=cycles, power=1.0, warp=1.0), period=int(period)) if (
            core.growth,
            core.decay,
            core.floor,
        ) == (1.0, 1.0, 0.0) and cycles.is_integer():
            return period, cycles, final
        case Cosine(final=final, cycles=cycles, power=1.0, warp=1.0) if length is not None and length > 0:
            return length, cycles, final
    return None


def _said_one_early(W: int, start: str | float, length: int, cycles: float, final: float) -> Named:
    """A warmup of W updates and a wave, as a warmup of W + 1 whose last update is the wave's first."""
    return "cosine_warmup_with_min_lr", {
        "num_warmup_steps": W + 1,
        "num_training_steps": W + 1 + length,
        "num_cycles": cycles,
        "min_lr_rate": final,
        "warmup_lr_rate": None if isinstance(start, str) else start,
    }


def _said_stable_decay(up: Schedule, C: int, shape: str, final: float, N: int, cycles: float = 0.5) -> Named:
    """A constant, with or without a warmup, and a cooldown that is over at N."""
    W, start, rise = _risen(up, N)
    if (W and start != final) or shape not in _RAMPS:
        raise DialectError(
            f"transformers warms up from the value that it cools down to, not from {start!r} with a {shape} "
            f"cooldown to {final!r}: write Cooldown(Warmup(Constant(), W, start=a), C, 'cosine', final=a)"
        )
    if W + C > N:
        raise DialectError(f"the warmup of {W} and the cooldown of {C} updates overlap in {N}; shorten one")
    return "warmup_stable_decay", {
        "num_warmup_steps": W,
        "num_training_steps": N,
        "num_decay_steps": C,
        "warmup_type": rise,
        "decay_type": shape,
        "min_lr_ratio": final,
        "num_cycles": cycles,
    }


def _risen(up: Schedule, N: int) -> tuple[int, float | str, str]:
    """The length, start and shape of a warmup in front of a constant."""
    match up:
        case Constant() | Warmup(schedule=Constant(), length=0):
            return 0, 0.0, "linear"
        case Warmup(schedule=Constant(), length=length, start=start, shape=shape) if shape in _RAMPS:
            return (length if isinstance(length, int) else updates(length, N)), start, shape
    raise DialectError(f"transformers cools down from Constant() or Warmup(Constant(), ...), not from {up!r}")


def _said_cut(schedule: Then, lr: float) -> Named:
    """A constant with a warmup, perhaps a wave, and then another constant for ever."""
    match schedule:
        case Then(
            first=Then(
                first=up,
                second=Within(schedule=Cosine(final=low, cycles=cycles), length=int(C)),
                at=int(turn),
            ),
            second=Scaled(schedule=Constant(), factor=final),
            at=int(end),
        ) if low == final and end == turn + C:
            return _said_stable_decay(up, C, "cosine", final, end, cycles)
        case Then(first=up, second=Scaled(schedule=Constant(), factor=final), at=int(end)):
            W, start, shape = _risen(up, end)
            a: dict[str, Any] = {"num_warmup_steps": W, "num_training_steps": W}
            if (start, shape) == (0.0, "linear"):
                if final == 0 and end in (W, W + 1):
                    return ("linear" if end == W else "cosine_with_restarts"), a
                if final < 1 and end not in (0, W + 1):
                    a["num_training_steps"] = end - 1
                    return "polynomial", {**a, "lr_end": _absolute(final, lr), "power": 0.0}
            if end >= W and (start == final or W == 0):
                return _said_stable_decay(up, 0, "cosine", final, end)
    raise DialectError(
        f"transformers has no sequences such as {schedule!r}; it has Cooldown(Warmup(Constant(), ...))"
    )


def _said_rule(rule: Feedback, lr: float) -> Named:
    if not isinstance(rule, ReduceLROnPlateau | GreedyLR) or not isinstance(rule.schedule, Constant):
        raise DialectError(
            f"transformers has no {rule!r}; it has ReduceLROnPlateau and GreedyLR, without a warmup in front"
        )
    same = ("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown")
    a = {name: getattr(rule, name) for name in same}
    a |= {"min_lr": _times(rule.low, lr), "eps": _times(rule.eps, lr)}
    if not isinstance(rule, GreedyLR):
        return "reduce_lr_on_plateau", a
    a |= {"warmup": rule.warmup, "max_lr": _times(rule.high, lr), "reset_start": rule.reset_start}
    return "greedy", a | ({"smooth": True, "window_size": rule.window} if rule.window > 1 else {})


def _absolute(final: float, lr: float) -> float:
    if not final < 1 or not lr > 0:
        raise DialectError(
            f"transformers' polynomial ends below its lr, {lr!r}, and not at {final!r} times that"
        )
    return _times(final, lr)


def _times(ratio: float, lr: float) -> float:
    """ratio * lr as a person wrote it, where that means the same."""
    short = rounded(ratio * lr)
    return short if lr and short / lr == ratio else ratio * lr


def _short(given: float) -> int | float:
    return int(given) if given.is_integer() else given
