"""timm's rates as a training loop meets them, beside what the dialect reads from text and from the live
scheduler; what it writes, read back; and our schedules driving timm's loop."""

import importlib
import importlib.util
import inspect
import sys
import types
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from ratelab.experiments.dialects import DialectError, Training, timm as dialect_timm
from ratelab.experiments.dialects._words import REQUIRED
from ratelab.experiments.dialects.timm import SIGNATURES, read, write
from ratelab.theory.arrays import Array, InputError
from ratelab.theory.combine import Cooldown, Held, Product, Repeat, Scaled, Then, Warmup, Within
from ratelab.theory.cycles import CosineRestarts, Triangular
from ratelab.theory.feedback import GreedyLR, ReduceLROnPlateau, replay
from ratelab.theory.schedules import (
    Constant,
    Cosine,
    Exponential,
    InversePower,
    Linear,
    MultiStep,
    Piecewise,
    Polynomial,
    Schedule,
    Step,
    Tanh,
    WarmupStableDecay,
)

LR = 0.1


def timm_scheduler() -> Any:
    """The module timm.scheduler. timm itself imports torchvision, which its schedulers do not need: an empty
    package stands in for it."""
    if "timm" not in sys.modules:
        spec = importlib.util.find_spec("timm")
        if spec is None:
            pytest.skip("peers are not installed: make conformance")
        package = types.ModuleType("timm")
        package.__path__ = list(spec.submodule_search_locations or [])
        package.__spec__ = spec
        sys.modules["timm"] = package
    return importlib.import_module("timm.scheduler")


def sgd(lr: float = LR) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)


def sgd_of_two(first: dict[str, Any], second: dict[str, Any]) -> torch.optim.Optimizer:
    """An optimizer of two parameter groups."""
    groups = [{"params": [torch.zeros(1, requires_grad=True)], **own} for own in (first, second)]
    return torch.optim.SGD(groups, lr=LR)


def made(text: str, lr: float = LR) -> Any:
    """The scheduler that a text makes, on an optimizer of its own."""
    namespace = {**vars(timm_scheduler()), "optimizer": sgd(lr)}
    scheduler = eval(text, namespace)  # the texts are of this file
    return scheduler[0] if isinstance(scheduler, tuple) else scheduler


def stepped(scheduler: Any, counts: int) -> Array:
    """The rates of a loop like timm's own, which steps after each count."""
    used = []
    for t in range(counts):
        used.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.step(t + 1)
        scheduler.step_update(t + 1)
    return np.array(used)


def agree(text: str, counts: int, lr: float = LR) -> Training:
    """Text and live scheduler are read alike, and give the rates that the loop meets."""
    scheduler = made(text, lr)
    trained, live = read(text, lr=lr, horizon=counts), read(scheduler, horizon=counts)
    assert live == trained
    np.testing.assert_allclose(trained.rates(counts), stepped(scheduler, counts), rtol=1e-12, atol=1e-15 * lr)
    return trained


ratios = st.sampled_from([0.0, 0.0, 1e-3, 0.1, 1.5]) | st.floats(0.0, 2.0)
counts = st.integers(1, 60)
clocks = st.sampled_from([", t_in_epochs=False", ""])


@st.composite
def warmups(draw: st.DrawFn, *, prefix: bool = True) -> str:
    """Arguments of a warmup; nothing, often."""
    if draw(st.booleans()):
        return draw(clocks)
    words = f", warmup_t={draw(st.integers(0, 12))}, warmup_lr_init={LR * draw(ratios)!r}"
    return words + (f", warmup_prefix={draw(st.booleans())}" if prefix else "") + draw(clocks)


@st.composite
def cycles(draw: st.DrawFn) -> str:
    """Arguments of timm's three cyclic schedulers; a cycle_mul of 2 has no rounding in timm's logarithm."""
    words = f"t_initial={draw(st.integers(1, 30))}, lr_min={LR * draw(ratios)!r}"
    if draw(st.booleans()):
        decay = draw(st.sampled_from([1.0, 0.5, 0.1]) | st.floats(0.0, 1.5))
        words += f", cycle_mul={draw(st.sampled_from([1, 2, 2.0]))}, cycle_decay={decay!r}"
        words += f", cycle_limit={draw(st.integers(0, 5))}"
    return words


