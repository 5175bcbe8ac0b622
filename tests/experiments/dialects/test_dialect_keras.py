"""keras as a dialect, against the installed keras: each schedule over random parameters, as text and live;
what we write, executed; a real optimizer driven; the tutorials' schedules; and a pin for each surprise."""

import json
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st
from strategies import values

from ratelab.experiments.dialects import DialectError, Training, keras as dialect_keras
from ratelab.experiments.dialects.keras import read, write
from ratelab.theory.arrays import Array, InputError
from ratelab.theory.combine import Cooldown, Held, Product, Repeat, Scaled, Then, Warmup, Within
from ratelab.theory.cycles import CosineRestarts, OneCycle
from ratelab.theory.feedback import GreedyLR, ReduceLROnPlateau, replay
from ratelab.theory.notation import parse
from ratelab.theory.sampled import Values
from ratelab.theory.schedules import (
    Constant,
    Cosine,
    Exponential,
    Geometric,
    InversePower,
    Linear,
    MultiStep,
    Piecewise,
    Polynomial,
    Rex,
    Schedule,
    Step,
    multipliers,
)

N = 60  # updates compared, well beyond the end of most of the schedules drawn
FLOAT32 = 2e-6  # of the largest rate: keras computes in float32, whose rounding this is
FLOAT64 = 1e-10
MODULE = "keras.optimizers.schedules"
# keras' callbacks hand a torch parameter to np.array, which NumPy 2 deprecates; nothing here can change that
of_keras_itself = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def peer() -> Any:
    """keras on torch, which is installed in any case."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what keras' own dependencies say while they are imported
        patch.setenv("KERAS_BACKEND", "torch")
        return pytest.importorskip("keras", reason="peers are not installed: make conformance")


@contextmanager
def doubles() -> Iterator[None]:
    """keras in float64, to compare formulas and not roundings."""
    keras = peer()
    keras.config.set_floatx("float64")
    try:
        yield
    finally:
        keras.config.set_floatx("float32")


def live(text: str) -> Any:
    return eval(text, {"keras": peer()})


def rates_of(made: Any, count: int = N) -> Array:
    """The rates of a keras schedule, or of the plain number that stands for a constant."""
    steps = range(count)
    return np.array([made if isinstance(made, float) else float(made(step)) for step in steps])


def agree(ours: Array, theirs: Array, tolerance: float) -> None:
    """The error is measured against the largest rate: near a zero float32 has no digits of its own."""
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * np.max(theirs, initial=0.0))


def tame(schedule: Schedule) -> bool:
    """Without numbers beyond a millionth and a million, where roundings and memory are the subject."""
    numbers = re.findall(r"[-+.\w]+", re.sub("'.*?'", "", repr(schedule)))
    sizes = [abs(float(number)) for number in numbers if number[0].isdigit()]
    return all(1e-6 <= size <= 1e6 for size in sizes if size)


def texts() -> st.SearchStrategy[str]:
    """Every class of keras.optimizers.schedules, written out with random arguments."""
    rate = st.sampled_from([0.0, 1.0, 0.1]) | st.floats(1e-4, 2.0)
    above = st.floats(1e-3, 2.0)
    steps, short = st.integers(1, 50), st.integers(0, 20)

    def text(name: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
        return st.fixed_dictionaries(arguments).map(
            lambda a: f"{MODULE}.{name}({', '.join(f'{key}={given!r}' for key, given in a.items())})"
        )

    pieces = st.lists(st.integers(-3, 40), min_size=1, max_size=4, unique=True).flatmap(
        lambda marks: st.lists(above, min_size=len(marks) + 1, max_size=len(marks) + 1).map(
            lambda values: f"{MODULE}.PiecewiseConstantDecay({sorted(marks)}, {values})"
        )
    )
    decay = {"decay_steps": steps, "decay_rate": st.floats(0.1, 1.1), "staircase": st.booleans()}
    return st.one_of(
        pieces,
        text("ExponentialDecay", initial_learning_rate=rate, **decay),
        text("InverseTimeDecay", initial_learning_rate=rate, **decay),
        text(
            "PolynomialDecay",
            initial_learning_rate=above,
            decay_steps=steps,
            end_learning_rate=rate,
            power=st.sampled_from([1.0, 2.0]) | st.floats(0.5, 3.0),
            cycle=st.booleans(),
        ),
        text(
            "CosineDecay",
            initial_learning_rate=rate,
            decay_steps=steps,
            alpha=rate,
            warmup_target=st.none() | rate,
            warmup_steps=short,
        ),
        text(
            "CosineDecayRestarts",
            initial_learning_rate=rate,
            first_decay_steps=st.integers(2, 30),
            t_mul=st.sampled_from([1.0, 2.0, 3.0]),
            m_mul=st.sampled_from([1.0, 0.5, 0.9, 1.1]),
            alpha=st.sampled_from([0.0, 0.1]),
        ),
    )


@pytest.mark.conformance
@settings(max_examples=40)
@given(texts())
def test_what_we_read_is_what_keras_does_for_any_number_of_updates(text: str) -> None:
    made = live(text)
    training = read(text, horizon=N)
    agree(training.rates(N), rates_of(made), FLOAT32)
    assert read(made, horizon=N) == training
    with doubles():
        agree(training.rates(N), rates_of(made), FLOAT64)


@pytest.mark.conformance
@settings(max_examples=40)
@given(values("schedule").filter(tame), st.integers(1, 40))
def test_what_we_write_has_our_rates_when_keras_executes_it(schedule: Schedule, T: int) -> None:
    training = Training(0.1, schedule, T)
    try:
        rates = training.rates()
    except InputError:  # it does not exist for this horizon
        return
    try:
        text = write(training)
    except DialectError:
        return
    assume(rates.max() < 1e6)
    with doubles():
        agree(rates, rates_of(live(text), T), 1e-9)
    agree(rates, read(text).rates(T), 1e-10)


SAYABLE: list[tuple[Schedule, str]] = [
    (Constant(), "0.1"),
    (Scaled(Linear(0.1), factor=0.5), "PolynomialDecay(initial_learning_rate=0.05, decay_steps=20"),
    (Polynomial(2.0, final=0.1), "power=2.0"),
    (Cosine(0.01), "CosineDecay("),
    (Exponential(0.9), "ExponentialDecay("),
    (Exponential(0.0), "decay_rate=0.0"),
    (Geometric(0.01), "decay_steps=20, decay_rate=0.01"),
    (Step(0.5, every=5), "staircase=True"),
    (Step(0.0, every=3), "staircase=True"),
    (MultiStep((5, 0.5), gamma=0.1), "boundaries=[4, 9]"),
    (Piecewise((0, 10), values=(1.0, 0.0, 0.5)), "boundaries=[9], values=[0.0, 0.05]"),
    (Held(Linear(), every=5), "boundaries=[4, 9, 14]"),
    (Held(Exponential(0.5), every=5), "staircase=True"),
    (Held(InversePower(1.0, timescale=4.0), every=5), "decay_rate=0.25, staircase=True"),
    (InversePower(1.0, timescale=4.0), "InverseTimeDecay("),
    (Then(Constant(), Scaled(Constant(), 0.1), at=7), "boundaries=[6]"),
    (Warmup(Cosine(0.1), length=5), "decay_steps=15, alpha=0.1, warmup_target=0.1, warmup_steps=5"),
    (Warmup(Cosine(), length=5, start=0.0), "initial_learning_rate=0.0"),
    (Warmup(Constant(), length=5), "end_learning_rate=0.1, power=1.0"),
    (Warmup(Constant(), length=5, start="1/W"), "decay_steps=4"),
    (Warmup(Constant(), length=5, shape="1-sqrt"), "power=0.5"),
    (Warmup(Cosine(), length=40), "decay_steps=40"),
    (Within(Cosine(), length=10), "decay_steps=10"),
    (Within(Linear(0.1), end="T-1"), "decay_steps=19"),
    (Repeat(Cosine(), period=5, growth=2.0, decay=0.5), "t_mul=2.0, m_mul=0.5"),
    (Repeat(Cosine(0.1), period=5), "t_mul=1.0, m_mul=1.0, alpha=0.1"),
    (Repeat(Cosine(), period=8, growth=1.5, floor=0.1), "t_mul=1.5, m_mul=1.0, alpha=0.1"),
    (CosineRestarts(4.0, final=0.1), "first_decay_steps=5, t_mul=1.0"),
]


@pytest.mark.parametrize(("schedule", "words"), SAYABLE, ids=[f"{k}-{w}" for k, (_, w) in enumerate(SAYABLE)])
def test_what_can_be_said_is_said_in_keras_words(schedule: Schedule, words: str) -> None:
    training = Training(0.1, schedule, 20)
    text = write(training)
    assert words in text
    agree(read(text, horizon=20).rates(20), training.rates(), 1e-13)


@pytest.mark.conformance
def test_the_words_mean_the_same_to_keras() -> None:
    for schedule, _ in SAYABLE:
        training = Training(0.1, schedule, 20)
        agree(training.rates(), rates_of(live(write(training)), 20), FLOAT32)


@pytest.mark.parametrize(
    ("schedule", "reason"),
    [
        (InversePower(0.5), "no schedule that says InversePower"),
        (Rex(), "schedule makes an object of it"),
        (OneCycle(), "no schedule that says OneCycle"),
        (Cosine(power=2.0), "no schedule that says Cosine"),
        (Cooldown(Constant(), length=5), "no schedule that says Cooldown"),
        (Then(Linear(), Cosine(), at=10), "joins no schedules"),
        (Warmup(Linear(), length=5), "to a cosine or a constant"),
        (Warmup(Cosine(), length=5, overlap=True), "to a cosine or a constant"),
        (Warmup(Cosine(), length=5, start="1/W"), "when the warmup ends"),
        (Warmup(Cosine(), length=5, shape="cosine"), "warms up linearly"),
        (Repeat(Linear(), period=5), "repeats cosines"),
        (Repeat(Cosine(), period=5, growth=1.5), "whole numbers"),
        (Repeat(Cosine(), period=5, decay=0.5, floor=0.1), "above a fixed floor"),
        (CosineRestarts(3.0), "no schedule that says CosineRestarts"),
        (GreedyLR(), "no callback"),
        (ReduceLROnPlateau(threshold_mode="abs"), "set eps=0.0"),
        (ReduceLROnPlateau(eps=0.0), "min_delta is absolute"),
        (ReduceLROnPlateau(eps=0.0, threshold_mode="abs", schedule=Linear()), "takes no schedule"),
    ],
    ids=str,
)
def test_what_keras_cannot_say_is_refused_with_the_reason(schedule: Any, reason: str) -> None:
    with pytest.raises(DialectError, match=reason):
        write(Training(0.1, schedule, 20))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("CosineDecay(0.1, 0)", "above 0"),
        ("CosineDecay(0.1, decay_step=5)", "did you mean decay_steps"),
        ("CosineDecay(0, 100, warmup_target=0.1, warmup_steps=10)", "computes in integers"),
        ("PiecewiseConstantDecay([5], [1, 0.5])", "computes in integers"),
        ("PiecewiseConstantDecay([5], [1.0])", "one value more"),
        ("PiecewiseConstantDecay([5, 5], [1.0, 0.5, 0.1])", "do not increase"),
        ("CosineDecayRestarts(0.1, 10, t_mul=0.5)", "end in NaN"),
        ("CosineDecayRestarts(0.1, 10, t_mul=1.5)", "give a horizon"),
        ("CosineDecayRestarts(0.1, 10, m_mul=0.5, alpha=0.1)", "above the floor"),
        ("PolynomialDecay(0.1, 10, cycle=True)", "give a horizon"),
        ("ExponentialDecay(0.1, 2.5, 0.5, staircase=True)", "whole numbers"),
        ("ExponentialDecay(-0.1, 10, 0.5)", "never negative"),
        ("keras.optimizers.Adam(0.1)", "Adam is no schedule"),
        ("lambda epoch: 0.1", "one call"),
        ("keras.callbacks.ReduceLROnPlateau(monitor='val_accuracy')", "mode='min' or mode='max'"),
        ("keras.callbacks.ReduceLROnPlateau(min_lr=1e-4)", "give the lr"),
    ],
)
def test_text_that_says_nothing_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(DialectError, match=reason):
        read(text)


def test_without_a_horizon_only_anytime_schedules_can_be_said() -> None:
    for schedule in (Exponential(0.5), Step(0.5, every=3), MultiStep((3, 9), 0.1), InversePower(1.0)):
        text = write(Training(0.1, schedule))
        agree(read(text).rates(20), 0.1 * multipliers(schedule, 20), 1e-13)
    with pytest.raises(DialectError, match="give the horizon"):
        write(Training(0.1, Cosine()))


def test_the_edges_of_a_warmup() -> None:
    for T, W in ((5, 0), (5, 5), (5, 9), (1, 0), (1, 1), (2, 1)):
        for start in ("1/(W+1)", 0.0, 0.5):
            training = Training(0.1, Warmup(Cosine(), length=W, start=start), T)
            agree(read(write(training)).rates(T), training.rates(), 1e-13)


def test_what_is_read_is_a_formula_that_a_person_recognises() -> None:
    cosine = read("CosineDecay(0.0, decay_steps=90, alpha=0.01, warmup_target=0.1, warmup_steps=10)")
    assert cosine.schedule == Warmup(Within(Cosine(0.01), length=90), length=10, start=0.0)
    assert (cosine.lr, cosine.horizon) == (0.1, 100)
    assert read("InverseTimeDecay(0.1, 10, 0.5)").schedule == InversePower(1.0, timescale=20.0)
    restarts = read("CosineDecayRestarts(0.1, 10)").schedule
    assert restarts == Repeat(Cosine(), period=10, growth=2.0)
    assert read("0.1", horizon=3) == Training(0.1, Constant(), 3)


@pytest.mark.conformance
@pytest.mark.parametrize("schedule", [Warmup(Cosine(), length=3), InversePower(0.5), OneCycle()], ids=repr)
def test_our_schedules_drive_a_real_optimizer(schedule: Schedule) -> None:
    keras = peer()
    T = 10
    optimizer = keras.optimizers.SGD(learning_rate=dialect_keras.schedule(schedule, 0.1, T))
    x = keras.Variable(0.0, trainable=False)  # the gradient is ours: torch has none to keep
    optimizer.build([x])
    rates = []
    for _ in range(T):
        before = float(x)
        optimizer.apply([keras.ops.ones(())])
        rates.append(before - float(x))
    np.testing.assert_allclose(rates, 0.1 * multipliers(schedule, T), rtol=1e-5, atol=1e-7)


@pytest.mark.conformance
def test_a_saved_optimizer_loads_our_schedule_again() -> None:
    keras = peer()
    schedule = Warmup(Cosine(), length=3)
    optimizer = keras.optimizers.SGD(learning_rate=dialect_keras.schedule(schedule, 0.1, 10))
    config = json.loads(json.dumps(keras.optimizers.serialize(optimizer)))
    again = keras.optimizers.deserialize(config).get_config()["learning_rate"]
    assert again["config"] == {"schedule": repr(schedule), "lr": 0.1, "horizon": 10}
    assert read(keras.optimizers.schedules.deserialize(again)) == Training(0.1, schedule, 10)
    plain = dialect_keras.schedule(lambda T: np.ones(T), 0.1, 4)
    assert isinstance(parse(plain.get_config()["schedule"], "schedule"), Values)


@pytest.mark.conformance
def test_beyond_the_horizon_the_rate_stays_at_its_end_as_in_keras() -> None:
    keras = peer()
    ours = dialect_keras.schedule(Linear(), 0.1, 10)
    own = keras.optimizers.schedules.PolynomialDecay(0.1, 10, end_learning_rate=0.0)
    for step in (9, 10, 11, 10**6):
        assert float(ours(step)) == pytest.approx(float(own(step)), rel=1e-6, abs=1e-9)


# -- callbacks -------------------------------------------------------------------------------------


@pytest.mark.conformance
def test_functions_of_an_epoch_are_sampled() -> None:
    keras = peer()
    callback = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate if epoch < 2 else 0.5 * rate)
    training = read(callback, lr=0.1, horizon=5)
    agree(training.rates(), np.array([0.1, 0.1, 0.05, 0.025, 0.0125]), 1e-15)
    assert "a value for each" in training.notes[0]
    with pytest.raises(DialectError, match="give the lr"):
        read(callback, horizon=5)
    with pytest.raises(DialectError, match="give the horizon"):
        read(lambda epoch: 0.1 / (1 + epoch))


@pytest.mark.conformance
def test_a_schedule_of_ones_own_is_sampled() -> None:
    keras = peer()

    class Own(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc, name-defined]
        def __call__(self, step: Any) -> Any:
            return 0.1 / (step + 1)

    agree(read(Own(), horizon=5).rates(), 0.1 / np.arange(1.0, 6.0), 1e-15)


@of_keras_itself
@pytest.mark.conformance
@settings(max_examples=40)
@given(
    factor=st.floats(0.1, 0.9),
    patience=st.integers(0, 4),
    cooldown=st.integers(0, 4),
    min_lr=st.sampled_from([0.0, 0.01]),
    mode=st.sampled_from(["min", "max"]),
    losses=st.lists(st.integers(1, 8), min_size=30, max_size=30),
)
def test_reduce_lr_on_plateau_is_ours_with_its_counts_one_less(
    factor: float, patience: int, cooldown: int, min_lr: float, mode: str, losses: list[int]
) -> None:
    keras = peer()
    text = (
        f"keras.callbacks.ReduceLROnPlateau(monitor='loss', factor={factor!r}, patience={patience}, "
        f"mode={mode!r}, min_delta=0.75, cooldown={cooldown}, min_lr={min_lr})"
    )
    training = read(text, lr=0.1)
    rule = training.schedule
    assert isinstance(rule, ReduceLROnPlateau)
    callback = live(text)
    assert read(callback, lr=0.1) == training
    assert read(write(training), lr=0.1) == training

    class Model:  # all that the callback asks of one
        optimizer = keras.optimizers.SGD(learning_rate=0.1)

    callback.set_model(Model())
    callback.on_train_begin()
    rates = []
    for epoch, loss in enumerate(losses):
        callback.on_epoch_end(epoch, {"loss": float(loss)})
        rates.append(float(Model.optimizer.learning_rate))
    np.testing.assert_allclose(0.1 * replay(rule, [losses])[0], rates, rtol=1e-4)
    assert read(callback, lr=0.1) == training  # keras negates its min_delta when training begins


# -- the schedules of keras' tutorials, in our notation --------------------------------------------


def test_time_based_decay_is_inverse_time() -> None:
    t = np.arange(50.0)
    rates = 0.1 * multipliers(InversePower(1.0, timescale=1 / 0.01), 50)
    np.testing.assert_allclose(rates, 0.1 / (1 + 0.01 * t), rtol=1e-12)  # SGD(decay=) of old, per update


def test_time_based_decay_applied_to_its_own_result_compounds() -> None:
    """lr *= 1/(1 + decay * epoch), epoch after epoch: a product, which no shape names, so it is sampled."""
    training = read(lambda epoch, rate: rate / (1 + 0.01 * epoch), lr=0.1, horizon=50)
    by_hand = 0.1 / np.cumprod(1 + 0.01 * np.arange(50.0))
    np.testing.assert_allclose(training.rates(), by_hand, rtol=1e-12)
    assert by_hand[-1] < 1e-5 < 0.1 / (1 + 0.01 * 49)  # it is another schedule than the one above
    assert isinstance(training.schedule, Values)
    per_update = Held(training.schedule, every=100)
    np.testing.assert_allclose(0.1 * multipliers(per_update, 5000)[::100], by_hand, rtol=1e-12)
    assert parse(repr(per_update), "schedule") == per_update


def test_the_tutorials_step_decay_drops_one_epoch_early() -> None:
    """lr0 * drop^floor((1 + epoch)/every): the first plateau is one epoch shorter than the others."""
    drop, every = 0.5, 10
    epoch = np.arange(45)
    tutorial = 0.1 * drop ** np.floor((1 + epoch) / every)
    ours = Then(Constant(), Scaled(Step(drop, every=every), factor=drop), at=every - 1)
    np.testing.assert_allclose(0.1 * multipliers(ours, 45), tutorial, rtol=1e-12)
    sampled = read(lambda epoch: 0.1 * math.pow(drop, (1 + epoch) // every), horizon=45)
    np.testing.assert_allclose(sampled.rates(), tutorial, rtol=1e-12)
    text = write(Training(0.1, ours, 45))
    assert "boundaries=[8, 18, 28, 38]" in text


def test_the_tutorials_exponential_decay() -> None:
    rates = 0.1 * multipliers(Exponential(math.exp(-0.1)), 40)
    np.testing.assert_allclose(rates, 0.1 * np.exp(-0.1 * np.arange(40.0)), rtol=1e-12)


# -- surprises, pinned -----------------------------------------------------------------------------


@pytest.mark.conformance
def test_boundaries_act_one_step_late() -> None:
    text = f"{MODULE}.PiecewiseConstantDecay([2], [1.0, 0.5])"
    np.testing.assert_array_equal(rates_of(live(text), 5), [1.0, 1.0, 1.0, 0.5, 0.5])
    assert read(text).schedule == Piecewise((3,), values=(1.0, 0.5))
    np.testing.assert_array_equal(Piecewise((2,), values=(1.0, 0.5))(5), [1.0, 1.0, 0.5, 0.5, 0.5])


@pytest.mark.conformance
def test_decay_steps_come_after_the_warmup() -> None:
    text = f"{MODULE}.CosineDecay(0.0, 6, warmup_target=1.0, warmup_steps=4)"
    theirs = rates_of(live(text), 12)
    assert theirs[4] == 1.0
    assert theirs[9] > 0.05
    assert theirs[10] == pytest.approx(0.0, abs=1e-7)
    assert read(text).horizon == 10


@pytest.mark.conformance
def test_an_integer_rate_makes_integers_of_everything() -> None:
    """The warmup example of keras' own docstring starts from the integer 0, and never trains."""
    warmup = live(f"{MODULE}.CosineDecay(0, 10, warmup_target=0.1, warmup_steps=4)")
    np.testing.assert_array_equal(rates_of(warmup, 20), np.zeros(20))
    with pytest.raises(DialectError, match=r"write 0\.0"):
        read(warmup)
    cosine = live(f"{MODULE}.CosineDecay(1, 10)")  # in which pi is 3
    assert float(cosine(5)) == pytest.approx((1 + math.cos(1.5)) / 2, rel=1e-6)
    np.testing.assert_array_equal(
        rates_of(live(f"{MODULE}.ExponentialDecay(1, 10, 0.9)"), 3), [1.0, 0.0, 0.0]
    )


