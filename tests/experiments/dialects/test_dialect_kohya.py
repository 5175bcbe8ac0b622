"""The LoRA trainers' three layers: what a choice becomes, what the trainer does with it, what is lost.

The rates are compared with traces of the real schedulers, with rex stepped as the trainer steps it, and where
transformers is installed, with its schedulers, called as the trainer calls them.
"""

import json
import math
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import ROOT
from hypothesis import given, strategies as st

from ratelab.experiments import dialects
from ratelab.experiments.dialects import DialectError, Training
from ratelab.experiments.dialects.kohya import REX, Choice, rates, read, toml, trainings, write
from ratelab.theory.arrays import Array, InputError
from ratelab.theory.combine import Clip, Cooldown, Repeat, Scaled, Warmup
from ratelab.theory.cycles import CosineRestarts
from ratelab.theory.feedback import ReduceLROnPlateau
from ratelab.theory.schedules import (
    Constant,
    Cosine,
    Exponential,
    InversePower,
    Linear,
    MultiStep,
    Piecewise,
    Polynomial,
    Rex,
    Schedule,
    closing,
)

TRACES = json.loads((ROOT / "tests" / "reference" / "schedule_traces.json").read_text(encoding="utf-8"))
KOHYA: dict[str, list[float]] = TRACES["kohya_T100_W5_lr5e-4"]
CHOICES = (
    "constant",
    "cosine",
    "cosine_with_restarts",
    "constant_with_warmup",
    "linear",
    "polynomial",
    "rex",
)


def config(name: str, *lines: str, T: int = 100, W: int | float | None = 5, lr: float = 5e-4) -> str:
    """A training configuration of T steps."""
    warmup = [] if W is None else [f"lr_warmup_steps = {W!r}"]
    return "\n".join(
        [
            "[network_arguments]",
            f"unet_lr = {lr!r}",
            f"text_encoder_lr = {lr / 5!r}",
            "[optimizer_arguments]",
            f"learning_rate = {lr!r}",
            f'lr_scheduler = "{name}"',
            *warmup,
            *lines,
            "[training_arguments]",
            f"max_train_steps = {T}",
        ]
    )


def rex_config(*arguments: str, T: int = 100, lr: float = 5e-4) -> str:
    lines = [f'lr_scheduler_type = "{REX}"', f"lr_scheduler_args = {json.dumps(list(arguments))}"]
    return config("cosine", *lines, T=T, W=None, lr=lr)


def stepped(lr: float, T: int, C: int, W: int, low: float, gamma: float, d: float, growth: float) -> Array:
    """RexAnnealingWarmRestarts one step after the other, as the trainer runs it."""
    found, peak, cycle, i = [], lr, 0, 0
    low = low if low < lr else 0.0
    for _ in range(T):
        if i >= C:
            i, cycle, C, peak = i - C, cycle + 1, round((C - W) * growth) + W, lr * gamma ** (cycle + 1)
        if peak <= low:
            found.append(low)
        elif i < W:
            found.append((peak - low) * i / W + low)
        else:
            p = (i - W) / (C - W)
            found.append(low + (peak - low) * ((1 - p) / ((1 - d) + d * (1 - p))))
        i += 1
    return np.array(found)


def after(training: Training) -> float:
    """The rate one step after the last."""
    assert isinstance(training.schedule, Schedule)
    assert training.horizon is not None
    return training.lr * closing(training.schedule, training.horizon)


# -- the traces ------------------------------------------------------------------------------------

