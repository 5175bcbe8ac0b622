"""Stepping and jumping: the kernels do what the definition does, both engines and the exact moments tell the
same story, results depend on nothing but the key and the run, and a divergence is a result.

Statistical tests have fixed keys. The comparison with exact moments, 616 correlated ones at |z| < 4, fails by
chance for at most 4 % of all keys; the others, at |z| < 5 and p > 1e-6, for less than 0.1 %.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

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
    ROWS,
)
from scipy import stats

from ratelab.experiments.engines import job as jobs, jump, plain, step
from ratelab.experiments.engines.job import Curves, Job, Precision
from ratelab.experiments.methods import SGD, HeavyBall, Method
from ratelab.problems.noise import Gaussian, NoNoise, Rademacher, StudentT
from ratelab.problems.philox import stream_key
from ratelab.problems.problem import Problem, critical_lr, exact_risk
from ratelab.problems.quadratic import Quadratic
from ratelab.problems.regression import StreamingLeastSquares, TableLeastSquares
from ratelab.problems.spectra import Given, LogUniform
from ratelab.theory.arrays import Array, InputError
from ratelab.theory.averaging import Averaging, Last, StepWeighted, Uniform
from ratelab.theory.notation import catalogue
from ratelab.theory.schedules import Constant, InversePower, Schedule

KEY = stream_key(0, "engines")
METHODS: list[Method] = [SGD(), HeavyBall(0.8)]
GAUSSIAN = Quadratic(LogUniform(dim=6, condition_number=30.0), Gaussian(0.4, "hessian"))
KERNELS = [
    problem
    for problem in PROBLEMS
    if isinstance(problem, Quadratic | StreamingLeastSquares | TableLeastSquares)
]
Engine = Callable[[Job[Problem]], Curves]


def ask(
    problem: Problem,
    method: Method,
    lrs: Array,
    records: Sequence[int],
    runs: range,
    rows: Sequence[Schedule] = ROWS,
    averagings: Sequence[Averaging] = AVERAGINGS,
    key: int = KEY,
    precision: Precision = "float64",
) -> Job[Problem]:
    """The horizon is the last record."""
    times = np.array(records)
    return Job(problem, method, rows, lrs, averagings, int(times[-1]), times, key, runs, precision)


def exactly(job: Job[Problem]) -> Array:
    """The exact risk."""
    return exact_risk(job.problem, job.multipliers, job.lrs, job.mixings, job.records, job.method.momentum)


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
    lrs = stable_lrs(problem, method.momentum)
    job = ask(problem, method, lrs, [0, 1, 17, 256, 257, 300], range(5, 8))
    found, expected = step.compute(job)["risk"], plain.step(job)["risk"]
    assert found.shape == expected.shape == (3, 3, 2, len(AVERAGINGS), 6)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14 * problem.constants.start_risk)
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
    job = ask(problem, HeavyBall(0.8), np.array([0.4]), range(31), range(1), [Constant()], [Last()])
    for compute in (step.compute, jump.compute):
        np.testing.assert_allclose(compute(job)["risk"][0, 0, 0, 0], risks, rtol=1e-10)


# The same story


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize("problem", [D2L, GAUSSIAN], ids=["d2l", "log-uniform"])
def test_jumping_and_stepping_agree_in_law(problem: Quadratic, method: Method) -> None:
    """Mean, variance and quantiles (Kolmogorov–Smirnov) of the risk of every averaging, 10⁴ runs each."""
    lrs = 0.3 * np.array([critical_lr(problem, method.momentum)])
    job = ask(problem, method, lrs, [1, 20, 80], range(10_000))
    jumped = jump.compute(replace(job, key=stream_key(0, "jump")))["risk"]
    stepped = step.compute(replace(job, key=stream_key(0, "step")))["risk"]
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
    runs = range(10_000)
    lrs = 0.05 * np.array([critical_lr(D2L, method.momentum)]) * (1 - method.momentum)
    job = ask(D2L, method, lrs, [4, 11, 20], runs)
    jumped = jump.compute(replace(job, key=stream_key(0, "jump jointly")))["risk"][:, :, 0]
    stepped = step.compute(replace(job, key=stream_key(0, "step jointly")))["risk"][:, :, 0]
    assert AVERAGINGS[0] == Last()
    for a in range(1, len(AVERAGINGS)):
        means, errors = [], []
        for risk in (jumped, stepped):
            both = risk[:, :, [0, a]].reshape(len(runs), len(ROWS), -1)
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
    runs = 40_000
    lrs = stable_lrs(problem, method.momentum)[1:] * (0.5 if method.momentum else 1.0)
    job = ask(problem, method, lrs, [3, 40], range(runs), ROWS[1:])
    exact = exactly(job)
    engines: list[Engine] = [step.compute]
    if jump.can_jump(problem):
        engines.append(jump.compute)
    for compute in engines:
        risk = compute(job)["risk"]
        z = (risk.mean(0) - exact) / (risk.std(0) / np.sqrt(runs))
        assert np.abs(z).max() < 4, (compute.__module__, z)


@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize("compute", [step.compute, jump.compute, plain.step])
def test_without_noise_every_engine_is_exact(compute: Engine, method: Method) -> None:
    problem = Quadratic(LogUniform(dim=3, condition_number=10.0), NoNoise())
    job = ask(problem, method, np.array([0.3, 1.1]), [0, 1, 7, 50], range(2))
    exact = exactly(job)
    for run in compute(job)["risk"]:
        np.testing.assert_allclose(run, exact, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("compute", [step.compute, jump.compute])
@pytest.mark.parametrize(
    ("multipliers", "expected"),
    [(D2L_EXPONENTIAL, 0.69467), (D2L_POLYNOMIAL, 0.02251), (D2L_CONSTANT, 0.5 * (2 / 36 + 4 / 64))],
)
def test_the_textbook_by_monte_carlo(compute: Engine, multipliers: Array, expected: float) -> None:
    """E f of Dive into Deep Learning 12.4 within four standard errors, 2·10⁴ runs."""
    rows: list[Schedule] = [lambda _: multipliers]
    job = ask(D2L, SGD(), np.array([D2L_LR]), [len(multipliers)], range(20_000), rows, [Last()])
    risk = compute(job)["risk"]
    error = risk.std() / np.sqrt(len(risk))
    assert abs(risk.mean() - expected) < 4 * error + 5e-6


# Nothing but the key and the run


@pytest.mark.slow
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
    lrs, times = stable_lrs(problem, 0.5) / 4, [0, 5, 290, 300]
    job = ask(problem, method, lrs, times, range(70))
    whole = step.compute(job)["risk"]
    for runs in (range(1), range(60, 70), range(2, 70, 30)):
        part = step.compute(replace(job, runs=runs))["risk"]
        np.testing.assert_array_equal(part, whole[runs.start : runs.stop : runs.step])
    few = ask(problem, method, lrs[1:], times, range(3), ROWS[1:2], AVERAGINGS[3:4])
    alone = step.compute(few)["risk"]
    products = isinstance(problem, StreamingLeastSquares) and problem.batch == 1
    np.testing.assert_allclose(alone[:, 0, 0, 0], whole[:3, 1, 1, 3], rtol=1e-11 if products else 0)


@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_threads_change_nothing(method: Method, dtype: Precision) -> None:
    job = ask(GAUSSIAN, method, np.array([0.1, 0.5]), [0, 5, 290, 300], range(20), precision=dtype)
    before = numba.get_num_threads()
    results = []
    for count in (1, before):
        numba.set_num_threads(count)
        results.append((step.compute(job)["risk"], jump.compute(job)["risk"]))
    for one, several in zip(*results, strict=True):
        np.testing.assert_array_equal(one, several)


def test_the_length_of_a_block_changes_no_iterate(monkeypatch: pytest.MonkeyPatch) -> None:
    job = ask(GAUSSIAN, SGD(), np.array([0.5]), [100, 300], range(3))
    whole = step.compute(job)["risk"]
    monkeypatch.setattr(jobs, "BLOCK", 7)
    short = step.compute(job)["risk"]
    np.testing.assert_array_equal(short[..., 0, :], whole[..., 0, :])
    np.testing.assert_allclose(short, whole, rtol=1e-11)


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_run_jumps_alike_in_any_company(
    method: Method, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, and however the records are cut into chunks."""
    del threads
    lrs, times = np.array([0.1, 0.7]), [0, 1, 2, 30, 31, 200]
    job = ask(GAUSSIAN, method, lrs, times, range(20))
    whole = jump.compute(job)["risk"]
    monkeypatch.setattr(jump, "_MAPS_BYTES", 1)  # a record at a time
    np.testing.assert_array_equal(jump.compute(job)["risk"], whole)
    part = jump.compute(replace(job, runs=range(9, 20, 5)))["risk"]
    np.testing.assert_array_equal(part, whole[9::5])
    few = ask(GAUSSIAN, method, lrs[1:], times, range(3), ROWS[1:2], AVERAGINGS[3:4])
    alone = jump.compute(few)["risk"]
    np.testing.assert_array_equal(alone[:, 0, 0, 0], whole[:3, 1, 1, 3])


