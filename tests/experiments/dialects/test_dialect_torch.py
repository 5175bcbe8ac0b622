"""torch as a dialect, against torch itself: every class over its parameters, live and as text, alone, chained
and in sequence; the reference traces; what is surprising; and our schedules driving a real optimizer."""

import inspect
import io
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from cases import ROOT
from hypothesis import given, settings, strategies as st
from strategies import values
from torch.optim import Optimizer, lr_scheduler, swa_utils
from torch.optim.lr_scheduler import LRScheduler

from ratelab.experiments.dialects import DialectError, Training, torch as dialect_torch
from ratelab.experiments.dialects._words import REQUIRED
from ratelab.experiments.dialects.torch import SIGNATURES, groups, read, write
from ratelab.theory.arrays import Array, InputError
from ratelab.theory.combine import Cooldown, Product, Repeat, Scaled, Then, Warmup, Within
from ratelab.theory.cycles import CosineRestarts, CosineWave, OneCycle, Triangular
from ratelab.theory.feedback import Feedback, GreedyLR, ReduceLROnPlateau
from ratelab.theory.notation import parse
from ratelab.theory.sampled import Values
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
    multipliers,
)

TRACES = json.loads((ROOT / "tests" / "reference" / "schedule_traces.json").read_text())
CLOSED, RECURSIVE = 1e-12, 1e-9
LR = 0.3


def optimizer(*lrs: float) -> Optimizer:
    made = torch.optim.SGD(
        [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in lrs or (LR,)], momentum=0.9
    )
    made._opt_called = True  # type: ignore[attr-defined]  # torch warns when a scheduler steps before it did
    return made


def build(text: str, opt: Optimizer, **names: Any) -> Any:
    """The live scheduler of a text, by Python itself."""
    known = {name: getattr(lr_scheduler, name) for name in lr_scheduler.__all__}
    text = re.sub(r"([A-Z]\w+)\((?=\w+=|\))", r"\1(optimizer, ", text).replace(
        "ChainedScheduler(optimizer, ", "ChainedScheduler("
    )
    return eval(text, {**known, "SWALR": swa_utils.SWALR, "optimizer": opt, **names})


def drive(scheduler: Any, T: int, group: int = 0) -> Array:
    """The rates that the optimizer sees at updates 0..T-1."""
    rates = np.empty(T)
    for t in range(T):
        rates[t] = scheduler.optimizer.param_groups[group]["lr"]
        if t < T - 1:
            scheduler.step()
    return rates


def close(ours: Array, theirs: Array, rtol: float, lr: float = LR) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=1e-14 * lr)


