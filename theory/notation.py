"""Text and value are two views of one thing: `repr` of a value is its notation, and `parse` reads it back.

A class decorated with `value` becomes a frozen, validated dataclass and joins the catalogue of its kind. The
reader walks the syntax tree of one call expression over those catalogues; it evaluates nothing else, so a
file can be read safely.
"""

import ast
import dataclasses
import difflib
import functools
import itertools
import math
import operator
import re
import types
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Final, Literal, TypeVar, Union, cast, dataclass_transform

import annotated_types
from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass as validated_dataclass

from ratelab.theory.arrays import InputError

__all__ = ["catalogue", "expand", "parse", "value"]

KINDS: Final = ("schedule", "feedback", "averaging", "spectrum", "noise", "data", "problem", "method")
MAX_BYTES: Final = 4096
MAX_LEVELS: Final = 20
MAX_GRID: Final = 10_000

_CONFIG = ConfigDict(
    strict=True, allow_inf_nan=False, arbitrary_types_allowed=True, extra="forbid", validate_default=True
)
_CATALOGUES: dict[str, dict[str, type]] = {kind: {} for kind in KINDS}
_KIND_OF: dict[type, str] = {}
_BAD: Final = object()
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}

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
    size = _size(tree)
    if size > MAX_GRID:
        raise InputError(
            f"{_short(text)} expands into {size} values; at most {MAX_GRID} are allowed: split it"
        )
    faults: list[str] = []
    grid = [_read_value(node, kind, faults) for node in _alternatives(tree)]
    _raise(text, kind, faults)
    return grid


