"""Losses of a minibatch and their gradients, on one thread, in the dtype of the outputs.

Outputs are z (C, n): a class's lie together, so that loops over the rows vectorise.
"""

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

LOSSES = ("cross_entropy", "logistic", "hinge")


def _exp(x: Any) -> Any:
    """eˣ for x <= 0: in float64, and the name under which compiled code finds that of its type."""
    return np.exp(x)


_f = np.float32
_LOG2_E, _LN2_HIGH, _LN2_LOW = _f(1.44269504), _f(0.693359375), _f(-2.12194440e-4)
_LOWEST, _ROUNDER, _BIAS, _23 = _f(-87.0), _f(1.5 * 2**23), np.int32(127), np.int32(23)


def _exp_32(x: Any) -> Any:
    """Cephes' expf, which vectorises: 2ⁿ eᶻ with |z| <= ½ ln 2; not below e^−87. Not a number stays so."""
    x = _LOWEST if x < _LOWEST else x
    shifted = x * _LOG2_E + _ROUNDER  # its last bits are n
    n = shifted - _ROUNDER
    z = (x - n * _LN2_HIGH) - n * _LN2_LOW
    p = _f(1.9875691500e-4)
    p = p * z + _f(1.3981999507e-3)
    p = p * z + _f(8.3334519073e-3)
    p = p * z + _f(4.1665795894e-2)
    p = p * z + _f(1.6666665459e-1)
    p = p * z + _f(5.0000001201e-1)
    power = np.int32((_f(shifted).view(np.int32) + _BIAS) << _23).view(np.float32)
    return (z * z * p + z + _f(1)) * power


@overload(_exp)
def _exp_of_type(x: Any) -> Any:
    return _exp_32 if x == types.float32 else _exp


@njit(fastmath={"contract"})
def _softmax(z: Any, rows: Any, top: Any, total: Any) -> None:
    """z (C, rows …) becomes e^{z − top}, top the largest of the C and total the sum; rows are neighbours."""
    for b in range(rows):
        top[b] = z[0, b]
        total[b] = 0
    for c in range(1, z.shape[0]):
        for b in range(rows):
            top[b] = z[c, b] if z[c, b] > top[b] else top[b]
    for c in range(z.shape[0]):
        for b in range(rows):
            z[c, b] = _exp(z[c, b] - top[b])
            total[b] += z[c, b]


@njit(fastmath={"contract"})
def _scale(factors: Any, z: Any, rows: Any) -> None:
    for c in range(z.shape[0]):
        for b in range(rows):
            z[c, b] *= factors[b]


@njit
def _cross_entropy(labels: Any, rows: Any, z: Any, top: Any, total: Any) -> Any:
    """Mean of ln Σ_c e^{z_c} − z_label over the rows; z (C, rows …) becomes its gradient."""
    loss, one = 0.0, z.dtype.type(1)
    for b in range(rows):
        loss -= np.float64(z[labels[b], b])
    _softmax(z, rows, top, total)
    for b in range(rows):
        loss += np.float64(top[b]) + np.float64(np.log(total[b]))
        total[b] = one / (total[b] * z.dtype.type(rows))
    _scale(total, z, rows)
    for b in range(rows):
        z[labels[b], b] -= one / z.dtype.type(rows)
    return loss / rows


@njit
def _binary(labels: Any, rows: Any, z: Any, hinge: Any) -> Any:
    """Mean of max(0, 1 − m) or of ln(1 + e^{−m}), m = ±z, over the rows; z becomes its gradient."""
    loss, zero, one = 0.0, z.dtype.type(0), z.dtype.type(1)
    for b in range(rows):
        sign = z.dtype.type(2 * labels[b] - 1)
        margin = sign * z[0, b]
        if hinge:
            value = zero if margin >= 1 else one - margin
            slope = zero if margin >= 1 else one
        else:
            e = _exp(-abs(margin))
            value = np.log1p(e) - (margin if margin < 0 else zero)
            slope = (e if margin > 0 else one) / (one + e)
        loss += np.float64(value)
        z[0, b] = -sign * slope / z.dtype.type(rows)
    return loss / rows


@njit
def mean_loss(loss: Any, labels: Any, rows: Any, z: Any, scratch: Any) -> Any:
    """Of the first `rows` rows, whose outputs z become its gradient; `loss` is its number in `LOSSES`.

    scratch has two rows as long as a minibatch.
    """
    if loss == 0:
        return _cross_entropy(labels, rows, z, scratch[0], scratch[1])
    return _binary(labels, rows, z, loss == 2)