@pytest.mark.parametrize("compute", [step.compute, jump.compute, plain.step])
def test_records_and_averagings_may_be_few(compute: Engine) -> None:
    job = ask(GAUSSIAN, SGD(), np.array([0.5]), [7, 20], range(2))
    none = replace(job, averagings=[], records=np.array([5, 20]))
    assert compute(none)["risk"].shape == (2, 3, 1, 0, 2)
    whole = compute(job)["risk"]
    first = compute(replace(job, records=np.array([7])))["risk"]
    np.testing.assert_array_equal(first[..., 0], whole[..., 0])


def test_keys_and_runs_have_noise_of_their_own() -> None:
    job = ask(GAUSSIAN, SGD(), np.array([0.5]), [50], range(5), [Constant()], [Last()])
    for compute in (step.compute, jump.compute):
        risks = [compute(replace(job, key=key))["risk"].ravel() for key in (KEY, KEY + 1)]
        assert len(np.unique(np.concatenate(risks))) == 10


# Divergence


@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("problem", PROBLEMS, ids=repr)
def test_divergence_is_infinite_risk(problem: Problem, method: Method, dtype: Precision) -> None:
    """And never a NaN or a warning: finite, then infinite from some update on."""
    lrs = np.array([40.0, 400.0]) / problem.constants.L
    both: list[Averaging] = [Last(), Uniform()]
    job = ask(problem, method, lrs, range(0, 401, 20), range(3), [Constant()], both, precision=dtype)
    results = [step.compute(job)["risk"]]
    if jump.can_jump(problem):
        results.append(jump.compute(job)["risk"])
    for risk in results:
        assert not np.isnan(risk).any()
        gone = np.isinf(risk)
        assert np.all(gone[..., -1])
        assert not gone[..., 0].any()
        assert np.all(np.diff(gone.astype(int), axis=-1) >= 0)


