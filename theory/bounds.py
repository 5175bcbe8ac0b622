"""Worst-case bounds for one given step sequence: f convex, E||g_t||^2 <= G_t^2, start at distance D.

`average` bounds the step-weighted average, `omega` the point from which the last step is taken. Both have the
form start/lr + noise * lr for steps lr * s_t, so the best lr comes for free. The curves give the same bounds
along a run. Homogeneity, which the tests use: D -> aD and G -> bG multiply the best value by ab and the best
lr by a/b.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ratelab.theory.arrays import Array, InputError, finite, nonnegative, suffix_sum

__all__ = ["Bound", "average", "omega"]


@dataclass(frozen=True)
class Bound:
    """risk <= start/lr + noise * lr, for every lr > 0.

    start: the part that forgets x_0, proportional to D^2. noise: proportional to G^2. index: the iterate it
    speaks of; for an average, the last iterate in it.
    """

    start: float
    noise: float
    index: int

    def at(self, lr: float) -> float:
        """The bound at one lr > 0; InputError otherwise."""
        if not 0 < lr < math.inf:
            raise InputError(f"lr is {lr}; a bound needs a finite lr > 0")
        return self.start / lr + self.noise * lr

    @property
    def best_lr(self) -> float:
        """sqrt(start/noise); infinite without noise."""
        return math.sqrt(self.start / self.noise) if self.noise else math.inf

    @property
    def best(self) -> float:
        """2 sqrt(start * noise), the bound at the best lr."""
        return 2 * math.sqrt(self.start * self.noise)


def average(multipliers: ArrayLike, distance: float, gradient_bound: ArrayLike) -> Bound:
    """(D^2 + sum eta_t^2 G_t^2) / (2 sum eta_t) for the average of x_0..x_{T-1} with weights eta_t = lr *
    s_t.

    multipliers: s, shape (T,). distance: D. gradient_bound: G, or G_t of shape (T,) with E||g_t||^2 <= G_t^2
    (not squared). Trailing zero steps are stripped. Tuned, for constant steps: D G / sqrt(T). InputError for
    bad input and when every step is zero. Source: Nemirovski, Juditsky, Lan and Shapiro 2009.

    >>> average([1, 1, 1, 1], distance=1.0, gradient_bound=1.0).best
    0.5
    """
    s, squared = _steps(multipliers, gradient_bound)
    total = s.sum()
    return Bound(_distance(distance) ** 2 / (2 * total), float((s * squared) @ (s / total) / 2), len(s) - 1)


def omega(multipliers: ArrayLike, distance: float, gradient_bound: ArrayLike) -> Bound:
    """Omega, for x_{T-1}, the point from which the last of the T steps is taken; with S = suffix_sum(eta),

    D^2/(2 S_0) + 1/2 [ eta_{T-1} G_{T-1}^2 + sum_{k<T-1} eta_k^2 G_k^2 / S_{k+1} ].

    Arguments and errors as in `average`. Trailing zero steps are stripped (the bound of a zero last step is
    infinite), so `index` may be less than T - 1. It says nothing about x_T. This is the double sum of the
    papers after summation by parts: O(T), only positive terms. Source: Defazio, Cutkosky, Mehta and
    Mishchenko 2023 (arXiv 2310.07831); Schaipp et al. 2025 (arXiv 2501.18965).

    >>> round(omega([1, 1, 1], distance=1.0, gradient_bound=1.0).best ** 2, 12)  # constant: (1 + H_2)/3
    0.833333333333
    """
    s, squared = _steps(multipliers, gradient_bound)
    start, noise = _omega(s, squared)
    return Bound(_distance(distance) ** 2 * start, noise, len(s) - 1)


def average_curve(steps: ArrayLike, records: ArrayLike, distance: float, squared_norms: ArrayLike) -> Array:
    """`average` along a run, shape (K,): entry k bounds the step-weighted average over x_0..x_t, t =
    records[k].

    steps: eta, absolute, shape (T,). records: update counts in 0..T. squared_norms: G^2, or G_t^2 =
    E||g_t||^2 of shape (T,) (squared, as the exact moments give them). NaN at t = T, where the step eta_T
    does not exist; infinite while all steps so far are zero. InputError for bad input.
    """
    eta, squared, times = _run(steps, records, squared_norms)
    total, spent = np.cumsum(eta), np.cumsum(eta**2 * squared)
    inside = np.minimum(times, len(eta) - 1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        bound = (_distance(distance) ** 2 + spent[inside]) / (2 * total[inside])
    bound = np.where(total[inside] > 0, bound, np.inf)
    return np.where(times < len(eta), bound, np.nan)


def omega_curve(steps: ArrayLike, records: ArrayLike, distance: float, squared_norms: ArrayLike) -> Array:
    """`omega` along a run, shape (K,): entry k bounds the risk of x_t, t = records[k], from the first t + 1
    steps.

    Arguments as in `average_curve`. NaN at t = T, where the step eta_T does not exist. Infinite where eta_t =
    0: stripping the zero would give a bound for an earlier iterate, not for x_t.
    """
    eta, squared, times = _run(steps, records, squared_norms)
    bounds = np.full(len(times), np.nan)
    square = _distance(distance) ** 2
    for k, t in enumerate(times):
        if t < len(eta):
            start, noise = _omega(eta[: t + 1], squared[: t + 1])
            bounds[k] = (square * start if square else 0.0) + noise if eta[t] > 0 else math.inf
    return bounds


def _omega(s: Array, squared: Array) -> tuple[float, float]:
    """1/(2 S_0) and the bracket, where the last step is positive."""
    S = suffix_sum(s)
    if S[-1] == 0:
        return math.inf, math.inf
    with np.errstate(over="ignore"):  # a step that dwarfs all later ones: infinite is the truth to float64
        bracket = s[-1] * squared[-1] + np.sum(s[:-1] * squared[:-1] * (s[:-1] / S[1:]))
        return float(1 / (2 * S[0])), float(bracket / 2)


def _steps(multipliers: ArrayLike, gradient_bound: ArrayLike) -> tuple[Array, Array]:
    """The steps without trailing zeros, and G_t^2 for each of them."""
    s = _row("multipliers", multipliers)
    G = _per_step("gradient_bound", gradient_bound, len(s))
    positive = np.flatnonzero(s)
    if not positive.size:
        raise InputError("every step is zero, so there is no bound; give at least one positive multiplier")
    end = int(positive[-1]) + 1
    return s[:end], G[:end] ** 2


def _run(steps: ArrayLike, records: ArrayLike, squared_norms: ArrayLike) -> tuple[Array, Array, Array]:
    eta = _row("steps", steps)
    times = np.asarray(records)
    if times.ndim != 1 or not np.issubdtype(times.dtype, np.integer):
        raise InputError(f"records are {records!r}; give a row of whole update counts")
    if times.size and (times.min() < 0 or times.max() > len(eta)):
        raise InputError(
            f"records reach from {times.min()} to {times.max()}; they lie in 0..{len(eta)}, the horizon"
        )
    return eta, _per_step("squared_norms", squared_norms, len(eta)), times


def _row(name: str, values: ArrayLike) -> Array:
    row = nonnegative(name, values)
    if row.ndim != 1:
        raise InputError(f"{name} have shape {row.shape}; give one row, shape (T,)")
    return row


def _per_step(name: str, values: ArrayLike, horizon: int) -> Array:
    given = nonnegative(name, values)
    if given.shape not in ((), (horizon,)):
        raise InputError(f"{name} has shape {given.shape}; give a number or one per step, shape ({horizon},)")
    return np.broadcast_to(given, (horizon,))


def _distance(distance: float) -> float:
    if finite("distance", distance) < 0:
        raise InputError(f"distance is {distance}; D = ||x_0 - x*|| is at least 0")
    return float(distance)
