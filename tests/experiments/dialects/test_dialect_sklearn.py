"""scikit-learn's rates as its estimators really use them, recovered from the weights they leave behind,
beside what the dialect reads; and what it writes, read back."""

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, SGDClassifier, SGDRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor

from ratelab.experiments.dialects import DialectError, Training
from ratelab.experiments.dialects.sklearn import read, write
from ratelab.theory.arrays import Array
from ratelab.theory.combine import Held, Scaled, Warmup
from ratelab.theory.feedback import SklearnAdaptive, replay
from ratelab.theory.schedules import Constant, Cosine, InversePower, Linear
from ratelab.theory.stepsizes import Bottou, bottou_start

rates = st.floats(1e-4, 0.5)
powers = st.floats(0.0, 2.0)


def used_by_sgd(model: Any, updates: int) -> Array:
    """The rates of a run on one sample x = 1 with target 1, from the weight after each update of w = 0.

    On the squared error an update is w + eta (1 - w), on the hinge w + eta while w <= 1. The weight is set
    back to 0 every time: near 1 the rate would be what is left of digits that cancel.
    """
    model.set_params(penalty=None, fit_intercept=False, shuffle=False)
    x, used = np.array([[1.0]]), []
    more = {"classes": [-1, 1]} if isinstance(model, SGDClassifier) else {}
    for _ in range(updates):
        model.partial_fit(x, [1], **more)
        used.append(float(model.coef_.ravel()[0]))
        model.coef_[:] = 0.0
        model._standard_coef = model.coef_
    return np.array(used)


@given(rates, powers, st.sampled_from(["constant", "invscaling"]), st.integers(1, 30))
@settings(max_examples=30)
def test_sgd_uses_the_rates_that_are_read(eta0: float, power: float, word: str, T: int) -> None:
    model = SGDRegressor(learning_rate=word, eta0=eta0, power_t=power)
    np.testing.assert_allclose(used_by_sgd(model, T), read(model).rates(T), rtol=1e-9)


@given(st.floats(1e-6, 10.0), st.sampled_from(["hinge", "perceptron"]), st.integers(1, 30))
@settings(max_examples=30)
def test_sgd_optimal(alpha: float, loss: str, T: int) -> None:
    model = SGDClassifier(loss=loss, learning_rate="optimal", alpha=alpha)
    trained = read(model)
    assert trained.schedule == Bottou(bottou_start(alpha))
    np.testing.assert_allclose(used_by_sgd(model, T), trained.rates(T), rtol=1e-9)


@pytest.mark.parametrize(
    "loss", ["hinge", "log_loss", "modified_huber", "squared_hinge", "squared_error", "huber"]
)
def test_the_t0_of_optimal_does_not_depend_on_the_loss(loss: str) -> None:
    """Bottou's heuristic divides by max(1, -loss'(-w)); scikit-learn takes loss' with the other sign, so the
    maximum is always 1, also where the loss is as steep as that of the squared hinge."""
    alpha = 1e-4
    model = SGDClassifier(loss=loss, learning_rate="optimal", alpha=alpha, penalty=None, fit_intercept=False)
    model.partial_fit([[1e-3]], [1], classes=[-1, 1])
    slope = {"log_loss": 0.5, "modified_huber": 2.0, "squared_hinge": 2.0, "huber": 0.1}.get(loss, 1.0)
    eta = model.coef_[0, 0] / (1e-3 * slope)
    np.testing.assert_allclose(eta, alpha**-0.25, rtol=1e-9)
    assert read(model).lr == pytest.approx(alpha**-0.25)


def test_sgd_counts_samples_from_one_and_on_through_epochs() -> None:
    """Two epochs of three equal samples: the weight is 1 minus the product of all six 1 - eta."""
    model = SGDRegressor(
        learning_rate="invscaling", eta0=0.2, power_t=0.5, penalty=None, fit_intercept=False, shuffle=False
    )
    model.set_params(max_iter=2, tol=None)
    model.fit([[1.0]] * 3, [1.0] * 3)
    assert model.t_ == 7  # six updates, counted from 1
    expected = 1 - np.prod(1 - 0.2 / np.arange(1, 7) ** 0.5)
    np.testing.assert_allclose(model.coef_[0], expected, rtol=1e-12)
    trained = read(model, samples=3)
    assert trained.horizon == 6
    np.testing.assert_allclose(1 - np.prod(1 - trained.rates()), expected, rtol=1e-12)