def schedule_kind(text: str) -> Literal["schedule", "feedback"]:
    """Of which of the two kinds of schedules a text is, by the name that it calls."""
    name = re.search(r"\w+", text)
    return "feedback" if name is not None and name[0] in _CATALOGUES["feedback"] else "schedule"


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
            hints = _fields(cls).items()
            faults = tuple(
                (name, f"{cls.__name__}.{name} = {fault}")
                for name, hint in hints
                for fault in _misplaced(getattr(self, name), _kinds(hint))
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
            where = f"{cls.__name__}.{field} = {_short(given.get(field))}" if field else cls.__name__
            faults[field] = f"{where}: {reason}"
        else:
            faults[field] = (
                f"{cls.__name__}.{field} = {_short(given.get(field))}: give {describe(hints[field])}"
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
        yield f"{_short(member)} is {_a(_KIND_OF[type(member)])}; {_wanted(kinds)} is wanted here"


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
        raise InputError(f"{_short(text)} is not text; write {_a(kind)} such as {_example(kind)}")
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise InputError(f"{_short(text)} is {size} bytes long; at most {MAX_BYTES} are read")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # "\d" and the like are mistakes here
            return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError, Warning) as error:
        reason = getattr(error, "msg", None) or str(error) or "nested too deeply"
        raise InputError(
            f"cannot read {_short(text)}: {reason}; write {_a(kind)} such as {_example(kind)}"
        ) from None


def _read_value(node: ast.expr, kind: str, faults: list[str]) -> object:
    if isinstance(node, ast.Call):
        return _read_call(node, (kind,), faults, 1)
    name = node.id if isinstance(node, ast.Name) else ""
    hint = f"write {name}()" if name in _CATALOGUES[kind] else f"write one call such as {_example(kind)}"
    faults.append(f"{_a(kind)} is wanted, not {_what(node)}; {hint}{_nearest(name, list(_CATALOGUES[kind]))}")
    return _BAD


def _read(node: ast.expr, kinds: tuple[str, ...], faults: list[str], level: int) -> object:
    if level > MAX_LEVELS:
        faults.append(f"nested deeper than {MAX_LEVELS} levels")
        return _BAD
    match node:
        case ast.Call():
            return _read_call(node, kinds, faults, level)
        case ast.Constant(value=bool() | int() | float() | str() | None):
            return node.value
        case ast.Tuple():
            members = [_read(member, kinds, faults, level + 1) for member in node.elts]
            return _BAD if any(member is _BAD for member in members) else tuple(members)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
            operand = _read(node.operand, kinds, faults, level + 1)
            return _calculate(
                node, faults, operator.neg if isinstance(node.op, ast.USub) else operator.pos, operand
            )
        case ast.BinOp() if type(node.op) in _ARITHMETIC:
            pair = [_read(side, kinds, faults, level + 1) for side in (node.left, node.right)]
            return _calculate(node, faults, _ARITHMETIC[type(node.op)], *pair)
    faults.append(f"{_what(node)} is not part of the notation{_instead(node)}")
    return _BAD


def _calculate(node: ast.expr, faults: list[str], operation: Callable[..., Any], *operands: object) -> object:
    if any(operand is _BAD for operand in operands):
        return _BAD
    if any(isinstance(operand, bool) or not isinstance(operand, int | float) for operand in operands):
        faults.append(f"{_what(node)}: only numbers can be combined")
        return _BAD
    try:
        result = operation(*operands)
        if math.isfinite(result):
            return result
        reason = f"is {result}"
    except ArithmeticError as error:
        reason = str(error)
    faults.append(f"{_what(node)}: {reason}; write a finite number")
    return _BAD


def _read_call(node: ast.Call, kinds: tuple[str, ...], faults: list[str], level: int) -> object:
    cls = _resolve(node.func, kinds, faults)
    if level > MAX_LEVELS:
        faults.append(f"nested deeper than {MAX_LEVELS} levels")
        return _BAD
    hints = _fields(cls) if cls is not None else {}
    names = list(hints)
    title = cls.__name__ if cls is not None else ""
    written: list[tuple[str | None, ast.expr]] = [
        *((names[0] if names and not index else None, argument) for index, argument in enumerate(node.args)),
        *((keyword.arg, keyword.value) for keyword in node.keywords),
    ]
    before = len(faults)
    given: dict[str, object] = {}
    for index, (name, argument) in enumerate(written):
        known = name is not None and name in hints
        if cls is not None and not known:
            if index >= len(node.args) and name is not None:
                faults.append(f"{title} has no field {name}{_nearest(name, names)}; fields: {_names(names)}")
            elif index >= len(node.args) or isinstance(argument, ast.Starred):
                faults.append(f"{title}: ** and * are not part of the notation; write each field by its name")
            elif not names:
                faults.append(f"{title} takes no arguments, and {_what(argument)} is given")
            else:
                faults.append(
                    f"{title}: only the first argument ({names[0]}) may stand without its name; write "
                    f"{names[min(index, len(names) - 1)]}=... for {_what(argument)}; fields: {_names(names)}"
                )
        if isinstance(argument, ast.Starred):
            if known:
                faults.append(f"{title}: * is not part of the notation; write each field by its name")
                given[name or ""] = _BAD
            continue
        room = _kinds(hints[name]) if name is not None and known else KINDS
        member = _read(argument, room, faults, level + 1)
        if name is not None and known:
            if name in given:
                faults.append(f"{title}.{name} is given twice")
            given[name] = member
    if cls is None:
        return _BAD
    try:
        made = cls(**{name: member for name, member in given.items() if member is not _BAD})
    except _FieldsError as error:
        clean = len(faults) == before
        faults.extend(
            message
            for field, message in error.faults
            if given.get(field) is not _BAD and (field in hints or clean)
        )
        if clean and len(faults) == before:
            faults.append(str(error))
        return _BAD
    return made if len(faults) == before else _BAD


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


def _size(node: ast.expr) -> int:
    match node:
        case ast.Set():
            return sum(map(_size, node.elts))
        case ast.Tuple():
            return math.prod(map(_size, node.elts))
        case ast.Call():
            return math.prod(_size(a) for a in [*node.args, *(k.value for k in node.keywords)])
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
        raise InputError(f"cannot read the {kind} {_short(text)}: {_join(list(dict.fromkeys(faults)))}")


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
    try:
        return f"{word + ' ' if word else ''}{_short(ast.unparse(node), quoted=False)}"
    except (RecursionError, ValueError):
        return word or type(node).__name__


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


def _short(given: object, *, quoted: bool = True) -> str:
    try:
        text = repr(given) if quoted else str(given)
    except ValueError:  # an int too long to print
        text = f"a {type(given).__name__} too long to print"
    return text if len(text) <= 80 else f"{text[:60]} ... {text[-12:]}"


def _nearest(name: str, names: list[str]) -> str:
    folded = {known.lower(): known for known in names}
    match = difflib.get_close_matches(name.lower(), folded, n=1)
    return f" (did you mean {folded[match[0]]}?)" if match and folded[match[0]] != name else ""


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
