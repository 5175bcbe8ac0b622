"""Whether the asymptotic regime is there when the window starts: five conditions, each with its number.

A rate of t → ∞ can only be read off a window in which (a) the directions that make up the risk have settled,
(b) the start is forgotten, (c) the averaging's memory is long or short beside the iterates' own, (d) the
schedule is in its own asymptote and (e) nothing of it changes later. Where one fails, the reason names it,
its number, and the horizon that would do, or that none does. Thresholds are this project's; the calibration
measures what they are worth.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ratelab.experiments.judging.evidence import MAX_MARGIN, WINDOW, slope_weights
from ratelab.experiments.judging.paths import Path
from ratelab.experiments.judging.verdict import order
from ratelab.experiments.spec import MAX_HORIZON, open_part
from ratelab.problems.problem import Objective
from ratelab.problems.spectra import PowerLaw
from ratelab.theory.arrays import Array, InputError, suffix_sum
from ratelab.theory.averaging import Last, weights
from ratelab.theory.moments import Law, has_noise, without_noise
from ratelab.theory.schedules import Schedule, facts, multipliers

SETTLED = 5.0  # Σ min(λη/(1 − β), 1 − √β) from which the part of λ in the risk is settled
SHARE = 0.05  # of the risk: what does not count
UNTRUNCATED = 0.1  # λ_d Σ η up to which the last direction of a power law has not moved
DENSE = 2.0  # λ_i/λ_{i+1} up to which a power law is one, where it is being resolved
MEMORY = 0.02  # what the memory of an average may add to the exponent
FROZEN = 0.06  # of an average's risk, from iterates that no longer move; and of the exponent, on the way
AVERAGED = 2.5  # memories of the iterate that an average must span
FILLED = 5.0  # memories of an average that forgets that must have passed
STILL = 0.01  # an exponent below is none
CREEP = 1e-9  # a change of the steps' exponent that is no rounding
FAR = 10**6  # updates up to which a schedule's future is looked at; ten times as many for long horizons
LATE = 1e15  # no time


@dataclass(frozen=True)
class Reason:
    """Why not yet; `horizon` is the one that would do, where it can be told; `never`: there is no limit."""

    text: str
    horizon: float | None = None
    never: bool = False

    def __str__(self) -> str:
        if self.horizon is None:
            return self.text
        beyond = f", more than the {order(MAX_HORIZON)} that can be run" if self.horizon > MAX_HORIZON else ""
        return f"{self.text}, which takes a horizon of about {order(self.horizon)}{beyond}"


VANISH = Reason("the steps vanish: there is no limit to speak of", never=True)


def premature(path: Path, lrs: Array, risk: Array | None) -> str | None:
    """Why the window of `path`, all points of which lie in it, does not show the asymptotic regime.

    None where it does. lrs (K,): the learning rate chosen at each point; risk (K,): the exact risk there,
    None where there is no law.
    """
    reasons = [
        *(_along(path) if path.anytime else _over_horizons(path, lrs, risk)),
        *_averaging(path, lrs, risk),
    ]
    unsettled = [] if any(reason.never for reason in reasons) else list(_directions(path, lrs, risk))
    reasons += unsettled
    law = path.row.problem.law
    if risk is not None and law is not None and has_noise(law):
        reasons += _start(path, lrs, risk, law, not unsettled)
    known = [reason.horizon for reason in reasons if reason.horizon is not None]
    told = "; ".join(map(str, reasons))
    return f"{told}; all of it takes about {order(max(known))}" if len(known) > 1 else told or None


# (a) the directions


def _directions(path: Path, lrs: Array, risk: Array | None) -> Iterator[Reason]:
    law = path.row.problem.law
    known = risk is not None and law is not None
    lam = np.asarray(law.eigenvalues) if known and law is not None else _without_law(path.row.problem)
    unsettled = _unsettled(path, lrs, lam)
    if not unsettled.any() or (risk is not None and _may_stay(path, lrs, risk, unsettled)):
        return
    smallest, part = float(lam[unsettled].max()), ""
    if risk is not None:
        smallest = _needed(path, lrs, risk, lam, unsettled)
        share = float(_share(path, lrs, risk, unsettled).max())
        part = f" (what has not settled makes up to {share:.0%} of the risk)"
    tail = None
    if isinstance(getattr(path.row.problem, "spectrum", None), PowerLaw) and risk is not None:
        tail = _power_law(path, lrs, risk, lam)
        if tail is None:
            return
    reached = _progress(path, lrs, smallest)
    what = "Σ λη" if path.momentum == 0 else "Σ min(λη/(1 − β), 1 − √β)"
    text = (
        f"{what} is {reached[0]:.2g} for λ = {smallest:.3g} where the window starts, t = {path.times[0]:g}, "
        f"and must be {SETTLED:g}{part}"
    )
    needed = _when(SETTLED, path.times, reached)
    if needed is None:
        yield Reason(f"{text}, which these steps never reach, or too late to run")
    elif tail is None and law is not None and not has_noise(law) and _falls_through(path, reached):
        yield Reason(
            f"{text}, at about t = {order(needed)}; but without noise the risk then falls through the floor "
            "of 1e-13 of its start inside the window: nothing can decide this, claim it of a window (regime "
            '= "window")'
        )
    else:
        yield Reason(text + (f"; {tail}; or settled" if tail else ""), WINDOW * needed)


def _falls_through(path: Path, reached: Array) -> bool:
    """Whether e^(−2 Σ λη) loses thirteen digits between settling and the end of such a window."""
    late = np.array(path.times) >= math.sqrt(path.times[0] * path.times[-1])
    times = np.array(path.times)[late]
    growth = float(slope_weights(times) @ np.log(np.maximum(reached[late], 1e-300)))
    return bool(SETTLED * 2 * WINDOW**growth > 30)


def _without_law(problem: Objective) -> Array:
    """What must settle where no law tells which eigenvalues matter: the smallest that is not rounding."""
    found = getattr(problem, "eigenvalues", None)
    mu, smooth = problem.constants.mu, problem.constants.L
    if found is not None:
        lam = np.asarray(found)
        return np.array([lam[lam > 1e-13 * lam.max()].min()])
    if not mu or (smooth is not None and mu < 1e-13 * smooth):
        return np.empty(0)  # not strongly convex: no direction has a rate of its own
    return np.array([float(mu)])


def _unsettled(path: Path, lrs: Array, lam: Array) -> NDArray[np.bool_]:
    """Mask of the eigenvalues that have not settled at the first point: all below one of them."""
    steps, ranked = _steps(path, lrs, 0), np.argsort(lam)
    low, high = 0, len(lam)  # ranked[high:] have settled
    while low < high:
        middle = (low + high) // 2
        if _settling(path, steps, float(lam[ranked[middle]])).sum() >= SETTLED:
            high = middle
        else:
            low = middle + 1
    mask = np.zeros(len(lam), dtype=bool)
    mask[ranked[:low]] = True
    return mask


def _needed(path: Path, lrs: Array, risk: Array, lam: Array, unsettled: NDArray[np.bool_]) -> float:
    """The smallest eigenvalue that has to settle: those below it may stay."""
    ranked = np.flatnonzero(unsettled)[np.argsort(lam[unsettled])]
    low, high = 0, len(ranked) - 1  # ranked[:low] may stay
    while low < high:
        middle = (low + high + 1) // 2
        mask = np.zeros(len(lam), dtype=bool)
        mask[ranked[:middle]] = True
        if _may_stay(path, lrs, risk, mask):
            low = middle
        else:
            high = middle - 1
    return float(lam[ranked[low]])


def _share(path: Path, lrs: Array, risk: Array, only: NDArray[np.bool_]) -> Array:
    """The part (K,) that some coordinates have of the risk; 0 where there is no risk."""
    return _ratio(path.risk(lrs, only=only), risk)


def _may_stay(path: Path, lrs: Array, risk: Array, only: NDArray[np.bool_]) -> bool:
    """Whether what is unsettled does not count: 5 % of the risk, in the window and, where its part grows, in
    a window of the same growth after it."""
    share = _share(path, lrs, risk, only)
    later = share[-1] ** 2 / share[0] if share[-1] > share[0] > 0 else 0.0
    return bool(max(share.max(), later) <= SHARE)


def _power_law(path: Path, lrs: Array, risk: Array, lam: Array) -> str | None:
    """None while a truncated power law acts like an infinite one; otherwise why not.

    Its last direction must not have moved, the directions that are being resolved must lie close together,
    and what the truncation left out, extrapolated from the last two octaves of indices, must not count.
    """
    moved = float(lam.min() * _steps(path, lrs, -1).sum() / (1 - path.momentum))
    if moved > UNTRUNCATED:
        return (
            f"or λ_d Σ η ≤ {UNTRUNCATED:g} at its end (it is {moved:.2g}), as in an infinite power law: take "
            "a larger dim"
        )
    sums = float(_steps(path, lrs, 0).sum()) / (1 - path.momentum)
    resolved = max(1, int((lam * sums >= 1).sum()))
    gap = float(lam[resolved - 1] / lam[min(resolved, len(lam) - 1)])
    if gap > DENSE:
        return (
            f"nor is it a power law where the window starts: between directions {resolved} and "
            f"{resolved + 1} λ falls by a factor {gap:.2g}, and {DENSE:g} is the most"
        )
    d, index = len(lam), np.arange(len(lam))
    octaves = [
        float(_share(path, lrs, risk, (index >= d // low) & (index < d // high))[-1])
        for low, high in ((4, 2), (2, 1))
    ]
    ratio = octaves[1] / octaves[0] if octaves[0] > 0 else 0.0
    missing = octaves[1] * ratio / (1 - ratio) if ratio < 1 else math.inf
    if missing > SHARE:
        return f"and what its truncation leaves out would be {missing:.0%} of the risk: take a larger dim"
    return None


# (b) the start


def _start(path: Path, lrs: Array, risk: Array, law: Law, settled: bool) -> Iterator[Reason]:
    share = _ratio(path.risk(lrs, without_noise(law)), risk)
    if share.max() <= SHARE:
        return
    k = int(share.argmax())
    text = (
        f"what is left of the start is {share[k]:.0%} of the risk at t = {path.times[k]:g}, and must be "
        f"below {SHARE:.0%}"
    )
    falls = share[-1] < share[0]
    needed = _when(1 / SHARE, path.times, 1 / np.maximum(share, 1e-300)) if falls else None
    if needed is None:
        text += (
            ", which no horizon that can be run reaches, for it does not decay faster than the rest"
            if settled
            else "; when it will be can be told once that holds"
        )
    yield Reason(text, None if needed is None else WINDOW * needed)


# (c) the averaging's memory, and (e) where it starts


def _averaging(path: Path, lrs: Array, risk: Array | None) -> Iterator[Reason]:
    start = path.times[0]
    mixing = path.mixing(path.times[-1])
    begun = mixing < 1
    if path.anytime:
        far = begun if begun.any() or path.row.averaging == Last() else _far_mixing(path) < 1
        first = int(far.argmax())
        if far[first] and first > start:
            text = f"the average starts at t = {first}, and the window at t = {start:g}"
            yield Reason(text, WINDOW * float(first))
            return
    memory = float(mixing[-1])
    if 0 < memory < 1 and np.all(mixing[len(mixing) // 2 :] == memory):
        yield from _fixed_memory(path, lrs, 1 / memory)
    elif begun.any():
        yield from _growing_memory(path, lrs, risk)


def _fixed_memory(path: Path, lrs: Array, length: float) -> Iterator[Reason]:
    """Of an average that forgets: filled where the window starts, and short beside the iterates' 1/(Lη)."""
    start = path.times[0]
    if start < FILLED * length:
        text = (
            f"the average remembers {length:.3g} updates, and the window starts at t = {start:g}: it must be "
        )
        yield Reason(f"{text}{FILLED:g} times that", WINDOW * FILLED * length)
        return
    last = np.array([_steps(path, lrs, k)[-math.ceil(length) :].mean() for k in (0, -1)])
    ratios = float(path.row.problem.constants.L or 0.0) * last * length / (1 - path.momentum)
    span = math.log(path.times[-1] / start)
    added = float(np.log1p(ratios[0]) - np.log1p(ratios[1])) / span
    if added <= MEMORY:
        return
    text = (
        f"the average remembers {length:.3g} updates and the iterate {length / ratios[0]:.3g} to "
        f"{length / ratios[1]:.3g} (1/(Lη)) across the window, which adds up to {added:.2g} to the exponent; "
        f"at most {MEMORY:g} may be: take a shorter memory, or wait"
    )
    falls = math.log(ratios[0] / ratios[1]) / span
    yield Reason(text, WINDOW * start * (10 * ratios[0]) ** (1 / falls) if falls > 0.1 else None)