def test_a_diverging_run_leaves_the_others_alone() -> None:
    job = ask(GAUSSIAN, SGD(), np.array([0.5, 100.0]), [0, 400], range(3), [Constant()], [Uniform()])
    for compute in (step.compute, jump.compute):
        both = compute(job)["risk"]
        assert np.all(np.isinf(both[:, 0, 1, 0, 1]))
        alone = compute(replace(job, lrs=np.array([0.5])))["risk"]
        np.testing.assert_array_equal(both[:, :, :1], alone)


# float32

FLOAT32 = 2e-5


@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize("problem", [GAUSSIAN, StreamingLeastSquares(LogUniform(6, 30.0), batch=2)], ids=repr)
def test_float32_stays_close_over_long_runs(problem: Problem, method: Method) -> None:
    """2·10⁴ updates on the same noise; errors of single runs, relative to the mean risk at that record."""
    job = ask(problem, method, np.array([0.02]), [100, 1000, 20_000], range(8), ROWS[:2])
    double, single = (step.compute(j)["risk"] for j in (job, replace(job, precision="float32")))
    error = np.abs(single - double) / double.mean(0)
    assert error.max() < FLOAT32


@pytest.mark.parametrize("compute", [step.compute, plain.step])
def test_float32_kernels_and_definition_agree(compute: Engine) -> None:
    job = ask(GAUSSIAN, HeavyBall(0.8), np.array([0.1]), [100, 600], range(3), ROWS[:2])
    single, double = compute(replace(job, precision="float32")), step.compute(job)
    np.testing.assert_allclose(single["risk"], double["risk"], rtol=1e-4)


@pytest.mark.slow
def test_float32_averages_stay_accurate_over_a_million_updates() -> None:
    """A float32 mean updated in place stops moving once c·x is below half an ulp; sums over blocks, folded in
    float64, follow the float64 mean. Errors of single runs, relative to the mean risk at that record."""
    problem = Quadratic(Given((1.0, 0.1)), Gaussian(1.0))
    averagings: list[Averaging] = [Last(), Uniform(), StepWeighted()]
    rows: list[Schedule] = [Constant(), InversePower(0.5)]
    job = ask(problem, SGD(), np.array([0.1]), [1000, 10**6], range(4), rows, averagings)
    double, single = (step.compute(j)["risk"] for j in (job, replace(job, precision="float32")))
    error = np.abs(single - double) / double.mean(0)
    assert error.max() < FLOAT32


# Bad input


def test_only_gaussian_states_jump() -> None:
    for problem in PROBLEMS:
        gaussian = isinstance(problem, Quadratic) and isinstance(problem.noise, Gaussian | NoNoise)
        assert jump.can_jump(problem) == gaussian
        if not gaussian:
            with pytest.raises(InputError, match="no Gaussian state"):
                jump.compute(ask(problem, SGD(), np.ones(1), [3], range(1), [Constant()], [Last()]))


@pytest.mark.parametrize("momentum", [-0.1, 1.0, float("nan")])
def test_bad_momentum(momentum: float) -> None:
    with pytest.raises(InputError, match="momentum"):
        HeavyBall(momentum)
