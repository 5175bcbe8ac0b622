"""Schedules that hold absolute rates, as optax and keras write them, in our terms of an lr and multipliers.

Such a schedule is a `Part`: a unit, which is some rate, and a schedule of multipliers of it, defined for any
number of updates. Parts are joined in time; at the end their unit becomes the lr. Below them stand what the
dialects of such frameworks need in both directions.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ratelab.experiments.dialects import DialectError, Training
from ratelab.experiments.dialects._words import needed, number, rounded
from ratelab.theory.arrays import Array
from ratelab.theory.combine import Scaled, Then, Warmup, Within
from ratelab.theory.sampled import Values
from ratelab.theory.schedules import (
    Constant,
    Cosine,
    Linear,
    MultiStep,
    Piecewise,
    Polynomial,
    Schedule,
    closing,
    multipliers,
    uncut,
)


@dataclass(frozen=True)
class Part:
    """The rate of update t is unit * schedule(T)[t], for every T > t. `end` is where a decay ends."""

    unit: float
    schedule: Schedule
    end: int | None = None


def flat(rate: float) -> Part:
    return Part(rate, Constant())


def curve(start: float, end: float, steps: int, power: float = 1.0) -> Part:
    """end + (start - end) (1 - t/steps)^power until t = steps, then end. DialectError where it rises from 0
    by a power that has no name here.
    """
    if start == end or power == 0:
        return flat(start)
    if start < end and power in (1.0, 0.5):
        if power == 1:
            return Part(end, Warmup(Constant(), length=steps, start=start / end))
        return Part(end, Warmup(Constant(), length=steps, start=start / end, shape="1-sqrt"))
    _above_zero(start, end, power)
    shape_of = Linear(end / start) if power == 1 else Polynomial(power, final=end / start)
    return Part(start, Within(shape_of, length=steps), steps if end < start else None)


def cosine(start: float, end: float, steps: int, power: float = 1.0) -> Part:
    """end + (start - end) ((1 + cos(pi t/steps))/2)^power until t = steps, then end; errors as in `curve`."""
    if start == end or power == 0:
        return flat(start)
    if start < end and power == 1:
        return Part(end, Warmup(Constant(), length=steps, start=start / end, shape="cosine"))
    _above_zero(start, end, power)
    part = Within(Cosine(end / start, power=power), length=steps)
    return Part(start, part, steps if end < start else None)


def joined(parts: Sequence[Part], boundaries: Sequence[int]) -> Part:
    """Part k from boundary k - 1 on, each on a clock of its own; 0 < boundaries, increasing.

    A ramp that ends where the next part begins becomes that part's `Warmup`. `Then` is associative, so the
    rest is nested evenly: fifty cycles are six levels deep.
    """
    pieces = list(zip([0, *boundaries], parts, strict=True))
    for k in range(len(pieces) - 2, -1, -1):
        (begin, ramp), (turn, rest) = pieces[k : k + 2]
        first = rest.unit * multipliers(rest.schedule, 1)[0]
        match ramp.schedule:
            case Warmup(schedule=Constant(), length=length) if length == turn - begin and math.isclose(
                first, ramp.unit, rel_tol=1e-12
            ):
                warm = Warmup(
                    rest.schedule, length=length, start=ramp.schedule.start, shape=ramp.schedule.shape
                )
                end = None if rest.end is None else rest.end + turn - begin
                pieces[k : k + 2] = [(begin, Part(rest.unit, warm, end))]
    unit = max(part.unit for _, part in pieces)
    if unit == 0:
        return flat(0.0)
    begin, last = pieces[-1]
    return Part(unit, _nested(pieces, unit), None if last.end is None else begin + last.end)


def scaled(schedule: Schedule, factor: float) -> Schedule:
    """The schedule times a factor, without a combinator where none is needed."""
    if factor == 1:
        return schedule
    match schedule:
        case Scaled(schedule=inner, factor=other):
            return scaled(inner, factor * other)
    return Scaled(schedule, factor=factor)


def training(part: Part, lr: float | None, horizon: int | None, notes: tuple[str, ...] = ()) -> Training:
    """The rates of a part. They are absolute: an lr given beside them is the unit of the multipliers only."""
    if lr is None or lr == part.unit:
        lr, schedule = part.unit, part.schedule
    elif lr > 0:
        schedule = scaled(part.schedule, part.unit / lr)
    else:
        raise DialectError(f"lr is {lr} beside rates that are not 0; leave it out, or give one > 0")
    return Training(lr, schedule, part.end if horizon is None else horizon, notes)


def sampled(rates: Array, lr: float | None, *notes: str) -> Training:
    """Rates given by numbers, as a `Values` schedule of the horizon len(rates)."""
    bad = np.flatnonzero(~(np.isfinite(rates) & (rates >= 0)))
    if bad.size:
        raise DialectError(f"the rate of update {bad[0]} is {rates[bad[0]]}; rates are finite and >= 0")
    unit = (float(rates.max(initial=0.0)) or 1.0) if lr is None else lr
    if not unit > 0:
        raise DialectError(f"lr is {lr}; give one > 0, or none")
    return Training(unit, Values.of(rates / unit), len(rates), notes)


# -- what is read ----------------------------------------------------------------------------------


def rate(what: str, given: object) -> float:
    """A number >= 0, as a float."""
    if (found := number(what, given)) < 0:
        raise DialectError(f"{what} is {given}, and a learning rate is never negative here")
    return found


def plain(text: str) -> float | None:
    """The rate that is written as a mere number; None where the text is something else."""
    try:
        given = float(text)
    except ValueError:
        return None
    return rate("the learning rate: it", given)


# -- what is written -------------------------------------------------------------------------------


def digits(given: float) -> str:
    """A number as a person writes it: all its digits, unless the last ones are rounding, as in 0.1 * 0.1."""
    exact, short = repr(float(given)), repr(rounded(given))
    return short if len(short) < len(exact) - 2 and math.isfinite(float(short)) else exact


def steps_of(horizon: int | None, schedule: object) -> int:
    """The horizon a schedule needs, at least 1: with 0 steps optax and keras hold a constant, or refuse."""
    return max(needed(horizon, schedule), 1)


def length_of(duration: int | float, horizon: int | None, schedule: object) -> int:
    """A duration in updates, which may exceed the horizon when it is an int, and then needs none."""
    return duration if isinstance(duration, int) else uncut(duration, needed(horizon, schedule))


def window(schedule: Schedule, horizon: int | None) -> tuple[Schedule, int | None]:
    """`Within` taken off a shape that frameworks hold at its end: the shape, and the horizon it runs on."""
    match schedule:
        case Within(schedule=Linear() | Polynomial() | Cosine() as shape, length=length, end=end):
            steps = length_of(length, horizon, schedule) - (end == "T-1")
            if steps > 0 and not (schedule.beyond == "error" and (horizon or 0) > steps):
                return shape, steps
    return schedule, horizon


def first_of(schedule: Schedule, horizon: int | None) -> float:
    """The first multiplier, which a warmup in front of the schedule rises to."""
    return float(multipliers(schedule, 1 if horizon is None else max(horizon, 1))[0])


def lead(start: str | float, length: int, power: float) -> tuple[float, int]:
    """A ramp end + (start - end)(1 - u)^power, as (its first value over its end, its number of transitions).

    For a number, u = t/W. u = (t + 1)/(W + 1) from 0 is a ramp over W transitions that begins one update
    late: 1 - u = (W/(W + 1)) (1 - t/W); and u = (t + 1)/W likewise with W - 1.
    """
    if not isinstance(start, str):
        return start, length
    steps = length if start == "1/(W+1)" else length - 1
    return 1 - (steps / (steps + 1)) ** power, steps


def runs(rates: Array) -> tuple[list[int], list[float]]:
    """A table of rates as (boundaries, values): value k from boundary k - 1 on."""
    turns = np.flatnonzero(np.diff(rates)) + 1
    return turns.tolist(), rates[np.concatenate([[0], turns])].tolist()


def levels(schedule: Schedule, horizon: int | None) -> tuple[list[int], list[float]]:
    """The boundaries of a schedule, 0 left out, and the values between them, one more than boundaries."""
    if not isinstance(schedule, MultiStep | Piecewise):
        return runs(multipliers(schedule, steps_of(horizon, schedule)))
    if isinstance(schedule, Piecewise):
        marks, values = schedule.boundaries, list(schedule.values)
    else:
        marks = schedule.milestones
        values = np.power(schedule.gamma, np.arange(len(marks) + 1.0)).tolist()
    at = sorted(length_of(mark, horizon, schedule) for mark in marks)
    turns = [turn for turn in dict.fromkeys([0, *at]) if not turn or horizon is None or turn < horizon]
    return turns[1:], [values[bisect_right(at, turn)] for turn in turns]


def table(schedule: Schedule, lr: float, horizon: int) -> Array:
    """The T + 1 rates a framework looks up: the last one, held from T on, is the schedule's value at T, or
    its last rate where the formula does not reach that far.
    """
    rates = lr * multipliers(schedule, horizon)
    try:
        end = lr * closing(schedule, horizon)
    except ValueError:
        end = rates[-1] if horizon else 0.0
    return np.append(rates, end)


def _nested(pieces: list[tuple[int, Part]], unit: float) -> Schedule:
    if len(pieces) == 1:
        return scaled(pieces[0][1].schedule, pieces[0][1].unit / unit)
    middle = len(pieces) // 2
    at = pieces[middle][0] - pieces[0][0]
    return Then(_nested(pieces[:middle], unit), _nested(pieces[middle:], unit), at=at)


def _above_zero(start: float, end: float, power: float) -> None:
    if start == 0:
        raise DialectError(
            f"a rise from 0 to {end} with power {power} is no multiple of its start; "
            "begin above 0, or give the live object and a horizon, to have it sampled"
        )
