"""Closed loops: laws over the whole catalogue, then each rule against the framework that it comes from, live,
over random options and metrics."""

import io
import json
import math
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from sklearn.linear_model import SGDRegressor
from sklearn.neural_network import MLPRegressor

from ratelab.theory.arrays import Array, InputError
from ratelab.theory.combine import Warmup
from ratelab.theory.feedback import (
    Feedback,
    GreedyLR,
    Mode,
    ReduceLROnPlateau,
    SklearnAdaptive,
    State,
    replay,
)
from ratelab.theory.notation import catalogue, parse
from ratelab.theory.schedules import Constant, Linear, Schedule

PEERS = "peers are not installed: make conformance"

# sixteenths: sums, means and multiples by powers of two are exact, and ties are common
sixteenths = st.integers(-40, 80).map(lambda n: n / 16)
metric = sixteenths | st.floats(-5, 5) | st.sampled_from([math.nan, math.inf, -math.inf, 1e307, -1e307])
metrics = st.lists(metric, max_size=40)
counts = st.integers(0, 4) | st.just(2**53)
common = {
    "mode": st.sampled_from(["min", "max"]),
    "threshold": st.sampled_from([0.0, 1e-4, 0.1, 0.5, 1.0, 2.0, 1e308]) | st.floats(0, 1),
    "threshold_mode": st.sampled_from(["rel", "abs"]),
    "patience": counts,
    "cooldown": counts,
    "eps": st.sampled_from([0.0, 1e-8, 0.05, 1e308]),
}
plateaus = st.builds(
    ReduceLROnPlateau,
    factor=st.floats(0, 1, exclude_max=True),
    low=st.sampled_from([0.0, 0.3, 1.5]) | st.floats(0, 1),
    **common,
)
greedies = st.builds(
    GreedyLR,
    factor=st.floats(0.3, 0.99),
    low=st.sampled_from([0.0, 0.5, 0.9, 1.0, 20.0]),
    high=st.sampled_from([0.5, 1.0, 1.7, 10.0]),
    warmup=counts,
    window=st.just(1) | st.integers(2, 5),
    reset_start=st.integers(1, 4),
    **common,
)
adaptives = st.builds(
    SklearnAdaptive,
    tol=st.sampled_from([0.0, 1e-4, 0.25, 1.75e308]) | st.floats(0, 1),
    patience=st.integers(0, 3),
    mode=common["mode"],
    low=st.sampled_from([0.0, 1e-3, 0.04, 0.2, 1.0, 3.0]),
)
RULES = {"ReduceLROnPlateau": plateaus, "GreedyLR": greedies, "SklearnAdaptive": adaptives}
rules = plateaus | greedies | adaptives
shapes = st.sampled_from([Constant(), Linear(), Warmup(Constant(), 100)])


@st.composite
def tables(draw: st.DrawFn) -> Array:
    """Metrics, shape (runs, K)."""
    runs = draw(st.integers(1, 4))
    columns = draw(st.lists(st.tuples(*[metric] * runs), max_size=30))
    return np.array(columns, dtype=np.float64).reshape(-1, runs).T


# -- laws


def test_every_registered_rule_is_tested() -> None:
    assert list(RULES) == list(catalogue("feedback"))


@given(rules, shapes)
def test_every_rule_is_its_notation(rule: Any, schedule: Schedule) -> None:
    rule = replace(rule, schedule=schedule)
    assert isinstance(rule, Feedback)
    again = parse(repr(rule), "feedback")
    assert again == rule
    assert repr(again) == repr(rule)
    assert hash(again) == hash(rule)
    assert pickle.loads(pickle.dumps(rule)) == rule


@given(rules, tables(), st.integers(0, 30), st.sampled_from([0.25, 2.0, 16.0]))
def test_every_rule_keeps_every_law(rule: Any, table: Array, cut: int, unit: float) -> None:
    """All laws are asked of each example, because drawing it costs more than they do."""
    it_keeps_the_protocol(rule, table)
    runs_do_not_know_of_each_other(rule, table)
    the_factor_depends_on_the_past_only(rule, table, cut)
    a_relative_threshold_has_no_unit(rule, table, unit)
    the_largest_is_the_smallest_of_the_negative(rule, table)
    the_open_loop_part_is_left_alone(rule, table)


