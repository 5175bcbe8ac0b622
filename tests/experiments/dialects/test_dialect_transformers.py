"""transformers as a dialect: printed traces, every name read and written, and, where transformers is
installed, the rates of its own schedulers at any number of steps."""

import functools
import inspect
import json
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cases import ROOT
from hypothesis import assume, given, settings, strategies as st

from ratelab.experiments.dialects import DialectError, Training, transformers as dialect
from ratelab.experiments.dialects._words import REQUIRED
from ratelab.theory.arrays import Array, InputError
from ratelab.theory.combine import Cooldown, Repeat, Scaled, Then, Warmup, Within
from ratelab.theory.cycles import CosineRestarts, CosineWave, Triangular
from ratelab.theory.feedback import Feedback, GreedyLR, ReduceLROnPlateau, SklearnAdaptive, replay
from ratelab.theory.sampled import Values
from ratelab.theory.schedules import (
    Constant,
    Cosine,
    Exponential,
    HorizonError,
    InversePower,
    Linear,
    Polynomial,
    Schedule,
    WarmupStableDecay,
)

LR = 5e-4
KOHYA = json.loads((ROOT / "tests" / "reference" / "schedule_traces.json").read_text())[
    "kohya_T100_W5_lr5e-4"
]
TRACES = {
    "constant": '"constant", optimizer',
    "constant_with_warmup": '"constant_with_warmup", optimizer, 5',
    "linear": '"linear", optimizer, 5, 100',
    "cosine": '"cosine", optimizer, 5, 100',
    "cosine_with_restarts_3": '"cosine_with_restarts", optimizer, 5, 100, {"num_cycles": 3}',
    "polynomial_power1": '"polynomial", optimizer, 5, 100',
    "polynomial_power3": '"polynomial", optimizer, 5, 100, {"power": 3}',
    "inverse_sqrt": '"inverse_sqrt", optimizer, 5',
    "cosine_with_min_lr_0.1(num_cycles=1/2)": '"cosine_with_min_lr", optimizer, 5, 100, {"min_lr_rate": 0.1}',
    "warmup_stable_decay(decay=20,min=0,num_cycles=1/2)": (
        '"warmup_stable_decay", optimizer, 5, 100, {"num_decay_steps": 20}'
    ),
}


@pytest.fixture
def peer() -> Any:
    return pytest.importorskip(
        "transformers.optimization", reason="peers are not installed: make conformance", exc_type=ImportError
    )


@pytest.mark.parametrize("name", TRACES)
def test_printed_rates(name: str) -> None:
    training = dialect.read(f"get_scheduler({TRACES[name]})", lr=LR)
    np.testing.assert_allclose(training.rates(101), KOHYA[name], rtol=1e-12, atol=0)