def written(name: str, arguments: Mapping[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={member!r}' for key, member in arguments.items())})"


def _calls(name: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
    return st.fixed_dictionaries({}, optional=arguments).map(lambda given: written(name, given))


def _with(name: str, required: dict[str, st.SearchStrategy[Any]], **optional: Any) -> st.SearchStrategy[str]:
    return st.fixed_dictionaries(required, optional=optional).map(lambda given: written(name, given))


whole = st.integers(1, 12)
gammas = st.floats(0.05, 1.3)
floors = st.just(0.0) | st.floats(0.001, 0.6)
MULTIPLYING = {
    "StepLR": _with("StepLR", {"step_size": whole}, gamma=gammas),
    "MultiStepLR": _with(
        "MultiStepLR", {"milestones": st.lists(st.integers(0, 20), max_size=4).map(sorted)}, gamma=gammas
    ),
    "ConstantLR": _calls("ConstantLR", factor=st.floats(0.01, 1), total_iters=whole),
    "LinearLR": _calls(
        "LinearLR",
        start_factor=st.floats(0.01, 1),
        end_factor=st.just(0.0) | st.floats(0.01, 1),
        total_iters=whole,
    ),
    "ExponentialLR": _with("ExponentialLR", {"gamma": gammas | st.just(0.0)}),
    "PolynomialLR": _calls("PolynomialLR", total_iters=whole, power=st.floats(0, 4)),
}
RESTARTING = {
    **MULTIPLYING,
    "CosineAnnealingLR": _with("CosineAnnealingLR", {"T_max": whole}, eta_min=floors),
    "CosineAnnealingWarmRestarts": _with(
        "CosineAnnealingWarmRestarts", {"T_0": whole}, T_mult=st.integers(1, 3), eta_min=floors
    ),
}
ALONE = {
    **RESTARTING,
    "CyclicLR": _with(
        "CyclicLR",
        {"base_lr": st.just(0.0) | st.floats(0.01, 0.5), "max_lr": st.floats(0.5, 2), "step_size_up": whole},
        step_size_down=whole,
        mode=st.sampled_from(["triangular", "triangular2", "exp_range"]),
        gamma=st.floats(0.8, 1.0),
    ),
    "OneCycleLR": _with(
        "OneCycleLR",
        {"max_lr": st.floats(0.01, 2), "total_steps": st.integers(30, 60)},
        pct_start=st.floats(0.05, 0.5),
        anneal_strategy=st.sampled_from(["cos", "linear"]),
        div_factor=st.floats(1, 100),
        final_div_factor=st.floats(1, 1e5),
        three_phase=st.booleans(),
    ),
    "SWALR": _with(
        "SWALR",
        {"swa_lr": st.floats(0.01, 0.6)},
        anneal_epochs=st.integers(0, 12),
        anneal_strategy=st.sampled_from(["cos", "linear"]),
    ),
}
horizons = st.integers(1, 30)


@pytest.mark.parametrize("name", SIGNATURES)
def test_names_and_defaults_are_those_of_torch(name: str) -> None:
    cls = getattr(lr_scheduler, name, None) or getattr(swa_utils, name)
    theirs = {
        key: REQUIRED if parameter.default is inspect.Parameter.empty else parameter.default
        for key, parameter in inspect.signature(cls).parameters.items()
        if key not in ("optimizer", "last_epoch")
    }
    assert theirs == SIGNATURES[name]


def test_every_class_of_torch_is_known() -> None:
    assert set(SIGNATURES) == {*lr_scheduler.__all__, "SWALR"} - {"LRScheduler"}


@pytest.mark.parametrize("name", ALONE)
@given(data=st.data())
def test_every_class_keeps_every_law(name: str, data: st.DataObject) -> None:
    """All laws are asked of each text, because drawing it costs more than they do."""
    text, T, steps = data.draw(ALONE[name]), data.draw(horizons), data.draw(st.integers(1, 20))
    it_gives_the_rates_of_torch(text, T)
    the_closed_form_of_torch_is_ours(text)
    stepped_it_gives_its_schedule_from_the_beginning(text, steps)


def it_gives_the_rates_of_torch(text: str, T: int) -> None:
    live = build(text, optimizer())
    from_live, from_text = read(live, horizon=T), read(text, lr=LR, horizon=T)
    assert not isinstance(from_text.schedule, Values), from_text.notes
    close(from_live.rates(), from_text.rates(), CLOSED)
    close(from_text.rates(), drive(live, T), RECURSIVE)


def the_closed_form_of_torch_is_ours(text: str) -> None:
    live = build(text, optimizer())
    training, T = read(live), 30
    if hasattr(live, "_get_closed_form_lr"):
        theirs = np.empty(T)
        for t in range(T):
            live.last_epoch = t
            theirs[t] = live._get_closed_form_lr()[0]
        close(training.rates(T), theirs, CLOSED)


def stepped_it_gives_its_schedule_from_the_beginning(text: str, steps: int) -> None:
    live = build(text, optimizer())
    fresh = read(live, horizon=25)
    for _ in range(steps):
        live.step()
    if isinstance(live, swa_utils.SWALR):  # where it began is known only while it anneals
        steps = min(steps, live.anneal_epochs)
        if live._step_count > live.anneal_epochs:
            return
    again = read(live, horizon=25)
    close(again.rates(), fresh.rates(), RECURSIVE)
    assert any(f"stands at update {steps}:" in note for note in again.notes)
    assert not any("something else" in note for note in again.notes)
    before = json.dumps(live.state_dict(), default=str)
    read(live, horizon=25)
    assert json.dumps(live.state_dict(), default=str) == before


@given(st.lists(st.one_of(*MULTIPLYING.values()), min_size=1, max_size=4), horizons)
def test_a_chain_of_multiplying_parts_is_a_product(parts: list[str], T: int) -> None:
    text = f"ChainedScheduler(schedulers=[{', '.join(parts)}])"
    training = read(text, lr=LR)
    assert "Values" not in repr(training.schedule)
    close(training.rates(T), drive(build(text, optimizer()), T), RECURSIVE)


@given(st.lists(st.one_of(*RESTARTING.values()), min_size=1, max_size=4), st.data(), horizons)
def test_a_sequence_is_one_after_the_other(parts: list[str], data: st.DataObject, T: int) -> None:
    count = len(parts) - 1
    milestones = sorted(data.draw(st.lists(st.integers(0, 20), min_size=count, max_size=count)))
    text = f"SequentialLR(schedulers=[{', '.join(parts)}], milestones={milestones})"
    training = read(text, lr=LR)
    assert "Values" not in repr(training.schedule)
    live = build(text, optimizer())
    assert read(live) == training
    close(training.rates(T), drive(live, T), RECURSIVE)


@given(st.lists(st.one_of(*ALONE.values()), min_size=1, max_size=3), horizons, st.data())
def test_whatever_else_is_combined_is_sampled_from_torch(
    parts: list[str], T: int, data: st.DataObject
) -> None:
    count = len(parts) - 1
    milestones = sorted(data.draw(st.lists(st.integers(0, 20), min_size=count, max_size=count)))
    joined = ", ".join(parts).replace("max_lr", "cycle_momentum=False, max_lr")
    for text in (
        f"ChainedScheduler(schedulers=[{joined}])",
        f"SequentialLR(schedulers=[{joined}], milestones={milestones})",
    ):
        try:
            theirs = drive(build(text, optimizer()), T)
        except (ValueError, ZeroDivisionError):  # a part past its end
            continue
        if theirs.min() >= 0:
            close(read(text, lr=LR, horizon=T).rates(), theirs, RECURSIVE)


def test_what_is_sampled_needs_a_horizon_and_says_why() -> None:
    text = "ChainedScheduler([CosineAnnealingLR(T_max=4, eta_min=0.01), ExponentialLR(gamma=0.9)])"
    with pytest.raises(DialectError, match=r"floor is no product.*give the horizon"):
        read(text, lr=LR)
    training = read(text, lr=LR, horizon=9)
    assert isinstance(training.schedule, Values)
    assert "floor is no product" in training.notes[-1]


@pytest.mark.parametrize("T", [1, 2, 9])
@pytest.mark.parametrize(
    "text",
    [
        "CosineAnnealingLR(T_max=1)",
        "CosineAnnealingLR(T_max=1, eta_min=0.1)",
        "CosineAnnealingLR(T_max=7.5)",
        "CosineAnnealingLR(T_max=5, eta_min=0.9)",
        "LinearLR(total_iters=1)",
        "LinearLR(total_iters=0)",
        "LinearLR(total_iters=2.0)",
        "ConstantLR(total_iters=0)",
        "ConstantLR(factor=1)",
        "ConstantLR(factor=0, total_iters=9)",
        "PolynomialLR(total_iters=0)",
        "PolynomialLR(total_iters=1)",
        "MultiStepLR(milestones=[-3, 0, 2, 2])",
        "StepLR(step_size=1, gamma=0)",
        "OneCycleLR(max_lr=2.0, total_steps=1)",
        "OneCycleLR(max_lr=2.0, total_steps=9, pct_start=1.0)",
        "OneCycleLR(max_lr=2.0, total_steps=9, pct_start=0.0)",
        "OneCycleLR(max_lr=2.0, total_steps=9, pct_start=0.05)",
        "OneCycleLR(max_lr=2.0, total_steps=9, pct_start=0.7, three_phase=True)",
        "OneCycleLR(max_lr=2.0, epochs=3, steps_per_epoch=5)",
        "CyclicLR(base_lr=0.1, max_lr=0.1)",
        "CyclicLR(base_lr=0.1, max_lr=0.0, step_size_up=3)",
        "CyclicLR(base_lr=0.3, max_lr=0.1, step_size_up=2)",
        "CyclicLR(base_lr=0.1, max_lr=0.4, step_size_up=2.5, step_size_down=1.25)",
        "CosineAnnealingWarmRestarts(T_0=1, T_mult=2)",
        "SequentialLR(schedulers=[ConstantLR(total_iters=0), ConstantLR(total_iters=0)], milestones=[3])",
        "SequentialLR(schedulers=[StepLR(step_size=3), MultiStepLR(milestones=[-1, 2])], milestones=[3])",
        "SequentialLR(schedulers=[LinearLR(), CosineAnnealingLR(T_max=3)], milestones=[9])",
        "SequentialLR(schedulers=[LinearLR(), CosineAnnealingLR(T_max=3)], milestones=[0])",
        "SequentialLR(schedulers=[ChainedScheduler(schedulers=[LinearLR()]), LinearLR()], milestones=[4])",
        "ChainedScheduler(schedulers=[LinearLR(), CosineAnnealingLR(T_max=9)])",
        "ChainedScheduler(schedulers=[LinearLR(), CosineAnnealingLR(T_max=9), CosineAnnealingLR(T_max=12)])",
        "ChainedScheduler(schedulers=[LinearLR(), CosineAnnealingLR(T_max=3)])",
    ],
)
def test_the_edges(text: str, T: int) -> None:
    if "OneCycle" in text:
        T = min(T, int(re.search(r"total_steps=(\d+)|$", text)[1] or 15))  # type: ignore[index]  # `$` matches
    live = build(text, optimizer())
    from_live = read(live, horizon=T).rates()
    close(read(text, lr=LR, horizon=T).rates(), from_live, CLOSED)
    close(from_live, drive(live, T), RECURSIVE)


# -- the reference -----------------------------------------------------------------------------------

MONIGATTI = {
    "StepLR(step_size=4,gamma=.5)": "StepLR(step_size=4, gamma=0.5)",
    "MultiStepLR([8,24,28],.5)": "MultiStepLR(milestones=[8, 24, 28], gamma=0.5)",
    "ConstantLR(.5,8)": "ConstantLR(factor=0.5, total_iters=8)",
    "LinearLR(.5,8)": "LinearLR(start_factor=0.5, total_iters=8)",
    "ExponentialLR(.5)": "ExponentialLR(gamma=0.5)",
    "PolynomialLR(8,1)": "PolynomialLR(total_iters=8, power=1)",
    "PolynomialLR(8,2)": "PolynomialLR(total_iters=8, power=2)",
    "CosineAnnealingLR(32,1e-4)": "CosineAnnealingLR(T_max=32, eta_min=1e-4)",
    "CosineAnnealingWarmRestarts(8,1,1e-4)": "CosineAnnealingWarmRestarts(T_0=8, T_mult=1, eta_min=1e-4)",
    **{
        f"CyclicLR(1e-4,1e-3,4,{mode})": f"CyclicLR(base_lr=1e-4, max_lr=1e-3, step_size_up=4, mode='{mode}')"
        for mode in ("triangular", "triangular2")
    },
    "CyclicLR(1e-4,1e-3,4,exp_range,gamma=1)": (
        "CyclicLR(base_lr=1e-4, max_lr=1e-3, step_size_up=4, mode='exp_range', gamma=1.0)"
    ),
    **{
        f"OneCycleLR(1e-3,8x4,{shape})": (
            f"OneCycleLR(max_lr=1e-3, steps_per_epoch=8, epochs=4, anneal_strategy='{shape}')"
        )
        for shape in ("cos", "linear")
    },
}


def test_all_reference_traces_are_covered() -> None:
    assert set(MONIGATTI) == set(TRACES["monigatti"])


@pytest.mark.parametrize("trace", MONIGATTI)
def test_the_traces_of_a_visual_guide(trace: str) -> None:
    printed = np.array(TRACES["monigatti"][trace])
    ours = read(MONIGATTI[trace], lr=1e-3, horizon=len(printed)).rates()
    np.testing.assert_allclose(ours, printed, rtol=RECURSIVE, atol=1e-18)
    live = read(build(MONIGATTI[trace], optimizer(1e-3)), horizon=len(printed)).rates()
    np.testing.assert_allclose(live, ours, rtol=CLOSED)


def test_the_multistep_trace_as_plotted_and_as_used() -> None:
    """Plotting stepped the scheduler, so training began where the plot ended, at update 30."""
    plotted, used = (np.array(TRACES["d2l_torch_multistep"][key]) for key in ("plotted", "used_in_training"))
    live = build("MultiStepLR(milestones=[15, 30], gamma=0.5)", optimizer(0.5))
    fresh = read(live, horizon=30)
    assert not fresh.notes
    np.testing.assert_array_equal(fresh.rates(), plotted)
    for _ in range(30):
        live.step()
    stepped = read(live, horizon=60)
    assert stepped.notes == ("the scheduler stands at update 30: its next rates are rates(T)[30:]",)
    np.testing.assert_array_equal(stepped.rates()[:30], plotted)
    np.testing.assert_array_equal(stepped.rates()[30:], used)


# -- live schedulers ---------------------------------------------------------------------------------


def test_a_rate_that_something_else_moved_is_noted() -> None:
    live = build("StepLR(step_size=3)", optimizer())
    live.optimizer.param_groups[0]["lr"] = 0.07
    assert "the optimizer's rate is 0.07 where the schedule has 0.3" in read(live).notes[-1]


@pytest.mark.parametrize(
    "text",
    [
        "CosineAnnealingLR(T_max=10**6)",
        "LinearLR(total_iters=10**6)",
        "PolynomialLR(total_iters=10**6)",
        "CosineAnnealingWarmRestarts(T_0=10**6)",
        "OneCycleLR(max_lr=1.0, total_steps=10**6)",
        "CyclicLR(base_lr=0.1, max_lr=1.0, step_size_up=10**6)",
        "SWALR(swa_lr=0.1, anneal_epochs=10**6)",
        "SequentialLR(schedulers=[LinearLR(), CosineAnnealingLR(T_max=10**6)], milestones=[10])",
        "ChainedScheduler(schedulers=[LinearLR(total_iters=10), ExponentialLR(gamma=0.9)])",
    ],
)
def test_nothing_is_stepped_where_a_closed_form_exists(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    live = build(text, optimizer())

    def stepping(*_: object) -> None:
        raise AssertionError("it was stepped")

    for cls in (LRScheduler, lr_scheduler.CosineAnnealingWarmRestarts, lr_scheduler.SequentialLR):
        monkeypatch.setattr(cls, "step", stepping)
    assert len(read(live, horizon=10**6).rates()) == 10**6


def test_every_group_has_its_own_rates() -> None:
    live = build("CosineAnnealingLR(T_max=20, eta_min=0.01)", optimizer(0.1, 1.0))
    both = groups(live, horizon=30)
    assert [training.lr for training in both] == [0.1, 1.0]
    assert both[1] == read(live, horizon=30, group=1)
    with pytest.raises(DialectError, match="group=0 to 1"):
        read(live, horizon=30)
    with pytest.raises(DialectError, match="the optimizer has 2"):
        read(live, group=2)
    close(
        both[0].rates(),
        drive(build("CosineAnnealingLR(T_max=20, eta_min=0.01)", optimizer(0.1, 1.0)), 30),
        1e-9,
    )
    close(both[1].rates(), drive(live, 30, group=1), RECURSIVE)


@pytest.mark.parametrize(
    "text",
    [
        "CyclicLR(base_lr=[0.1, 0.2], max_lr=[1.0, 3.0], step_size_up=4)",
        "OneCycleLR(max_lr=[1.0, 3.0], total_steps=20)",
        "SWALR(swa_lr=[0.1, 0.2])",
        "LambdaLR(lr_lambda=[lambda t: 1 / (t + 1), lambda t: 0.9**t])",
        "MultiplicativeLR(lr_lambda=[lambda t: 1 / (t + 1), lambda t: 0.9])",
        "ChainedScheduler(schedulers=[SWALR(swa_lr=[0.1, 0.2]), ExponentialLR(gamma=0.9)])",
    ],
)
def test_settings_for_each_group(text: str) -> None:
    live = build(text, optimizer(0.1, 0.5))
    first, second = groups(live, horizon=20)
    other = build(text, optimizer(0.1, 0.5))
    close(first.rates(), drive(live, 20), RECURSIVE)
    close(second.rates(), drive(other, 20, group=1), RECURSIVE)


def test_groups_that_agree_are_one() -> None:
    assert read(build("StepLR(step_size=3)", optimizer(0.1, 0.1))) == Training(0.1, Step(0.1, every=3))


def test_functions_are_sampled_over_the_horizon() -> None:
    live = build("LambdaLR(lr_lambda=lambda t: 0.95**t)", optimizer())
    with pytest.raises(DialectError, match=r"function.*give the horizon"):
        read(live)
    training = read(live, horizon=20)
    assert training.schedule == Values.of([0.95**t for t in range(20)])
    with pytest.raises(HorizonError):
        training.rates(21)
    live = build("MultiplicativeLR(lr_lambda=lambda t: 0.95 if t % 2 else 1.0)", optimizer())
    close(read(live, horizon=20).rates(), drive(live, 20), CLOSED)
    live = build("CyclicLR(base_lr=0.1, max_lr=1, step_size_up=3, scale_fn=lambda x: 1 / x)", optimizer())
    close(read(live, horizon=20).rates(), drive(live, 20), CLOSED)


def test_a_function_below_zero_is_no_schedule() -> None:
    with pytest.raises(DialectError, match="negative"):
        read(build("LambdaLR(lr_lambda=lambda t: 1 - t)", optimizer()), horizon=5)


def test_rates_in_a_tensor() -> None:
    opt = torch.optim.Adam(
        [torch.zeros(1, requires_grad=True)], lr=torch.tensor(0.25), capturable=False, foreach=False
    )
    live = lr_scheduler.CosineAnnealingLR(opt, T_max=10, eta_min=0.025)
    assert read(live) == Training(
        0.25, CosineWave(10, final=0.1), notes=read("CosineAnnealingLR(10)").notes[1:]
    )


def test_an_object_that_is_no_scheduler_of_torch_is_refused() -> None:
    class Mine(lr_scheduler.StepLR):
        """Somebody's own."""

    with pytest.raises(DialectError, match=r"Mine is not a scheduler of torch.*Values\.of"):
        read(Mine(optimizer(), 3))
    with pytest.raises(DialectError, match="has no optimizer"):
        read(3)
    with pytest.raises(DialectError, match="leave lr out"):
        read(build("StepLR(step_size=3)", optimizer()), lr=0.1)


# -- text --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "StepLR(30, 0.5)",
        "StepLR(optimizer, 30, 0.5)",
        "StepLR(self.optimizer, step_size=30, gamma=1 / 2)",
        "scheduler = torch.optim.lr_scheduler.StepLR(optimizer=opt, gamma=0.5, step_size=3 * 10)",
    ],
)
def test_text_as_people_write_it(text: str) -> None:
    assert read(text, lr=0.1) == Training(0.1, Step(0.5, every=30))


def test_text_without_lr_is_relative() -> None:
    training = read("StepLR(30)")
    assert training.lr == 1.0
    assert "no lr was given" in training.notes[0]
    with pytest.raises(DialectError, match=r"eta_min is an absolute rate.*give the optimizer's lr"):
        read("CosineAnnealingLR(T_max=10, eta_min=1e-5)")
    assert read("OneCycleLR(max_lr=0.1, total_steps=10)").lr == 0.1


def test_the_position_in_text_is_noted() -> None:
    assert "stands at update 5" in read("StepLR(3, last_epoch=4)", lr=1.0).notes[0]


def test_momentum_is_lost_with_a_note() -> None:
    text = "CyclicLR(base_lr=0.1, max_lr=1.0{})"
    assert "momentum too" in read(text.format("")).notes[0]
    assert not read(text.format(", cycle_momentum=False")).notes


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("StepLRR(3)", "no scheduler of torch"),
        ("StepLR()", "needs step_size"),
        ("StepLR(step_size=3, gama=0.1)", "did you mean gamma"),
        ("StepLR(step_size=n)", "write its value"),
        ("StepLR(step_size=3, gamma=-0.1)", "gamma"),
        ("StepLR(step_size=0)", "every"),
        ("LambdaLR(lr_lambda=lambda t: 1)", "give the configured object"),
        ("OneCycleLR(max_lr=[0.1, 0.2], total_steps=9)", "value per group"),
        ("OneCycleLR(max_lr=0.1)", "needs total_steps"),
        ("SequentialLR([StepLR(3), StepLR(3)], milestones=[])", "not one less"),
        ("SequentialLR(StepLR(3), milestones=[])", "list of schedulers"),
        ("ChainedScheduler([])", "list of schedulers"),
        ("ChainedScheduler([ReduceLROnPlateau()])", "closed loop"),
        ("LinearLR(start_factor=0.0)", "no start of 0"),
        ("LinearLR(end_factor=2.0)", "torch takes 0 to 1"),
        ("ConstantLR(factor=2.0)", "torch takes 0 to 1"),
    ],
)
def test_text_that_is_refused(text: str, reason: str) -> None:
    with pytest.raises(DialectError, match=reason):
        read(text, lr=0.1)


