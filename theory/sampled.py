"""A schedule given by its numbers: the last resort for what has no formula, such as somebody's lambda.

A value is text, and a million numbers are not: so the text holds their SHA-256 digest, and the numbers are
kept under that name, in memory and in a file of the user's cache folder, where another process finds them.
That makes this the one file of the room that reads and writes files. A file is written once, under another
name, and then renamed, so readers and other writers never see half of it; what is read is believed only after
its digest.
"""

import hashlib
import re
from pathlib import Path
from typing import Annotated, Final

import numpy as np
from annotated_types import Ge
from numpy.typing import ArrayLike

from ratelab.theory import cache
from ratelab.theory.arrays import Array, InputError, nonnegative
from ratelab.theory.notation import value
from ratelab.theory.schedules import Facts, HorizonError, Monotone

__all__ = ["Values"]

_DIGEST = re.compile(r"[0-9a-f]{64}")
_KEPT: Final[
    dict[str, Array]
] = {}  # by digest, read-only; 8 bytes a number, for as long as the process lives


@value("schedule")
class Values:
    """s_t = the number at position t of `length` numbers, which `Values.of(numbers)` has stored.

    digest: the SHA-256 digest of the numbers as little-endian float64, 64 hexadecimal digits. A shorter
    horizon takes the beginning (anytime), a longer one is refused with HorizonError. InputError where the
    numbers are not to be found, or the file has been changed; both name the file and say what to do.

    >>> Values.of([1.0, 0.5, 0.25])(2)
    array([1. , 0.5])
    """

    digest: str
    length: Annotated[int, Ge(1)]

    def __post_init__(self) -> None:
        if not _DIGEST.fullmatch(self.digest):
            raise InputError("a digest is 64 digits 0-9 a-f; Values.of(numbers) makes one")

    @classmethod
    def of(cls, numbers: ArrayLike) -> "Values":
        """The schedule of these numbers >= 0, shape (T,), T >= 1; they are copied and stored.

        They are kept in memory and written to the folder ratelab/values of the user's cache, or to values/ in
        the folder that the environment variable RATELAB_CACHE names, over a damaged file of the same name
        too. Where nothing can be written they are kept in memory alone: other processes will not find them.
        InputError for numbers that are no multipliers.
        """
        array = nonnegative("numbers", numbers) + 0.0  # a copy, without -0.0
        if array.ndim != 1:
            raise InputError(f"numbers have shape {array.shape}; give one row, shape (T,)")
        digest = _digest(array)
        _keep(digest, array)
        cache.write_array(_path(digest), array)
        return cls(digest, len(array))

    def __call__(self, horizon: int, /) -> Array:
        if horizon < 0:
            raise InputError(f"horizon is {horizon}; a number of updates is at least 0")
        if horizon > self.length:
            raise HorizonError(
                f"{self!r} holds {self.length} numbers and {horizon} updates are asked for; sample it for "
                f"{horizon} updates, or take at most {self.length}"
            )
        return self._numbers()[:horizon].copy()

    @property
    def facts(self) -> Facts:
        s = self._numbers()
        change = np.diff(s)
        falls, rises = bool(np.all(change <= 0)), bool(np.all(change >= 0))
        monotone: Monotone | None = "decreasing" if falls else "increasing" if rises else None
        return Facts(float(s.min()), float(s.max()), monotone, anytime=True)

    def _numbers(self) -> Array:
        if self.digest not in _KEPT:
            _keep(self.digest, _read(_path(self.digest)))
        numbers = _KEPT[self.digest]
        if len(numbers) != self.length:
            raise InputError(f"{self!r} names {len(numbers)} numbers; write length={len(numbers)}")
        return numbers


def _digest(array: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(array, dtype="<f8").data).hexdigest()


def _keep(digest: str, array: Array) -> None:
    array.flags.writeable = False
    _KEPT[digest] = array


def _path(digest: str) -> Path:
    return cache.folder("values") / f"{digest}.npy"


def _read(path: Path) -> Array:
    """The numbers of a file, if they are those that its name promises."""
    again = "make it again with theory.sampled.Values.of(numbers), from what gave the numbers at first"
    try:
        with path.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise InputError(
            f"the numbers of Values({path.stem!r}, ...) are not in memory, and {path} cannot be read "
            f"({error.strerror}); {again}, or name the folder that has them by RATELAB_CACHE"
        ) from None
    except Exception:  # a damaged header can trip numpy in any way
        array = np.empty(0)
    if array.dtype != np.dtype("<f8") or array.ndim != 1 or _digest(array) != path.stem:
        raise InputError(f"{path} is damaged: its numbers do not have the digest of its name; {again}")
    return np.asarray(array, dtype=np.float64)