# -- reading ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "schedule", "horizon"),
    [
        ('get_scheduler("linear", optimizer, 5, 100)', Within(Warmup(Linear(), 5, start=0.0), 100), 100),
        ("get_scheduler(SchedulerType.LINEAR, opt, 0, 100)", Within(Linear(), 100), 100),
        ("transformers.get_scheduler(name='constant', num_training_steps=9)", Constant(), 9),
        ('s = get_scheduler("linear", optimizer, 0, num_steps)', Within(Linear(), 50), 50),
        ('get_scheduler("linear", optimizer, 0)', Within(Linear(), 50), 50),
        ("get_constant_schedule_with_warmup(optimizer, 7)", Warmup(Constant(), 7, start=0.0), 50),
        ("get_inverse_sqrt_schedule(optimizer, 0)", InversePower(0.5, timescale=1e4), 50),
        (
            "get_inverse_sqrt_schedule(optimizer, 4, timescale=9)",
            Warmup(InversePower(0.5, 9.0), 4, start=0.0),
            50,
        ),
        ("get_cosine_schedule_with_warmup(optimizer, 0, 10)", CosineWave(10), 10),
        ("get_cosine_schedule_with_warmup(optimizer, 0, 10, 1.5)", Repeat(Cosine(cycles=3.0), 20), 10),
        ("get_cosine_schedule_with_warmup(optimizer, 0, 10, 0)", Constant(), 10),
        ("get_wsd_schedule(optimizer, 2, 3, num_stable_steps=4)", "trapezoid", 9),
        ("get_linear_schedule_with_warmup(optimizer, 9, 4)", "cut", 4),
        ('TrainingArguments(learning_rate=0.5, max_steps=40, output_dir="x")', Within(Linear(), 40), 40),
        (
            'TrainingArguments(lr_scheduler_type="cosine", warmup_steps=0.03, max_steps=101)',
            Warmup(CosineWave(97), 4, start=0.0),
            101,
        ),
        (
            "Seq2SeqTrainingArguments(lr_scheduler_type=SchedulerType.COSINE, warmup_ratio=0.1)",
            Warmup(CosineWave(45), 5, start=0.0),
            50,
        ),
        (
            'TrainingArguments(lr_scheduler_type="constant_with_warmup", warmup_ratio=0.5, warmup_steps=2.7)',
            Warmup(Constant(), 2, start=0.0),
            50,
        ),
        (
            "TrainingArguments(lr_scheduler_type='cosine', lr_scheduler_kwargs='{\"num_cycles\": 2}')",
            Repeat(Cosine(cycles=2.0), 50),
            50,
        ),
    ],
)
def test_text(text: str, schedule: Schedule | str, horizon: int) -> None:
    known = {
        "trapezoid": Within(Cooldown(Warmup(Constant(), 2, start=0.0), 3, shape="cosine"), 9),
        "cut": Then(Warmup(Constant(), 9, start=0.0), Scaled(Constant(), 0.0), at=9),
    }
    training = dialect.read(text, lr=LR, horizon=50)
    assert training.schedule == (known[schedule] if isinstance(schedule, str) else schedule)
    assert training.horizon == horizon


def test_the_lr_is_the_one_that_is_written() -> None:
    assert dialect.read("TrainingArguments(learning_rate=2e-5, max_steps=3)", lr=1.0).lr == 2e-5
    assert dialect.read("TrainingArguments(max_steps=3)").lr == 5e-5
    assert dialect.read('get_scheduler("constant", torch.optim.SGD(model.parameters(), lr=0.3))').lr == 0.3
    assert dialect.read('get_scheduler("constant", SGD(params, lr=args.lr))', lr=0.7).lr == 0.7
    unknown = dialect.read('get_scheduler("constant", optimizer)')
    assert unknown.lr == 1.0
    assert "multiples of the optimizer's" in unknown.notes[0]