# -- what surprises ----------------------------------------------------------------------------------


def test_one_cycle_past_its_end() -> None:
    """torch gives one value too many, below zero when linear, and then fails; ours ends."""
    text = "OneCycleLR(max_lr=1.0, total_steps=5, anneal_strategy='linear')"
    live = build(text, optimizer())
    theirs = drive(live, 6)
    assert theirs[5] == pytest.approx(-0.285709, abs=1e-6)
    with pytest.raises(ValueError, match="Tried to step 6 times"):
        live.step()
    ours = read(text)
    close(ours.rates(5), theirs[:5], CLOSED)
    with pytest.raises(HorizonError):
        ours.rates(6)


def test_a_peak_at_the_very_start_divides_by_zero_in_torch() -> None:
    text = "OneCycleLR(max_lr=1.0, total_steps=5, pct_start=0.2)"
    with pytest.raises(ZeroDivisionError):
        build(text, optimizer())
    with pytest.raises(DialectError, match="divides by zero"):
        read(text)
    assert write(Training(LR, OneCycle(peak=0.2), 5)).startswith("dialect_torch.scheduler(")


def test_cosine_annealing_rises_after_t_max() -> None:
    text = "CosineAnnealingLR(T_max=4, eta_min=0.03)"
    theirs = drive(build(text, optimizer()), 9)
    assert theirs[4] == pytest.approx(0.03)
    assert theirs[8] == pytest.approx(0.3)
    ours = read(text, lr=LR)
    assert "after update 4 the rate rises again" in ours.notes[0]
    assert not read(text, lr=LR, horizon=5).notes
    close(ours.rates(9), theirs, RECURSIVE)
    clipped = Within(Cosine(final=0.1), length=4)
    assert multipliers(clipped, 9)[8] == pytest.approx(0.1)


