"""Any problem, any noise: one update at a time, all runs, schedules and learning rates at once.

`step_plainly` is the obvious version: torch, any problem, CPU or GPU. `simulate` runs it too, but quadratics
in their eigenbasis and least squares go through compiled kernels, which see the same samples. Time is cut
into blocks of a few hundred updates: a run's samples of a block are drawn once and serve all schedules,
learning rates and averagings (common random numbers), and the state of a pair stays in the cache while the
block passes.

Arithmetic is float64 on float32 noise, or all float32: then the update keeps the form x ← x − η(λx + ξ),
better at small η than x(1 − ηλ), and averages are summed over a block before they are folded into float64.
Without noise, a float32 update below half a unit in the last place of x is still lost.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numba import njit

from ratelab.experiments.methods import Method
from ratelab.problems.problem import Problem, Sample
from ratelab.problems.quadratic import Quadratic
from ratelab.problems.regression import StreamingLeastSquares, TableLeastSquares
from ratelab.theory.arrays import Array, Integers, once_infinite
from ratelab.theory.feedback import Feedback
from ratelab.theory.moments import without_last
from ratelab.theory.threads import serial_products, spread

Dtype: TypeAlias = Literal["float64", "float32"]

BLOCK = 256  # updates: short enough for a float32 sum, long enough to amortise a call
_RUNS = 64  # runs at a time
_SAMPLE_BYTES = 16 * 2**20  # what their samples of a block may take
_GROUP = 32  # updates of least squares per product


def _blocks(problem: Problem, records: Integers) -> Iterator[tuple[int, int]]:
    """Spans [first, last) that cover 0 … records[−1], none across a record.

    They depend on the problem and the records only: sums over a block round alike, whatever runs are asked
    for together.
    """
    longest = max(1, min(BLOCK, _SAMPLE_BYTES // (problem.sample_bytes() * _RUNS)))
    first = 0
    for record in records.tolist():
        while first < record:
            last = min(first + longest, record)
            yield first, last
            first = last


def block_weights(mixing: Array) -> tuple[Array, Array]:
    """Mixing c (…, k) as x̄' = keep·x̄ + Σ_j w_j x_j: w_j = c_j Π_{i>j}(1 − c_i) (…, k), keep = Π(1 − c_i)."""
    rest = np.cumprod((1 - mixing)[..., ::-1], axis=-1, dtype=np.float64)[..., ::-1]
    after = np.concatenate([rest[..., 1:], np.ones_like(rest[..., :1])], axis=-1)
    return mixing * after, rest[..., 0]


