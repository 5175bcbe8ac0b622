"""Affine Gaussian maps: composition is associative, a fold is the maps one after the other, the compiled
interval maps are folds of updates for every averaging, and the last iterate has the textbook's numbers."""

import numpy as np
import pytest
from cases import (
    AVERAGINGS,
    D2L,
    D2L_CONSTANT,
    D2L_EXPONENTIAL,
    D2L_LR,
    D2L_POLYNOMIAL,
    mixings,
    schedules,
)
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from ratelab.theory.affine import AffineGaussian, compose, fold, interval_maps, last_iterate, update
from ratelab.theory.arrays import Array

entries = st.floats(-2.0, 2.0)


def maps(shape: tuple[int, ...]) -> st.SearchStrategy[AffineGaussian]:
    """Maps with a positive semidefinite Q = BBᵀ."""
    matrices = arrays(np.float64, shape, elements=entries)
    return st.builds(lambda m, b: AffineGaussian(m, b @ np.swapaxes(b, -1, -2)), matrices, matrices)


def _close(a: AffineGaussian, b: AffineGaussian) -> None:
    for x, y in ((a.matrix, b.matrix), (a.covariance, b.covariance)):
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-12 * max(1.0, np.abs(y).max()))


@given(maps((3, 3)), maps((3, 3)), maps((3, 3)))
def test_composition_is_associative(c: AffineGaussian, b: AffineGaussian, a: AffineGaussian) -> None:
    _close(compose(compose(c, b), a), compose(c, compose(b, a)))


@given(maps((2, 2)), maps((2, 2)))
def test_a_composition_does_what_its_maps_do_in_a_row(later: AffineGaussian, earlier: AffineGaussian) -> None:
    mean, covariance = np.array([1.0, -2.0]), np.array([[2.0, 0.5], [0.5, 1.0]])
    once = compose(later, earlier)(mean, covariance)
    twice = later(*earlier(mean, covariance))
    for x, y in zip(once, twice, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-10)


@given(st.integers(1, 13).flatmap(lambda k: maps((k, 2, 2))))
def test_a_fold_is_the_maps_one_after_the_other(row: AffineGaussian) -> None:
    expected = AffineGaussian(row.matrix[0], row.covariance[0])
    for m, q in zip(row.matrix[1:], row.covariance[1:], strict=True):
        expected = compose(AffineGaussian(m, q), expected)
    _close(fold(row), expected)


def test_maps_broadcast() -> None:
    steps, lam = np.linspace(0.1, 0.5, 6)[:, None], np.array([0.5, 1.0, 2.0])
    together = fold(update(steps, lam, np.ones(3), np.array(0.3), momentum=0.5))
    assert together.matrix.shape == (3, 3, 3)
    for i in range(3):
        alone = fold(update(steps[:, 0], lam[i], np.array(1.0), np.array(0.3), momentum=0.5))
        _close(AffineGaussian(together.matrix[i], together.covariance[i]), alone)


@given(
    eta=st.floats(0, 2),
    lam=st.floats(0.01, 3),
    c=st.floats(0, 1),
    beta=st.floats(0, 0.99),
    noise=st.floats(0, 2),
)
def test_an_update_is_the_definition_of_the_method(
    eta: float, lam: float, c: float, beta: float, noise: float
) -> None:
    x, before, average = 0.7, -0.4, 0.2
    one = update(np.array(eta), np.array(lam), np.array(noise), np.array(c), beta)
    mean, covariance = one(np.array([x, x - before, average]), np.zeros((3, 3)))
    moved = x - eta * lam * x + beta * (x - before)
    np.testing.assert_allclose(
        mean, [moved, moved - x, (1 - c) * average + c * moved], rtol=1e-12, atol=1e-14
    )
    loading = np.array([-eta, -eta, -c * eta])  # of the noise on the three
    np.testing.assert_allclose(covariance, noise * np.outer(loading, loading), rtol=1e-12, atol=1e-300)


def _assembled(channels: Array, keep: Array, average: int, momentum: float) -> AffineGaussian:
    """The maps (d, n, n) of one interval, pair and averaging, from their channels (see `IntervalMaps`)."""
    n = 2 if momentum == 0 else 3
    m, factor = np.zeros((channels.shape[1], n, n)), np.zeros((channels.shape[1], n, n))
    if momentum == 0:
        own = channels[2 + 3 * average :]
        m[:, 0, 0], factor[:, 0, 0] = channels[:2]
        m[:, 1, 0], factor[:, 1, 0], factor[:, 1, 1] = own[:3]
    else:
        own = channels[7 + 5 * average :]
        m[:, 0, 0], m[:, 0, 1], m[:, 1, 0], m[:, 1, 1] = channels[:4]
        factor[:, 0, 0], factor[:, 1, 0], factor[:, 1, 1] = channels[4:7]
        m[:, 2, 0], m[:, 2, 1], factor[:, 2, 0], factor[:, 2, 1], factor[:, 2, 2] = own[:5]
    m[:, -1, -1] = keep[average]
    return AffineGaussian(m, factor @ np.swapaxes(factor, -1, -2))


