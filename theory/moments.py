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
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy  # whose parts are loaded where they are named
from numba import njit
from numpy.typing import NDArray

from ratelab.theory.arrays import Array, InputError, Integers, once_infinite
from ratelab.theory.threads import spread

_TILE = 64  # coordinates per task: their moments stay in the first-level cache
_TINY = float(np.finfo(np.float64).tiny)


class _Curves(NamedTuple):
    """What is asked for, of every schedule at every learning rate: multipliers (S, T), lrs (n,), β, mixing
    weights (S, A, T) and records (K,)."""

    multipliers: Array
    lrs: Array
    beta: float
    mixings: Array
    records: Integers


class _Curve(NamedTuple):
    """One of them: multipliers (T,), the learning rate, β, mixing weights (A, T), records (K,)."""

    multipliers: Array
    lr: float
    beta: float
    mixing: Array
    records: Integers


class _Coordinates(NamedTuple):
    """λ, ½ λ where the risk counts, δ_0 and the noise, (d,). Additive noise has inverse_batch 1/B and label
    variance σ² 0; least squares has the noise 0."""

    lam: Array
    half: Array
    start: Array
    noise: Array
    inverse_batch: float
    label_variance: float


class _Packed(NamedTuple):
    """The same of a table; `rows`, `columns` and `noise_map` are those of `Minibatches.packed`."""

    lam: Array
    half: Array
    start: Array
    rows: Integers
    columns: Integers
    noise_map: Array


@njit
def _curve(curves: Any, pair: int) -> Any:
    s, l = pair // curves.lrs.shape[0], pair % curves.lrs.shape[0]  # noqa: E741
    return _Curve(curves.multipliers[s], curves.lrs[l], curves.beta, curves.mixings[s], curves.records)


@njit
def _copies(m: Any, averagings: int) -> Any:
    """q and r (A, d) at the start, where every average is the iterate."""
    copies = np.empty((averagings, m.shape[0]))
    copies[:] = m
    return copies


# What is inlined before it is compiled follows the floating-point rules of the kernel that calls it.


@njit(inline="always")
def _averaged(c: Any, g: Any, beta: Any, m: Any, w: Any, old: Any) -> Any:
    """(q', u', r') of one coordinate, from the moments m' and w' after the update and (q, u, r) before it."""
    keep, (q, u, r) = 1.0 - c, old
    cross = (1.0 - g) * q + beta * u
    return (
        keep * cross + c * m,
        keep * (beta * u - g * q) + c * w,
        keep * keep * r + 2.0 * c * keep * cross + c * c * m,
    )


@njit(inline="always")
def _record(half: Any, m: Any, r: Any, out: Any, k: Any) -> None:
    """Adds Σ ½ λ r of the averages (A, d), and last Σ ½ λ m of the iterate, to `out` (A + 1, K)."""
    averagings = r.shape[0]
    for i in range(half.shape[0]):
        out[averagings, k] += half[i] * m[i]
    for a in range(averagings):
        for i in range(half.shape[0]):
            out[a, k] += half[i] * r[a, i]


# Additive noise without momentum: each coordinate by itself


@njit(fastmath={"contract", "nsz"})  # nsz: the velocity's zeros add nothing to the average
def _sgd_tile(curve: Any, lam: Any, half: Any, start: Any, noise: Any, out: Any) -> None:
    """The coordinates of one tile."""
    d, averagings = lam.shape[0], curve.mixing.shape[0]
    m = start * start
    q, r = _copies(m, averagings), _copies(m, averagings)
    t = 0
    for k in range(curve.records.shape[0]):
        while t < curve.records[k]:
            eta = curve.lr * curve.multipliers[t]
            square = eta * eta
            for i in range(d):
                factor = 1.0 - eta * lam[i]
                m[i] = factor * factor * m[i] + square * noise[i]
            for a in range(averagings):
                c = curve.mixing[a, t]
                for i in range(d):
                    g = eta * lam[i]
                    old = q[a, i], 0.0, r[a, i]
                    q[a, i], _, r[a, i] = _averaged(c, g, 0.0, m[i], 0.0, old)
            t += 1
        _record(half, m, r, out, k)


@njit(nogil=True, cache=True)
def _sgd(first: Any, last: Any, curves: Any, law: Any, out: Any) -> None:
    """`out` (S·n, tiles, A + 1, K): partial sums, one per tile, so that no two tasks share a sum."""
    tiles = out.shape[1]
    for task in range(first, last):
        pair, tile = task // tiles, task % tiles
        part = slice(tile * _TILE, (tile + 1) * _TILE)
        lam, half, start, noise = law.lam[part], law.half[part], law.start[part], law.noise[part]
        _sgd_tile(_curve(curves, pair), lam, half, start, noise, out[pair, tile])


