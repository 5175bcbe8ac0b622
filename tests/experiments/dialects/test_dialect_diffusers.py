"""diffusers as a dialect: printed traces, every name read and written, and, where diffusers is installed, the
rates of its own schedulers at any number of steps."""

import functools
import inspect
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import ROOT
from hypothesis import assume, given, settings, strategies as st

from ratelab.experiments.dialects import DialectError, Training, diffusers as dialect
from ratelab.experiments.dialects._words import REQUIRED
from ratelab.theory.arrays import Array
from ratelab.theory.combine import Scaled, Warmup, Within
from ratelab.theory.cycles import CosineRestarts, CosineWave
from ratelab.theory.feedback import ReduceLROnPlateau
from ratelab.theory.schedules import (
    Constant,
    Cosine,
    Exponential,
    HorizonError,
    InversePower,
    Linear,
    MultiStep,
    Piecewise,
    Polynomial,
    Schedule,
    Step,
)

LR = 5e-4
KOHYA = json.loads((ROOT / "tests" / "reference" / "schedule_traces.json").read_text())[
    "kohya_T100_W5_lr5e-4"
]
STEPS = "num_warmup_steps=5, num_training_steps=100"
TRACES = {
    "constant": '"constant", optimizer',
    "constant_with_warmup": '"constant_with_warmup", optimizer, num_warmup_steps=5',
    "linear": f'"linear", optimizer, {STEPS}',
    "cosine": f'"cosine", optimizer, {STEPS}',
    "cosine_with_restarts_3": f'"cosine_with_restarts", optimizer, {STEPS}, num_cycles=3',
    "polynomial_power1": f'"polynomial", optimizer, {STEPS}',
    "polynomial_power3": f'"polynomial", optimizer, {STEPS}, power=3',
    "piecewise_constant(1:10,0.1:20,0.01:30,0.005)": (
        '"piecewise_constant", optimizer, step_rules="1:10,0.1:20,0.01:30,0.005"'
    ),
}


@pytest.fixture
def peer() -> Any:
    return pytest.importorskip(
        "diffusers.optimization", reason="peers are not installed: make conformance", exc_type=ImportError
    )