def test_absolute_rates_become_ratios() -> None:
    polynomial = dialect.read("get_polynomial_decay_schedule_with_warmup(optimizer, 0, 9)", lr=1e-5)
    assert polynomial.schedule == Within(Polynomial(1.0, final=1e-7 / 1e-5), 9)
    floor = dialect.read("get_cosine_with_min_lr_schedule_with_warmup(o, 0, 9, min_lr=1e-6)", lr=1e-5)
    assert floor.schedule == CosineWave(9, final=1e-6 / 1e-5)
    plateau = dialect.read("get_reduce_on_plateau_schedule(optimizer, factor=0.5, min_lr=1e-6)", lr=1e-5)
    assert plateau.schedule == ReduceLROnPlateau(0.5, low=1e-6 / 1e-5, eps=1e-8 / 1e-5)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ('get_scheduler("linear", optimizer, 5, 100)', "the first update moves nothing"),
        ('get_scheduler("cosine", optimizer, 0, 100)', "rises again"),
        ('get_scheduler("polynomial", optimizer, 0, 100)', "lr_end=1e-07 is an absolute rate"),
        ('get_scheduler("polynomial", optimizer, 9, 9)', "divides by zero"),
        ('get_scheduler("constant", optimizer, 5)', "ignores num_warmup_steps with constant"),
        (
            'get_scheduler("constant_with_warmup", optimizer, 5, 9, {"num_cycles": 2})',
            "ignores num_cycles with constant_with_warmup",
        ),
        ('get_scheduler("reduce_lr_on_plateau", optimizer, 5)', "ignores num_warmup_steps"),
        ("get_wsd_schedule(optimizer, 1, 2, 30, num_stable_steps=4)", "num_training_steps is lost"),
        ("TrainingArguments(max_steps=90, warmup_ratio=0.1, warmup_steps=3)", "warmup_ratio is lost"),
        ("TrainingArguments(max_steps=90, warmup_ratio=0.1)", "write warmup_steps=0.1"),
        ("TrainingArguments(max_steps=101, warmup_steps=0.1)", "rounded up to 11"),
    ],
)
def test_notes(text: str, note: str) -> None:
    assert note in "; ".join(dialect.read(text, lr=LR).notes)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('get_scheduler("cosin", optimizer, 5, 100)', r"did you mean cosine\?"),
        ("get_linear_schedule_warmup(optimizer, 5, 100)", r"did you mean get_linear_schedule_with_warmup\?"),
        ('get_scheduler("linear", 5, 100)', "write the arguments by their names"),
        ('get_scheduler("linear", optimizer, num_training_steps=100)', "needs num_warmup_steps"),
        ('get_scheduler("linear", optimizer, 5)', "give the horizon"),
        ('get_scheduler("linear", optimizer, 5, steps)', "give the horizon"),
        ('get_scheduler("linear", optimizer, 5.5, 100)', "whole number of updates"),
        ('get_scheduler("linear", optimizer, True, 100)', "write a number"),
        ('get_scheduler("linear", optimizer, -5, 100)', "at least 0"),
        ('get_scheduler("linear", optimizer, 5, 100, {"num_cycles": 2})', "no argument num_cycles"),
        ('get_scheduler("linear", optimizer, 5, 100, {"num_warmup_steps": 2})', "twice"),
        ('get_scheduler("linear", optimizer, 5, 100, [1])', "write a dict"),
        ('get_scheduler("polynomial", optimizer, 5, 100, {"lr_end": 1.0})', "must be below it"),
        ('get_scheduler("polynomial", optimizer, 5, 100, {"lr_end": -1.0})', "at least 0"),
        ('get_scheduler("cosine_with_min_lr", optimizer, 5, 100)', "either min_lr"),
        ('get_scheduler("warmup_stable_decay", optimizer, 5, 100)', "needs num_decay_steps"),
        ("get_wsd_schedule(optimizer, 5, 1)", "give the horizon"),
        ("get_wsd_schedule(optimizer, 1, 2, 9, decay_type='sqrt')", "linear, cosine, 1-sqrt"),
        ("get_constant_schedule(optimizer, last_epoch=4)", "from its beginning"),
        ("TrainingArguments(lr_scheduler_kwargs='{')", "write a dict"),
        ("TrainingArguments(warmup_steps=0.1)", "give the horizon"),
        ("TrainingArguments(warmup_steps=-1, max_steps=9)", "ratio below 1"),
    ],
)
def test_what_transformers_would_refuse_or_we_cannot_know(text: str, reason: str) -> None:
    with pytest.raises(DialectError, match=reason):
        dialect.read(text, lr=LR)


def test_absolute_rates_need_an_lr() -> None:
    for name in ("polynomial", "reduce_lr_on_plateau", "greedy"):
        with pytest.raises(DialectError, match="give the optimizer's lr"):
            dialect.read(f"get_scheduler({name!r}, optimizer, 5, 100)")


@pytest.mark.slow
def test_a_function_nobody_knows_is_sampled() -> None:
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    live = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 / (1 + t))
    training = dialect.read(live, horizon=3)
    assert isinstance(training.schedule, Values)
    np.testing.assert_array_equal(training.rates(), [0.1, 0.05, 0.1 * (1 / 3)])
    with pytest.raises(DialectError, match="give the horizon"):
        dialect.read(live)
    with pytest.raises(DialectError, match="leave lr out"):
        dialect.read(live, lr=0.1, horizon=3)
    with pytest.raises(DialectError, match="torch dialect"):
        dialect.read(torch.optim.lr_scheduler.StepLR(optimizer, 3))