SPOKEN = {
    "constant": config("constant", W=None),
    "constant_with_warmup": config("constant_with_warmup"),
    "linear": config("linear", W=0.05),
    "cosine": config("cosine"),
    "cosine_with_restarts_3": config("cosine_with_restarts", "lr_scheduler_num_cycles = 3"),
    "polynomial_power1": config("polynomial", "lr_scheduler_power = 1"),
    "polynomial_power3": config("polynomial", "lr_scheduler_power = 3.0"),
    "inverse_sqrt": config("inverse_sqrt"),
    "cosine_with_min_lr_0.1(num_cycles=1/2)": config("cosine_with_min_lr", "lr_scheduler_min_lr_ratio = 0.1"),
    "warmup_stable_decay(decay=20,min=0,num_cycles=1/2)": config(
        "warmup_stable_decay", "lr_decay_steps = 0.2"
    ),
    "piecewise_constant(1:10,0.1:20,0.01:30,0.005)": config(
        "piecewise_constant", """lr_scheduler_args = ["step_rules='1:10,0.1:20,0.01:30,0.005'"]""", W=None
    ),
    "rex(3 cycles)": rex_config(
        "min_lr=1e-9", "gamma=0.9", "d=0.9", "first_cycle_max_steps=33", "warmup_steps=1"
    ),
    "rex(1 cycle,no warmup)": rex_config("min_lr=1e-9", "gamma=0.9", "d=0.9", "first_cycle_max_steps=100"),
}


def test_every_trace_is_spoken_for() -> None:
    assert SPOKEN.keys() == KOHYA.keys()


@pytest.mark.parametrize("name", SPOKEN)
def test_the_traces_are_reproduced_and_one_step_more(name: str) -> None:
    training = read(SPOKEN[name])
    np.testing.assert_allclose([*training.rates(), after(training)], KOHYA[name], rtol=1e-12, atol=1e-18)


@pytest.mark.parametrize("name", SPOKEN)
def test_the_text_encoder_runs_the_same_schedule_at_its_own_rate(name: str) -> None:
    both = rates(SPOKEN[name])
    assert list(both) == ["unet", "text_encoder"]
    if not name.startswith("rex"):
        np.testing.assert_allclose(both["text_encoder"], both["unet"] / 5, rtol=1e-12, atol=1e-18)


def test_the_floor_of_rex_is_absolute_and_so_each_part_has_its_own() -> None:
    text = rex_config("min_lr=2e-4", "gamma=0.9", "d=0.9", "first_cycle_max_steps=33", "warmup_steps=1")
    both = rates(text)
    assert both["unet"].min() == pytest.approx(2e-4)
    assert both["text_encoder"].min() == 0  # a floor above the rate is taken for none
    np.testing.assert_allclose(both["unet"], stepped(5e-4, 100, 33, 1, 2e-4, 0.9, 0.9, 1), rtol=1e-12)
    np.testing.assert_allclose(both["text_encoder"], stepped(1e-4, 100, 33, 1, 2e-4, 0.9, 0.9, 1), rtol=1e-12)


def test_what_rex_of_three_cycles_does_at_the_end() -> None:
    training = read(SPOKEN["rex(3 cycles)"])
    np.testing.assert_allclose(training.rates()[98:], [9.878124390243905e-05, 1e-9], rtol=1e-12)
    assert any("after 3 cycles of 33 steps, the 1 left begin another" in note for note in training.notes)


@given(
    T=st.integers(1, 60),
    C=st.integers(1, 25),
    W=st.integers(0, 8),
    low=st.sampled_from([0.0, 1e-9, 1e-4, 3e-4, 5e-4, 1e-3]),
    gamma=st.floats(0, 1.5),
    d=st.floats(0, 0.99),
    growth=st.sampled_from([1, 1.0, 1.5, 2, 0.9]),
)
def test_rex_is_what_the_trainer_steps(
    T: int, C: int, W: int, low: float, gamma: float, d: float, growth: float
) -> None:
    arguments = (f"min_lr={low!r}", f"gamma={gamma!r}", f"d={d!r}", f"first_cycle_max_steps={C}")
    text = rex_config(*arguments, f"warmup_steps={W}", f"cycle_multiplier={growth!r}", T=T)
    if W >= C:
        with pytest.raises(DialectError, match=f"warmup_steps={W} must be less"):
            read(text)
        return
    expected = stepped(5e-4, T, C, W, low, gamma, d, growth)
    np.testing.assert_allclose(read(text).rates(), expected, rtol=1e-9, atol=1e-17)