def test_a_chained_cosine_with_a_floor_is_no_product() -> None:
    text = "ChainedScheduler([CosineAnnealingLR(T_max=4, eta_min=0.03), ExponentialLR(gamma=0.9)])"
    live = build(
        "ChainedScheduler(schedulers=[CosineAnnealingLR(T_max=4, eta_min=0.03), ExponentialLR(gamma=0.9)])",
        optimizer(),
    )
    theirs = drive(live, 9)
    product = LR * Product(CosineWave(4, final=0.1), Exponential(0.9))(9)
    assert theirs[4] == pytest.approx(0.9 * 0.03)  # the floor, and one factor of four
    assert product[4] == pytest.approx(0.9**4 * 0.03)
    close(read(text, lr=LR, horizon=9).rates(), theirs, RECURSIVE)


def test_a_chained_cosine_without_a_floor_is_one_until_t_max() -> None:
    text = "ChainedScheduler([CosineAnnealingLR(T_max=4), ExponentialLR(gamma=0.9)])"
    live = build(text.replace("([", "(schedulers=["), optimizer())
    theirs = drive(live, 9)
    product = LR * Product(CosineWave(4), Exponential(0.9))(9)
    close(product[:5], theirs[:5], RECURSIVE)
    assert abs(product[6] - theirs[6]) > 0.01
    assert not isinstance(read(text, lr=LR).schedule, Values)
    with pytest.raises(HorizonError):
        read(text, lr=LR).rates(9)
    close(read(text, lr=LR, horizon=9).rates(), theirs, RECURSIVE)


