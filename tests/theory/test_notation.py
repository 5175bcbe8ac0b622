"""Text and value: what is read, what is refused and with which words, and that hostile text is only ever
refused.

The round trip of every registered schedule and averaging is tested with their own batteries."""

import dataclasses
import pickle
import warnings
from typing import Annotated, Literal

import numpy as np
import pytest
from annotated_types import Ge, Interval
from hypothesis import example, given, strategies as st

from ratelab.theory import notation
from ratelab.theory.arrays import InputError
from ratelab.theory.averaging import StochasticWeightAveraging, Tail, Uniform
from ratelab.theory.combine import Cooldown, Scaled, Then, Warmup
from ratelab.theory.cycles import Triangular
from ratelab.theory.notation import KINDS, MAX_BYTES, catalogue, describe, expand, parse, value
from ratelab.theory.schedules import (
    Constant,
    Cosine,
    Duration,
    InversePower,
    Linear,
    MultiStep,
    Period,
    Schedule,
    Step,
)

# -- reading


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Constant()", Constant()),
        ("InversePower(0.5)", InversePower(power=0.5)),
        ("InversePower(1/3)", InversePower(1 / 3)),
        ("InversePower(2*3 - 10/4 + 0.5)", InversePower(4.0)),
        ("InversePower(-(-1))", InversePower(1.0)),
        ("InversePower(+1, timescale=1_000)", InversePower(1.0, timescale=1000.0)),
        ("Linear(0)", Linear(final=0.0)),
        ("MultiStep((10, 0.5), gamma=0.1)", MultiStep((10, 0.5), gamma=0.1)),
        ("MultiStep((), gamma=0.1)", MultiStep((), gamma=0.1)),
        ("Warmup(Cosine(final=0.1), length=0.05)", Warmup(Cosine(final=0.1), length=0.05)),
        ("  Warmup(\n    schedule=Cosine(),\n    length=5,\n)  ", Warmup(Cosine(), 5)),
        (
            "Then(Warmup(Constant(), length=3), second=Scaled(Linear(), factor=1/2), at=0.5)",
            Then(Warmup(Constant(), 3), Scaled(Linear(), 0.5), 0.5),
        ),
    ],
)
def test_what_is_read(text: str, expected: object) -> None:
    read = parse(text, "schedule")
    assert read == expected
    assert parse(repr(read), "schedule") == read
    assert expand(text, "schedule") == [read]


def test_one_and_one_point_zero_survive_the_round_trip() -> None:
    for text, kind in (("Cooldown(Constant(), length=1)", int), ("Cooldown(Constant(), length=1.0)", float)):
        cooldown = parse(text, "schedule")
        assert isinstance(cooldown, Cooldown)
        assert type(cooldown.length) is kind
        written = text.replace("Constant()", "schedule=Constant()").removesuffix(")")
        assert repr(cooldown) == f"{written}, shape='linear', final=0.0)"
    assert parse("Cooldown(Constant(), length=1)", "schedule") != parse(
        "Cooldown(Constant(), length=1/1)", "schedule"
    )
    assert MultiStep((1, 1.0), 0.5) != MultiStep((1.0, 1), 0.5)


def test_the_kind_decides_which_names_are_known() -> None:
    assert parse("Uniform()", "averaging") == Uniform()
    with pytest.raises(InputError, match="Uniform is an averaging; a schedule is wanted"):
        parse("Uniform()", "schedule")


# -- grids


def test_braces_expand_in_written_order_the_last_one_fastest() -> None:
    assert expand("InversePower({0.5, 0, 0.25})", "schedule") == [
        InversePower(0.5),
        InversePower(0.0),
        InversePower(0.25),
    ]
    assert expand("Step({0.1, 0.5}, every={2, 3})", "schedule") == [
        Step(gamma, every) for gamma in (0.1, 0.5) for every in (2, 3)
    ]
    assert expand("{Linear(), Warmup({Linear(), Cosine(final={0, 1/2})}, length=2)}", "schedule") == [
        Linear(),
        *(Warmup(s, 2) for s in (Linear(), Cosine(), Cosine(0.5))),
    ]
    assert expand("MultiStep(({1, 2}, {3, 4}), gamma=0.5)", "schedule") == [
        MultiStep((a, b), 0.5) for a in (1, 2) for b in (3, 4)
    ]
    assert expand("Tail({0.5, 1})", "averaging") == [Tail(0.5), Tail(1)]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("InversePower({0, -1, -2})", "-1"),
        ("InversePower({0, 1} / 2)", "whole argument"),
        ("InversePower({})", "not part of the notation"),
        ("InversePower({*x})", "not part of the notation"),
        ("InversePower({x for x in y})", "comprehension|not part"),
        (f"Then(*{[0]})", "not part of the notation"),
        ("Step({" + ",".join(["0.1"] * 200) + "}, every={" + ",".join(["1"] * 200) + "})", "40000 values"),
        ("Step({" * 30 + "1" + "})" * 30, "deeper|needs"),
    ],
)
def test_grids_that_are_refused(text: str, hint: str) -> None:
    with pytest.raises(InputError, match=hint):
        expand(text, "schedule")


