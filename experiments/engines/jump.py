"""Quadratics with Gaussian noise: from one record time to the next in one exact draw.

Between two records the state of a coordinate is an affine Gaussian function of what it was (`theory.affine`),
with coefficients that depend on (schedule, lr, λ) only. They are folded once and shared by all runs, so a run
of T updates seen at K records costs K draws: exact in distribution, whatever T. Schedules, learning rates and
averagings share the normals of a run (common random numbers). Each averaging has its exact joint law with the
iterate; two averagings of one run are coupled through it, not jointly exact.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit

from ratelab.experiments.methods import Method
from ratelab.problems import philox
from ratelab.problems.problem import Problem
from ratelab.problems.quadratic import Quadratic
from ratelab.theory.affine import interval_maps
from ratelab.theory.arrays import Array, InputError, Integers, once_infinite
from ratelab.theory.moments import without_last
from ratelab.theory.threads import spread

_MAPS_BYTES = 48 * 2**20  # what the maps and the normals of a chunk of records may take
_RUNS = 8  # runs per task: their states stay in the second-level cache while the maps pass by


def can_jump(problem: Problem) -> bool:
    """Whether the state is Gaussian at all times: a quadratic in its eigenbasis, noise Gaussian or none."""
    return isinstance(problem, Quadratic) and problem.gaussian


@njit(fastmath={"contract", "reassoc"})
def _jump_sgd(lam: Any, keep: Any, maps: Any, z: Any, x: Any, averages: Any, risk: Any) -> None:
    """One run, pair and interval: z (2, d), x (1, d), averages (A, d); risk (A + 1,), the iterate's last."""
    d, averagings = lam.shape[0], averages.shape[0]
    for a in range(averagings):
        j, kept, total = 2 + 3 * a, keep[a], 0.0
        for i in range(d):
            moved = (
                kept * averages[a, i]
                + maps[j, i] * x[0, i]
                + maps[j + 1, i] * z[0, i]
                + maps[j + 2, i] * z[1, i]
            )
            averages[a, i] = moved
            total += lam[i] * moved * moved
        risk[a] = 0.5 * total
    total = 0.0
    for i in range(d):
        moved = maps[0, i] * x[0, i] + maps[1, i] * z[0, i]
        x[0, i] = moved
        total += lam[i] * moved * moved
    risk[averagings] = 0.5 * total


@njit(fastmath={"contract", "reassoc"})
def _jump_momentum(lam: Any, keep: Any, maps: Any, z: Any, x: Any, averages: Any, risk: Any) -> None:
    """As `_jump_sgd` with the state x (2, d) = (x, v) and z (3, d)."""
    d, averagings = lam.shape[0], averages.shape[0]
    for a in range(averagings):
        j, total = 7 + 5 * a, 0.0
        for i in range(d):
            moved = keep[a] * averages[a, i] + maps[j, i] * x[0, i] + maps[j + 1, i] * x[1, i]
            moved += maps[j + 2, i] * z[0, i] + maps[j + 3, i] * z[1, i] + maps[j + 4, i] * z[2, i]
            averages[a, i] = moved
            total += lam[i] * moved * moved
        risk[a] = 0.5 * total
    total = 0.0
    for i in range(d):
        moved = maps[0, i] * x[0, i] + maps[1, i] * x[1, i] + maps[4, i] * z[0, i]
        x[1, i] = maps[2, i] * x[0, i] + maps[3, i] * x[1, i] + maps[5, i] * z[0, i] + maps[6, i] * z[1, i]
        x[0, i] = moved
        total += lam[i] * moved * moved
    risk[averagings] = 0.5 * total


@njit(nogil=True, cache=True)
def _jump(
    first: Any,
    last: Any,
    lam: Any,
    scale: Any,
    keep: Any,
    maps: Any,
    normals: Any,
    x: Any,
    averages: Any,
    risk: Any,
) -> None:
    """All runs over a chunk of K intervals, in place on x (R, P, order, d) and averages (R, P, A, d).

    normals (R, K, order + 1, d), risk (R, P, A + 1, K).
    """
    runs, intervals, width, d = normals.shape
    pairs, averagings = averages.shape[1], averages.shape[2]
    for task in range(first, last):
        low, high = task * _RUNS, min((task + 1) * _RUNS, runs)
        z = np.empty((_RUNS, width, d))
        here = np.empty(averagings + 1)
        for k in range(intervals):
            for r in range(low, high):
                for w in range(width):
                    for i in range(d):
                        z[r - low, w, i] = normals[r, k, w, i] * scale[i]
            for p in range(pairs):
                for r in range(low, high):
                    if width == 2:
                        _jump_sgd(lam, keep[k, p], maps[k, p], z[r - low], x[r, p], averages[r, p], here)
                    else:
                        _jump_momentum(lam, keep[k, p], maps[k, p], z[r - low], x[r, p], averages[r, p], here)
                    for a in range(averagings + 1):
                        risk[r, p, a, k] = here[a]


def simulate(
    problem: Problem,
    method: Method,
    multipliers: Array,
    lrs: Array,
    mixings: Sequence[Array],
    records: Integers,
    key: int,
    runs: range,
) -> Array:
    """Risk of the averagings of `runs` at the records, shape (R, S, n, A, K); infinite after an overflow.

    multipliers (S, T), lrs (n,) absolute, mixings: A arrays (S, T), records (K,) increasing; `key` from
    `philox.stream_key`. A run's normals depend on (key, run, record index) only. InputError where `can_jump`
    is false.
    """
    if not isinstance(problem, Quadratic) or not problem.gaussian:
        raise InputError(f"{problem!r} has no Gaussian state to jump with; step it (experiments.stepping)")
    proper, where = without_last(mixings, multipliers.shape)
    lam, pairs, averagings = problem.eigenvalues, len(multipliers) * len(lrs), proper.shape[1]
    order = 1 if method.momentum == 0 else 2
    x = np.zeros((len(runs), pairs, order, problem.dim))
    x[:, :, 0] = problem.start
    averages = np.broadcast_to(problem.start, (len(runs), pairs, averagings, problem.dim)).copy()
    risk = np.empty((len(runs), pairs, averagings + 1, len(records)))
    scale = np.sqrt(problem.law.noise)
    times = np.concatenate([[0], records])
    per_record = 8 * problem.dim * (pairs * (7 + 5 * averagings) + len(runs) * (order + 1) // 2)
    chunk = max(1, _MAPS_BYTES // per_record)
    for low in range(0, len(records), chunk):
        part = times[low : low + chunk + 1]
        maps = interval_maps(multipliers, lrs, lam, proper, part, method.momentum)
        normals = philox.normals(key, runs, low, len(part) - 1, (order + 1) * problem.dim)
        normals = normals.reshape(len(runs), len(part) - 1, order + 1, problem.dim)
        tasks = -(-len(runs) // _RUNS)
        spread(_jump, tasks, lam, scale, *maps, normals, x, averages, risk[..., low : low + chunk])
    shaped = once_infinite(risk).reshape(len(runs), len(multipliers), len(lrs), averagings + 1, -1)
    return np.asarray(shaped.take(where, axis=3))
