"""Exact moments: the textbook's numbers, steady states, the critical step, and every recursion against an
obvious version of it, against all minibatches of a small table enumerated, and the fold of affine maps."""

import itertools
import math
from typing import TypeAlias

import numba
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

from ratelab.theory.affine import AffineGaussian, fold, update
from ratelab.theory.arrays import Array, InputError
from ratelab.theory.averaging import Last, Uniform, weights
from ratelab.theory.moments import (
    Additive,
    Law,
    LeastSquares,
    Minibatches,
    critical_lr,
    exact_risk,
    gradient_norms,
    risk_and_norms,
    steady_risk,
)
from ratelab.theory.notation import catalogue

MOMENTA = [0.0, 0.5, 0.9]
Closed: TypeAlias = Additive | LeastSquares


def table_law(rows: Array, labels: Array, start: Array, batch: int) -> Minibatches:
    """Least squares on a small table, seen from its minimiser and in the eigenbasis of its Hessian."""
    minimiser = np.linalg.lstsq(rows, labels)[0]
    eigenvalues, basis = np.linalg.eigh(rows.T @ rows / len(rows))
    return Minibatches(eigenvalues, start @ basis, rows @ basis, labels - rows @ minimiser, batch)


LAM = np.array([1.0, 0.6, 0.25, 0.1])
START = np.array([1.0, -0.5, 2.0, 0.3])
ADDITIVE = Additive(LAM, START, np.array([1.0, 0.2, 0.7, 0.0]))
LEAST_SQUARES = LeastSquares(LAM, START, 0.5, 2)
TABLE = table_law(
    np.array([[1.0, 0.2], [-0.4, 0.8], [0.3, -0.9], [0.7, 0.5], [-1.1, 0.3]]),
    np.array([0.5, -0.2, 1.0, 0.1, 0.4]),
    np.array([1.0, -2.0]),
    2,
)
LAWS: list[Law] = [ADDITIVE, LEAST_SQUARES, LeastSquares(LAM, START, 0.0, 1), TABLE]


def risk(law: Law, steps: Array, mixing: Array | None = None, momentum: float = 0.0) -> Array:
    """The risk at t = 0 … T of one sequence of steps."""
    c = np.ones_like(steps) if mixing is None else mixing
    times = np.arange(len(steps) + 1)
    curve: Array = exact_risk(law, steps[None], np.ones(1), [c[None]], times, momentum)[0, 0, 0]
    return curve


def plain_risk(law: Law, steps: Array, mixing: Array, momentum: float) -> tuple[Array, Array]:
    """The risk at t = 0 … T and E‖g_t‖², by the second moments of (δ, δ_prev, δ̄) as one 3d × 3d matrix."""
    lam, start, d = law.eigenvalues, law.start, len(law.start)
    mean = np.tile(start, 3)
    second = np.outer(mean, mean)
    risks, norms = [], []
    for eta, c in zip([*steps, 0.0], [*mixing, 1.0], strict=True):
        p = second[:d, :d]
        match law:
            case Additive():
                cov = np.diag(law.noise)
            case LeastSquares():
                h = np.diag(lam)
                cov = (h @ p @ h + (np.trace(h @ p) + law.label_variance) * h) / law.batch
            case Minibatches():
                g = 0 * p
                for z, e in zip(law.features, law.residuals, strict=True):
                    quadratic = z @ p @ z - 2 * e * z @ mean[:d] + e**2
                    g += np.outer(z, z) * quadratic / len(law.features)
                cov = (g - np.diag(lam) @ p @ np.diag(lam)) / law.batch
        risks.append(0.5 * lam @ np.diag(second[2 * d :, 2 * d :]))
        norms.append(float(np.trace(cov) + lam**2 @ np.diag(p)))
        a, one, zero = np.diag(1 + momentum - eta * lam), np.eye(d), np.zeros((d, d))
        m = np.block(
            [
                [a, -momentum * one, zero],
                [one, zero, zero],
                [c * a, -c * momentum * one, (1 - c) * one],
            ]
        )
        loading = eta * np.vstack([one, zero, c * one])
        mean, second = m @ mean, m @ second @ m.T + loading @ cov @ loading.T
    return np.array(risks), np.array(norms[:-1])


