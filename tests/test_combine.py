"""Combinators, each by its law, over random schedules of the whole catalogue.

Their declared facts are measured with everyone else's in test_schedules."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from strategies import values

from theory.arrays import InputError
from theory.averaging import Last
from theory.combine import Cooldown, Scaled, Then, Warmup
from theory.schedules import (
    Constant,
    Cosine,
    InversePower,
    Linear,
    Schedule,
    WarmupStableDecay,
    facts,
    updates,
)

parts = values("schedule", depth=1)
horizons = st.integers(0, 50)
durations = st.integers(0, 60) | st.floats(0, 1)


@given(parts, durations, horizons)
def test_warmup_ramps_to_the_first_value_and_then_leaves_the_rest_alone(
    schedule: Schedule, length: int | float, T: int
) -> None:
    s, W = Warmup(schedule, length)(T), updates(length, T)
    full = length if isinstance(length, int) else W
    first = schedule(max(T - W, 1))[0]
    np.testing.assert_allclose(s[:W], [(t + 1) / (full + 1) * first for t in range(W)], rtol=1e-14)
    np.testing.assert_array_equal(s[W:], schedule(T - W))


@given(parts, durations, horizons)
def test_cooldown_multiplies_the_last_updates_by_a_line(
    schedule: Schedule, length: int | float, T: int
) -> None:
    C = updates(length, T)
    line = np.concatenate([np.ones(T - C), [1 - k / C for k in range(C)]])
    np.testing.assert_allclose(Cooldown(schedule, length)(T), schedule(T) * line, rtol=1e-12)


@given(parts, parts, durations, horizons)
def test_then_concatenates(first: Schedule, second: Schedule, at: int | float, T: int) -> None:
    m = updates(at, T)
    np.testing.assert_array_equal(Then(first, second, at)(T), np.concatenate([first(m), second(T - m)]))


@given(parts, parts, parts, st.integers(0, 20), st.integers(0, 20), horizons)
def test_then_is_associative(a: Schedule, b: Schedule, c: Schedule, m: int, n: int, T: int) -> None:
    left, right = Then(Then(a, b, m), c, m + n), Then(a, Then(b, c, n), m)
    np.testing.assert_array_equal(left(T), right(T))


@given(parts, st.floats(0, 1e3), st.floats(0, 1e3), horizons)
def test_scaling_twice_is_scaling_once(schedule: Schedule, a: float, b: float, T: int) -> None:
    twice, once = Scaled(Scaled(schedule, a), b), Scaled(schedule, a * b)
    np.testing.assert_allclose(twice(T), once(T), rtol=1e-12, atol=1e-300)
    assert facts(twice).monotone == facts(once).monotone or a * b < 1e-300


@given(parts, horizons)
def test_units(schedule: Schedule, T: int) -> None:
    s = schedule(T)
    for same in (
        Warmup(schedule, 0),
        Warmup(schedule, 0.0),
        Cooldown(schedule, 0),
        Cooldown(schedule, 0.0),
        Then(schedule, Constant(), 1.0),
        Then(Constant(), schedule, 0),
        Scaled(schedule, 1),
    ):
        np.testing.assert_array_equal(same(T), s)


@given(durations, durations, horizons)
def test_the_trapezoid_is_a_warmup_and_a_cooldown(warmup: int | float, cooldown: int | float, T: int) -> None:
    composed = Cooldown(Warmup(Constant(), warmup), cooldown)
    np.testing.assert_allclose(WarmupStableDecay(warmup, cooldown)(T), composed(T), rtol=1e-14)


@given(horizons)
def test_cooling_a_constant_down_all_the_way_is_linear(T: int) -> None:
    np.testing.assert_allclose(Cooldown(Constant(), 1.0)(T), Linear()(T), rtol=1e-13)


def test_facts_follow_from_the_parts() -> None:
    assert facts(Warmup(InversePower(0.5), 100)).anytime
    assert not facts(Warmup(InversePower(0.5), 0.1)).anytime
    assert facts(Warmup(Constant(), 5)).monotone == "increasing"
    assert facts(Warmup(Cosine(), 5)).monotone is None
    assert facts(Cooldown(InversePower(0.5), 5)).monotone == "decreasing"
    assert facts(Then(Constant(), Scaled(Linear(), 0.5), 10)).monotone == "decreasing"
    assert facts(Then(Constant(), Scaled(Linear(), 2), 10)).monotone is None
    assert facts(Then(Constant(), InversePower(1.0), 10)).anytime
    assert facts(Scaled(Constant(), 3.0)).monotone == "constant"
    assert facts(Scaled(np.ones, 0.0)).high == 0


def test_a_plain_function_can_be_warmed_up() -> None:
    def halves(horizon: int, /) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.full(horizon, 0.5)

    np.testing.assert_allclose(Warmup(halves, 1)(3), [0.25, 0.5, 0.5])
    with pytest.raises(InputError, match="shape"):
        Warmup(lambda T: np.ones(T + 2), 1)(3)


@pytest.mark.parametrize("wrong", [Last(), Constant, 3, "Linear()"])
def test_only_a_schedule_passes_for_one(wrong: object) -> None:
    with pytest.raises(InputError, match=r"Warmup\.schedule"):
        Warmup(wrong, 3)  # type: ignore[arg-type]