def test_a_part_that_sets_the_rate_wipes_out_those_before_it() -> None:
    parts = "CosineAnnealingWarmRestarts(T_0=4), ExponentialLR(gamma=0.5)"
    theirs = drive(build(f"ChainedScheduler(schedulers=[{parts}])", optimizer()), 5)
    assert theirs[4] == pytest.approx(LR * 0.5)  # not 0.5**4
    close(read(f"ChainedScheduler([{parts}])", lr=LR, horizon=5).rates(), theirs, RECURSIVE)


def test_a_chain_in_a_sequence_starts_one_late_or_fails() -> None:
    chain = "ChainedScheduler(schedulers=[ExponentialLR(gamma=0.5)])"
    first = f"SequentialLR(schedulers=[{chain}, ConstantLR()], milestones=[3])"
    assert drive(build(first, optimizer()), 1)[0] == pytest.approx(LR * 0.5)
    assert read(first, lr=LR, horizon=1).rates()[0] == pytest.approx(LR * 0.5)
    second = f"SequentialLR(schedulers=[ConstantLR(), {chain}], milestones=[3])"
    with pytest.raises(NotImplementedError):
        drive(build(second, optimizer()), 5)
    with pytest.raises(DialectError, match="torch itself fails after update 2: NotImplementedError"):
        read(second, lr=LR, horizon=5)