# Additive or least squares noise and any momentum: all coordinates at once, which least squares couples


@njit(inline="always")
def _total(law: Any, m: Any) -> Any:
    """(Σ λm + σ²)/B, what every coordinate's noise takes from all."""
    total = law.label_variance
    for i in range(m.shape[0]):
        total += law.lam[i] * m[i]
    return total * law.inverse_batch


@njit(inline="always")
def _coupled_norm(law: Any, total: Any, m: Any) -> Any:
    """E‖g‖²."""
    second, lam = 0.0, law.lam
    for i in range(m.shape[0]):
        second += lam[i] * lam[i] * m[i] * (1.0 + law.inverse_batch) + law.noise[i] + lam[i] * total
    return second


@njit(inline="always")
def _coupled_step(law: Any, total: Any, eta: Any, beta: Any, m: Any, w: Any, v: Any) -> None:
    """m', w' and V', in place."""
    square, lam = eta * eta, law.lam
    for i in range(m.shape[0]):
        g = eta * lam[i]
        f = 1.0 - g
        added = square * (law.noise[i] + lam[i] * lam[i] * m[i] * law.inverse_batch + lam[i] * total)
        kept = beta * beta * v[i] + added
        m_new = f * f * m[i] + 2.0 * f * beta * w[i] + kept
        w_new = beta * (f - g) * w[i] - f * g * m[i] + kept
        v[i] = g * g * m[i] - 2.0 * beta * g * w[i] + kept
        m[i] = m_new
        w[i] = w_new


@njit(fastmath={"contract", "reassoc"})
def _coupled_pair(curve: Any, law: Any, out: Any, gradient: Any) -> None:
    """`gradient` (T,) receives E‖g_t‖²; empty if unwanted."""
    d, averagings, beta = law.lam.shape[0], curve.mixing.shape[0], curve.beta
    m = law.start * law.start
    w, v = np.zeros(d), np.zeros(d)
    q, u, r = _copies(m, averagings), np.zeros((averagings, d)), _copies(m, averagings)
    t = 0
    for k in range(curve.records.shape[0]):
        while t < curve.records[k]:
            eta, total = curve.lr * curve.multipliers[t], _total(law, m)
            if gradient.shape[0] > 0:
                gradient[t] = _coupled_norm(law, total, m)
            _coupled_step(law, total, eta, beta, m, w, v)
            for a in range(averagings):
                c = curve.mixing[a, t]
                for i in range(d):
                    g = eta * law.lam[i]
                    old = q[a, i], u[a, i], r[a, i]
                    q[a, i], u[a, i], r[a, i] = _averaged(c, g, beta, m[i], w[i], old)
            t += 1
        _record(law.half, m, r, out, k)


@njit(nogil=True, cache=True)
def _coupled(first: Any, last: Any, curves: Any, law: Any, out: Any, gradient: Any) -> None:
    for pair in range(first, last):
        _coupled_pair(_curve(curves, pair), law, out[pair], gradient[pair])


# Minibatches of a table: the covariance in full, since fourth moments of the rows mix its entries


@njit
def _table_start(law: Any) -> Any:
    """(E δδᵀ, E δ, 1) packed, entry e of E δδᵀ being (i, j) = (rows[e], columns[e]), i ≤ j; and which entry
    each (i, i) is."""
    d, entries = law.start.shape[0], law.rows.shape[0]
    state = np.ones(entries + d + 1)
    diagonal = np.empty(d, dtype=np.int64)
    for e in range(entries):
        i, j = law.rows[e], law.columns[e]
        state[e] = law.start[i] * law.start[j]
        if i == j:
            diagonal[i] = e
    state[entries : entries + d] = law.start
    return state, diagonal


@njit(fastmath={"contract"})
def _table_noise(noise_map: Any, state: Any, added: Any) -> None:
    """`added`: the covariance of the gradient, packed."""
    added[:] = 0.0
    for h in range(state.shape[0]):
        for e in range(added.shape[0]):
            added[e] += noise_map[h, e] * state[h]


@njit(fastmath={"contract"})
def _table_step(law: Any, g: Any, square: Any, added: Any, state: Any) -> None:
    """E δδᵀ after an update without momentum."""
    for e in range(added.shape[0]):
        state[e] = (1.0 - g[law.rows[e]]) * (1.0 - g[law.columns[e]]) * state[e] + square * added[e]