@pytest.mark.conformance
@given(cycles(), st.sampled_from([1.0, 0.5, 2.0]) | st.floats(0.1, 3.0), warmups(), counts)
def test_cosine(cycle: str, k_decay: float, warmup: str, T: int) -> None:
    agree(f"CosineLRScheduler(optimizer, {cycle}, k_decay={k_decay!r}{warmup})", T)


@pytest.mark.conformance
@given(cycles(), st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0.1, 3.0), warmups(), counts)
def test_poly(cycle: str, power: float, warmup: str, T: int) -> None:
    agree(f"PolyLRScheduler(optimizer, {cycle}, power={power!r}{warmup})", T)


@pytest.mark.conformance
@given(cycles(), st.floats(-9.0, 0.0), st.floats(0.1, 5.0), warmups(), counts)
def test_tanh(cycle: str, lb: float, ub: float, warmup: str, T: int) -> None:
    text = f"TanhLRScheduler(optimizer, {cycle}, lb={lb!r}, ub={ub!r}{warmup})"
    try:
        read(text, lr=LR)
    except DialectError as error:
        assert "warmup over several tanh cycles" in str(error)  # noqa: PT017  (else it must agree, below)
        scheduler = made(text)
        sampled = read(scheduler, horizon=T).rates(T)
        np.testing.assert_allclose(sampled, stepped(scheduler, T), rtol=1e-12)
    else:
        agree(text, T)


@pytest.mark.conformance
@given(st.integers(1, 20) | st.floats(0.3, 20.0), st.floats(0.0, 1.2), warmups(), counts)
def test_step(decay_t: float, rate: float, warmup: str, T: int) -> None:
    agree(f"StepLRScheduler(optimizer, decay_t={decay_t!r}, decay_rate={rate!r}{warmup})", T)


@pytest.mark.conformance
@given(st.lists(st.integers(0, 40), max_size=5), st.floats(0.0, 1.2), warmups(), counts)
def test_multistep(decay_t: list[int], rate: float, warmup: str, T: int) -> None:
    agree(f"MultiStepLRScheduler(optimizer, decay_t={sorted(decay_t)}, decay_rate={rate!r}{warmup})", T)


@pytest.mark.conformance
@given(
    st.integers(1, 30),
    st.floats(0.0, 1.0),
    st.sampled_from(["'linear'", "'1-sqrt'", "'cosine'", "'power', decay_power=2.0", "'power'"]),
    st.sampled_from(
        ["'constant'", "'rsqrt', stable_timescale=7", "'power', stable_timescale=3, stable_power=0.8"]
    ),
    ratios,
    warmups(prefix=False),
    counts,
)
def test_wsd(N: int, part: float, decay: str, stable: str, final: float, warmup: str, T: int) -> None:
    floor = f", lr_min={LR * final!r}" if stable == "'constant'" else ""
    words = f"{N}, decay_t={max(round(part * N), 1)}, decay_fn={decay}, stable_fn={stable}{floor}{warmup}"
    agree(f"WSDLRScheduler(optimizer, {words})", T)


@pytest.mark.conformance
def test_wsd_exponential_and_the_default_timescale() -> None:
    agree("WSDLRScheduler(optimizer, 20, 8, lr_min=0.01, decay_fn='exp', decay_ratio=0.1)", 30)
    agree("WSDLRScheduler(optimizer, 20, 8, stable_fn='rsqrt', warmup_t=5)", 30)


