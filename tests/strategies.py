"""Hypothesis strategies for every registered value, read from the annotations of its fields.

A new schedule or averaging needs nothing here: its fields say what they allow, and the batteries draw from
that.
"""

import dataclasses
import types
import typing
from typing import Annotated, Any, Union

from annotated_types import Ge, Gt, Interval, Le, Lt
from hypothesis import strategies as st

import theory  # noqa: F401  (fills the catalogues)
from theory.notation import KINDS, catalogue

DEPTH = 2  # combinators inside combinators


def values(kind: str, depth: int = DEPTH) -> st.SearchStrategy[Any]:
    """Random members of a whole catalogue, combinators nested up to `depth`."""
    classes = [cls for cls in catalogue(kind).values() if depth or not _nests(cls)]
    return st.sampled_from(classes).flatmap(lambda cls: instances(cls, depth))


def instances(cls: type, depth: int = DEPTH) -> st.SearchStrategy[Any]:
    """Random instances of one registered class."""
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {f.name: _annotated(hints[f.name], depth) for f in dataclasses.fields(cls)}
    return st.builds(cls, **fields)


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
