"""What keeps a window from showing the asymptotic regime: files whose truth is known exactly, each of which a
careless judge gets wrong; and that nothing is asked of those where the regime is there."""

from collections.abc import Callable
from functools import partial
from pathlib import Path as Folder

import numpy as np
import pytest
from claiming import decays, level

from ratelab.experiments.execute import run
from ratelab.experiments.faults import claim_faults
from ratelab.experiments.judging import claims, regime
from ratelab.experiments.judging.paths import Path
from ratelab.experiments.judging.verdict import Verdict
from ratelab.experiments.methods import SGD, HeavyBall, Method
from ratelab.experiments.spec import Claim, Selector, Spec
from ratelab.experiments.store import Results, Store
from ratelab.experiments.units import LrUnit
from ratelab.problems.noise import Gaussian, NoNoise
from ratelab.problems.problem import Problem
from ratelab.problems.quadratic import Quadratic
from ratelab.problems.regression import StreamingLeastSquares, TableLeastSquares
from ratelab.problems.spectra import Given, LogUniform, PowerLaw
from ratelab.theory import (
    Clip,
    Constant,
    Cooldown,
    Cosine,
    ExponentialMovingAverage,
    Geometric,
    InversePower,
    Last,
    Linear,
    MultiStep,
    OneCycle,
    Polynomial,
    PolynomialDecay,
    Product,
    Scaled,
    Stages,
    Step,
    Tail,
    Then,
    Triangular,
    Uniform,
    Warmup,
    Within,
)
from ratelab.theory.averaging import Averaging, StochasticWeightAveraging
from ratelab.theory.schedules import Exponential, Schedule

C_SQRT_T = InversePower(0.5)
ROUND = Quadratic(LogUniform(dim=10, condition_number=10.0), noise=Gaussian(sd=1.0))


def premature(
    schedule: Schedule,
    averaging: Averaging | None = None,
    horizon: int | tuple[int, ...] = 100_000,
    problem: Problem = ROUND,
    method: Method | None = None,
    lr: float = 0.25,
    unit: LrUnit = "critical",
) -> str:
    """The reasons, empty where the regime is there."""
    averaging, method = averaging or Last(), method or SGD()
    horizons = (horizon,) if isinstance(horizon, int) else horizon
    spec = Spec((problem,), (schedule,), (lr,), unit, horizons, 1, averagings=(averaging,))
    along = spec.anytime(schedule, averaging)
    times = np.array(spec.times(spec.longest) if along else horizons)
    times = times[times >= spec.longest / 100]
    path = Path.of(spec, Selector(problem, method, schedule, averaging, lr), times)
    lrs = np.full(len(times), lr)
    risk = path.risk(lrs) if problem.law is not None else None
    return regime.premature(path, lrs, risk) or ""


NINE = tuple(int(t) for t in np.geomspace(1000, 100_000, 9))


@pytest.mark.slow
@pytest.mark.parametrize(
    "reason",
    [
        partial(premature, Constant()),
        partial(premature, C_SQRT_T, horizon=300_000),
        partial(premature, C_SQRT_T, Uniform(), 300_000),
        partial(premature, Constant(), Uniform()),
        partial(premature, Constant(), ExponentialMovingAverage(0.99)),
        partial(premature, Constant(), method=HeavyBall(0.9)),
        partial(premature, C_SQRT_T, method=HeavyBall(0.5), horizon=300_000),
        partial(premature, Warmup(C_SQRT_T, length=50), horizon=300_000),
        partial(premature, Triangular(period=200, low=0.1)),
        partial(premature, Triangular(period=200, low=0.1), StochasticWeightAveraging(start=200, cycle=200)),
        partial(premature, MultiStep((500,), gamma=0.1)),
        partial(premature, InversePower(1.0, timescale=100.0), horizon=1_000_000),
        partial(premature, Linear(), horizon=NINE),
        partial(premature, Constant(), Tail(0.5), NINE),
        partial(
            premature, Constant(), problem=StreamingLeastSquares(LogUniform(dim=5, condition_number=10.0))
        ),
        partial(premature, Constant(), problem=TableLeastSquares("line"), horizon=300_000),
        partial(
            premature,
            Constant(),
            problem=TableLeastSquares("line", replacement=False),
            lr=1.0,
            unit="1/L",
        ),
    ],
)
def test_where_the_regime_is_there_nothing_is_asked(reason: Callable[[], str]) -> None:
    assert reason() == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reason", "told"),
    [
        # (a) directions that have not settled
        (
            partial(premature, Constant(), horizon=1000, method=HeavyBall(0.99), lr=0.1),
            "horizon of about 1e5",
        ),
        (
            partial(premature, C_SQRT_T, problem=Quadratic(LogUniform(dim=100, condition_number=1e3))),
            "Σ λη is",
        ),
        (
            partial(premature, C_SQRT_T, problem=Quadratic(Given((1.0, 0.1, 0.01, 0.001, 0.0001, 1e-13)))),
            "what has not settled makes up to",
        ),
        (
            partial(premature, Constant(), problem=Quadratic(PowerLaw(dim=2, exponent=20.0), NoNoise())),
            "λ falls by a factor 1e+06",
        ),
        (
            partial(
                premature,
                Constant(),
                horizon=1000,
                problem=TableLeastSquares("line", replacement=False),
                lr=1e-3,
                unit="1/L",
            ),
            "Σ λη is",
        ),
        # (b) a start that is not forgotten
        (
            partial(
                premature,
                C_SQRT_T,
                Uniform(),
                problem=Quadratic(LogUniform(dim=10, condition_number=10.0), noise=Gaussian(sd=1e-3)),
            ),
            "what is left of the start is 100%",
        ),
        # (c) an average's own memory
        (
            partial(premature, C_SQRT_T, ExponentialMovingAverage(0.999), 300_000),
            "the average remembers 1e+03 updates",
        ),
        (
            partial(premature, Constant(), ExponentialMovingAverage(0.9999), 300_000),
            "it must be 5 times that",
        ),
        # (d) a schedule that is not in its own asymptote
        (partial(premature, InversePower(1.0, timescale=1e6)), "not yet in their own asymptote"),
        (partial(premature, InversePower(1.2)), "Σ η converges, for the steps fall like t^-1.2"),
        (partial(premature, Exponential(0.9999)), "the steps vanish"),
        (partial(premature, Exponential(0.9)), "the steps vanish"),
        # (e) what changes inside the window
        (partial(premature, MultiStep((10_000,), gamma=0.1)), "with a jump at t = 1e4"),
        (partial(premature, MultiStep((30_000,), gamma=0.8)), "not yet in their own asymptote"),
        (partial(premature, Warmup(C_SQRT_T, length=5000)), "not yet in their own asymptote"),
        (partial(premature, C_SQRT_T, Tail(20_000)), "the average starts at t = 20000"),
        (partial(premature, C_SQRT_T, Tail(200_000)), "the average starts at t = 200000"),
        (
            partial(premature, Constant(), ExponentialMovingAverage(0.9, start=5000)),
            "the average starts at t = 5000",
        ),
    ],
)
def test_each_condition_is_missed_by_a_file_that_fails_it(reason: Callable[[], str], told: str) -> None:
    assert told in reason()