def test_parameter_groups_are_told_apart() -> None:
    import torch

    groups: list[dict[str, Any]] = [{"params": [torch.zeros(1)], "lr": lr} for lr in (0.1, 0.2)]
    live = torch.optim.lr_scheduler.LambdaLR(torch.optim.SGD(groups), lambda t: 1.0 / (t + 1))
    with pytest.raises(DialectError, match="group=0"):
        dialect.read(live, horizon=3)
    assert dialect.read(live, horizon=3, group=1).lr == 0.2
    with pytest.raises(DialectError, match="counted from 0"):
        dialect.read(live, horizon=3, group=2)


# -- writing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (Constant(), '"constant", optimizer'),
        (Warmup(Constant(), 0), '"constant", optimizer'),
        (Warmup(Constant(), 5, start=0.0), '"constant_with_warmup", optimizer, num_warmup_steps=5'),
        (Linear(), '"linear", optimizer, num_warmup_steps=0, num_training_steps=100'),
        (
            Warmup(Linear(), 0.1, start=0.0),
            '"linear", optimizer, num_warmup_steps=10, num_training_steps=100',
        ),
        (Warmup(Linear(), 500, start=0.0), '"constant_with_warmup", optimizer, num_warmup_steps=500'),
        (
            Warmup(Within(Linear(), 40), 5, start=0.0),
            '"linear", optimizer, num_warmup_steps=5, num_training_steps=45',
        ),
        (
            Within(Warmup(Cosine(), 5, start=0.0), 200),
            '"cosine", optimizer, num_warmup_steps=5, num_training_steps=200',
        ),
        (
            Linear(final=0.1),
            (
                '"polynomial", optimizer, num_warmup_steps=0, num_training_steps=100, '
                'scheduler_specific_kwargs={"lr_end": 5e-05}'
            ),
        ),
        (
            Warmup(Cosine(final=0.1), 9, start=0.0),
            (
                '"cosine_with_min_lr", optimizer, num_warmup_steps=9, num_training_steps=100, '
                'scheduler_specific_kwargs={"min_lr_rate": 0.1}'
            ),
        ),
        (
            Warmup(Cosine(), 9),
            (
                '"cosine_warmup_with_min_lr", optimizer, num_warmup_steps=10, num_training_steps=101, '
                'scheduler_specific_kwargs={"min_lr_rate": 0.0}'
            ),
        ),
        (InversePower(0.5, 10_000.0), '"inverse_sqrt", optimizer, num_warmup_steps=0'),
        (
            WarmupStableDecay(warmup=0, cooldown=0.2, shape="1-sqrt"),
            (
                '"warmup_stable_decay", optimizer, num_warmup_steps=0, num_training_steps=100, '
                'scheduler_specific_kwargs={"num_decay_steps": 20, "decay_type": "1-sqrt"}'
            ),
        ),
        (
            GreedyLR(low=0.0, high=10.0, patience=3),
            (
                '"greedy", optimizer, scheduler_specific_kwargs={"patience": 3, "min_lr": 0.0, "eps": 5e-11, '
                '"max_lr": 0.005}'
            ),
        ),
    ],
)
def test_written(schedule: Schedule, text: str) -> None:
    assert dialect.write(Training(LR, schedule, 100)) == f"get_scheduler({text})  # the lr is 0.0005"


