"""What a problem declares about itself, measured for the whole catalogue: L, μ, D, the risk, unbiased
gradients and the law of their squares. The key is fixed; over all keys this file fails by chance with
probability below 1e-5."""

import numpy as np
import pytest
import torch
from cases import CLASSIFIERS, PROBLEMS

from ratelab.problems.philox import stream_key
from ratelab.problems.problem import Problem, critical_lr, exact_risk, gradient_norms, risk_curve
from ratelab.problems.quadratic import Quadratic, Rotated
from ratelab.problems.regression import TableLeastSquares
from ratelab.problems.spectra import LogUniform
from ratelab.theory import moments
from ratelab.theory.arrays import Array, InputError, record_times
from ratelab.theory.averaging import Uniform
from ratelab.theory.notation import catalogue, parse
from ratelab.theory.schedules import InversePower

KEY = stream_key(0, "problem")
SAMPLES = 20_000
EXACT = [problem for problem in PROBLEMS if problem.law is not None]


def gradients(problem: Problem, delta: Array) -> Array:
    """SAMPLES stochastic gradients (SAMPLES, d) at one point: the samples of one run at so many updates."""
    drawn = problem.sample(KEY, range(3, 4), 0, SAMPLES)
    points = torch.from_numpy(np.broadcast_to(delta, (SAMPLES, problem.dim)).copy())
    return np.asarray(problem.gradient(points, *(torch.from_numpy(part[0]) for part in drawn)).numpy())


def agree(values: Array, expected: float) -> None:
    """The mean of independent `values` is `expected`: |z| < 5.5, one false alarm in 2.6e7."""
    error = values.std() / np.sqrt(len(values))
    assert abs(values.mean() - expected) <= 5.5 * error + 1e-6 * (abs(expected) + 1e-3)


def test_the_catalogue_is_covered() -> None:
    """Networks are objectives too, with tests of their own."""
    assert {type(problem).__name__ for problem in (*PROBLEMS, *CLASSIFIERS)} == set(catalogue("problem"))


def _hessian(problem: Problem) -> Array:
    """Of the risk, a quadratic form: R(e_i + e_j) − R(e_i) − R(e_j)."""
    unit = torch.eye(problem.dim, dtype=torch.float64)
    own = problem.risk(unit)
    return np.asarray((problem.risk(unit[:, None] + unit) - own[:, None] - own).numpy())


@pytest.mark.parametrize("problem", PROBLEMS, ids=repr)
def test_facts(problem: Problem) -> None:
    assert isinstance(problem, Problem)
    assert parse(repr(problem), "problem") == problem
    zero = torch.zeros(problem.dim, dtype=torch.float64)
    eigenvalues = np.linalg.eigvalsh(_hessian(problem))
    assert eigenvalues.max() == pytest.approx(problem.constants.L, rel=1e-12)
    assert eigenvalues.min() == pytest.approx(problem.constants.mu, rel=1e-9)
    start = torch.from_numpy(problem.start)
    assert problem.start.shape == (problem.dim,)
    assert pytest.approx(float(torch.linalg.vector_norm(start)), rel=1e-12) == problem.constants.D
    assert problem.constants.start_risk == pytest.approx(float(problem.risk(start)), rel=1e-12)
    assert float(problem.risk(zero)) == 0
    assert problem.constants.G is None
    batch = start * torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None, None]
    assert problem.risk(batch).shape == (5, 1)


@pytest.mark.slow
@pytest.mark.parametrize("problem", PROBLEMS, ids=repr)
@pytest.mark.parametrize("scale", [0.0, 1.0, -2.0])
def test_gradients_are_unbiased(problem: Problem, scale: float) -> None:
    delta = scale * problem.start
    exact = _hessian(problem) @ delta
    for i, column in enumerate(gradients(problem, delta).T):
        agree(column, exact[i])


@pytest.mark.parametrize("problem", EXACT, ids=repr)
def test_the_law_is_that_of_the_gradients(problem: Problem) -> None:
    """E‖g_0‖² at the start, and the eigenvalues and start of the law."""
    squares = np.sum(gradients(problem, problem.start) ** 2, axis=1)
    norms = gradient_norms(problem, np.ones((1, 1)), np.ones(1))
    agree(squares, float(norms[0, 0, 0]))
    assert problem.law is not None
    assert problem.law.eigenvalues.max() == problem.constants.L
    assert np.linalg.norm(problem.law.start) == pytest.approx(problem.constants.D, rel=1e-12)


@pytest.mark.parametrize("problem", PROBLEMS, ids=repr)
def test_samples_have_the_shape_and_size_declared(problem: Problem) -> None:
    drawn = problem.sample(KEY, range(4), 5, 3)
    assert all(part.shape[:2] == (4, 3) for part in drawn)
    assert sum(part[0, 0].nbytes for part in drawn) == problem.sample_bytes()


@pytest.mark.parametrize("problem", PROBLEMS, ids=repr)
def test_a_sample_depends_on_key_run_and_update_only(problem: Problem) -> None:
    whole = problem.sample(KEY, range(6), 0, 50)
    for first, last in ((0, 1), (7, 8), (9, 50)):
        for again, part in zip(problem.sample(KEY, range(2, 5), first, last - first), whole, strict=True):
            ulps = 4 if isinstance(problem, Rotated) else 0  # a matrix product rounds by its shape
            np.testing.assert_allclose(again, part[2:5, first:last], rtol=0, atol=ulps * 1e-16)


@pytest.mark.parametrize("problem", PROBLEMS, ids=repr)
def test_exact_risk_starts_at_the_start(problem: Problem) -> None:
    ones = np.ones((1, 3))
    if problem.law is None:
        with pytest.raises(InputError, match="no exact law"):
            exact_risk(problem, ones, np.array([0.1]), [ones], np.array([0, 3]))
        with pytest.raises(InputError, match="no exact law"):
            gradient_norms(problem, ones, np.ones(1))
        with pytest.raises(InputError, match="is not known"):
            critical_lr(problem)
    else:
        risk = exact_risk(problem, ones, np.array([0.1]), [ones], np.array([0, 3]))
        assert risk[0, 0, 0, 0] == pytest.approx(problem.constants.start_risk, rel=1e-12)
        assert critical_lr(problem) == moments.critical_lr(problem.law)


def test_risk_curve() -> None:
    quadratic = Quadratic(LogUniform(dim=10, condition_number=10.0))
    shape, horizon = InversePower(0.5), 300
    t, last = risk_curve(quadratic, shape, 0.3, horizon)
    _, mean = risk_curve(quadratic, shape, 0.3, horizon, Uniform(), momentum=0.5, records=200)
    np.testing.assert_array_equal(t, record_times(horizon, 200))
    rows = shape(horizon)[None]
    weights = [np.ones_like(rows), Uniform()(rows[0])[None]]
    both = [
        moments.exact_risk(quadratic.law, rows, np.array([0.3]), weights, t, momentum)
        for momentum in (0.0, 0.5)
    ]
    np.testing.assert_array_equal(last, both[0][0, 0, 0])
    np.testing.assert_array_equal(mean, both[1][0, 0, 1])
    with pytest.raises(InputError, match="no exact law"):
        risk_curve(TableLeastSquares(batch=100, replacement=False), shape, 0.1, 10)
