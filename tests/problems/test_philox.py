"""Philox against the known answers of its authors, draws that depend on nothing but their counter, and the
laws of the variates: Kolmogorov–Smirnov, χ² and moments up to the fourth.

Keys are fixed. A statistical assertion fails by chance, over all keys, with probability at most 2e-6
(|z| < 5 or p > 1e-6); about 80 are made.
"""

from collections.abc import Callable

import numba
import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray
from scipy import stats

from ratelab.problems.philox import (
    LABELS,
    NOISE,
    ROWS,
    START,
    integers,
    normals,
    philox4x32,
    signs,
    stream_key,
    student_t,
    uniforms,
    words,
)

KEY = stream_key(0, "philox")
P_VALUE, Z = 1e-6, 5.0

KNOWN_ANSWERS = [  # kat_vectors of Random123 (Salmon et al. 2011): philox4x32 with 10 rounds
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_known_answers(counter: tuple[int, ...], key: tuple[int, int], answer: tuple[int, ...]) -> None:
    lanes = np.array([counter, counter], dtype=np.uint32).T.copy()
    philox4x32(lanes, np.uint64(key[0]), np.uint64(key[1]))
    assert lanes.T.tolist() == [list(answer)] * 2


def test_the_counter_is_block_time_run_stream() -> None:
    drawn = words(KEY, range(7, 8), 11, 1, 8, stream=ROWS)[0, 0]
    counters = np.array([[0, 1], [11, 11], [7, 7], [ROWS, ROWS]], dtype=np.uint32)
    philox4x32(counters, np.uint64(KEY & 0xFFFFFFFF), np.uint64(KEY >> 32))
    np.testing.assert_array_equal(drawn, counters.ravel())  # block j fills entries j, j + n, j + 2n, j + 3n


def test_stream_key_is_a_hash_of_seed_and_names() -> None:
    keys = [
        stream_key(0, "a", "b"),
        stream_key(1, "a", "b"),
        stream_key(0, "ab"),
        stream_key(0, "a", "b", ""),
    ]
    assert len(set(keys)) == len(keys)
    assert all(0 <= key < 2**64 for key in keys)
    assert stream_key(0) == 0x386FC8FF66EBEC5F  # SHA-256 of "0": the same on every machine


@given(
    first=st.integers(0, 3000),
    times=st.integers(1, 1500),
    dim=st.integers(1, 9),
    run=st.integers(0, 40),
    runs=st.integers(1, 3),
)
def test_draws_do_not_depend_on_what_is_drawn_together(
    first: int, times: int, dim: int, run: int, runs: int
) -> None:
    part = normals(KEY, range(run, run + runs), first, times, dim)
    at = first + times // 2
    np.testing.assert_array_equal(
        part[-1:, times // 2 :], normals(KEY, range(run + runs - 1, run + runs), at, times - times // 2, dim)
    )


@pytest.mark.parametrize("draw", [normals, words, signs], ids=lambda draw: draw.__name__)
def test_draws_do_not_depend_on_threads_or_chunks(draw: Callable[..., NDArray[np.generic]]) -> None:
    whole = draw(KEY, range(5), 0, 700, 11)
    by_run = np.concatenate([draw(KEY, range(r, r + 1), 0, 700, 11) for r in range(5)])
    by_time = np.concatenate([draw(KEY, range(5), t, 70, 11) for t in range(0, 700, 70)], axis=1)
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    alone = draw(KEY, range(5), 0, 700, 11)
    numba.set_num_threads(threads)
    for other in (by_run, by_time, alone):
        np.testing.assert_array_equal(whole, other)


def test_runs_of_a_range_with_a_step() -> None:
    np.testing.assert_array_equal(normals(KEY, range(0, 6, 2), 3, 4, 5), normals(KEY, range(6), 3, 4, 5)[::2])


def _moments(x: NDArray[np.floating], exact: list[float]) -> None:
    """Sample moments 1, 2, 3, … of `x` agree with `exact` within Z standard errors (estimated)."""
    for order, value in enumerate(exact, start=1):
        powers = x.astype(np.float64).ravel() ** order
        error = powers.std() / np.sqrt(powers.size)
        assert abs(powers.mean() - value) < Z * error + 1e-12, (order, powers.mean(), value, error)


def test_normals_are_normal() -> None:
    z = normals(KEY, range(8), 0, 25_000, 10)
    assert z.dtype == np.float32
    _moments(z, [0, 1, 0, 3])
    assert stats.kstest(z.ravel().astype(np.float64), "norm").pvalue > P_VALUE
    assert 4.5 < np.abs(z).max() < 6.8  # 2 million draws: P(max < 4.5) = 1e-6


def test_normals_deep_in_the_tail() -> None:
    z = normals(stream_key(0, "tail"), range(16), 0, 250_000, 4)
    for level in (3.0, 4.0, 5.0):
        mean = z.size * 2 * stats.norm.sf(level)
        seen = int(np.count_nonzero(np.abs(z) > level))
        assert min(stats.poisson.cdf(seen, mean), stats.poisson.sf(seen - 1, mean)) > P_VALUE


def test_normals_are_uncorrelated_across_coordinates_times_runs_and_streams() -> None:
    z = normals(KEY, range(4), 0, 50_000, 6).astype(np.float64)
    other = normals(KEY, range(4), 0, 50_000, 6, LABELS).astype(np.float64)
    pairs = [
        *((z[..., i], z[..., j]) for i in range(6) for j in range(i)),
        (z[:, 1:], z[:, :-1]),
        (z[1:], z[:-1]),
        (z, other),
    ]
    for a, b in pairs:
        for x, y in ((a, b), (a**2 - 1, b**2 - 1)):  # the squares catch what Box–Muller could share: a radius
            product = (x * y).ravel()
            assert abs(product.mean()) < Z * product.std() / np.sqrt(product.size)


@pytest.mark.parametrize("df", [2.5, 5.0, 30.0])
def test_student_t(df: float) -> None:
    t = student_t(KEY, range(8), 0, 12_500, 4, df)
    assert stats.kstest(t.ravel().astype(np.float64), stats.t(df).cdf).pvalue > P_VALUE
    if df > 8:  # the fourth moment's own error needs the eighth
        _moments(t, [0, df / (df - 2), 0, 3 * df**2 / ((df - 2) * (df - 4))])


def test_signs() -> None:
    s = signs(KEY, range(8), 0, 12_500, 4)
    assert set(np.unique(s)) == {-1.0, 1.0}
    _moments(s, [0, 1, 0, 1])
    patterns = np.unique(s.reshape(-1, 4), axis=0, return_counts=True)[1]
    assert len(patterns) == 16
    assert stats.chisquare(patterns).pvalue > P_VALUE


def test_uniforms() -> None:
    u = uniforms(KEY, range(8), 0, 12_500, 4)
    assert u.dtype == np.float64
    np.testing.assert_array_equal(u, (words(KEY, range(8), 0, 12_500, 4) + 0.5) / 2**32)
    assert 0 < u.min() < u.max() < 1
    assert stats.kstest(u.ravel(), "uniform").pvalue > P_VALUE


def test_streams_are_independent() -> None:
    drawn = [uniforms(KEY, range(8), 0, 12_500, 1, stream).ravel() for stream in (NOISE, LABELS, ROWS, START)]
    for i, a in enumerate(drawn):
        for b in drawn[:i]:
            cells = np.histogram2d(a, b, bins=16, range=[[0, 1], [0, 1]])[0]
            assert stats.chisquare(cells.ravel()).pvalue > P_VALUE


@pytest.mark.parametrize("below", [1, 2, 7, 442])
def test_integers(below: int) -> None:
    drawn = integers(KEY, range(8), 0, 12_500, 3, below)
    assert drawn.min() >= 0
    assert drawn.max() < below
    counts = np.bincount(drawn.ravel(), minlength=below)
    assert below == 1 or stats.chisquare(counts).pvalue > P_VALUE
    assert below == 1 or len(set(drawn[0, :64, 0].tolist())) > 1


def test_words_are_uniform_in_every_byte() -> None:
    drawn = words(KEY, range(8), 0, 12_500, 4, NOISE)
    assert drawn.max() < 2**32
    for shift in (0, 8, 16, 24):
        counts = np.bincount(
            ((drawn >> np.uint64(shift)) & np.uint64(255)).astype(np.int64).ravel(), minlength=256
        )
        assert stats.chisquare(counts).pvalue > P_VALUE