FACTORY = [
    "sched='cosine', num_epochs=20, warmup_epochs=3, min_lr=1e-5, cooldown_epochs=4",
    "sched='cosine', num_epochs=20, warmup_epochs=3, warmup_prefix=True, cycle_limit=2, cycle_mul=2.0",
    "sched='cosine', num_epochs=5, step_on_epochs=False, updates_per_epoch=7, warmup_epochs=1, k_decay=0.5",
    "sched='tanh', num_epochs=10, warmup_epochs=2, min_lr=1e-4",
    "sched='tanh', num_epochs=10, cooldown_epochs=2",
    "sched='poly', num_epochs=10, decay_rate=2.0, cycle_limit=3, cycle_decay=0.5",
    "sched='step', num_epochs=25, decay_epochs=4, warmup_epochs=5",
    "sched='step', num_epochs=25, decay_epochs=2.4, decay_rate=0.9",
    "sched='step', num_epochs=9, decay_epochs=2.5, step_on_epochs=False, updates_per_epoch=4",
    "sched='multistep', num_epochs=12, decay_milestones=[3, 6], warmup_epochs=2, warmup_prefix=True",
    "sched='multistep', num_epochs=12, decay_milestones=[1, 6]",
    "sched='constant', num_epochs=9, warmup_epochs=4",
    "sched='wsd', num_epochs=20, warmup_epochs=4, min_lr=1e-4",
    "sched='wsd', num_epochs=20, warmup_epochs=4, warmup_prefix=True, decay_epochs=7, decay_fn='cosine'",
    "sched='rsqrt', num_epochs=20, warmup_epochs=4, step_on_epochs=False, updates_per_epoch=3",
    "sched='rsqrt', num_epochs=20, stable_timescale=2, decay_epochs=0.35",
]


@pytest.mark.conformance
@pytest.mark.parametrize("words", FACTORY)
def test_create_scheduler_v2(words: str) -> None:
    text = f"create_scheduler_v2(optimizer, {words})"
    scheduler, epochs = eval(text, {**vars(timm_scheduler()), "optimizer": sgd()})
    trained = read(text, lr=LR)
    every = scheduler.t_in_epochs or int(words.partition("updates_per_epoch=")[2].partition(",")[0])
    assert trained.horizon == epochs * every
    T = epochs * every + (0 if "2.4" in words else 10)
    np.testing.assert_allclose(trained.rates(T), stepped(scheduler, T), rtol=1e-12, atol=1e-16)


@pytest.mark.conformance
def test_create_scheduler_v2_defaults() -> None:
    """Every default matters: 300 epochs, cycles that shrink to a tenth, warmup from 1e-5."""
    trained = read("create_scheduler_v2(optimizer)", lr=LR)
    assert trained.schedule == Within(Cosine(), 300)
    assert read("create_scheduler_v2(optimizer, 'none')", lr=LR).schedule == Constant()
    cycled = read("create_scheduler_v2(optimizer, num_epochs=10, cycle_limit=2)").schedule
    assert cycled == Then(Repeat(Cosine(), 10, decay=0.1), Scaled(Constant(), 0.0), at=20)


@pytest.mark.conformance
@pytest.mark.parametrize("name", sorted(SIGNATURES))
def test_the_arguments_are_timms(name: str) -> None:
    parameters = inspect.signature(getattr(timm_scheduler(), name)).parameters
    assert list(parameters) == list(SIGNATURES[name])
    for key, parameter in parameters.items():
        default = REQUIRED if parameter.default is inspect.Parameter.empty else parameter.default
        assert SIGNATURES[name][key] == (None if key == "optimizer" else default), key


# -- where timm surprises --------------------------------------------------------------------------


@pytest.mark.conformance
def test_a_milestone_acts_one_count_early() -> None:
    text = "MultiStepLRScheduler(optimizer, decay_t=[3, 5], decay_rate=0.5)"
    np.testing.assert_allclose(stepped(made(text), 6) / LR, [1, 1, 0.5, 0.5, 0.25, 0.25])
    assert agree(text, 9).schedule == MultiStep((2, 4), gamma=0.5)


@pytest.mark.conformance
def test_the_first_milestone_waits_for_the_first_step() -> None:
    """timm's formula decays at t = 0 already; the loop has made its first update by then. A resumed loop,
    which steps before its first update, gets the formula's value."""
    text = "MultiStepLRScheduler(optimizer, decay_t=[1], decay_rate=0.5)"
    scheduler = made(text)
    assert scheduler._get_lr(0) == [0.5 * LR]
    np.testing.assert_allclose(stepped(scheduler, 3) / LR, [1, 0.5, 0.5])
    assert agree(text, 5).schedule == MultiStep((1,), gamma=0.5)