# -- the choice ------------------------------------------------------------------------------------


def test_23_warmup_steps_of_470() -> None:
    choice = Choice("linear", warmup=0.05, images=93, repeats=2, batch_size=4, epochs=10)
    assert (choice.warmup_steps, choice.notebook_steps, choice.trainer_steps) == (23, 465, 470)
    training = read(choice)
    assert training.horizon == 470
    assert training.rates()[23] == training.rates().max() == choice.unet_lr
    assert any("465 steps, the trainer takes 470" in note for note in training.notes)


def flat(text: str) -> dict[str, Any]:
    return {key: member for section in tomllib.loads(text).values() for key, member in section.items()}


@pytest.mark.parametrize("scheduler", CHOICES)
def test_the_configuration_of_a_choice(scheduler: Any) -> None:
    choice = Choice(scheduler, number=3, images=93, repeats=2, batch_size=4, epochs=10)
    text = toml(choice)
    said = tomllib.loads(text)["optimizer_arguments"]
    assert said["learning_rate"] == choice.unet_lr
    assert said["lr_scheduler"] == ("cosine" if scheduler == "rex" else scheduler)
    assert said.get("lr_scheduler_num_cycles") == (3 if scheduler == "cosine_with_restarts" else None)
    assert said.get("lr_scheduler_power") == (3 if scheduler == "polynomial" else None)
    assert said.get("lr_warmup_steps") == (None if scheduler in ("constant", "rex") else 23)
    assert said.get("lr_scheduler_type") == (REX if scheduler == "rex" else None)
    assert said.get("lr_scheduler_args") == (
        ["min_lr=1e-9", "gamma=0.9", "d=0.9", "first_cycle_max_steps=156", "warmup_steps=8"]
        if scheduler == "rex"
        else None
    )
    training = tomllib.loads(text)["training_arguments"]
    assert training == {"max_train_epochs": 10, "train_batch_size": 4}


@pytest.mark.parametrize("scheduler", CHOICES)
def test_a_choice_and_its_configuration_have_the_same_rates(scheduler: Any) -> None:
    choice = Choice(scheduler, number=3, images=93, repeats=2, batch_size=4, epochs=10)
    from_choice, from_text = rates(choice), rates(toml(choice))
    assert from_choice.keys() == from_text.keys() == {"unet", "text_encoder"}
    for part, rate in from_choice.items():
        assert rate.shape == (470,)
        np.testing.assert_array_equal(rate, from_text[part])


def test_no_number_leaves_the_trainers_one() -> None:
    assert "lr_scheduler_num_cycles" not in toml(Choice("cosine_with_restarts", steps=9))
    once = read(Choice("cosine_with_restarts", steps=9, warmup=0.0)).rates()
    np.testing.assert_allclose(once, read(Choice("cosine", steps=9, warmup=0.0)).rates(), rtol=1e-12)


def test_without_a_rate_the_text_encoder_is_not_trained() -> None:
    choice = Choice("linear", text_encoder_lr=0.0, steps=9)
    assert flat(toml(choice))["network_train_unet_only"] is True
    assert list(rates(choice)) == ["unet"]


