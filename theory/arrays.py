"""The array type of the project, the one sum that must be taken from the end, and the checks of arguments.

Everything in this room is NumPy float64. A check raises `InputError`, whose message names the value and the
remedy; the command line turns it into exit code 2.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Array", "InputError", "Integers", "record_times", "suffix_sum"]

Array: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]


class InputError(ValueError):
    """Bad input. The message names what was given, and what to give instead."""


def suffix_sum(values: ArrayLike) -> Array:
    """S_k = Σ_{t≥k} v_t, along the last axis, summed from the end.

    Of non-negative values this adds positive terms only, so nothing cancels; the difference of prefix sums
    does not have that property and can return negative bounds.
    """
    v = np.asarray(values, dtype=np.float64)
    return np.ascontiguousarray(np.cumsum(v[..., ::-1], axis=-1)[..., ::-1])


def finite(name: str, values: ArrayLike) -> Array:
    """`values` as a float64 array; InputError when empty or when an entry is NaN or infinite."""
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise InputError(f"{name} is empty; give at least one number")
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        first = bad[0]
        raise InputError(
            f"{name} holds {array.flat[first]} at position {first} ({bad.size} in all); remove or replace it"
        )
    return array


def nonnegative(name: str, values: ArrayLike) -> Array:
    """`finite`, and no entry below zero."""
    array = finite(name, values)
    if array.min() < 0:
        raise InputError(f"{name} holds {array.min()}, which is negative; all entries must be >= 0")
    return array


def once_infinite(risk: Array) -> Array:
    """`risk` (…, K), in place, inf from the first record on that is not finite: diverged stays diverged."""
    risk[np.maximum.accumulate(~np.isfinite(risk), axis=-1)] = np.inf
    return risk


def record_times(horizon: int, records: int, also: Sequence[int] = ()) -> Integers:
    """0, at most `records` log-spaced counts from 1 to `horizon`, and those in `also`; sorted, unique."""
    if not isinstance(horizon, int) or horizon < 1:
        raise InputError(f"horizon is {horizon}; it must be a whole number of updates, at least 1")
    if records < 1:
        raise InputError(f"records is {records}; it must be at least 1")
    spaced = np.rint(np.geomspace(1, horizon, records)) if records > 1 else [horizon]
    return np.unique(np.concatenate([[0], np.asarray(spaced), [horizon], list(also)]).astype(np.int64))