@pytest.mark.parametrize("name", TRACES)
def test_printed_rates(name: str) -> None:
    training = dialect.read(f"get_scheduler({TRACES[name]})", lr=LR)
    np.testing.assert_allclose(training.rates(101), KOHYA[name], rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        (
            'get_scheduler("linear", optimizer, None, 5, 100)',
            Within(Warmup(Linear(), 5, start=0.0), 100),
        ),
        (
            "get_scheduler(SchedulerType.COSINE_WITH_RESTARTS, num_warmup_steps=0, num_training_steps=n)",
            Within(CosineRestarts(1.0), 50),
        ),
        ("get_cosine_schedule_with_warmup(optimizer, 0, 100)", CosineWave(100)),
        (
            "get_linear_schedule_with_warmup(optimizer, 5, 100, f_min=0.1, f_max=0.5)",
            Scaled(Within(Warmup(Linear(final=0.2), 5, start=0.0), 100), 0.5),
        ),
        ("get_piecewise_constant_schedule(optimizer, '0.1: 3, 2:1 ,1')", Piecewise((1, 3), (2.0, 0.1, 1.0))),
        ("get_piecewise_constant_schedule(optimizer, '0.1:3,2:3,5:-1,1')", Piecewise((3,), (2.0, 1.0))),
        ("get_piecewise_constant_schedule(optimizer, '0.5')", Piecewise((), (0.5,))),
    ],
)
def test_text(text: str, schedule: Schedule) -> None:
    assert dialect.read(text, lr=LR, horizon=50).schedule == schedule


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (f'get_scheduler("cosine", optimizer, {STEPS}, num_cycles=3)', "ignores num_cycles with cosine"),
        (f'get_scheduler("constant", optimizer, {STEPS})', "ignores num_warmup_steps with constant"),
        (f'get_scheduler("linear", optimizer, {STEPS}, power=2)', "ignores power with linear"),
        (
            'get_scheduler("piecewise_constant", optimizer, "1:3,2", 5)',
            "ignores num_warmup_steps with piecewise_constant",
        ),
        (f'get_scheduler("polynomial", optimizer, {STEPS})', "lr_end=1e-07 is an absolute rate"),
    ],
)
def test_notes(text: str, note: str) -> None:
    assert note in "; ".join(dialect.read(text, lr=LR).notes)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f'get_scheduler("inverse_sqrt", optimizer, {STEPS})', "diffusers has no schedule 'inverse_sqrt'"),
        ("get_wsd_schedule(optimizer, 1, 2, 9)", "get_wsd_schedule is not read"),
        ('get_scheduler("linear", optimizer, num_training_steps=9)', "needs num_warmup_steps"),
        ('get_scheduler("linear", optimizer, num_warmup_steps=9)', "give the horizon"),
        ("get_linear_schedule_with_warmup(optimizer, 5, 100, f_max=0)", "f_max is 0.0; write one above 0"),
        ('get_scheduler("piecewise_constant", optimizer)', 'write "1:10,0.1:20,0.005"'),
        ('get_scheduler("piecewise_constant", optimizer, "1:10,0.1:20")', 'write "1:10,0.1:20,0.005"'),
        ('get_scheduler("piecewise_constant", optimizer, "1:10,-1")', "Piecewise.values"),
        ('get_scheduler("constant", optimizer, last_epoch=3)', "from its beginning"),
    ],
)
def test_what_diffusers_would_refuse_or_we_cannot_know(text: str, reason: str) -> None:
    with pytest.raises(DialectError, match=reason):
        dialect.read(text, lr=LR)


@pytest.mark.parametrize(
    ("schedule", "horizon", "text"),
    [
        (Warmup(Constant(), 5, start=0.0), None, TRACES["constant_with_warmup"]),
        (Warmup(Linear(), 5, start=0.0), 100, TRACES["linear"]),
        (Warmup(Cosine(), 5, start=0.0), 100, TRACES["cosine"]),
        (Warmup(CosineRestarts(3.0), 5, start=0.0), 100, TRACES["cosine_with_restarts_3"]),
        (
            Piecewise((10, 20), values=(1.0, 0.1, 2.0)),
            None,
            '"piecewise_constant", optimizer, step_rules="1.0:10,0.1:20,2.0"',
        ),
        (
            MultiStep((0.5, 8), gamma=0.5),
            10,
            '"piecewise_constant", optimizer, step_rules="1.0:5,0.5:8,0.25"',
        ),
        (Step(0.5, every=4), 10, '"piecewise_constant", optimizer, step_rules="1.0:4,0.5:8,0.25"'),
    ],
)
def test_written(schedule: Schedule, horizon: int | None, text: str) -> None:
    assert dialect.write(Training(LR, schedule, horizon)) == f"get_scheduler({text})  # the lr is 0.0005"


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (Cosine(cycles=1.5), "get_cosine_schedule_with_warmup(optimizer, S, num_cycles=1.5)"),
        (
            Polynomial(2.0, final=0.1),
            "get_polynomial_decay_schedule_with_warmup(optimizer, S, lr_end=5e-05, power=2.0)",
        ),
        (Scaled(Linear(), 0.5), "get_linear_schedule_with_warmup(optimizer, S, f_max=0.5)"),
        (
            Scaled(Linear(final=0.5), 0.5),
            "get_linear_schedule_with_warmup(optimizer, S, f_min=0.25, f_max=0.5)",
        ),
    ],
)
def test_what_get_scheduler_does_not_take_is_said_by_a_function(schedule: Schedule, text: str) -> None:
    steps = "num_warmup_steps=0, num_training_steps=100"
    said = dialect.write(Training(LR, schedule, 100))
    assert said == text.replace("S", steps) + "  # the lr is 0.0005"


