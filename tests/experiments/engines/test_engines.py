"""Stepping and jumping: the kernels do what the definition does, both engines and the exact moments tell the
same story, results depend on nothing but the key and the run, and a divergence is a result.

Statistical tests have fixed keys. The comparison with exact moments, 616 correlated ones at |z| < 4, fails by
chance for at most 4 % of all keys; the others, at |z| < 5 and p > 1e-6, for less than 0.1 %.
"""

from collections.abc import Callable, Iterator

import numba
import numpy as np
import pytest
import torch
from cases import (
    AVERAGINGS,
    D2L,
    D2L_CONSTANT,
    D2L_EXPONENTIAL,
    D2L_LR,
    D2L_POLYNOMIAL,
    PROBLEMS,
    mixings,
    schedules,
)
from scipy import stats

from ratelab.experiments.engines import jump, step
from ratelab.experiments.engines.step import step_plainly
from ratelab.experiments.methods import SGD, HeavyBall, Method
from ratelab.problems.noise import Gaussian, NoNoise, Rademacher, StudentT
from ratelab.problems.philox import stream_key
from ratelab.problems.problem import Problem, critical_lr, exact_risk
from ratelab.problems.quadratic import Quadratic
from ratelab.problems.regression import StreamingLeastSquares, TableLeastSquares
from ratelab.problems.spectra import Given, LogUniform
from ratelab.theory.arrays import Array, InputError
from ratelab.theory.averaging import Last, StepWeighted, Uniform
from ratelab.theory.notation import catalogue

KEY = stream_key(0, "engines")
METHODS: list[Method] = [SGD(), HeavyBall(0.8)]
GAUSSIAN = Quadratic(LogUniform(dim=6, condition_number=30.0), Gaussian(0.4, "hessian"))
KERNELS = [
    problem
    for problem in PROBLEMS
    if isinstance(problem, Quadratic | StreamingLeastSquares | TableLeastSquares)
]
Simulate = Callable[..., Array]


def stable_lrs(problem: Problem, momentum: float) -> Array:
    """Two steps well within the stable range."""
    if problem.law is None or (momentum and isinstance(problem, TableLeastSquares)):
        return np.array([0.05, 0.2]) / problem.constants.L
    return np.array([0.05, 0.4]) * critical_lr(problem, momentum)


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = numba.get_num_threads(), torch.get_num_threads()
    count = min(request.param, before[0])
    numba.set_num_threads(count)
    torch.set_num_threads(count)
    yield count
    numba.set_num_threads(before[0])
    torch.set_num_threads(before[1])


def test_the_catalogue_of_methods_is_covered() -> None:
    """But for torch's momentum, which only networks are trained with."""
    assert {type(method).__name__ for method in METHODS} == set(catalogue("method")) - {"TorchMomentum"}


@pytest.mark.parametrize("problem", KERNELS, ids=repr)
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_kernels_step_as_the_definition_reads(problem: Problem, method: Method) -> None:
    rows, times = schedules(300), np.array([0, 1, 17, 256, 257, 300])
    lrs = stable_lrs(problem, method.momentum)
    args = (problem, method, rows, lrs, mixings(rows), times, KEY, range(5, 8))
    found, plain = step.simulate(*args), step_plainly(*args)
    assert found.shape == plain.shape == (3, 3, 2, len(AVERAGINGS), 6)
    np.testing.assert_allclose(found, plain, rtol=1e-12, atol=1e-14 * problem.constants.start_risk)
    np.testing.assert_allclose(found[..., 0], problem.constants.start_risk, rtol=1e-12)


def test_heavy_ball_is_torch_momentum_at_a_constant_step() -> None:
    problem = Quadratic(Given((1.0, 0.3)), NoNoise(), initial=(1.0, -2.0))
    x = torch.tensor(problem.start, requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=0.4, momentum=0.8)
    risks = [problem.constants.start_risk]
    for _ in range(30):
        optimizer.zero_grad()
        problem.risk(x).backward()
        optimizer.step()
        risks.append(float(problem.risk(x.detach())))
    ones = np.ones((1, 30))
    args = (HeavyBall(0.8), ones, np.array([0.4]), [ones], np.arange(31), KEY, range(1))
    for simulate in (step.simulate, jump.simulate):
        np.testing.assert_allclose(simulate(problem, *args)[0, 0, 0, 0], risks, rtol=1e-10)