NARROW = Quadratic(LogUniform(dim=5, condition_number=3.0), noise=Gaussian(sd=1.0))
TEN = tuple(int(t) for t in np.geomspace(1000, 100_000, 10))


@pytest.mark.parametrize(
    "schedule",
    [
        OneCycle(),
        Linear(final=1e-3),
        Linear(final=1e-2),
        Linear(final=1e-5),
        Linear(final=1e-6),
        Cosine(final=1e-3),
        Geometric(1e-6),
        Geometric(1e-4),
        Clip(Linear(), low=3e-4),
        Step(0.1, 0.3),
        Then(Constant(), Scaled(Constant(), 1e-3), at=0.9),
    ],
    ids=repr,
)
def test_a_schedule_that_ends_on_a_small_step_stalls_there_in_the_end(schedule: Schedule) -> None:
    """T → ∞ is t^0, whatever rate the window shows before the last step is felt."""
    told = premature(schedule, None, TEN, NARROW, lr=0.15)
    assert "will stall" in told or "no exponent of the horizon yet" in told


@pytest.mark.slow
@pytest.mark.parametrize(
    "schedule",
    [Linear(), Polynomial(2.0), Cosine(), Constant(), Stages(), Warmup(C_SQRT_T, length=0.05)],
    ids=repr,
)
def test_schedules_of_the_horizon_that_have_an_exponent_may_be_claimed(schedule: Schedule) -> None:
    horizons = tuple(3 * t for t in TEN)
    assert premature(schedule, Tail(0.5) if schedule == Constant() else None, horizons, NARROW, lr=0.4) == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schedule", "averaging", "horizon", "told"),
    [
        (C_SQRT_T, Tail(0.999), TEN, "memories of the iterate"),
        (Constant(), PolynomialDecay(1e6), 100_000, "memories of the iterate"),
        (InversePower(0.9), Uniform(), 100_000, "memories of the iterate"),
        (InversePower(0.5, timescale=1e9), Last(), 100_000, "grows ever faster"),
        (Exponential(1 - 1e-8), Uniform(), 100_000, "grows ever faster"),
        (Then(C_SQRT_T, Constant(), at=20_000_000), Last(), 1_000_000, "at = 20000000"),
        (Within(C_SQRT_T, length=10_000_000), Last(), 300_000, "length = 10000000"),
        (Clip(C_SQRT_T, low=1e-4), Last(), 1_000_000, "never fall below 0.0001"),
        (C_SQRT_T, Tail(20_000_000), 1_000_000, "the average starts at t = 20000000"),
    ],
)
def test_what_comes_after_the_window_is_seen(
    schedule: Schedule, averaging: Averaging, horizon: int | tuple[int, ...], told: str
) -> None:
    assert told in premature(schedule, averaging, horizon, NARROW)


