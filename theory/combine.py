"""Schedules made of schedules: warmup, cooldown, one after the other, again and again, products, limits. Each
combinator states its law.

The parts may be any schedule, plain functions included. What a combination knows about itself follows from
the declared facts of its parts, conservatively: a fact that does not follow is not claimed. Where a part does
not exist for the horizon it is given, or where the combination overflows, HorizonError says so.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Annotated, Final, Literal

import numpy as np
from annotated_types import Ge, Interval

from ratelab.theory.arrays import Array, InputError
from ratelab.theory.notation import value
from ratelab.theory.schedules import (
    Duration,
    Factor,
    Facts,
    Fall,
    HorizonError,
    Monotone,
    Period,
    Rise,
    Schedule,
    Start,
    check_fall,
    clock,
    closing,
    cycle_length,
    facts,
    fall,
    multipliers,
    powers,
    rise,
    uncut,
    updates,
)

__all__ = ["Clip", "Cooldown", "Held", "Product", "Repeat", "Scaled", "Then", "Warmup", "Within"]

LONGEST: Final = 2**24
"""Updates that a part is evaluated for, at most, when only its beginning is needed."""


@value("schedule")
class Warmup:
    """A warmup in front of a schedule; the horizon includes it.

    With W = `length` and v the first value of the schedule, s_t = (a + (1 - a) g(u)) v for t < W. How it
    starts: u = (t + 1)/(W + 1), by default (the first value is not 0, and the schedule's own first value
    comes at t = W); u = (t + 1)/W (that value comes at t = W - 1 already, and again at W), both with a = 0;
    or u = t/W from a factor a, given as a number (0.0 is transformers' convention, whose first update is
    lost). `shape` is g: "linear" u, "cosine" (1 - cos pi u)/2, "1-sqrt" 1 - sqrt(1 - u); "exponential" is
    a^(1 - u) as a whole and needs a number a > 0.

    From W on the schedule runs over the T - W updates left, schedule(T - W)[t - W]; with `overlap` its clock
    runs during the warmup, schedule(T)[t], as in timm. When W >= T only the ramp is seen, cut short but not
    compressed; without overlap v is then the first value of schedule(1).
    Law: Warmup(schedule, 0) equals schedule.

    >>> from ratelab.theory.schedules import Linear
    >>> Warmup(Linear(), 2)(6).round(4)
    array([0.3333, 0.6667, 1.    , 0.75  , 0.5   , 0.25  ])
    >>> Warmup(Linear(), 2, start=0.0, overlap=True)(6).round(4)
    array([0.    , 0.5   , 0.6667, 0.5   , 0.3333, 0.1667])

    Pictured: Warmup(Cosine(), length=0.2)
    """

    schedule: Schedule
    length: Duration
    start: Start = "1/(W+1)"
    shape: Rise = "linear"
    overlap: bool = False

    def __post_init__(self) -> None:
        if self.shape == "exponential" and (isinstance(self.start, str) or not self.start):
            raise InputError(
                f'an "exponential" warmup multiplies its way up from a number start > 0, not {self.start!r}'
            )

    def __call__(self, horizon: int, /) -> Array:
        W = updates(self.length, horizon)
        ramp = rise(horizon, self.length, self.start, self.shape)
        if self.overlap:
            s = multipliers(self.schedule, horizon)
            first, rest = s[:1], s[W:]
        else:
            s = multipliers(self.schedule, max(horizon - W, 1))
            first, rest = s[:1], s[: horizon - W]
        with np.errstate(over="ignore"):
            return _finite(self, np.concatenate([ramp[:W] * first, rest]))

    def closing(self, horizon: int) -> float:
        W = uncut(self.length, horizon)
        if horizon >= W:
            return closing(self.schedule, horizon if self.overlap else horizon - W)
        first = multipliers(self.schedule, horizon if self.overlap and horizon else 1)[0]
        return float(rise(horizon + 1, W, self.start, self.shape)[horizon] * first)

    @property
    def facts(self) -> Facts:
        part = facts(self.schedule)
        if not self.length:
            return part
        a = 0.0 if isinstance(self.start, str) else self.start
        monotone: Monotone | None = None
        if a <= 1 and part.monotone in ("constant", "increasing"):
            monotone = "increasing"
        elif a >= 1 and part.monotone in ("constant", "decreasing"):
            monotone = "decreasing"
        anytime = part.anytime and isinstance(self.length, int)
        return Facts(part.low * min(a, 1.0), part.high * max(a, 1.0), monotone, anytime=anytime)


@value("schedule")
class Cooldown:
    """The last C = `length` updates of a schedule, multiplied by final + (1 - final) g(u), u = k/C for
    k = 0..C-1, so that `final` would be reached at t = T.

    `shape` is g: "linear" 1 - u, "cosine" (1 + cos pi u)/2, "1-sqrt" 1 - sqrt(u) and "mirror cosine"
    2 (1 - u) - (1 + cos pi u)/2 (both Hägele et al. 2024), "1-square" 1 - u^2; "exponential" is final^u as a
    whole and needs final > 0.
    Law: Cooldown(schedule, 0) equals schedule, and Cooldown(Constant(), 1.0) equals Linear().

    >>> from ratelab.theory.schedules import Constant
    >>> Cooldown(Constant(), 2)(4)
    array([1. , 1. , 1. , 0.5])

    Pictured: Cooldown(Constant(), length=0.4, shape="1-sqrt")
    """

    schedule: Schedule
    length: Duration
    shape: Fall = "linear"
    final: Factor = 0.0

    def __post_init__(self) -> None:
        check_fall(self.shape, self.final)

    def __call__(self, horizon: int, /) -> Array:
        with np.errstate(over="ignore"):
            factor = fall(horizon, self.length, self.shape, self.final)
            return _finite(self, multipliers(self.schedule, horizon) * factor)

    def closing(self, horizon: int) -> float:
        return closing(self.schedule, horizon) * (self.final if updates(self.length, horizon) else 1.0)

    @property
    def facts(self) -> Facts:
        part = facts(self.schedule)
        if not self.length:
            return part
        monotone: Monotone | None = None
        if self.final <= 1 and part.monotone in ("constant", "decreasing"):
            monotone = "decreasing"
        elif self.final >= 1 and part.monotone in ("constant", "increasing"):
            monotone = "increasing"
        return Facts(part.low * min(self.final, 1.0), part.high * max(self.final, 1.0), monotone)


@value("schedule")
class Then:
    """One schedule after another: with m = `at`, first(m) followed by second(T - m), each on its own horizon.

    Law: concatenation is associative; Then(first, second, 0) equals second and Then(first, second, 1.0)
    equals first.

    >>> from ratelab.theory.schedules import Constant, Linear
    >>> Then(Constant(), Linear(), at=2)(6)
    array([1.  , 1.  , 1.  , 0.75, 0.5 , 0.25])

    Pictured: Then(Linear(final=0.5), second=Rex(), at=0.4)
    """

    first: Schedule
    second: Schedule
    at: Duration

    def __call__(self, horizon: int, /) -> Array:
        m = updates(self.at, horizon)
        return np.concatenate([multipliers(self.first, m), multipliers(self.second, horizon - m)])

    def closing(self, horizon: int) -> float:
        m = uncut(self.at, horizon)
        if m > horizon or (m == horizon and isinstance(self.at, float) and self.at):
            return closing(self.first, horizon)
        return closing(self.second, horizon - m)

    @property
    def facts(self) -> Facts:
        before, after = facts(self.first), facts(self.second)
        monotone: Monotone | None = None
        if {before.monotone, after.monotone} <= {"constant", "decreasing"} and before.low >= after.high:
            monotone = "decreasing"
        elif {before.monotone, after.monotone} <= {"constant", "increasing"} and before.high <= after.low:
            monotone = "increasing"
        anytime = before.anytime and after.anytime and isinstance(self.at, int)
        return Facts(min(before.low, after.low), max(before.high, after.high), monotone, anytime=anytime)


@value("schedule")
class Scaled:
    """A schedule times a factor >= 0. Law: Scaled(Scaled(s, a), b) equals Scaled(s, a * b) up to rounding.

    Pictured: Scaled(Linear(), factor=0.5)
    """

    schedule: Schedule
    factor: Factor

    def __call__(self, horizon: int, /) -> Array:
        with np.errstate(over="ignore"):
            return _finite(self, multipliers(self.schedule, horizon) * self.factor)

    def closing(self, horizon: int) -> float:
        return closing(self.schedule, horizon) * self.factor

    @property
    def facts(self) -> Facts:
        part = facts(self.schedule)
        if not self.factor:
            return Facts(0.0, 0.0, None, anytime=part.anytime)
        return Facts(part.low * self.factor, part.high * self.factor, part.monotone, anytime=part.anytime)


@value("schedule")
class Product:
    """Two schedules at once, multiplied: first(T)[t] * second(T)[t]. Law: it commutes; Constant() is its one.

    >>> from ratelab.theory.schedules import Exponential, Linear
    >>> Product(Linear(), Exponential(0.5))(4)
    array([1.     , 0.375  , 0.125  , 0.03125])

    Pictured: Product(Triangular(25), second=Linear())
    """

    first: Schedule
    second: Schedule

    def __call__(self, horizon: int, /) -> Array:
        with np.errstate(over="ignore"):
            return _finite(self, multipliers(self.first, horizon) * multipliers(self.second, horizon))

    def closing(self, horizon: int) -> float:
        return closing(self.first, horizon) * closing(self.second, horizon)

    @property
    def facts(self) -> Facts:
        one, other = facts(self.first), facts(self.second)
        monotone: Monotone | None = None
        if {one.monotone, other.monotone} <= {"constant", "decreasing"}:
            monotone = "decreasing"
        elif {one.monotone, other.monotone} <= {"constant", "increasing"}:
            monotone = "increasing"
        high = one.high * other.high if one.high and other.high else 0.0  # never 0 * inf
        return Facts(one.low * other.low, high, monotone, anytime=one.anytime and other.anytime)


@value("schedule")
class Clip:
    """A schedule between a floor low/lr and a ceiling high/lr. Law: clipping twice is clipping once.

    With lr = 1, the default, `low` and `high` are ratios; with the lr they were meant for, they are absolute
    rates.

    >>> from ratelab.theory.schedules import Linear
    >>> Clip(Linear(), low=1e-5, lr=2e-5)(4)
    array([1.  , 0.75, 0.5 , 0.5 ])

    Pictured: Clip(Cosine(), low=0.1, high=0.8)
    """

    schedule: Schedule
    low: Factor = 0.0
    high: Factor = 1e12
    lr: Annotated[float, Interval(ge=1e-12, le=1e12)] = 1.0

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise InputError(f"low = {self.low} lies above high = {self.high}; exchange them")

    def __call__(self, horizon: int, /) -> Array:
        return np.clip(multipliers(self.schedule, horizon), self.low / self.lr, self.high / self.lr)

    def closing(self, horizon: int) -> float:
        return self._clipped(closing(self.schedule, horizon))

    def _clipped(self, s: float) -> float:
        return min(max(s, self.low / self.lr), self.high / self.lr)

    @property
    def facts(self) -> Facts:
        part = facts(self.schedule)
        return Facts(self._clipped(part.low), self._clipped(part.high), part.monotone, anytime=part.anytime)


@value("schedule")
class Within:
    """A schedule on a horizon of its own, N = `length` updates of the T: schedule(N), whatever T is.

    `end`: where its closing value, the one that the formula takes one step after the last, is reached: at
    t = N ("T"), or at t = N - 1 ("T-1": schedule(N - 1) and then that value). `beyond`: what follows N, that
    value for ever ("clip") or, for a T > N, HorizonError ("error").
    Law: Within(schedule, 1.0) equals schedule; a cut T < N shows the beginning of schedule(N).

    >>> from ratelab.theory.schedules import Linear
    >>> Within(Linear(final=0.5), 4)(6)
    array([1.   , 0.875, 0.75 , 0.625, 0.5  , 0.5  ])
    >>> Within(Linear(final=0.5), end="T-1")(5)
    array([1.   , 0.875, 0.75 , 0.625, 0.5  ])

    Pictured: Within(Cosine(final=0.1), length=60)
    """

    schedule: Schedule
    length: Duration = 1.0
    end: Literal["T", "T-1"] = "T"
    beyond: Literal["clip", "error"] = "clip"

    def __call__(self, horizon: int, /) -> Array:
        N = uncut(self.length, len(clock(horizon)))
        if horizon > N and self.beyond == "error":
            raise HorizonError(f"{self!r} ends after {N} updates, and {horizon} are asked for; ask for fewer")
        return self._during(N, horizon)

    def closing(self, horizon: int) -> float:
        return float(self._during(uncut(self.length, horizon), horizon + 1)[horizon])

    def _during(self, N: int, horizon: int) -> Array:
        own = max(N - 1, 0) if self.end == "T-1" else N
        s = beginning(self.schedule, own, min(own, horizon))
        return s if horizon <= own else np.append(s, np.full(horizon - own, closing(self.schedule, own)))

    @property
    def facts(self) -> Facts:
        part = facts(self.schedule)
        whole = isinstance(self.length, float) and self.length == 1 and self.end == "T"
        anytime = isinstance(self.length, int) or (whole and part.anytime)
        return Facts(part.low, part.high, part.monotone, anytime=anytime)


@value("schedule")
class Repeat:
    """A schedule again and again: cycle i = 0, 1, ... is schedule(T_i), T_i = floor(period growth^i + 1e-9)
    updates, and the last is cut short, not compressed.

    With v the schedule's value, s = floor + (decay^i - floor) v (0 where that is negative): the peaks shrink,
    or grow, by `decay`, down to the common `floor`. Repeat(Cosine(), period, growth, decay) are SGDR's warm
    restarts (Loshchilov and Hutter 2017); at the end of a cycle the next one starts, at t = T too.
    Law: Repeat(schedule, 1.0) equals schedule; with growth 1 and decay 1, one cycle is tiled.

    >>> from ratelab.theory.schedules import Linear
    >>> Repeat(Linear(), 2, growth=2, decay=0.5)(7)
    array([1.   , 0.5  , 0.5  , 0.375, 0.25 , 0.125, 0.25 ])

    Pictured: Repeat(Cosine(), period=15, growth=2, decay=0.7)
    """

    schedule: Schedule
    period: Period
    growth: Annotated[float, Interval(ge=1, le=1e12)] = 1.0
    decay: Factor = 1.0
    floor: Factor = 0.0

    def __call__(self, horizon: int, /) -> Array:
        return self._during(cycle_length(self.period, len(clock(horizon))), horizon)

    def closing(self, horizon: int) -> float:
        return float(self._during(cycle_length(self.period, horizon), horizon + 1)[horizon])

    def _during(self, period: int, horizon: int) -> Array:
        lengths = _lengths(period, self.growth, horizon)
        peaks = powers(self.decay, len(lengths))
        s, begin = np.empty(len(clock(horizon))), 0
        for length, first, last in _runs(lengths):  # cycles of one length at once: slow growth makes many
            end = min(begin + length * (last - first), horizon)
            v = beginning(self.schedule, length, min(length, end - begin))
            with np.errstate(over="ignore"):
                cycles = self.floor + (peaks[first:last, None] - self.floor) * v
            s[begin:end] = cycles.reshape(-1)[: end - begin]
            begin = end
        return _finite(self, np.maximum(s, 0.0))

    @property
    def facts(self) -> Facts:
        part = facts(self.schedule)
        anytime = isinstance(self.period, int)
        peaks = (1.0, 1.0 if self.decay == 1 else 0.0 if self.decay < 1 else math.inf)
        if math.inf in (part.high, *peaks):
            return Facts(anytime=anytime)
        ends = [self.floor + (peak - self.floor) * v for peak in peaks for v in (part.low, part.high)]
        monotone: Monotone | None = "decreasing" if part.monotone == "constant" else None
        return Facts(max(min(ends), 0.0), max(*ends, 0.0), monotone, anytime=anytime)


@value("schedule")
class Held:
    """Each value of a schedule held for `every` updates: schedule(ceil(T/every))[floor(t/every)], a scheduler
    that is stepped once per epoch. Law: Held(schedule, 1) equals schedule.

    >>> from ratelab.theory.schedules import Linear
    >>> Held(Linear(), 2)(4)
    array([1. , 1. , 0.5, 0.5])

    Pictured: Held(Cosine(), every=10)
    """

    schedule: Schedule
    every: Annotated[int, Ge(1)]

    def __call__(self, horizon: int, /) -> Array:
        every = min(self.every, max(len(clock(horizon)), 1))
        return np.repeat(multipliers(self.schedule, -(-horizon // every)), every)[:horizon]

    def closing(self, horizon: int) -> float:
        epochs, over = divmod(horizon, self.every)
        if over:
            return float(multipliers(self.schedule, epochs + 1)[epochs])
        return closing(self.schedule, epochs)

    @property
    def facts(self) -> Facts:
        return facts(self.schedule)


def beginning(schedule: Schedule, horizon: int, count: int) -> Array:
    """The first `count` values of schedule(horizon), without computing the others where that is possible;
    HorizonError where it is not and they are more than LONGEST.
    """
    if facts(schedule).anytime:
        return multipliers(schedule, count)
    curve = getattr(schedule, "curve", None)
    if curve is not None:
        return np.asarray(curve(clock(count) / max(horizon, 1)))
    if horizon > LONGEST:
        raise HorizonError(f"{schedule!r} over {horizon} updates does not fit; a part has at most {LONGEST}")
    return multipliers(schedule, horizon)[:count]


def _lengths(period: int, growth: float, horizon: int) -> Array:
    """The lengths of the cycles that begin within the horizon."""
    most = -(-horizon // period)
    if growth == 1:
        return np.full(most, float(period))
    if most > 1:  # no cycle after the first that is longer than the horizon
        most = min(most, 2 + math.ceil(math.log((horizon + 1) / period) / math.log(growth)))
    with np.errstate(over="ignore"):
        lengths = np.minimum(np.floor(period * np.power(growth, np.arange(most)) + 1e-9), 2.0**53)
    return lengths[: 1 + int(np.searchsorted(np.cumsum(lengths), horizon))]


def _runs(lengths: Array) -> Iterator[tuple[int, int, int]]:
    """Which neighbours are equal: (length, first, one past the last)."""
    edges = [0, *(1 + np.flatnonzero(np.diff(lengths))).tolist(), len(lengths)]
    for first, last in itertools.pairwise(edges):
        if first < last:
            yield int(lengths[first]), first, last


def _finite(schedule: Schedule, s: Array) -> Array:
    if not np.isfinite(s).all():
        raise HorizonError(f"{schedule!r} overflows within {len(s)} updates; ask for fewer or scale it down")
    return s