@pytest.mark.conformance
def test_tanh_starts_at_the_lr_and_jumps_to_its_end() -> None:
    trained = agree("TanhLRScheduler(optimizer, t_initial=10, lb=-1.0, ub=1.0, lr_min=0.02)", 14)
    s = trained.rates(12) / LR
    np.testing.assert_allclose(s[0], 1.0)
    np.testing.assert_allclose(s[1:10], Tanh(final=0.2, low=-1.0, high=1.0)(10)[1:])
    np.testing.assert_allclose(s[10:], 0.2)
    assert s[9] - s[10] > 0.1


@pytest.mark.conformance
def test_a_tanh_warmup_leads_to_the_curve_others_jump() -> None:
    """Without warmup_prefix the ramps of cosine, poly and step lead to lr, when the curve has left it."""
    words = "t_initial=20, warmup_t=10)"
    cosine = agree(f"CosineLRScheduler(optimizer, {words}", 25).rates(25) / LR
    np.testing.assert_allclose([cosine[9], cosine[10]], [0.9, 0.5])
    tanh = agree(f"TanhLRScheduler(optimizer, {words}", 25).rates(25) / LR
    np.testing.assert_allclose(np.diff(tanh[:11]), tanh[10] / 10)


@pytest.mark.conformance
def test_prefix_by_default_depends_on_the_scheduler_and_on_who_makes_it() -> None:
    """StepLRScheduler counts from the end of the warmup, and from its beginning when the factory makes it."""
    words = "decay_t=4, decay_rate=0.5, warmup_t=2"
    assert agree(f"StepLRScheduler(optimizer, {words})", 9).rates(9)[5] == LR
    made_by = "create_scheduler_v2(optimizer, 'step', decay_epochs=4, decay_rate=0.5, warmup_epochs=2)"
    np.testing.assert_allclose(read(made_by, lr=LR).rates(9)[5], 0.5 * LR)


@pytest.mark.conformance
def test_a_restart_that_timms_logarithm_misses() -> None:
    """log(243, 3) is just below 5: timm's sixth cycle begins one count late, after a count at lr_min."""
    text = "CosineLRScheduler(optimizer, t_initial=2, cycle_mul=3, cycle_limit=7)"
    scheduler = made(text)
    start = 2 * 121
    rates = [scheduler._get_lr(t)[0] for t in range(start - 1, start + 2)]
    ours = read(text, lr=LR).rates(start + 2)[-3:]
    np.testing.assert_allclose(ours, [rates[0], LR, rates[2]], rtol=1e-12, atol=1e-16)
    assert rates[1] == pytest.approx(0.0, abs=1e-15)


@pytest.mark.conformance
def test_wsd_never_goes_below_lr_min() -> None:
    trained = agree("WSDLRScheduler(optimizer, 10, 5, lr_min=0.2, warmup_t=2)", 15)
    np.testing.assert_allclose(trained.rates(4) / LR, [0, 0.5, 2, 2])


@pytest.mark.conformance
def test_plateau_is_torchs_with_other_words() -> None:
    """Maximised unless told otherwise, and blind during the warmup."""
    words = "decay_rate=0.5, patience_t=1, lr_min=0.02, warmup_t=2, warmup_lr_init=0.01"
    text = f"PlateauLRScheduler(optimizer, {words})"
    with pytest.warns(FutureWarning, match="deprecated"):
        scheduler = made(text)
    trained = read(text, lr=LR)
    rule = trained.schedule
    assert isinstance(rule, ReduceLROnPlateau)
    assert read(scheduler) == trained
    assert rule.schedule == Warmup(Constant(), 2, start=0.1)
    metrics = [1.0, 0.2, 0.2, 0.3, 0.3, 0.3, 0.2, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4]
    used = []
    for epoch, metric in enumerate(metrics):
        used.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.step(epoch + 1, metric)
    factors = np.concatenate([np.ones(3), replay(rule, [metrics[2:-1]])[0]])
    np.testing.assert_allclose(used, LR * rule.schedule(len(metrics)) * factors, rtol=1e-12)
    assert used[-1] == pytest.approx(0.02)


# -- reading ---------------------------------------------------------------------------------------


