"""The elementary shapes of a learning rate, on one page.

A schedule is a callable: a horizon of T updates in, T dimensionless multipliers s_0..s_{T-1} >= 0 out; the
step is lr * s_t. A plain function is a schedule too. What a shape knows about itself it declares as `facts`,
and one test per fact measures it. Throughout, t = 0..T-1 counts updates and p = t/T; a horizon of 0 gives an
empty array. Formulas and peers: docs and theory.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from annotated_types import Ge, Gt, Interval

from theory.arrays import Array, InputError
from theory.notation import value

Fraction: TypeAlias = Annotated[float, Interval(ge=0, le=1)]
Duration: TypeAlias = Annotated[int, Ge(0), "updates"] | Annotated[Fraction, "fraction of the horizon"]
Period: TypeAlias = (
    Annotated[int, Ge(1), "updates"] | Annotated[float, Interval(gt=0, le=1), "fraction of the horizon"]
)
Monotone: TypeAlias = Literal["constant", "decreasing", "increasing"]


@runtime_checkable
class Schedule(Protocol):
    """horizon T -> multipliers s_0..s_{T-1} >= 0, shape (T,), float64; horizon 0 gives an empty array."""

    def __call__(self, horizon: int, /) -> Array: ...


@dataclass(frozen=True)
class Facts:
    """What a schedule declares, for every horizon. The defaults claim nothing beyond the protocol.

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


def updates(duration: int | float, horizon: int) -> int:
    """A duration in updates, at most `horizon`: an int counts updates, a float f is floor(f * T + 1e-9) of
    them.

    >>> updates(1, 100), updates(1.0, 100), updates(0.29, 100), updates(500, 100)
    (1, 100, 29, 100)
    """
    return min(duration if isinstance(duration, int) else math.floor(duration * horizon + 1e-9), horizon)


def cycle_length(period: int | float, horizon: int) -> int:
    """A period in updates, at least 1. An int is not clipped: a cycle that is cut short keeps its shape."""
    return min(period, 2**53) if isinstance(period, int) else max(updates(period, horizon), 1)


def rise(horizon: int, length: int | float) -> Array:
    """The factor of a linear warmup over W updates: (t + 1)/(W + 1) for t < W, then 1. Shape (T,).

    W may exceed the horizon: the ramp is then cut short, not compressed, so that a warmup in updates stays
    anytime.
    """
    W = min(length, 2**53) if isinstance(length, int) else updates(length, horizon)
    return np.minimum((_clock(horizon) + 1) / (W + 1), 1.0)


def fall(horizon: int, length: int | float) -> Array:
    """The factor of a linear cooldown: 1, then 1 - k/C for k = 0..C-1 over the last C updates. Shape (T,).

    C is at most the horizon; the value 0 would be reached at t = T, after the last update.
    """
    C = updates(length, horizon)
    return np.minimum((horizon - _clock(horizon)) / max(C, 1), 1.0)


@value("schedule")
class Constant:
    """s_t = 1."""

    def __call__(self, horizon: int, /) -> Array:
        return np.ones_like(_clock(horizon))

    @property
    def facts(self) -> Facts:
        return Facts(1.0, 1.0, None, anytime=True)


@value("schedule")
class InversePower:
    """s_t = (1 + t/timescale)^-power, the decay of Robbins and Monro (1951): 1/2 is inverse square root, 1
    inverse time.

    >>> InversePower(0.5)(4)
    array([1.        , 0.70710678, 0.57735027, 0.5       ])
    """

    power: Annotated[float, Ge(0)]
    timescale: Annotated[float, Gt(0)] = 1.0

    def __call__(self, horizon: int, /) -> Array:
        with np.errstate(over="ignore"):  # a vanishing timescale or a huge power means 0
            return np.asarray(np.power(1 + _clock(horizon) / self.timescale, -self.power))

    @property
    def facts(self) -> Facts:
        return Facts(0.0 if self.power else 1.0, 1.0, "decreasing", anytime=True)


@value("schedule")
class Linear:
    """s_t = 1 - (1 - final) p: from 1 at t = 0 to `final` at t = T, one step after the last.

    >>> Linear()(4)
    array([1.  , 0.75, 0.5 , 0.25])
    """

    final: Fraction = 0.0

    def __call__(self, horizon: int, /) -> Array:
        return 1 - (1 - self.final) * _progress(horizon)

    @property
    def facts(self) -> Facts:
        return Facts(self.final, 1.0, "decreasing", anytime=False)


@value("schedule")
class Polynomial:
    """s_t = final + (1 - final) (1 - p)^power; power 1 is `Linear`."""

    power: Annotated[float, Ge(0)]
    final: Fraction = 0.0

    def __call__(self, horizon: int, /) -> Array:
        return self.final + (1 - self.final) * (1 - _progress(horizon)) ** self.power

    @property
    def facts(self) -> Facts:
        return Facts(self.final if self.power else 1.0, 1.0, "decreasing", anytime=False)