@pytest.mark.parametrize(
    ("schedule", "horizon", "reason"),
    [
        (Exponential(0.9), 100, "transformers has no Exponential"),
        (Triangular(10), 100, "transformers has no Triangular"),
        (InversePower(1.0), 100, "transformers has no InversePower"),
        (Cosine(power=2.0), 100, "transformers has no Cosine"),
        (CosineRestarts(2.0, final=0.1), 100, "transformers has no CosineRestarts"),
        (Scaled(Linear(), 0.5), 100, "transformers has no Scaled"),
        (Linear(final=1.0), 100, "ends below its lr"),
        (Linear(), None, "give the horizon"),
        (Warmup(Linear(), 5), 100, r"Warmup\(schedule=Linear\(final=0.0\), length=5, start=0.0"),
        (Warmup(Linear(), 5, start="1/W"), 100, "warms up from 0"),
        (Warmup(Cosine(), 5, start=0.0, shape="cosine"), 100, "warms up from 0"),
        (Warmup(Cosine(), 5, start=0.0, overlap=True), 100, "warms up from 0"),
        (Within(Cosine(), 50), 100, "rises again"),
        (Within(Warmup(Linear(), 60, start=0.0), 50), 100, "held where it is cut, at 50"),
        (WarmupStableDecay(5, 20), 100, "the value that it cools down to"),
        (Cooldown(Warmup(Constant(), 60, start=0.0), 60), 100, "overlap in 100"),
        (Cooldown(Linear(), 60), 100, "cools down from Constant"),
        (Cooldown(Constant(), 60, shape="1-square"), 100, "1-square"),
        (Then(Constant(), Linear(), at=50), 100, "no sequences"),
        (SklearnAdaptive(), 100, "transformers has no SklearnAdaptive"),
        (ReduceLROnPlateau(schedule=Warmup(Constant(), 5)), 100, "without a warmup"),
    ],
)
def test_what_transformers_cannot_say(schedule: Schedule, horizon: int | None, reason: str) -> None:
    with pytest.raises(DialectError, match=reason):
        dialect.write(Training(LR, schedule, horizon))


# -- laws ------------------------------------------------------------------------------------------

CYCLES = st.sampled_from([0.0, 0.5, 1.0, 1.5, 2, 3, 0.3, 0.7]) | st.floats(0.05, 4.0)
RATIOS = st.sampled_from([0.0, 0.1, 1.0]) | st.floats(0.0, 1.5)
COUNTS = st.integers(0, 12)
TYPES = st.sampled_from(["linear", "cosine", "1-sqrt"])
LOWEST = st.fixed_dictionaries({"min_lr_rate": RATIOS}) | st.fixed_dictionaries(
    {"min_lr": st.floats(0.0, LR)}
)
OWN: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "linear": st.just({}),
    "constant": st.just({}),
    "constant_with_warmup": st.just({}),
    "cosine": st.fixed_dictionaries({}, optional={"num_cycles": CYCLES}),
    "cosine_with_restarts": st.fixed_dictionaries({}, optional={"num_cycles": CYCLES}),
    "polynomial": st.fixed_dictionaries(
        {},
        optional={
            "lr_end": st.floats(0.0, LR, exclude_max=True),
            "power": st.sampled_from([0.0, 1.0, 2]) | st.floats(0.1, 5.0),
        },
    ),
    "inverse_sqrt": st.fixed_dictionaries({}, optional={"timescale": st.integers(1, 20_000)}),
    "cosine_with_min_lr": st.builds(
        lambda low, rest: {**low, **rest}, LOWEST, st.fixed_dictionaries({}, optional={"num_cycles": CYCLES})
    ),
    "cosine_warmup_with_min_lr": st.builds(
        lambda low, rest: {**low, **rest},
        LOWEST,
        st.fixed_dictionaries({}, optional={"num_cycles": CYCLES, "warmup_lr_rate": RATIOS}),
    ),
    "warmup_stable_decay": st.fixed_dictionaries(
        {"num_decay_steps": COUNTS},
        optional={
            "warmup_type": TYPES,
            "decay_type": TYPES,
            "min_lr_ratio": RATIOS,
            "num_cycles": CYCLES,
        },
    ),
}


@st.composite
def calls(draw: st.DrawFn, name: str) -> tuple[str, int]:
    """A call of get_scheduler, and a number of updates before, at or after its end."""
    W, N = draw(COUNTS), draw(st.integers(0, 30))
    T = draw(st.integers(0, 50))
    if name == "polynomial" and W == N:
        assume(N > 0)
        T = min(T, N)  # it fails at t = N
    extra = draw(OWN[name])
    return f'get_scheduler("{name}", optimizer, {W}, {N}, {extra!r})', T