def test_the_numbers_of_a_configuration_are_the_very_same() -> None:
    choice = Choice("polynomial", number=0.1, unet_lr=1e-300, text_encoder_lr=1 / 3, warmup=0.0, steps=10**9)
    said = flat(toml(choice))
    assert (said["unet_lr"], said["text_encoder_lr"], said["lr_scheduler_power"]) == (1e-300, 1 / 3, 0.1)


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        ({"scheduler": "cosin", "steps": 9}, "scheduler = 'cosin': give one of"),
        ({"scheduler": "linear"}, "give exactly one"),
        ({"scheduler": "linear", "steps": 9, "epochs": 2}, "give exactly one"),
        ({"scheduler": "linear", "steps": 9, "warmup": 1.5}, r"warmup = 1.5: give float in \[0, 1\]"),
        ({"scheduler": "linear", "steps": 9, "unet_lr": -1e-4}, "unet_lr = -0.0001"),
        ({"scheduler": "linear", "steps": 9, "number": -1}, "number = -1"),
        ({"scheduler": "linear", "steps": 2.5}, "steps = 2.5"),
        ({"scheduler": "linear", "steps": True}, "steps = True"),
        ({"scheduler": "linear", "epochs": 9, "images": 0}, "images = 0"),
        ({"scheduler": "linear", "steps": 9, "unet_lr": math.nan}, "unet_lr = nan"),
    ],
    ids=lambda v: v if isinstance(v, str) else "fields",
)
def test_an_impossible_choice_is_refused(fields: dict[str, Any], hint: str) -> None:
    with pytest.raises(InputError, match=hint):
        Choice(**fields)


# -- choices that are lost ---------------------------------------------------------------------------


def lost(choice: Choice) -> list[str]:
    return [note for note in read(choice).notes if "is lost" in note]


def test_the_xl_notebook_loses_the_warmup_of_cosine() -> None:
    xl = Choice("cosine", warmup=0.05, steps=200, notebook="Lora_Trainer_XL")
    assert "lr_warmup_steps" not in toml(xl)
    assert [note for note in lost(xl) if note.startswith("the choice warmup 0.05 is lost: the XL notebook")]
    assert read(xl).rates()[0] == xl.unet_lr
    older = Choice("cosine", warmup=0.05, steps=200)
    assert flat(toml(older))["lr_warmup_steps"] == 10
    assert not lost(older)
    assert any("no lr_warmup_steps, so no warmup" in note for note in read(toml(xl)).notes)


@pytest.mark.parametrize(
    ("choice", "hint"),
    [
        (Choice("constant", warmup=0.05, steps=100), "warmup 0.05 is lost: constant takes no warmup"),
        (Choice("linear", warmup=0.05, steps=10), "warmup 0.05 is lost: it is less than one step of 10"),
        (Choice("rex", number=3, warmup=0.02, steps=50), "warmup 0.02 is lost: it is less than one step"),
        (Choice("linear", number=3, warmup=0.0, steps=10), "number 3 is lost: linear has neither"),
    ],
    ids=["constant", "short", "short cycles", "number"],
)
def test_a_choice_that_is_lost_is_named(choice: Choice, hint: str) -> None:
    assert any(hint in note for note in lost(choice))


@pytest.mark.parametrize("scheduler", CHOICES)
def test_nothing_is_lost_of_a_choice_that_counts(scheduler: Any) -> None:
    number = 2 if scheduler in ("cosine_with_restarts", "polynomial", "rex") else None
    warmup = 0.0 if scheduler == "constant" else 0.1
    assert not lost(Choice(scheduler, number, warmup, steps=100, notebook="Lora_Trainer"))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (config("linear", "lr_scheduler_num_cycles = 3"), "lr_scheduler_num_cycles = 3 has no effect"),
        (config("linear", "lr_scheduler_power = 2"), "lr_scheduler_power = 2 has no effect"),
        (config("linear") + "\nmax_train_epochs = 2\nimages = 9", "max_train_steps = 100 has no effect"),
        (
            config("linear", "lr_shceduler_power = 2"),
            "unknown key lr_shceduler_power .did you mean lr_scheduler_power",
        ),
        (config("linear", "lr_warmup = 5", W=None), "unknown key lr_warmup .did you mean lr_warmup_steps"),
        (config("linear") + "\noptimizer_type = 'Prodigy'", "Prodigy multiplies"),
        (config("linear") + "\noptimizer_type = 'AdamWScheduleFree'", "keeps the rate"),
        (config("linear", W=0.07), "warmup 0.07 is 7 of 100 steps"),
        (
            config("linear").replace("learning_rate = 0.0005", "learning_rate = 1.0"),
            "learning_rate = 1 has no",
        ),
        ("lr_scheduler = 'constant'", "the trainer takes 1600"),
    ],
    ids=range(10),
)
def test_what_has_no_effect_is_named(text: str, hint: str) -> None:
    notes = "\n".join(read(text).notes)
    assert hint.replace(".did", "(did") in notes


