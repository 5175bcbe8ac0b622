"""Schedules made of schedules: warmup, cooldown, one after the other, rescaled. Each combinator states its
law.

The parts may be any schedule, plain functions included. What a combination knows about itself follows from
the declared facts of its parts, conservatively: a fact that does not follow is not claimed.
"""

from typing import Annotated

import numpy as np
from annotated_types import Interval

from theory.arrays import Array
from theory.notation import value
from theory.schedules import Duration, Facts, Monotone, Schedule, facts, fall, multipliers, rise, updates


@value("schedule")
class Warmup:
    """A linear warmup in front of a schedule; the horizon includes it.

    With W = `length`: s_t = (t + 1)/(W + 1) * v for t < W, v the first value of schedule(T - W); then
    schedule(T - W)[t - W]. When W >= T only the ramp is seen, v then being the first value of schedule(1).
    Law: Warmup(schedule, 0) equals schedule; from W on, the schedule runs over the remaining T - W updates.

    >>> from theory.schedules import Linear
    >>> Warmup(Linear(), 2)(6).round(4)
    array([0.3333, 0.6667, 1.    , 0.75  , 0.5   , 0.25  ])
    """

    schedule: Schedule
    length: Duration

    def __call__(self, horizon: int, /) -> Array:
        W = updates(self.length, horizon)
        rest = multipliers(self.schedule, max(horizon - W, 1))
        return np.concatenate([rise(horizon, self.length)[:W] * rest[0], rest[: horizon - W]])

    @property
    def facts(self) -> Facts:
        part = facts(self.schedule)
        if not self.length:
            return part
        rising = part.monotone in ("constant", "increasing")
        anytime = part.anytime and isinstance(self.length, int)
        return Facts(0.0, part.high, "increasing" if rising else None, anytime=anytime)


@value("schedule")
class Cooldown:
    """The last C = `length` updates of a schedule, multiplied by 1 - k/C for k = 0..C-1.

    Law: Cooldown(schedule, 0) equals schedule, and Cooldown(Constant(), 1.0) equals Linear().

    >>> from theory.schedules import Constant
    >>> Cooldown(Constant(), 2)(4)
    array([1. , 1. , 1. , 0.5])
    """

    schedule: Schedule
    length: Duration

    def __call__(self, horizon: int, /) -> Array:
        return multipliers(self.schedule, horizon) * fall(horizon, self.length)

    @property
    def facts(self) -> Facts:
        part = facts(self.schedule)
        if not self.length:
            return part
        falling = part.monotone in ("constant", "decreasing")
        return Facts(0.0, part.high, "decreasing" if falling else None, anytime=False)


@value("schedule")
class Then:
    """One schedule after another: with m = `at`, first(m) followed by second(T - m), each on its own horizon.

    Law: concatenation is associative; Then(first, second, 0) equals second and Then(first, second, 1.0)
    equals first.

    >>> from theory.schedules import Constant, Linear
    >>> Then(Constant(), Linear(), at=2)(6)
    array([1.  , 1.  , 1.  , 0.75, 0.5 , 0.25])
    """

    first: Schedule
    second: Schedule
    at: Duration

    def __call__(self, horizon: int, /) -> Array:
        m = updates(self.at, horizon)
        return np.concatenate([multipliers(self.first, m), multipliers(self.second, horizon - m)])

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
    """A schedule times a factor >= 0. Law: Scaled(Scaled(s, a), b) equals Scaled(s, a * b) up to rounding."""

    schedule: Schedule
    factor: Annotated[float, Interval(ge=0, le=1e12)]

    def __call__(self, horizon: int, /) -> Array:
        return multipliers(self.schedule, horizon) * self.factor

    @property
    def facts(self) -> Facts:
        part = facts(self.schedule)
        if not self.factor:
            return Facts(0.0, 0.0, None, anytime=part.anytime)
        return Facts(part.low * self.factor, part.high * self.factor, part.monotone, anytime=part.anytime)
