"""The exact risk of the last iterate, as figures want it: of one schedule at several learning rates."""

import numpy as np

from ratelab.problems.problem import Problem, exact_risk
from ratelab.theory.arrays import Array, Integers


def last_risk(problem: Problem, s: Array, lrs: Array, records: Integers, momentum: float = 0.0) -> Array:
    """E f(x_t) − f*, shape (lrs, K), of steps lr · s_t, s of shape (T,), after t = `records` (K,) updates."""
    row = np.ascontiguousarray(s)[None]
    risk = exact_risk(problem, row, lrs, [np.ones_like(row)], records, momentum)
    return np.asarray(risk[0, :, 0])