@pytest.mark.parametrize(
    ("schedule", "reason"),
    [
        (Exponential(0.9), "no Exponential"),
        (Cosine(final=0.1), "diffusers has no cosine_with_min_lr"),
        (Warmup(Cosine(), 5), "diffusers has no cosine_warmup_with_min_lr"),
        (InversePower(0.5), "diffusers has no inverse_sqrt"),
        (Scaled(Cosine(), 0.5), "multiply the lr by 0.5"),
        (Step(0.5, every=0.1), "give the horizon"),
        (ReduceLROnPlateau(), "diffusers has no reduce_lr_on_plateau"),
    ],
)
def test_what_diffusers_cannot_say(schedule: Schedule, reason: str) -> None:
    with pytest.raises(DialectError, match=reason):
        dialect.write(Training(LR, schedule, None if isinstance(schedule, Step) else 100))


def test_too_many_rules_are_refused() -> None:
    with pytest.raises(DialectError, match="at most 1000"):
        dialect.write(Training(LR, Step(0.999, every=1), 2000))


# -- laws ------------------------------------------------------------------------------------------

CYCLES = st.sampled_from([0.0, 0.5, 1.0, 1.5, 2, 3, 0.3, 0.7]) | st.floats(0.05, 4.0)
RULES = st.lists(st.tuples(st.floats(0.0, 2.0), st.integers(0, 40)), max_size=5).flatmap(
    lambda pairs: st.floats(0.0, 2.0).map(
        lambda last: ",".join([*(f"{factor!r}:{step}" for factor, step in pairs), repr(last)])
    )
)
OWN: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "get_linear_schedule_with_warmup": st.fixed_dictionaries(
        {}, optional={"f_min": st.floats(0.0, 0.9), "f_max": st.sampled_from([1.0, 1.5])}
    ),
    "get_cosine_schedule_with_warmup": st.fixed_dictionaries({}, optional={"num_cycles": CYCLES}),
    "get_cosine_with_hard_restarts_schedule_with_warmup": st.fixed_dictionaries(
        {}, optional={"num_cycles": CYCLES}
    ),
    "get_polynomial_decay_schedule_with_warmup": st.fixed_dictionaries(
        {},
        optional={
            "lr_end": st.floats(0.0, LR, exclude_max=True),
            "power": st.sampled_from([0.0, 1.0, 2]) | st.floats(0.1, 5.0),
        },
    ),
    "get_constant_schedule": st.just({}),
    "get_constant_schedule_with_warmup": st.just({}),
    "get_piecewise_constant_schedule": st.fixed_dictionaries({"step_rules": RULES}),
    'get_scheduler("linear"': st.just({}),
    'get_scheduler("cosine"': st.just({}),
    'get_scheduler("cosine_with_restarts"': st.fixed_dictionaries({}, optional={"num_cycles": CYCLES}),
    'get_scheduler("polynomial"': st.fixed_dictionaries({}, optional={"power": st.floats(0.1, 5.0)}),
    'get_scheduler("constant"': st.just({}),
    'get_scheduler("constant_with_warmup"': st.just({}),
    'get_scheduler("piecewise_constant"': st.fixed_dictionaries({"step_rules": RULES}),
}


@st.composite
def calls(draw: st.DrawFn, name: str) -> tuple[str, int]:
    """A call, and a number of updates before, at or after its end."""
    W, N, T = draw(st.integers(0, 12)), draw(st.integers(0, 30)), draw(st.integers(0, 50))
    if "polynomial" in name and W == N:
        assume(N > 0)
        T = min(T, N)  # it fails at t = N
    given = draw(OWN[name])
    steps = {} if "constant" in name else {"num_warmup_steps": W, "num_training_steps": N}
    if "constant_" in name and "warmup" in name:
        steps = {"num_warmup_steps": W}
    written = ", ".join(["optimizer", *(f"{key}={member!r}" for key, member in {**steps, **given}.items())])
    return f"{name}, {written})" if '"' in name else f"{name}({written})", T


