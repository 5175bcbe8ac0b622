"""Schedules as the frameworks write them: every module here without an underscore in front is a dialect.

A dialect reads text (or a framework's live object) into a `Training`, our terms, and writes a `Training` as
the text a person would paste. Differing conventions are mapped, never dropped; what a dialect cannot say it
refuses with the reason. No framework needs to be installed to read or write text.
"""

import importlib
import inspect
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol, cast

from ratelab.theory.arrays import Array, InputError
from ratelab.theory.combine import Clip, Cooldown, Repeat, Scaled, Then, Warmup, Within
from ratelab.theory.cycles import CosineWave
from ratelab.theory.feedback import Feedback
from ratelab.theory.reading import closest, short
from ratelab.theory.schedules import Cosine, Schedule, multipliers, updates

__all__ = ["DialectError", "Training", "read", "write"]


class DialectError(InputError):
    """What a dialect cannot say, or text that is not in it. The message gives the reason and the remedy."""


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
    """What the module of a dialect offers."""

    def read(self, source: object, *, lr: float | None, horizon: int | None, **counts: int) -> Training:
        """What `source`, text or the framework's own object, says; DialectError where it says nothing."""

    def write(self, training: Training) -> str:
        """The text a person would paste; DialectError with the reason where there is none."""


DIALECTS: Final = tuple(sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py")))


def dialect(name: str) -> Dialect:
    """The module of a dialect; InputError with the nearest name where there is none."""
    if name not in DIALECTS:
        near = closest(name, DIALECTS)
        hint = f"did you mean {near}? " if near else ""
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
        raise DialectError(f"{name} cannot read the arguments of {short(source)}: {error}") from error


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