def rates(training: Training, T: int) -> Array:
    """The rates for T updates; a wave that never comes back is known up to its end only, and so is what was
    sampled."""
    try:
        return training.rates(T)
    except HorizonError:
        assert training.horizon is not None
        assert training.horizon < T
        return training.rates(min(T, training.horizon))


@pytest.mark.parametrize("name", OWN)
@given(data=st.data())
def test_what_is_read_is_written_and_read(name: str, data: st.DataObject) -> None:
    text, T = data.draw(calls(name))
    training = dialect.read(text, lr=LR)
    try:
        written = dialect.write(training)
    except DialectError:
        assert "Values(" in repr(training.schedule)
        return
    again = rates(dialect.read(written, lr=LR), T)
    seen = rates(training, T)
    length = min(len(seen), len(again), T if training.horizon is None else max(T, training.horizon))
    np.testing.assert_allclose(again[:length], seen[:length], rtol=1e-12, atol=LR * 1e-12)


SHAPES = st.one_of(
    st.just(Constant()),
    st.builds(Linear, final=RATIOS),
    st.builds(Polynomial, power=st.floats(0.1, 5.0), final=RATIOS),
    st.builds(Cosine, final=RATIOS, cycles=CYCLES.map(float)),
    st.builds(CosineWave, half_period=st.integers(1, 40), final=RATIOS),
    st.builds(CosineRestarts, cycles=st.floats(0.1, 4.0)),
    st.builds(InversePower, power=st.just(0.5), timescale=st.floats(0.5, 50.0)),
)
DURATIONS = st.integers(0, 50) | st.floats(0.0, 1.0)
STARTS = st.just(0.0) | RATIOS | st.sampled_from(["1/(W+1)", "1/W"])
WARM = st.builds(
    Warmup, schedule=SHAPES, length=DURATIONS, start=STARTS, shape=TYPES, overlap=st.booleans()
) | st.builds(Warmup, schedule=SHAPES, length=DURATIONS, start=STARTS)
TRAPEZOIDS = st.builds(
    lambda a, W, C, up, down: Cooldown(Warmup(Constant(), W, start=a, shape=up), C, shape=down, final=a),
    RATIOS,
    DURATIONS,
    DURATIONS,
    TYPES,
    TYPES,
)
SAYABLE = SHAPES | WARM | TRAPEZOIDS
WITHIN = st.builds(Within, SAYABLE, length=st.integers(1, 40), beyond=st.sampled_from(["clip", "error"]))


@settings(max_examples=300)
@given(SAYABLE | WITHIN, st.integers(1, 40))
def test_what_is_written_means_the_same_or_is_refused(schedule: Schedule, T: int) -> None:
    training = Training(LR, schedule, T)
    try:
        ours = training.rates()
        written = dialect.write(training)
    except InputError:
        return
    theirs = rates(dialect.read(written, lr=LR), T)[:T]
    assert len(theirs) == T
    np.testing.assert_allclose(theirs, ours, rtol=1e-12, atol=LR * 1e-12)


def trained(make: Callable[[Any], Any], T: int, lr: float = LR) -> Array:
    """The rates of T updates of a real optimizer."""
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr)
    scheduler, seen = make(optimizer), []
    for t in range(T):
        if t:
            optimizer.step()
            scheduler.step()
        seen.append(optimizer.param_groups[0]["lr"])
    return np.array(seen, dtype=np.float64)


def executed(text: str, optimizer: Any, peer: Any) -> Any:
    return eval(text, {**vars(peer), "optimizer": optimizer})  # our own text, as a person runs it


def an_optimizer(lr: float = LR) -> Any:
    import torch

    return torch.optim.SGD([torch.zeros(1)], lr=lr)