def _growing_memory(path: Path, lrs: Array, risk: Array | None) -> Iterator[Reason]:
    """Of an average over a stretch that grows with t: it must span the iterates' memory 1/(λη) many times,
    unless it falls ever shorter of it."""
    spans = []
    for k in (0, -1):
        t = path.times[k]
        stretch = 2 * float(weights(path.mixing(t)) @ np.arange(t, -1.0, -1.0))  # twice the mean age
        spans.append(
            _steps(path, lrs, k)[-max(1, math.ceil(stretch)) :].mean() * stretch / (1 - path.momentum)
        )
    if min(spans) <= 0:
        return
    grows = math.log(spans[1] / spans[0]) / math.log(path.times[-1] / path.times[0])
    lam = np.asarray(path.row.problem.law.eigenvalues) if risk is not None else _without_law(path.row.problem)
    short = lam * spans[0] < AVERAGED
    if grows > STILL and short.any() and not (risk is not None and _may_stay(path, lrs, risk, short)):
        smallest = _needed(path, lrs, risk, lam, short) if risk is not None else float(lam.min())
        text = (
            f"the average spans {smallest * spans[0]:.2g} memories of the iterate, 1/(λη) for λ = "
            f"{smallest:.3g}, where the window starts, and must span {AVERAGED:g}"
        )
        needed = WINDOW * path.times[0] * (AVERAGED / (smallest * spans[0])) ** (1 / grows)
        yield Reason(text, needed) if needed < LATE else Reason(f"{text}, which comes too late to run")
    elif grows >= -STILL and lam.size:
        yield from _frozen(path, lrs, risk, lam)
    elif lam.size:
        x = float(lam.max()) * spans[0]
        if -grows * x / (1 + x) > MEMORY:
            yield Reason(
                f"the average spans {x:.2g} memories of the iterate, 1/(Lη), where the window starts, "
                f"and ever fewer: that adds {-grows * x / (1 + x):.2g} to the exponent, and at most "
                f"{MEMORY:g} may be",
                WINDOW * path.times[0] * (-grows * x / MEMORY) ** (-1 / grows),
            )


