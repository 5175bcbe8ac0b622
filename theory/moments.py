"""Exact expected risk of SGD and heavy ball on quadratics, for any step sequence and any averaging.

With f = ½ Σ λ_i δ_i², δ = x − x*, the second moments of (δ_t, δ_{t−1}, δ̄_t) obey a linear recursion, here
run as it stands: nothing is sampled, fitted or extrapolated. In the eigenbasis, with a_i = 1 + β − η_t λ_i,

    P₁₁' = a² P₁₁ − 2aβ P₁₂ + β² P₂₂ + N_i        (P₁₁ = E δ_t²)
    P₁₂' = a P₁₁ − β P₁₂,   P₂₂' = P₁₁            (P₁₂ = E δ_t δ_{t−1}, P₂₂ = E δ_{t−1}²)

and for an average x̄' = (1 − c) x̄ + c x', with q = E δ_t δ̄, u = E δ_{t−1} δ̄, r = E δ̄²,

    q⁻ = a q − β u,   r' = (1 − c)² r + 2c(1 − c) q⁻ + c² P₁₁',
    q' = (1 − c) q⁻ + c P₁₁',   u' = (1 − c) q + c P₁₂',

where β is the momentum and N_i the noise that one update adds:
    additive        η² C_ii / B
    least squares   (η²/B) [λ_i² P₁₁ + λ_i (Σ_j λ_j P₁₁,j + σ²)]     (fresh Gaussian features, label noise σ²)
    minibatches     (η²/B) [E z_i² (zᵀδ − ε)² − λ_i² P₁₁]            (rows of a table, drawn with replacement)

Sources: Bach and Moulines 2011 (additive), Bach and Moulines 2013 and Jain et al. 2018 (least squares); each
recursion is checked against simulation and, where there is one, its steady state.

Shapes: S schedules, n learning rates, A averagings, K record times, d coordinates, T updates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numba import njit
from scipy.optimize import brentq

from theory.arrays import Array, InputError, Integers
from theory.threads import spread

_TILE = 64  # coordinates per task: their moments stay in the first-level cache


@njit(fastmath={"contract"})
def _sgd_tile(
    multipliers: Any,
    lr: Any,
    lam: Any,
    noise: Any,
    m: Any,
    mixing: Any,
    q: Any,
    r: Any,
    records: Any,
    out: Any,
) -> None:
    """Additive noise, no momentum: the coordinates of one tile; adds ½ Σ λ m and ½ Σ λ r into `out`."""
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
            out[averagings, k] += 0.5 * lam[i] * m[i]
        for a in range(averagings):
            for i in range(d):
                out[a, k] += 0.5 * lam[i] * r[a, i]


@njit(nogil=True, cache=True)
def _sgd(
    first: Any,
    last: Any,
    multipliers: Any,
    lrs: Any,
    lam: Any,
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
    p11 = start * start
    p12, p22 = p11.copy(), p11.copy()
    q = np.empty((averagings, d))
    for a in range(averagings):
        q[a] = p11
    u, r = q.copy(), q.copy()
    t = 0
    for k in range(records.shape[0]):
        while t < records[k]:
            eta = lr * multipliers[t]
            square = eta * eta
            total = label_variance
            for i in range(d):
                total += lam[i] * p11[i]
            total *= inverse_batch
            if gradient.shape[0] > 0:
                second = 0.0
                for i in range(d):
                    second += lam[i] * lam[i] * p11[i] * (1.0 + inverse_batch) + noise[i] + lam[i] * total
                gradient[t] = second
            for i in range(d):
                f = 1.0 + beta - eta * lam[i]
                added = square * (noise[i] + lam[i] * lam[i] * p11[i] * inverse_batch + lam[i] * total)
                new = f * f * p11[i] - 2.0 * f * beta * p12[i] + beta * beta * p22[i] + added
                p12[i], p22[i], p11[i] = f * p11[i] - beta * p12[i], p11[i], new
            for a in range(averagings):
                c = mixing[a, t]
                keep = 1.0 - c
                for i in range(d):
                    f = 1.0 + beta - eta * lam[i]
                    cross = f * q[a, i] - beta * u[a, i]
                    r[a, i] = keep * keep * r[a, i] + 2.0 * c * keep * cross + c * c * p11[i]
                    u[a, i] = keep * q[a, i] + c * p12[i]
                    q[a, i] = keep * cross + c * p11[i]
            t += 1
        for i in range(d):
            out[averagings, k] += 0.5 * lam[i] * p11[i]
        for a in range(averagings):
            for i in range(d):
                out[a, k] += 0.5 * lam[i] * r[a, i]


@njit(nogil=True, cache=True)
def _coupled(
    first: Any,
    last: Any,
    multipliers: Any,
    lrs: Any,
    beta: Any,
    lam: Any,
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

    Packed: entry e of P₁₁ and P₂₂ is (i, j) = (rows[e], columns[e]), i ≤ j; P₁₂ = E δδ_{t−1}ᵀ is kept as a
    matrix. `state` is (P₁₁, E δ, 1); `noise_map` (its length, entries) takes it to the covariance of the
    gradient.
    """
    d, entries, averagings = lam.shape[0], rows.shape[0], mixing.shape[0]
    state = np.ones(entries + d + 1)
    p22, added = np.empty(entries), np.empty(entries)
    diagonal = np.empty(d, dtype=np.int64)
    for e in range(entries):
        state[e] = start[rows[e]] * start[columns[e]]
        p22[e] = state[e]
        if rows[e] == columns[e]:
            diagonal[rows[e]] = e
    state[entries : entries + d] = start
    before = start.copy()
    p12, p21 = np.outer(start, start), np.empty((d, d))
    q = np.empty((averagings, d))
    for a in range(averagings):
        q[a] = start * start
    u, r = q.copy(), q.copy()
    f = np.empty(d)
    t = 0
    for k in range(records.shape[0]):
        while t < records[k]:
            eta = lr * multipliers[t]
            for i in range(d):
                f[i] = 1.0 + beta - eta * lam[i]
            added[:] = 0.0
            for g in range(state.shape[0]):
                for e in range(entries):
                    added[e] += noise_map[g, e] * state[g]
            if gradient.shape[0] > 0:
                for i in range(d):
                    gradient[t] += added[diagonal[i]] + lam[i] * lam[i] * state[diagonal[i]]
            if beta != 0.0:
                p21[:] = p12.T
                for e in range(entries):
                    i, j, here = rows[e], columns[e], state[e]
                    added[e] = (
                        eta * eta * added[e]
                        - beta * (f[i] * p21[j, i] + f[j] * p21[i, j])
                        + beta * beta * p22[e]
                    )
                    p12[i, j] = f[i] * here - beta * p21[i, j]
                    p12[j, i] = f[j] * here - beta * p21[j, i]
                    p22[e] = here
                    state[e] = f[i] * f[j] * here + added[e]
            else:
                for e in range(entries):
                    state[e] = f[rows[e]] * f[columns[e]] * state[e] + eta * eta * added[e]
            for i in range(d):
                here = state[entries + i]
                state[entries + i] = f[i] * here - beta * before[i]
                before[i] = here
            for a in range(averagings):
                c = mixing[a, t]
                keep = 1.0 - c
                for i in range(d):
                    now = state[diagonal[i]]
                    cross = f[i] * q[a, i] - beta * u[a, i]
                    r[a, i] = keep * keep * r[a, i] + 2.0 * c * keep * cross + c * c * now
                    u[a, i] = keep * q[a, i] + c * p12[i, i]
                    q[a, i] = keep * cross + c * now
            t += 1
        for i in range(d):
            out[averagings, k] += 0.5 * lam[i] * state[diagonal[i]]
        for a in range(averagings):
            for i in range(d):
                out[a, k] += 0.5 * lam[i] * r[a, i]