def test_the_catalogue_of_averagings_is_covered() -> None:
    assert {type(averaging).__name__ for averaging in AVERAGINGS} == set(catalogue("averaging"))


@pytest.mark.parametrize(
    ("multipliers", "expected"), [(D2L_EXPONENTIAL, 0.69467), (D2L_POLYNOMIAL, 0.02251), (D2L_CONSTANT, None)]
)
@pytest.mark.parametrize("momentum_path", [False, True])
def test_the_numbers_of_the_textbook(multipliers: Array, expected: float | None, momentum_path: bool) -> None:
    steps = D2L_LR * multipliers
    if (
        momentum_path
    ):  # the recursion with gradient norms is another kernel; its risk is that of one more step
        norms = gradient_norms(D2L.law, np.append(steps, 0.0)[None], np.ones(1))[0, 0]
        last = D2L.law.eigenvalues**2 @ _second_moments(steps) + D2L.law.noise.sum()
        assert norms[-1] == pytest.approx(last, rel=1e-12)
    found = risk(D2L.law, steps)[-1]
    assert found == pytest.approx(0.5 * D2L.law.eigenvalues @ _second_moments(steps), rel=1e-12)
    if expected is None:  # sd (0.16667, 0.12500), and a mean that has died out
        expected = 0.5 * (2 / 36 + 4 / 64)
    assert found == pytest.approx(expected, abs=5e-6)


def _second_moments(steps: Array) -> Array:
    m = D2L.law.start**2
    for eta in steps:
        m = (1 - eta * D2L.law.eigenvalues) ** 2 * m + eta**2
    return m


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
@pytest.mark.parametrize("momentum", MOMENTA)
def test_every_recursion_is_its_obvious_version(law: Law, momentum: float) -> None:
    rows = 0.3 * schedules(40)
    times = np.array([0, 1, 2, 7, 39, 40])
    found = exact_risk(law, rows, np.array([0.5, 1.0]), mixings(rows), times, momentum)
    assert found.shape == (3, 2, len(AVERAGINGS), 6)
    norms = gradient_norms(law, rows, np.array([0.5, 1.0]), momentum)
    assert norms.shape == (3, 2, 40)
    for s, n in itertools.product(range(3), range(2)):
        steps = np.array([0.5, 1.0])[n] * rows[s]
        for a, averaging in enumerate(AVERAGINGS):
            expected, squares = plain_risk(law, steps, averaging(rows[s]), momentum)
            np.testing.assert_allclose(found[s, n, a], expected[times], rtol=1e-11)
            np.testing.assert_allclose(norms[s, n], squares, rtol=1e-11)


def enumerated(law: Minibatches, steps: Array, mixing: Array, momentum: float) -> tuple[float, float]:
    """Expected risk of the average and E‖g‖² of the last gradient, over all sequences of minibatches."""
    batches = list(itertools.product(range(len(law.features)), repeat=law.batch))
    total = square = 0.0
    for sequence in itertools.product(batches, repeat=len(steps)):
        x = before = average = law.start
        for eta, c, batch in zip(steps, mixing, sequence, strict=True):
            z, e = law.features[list(batch)], law.residuals[list(batch)]
            g = z.T @ (z @ x - e) / law.batch
            x, before = x - eta * g + momentum * (x - before), x
            average = (1 - c) * average + c * x
        total += float(0.5 * law.eigenvalues @ average**2)
        square += float(g @ g)
    count = len(batches) ** len(steps)
    return total / count, square / count


SMALL = [
    (np.array([[1.0], [-0.5]]), np.array([1.0, 2.0])),
    (np.array([[1.0, 0.3], [-0.5, 1.0]]), np.array([1.0, 2.0])),  # as many rows as unknowns: no residuals
    (np.array([[1.0, 0.3], [-0.5, 1.0], [0.2, -0.7]]), np.array([1.0, 2.0, -1.0])),
]


