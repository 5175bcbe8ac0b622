"""Exact expected risk of SGD and heavy ball on quadratics, for any step sequence and any averaging.

With f = ½ Σ λ_i δ_i², δ = x − x*, the second moments of position, velocity v_t = δ_t − δ_{t−1} and average
obey a linear recursion, here run as it stands: nothing is sampled, fitted or extrapolated. In the eigenbasis,
with g_i = η_t λ_i and a_i = 1 − g_i, an update is δ' = a δ + β v − ηξ, v' = β v − g δ − ηξ, so that

    m' = a² m + 2aβ w + β² V + N_i                    (m = E δ²)
    w' = β(a − g) w − ag m + β² V + N_i               (w = E δv)
    V' = β² V − 2βg w + g² m + N_i                    (V = E v²)

and for an average x̄' = (1 − c) x̄ + c x', with q = E δδ̄, u = E vδ̄, r = E δ̄²,

    q⁻ = a q + β u,   u⁻ = β u − g q,   r' = (1 − c)² r + 2c(1 − c) q⁻ + c² m',
    q' = (1 − c) q⁻ + c m',   u' = (1 − c) u⁻ + c w'

(positions and velocities, because two successive positions are nearly equal where momentum is large, and
their moments would cancel), where β is the momentum and N_i the noise that one update adds:
    additive        η² C_ii / B
    least squares   (η²/B) [λ_i² m_i + λ_i (Σ_j λ_j m_j + σ²)]     (fresh Gaussian features, label noise σ²)
    minibatches     (η²/B) [E z_i² (zᵀδ − ε)² − λ_i² m_i]          (rows of a table, drawn with replacement)

Sources: Bach and Moulines 2011 (additive), Bach and Moulines 2013 and Jain et al. 2018 (least squares); each
recursion is checked against simulation and, where there is one, its steady state.

Shapes: S schedules, n learning rates, A averagings, K record times, d coordinates, T updates.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.optimize import brentq

from ratelab.theory.arrays import Array, InputError, Integers, once_infinite
from ratelab.theory.threads import spread

_TILE = 64  # coordinates per task: their moments stay in the first-level cache


@njit(fastmath={"contract"})
def _sgd_tile(
    multipliers: Any,
    lr: Any,
    lam: Any,
    half: Any,
    noise: Any,
    m: Any,
    mixing: Any,
    q: Any,
    r: Any,
    records: Any,
    out: Any,
) -> None:
    """Additive noise, no momentum: the coordinates of one tile; adds Σ ½ λ m and Σ ½ λ r, `half` = ½ λ."""
    d, averagings = lam.shape[0], mixing.shape[0]
    t = 0
    for k in range(records.shape[0]):
        while t < records[k]:
            eta = lr * multipliers[t]
            square = eta * eta
            for i in range(d):
                factor = 1.0 - eta * lam[i]
                m[i] = factor * factor * m[i] + square * noise[i]
            for a in range(averagings):
                c = mixing[a, t]
                keep = 1.0 - c
                for i in range(d):
                    cross = (1.0 - eta * lam[i]) * q[a, i]
                    r[a, i] = keep * keep * r[a, i] + 2.0 * c * keep * cross + c * c * m[i]
                    q[a, i] = keep * cross + c * m[i]
            t += 1
        for i in range(d):
            out[averagings, k] += half[i] * m[i]
        for a in range(averagings):
            for i in range(d):
                out[a, k] += half[i] * r[a, i]


@njit(nogil=True, cache=True)
def _sgd(
    first: Any,
    last: Any,
    multipliers: Any,
    lrs: Any,
    lam: Any,
    half: Any,
    start: Any,
    noise: Any,
    mixings: Any,
    records: Any,
    out: Any,
) -> None:
    """`out` (S·n, tiles, A + 1, K): partial sums, one per tile, so that no two tasks share a sum."""
    tiles = out.shape[1]
    for task in range(first, last):
        pair, tile = task // tiles, task % tiles
        s, l = pair // lrs.shape[0], pair % lrs.shape[0]  # noqa: E741
        low, high = tile * _TILE, min((tile + 1) * _TILE, lam.shape[0])
        m = start[low:high] * start[low:high]
        q = np.empty((mixings.shape[1], high - low))
        for a in range(mixings.shape[1]):
            q[a] = m
        _sgd_tile(
            multipliers[s],
            lrs[l],
            lam[low:high],
            half[low:high],
            noise[low:high],
            m,
            mixings[s],
            q,
            q.copy(),
            records,
            out[pair, tile],
        )


@njit(fastmath={"contract", "reassoc"})
def _coupled_pair(
    multipliers: Any,
    lr: Any,
    beta: Any,
    lam: Any,
    half: Any,
    start: Any,
    noise: Any,
    inverse_batch: Any,
    label_variance: Any,
    mixing: Any,
    records: Any,
    out: Any,
    gradient: Any,
) -> None:
    """Additive or least squares noise and any momentum, all coordinates at once (least squares couples them).

    `inverse_batch` is 1/B for least squares and 0 for additive noise. `gradient` (T,) receives E‖g_t‖²;
    empty if unwanted.
    """
    d, averagings = lam.shape[0], mixing.shape[0]
    m = start * start
    w, v = np.zeros(d), np.zeros(d)
    q = np.empty((averagings, d))
    for a in range(averagings):
        q[a] = m
    u, r = np.zeros((averagings, d)), q.copy()
    t = 0
    for k in range(records.shape[0]):
        while t < records[k]:
            eta = lr * multipliers[t]
            square = eta * eta
            total = label_variance
            for i in range(d):
                total += lam[i] * m[i]
            total *= inverse_batch
            if gradient.shape[0] > 0:
                second = 0.0
                for i in range(d):
                    second += lam[i] * lam[i] * m[i] * (1.0 + inverse_batch) + noise[i] + lam[i] * total
                gradient[t] = second
            for i in range(d):
                g = eta * lam[i]
                f = 1.0 - g
                added = square * (noise[i] + lam[i] * lam[i] * m[i] * inverse_batch + lam[i] * total)
                kept = beta * beta * v[i] + added
                m_new = f * f * m[i] + 2.0 * f * beta * w[i] + kept
                w_new = beta * (f - g) * w[i] - f * g * m[i] + kept
                v[i] = g * g * m[i] - 2.0 * beta * g * w[i] + kept
                m[i] = m_new
                w[i] = w_new
            for a in range(averagings):
                c = mixing[a, t]
                keep = 1.0 - c
                for i in range(d):
                    g = eta * lam[i]
                    cross = (1.0 - g) * q[a, i] + beta * u[a, i]
                    r[a, i] = keep * keep * r[a, i] + 2.0 * c * keep * cross + c * c * m[i]
                    u[a, i] = keep * (beta * u[a, i] - g * q[a, i]) + c * w[i]
                    q[a, i] = keep * cross + c * m[i]
            t += 1
        for i in range(d):
            out[averagings, k] += half[i] * m[i]
        for a in range(averagings):
            for i in range(d):
                out[a, k] += half[i] * r[a, i]


@njit(nogil=True, cache=True)
def _coupled(
    first: Any,
    last: Any,
    multipliers: Any,
    lrs: Any,
    beta: Any,
    lam: Any,
    half: Any,
    start: Any,
    noise: Any,
    inverse_batch: Any,
    label_variance: Any,
    mixings: Any,
    records: Any,
    out: Any,
    gradient: Any,
) -> None:
    for pair in range(first, last):
        s, l = pair // lrs.shape[0], pair % lrs.shape[0]  # noqa: E741
        _coupled_pair(
            multipliers[s],
            lrs[l],
            beta,
            lam,
            half,
            start,
            noise,
            inverse_batch,
            label_variance,
            mixings[s],
            records,
            out[pair],
            gradient[pair],
        )


@njit(fastmath={"contract"})
def _table_pair(
    multipliers: Any,
    lr: Any,
    beta: Any,
    lam: Any,
    half: Any,
    start: Any,
    rows: Any,
    columns: Any,
    noise_map: Any,
    mixing: Any,
    records: Any,
    out: Any,
    gradient: Any,
) -> None:
    """Minibatches of a table: the covariance in full, since fourth moments of the rows mix its entries.

    Packed: entry e of E δδᵀ and E vvᵀ is (i, j) = (rows[e], columns[e]), i ≤ j; E δvᵀ is kept as a matrix.
    `state` is (E δδᵀ, E δ, 1); `noise_map` (its length, entries) takes it to the covariance of the gradient.
    """
    d, entries, averagings = lam.shape[0], rows.shape[0], mixing.shape[0]
    state = np.ones(entries + d + 1)
    v, added = np.zeros(entries), np.empty(entries)
    diagonal = np.empty(d, dtype=np.int64)
    for e in range(entries):
        state[e] = start[rows[e]] * start[columns[e]]
        if rows[e] == columns[e]:
            diagonal[rows[e]] = e
    state[entries : entries + d] = start
    speed = np.zeros(d)  # E v
    w = np.zeros((d, d))
    q = np.empty((averagings, d))
    for a in range(averagings):
        q[a] = start * start
    u, r = np.zeros((averagings, d)), q.copy()
    g = np.empty(d)
    t = 0
    for k in range(records.shape[0]):
        while t < records[k]:
            eta = lr * multipliers[t]
            for i in range(d):
                g[i] = eta * lam[i]
            added[:] = 0.0
            for h in range(state.shape[0]):
                for e in range(entries):
                    added[e] += noise_map[h, e] * state[h]
            if gradient.shape[0] > 0:
                for i in range(d):
                    gradient[t] += added[diagonal[i]] + lam[i] * lam[i] * state[diagonal[i]]
            if beta != 0.0:
                for e in range(entries):
                    i, j, m = rows[e], columns[e], state[e]
                    fi, fj, wij, wji = 1.0 - g[i], 1.0 - g[j], w[i, j], w[j, i]
                    kept = beta * beta * v[e] + eta * eta * added[e]
                    state[e] = fi * fj * m + beta * (fi * wij + fj * wji) + kept
                    v[e] = g[i] * g[j] * m - beta * (g[j] * wji + g[i] * wij) + kept
                    w[i, j] = beta * (fi * wij - g[j] * wji) - fi * g[j] * m + kept
                    w[j, i] = beta * (fj * wji - g[i] * wij) - fj * g[i] * m + kept
            else:
                for e in range(entries):
                    state[e] = (1.0 - g[rows[e]]) * (1.0 - g[columns[e]]) * state[e] + eta * eta * added[e]
            for i in range(d):
                speed[i] = beta * speed[i] - g[i] * state[entries + i]
                state[entries + i] += speed[i]
            for a in range(averagings):
                c = mixing[a, t]
                keep = 1.0 - c
                for i in range(d):
                    now = state[diagonal[i]]
                    cross = (1.0 - g[i]) * q[a, i] + beta * u[a, i]
                    r[a, i] = keep * keep * r[a, i] + 2.0 * c * keep * cross + c * c * now
                    u[a, i] = keep * (beta * u[a, i] - g[i] * q[a, i]) + c * w[i, i]
                    q[a, i] = keep * cross + c * now
            t += 1
        for i in range(d):
            out[averagings, k] += half[i] * state[diagonal[i]]
        for a in range(averagings):
            for i in range(d):
                out[a, k] += half[i] * r[a, i]


@njit(nogil=True, cache=True)
def _table(
    first: Any,
    last: Any,
    multipliers: Any,
    lrs: Any,
    beta: Any,
    lam: Any,
    half: Any,
    start: Any,
    rows: Any,
    columns: Any,
    noise_map: Any,
    mixings: Any,
    records: Any,
    out: Any,
    gradient: Any,
) -> None:
    for pair in range(first, last):
        s, l = pair // lrs.shape[0], pair % lrs.shape[0]  # noqa: E741
        _table_pair(
            multipliers[s],
            lrs[l],
            beta,
            lam,
            half,
            start,
            rows,
            columns,
            noise_map,
            mixings[s],
            records,
            out[pair],
            gradient[pair],
        )


@dataclass(frozen=True, eq=False)
class Additive:
    """Gradient λδ + ξ, E ξ_i² = `noise`_i (C_ii / B), δ_0 = `start`, in the eigenbasis. Shapes (d,)."""

    eigenvalues: Array
    start: Array
    noise: Array


@dataclass(frozen=True, eq=False)
class LeastSquares:
    """Fresh z ~ N(0, H), labels zᵀx* + ε, ε ~ N(0, σ²); the gradient averages z (zᵀδ − ε) over `batch`."""

    eigenvalues: Array
    start: Array
    label_variance: float
    batch: int


@dataclass(frozen=True, eq=False)
class Minibatches:
    """Rows (z, ε) of a table, drawn with replacement: the gradient averages z (zᵀδ − ε) over `batch` of them.

    `features` (N, d) holds z in the eigenbasis of E zzᵀ = diag(`eigenvalues`); `residuals` (N,) holds
    ε = y − zᵀx*, for which E zε = 0. The recursion keeps the d × d covariance, so d is at most 32.
    """

    eigenvalues: Array
    start: Array
    features: Array
    residuals: Array
    batch: int

    def __post_init__(self) -> None:
        if self.features.shape[1] > MINIBATCH_DIM:
            raise InputError(
                f"the exact risk of minibatches needs d <= {MINIBATCH_DIM}, and the table has "
                f"d = {self.features.shape[1]}; use fewer columns, or a Monte Carlo run"
            )

    def packed(self) -> tuple[Integers, Integers, Array]:
        """The entries i ≤ j of a packed covariance, and the map of (E δδᵀ, E δ, 1) to that of the gradient.

        Cov g = (1/B) [E zzᵀ (zᵀδ − ε)² − H E δδᵀ H], transposed: shape (entries + d + 1, entries).
        """
        n, d = self.features.shape
        i, j = np.triu_indices(d)
        pairs = self.features[:, i] * self.features[:, j]
        fourth = pairs.T @ pairs / n * np.where(i == j, 1.0, 2.0)
        third = -2 / n * pairs.T @ (self.residuals[:, None] * self.features)
        second = pairs.T @ self.residuals**2 / n
        whole = np.column_stack([fourth - np.diag(self.eigenvalues[i] * self.eigenvalues[j]), third, second])
        return i, j, np.ascontiguousarray(whole.T) / self.batch


MINIBATCH_DIM = 32
Law: TypeAlias = Additive | LeastSquares | Minibatches


def exact_risk(
    law: Law,
    multipliers: Array,
    lrs: Array,
    mixings: Sequence[Array],
    records: Integers,
    momentum: float = 0.0,
    only: NDArray[np.bool_] | None = None,
) -> Array:
    """Expected risk ½ Σ λ_i E δ̄_i² after each of the `records` update counts, shape (S, n, A, K).

    multipliers (S, T): s_0 … s_{T−1} of each schedule; the steps are lr · s_t for each lr of `lrs` (n,).
    mixings: A arrays (S, T) of weights c_1 … c_T; all ones is the iterate itself.
    records (K,): increasing update counts in 0 … T. A diverging run has infinite risk where it overflowed.
    only (d,): mask of the coordinates whose part of the risk is asked for; all of them by default.
    """
    norms = np.empty((len(multipliers) * len(lrs), 0))
    return _run(law, multipliers, lrs, mixings, records, momentum, norms, only)


def has_noise(law: Law) -> bool:
    """Whether the law has noise that does not vanish at the minimiser."""
    match law:
        case Additive():
            return bool(law.noise.any())
        case LeastSquares():
            return law.label_variance > 0
        case Minibatches():
            return bool(law.residuals.any())


def without_noise(law: Law) -> Law:
    """The law of what is left of the start: the same gradients without noise at the minimiser.

    The moments are linear in the start's and in that noise, so this is the start's own share of them, of
    minibatches up to the correlation of residuals and rows.
    """
    match law:
        case Additive():
            return replace(law, noise=np.zeros_like(law.noise))
        case LeastSquares():
            return replace(law, label_variance=0.0)
        case Minibatches():
            return replace(law, residuals=np.zeros_like(law.residuals))


def gradient_norms(law: Law, multipliers: Array, lrs: Array, momentum: float = 0.0) -> Array:
    """G_t² = E‖g_t‖², t = 0 … T−1, shape (S, n, T): what a worst-case bound asks for."""
    schedules, horizon = multipliers.shape
    norms = np.zeros((schedules * len(lrs), horizon))
    _run(law, multipliers, lrs, (), np.array([horizon]), momentum, norms)
    return np.where(np.isfinite(norms), norms, np.inf).reshape(schedules, len(lrs), horizon)


def _run(
    law: Law,
    multipliers: Array,
    lrs: Array,
    mixings: Sequence[Array],
    records: Integers,
    momentum: float,
    norms: Array,
    only: NDArray[np.bool_] | None = None,
) -> Array:
    multipliers, lrs, start = np.ascontiguousarray(multipliers), np.asarray(lrs, dtype=np.float64), law.start
    schedules, horizon = multipliers.shape
    _check(law, horizon, start, records, momentum)
    kept, where = without_last(mixings, (schedules, horizon))
    pairs, lam = schedules * len(lrs), law.eigenvalues
    half = 0.5 * lam if only is None else np.where(only, 0.5 * lam, 0.0)
    common = (multipliers, lrs, momentum, lam, half, start)
    out = np.zeros((pairs, kept.shape[1] + 1, len(records)))
    match law:
        case Additive() if momentum == 0 and norms.shape[1] == 0:
            tiles = np.zeros((pairs, -(-len(lam) // _TILE), *out.shape[1:]))
            spread(
                _sgd, pairs * tiles.shape[1], *common[:2], lam, half, start, law.noise, kept, records, tiles
            )
            out = tiles.sum(axis=1)
        case Additive():
            spread(_coupled, pairs, *common, law.noise, 0.0, 0.0, kept, records, out, norms)
        case LeastSquares():
            zero = np.zeros_like(lam)
            batch, variance = 1 / law.batch, law.label_variance
            spread(_coupled, pairs, *common, zero, batch, variance, kept, records, out, norms)
        case Minibatches():
            spread(_table, pairs, *common, *law.packed(), kept, records, out, norms)
    risk = once_infinite(out)
    return np.ascontiguousarray(risk.reshape(schedules, len(lrs), *risk.shape[1:])[:, :, where, :])


def _check(law: Law, horizon: int, start: Array, records: Integers, momentum: float) -> None:
    if start.shape != law.eigenvalues.shape:
        raise InputError(f"start has shape {start.shape}; the eigenvalues ask for {law.eigenvalues.shape}")
    if len(records) == 0 or records[0] < 0 or records[-1] > horizon or np.any(np.diff(records) <= 0):
        raise InputError(
            f"records must increase strictly within 0 … {horizon}, the horizon; got {records.tolist()[:8]} …"
        )
    if not 0 <= momentum < 1:
        raise InputError(f"momentum is {momentum}; it must lie in [0, 1)")


def without_last(mixings: Sequence[Array], shape: tuple[int, int]) -> tuple[Array, list[int]]:
    """The averagings other than the iterate itself, as (S, A', T), and each one's row in the result."""
    for mixing in mixings:
        if mixing.shape != shape:
            raise InputError(
                f"mixing weights have shape {mixing.shape}; like the multipliers they need {shape}"
            )
    proper = [mixing for mixing in mixings if not np.all(mixing == 1.0)]
    rows = iter(range(len(proper)))
    where = [len(proper) if np.all(mixing == 1.0) else next(rows) for mixing in mixings]
    return np.stack(proper, axis=1) if proper else np.empty((shape[0], 0, shape[1])), where


def critical_lr(law: Law, momentum: float = 0.0) -> float:
    """The largest constant step for which the second moments stay bounded.

    Additive noise: 2(1 + β)/λ_max. Fresh Gaussian features: with d_i = (1 − β)(2(1 + β) − ηλ_i) −
    (1 + β)ηλ_i/B, the first η at which Σ (1 + β)ηλ_i/(B d_i) = 1, every d_i > 0 still (checked numerically).
    Minibatches without momentum: the covariance map is P ↦ P − η 𝓛(P) + η² 𝓜(P), with 𝓛(P) = HP + PH; it
    preserves the cone of covariances, so its spectral radius passes 1 where η = 1/ρ(𝓛⁻¹𝓜).
    """
    lam, b = law.eigenvalues, momentum
    match law:
        case Additive():
            return float(2 * (1 + b) / lam.max())
        case LeastSquares():
            limit = float(2 * (1 - b) * (1 + b) / (lam.max() * ((1 - b) + (1 + b) / law.batch)))

            def excess(eta: float) -> float:
                d = (1 - b) * (2 * (1 + b) - eta * lam) - (1 + b) * eta * lam / law.batch
                return float(np.sum((1 + b) * eta * lam / (law.batch * d))) - 1

            return float(brentq(excess, 0.0, limit * (1 - 1e-13), xtol=1e-300, rtol=1e-14))
        case Minibatches():
            if b != 0:
                raise InputError(
                    f"the critical step of minibatches has no closed form with momentum {b}; "
                    'give lr_unit = "1/L" or "absolute"'
                )
            i, j, noise_map = law.packed()
            seen = lam[i] + lam[j] > 1e-12 * lam.max()
            moved = noise_map[: len(i)].T + np.diag(lam[i] * lam[j])
            ratio = moved[np.ix_(seen, seen)] / (lam[i] + lam[j])[seen, None]
            return float(1 / np.abs(np.linalg.eigvals(ratio)).max())


def steady_risk(law: Additive | LeastSquares, lr: float, momentum: float = 0.0) -> float:
    """The limit of the last iterate's risk at a constant step; infinite where the step is not stable.

    Additive: m_i = (1 + β) η C_ii / ((1 − β) λ_i (2(1 + β) − ηλ_i)). Least squares: Σ λm = σ² k/(1 − k),
    k = Σ (1 + β)ηλ_i/(B d_i) with the d_i of `critical_lr`.
    """
    lam, b = law.eigenvalues, momentum
    if lr >= critical_lr(law, b):
        return np.inf
    if isinstance(law, Additive):
        return float(0.5 * np.sum((1 + b) * lr * law.noise / ((1 - b) * (2 * (1 + b) - lr * lam))))
    d = (1 - b) * (2 * (1 + b) - lr * lam) - (1 + b) * lr * lam / law.batch
    k = float(np.sum((1 + b) * lr * lam / (law.batch * d)))
    return 0.5 * law.label_variance * k / (1 - k)