@pytest.mark.conformance
@pytest.mark.parametrize("name", OWN)
def test_transformers_agrees(name: str, peer: Any) -> None:
    """Its rates and ours, read from text and from the live scheduler; and what we write says the same."""

    @settings(max_examples=60)
    @given(calls(name))
    def agrees(case: tuple[str, int]) -> None:
        text, T = case
        training = dialect.read(text, lr=LR)
        ours = rates(training, T)
        theirs = trained(functools.partial(executed, text, peer=peer), T)
        np.testing.assert_allclose(ours, theirs[: len(ours)], rtol=1e-12, atol=LR * 1e-12)
        live = dialect.read(executed(text, an_optimizer(), peer))
        assert (live.lr, live.schedule) == (LR, training.schedule)
        try:
            written = dialect.write(training)
        except DialectError:
            assert "Values(" in repr(training.schedule)
            return
        T = len(ours) if training.horizon is None else min(len(ours), max(training.horizon, 1))
        theirs = trained(functools.partial(executed, written, peer=peer), T)
        np.testing.assert_allclose(theirs, ours[:T], rtol=1e-12, atol=LR * 1e-12)

    agrees()


@pytest.mark.conformance
def test_every_name_is_known(peer: Any) -> None:
    assert set(dialect.PEERS) == {str(member.value) for member in peer.SchedulerType}
    for key, known in dialect.PEERS.items():
        function = getattr(peer, known.function)
        assert peer.TYPE_TO_SCHEDULER_FUNCTION[peer.SchedulerType(key)] is function
        given = {"reduce_lr_on_plateau": peer.ReduceLROnPlateau, "greedy": peer.GreedyLR}.get(key, function)
        theirs = {
            name: REQUIRED if parameter.default is inspect.Parameter.empty else parameter.default
            for name, parameter in inspect.signature(given).parameters.items()
            if name != "optimizer"
        }
        assert list(known.parameters) == list(theirs)
        assert dict(known.parameters) == theirs


METRICS = st.lists(st.sampled_from([0.9, 1.0, 1.0 + 1e-7, 1.1, 2.0]), min_size=1, max_size=40)
LOOPS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "reduce_lr_on_plateau": st.fixed_dictionaries(
        {"patience": st.integers(0, 3)},
        optional={
            "factor": st.sampled_from([0.1, 0.5]),
            "min_lr": st.sampled_from([0.0, 1e-4]),
            "cooldown": st.integers(0, 3),
            "mode": st.sampled_from(["min", "max"]),
            "threshold_mode": st.sampled_from(["rel", "abs"]),
        },
    ),
    "greedy": st.fixed_dictionaries(
        {"patience": st.integers(0, 3)},
        optional={
            "factor": st.sampled_from([0.5, 0.9]),
            "min_lr": st.sampled_from([0.0, 1e-4]),
            "max_lr": st.sampled_from([1e-3, 1.0]),
            "cooldown": st.integers(0, 3),
            "warmup": st.integers(0, 3),
            "smooth": st.booleans(),
            "window_size": st.integers(1, 5),
            "reset_start": st.integers(0, 3),
        },
    ),
}


@pytest.mark.conformance
@pytest.mark.parametrize("name", LOOPS)
def test_closed_loops_agree(name: str, peer: Any) -> None:
    @settings(max_examples=60)
    @given(LOOPS[name], METRICS)
    def agrees(own: dict[str, Any], metrics: list[float]) -> None:
        text = f'get_scheduler("{name}", optimizer, scheduler_specific_kwargs={own!r})'
        training = dialect.read(text, lr=LR)
        assert isinstance(training.schedule, Feedback)
        ours = LR * replay(training.schedule, [metrics])[0]
        for said in (text, dialect.write(training)):
            optimizer = an_optimizer()
            scheduler, theirs = executed(said, optimizer, peer), []
            assert dialect.read(scheduler).schedule == training.schedule
            for metric in metrics:
                scheduler.step(metric)
                theirs.append(optimizer.param_groups[0]["lr"])
            np.testing.assert_allclose(ours, theirs, rtol=1e-12)

    agrees()