def test_other_keys_of_a_configuration_pass_without_a_word() -> None:
    others = """
        network_dim = 8
        network_alpha = 4
        network_module = "networks.lora"
        network_args = ["conv_dim=8"]
        optimizer_type = "AdamW8bit"
        optimizer_args = ["weight_decay=0.1", "betas=[0.9,0.99]"]
        save_every_n_epochs = 1
        save_last_n_epochs = 10
        vae_batch_size = 2
        max_train_steps_per_epoch_is_not_a_key = 1
        """
    notes = read(config("constant", W=None) + others).notes
    assert notes == ("these are the rates of unet; for text_encoder, lr is 0.0001",)


# -- the trainer's rules -----------------------------------------------------------------------------


def test_an_int_is_steps_and_a_float_is_a_ratio() -> None:
    np.testing.assert_array_equal(read(config("linear", W=1)).rates(), read(config("linear", W=0.01)).rates())
    whole = read(config("linear", W=1.0)).rates()
    np.testing.assert_allclose(whole, 5e-4 * np.arange(100) / 100, rtol=1e-12)
    np.testing.assert_array_equal(read(config("linear", W=100)).rates(), whole)


def test_no_warmup_in_any_spelling() -> None:
    expected = read(config("linear", W=None)).rates()
    for W in (0, 0.0, 0.009):
        np.testing.assert_array_equal(read(config("linear", W=W)).rates(), expected)
    assert expected[0] == 5e-4


@pytest.mark.parametrize("name", ["constant", "linear", "cosine", "cosine_with_restarts", "polynomial"])
def test_one_step(name: str) -> None:
    np.testing.assert_array_equal(read(config(name, T=1, W=None)).rates(), [5e-4])
    if name not in ("constant", "polynomial"):
        np.testing.assert_array_equal(read(config(name, T=1, W=1.0)).rates(), [0.0])


def test_polynomial_ends_at_an_absolute_rate_of_learning_rate() -> None:
    both = trainings(config("polynomial", T=100, W=None))
    unet, encoder = map(after, both.values())
    assert unet == pytest.approx(1e-7, rel=1e-12)
    assert encoder == pytest.approx(2e-8, rel=1e-12)  # a fifth, as its rate is
    flat_one = read(config("polynomial", "lr_scheduler_power = 0", W=None)).rates()
    np.testing.assert_array_equal(flat_one, np.full(100, 5e-4))


def test_no_cycle_stays_and_a_part_of_one_is_cut() -> None:
    none = read(config("cosine_with_restarts", "lr_scheduler_num_cycles = 0", W=None)).rates()
    np.testing.assert_array_equal(none, np.full(100, 5e-4))
    half = read(config("cosine_with_restarts", "lr_scheduler_num_cycles = 0.5", W=None)).rates()
    np.testing.assert_allclose(half, 5e-4 * (1 + np.cos(np.pi * np.arange(100) / 200)) / 2, rtol=1e-12)


def test_epochs_go_before_steps_and_need_the_pictures() -> None:
    text = config("linear", T=7) + "\nmax_train_epochs = 10\ntrain_batch_size = 4"
    with pytest.raises(DialectError, match="give images"):
        read(text)
    assert read(text, images=186).horizon == 470
    assert read(text + "\n[dataset]\nimages = 93\nnum_repeats = 2").horizon == 470
    assert read(text + "\ngradient_accumulation_steps = 2", images=186).horizon == 240
    assert (
        read(text, horizon=480).horizon == 480
    )  # pictures of several shapes: more batches that are not full