def _frozen(path: Path, lrs: Array, risk: Array | None, lam: Array) -> Iterator[Reason]:
    """Of an average over iterates that no longer move, for the later steps are small: they are one iterate.

    F is the weight on those with λ Σ η < 1 from there to the end, λ the smallest eigenvalue that has settled.
    Their part of the risk is about F² times the last iterate's; it must be small in the end, and add little
    to the exponent on the way.
    """
    unsettled = _unsettled(path, lrs, lam)
    smallest = float(lam[~unsettled].min() if not unsettled.all() else lam.max())
    weight = np.empty(2)
    for k in (0, -1):
        t = path.times[k]
        left = np.append(suffix_sum(_steps(path, lrs, k)), 0.0) / (1 - path.momentum)
        weight[k] = weights(path.mixing(t))[smallest * left < 1].sum()
    text = f"the average puts the weight {weight[0]:.2g} to {weight[1]:.2g} on iterates that no longer move"
    if risk is None:
        if weight[1] > FROZEN:
            yield Reason(f"{text}, at most {FROZEN:g} may be")
        return
    last = replace(path, row=replace(path.row, averaging=Last())).risk(lrs)
    part = weight**2 * _ratio(last, risk)[[0, -1]]
    added = abs(float(np.diff(np.log1p(part))[0])) / math.log(path.times[-1] / path.times[0])
    if max(part[1], added) > FROZEN:
        yield Reason(
            f"{text}, which makes about {part[0]:.0%} to {part[1]:.0%} of the risk across the window: "
            f"{FROZEN:.0%} may be in the end, and {FROZEN:g} may come to the exponent on the way"
        )