def it_keeps_the_protocol(rule: Feedback, table: Array) -> None:
    state = rule.start(len(table))
    np.testing.assert_array_equal(state["factor"], 1.0)
    for column in table.T:
        before = {key: array.copy() for key, array in state.items()}
        factor, after = rule.update(state, column)
        assert factor.shape == column.shape
        assert factor.dtype == np.float64
        assert np.all(np.isfinite(factor) & (factor >= 0))
        np.testing.assert_array_equal(factor, after["factor"])
        assert {key: array.shape for key, array in after.items()} == {
            key: array.shape for key, array in before.items()
        }
        assert all(array.dtype == np.float64 for array in after.values())
        for key, array in before.items():
            np.testing.assert_array_equal(state[key], array)  # what it was given is as it was
        state = after


def runs_do_not_know_of_each_other(rule: Feedback, table: Array) -> None:
    together = replay(rule, table)
    for run, row in enumerate(table):
        np.testing.assert_array_equal(replay(rule, row[None])[0], together[run])


def through_json(state: State) -> State:
    text = json.dumps({name: array.tolist() for name, array in state.items()})
    return {name: np.asarray(entries) for name, entries in json.loads(text).items()}


def through_npz(state: State) -> State:
    file = io.BytesIO()
    np.savez(file, **state)  # type: ignore[arg-type]  # numpy's stub takes the names for its own option
    file.seek(0)
    return dict(np.load(file))


@pytest.mark.parametrize("saved", [through_json, through_npz])
@given(rule=rules, table=tables())
@settings(max_examples=40)
def test_a_run_resumed_anywhere_is_the_uninterrupted_one(
    saved: Callable[[State], State], rule: Feedback, table: Array
) -> None:
    whole, state = replay(rule, table), rule.start(len(table))
    for k, column in enumerate(table.T):
        factor, state = rule.update(saved(state), column)
        np.testing.assert_array_equal(factor, whole[:, k])


def the_factor_depends_on_the_past_only(rule: Feedback, table: Array, cut: int) -> None:
    np.testing.assert_array_equal(replay(rule, table[:, :cut]), replay(rule, table)[:, :cut])


@given(plateaus | adaptives, tables())
def test_what_only_reduces_never_rises(rule: ReduceLROnPlateau | SklearnAdaptive, table: Array) -> None:
    factors = np.hstack([np.ones((len(table), 1)), replay(rule, table)])
    assert np.all(np.diff(factors) <= 0)
    if isinstance(rule, ReduceLROnPlateau):
        assert np.all(factors >= min(rule.low, 1.0))
    else:
        stopped = np.maximum.accumulate(factors == 0, axis=1)
        assert np.all(stopped == (factors == 0))
        assert np.all(stopped | (factors > min(rule.low, 1.0) / 5) | (factors == 1))


@given(greedies, tables())
def test_the_greedy_factor_stays_within_its_bounds(rule: GreedyLR, table: Array) -> None:
    factors = replay(rule, table)
    assert np.all((factors >= min(rule.low, 1.0)) & (factors <= max(rule.high, 1.0)))


def a_relative_threshold_has_no_unit(rule: Any, table: Array, unit: float) -> None:
    if getattr(rule, "threshold_mode", "abs") == "rel":
        table = np.round(16 * np.clip(table, -5, 5)) / 16  # multiples and sums are then exact
        np.testing.assert_array_equal(replay(rule, unit * table), replay(rule, table))


def the_largest_is_the_smallest_of_the_negative(rule: Any, table: Array) -> None:
    if getattr(rule, "threshold_mode", "abs") == "abs":
        other = replace(rule, mode={"min": "max", "max": "min"}[rule.mode])
        np.testing.assert_array_equal(replay(other, -table), replay(rule, table))


def the_open_loop_part_is_left_alone(rule: Any, table: Array) -> None:
    warm = replace(rule, schedule=Warmup(Linear(), 3))
    assert warm.schedule == Warmup(Linear(), 3)
    np.testing.assert_array_equal(replay(warm, table), replay(rule, table))