@pytest.mark.parametrize("patience", [1, 2, 5])
def test_sgd_adaptive(patience: int) -> None:
    """An objective that never improves: after the first epoch every one fails."""
    model = SGDRegressor(
        learning_rate="adaptive",
        eta0=0.5,
        tol=1e9,
        n_iter_no_change=patience,
        penalty=None,
        fit_intercept=False,
    )
    model.set_params(shuffle=False, max_iter=1000)
    model.fit([[1.0]], [1.0])
    rule = read(model).schedule
    assert isinstance(rule, SklearnAdaptive)
    factors = replay(rule, [np.full(model.n_iter_ + 1, 0.5)])[0]
    assert factors[model.n_iter_ - 1] == 0  # stops in that epoch
    assert np.all(factors[: model.n_iter_ - 1] > 0)
    in_force = 0.5 * np.concatenate([[1.0], factors[: model.n_iter_ - 1]])
    np.testing.assert_allclose(model.coef_[0], 1 - np.prod(1 - in_force), rtol=1e-9)


@pytest.mark.parametrize("patience", [1, 3])
def test_mlp_adaptive_waits_one_epoch_longer(patience: int) -> None:
    model = MLPRegressor(
        hidden_layer_sizes=(1,), solver="sgd", learning_rate="adaptive", tol=1e9, n_iter_no_change=patience
    )
    model.set_params(max_iter=25, random_state=0, learning_rate_init=0.01)
    rule = read(model).schedule
    assert isinstance(rule, SklearnAdaptive)
    assert rule.patience == patience
    model.partial_fit([[1.0]], [1.0])
    used = [model._optimizer.learning_rate]
    while len(used) < 40:
        model.partial_fit([[1.0]], [1.0])
        used.append(model._optimizer.learning_rate)
    factors = replay(rule, [model.loss_curve_])[0]
    going = factors > 0
    assert not going[-1]  # where fit would stop, partial_fit stays at the last rate
    np.testing.assert_allclose(np.array(used)[going], 0.01 * factors[going], rtol=1e-9)
    np.testing.assert_array_equal(np.array(used)[~going], used[-1])


