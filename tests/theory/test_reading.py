"""The reader of call expressions: what is read as Python reads it, and what is refused with which words.

What the notation makes of calls, and that hostile text is only ever refused, is tested with the notation."""

import pytest
from hypothesis import given, strategies as st

from ratelab.theory.arrays import InputError
from ratelab.theory.reading import Word, call


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
    with pytest.raises(InputError, match=reason):
        call(text)
