"""Text and value are two views of one thing: `repr` of a value is its notation, and `parse` reads it back.

A class decorated with `value` becomes a frozen, validated dataclass and joins the catalogue of its kind. What
`reading` reads as one call expression becomes a value here, by the names in those catalogues.
"""

import ast
import dataclasses
import functools
import itertools
import math
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Final, Literal, TypeVar, Union, cast, dataclass_transform

import annotated_types
from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass as validated_dataclass

from ratelab.theory.arrays import InputError
from ratelab.theory.reading import (
    MAX_LEVELS,
    REFUSED,
    UnreadError,
    closest,
    did_you_mean,
    finite,
    literal,
    short,
    size,
    syntax,
    written,
)

__all__ = ["catalogue", "expand", "parse", "value"]

KINDS: Final = ("schedule", "feedback", "averaging", "spectrum", "noise", "data", "problem", "method")
MAX_BYTES: Final = 4096
MAX_GRID: Final = 10_000

_CONFIG = ConfigDict(
    strict=True, allow_inf_nan=False, arbitrary_types_allowed=True, extra="forbid", validate_default=True
)
_CATALOGUES: dict[str, dict[str, type]] = {kind: {} for kind in KINDS}
_KIND_OF: dict[type, str] = {}

V = TypeVar("V")


class _FieldsError(InputError):
    """An InputError that remembers, field by field, what was wrong; "" stands for the value as a whole."""

    faults: tuple[tuple[str, str], ...] = ()


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def value(kind: str) -> Callable[[type[V]], type[V]]:
    """Class decorator: a frozen, validated dataclass, registered under its name in the catalogue of `kind`.

    Fields are checked by their annotations, strictly: an int passes for a float and is converted, a bool is
    no number, no float is NaN or infinite, ranges are `annotated_types`. A field annotated with the protocol
    of a kind (`Schedule` for "schedule") takes values of that kind, or a plain object with the protocol's
    methods. Bad values raise InputError.

    Equality and hash compare the class and all fields, and tell 1 from 1.0, which mean different durations.
    """
    table = _table(kind)

    def register(cls: type[V]) -> type[V]:
        known = table.get(cls.__name__)
        if known is not None and known.__module__ != cls.__module__:
            raise InputError(
                f"{cls.__module__} and {known.__module__} both define {_a(kind)} {cls.__name__}; rename one"
            )
        made = validated_dataclass(cls, frozen=True, eq=False, config=_CONFIG)
        for name, method in (("__init__", _checked_init(made)), ("__eq__", _equal), ("__hash__", _hash)):
            setattr(made, name, method)
        table[cls.__name__] = made
        _KIND_OF[made] = kind
        return cast(type[V], made)

    return register


def catalogue(kind: str) -> Mapping[str, type]:
    """The registered classes of one kind by name, in the order of their definition; a read-only view."""
    return types.MappingProxyType(_table(kind))


def parse(text: str, kind: str) -> object:
    """The value that `text` writes, for example `Warmup(Cosine(), length=0.05)`; `parse(repr(v), kind) == v`.

    One call expression: registered names, numbers, strings, True, False, None, tuples, nested calls, unary
    minus, and + - * / between numbers (people write 1/3). The first argument may stand without its name, the
    others have theirs. At most 4 kB and 20 levels. InputError names everything that is wrong in the
    expression, with the nearest match.
    """
    faults: list[str] = []
    result = _read_value(_tree(text, kind), kind, faults)
    _raise(text, kind, faults)
    return result


def expand(text: str, kind: str) -> list[object]:
    """The grid that `text` writes: `InversePower({0, 0.25, 0.5})` is three values, in written order.

    A set in braces stands where a whole argument, a member of a tuple or the whole expression stands; several
    sets give the cartesian product, the last one varying fastest. Text without braces gives a list of one.
    Errors as in `parse`.
    """
    tree = _tree(text, kind)
    count = _count(tree)
    if count > MAX_GRID:
        raise InputError(
            f"{short(text)} expands into {count} values; at most {MAX_GRID} are allowed: split it"
        )
    faults: list[str] = []
    grid = [_read_value(node, kind, faults) for node in _alternatives(tree)]
    _raise(text, kind, faults)
    return grid