def test_arguments_go_before_the_file_as_on_the_command_line() -> None:
    training = read(config("linear"), horizon=50)
    assert training.rates().shape == (50,)
    assert "50 steps as asked; the file says 100" in training.notes
    bare = "lr_scheduler = 'linear'\nmax_train_steps = 4"
    np.testing.assert_allclose(read(bare, lr=1.0).rates(), [1, 0.75, 0.5, 0.25])
    assert read(bare).lr == 2e-6  # the trainer's default


def test_several_text_encoders_and_none() -> None:
    text = config("constant", W=None).replace("text_encoder_lr = 0.0001", "text_encoder_lr = [1e-5, 2e-5]")
    assert {part: t.lr for part, t in trainings(text).items()} == {
        "unet": 5e-4,
        "text_encoder 1": 1e-5,
        "text_encoder 2": 2e-5,
    }
    only = config("constant", W=None) + "\nnetwork_train_text_encoder_only = true"
    assert list(trainings(only)) == ["text_encoder"]
    assert read(only).lr == 1e-4


def test_torch_schedulers_by_their_class() -> None:
    lines = ['lr_scheduler_type = "CosineAnnealingLR"', 'lr_scheduler_args = ["T_max=50", "eta_min=1e-5"]']
    both = rates(config("cosine", *lines, W=None))
    for rate, top in ((both["unet"], 5e-4), (both["text_encoder"], 1e-4)):  # an absolute floor, again
        assert rate[0] == pytest.approx(top)
        assert rate[50] == pytest.approx(1e-5)


def test_a_schedule_is_said_without_what_comes_after_the_training() -> None:
    assert read(config("linear")).schedule == Warmup(Linear(), 5, start=0.0)
    assert read(config("cosine")).schedule == Warmup(Cosine(), 5, start=0.0)
    assert read(config("cosine_with_restarts", W=None)).schedule == CosineRestarts(1.0)


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "training_config.toml"
    path.write_text(toml(Choice("linear", steps=50)), encoding="utf-8")
    assert read(path).horizon == dialects.read("kohya", path).horizon == 50
    with pytest.raises(DialectError, match="cannot read"):
        read(tmp_path / "missing.toml")


def rex_only(*arguments: str) -> str:
    return rex_config("gamma=0.9", *arguments)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (config("constant", W=5), "constant does not take a warmup .*constant_with_warmup"),
        (config("constant", W=0.05), "constant does not take a warmup"),
        (
            rex_only("first_cycle_max_steps=9").replace("[training", "lr_warmup_steps = 3\n[training"),
            "does not take",
        ),
        (config("cosine_with_restart"), "did you mean cosine_with_restarts"),
        (config("reduce_lr_on_plateau"), "open-loop schedulers"),
        (config("adafactor:0.001", W=None), "no open loop"),
        (config("linear") + "\noptimizer_type = 'Adafactor'", "relative_step=False"),
        (config("polynomial", lr=1e-8), "polynomial ends at the rate 1e-07"),
        (config("polynomial", T=9, W=9), "divides by 0 at the end"),
        (config("cosine_with_min_lr"), "min_lr"),
        (config("linear", 'lr_scheduler_args = ["num_training_steps=3"]'), "sets num_training_steps itself"),
        (config("linear", 'lr_scheduler_args = ["power=3"]'), "power"),
        (config("piecewise_constant", """lr_scheduler_args = ["step_rules='1-10'"]"""), 'write "1:10'),
        (config("piecewise_constant"), "needs step_rules"),
        (rex_config("d=0.9"), "needs gamma"),
        (rex_only("dd=0.9"), "did you mean d"),
        (rex_only("first_cycle_max_steps=9", "d=1.5"), r"d = 1.5: give float in \[0.*, 1"),
        (rex_only("first_cycle_max_steps=9", "warmup_steps=9"), "must be less than first_cycle_max_steps=9"),
        (rex_only("first_cycle_max_steps=4", "cycle_multiplier=0"), "shrink to nothing"),
        (rex_only("first_cycle_max_steps"), "not key=literal"),
        (rex_only("first_cycle_max_steps = 9"), "no blank before it"),
        (rex_only("first_cycle_max_steps=9=9"), "one = is wanted"),
        (rex_only("first_cycle_max_steps=__import__('os')"), "not key=literal"),
        (rex_only("first_cycle_max_steps=9+"), "not key=literal"),
        (config("linear", "lr_scheduler_args = 'gamma=0.9'"), "lr_scheduler_args = 'gamma=0.9': give"),
        (config("linear", 'lr_scheduler_type = "my.Own"', W=None), "is not known"),
        (config("linear", lr=-1e-4), "learning_rate = -0.0001: give float"),
        (config("linear", W=-1), "lr_warmup_steps = -1"),
        (config("linear", T=0), "max_train_steps = 0"),
        (config("linear").replace("0.0005", "'5e-4'"), "learning_rate = '5e-4'"),
        (config("linear") + "\nmax_train_epochs = 2.5", "max_train_epochs = 2.5"),
        (
            "lr_scheduler = 'linear'\nnetwork_train_unet_only = true\nnetwork_train_text_encoder_only = true",
            "nothing",
        ),
        ("[a]\nb = 1", "no training configuration"),
        ("lr_scheduler = ", "not TOML"),
    ],
    ids=range(34),
)
def test_what_stops_the_trainer_is_refused(text: str, hint: str) -> None:
    with pytest.raises(DialectError, match=hint):
        read(text)


