"""The learning rate that minimises the exact risk itself: against brute force, closed forms and its own
laws."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from ratelab.experiments.judging.paths import TUNED, Path, tune
from ratelab.experiments.methods import SGD, HeavyBall, Method
from ratelab.experiments.spec import Selector, Spec
from ratelab.experiments.units import LrUnit
from ratelab.problems.noise import Gaussian, NoNoise
from ratelab.problems.problem import Problem, critical_lr
from ratelab.problems.quadratic import Quadratic
from ratelab.problems.regression import StreamingLeastSquares, TableLeastSquares
from ratelab.problems.spectra import Given, LogUniform
from ratelab.theory import (
    Constant,
    CosineWave,
    InversePower,
    Last,
    Linear,
    Scaled,
    Silver,
    StepWeighted,
    Then,
    Uniform,
)
from ratelab.theory.averaging import Averaging
from ratelab.theory.schedules import Schedule

NOISY = Quadratic(LogUniform(dim=20, condition_number=30.0), noise=Gaussian(sd=0.3))


def path(
    problem: Problem,
    schedule: Schedule,
    averaging: Averaging,
    times: list[int],
    method: Method | None = None,
    unit: LrUnit = "1/L",
) -> Path:
    method = method or SGD()
    spec = Spec((problem,), (schedule,), (1.0,), unit, tuple(times), 1, averagings=(averaging,))
    return Path.of(spec, Selector(problem, method, schedule, averaging, "tuned"), times)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", [Constant(), InversePower(0.5), Linear()])
@pytest.mark.parametrize("averaging", [Last(), Uniform()])
@pytest.mark.parametrize(
    "problem",
    [NOISY, StreamingLeastSquares(LogUniform(dim=5, condition_number=10.0)), TableLeastSquares("line")],
)
def test_no_rate_of_a_fine_grid_is_better(problem: Problem, schedule: Schedule, averaging: Averaging) -> None:
    curve = path(problem, schedule, averaging, [30, 300, 1000])
    lrs, risk = tune(curve)
    grid = np.geomspace(1e-5, 100.0, 3000) * curve.largest_stable()
    every = np.maximum(curve.risks(grid), curve.floors(grid))
    assert np.all(risk <= every.min(axis=0) * (1 + 1e-9))
    spacing = float(np.log(grid[1] / grid[0]))
    assert np.abs(np.log(lrs / grid[every.argmin(axis=0)])).max() < spacing + TUNED


@settings(max_examples=20)
@given(kappa=st.floats(1.5, 50))
def test_without_noise_it_is_the_textbooks_step(kappa: float) -> None:
    """Two eigenvalues with equal parts of the start: (1 − ημ)^2T + (ηL − 1)^2T is least where 1 − ημ = k (ηL
    − 1), k = κ^(1/(2T − 1)), which tends to the textbook's 2/(L + μ)."""
    updates = int(10 * kappa)
    start = (1.0, kappa**0.5)
    curve = path(Quadratic(Given((1.0, 1 / kappa)), NoNoise(), start), Constant(), Last(), [updates])
    k = kappa ** (1 / (2 * updates - 1))
    assert tune(curve)[0][0] == pytest.approx((1 + k) / (1 / kappa + k), rel=2e-4)


def test_one_coordinate_by_calculus() -> None:
    """E δ² after one update: (1 − η)² + η²σ², least at η = 1/(1 + σ²)."""
    one = Quadratic(Given((1.0,)), noise=Gaussian(sd=2.0))
    lrs, risk = tune(path(one, Constant(), Last(), [1]))
    assert lrs[0] == pytest.approx(0.2, rel=1e-4)
    assert risk[0] == pytest.approx(0.4, rel=1e-7)