@value("schedule")
class Cosine:
    """s_t = final + (1 - final) (1 + cos(pi p))/2: half a cosine without restarts (Loshchilov and Hutter
    2017).

    >>> Cosine()(4).round(4)
    array([1.    , 0.8536, 0.5   , 0.1464])
    """

    final: Fraction = 0.0

    def __call__(self, horizon: int, /) -> Array:
        return self.final + (1 - self.final) * (1 + np.cos(np.pi * _progress(horizon))) / 2

    @property
    def facts(self) -> Facts:
        return Facts(self.final, 1.0, "decreasing", anytime=False)


@value("schedule")
class Exponential:
    """s_t = gamma^t; underflows to exactly 0, harmlessly.

    >>> Exponential(0.5)(4)
    array([1.   , 0.5  , 0.25 , 0.125])
    """

    gamma: Fraction

    def __call__(self, horizon: int, /) -> Array:
        return _powers(self.gamma, len(_clock(horizon)))

    @property
    def facts(self) -> Facts:
        return Facts(1.0 if self.gamma == 1 else 0.0, 1.0, "decreasing", anytime=True)


@value("schedule")
class Step:
    """s_t = gamma^floor(t/every), `every` a number of updates or a fraction of the horizon (then at least 1
    update).

    >>> Step(0.5, every=2)(5)
    array([1.  , 1.  , 0.5 , 0.5 , 0.25])
    """

    gamma: Fraction
    every: Period

    def __call__(self, horizon: int, /) -> Array:
        every = min(cycle_length(self.every, horizon), max(horizon, 1))
        return np.repeat(_powers(self.gamma, -(-len(_clock(horizon)) // every)), every)[:horizon]

    @property
    def facts(self) -> Facts:
        return Facts(1.0 if self.gamma == 1 else 0.0, 1.0, "decreasing", anytime=isinstance(self.every, int))


@value("schedule")
class MultiStep:
    """s_t = gamma^k, k the number of milestones <= t: a milestone m acts from update m on, as in torch and
    optax.

    >>> MultiStep((2, 0.8), gamma=0.5)(5)
    array([1.  , 1.  , 0.5 , 0.5 , 0.25])
    """

    milestones: tuple[Duration, ...]
    gamma: Fraction

    def __call__(self, horizon: int, /) -> Array:
        passed = np.sort([updates(milestone, horizon) for milestone in self.milestones])
        count = np.searchsorted(passed, np.arange(horizon), side="right")
        return np.asarray(np.power(self.gamma, count.astype(np.float64)))

    @property
    def facts(self) -> Facts:
        anytime = all(isinstance(milestone, int) for milestone in self.milestones)
        return Facts(self.gamma ** len(self.milestones), 1.0, "decreasing", anytime=anytime)


@value("schedule")
class Triangular:
    """Cycles low -> 1 -> low (Smith 2017): with u = (t mod P)/P, s_t = low + (1 - low)(1 - |2u - 1|),
    starting at low.

    P is a number of updates or a fraction of the horizon (then at least 1 update; a period of 1 stays at
    low).

    >>> Triangular(4)(6)
    array([0. , 0.5, 1. , 0.5, 0. , 0.5])
    """

    period: Period
    low: Fraction = 0.0

    def __call__(self, horizon: int, /) -> Array:
        P = cycle_length(self.period, horizon)
        u = _clock(horizon) % P / P
        return self.low + (1 - self.low) * (1 - np.abs(2 * u - 1))

    @property
    def facts(self) -> Facts:
        return Facts(self.low, 1.0, None, anytime=isinstance(self.period, int))


@value("schedule")
class WarmupStableDecay:
    """The trapezoid: a linear warmup, 1, and a linear cooldown (Hägele et al. 2024).

    In numbers `Cooldown(Warmup(Constant(), warmup), cooldown)`: (t + 1)/(W + 1) for t < W, times (T - t)/C
    over the last C updates; where the two overlap they multiply.

    >>> WarmupStableDecay(warmup=1, cooldown=2)(5)
    array([0.5, 1. , 1. , 1. , 0.5])
    """

    warmup: Duration = 0.05
    cooldown: Duration = 0.2

    def __call__(self, horizon: int, /) -> Array:
        return rise(horizon, self.warmup) * fall(horizon, self.cooldown)

    @property
    def facts(self) -> Facts:
        if not self.cooldown:
            low = 0.0 if self.warmup else 1.0
            return Facts(low, 1.0, "increasing", anytime=isinstance(self.warmup, int) or not self.warmup)
        return Facts(0.0, 1.0, None if self.warmup else "decreasing", anytime=False)


def _clock(horizon: int) -> Array:
    if horizon < 0:
        raise InputError(f"horizon is {horizon}; a number of updates is at least 0")
    return np.arange(horizon, dtype=np.float64)


def _progress(horizon: int) -> Array:
    return _clock(horizon) / max(horizon, 1)


def _powers(base: float, count: int) -> Array:
    """1, base, base^2, ...; only those that do not underflow are computed, because underflow is slow."""
    powers = np.zeros(count)
    alive = count if base == 1 else min(count, 1 + int(-745.2 / math.log(base)) if base else 1)
    powers[:alive] = np.power(base, np.arange(alive, dtype=np.float64))
    return powers
