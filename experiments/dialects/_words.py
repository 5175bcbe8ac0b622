"""What dialects share: calls bound to a framework's own parameters, arguments checked in the same words."""

import math
from collections.abc import Mapping
from typing import Any, Final, TypeGuard

import numpy as np

from ratelab.experiments.dialects import DialectError
from ratelab.theory import reading
from ratelab.theory.arrays import InputError
from ratelab.theory.reading import Word, nearest

REQUIRED: Final = object()
NO_LR: Final = "no lr was given: the rates are multiples of the optimizer's"


# -- calls -----------------------------------------------------------------------------------------


def call(text: str) -> tuple[str, dict[str, Any]]:
    """`reading.call`, with DialectError for what is no call."""
    try:
        return reading.call(text)
    except InputError as error:
        raise DialectError(str(error)) from None


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
            raise DialectError(
                f"{name} has no argument {target}{nearest(target, names)}; arguments: {', '.join(names)}"
            )
        if target in filled:
            raise DialectError(f"{name}.{target} is given twice")
        filled[target] = member
    missing = [key for key, default in parameters.items() if default is REQUIRED and key not in filled]
    if missing:
        raise DialectError(f"{name} needs {', '.join(missing)}")
    return {key: filled.get(key, default) for key, default in parameters.items()}


def is_call(member: object) -> TypeGuard[tuple[str, dict[str, Any]]]:
    """Whether an argument is a call, as `call` gives one."""
    return isinstance(member, tuple) and len(member) == 2 and isinstance(member[1], dict)


def refuse_name(name: str, key: str, member: object) -> None:
    """DialectError where a bare name is written as an argument: its value is not known here."""
    if isinstance(member, Word):
        raise DialectError(f"{name}: {key}={member} is a name; write its value")


# -- numbers ---------------------------------------------------------------------------------------


def number(what: str, given: Any, remedy: str = "write a number") -> float:
    """A finite number; DialectError names the argument otherwise."""
    numeric = isinstance(given, int | float | np.integer | np.floating) and not isinstance(given, bool)
    if numeric and math.isfinite(given):
        return float(given)
    raise DialectError(f"{what} is {given!r}; {remedy}")


def whole(what: str, given: object, least: float | None = None) -> int:
    """A whole number of updates, written as an int or a float."""
    found = number(what, given)
    if found.is_integer() and (least is None or found >= least):
        return int(found)
    if least is None:
        raise DialectError(f"{what} is {given}; only whole numbers of updates can be said in our terms")
    raise DialectError(f"{what} is {given!r}; write a whole number of updates, at least {least}")


def needed(horizon: int | None, schedule: object) -> int:
    """The horizon, where a schedule cannot be said without it."""
    if horizon is None:
        raise DialectError(f"{schedule!r} depends on the number of updates; give the horizon")
    return horizon


def rounded(given: float) -> float:
    """15 digits of a quotient or product, so that 0.01/0.1 is 0.1."""
    return float(f"{given:.15g}")


# -- live schedulers -------------------------------------------------------------------------------


def refuse_lr(lr: float | None) -> None:
    """DialectError for an lr beside a live scheduler, which has one."""
    if lr is not None:
        raise DialectError(f"lr is {lr}, but the optimizer of a live scheduler holds its own; leave lr out")


def check_group(group: int, total: int) -> None:
    """DialectError where an optimizer of so many parameter groups has not got this one."""
    if not 0 <= group < total:
        raise DialectError(f"group is {group}; the optimizer has {total}, counted from 0")