@pytest.mark.conformance
def test_epochs_are_held_for_their_updates() -> None:
    text = "CosineLRScheduler(optimizer, t_initial=5, warmup_t=2)"
    trained = read(text, lr=LR, updates_per_epoch=3)
    assert isinstance(trained.schedule, Held)
    assert trained.horizon == 15
    np.testing.assert_allclose(trained.rates(20), np.repeat(stepped(made(text), 7), 3)[:20], rtol=1e-12)
    by_update = "CosineLRScheduler(optimizer, t_initial=5, t_in_epochs=False)"
    assert read(by_update, lr=LR, updates_per_epoch=3).schedule == Within(Cosine(), 5)


@pytest.mark.conformance
def test_without_a_closed_form_a_live_scheduler_is_sampled() -> None:
    for text in (
        "WSDLRScheduler(optimizer, 12, 5, decay_fn=lambda u: (1 - u) ** 3)",
        "WSDLRScheduler(optimizer, 12, 5, decay_fn='exp', warmup_t=3, warmup_lr_init=0.05)",
        "WSDLRScheduler(optimizer, 12, 5, stable_fn='rsqrt', stable_timescale=2.0, lr_min=0.03)",
        "PolyLRScheduler(optimizer, 12, k_decay=0.7)",
        "CosineLRScheduler(optimizer, 5, cycle_mul=1.5, cycle_limit=4)",
        "TanhLRScheduler(optimizer, 5, cycle_limit=3, warmup_t=3)",
    ):
        scheduler = made(text)
        trained = read(scheduler)
        assert trained.notes[0].startswith("sampled over")
        T = scheduler.get_cycle_length()
        assert trained.horizon == T
        np.testing.assert_allclose(trained.rates(), stepped(scheduler, T), rtol=1e-12)


@pytest.mark.conformance
def test_groups_and_lr_scale() -> None:
    optimizer = sgd_of_two({"lr_scale": 0.5}, {})
    scheduler = timm_scheduler().CosineLRScheduler(optimizer, t_initial=9, lr_min=0.01, warmup_t=2)
    np.testing.assert_allclose(read(scheduler).rates(12), stepped(scheduler, 12), rtol=1e-12)
    optimizer = sgd_of_two({}, {"lr": 0.3})
    scheduler = timm_scheduler().CosineLRScheduler(optimizer, t_initial=9)
    assert any("first group's" in note for note in read(scheduler).notes)


def test_text_needs_no_timm() -> None:
    text = "scheduler = timm.scheduler.CosineLRScheduler(optimizer, t_initial=10, lr_min=1e-3, warmup_t=2)"
    expected = Warmup(Within(Cosine(final=0.01), 10), 2, start=0.0, overlap=True)
    assert read(text, lr=0.1).schedule == expected
    assert read("CosineLRScheduler(SGD(model.parameters(), lr=0.2), 10)").lr == 0.2
    assert read("CosineLRScheduler(optimizer, 10)").lr == 1.0
    assert read("CosineLRScheduler(optimizer, 1)").rates(3).tolist() == [1.0, 0.0, 0.0]


def test_the_horizon_is_the_length_that_timm_works_out() -> None:
    assert read("CosineLRScheduler(optimizer, 10, warmup_t=3)").horizon == 10
    assert read("CosineLRScheduler(optimizer, 10, warmup_t=3, warmup_prefix=True)").horizon == 13
    assert read("CosineLRScheduler(optimizer, 10, cycle_mul=2, cycle_limit=3)").horizon == 70
    assert read("CosineLRScheduler(optimizer, 10, cycle_mul=2, cycle_limit=9999)").horizon is None
    assert read("StepLRScheduler(optimizer, 10, 0.5)").horizon is None
    assert read("create_scheduler_v2(optimizer, num_epochs=10, cooldown_epochs=5)").horizon == 15