@pytest.mark.parametrize(("rows", "labels"), SMALL)
@pytest.mark.parametrize(("batch", "updates"), [(1, 5), (2, 3)])
@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_minibatches_against_all_of_them(
    rows: Array, labels: Array, batch: int, updates: int, momentum: float
) -> None:
    law = table_law(rows, labels, np.array([1.5, -0.8])[: rows.shape[1]], batch)
    steps = np.linspace(0.9, 0.3, updates)
    for mixing in (np.ones(updates), 1 / np.arange(2, updates + 2), np.resize([1.0, 0.3, 0.0], updates)):
        total, square = enumerated(law, steps, mixing, momentum)
        assert risk(law, steps, mixing, momentum)[-1] == pytest.approx(total, rel=1e-12)
        norms = gradient_norms(law, steps[None], np.ones(1), momentum)
        assert norms[0, 0, -1] == pytest.approx(square, rel=1e-12)


@given(
    st.lists(st.floats(0, 1.9), min_size=1, max_size=30).map(np.array),
    st.floats(0, 0.95),
    st.sampled_from(AVERAGINGS),
)
def test_moments_are_those_of_the_affine_fold(steps: Array, momentum: float, averaging: object) -> None:
    assert callable(averaging)
    mixing = averaging(steps)
    law = ADDITIVE
    maps: AffineGaussian = fold(update(steps[:, None], law.eigenvalues, law.noise, mixing[:, None], momentum))
    before = np.stack([law.start, np.zeros(4), law.start], axis=1)
    mean, covariance = maps(before, np.zeros((4, 3, 3)))
    expected = 0.5 * law.eigenvalues @ (mean[:, 2] ** 2 + covariance[:, 2, 2])
    assert risk(law, steps, mixing, momentum)[-1] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("momentum", MOMENTA)
@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize(
    "law",
    [ADDITIVE, LEAST_SQUARES, LeastSquares(LAM, START, 1.0, 64)],
    ids=["additive", "batch 2", "batch 64"],
)
def test_steady_states(law: Closed, fraction: float, momentum: float) -> None:
    """A run of 2·10⁵ updates ends at the closed form: relative error 1e-12, times the condition 1/(1 − k) of
    least squares close to the critical step."""
    lr = fraction * critical_lr(law, momentum)
    ones = np.ones((1, 200_000))
    last = exact_risk(law, ones, np.array([lr]), [ones], np.array([200_000]), momentum)[0, 0, 0, 0]
    condition = 1.0 if isinstance(law, Additive) else 1 / (1 - fraction)
    assert last == pytest.approx(steady_risk(law, lr, momentum), rel=1e-12 * condition)


def test_one_step_from_the_steady_state_stays() -> None:
    """The closed form per coordinate, m_i = ηC_ii/(λ_i(2 − ηλ_i)), is a fixed point to the last bits."""
    lr, noise = 0.7, np.array([1.0, 0.2, 0.7, 0.4])
    m = lr * noise / (LAM * (2 - lr * LAM))
    found = risk(Additive(LAM, np.sqrt(m), noise), np.full(3, lr))
    np.testing.assert_allclose(found, 0.5 * LAM @ m, rtol=1e-15)
    assert steady_risk(Additive(LAM, START, noise), lr) == pytest.approx(0.5 * LAM @ m, rel=1e-15)


CRITICAL = [
    *((law, beta) for law in LAWS for beta in MOMENTA if not (isinstance(law, Minibatches) and beta)),
    (LeastSquares(np.ones(1), np.ones(1), 0.0, 1), 0.0),
    (LeastSquares(np.geomspace(1, 1e-3, 50), np.ones(50), 1.0, 1), 0.9),
    (table_law(*SMALL[2], np.ones(2), 1), 0.0),
]


@pytest.mark.parametrize(("law", "momentum"), CRITICAL)
def test_the_critical_step_separates_bounded_from_unbounded(law: Law, momentum: float) -> None:
    critical = critical_lr(law, momentum)
    ones, factors = np.ones((1, 200_000)), np.array([0.997, 1.003])
    times = np.array([100_000, 200_000])
    below, above = exact_risk(law, ones, factors * critical, [ones], times, momentum)[0, :, 0]
    assert below[1] <= below[0] * (1 + 1e-5)
    assert above[1] > 1e6 * below[0]
    if isinstance(law, Additive | LeastSquares):
        assert steady_risk(law, factors[1] * critical, momentum) == math.inf


