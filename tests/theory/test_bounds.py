"""Bounds by their homogeneity law, their closed forms, the papers' own double sum, and domination of real
runs that come close to them; then the same along a run.
"""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from strategies import existing, values

from ratelab.theory.arrays import Array, InputError
from ratelab.theory.averaging import StepWeighted, weights
from ratelab.theory.bounds import Bound, average, average_curve, omega, omega_curve
from ratelab.theory.schedules import Exponential, InversePower, Linear, Schedule, multipliers

positive = st.floats(1e-3, 1e3)
rows = st.lists(st.floats(1e-3, 10.0), min_size=1, max_size=30).map(np.array)
BOTH = pytest.mark.parametrize("bound", [average, omega])


def harmonic(n: int) -> float:
    return math.fsum(1 / k for k in range(1, n + 1))


def double_sum(eta: Array, distance: float, G: Array) -> float:
    """Omega as printed (Defazio et al. 2023; t = 1..T there), naively."""
    T, square = len(eta), eta**2 * G**2
    result = (distance**2 + square.sum()) / (2 * eta.sum())
    for k in range(T - 1):
        result += 0.5 * eta[k] / eta[k + 1 :].sum() * square[k:].sum() / eta[k:].sum()
    return float(result)


@given(rows, st.floats(0, 10), st.data())
def test_omega_is_the_double_sum_of_the_papers(eta: Array, distance: float, data: st.DataObject) -> None:
    """In the papers the k-th term weighs the window from k; summation by parts makes it one sum."""
    norms = st.lists(st.floats(0, 10), min_size=len(eta), max_size=len(eta))
    G = np.array(data.draw(norms))
    assert omega(eta, distance, G).at(1.0) == pytest.approx(double_sum(eta, distance, G), rel=1e-11)


@BOTH
@given(eta=rows, D=positive, G=positive, a=positive, b=positive)
def test_homogeneity(bound: object, eta: Array, D: float, G: float, a: float, b: float) -> None:
    assert callable(bound)
    one, scaled = bound(eta, D, G), bound(eta, a * D, b * G)
    assert scaled.best == pytest.approx(a * b * one.best, rel=1e-12)
    assert scaled.best_lr == pytest.approx(a / b * one.best_lr, rel=1e-12)
    stretched = bound(a * eta, D, G)
    assert stretched.at(b) == pytest.approx(one.at(a * b), rel=1e-12)


@BOTH
@given(eta=rows, D=positive, G=positive, factor=st.floats(0.1, 10))
def test_no_lr_beats_the_best(bound: object, eta: Array, D: float, G: float, factor: float) -> None:
    assert callable(bound)
    b = bound(eta, D, G)
    assert b.at(b.best_lr) == pytest.approx(b.best, rel=1e-12)
    assert b.at(factor * b.best_lr) >= b.best * (1 - 1e-12)


@pytest.mark.parametrize("T", [1, 2, 10, 1000])
def test_closed_forms(T: int) -> None:
    D, G = 3.0, 0.5
    assert average(np.ones(T), D, G).best == pytest.approx(D * G / math.sqrt(T), rel=1e-13)
    assert average(np.ones(T), D, G).best_lr == pytest.approx(D / (G * math.sqrt(T)), rel=1e-13)
    constant = D * G * math.sqrt((1 + harmonic(T - 1)) / T)
    assert omega(np.ones(T), D, G).best == pytest.approx(constant, rel=1e-13)
    linear = 2 * D * G * math.sqrt((T - 0.5 + harmonic(T - 1)) / (T * (T + 1)))
    assert omega(Linear()(T), D, G).best == pytest.approx(linear, rel=1e-12)


@given(rows, positive, positive)
def test_no_average_beats_the_constant_step(eta: Array, D: float, G: float) -> None:
    assert average(eta, D, G).best >= D * G / math.sqrt(len(eta)) * (1 - 1e-12)


def test_the_optimal_schedule_for_omega() -> None:
    """c_1 = 1, c_{n+1} = 2(sqrt(1 + c_n) - 1), S_{k+1} = S_k/sqrt(1 + c_{T-1-k}): Omega* = D G sqrt(c_T)."""
    T = 40
    c = [1.0]
    while len(c) < T:
        c.append(2 * (math.sqrt(1 + c[-1]) - 1))
    S = [1.0]
    for k in range(T - 1):
        S.append(S[-1] / math.sqrt(1 + c[T - 2 - k]))
    best = omega(np.array(S) - np.array([*S[1:], 0.0]), 2.0, 3.0)
    assert best.best == pytest.approx(6.0 * math.sqrt(c[-1]), rel=1e-12)
    assert best.best <= omega(Linear()(T), 2.0, 3.0).best