def test_braces_belong_to_grids_only() -> None:
    with pytest.raises(InputError, match="braces"):
        parse("InversePower({0, 1})", "schedule")


# -- words


@pytest.mark.parametrize(
    ("text", "hints"),
    [
        ("InversePowr(0.5)", ["unknown schedule InversePowr", "did you mean InversePower?", "Constant"]),
        ("inversepower(0.5)", ["did you mean InversePower?"]),
        ("InversePower(powr=0.5)", ["no field powr", "did you mean power?", "timescale", "needs power"]),
        ("InversePower()", ["InversePower needs power: float >= 0"]),
        ("InversePower(-1)", ["InversePower.power = -1", "float >= 0"]),
        ("InversePower(True)", ["InversePower.power = True"]),
        ("InversePower('a')", ["InversePower.power = 'a'"]),
        ("Step(0.5, 3)", ["only the first argument (gamma)", "every=...", "3"]),
        ("Step(0.5, every=2.0)", ["Step.every = 2.0", "int >= 1 (updates)", "fraction of the horizon"]),
        ("Step(0.5, every=True)", ["Step.every = True"]),
        ("Step(0.5, gamma=0.5, every=2)", ["Step.gamma is given twice"]),
        ("Constant(3)", ["Constant takes no arguments", "3"]),
        ("MultiStep([1, 2], gamma=0.1)", ["[1, 2]", "write a tuple (1, 2)"]),
        ("Warmup(Uniform(), length=3)", ["Uniform is an averaging; a schedule is wanted here"]),
        ("Warmup(Linear, length=3)", ["Linear is not part of the notation; write Linear()"]),
        ("Warmup(3, length=3)", ["Warmup.schedule = 3", "Schedule"]),
        ("Linear(final=Linear())", ["Linear(...) stands where a plain number"]),
        ("Linear", ["write Linear()"]),
        ("3", ["a schedule is wanted, not 3", "Constant()"]),
        ("Linear(2**3)", ["2 ** 3 is not part of the notation", "write the number"]),
        ("Linear(1/0)", ["division by zero"]),
        ("Linear('a' * 3)", ["only numbers can be combined"]),
        ("Linear(1e999)", ["Linear.final = inf"]),
        ("Linear(1e308 * 10)", ["is inf"]),
        ("Linear(nan)", ["nan is not part of the notation"]),
        ("Linear(", ["cannot read 'Linear('", "Constant()"]),
        ("Linear(**x)", ["** and * are not part of the notation"]),
        ("", ["cannot read ''"]),
    ],
)
def test_messages_name_the_value_and_the_remedy(text: str, hints: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        parse(text, "schedule")
    for hint in hints:
        assert hint in str(caught.value)


def test_everything_that_is_wrong_is_named_at_once() -> None:
    text = "Then(Warmup(Cosin(), length=2.5), second=Step(-7, evry=3, every=0), at=-1, until=4)"
    with pytest.raises(InputError) as caught:
        parse(text, "schedule")
    for hint in ("Cosine?", "Warmup.length = 2.5", "Step.gamma = -7", "no field evry (did you mean every?)"):
        assert hint in str(caught.value)
    for hint in ("Step.every = 0", "Then.at = -1", "Then has no field until"):
        assert hint in str(caught.value)
    assert "needs" not in str(caught.value)  # what was given, but wrongly, is not missing


def test_what_an_annotation_allows_in_words() -> None:
    assert describe(Duration) == "int >= 0 (updates) or float in [0, 1] (fraction of the horizon)"
    assert describe(Period) == "int >= 1 (updates) or float in (0, 1] (fraction of the horizon)"
    assert describe(tuple[int, ...]) == "tuple of (int)"
    assert describe(tuple[int, float]) == "tuple (int, float)"
    assert describe(Schedule | None) == "Schedule or None"
    assert describe(Literal["a", 2]) == "one of 'a', 2"
    assert describe(Annotated[float, Interval(gt=0)]) == "float > 0"


# -- hostile text

HOSTILE = [
    "__import__('os').system('true')",
    "Linear().__class__",
    "Linear.__init__()",
    "Linear().__call__(3)",
    "Linear(final=().__class__)",
    "(lambda: Linear())()",
    "Linear(lambda: 1)",
    "Linear(*[0.5])",
    "[Linear() for _ in 'a']",
    "Linear(final=[x for x in (1,)])",
    "Linear(final=(x := 0.5))",
    "Linear(final=0.5 if True else 1)",
    "Linear(final=f'{1}')",
    "Linear(final=b'1')",
    "Linear(final=1j)",
    "Linear(final=...)",
    "Linear(final=not 1)",
    "Linear(final=~1)",
    "Linear(final=1 // 1)",
    "Linear(final=1 << 9999)",
    "Linear(final='a' 'b')",
    "Linear(final='\\d')",
    "Linear(final=1if 1else 0)",
    "Linear()()",
    "Linear(); Linear()",
    "x = Linear()",
    "await Linear()",
    "Linear(final=" + "9" * 4000 + ")",
    "Linear(final=" + "9" * 4000 + "/3)",
    "Linear(final=" + "9" * 2000 + "*" + "9" * 2000 + ")",
    "Linear(final=" + "9" * 2000 + " + 0.5)",
    "Linear(final=-" + "9" * 2000 + ")",
    "Linear(final=0/0)",
    "Linear(final=" + "-" * 3000 + "1)",
    "Linear(final=" + "(" * 1000 + "1" + ")" * 1000 + ")",
    "Linear(final=" + "1+" * 1000 + "1)",
    "(" * 4000,
    "Warmup(" * 30 + "Linear()" + ", length=1)" * 30,
    "Linear" + "()" * 1500,
    "a" + ".b" * 1500,
    "Linear() " + " " * MAX_BYTES,
    "Linear(final=0)\x00",
    "\ud800",
    "Linear(final='\ud800')",
    "\\",
    "Ｌinear(final=７)",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_refused(text: str) -> None:
    for read in (parse, expand):
        with pytest.raises(InputError):
            read(text, "schedule")


@pytest.mark.parametrize("text", [None, 3, b"Linear()", Linear(), ["Linear()"]])
def test_what_is_not_text_is_refused(text: object) -> None:
    for read in (parse, expand):
        with pytest.raises(InputError, match="not text"):
            read(text, "schedule")  # type: ignore[arg-type]


WORDS = ["Linear", "Step", "Warmup", "Uniform", "final", "gamma", "every", "length", "True", "lambda"]
FRAGMENTS = st.lists(
    st.sampled_from([*"(),='{}[]*-+/.:1", "0.5", "1e9", "x", " in ", " if ", "f'", *WORDS])
    | st.text(max_size=3),
    max_size=25,
)


@given(FRAGMENTS.map("".join) | FRAGMENTS.map(" ".join) | st.text(max_size=200))
@example("Linear(final=0.0)")
def test_any_text_is_a_value_or_refused(text: str) -> None:
    for read in (parse, expand):
        try:
            result = read(text, "schedule")
        except InputError:
            continue
        for made in result if isinstance(result, list) else [result]:
            assert parse(repr(made), "schedule") == made


def test_refusing_prints_no_warning() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(InputError):
            parse("Linear(final='\\d')", "schedule")
    assert not seen


# -- values


@value("noise")
class _Sample:
    """A value with every sort of field, for the tests below."""

    label: str
    mode: Literal["a", "b"] = "a"
    count: Annotated[int, Ge(1)] = 1
    inner: Schedule | None = None
    shapes: tuple[Schedule, ...] = ()

    def __post_init__(self) -> None:
        if self.label == "odd" and self.count % 2 == 0:
            raise InputError(f"count is {self.count}; an odd label needs an odd count")


del notation._CATALOGUES["noise"]["_Sample"]  # the batteries over noises should not find it


@pytest.fixture
def sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(notation._CATALOGUES["noise"], "_Sample", _Sample)


@pytest.mark.usefixtures("sample")
def test_values_of_every_sort_of_field() -> None:
    text = "_Sample('x', mode='b', inner=Linear(), shapes=(Cosine(), Step(0.5, every=3)))"
    sample = parse(text, "noise")
    assert sample == _Sample("x", "b", inner=Linear(), shapes=(Cosine(), Step(0.5, 3)))
    assert parse(repr(sample), "noise") == sample
    assert parse("_Sample('it\\'s', inner=None)", "noise") == _Sample("it's")
    for wrong in ("_Sample('x', mode='c')", "_Sample('x', count=1.0)", "_Sample('x', shapes=(Uniform(),))"):
        with pytest.raises(InputError):
            parse(wrong, "noise")


@pytest.mark.usefixtures("sample")
def test_checks_across_fields_keep_their_words() -> None:
    with pytest.raises(InputError, match="an odd label needs an odd count"):
        parse("_Sample('odd', count=2)", "noise")
    with pytest.raises(InputError, match="an odd label needs an odd count"):
        _Sample("odd", count=2)


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda: Linear(final=-3), r"Linear\.final = -3: give float in \[0, 1000000000000\.0\]"),
        (lambda: Linear(-3), r"Linear\.final = -3"),
        (lambda: Linear(float("nan")), r"Linear\.final = nan"),
        (lambda: InversePower(True), r"InversePower\.power = True"),
        (lambda: InversePower(), "InversePower needs power"),  # type: ignore[call-arg]
        (lambda: Linear(finale=0.0), r"no field finale \(did you mean final\?\)"),  # type: ignore[call-arg]
        (lambda: Linear(0.0, 1.0), "at most 1 arguments"),  # type: ignore[call-arg]
        (lambda: Warmup(Uniform(), 3), "an averaging; a schedule is wanted"),  # type: ignore[arg-type]
        (lambda: Warmup(Linear, 3), r"write Linear\(\.\.\.\)"),  # type: ignore[arg-type]
        (lambda: Triangular(10**5000), None),
        (lambda: Triangular(-(10**5000)), r"Triangular\.period = a int too long"),
    ],
)
def test_bad_values_from_python_are_bad_input_too(make: object, hint: str | None) -> None:
    assert callable(make)
    if hint is None:
        assert len(make()(3)) == 3
        return
    with pytest.raises(InputError, match=hint):
        make()