def schedule_kind(text: str) -> Literal["schedule", "feedback"]:
    """Of which of the two kinds on the schedules axis a text is, by the name that it calls."""
    name = re.search(r"\w+", text)
    return "feedback" if name is not None and name[0] in catalogue("feedback") else "schedule"


def describe(annotation: object) -> str:
    """What an annotation allows, in words: `float in [0, 1]`, `int >= 1 or Schedule`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return describe(arguments[0]) + "".join(map(_describe_metadata, arguments[1:]))
    if origin in (Union, types.UnionType):
        return " or ".join(map(describe, arguments))
    if origin is tuple:
        inner = [describe(a) for a in arguments if a is not Ellipsis]
        return f"tuple of ({inner[0]})" if Ellipsis in arguments else f"tuple ({', '.join(inner)})"
    if origin is Literal:
        return "one of " + ", ".join(map(repr, arguments))
    if annotation in (None, type(None)):
        return "None"
    return getattr(annotation, "__name__", str(annotation))


def signature(cls: type) -> str:
    """A registered class as it is written, defaults of its fields included: `Step(gamma, every)`."""

    def one(field: dataclasses.Field[Any]) -> str:
        return field.name if field.default is dataclasses.MISSING else f"{field.name}={field.default!r}"

    return f"{cls.__name__}({', '.join(map(one, dataclasses.fields(cls)))})"


# -- values ----------------------------------------------------------------------------------------


def _checked_init(cls: type) -> Callable[..., None]:
    raw = cls.__init__  # type: ignore[misc]  # the generated one, looked up on the finished class

    @functools.wraps(raw)
    def init(self: object, *args: object, **fields: object) -> None:
        try:
            raw(self, *args, **fields)
        except ValidationError as error:
            faults = _translate(cls, error, dict(zip(_fields(cls), args, strict=False)) | fields)
        else:
            faults = tuple(
                (name, f"{cls.__name__}.{name} = {fault}")
                for name, kinds in _rooms(cls).items()
                for fault in _misplaced(getattr(self, name), kinds)
            )
        if faults:
            invalid = _FieldsError(_join([message for _, message in faults]))
            invalid.faults = faults
            raise invalid from None

    return init


def _translate(cls: type, error: ValidationError, given: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Pydantic's report as one sentence per field."""
    hints = _fields(cls)
    names = list(hints)
    faults: dict[str, str] = {}
    for detail in error.errors(include_url=False):
        key = detail["loc"][0] if detail["loc"] else ""
        kind = detail["type"]
        if kind == "unexpected_positional_argument":
            faults["*"] = f"{cls.__name__} takes at most {len(names)} arguments: {', '.join(names)}"
            continue
        field = names[key] if isinstance(key, int) else key
        if kind == "missing":
            faults[field] = f"{cls.__name__} needs {field}: {describe(hints[field])}"
        elif kind in ("unexpected_keyword_argument", "unexpected_keyword_arg"):
            faults[field] = (
                f"{cls.__name__} has no field {field}{_nearest(field, names)}; fields: {_names(names)}"
            )
        elif kind == "value_error":
            reason = str(detail["ctx"]["error"])
            where = f"{cls.__name__}.{field} = {short(given.get(field))}" if field else cls.__name__
            faults[field] = f"{where}: {reason}"
        else:
            faults[field] = (
                f"{cls.__name__}.{field} = {short(given.get(field))}: give {describe(hints[field])}"
            )
    return tuple(faults.items())