def rates(training: Training, T: int) -> Array:
    """The rates for T updates; a wave that never comes back is known up to its end only."""
    try:
        return training.rates(T)
    except HorizonError:
        assert training.horizon is not None
        assert training.horizon < T
        return training.rates(training.horizon)


def trained(make: Callable[[Any], Any], T: int) -> Array:
    """The rates of T updates of a real optimizer."""
    optimizer = an_optimizer()
    scheduler, seen = make(optimizer), []
    for t in range(T):
        if t:
            optimizer.step()
            scheduler.step()
        seen.append(optimizer.param_groups[0]["lr"])
    return np.array(seen, dtype=np.float64)


def executed(text: str, optimizer: Any, peer: Any) -> Any:
    return eval(text, {**vars(peer), "optimizer": optimizer})  # our own text, as a person runs it


def an_optimizer() -> Any:
    import torch

    return torch.optim.SGD([torch.zeros(1)], lr=LR)


@pytest.mark.conformance
@pytest.mark.parametrize("name", OWN)
def test_diffusers_agrees(name: str, peer: Any) -> None:
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
        if isinstance(training.schedule, Scaled) and "Then" in repr(training.schedule):
            return  # a line without room for it, and scaled: the one thing that is read and not written
        written = dialect.write(training)
        T = len(ours) if training.horizon is None else min(len(ours), max(training.horizon, 1))
        theirs = trained(functools.partial(executed, written, peer=peer), T)
        np.testing.assert_allclose(theirs, ours[:T], rtol=1e-12, atol=LR * 1e-12)
        again = dialect.read(written, lr=LR)
        np.testing.assert_allclose(again.rates(T), ours[:T], rtol=1e-12, atol=LR * 1e-12)

    agrees()


@pytest.mark.conformance
def test_every_name_is_known(peer: Any) -> None:
    assert set(dialect.PARAMETERS) == {str(member.value) for member in peer.SchedulerType}
    for key, known in dialect.PARAMETERS.items():
        function = peer.TYPE_TO_SCHEDULER_FUNCTION[peer.SchedulerType(key)]
        assert signature(function) == list(known.items())
    assert signature(peer.get_scheduler) == [
        pair for pair in dialect.GET_SCHEDULER.items() if pair[0] != "optimizer"
    ]


def signature(function: Any) -> list[tuple[str, Any]]:
    """The parameters of a function of diffusers in order, with their defaults."""
    return [
        (name, REQUIRED if parameter.default is inspect.Parameter.empty else parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "optimizer"
    ]


# -- surprises: what diffusers does, and what we do -------------------------------------------------


@pytest.mark.conformance
def test_rules_count_from_the_beginning_not_from_the_last_rule(peer: Any) -> None:
    """Its documentation says "for the next 20 steps"."""
    text = 'get_scheduler("piecewise_constant", optimizer, step_rules="1:10,0.1:20,0.005")'
    theirs = trained(functools.partial(executed, text, peer=peer), 25) / LR
    np.testing.assert_allclose(theirs[[9, 10, 19, 20]], [1.0, 0.1, 0.1, 0.005])
    np.testing.assert_allclose(dialect.read(text, lr=LR).rates(25) / LR, theirs)


@pytest.mark.conformance
def test_get_scheduler_ignores_the_cycles_of_a_cosine(peer: Any) -> None:
    text = f'get_scheduler("cosine", optimizer, {STEPS}, num_cycles=3)'
    plain = f'get_scheduler("cosine", optimizer, {STEPS})'
    theirs = trained(functools.partial(executed, text, peer=peer), 100)
    np.testing.assert_array_equal(theirs, trained(functools.partial(executed, plain, peer=peer), 100))
    assert dialect.read(text, lr=LR).schedule == Warmup(CosineWave(95), 5, start=0.0)
