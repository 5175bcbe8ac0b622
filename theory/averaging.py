"""What is made of the iterates: averaging schemes, all of them one recursion.

xbar_0 = x_0 and xbar_t = (1 - c_t) xbar_{t-1} + c_t x_t for t = 1..T. A scheme is its mixing weights c in [0,
1]^T, computed from the steps; scaling all steps leaves them as they are, so multipliers serve as well.
Schemes that start collecting late follow the iterate (c = 1) until then.
"""

from typing import Annotated, Protocol, runtime_checkable

import numpy as np
from annotated_types import Ge, Interval
from numpy.typing import ArrayLike

from ratelab.theory.arrays import Array, InputError
from ratelab.theory.notation import value
from ratelab.theory.schedules import Duration, Period, cycle_length, updates

__all__ = [
    "Averaging",
    "ExponentialMovingAverage",
    "Last",
    "PolynomialDecay",
    "StepWeighted",
    "StochasticWeightAveraging",
    "Tail",
    "Uniform",
    "weights",
]


@runtime_checkable
class Averaging(Protocol):
    """steps eta_0..eta_{T-1}, shape (T,) -> mixing weights c_1..c_T in [0, 1], shape (T,); invariant under
    scaling.
    """

    def __call__(self, steps: Array, /) -> Array: ...


def anytime(averaging: Averaging) -> bool:
    """Whether the weights of the first S steps are the first S weights, for all S; False for a plain
    function.
    """
    return getattr(averaging, "anytime", False) is True


def weights(mixing: ArrayLike) -> Array:
    """The weights w_0..w_T that mixing weights c_1..c_T put on x_0..x_T, shape (T+1,): w_t = c_t prod_{s>t}
    (1 - c_s).

    c_0 = 1; they sum to one. InputError when a weight lies outside [0, 1].

    >>> weights([1 / 2, 1 / 3])
    array([0.33333333, 0.33333333, 0.33333333])
    """
    c = np.asarray(mixing, dtype=np.float64)
    if c.ndim != 1 or not np.all((c >= 0) & (c <= 1)):
        raise InputError(f"mixing weights are {c}; give one row of numbers in [0, 1]")
    kept = np.cumprod((1 - c)[::-1])[::-1]
    w: Array = np.concatenate([[1.0], c]) * np.concatenate([kept, [1.0]])
    return w


@value("averaging")
class Last:
    """The iterate itself: c_t = 1."""

    def __call__(self, steps: Array, /) -> Array:
        return np.ones(len(steps))

    @property
    def anytime(self) -> bool:
        return True


@value("averaging")
class Uniform:
    """The mean of x_0..x_t (Polyak and Juditsky 1992): c_t = 1/(t + 1)."""

    def __call__(self, steps: Array, /) -> Array:
        return 1 / (_times(steps) + 1)

    @property
    def anytime(self) -> bool:
        return True


@value("averaging")
class StepWeighted:
    """Weight eta_t on x_t, t < T, the average that the classical bound speaks of (Nemirovski et al. 2009).

    c_t = eta_t / sum_{s<=t} eta_s for t < T, and c_T = 0, because the step eta_T does not exist; so it is not
    anytime. While all steps so far are zero it follows the iterate (c_t = 1), which has not moved.

    >>> StepWeighted()(np.array([1.0, 1.0, 2.0]))
    array([0.5, 0.5, 0. ])
    """

    def __call__(self, steps: Array, /) -> Array:
        total = np.cumsum(steps)[1:]
        c = np.zeros(len(steps))
        c[:-1] = np.divide(steps[1:], total, out=np.ones_like(total), where=total > 0)
        return c

    @property
    def anytime(self) -> bool:
        return False


@value("averaging")
class Tail:
    """The mean of x_{t0}..x_t, t0 = `start` (suffix averaging; Rakhlin et al. 2012): 1 until t0, then 1/(t -
    t0 + 1).

    >>> Tail(2)(np.ones(4))
    array([1.        , 1.        , 0.5       , 0.33333333])
    """

    start: Duration

    def __call__(self, steps: Array, /) -> Array:
        return 1 / np.maximum(_times(steps) - updates(self.start, len(steps)) + 1, 1)

    @property
    def anytime(self) -> bool:
        return isinstance(self.start, int)


@value("averaging")
class PolynomialDecay:
    """c_t = (order + 1)/(t + order + 1) (Shamir and Zhang 2013): order 0 is uniform, higher ones forget the
    start.
    """

    order: Annotated[float, Ge(0)]

    def __call__(self, steps: Array, /) -> Array:
        return (self.order + 1) / (_times(steps) + (self.order + 1))

    @property
    def anytime(self) -> bool:
        return True


@value("averaging")
class ExponentialMovingAverage:
    """c_t = 1 until t0 = `start`, then 1 - decay."""

    decay: Annotated[float, Interval(ge=0, lt=1)]
    start: Duration = 0

    def __call__(self, steps: Array, /) -> Array:
        return np.where(_times(steps) <= updates(self.start, len(steps)), 1.0, 1 - self.decay)

    @property
    def anytime(self) -> bool:
        return isinstance(self.start, int)


@value("averaging")
class StochasticWeightAveraging:
    """The mean of the iterates at the ends of cycles (Izmailov et al. 2018).

    c_t = 1 until t0 = `start`; then 1/k at the end of the k-th cycle, t = t0 + k * cycle, else 0. The model
    at t0 itself is not counted: the first cycle end replaces it.

    >>> StochasticWeightAveraging(start=1, cycle=2)(np.ones(6))
    array([1. , 0. , 1. , 0. , 0.5, 0. ])
    """

    start: Duration
    cycle: Period

    def __call__(self, steps: Array, /) -> Array:
        since = _times(steps) - updates(self.start, len(steps))
        cycle = cycle_length(self.cycle, len(steps))
        ends = since % cycle == 0
        return np.where(since <= 0, 1.0, np.where(ends, cycle / np.maximum(since, 1), 0.0))

    @property
    def anytime(self) -> bool:
        return isinstance(self.start, int) and isinstance(self.cycle, int)


def _times(steps: Array) -> Array:
    return np.arange(1, len(steps) + 1, dtype=np.float64)