def _misplaced(member: object, kinds: tuple[str, ...]) -> Iterator[str]:
    """Values of another kind, and classes where their instances are meant: both are callable, so both look
    right.
    """
    if not kinds:
        return
    if isinstance(member, tuple):
        for entry in member:
            yield from _misplaced(entry, kinds)
    elif isinstance(member, type):
        yield f"{member.__name__} is a class, not a value: write {member.__name__}(...)"
    elif _KIND_OF.get(type(member), kinds[0]) not in kinds:
        yield f"{short(member)} is {_a(_KIND_OF[type(member)])}; {_wanted(kinds)} is wanted here"


def _key(member: object) -> object:
    if isinstance(member, tuple):
        return tuple(map(_key, member))
    return (type(member), member)


def _identity(self: object) -> tuple[object, ...]:
    cls: type = type(self)
    return tuple(_key(getattr(self, name)) for name in _fields(cls))


def _equal(self: object, other: object) -> bool:
    return type(self) is type(other) and _identity(self) == _identity(other)


def _hash(self: object) -> int:
    return hash((type(self), _identity(self)))


@functools.cache
def _fields(cls: type) -> dict[str, Any]:
    """Field names with their annotations, in order."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


@functools.cache
def _rooms(cls: type) -> dict[str, tuple[str, ...]]:
    """The kinds of values that each field has room for."""
    return {name: _kinds(hint) for name, hint in _fields(cls).items()}


def _kinds(annotation: object) -> tuple[str, ...]:
    """The kinds of values an annotation has room for: by the protocol's name, or by a registered class."""
    if isinstance(annotation, type) and annotation in _KIND_OF:
        return (_KIND_OF[annotation],)
    if isinstance(annotation, type) and getattr(annotation, "_is_protocol", False):
        name = annotation.__name__.lower()
        return (name,) if name in KINDS else ()
    inner = [kind for argument in typing.get_args(annotation) for kind in _kinds(argument)]
    return tuple(dict.fromkeys(inner))


# -- text ------------------------------------------------------------------------------------------


def _tree(text: str, kind: str) -> ast.expr:
    _table(kind)
    if not isinstance(text, str):
        raise InputError(f"{short(text)} is not text; write {_a(kind)} such as {_example(kind)}")
    if size(text) > MAX_BYTES:
        raise InputError(f"{short(text)} is {size(text)} bytes long; at most {MAX_BYTES} are read")
    try:
        return cast(ast.expr, syntax(text, "eval"))
    except UnreadError as error:
        raise InputError(
            f"cannot read {short(text)}: {error}; write {_a(kind)} such as {_example(kind)}"
        ) from None


def _read_value(node: ast.expr, kind: str, faults: list[str]) -> object:
    if isinstance(node, ast.Call):
        return _read_call(node, (kind,), faults, 1)
    name = node.id if isinstance(node, ast.Name) else ""
    hint = f"write {name}()" if name in _CATALOGUES[kind] else f"write one call such as {_example(kind)}"
    faults.append(f"{_a(kind)} is wanted, not {_what(node)}; {hint}{_nearest(name, list(_CATALOGUES[kind]))}")
    return REFUSED


def _read(node: ast.expr, kinds: tuple[str, ...], faults: list[str], level: int) -> object:
    """The value of an expression where there is room for values of `kinds`; REFUSED, and faults, else."""
    if level > MAX_LEVELS:
        faults.append(f"nested deeper than {MAX_LEVELS} levels")
        return REFUSED
    if isinstance(node, ast.Call):
        return _read_call(node, kinds, faults, level)
    try:
        found = literal(node, lambda part: _read(part, kinds, faults, level + 1))
        return finite(found) if isinstance(node, ast.UnaryOp) else found
    except UnreadError as error:
        reason = f": {error}" if str(error) else f" is not part of the notation{_instead(node)}"
        faults.append(f"{_what(node)}{reason}")
        return REFUSED


