"""A battery over the whole catalogue of schedules, combinators included: each declared fact is measured for
random members, so a new schedule is tested by being registered. Then the closed forms, at the boundaries."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, strategies as st
from strategies import existing, instances

from ratelab.theory.arrays import Array, InputError
from ratelab.theory.cycles import Triangular
from ratelab.theory.notation import catalogue, parse
from ratelab.theory.schedules import (
    Compounding,
    Constant,
    Cosine,
    Exponential,
    Facts,
    Geometric,
    HorizonError,
    InversePower,
    Linear,
    MultiStep,
    Piecewise,
    Polynomial,
    Rex,
    Schedule,
    Step,
    Tanh,
    TriStage,
    WarmupStableDecay,
    closing,
    cycle_length,
    facts,
    fall,
    multipliers,
    rise,
    updates,
)
from ratelab.theory.stepsizes import Chebyshev, Stages

NAMES = list(catalogue("schedule"))
horizons = st.integers(0, 60)
ROUNDING, TINY = 1e-12, 1e-300
ENDLESS = ["Chebyshev", "Stages"]  # every horizon has steps of its own, and none leads on


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data(), S=horizons, T=horizons)
@existing
def test_every_schedule_keeps_every_law(name: str, data: st.DataObject, S: int, T: int) -> None:
    """All laws are asked of each example, because drawing it costs more than they do."""
    schedule: Schedule = data.draw(instances(catalogue("schedule")[name]))
    is_its_notation(schedule)
    gives_finite_nonnegative_multipliers(schedule, T)
    keeps_its_declared_range(schedule, T)
    keeps_its_declared_monotonicity(schedule, T)
    begins_with_itself_if_declared_anytime(schedule, S, T)
    if name not in ENDLESS:
        closes_as_its_facts_say(schedule, T + 1)


def is_its_notation(schedule: Schedule) -> None:
    again = parse(repr(schedule), "schedule")
    assert again == schedule
    assert repr(again) == repr(schedule)
    assert hash(again) == hash(schedule)
    assert pickle.loads(pickle.dumps(schedule)) == schedule


def gives_finite_nonnegative_multipliers(schedule: Schedule, T: int) -> None:
    s = schedule(T)
    assert s.shape == (T,)
    assert s.dtype == np.float64
    assert np.all(s >= 0)
    assert np.all(np.isfinite(s))
    assert isinstance(schedule, Schedule)


def keeps_its_declared_range(schedule: Schedule, T: int) -> None:
    declared, s = facts(schedule), multipliers(schedule, T)
    slack = ROUNDING * np.max(s, initial=0.0) + TINY
    assert 0 <= declared.low <= declared.high
    assert np.all(s >= declared.low - slack)
    assert np.all(s <= declared.high + slack)


def keeps_its_declared_monotonicity(schedule: Schedule, T: int) -> None:
    declared, s = facts(schedule), multipliers(schedule, T)
    change, slack = np.diff(s), ROUNDING * np.max(s, initial=0.0)
    assert (declared.monotone == "constant") == (declared.low == declared.high)
    if declared.monotone in ("constant", "decreasing"):
        assert np.all(change <= slack)
    if declared.monotone in ("constant", "increasing"):
        assert np.all(change >= -slack)


def begins_with_itself_if_declared_anytime(schedule: Schedule, S: int, T: int) -> None:
    if facts(schedule).anytime:
        S, T = min(S, T), max(S, T)
        np.testing.assert_array_equal(multipliers(schedule, S), multipliers(schedule, T)[:S])


def closes_as_its_facts_say(schedule: Schedule, T: int) -> None:
    end, declared, last = closing(schedule, T), facts(schedule), multipliers(schedule, T)[-1]
    slack = ROUNDING * max(end, last, 1.0)
    assert declared.low - slack <= end <= declared.high + slack
    if declared.monotone in ("constant", "decreasing"):
        assert end <= last + slack
    if declared.monotone in ("constant", "increasing"):
        assert end >= last - slack
    if declared.anytime:
        assert end == multipliers(schedule, T + 1)[T]


def test_a_schedule_that_is_not_anytime_is_seen_to_differ() -> None:
    for schedule in (
        Linear(),
        Cosine(),
        Step(0.5, every=0.5),
        MultiStep((3, 0.5), gamma=0.1),
        Triangular(0.5),
    ):
        assert not facts(schedule).anytime
        assert not np.array_equal(schedule(20)[:10], schedule(10))


def clock(T: int) -> Array:
    return np.arange(T, dtype=np.float64)


CLOSED_FORMS = [
    (Constant(), lambda t, T: 1.0),  # noqa: ARG005
    (InversePower(0.5, timescale=10.0), lambda t, T: (1 + 0.1 * t) ** -0.5),  # noqa: ARG005
    (Linear(), lambda t, T: 1 - t / T),
    (Linear(final=0.25), lambda t, T: 1 - 0.75 * t / T),
    (Polynomial(2.0, final=0.1), lambda t, T: 0.1 + 0.9 * (1 - t / T) ** 2),
    (Cosine(final=0.1), lambda t, T: 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * t / T))),
    (Exponential(0.99), lambda t, T: 0.99**t),  # noqa: ARG005
    (Exponential(0.0), lambda t, T: 0.0**t),  # noqa: ARG005
    (Exponential(1e-3), lambda t, T: 1e-3**t),  # noqa: ARG005
    (Step(0.5, every=3), lambda t, T: 0.5 ** (t // 3)),  # noqa: ARG005
    (Step(0.5, every=0.25), lambda t, T: 0.5 ** (t // max(T // 4, 1))),
    (MultiStep((2, 0.5, 2), gamma=0.5), lambda t, T: 0.5 ** (2 * (t >= 2) + (t >= T // 2))),
    (Triangular(4, low=0.1), lambda t, T: 0.1 + 0.9 * (0, 0.5, 1, 0.5)[t % 4]),  # noqa: ARG005
    (
        Cosine(final=0.2, cycles=1.5, power=2.0, warp=0.5),
        lambda t, T: 0.2 + 0.8 * ((1 + math.cos(3 * math.pi * math.sqrt(t / T))) / 2) ** 2,
    ),
    (Geometric(0.01), lambda t, T: 0.01 ** (t / T)),
    (Compounding(0.01), lambda t, T: math.prod(1 / (1 + 0.01 * j) for j in range(t + 1))),  # noqa: ARG005
    (Rex(), lambda t, T: (1 - t / T) / (1 - t / T / 2)),
    (Rex(final=0.1, depth=0.9), lambda t, T: 0.1 + 0.9 * (1 - t / T) / (0.1 + 0.9 * (1 - t / T))),
    (Tanh(final=0.1), lambda t, T: 0.1 + 0.45 * (1 - math.tanh(-7 * (1 - t / T) + 3 * t / T))),
    (
        Piecewise((2, 0.5), values=(0.1, 1.0, 0.3)),
        lambda t, T: (0.1, 1.0, 0.3)[(t >= 2) + (t >= T // 2)],
    ),
    (
        TriStage(warmup=2, hold=3, start=0.1, final=0.01),
        lambda t, T: (0.1 + 0.45 * t) if t < 2 else 0.01 ** (max(0, t - 5) / max(1, T - 5)),
    ),
    (Exponential(1.1), lambda t, T: 1.1**t),  # noqa: ARG005
    (
        WarmupStableDecay(warmup=3, cooldown=4),
        lambda t, T: min(1, (t + 1) / 4) * (1 - max(0, t - (T - min(4, T))) / min(4, T)),
    ),
]


@pytest.mark.parametrize("T", [0, 1, 2, 7, 12, 500])
@pytest.mark.parametrize(
    ("schedule", "formula"), CLOSED_FORMS, ids=lambda v: "formula" if hasattr(v, "__code__") else repr(v)
)
def test_closed_forms(schedule: Schedule, formula: object, T: int) -> None:
    assert callable(formula)
    np.testing.assert_allclose(schedule(T), [formula(t, T) for t in range(T)], rtol=1e-12, atol=1e-15)


def test_the_end_value_is_reached_one_step_after_the_last() -> None:
    assert Linear()(10)[-1] == pytest.approx(1 / 10)
    assert WarmupStableDecay(warmup=0, cooldown=5)(10)[-1] == pytest.approx(1 / 5)


@pytest.mark.parametrize(
    "schedule", [s for s, _ in CLOSED_FORMS if hasattr(s, "curve") or s == TriStage(2, 3, 0.1)], ids=repr
)
def test_the_closing_value_is_where_the_formula_leads(schedule: Schedule) -> None:
    """Of shapes of p, that is the limit: a long run comes as close as its last step is short."""
    assert schedule(10**6)[-1] == pytest.approx(closing(schedule, 10**6), abs=2e-5)


@pytest.mark.parametrize("schedule", [np.ones, Stages(), Chebyshev(10.0)], ids=["plain", *ENDLESS[::-1]])
def test_without_a_closing_value(schedule: Schedule) -> None:
    with pytest.raises(HorizonError, match="closing"):
        closing(schedule, 3)


def test_what_grows_is_refused_where_it_overflows() -> None:
    for schedule in (Exponential(2.0), Step(2.0, every=1), MultiStep(tuple(range(2000)), gamma=2.0)):
        assert multipliers(schedule, 100)[-1] > 1e29
        with pytest.raises(HorizonError, match="overflow"):
            schedule(2000)


def test_polynomial_of_power_one_is_linear() -> None:
    np.testing.assert_allclose(Polynomial(1, final=0.3)(50), Linear(final=0.3)(50), rtol=1e-14)


def test_milestones_in_any_order_and_beyond_the_horizon() -> None:
    np.testing.assert_array_equal(MultiStep((4, 2, 99), 0.5)(6), [1, 1, 0.5, 0.5, 0.25, 0.25])
    np.testing.assert_array_equal(MultiStep((), 0.5)(3), np.ones(3))


@pytest.mark.parametrize(
    ("duration", "horizon", "expected"),
    [
        (0, 10, 0),
        (1, 10, 1),
        (1.0, 10, 10),
        (0.0, 10, 0),
        (50, 10, 10),
        (0.29, 100, 29),
        (1 / 3, 9, 3),
        (0.5, 0, 0),
    ],
)
def test_durations(duration: int | float, horizon: int, expected: int) -> None:
    assert updates(duration, horizon) == expected


def test_one_update_is_not_the_whole_horizon() -> None:
    assert WarmupStableDecay(cooldown=1) != WarmupStableDecay(cooldown=1.0)
    assert "cooldown=1," in repr(WarmupStableDecay(cooldown=1))
    assert "cooldown=1.0," in repr(WarmupStableDecay(cooldown=1.0))
    assert len({Triangular(1), Triangular(1.0)}) == 2


def test_a_period_of_less_than_one_update_is_one_update() -> None:
    assert cycle_length(1e-9, 10) == 1
    assert cycle_length(99, 10) == 99


def test_a_ramp_that_the_horizon_cuts_short_keeps_its_slope() -> None:
    np.testing.assert_allclose(rise(3, 9), [0.1, 0.2, 0.3])
    np.testing.assert_allclose(rise(3, 1.0), [0.25, 0.5, 0.75])
    np.testing.assert_allclose(fall(4, 0), np.ones(4))


def test_a_plain_function_is_a_schedule_that_claims_nothing() -> None:
    assert facts(np.ones) == Facts()
    np.testing.assert_array_equal(multipliers(np.ones, 3), np.ones(3))


@pytest.mark.parametrize(
    ("schedule", "hint"),
    [
        (lambda T: np.ones(T + 1), "shape"),
        (lambda T: -np.ones(T), ">= 0"),
        (lambda T: np.full(T, np.nan), "nan at update 0"),
        (lambda T: np.full(T, np.inf), "finite"),
    ],
)
def test_a_bad_schedule_is_refused(schedule: Schedule, hint: str) -> None:
    with pytest.raises(InputError, match=hint):
        multipliers(schedule, 3)


@pytest.mark.parametrize("schedule", [Constant(), Linear(), Triangular(3), Exponential(0.5)])
def test_a_negative_horizon_is_refused(schedule: Schedule) -> None:
    with pytest.raises(InputError, match="-1"):
        schedule(-1)
    with pytest.raises(InputError, match="-1"):
        multipliers(schedule, -1)
