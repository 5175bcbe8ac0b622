"""A tile of a product is that part of it, whatever its shape, its strides and the number of terms."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numba import njit
from numpy.typing import NDArray

from ratelab.experiments.engines.kernels import tiles

ROWS = 3
WIDTHS = [(1,), (2, 2)]
_numbers = tiles.tile(range(1, ROWS + 1), WIDTHS[:1], scalar=True)
_vectors = tiles.tile(range(1, ROWS + 1), WIDTHS[:1], scalar=False, onto=True)
_boxes = tiles.tile(range(1, ROWS + 1), WIDTHS[1:], scalar=True)


@njit
def _product(a: Any, b: Any, out: Any) -> None:
    """out (m, n, lanes) = a (m, k) b (k, n, lanes), a column of vectors at a time; a read transposed."""
    (m, n), k, lanes = out.shape[:2], a.shape[0], tiles.lanes(out)
    for i in range(0, m, ROWS):
        for j in range(n):
            target, left = (out, (i * n + j) * lanes, (n * lanes, lanes)), (a, i, (1, m))
            _numbers((min(ROWS, m - i), 1), target, left, (b, j * lanes, (lanes, n * lanes)), (k,), ())


@njit
def _product_of_vectors(a: Any, b: Any, out: Any) -> None:
    """out (m, n, lanes) += Σ_k a (m, k, lanes) b (n, k, lanes), lane by lane; a is read backwards."""
    (m, n), k, lanes = out.shape[:2], a.shape[1], tiles.lanes(out)
    for i in range(0, m, ROWS):
        for j in range(n):
            target = out, (i * n + j) * lanes, (n * lanes, lanes)
            left = a, (i * k + k - 1) * lanes, (k * lanes, -lanes)
            _vectors((min(ROWS, m - i), 1), target, left, (b, j * k * lanes, (0, lanes)), (k,), ())


@njit
def _correlation(a: Any, b: Any, out: Any) -> None:
    """out (m, 2, 2, lanes) from a (m, k, l) and the 2 × 2 shifts of b (k + 1, l + 1, lanes)."""
    (m, k, width), lanes = a.shape, tiles.lanes(out)
    row = (width + 1) * lanes
    for i in range(0, m, ROWS):
        target = out, 4 * i * lanes, (4 * lanes, 2 * lanes, lanes)
        left, right = (a, i * k * width, (k * width, width, 1)), (b, 0, (row, lanes, row, lanes))
        _boxes((min(ROWS, m - i), 4), target, left, right, (k, width), ())


def drawn(seed: int, kind: Any, *shape: int) -> NDArray[Any]:
    return np.random.default_rng(seed).normal(size=shape).astype(kind)


def lanes(kind: Any) -> int:
    return int(tiles.WIDTH // np.dtype(kind).itemsize)


def assert_sums(found: NDArray[Any], a: NDArray[Any], b: NDArray[Any], terms: str, before: Any = 0.0) -> None:
    """As many roundings as terms and one more, of what is added in absolute value (Higham 2002, 3.1)."""
    wide = [np.asarray(x, np.longdouble) for x in (a, b)]
    roundings = np.einsum(terms, *map(np.ones_like, wide)) + 1
    bound = roundings * np.finfo(found.dtype).eps * (np.einsum(terms, *map(np.abs, wide)) + np.abs(before))
    assert (np.abs(found - (np.einsum(terms, *wide) + before)) <= bound).all()


sizes = st.integers(1, 2 * ROWS + 1)
kinds = st.sampled_from([np.float32, np.float64])
seeds = st.integers(0, 2**32 - 1)


@given(m=sizes, n=st.integers(1, 4), k=st.integers(0, 20), kind=kinds, seed=seeds)
def test_tiles_make_up_the_product(m: int, n: int, k: int, kind: Any, seed: int) -> None:
    a, b = drawn(seed, kind, k, m), drawn(seed + 1, kind, k, n, lanes(kind))
    out = np.full((m, n, lanes(kind)), np.nan, kind)
    _product(a, b, out)
    assert_sums(out, a.T, b, "mk,knl->mnl")


@given(m=sizes, n=st.integers(1, 4), k=st.integers(0, 20), kind=kinds, seed=seeds)
def test_tiles_of_vectors_add_to_what_is_there(m: int, n: int, k: int, kind: Any, seed: int) -> None:
    a, b = drawn(seed, kind, m, k, lanes(kind)), drawn(seed + 1, kind, n, k, lanes(kind))
    before = drawn(seed + 2, kind, m, n, lanes(kind))
    out = before.copy()
    _product_of_vectors(a, b, out)
    assert_sums(out, a[:, ::-1], b, "mkl,nkl->mnl", before)


@given(m=sizes, k=st.integers(1, 6), width=st.integers(1, 6), kind=kinds, seed=seeds)
def test_boxes_are_correlations(m: int, k: int, width: int, kind: Any, seed: int) -> None:
    a, b = drawn(seed, kind, m, k, width), drawn(seed + 1, kind, k + 1, width + 1, lanes(kind))
    out = np.full((m, 2, 2, lanes(kind)), np.nan, kind)
    _correlation(a, b, out)
    for y, x in np.ndindex(2, 2):
        assert_sums(out[:, y, x], a, b[y : y + k, x : x + width], "mij,ijl->ml")


@njit
def _tile_of(rows: Any, columns: Any, a: Any, b: Any, out: Any) -> None:
    _numbers((rows, columns), (out, 0, (tiles.lanes(out), 0)), (a, 0, (1, 1)), (b, 0, (0, 0)), (1,), ())


@pytest.mark.parametrize("shape", [(ROWS + 1, 1), (0, 1), (1, 2)])
def test_no_code_stands_ready_for_other_shapes(shape: tuple[int, int]) -> None:
    out = np.zeros((ROWS + 1, lanes(np.float32)), np.float32)
    _tile_of(*shape, np.ones(ROWS + 1, np.float32), np.ones(lanes(np.float32), np.float32), out)
    assert (out == 0).all()
    _tile_of(ROWS, 1, np.ones(ROWS + 1, np.float32), np.ones(lanes(np.float32), np.float32), out)
    assert (out[:ROWS] == 1).all()
    assert (out[ROWS:] == 0).all()