# (d) the schedule, and (e) what changes later


def _along(path: Path) -> Iterator[Reason]:
    """Of a schedule whose steps do not know the horizon."""
    schedule = open_part(path.row.schedule)
    yield from _asymptote(schedule, path.times[0], path.times[-1])
    yield from _later(schedule, path.times[0])


def _later(schedule: Schedule, start: int) -> Iterator[Reason]:
    """Durations, milestones and starts in updates that lie after the window's start."""
    for name, value in _whole_numbers(schedule):
        if value > start:
            text = f"{name} = {value} of the schedule lies after the window's start, t = {start}"
            yield Reason(text, WINDOW * value)


def _asymptote(schedule: Schedule, first: int, last: int) -> Iterator[Reason]:
    """Whether steps that do not know the horizon have the exponent that they will have, from `first` on."""
    edges, means = _means(schedule, first, last)
    with np.errstate(divide="ignore", invalid="ignore"):
        alpha = -np.diff(np.log(means)) / np.diff(np.log(edges))
    if not np.isfinite(alpha).all():
        yield VANISH
        return
    moves = np.diff(alpha)
    if alpha.max() - alpha.min() > MAX_MARGIN:
        jump = _jump(schedule, edges, int(np.abs(moves).argmax()), last)
        settled = np.flatnonzero(np.abs(alpha - alpha[-1]) > MAX_MARGIN)[-1] + 1
        near = jump or float(edges[settled])
        later = ", later than the window" if near > last else ""
        text = (
            f"the steps are not yet in their own asymptote: their local exponent runs from {alpha.min():.2f} "
            f"to {alpha.max():.2f} (within {MAX_MARGIN:g} is settled), "
            + ("with a jump at t = " if jump else "until about t = ")
            + f"{order(near)}{later}"
        )
        yield Reason(text, WINDOW * near * (2 if jump or settled < len(alpha) - 1 else 10))
    elif np.all(np.abs(moves) > CREEP) and np.all(moves[1:] / moves[:-1] > 1.5):
        yield Reason(
            f"the steps' own exponent is {alpha[-1]:.2g} in the end and grows ever faster: its asymptote is "
            "far away"
        )
    if alpha[-1] > 1 + MEMORY:
        yield _converges(float(alpha[-1]))
    lowest = facts(schedule).low
    if lowest > 0 and alpha[-1] > STILL:
        yield Reason(
            f"the multipliers never fall below {lowest:g}, so they will not go on like t^-{alpha[-1]:.2g}"
        )