REFUSED = [
    ("CosineLRScheduler(optimizer, 10, noise_range_t=5)", "random"),
    ("create_scheduler_v2(optimizer, noise=0.5)", "random"),
    ("create_scheduler_v2(optimizer, 'cos')", "known: cosine"),
    ("create_scheduler_v2(optimizer, step_on_epochs=False)", "needs updates_per_epoch"),
    ("CosineLRScheduler(optimizer)", "needs t_initial"),
    ("CosineLRScheduler(optimizer, 0)", "t_initial is 0"),
    ("CosineLRScheduler(optimizer, 10.5)", "t_initial is 10.5"),
    ("CosineLRScheduler(optimizer, 10, k_decay=0)", "above 0"),
    ("CosineLRScheduler(optimizer, '10')", "finite number"),
    ("CosineLRScheduler(optimizer, epochs)", "write its value"),
    ("MultiStepLRScheduler(optimizer, 30)", "a list of counts"),
    ("MultiStepLRScheduler(optimizer, [30, 'x'])", "finite number"),
    ("WSDLRScheduler(optimizer, 5, 2, stable_fn=1)", "a word is wanted"),
    ("WSDLRScheduler(optimizer, 5, 2, stable_timescale='1')", "finite number"),
    ("create_scheduler_v2(optimizer, ['cosine'])", "a word is wanted"),
    ("create_scheduler_v2(optimizer, num_epochs=None)", "finite number"),
    ("CosineLRScheduler(optimizer, 10, warmup=5)", "did you mean warmup_t"),
    ("CosineLRScheduler(optimizer, 5, cycle_mul=1.5, cycle_limit=4)", "not a whole number"),
    ("TanhLRScheduler(optimizer, 5, lb=1.0, ub=0.0)", "lb < ub"),
    ("PolyLRScheduler(optimizer, 5, k_decay=2.0)", "configured object"),
    ("MultiStepLRScheduler(optimizer, [5, 3])", "sorted"),
    ("StepLRScheduler(optimizer, 2.5, 0.5)", "give the horizon"),
    ("StepLRScheduler(optimizer, 0, 0.5)", "above 0"),
    ("WSDLRScheduler(optimizer, 5, 6)", "at most"),
    ("WSDLRScheduler(optimizer, 5, 2, decay_fn='exp')", "configured object"),
    ("WSDLRScheduler(optimizer, 5, 2, stable_fn='rsqrt')", "stable_timescale is 0"),
    ("WSDLRScheduler(optimizer, 5, 2, decay_fn=lambda u: u)", "configured object"),
    ("StepLR(optimizer, 5)", "known: CosineLRScheduler"),
]


@pytest.mark.parametrize(("text", "reason"), REFUSED, ids=[text for text, _ in REFUSED])
def test_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(DialectError, match=reason):
        read(text, lr=LR)


def test_absolute_rates_need_the_lr() -> None:
    with pytest.raises(DialectError, match="lr_min is an absolute rate"):
        read("CosineLRScheduler(optimizer, 10, lr_min=1e-5)")
    with pytest.raises(DialectError, match="lr is 0"):
        read("CosineLRScheduler(optimizer, 10)", lr=0.0)
    with pytest.raises(DialectError, match="leave lr out"):
        read("CosineLRScheduler(SGD(params, lr=0.2), 10)", lr=0.1)
    assert (
        read("CosineLRScheduler(optimizer, 10, warmup_lr_init=1e-5)").lr == 1.0
    )  # without a warmup: nothing


# -- writing ---------------------------------------------------------------------------------------

