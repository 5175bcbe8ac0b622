"""One exact draw of every run from record to record: the maps of `theory.affine` applied to standard normals.

The maps of an interval and a pair serve all runs, so a task is a few runs whose states stay in the
second-level cache while the maps pass by.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from ratelab.theory.affine import IntervalMaps
from ratelab.theory.arrays import Array
from ratelab.theory.threads import spread

_RUNS = 8  # runs per task


class State(NamedTuple):
    """Where R runs of P pairs are: x (R, P, order, d), with momentum followed by v; averages (R, P, A, d)."""

    x: Any
    averages: Any


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


@njit
def _scaled(normals: Any, scale: Any, z: Any) -> None:
    """z (width, d) = normals (width, d) in units of the noise's standard deviations."""
    for w in range(z.shape[0]):
        for i in range(z.shape[1]):
            z[w, i] = normals[w, i] * scale[i]


@njit(nogil=True, cache=True)
def _jump(first: Any, last: Any, lam: Any, scale: Any, maps: Any, normals: Any, at: Any, risk: Any) -> None:
    """`jump` for tasks first, …, last − 1 of all."""
    runs, intervals, width, d = normals.shape
    pairs, averagings = at.averages.shape[1], at.averages.shape[2]
    for task in range(first, last):
        low, high = task * _RUNS, min((task + 1) * _RUNS, runs)
        z = np.empty((_RUNS, width, d))
        here = np.empty(averagings + 1)
        for k in range(intervals):
            for r in range(low, high):
                _scaled(normals[r, k], scale, z[r - low])
            for p in range(pairs):
                keep, channels = maps.keep[k, p], maps.channels[k, p]
                for r in range(low, high):
                    own, averages = at.x[r, p], at.averages[r, p]
                    if width == 2:
                        _jump_sgd(lam, keep, channels, z[r - low], own, averages, here)
                    else:
                        _jump_momentum(lam, keep, channels, z[r - low], own, averages, here)
                    for a in range(averagings + 1):
                        risk[r, p, a, k] = here[a]


def jump(lam: Array, scale: Array, maps: IntervalMaps, normals: Any, at: State) -> Array:
    """All runs over K intervals: the state moves on, in place; returns the risk (R, P, A + 1, K).

    lam, scale (d,): eigenvalues, and standard deviations of the noise; normals (R, K, order + 1, d). The risk
    of the iterate stands after those of the averages.
    """
    runs, pairs, averages = at.averages.shape[:3]
    risk = np.empty((runs, pairs, averages + 1, normals.shape[1]))
    spread(_jump, -(-runs // _RUNS), lam, scale, maps, normals, at, risk)
    return risk