@njit(nogil=True, cache=True)
def _table(
    first: Any,
    last: Any,
    multipliers: Any,
    lrs: Any,
    beta: Any,
    lam: Any,
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
) -> Array:
    """Expected risk ½ Σ λ_i E δ̄_i² after each of the `records` update counts, shape (S, n, A, K).

    multipliers (S, T): s_0 … s_{T−1} of each schedule; the steps are lr · s_t for each lr of `lrs` (n,).
    mixings: A arrays (S, T) of weights c_1 … c_T; all ones is the iterate itself.
    records (K,): increasing update counts in 0 … T. A diverging run has infinite risk where it overflowed.
    """
    return _run(law, multipliers, lrs, mixings, records, momentum, np.empty((len(multipliers) * len(lrs), 0)))


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
) -> Array:
    multipliers, lrs, start = np.ascontiguousarray(multipliers), np.asarray(lrs, dtype=np.float64), law.start
    schedules, horizon = multipliers.shape
    _check(law, horizon, start, records, momentum)
    kept, where = without_last(mixings, (schedules, horizon))
    pairs, lam = schedules * len(lrs), law.eigenvalues
    common = (multipliers, lrs, momentum, lam, start)
    out = np.zeros((pairs, kept.shape[1] + 1, len(records)))
    match law:
        case Additive() if momentum == 0 and norms.shape[1] == 0:
            tiles = np.zeros((pairs, -(-len(lam) // _TILE), *out.shape[1:]))
            spread(
                _sgd, pairs * tiles.shape[1], multipliers, lrs, lam, start, law.noise, kept, records, tiles
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
    risk = np.where(np.isfinite(out), out, np.inf)
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
