"""optax as a dialect, against the installed optax: each schedule over random parameters, in optax's own
float32 and in float64; what we write, executed; a real optimizer driven; and a pin for each surprise."""

import itertools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st
from strategies import values

from ratelab.experiments.dialects import DialectError, Training, optax as dialect_optax
from ratelab.experiments.dialects._absolute import runs
from ratelab.experiments.dialects.optax import read, write
from ratelab.theory.arrays import Array, InputError
from ratelab.theory.combine import Clip, Cooldown, Held, Repeat, Scaled, Then, Warmup, Within
from ratelab.theory.cycles import CosineRestarts, CosineWave, OneCycle
from ratelab.theory.feedback import GreedyLR, ReduceLROnPlateau, replay
from ratelab.theory.schedules import (
    Constant,
    Cosine,
    Exponential,
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
    WarmupStableDecay,
    multipliers,
)

N = 60  # updates compared, well beyond the end of most of the schedules drawn
FLOAT32 = 2e-6  # of the largest rate: optax computes in float32, whose rounding this is
FLOAT64 = 1e-10


def peers() -> tuple[Any, Any]:
    reason = "peers are not installed: make conformance"
    return pytest.importorskip("jax", reason=reason), pytest.importorskip("optax", reason=reason)


def live(text: str) -> Callable[..., Any]:
    """What optax makes of a text."""
    _, optax = peers()
    made: Callable[..., Any] = eval(text, {"optax": optax})
    return made


def peer(text: str, count: int = N, *, wide: bool = False) -> Array:
    """Its rates, in float32, as optax computes, or in float64."""
    jax, _ = peers()
    with jax.enable_x64(wide):
        return np.asarray(jax.vmap(live(text))(jax.numpy.arange(count)), dtype=np.float64)


def agree(ours: Array, theirs: Array, tolerance: float) -> None:
    """The error is measured against the largest rate: near a zero float32 has no digits of its own."""
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * np.max(theirs, initial=0.0))


def tame(schedule: Schedule) -> bool:
    """Without numbers beyond a millionth and a million, where roundings and memory are the subject."""
    numbers = re.findall(r"[-+.\w]+", re.sub("'.*?'", "", repr(schedule)))
    sizes = [abs(float(number)) for number in numbers if number[0].isdigit()]
    return all(1e-6 <= size <= 1e6 for size in sizes if size)