def _read_call(node: ast.Call, kinds: tuple[str, ...], faults: list[str], level: int) -> object:
    """The value that a call makes; where its name is unknown, its arguments are still worth reading."""
    cls = _resolve(node.func, kinds, faults)
    found: list[str] = []
    given = _read_arguments(node, cls, found, level)
    made = REFUSED if cls is None else _make(cls, given, found)
    faults += found
    return made


def _read_arguments(node: ast.Call, cls: type | None, faults: list[str], level: int) -> dict[str, object]:
    """What a call gives for each field of a class; REFUSED for what cannot be read."""
    rooms = {} if cls is None else _rooms(cls)
    first = [*list(rooms)[:1], *[None] * len(node.args)]
    places = [*zip(first, node.args, strict=False), *((each.arg, each.value) for each in node.keywords)]
    given: dict[str, object] = {}
    for index, (name, argument) in enumerate(places):
        if cls is not None:
            faults.extend(_place_faults(cls, name, argument, index, len(node.args)))
        member: object = REFUSED
        if not isinstance(argument, ast.Starred):
            member = _read(argument, rooms.get(name or "", KINDS), faults, level + 1)
        if cls is not None and name in given:
            faults.append(f"{cls.__name__}.{name} is given twice")
        if name in rooms:
            given[name] = member
    return given


def _place_faults(
    cls: type, name: str | None, argument: ast.expr, index: int, positional: int
) -> Iterator[str]:
    """What is wrong with where an argument stands: the index-th, the first so many without a name."""
    names, starred = list(_fields(cls)), isinstance(argument, ast.Starred)
    if name in names:
        if starred:
            yield f"{cls.__name__}: * is not part of the notation; write each field by its name"
    elif name is not None:
        yield f"{cls.__name__} has no field {name}{_nearest(name, names)}; fields: {_names(names)}"
    elif starred or index >= positional:
        yield f"{cls.__name__}: ** and * are not part of the notation; write each field by its name"
    elif not names:
        yield f"{cls.__name__} takes no arguments, and {_what(argument)} is given"
    else:
        yield (
            f"{cls.__name__}: only the first argument ({names[0]}) may stand without its name; write "
            f"{names[min(index, len(names) - 1)]}=... for {_what(argument)}; fields: {_names(names)}"
        )


def _make(cls: type, given: Mapping[str, object], faults: list[str]) -> object:
    """The value of a class with the fields that could be read; REFUSED where anything was wrong."""
    try:
        made = cls(**{name: member for name, member in given.items() if member is not REFUSED})
    except _FieldsError as error:
        clean = not faults
        faults.extend(
            message
            for field, message in error.faults
            if given.get(field) is not REFUSED and (field in _fields(cls) or clean)
        )
        if not faults:
            faults.append(str(error))
        return REFUSED
    return REFUSED if faults else made


def _resolve(node: ast.expr, kinds: tuple[str, ...], faults: list[str]) -> type | None:
    """The class that a call names, if it is of one of the kinds; of another kind, its fields are still worth
    reading.
    """
    if not isinstance(node, ast.Name):
        faults.append(f"{_what(node)} cannot be called; write a registered name")
        return None
    for kind in kinds:
        if node.id in _CATALOGUES[kind]:
            return _CATALOGUES[kind][node.id]
    names = [name for kind in kinds for name in _CATALOGUES[kind]]
    others = [kind for kind in KINDS if node.id in _CATALOGUES[kind]]
    if not kinds:
        faults.append(f"{node.id}(...) stands where a plain number, string or tuple is wanted")
    elif others:
        faults.append(f"{node.id} is {_a(others[0])}; {_wanted(kinds)} is wanted here: {_names(names)}")
    else:
        faults.append(
            f"unknown {' or '.join(kinds)} {node.id}{_nearest(node.id, names)}; known: {_names(names)}"
        )
    return None


