"""The front of the dialects: the reader of calls, arguments bound by name, modules found by file name, and
our own notation as one of them."""

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
from ratelab.theory.reading import Word
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


def test_a_call_is_a_name_and_its_arguments() -> None:
    text = "s = a.b.SequentialLR(opt, [F(1, x=-2.5), G()], {'k': (True, None)}, n=3 * (10 - 1) / 2, w='é')"
    name, arguments = call(text)
    assert name == "SequentialLR"
    assert arguments == {
        "0": Word("opt"),
        "1": [("F", {"0": 1, "x": -2.5}), ("G", {})],
        "2": {"k": (True, None)},
        "n": 13.5,
        "w": "é",
    }
    assert isinstance(arguments["0"], Word)
    assert not isinstance(arguments["w"], Word)


literals = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.lists(literals, max_size=3), st.dictionaries(st.sampled_from("xyz"), literals, max_size=3))
def test_literals_are_read_as_python_reads_them(positional: list[object], named: dict[str, object]) -> None:
    parts = [*map(repr, positional), *(f"{key}={member!r}" for key, member in named.items())]
    expected = {**{str(i): member for i, member in enumerate(positional)}, **named}
    assert call(f"f({', '.join(parts)})") == ("f", expected)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("f(lambda t: 1)", "text is not executed"),
        ("f(**a)", "by its name"),
        ("f(*a)", "not read"),
        ("f(10**5)", "not read"),
        ("f([x for x in y])", "not read"),
        ("f(a[0])", "not read"),
        ("f(-'a')", "not read"),
        ("f(True + 1)", "not read"),
        ("f(1 / 0)", "not a finite number"),
        ("f(1e308 * 10)", "not a finite number"),
        ("(f or g)(1)", "cannot be called"),
        ("f", "not one call"),
        ("f(); g()", "not one call"),
        ("f(", "never closed"),
        ("f(a=1, a=2)", "given twice"),
        ("f('\\d')", "invalid escape"),
        ("f(" * 30 + ")" * 30, "deeper than 20"),
        ("f(" + "(" * 3000 + ")" * 3000 + ")", "cannot read"),
        ("f('" + "a" * 70_000 + "')", "at most 65536 bytes"),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_plain_call_is_refused(text: str, reason: str) -> None:
    with pytest.raises(DialectError, match=reason):
        call(text)


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