def texts() -> st.SearchStrategy[str]:
    """Every function of optax.schedules, written out with random arguments."""
    rate = st.sampled_from([0.0, 1.0, 0.1]) | st.floats(1e-4, 2.0)
    above = st.floats(1e-3, 2.0)
    steps, short = st.integers(1, 50), st.integers(0, 20)
    power = st.sampled_from([1, 1.0, 2.0, 0.5]) | st.floats(0.5, 3.0)
    gamma = st.floats(0.1, 1.1)
    flag = st.booleans()

    def text(name: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
        return st.fixed_dictionaries(arguments).map(
            lambda a: f"optax.{name}({', '.join(f'{key}={given!r}' for key, given in a.items())})"
        )

    scales = st.dictionaries(short, st.floats(0.1, 3.0), max_size=4)
    decay = {"transition_steps": steps, "decay_rate": gamma, "transition_begin": st.integers(-2, 20)}
    bound = {"staircase": flag, "end_value": st.none() | rate}
    cycle = st.tuples(rate, above, short, st.integers(1, 20), rate).map(
        lambda c: {
            "init_value": c[0],
            "peak_value": c[1],
            "warmup_steps": c[2],
            "decay_steps": c[2] + c[3],
            "end_value": c[4],
        }
    )
    single = st.one_of(
        text("constant_schedule", value=rate),
        text(
            "linear_schedule",
            init_value=rate,
            end_value=rate,
            transition_steps=st.integers(-1, 50),
            transition_begin=st.integers(-2, 20),
        ),
        text("polynomial_schedule", init_value=above, end_value=rate, power=power, transition_steps=steps),
        text("piecewise_constant_schedule", init_value=rate, boundaries_and_scales=st.none() | scales),
        text(
            "piecewise_interpolate_schedule",
            interpolate_type=st.sampled_from(["linear", "cosine"]),
            init_value=rate,
            boundaries_and_scales=st.none() | scales,
        ),
        text("exponential_decay", init_value=rate, **decay, **bound),
        text("cosine_decay_schedule", init_value=rate, decay_steps=steps, alpha=rate, exponent=power),
        text("cosine_onecycle_schedule", transition_steps=steps, peak_value=rate, pct_start=st.floats(0, 1)),
        text(
            "linear_onecycle_schedule",
            transition_steps=steps,
            peak_value=rate,
            pct_start=st.floats(0, 0.5),
            pct_final=st.floats(0.5, 1.0),
            div_factor=st.floats(1.0, 30.0),
            final_div_factor=st.floats(0.5, 100.0),
        ),
        text("warmup_constant_schedule", init_value=rate, peak_value=rate, warmup_steps=short),
        text(
            "warmup_exponential_decay_schedule",
            init_value=rate,
            peak_value=above,
            warmup_steps=short,
            **decay,
            **bound,
        ),
        cycle.map(
            lambda c: (
                "optax.warmup_cosine_decay_schedule("
                f"{', '.join(f'{key}={given!r}' for key, given in c.items())})"
            )
        ),
        st.lists(cycle, min_size=1, max_size=4).map(lambda c: f"optax.sgdr_schedule({c})"),
    )
    joined = st.lists(single, min_size=2, max_size=4).flatmap(
        lambda parts: st.lists(short, min_size=len(parts) - 1, max_size=len(parts) - 1).map(
            lambda turns: f"optax.join_schedules([{', '.join(parts)}], {turns})"
        )
    )
    return single | joined


@pytest.mark.conformance
@settings(max_examples=20)
@given(texts())
def test_what_we_read_is_what_optax_does_for_any_number_of_updates(text: str) -> None:
    training = read(text)
    agree(training.rates(N), peer(text, wide=True), FLOAT64)


@pytest.mark.conformance
@pytest.mark.parametrize(
    "text",
    [
        "optax.polynomial_schedule(0.1, 0.001, 2.0, 40, 5)",
        "optax.exponential_decay(0.1, 7, 0.7, staircase=True, transition_begin=3, end_value=0.01)",
        "optax.exponential_decay(0.1, 20, 0.5)",
        "optax.warmup_cosine_decay_schedule(0.0, 0.1, 9, 49, 0.001, exponent=0.5)",
        "optax.linear_onecycle_schedule(49, 0.1)",
        "optax.piecewise_interpolate_schedule('cosine', 0.1, {7: 3.0, 30: 0.01})",
    ],
)
def test_optax_itself_is_off_by_its_float32_only(text: str) -> None:
    agree(read(text).rates(N), peer(text), FLOAT32)


@pytest.mark.conformance
@settings(max_examples=25)
@given(values("schedule").filter(tame), st.integers(1, 40))
def test_what_we_write_has_our_rates_when_optax_executes_it(schedule: Schedule, T: int) -> None:
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
    agree(rates, peer(text, T, wide=True), 1e-9)
    agree(rates, read(text).rates(T), 1e-10)


SAYABLE: list[tuple[Schedule, str]] = [
    (Constant(), "constant_schedule"),
    (Scaled(Linear(0.1), factor=0.5), "linear_schedule"),
    (Polynomial(2.0, final=0.1), "polynomial_schedule"),
    (Cosine(0.01), "cosine_decay_schedule"),
    (Cosine(0.01, power=2.0), "exponent=2.0"),
    (Exponential(0.9), "exponential_decay"),
    (Geometric(0.01), "exponential_decay"),
    (Step(0.5, every=5), "staircase=True"),
    (Then(Constant(), Step(0.5, every=3), at=4), "transition_begin=4"),
    (Clip(Exponential(0.9), low=0.02, lr=0.1), "end_value=0.02"),
    (Exponential(0.0), "{1: 0.0}"),
    (Step(0.0, every=3), "{3: 0.0}"),
    (MultiStep((5, 0.5), gamma=0.1), "{5: 0.1, 10: 0.1}"),
    (Piecewise((5, 10), values=(1.0, 0.0, 0.5)), "join_schedules"),
    (Held(Linear(), every=5), "piecewise_constant_schedule"),
    (Held(Exponential(0.5), every=5), "staircase=True"),
    (Warmup(Cosine(), length=5), "warmup_cosine_decay_schedule"),
    (Warmup(Cosine(), length=5, start=0.0), "init_value=0.0"),
    (Warmup(Cosine(), length=5, start="1/W"), "join_schedules"),
    (Warmup(Constant(), length=5), "warmup_constant_schedule"),
    (Warmup(Linear(), length=5, start=0.1), "join_schedules"),
    (Warmup(Linear(), length=5, shape="1-sqrt"), "power=0.5"),
    (Warmup(Linear(), length=5, start="1/W", shape="1-sqrt"), "power=0.5"),
    (Warmup(Cosine(), length=5, start=0.1, shape="cosine"), "piecewise_interpolate_schedule('cosine'"),
    (Warmup(Cosine(), length=5, start=0.1, shape="exponential"), "decay_rate=10.0"),
    (Warmup(Constant(), length=40), "transition_steps=40"),
    (WarmupStableDecay(5, 8), "transition_begin=7"),
    (WarmupStableDecay(5, 8, shape="cosine", final=0.1), "cosine_decay_schedule"),
    (WarmupStableDecay(5, 8, shape="exponential", final=0.1), "decay_rate=0.1"),
    (Cooldown(Then(Linear(0.5), Constant(), at=5), length=4), "transition_begin=11"),
    (Within(Cosine(), length=10), "decay_steps=10"),
    (Within(Linear(0.1), end="T-1"), "transition_steps=19"),
    (Within(Exponential(0.5), length=5), "join_schedules"),
    (Repeat(Cosine(), period=5, growth=2.0, decay=0.5), "join_schedules"),
    (Repeat(Cosine(0.1), period=5, decay=0.5, floor=0.1), "join_schedules"),
    (CosineRestarts(4.0, final=0.1), "join_schedules"),
    (CosineWave(7, final=0.1), "join_schedules"),
]


@pytest.mark.parametrize(("schedule", "words"), SAYABLE, ids=[f"{k}-{w}" for k, (_, w) in enumerate(SAYABLE)])
def test_what_can_be_said_is_said_in_optax_words(schedule: Schedule, words: str) -> None:
    training = Training(0.1, schedule, 20)
    text = write(training)
    assert words in text
    agree(read(text).rates(20), training.rates(), 1e-13)


@pytest.mark.conformance
def test_the_words_mean_the_same_to_optax() -> None:
    for schedule, _ in SAYABLE:
        training = Training(0.1, schedule, 20)
        agree(training.rates(), peer(write(training), 20, wide=True), FLOAT64)


@pytest.mark.parametrize(
    ("schedule", "reason"),
    [
        (InversePower(0.5), "no schedule that says InversePower"),
        (Rex(), "schedule makes a function of it"),
        (OneCycle(), "no schedule that says OneCycle"),
        (Cosine(cycles=1.5), "no schedule that says Cosine"),
        (Cooldown(Linear(), length=5), "multiplies no schedules"),
        (Cooldown(Constant(), length=5, shape="1-sqrt"), "no cooldown of the shape '1-sqrt'"),
        (Warmup(Linear(), length=5, overlap=True), "restarts their clock"),
        (Warmup(Linear(), length=5, shape="cosine"), "no cosine rise from 0"),
        (Clip(Linear(), low=0.1), "bounds exponential decays only"),
        (Clip(Exponential(0.9), low=0.1, high=0.5), "on one side"),
        (CosineWave(5), "no cosine rise from 0"),
        (CosineRestarts(3.0), "do not divide"),
        (GreedyLR(), "no rule"),
        (ReduceLROnPlateau(), "set eps=0.0"),
        (ReduceLROnPlateau(eps=0.0, mode="max"), "mode='min'"),
        (ReduceLROnPlateau(eps=0.0, threshold=0.0), "threshold above 0"),
    ],
    ids=str,
)
def test_what_optax_cannot_say_is_refused_with_the_reason(schedule: Any, reason: str) -> None:
    with pytest.raises(DialectError, match=reason):
        write(Training(0.1, schedule, 20))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("optax.cosine_decay_schedule(0.1, 0)", "1 or more"),
        ("optax.cosine_decay_schedule(0.1, decay_step=5)", "did you mean decay_steps"),
        ("optax.warmup_cosine_decay_schedule(0.0, 0.1, 10, 10)", "includes the 10 warmup_steps"),
        ("optax.constant_schedule(-0.1)", "never negative"),
        ("optax.constant_schedule(lr)", "write a number"),
        ("optax.polynomial_schedule(0.0, 1.0, 2.0, 10)", "rise from 0"),
        ("optax.exponential_decay(0.1, 2.5, 0.5, staircase=True)", "whole numbers"),
        ("optax.piecewise_interpolate_schedule('linear', 0.1, {-3: 0.5})", "boundaries >= 0"),
        ("optax.piecewise_interpolate_schedule('cubic', 0.1, {3: 0.5})", "cubic"),
        ("optax.join_schedules([optax.constant_schedule(0.1), f], [3])", "write a number"),
        ("optax.adam(0.1)", "adam is not a schedule"),
        ("lambda count: 0.1", "one call"),
        ("optax.contrib.reduce_on_plateau(patience=0)", "every new best"),
        ("optax.contrib.reduce_on_plateau(atol=0.1)", "rtol and atol at once"),
        ("optax.contrib.reduce_on_plateau(accumulation_size=4)", "accumulation_size"),
    ],
)
def test_text_that_says_nothing_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(DialectError, match=reason):
        read(text)


