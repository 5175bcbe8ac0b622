"""Averages of what a block of updates moves: summed in the dtype of the iterates, then folded into float64.

x̄ ← (1 − c) x̄ + c x, k times in a row, is x̄ ← keep·x̄ + Σ_j w_j x_j.
"""

from typing import Any

import numpy as np
from numba import njit

from ratelab.theory.arrays import Array


def block_weights(mixing: Array) -> tuple[Array, Array]:
    """w_j = c_j Π_{i>j}(1 − c_i) (…, k) and keep = Π(1 − c_i) (…) of mixing weights c (…, k)."""
    rest = np.cumprod((1 - mixing)[..., ::-1], axis=-1, dtype=np.float64)[..., ::-1]
    after = np.concatenate([rest[..., 1:], np.ones_like(rest[..., :1])], axis=-1)
    return mixing * after, rest[..., 0].copy()  # contiguous, as kernels are compiled for


@njit(fastmath={"contract"})
def _add(weight: Any, x: Any, total: Any) -> None:
    for i in range(len(total)):
        total[i] += weight * x[i]


@njit
def collect(weights: Any, x: Any, sums: Any) -> None:
    """sums (A, N) += weights (A,) x (N, …), where a weight is not 0."""
    for a in range(len(weights)):
        if weights[a] != 0:
            _add(weights[a], x, sums[a])


@njit
def fold(keep: Any, total: Any, average: Any) -> None:
    """average = keep·average + total, in float64."""
    for i in range(len(average)):
        average[i] = keep * average[i] + np.float64(total[i])
