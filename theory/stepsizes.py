"""Step sizes that a theorem asks for, as multipliers of the lr that the theorem names.

Some famous rules need no class, they are members of the elementary shapes:

- 1/sqrt(t + 1) is `InversePower(0.5)`, and C (t + 1)^-alpha `InversePower(alpha)` with lr C: Robbins and
  Monro 1951; Bach and Moulines 2011 (their n counts from 1).
- 1/(mu (t + 1)) is `InversePower(1.0)`, and 2/(mu (t + 2)) `InversePower(1.0, timescale=2.0)`, with lr 1/mu.
  The second is the rule of Lacoste-Julien, Schmidt and Bach 2012, for the average with weights t + 1.
- Harvey's: Harvey, Liaw, Plan and Randhawa 2019 (Tight analyses) analyse 1/sqrt(t + 1) and 1/(mu (t + 1)),
  and Harvey, Liaw and Randhawa 2019 (Simple and optimal high-probability bounds) Lacoste-Julien's rule. They
  found no steps of their own: what they showed is that the log of the first two is real.

Where a rule exists for some horizons only, it says what it does for the others.
"""

import math
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Interval

from ratelab.theory.arrays import Array, InputError, Integers, suffix_sum
from ratelab.theory.notation import value
from ratelab.theory.schedules import Facts, HorizonError

__all__ = ["Bottou", "Chebyshev", "HorizonPower", "Noam", "Refined", "Silver", "Stages"]


@value("schedule")
class HorizonPower:
    """s_t = T^-power at every t: the constant step of a known horizon; 1/2 is 1/sqrt(T), with lr D/G.

    The bound of the average is then D G/sqrt(T) (Nemirovski et al. 2009), the best of any constant step.

    >>> HorizonPower()(4)
    array([0.5, 0.5, 0.5, 0.5])

    Pictured: HorizonPower(0.5)
    """

    power: Annotated[float, Ge(0)] = 0.5

    def __call__(self, horizon: int, /) -> Array:
        return np.full(_count(horizon), self.closing(horizon))

    def closing(self, horizon: int) -> float:
        """T^-power, as everywhere."""
        return math.pow(max(horizon, 1), -self.power)

    @property
    def facts(self) -> Facts:
        return Facts(0.0 if self.power else 1.0, 1.0, "decreasing", anytime=False)