@given(rates, powers, st.integers(1, 9), st.integers(1, 9) | st.just("auto"), st.integers(1, 5))
@settings(max_examples=15)
def test_mlp_invscaling_jumps_after_the_first_epoch(
    rate: float, power: float, samples: int, batch: int | str, epochs: int
) -> None:
    """The samples seen are counted at the end of each epoch only, and the first epoch counts as sample 1."""
    batch = batch if batch == "auto" else min(int(batch), samples)
    model = MLPRegressor(
        hidden_layer_sizes=(1,),
        solver="sgd",
        learning_rate="invscaling",
        learning_rate_init=rate,
        power_t=power,
    )
    model.set_params(batch_size=batch, random_state=0)
    trained = read(model, samples=samples)
    every = -(-samples // (samples if batch == "auto" else int(batch)))
    used, now = [], rate
    for _ in range(epochs):
        used += [now] * every
        model.partial_fit(np.zeros((samples, 1)), np.zeros(samples))
        now = model._optimizer.learning_rate
    np.testing.assert_allclose(trained.rates(len(used)), used, rtol=1e-12)
    assert trained.horizon == 200 * every
    assert read(model) == trained  # a fitted one knows its samples
    if epochs > 1:
        np.testing.assert_allclose(used[every] / used[0], (samples + 1) ** -power, rtol=1e-12)


def test_mlp_weights_move_by_the_rate_that_is_read() -> None:
    """A hidden unit that is switched off leaves the output's bias alone, and its gradient is b - y."""
    model = MLPRegressor(
        hidden_layer_sizes=(1,),
        solver="sgd",
        learning_rate="invscaling",
        learning_rate_init=0.1,
        momentum=0.0,
    )
    model.set_params(activation="relu", alpha=0.0, batch_size=1, shuffle=False, nesterovs_momentum=False)
    x, y = np.zeros((3, 1)), np.zeros(3)
    model.partial_fit(x, y)
    model.intercepts_[0][:] = -1.0
    trained = read(model)
    before = float(model.intercepts_[1][0])
    model.partial_fit(x, y)
    np.testing.assert_allclose(model.intercepts_[1][0] / before, np.prod(1 - trained.rates(6)[3:]), rtol=1e-9)


TEXTS = [
    ("SGDClassifier(learning_rate='constant', eta0=0.1)", 0.1, Constant()),
    ("SGDRegressor()", 0.01, InversePower(0.25)),
    ("SGDClassifier()", 1e-4**-0.25, Bottou(bottou_start(1e-4))),
    ("linear_model.SGDClassifier('log_loss', alpha=1e-2)", 1e-2**-0.25, Bottou(bottou_start(1e-2))),
    ("SGDRegressor(learning_rate='invscaling', eta0=1/4, power_t=0.5)", 0.25, InversePower(0.5)),
    ("SGDClassifier(learning_rate='adaptive', eta0=0.01)", 0.01, SklearnAdaptive()),
    ("SGDClassifier(learning_rate='adaptive', eta0=0.01, tol=None)", 0.01, Constant()),
    (
        "SGDClassifier(learning_rate='adaptive', early_stopping=True)",
        0.01,
        SklearnAdaptive(mode="max"),
    ),
    ("model = MLPClassifier(solver='sgd')", 1e-3, Constant()),
    ("MLPRegressor(solver='sgd', learning_rate='adaptive')", 1e-3, SklearnAdaptive(1e-4, 10, low=1e-3)),
]


@pytest.mark.parametrize(("text", "lr", "schedule"), TEXTS, ids=[text for text, _, _ in TEXTS])
def test_text(text: str, lr: float, schedule: Any) -> None:
    trained = read(text)
    assert trained.lr == pytest.approx(lr, rel=1e-15)
    assert trained.schedule == schedule


@pytest.mark.parametrize("cls", [SGDClassifier, SGDRegressor, MLPClassifier, MLPRegressor])
def test_an_estimator_says_what_its_text_says(cls: type) -> None:
    more = {"solver": "sgd"} if cls.__name__.startswith("MLP") else {}
    for word in ("constant", "invscaling", "adaptive"):
        model = cls(learning_rate=word, **more)
        written = ", ".join(f"{key}={member!r}" for key, member in {"learning_rate": word, **more}.items())
        assert read(model, samples=5) == read(f"{cls.__name__}({written})", samples=5)


def test_lr_stands_in_for_a_rate_that_is_not_written() -> None:
    text = "SGDClassifier(learning_rate='constant')"
    assert read(text).lr == 0.01  # scikit-learn's default, since 1.8
    assert read(text, lr=0.3).lr == 0.3
    assert read("SGDRegressor(eta0=0.3)", lr=0.3).lr == 0.3
    with pytest.raises(DialectError, match=r"written with eta0=0\.2; leave lr out"):
        read("SGDRegressor(eta0=0.2)", lr=0.3)
    with pytest.raises(DialectError, match="takes its rate from alpha alone"):
        read("SGDClassifier()", lr=0.3)


REFUSED = [
    ("SGDClassifier(learning_rate='pa1')", "depends on each sample"),
    ("SGDRegressor(learning_rate='pa2')", "depends on each sample"),
    ("SGDRegressor(eta0=0.0)", "above 0"),
    ("SGDRegressor(power_t=-0.5)", "grows"),
    ("SGDClassifier(alpha=0)", "alpha is 0"),
    ("SGDClassifier(learning_rate='cosine')", "known: constant, optimal"),
    ("SGDClassifier(learningrate='constant')", "did you mean learning_rate"),
    ("MLPClassifier(solver='lbfgs')", "searches along lines"),
    ("MLPClassifier(solver='sgd', learning_rate='optimal')", "known: constant, invscaling"),
    ("MLPClassifier(solver='sgd', learning_rate='invscaling')", "samples=n"),
    ("MLPClassifier(solver='sgd', batch_size=0)", "batch_size is 0"),
    ("MLPClassifier(solver='sgd', learning_rate=rate)", "write its value"),
    ("Ridge(alpha=1.0)", "known: SGDClassifier"),
]


@pytest.mark.parametrize(("text", "reason"), REFUSED, ids=[text for text, _ in REFUSED])
def test_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(DialectError, match=reason):
        read(text, samples=None if "invscaling" in text else 10)


def test_other_estimators_are_refused() -> None:
    with pytest.raises(DialectError, match="give SGDClassifier"):
        read(LogisticRegression())


def test_adam_ignores_learning_rate_silently() -> None:
    """MLPs use adam unless told otherwise, and learning_rate then does nothing: the choice is lost."""
    model = MLPRegressor(hidden_layer_sizes=(1,), learning_rate="invscaling", max_iter=3, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # three epochs are no training
        model.fit(np.zeros((4, 1)), np.zeros(4))
    assert model._optimizer.learning_rate_init == 1e-3
    trained = read(model)
    assert trained.schedule == Constant()
    assert any(note.startswith("lost: learning_rate='invscaling'") for note in trained.notes)


WRITTEN = [
    (Training(0.1, Constant()), "SGDClassifier(learning_rate='constant', eta0=0.1)"),
    (Training(0.5, Scaled(Constant(), 0.5)), "SGDClassifier(learning_rate='constant', eta0=0.25)"),
    (Training(0.1, InversePower(0.5)), "SGDClassifier(learning_rate='invscaling', eta0=0.1, power_t=0.5)"),
    (Training(10.0, Bottou(1000.0)), "SGDClassifier(learning_rate='optimal', alpha=0.0001)"),
    (
        Training(0.01, SklearnAdaptive(low=1e-4)),
        "SGDClassifier(learning_rate='adaptive', eta0=0.01, tol=0.001, n_iter_no_change=5)",
    ),
]


@pytest.mark.parametrize(("training", "text"), WRITTEN, ids=[text for _, text in WRITTEN])
def test_written(training: Training, text: str) -> None:
    assert write(training) == text
    assert read(text).lr == pytest.approx(training.lr * getattr(training.schedule, "factor", 1.0), rel=1e-12)


@given(rates, powers, st.integers(1, 400), st.integers(1, 400))
def test_written_is_read_back(lr: float, power: float, samples: int, batch: int) -> None:
    every = -(-samples // min(batch, samples))
    for schedule in (InversePower(power), Held(InversePower(power, timescale=1 / samples), every)):
        if isinstance(schedule, Held) and every == 1:
            continue
        training = Training(lr, schedule)
        again = read(write(training), samples=samples)
        assert isinstance(again.schedule, type(schedule))
        np.testing.assert_allclose(again.rates(50), training.rates(50), rtol=1e-12)


@given(st.floats(1e-6, 10.0))
def test_optimal_is_written_and_read_back(alpha: float) -> None:
    trained = read(SGDClassifier(alpha=alpha))
    np.testing.assert_allclose(read(write(trained)).rates(50), trained.rates(50), rtol=1e-12)


UNSAYABLE = [
    (Training(0.1, Cosine()), "constant, invscaling, optimal and adaptive"),
    (Training(0.1, Linear()), "constant, invscaling, optimal and adaptive"),
    (Training(0.1, Warmup(Constant(), 5)), "constant, invscaling, optimal and adaptive"),
    (Training(0.1, Bottou(1000.0)), "ties t0 to lr"),
    (Training(0.1, InversePower(0.5, timescale=2.0)), "constant, invscaling, optimal and adaptive"),
    (Training(0.1, Held(InversePower(0.5, timescale=0.1), 6)), "no batch size"),
    (Training(0.1, Held(InversePower(0.5, timescale=3.0), 6)), "timescale"),
    (Training(0.1, SklearnAdaptive()), "smallest rate"),
    (Training(0.0, Constant()), "above 0"),
]


@pytest.mark.parametrize(("training", "reason"), UNSAYABLE, ids=[repr(t.schedule) for t, _ in UNSAYABLE])
def test_what_scikit_learn_cannot_say(training: Training, reason: str) -> None:
    with pytest.raises(DialectError, match=reason):
        write(training)