THIRDS = MultiStep((0.3, 0.6, 0.9), gamma=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schedule", "averaging", "horizon"),
    [
        (THIRDS, Uniform(), TEN),
        (MultiStep((0.5,), gamma=0.01), Uniform(), TEN),
        (MultiStep((0.5,), gamma=1e-6), Uniform(), TEN),
        (Then(Constant(), Scaled(Constant(), 1e-6), at=0.75), Tail(0.5), TEN),
        (Step(0.5, 0.05), Uniform(), TEN),
        (Geometric(1e-6), Uniform(), TEN),
        (MultiStep((500,), gamma=1e-6), Uniform(), 100_000),
    ],
)
def test_an_average_over_iterates_that_no_longer_move_is_seen(
    schedule: Schedule, averaging: Averaging, horizon: int | tuple[int, ...]
) -> None:
    """The limit is 1/t in each, and the window shows another rate: the later steps move nothing yet."""
    assert "no longer move" in premature(schedule, averaging, horizon, NARROW, lr=0.15)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schedule", "told"),
    [
        (Product(Linear(), Then(C_SQRT_T, Constant(), at=20_000_000)), "at = 20000000"),
        (Cooldown(Clip(C_SQRT_T, low=1e-4), 0.2), "never fall below 0.0001"),
        (Product(Linear(), InversePower(0.5, timescale=1e9)), "grows ever faster"),
        (Product(Linear(), Exponential(1 - 1e-8)), "grows ever faster"),
    ],
)
def test_the_parts_of_a_schedule_of_the_horizon_are_looked_at(schedule: Schedule, told: str) -> None:
    assert told in premature(schedule, None, tuple(10 * t for t in TEN), NARROW, lr=0.15)


def test_a_slow_direction_whose_part_grows_does_not_stay_small() -> None:
    slow = Quadratic(Given((1.0, 1e-4)), noise=Gaussian(sd=1.0, covariance="hessian"), initial=(1.0, 0.0))
    schedule = InversePower(1.0, timescale=10.0)
    assert "Σ λη" in premature(schedule, horizon=1_000_000, problem=slow, lr=0.2, unit="1/L")


@pytest.mark.slow
@pytest.mark.parametrize("horizon", [3_800_000, 10_000_000])
def test_long_horizons_are_looked_at_without_a_crash(horizon: int) -> None:
    assert premature(C_SQRT_T, horizon=horizon, problem=Quadratic(Given((1.0,)), noise=Gaussian(1.0))) == ""


def test_a_power_laws_tail_may_stay_unsettled() -> None:
    """As long as it acts like an infinite one; the same with the dimension it would need is refused."""

    def law(dim: int) -> str:
        power = Quadratic(PowerLaw(dim=dim, exponent=2.0), NoNoise())
        return premature(Constant(), problem=power, horizon=10_000, lr=0.5, unit="1/L")

    assert law(5000) == ""
    assert "larger dim" in law(100)


def test_undecided_says_where_nothing_can_decide() -> None:
    noiseless = Quadratic(LogUniform(dim=10, condition_number=1e3), noise=NoNoise())
    assert "nothing can decide this" in premature(Constant(), problem=noiseless, horizon=10_000)
    slow = Quadratic(Given((1.0, 0.1)), noise=Gaussian(sd=1.0))
    near_one = premature(InversePower(1.0, timescale=100.0), problem=slow, lr=0.0505, unit="absolute")
    assert "more than the 1e9 that can be run" in near_one


def judged(folder: Folder, spec: Spec, *asked: Claim) -> list[Verdict]:
    store = Store(folder)
    spec = Spec(**{**spec.__dict__, "claims": asked})
    assert [claim_faults(spec, claim) for claim in asked] == [[] for _ in asked]
    assert not run(spec, "", store).failed
    return [row.verdict for found in claims.judge(Results(spec, store)) for row in found.rows]


def test_premature_windows_are_undecided_and_may_be_claimed_as_such(tmp_path: Folder) -> None:
    spec = Spec(
        (ROUND,),
        (MultiStep((1000,), gamma=0.1),),
        (0.25,),
        "critical",
        (10_000,),
        1,
        methods=(SGD(),),
        averagings=(Last(),),
    )
    stalls = decays(Selector(), "t^0")
    tempted = decays(Selector(), "t^-0.73")
    in_window = decays(Selector(), "t^-0.73", regime="window")
    found = judged(tmp_path, spec, stalls, tempted, in_window)
    assert [verdict.status for verdict in found] == ["undecided"] * 3
    assert "asymptote" in found[0].reason
    assert "asymptote" not in found[2].reason


def test_gradient_descent_without_noise_cannot_be_decided(tmp_path: Folder) -> None:
    problem = Quadratic(LogUniform(dim=3, condition_number=2.0), noise=NoNoise())
    spec = Spec(
        (problem,), (Constant(),), (0.5,), "1/L", (10_000,), 1, methods=(SGD(),), averagings=(Last(),)
    )
    rate = decays(Selector(), "1/t")
    value = level(Selector(), 1e-20, relation="at_most")
    small = level(Selector(), 1e-12, relation="at_most")
    found = judged(tmp_path, spec, rate, value, small)
    assert [verdict.status for verdict in found] == ["undecided", "undecided", "supported"]
    assert "nothing can decide the limit" in found[0].reason