def test_zero_iterations_mean_for_ever() -> None:
    for text in ("ConstantLR(factor=0.5, total_iters=0)", "LinearLR(start_factor=0.5, total_iters=0)"):
        np.testing.assert_allclose(drive(build(text, optimizer()), 4), np.full(4, LR / 2))
        ours = read(text, lr=LR)
        assert "for ever" in ours.notes[-1]
        np.testing.assert_allclose(ours.rates(4), np.full(4, LR / 2))


def test_a_constant_factor_of_zero_fails_at_its_end() -> None:
    text = "ConstantLR(factor=0.0, total_iters=2)"
    with pytest.raises(ZeroDivisionError):
        drive(build(text, optimizer()), 3)
    np.testing.assert_array_equal(read(text, lr=LR).rates(2), [0, 0])
    with pytest.raises(HorizonError):
        read(text, lr=LR).rates(3)


def test_swalr_starts_from_the_rate_it_finds() -> None:
    opt = optimizer()
    first = build("ExponentialLR(gamma=0.5)", opt)
    first.step()
    live = build("SWALR(swa_lr=0.05, anneal_epochs=4)", opt)
    training = read(live, horizon=6)
    assert training.lr == LR / 2
    close(training.rates(), drive(live, 6), RECURSIVE)


# -- plateau -----------------------------------------------------------------------------------------


def test_reduce_on_plateau_maps_absolute_rates() -> None:
    text = "ReduceLROnPlateau('max', 0.5, 3, threshold_mode='abs', cooldown=2, min_lr=0.03, eps=0.0)"
    rule = ReduceLROnPlateau(0.5, patience=3, mode="max", threshold_mode="abs", cooldown=2, low=0.1, eps=0.0)
    assert read(text, lr=LR).schedule == rule
    assert (
        read(lr_scheduler.ReduceLROnPlateau(optimizer(), "max", 0.5, 3, 1e-4, "abs", 2, 0.03, 0.0)).schedule
        == rule
    )
    again = read(write(Training(LR, rule)), lr=LR).schedule
    assert isinstance(again, ReduceLROnPlateau)
    assert again.low == pytest.approx(0.1)


plateaus = st.builds(
    ReduceLROnPlateau,
    factor=st.floats(0.1, 0.9),
    patience=st.integers(0, 3),
    mode=st.sampled_from(["min", "max"]),
    threshold=st.floats(0, 0.3),
    threshold_mode=st.sampled_from(["rel", "abs"]),
    cooldown=st.integers(0, 3),
    low=st.floats(0, 0.5),
)


@given(plateaus, st.lists(st.floats(0, 3), max_size=30))
def test_a_plateau_drives_as_torch_does(rule: ReduceLROnPlateau, metrics: list[float]) -> None:
    text = write(Training(LR, rule))
    theirs, ours = optimizer(), optimizer()
    live = eval(text, {**vars(lr_scheduler), "optimizer": theirs})
    mine: Any = dialect_torch.scheduler(ours, rule, horizon=30)
    for metric in metrics:
        live.step(metric)
        mine.step(metric)
        assert ours.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"], rel=RECURSIVE)


# -- writing -----------------------------------------------------------------------------------------

