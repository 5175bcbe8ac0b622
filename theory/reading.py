"""One reader of call expressions, `Name(1/3, a=(1, 2))`: for the notation and for the words of frameworks.

It walks the syntax tree of a text and evaluates nothing but arithmetic between numbers, so a file can be read
safely. What a call means is not known here: the notation looks its name up, a dialect binds its arguments.
"""

import ast
import difflib
import math
import operator
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Final

from ratelab.theory.arrays import InputError

MAX_BYTES: Final = 65_536
MAX_LEVELS: Final = 20

REFUSED: Final = object()
"""Stands for a part whose fault is noted already, where reading goes on to name all faults at once."""

_SIGNS: Final[dict[type[ast.unaryop], Callable[[Any], Any]]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_ARITHMETIC: Final[dict[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class Word(str):
    """A bare name in a call, such as `optimizer`; everything else that is written there is a value."""

    __slots__ = ()


class UnreadError(Exception):
    """Why a text or an expression is not read; without a message: it is no literal. For callers to word."""


class NotFiniteError(UnreadError):
    """Arithmetic whose result is no finite number."""


# -- syntax ----------------------------------------------------------------------------------------


def size(text: str) -> int:
    """The bytes of a text, which may hold anything."""
    return len(text.encode("utf-8", "surrogatepass"))


def syntax(text: str, mode: str) -> Any:
    """The body of a text's syntax tree, `mode` as in ast.parse; UnreadError with Python's reason."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # "\d" and the like are mistakes here
            tree: Any = ast.parse(text.strip(), mode=mode)
    except (SyntaxError, ValueError, MemoryError, RecursionError, Warning) as error:
        raise UnreadError(getattr(error, "msg", None) or str(error) or "nested too deeply") from None
    return tree.body


def literal(node: ast.expr, read: Callable[[ast.expr], object]) -> object:
    """The value of a number, string, True, False, None, tuple or + - * / between numbers; `read` reads its
    parts. REFUSED where a part is, UnreadError for every other expression, NotFiniteError for 1/0.
    """
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None):
            return node.value
        case ast.Tuple():
            members = [read(member) for member in node.elts]
            return REFUSED if _any_refused(members) else tuple(members)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
            return _calculated(_SIGNS[type(node.op)], [read(node.operand)])
        case ast.BinOp() if type(node.op) in _ARITHMETIC:
            return finite(_calculated(_ARITHMETIC[type(node.op)], [read(node.left), read(node.right)]))
    raise UnreadError


def finite(result: object) -> object:
    """The result of arithmetic, or REFUSED; NotFiniteError for one that no float64 can hold."""
    if result is REFUSED:
        return result
    try:
        if math.isfinite(result):  # type: ignore[arg-type]  # a number, as `_calculated` gives it
            return result
        reason = f"is {result}"
    except OverflowError as error:
        reason = str(error)
    raise NotFiniteError(f"{reason}; write a finite number")


def _calculated(operation: Callable[..., object], operands: list[object]) -> object:
    if _any_refused(operands):
        return REFUSED
    if any(isinstance(operand, bool) or not isinstance(operand, int | float) for operand in operands):
        raise UnreadError("only numbers can be combined")
    try:
        return operation(*operands)
    except ArithmeticError as error:
        raise NotFiniteError(f"{error}; write a finite number") from None


def _any_refused(parts: list[object]) -> bool:
    return any(part is REFUSED for part in parts)


# -- calls -----------------------------------------------------------------------------------------


def call(text: str) -> tuple[str, dict[str, Any]]:
    """One call expression as (name, arguments), evaluated by nobody: `module.Name(5, a=0.1, b=[1, 2])`.

    A dotted name is reduced to its last part, `x = ` in front of the call is skipped. Arguments by position
    have the keys "0", "1", ... Values are numbers (+ - * / between them allowed), strings, True, False, None,
    tuples, lists, dicts, nested calls, again as (name, arguments), and bare names, as `Word`. InputError for
    everything else.

    >>> call("lr_scheduler.StepLR(optimizer, step_size=3 * 10)")
    ('StepLR', {'0': 'optimizer', 'step_size': 30})
    """
    if not isinstance(text, str) or size(text) > MAX_BYTES:
        raise InputError(f"{short(text)} is not text of at most {MAX_BYTES} bytes; write one call")
    try:
        body = syntax(text, "exec")
    except UnreadError as error:
        raise InputError(f"cannot read {short(text)}: {error}; write one call, Name(a=1)") from None
    node = body[0].value if len(body) == 1 and isinstance(body[0], ast.Expr | ast.Assign) else None
    if not isinstance(node, ast.Call):
        raise InputError(f"{short(text)} is not one call; write Name(a=1)")
    return _call(node, 1)


def _call(node: ast.Call, level: int) -> tuple[str, dict[str, Any]]:
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            pass
        case _:
            raise InputError(f"{_shown(node.func)} cannot be called here; write a name")
    given: dict[str, Any] = {}
    for index, argument in enumerate(node.args):
        given[str(index)] = _value(argument, level + 1)
    for keyword in node.keywords:
        if keyword.arg is None:
            raise InputError(f"{name}: ** is not read; write each argument by its name")
        if keyword.arg in given:
            raise InputError(f"{name}.{keyword.arg} is given twice")
        given[keyword.arg] = _value(keyword.value, level + 1)
    return name, given


def _value(node: ast.expr, level: int) -> Any:
    if level > MAX_LEVELS:
        raise InputError(f"nested deeper than {MAX_LEVELS} levels; write it flatter")

    def inner(part: ast.expr) -> Any:
        return _value(part, level + 1)

    match node:
        case ast.Call():
            return _call(node, level)
        case ast.List():
            return list(map(inner, node.elts))
        case ast.Dict():
            keys = [inner(key) for key in node.keys if key is not None]
            if len(keys) == len(node.values) and not any(isinstance(key, list | dict) for key in keys):
                return dict(zip(keys, map(inner, node.values), strict=True))
        case ast.Name() | ast.Attribute():
            return Word(ast.unparse(node))
        case ast.Lambda():
            raise InputError(
                f"{_shown(node)} is a function, and text is not executed; give the configured object"
            )
    try:
        return literal(node, inner)
    except NotFiniteError:
        raise InputError(f"{_shown(node)} is not a finite number") from None
    except UnreadError:
        raise InputError(
            f"{_shown(node)} is not read; write numbers, strings, lists, dicts or calls"
        ) from None


# -- words -----------------------------------------------------------------------------------------


def short(given: object, *, quoted: bool = True) -> str:
    """A value, or without quotes a text, in at most 80 characters."""
    try:
        text = repr(given) if quoted else str(given)
    except ValueError:  # an int too long to print
        text = f"a {type(given).__name__} too long to print"
    return text if len(text) <= 80 else f"{text[:60]} ... {text[-12:]}"


def written(node: ast.AST) -> str | None:
    """A node as it was written, shortened; None where it is nested too deeply for that."""
    try:
        return short(ast.unparse(node), quoted=False)
    except (RecursionError, ValueError):
        return None


def closest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The known word that is most like a given one, or "" where none is like it."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)), "")


def nearest(word: str, known: Iterable[str]) -> str:
    """The question about a misspelt word, ` (did you mean power?)`, or nothing."""
    return did_you_mean(closest(word, known))


def did_you_mean(word: str) -> str:
    """The question about a word, nothing about none."""
    return f" (did you mean {word}?)" if word else ""


def _shown(node: ast.AST) -> str:
    return written(node) or type(node).__name__