def test_a_rule_is_written_with_its_schedule_and_is_no_schedule_itself() -> None:
    text = "ReduceLROnPlateau(patience=5, schedule=Warmup(Constant(), length=100))"
    assert parse(text, "feedback") == ReduceLROnPlateau(patience=5, schedule=Warmup(Constant(), 100))
    with pytest.raises(InputError, match="give Schedule"):
        Warmup(ReduceLROnPlateau(), 3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a feedback; a schedule is wanted"):
        parse("Warmup(GreedyLR(), length=3)", "schedule")


@pytest.mark.parametrize("rule", [ReduceLROnPlateau(), GreedyLR(window=3), SklearnAdaptive()], ids=repr)
def test_bad_input_is_refused(rule: Feedback) -> None:
    with pytest.raises(InputError, match="at least 1 run"):
        rule.start(0)
    with pytest.raises(InputError, match=r"shape \(3,\), the state \(2,\)"):
        rule.update(rule.start(2), np.zeros(3))
    with pytest.raises(InputError, match="the rule's own state"):
        rule.update({"factor": np.ones(2)}, np.zeros(2))
    with pytest.raises(InputError, match="a row for each run"):
        replay(rule, [1.0, 2.0])


# -- worked examples


def factors_of(rule: Feedback, *row: float) -> list[float]:
    return [float(factor) for factor in replay(rule, [row])[0]]


def test_the_plateau_waits_then_cools_down() -> None:
    rule = ReduceLROnPlateau(0.5, patience=1, cooldown=2, low=0.2)
    #                            best | two fail | cooling   | two fail   | cooling    | low
    assert factors_of(rule, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0) == [
        *(1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.2)
    ]


def test_a_change_by_eps_does_not_happen_but_cools_down_all_the_same() -> None:
    rule = ReduceLROnPlateau(0.5, patience=0, eps=0.25)
    assert factors_of(rule, 1.0, 1.0, 1.0, 1.0) == [1.0, 0.5, 0.5, 0.5]
    cooling = replace(rule, cooldown=1, eps=1.0).start(1)
    for metric in (1.0, 1.0):
        _, cooling = replace(rule, cooldown=1, eps=1.0).update(cooling, np.array([metric]))
    assert cooling["factor"] == 1.0
    assert cooling["wait"] == 1.0


def test_the_greedy_factor_climbs_falls_and_starts_afresh() -> None:
    rule = GreedyLR(0.5, patience=1, low=0.25, high=4.0, reset_start=2)
    falling = factors_of(rule, 5.0, 4.0, 3.0, 2.0, 1.0, 0.5)
    assert falling == [1.0, 2.0, 2.0, 4.0, 4.0, 4.0]
    # after the first, every second metric is one too many: twice at low is `reset_start` times
    constant = factors_of(rule, *[1.0] * 9)
    assert constant == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 1.0, 1.0, 1.0]


def test_the_greedy_rule_ignores_metrics_after_a_change() -> None:
    rule = GreedyLR(0.5, patience=0, low=0.0, warmup=1, cooldown=2)
    #                      rise | not seen | rise | not seen | fall, best is 4 | not seen | rise
    assert factors_of(rule, 9.0, 1.0, 4.0, 1.0, 5.0, 0.0, 0.0, 3.0) == [
        2.0,
        2.0,
        4.0,
        4.0,
        2.0,
        2.0,
        2.0,
        4.0,
    ]


def test_smoothing_is_the_mean_of_the_window() -> None:
    rule = GreedyLR(0.5, patience=0, low=0.0, high=1e6, window=2)
    #                     means 4, 3, 2.5, 3.5, 3.5, 2
    assert factors_of(rule, 4.0, 2.0, 3.0, 4.0, 3.0, 1.0) == [2.0, 4.0, 8.0, 4.0, 2.0, 4.0]


