"""Combinators, each by its law, over random schedules of the whole catalogue.

Their declared facts are measured with everyone else's in test_schedules."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from strategies import existing, values

from ratelab.theory.arrays import Array, InputError
from ratelab.theory.averaging import Last
from ratelab.theory.combine import Clip, Cooldown, Held, Product, Repeat, Scaled, Then, Warmup, Within
from ratelab.theory.schedules import (
    Constant,
    Cosine,
    HorizonError,
    InversePower,
    Linear,
    Schedule,
    WarmupStableDecay,
    closing,
    facts,
    updates,
)

parts = values("schedule", depth=1)
horizons = st.integers(0, 50)
durations = st.integers(0, 60) | st.floats(0, 1)


@given(parts, durations, horizons)
@existing
def test_warmup_ramps_to_the_first_value_and_then_leaves_the_rest_alone(
    schedule: Schedule, length: int | float, T: int
) -> None:
    s, W = Warmup(schedule, length)(T), updates(length, T)
    full = length if isinstance(length, int) else W
    first = schedule(max(T - W, 1))[0]
    np.testing.assert_allclose(s[:W], [(t + 1) / (full + 1) * first for t in range(W)], rtol=1e-14)
    np.testing.assert_array_equal(s[W:], schedule(T - W))


@given(parts, durations, horizons)
@existing
def test_cooldown_multiplies_the_last_updates_by_a_line(
    schedule: Schedule, length: int | float, T: int
) -> None:
    C = updates(length, T)
    line = np.concatenate([np.ones(T - C), [1 - k / C for k in range(C)]])
    np.testing.assert_allclose(Cooldown(schedule, length)(T), schedule(T) * line, rtol=1e-12)


@given(parts, parts, durations, horizons)
@existing
def test_then_concatenates(first: Schedule, second: Schedule, at: int | float, T: int) -> None:
    m = updates(at, T)
    np.testing.assert_array_equal(Then(first, second, at)(T), np.concatenate([first(m), second(T - m)]))


@given(parts, parts, parts, st.integers(0, 20), st.integers(0, 20), horizons)
@existing
def test_then_is_associative(a: Schedule, b: Schedule, c: Schedule, m: int, n: int, T: int) -> None:
    left, right = Then(Then(a, b, m), c, m + n), Then(a, Then(b, c, n), m)
    np.testing.assert_array_equal(left(T), right(T))


@given(parts, st.floats(0, 1e3), st.floats(0, 1e3), horizons)
@existing
def test_scaling_twice_is_scaling_once(schedule: Schedule, a: float, b: float, T: int) -> None:
    twice, once = Scaled(Scaled(schedule, a), b), Scaled(schedule, a * b)
    np.testing.assert_allclose(twice(T), once(T), rtol=1e-12, atol=1e-300)
    assert facts(twice).monotone == facts(once).monotone or a * b < 1e-300


@given(parts, horizons)
@existing
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
@existing
def test_the_trapezoid_is_a_warmup_and_a_cooldown(warmup: int | float, cooldown: int | float, T: int) -> None:
    composed = Cooldown(Warmup(Constant(), warmup), cooldown)
    np.testing.assert_allclose(WarmupStableDecay(warmup, cooldown)(T), composed(T), rtol=1e-14)


@given(horizons)
@existing
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


@pytest.mark.parametrize(
    ("start", "ramp"),
    [
        ("1/(W+1)", [1 / 5, 2 / 5, 3 / 5, 4 / 5]),
        ("1/W", [1 / 4, 2 / 4, 3 / 4, 1]),
        (0.0, [0, 1 / 4, 2 / 4, 3 / 4]),
        (0.2, [0.2, 0.4, 0.6, 0.8]),
    ],
    ids=str,
)
def test_how_a_warmup_starts(start: Any, ramp: list[float]) -> None:
    np.testing.assert_allclose(Warmup(Constant(), 4, start=start)(6), [*ramp, 1, 1], rtol=1e-14)


@pytest.mark.parametrize(
    ("shape", "g"),
    [
        ("linear", lambda u: 0.1 + 0.9 * u),
        ("cosine", lambda u: 0.1 + 0.9 * (1 - np.cos(np.pi * u)) / 2),
        ("1-sqrt", lambda u: 0.1 + 0.9 * (1 - np.sqrt(1 - u))),
        ("exponential", lambda u: 0.1 ** (1 - u)),
    ],
    ids=lambda v: v if isinstance(v, str) else "g",
)
def test_shapes_of_a_warmup(shape: Any, g: Callable[[Array], Array]) -> None:
    s = Warmup(Constant(), 5, start=0.1, shape=shape)(7)
    np.testing.assert_allclose(s, [*g(np.arange(5) / 5), 1, 1], rtol=1e-13)


@pytest.mark.parametrize(
    ("shape", "g"),
    [
        ("linear", lambda u: 0.1 + 0.9 * (1 - u)),
        ("cosine", lambda u: 0.1 + 0.9 * (1 + np.cos(np.pi * u)) / 2),
        ("1-sqrt", lambda u: 0.1 + 0.9 * (1 - np.sqrt(u))),
        ("1-square", lambda u: 0.1 + 0.9 * (1 - u**2)),
        ("exponential", lambda u: 0.1**u),
        ("mirror cosine", lambda u: 0.1 + 0.9 * (2 * (1 - u) - (1 + np.cos(np.pi * u)) / 2)),
    ],
    ids=lambda v: v if isinstance(v, str) else "g",
)
def test_shapes_of_a_cooldown(shape: Any, g: Callable[[Array], Array]) -> None:
    s = Cooldown(Constant(), 5, shape=shape, final=0.1)(7)
    np.testing.assert_allclose(s, [1, 1, *g(np.arange(5) / 5)], rtol=1e-13)


def test_an_overlapping_warmup_leaves_the_clock_alone() -> None:
    s = Warmup(Linear(), 3, start=0.0, overlap=True)(10)
    np.testing.assert_allclose(s, [0, 1 / 3, 2 / 3, *(1 - np.arange(3, 10) / 10)])


def test_an_exponential_ramp_needs_somewhere_to_start() -> None:
    for start in ("1/W", 0.0):
        with pytest.raises(InputError, match="start > 0"):
            Warmup(Constant(), 3, start=start, shape="exponential")
    with pytest.raises(InputError, match="final > 0"):
        Cooldown(Constant(), 3, shape="exponential")


@given(parts, parts, horizons)
@existing
def test_products_commute_and_constant_is_one(first: Schedule, second: Schedule, T: int) -> None:
    np.testing.assert_array_equal(Product(first, second)(T), Product(second, first)(T))
    np.testing.assert_array_equal(Product(first, Constant())(T), first(T))


@given(parts, st.floats(0, 2), st.floats(0, 2), horizons)
@existing
def test_clipping_twice_is_clipping_once(schedule: Schedule, a: float, b: float, T: int) -> None:
    once = Clip(schedule, low=min(a, b), high=max(a, b))
    np.testing.assert_array_equal(once(T), np.clip(schedule(T), min(a, b), max(a, b)))
    np.testing.assert_array_equal(Clip(once, low=min(a, b), high=max(a, b))(T), once(T))


def test_absolute_limits_are_those_of_their_lr() -> None:
    s = 2e-3 * Clip(Linear(), low=5e-4, high=1.5e-3, lr=2e-3)(8)
    np.testing.assert_allclose(s, np.clip(2e-3 * Linear()(8), 5e-4, 1.5e-3))


@given(parts, st.integers(0, 60), horizons)
@existing
def test_a_horizon_of_its_own(schedule: Schedule, N: int, T: int) -> None:
    s = Within(schedule, N)(T)
    np.testing.assert_array_equal(s[:N], schedule(N)[:T])
    assert T <= N or (s[N:] == closing(schedule, N)).all()
    np.testing.assert_array_equal(Within(schedule, 1.0)(T), schedule(T))


@given(parts, st.integers(1, 60), horizons)
@existing
def test_an_end_at_the_last_update(schedule: Schedule, N: int, T: int) -> None:
    full = np.append(schedule(N - 1), closing(schedule, N - 1))
    np.testing.assert_array_equal(Within(schedule, N, end="T-1")(T)[:N], full[:T])


def test_beyond_its_end() -> None:
    assert Within(Linear(final=0.5), 4)(6)[-1] == 0.5
    with pytest.raises(HorizonError, match="ends after 4 updates"):
        Within(Linear(final=0.5), 4, beyond="error")(5)
    np.testing.assert_array_equal(Within(Linear(), 4, beyond="error")(4), Linear()(4))


@given(parts, st.integers(1, 20), horizons)
@existing
def test_repeating_tiles(schedule: Schedule, period: int, T: int) -> None:
    cycle = schedule(period)
    np.testing.assert_allclose(Repeat(schedule, period)(T), np.tile(cycle, T // period + 1)[:T])
    np.testing.assert_array_equal(Repeat(schedule, 1.0)(T), schedule(T))


def test_warm_restarts_grow_and_decay() -> None:
    s = Repeat(Cosine(), 4, growth=1.5, decay=0.5, floor=0.1)(25)
    cycles = [(0.1 + (0.5**i - 0.1) * Cosine()(n)) for i, n in enumerate((4, 6, 9, 13))]
    np.testing.assert_allclose(s, np.concatenate(cycles)[:25])


@pytest.mark.parametrize(("period", "growth"), [(1, 1.01), (3, 1.3), (7, 1.0), (1, 1 + 1e-12)])
def test_cycles_of_every_growth_follow_one_another(period: int, growth: float) -> None:
    lengths = [math.floor(period * growth**i + 1e-9) for i in range(500)]
    cycles = np.concatenate([0.9**i * Linear()(length) for i, length in enumerate(lengths) if length < 1e4])
    s = Repeat(Linear(), period, growth=growth, decay=0.9)(500)
    np.testing.assert_allclose(s, cycles[:500], rtol=1e-12)


@given(parts, st.integers(1, 12), horizons)
@existing
def test_held_values_are_those_of_epochs(schedule: Schedule, every: int, T: int) -> None:
    s, epochs = Held(schedule, every)(T), schedule(-(-T // every))
    np.testing.assert_array_equal(s, [epochs[t // every] for t in range(T)])


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
