"""The elementary shapes of a learning rate, on one page.

A schedule is a callable: a horizon of T updates in, T dimensionless multipliers s_0..s_{T-1} >= 0 out; the
step is lr * s_t. A plain function is a schedule too. What a shape knows about itself it declares as `facts`,
and one test per fact measures it. Throughout, t = 0..T-1 counts updates and p = t/T; a horizon of 0 gives an
empty array. A `final` value is approached at t = T, one step after the last. Formulas and peers: docs and
theory.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from annotated_types import Ge, Gt, Interval

from ratelab.theory.arrays import Array, InputError, Integers
from ratelab.theory.notation import value

__all__ = [
    "Compounding",
    "Constant",
    "Cosine",
    "Exponential",
    "Facts",
    "Geometric",
    "HorizonError",
    "InversePower",
    "Linear",
    "MultiStep",
    "Piecewise",
    "Polynomial",
    "Rex",
    "Schedule",
    "Step",
    "Tanh",
    "TriStage",
    "WarmupStableDecay",
    "closing",
    "facts",
    "multipliers",
    "updates",
]

Fraction: TypeAlias = Annotated[float, Interval(ge=0, le=1)]
Factor: TypeAlias = Annotated[float, Interval(ge=0, le=1e12)]
Duration: TypeAlias = Annotated[int, Ge(0), "updates"] | Annotated[Fraction, "fraction of the horizon"]
Period: TypeAlias = (
    Annotated[int, Ge(1), "updates"] | Annotated[float, Interval(gt=0, le=1), "fraction of the horizon"]
)
Monotone: TypeAlias = Literal["constant", "decreasing", "increasing"]
Start: TypeAlias = Literal["1/(W+1)", "1/W"] | Factor
Rise: TypeAlias = Literal["linear", "cosine", "1-sqrt", "exponential"]
Fall: TypeAlias = Literal["linear", "cosine", "1-sqrt", "1-square", "exponential", "mirror cosine"]


class HorizonError(InputError):
    """The schedule does not exist for the horizon asked for, or overflows there."""


@runtime_checkable
class Schedule(Protocol):
    """horizon T -> multipliers s_0..s_{T-1} >= 0, shape (T,), float64; horizon 0 gives an empty array."""

    def __call__(self, horizon: int, /) -> Array: ...


@dataclass(frozen=True)
class Facts:
    """What a schedule declares, for every horizon, its `closing` value included. The defaults claim nothing
    beyond the protocol.

    low, high: low <= s_t <= high. monotone: "decreasing" and "increasing" in the weak sense; "constant"
    exactly when low == high; None when not known. anytime: schedule(S) is the beginning of schedule(T) for
    all S <= T.
    """

    low: float = 0.0
    high: float = math.inf
    monotone: Monotone | None = None
    anytime: bool = False

    def __post_init__(self) -> None:
        if self.low == self.high:
            object.__setattr__(self, "monotone", "constant")


def facts(schedule: Schedule) -> Facts:
    """The declared facts of a schedule; `Facts()`, which claims nothing, for a plain function."""
    declared = getattr(schedule, "facts", None)
    return declared if isinstance(declared, Facts) else Facts()


def multipliers(schedule: Schedule, horizon: int) -> Array:
    """schedule(horizon), checked: shape (horizon,), finite, >= 0. InputError names the schedule otherwise."""
    if horizon < 0:
        raise InputError(f"horizon is {horizon}; a number of updates is at least 0")
    s = np.asarray(schedule(horizon), dtype=np.float64)
    if s.shape != (horizon,):
        raise InputError(f"{schedule!r} returned shape {s.shape} for horizon {horizon}; return ({horizon},)")
    if horizon and not (s.min() >= 0 and s.max() < math.inf):
        t = int(np.flatnonzero(~((s >= 0) & (s < math.inf)))[0])
        raise InputError(f"{schedule!r} returned {s[t]} at update {t}; multipliers are finite and >= 0")
    return s


def closing(schedule: Schedule, horizon: int) -> float:
    """The value that the formula takes at t = T, one step after the last: where a decay arrives.

    A shape of p tells it at p = 1 (its `curve`), a combinator from its parts (its `closing`), an anytime
    schedule as the next value of a longer run. HorizonError where there is no such value: plain functions.

    >>> closing(Linear(final=0.25), 100), closing(Exponential(0.5), 3)
    (0.25, 0.125)
    """
    if horizon < 0:
        raise InputError(f"horizon is {horizon}; a number of updates is at least 0")
    own = getattr(schedule, "closing", None)
    if own is not None:
        return float(own(horizon))
    curve = getattr(schedule, "curve", None)
    if curve is not None:
        return float(curve(np.ones(1))[0])
    if facts(schedule).anytime:
        return float(multipliers(schedule, horizon + 1)[horizon])
    raise HorizonError(
        f"{schedule!r} says nothing about t = T, one step after its last; give it a method closing(horizon)"
    )


def updates(duration: int | float, horizon: int) -> int:
    """A duration in updates, at most `horizon`: an int counts updates, a float f is floor(f * T + 1e-9) of
    them.

    >>> updates(1, 100), updates(1.0, 100), updates(0.29, 100), updates(500, 100)
    (1, 100, 29, 100)
    """
    return min(duration if isinstance(duration, int) else math.floor(duration * horizon + 1e-9), horizon)


def uncut(duration: int | float, horizon: int) -> int:
    """A duration in updates, of which an int may exceed the horizon: what is cut short keeps its shape."""
    return min(duration, 2**53) if isinstance(duration, int) else updates(duration, horizon)


def cycle_length(period: int | float, horizon: int) -> int:
    """A period in updates, at least 1. An int is not clipped: a cycle that is cut short keeps its shape."""
    return max(uncut(period, horizon), 1)


def clock(horizon: int) -> Array:
    """0, 1, ..., T-1 as floats; InputError for a negative horizon."""
    if horizon < 0:
        raise InputError(f"horizon is {horizon}; a number of updates is at least 0")
    return np.arange(horizon, dtype=np.float64)


def powers(base: float, count: int) -> Array:
    """1, base, base^2, ..., `count` of them; HorizonError when they overflow. Only those that do not
    underflow are computed, because underflow is slow.
    """
    result = np.zeros(count)
    alive = count if base >= 1 else min(count, 1 + int(-745.2 / math.log(base)) if base else 1)
    with np.errstate(over="ignore"):
        result[:alive] = np.power(base, np.arange(alive, dtype=np.float64))
    if count and result[-1] == math.inf:
        raise HorizonError(f"{base}^{count - 1} overflows; ask for a shorter horizon or a smaller factor")
    return result


def blend(shape: Array, final: float) -> Array:
    """final + (1 - final) * shape, as a sum of terms >= 0: exact at both ends, without cancellation."""
    if not final:
        return shape
    mixed = 1 - shape
    mixed *= final
    mixed += shape
    return mixed


def rise(horizon: int, length: int | float, start: Start = "1/(W+1)", shape: Rise = "linear") -> Array:
    """The factor of a warmup over W updates: a + (1 - a) g(u) for t < W, then 1. Shape (T,).

    u = (t + 1)/(W + 1) or (t + 1)/W with a = 0 for the two named starts, u = t/W for a number a. g is u,
    (1 - cos pi u)/2, 1 - sqrt(1 - u); "exponential" is a^(1 - u) as a whole. W may exceed the horizon: the
    ramp is then cut short, not compressed, so that a warmup in updates stays anytime.
    """
    W, factor = uncut(length, horizon), np.ones_like(clock(horizon))
    t = clock(min(W, horizon))
    if isinstance(start, str):
        u, a = (t + 1) / (W + 1 if start == "1/(W+1)" else max(W, 1)), 0.0
    else:
        u, a = t / max(W, 1), start
    match shape:
        case "linear":
            ramp = blend(u, a)
        case "cosine":
            ramp = blend((1 - np.cos(np.pi * u)) / 2, a)
        case "1-sqrt":
            ramp = blend(1 - np.sqrt(1 - u), a)
        case "exponential":
            ramp = np.power(a, 1 - u)
    factor[: len(ramp)] = ramp
    return factor


def fall(horizon: int, length: int | float, shape: Fall = "linear", final: float = 0.0) -> Array:
    """The factor of a cooldown: 1, then final + (1 - final) g(u), u = k/C, for k = 0..C-1 over the last C
    updates. Shape (T,).

    g is 1 - u, (1 + cos pi u)/2, 1 - sqrt(u), 1 - u^2 or 2 (1 - u) - (1 + cos pi u)/2, the mirror image of
    the cosine; "exponential" is final^u as a whole. C is at most the horizon; the value `final` would be
    reached at t = T, after the last update.
    """
    C, factor = updates(length, horizon), np.ones_like(clock(horizon))
    u, left = clock(C) / max(C, 1), (C - clock(C)) / max(C, 1)
    match shape:
        case "linear":
            slope = blend(left, final)
        case "cosine":
            slope = blend((1 + np.cos(np.pi * u)) / 2, final)
        case "1-sqrt":
            slope = blend(1 - np.sqrt(u), final)
        case "1-square":
            slope = blend(left * (1 + u), final)
        case "mirror cosine":
            slope = blend(2 * left - (1 + np.cos(np.pi * u)) / 2, final)
        case "exponential":
            slope = np.power(final, u)
    factor[horizon - C :] = slope
    return factor


@value("schedule")
class Constant:
    """s_t = 1.

    Pictured: Constant()
    """

    def __call__(self, horizon: int, /) -> Array:
        return np.ones_like(clock(horizon))

    @property
    def facts(self) -> Facts:
        return Facts(1.0, 1.0, None, anytime=True)


@value("schedule")
class InversePower:
    """s_t = (1 + t/timescale)^-power, the decay of Robbins and Monro (1951): 1/2 is inverse square root, 1
    inverse time.

    >>> InversePower(0.5)(4)
    array([1.        , 0.70710678, 0.57735027, 0.5       ])

    Pictured: InversePower(0.5)
    """

    power: Annotated[float, Ge(0)]
    timescale: Annotated[float, Gt(0)] = 1.0

    def __call__(self, horizon: int, /) -> Array:
        s = clock(horizon)
        with np.errstate(over="ignore"):  # a vanishing timescale or a huge power means 0
            s /= self.timescale
            s += 1
            return np.power(s, -self.power, out=s)

    @property
    def facts(self) -> Facts:
        return Facts(0.0 if self.power else 1.0, 1.0, "decreasing", anytime=True)


@value("schedule")
class Compounding:
    """s_t = 1/((1 + rate) (1 + 2 rate) ... (1 + t rate)): inverse time decay applied to its own result.

    A rule lr = lr/(1 + decay * epoch) does so when it is handed the rate of the epoch before, as Keras'
    LearningRateScheduler does. It falls like exp(-rate t^2/2), not like 1/t.

    >>> Compounding(0.5)(4)
    array([1.        , 0.66666667, 0.33333333, 0.13333333])

    Pictured: Compounding(0.001)
    """

    rate: Factor

    def __call__(self, horizon: int, /) -> Array:
        return np.asarray(np.cumprod(1 / (1 + self.rate * clock(horizon))))

    @property
    def facts(self) -> Facts:
        return Facts(0.0 if self.rate else 1.0, 1.0, "decreasing", anytime=True)


@value("schedule")
class Linear:
    """s_t = 1 - (1 - final) p: from 1 at t = 0 to `final` at t = T, one step after the last; above 1 it
    rises.

    >>> Linear()(4)
    array([1.  , 0.75, 0.5 , 0.25])

    Pictured: Linear()
    """

    final: Factor = 0.0

    def __call__(self, horizon: int, /) -> Array:
        return self.curve(progress(horizon))

    def curve(self, p: Array) -> Array:
        return blend(1 - p, self.final)

    @property
    def facts(self) -> Facts:
        return _between(1.0, self.final)


@value("schedule")
class Polynomial:
    """s_t = final + (1 - final) (1 - p)^power; power 1 is `Linear`.

    Pictured: Polynomial(2.0)
    """

    power: Annotated[float, Ge(0)]
    final: Factor = 0.0

    def __call__(self, horizon: int, /) -> Array:
        return self.curve(progress(horizon))

    def curve(self, p: Array) -> Array:
        return blend((1 - p) ** self.power, self.final)

    @property
    def facts(self) -> Facts:
        return _between(1.0, self.final if self.power else 1.0)


@value("schedule")
class Cosine:
    """s_t = final + (1 - final) ((1 + cos(2 pi cycles p^warp))/2)^power: by default half a cosine without
    restarts (Loshchilov and Hutter 2017).

    `cycles` counts whole waves, 0.5 being the way down, as in transformers; `power` is optax's exponent of
    the cosine, `warp` timm's k_decay, an exponent of time.

    >>> Cosine()(4).round(4)
    array([1.    , 0.8536, 0.5   , 0.1464])

    Pictured: Cosine()
    """

    final: Factor = 0.0
    cycles: Annotated[float, Interval(ge=0, le=1e12)] = 0.5
    power: Annotated[float, Ge(0)] = 1.0
    warp: Annotated[float, Gt(0)] = 1.0

    def __call__(self, horizon: int, /) -> Array:
        return self.curve(progress(horizon))

    def curve(self, p: Array) -> Array:
        wave = (1 + np.cos(2 * np.pi * self.cycles * p**self.warp)) / 2
        return blend(wave**self.power, self.final)

    @property
    def facts(self) -> Facts:
        if self.cycles <= 0.5 or not self.power:
            return _between(1.0, closing(self, 0))
        return Facts(min(self.final, 1.0), max(self.final, 1.0))


@value("schedule")
class Geometric:
    """s_t = final^p: as `Exponential`, but arriving at `final` whatever the horizon.

    >>> Geometric(final=0.0001)(4)
    array([1.   , 0.1  , 0.01 , 0.001])

    Pictured: Geometric(0.01)
    """

    final: Annotated[float, Interval(gt=0, le=1e12)]

    def __call__(self, horizon: int, /) -> Array:
        return self.curve(progress(horizon))

    def curve(self, p: Array) -> Array:
        return np.asarray(np.power(self.final, p))

    @property
    def facts(self) -> Facts:
        return _between(1.0, self.final)


@value("schedule")
class Exponential:
    """s_t = gamma^t; underflows to exactly 0, harmlessly. gamma > 1 grows, as in a range test of learning
    rates, and HorizonError says when it overflows.

    >>> Exponential(0.5)(4)
    array([1.   , 0.5  , 0.25 , 0.125])

    Pictured: Exponential(0.97)
    """

    gamma: Factor

    def __call__(self, horizon: int, /) -> Array:
        return powers(self.gamma, len(clock(horizon)))

    @property
    def facts(self) -> Facts:
        return _powers_of(self.gamma, math.inf, anytime=True)


@value("schedule")
class Step:
    """s_t = gamma^floor(t/every), `every` a number of updates or a fraction of the horizon (then at least 1
    update). gamma > 1 grows, and HorizonError says when it overflows.

    >>> Step(0.5, every=2)(5)
    array([1.  , 1.  , 0.5 , 0.5 , 0.25])

    Pictured: Step(0.5, every=25)
    """

    gamma: Factor
    every: Period

    def __call__(self, horizon: int, /) -> Array:
        every = min(cycle_length(self.every, horizon), max(horizon, 1))
        return np.repeat(powers(self.gamma, -(-len(clock(horizon)) // every)), every)[:horizon]

    def closing(self, horizon: int) -> float:
        return float(powers(self.gamma, horizon // cycle_length(self.every, horizon) + 1)[-1])

    @property
    def facts(self) -> Facts:
        return _powers_of(self.gamma, math.inf, anytime=isinstance(self.every, int))


@value("schedule")
class MultiStep:
    """s_t = gamma^k, k the number of milestones <= t: a milestone m acts from update m on, as in torch and
    optax. gamma > 1 grows, and HorizonError says when it overflows.

    >>> MultiStep((2, 0.8), gamma=0.5)(5)
    array([1.  , 1.  , 0.5 , 0.5 , 0.25])

    Pictured: MultiStep((50, 75), gamma=0.3)
    """

    milestones: tuple[Duration, ...]
    gamma: Factor

    def __call__(self, horizon: int, /) -> Array:
        passed = _passed(self.milestones, horizon)[: len(clock(horizon))]
        return powers(self.gamma, int(passed[-1]) + 1)[passed] if horizon else clock(0)

    def closing(self, horizon: int) -> float:
        return float(powers(self.gamma, int(_passed(self.milestones, horizon)[horizon]) + 1)[-1])

    @property
    def facts(self) -> Facts:
        return _powers_of(self.gamma, len(self.milestones), anytime=_counted(self.milestones))


@value("schedule")
class Piecewise:
    """s_t = values[k], k the number of boundaries <= t; one value more than boundaries. A boundary b acts
    from update b on.

    >>> Piecewise((2, 0.8), values=(0.1, 1.0, 0.5))(5)
    array([0.1, 0.1, 1. , 1. , 0.5])

    Pictured: Piecewise((0.1, 0.5, 0.8), values=(0.2, 1.0, 0.5, 0.1))
    """

    boundaries: tuple[Duration, ...]
    values: tuple[Factor, ...]

    def __post_init__(self) -> None:
        if len(self.values) != len(self.boundaries) + 1:
            raise InputError(
                f"{len(self.boundaries)} boundaries and {len(self.values)} values; "
                f"give {len(self.boundaries) + 1} values"
            )

    def __call__(self, horizon: int, /) -> Array:
        passed = _passed(self.boundaries, horizon)[: len(clock(horizon))]
        return np.asarray(self.values, dtype=np.float64)[passed]

    def closing(self, horizon: int) -> float:
        return float(self.values[_passed(self.boundaries, horizon)[horizon]])

    @property
    def facts(self) -> Facts:
        monotone: Monotone | None = None
        if list(self.values) == sorted(self.values):
            monotone = "increasing"
        elif list(self.values) == sorted(self.values, reverse=True):
            monotone = "decreasing"
        return Facts(min(self.values), max(self.values), monotone, anytime=_counted(self.boundaries))


@value("schedule")
class Rex:
    """s_t = final + (1 - final) (1 - p)/((1 - depth) + depth (1 - p)): reflected exponential (Chen, Wolfe and
    Kyrillidis 2022).

    depth 0.5 is the paper's (1 - p)/(1 - p/2), 0 is `Linear`; the deeper, the longer the rate stays high.

    >>> Rex()(4).round(4)
    array([1.    , 0.8571, 0.6667, 0.4   ])

    Pictured: Rex()
    """

    final: Fraction = 0.0
    depth: Annotated[float, Interval(ge=0, lt=1)] = 0.5

    def __call__(self, horizon: int, /) -> Array:
        return self.curve(progress(horizon))

    def curve(self, p: Array) -> Array:
        return blend((1 - p) / ((1 - self.depth) + self.depth * (1 - p)), self.final)

    @property
    def facts(self) -> Facts:
        return _between(1.0, self.final)


@value("schedule")
class Tanh:
    """s_t = final + (1 - final)/2 (1 - tanh(low (1 - p) + high p)): hyperbolic tangent decay (Hsueh, Li and
    Wu 2018), as in timm.

    It begins just below 1 and ends just above `final`: by default at 1 - 8e-7 and final + 0.0025.

    Pictured: Tanh()
    """

    final: Factor = 0.0
    low: Annotated[float, Interval(ge=-1e6, le=1e6)] = -7.0
    high: Annotated[float, Interval(ge=-1e6, le=1e6)] = 3.0

    def __call__(self, horizon: int, /) -> Array:
        return self.curve(progress(horizon))

    def curve(self, p: Array) -> Array:
        return blend((1 - np.tanh(self.low * (1 - p) + self.high * p)) / 2, self.final)

    @property
    def facts(self) -> Facts:
        return _between(float(self.curve(np.zeros(1))[0]), closing(self, 0))


@value("schedule")
class TriStage:
    """Warmup, hold, exponential decay (Park et al. 2019, SpecAugment; the conventions are fairseq's).

    With W, H the lengths of the first two stages and D = T - W - H: s_t = start + (1 - start) t/W for t < W,
    1 for the next H updates, then final^((t - W - H)/D). What the horizon does not reach is cut off.

    >>> TriStage(warmup=2, hold=2, start=0.5)(8).round(4)
    array([0.5   , 0.75  , 1.    , 1.    , 1.    , 0.3162, 0.1   , 0.0316])

    Pictured: TriStage(0.1, hold=0.4)
    """

    warmup: Duration
    hold: Duration
    start: Factor = 0.01
    final: Annotated[float, Interval(gt=0, le=1e12)] = 0.01

    def __call__(self, horizon: int, /) -> Array:
        held = min(uncut(self.warmup, horizon) + uncut(self.hold, horizon), horizon)
        s = rise(horizon, self.warmup, self.start)
        s[held:] = np.power(self.final, progress(horizon - held))
        return s

    def closing(self, horizon: int) -> float:
        W = uncut(self.warmup, horizon)
        if W + uncut(self.hold, horizon) > horizon:
            return float(rise(horizon + 1, W, self.start)[horizon])
        return self.final

    @property
    def facts(self) -> Facts:
        ends = (self.start if self.warmup else 1.0, self.final)
        monotone: Monotone | None = None
        if ends[0] <= 1 <= ends[1] or ends[1] <= 1 <= ends[0]:
            monotone = "increasing" if ends[0] <= ends[1] else "decreasing"
        return Facts(min(1.0, *ends), max(1.0, *ends), monotone)


@value("schedule")
class WarmupStableDecay:
    """The trapezoid: a linear warmup, 1, and a cooldown (Hägele et al. 2024).

    In numbers `Cooldown(Warmup(Constant(), warmup), cooldown, shape, final)`: (t + 1)/(W + 1) for t < W,
    times the factor of the shape over the last C updates, by default (T - t)/C; where the two overlap they
    multiply.

    >>> WarmupStableDecay(warmup=1, cooldown=2)(5)
    array([0.5, 1. , 1. , 1. , 0.5])

    Pictured: WarmupStableDecay()
    """

    warmup: Duration = 0.05
    cooldown: Duration = 0.2
    shape: Fall = "linear"
    final: Factor = 0.0

    def __post_init__(self) -> None:
        check_fall(self.shape, self.final)

    def __call__(self, horizon: int, /) -> Array:
        return rise(horizon, self.warmup) * fall(horizon, self.cooldown, self.shape, self.final)

    def closing(self, horizon: int) -> float:
        arrived = rise(horizon + 1, uncut(self.warmup, horizon))[horizon]
        return float(arrived * (self.final if updates(self.cooldown, horizon) else 1.0))

    @property
    def facts(self) -> Facts:
        low = 0.0 if self.warmup else 1.0
        anytime = not self.cooldown and (isinstance(self.warmup, int) or not self.warmup)
        if not self.cooldown or self.final >= 1:
            high = max(self.final, 1.0) if self.cooldown else 1.0
            return Facts(low, high, "increasing", anytime=anytime)
        return Facts(min(low, self.final), 1.0, None if self.warmup else "decreasing")


def progress(horizon: int) -> Array:
    """p = t/T, t = 0..T-1."""
    return clock(horizon) / max(horizon, 1)


def check_fall(shape: Fall, final: float) -> None:
    """InputError for an exponential cooldown to 0, which takes for ever."""
    if shape == "exponential" and not final:
        raise InputError('an "exponential" cooldown never arrives at final = 0.0; give final > 0')


def _between(first: float, last: float) -> Facts:
    """The facts of a shape that runs from one value to another and never back."""
    return Facts(min(first, last), max(first, last), "decreasing" if last <= first else "increasing")


def _powers_of(gamma: float, most: float, *, anytime: bool) -> Facts:
    """The facts of gamma^k, k = 0, 1, ..., at most `most`, in this order."""
    with np.errstate(over="ignore", under="ignore"):
        end = float(np.power(np.float64(gamma), most))
    ends = _between(1.0, end)
    return Facts(ends.low, ends.high, ends.monotone, anytime=anytime)


def _passed(moments: tuple[int | float, ...], horizon: int) -> Integers:
    """For t = 0..T, how many of the moments are <= t."""
    acts = np.sort(np.array([uncut(moment, horizon) for moment in moments], dtype=np.int64))
    return np.searchsorted(acts, np.arange(horizon + 1), side="right")


def _counted(moments: tuple[int | float, ...]) -> bool:
    return all(isinstance(moment, int) for moment in moments)