def test_a_greedy_reset_forgets_the_window_and_a_rise_puts_it_off() -> None:
    rule = GreedyLR(0.5, patience=0, low=1.0, window=2, reset_start=1)
    #                     means 1, 2.5 and a reset, 8, 8.5 | 7
    assert factors_of(rule, 1.0, 4.0, 8.0, 9.0) == [2.0, 1.0, 2.0, 1.0]
    assert factors_of(rule, 1.0, 4.0, 8.0, 6.0) == [2.0, 1.0, 2.0, 4.0]
    twice = GreedyLR(0.5, patience=0, low=0.5, reset_start=2)
    assert factors_of(twice, 1.0, 2.0, 2.0, 0.5, 1.0, 1.0) == [2.0, 1.0, 0.5, 1.0, 0.5, 1.0]


def test_the_greedy_factor_does_not_change_by_eps() -> None:
    rule = GreedyLR(0.5, patience=0, low=0.0, eps=0.5)
    assert factors_of(rule, 3.0, 4.0, 4.0, 4.0) == [2.0, 1.0, 1.0, 1.0]
    assert factors_of(replace(rule, eps=1.0), 3.0, 2.0) == [1.0, 1.0]


def test_adaptive_divides_by_five_then_stops() -> None:
    rule = SklearnAdaptive(tol=0.1, patience=1, low=0.04)
    assert factors_of(rule, *[1.0] * 8) == [1.0, 1.0, 0.2, 0.2, 0.2 / 5, 0.2 / 5, 0.0, 0.0]
    assert factors_of(rule, *[0.0] * 7, -9.0)[-1] == 0.0  # for ever
    # progress is measured from the smallest so far, by however little it was smaller
    assert factors_of(rule, 1.0, 0.95, 0.9, 0.85) == [1.0, 1.0, 0.2, 0.2]
    assert factors_of(rule, 1.0, 0.95, 0.85, 0.8) == [1.0, 1.0, 1.0, 1.0]


def test_nan_is_never_a_best() -> None:
    nan = math.nan
    modes: list[tuple[Mode, float]] = [("min", 0.5), ("max", 2.0)]
    for mode, better in modes:
        plateau = ReduceLROnPlateau(0.5, patience=1, mode=mode)
        assert factors_of(plateau, nan, nan, nan) == [1.0, 0.5, 0.5]
        assert factors_of(plateau, 1.0, nan, better, nan, nan) == [1.0, 1.0, 1.0, 1.0, 0.5]
        greedy = GreedyLR(0.5, patience=1, mode=mode)
        assert factors_of(greedy, nan, nan, nan, nan) == [1.0, 0.5, 0.5, 0.25]
        assert factors_of(greedy, 1.0, nan, better, better) == [1.0, 1.0, 1.0, 1.0]
        # scikit-learn asks whether it fails, and it does not: a row of failures ends
        adaptive = SklearnAdaptive(patience=1, mode=mode)
        assert factors_of(adaptive, nan, nan, nan, nan) == [1.0, 1.0, 1.0, 1.0]
        assert factors_of(adaptive, 1.0, 1.0, nan, 1.0, 1.0) == [1.0, 1.0, 1.0, 1.0, 0.2]


def test_a_nan_leaves_the_mean_with_the_window() -> None:
    rule = GreedyLR(0.5, patience=0, low=0.0, high=8.0, window=2)
    assert factors_of(rule, 1.0, math.nan, 0.5, 0.25) == [2.0, 1.0, 0.5, 1.0]


def test_relative_thresholds_take_a_worse_negative_metric_for_a_better_one() -> None:
    rule = ReduceLROnPlateau(0.5, patience=0, threshold=0.1)
    assert factors_of(rule, -10.0, -9.5) == [1.0, 1.0]
    assert factors_of(rule, 10.0, 9.5) == [1.0, 0.5]


# -- torch