IDIOMS: list[tuple[Schedule, int | None, str]] = [
    (Constant(), None, "ConstantLR"),
    (Scaled(Constant(), factor=0.5), 20, "ConstantLR"),
    (Step(0.5, every=3), None, "StepLR"),
    (Step(0.5, every=0.25), 20, "StepLR"),
    (MultiStep((3, 7, 7), gamma=0.1), None, "MultiStepLR"),
    (MultiStep((0.5, 0.75), gamma=0.1), 40, "MultiStepLR"),
    (Piecewise((4,), values=(0.3, 1.0)), None, "ConstantLR"),
    (Exponential(0.9), None, "ExponentialLR"),
    (Linear(), 20, "LinearLR"),
    (Linear(final=0.2), 20, "LinearLR"),
    (Within(Linear(final=0.2), length=7), None, "LinearLR"),
    (Within(Linear(final=0.2), end="T-1"), 20, "LinearLR"),
    (Polynomial(2.0), 20, "PolynomialLR"),
    (Within(Polynomial(0.5), length=7), 20, "PolynomialLR"),
    (Cosine(final=0.1), 20, "CosineAnnealingLR"),
    (Within(Cosine(), end="T-1"), 20, "CosineAnnealingLR"),
    (CosineWave(6, final=0.1), None, "CosineAnnealingLR"),
    (Repeat(Cosine(final=0.1), period=4, growth=2), None, "CosineAnnealingWarmRestarts"),
    (Triangular(10, low=0.1), None, "CyclicLR"),
    (Triangular(10, up=0.3, decay=0.5), None, "CyclicLR"),
    (Triangular(10, gamma=0.99), None, "CyclicLR"),
    (OneCycle(), 40, "OneCycleLR"),
    (
        Within(OneCycle(peak=0.25, shape="linear", three_phase=True), length=40, beyond="error"),
        None,
        "OneCycleLR",
    ),
    (Warmup(Constant(), length=5, start=0.1), None, "LinearLR"),
    (Warmup(Constant(), length=5), None, "LinearLR"),
    (Warmup(Constant(), length=5, start="1/W"), None, "LinearLR"),
    (Warmup(Cosine(final=0.1), length=5), 40, "SequentialLR"),
    (Warmup(Cosine(), length=0.1, start="1/W"), 40, "SequentialLR"),
    (Warmup(Cosine(), length=1.0, start=0.2), 40, "LinearLR"),
    (Warmup(Linear(), length=0), 40, "LinearLR"),
    (Then(Linear(), Then(Step(0.5, every=2), Exponential(0.9), at=7), at=5), 40, "SequentialLR"),
    (Then(Linear(final=0.5), Cosine(), at=0.5), 40, "SequentialLR"),
    (Then(Linear(final=0.5), Cosine(), at=0), 40, "CosineAnnealingLR"),
    (Then(Linear(final=0.5), Cosine(), at=1.0), 40, "LinearLR"),
    (Warmup(Then(Constant(), Linear(), at=0.5), length=4), 40, "SequentialLR"),
    (
        Product(Step(0.5, every=4), Product(Exponential(0.9), Warmup(Constant(), length=3))),
        None,
        "ChainedScheduler",
    ),
    (Product(Cosine(), Exponential(0.9)), 20, "ChainedScheduler"),
]


@pytest.mark.parametrize(("schedule", "horizon", "name"), IDIOMS, ids=repr)
def test_torch_says_what_it_can_in_its_own_words(schedule: Schedule, horizon: int | None, name: str) -> None:
    text = write(Training(LR, schedule, horizon))
    assert text.startswith(name)
    T = horizon or 40
    live = eval(text, {**vars(lr_scheduler), "optimizer": optimizer()})
    np.testing.assert_allclose(drive(live, T), LR * multipliers(schedule, T), rtol=RECURSIVE, atol=1e-15)


OTHERS: list[Schedule] = [
    InversePower(0.5),
    Polynomial(2.0, final=0.1),
    Linear(final=3.0),
    Cosine(power=2.0),
    Warmup(Cosine(), length=5, start=0.0),
    Warmup(Cosine(), length=5, shape="cosine"),
    Warmup(Cosine(), length=5, overlap=True),
    Cooldown(Constant(), length=0.2),
    CosineRestarts(3.0),
    OneCycle(final=0.0),
    OneCycle(start=3.0),
    Cosine(final=2.0),
    Within(Cosine(), length=10),
    Then(OneCycle(), OneCycle(), at=0.5),
    Product(Cosine(final=0.1), Exponential(0.9)),
    Step(0.0, every=3),
]


@pytest.mark.parametrize("schedule", OTHERS, ids=repr)
def test_and_in_ours_otherwise(schedule: Schedule) -> None:
    text = write(Training(LR, schedule, 40))
    live = eval(text, {**vars(lr_scheduler), "optimizer": optimizer(), "dialect_torch": dialect_torch})
    np.testing.assert_allclose(drive(live, 40), LR * multipliers(schedule, 40), rtol=RECURSIVE, atol=1e-18)


@given(values("schedule"), st.integers(1, 40))
@settings(max_examples=200)
def test_whatever_is_written_drives_and_reads_back(schedule: Schedule, T: int) -> None:
    try:
        expected = LR * multipliers(schedule, T)
    except InputError:  # it does not exist for this horizon
        return
    text = write(Training(LR, schedule, T))
    live = eval(text, {**vars(lr_scheduler), "optimizer": optimizer(), "dialect_torch": dialect_torch})
    np.testing.assert_allclose(drive(live, T), expected, rtol=RECURSIVE, atol=1e-13 * LR)
    np.testing.assert_allclose(read(text, lr=LR, horizon=T).rates(T), expected, rtol=CLOSED, atol=1e-15)