@pytest.mark.parametrize("unit", ["absolute", "1/L", "1/mu", "critical"])
def test_units_and_momentum(unit: LrUnit) -> None:
    """The same step in any unit; and with momentum no step beyond its own stability limit."""
    absolute = tune(path(NOISY, InversePower(0.5), Last(), [100, 500], unit="absolute"))[0]
    curve = path(NOISY, InversePower(0.5), Last(), [100, 500], unit=unit)
    assert tune(curve)[0] * curve.unit(500) == pytest.approx(absolute, rel=2e-4)
    heavy = path(NOISY, Constant(), Last(), [2], HeavyBall(0.9), unit)
    assert heavy.largest_stable() * heavy.unit(2) == pytest.approx(critical_lr(NOISY, 0.9))
    assert tune(heavy)[0][0] > 0


def test_the_best_rate_may_lie_far_above_the_largest_stable_constant_one() -> None:
    """One update of a flat direction next to a steep one that starts at its minimum; c/t; steps of
    acceleration."""
    flat = Quadratic(Given((1.0, 0.01)), NoNoise(), (0.0, 1.0))
    assert tune(path(flat, Constant(), Last(), [1]))[0][0] == pytest.approx(100.0, rel=1e-4)
    noisy = Quadratic(LogUniform(dim=10, condition_number=100.0), noise=Gaussian(sd=0.1))
    decaying = path(noisy, InversePower(1.0), Last(), [1000])
    assert tune(decaying)[0][0] > 5 * decaying.largest_stable()
    smooth = Quadratic(LogUniform(dim=10, condition_number=30.0), NoNoise())
    silver = path(smooth, Silver(), Last(), [31])
    assert tune(silver)[1][0] <= silver.risks(np.array([1.0]))[0, 0]


def test_with_momentum_the_risk_has_many_minima_in_lr_and_the_least_is_found() -> None:
    smooth = Quadratic(LogUniform(dim=4, condition_number=50.0), NoNoise())
    curve = path(smooth, Constant(), Last(), [50], HeavyBall(0.9))
    grid = np.geomspace(1e-3, 1.0, 4000) * curve.largest_stable()
    assert tune(curve)[1][0] <= curve.risks(grid).min() * (1 + 1e-6)


def test_where_no_step_is_taken_any_rate_does() -> None:
    still = path(NOISY, Scaled(Constant(), 0.0), Last(), [10])
    assert tune(still)[1] == pytest.approx(NOISY.constants.start_risk)


def test_an_average_that_has_cancelled_is_known_as_no_more_than_that() -> None:
    """An iterate that overshoots by a factor 10^9 first: the average's moments cancel, and the floor says
    so."""
    one = Quadratic(Given((1.0,)), noise=Gaussian(sd=0.1), initial=(1.0,))
    lrs = np.array([0.5, 30.0])
    curve = path(one, InversePower(1.0), Uniform(), [100])
    floors = curve.floors(lrs)[:, 0]
    assert floors[0] == 0
    truth = 5.0495e-05  # by 80 digits
    assert abs(curve.risks(lrs)[1, 0] - truth) < floors[1]
    # with momentum, steps in tune with the iterate make it grow below any stability limit
    waves = Then(CosineWave(2), Scaled(Constant(), 0.1), at=120)
    one = Quadratic(Given((1.0,)), NoNoise())
    heavy = path(one, waves, StepWeighted(), [600], HeavyBall(0.9))
    lr = np.array([0.3 * heavy.largest_stable()])
    assert abs(heavy.risks(lr)[0, 0] - 3.31e-7) < heavy.floors(lr)[0, 0]


def test_horizons_share_their_work_and_change_nothing() -> None:
    """Many points at once give what each gives by itself."""
    times = [50, 100, 200, 400]
    for schedule in (InversePower(0.5), Linear()):
        together = tune(path(NOISY, schedule, Last(), times))
        alone = [tune(path(NOISY, schedule, Last(), [t])) for t in times]
        assert together[0] == pytest.approx([lr[0] for lr, _ in alone], rel=3e-4)
        assert together[1] == pytest.approx([risk[0] for _, risk in alone], rel=1e-7)