# The same story


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize("problem", [D2L, GAUSSIAN], ids=["d2l", "log-uniform"])
def test_jumping_and_stepping_agree_in_law(problem: Quadratic, method: Method) -> None:
    """Mean, variance and quantiles (Kolmogorov–Smirnov) of the risk of every averaging, 10⁴ runs each."""
    rows, times, runs = schedules(80), np.array([1, 20, 80]), range(10_000)
    lrs = 0.3 * np.array([critical_lr(problem, method.momentum)])
    args = (problem, method, rows, lrs, mixings(rows), times)
    jumped = jump.simulate(*args, stream_key(0, "jump"), runs)
    stepped = step.simulate(*args, stream_key(0, "step"), runs)
    assert jumped.shape == stepped.shape == (10_000, 3, 1, len(AVERAGINGS), 3)
    for a, b in zip(jumped.reshape(10_000, -1).T, stepped.reshape(10_000, -1).T, strict=True):
        assert abs(a.mean() - b.mean()) < 5 * np.hypot(a.std(), b.std()) / 100
        squares = [(x - x.mean()) ** 2 for x in (a, b)]
        error = np.hypot(squares[0].std(), squares[1].std()) / 100
        assert abs(a.var() - b.var()) < 5 * error
        assert stats.ks_2samp(a, b).pvalue > 1e-6


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_jumping_and_stepping_agree_jointly(method: Method) -> None:
    """Covariances of the risks of (iterate, average) at three records, 10⁴ runs each, at |z| < 5.

    The start is far and the steps are small, so the risk is nearly linear in the noise and its covariances
    have the signs of those of the state.
    """
    rows, times, runs = schedules(20), np.array([4, 11, 20]), range(10_000)
    lrs = 0.05 * np.array([critical_lr(D2L, method.momentum)]) * (1 - method.momentum)
    args = (D2L, method, rows, lrs, mixings(rows), times)
    jumped = jump.simulate(*args, stream_key(0, "jump jointly"), runs)[:, :, 0]
    stepped = step.simulate(*args, stream_key(0, "step jointly"), runs)[:, :, 0]
    assert AVERAGINGS[0] == Last()
    for a in range(1, len(AVERAGINGS)):
        means, errors = [], []
        for risk in (jumped, stepped):
            both = risk[:, :, [0, a]].reshape(len(runs), len(rows), -1)
            off = both - both.mean(axis=0)
            products = off[..., :, None] * off[..., None, :]
            means.append(products.mean(axis=0))
            errors.append(products.std(axis=0) / np.sqrt(len(runs)))
        error = np.hypot(*errors)
        z = np.divide(means[0] - means[1], error, out=np.zeros_like(error), where=error > 0)
        assert np.abs(z).max() < 5, (AVERAGINGS[a], z)
        assert np.all(means[1] >= -5 * errors[1])
        if a == 1:  # there is something to see: every pair of records is correlated
            assert np.all(np.abs(means[1]) > 10 * errors[1])