def test_without_a_horizon_only_anytime_schedules_can_be_said() -> None:
    for schedule in (Exponential(0.5), Step(0.5, every=3), MultiStep((3, 9), 0.1), Warmup(Constant(), 5)):
        text = write(Training(0.1, schedule))
        agree(read(text).rates(20), 0.1 * multipliers(schedule, 20), 1e-13)
    with pytest.raises(DialectError, match="give the horizon"):
        write(Training(0.1, Cosine()))


def test_the_edges_of_a_warmup() -> None:
    for T, W in ((5, 0), (5, 5), (5, 9), (1, 0), (1, 1), (2, 1)):
        for start in ("1/(W+1)", "1/W", 0.0, 0.5):
            training = Training(0.1, Warmup(Linear(), length=W, start=start), T)
            agree(read(write(training)).rates(T), training.rates(), 1e-13)


def test_an_lr_beside_absolute_rates_is_only_their_unit() -> None:
    text = "optax.warmup_exponential_decay_schedule(0.0, 0.1, 3, 10, 0.5, end_value=0.02)"
    ours, other = read(text), read(text, lr=0.5)
    assert (ours.lr, other.lr) == (0.1, 0.5)
    agree(ours.rates(40), other.rates(40), 1e-15)
    assert read("0.1", horizon=3) == Training(0.1, Constant(), 3)
    with pytest.raises(DialectError, match="give one > 0"):
        read(text, lr=0.0)