@njit(fastmath={"contract"})
def _table_momentum(law: Any, g: Any, square: Any, beta: Any, added: Any, state: Any, w: Any, v: Any) -> None:
    """E δδᵀ, E δvᵀ (a matrix) and E vvᵀ (packed) after an update with momentum."""
    for e in range(added.shape[0]):
        i, j, m = law.rows[e], law.columns[e], state[e]
        fi, fj, wij, wji = 1.0 - g[i], 1.0 - g[j], w[i, j], w[j, i]
        kept = beta * beta * v[e] + square * added[e]
        state[e] = fi * fj * m + beta * (fi * wij + fj * wji) + kept
        v[e] = g[i] * g[j] * m - beta * (g[j] * wji + g[i] * wij) + kept
        w[i, j] = beta * (fi * wij - g[j] * wji) - fi * g[j] * m + kept
        w[j, i] = beta * (fj * wji - g[i] * wij) - fj * g[i] * m + kept


@njit(fastmath={"contract"})
def _table_mean(g: Any, beta: Any, mean: Any, speed: Any) -> None:
    """E δ and E v; once both are subnormal they are 0, or every later product with them would be slow."""
    for i in range(g.shape[0]):
        speed[i] = beta * speed[i] - g[i] * mean[i]
        mean[i] += speed[i]
        if abs(mean[i]) < _TINY and abs(speed[i]) < _TINY:
            mean[i] = speed[i] = 0.0


@njit(fastmath={"contract"})
def _table_norm(lam: Any, added: Any, state: Any, diagonal: Any) -> Any:
    """E‖g‖²."""
    second = 0.0
    for i in range(lam.shape[0]):
        second += added[diagonal[i]] + lam[i] * lam[i] * state[diagonal[i]]
    return second


@njit(fastmath={"contract"})
def _table_pair(curve: Any, law: Any, out: Any, gradient: Any) -> None:
    """`gradient` as in `_coupled_pair`."""
    d, entries, averagings = law.lam.shape[0], law.rows.shape[0], curve.mixing.shape[0]
    state, diagonal = _table_start(law)
    mean, added, beta = state[entries : entries + d], np.empty(entries), curve.beta
    speed, w, v = np.zeros(d), np.zeros((d, d)), np.zeros(entries)
    square = law.start * law.start
    q, u, r = _copies(square, averagings), np.zeros((averagings, d)), _copies(square, averagings)
    t = 0
    for k in range(curve.records.shape[0]):
        while t < curve.records[k]:
            eta = curve.lr * curve.multipliers[t]
            g = eta * law.lam
            _table_noise(law.noise_map, state, added)
            if gradient.shape[0] > 0:
                gradient[t] = _table_norm(law.lam, added, state, diagonal)
            if beta == 0.0:
                _table_step(law, g, eta * eta, added, state)
            else:
                _table_momentum(law, g, eta * eta, beta, added, state, w, v)
            _table_mean(g, beta, mean, speed)
            for a in range(averagings):
                c = curve.mixing[a, t]
                for i in range(d):
                    m, old = state[diagonal[i]], (q[a, i], u[a, i], r[a, i])
                    q[a, i], u[a, i], r[a, i] = _averaged(c, g[i], beta, m, w[i, i], old)
            t += 1
        _record(law.half, state[diagonal], r, out, k)


@njit(nogil=True, cache=True)
def _table(first: Any, last: Any, curves: Any, law: Any, out: Any, gradient: Any) -> None:
    for pair in range(first, last):
        _table_pair(_curve(curves, pair), law, out[pair], gradient[pair])


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
    curves = _Curves(multipliers, lrs, float(momentum), kept, records)
    out = np.zeros((pairs, kept.shape[1] + 1, len(records)))
    match law:
        case Additive():
            known = _Coordinates(lam, half, start, law.noise, 0.0, 0.0)
            if momentum == 0 and norms.shape[1] == 0:
                tiles = np.zeros((pairs, -(-len(lam) // _TILE), *out.shape[1:]))
                spread(_sgd, pairs * tiles.shape[1], curves, known, tiles)
                out = tiles.sum(axis=1)
            else:
                spread(_coupled, pairs, curves, known, out, norms)
        case LeastSquares():
            zero = np.zeros_like(lam)
            known = _Coordinates(lam, half, start, zero, 1 / law.batch, float(law.label_variance))
            spread(_coupled, pairs, curves, known, out, norms)
        case Minibatches():
            spread(_table, pairs, curves, _Packed(lam, half, start, *law.packed()), out, norms)
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

            return float(scipy.optimize.brentq(excess, 0.0, limit * (1 - 1e-13), xtol=1e-300, rtol=1e-14))
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
