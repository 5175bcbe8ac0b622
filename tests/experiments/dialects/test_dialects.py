"""The front of the dialects: arguments bound by name, modules found by file name, and our own notation as one
of them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from strategies import existing, values

from ratelab.experiments import dialects
from ratelab.experiments.dialects import (
    DIALECTS,
    DialectError,
    Training,
    read,
    until,
    write,
)
from ratelab.experiments.dialects._words import REQUIRED, bound, call
from ratelab.theory.arrays import InputError
from ratelab.theory.combine import Warmup
from ratelab.theory.cycles import CosineWave
from ratelab.theory.feedback import ReduceLROnPlateau
from ratelab.theory.schedules import Cosine, Linear, Schedule


def test_every_file_without_an_underscore_is_a_dialect() -> None:
    folder = Path(dialects.__file__).parent
    assert set(DIALECTS) == {path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")}
    assert {"ratelab", "torch"} <= set(DIALECTS)


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_reads_and_writes(name: str) -> None:
    module = dialects.dialect(name)
    assert callable(module.read)
    assert callable(module.write)


@pytest.mark.parametrize("name", DIALECTS)
def test_no_dialect_reads_nonsense(name: str) -> None:
    for text in ("", "][", "Nonsense(a=1)"):
        with pytest.raises(InputError):
            read(name, text, lr=0.1, horizon=10)


def test_an_unknown_dialect_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean torch"):
        read("toch", "StepLR(3)")


# -- calls -----------------------------------------------------------------------------------------


def test_what_is_no_call_is_in_no_dialect() -> None:
    assert call("f(1, a=2)") == ("f", {"0": 1, "a": 2})
    with pytest.raises(DialectError, match="not one call"):
        call("f")


def test_arguments_are_bound_as_python_binds_them() -> None:
    parameters = {"a": REQUIRED, "b": 2, "c": 3}
    assert bound("f", {"0": 1, "c": 5}, parameters) == {"a": 1, "b": 2, "c": 5}
    assert bound("f", {"a": 1}, parameters) == {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize(
    ("given_arguments", "reason"),
    [
        ({}, "needs a"),
        ({"a": 1, "0": 2}, "twice"),
        ({"0": 1, "1": 1, "2": 1}, "at most 2"),
        ({"a": 1, "gama": 1}, "did you mean gamma"),
    ],
    ids=str,
)
def test_arguments_that_do_not_fit_are_refused(given_arguments: dict[str, object], reason: str) -> None:
    with pytest.raises(DialectError, match=reason):
        bound("f", given_arguments, {"a": REQUIRED, "gamma": 2})


# -- trainings -------------------------------------------------------------------------------------


def test_rates_are_lr_times_multipliers() -> None:
    training = Training(0.5, Linear(), horizon=4)
    np.testing.assert_array_equal(training.rates(), [0.5, 0.375, 0.25, 0.125])
    np.testing.assert_array_equal(training.rates(2), [0.5, 0.25])


def test_rates_need_a_horizon_and_an_open_loop() -> None:
    with pytest.raises(InputError, match="give the horizon"):
        Training(0.5, Linear()).rates()
    with pytest.raises(InputError, match="closed loop"):
        Training(0.5, ReduceLROnPlateau()).rates(3)


# -- our own notation ------------------------------------------------------------------------------


@given(values("schedule"))
def test_the_notation_is_a_dialect(schedule: Schedule) -> None:
    training = Training(0.3, schedule, 20)
    assert read("ratelab", write(training, "ratelab"), lr=0.3, horizon=20) == training
    assert read("ratelab", schedule, lr=0.3, horizon=20) == training


@given(values("feedback"))
def test_the_notation_of_closed_loops_too(rule: ReduceLROnPlateau) -> None:
    assert read("ratelab", write(Training(0.3, rule), "ratelab"), lr=0.3) == Training(0.3, rule)


def test_a_plain_function_has_no_notation() -> None:
    with pytest.raises(DialectError, match="no notation"):
        write(Training(1.0, np.ones), "ratelab")
    assert read("ratelab", np.ones).schedule is np.ones


def test_misspelt_notation_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean Warmup"):
        read("ratelab", "Warmpu(Cosine(), length=5)")
    text = "Warmup(Cosine(), length=5)"
    assert read("ratelab", text).schedule == Warmup(Cosine(), length=5)


@given(values("schedule"), st.integers(0, 60))
@existing
def test_what_is_said_of_the_time_after_the_horizon_can_be_dropped(schedule: Schedule, T: int) -> None:
    np.testing.assert_allclose(until(schedule, T)(T), schedule(T), rtol=1e-12, atol=1e-12)


def test_a_dialect_is_told_what_happens_until_the_horizon() -> None:
    """Torch's cosine rises after T_max, and keras' does not: over the 90 updates of a run they agree."""
    read = dialects.read("torch", "CosineAnnealingLR(T_max=90)", lr=0.1, horizon=90)
    assert read.schedule == CosineWave(90)
    assert "CosineDecay(initial_learning_rate=0.1, decay_steps=90" in dialects.write(read, "keras")
    with pytest.raises(DialectError):
        dialects.write(dialects.read("torch", "CosineAnnealingLR(T_max=90)", lr=0.1, horizon=91), "keras")


def test_a_count_that_means_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="images = 3 means nothing to torch"):
        dialects.read("torch", "StepLR(step_size=3)", images=3)