def test_critical_steps_in_closed_form() -> None:
    """One dimension: E(1 − ηz²)² < 1 iff η < 2/3 for a standard normal z; batch B: 2B/(B + 2)."""
    for batch in (1, 2, 10):
        law = LeastSquares(np.ones(1), np.ones(1), 1.0, batch)
        assert critical_lr(law) == pytest.approx(2 * batch / (batch + 2), rel=1e-12)
    rows = np.array([[1.0], [2.0]])  # E(1 − ηz²)² = 1 − 2η·2.5 + η²·8.5
    assert critical_lr(table_law(rows, np.zeros(2), np.ones(1), 1)) == pytest.approx(5 / 8.5, rel=1e-12)
    assert critical_lr(ADDITIVE, 0.5) == pytest.approx(3.0, rel=1e-15)
    large = LeastSquares(LAM, START, 1.0, 10**9)  # much of a batch: the deterministic limit
    assert critical_lr(large, 0.5) == pytest.approx(3.0, rel=1e-6)


def test_gradient_descent_in_closed_form() -> None:
    law = Additive(LAM, START, np.zeros(4))
    lr, t = 0.8, np.arange(51)[:, None]
    a = 1 - lr * LAM
    np.testing.assert_allclose(risk(law, np.full(50, lr)), 0.5 * (START * a**t) ** 2 @ LAM, rtol=1e-12)
    mean = START * (1 - a ** (t + 1)) / (lr * LAM) / (t + 1)  # of x_0 … x_t, a geometric series
    averaged = risk(law, np.full(50, lr), Uniform()(np.ones(50)))
    np.testing.assert_allclose(averaged, 0.5 * mean**2 @ LAM, rtol=1e-11)


def test_averages_are_the_weighted_sums_of_the_iterates() -> None:
    """Without noise E δ̄² is (Σ w_t δ_t)², with the weights of `averaging.weights`."""
    law = Additive(LAM, START, np.zeros(4))
    for row in schedules(40):
        path = [START]
        for eta in 0.9 * row:
            path.append((1 - eta * LAM) * path[-1])
        for averaging in AVERAGINGS:
            c = averaging(row)
            expected = 0.5 * LAM @ (weights(c) @ np.array(path)) ** 2
            assert risk(law, 0.9 * row, c)[-1] == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("momentum", MOMENTA)
def test_constant_steps_averaged_reach_half_the_trace(momentum: float) -> None:
    """n · risk → ½ tr(H⁻¹C) (Polyak and Juditsky 1992): within 1e-4 at n = 10⁶."""
    ones = np.ones((1, 10**6))
    mixing = [Uniform()(ones[0])[None]]
    law = Additive(LAM, START, np.array([1.0, 0.2, 0.7, 0.4]))
    found = exact_risk(law, ones, np.array([0.5]), mixing, np.array([10**6]), momentum)[0, 0, 0, 0]
    assert 1e6 * found == pytest.approx(0.5 * np.sum(law.noise / LAM), rel=1e-4)


def test_constant_steps_averaged_on_least_squares() -> None:
    """The same with the noise that the steady state makes: C_ii = (λ_i² m_i + λ_i (Σ λm + σ²))/B."""
    law, lr, n = LeastSquares(LAM, START, 0.5, 2), 0.4, 10**6
    total = 2 * steady_risk(law, lr) + law.label_variance
    m = lr / 2 * total / (2 - lr * LAM * 1.5)
    noise = (LAM**2 * m + LAM * total) / 2
    ones = np.ones((1, n))
    found = exact_risk(law, ones, np.array([lr]), [Uniform()(ones[0])[None]], np.array([n]))[0, 0, 0, 0]
    assert n * found == pytest.approx(0.5 * np.sum(noise / LAM), rel=1e-4)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("last", [30, 29])
def test_the_risk_and_the_norms_of_one_run_are_those_of_two(law: Law, last: int) -> None:
    """Bit for bit."""
    steps, lrs = schedules(30), np.array([0.5, 0.1])
    asked = steps, lrs, [np.ones_like(steps), np.full_like(steps, 0.3)], np.array([0, 7, last])
    risk, norms = risk_and_norms(law, *asked)
    np.testing.assert_array_equal(risk, exact_risk(law, *asked))
    np.testing.assert_array_equal(norms, gradient_norms(law, steps, lrs))


