"""Learning rates that come back: triangles, cosine waves and restarts, one cycle, saw teeth.

Conventions as in `schedules`: t = 0..T-1 counts updates, p = t/T, multipliers >= 0. `theory.combine.Repeat`
makes a cycle of any schedule.
"""

import math
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Interval

from ratelab.theory.arrays import Array, InputError
from ratelab.theory.notation import value
from ratelab.theory.schedules import (
    Factor,
    Facts,
    Fraction,
    HorizonError,
    Monotone,
    Period,
    blend,
    clock,
    cycle_length,
    powers,
    progress,
)

__all__ = ["CosineRestarts", "CosineWave", "OneCycle", "Sawtooth", "Triangular"]


@value("schedule")
class Triangular:
    """Cycles low -> 1 -> low (Smith 2017): with u = (t mod P)/P, s_t = low + (1 - low) min(u/up, (1 - u)/(1 -
    up)) A_t, starting at low.

    `up` is the part of the period spent rising. The amplitude A_t = decay^floor(t/P) * gamma^t: decay 0.5 is
    the policy "triangular2", a gamma below 1 is "exp_range"; above 1 they grow, and HorizonError says when
    they overflow. P is a number of updates or a fraction of the horizon (then at least 1 update; a period of
    1 stays at low). Checked numerically against torch's CyclicLR.

    >>> Triangular(4)(6)
    array([0. , 0.5, 1. , 0.5, 0. , 0.5])

    Pictured: Triangular(25)
    """

    period: Period
    low: Fraction = 0.0
    up: Annotated[float, Interval(gt=0, le=1)] = 0.5
    decay: Factor = 1.0
    gamma: Factor = 1.0

    def __call__(self, horizon: int, /) -> Array:
        return self._during(cycle_length(self.period, horizon), horizon)

    def closing(self, horizon: int) -> float:
        return float(self._during(cycle_length(self.period, horizon), horizon + 1)[horizon])

    def _during(self, P: int, horizon: int) -> Array:
        cycle = min(P, horizon)
        u = clock(cycle) / P
        with np.errstate(divide="ignore", over="ignore"):  # up = 1, or up next to 0: the other side counts
            triangle = np.minimum(u / self.up, (1 - u) / (1 - self.up))
        s = tiled(triangle, horizon)
        with np.errstate(over="ignore"):
            if self.decay != 1:
                s = s * np.repeat(powers(self.decay, -(-horizon // max(cycle, 1))), cycle)[:horizon]
            if self.gamma != 1:
                s = s * powers(self.gamma, horizon)
        if not np.isfinite(s).all():
            raise HorizonError(f"{self!r} overflows within {horizon} updates; ask for fewer")
        return self.low + (1 - self.low) * s

    @property
    def facts(self) -> Facts:
        grows = (self.decay > 1 or self.gamma > 1) and self.low < 1
        return Facts(self.low, math.inf if grows else 1.0, None, anytime=isinstance(self.period, int))


@value("schedule")
class CosineWave:
    """s_t = final + (1 - final) (1 + cos(pi t/half_period))/2, for ever: down, up again, and so on.

    What torch's CosineAnnealingLR does when it is stepped past its T_max = half_period.

    >>> CosineWave(2)(6)
    array([1. , 0.5, 0. , 0.5, 1. , 0.5])

    Pictured: CosineWave(25)
    """

    half_period: Annotated[int, Ge(1)]
    final: Factor = 0.0

    def __call__(self, horizon: int, /) -> Array:
        half = min(self.half_period, 2**53)
        wave = (1 + np.cos(np.pi * (clock(min(2 * half, len(clock(horizon)))) / half))) / 2
        return blend(tiled(wave, horizon), self.final)

    @property
    def facts(self) -> Facts:
        return Facts(min(1.0, self.final), max(1.0, self.final), None, anytime=True)


@value("schedule")
class CosineRestarts:
    """s_t = final + (1 - final) (1 + cos(pi ((cycles p) mod 1)))/2: `cycles` descents, each of T/cycles
    updates, with hard restarts between them.

    As in transformers' cosine_with_restarts, whose order of evaluation is kept: where cycles * p misses a
    whole number by rounding, the restart comes one update late there as here. At t = T, where the next
    restart would be, the value is `final`. With cycles of growing length: `Repeat(Cosine(), ...)`.

    Pictured: CosineRestarts(4.0)
    """

    cycles: Annotated[float, Interval(gt=0, le=1e12)] = 1.0
    final: Factor = 0.0

    def __call__(self, horizon: int, /) -> Array:
        return self.curve(progress(horizon))

    def curve(self, p: Array) -> Array:
        wave = (1 + np.cos(np.pi * (self.cycles * p % 1.0))) / 2
        return blend(np.where(p < 1, wave, 0.0), self.final)

    @property
    def facts(self) -> Facts:
        monotone: Monotone | None = None
        if self.cycles <= 1:
            monotone = "decreasing" if self.final <= 1 else "increasing"
        return Facts(min(1.0, self.final), max(1.0, self.final), monotone)


@value("schedule")
class OneCycle:
    """One rise start -> 1 and one fall 1 -> final (Smith and Topin 2019); multipliers of the largest rate.

    The rise ends at t = peak T - 1 and the fall at t = T - 1, in fractions of updates, so that the last
    update has the rate `final`: torch's conventions, start being 1/div_factor and final
    1/(div_factor final_div_factor). With `three_phase` the fall to `start` ends at 2 peak T - 2, and
    `final` is approached from there. Each phase is half a cosine or a line. Its closing value is `final`.

    >>> OneCycle(peak=0.5, start=0.2, final=0.0, shape="linear")(6).round(4)
    array([0.2   , 0.6   , 1.    , 0.6667, 0.3333, 0.    ])

    Pictured: OneCycle()
    """

    peak: Annotated[float, Interval(gt=0, le=1)] = 0.3
    start: Factor = 1 / 25
    final: Factor = 4e-6
    shape: Literal["cosine", "linear"] = "cosine"
    three_phase: bool = False

    def __post_init__(self) -> None:
        if self.three_phase and self.peak > 0.5:
            raise InputError(
                f"three phases with the peak at {self.peak} of the horizon overrun it; peak <= 0.5"
            )

    def __call__(self, horizon: int, /) -> Array:
        t, s = clock(horizon), np.empty_like(clock(horizon))
        rest = [(2 * self.peak * horizon - 2, self.start)] if self.three_phase else []
        begin, value, done = 0.0, self.start, 0
        for end, target in ((self.peak * horizon - 1, 1.0), *rest, (horizon - 1.0, self.final)):
            until = max(done, min(math.floor(end) + 1, horizon))
            u = (t[done:until] - begin) / (end - begin) if end > begin else np.ones(until - done)
            g = 1 - u if self.shape == "linear" else (1 + np.cos(np.pi * u)) / 2
            s[done:until] = value * g + target * (1 - g)
            begin, value, done = end, target, until
        return s

    def closing(self, horizon: int) -> float:  # noqa: ARG002
        return self.final

    @property
    def facts(self) -> Facts:
        return Facts(min(self.start, 1.0, self.final), max(self.start, 1.0, self.final))


@value("schedule")
class Sawtooth:
    """s_t = (1 - u) + u final, u = ((t mod c) + 1)/c, c = `period`: the cyclical rate of stochastic weight
    averaging (Izmailov et al. 2018), which averages where u = 1.

    >>> Sawtooth(4, final=0.2)(6)
    array([0.8, 0.6, 0.4, 0.2, 0.8, 0.6])

    Pictured: Sawtooth(25, final=0.1)
    """

    period: Annotated[int, Ge(1)]
    final: Factor

    def __call__(self, horizon: int, /) -> Array:
        c = min(self.period, 2**53)
        u = (clock(min(c, len(clock(horizon)))) + 1) / c
        return tiled((1 - u) + u * self.final, horizon)

    @property
    def facts(self) -> Facts:
        first = (1 - 1 / self.period) + 1 / self.period * self.final
        return Facts(min(first, self.final), max(first, self.final), None, anytime=True)


def tiled(cycle: Array, horizon: int) -> Array:
    """`cycle` again and again, `horizon` values in all."""
    if len(cycle) >= horizon:
        return cycle[:horizon]
    repeats = -(-horizon // len(cycle))
    return np.ascontiguousarray(np.broadcast_to(cycle, (repeats, len(cycle))).reshape(-1)[:horizon])