@pytest.mark.parametrize("momentum", [0.0, 0.6, 0.95])
def test_interval_maps_are_folds_of_updates(momentum: float) -> None:
    horizon, lrs = 300, np.array([0.3, 1.0])
    lam = np.array([1.0, 0.37, 1e-3, 1e-8])  # lr 1 and λ 1: the very first step forgets everything
    rows = schedules(horizon)
    table = np.stack(mixings(rows), axis=1)
    times = np.array([0, 0, 1, 2, 5, 40, 300])
    result = interval_maps(rows, lrs, lam, table, times, momentum)
    assert result.keep.shape == (6, 6, len(AVERAGINGS))
    assert np.all(np.isfinite(result.channels))
    for k in range(1, 6):
        span = slice(times[k], times[k + 1])
        for pair in range(6):
            s, lr = pair // 2, lrs[pair % 2]
            for a in range(len(AVERAGINGS)):
                found = _assembled(result.channels[k, pair], result.keep[k, pair], a, momentum)
                steps, weights = lr * rows[s, span, None], table[s, a, span, None]
                whole = fold(update(steps, lam, np.ones(4), weights, momentum))
                state = [0, 2] if momentum == 0 else [0, 1, 2]
                m, q = (part[:, state][:, :, state] for part in (whole.matrix, whole.covariance))
                np.testing.assert_allclose(found.matrix, m, rtol=1e-9, atol=1e-13)
                scale = np.sqrt(np.einsum("dii->di", q))
                error = np.abs(found.covariance - q) / np.maximum(scale[:, :, None] * scale[:, None], 1e-300)
                assert error.max() < 1e-11, (k, pair, a)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_an_empty_interval_changes_nothing(momentum: float) -> None:
    rows = np.ones((1, 4))
    maps_ = interval_maps(
        rows, np.array([0.1]), np.array([1.0]), rows[:, None] / 2, np.array([0, 0]), momentum
    )
    one = _assembled(maps_.channels[0, 0], maps_.keep[0, 0], 0, momentum)
    np.testing.assert_array_equal(one.matrix[0], np.eye(2 if momentum == 0 else 3))
    np.testing.assert_array_equal(one.covariance, 0.0)


def test_long_intervals_die_out_quietly() -> None:
    rows = np.ones((1, 100_000))
    long = interval_maps(rows, np.array([0.5]), np.array([1.0]), rows[:, None] * 0.1, np.array([0, 100_000]))
    one = _assembled(long.channels[0, 0], long.keep[0, 0], 0, 0.0)
    np.testing.assert_array_equal(one.matrix, 0.0)  # 2^-100000: exactly 0, not subnormal
    assert one.covariance[0, 0, 0] == pytest.approx(0.5 / 1.5, rel=1e-13)


@pytest.mark.parametrize(
    ("multipliers", "mean", "sd"),
    [
        (D2L_EXPONENTIAL, (-0.82574, -0.04503), (0.0747, 0.0399)),
        (D2L_CONSTANT, None, (0.16667, 0.12500)),
        (D2L_POLYNOMIAL, None, None),
    ],
)
def test_last_iterate_of_the_textbook(
    multipliers: Array, mean: tuple[float, float] | None, sd: tuple[float, float] | None
) -> None:
    law = D2L.law
    found_mean, found_sd = last_iterate(D2L_LR * multipliers, law.eigenvalues, law.start, law.noise)
    if mean is not None:
        np.testing.assert_allclose(found_mean, mean, atol=5e-6)
    if sd is not None:
        np.testing.assert_allclose(found_sd, sd, atol=5e-5 if sd[0] == 0.0747 else 5e-6)
    steps = D2L_LR * multipliers[:, None]  # and the closed form: m = Π a, q = Σ η² Π a²
    after = np.cumprod((1 - steps * law.eigenvalues)[::-1], axis=0)[::-1]
    np.testing.assert_allclose(found_mean, law.start * after[0], rtol=1e-10)
    later = np.concatenate([after[1:], np.ones((1, 2))])
    np.testing.assert_allclose(found_sd**2, np.sum((steps * later) ** 2, axis=0), rtol=1e-10)
