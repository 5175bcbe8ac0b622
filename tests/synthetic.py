"""Risks of SGD simulated without the product: what the statistics of claims are tested on."""

from itertools import pairwise

import numpy as np

from ratelab.theory.arrays import Array


def sgd(seed: int, trials: int, runs: int, times: Array, curvatures: Array) -> tuple[Array, Array]:
    """SGD, steps 0.5/√(t+1), N(0, 1) noise, on ½ Σ λ_i x_i², x_0 = 1: risks (trials, runs, K), exact (K,).

    Between records a coordinate moves by x ← A x + √Q z: one draw each, exactly correlated along the run.
    """
    rng = np.random.default_rng(seed)
    x = np.ones((trials, runs, curvatures.size))
    second = np.ones(curvatures.size)
    risks, exact = [], []
    for start, end in pairwise([0, *times.astype(int)]):
        a, q = np.ones(curvatures.size), np.zeros(curvatures.size)
        for t in range(start, end):
            step = 0.5 / np.sqrt(t + 1)
            a, q = a * (1 - step * curvatures), q * (1 - step * curvatures) ** 2 + step**2
        x = a * x + np.sqrt(q) * rng.standard_normal(x.shape)
        second = a**2 * second + q
        risks.append(x**2 @ curvatures / 2)
        exact.append(second @ curvatures / 2)
    return np.stack(risks, axis=-1), np.array(exact)
