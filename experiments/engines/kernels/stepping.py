"""A block of updates of quadratics in their eigenbasis and of least squares, by whole runs.

A run's samples serve all of its pairs of a schedule and a learning rate, and the state of a pair stays in the
cache while the block passes. Arithmetic is in the dtype of x; averages are float64. Least squares with batch
1 go by matrix products over all pairs (`singles`).
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from ratelab.experiments.engines.kernels.averages import block_weights, fold
from ratelab.problems.problem import Sample
from ratelab.theory.arrays import Array
from ratelab.theory.threads import serial_products, spread

_GROUP = 32  # updates of least squares per product


class Block(NamedTuple):
    """k updates of P pairs: steps η (P, k), β; weights (S, A, k) and keep (S, A) of the averages."""

    steps: Any
    momentum: Any
    weights: Any
    keep: Any


class State(NamedTuple):
    """Where R runs of P pairs are: x, v (R, P, d), averages (R, P, A, d); kernels change it in place."""

    x: Any
    v: Any
    averages: Any


def block(multipliers: Array, lrs: Array, momentum: float, mixings: Array, kind: Any) -> Block:
    """Of multipliers (S, k), lrs (n,) and mixings (S, A, k), for arithmetic in `kind`."""
    weights, keep = block_weights(mixings)
    steps = multipliers.astype(kind)[:, None] * lrs.astype(kind)[:, None]
    return Block(steps.reshape(-1, steps.shape[-1]), kind(momentum), weights, keep)


# Quadratics


@njit(fastmath={"contract"})
def _quadratic_pair(
    steps: Any, beta: Any, weights: Any, lam: Any, noise: Any, x: Any, v: Any, sums: Any
) -> None:
    """One run and pair over a block: x −= η(λx + ξ), with velocity v = x − x_prev if there is momentum."""
    d = x.shape[0]
    for t in range(steps.shape[0]):
        eta = steps[t]
        if beta == 0:
            for i in range(d):
                x[i] -= eta * (lam[i] * x[i] + noise[t, i])
        else:
            for i in range(d):
                v[i] = beta * v[i] - eta * (lam[i] * x[i] + noise[t, i])
                x[i] += v[i]
        for a in range(weights.shape[0]):
            w = weights[a, t]
            if w != 0:
                for i in range(d):
                    sums[a, i] += w * x[i]


@njit(nogil=True, cache=True)
def _quadratic(first: Any, last: Any, lam: Any, noise: Any, of: Any, at: Any) -> None:
    """`quadratic` for runs first, …, last − 1."""
    per_schedule = len(of.steps) // len(of.keep)
    for r in range(first, last):
        sums = np.empty(at.averages.shape[2:], at.x.dtype)
        for p in range(len(of.steps)):
            s, x, v = p // per_schedule, at.x[r, p], at.v[r, p]
            sums[:] = 0
            _quadratic_pair(of.steps[p], of.momentum, of.weights[s], lam, noise[r], x, v, sums)
            for a in range(len(sums)):
                fold(of.keep[s, a], sums[a], at.averages[r, p, a])


def quadratic(lam: Array, sample: Sample, of: Block, at: State) -> None:
    """A block of updates with eigenvalues lam (d,); of the sample is noise ξ (R, k, d)."""
    (noise,), kind = sample, at.x.dtype.type
    weights = np.ascontiguousarray(of.weights, dtype=kind)
    spread(_quadratic, len(at.x), lam.astype(kind), noise, of._replace(weights=weights), at)


# Least squares


@njit(fastmath={"contract", "reassoc"})
def _regression_pair(
    steps: Any, beta: Any, weights: Any, z: Any, labels: Any, x: Any, v: Any, g: Any, sums: Any
) -> None:
    """One run and pair over a block: x ← x + v, v ← βv − ηg with g = mean of z (zᵀx − ε) over the batch."""
    d, batch = x.shape[0], z.shape[1]
    for t in range(steps.shape[0]):
        eta = steps[t] / np.float32(batch)  # an integer would make it float64
        g[:] = 0
        for b in range(batch):
            residual = -labels[t, b]
            for i in range(d):
                residual += z[t, b, i] * x[i]
            for i in range(d):
                g[i] += residual * z[t, b, i]
        for i in range(d):
            v[i] = beta * v[i] - eta * g[i]
            x[i] += v[i]
        for a in range(weights.shape[0]):
            w = weights[a, t]
            if w != 0:
                for i in range(d):
                    sums[a, i] += w * x[i]


@njit(nogil=True, cache=True)
def _regression(first: Any, last: Any, z: Any, labels: Any, of: Any, at: Any) -> None:
    """`regression` for runs first, …, last − 1."""
    per_schedule = len(of.steps) // len(of.keep)
    for r in range(first, last):
        sums, g = np.empty(at.averages.shape[2:], at.x.dtype), np.empty(at.x.shape[2], at.x.dtype)
        for p in range(len(of.steps)):
            s, x, v = p // per_schedule, at.x[r, p], at.v[r, p]
            sums[:] = 0
            _regression_pair(of.steps[p], of.momentum, of.weights[s], z[r], labels[r], x, v, g, sums)
            for a in range(len(sums)):
                fold(of.keep[s, a], sums[a], at.averages[r, p, a])


def regression(sample: Sample, of: Block, at: State) -> None:
    """A block of updates; of the sample are features z (R, k, B, d) and labels ε (R, k, B)."""
    weights = np.ascontiguousarray(of.weights, dtype=at.x.dtype)
    spread(_regression, len(at.x), *sample, of._replace(weights=weights), at)


# Least squares, batch 1


@njit(fastmath={"contract"})
def _scales(gram: Any, labels: Any, rates: Any, c: Any) -> None:
    """c (K, P): from z_tᵀx at the first x to the factors of the updates x −= c_t z_t of all pairs, in place.

    c_t = η_t (z_tᵀx − ε_t − Σ_{s<t} c_s z_sᵀz_t): what x has become by then enters through gram (K, K) only.
    Four s at a time, so that c_t is read and written a quarter as often.
    """
    for t in range(c.shape[0]):
        whole = t - t % 4
        for s in range(0, whole, 4):
            g0, g1, g2, g3 = gram[t, s], gram[t, s + 1], gram[t, s + 2], gram[t, s + 3]
            for p in range(c.shape[1]):
                c[t, p] -= g0 * c[s, p] + g1 * c[s + 1, p] + g2 * c[s + 2, p] + g3 * c[s + 3, p]
        for s in range(whole, t):
            for p in range(c.shape[1]):
                c[t, p] -= gram[t, s] * c[s, p]
        for p in range(c.shape[1]):
            c[t, p] = rates[t, p] * (c[t, p] - labels[t])


@njit
def _copy(source: Any, target: Any) -> None:
    for i in range(target.shape[0]):
        for j in range(target.shape[1]):
            target[i, j] = source[i, j]


@njit
def _subtract(part: Any, whole: Any) -> None:
    for i in range(whole.shape[0]):
        for j in range(whole.shape[1]):
            whole[i, j] -= part[i, j]


@njit
def _multiply(a: Any, b: Any, out: Any) -> None:
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = a[i, j] * b[i, j]


@njit(fastmath={"contract"})
def _fold_sum(keep: Any, total: Any, x: Any, part: Any, average: Any) -> None:
    for i in range(x.shape[0]):
        average[i] = keep * average[i] + np.float64(total * x[i] - part[i])


@njit(nogil=True, cache=True)
def _singles(first: Any, last: Any, z: Any, labels: Any, rates: Any, totals: Any, keep: Any, at: Any) -> None:
    """`singles` for runs first, …, last − 1; rates (k, P), totals (A, k, P), keep (S, A).

    Buffers and operands are laid out as the products like them best: a transposed copy is cheaper than a slow
    product.
    """
    pairs, d = at.x.shape[1:]
    k, per_schedule, kind = z.shape[1], pairs // keep.shape[0], at.x.dtype
    before, step = np.empty((pairs, d), kind), np.empty((pairs, d), kind)
    c, weighted = np.empty((k, pairs), kind), np.empty((k, pairs), kind)
    features, turned = np.empty((k, d), kind), np.empty(d * _GROUP, kind)
    gram = np.empty(_GROUP * _GROUP, kind)
    for r in range(first, last):
        x, averages = at.x[r], at.averages[r]
        _copy(z[r].reshape((k, d)), features)
        _copy(x, before)
        for low in range(0, k, _GROUP):
            span = slice(low, min(low + _GROUP, k))
            here = features[span]
            size = len(here)
            across = turned[: d * size].reshape((d, size))
            products = gram[: size * size].reshape((size, size))
            _copy(here.T, across)
            np.dot(across.T, x.T, c[span])
            np.dot(here, across, products)
            _scales(products, labels[r, span, 0], rates[span], c[span])
            np.dot(c[span].T, here, step)
            _subtract(step, x)
        for a in range(totals.shape[0]):
            _multiply(totals[a], c, weighted)
            np.dot(weighted.T, features, step)
            for p in range(pairs):
                _fold_sum(keep[p // per_schedule, a], totals[a, 0, p], before[p], step[p], averages[p, a])


def singles(sample: Sample, of: Block, at: State) -> None:
    """A block of single samples without momentum, x −= η z (zᵀx − ε), in products of many updates.

    Of the sample are z (R, k, 1, d) and labels ε (R, k, 1). With totals W_t = Σ_{j>=t} w_j, a sum is
    Σ_t w_t x_t = W_0 x − Σ_t W_t c_t z_t: one more product.
    """
    rates = np.ascontiguousarray(of.steps.T)
    totals = np.cumsum(of.weights[..., ::-1], axis=-1)[..., ::-1]
    totals = totals.repeat(len(of.steps) // len(totals), axis=0).transpose(1, 2, 0)
    with serial_products():
        spread(
            _singles, len(at.x), *sample, rates, np.ascontiguousarray(totals, dtype=at.x.dtype), of.keep, at
        )


# Risk


@njit(fastmath={"contract", "reassoc"})
def _risk(lam: Any, x: Any) -> Any:
    """½ Σ λ δ², in float64."""
    total = 0.0
    for i in range(len(lam)):
        here = np.float64(x[i])
        total += lam[i] * here * here
    return 0.5 * total


@njit(nogil=True, cache=True)
def _risks(first: Any, last: Any, lam: Any, at: Any, out: Any) -> None:
    """`risks` of runs first, …, last − 1."""
    averages = at.averages.shape[2]
    for r in range(first, last):
        for p in range(at.x.shape[1]):
            for a in range(averages):
                out[r, p, a] = _risk(lam, at.averages[r, p, a])
            out[r, p, averages] = _risk(lam, at.x[r, p])


def risks(lam: Array, at: State) -> Array:
    """½ Σ λ δ² of averages, then of iterates: (R, P, A + 1)."""
    runs, pairs, averages = at.averages.shape[:3]
    out = np.empty((runs, pairs, averages + 1))
    spread(_risks, runs, lam, at, out)
    return out
