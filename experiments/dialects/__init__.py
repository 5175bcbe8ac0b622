"""Schedules as the frameworks write them: every dialect is a module `dialect_NAME`, found by its file name.

A dialect reads text (or a framework's live object) into a `Training`, our terms, and writes a `Training` as
the text a person would paste. Differing conventions are mapped, never dropped; what a dialect cannot say it
refuses with the reason. No framework needs to be installed to read or write text.
"""

import ast
import difflib
import importlib
import inspect
import math
import operator
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol, cast

from ratelab.theory.arrays import Array, InputError
from ratelab.theory.combine import Clip, Cooldown, Repeat, Scaled, Then, Warmup, Within
from ratelab.theory.cycles import CosineWave
from ratelab.theory.feedback import Feedback
from ratelab.theory.schedules import Cosine, Schedule, multipliers, updates

__all__ = ["DialectError", "Training", "read", "write"]

MAX_BYTES: Final = 65_536
MAX_LEVELS: Final = 20
REQUIRED: Final = object()
_ARITHMETIC: Final[dict[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class DialectError(InputError):
    """What a dialect cannot say, or text that is not in it. The message gives the reason and the remedy."""


class Word(str):
    """A bare name in a call, such as `optimizer`; everything else that is written there is a value."""

    __slots__ = ()


@dataclass(frozen=True)
class Training:
    """What a framework's configuration says, in our terms: the rate of update t is lr * schedule(horizon)[t].

    lr >= 0 is what multiplier 1 stands for. horizon is the number of updates where the configuration holds
    one. notes are sentences for the reader: conventions that were mapped, choices that were lost.
    """

    lr: float
    schedule: Schedule | Feedback
    horizon: int | None = None
    notes: tuple[str, ...] = ()

    def rates(self, horizon: int | None = None) -> Array:
        """lr * s_t for t = 0..T-1, T = `horizon` or else the Training's own; InputError when neither is
        known, and for a closed-loop rule, whose rates depend on the losses.
        """
        T = self.horizon if horizon is None else horizon
        if T is None:
            raise InputError(f"{self.schedule!r} comes without a number of updates; give the horizon")
        if not isinstance(self.schedule, Schedule):
            raise InputError(f"{self.schedule!r} is a closed loop: its rates depend on the losses it sees")
        return self.lr * multipliers(self.schedule, T)


class Dialect(Protocol):
    """What a module `dialect_NAME` offers."""

    def read(self, source: object, *, lr: float | None, horizon: int | None, **counts: int) -> Training:
        """What `source`, text or the framework's own object, says; DialectError where it says nothing."""

    def write(self, training: Training) -> str:
        """The text a person would paste; DialectError with the reason where there is none."""


DIALECTS: Final = tuple(sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py")))


def dialect(name: str) -> Dialect:
    """The module of a dialect; InputError with the nearest name where there is none."""
    if name not in DIALECTS:
        near = difflib.get_close_matches(name, DIALECTS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InputError(f"no dialect is called {name!r}; {hint}dialects: {', '.join(DIALECTS)}")
    return cast(Dialect, importlib.import_module(f"{__name__}.{name}"))


def read(
    name: str, source: object, *, lr: float | None = None, horizon: int | None = None, **counts: int
) -> Training:
    """What `source` says in the dialect called `name`, in our terms.

    lr is the optimizer's rate and horizon the number of updates, for sources that do not hold them; `counts`
    are what else a dialect may have to be told: kohya's images, scikit-learn's samples, timm's
    updates_per_epoch. InputError for one that means nothing to this dialect.
    """
    reader = dialect(name).read
    for count in counts:
        if count not in inspect.signature(reader).parameters:
            raise InputError(f"{count} = {counts[count]} means nothing to {name}; leave it out")
    if not isinstance(source, str):
        return reader(source, lr=lr, horizon=horizon, **counts)
    try:
        return reader(source, lr=lr, horizon=horizon, **counts)
    except InputError:
        raise
    except (TypeError, ValueError, ArithmeticError, AttributeError) as error:  # text of words that don't fit
        raise DialectError(f"{name} cannot read the arguments of {_short(source)}: {error}") from error


def write(training: Training, name: str) -> str:
    """`training` as a person writes it in the dialect called `name`; where that cannot say what its schedule
    does after the horizon, what it does until then.
    """
    writer = dialect(name).write
    try:
        return writer(training)
    except DialectError as error:
        if training.horizon is None or not isinstance(training.schedule, Schedule):
            raise
        shorter = until(training.schedule, training.horizon)
        if shorter == training.schedule:
            raise
        try:
            return writer(replace(training, schedule=shorter))
        except DialectError:
            raise error from None


def until(schedule: Schedule, horizon: int) -> Schedule:
    """A schedule with the same multipliers on this horizon, without what was said of the time after it.

    >>> until(CosineWave(100, final=0.1), 100)
    Cosine(final=0.1, cycles=0.5, power=1.0, warp=1.0)
    """
    match schedule:
        case CosineWave(half_period=half, final=final) if half == horizon:
            return Cosine(final=final)
        case Within(schedule=part, length=length, end="T") if length in (horizon, 1.0):
            return until(part, horizon)
        case Repeat(schedule=part, period=period) if period == horizon:
            return until(part, horizon)
        case Warmup(schedule=part, length=length):
            left = horizon if schedule.overlap else horizon - updates(length, horizon)
            return replace(schedule, schedule=until(part, left)) if left else schedule
        case Scaled(schedule=part) | Clip(schedule=part) | Cooldown(schedule=part):
            return replace(schedule, schedule=until(part, horizon))
        case Then(second=part, at=at):
            return replace(schedule, second=until(part, horizon - updates(at, horizon)))
    return schedule


def call(text: str) -> tuple[str, dict[str, Any]]:
    """One call expression as (name, arguments), evaluated by nobody: `module.Name(5, a=0.1, b=[1, 2])`.

    A dotted name is reduced to its last part, `x = ` in front of the call is skipped. Arguments by position
    have the keys "0", "1", ...: see `bound`. Values are numbers (+ - * / between them allowed), strings,
    True, False, None, tuples, lists, dicts, nested calls, again as (name, arguments), and bare names, as
    `Word`. DialectError for everything else.

    >>> call("lr_scheduler.StepLR(optimizer, step_size=3 * 10)")
    ('StepLR', {'0': 'optimizer', 'step_size': 30})
    """
    if not isinstance(text, str) or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise DialectError(f"{_short(text)} is not text of at most {MAX_BYTES} bytes; write one call")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # "\d" and the like are mistakes here
            body = ast.parse(text.strip()).body
    except (SyntaxError, ValueError, MemoryError, RecursionError, Warning) as error:
        reason = getattr(error, "msg", None) or str(error) or "nested too deeply"
        raise DialectError(f"cannot read {_short(text)}: {reason}; write one call, Name(a=1)") from None
    node = body[0].value if len(body) == 1 and isinstance(body[0], ast.Expr | ast.Assign) else None
    if not isinstance(node, ast.Call):
        raise DialectError(f"{_short(text)} is not one call; write Name(a=1)")
    return _call(node, 1)


def bound(name: str, given: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that `call` read, by name: those given by position placed, defaults filled in.

    parameters are the names in order, with their defaults or REQUIRED. DialectError for an argument too
    many, twice, unknown (with the nearest match) or missing.

    >>> bound("StepLR", {"0": 30}, {"step_size": REQUIRED, "gamma": 0.1})
    {'step_size': 30, 'gamma': 0.1}
    """
    names = list(parameters)
    filled: dict[str, Any] = {}
    for key, member in given.items():
        if key.isdigit() and int(key) >= len(names):
            raise DialectError(f"{name} takes at most {len(names)} arguments: {', '.join(names)}")
        target = names[int(key)] if key.isdigit() else key
        if target not in parameters:
            near = difflib.get_close_matches(target, names, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise DialectError(f"{name} has no argument {target}{hint}; arguments: {', '.join(names)}")
        if target in filled:
            raise DialectError(f"{name}.{target} is given twice")
        filled[target] = member
    missing = [key for key, default in parameters.items() if default is REQUIRED and key not in filled]
    if missing:
        raise DialectError(f"{name} needs {', '.join(missing)}")
    return {key: filled.get(key, default) for key, default in parameters.items()}


def _call(node: ast.Call, level: int) -> tuple[str, dict[str, Any]]:
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            pass
        case _:
            raise DialectError(f"{_unparsed(node.func)} cannot be called here; write a name")
    given: dict[str, Any] = {}
    for index, argument in enumerate(node.args):
        given[str(index)] = _value(argument, level + 1)
    for keyword in node.keywords:
        if keyword.arg is None:
            raise DialectError(f"{name}: ** is not read; write each argument by its name")
        if keyword.arg in given:
            raise DialectError(f"{name}.{keyword.arg} is given twice")
        given[keyword.arg] = _value(keyword.value, level + 1)
    return name, given


def _value(node: ast.expr, level: int) -> Any:
    if level > MAX_LEVELS:
        raise DialectError(f"nested deeper than {MAX_LEVELS} levels; write it flatter")
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None):
            return node.value
        case ast.Call():
            return _call(node, level)
        case ast.Tuple():
            return tuple(_value(member, level + 1) for member in node.elts)
        case ast.List():
            return [_value(member, level + 1) for member in node.elts]
        case ast.Dict():
            keys = [_value(key, level + 1) for key in node.keys if key is not None]
            if len(keys) == len(node.values) and not any(isinstance(key, list | dict) for key in keys):
                return dict(zip(keys, (_value(member, level + 1) for member in node.values), strict=True))
        case ast.Name() | ast.Attribute():
            return Word(ast.unparse(node))
        case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
            inner = _value(node.operand, level + 1)
            if _is_number(inner):
                return -inner if isinstance(node.op, ast.USub) else inner
        case ast.BinOp() if type(node.op) in _ARITHMETIC:
            pair = [_value(side, level + 1) for side in (node.left, node.right)]
            if all(map(_is_number, pair)):
                return _calculated(node, *pair)
        case ast.Lambda():
            raise DialectError(
                f"{_unparsed(node)} is a function, and text is not executed; give the configured object"
            )
    raise DialectError(f"{_unparsed(node)} is not read; write numbers, strings, lists, dicts or calls")


def _calculated(node: ast.BinOp, left: Any, right: Any) -> Any:
    try:
        result = _ARITHMETIC[type(node.op)](left, right)
        if math.isfinite(result):
            return result
    except ArithmeticError:
        pass
    raise DialectError(f"{_unparsed(node)} is not a finite number")


def _is_number(member: object) -> bool:
    return isinstance(member, int | float) and not isinstance(member, bool)


def _unparsed(node: ast.expr) -> str:
    try:
        return _short(ast.unparse(node), quoted=False)
    except (RecursionError, ValueError):
        return type(node).__name__


def _short(given: object, *, quoted: bool = True) -> str:
    text = repr(given) if quoted else str(given)
    return text if len(text) <= 80 else f"{text[:60]} ... {text[-12:]}"
