"""Averaging schemes: the laws of the protocol over the whole catalogue, then what each of them weighs."""

import pickle

import numpy as np
import pytest
from hypothesis import given, strategies as st
from strategies import instances, values

from ratelab.theory.arrays import Array, InputError
from ratelab.theory.averaging import (
    Averaging,
    ExponentialMovingAverage,
    Last,
    PolynomialDecay,
    StepWeighted,
    StochasticWeightAveraging,
    Tail,
    Uniform,
    anytime,
    weights,
)
from ratelab.theory.notation import catalogue, parse

averagings = values("averaging")
steps = st.lists(st.floats(1e-3, 1e3) | st.just(0.0), max_size=40).map(np.array)


@pytest.mark.parametrize("name", catalogue("averaging"))
@given(data=st.data())
def test_every_averaging_keeps_every_law(name: str, data: st.DataObject) -> None:
    """All laws are asked of each example, because drawing it costs more than they do."""
    averaging, eta = data.draw(instances(catalogue("averaging")[name])), data.draw(steps)
    it_is_its_notation(averaging)
    it_is_a_convex_combination(averaging, eta)


def it_is_its_notation(averaging: Averaging) -> None:
    again = parse(repr(averaging), "averaging")
    assert again == averaging
    assert repr(again) == repr(averaging)
    assert pickle.loads(pickle.dumps(averaging)) == averaging


def it_is_a_convex_combination(averaging: Averaging, eta: Array) -> None:
    c = averaging(eta)
    assert isinstance(averaging, Averaging)
    assert c.shape == eta.shape
    assert c.dtype == np.float64
    assert np.all((c >= 0) & (c <= 1))
    w = weights(c)
    assert w.shape == (len(eta) + 1,)
    assert np.all(w >= 0)
    assert w.sum() == pytest.approx(1.0, rel=1e-12)


@given(averagings, steps, st.floats(1e-6, 1e6))
def test_scaling_the_steps_changes_nothing(averaging: Averaging, eta: Array, factor: float) -> None:
    np.testing.assert_allclose(averaging(factor * eta), averaging(eta), rtol=1e-12)


@given(averagings, steps, st.integers(0, 40))
def test_declared_anytime_means_that_prefixes_agree(averaging: Averaging, eta: Array, cut: int) -> None:
    if anytime(averaging):
        np.testing.assert_array_equal(averaging(eta[:cut]), averaging(eta)[:cut])


def test_what_is_not_anytime_is_seen_to_differ() -> None:
    eta = np.linspace(1, 2, 20)
    for averaging in (
        StepWeighted(),
        Tail(0.5),
        ExponentialMovingAverage(0.9, start=0.5),
        StochasticWeightAveraging(2, cycle=0.25),
    ):
        assert not anytime(averaging)
        assert not np.array_equal(averaging(eta[:10]), averaging(eta)[:10])
    assert not anytime(lambda eta: np.ones(len(eta)))


@given(averagings, steps.filter(len), st.integers(0, 2**32 - 1))
def test_the_recursion_and_the_weights_agree(averaging: Averaging, eta: Array, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=len(eta) + 1)
    c = averaging(eta)
    mean = x[0]
    for t in range(1, len(x)):
        mean = (1 - c[t - 1]) * mean + c[t - 1] * x[t]
    assert weights(c) @ x == pytest.approx(mean, rel=1e-11, abs=1e-12)


T = 12
ETA = np.linspace(3.0, 0.5, T)


def window(start: int) -> Array:
    return at(*range(start, T + 1))


def at(*times: int) -> Array:
    w = np.zeros(T + 1)
    w[list(times)] = 1 / len(times)
    return w


WEIGHTS = [
    (Last(), at(T)),
    (Uniform(), window(0)),
    (StepWeighted(), np.append(ETA, 0) / ETA.sum()),
    (Tail(5), window(5)),
    (Tail(0.5), window(6)),
    (Tail(0), window(0)),
    (Tail(99), at(T)),
    (Tail(1.0), at(T)),
    (PolynomialDecay(0), window(0)),
    (ExponentialMovingAverage(0.5), 0.5 ** np.minimum(np.arange(T, -1, -1) + 1, T)),
    (ExponentialMovingAverage(0.0), at(T)),
    (ExponentialMovingAverage(0.5, start=T - 1), np.eye(T + 1)[-2:].sum(axis=0) / 2),
    (StochasticWeightAveraging(3, cycle=4), at(7, 11)),
    (StochasticWeightAveraging(3, cycle=10), at(3)),
    (StochasticWeightAveraging(3, cycle=99), at(3)),
    (StochasticWeightAveraging(0.5, cycle=1), at(*range(7, T + 1))),
    (StochasticWeightAveraging(0.0, cycle=0.25), at(3, 6, 9, 12)),
]


@pytest.mark.parametrize(("averaging", "expected"), WEIGHTS, ids=lambda v: repr(v)[:60])
def test_what_each_weighs(averaging: Averaging, expected: Array) -> None:
    np.testing.assert_allclose(weights(averaging(ETA)), expected, rtol=1e-13, atol=1e-16)


def test_polynomial_decay_weighs_like_a_power() -> None:
    """Order 1: w_t proportional to t + 1, from x_0 on."""
    np.testing.assert_allclose(weights(PolynomialDecay(1)(ETA)), np.arange(1, T + 2) / 91, rtol=1e-12)


def test_step_weighting_follows_the_iterate_while_nothing_moves() -> None:
    np.testing.assert_allclose(weights(StepWeighted()(np.array([0.0, 0.0, 1.0, 3.0]))), [0, 0, 0.25, 0.75, 0])
    np.testing.assert_array_equal(StepWeighted()(np.zeros(3)), [1, 1, 0])
    assert len(StepWeighted()(np.zeros(0))) == 0


def test_uniform_weights_stay_accurate_over_a_million_steps() -> None:
    w = weights(Uniform()(np.ones(10**6)))
    np.testing.assert_allclose(w, 1 / (10**6 + 1), rtol=1e-10)


@pytest.mark.parametrize("mixing", [[1.5], [-0.1], [np.nan], [[0.5]]])
def test_weights_outside_the_unit_interval_are_refused(mixing: object) -> None:
    with pytest.raises(InputError, match="mixing"):
        weights(mixing)  # type: ignore[arg-type]