@pytest.mark.parametrize("horizon", [0, -1, 2.5, True])
def test_an_impossible_number_of_steps_is_refused(horizon: Any) -> None:
    with pytest.raises(DialectError, match=f"horizon is {horizon}"):
        read(config("linear"), horizon=horizon)


def test_what_is_no_configuration_is_refused() -> None:
    with pytest.raises(DialectError, match="no training configuration"):
        read(3.5)


# -- and back ----------------------------------------------------------------------------------------

SAID: list[Schedule] = [
    Constant(),
    Warmup(Constant(), 5, start=0.0),
    Linear(),
    Linear(final=0.25),
    Warmup(Linear(), 0.05, start=0.0),
    Warmup(Cosine(), 5, start=0.0),
    Warmup(Cosine(final=0.1), 5, start=0.0),
    CosineRestarts(3.0),
    Warmup(CosineRestarts(2.5), 7, start=0.0),
    Warmup(Polynomial(3.0, final=1e-7 / 5e-4), 5, start=0.0),
    Polynomial(2.0, final=0.1),
    InversePower(0.5, timescale=10.0),
    Cooldown(Constant(), 20, shape="cosine", final=0.1),
    Piecewise((10, 0.5), (1.0, 0.1, 0.0)),
    Repeat(Rex(depth=0.9), 33, decay=0.9, floor=2e-6),
    Repeat(Warmup(Rex(depth=0.9), 3, start=0.0), 33, decay=0.9),
    Clip(Repeat(Rex(depth=0.9), 10, decay=0.5, floor=0.01), low=0.01),
    Repeat(Warmup(Rex(depth=0.9), 30, start=0.0), 200),
    Repeat(Rex(), 0.25, decay=1.5),
    Exponential(0.9),  # torch's, by its class
    MultiStep((30, 60), gamma=0.1),
    Warmup(Constant(), 5),
]


@pytest.mark.parametrize("schedule", SAID, ids=repr)
def test_what_is_written_is_read_back(schedule: Schedule) -> None:
    training = Training(5e-4, schedule, 100)
    both = rates(write(training))
    np.testing.assert_allclose(both["unet"], training.rates(), rtol=1e-12, atol=1e-18)
    np.testing.assert_allclose(both["text_encoder"], training.rates(), rtol=1e-12, atol=1e-18)


@pytest.mark.parametrize("name", SPOKEN)
def test_what_is_read_is_written(name: str) -> None:
    training = read(SPOKEN[name])
    np.testing.assert_allclose(read(write(training)).rates(), training.rates(), rtol=1e-12, atol=1e-18)