def optimizer(lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def rates_of_torch(rule: ReduceLROnPlateau, lr: float, row: Sequence[float]) -> list[float]:
    options = {key: getattr(rule, key) for key in ("mode", "factor", "patience", "threshold", "cooldown")}
    sgd = optimizer(lr)
    peer = torch.optim.lr_scheduler.ReduceLROnPlateau(
        sgd, threshold_mode=rule.threshold_mode, min_lr=rule.low * lr, eps=rule.eps * lr, **options
    )
    rates = []
    for metric in row:
        peer.step(metric)
        rates.append(float(sgd.param_groups[0]["lr"]))
    return rates


@given(plateaus, metrics, st.sampled_from([1.0, 2.0**-9, 8.0]))
@settings(max_examples=400)
def test_plateau_is_torchs(rule: ReduceLROnPlateau, row: list[float], lr: float) -> None:
    np.testing.assert_array_equal(lr * replay(rule, [row])[0], rates_of_torch(rule, lr, row))


@given(st.lists(st.floats(0, 5), max_size=60), st.sampled_from([0.1, 3e-4, 0.7]))
def test_plateau_is_torchs_at_rates_that_round(row: list[float], lr: float) -> None:
    rule = ReduceLROnPlateau(0.3, patience=2, low=1e-3, eps=1e-5)
    np.testing.assert_allclose(lr * replay(rule, [row])[0], rates_of_torch(rule, lr, row), rtol=1e-12)


def test_the_defaults_are_torchs() -> None:
    peer = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer(1.0))
    rule = ReduceLROnPlateau()
    for name in ("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "eps"):
        assert getattr(rule, name) == getattr(peer, name)
    assert peer.min_lrs == [rule.low]


# -- transformers


def rates_of_transformers(rule: GreedyLR, lr: float, row: Sequence[float]) -> list[float]:
    optimization = pytest.importorskip("transformers.optimization", reason=PEERS)
    same = ("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "warmup", "reset_start")
    sgd = optimizer(lr)
    peer = optimization.GreedyLR(
        sgd,
        min_lr=rule.low * lr,
        max_lr=rule.high * lr,
        eps=rule.eps * lr,
        smooth=rule.window > 1,
        window_size=rule.window,
        **{name: getattr(rule, name) for name in same},
    )
    rates = []
    for metric in row:
        peer.step(metric)
        rates.append(float(sgd.param_groups[0]["lr"]))
    return rates


@pytest.mark.conformance
@given(greedies, st.lists(sixteenths, max_size=60), st.sampled_from([1.0, 2.0**-9, 8.0]))
@settings(max_examples=400)
def test_greedy_is_transformers(rule: GreedyLR, row: list[float], lr: float) -> None:
    np.testing.assert_array_equal(lr * replay(rule, [row])[0], rates_of_transformers(rule, lr, row))


@pytest.mark.conformance
@given(greedies, metrics)
def test_greedy_is_transformers_whatever_the_metric(rule: GreedyLR, row: list[float]) -> None:
    rule = replace(rule, window=1)
    np.testing.assert_array_equal(replay(rule, [row])[0], rates_of_transformers(rule, 1.0, row))


@pytest.mark.conformance
def test_the_defaults_of_greedy_are_transformers_at_a_tenth() -> None:
    optimization = pytest.importorskip("transformers.optimization", reason=PEERS)
    peer, rule = optimization.GreedyLR(optimizer(0.1)), GreedyLR()
    same = ("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "warmup", "reset_start")
    for name in same:
        assert getattr(rule, name) == getattr(peer, name)
    assert [0.1 * rule.low, 0.1 * rule.high, 0.1 * rule.eps] == pytest.approx(
        [*peer.min_lrs, *peer.max_lrs, peer.eps], rel=1e-15
    )


@pytest.mark.conformance
def test_a_nan_stays_in_transformers_mean_until_a_reset() -> None:
    rule = GreedyLR(0.5, patience=0, low=0.0, high=8.0, window=2)
    row = [1.0, math.nan, 0.5, 0.25, 0.125]
    assert factors_of(rule, *row) == [2.0, 1.0, 0.5, 1.0, 2.0]
    assert rates_of_transformers(rule, 1.0, row) == [2.0, 1.0, 0.5, 0.25, 0.125]


@pytest.mark.conformance
def test_below_its_least_rate_transformers_greedy_never_falls() -> None:
    at_5e_5 = GreedyLR(patience=0, low=1e-3 / 5e-5, high=1.0 / 5e-5)
    worse = [1.0, 2.0, 3.0, 4.0]
    rates = rates_of_transformers(at_5e_5, 5e-5, worse)
    np.testing.assert_allclose(rates, 5e-5 / 0.95, rtol=1e-12)
    np.testing.assert_allclose(5e-5 * replay(at_5e_5, [worse])[0], rates, rtol=1e-12)


# -- scikit-learn


class Scripted(MLPRegressor):  # type: ignore[misc]  # scikit-learn has no types
    """A real MLPRegressor whose losses and scores are given; it notes the rate of every epoch."""

    def script(self, row: Sequence[float]) -> "Scripted":
        self.row, self.rates = list(row), list[float]()
        return self

    def _next(self) -> float:
        return self.row[len(self.rates) - 1]

    def _backprop(self, *arguments: Any) -> tuple[float, list[Array], list[Array]]:
        *_, weights, biases = arguments
        self.rates.append(self._optimizer.learning_rate)
        loss = 0.0 if self.early_stopping else self._next()
        return loss, [np.zeros_like(g) for g in weights], [np.zeros_like(g) for g in biases]

    def _score(self, *_: Any, **__: Any) -> float:
        return self._next()


@given(adaptives, metrics.filter(bool), st.sampled_from([2.0**-6, 2.0**-10, 2.0**-18]))
@settings(max_examples=150)
def test_adaptive_is_that_of_multilayer_perceptrons(
    rule: SklearnAdaptive, row: list[float], lr: float
) -> None:
    rule = replace(rule, patience=rule.patience + 1, low=1e-6 / lr)
    mlp = Scripted(
        hidden_layer_sizes=(),
        solver="sgd",
        learning_rate="adaptive",
        learning_rate_init=lr,
        tol=rule.tol,
        n_iter_no_change=rule.patience,
        max_iter=len(row),
        early_stopping=rule.mode == "max",
        validation_fraction=0.5,
        random_state=0,
    ).script(row)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged
        mlp.fit(np.zeros((4, 1)), np.zeros(4))
    factors = replay(rule, [row])[0]
    in_force = np.concatenate([[1.0], factors])[: len(row)]
    epochs = np.count_nonzero(in_force)
    np.testing.assert_array_equal(mlp.rates, lr * in_force[:epochs])
    assert mlp.n_iter_ == epochs


def epochs_of_sgd(rule: SklearnAdaptive, lr: float, X: Array, y: Array, most: int) -> Iterator[Array]:
    """The coefficients after each epoch of plain SGD on half the squared error, under the rule, until it
    stops."""
    w, state = np.zeros(X.shape[1]), rule.start(1)
    for _ in range(most):
        total = 0.0
        for features, label in zip(X, y, strict=True):
            error = features @ w - label
            total += 0.5 * error**2
            w = w - lr * state["factor"][0] * error * features
        factor, state = rule.update(state, np.array([total / len(y)]))
        yield w
        if factor[0] == 0:
            return


@pytest.mark.parametrize("n_iter_no_change", [1, 3])
@pytest.mark.parametrize("lr", [1e-4, 0.02, 0.3])
def test_adaptive_is_that_of_linear_models(lr: float, n_iter_no_change: int) -> None:
    generator = np.random.default_rng(0)
    X = generator.normal(size=(20, 3))
    y = X @ [1.0, -2.0, 0.5] + generator.normal(size=20)
    rule = SklearnAdaptive(tol=1e-3, patience=n_iter_no_change - 1, low=1e-6 / lr)
    sgd = SGDRegressor(
        penalty=None,
        learning_rate="adaptive",
        eta0=lr,
        tol=rule.tol,
        n_iter_no_change=n_iter_no_change,
        fit_intercept=False,
        shuffle=False,
        max_iter=1000,
    ).fit(X, y)
    epochs = list(epochs_of_sgd(rule, lr, X, y, most=1000))
    assert len(epochs) == sgd.n_iter_
    assert 2 < sgd.n_iter_ < 1000
    np.testing.assert_allclose(epochs[-1], sgd.coef_, rtol=1e-9)


def test_the_defaults_are_those_of_linear_models() -> None:
    peer, rule = SGDRegressor(), SklearnAdaptive()
    assert (rule.tol, rule.patience) == (peer.tol, peer.n_iter_no_change - 1)
    assert rule.low == pytest.approx(1e-6 / peer.eta0)
    assert rule.schedule == Constant()