NOISY = [
    D2L,
    GAUSSIAN,
    Quadratic(LogUniform(dim=4, condition_number=10.0), StudentT(df=12.0, sd=0.7)),
    Quadratic(LogUniform(dim=4, condition_number=10.0), StudentT(df=12.0, sd=0.7, covariance="hessian")),
    Quadratic(LogUniform(dim=4, condition_number=10.0), Rademacher(0.7)),
    StreamingLeastSquares(LogUniform(dim=4, condition_number=10.0), label_sd=0.5),
    StreamingLeastSquares(LogUniform(dim=4, condition_number=10.0), label_sd=0.5, batch=3),
    TableLeastSquares("line", batch=2),
    TableLeastSquares("diabetes", batch=8),
]


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize("problem", NOISY, ids=repr)
def test_exact_moments_agree_with_monte_carlo(problem: Problem, method: Method) -> None:
    """|z| < 4 at 4·10⁴ runs, for every averaging."""
    rows, times, runs = schedules(40)[1:], np.array([3, 40]), 40_000
    lrs = stable_lrs(problem, method.momentum)[1:] * (0.5 if method.momentum else 1.0)
    table = mixings(rows)
    exact = exact_risk(problem, rows, lrs, table, times, method.momentum)
    engines: list[Simulate] = [step.simulate]
    if jump.can_jump(problem):
        engines.append(jump.simulate)
    for simulate in engines:
        risk = simulate(problem, method, rows, lrs, table, times, KEY, range(runs))
        z = (risk.mean(0) - exact) / (risk.std(0) / np.sqrt(runs))
        assert np.abs(z).max() < 4, (simulate.__module__, z)


@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize("simulate", [step.simulate, jump.simulate, step_plainly])
def test_without_noise_every_engine_is_exact(simulate: Simulate, method: Method) -> None:
    problem = Quadratic(LogUniform(dim=3, condition_number=10.0), NoNoise())
    rows, lrs, times = schedules(50), np.array([0.3, 1.1]), np.array([0, 1, 7, 50])
    risk = simulate(problem, method, rows, lrs, mixings(rows), times, KEY, range(2))
    exact = exact_risk(problem, rows, lrs, mixings(rows), times, method.momentum)
    for run in risk:
        np.testing.assert_allclose(run, exact, rtol=1e-9)


@pytest.mark.parametrize("simulate", [step.simulate, jump.simulate])
@pytest.mark.parametrize(
    ("multipliers", "expected"),
    [(D2L_EXPONENTIAL, 0.69467), (D2L_POLYNOMIAL, 0.02251), (D2L_CONSTANT, 0.5 * (2 / 36 + 4 / 64))],
)
def test_the_textbook_by_monte_carlo(simulate: Simulate, multipliers: Array, expected: float) -> None:
    """E f of Dive into Deep Learning 12.4 within four standard errors, 2·10⁴ runs."""
    rows = multipliers[None]
    times = np.array([len(multipliers)])
    risk = simulate(D2L, SGD(), rows, np.array([D2L_LR]), [np.ones_like(rows)], times, KEY, range(20_000))
    error = risk.std() / np.sqrt(len(risk))
    assert abs(risk.mean() - expected) < 4 * error + 5e-6


# Nothing but the key and the run


@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize(
    "problem",
    [
        GAUSSIAN,
        StreamingLeastSquares(LogUniform(dim=5, condition_number=10.0)),
        StreamingLeastSquares(LogUniform(dim=5, condition_number=10.0), batch=3),
        TableLeastSquares("diabetes", batch=64),  # samples so large that they shorten the blocks
        TableLeastSquares("diabetes", batch=100, replacement=False),
    ],
    ids=repr,
)
def test_a_run_steps_alike_in_any_company(problem: Problem, method: Method, threads: int) -> None:
    """Bit for bit, whatever runs are asked for together, and whatever schedules, lrs and averagings: except
    that single samples go by matrix products over these pairs, whose last bits depend on their number."""
    del threads
    rows, times, lrs = schedules(300), np.array([0, 5, 290, 300]), stable_lrs(problem, 0.5) / 4
    table = mixings(rows)
    whole = step.simulate(problem, method, rows, lrs, table, times, KEY, range(70))
    for runs in (range(1), range(60, 70), range(2, 70, 30)):
        part = step.simulate(problem, method, rows, lrs, table, times, KEY, runs)
        np.testing.assert_array_equal(part, whole[runs.start : runs.stop : runs.step])
    alone = step.simulate(problem, method, rows[1:2], lrs[1:], [table[3][1:2]], times, KEY, range(3))
    products = isinstance(problem, StreamingLeastSquares) and problem.batch == 1
    np.testing.assert_allclose(alone[:, 0, 0, 0], whole[:3, 1, 1, 3], rtol=1e-11 if products else 0)


