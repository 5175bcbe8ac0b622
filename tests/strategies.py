"""Hypothesis strategies for every registered value, read from the annotations of its fields.

A new schedule or averaging needs nothing here: its fields say what they allow, and the batteries draw from
that. Fields that do not go together (a floor above its ceiling) are drawn again. `Values` is made of numbers.
"""

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar, Union, cast

import numpy as np
from annotated_types import Ge, Gt, Interval, Le, Lt
from hypothesis import find, reject, settings, strategies as st

from ratelab.theory.arrays import InputError
from ratelab.theory.combine import Clip
from ratelab.theory.notation import KINDS, catalogue
from ratelab.theory.sampled import Values
from ratelab.theory.schedules import HorizonError, Linear, Piecewise

DEPTH = 2  # combinators inside combinators
LENGTH = 128  # of sampled schedules: longer than the horizons of the batteries


@functools.cache
def values(kind: str, depth: int = DEPTH) -> st.SearchStrategy[Any]:
    """Random members of a whole catalogue, combinators nested up to `depth`."""
    classes = [cls for cls in catalogue(kind).values() if depth or not _nests(cls)]
    return st.sampled_from(classes).flatmap(lambda cls: instances(cls, depth))


@st.composite
def instances(draw: st.DrawFn, cls: type, depth: int = DEPTH) -> Any:
    """Random instances of one registered class; fields that the class refuses together are drawn anew."""
    if cls.__name__ in SPECIAL:
        return draw(SPECIAL[cls.__name__](depth))
    fields = {name: draw(field) for name, field in _fields(cls, depth).items()}
    try:
        return cls(**fields)
    except InputError:
        reject()


def others(kind: str, known: Iterable[object]) -> list[Any]:
    """A member of each class of ours that has none among those known: a new class is tested by itself."""
    missing = set(catalogue(kind).values()) - {type(member) for member in known}
    ours = sorted((cls for cls in missing if cls.__module__.startswith("ratelab.")), key=repr)
    return [_simplest(cls) for cls in ours]


def _simplest(cls: type) -> Any:
    """With its defaults, and the simplest that is allowed where there is none."""
    required = {f.name for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING}
    fields = {name: field for name, field in _fields(cls, 0).items() if name in required}
    return find(st.builds(cls, **fields), lambda _: True, settings=settings(database=None, derandomize=True))


@functools.cache
def _fields(cls: type, depth: int) -> dict[str, st.SearchStrategy[Any]]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return {f.name: _annotated(hints[f.name], depth) for f in dataclasses.fields(cls)}


@st.composite
def _piecewise(draw: st.DrawFn, depth: int) -> Piecewise:  # noqa: ARG001
    boundaries = draw(_fields(Piecewise, 0)["boundaries"])
    count = len(boundaries) + 1
    values = draw(st.lists(_fields(Linear, 0)["final"], min_size=count, max_size=count))
    return Piecewise(boundaries, tuple(draw(st.sampled_from([values, sorted(values), sorted(values)[::-1]]))))


@st.composite
def _clip(draw: st.DrawFn, depth: int) -> Clip:
    fields = _fields(Clip, depth)
    low, high = sorted((draw(fields["low"]), draw(fields["high"])))
    return Clip(draw(fields["schedule"]), low, high, draw(fields["lr"]))


def _numbers(depth: int) -> st.SearchStrategy[Values]:  # noqa: ARG001
    """A few are enough, since each is a file: long enough for the batteries' horizons."""
    some = [np.ones(LENGTH), 1 / np.arange(1, LENGTH + 1), np.arange(LENGTH) % 7 / 3]
    return st.sampled_from(some).map(Values.of)


SPECIAL: dict[str, Callable[[int], st.SearchStrategy[Any]]] = {
    "Piecewise": _piecewise,
    "Clip": _clip,
    "Values": _numbers,
}
"""Classes whose fields must fit each other more closely than by luck."""


Test = TypeVar("Test", bound=Callable[..., None])


def existing(test: Test) -> Test:
    """Under @given: schedules that refuse the horizon they are asked for are drawn again."""

    @functools.wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        try:
            test(*args, **kwargs)
        except HorizonError:
            reject()

    return cast(Test, run)


def _annotated(annotation: Any, depth: int) -> st.SearchStrategy[Any]:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _number(arguments[0], arguments[1:])
    if origin in (Union, types.UnionType):
        return st.one_of([_annotated(argument, depth) for argument in arguments])
    if origin is tuple and arguments[1:] == (...,):
        return st.lists(_annotated(arguments[0], depth), max_size=4).map(tuple)
    if annotation in (int, float):
        return _number(annotation, ())
    kind = getattr(annotation, "__name__", "").lower()
    if kind in KINDS:
        return values(kind, depth - 1)
    return st.from_type(annotation)


def _number(base: Any, constraints: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    bounds: dict[str, Any] = {}
    for constraint in constraints:
        for part in constraint if isinstance(constraint, Interval) else [constraint]:
            if isinstance(part, Ge | Gt | Le | Lt):
                name = type(part).__name__.lower()
                bounds[name] = getattr(part, name)
    low: Any = bounds.get("ge", bounds.get("gt"))
    high: Any = bounds.get("le", bounds.get("lt"))
    if base is int:
        low, high = low + ("gt" in bounds), None if high is None else high - ("lt" in bounds)
        small = st.integers(low, min(low + 40, high) if high is not None else low + 40)
        return small | st.integers(low, high)
    wide = st.floats(
        low,
        high,
        exclude_min="gt" in bounds,
        exclude_max="lt" in bounds,
        allow_nan=False,
        allow_infinity=False,
    )
    near = st.floats(low if low is not None else -3.0, high if high is not None and high < 3.0 else 3.0)
    return near.filter(lambda x: x != bounds.get("gt") and x != bounds.get("lt")) | wide


def _nests(cls: type) -> bool:
    hints = typing.get_type_hints(cls)
    return any(getattr(hints[f.name], "__name__", "").lower() in KINDS for f in dataclasses.fields(cls))