def test_what_is_read_is_a_formula_that_a_person_recognises() -> None:
    cosine = Warmup(Within(Cosine(0.01), length=90), length=10, start=0.0)
    assert read("optax.warmup_cosine_decay_schedule(0.0, 0.1, 10, 100, 0.001)").schedule == cosine
    assert read("optax.warmup_cosine_decay_schedule(0.0, 0.1, 10, 100, 0.001)").horizon == 100
    one_cycle = "optax.cosine_onecycle_schedule(100, 1.0, div_factor=10.0, final_div_factor=10.0)"
    up_and_down = Warmup(Within(Cosine(0.01), length=70), length=30, start=0.1, shape="cosine")
    assert read(one_cycle).schedule == up_and_down
    assert read("optax.piecewise_constant_schedule(0.1, {5: 0.5, 9: 0.5})").schedule == MultiStep((5, 9), 0.5)


def test_many_cycles_are_nested_evenly() -> None:
    cycles = [{"init_value": 0.0, "peak_value": 0.1, "warmup_steps": 0, "decay_steps": 3}] * 64
    training = read(f"optax.sgdr_schedule({cycles})")
    agree(training.rates(192), np.tile(read("optax.cosine_decay_schedule(0.1, 3)").rates(3), 64), 1e-14)
    marks = [(letter == "(") - (letter == ")") for letter in repr(training.schedule)]
    depth = max(itertools.accumulate(marks))
    assert depth <= 10