@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_threads_change_nothing(method: Method, dtype: step.Dtype) -> None:
    rows, times, lrs = schedules(300), np.array([0, 5, 290, 300]), np.array([0.1, 0.5])
    args = (GAUSSIAN, method, rows, lrs, mixings(rows), times, KEY, range(20))
    before = numba.get_num_threads()
    results = []
    for count in (1, before):
        numba.set_num_threads(count)
        results.append((step.simulate(*args, dtype), jump.simulate(*args)))
    for one, several in zip(*results, strict=True):
        np.testing.assert_array_equal(one, several)


def test_the_length_of_a_block_changes_no_iterate(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, times, lrs = schedules(300), np.array([100, 300]), np.array([0.5])
    args = (GAUSSIAN, SGD(), rows, lrs, mixings(rows), times, KEY, range(3))
    whole = step.simulate(*args)
    monkeypatch.setattr(step, "BLOCK", 7)
    short = step.simulate(*args)
    np.testing.assert_array_equal(short[..., 0, :], whole[..., 0, :])
    np.testing.assert_allclose(short, whole, rtol=1e-11)


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_run_jumps_alike_in_any_company(
    method: Method, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, and however the records are cut into chunks."""
    del threads
    rows, times, lrs = schedules(200), np.array([0, 1, 2, 30, 31, 200]), np.array([0.1, 0.7])
    table = mixings(rows)
    whole = jump.simulate(GAUSSIAN, method, rows, lrs, table, times, KEY, range(20))
    monkeypatch.setattr(jump, "_MAPS_BYTES", 1)  # a record at a time
    chunked = jump.simulate(GAUSSIAN, method, rows, lrs, table, times, KEY, range(20))
    np.testing.assert_array_equal(chunked, whole)
    part = jump.simulate(GAUSSIAN, method, rows, lrs, table, times, KEY, range(9, 20, 5))
    np.testing.assert_array_equal(part, whole[9::5])
    alone = jump.simulate(GAUSSIAN, method, rows[1:2], lrs[1:], [table[3][1:2]], times, KEY, range(3))
    np.testing.assert_array_equal(alone[:, 0, 0, 0], whole[:3, 1, 1, 3])


@pytest.mark.parametrize("simulate", [step.simulate, jump.simulate, step_plainly])
def test_records_and_averagings_may_be_few(simulate: Simulate) -> None:
    rows, lrs = schedules(20), np.array([0.5])
    args = (GAUSSIAN, SGD(), rows, lrs)
    assert simulate(*args, [], np.array([5, 20]), KEY, range(2)).shape == (2, 3, 1, 0, 2)
    whole = simulate(*args, mixings(rows), np.array([7, 20]), KEY, range(2))
    first = simulate(*args, mixings(rows), np.array([7]), KEY, range(2))
    np.testing.assert_array_equal(first[..., 0], whole[..., 0])


def test_keys_and_runs_have_noise_of_their_own() -> None:
    rows, times, lrs = np.ones((1, 50)), np.array([50]), np.array([0.5])
    for simulate in (step.simulate, jump.simulate):
        risks = [
            simulate(GAUSSIAN, SGD(), rows, lrs, [rows], times, key, range(5)).ravel()
            for key in (KEY, KEY + 1)
        ]
        assert len(np.unique(np.concatenate(risks))) == 10


# Divergence


@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("problem", PROBLEMS, ids=repr)
def test_divergence_is_infinite_risk(problem: Problem, method: Method, dtype: step.Dtype) -> None:
    """And never a NaN or a warning: finite, then infinite from some update on."""
    rows = np.ones((1, 400))
    lrs = np.array([40.0, 400.0]) / problem.constants.L
    times = np.arange(0, 401, 20)
    averagings = [np.ones_like(rows), Uniform()(rows[0])[None]]
    results = [step.simulate(problem, method, rows, lrs, averagings, times, KEY, range(3), dtype)]
    if jump.can_jump(problem):
        results.append(jump.simulate(problem, method, rows, lrs, averagings, times, KEY, range(3)))
    for risk in results:
        assert not np.isnan(risk).any()
        gone = np.isinf(risk)
        assert np.all(gone[..., -1])
        assert not gone[..., 0].any()
        assert np.all(np.diff(gone.astype(int), axis=-1) >= 0)


def test_a_diverging_run_leaves_the_others_alone() -> None:
    rows = np.ones((1, 400))
    times, averagings = np.array([0, 400]), [Uniform()(rows[0])[None]]
    for simulate in (step.simulate, jump.simulate):
        args = (rows, np.array([0.5, 100.0]), averagings, times, KEY, range(3))
        both = simulate(GAUSSIAN, SGD(), *args)
        assert np.all(np.isinf(both[:, 0, 1, 0, 1]))
        alone = simulate(GAUSSIAN, SGD(), rows, np.array([0.5]), averagings, times, KEY, range(3))
        np.testing.assert_array_equal(both[:, :, :1], alone)


# float32

FLOAT32 = 2e-5


@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize("problem", [GAUSSIAN, StreamingLeastSquares(LogUniform(6, 30.0), batch=2)], ids=repr)
def test_float32_stays_close_over_long_runs(problem: Problem, method: Method) -> None:
    """2·10⁴ updates on the same noise; errors of single runs, relative to the mean risk at that record."""
    rows, times, lrs = schedules(20_000)[:2], np.array([100, 1000, 20_000]), np.array([0.02])
    args = (problem, method, rows, lrs, mixings(rows), times, KEY, range(8))
    double, single = step.simulate(*args), step.simulate(*args, "float32")
    error = np.abs(single - double) / double.mean(0)
    assert error.max() < FLOAT32


@pytest.mark.parametrize("simulate", [step.simulate, step_plainly])
def test_float32_kernels_and_definition_agree(simulate: Simulate) -> None:
    rows, times, lrs = schedules(600)[:2], np.array([100, 600]), np.array([0.1])
    args = (GAUSSIAN, HeavyBall(0.8), rows, lrs, mixings(rows), times, KEY, range(3))
    np.testing.assert_allclose(simulate(*args, "float32"), step.simulate(*args), rtol=1e-4)


@pytest.mark.slow
def test_float32_averages_stay_accurate_over_a_million_updates() -> None:
    """A float32 mean updated in place stops moving once c·x is below half an ulp; sums over blocks, folded in
    float64, follow the float64 mean. Errors of single runs, relative to the mean risk at that record."""
    problem = Quadratic(Given((1.0, 0.1)), Gaussian(1.0))
    t = np.arange(10**6)
    rows = np.stack([np.ones(10**6), (1 + t) ** -0.5])
    times = np.array([1000, 10**6])
    args = (problem, SGD(), rows, np.array([0.1]), mixings(rows, [Last(), Uniform(), StepWeighted()]), times)
    double = step.simulate(*args, KEY, range(4))
    single = step.simulate(*args, KEY, range(4), "float32")
    error = np.abs(single - double) / double.mean(0)
    assert error.max() < FLOAT32


# Bad input


def test_only_gaussian_states_jump() -> None:
    ones = np.ones((1, 3))
    for problem in PROBLEMS:
        gaussian = isinstance(problem, Quadratic) and isinstance(problem.noise, Gaussian | NoNoise)
        assert jump.can_jump(problem) == gaussian
        if not gaussian:
            with pytest.raises(InputError, match="no Gaussian state"):
                jump.simulate(problem, SGD(), ones, np.ones(1), [ones], np.array([3]), KEY, range(1))


@pytest.mark.parametrize("momentum", [-0.1, 1.0, float("nan")])
def test_bad_momentum(momentum: float) -> None:
    with pytest.raises(InputError, match="momentum"):
        HeavyBall(momentum)
