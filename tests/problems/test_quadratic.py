"""Quadratics, and the same ones rotated: a rotation by law; the same risk, gradient and run in other axes."""

import numpy as np
import pytest
import torch
from cases import AVERAGINGS, ROWS

from ratelab.experiments.engines import step
from ratelab.experiments.engines.job import Job
from ratelab.experiments.methods import HeavyBall
from ratelab.problems.noise import Gaussian
from ratelab.problems.philox import stream_key
from ratelab.problems.problem import Problem
from ratelab.problems.quadratic import Quadratic, Rotated
from ratelab.problems.spectra import Given, LogUniform
from ratelab.theory.arrays import InputError

KEY = stream_key(0, "quadratic")
PLAIN = Quadratic(LogUniform(dim=5, condition_number=50.0), Gaussian(0.7, "hessian"))


def test_gradient_and_risk_by_hand() -> None:
    quadratic = Quadratic(Given((2.0, 4.0)), Gaussian(), initial=(-5.0, -2.0))
    delta = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    noise = torch.tensor([[0.5, -1.0]], dtype=torch.float64)
    assert quadratic.gradient(delta, noise).tolist() == [[2.5, 7.0]]
    assert quadratic.risk(delta).tolist() == [9.0]
    assert quadratic.constants.start_risk == 33.0
    assert quadratic.start.tolist() == [-5.0, -2.0]
    assert np.sqrt(29.0) == quadratic.constants.D


def test_the_default_start_is_at_distance_one() -> None:
    np.testing.assert_allclose(PLAIN.start, 5**-0.5, rtol=1e-15)
    assert pytest.approx(1.0, rel=1e-15) == PLAIN.constants.D


@pytest.mark.parametrize("dim", [1, 2, 3, 20])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_rotation_is_one(dim: int, seed: int) -> None:
    u = Rotated(Quadratic(LogUniform(dim=dim, condition_number=1.0)), seed=seed).rotation
    np.testing.assert_allclose(u @ u.T, np.eye(dim), atol=1e-14)
    assert np.linalg.det(u) == pytest.approx(1.0, rel=1e-12)
    other = Rotated(Quadratic(LogUniform(dim=dim, condition_number=1.0)), seed=seed + 1).rotation
    assert dim == 1 or not np.allclose(u, other)


def test_rotations_are_haar() -> None:
    """Columns of a Haar rotation are uniform on the sphere: E u² = 1/d, E u⁴ = 3/(d(d + 2)), here with d = 3.
    2000 seeds, |z| < 5, 27 comparisons: one false alarm in 6e4."""
    line = Quadratic(LogUniform(dim=3, condition_number=1.0))
    u = np.array([Rotated(line, seed=seed).rotation for seed in range(2000)])
    for entry in u.reshape(2000, 9).T:
        for order, exact in ((1, 0.0), (2, 1 / 3), (4, 1 / 5)):
            powers = entry**order
            assert abs(powers.mean() - exact) < 5 * powers.std() / np.sqrt(2000)


def test_rotated_is_the_quadratic_in_other_axes() -> None:
    rotated = Rotated(PLAIN, seed=4)
    u = rotated.rotation
    np.testing.assert_allclose(rotated.start, u @ PLAIN.start, rtol=1e-15)
    np.testing.assert_allclose(rotated.hessian, u @ np.diag(PLAIN.eigenvalues) @ u.T, atol=1e-15)
    rng = np.random.default_rng(0)
    delta = torch.from_numpy(rng.standard_normal((2, 3, 5)))
    turn = torch.from_numpy(u)
    np.testing.assert_allclose(rotated.risk(delta @ turn.T), PLAIN.risk(delta), rtol=1e-12)
    (xi,), (uxi,) = PLAIN.sample(KEY, range(3), 0, 2), rotated.sample(KEY, range(3), 0, 2)
    turned = PLAIN.gradient(delta, torch.from_numpy(xi[:, 1])) @ turn.T
    np.testing.assert_allclose(
        rotated.gradient(delta @ turn.T, torch.from_numpy(uxi[:, 1])), turned, atol=1e-12
    )


def test_rotated_runs_have_the_risk_of_the_quadratic() -> None:
    lrs, times = np.array([0.2, 0.9]), np.array([0, 1, 10, 30])
    problems: list[Problem] = [Rotated(PLAIN, seed=4), PLAIN]
    a, b = (
        step.compute(Job(p, HeavyBall(0.5), ROWS, lrs, AVERAGINGS, 30, times, KEY, range(3)))["risk"]
        for p in problems
    )
    assert a.shape == (3, 3, 2, len(AVERAGINGS), 4)
    np.testing.assert_allclose(a, b, rtol=1e-10)


def test_bad_input() -> None:
    with pytest.raises(InputError, match="initial has 3 numbers and the spectrum dimension 2"):
        Quadratic(Given((1.0, 2.0)), initial=(1.0, 2.0, 3.0))
    with pytest.raises(InputError, match="noise"):
        Quadratic(Given((1.0, 2.0)), noise=3.0)  # type: ignore[arg-type]