@pytest.mark.conformance
def test_a_function_is_sampled_over_the_horizon() -> None:
    jax, optax = peers()
    schedule = optax.cosine_decay_schedule(0.1, 10)
    training = read(schedule, horizon=15)
    agree(training.rates(), read("optax.cosine_decay_schedule(0.1, 10)").rates(15), FLOAT32)
    assert training.horizon == 15
    assert "sampled over 15 updates" in training.notes[0]
    with pytest.raises(HorizonError):
        training.rates(16)
    with pytest.raises(DialectError, match="give the horizon"):
        read(schedule)
    not_traceable = read(lambda count: 0.1 if count < 3 else 0.05, horizon=5)
    agree(not_traceable.rates(), np.array([0.1, 0.1, 0.1, 0.05, 0.05]), 1e-15)
    agree(read(optax.constant_schedule(0.1), horizon=3).rates(), np.full(3, 0.1), FLOAT32)
    with pytest.raises(DialectError, match="update 2 is -"):
        read(lambda count: 1.5 - count, horizon=5)
    del jax


@pytest.mark.conformance
@pytest.mark.parametrize(
    "schedule", [Warmup(Cosine(), length=3), InversePower(0.5), OneCycle(), Rex()], ids=repr
)
def test_our_schedules_drive_a_real_optimizer_under_jit(schedule: Schedule) -> None:
    jax, optax = peers()
    T = 10
    given_to_optax = dialect_optax.schedule(schedule, 0.1, T)
    optimizer = optax.sgd(learning_rate=given_to_optax)
    params = jax.numpy.zeros(())
    state = optimizer.init(params)

    def update(params: Any, state: Any) -> Any:
        change, state = optimizer.update(jax.numpy.ones(()), state)
        return optax.apply_updates(params, change), state

    step = jax.jit(update)
    rates = []
    for _ in range(T):
        after, state = step(params, state)
        rates.append(float(params - after))
        params = after
    np.testing.assert_allclose(rates, 0.1 * multipliers(schedule, T), rtol=1e-5, atol=1e-7)
    assert read(given_to_optax) == Training(0.1, schedule, T)
    assert repr(given_to_optax) == f"Lookup(schedule={schedule!r}, lr=0.1, horizon=10)"


@pytest.mark.conformance
def test_beyond_the_horizon_the_rate_stays_at_its_end_as_in_optax() -> None:
    jax, optax = peers()
    lookup = dialect_optax.schedule(Linear(), 0.1, 10)
    own = optax.linear_schedule(0.1, 0.0, 10)
    for t in (9, 10, 11, 10**6):
        assert float(lookup(t)) == float(jax.jit(lookup)(t))
        assert float(lookup(t)) == pytest.approx(float(own(t)), rel=1e-6, abs=1e-9)
    ones = dialect_optax.schedule(lambda T: np.ones(T), 0.1, 10)  # which says nothing about t = T
    assert float(ones(99)) == pytest.approx(0.1)
    assert float(lookup(-1)) == pytest.approx(0.1)


