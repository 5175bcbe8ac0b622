"""Which rows an update sees: permutations cut into minibatches, or independent draws, by counter only.

Keys are fixed. A statistical assertion fails by chance, over all keys, with probability at most 1e-6; four
are made.
"""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import stats

from ratelab.problems import philox
from ratelab.problems.data.minibatches import minibatches, updates_per_epoch
from ratelab.problems.philox import stream_key

KEY = stream_key(0, "minibatches")
P_VALUE = 1e-6
tables = st.integers(1, 40).flatmap(lambda rows: st.tuples(st.just(rows), st.integers(1, rows)))


@given(table=tables, run=st.integers(0, 100), epoch=st.integers(0, 1000))
def test_an_epoch_is_a_permutation_cut_into_minibatches(table: tuple[int, int], run: int, epoch: int) -> None:
    rows, batch = table
    updates = updates_per_epoch(rows, batch)
    assert (updates - 1) * batch < rows <= updates * batch
    (drawn,) = minibatches(
        KEY, range(run, run + 1), epoch * updates, updates, rows=rows, batch=batch, replacement=False
    )
    assert drawn.shape == (updates, batch)
    order = drawn.ravel()
    assert sorted(order[:rows]) == list(range(rows))
    assert (order[rows:] == -1).all()
    words = philox.words(KEY, range(run, run + 1), epoch, 1, rows, philox.ROWS)[0, 0]
    np.testing.assert_array_equal(order[:rows], np.argsort(words, kind="stable"))


@given(
    table=tables,
    replacement=st.booleans(),
    first=st.integers(0, 100),
    updates=st.integers(1, 60),
    run=st.integers(0, 5),
)
def test_a_minibatch_depends_on_key_run_and_update_only(
    table: tuple[int, int], replacement: bool, first: int, updates: int, run: int
) -> None:
    rows, batch = table
    whole = minibatches(KEY, range(8), 0, first + updates, rows=rows, batch=batch, replacement=replacement)
    part = minibatches(
        KEY, range(run, run + 3), first, updates, rows=rows, batch=batch, replacement=replacement
    )
    np.testing.assert_array_equal(part, whole[run : run + 3, first:])


@pytest.mark.parametrize("replacement", [False, True])
def test_runs_epochs_and_keys_have_orders_of_their_own(replacement: bool) -> None:
    drawn = [
        order.tobytes()
        for key in (KEY, KEY + 1)
        for order in minibatches(key, range(3), 0, 8, rows=40, batch=10, replacement=replacement).reshape(
            6, 40
        )
    ]
    assert len(set(drawn)) == 12


def test_with_replacement_rows_are_independent_and_uniform() -> None:
    drawn = minibatches(KEY, range(50), 0, 200, rows=20, batch=3, replacement=True)
    assert drawn.shape == (50, 200, 3)
    assert stats.chisquare(np.bincount(drawn.ravel(), minlength=20)).pvalue > P_VALUE
    pairs = drawn[..., 0] * 20 + drawn[..., 1]
    assert stats.chisquare(np.bincount(pairs.ravel(), minlength=400)).pvalue > P_VALUE


@pytest.mark.parametrize("place", [0, 19])
def test_every_place_of_an_epoch_is_uniform_over_the_rows(place: int) -> None:
    drawn = minibatches(KEY, range(100), 0, 4 * 100, rows=20, batch=6, replacement=False)
    rows = drawn.reshape(100, 100, 24)[..., place]
    assert stats.chisquare(np.bincount(rows.ravel(), minlength=20)).pvalue > P_VALUE