@pytest.mark.conformance
def test_a_warmup_without_a_target_and_a_target_without_a_warmup() -> None:
    ignored = f"{MODULE}.CosineDecay(0.1, 10, warmup_steps=5)"
    assert rates_of(live(ignored), 1)[0] == pytest.approx(0.1)
    assert "has no effect" in read(ignored).notes[0]
    jumped = f"{MODULE}.CosineDecay(0.0, 10, warmup_target=0.1)"
    assert rates_of(live(jumped), 1)[0] == pytest.approx(0.1)
    assert "starts at the warmup_target" in read(jumped).notes[0]


@pytest.mark.conformance
def test_a_cycling_polynomial_touches_its_floor_and_restarts_lower() -> None:
    text = f"{MODULE}.PolynomialDecay(1.0, 4, end_learning_rate=0.0, cycle=True)"
    theirs = [1, 0.75, 0.5, 0.25, 0, 3 / 8, 2 / 8, 1 / 8, 0, 3 / 12, 2 / 12, 1 / 12, 0]
    np.testing.assert_allclose(rates_of(live(text), 13), theirs, rtol=1e-6, atol=1e-7)
    agree(read(text, horizon=13).rates(), np.array(theirs), 1e-14)


@pytest.mark.conformance
def test_growing_cycles_restart_between_two_steps() -> None:
    """keras' cycles of t_mul = 1.5 end where they end; ours are whole numbers of updates."""
    text = f"{MODULE}.CosineDecayRestarts(1.0, 5, t_mul=1.5)"
    theirs = rates_of(live(text), 40)
    agree(read(text, horizon=40).rates(), theirs, 5e-6)
    ours = multipliers(Repeat(Cosine(), period=5, growth=1.5), 40)
    assert theirs[12] < 0.05 < ours[12] == 1.0  # the second cycle ends at 12.5, or after floor(7.5) updates