def test_ints_become_floats_where_floats_are_meant() -> None:
    assert repr(InversePower(1, timescale=2)) == "InversePower(power=1.0, timescale=2.0)"
    assert InversePower(1) == InversePower(1.0)
    assert type(Linear(np.float64(0.5)).final) is float


def test_values_are_frozen_hashable_and_cross_process_borders() -> None:
    swa = StochasticWeightAveraging(0.5, cycle=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        swa.cycle = 4  # type: ignore[misc]
    assert {swa: 1}[StochasticWeightAveraging(0.5, 3)] == 1
    assert swa != StochasticWeightAveraging(0.5, 3.0 / 10)
    assert pickle.loads(pickle.dumps(swa)) == swa
    assert dataclasses.replace(swa, cycle=4) == StochasticWeightAveraging(0.5, 4)
    with pytest.raises(InputError):
        dataclasses.replace(swa, cycle=0)
    assert len({Linear(), Cosine(), Linear(0.0), "Linear()"}) == 3


def test_catalogues_are_by_kind_and_read_only() -> None:
    assert "Linear" in catalogue("schedule")
    assert "Uniform" in catalogue("averaging")
    assert "Uniform" not in catalogue("schedule")
    with pytest.raises(TypeError):
        catalogue("schedule")["Linear"] = Linear  # type: ignore[index]
    for read in (
        catalogue,
        value,
        lambda kind: parse("Linear()", kind),
        lambda kind: expand("Linear()", kind),
    ):
        with pytest.raises(InputError, match=r"did you mean schedule\?"):
            read("schedul")
    assert len(KINDS) == len(set(KINDS))


def test_a_name_can_be_taken_only_once() -> None:
    intruder = type("Linear", (), {"__module__": "my_shapes", "__annotations__": {}})
    with pytest.raises(
        InputError, match=r"my_shapes and ratelab\.theory\.schedules both define a schedule Linear"
    ):
        value("schedule")(intruder)
    assert catalogue("schedule")["Linear"] is Linear