@pytest.mark.parametrize(
    ("training", "hint"),
    [
        (Training(0.1, Linear()), "give the horizon"),
        (Training(0.1, Warmup(Linear(), 5), 10), "warms up from 0"),
        (Training(0.1, Scaled(Linear(), 2.0), 10), "Scaled"),
        (Training(0.1, ReduceLROnPlateau(0.5), 10), "closed loop"),
        (Training(0.1, Repeat(Rex(), 5, growth=2.0), 10), "growth"),
        (Training(0.1, Repeat(Rex(), 2, decay=0.1, floor=0.5), 10), "stays at its floor"),
        (Training(0.1, Repeat(Rex(), 5, floor=1.0), 10), "below 1"),
        (Training(0.1, Repeat(Rex(final=0.1), 5), 10), "below 1"),
        (Training(0.1, Repeat(Warmup(Rex(), 5, start=0.0), 5), 10), "shorter than its cycles"),
        (Training(0.1, Repeat(Warmup(Rex(), 2), 5), 10), "linearly and from its floor"),
        (Training(0.1, np.ones, 10), "ones"),
    ],
    ids=[
        "horizon",
        "start",
        "scaled",
        "closed loop",
        "growth",
        "sinking",
        "floor",
        "final",
        "long",
        "warm",
        "function",
    ],
)
def test_what_the_trainer_cannot_say_is_refused(training: Training, hint: str) -> None:
    with pytest.raises(DialectError, match=hint):
        write(training)


# -- the real schedulers -----------------------------------------------------------------------------


@pytest.mark.conformance
@given(data=st.data())
def test_the_rates_are_those_of_the_real_schedulers(data: st.DataObject) -> None:
    pytest.importorskip("transformers", reason="peers are not installed: make conformance")
    from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION, SchedulerType

    names = ["constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial"]
    names += ["inverse_sqrt", "cosine_with_min_lr", "warmup_stable_decay"]
    name = data.draw(st.sampled_from(names))
    T = data.draw(st.integers(1, 40))
    W = 0 if name == "constant" else data.draw(st.integers(0, T - (name == "polynomial")))
    D = data.draw(st.integers(0, T - W))
    cycles, power = (
        data.draw(st.sampled_from([0, 0.5, 1, 2, 3])),
        data.draw(st.sampled_from([0, 0.5, 1, 2.0])),
    )
    text = config(
        name,
        f"lr_scheduler_num_cycles = {cycles}",
        f"lr_scheduler_power = {power}",
        "lr_scheduler_min_lr_ratio = 0.1",
        f"lr_decay_steps = {D}",
        T=T,
        W=W,
    )
    both = {"num_warmup_steps": W, "num_training_steps": T}
    called: dict[str, dict[str, Any]] = {
        "constant": {},
        "constant_with_warmup": {"num_warmup_steps": W},
        "inverse_sqrt": {"num_warmup_steps": W},
        "cosine_with_restarts": {**both, "num_cycles": cycles},
        "polynomial": {**both, "power": power},
        "cosine_with_min_lr": {**both, "num_cycles": cycles / 2, "min_lr_rate": 0.1},
        "warmup_stable_decay": {
            "num_warmup_steps": W,
            "num_stable_steps": T - W - D,
            "num_decay_steps": D,
            "num_cycles": cycles / 2,
            "min_lr_ratio": 0.1,
        },
    }
    arguments = called.get(name, both)
    expected = driven(lambda o: TYPE_TO_SCHEDULER_FUNCTION[SchedulerType(name)](o, **arguments), T)
    np.testing.assert_allclose(list(rates(text).values()), expected, rtol=1e-12, atol=1e-18)


def driven(scheduler: Any, T: int) -> Array:
    """The rates of two groups, unet's and text encoder's, of a real optimizer."""
    import torch

    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (5e-4, 1e-4)]
    optimizer = torch.optim.SGD(groups, lr=5e-4)
    real = scheduler(optimizer)
    found = []
    for _ in range(T):
        found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        real.step()
    return np.array(found).T