def _count(node: ast.expr) -> int:
    match node:
        case ast.Set():
            return sum(map(_count, node.elts))
        case ast.Tuple():
            return math.prod(map(_count, node.elts))
        case ast.Call():
            return math.prod(_count(a) for a in [*node.args, *(k.value for k in node.keywords)])
    return 1


def _alternatives(node: ast.expr) -> list[ast.expr]:
    match node:
        case ast.Set():
            return [choice for member in node.elts for choice in _alternatives(member)]
        case ast.Tuple():
            members = itertools.product(*map(_alternatives, node.elts))
            return [ast.copy_location(ast.Tuple(list(choice), node.ctx), node) for choice in members]
        case ast.Call():
            places = itertools.product(*map(_alternatives, [*node.args, *(k.value for k in node.keywords)]))
            count = len(node.args)
            return [
                ast.copy_location(
                    ast.Call(
                        node.func,
                        list(choice[:count]),
                        [ast.keyword(k.arg, c) for k, c in zip(node.keywords, choice[count:], strict=True)],
                    ),
                    node,
                )
                for choice in places
            ]
    return [node]


# -- words -----------------------------------------------------------------------------------------


def _raise(text: str, kind: str, faults: list[str]) -> None:
    if faults:
        raise InputError(f"cannot read the {kind} {short(text)}: {_join(list(dict.fromkeys(faults)))}")


def _join(messages: list[str]) -> str:
    return messages[0] if len(messages) == 1 else "".join(f"\n  - {message}" for message in messages)


def _table(kind: str) -> dict[str, type]:
    if kind not in _CATALOGUES:
        raise InputError(
            f"{kind!r} is not a kind of value{_nearest(str(kind), list(KINDS))}; kinds: {_names(KINDS)}"
        )
    return _CATALOGUES[kind]


def _describe_metadata(metadata: object) -> str:
    if isinstance(metadata, str):
        return f" ({metadata})"
    if isinstance(metadata, annotated_types.Interval):
        low = metadata.ge if metadata.gt is None else metadata.gt
        high = metadata.le if metadata.lt is None else metadata.lt
        if low is not None and high is not None:
            return (
                f" in {'[' if metadata.gt is None else '('}{low}, {high}{']' if metadata.lt is None else ')'}"
            )
        metadata = next(iter(metadata), None)
    for bound, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<")):
        if getattr(metadata, bound, None) is not None:
            return f" {sign} {getattr(metadata, bound)}"
    if isinstance(metadata, annotated_types.MinLen):
        return f" with at least {metadata.min_length} entries"
    return ""


def _what(node: ast.AST) -> str:
    """A node in words: what it is and, when short, how it was written."""
    word = {"JoinedStr": "an f-string", "ListComp": "a comprehension"}.get(type(node).__name__)
    return " ".join(filter(None, [word, written(node)])) or type(node).__name__


def _instead(node: ast.expr) -> str:
    match node:
        case ast.List():
            return "; write a tuple (1, 2)"
        case ast.Set():
            return " here; braces stand for a whole argument, and only where a grid is expanded"
        case ast.Name() if any(node.id in table for table in _CATALOGUES.values()):
            return f"; write {node.id}()"
        case ast.BinOp():
            return "; write the number"
    return "; write numbers, quoted strings, tuples or calls of registered names"


def _nearest(name: str, names: list[str]) -> str:
    """As `reading.nearest`, whatever the case of the letters."""
    folded = {known.lower(): known for known in names}
    found = folded.get(closest(name.lower(), folded), "")
    return did_you_mean(found if found != name else "")


def _names(names: typing.Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def _wanted(kinds: tuple[str, ...]) -> str:
    return " or ".join(map(_a, kinds))


def _example(kind: str) -> str:
    """A value of the kind that needs no arguments, else just a name."""
    for name, cls in _CATALOGUES[kind].items():
        if all(
            f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING
            for f in dataclasses.fields(cls)
        ):
            return f"{name}()"
    return next((f"{name}(...)" for name in _CATALOGUES[kind]), "Name(...)")