def _converges(decay: float) -> Reason:
    return Reason(
        f"Σ η converges, for the steps fall like t^-{decay:.3g}: they cannot reach the minimiser from "
        'anywhere, so there is no limit to claim; say regime = "window"',
        never=True,
    )


def _over_horizons(path: Path, lrs: Array, risk: Array | None) -> Iterator[Reason]:
    """Of a schedule whose steps depend on the horizon: those that decide must have an exponent of T.

    For the last iterate these are the steps at the end that the steepest direction remembers, for an average
    those of the second half.
    """
    t = path.times[-1]
    last = float(weights(path.mixing(t)) @ np.arange(t, -1.0, -1.0)) < 0.01 * t
    wanted = path.times[0] * (t / path.times[0]) ** np.linspace(0, 1, 5)
    near = {int(path.times[np.abs(np.log(np.array(path.times) / at)).argmin()]) for at in wanted}
    smooth = float(path.row.problem.constants.L or 0.0) * float(lrs[-1]) / (1 - path.momentum)
    points = [p for p in (_ends(path, h, smooth) for h in [*sorted(near), *_further(t)]) if p is not None]
    horizons, sums, ends, halves, closing = (np.array(column) for column in zip(*points, strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        alpha = -np.diff(np.log(ends if last else halves)) / np.diff(np.log(horizons))
        closes = -np.diff(np.log(closing)) / np.diff(np.log(horizons))
    if not np.isfinite(alpha).all():
        yield VANISH
        return
    if alpha.max() - alpha.min() > 2 * MAX_MARGIN:
        which = "at its end" if last else "of its second half"
        yield Reason(
            f"the steps {which} have no exponent of the horizon yet: it runs from {alpha.min():.2f} to "
            f'{alpha.max():.2f} (within {2 * MAX_MARGIN:g} is settled): longer horizons, or regime = "window"'
        )
    if sums[-1] < 1.2 * sums[0]:
        yield _converges(float(-np.log(sums[-1] / sums[0]) / np.log(horizons[-1] / horizons[0])) + 1)
    schedule = open_part(path.row.schedule)
    if last and (abs(closes[-1]) < STILL or facts(schedule).low > 0):
        yield from _plateau(path, lrs, risk)
    for part in _anytime_parts(schedule):
        yield from _asymptote(part, path.times[0], t)
    yield from _later(schedule, path.times[0])


def _anytime_parts(schedule: object) -> Iterator[Schedule]:
    """The schedules that one is made of whose steps do not know the horizon."""
    if not is_dataclass(schedule) or isinstance(schedule, type):
        return
    for field in fields(schedule):
        content = getattr(schedule, field.name)
        for part in content if isinstance(content, tuple) else (content,):
            if isinstance(part, Schedule) and facts(part).anytime:
                yield part
            else:
                yield from _anytime_parts(part)


def _further(horizon: int) -> list[int]:
    return [h for h in (10 * horizon, 100 * horizon) if h <= _future(horizon)]


def _ends(path: Path, horizon: int, smooth: float) -> tuple[float, float, float, float, float] | None:
    """The horizon, Σ of its steps, and their means over what `smooth` (L lr/(1 − β)) remembers, over the
    second half, and at the very end; None where the schedule has no such horizon."""
    try:
        steps = path.shape(horizon) * path.unit(horizon)
    except InputError:
        return None
    if not steps.any():
        return float(horizon), 0.0, 0.0, 0.0, 0.0
    steps = steps[: len(steps) - int((steps[::-1] != 0).argmax())]
    remembered = _remembered(steps[::-1], smooth)
    half = steps[len(steps) // 2 :].mean()
    return (
        float(horizon),
        float(steps.sum()),
        float(steps[-remembered:].mean()),
        float(half),
        float(steps[-1]),
    )


def _remembered(backwards: Array, smooth: float) -> int:
    """How many steps, from the last one `backwards`, have Σ η `smooth` < 1; at least one. Most are never
    summed."""
    count, sums = 1000, np.empty(0)
    while len(sums) < len(backwards) and not (len(sums) and sums[-1] >= 1):
        sums = np.cumsum(backwards[:count]) * smooth
        count *= 10
    return max(1, int(np.searchsorted(sums, 1.0)))


def _plateau(path: Path, lrs: Array, risk: Array | None) -> Iterator[Reason]:
    """Of a schedule that ends on a step that does not go to zero: it stalls there, once it has felt it."""
    steps = _steps(path, lrs, 0)
    below = np.flatnonzero(steps > 2 * steps[-1])
    felt = float(steps[below[-1] + 1 :].sum() if below.size else steps.sum()) / (1 - path.momentum)
    lam = np.asarray(path.row.problem.law.eigenvalues) if risk is not None else _without_law(path.row.problem)
    short = lam * felt < SETTLED
    if not short.any() or (risk is not None and _may_stay(path, lrs, risk, short)):
        return
    yield Reason(
        f"the schedule ends on {steps[-1] / steps.max():.2g} of its largest step at every horizon, where the "
        "risk will stall, and has not felt it yet: Σ λη over its last steps is "
        f"{float(lam.min()) * felt:.2g} at the shortest horizon, and must be {SETTLED:g}"
    )


def _whole_numbers(value: object) -> Iterator[tuple[str, int]]:
    """The durations, milestones and starts in updates that a schedule has, wherever in it."""
    if not is_dataclass(value) or isinstance(value, type):
        return
    for field in fields(value):
        content = getattr(value, field.name)
        for part in content if isinstance(content, tuple) else (content,):
            if isinstance(part, int) and not isinstance(part, bool):
                yield field.name, part
            else:
                yield from _whole_numbers(part)


def _jump(schedule: Schedule, times: Array, k: int, last: int) -> float | None:
    """When the multipliers jump between the times k and k + 2; None where they do not."""
    sums = _far_sums(schedule, last)  # type: ignore[arg-type]  # schedules are frozen
    low, high = int(times[k]), min(int(times[k + 2]), len(sums) - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        jumps = np.abs(np.diff(np.log(np.diff(sums[low - 1 : high + 1]))))
    largest = int(np.argmax(jumps))
    return float(low + largest) if jumps[largest] > 10 * np.median(jumps) else None


def _means(schedule: Schedule, first: int, last: int) -> tuple[Array, Array]:
    """Times that grow by a factor, in the four parts of the window and beyond it, and the mean of the
    multipliers about each."""
    sums = _far_sums(schedule, last)  # type: ignore[arg-type]  # schedules are frozen
    grid = first * (last / first) ** (np.arange(0, 30) / 4)
    grid = np.rint(grid[grid < len(sums) - 1])
    edges = np.unique([*grid[grid < last], last, *grid[grid > 1.5 * last]]).astype(np.int64)
    means = np.diff(sums[edges]) / np.diff(edges)
    return np.sqrt(edges[1:] * edges[:-1].astype(np.float64)), means


def _future(horizon: int) -> int:
    """Up to when a schedule is looked at: a hundred horizons, less where that takes long or much memory."""
    return max(horizon, min(100 * horizon, max(FAR, min(10 * horizon, 10 * FAR))))


@lru_cache(maxsize=4)
def _far_sums(schedule: Schedule, horizon: int) -> Array:
    """Σ of the first t multipliers, t = 0, 1, …: beyond the horizon where the schedule goes on."""
    try:
        steps = multipliers(schedule, _future(horizon))
    except InputError:  # a schedule that ends
        steps = multipliers(schedule, horizon)
    sums = np.zeros(len(steps) + 1)
    np.cumsum(steps, out=sums[1:])
    return sums


def _far_mixing(path: Path) -> Array:
    """The mixing weights beyond the horizon; an anytime average does not look at the steps."""
    horizon = path.times[-1]
    known = max([horizon, *(value for _, value in _whole_numbers(path.row.averaging))])
    far = max(_future(horizon), min(2 * known, 10**8))
    return np.asarray(path.row.averaging(np.broadcast_to(1.0, far)))


# Helpers


def _steps(path: Path, lrs: Array, k: int) -> Array:
    """The steps up to point k, in absolute terms."""
    t = path.times[k]
    return float(lrs[k]) * path.unit(t) * path.shape(t)


def _settling(path: Path, steps: Array, eigenvalue: float) -> Array:
    """What each step does for the settling of one direction: an underdamped one contracts by √β a step."""
    b = path.momentum
    return np.minimum(eigenvalue * steps / (1 - b), 1 - math.sqrt(b))


def _progress(path: Path, lrs: Array, eigenvalue: float) -> Array:
    """Σ min(λη/(1 − β), 1 − √β) up to each point (K,)."""
    if path.anytime and np.all(lrs == lrs[0]):
        total = np.cumsum(_settling(path, _steps(path, lrs, -1), eigenvalue))
        return np.asarray(total[np.array(path.times) - 1])
    return np.array([_settling(path, _steps(path, lrs, k), eigenvalue).sum() for k in range(len(lrs))])


def _ratio(part: Array, risk: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(risk > 0, part / risk, 0.0)


def _when(level: float, times: tuple[int, ...], sums: Array) -> float | None:
    """When the increasing `sums` reach `level`: interpolated, or extrapolated by the late power law."""
    x, y = np.log(times), np.log(np.maximum(sums, 1e-300))
    if y[0] <= np.log(level) <= y[-1]:
        return float(np.exp(np.interp(np.log(level), y, x)))
    late = x >= (x[0] + x[-1]) / 2
    growth = float(slope_weights(np.exp(x[late])) @ y[late])
    exponent = x[-1] + (np.log(level) - y[-1]) / growth if growth > 0 else np.inf
    return float(np.exp(exponent)) if exponent < np.log(LATE) else None