@BOTH
def test_trailing_zeros_change_nothing_but_are_counted(bound: object) -> None:
    assert callable(bound)
    plain, padded = bound([1.0, 0.0, 0.5], 1.0, 1.0), bound([1.0, 0.0, 0.5, 0.0, 0.0], 1.0, [1, 1, 1, 9, 9])
    assert padded == plain
    assert plain.index == 2


def test_steps_that_die_out_cancel_nothing() -> None:
    """Differences of prefix sums fail here: after 40 updates they are zero or negative."""
    b = omega(Exponential(0.4)(10**5), 1.0, 1.0)
    assert 0 < b.start < math.inf
    assert 0 < b.noise < math.inf
    assert b.index < 10**5 - 1
    assert math.isfinite(omega(Linear()(10**6), 1.0, 1.0).best)


def worst_subgradients(eta: Array, D: float) -> tuple[Array, Array]:
    """f(x) = |x| from x_0 = D with G = 1: the iterates and their risks."""
    x = [D]
    for step in eta:
        x.append(x[-1] - step * (1.0 if x[-1] >= 0 else -1.0))
    return np.array(x), np.abs(x)


@given(rows, st.floats(0.01, 5.0))
def test_no_run_exceeds_its_bound(eta: Array, D: float) -> None:
    x, risk = worst_subgradients(eta, D)
    assert risk[-2] <= omega(eta, D, 1.0).at(1.0) * (1 + 1e-12)
    mean = weights(StepWeighted()(eta)) @ x
    assert abs(mean) <= average(eta, D, 1.0).at(1.0) * (1 + 1e-12)


def test_one_step_is_tight() -> None:
    """One step speaks of x_0, whose risk G D is reached at the tuned bound: f = G |x|."""
    for bound in (average, omega):
        assert bound([1.0], 2.0, 3.0).best == pytest.approx(6.0)
        assert bound([1.0], 2.0, 3.0).index == 0


RECORDS = np.array([0, 1, 2, 5, 17, 59, 60])


@given(values("schedule"), st.floats(0.1, 3), st.floats(0.1, 3))
@existing
def test_a_curve_is_the_bound_of_every_prefix(schedule: Schedule, lr: float, D: float) -> None:
    s = np.minimum(multipliers(schedule, 60), 1e6)
    s[s < 1e-100] = 0.0
    squared = np.linspace(2.0, 1.0, 60)
    means = average_curve(lr * s, RECORDS, D, squared)
    lasts = omega_curve(lr * s, RECORDS, D, squared)
    assert np.isnan(means[-1])
    assert np.isnan(lasts[-1])
    for t, mean, last in zip(RECORDS[:-1], means, lasts, strict=False):
        head, G = s[: t + 1], np.sqrt(squared[: t + 1])
        if not head.any():
            assert mean == last == math.inf
            continue
        assert mean == pytest.approx(average(head, D, G).at(lr), rel=1e-10)
        if head[-1] == 0:
            assert last == math.inf
        else:
            assert omega(head, D, G).index == t
            assert last == pytest.approx(omega(head, D, G).at(lr), rel=1e-10)


def test_curves_take_a_number_for_all_norms() -> None:
    eta = InversePower(0.5)(100)
    for curve in (average_curve, omega_curve):
        np.testing.assert_array_equal(
            curve(eta, [0, 9, 99], 1.0, 4.0), curve(eta, [0, 9, 99], 1.0, np.full(100, 4.0))
        )
    assert omega_curve(eta, [99], 1.0, 4.0)[0] == pytest.approx(omega(eta, 1.0, 2.0).at(1.0))


def test_no_distance_no_start() -> None:
    assert omega([1.0, 1.0], 0.0, 1.0).start == 0
    assert Bound(0.0, 1.0, 0).best == 0
    assert Bound(1.0, 0.0, 0).best_lr == math.inf


@BOTH
@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (([0.0, 0.0], 1.0, 1.0), "every step is zero"),
        (([], 1.0, 1.0), "empty"),
        (([1.0, -1.0], 1.0, 1.0), "negative"),
        (([1.0, math.nan], 1.0, 1.0), "nan"),
        (([[1.0]], 1.0, 1.0), "shape"),
        (([1.0], -1.0, 1.0), "distance"),
        (([1.0], math.inf, 1.0), "distance"),
        (([1.0], 1.0, [1.0, 2.0]), "gradient_bound"),
        (([1.0], 1.0, -1.0), "gradient_bound"),
    ],
)
def test_bad_input(bound: object, arguments: tuple[object, ...], hint: str) -> None:
    assert callable(bound)
    with pytest.raises(InputError, match=hint):
        bound(*arguments)


def test_bad_records_and_lrs() -> None:
    for records in ([101], [-1], [0.5], [[1]]):
        with pytest.raises(InputError, match="records"):
            omega_curve(np.ones(100), records, 1.0, 1.0)
    for lr in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(InputError, match="lr is"):
            Bound(1.0, 1.0, 0).at(lr)