SAYABLE: list[tuple[Schedule, str]] = [
    (Constant(), "StepLRScheduler(optimizer, decay_t=1, t_in_epochs=False)"),
    (Cosine(), "CosineLRScheduler(optimizer, t_initial=40, t_in_epochs=False)"),
    (Cosine(final=0.1, warp=2.0), "CosineLRScheduler(optimizer, t_initial=40, lr_min=0.01"),
    (Linear(), "PolyLRScheduler(optimizer, t_initial=40, power=1.0"),
    (Polynomial(2.0, final=0.5), "PolyLRScheduler(optimizer, t_initial=40, power=2.0, lr_min=0.05"),
    (Step(0.5, every=0.25), "StepLRScheduler(optimizer, decay_t=10, decay_rate=0.5"),
    (Exponential(0.9), "StepLRScheduler(optimizer, decay_t=1, decay_rate=0.9"),
    (MultiStep((10, 0.5), 0.1), "MultiStepLRScheduler(optimizer, decay_t=[11, 21], decay_rate=0.1"),
    (
        MultiStep((0, 5), 0.5),
        "MultiStepLRScheduler(optimizer, decay_t=[1, 6], decay_rate=0.5, t_in_epochs=False, warmup_t=1",
    ),
    (Tanh(), "TanhLRScheduler(optimizer, t_initial=40, t_in_epochs=False, warmup_t=1, warmup_lr_init="),
    (CosineRestarts(4.0), "CosineLRScheduler(optimizer, t_initial=10, cycle_limit=4"),
    (
        Repeat(Cosine(), 10, growth=2.0, decay=0.5, floor=0.1),
        "CosineLRScheduler(optimizer, t_initial=10, lr_min=0.01",
    ),
    (Repeat(Linear(), 8), "PolyLRScheduler(optimizer, t_initial=8, power=1.0"),
    (Warmup(Cosine(), 5), "CosineLRScheduler(optimizer, t_initial=35, t_in_epochs=False, warmup_t=5"),
    (Warmup(Cosine(), 5, start=0.0, overlap=True), "CosineLRScheduler(optimizer, t_initial=40"),
    (Warmup(Step(0.5, every=7), 0.1, start=0.01), "StepLRScheduler(optimizer, decay_t=7, decay_rate=0.5"),
    (Warmup(Constant(), 5), "StepLRScheduler(optimizer, decay_t=1, t_in_epochs=False, warmup_t=5"),
    (WarmupStableDecay(), "WSDLRScheduler(optimizer, t_initial=38, decay_t=8, decay_fn='linear'"),
    (
        WarmupStableDecay(4, 0.5, shape="1-sqrt", final=0.1),
        "WSDLRScheduler(optimizer, t_initial=36, decay_t=20",
    ),
    (Cooldown(Constant(), 0.25, shape="exponential", final=0.05), "WSDLRScheduler(optimizer, t_initial=40"),
    (Cooldown(InversePower(0.5, timescale=9.0), 10), "WSDLRScheduler(optimizer, t_initial=40, decay_t=10"),
    (Held(Cosine(), 8), "CosineLRScheduler(optimizer, t_initial=5)"),
    (Within(Cosine(), 30), "CosineLRScheduler(optimizer, t_initial=30"),
]


@pytest.mark.parametrize(("schedule", "text"), SAYABLE, ids=[repr(schedule) for schedule, _ in SAYABLE])
def test_written_and_read_back(schedule: Schedule, text: str) -> None:
    training = Training(LR, schedule, 40)
    written = write(training)
    assert written.startswith(text)
    assert f"# the optimizer's lr is {LR}" in written
    every = schedule.every if isinstance(schedule, Held) else 1
    again = read(written, lr=LR, horizon=40, updates_per_epoch=every)
    np.testing.assert_allclose(again.rates(), training.rates(), rtol=1e-12, atol=1e-16)


@pytest.mark.conformance
@pytest.mark.parametrize(("schedule", "text"), SAYABLE, ids=[repr(schedule) for schedule, _ in SAYABLE])
def test_what_is_written_runs_in_timm(schedule: Schedule, text: str) -> None:  # noqa: ARG001
    scheduler = made(write(Training(LR, schedule, 40)))
    expected = LR * schedule(40)[:: schedule.every if isinstance(schedule, Held) else 1]
    np.testing.assert_allclose(stepped(scheduler, len(expected)), expected, rtol=1e-12, atol=1e-16)


@pytest.mark.conformance
@given(cycles(), st.sampled_from(["CosineLRScheduler", "PolyLRScheduler"]), warmups(), st.integers(1, 40))
def test_what_was_read_is_written(cycle: str, name: str, warmup: str, T: int) -> None:
    trained = read(f"{name}(optimizer, {cycle}{warmup})", lr=LR, horizon=T)
    try:
        written = write(trained)
    except DialectError as error:
        assert "cycle_limit=0" in cycle or "gives other rates" in str(error), error  # noqa: PT017
    else:
        np.testing.assert_allclose(read(written, lr=LR).rates(T), trained.rates(T), rtol=1e-12, atol=1e-16)