def test_without_a_horizon_only_what_lasts_for_ever_is_written() -> None:
    with pytest.raises(DialectError, match="give the horizon"):
        write(Training(LR, Linear()))
    with pytest.raises(DialectError, match=r"Values\.of"):
        write(Training(LR, np.ones, 3))


# -- driving -----------------------------------------------------------------------------------------

DRIVEN = Warmup(Cosine(final=0.1), length=5)


def test_a_schedule_drives_every_group_from_its_own_rate() -> None:
    opt = optimizer(0.1, 1.0)
    live: Any = dialect_torch.scheduler(opt, DRIVEN, horizon=20)
    close(drive(live, 20, group=1), DRIVEN(20), CLOSED)
    assert live.get_last_lr() == [0.1 * DRIVEN(20)[19], DRIVEN(20)[19]]
    assert [group["initial_lr"] for group in opt.param_groups] == [0.1, 1.0]
    other: Any = dialect_torch.scheduler(optimizer(0.1, 1.0), repr(DRIVEN), horizon=20)
    close(drive(other, 20), 0.1 * DRIVEN(20), CLOSED)
    assert [training.rates().tolist() for training in groups(other)] == [
        (0.1 * DRIVEN(20)).tolist(),
        DRIVEN(20).tolist(),
    ]


def test_the_step_after_the_last_update_is_harmless_and_the_next_is_not() -> None:
    live: Any = dialect_torch.scheduler(optimizer(), DRIVEN, horizon=3)
    for _ in range(3):  # as a training loop does: update, step
        live.step()
    with pytest.raises(InputError, match="make the scheduler with horizon=5"):
        live.step()
    with pytest.raises(InputError, match="horizon is 0"):
        dialect_torch.scheduler(optimizer(), DRIVEN, horizon=0)


@pytest.mark.parametrize("steps", [0, 1, 7, 19])
def test_state_goes_around(steps: int) -> None:
    live: Any = dialect_torch.scheduler(optimizer(), DRIVEN, horizon=20)
    for _ in range(steps):
        live.step()
    buffer = io.BytesIO()
    torch.save({"s": live.state_dict(), "o": live.optimizer.state_dict()}, buffer)
    buffer.seek(0)
    kept = torch.load(buffer, weights_only=True)
    assert json.loads(json.dumps(kept["s"])) == live.state_dict()

    opt = optimizer()
    again: Any = dialect_torch.scheduler(opt, DRIVEN, horizon=20)
    opt.load_state_dict(kept["o"])
    again.load_state_dict(kept["s"])
    close(drive(again, 20 - steps), LR * DRIVEN(20)[steps:], CLOSED)

    opt = optimizer()
    opt.load_state_dict(kept["o"])
    resumed: Any = dialect_torch.scheduler(opt, DRIVEN, horizon=20, last_epoch=steps - 1)
    close(drive(resumed, 20 - steps), LR * DRIVEN(20)[steps:], CLOSED)


def test_the_state_of_another_schedule_is_refused() -> None:
    live = dialect_torch.scheduler(optimizer(), DRIVEN, horizon=20)
    for other in (
        dialect_torch.scheduler(optimizer(), Linear(), horizon=20),
        dialect_torch.scheduler(optimizer(), DRIVEN, horizon=21),
    ):
        with pytest.raises(InputError, match="the state is of Warmup"):
            other.load_state_dict(live.state_dict())


def test_ours_within_the_sequences_of_torch() -> None:
    opt = optimizer()
    parts = [lr_scheduler.ConstantLR(opt, 0.5, 9), dialect_torch.scheduler(opt, DRIVEN, horizon=20)]
    live = lr_scheduler.SequentialLR(opt, parts, milestones=[4])
    close(drive(live, 24), LR * np.concatenate([np.full(4, 0.5), DRIVEN(20)]), CLOSED)


def test_a_closed_loop_resumes_with_its_warmup() -> None:
    rule = ReduceLROnPlateau(0.5, patience=1, schedule=Warmup(Constant(), length=4))
    metrics = [3.0, 3.0, 3.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0]
    live: Any = dialect_torch.scheduler(optimizer(), rule, horizon=20)
    seen = []
    for metric in metrics:
        live.step()  # an update without a metric
        live.step(metric)
        seen.append(live.get_last_lr()[0])
        if metric == 2.0:
            state = json.loads(json.dumps(live.state_dict()))
            live = dialect_torch.scheduler(optimizer(), rule, horizon=20)
            live.load_state_dict(state)
    factors = np.array([1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25])
    close(np.array(seen), LR * Warmup(Constant(), length=4)(20)[2:20:2] * factors, CLOSED)
    assert read(live).schedule == rule


@given(values("feedback"))
@settings(max_examples=20)
def test_every_closed_loop_drives(rule: Feedback) -> None:
    try:
        live: Any = dialect_torch.scheduler(optimizer(), rule, horizon=5)
    except HorizonError:
        return
    state, factor = rule.start(1), 1.0
    base = LR * multipliers(rule.schedule, 5)
    for t in range(1, 5):
        factors, state = rule.update(state, np.array([2.0]))
        factor = float(factors[0])
        live.step(2.0)
        assert live.get_last_lr()[0] == pytest.approx(base[t] * factor, rel=CLOSED)


def test_a_closed_loop_of_ours_is_written_in_ours() -> None:
    text = write(Training(LR, GreedyLR(), 40))
    assert text.startswith('dialect_torch.scheduler(optimizer, "GreedyLR(')
    assert read(text, lr=LR).schedule == GreedyLR()
    assert parse(repr(GreedyLR()), "feedback") == GreedyLR()
