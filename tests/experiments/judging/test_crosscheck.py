"""The comparison of exact risk and Monte Carlo: alarms where engines agree, and where they do not.

Seeds are fixed. Each statistical test states how often it would fail at a fresh seed if the code is right.
"""

import numpy as np
import pytest
from scipy import stats
from synthetic import sgd

from ratelab.experiments.judging.crosscheck import cross_check
from ratelab.theory.arrays import Array, InputError


def test_cross_check_is_quiet_when_the_engines_agree(thousand_trials: tuple[Array, Array, Array]) -> None:
    # 1000 trials at level 1e-3: more than 4 alarms has probability 0.004 if the level is kept
    times, risks, exact = thousand_trials
    assert sum(cross_check(times, exact, trial) is not None for trial in risks) <= 4


def test_cross_check_is_quiet_on_the_most_skewed_risks() -> None:
    # one coordinate: chi-square with 1 degree of freedom, where a plain t test alarms dozens of times
    times = np.unique(np.rint(np.geomspace(1, 1000, 60)))
    risks, exact = sgd(7, 500, 64, times, np.ones(1))
    assert sum(cross_check(times, exact, trial) is not None for trial in risks) <= 3
    plain = np.array([np.asarray(stats.ttest_1samp(trial / exact, 1.0).pvalue).min() for trial in risks])
    assert (plain < 1e-3 / times.size).sum() >= 10


def test_cross_check_is_quiet_on_heavy_tails() -> None:
    # log-normal, log sd 2: about 1 alarm in 1000 trials, but 80 without the reduced degrees of freedom
    risks = np.exp(2 * np.random.default_rng(14).standard_normal((300, 64, 50)) - 2)
    times, exact = np.arange(1.0, 51.0), np.ones(50)
    assert sum(cross_check(times, exact, trial) is not None for trial in risks) <= 3


def test_cross_check_is_quiet_under_multiplicative_noise() -> None:
    # least squares, d = 1, fresh features, lr at half of the critical 2/3: E x^8 is infinite here
    rng = np.random.default_rng(8)
    lr, x, second = 1 / 3, np.ones((300, 64)), 1.0
    risks, exact = [], []
    for _ in range(40):
        z, e = rng.standard_normal((2, 300, 64))
        x = x - lr * z * (z * x + e)
        second = (1 - 2 * lr + 3 * lr**2) * second + lr**2
        risks.append(x**2 / 2)
        exact.append(second / 2)
    trials = np.stack(risks, axis=-1)
    times = np.arange(1.0, 41.0)
    assert sum(cross_check(times, exact, trial) is not None for trial in trials) <= 2


@pytest.mark.slow
@pytest.mark.parametrize("error", [0.9, 1.1])
def test_cross_check_finds_an_error_of_ten_percent(error: float) -> None:
    # d = 100, 256 runs, all 20 trials
    times = np.unique(np.rint(np.geomspace(1, 1000, 50)))
    risks, exact = sgd(9, 20, 256, times, np.geomspace(0.1, 1, 100))
    for trial in risks:
        complaint = cross_check(times, exact * error, trial)
        assert complaint is not None
        assert "one engine is wrong" in complaint


def test_cross_check_finds_a_lasting_error_that_no_single_record_shows() -> None:
    # one coordinate, 64 runs, exact risk 30 % low: found in 99.8 % of trials, so 19 of 20 fails once in 1000
    times = np.unique(np.rint(np.geomspace(100, 30_000, 60)))
    risks, exact = sgd(11, 20, 64, times, np.ones(1))
    complaints = [cross_check(times, exact * 0.7, trial) for trial in risks]
    assert sum("over all records" in (complaint or "") for complaint in complaints) >= 19


def test_cross_check_finds_an_error_at_one_record() -> None:
    times = np.unique(np.rint(np.geomspace(1, 1000, 50)))
    risks, exact = sgd(10, 1, 256, times, np.geomspace(0.1, 1, 100))
    assert cross_check(times, exact, risks[0]) is None
    exact[20] *= 1.1
    complaint = cross_check(times, exact, risks[0])
    assert complaint is not None
    assert f"at t = {times[20]:g}," in complaint
    assert cross_check(times, exact, risks[0], comparisons=10**18) is None  # one in so many may be so


def test_cross_check_without_noise_and_with_divergence() -> None:
    times, exact = np.arange(5.0), 0.5 ** np.arange(5.0)
    runs = np.tile(exact, (64, 1))
    assert cross_check(times, exact, runs * (1 + 1e-12)) is None
    assert cross_check(times, 0 * exact, 0 * runs) is None
    assert cross_check(times, exact, runs * (1 + 1e-6)) is not None
    assert cross_check(times, exact, runs * (1 + 1e-6), tolerance=1e-3) is None
    assert cross_check(times, 1e-320 * exact, 1.1e-320 * runs, floor=1e-13) is None  # underflow
    runs[3, 4] = np.inf
    complaint = cross_check(times, exact, runs)
    assert complaint is not None
    assert "diverged" in complaint
    exact[4] = np.inf
    assert cross_check(times, exact, runs) is None
    assert cross_check(times, np.full(5, np.inf), runs) is None
    with pytest.raises(InputError, match="comparisons"):
        cross_check(times, exact, runs, comparisons=0)
    with pytest.raises(InputError, match="at least 2 runs"):
        cross_check(times, exact, runs[0])