@pytest.mark.conformance
@settings(max_examples=6)
@given(
    factor=st.floats(0.1, 0.9),
    patience=st.integers(1, 4),
    cooldown=st.integers(0, 4),
    low=st.sampled_from([0.0, 0.1]),
    relative=st.booleans(),
    losses=st.lists(st.integers(1, 8), min_size=25, max_size=25),
)
def test_reduce_on_plateau_is_ours_one_metric_earlier(
    factor: float, patience: int, cooldown: int, low: float, relative: bool, losses: list[int]
) -> None:
    jax, optax = peers()
    tolerance = "rtol=0.125, atol=0.0" if relative else "rtol=0.0, atol=0.75"
    text = (
        f"optax.contrib.reduce_on_plateau(factor={factor!r}, patience={patience}, {tolerance}, "
        f"cooldown={cooldown}, min_scale={low})"
    )
    training = read(text, lr=0.1)
    rule = training.schedule
    assert isinstance(rule, ReduceLROnPlateau)
    again = read(write(training))
    assert (again.lr, again.schedule) == (0.1, rule)
    optimizer = eval(write(training), {"optax": optax})
    params = jax.numpy.zeros(())
    state = optimizer.init(params)
    update = jax.jit(lambda state, value: optimizer.update(jax.numpy.ones(()), state, params, value=value))
    rates = []
    for loss in losses:
        change, state = update(state, float(loss))
        rates.append(-float(change))
    np.testing.assert_allclose(0.1 * replay(rule, [losses])[0], rates, rtol=1e-4)


# -- surprises, pinned -----------------------------------------------------------------------------


@pytest.mark.conformance
def test_a_warmup_is_part_of_decay_steps() -> None:
    text = "optax.warmup_cosine_decay_schedule(0.0, 1.0, 4, 10)"
    theirs = peer(text, 12)
    assert theirs[4] == 1.0
    assert theirs[10] == pytest.approx(0.0, abs=1e-7)
    assert "includes the warmup: the cosine takes 6 updates" in read(text).notes[0]


@pytest.mark.conformance
def test_a_warmup_to_a_constant_without_steps_stays_at_its_start() -> None:
    text = "optax.warmup_constant_schedule(0.0, 1.0, 0)"
    np.testing.assert_array_equal(peer(text, 3), np.zeros(3))
    assert "stays at init_value" in read(text).notes[0]
    np.testing.assert_array_equal(read(text).rates(3), np.zeros(3))
    np.testing.assert_allclose(Training(1.0, Warmup(Constant(), 0)).rates(3), np.ones(3))


@pytest.mark.conformance
def test_a_decay_rate_of_zero_is_no_decay() -> None:
    text = "optax.exponential_decay(0.1, 1, 0.0)"
    np.testing.assert_allclose(peer(text, 3), np.full(3, 0.1), rtol=1e-6)
    agree(read(text).rates(3), np.full(3, 0.1), 1e-15)
    agree(Training(0.1, Exponential(0.0)).rates(3), np.array([0.1, 0.0, 0.0]), 1e-15)


@pytest.mark.conformance
def test_schedules_and_boundaries_left_over_are_ignored() -> None:
    parts = ", ".join(f"optax.constant_schedule({value})" for value in (1.0, 2.0, 3.0))
    text = f"optax.join_schedules([{parts}], [2])"
    np.testing.assert_array_equal(peer(text, 5), [1, 1, 2, 2, 2])
    assert "ignores what is left over" in read(text).notes[0]
    np.testing.assert_array_equal(read(text).rates(5), [1, 1, 2, 2, 2])


@pytest.mark.conformance
def test_the_last_boundary_reached_wins() -> None:
    parts = ", ".join(f"optax.linear_schedule({value}, 0.0, 10)" for value in (1.0, 2.0, 3.0))
    text = f"optax.join_schedules([{parts}], [5, 2])"
    agree(read(text).rates(9), peer(text, 9, wide=True), FLOAT64)
    assert runs(peer(text, 9))[1][:3] == pytest.approx([1.0, 0.9, 3.0])  # the second is never seen


@pytest.mark.conformance
def test_the_one_cycle_reaches_its_floor_at_the_end_and_not_one_before() -> None:
    text = "optax.cosine_onecycle_schedule(10, 1.0)"
    theirs = peer(text, 12)
    assert theirs[3] == 1.0  # the peak: int(0.3 * 10); torch's comes at 0.3 * 10 - 1
    assert theirs[10] == theirs[11] == pytest.approx(4e-6, rel=1e-3)
    assert OneCycle()(10)[2] == 1.0
    agree(read(text).rates(12), theirs, FLOAT32)
