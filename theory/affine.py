"""Affine Gaussian maps: what k updates of SGD do to one coordinate, as one map.

With additive Gaussian noise every update is u ← M u + w, w ~ N(0, Q), on the state u = (x) or (x, x̄),
(x, v) or (x, v, x̄) of a coordinate, v its velocity. Two maps in a row are one map again, and composing them
is associative, so any number of updates is one map, found by a fold; a run observed at K times costs K draws.
`compose`, `fold` and `update` are this algebra as it stands; `interval_maps` is the same fold, compiled, for
whole tables of schedules at once.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from ratelab.theory.arrays import Array, Integers
from ratelab.theory.threads import spread


@dataclass(frozen=True, eq=False)
class AffineGaussian:
    """u ← M u + w, w ~ N(0, Q). `matrix` M and `covariance` Q are (…, n, n), and leading axes broadcast."""

    matrix: Array
    covariance: Array

    def __call__(self, mean: Array, covariance: Array) -> tuple[Array, Array]:
        """The mean (…, n) and covariance (…, n, n) of u after the map, from those before it."""
        m, mt = self.matrix, np.swapaxes(self.matrix, -1, -2)
        return (m @ mean[..., None])[..., 0], m @ covariance @ mt + self.covariance


def compose(later: AffineGaussian, earlier: AffineGaussian) -> AffineGaussian:
    """`later` after `earlier`: (M₂M₁, M₂Q₁M₂ᵀ + Q₂)."""
    m, mt = later.matrix, np.swapaxes(later.matrix, -1, -2)
    return AffineGaussian(m @ earlier.matrix, m @ earlier.covariance @ mt + later.covariance)


def fold(maps: AffineGaussian) -> AffineGaussian:
    """All k maps along the first axis, the first one applied first, as one: ⌈log₂ k⌉ batched products."""
    m, q = maps.matrix, maps.covariance
    while len(m) > 1:
        odd = len(m) % 2
        pairs = compose(
            AffineGaussian(m[1::2], q[1::2]), AffineGaussian(m[: len(m) - odd : 2], q[: len(m) - odd : 2])
        )
        m, q = (
            np.concatenate([half, whole[len(whole) - odd :]])
            for half, whole in ((pairs.matrix, m), (pairs.covariance, q))
        )
    return AffineGaussian(m[0], q[0])


def update(
    steps: Array, eigenvalue: Array, noise: Array, mixing: Array | None = None, momentum: float = 0.0
) -> AffineGaussian:
    """The map of single updates on the state (x, v, x̄), without x̄ where `mixing` is None.

    v' = β v − ηλ x − ηξ, E ξ² = `noise`; x' = x + v'; x̄' = (1 − c) x̄ + c x'. The arguments
    broadcast against each other; the result has their shape and n = 2 or 3.
    """
    eta, lam, var = np.broadcast_arrays(steps, eigenvalue, noise)
    c = np.broadcast_to(0.0 if mixing is None else mixing, eta.shape)
    n = 2 if mixing is None else 3
    matrix, loading = np.zeros((*eta.shape, n, n)), np.zeros((*eta.shape, n))
    matrix[..., 0, 0] = 1 - eta * lam
    matrix[..., 1, 0] = -eta * lam
    matrix[..., :2, 1] = momentum
    loading[..., :2] = eta[..., None]
    if mixing is not None:
        matrix[..., 2, :2] = c[..., None] * matrix[..., 0, :2]
        matrix[..., 2, 2] = 1 - c
        loading[..., 2] = c * eta
    return AffineGaussian(matrix, loading[..., :, None] * loading[..., None, :] * var[..., None, None])


def last_iterate(
    steps: Array, eigenvalues: Array, start: Array, noise: Array, momentum: float = 0.0
) -> tuple[Array, Array]:
    """Mean and standard deviation (d,) of δ_T after the steps (T,), by a fold over the updates."""
    maps = fold(update(np.asarray(steps, dtype=np.float64)[:, None], eigenvalues, noise, momentum=momentum))
    mean, covariance = maps(np.stack([start, np.zeros_like(start)], axis=-1), np.zeros((len(start), 2, 2)))
    return mean[:, 0], np.sqrt(covariance[:, 0, 0])


class IntervalMaps(NamedTuple):
    """The maps over K intervals of time, for P = S·n (schedule, lr) pairs, A averagings and d coordinates.

    `keep` (K, P, A): what x̄ keeps of itself. `channels` (K, P, C, d): the other entries, with the noise in
    Cholesky form on standard normals z, x first, so that all averagings ride on the same x; all for unit
    noise variance.
    Without momentum the state is x and C = 2 + 3A:   x' = c₀x + c₁z₀,   x̄' = keep·x̄ + c₂x + c₃z₀ + c₄z₁.
    With momentum it is (x, v) and C = 7 + 5A:        x' = c₀x + c₁v + c₄z₀,  v' = c₂x + c₃v + c₅z₀ + c₆z₁,
                                                      x̄' = keep·x̄ + c₇x + c₈v + c₉z₀ + c₁₀z₁ + c₁₁z₂.
    """

    keep: Array
    channels: Array


# every so many updates, products that have died out are set to 0: subnormals are slow
_CLAMP, _TINY = 64, 1e-200


@njit(fastmath={"contract"})
def _updates_sgd(
    multipliers: Any, lr: Any, lam: Any, mixing: Any, x: Any, var: Any, drift: Any, cov: Any, var_mean: Any
) -> None:
    """Updates on (x, x̄): M_xx, Q_xx, M_x̄x, Q_xx̄, Q_x̄x̄ of all coordinates, in one loop that vectorises."""
    for t in range(multipliers.shape[0]):
        eta = lr * multipliers[t]
        square = eta * eta
        c = mixing[t]
        rest = 1.0 - c
        for i in range(lam.shape[0]):
            f = 1.0 - eta * lam[i]
            x_new = f * x[i]
            var_new = f * f * var[i] + square
            cross = f * cov[i]
            x[i] = x_new
            var[i] = var_new
            drift[i] = rest * drift[i] + c * x_new
            var_mean[i] = rest * rest * var_mean[i] + 2.0 * c * rest * cross + c * c * var_new
            cov[i] = rest * cross + c * var_new


@njit
def _fold_sgd(multipliers: Any, lr: Any, lam: Any, mixing: Any, out: Any) -> None:
    """The map of these updates on (x, x̄): `out` (5, d) as in `_updates_sgd`, the noise by Cholesky."""
    out[:] = 0.0
    out[0] = 1.0
    for low in range(0, multipliers.shape[0], _CLAMP):
        high = min(low + _CLAMP, multipliers.shape[0])
        _updates_sgd(multipliers[low:high], lr, lam, mixing[low:high], out[0], out[1], out[2], out[3], out[4])
        for j in range(0, 3, 2):
            for i in range(lam.shape[0]):
                out[j, i] = out[j, i] if abs(out[j, i]) > _TINY else 0.0
    for i in range(lam.shape[0]):
        out[1, i] = np.sqrt(out[1, i])
        out[3, i] = out[3, i] / out[1, i] if out[1, i] > 0.0 else 0.0
        out[4, i] = np.sqrt(max(out[4, i] - out[3, i] * out[3, i], 0.0))


@njit(fastmath={"contract"})
def _fold_momentum(multipliers: Any, lr: Any, beta: Any, lam: Any, mixing: Any, out: Any) -> None:
    """As `_fold_sgd` on (x, v, x̄).

    `out` (12, d) is M (2 × 2), Q (3), M_x̄ (2), Q_xx̄, Q_vx̄, Q_x̄x̄, in the end with Cholesky factors for Q.
    """
    out[:] = 0.0
    out[0] = 1.0
    out[3] = 1.0
    for t in range(multipliers.shape[0]):
        eta = lr * multipliers[t]
        square = eta * eta
        c = mixing[t]
        rest = 1.0 - c
        for i in range(lam.shape[0]):
            g = eta * lam[i]
            f = 1.0 - g
            out[2, i] = beta * out[2, i] - g * out[0, i]
            out[3, i] = beta * out[3, i] - g * out[1, i]
            out[0, i] += out[2, i]
            out[1, i] += out[3, i]
            kept = beta * beta * out[6, i] + square
            xx = f * f * out[4, i] + 2.0 * f * beta * out[5, i] + kept
            xv = beta * (f - g) * out[5, i] - f * g * out[4, i] + kept
            out[6, i] = g * g * out[4, i] - 2.0 * beta * g * out[5, i] + kept
            out[4, i] = xx
            out[5, i] = xv
            cross = f * out[9, i] + beta * out[10, i]
            out[7, i] = rest * out[7, i] + c * out[0, i]
            out[8, i] = rest * out[8, i] + c * out[1, i]
            out[11, i] = rest * rest * out[11, i] + 2.0 * c * rest * cross + c * c * xx
            out[10, i] = rest * (beta * out[10, i] - g * out[9, i]) + c * xv
            out[9, i] = rest * cross + c * xx
    for i in range(lam.shape[0]):
        scale = np.sqrt(out[6, i])
        out[4, i] = np.sqrt(out[4, i])
        out[5, i] = out[5, i] / out[4, i] if out[4, i] > 0.0 else 0.0
        out[6, i] = np.sqrt(max(out[6, i] - out[5, i] * out[5, i], 0.0))
        if out[6, i] < 1e-7 * scale:  # rounding, not noise: after one update x and v move as one
            out[6, i] = 0.0
        out[9, i] = out[9, i] / out[4, i] if out[4, i] > 0.0 else 0.0
        out[10, i] = (out[10, i] - out[5, i] * out[9, i]) / out[6, i] if out[6, i] > 0.0 else 0.0
        out[11, i] = np.sqrt(max(out[11, i] - out[9, i] * out[9, i] - out[10, i] * out[10, i], 0.0))


@njit(nogil=True, cache=True)
def _fold_intervals(
    start: Any,
    stop: Any,
    multipliers: Any,
    lrs: Any,
    beta: Any,
    lam: Any,
    mixings: Any,
    times: Any,
    keep: Any,
    channels: Any,
) -> None:
    intervals = channels.shape[0]
    for task in range(start, stop):
        pair, k = task // intervals, task % intervals  # pair first: the long intervals come last
        s, lr = pair // lrs.shape[0], lrs[pair % lrs.shape[0]]
        part = multipliers[s, times[k] : times[k + 1]]
        x_rows = 2 if beta == 0.0 else 7
        own = channels.shape[2] - x_rows  # what the averagings take, 3 or 5 rows each
        count = own // (3 if beta == 0.0 else 5)
        work = np.empty((5 if beta == 0.0 else 12, lam.shape[0]))
        for a in range(max(count, 1)):
            mixing = mixings[s, a, times[k] : times[k + 1]] if count > 0 else part
            if beta == 0.0:
                _fold_sgd(part, lr, lam, mixing, work)
            else:
                _fold_momentum(part, lr, beta, lam, mixing, work)
            channels[k, pair, :x_rows] = work[:x_rows]
            if count > 0:
                rows = own // count
                channels[k, pair, x_rows + rows * a : x_rows + rows * (a + 1)] = work[x_rows:]
                kept = np.prod(1.0 - mixing)
                keep[k, pair, a] = kept if kept > _TINY else 0.0


def interval_maps(
    multipliers: Array, lrs: Array, eigenvalues: Array, mixings: Array, times: Integers, momentum: float = 0.0
) -> IntervalMaps:
    """The maps over [times_k, times_{k+1}), k = 0 … K − 1, of the steps lr · multipliers.

    multipliers (S, T), lrs (n,), eigenvalues (d,), mixings (S, A, T), times (K + 1,). Time O(S n A d T).
    """
    pairs, averagings = len(multipliers) * len(lrs), mixings.shape[1]
    count = 2 + 3 * averagings if momentum == 0 else 7 + 5 * averagings
    keep = np.empty((len(times) - 1, pairs, averagings))
    channels = np.empty((len(times) - 1, pairs, count, len(eigenvalues)))
    tasks = pairs * (len(times) - 1)
    spread(_fold_intervals, tasks, multipliers, lrs, momentum, eigenvalues, mixings, times, keep, channels)
    return IntervalMaps(keep, channels)