@njit(fastmath={"contract"})
def _quadratic_pair(
    multipliers: Any, lr: Any, beta: Any, lam: Any, noise: Any, weights: Any, x: Any, v: Any, sums: Any
) -> None:
    """One run and pair over a block: x −= η(λx + ξ), with velocity v = x − x_prev if there is momentum."""
    d = x.shape[0]
    for t in range(multipliers.shape[0]):
        eta = lr * multipliers[t]
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
def _advance_singles(
    first: Any, last: Any, rates: Any, z: Any, labels: Any, totals: Any, keep: Any, x: Any, averages: Any
) -> None:
    """A block of k single samples, x −= η z (zᵀx − ε) for all pairs of a run, in products of many updates.

    rates (k, P), z (R, k, 1, d), labels (R, k, 1), keep (S, A), x (R, P, d), averages (R, P, A, d). With
    totals W_t = Σ_{j>=t} w_j (A, k, P), a sum is Σ_t w_t x_t = W_0 x − Σ_t W_t c_t z_t: one more product.
    Buffers and operands are laid out as the products like them best: a transposed copy is cheaper than a slow
    product.
    """
    pairs, d = x.shape[1:]
    k, per_schedule = z.shape[1], pairs // keep.shape[0]
    before, step = np.empty((pairs, d), x.dtype), np.empty((pairs, d), x.dtype)
    c, weighted = np.empty((k, pairs), x.dtype), np.empty((k, pairs), x.dtype)
    features, turned = np.empty((k, d), x.dtype), np.empty(d * _GROUP, x.dtype)
    gram = np.empty(_GROUP * _GROUP, x.dtype)
    for r in range(first, last):
        _copy(z[r].reshape((k, d)), features)
        _copy(x[r], before)
        for low in range(0, k, _GROUP):
            span = slice(low, min(low + _GROUP, k))
            here = features[span]
            size = len(here)
            across, products = (
                turned[: d * size].reshape((d, size)),
                gram[: size * size].reshape((size, size)),
            )
            _copy(here.T, across)
            np.dot(across.T, x[r].T, c[span])
            np.dot(here, across, products)
            _scales(products, labels[r, span, 0], rates[span], c[span])
            np.dot(c[span].T, here, step)
            _subtract(step, x[r])
        for a in range(totals.shape[0]):
            _multiply(totals[a], c, weighted)
            np.dot(weighted.T, features, step)
            for p in range(pairs):
                _fold_sum(keep[p // per_schedule, a], totals[a, 0, p], before[p], step[p], averages[r, p, a])


@njit(fastmath={"contract", "reassoc"})
def _regression_pair(
    multipliers: Any, lr: Any, beta: Any, z: Any, labels: Any, weights: Any, x: Any, v: Any, g: Any, sums: Any
) -> None:
    """One run and one pair over a block of least squares: g = mean of z (zᵀx − ε) over the batch."""
    d, batch = x.shape[0], z.shape[1]
    for t in range(multipliers.shape[0]):
        eta = lr * multipliers[t] / np.float32(batch)  # an integer would make it float64
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


@njit
def _fold_average(keep: Any, sums: Any, average: Any) -> None:
    for a in range(sums.shape[0]):
        for i in range(sums.shape[1]):
            average[a, i] = keep[a] * average[a, i] + np.float64(sums[a, i])


@njit(nogil=True, cache=True)
def _advance_quadratic(
    first: Any,
    last: Any,
    multipliers: Any,
    lrs: Any,
    beta: Any,
    lam: Any,
    noise: Any,
    weights: Any,
    keep: Any,
    x: Any,
    v: Any,
    averages: Any,
) -> None:
    """A block of k updates, in place on x, v (R, S·n, d) and averages (R, S·n, A, d).

    noise (R, k, d), multipliers (S, k), weights (S, A, k), keep (S, A).
    """
    for r in range(first, last):
        sums = np.empty(averages.shape[2:], dtype=x.dtype)
        for p in range(x.shape[1]):
            s = p // lrs.shape[0]
            sums[:] = 0
            _quadratic_pair(
                multipliers[s], lrs[p % lrs.shape[0]], beta, lam, noise[r], weights[s], x[r, p], v[r, p], sums
            )
            _fold_average(keep[s], sums, averages[r, p])


@njit(nogil=True, cache=True)
def _advance_regression(
    first: Any,
    last: Any,
    multipliers: Any,
    lrs: Any,
    beta: Any,
    z: Any,
    labels: Any,
    weights: Any,
    keep: Any,
    x: Any,
    v: Any,
    averages: Any,
) -> None:
    """As `_advance_quadratic`, with features z (R, k, B, d) and labels (R, k, B)."""
    for r in range(first, last):
        sums, g = np.empty(averages.shape[2:], dtype=x.dtype), np.empty(x.shape[2], dtype=x.dtype)
        for p in range(x.shape[1]):
            s, lr = p // lrs.shape[0], lrs[p % lrs.shape[0]]
            sums[:] = 0
            _regression_pair(multipliers[s], lr, beta, z[r], labels[r], weights[s], x[r, p], v[r, p], g, sums)
            _fold_average(keep[s], sums, averages[r, p])


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def _risks(first: Any, last: Any, lam: Any, x: Any, averages: Any, out: Any) -> None:
    """½ Σ λ δ² of averages (R, P, A, d), then of iterates x (R, P, d), into `out` (R, P, A + 1)."""
    for r in range(first, last):
        for p in range(x.shape[1]):
            for a in range(averages.shape[2]):
                total = 0.0
                for i in range(lam.shape[0]):
                    total += lam[i] * averages[r, p, a, i] * averages[r, p, a, i]
                out[r, p, a] = 0.5 * total
            total = 0.0
            for i in range(lam.shape[0]):
                here = np.float64(x[r, p, i])
                total += lam[i] * here * here
            out[r, p, averages.shape[2]] = 0.5 * total


def _advance(
    problem: Quadratic | StreamingLeastSquares | TableLeastSquares,
    beta: float,
    multipliers: Array,
    lrs: Array,
    mixings: Array,
    sample: Sample,
    x: Array,
    v: Array,
    averages: Array,
) -> None:
    """One block of updates, in place, by the kernel of the problem."""
    dtype = x.dtype.type
    weights, keep = block_weights(mixings)
    steps, rates, momentum = np.ascontiguousarray(multipliers, dtype=dtype), lrs.astype(dtype), dtype(beta)
    drawn = [part.astype(dtype, copy=False) if dtype is np.float32 else part for part in sample]
    w = np.ascontiguousarray(weights, dtype=dtype)
    if isinstance(problem, Quadratic):
        lam = problem.eigenvalues.astype(dtype)
        spread(_advance_quadratic, len(x), steps, rates, momentum, lam, *drawn, w, keep, x, v, averages)
    elif problem.batch == 1 and beta == 0:
        each = (steps[:, None] * rates[:, None]).reshape(-1, steps.shape[1]).T  # of a pair
        totals = np.cumsum(weights[..., ::-1], axis=-1)[..., ::-1].repeat(len(rates), axis=0)
        of_pairs = np.ascontiguousarray(totals.transpose(1, 2, 0), dtype=dtype)
        with serial_products():
            spread(_advance_singles, len(x), np.ascontiguousarray(each), *drawn, of_pairs, keep, x, averages)
    else:
        spread(_advance_regression, len(x), steps, rates, momentum, *drawn, w, keep, x, v, averages)


def simulate(
    problem: Problem,
    method: Method,
    multipliers: Array,
    lrs: Array,
    mixings: Sequence[Array],
    records: Integers,
    key: int,
    runs: range,
    dtype: Dtype = "float64",
) -> Array:
    """Risk of the averagings of `runs` at the records, shape (R, S, n, A, K); infinite after an overflow.

    multipliers (S, T), lrs (n,) absolute, mixings: A arrays (S, T), records (K,) increasing; `key` from
    `philox.stream_key`. The sample of an update depends on (key, run, update) only.
    """
    if not isinstance(problem, Quadratic | StreamingLeastSquares | TableLeastSquares):
        return step_plainly(problem, method, multipliers, lrs, mixings, records, key, runs, dtype)
    if len(runs) > _RUNS:
        groups = [runs[r : r + _RUNS] for r in range(0, len(runs), _RUNS)]
        return np.concatenate(
            [simulate(problem, method, multipliers, lrs, mixings, records, key, g, dtype) for g in groups]
        )
    proper, where = without_last(mixings, multipliers.shape)
    pairs = len(multipliers) * len(lrs)
    x = np.broadcast_to(problem.start.astype(dtype), (len(runs), pairs, problem.dim)).copy()
    v = np.zeros_like(x)
    averages = np.broadcast_to(problem.start, (len(runs), pairs, proper.shape[1], problem.dim)).copy()
    risk = np.empty((len(runs), pairs, proper.shape[1] + 1, len(records)))
    recorded = 0
    for first, last in [(0, 0), *_blocks(problem, records)]:
        if first < last:
            sample = problem.sample(key, runs, first, last - first)
            span = slice(first, last)
            _advance(
                problem, method.momentum, multipliers[:, span], lrs, proper[..., span], sample, x, v, averages
            )
        if recorded < len(records) and records[recorded] == last:
            spread(_risks, len(x), problem.eigenvalues, x, averages, risk[..., recorded])
            recorded += 1
    shaped = once_infinite(risk).reshape(len(runs), len(multipliers), len(lrs), *risk.shape[2:])
    return np.asarray(shaped.take(where, axis=3))


@dataclass(frozen=True)
class Loops:
    """Closed loops: one rule per schedule, which sees f(x_t) − f* of each run at t = every, 2·every, …

    The risk, not a loss: a threshold relative to it is a smaller one than relative to a loss with f* > 0.
    """

    rules: Sequence[Feedback]
    every: int


def step_plainly(
    problem: Problem,
    method: Method,
    multipliers: Array,
    lrs: Array,
    mixings: Sequence[Array],
    records: Integers,
    key: int,
    runs: range,
    dtype: Dtype = "float64",
    device: str = "cpu",
    loops: Loops | None = None,
) -> Array:
    """`simulate`, written as the definition reads, for any problem; the same samples, on any torch device.

    With `loops` the multipliers are the open parts of closed loops, one rule per row.
    """
    kind = torch.float64 if dtype == "float64" else torch.float32
    shape = (len(multipliers), len(lrs), len(runs), problem.dim)
    x = torch.as_tensor(problem.start, dtype=kind, device=device).expand(shape).clone()
    velocity = torch.zeros_like(x)
    averages = [x.double().clone() for _ in mixings]
    steps = torch.as_tensor(multipliers[:, None, :] * lrs[None, :, None], dtype=kind, device=device)
    at = {int(record): k for k, record in enumerate(records)}
    risk = np.empty((len(runs), *shape[:2], len(mixings), len(records)))
    factors = torch.ones((*shape[:3], 1), dtype=kind, device=device)
    states = [] if loops is None else [rule.start(len(lrs) * len(runs)) for rule in loops.rules]

    def record(t: int) -> None:
        for a, average in enumerate(averages):
            risk[..., a, at[t]] = problem.risk(average).permute(2, 0, 1).cpu().numpy()

    if 0 in at:
        record(0)
    for first, last in _blocks(problem, records):
        sample = [
            torch.as_tensor(part, device=device) for part in problem.sample(key, runs, first, last - first)
        ]
        for t in range(first, last):
            if loops is not None and t and t % loops.every == 0:
                seen = problem.risk(x.double()).reshape(len(loops.rules), -1).cpu().numpy()
                for s, rule in enumerate(loops.rules):
                    factor, states[s] = rule.update(states[s], seen[s])
                    factors[s] = torch.as_tensor(factor, dtype=kind).reshape(factors.shape[1:])
            gradient = problem.gradient(x, *(part[:, t - first] for part in sample))
            velocity = method.momentum * velocity - steps[:, :, t, None, None] * factors * gradient
            x = x + velocity
            for a, mixing in enumerate(mixings):
                c = torch.as_tensor(mixing[:, t], device=device)[:, None, None, None]
                averages[a] = (1 - c) * averages[a] + c * x.double()
            if t + 1 in at:
                record(t + 1)
    return once_infinite(risk)