def test_gradient_norms_are_their_definition() -> None:
    """Additive: Σ λ_i² m_i + Σ C_ii, the m_i each from a one-dimensional law of its own."""
    steps = 0.5 * schedules(30)
    norms = gradient_norms(ADDITIVE, steps, np.ones(1))
    expected = np.full((3, 1, 30), ADDITIVE.noise.sum())
    for i in range(4):
        alone = Additive(LAM[i : i + 1], START[i : i + 1], ADDITIVE.noise[i : i + 1])
        expected += (
            LAM[i] * 2 * exact_risk(alone, steps, np.ones(1), [np.ones_like(steps)], np.arange(30))[:, :, 0]
        )
    np.testing.assert_allclose(norms, expected, rtol=1e-12)


@pytest.mark.parametrize("dim", [2, 63, 64, 65, 200])
def test_coordinates_add_up(dim: int) -> None:
    """However the coordinates are cut into tiles: the risk is the sum of that of two parts."""
    lam, steps, k = np.geomspace(1, 0.01, dim), 0.7 * schedules(60)[1], dim // 3 + 1
    for averaging in (Last(), Uniform()):
        whole, low, high = (
            risk(Additive(part, np.full(len(part), dim**-0.5), part), steps, averaging(steps))
            for part in (lam, lam[:k], lam[k:])
        )
        np.testing.assert_allclose(whole, low + high, rtol=1e-13)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_each_answer_is_independent_of_the_others(law: Law, momentum: float) -> None:
    rows, lrs = schedules(50), np.array([0.1, 0.2, 0.3])
    table, times = mixings(rows), np.array([0, 3, 50])
    whole = exact_risk(law, rows, lrs, table, times, momentum)
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    np.testing.assert_array_equal(whole, exact_risk(law, rows, lrs, table, times, momentum))
    numba.set_num_threads(threads)
    for s, n, a in itertools.product(range(3), range(3), range(len(AVERAGINGS))):
        mixing = [table[a][s : s + 1]]
        alone = exact_risk(law, rows[s : s + 1], lrs[n : n + 1], mixing, times[1:], momentum)
        np.testing.assert_allclose(alone[0, 0, 0], whole[s, n, a, 1:], rtol=1e-13)
    assert exact_risk(law, rows, lrs, [], times, momentum).shape == (3, 3, 0, 3)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_divergence_is_infinite_risk(law: Law, momentum: float) -> None:
    ones = np.ones((1, 2000))
    lr = np.array([50.0])
    times = np.arange(2001)
    found = exact_risk(law, ones, lr, [ones, Uniform()(ones[0])[None]], times, momentum)[0, 0]
    for row in found:
        left = int(np.argmax(np.isinf(row)))
        assert left > 10
        assert np.all(np.isfinite(row[:left]))
        assert np.all(np.isinf(row[left:]))
    norms = gradient_norms(law, ones, lr, momentum)
    assert not np.isnan(norms).any()
    assert norms[0, 0, -1] == math.inf


def test_bad_input() -> None:
    ones, lr, law = np.ones((1, 5)), np.ones(1), ADDITIVE
    for times in ([], [3, 3], [4, 2], [-1, 2], [6]):
        with pytest.raises(InputError, match=r"records must increase strictly within 0 … 5"):
            exact_risk(law, ones, lr, [ones], np.array(times, dtype=np.int64))
    with pytest.raises(InputError, match=r"mixing weights have shape \(1, 4\)"):
        exact_risk(law, ones, lr, [np.ones((1, 4))], np.array([5]))
    for momentum in (-0.1, 1.0, math.nan):
        with pytest.raises(InputError, match=r"it must lie in \[0, 1\)"):
            exact_risk(law, ones, lr, [ones], np.array([5]), momentum)
    with pytest.raises(InputError, match="start has shape"):
        exact_risk(Additive(LAM, np.ones(3), LAM), ones, lr, [ones], np.array([5]))
    with pytest.raises(InputError, match="d <= 32, and the table has d = 33"):
        Minibatches(np.ones(33), np.ones(33), np.ones((40, 33)), np.ones(40), 1)
    with pytest.raises(InputError, match=r"momentum 0\.9"):
        critical_lr(TABLE, 0.9)