def test_plateau_is_written() -> None:
    rule = ReduceLROnPlateau(0.5, patience=3, mode="max", low=0.25, eps=1e-8 / LR)
    written = write(Training(LR, rule))
    assert written.startswith("PlateauLRScheduler(optimizer, decay_rate=0.5, patience_t=3, lr_min=0.025)")
    assert read(written, lr=LR).schedule == rule


UNSAYABLE = [
    (Training(LR, Triangular(8), 40), "cosine, tanh and polynomial"),
    (Training(LR, Cosine()), "depends on the horizon"),
    (Training(LR, Cosine(cycles=1.0), 40), "cosine, tanh and polynomial"),
    (Training(LR, Warmup(Cosine(), 5, start="1/W"), 40), "linear in t/W"),
    (Training(LR, Warmup(Cosine(), 5, shape="cosine"), 40), "linear in t/W"),
    (Training(LR, CosineRestarts(3.0), 40), "other rates"),
    (Training(LR, Cooldown(Constant(), 10, shape="mirror cosine"), 40), "no cooldown of the shape"),
    (Training(LR, Cooldown(InversePower(0.5), 10, final=0.1), 40), "configured object"),
    (Training(LR, Repeat(Triangular(8), 8), 40), "cosine, tanh and polynomial"),
    (Training(LR, GreedyLR(), 40), "closed loop"),
    (Training(LR, ReduceLROnPlateau(eps=0.0), 40), "other rates"),
    (Training(0.0, Constant(), 40), "lr is 0"),
]


@pytest.mark.parametrize(("training", "reason"), UNSAYABLE, ids=[repr(t.schedule) for t, _ in UNSAYABLE])
def test_what_timm_cannot_say(training: Training, reason: str) -> None:
    with pytest.raises(DialectError, match=reason):
        write(training)


# -- driving ---------------------------------------------------------------------------------------


@pytest.mark.conformance
@pytest.mark.parametrize("t_in_epochs", [False, True])
def test_our_schedules_drive_timms_loop(t_in_epochs: bool) -> None:
    timm_scheduler()
    schedule = Warmup(Product(Cosine(), Piecewise((10,), (1.0, 0.5))), 5)
    optimizer = sgd_of_two({}, {"lr": 0.3})
    driver = dialect_timm.scheduler(optimizer, schedule, 20, t_in_epochs=t_in_epochs)
    np.testing.assert_array_equal(stepped(driver, 20), LR * schedule(20))
    assert optimizer.param_groups[1]["lr"] == 0.0  # stepped once after the last update: the cosine has closed
    with pytest.raises(InputError, match="past the horizon"):
        driver.step_update(21) if not t_in_epochs else driver.step(21)
    trained = read(driver)
    assert (trained.lr, trained.schedule, trained.horizon) == (LR, schedule, 20)


@pytest.mark.conformance
def test_a_driver_resumes() -> None:
    timm_scheduler()
    optimizer = sgd()
    driver = dialect_timm.scheduler(optimizer, Cosine(final=0.1), 20)
    first = stepped(driver, 8)
    state = (driver.state_dict(), optimizer.state_dict())
    again = sgd()
    again.load_state_dict(state[1])
    resumed = dialect_timm.scheduler(again, Cosine(final=0.1), 20)
    resumed.load_state_dict(state[0])
    resumed.step_update(8)
    rest = []
    for n in range(8, 20):
        rest.append(again.param_groups[0]["lr"])
        resumed.step_update(n + 1)
    np.testing.assert_array_equal(np.concatenate([first, rest]), LR * Cosine(final=0.1)(20))


@pytest.mark.conformance
def test_a_plain_function_drives_too_and_a_closed_loop_does_not() -> None:
    timm_scheduler()
    driver = dialect_timm.scheduler(sgd(), lambda T: np.linspace(1, 0.5, T), 5)
    np.testing.assert_allclose(stepped(driver, 5), LR * np.linspace(1, 0.5, 5))
    with pytest.raises(DialectError, match="functions of a count"):
        dialect_timm.scheduler(sgd(), ReduceLROnPlateau(), 5)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(InputError, match="at least 1"):
        dialect_timm.scheduler(sgd(), Cosine(), 0)