@value("schedule")
class Stages:
    """s_t = 2^-i for T_i <= t < T_{i+1}: half of the updates at 1, half of the rest at 1/2, and so on.

    T_i = T - ceil(T 2^-i) for i = 0..k with k = min{i : T 2^-i <= 1}, and T_{k+1} = T. Steps that are good
    for the average become good for the last iterate when multiplied by it (Jain, Nagaraj and Netrapalli
    2019), so it comes without steps of its own.

    Convex: lr D/(G sqrt T), that is `Product(HorizonPower(0.5), Stages())` with lr D/G. Checked: sqrt(T)
    times the tuned Omega falls to 2.0394 D G (T = 10^6).

    Strongly convex: `Product(InversePower(1.0), Stages())` with lr 1/mu. Checked: Omega of the last half of
    the run, started from E||x_m - x*||^2 <= 4 G^2/(mu^2 (m + 1)) (Rakhlin, Shamir and Sridharan 2012), is
    16.9 G^2/(mu T) for T = 10^2 to 10^6; without the stages T times it grows like log T, though from less.

    >>> Stages()(8)
    array([1.   , 1.   , 1.   , 1.   , 0.5  , 0.5  , 0.25 , 0.125])

    Pictured: Stages()
    """

    def __call__(self, horizon: int, /) -> Array:
        k = max(_count(horizon) - 1, 0).bit_length()
        left = [-(-horizon // 2**i) for i in range(k + 1)]  # T - T_i, in whole numbers
        return np.repeat(0.5 ** np.arange(k + 1), -np.diff([*left, 0]))

    @property
    def facts(self) -> Facts:
        return Facts(0.0, 1.0, "decreasing", anytime=False)


@value("schedule")
class Chebyshev:
    """The T steps that are best together on quadratics with spectrum in [L/kappa, L], as multiples of 1/L.

    1/h_k = (1 + m)/2 - (1 - m)/2 cos((2k - 1) pi/(2T)), m = 1/kappa, k = 1..T (Young 1953): after all T,
    ||x_T - x*|| <= D/C_T((kappa + 1)/(kappa - 1)), C_T the Chebyshev polynomial. The order does not change
    that; it decides what happens on the way, where single steps are as long as kappa/L.

    "natural" is k = 1..T, the longest step first: errors grow beyond all bounds before they shrink.

    "lebedev-finogenov" is sigma_n = (j_1, n + 1 - j_1, j_2, n + 1 - j_2, ...), j = sigma_floor(n/2), followed
    by (n + 1)/2 when n is odd; sigma_1 = (1). Lebedev and Finogenov 1971 have it for n = 2^k; the odd n are
    from Samarskii, The Theory of Difference Schemes, so it exists for every T. Checked for T <= 200 and kappa
    up to 10^6: no beginning of a run multiplies a coordinate by more than kappa, no ending by more than 1. In
    the natural order, with kappa = 100 and T = 64, a beginning multiplies it by 10^27.

    "fractal" is the name that Agarwal, Goel and Zhang 2021 gave to the same permutation. It exists for T =
    2^k only, and is refused with HorizonError for other T: the beginning of a longer order is not optimal.
    With kappa = 10^4, the first 65 of 128 steps multiply an error by up to 3140, the 65 of their own by 0.51.

    Only for quadratics, with the spectrum known: with kappa = 100, 16 steps promise 0.08 D, and on a function
    of one variable whose curvature falls from L to L/kappa at 34 D from x* they end at 210 D. Noise is
    amplified by their length. Pass lr 1.0 in the unit 1/L.

    >>> Chebyshev(9.0)(3).round(4)
    array([5.8598, 1.8   , 1.0633])
    >>> Chebyshev(9.0, "lebedev-finogenov")(3).round(4)
    array([5.8598, 1.0633, 1.8   ])

    Pictured: Chebyshev(100.0, order="lebedev-finogenov")
    """

    condition_number: Annotated[float, Interval(ge=1, le=1e15)]
    order: Literal["natural", "lebedev-finogenov", "fractal"] = "natural"

    def __call__(self, horizon: int, /) -> Array:
        T = _count(horizon)
        if self.order == "fractal" and T & (T - 1):
            raise HorizonError(
                f"{self!r} exists for T = 1, 2, 4, 8, ... updates, not for {T}; take order="
                "'lebedev-finogenov', which is the same order there and exists for every T"
            )
        k = np.arange(1, T + 1) if self.order == "natural" else _halved(T)
        m = 1 / self.condition_number
        half = (2 * k - 1) * (np.pi / (4 * max(T, 1)))
        return np.asarray(1 / (m + (1 - m) * np.sin(half) ** 2))  # of half the angle, where nothing cancels

    @property
    def facts(self) -> Facts:
        falling = self.order == "natural"
        return Facts(1.0, self.condition_number, "decreasing" if falling else None, anytime=False)


@value("schedule")
class Silver:
    """s_t = 1 + rho^(nu(t + 1) - 1), rho = 1 + sqrt 2, nu(i) how often 2 divides i; as multiples of 1/L.

    Gradient descent without momentum on smooth convex functions, faster than with any constant step: after T
    = 2^k - 1 updates, f(x_T) - f* <= L D^2/(4 rho^k - 2), of order T^-1.2716 (Altschuler and Parrilo 2023).
    Checked: a Huber function attains it. The infinite sequence is cut off after T updates, so it is anytime,
    and other T have no such bound. After T = 2^k, which ends with the longest step so far, a quadratic is at
    L D^2/(2 rho^2), however large k. Noise is amplified by the long steps. Pass lr 1.0 in the unit 1/L.

    >>> Silver()(7).round(4)
    array([1.4142, 2.    , 1.4142, 3.4142, 1.4142, 2.    , 1.4142])

    Pictured: Silver()
    """

    def __call__(self, horizon: int, /) -> Array:
        rho = 1 + math.sqrt(2)
        s = np.full(_count(horizon), 1 + 1 / rho)
        for nu in range(1, horizon.bit_length()):
            s[2**nu - 1 :: 2**nu] = 1 + rho ** (nu - 1)
        return s

    @property
    def facts(self) -> Facts:
        return Facts(math.sqrt(2), math.inf, None, anytime=True)


@value("schedule")
class Noam:
    """s_t = min((t + 1)/W, sqrt(W/(t + 1))), W = `warmup` updates: a linear rise, then 1/sqrt.

    Normalised: the peak is 1, at t = W - 1, and the first value 1/W. The original (Vaswani et al. 2017),
    d^-1/2 min(n^-1/2, n W^-3/2) for n = t + 1 and the width d of the model, is this with lr 1/sqrt(d W).

    >>> Noam(warmup=2)(4).round(4)
    array([0.5   , 1.    , 0.8165, 0.7071])

    Pictured: Noam(warmup=20)
    """

    warmup: Annotated[int, Ge(1)]

    def __call__(self, horizon: int, /) -> Array:
        u = np.arange(1, _count(horizon) + 1) / float(min(self.warmup, 2**53))
        return np.minimum(u, 1 / np.sqrt(u))

    @property
    def facts(self) -> Facts:
        return Facts(0.0, 1.0, "decreasing" if self.warmup == 1 else None, anytime=True)


@value("schedule")
class Bottou:
    """s_t = t0/(t0 + t): Bottou's steps 1/(alpha (t0 + t)) with lr 1/(alpha t0).

    `InversePower(1.0, timescale=t0)` under the name that people look for. scikit-learn's "optimal" is
    `Bottou(bottou_start(alpha))` with lr alpha^-1/4; its counter is 1 at the first sample, where eta is
    1/(alpha t0).

    >>> Bottou(2.0)(3).round(4)
    array([1.    , 0.6667, 0.5   ])

    Pictured: Bottou(20.0)
    """

    t0: Annotated[float, Gt(0)]

    def __call__(self, horizon: int, /) -> Array:
        return self.t0 / (self.t0 + np.arange(_count(horizon), dtype=np.float64))

    @property
    def facts(self) -> Facts:
        return Facts(0.0, 1.0, "decreasing", anytime=True)


def bottou_start(alpha: float) -> float:
    """t0 = alpha^-3/4 as scikit-learn chooses it, for the strength alpha > 0 of the L2 penalty.

    Bottou's heuristic: the typical weight is w = alpha^-1/4, the first step w/max(1, -loss'(-w)), and t0 the
    reciprocal of alpha times that. scikit-learn (measured in 1.9, every loss of SGDClassifier) takes loss'
    with the other sign, so that the maximum is always 1 and the loss drops out. InputError unless alpha > 0.

    >>> round(bottou_start(1e-4), 9)
    1000.0
    """
    if not 0 < alpha < math.inf:
        raise InputError(f"alpha is {alpha}; the strength of the penalty is a finite number > 0")
    return float(alpha**-0.75)


@value("schedule")
class Refined:
    """s_t ∝ w_t sum_{p=t+1..T} w_p with w_p = G_p^-2: the best steps when the gradients' norms are known.

    `norms` were measured at equally spaced times of a run, the first at t = 0 and the last at t = T, and are
    interpolated linearly to G_0..G_T, T + 1 of them: the last is of the iterate after the last update, and
    without it the last step would be 0. One norm, or none, means equal norms and gives `Linear()`; a warmup
    follows from norms that start large. Normalised to peak 1; the theorem's lr is D max_t(w_t sum_{p>t} w_p)
    / (sum_p w_p)^3/2, and then E f(x_T) - f* <= D/sqrt(sum_p G_p^-2). Only ratios of the norms matter here. A
    file holds about two hundred norms (4 kB of text): thin out longer records.

    Source: Defazio, Cutkosky, Mehta and Mishchenko 2023 (arXiv 2310.07831).

    >>> Refined((3.0, 1.0, 1.0))(4).round(4)
    array([0.1806, 0.375 , 1.    , 0.5   ])

    Pictured: Refined((4.0, 1.5, 1.0, 1.0, 1.2))
    """

    norms: tuple[Annotated[float, Interval(ge=1e-50, le=1e50)], ...]

    def __call__(self, horizon: int, /) -> Array:
        T = _count(horizon)
        measured = self.norms or (1.0,)
        G = np.interp(np.arange(T + 1), np.linspace(0, T, len(measured)), measured)
        w = (G.min() / G) ** 2
        s: Array = w[:-1] * suffix_sum(w)[1:]
        return s / s.max() if T else s

    def closing(self, horizon: int) -> float:  # noqa: ARG002  (for every horizon)
        """0: no norm is left to sum."""
        return 0.0

    @property
    def facts(self) -> Facts:
        growing = all(a <= b for a, b in zip(self.norms, self.norms[1:], strict=False))
        return Facts(0.0, 1.0, "decreasing" if growing else None, anytime=False)


def _halved(n: int) -> Integers:
    """A permutation of 1..n that pairs each k with n + 1 - k, near to its partner on every scale."""
    if n < 2:
        return np.arange(1, n + 1)
    order = np.full(n, (n + 1) // 2)
    order[0 : n - 1 : 2] = _halved(n // 2)
    order[1::2] = n + 1 - order[0 : n - 1 : 2]
    return order


def _count(horizon: int) -> int:
    if horizon < 0:
        raise InputError(f"horizon is {horizon}; a number of updates is at least 0")
    return horizon