@pytest.mark.conformance
def test_restarts_shrink_above_the_floor_and_not_towards_it() -> None:
    text = f"{MODULE}.CosineDecayRestarts(1.0, 4, t_mul=1.0, m_mul=0.5, alpha=0.2)"
    theirs = rates_of(live(text), 9)
    assert theirs[4] == pytest.approx(0.2 + 0.8 * 0.5)
    assert multipliers(Repeat(Cosine(), period=4, decay=0.5, floor=0.2), 9)[4] == 0.5
    agree(read(text, horizon=9).rates(), theirs, FLOAT32)


@of_keras_itself
@pytest.mark.conformance
def test_a_first_metric_of_nan_is_best_for_ever() -> None:
    """keras takes whatever comes first for the best; nothing is below NaN. Here NaN is never a best."""
    keras = peer()
    callback = keras.callbacks.ReduceLROnPlateau(monitor="loss", factor=0.5, patience=1, mode="min")

    class Model:
        optimizer = keras.optimizers.SGD(learning_rate=1.0)

    callback.set_model(Model())
    callback.on_train_begin()
    theirs = []
    for epoch, loss in enumerate([math.nan, 3.0, 2.0, 1.0]):
        callback.on_epoch_end(epoch, {"loss": loss})
        theirs.append(float(Model.optimizer.learning_rate))
    assert theirs == [1.0, 0.5, 0.25, 0.125]
    rule = read(callback).schedule
    assert isinstance(rule, ReduceLROnPlateau)
    np.testing.assert_array_equal(replay(rule, [[math.nan, 3.0, 2.0, 1.0]]), [[0.5, 0.5, 0.5, 0.5]])


def test_products_are_not_said() -> None:
    with pytest.raises(DialectError, match="no schedule that says Product"):
        write(Training(0.1, Product(Linear(), Exponential(0.9)), 10))