@pytest.mark.conformance
@pytest.mark.parametrize("warmup", [0, 0.03, 0.5, 0.999, 1, 1.5, 7])
def test_warmup_steps_are_counted_as_the_trainer_counts_them(warmup: float, peer: Any) -> None:
    del peer
    from transformers import TrainingArguments

    for N in (1, 10, 101, 1000):
        theirs = TrainingArguments.get_warmup_steps(SimpleNamespace(warmup_steps=warmup), N)
        text = f'TrainingArguments(lr_scheduler_type="linear", warmup_steps={warmup}, max_steps={N})'
        assert dialect.read(text).schedule == dialect.linear(theirs, N)


@pytest.mark.conformance
def test_a_scheduler_under_way_is_read_from_its_beginning(peer: Any) -> None:
    optimizer = an_optimizer()
    live = peer.get_scheduler("linear", optimizer, 2, 9)
    for _ in range(4):
        optimizer.step()
        live.step()
    training = dialect.read(live)
    assert training.schedule == dialect.linear(2, 9)
    assert (training.lr, training.horizon) == (LR, 9)
    assert "stands at t = 4" in training.notes[0]


# -- surprises: what transformers does, and what we do ---------------------------------------------


@pytest.mark.conformance
def test_the_polynomial_divides_by_zero_when_all_is_warmup(peer: Any) -> None:
    text = 'get_scheduler("polynomial", optimizer, 5, 5)'
    with pytest.raises(ZeroDivisionError):
        trained(functools.partial(executed, text, peer=peer), 6)
    training = dialect.read(text, lr=LR)
    np.testing.assert_allclose(training.rates(), LR * np.arange(5) / 5)
    with pytest.raises(HorizonError, match="ends after 5 updates"):
        training.rates(6)


@pytest.mark.conformance
def test_a_cosine_rises_again_and_a_linear_decay_does_not(peer: Any) -> None:
    for name, ends in (("linear", 0.0), ("cosine", 1.0)):
        text = f'get_scheduler("{name}", optimizer, 0, 10)'
        assert trained(functools.partial(executed, text, peer=peer), 21)[20] == pytest.approx(LR * ends)
        assert dialect.read(text, lr=LR).rates(21)[20] == pytest.approx(LR * ends)


@pytest.mark.conformance
def test_cosine_warmup_with_min_lr_is_one_update_early(peer: Any) -> None:
    text = 'get_scheduler("cosine_warmup_with_min_lr", optimizer, 4, 10, {"min_lr_rate": 0.1})'
    theirs = trained(functools.partial(executed, text, peer=peer), 10) / LR
    np.testing.assert_allclose(theirs[[0, 3, 9]], [0.25, 1.0, 0.1])
    assert dialect.read(text, lr=LR).schedule == Warmup(CosineWave(6, final=0.1), 3, start="1/(W+1)")


@pytest.mark.conformance
def test_a_stable_decay_without_room_begins_below_its_top(peer: Any) -> None:
    text = 'get_scheduler("warmup_stable_decay", optimizer, 4, 10, {"num_decay_steps": 8})'
    theirs = trained(functools.partial(executed, text, peer=peer), 10) / LR
    assert theirs[3] == 0.75
    assert theirs[4] == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    np.testing.assert_allclose(dialect.read(text, lr=LR).rates() / LR, theirs)


@pytest.mark.conformance
def test_the_greedy_rate_cannot_fall_below_an_absolute_floor(peer: Any) -> None:
    optimizer = an_optimizer(2e-5)
    scheduler = executed('get_scheduler("greedy", optimizer)', optimizer, peer)
    for _ in range(100):
        scheduler.step(1.0)
    assert optimizer.param_groups[0]["lr"] == 2e-5
    training = dialect.read('get_scheduler("greedy", optimizer)', lr=2e-5)
    assert isinstance(training.schedule, GreedyLR)
    assert training.schedule.low == pytest.approx(50.0)
    np.testing.assert_array_equal(replay(training.schedule, np.ones((1, 100))), 1.0)
