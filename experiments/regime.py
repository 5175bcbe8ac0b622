"""Whether the asymptotic regime is there when the window starts: five conditions, each with its number.

A rate of t → ∞ can only be read off a window in which (a) the directions that make up the risk have settled,
(b) the start is forgotten, (c) the averaging's own memory is short, (d) the schedule is in its own asymptote
and (e) nothing of it changes inside. Where one fails, the reason names it, its number, and the horizon that
would do, or that none does. Thresholds are this project's; the calibration measures what they are worth.
"""

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from experiments.evidence import MAX_MARGIN, WINDOW, slope_weights
from experiments.paths import Path
from experiments.spec import MAX_HORIZON, open_part
from experiments.verdict import order
from problems.spectra import PowerLaw
from theory.arrays import Array, InputError
from theory.moments import Law, has_noise, without_noise
from theory.schedules import Schedule, multipliers

SETTLED = 5.0  # Σ min(λη/(1 − β), 1 − √β) from which the part of λ in the risk is settled
SHARE = 0.05  # of the risk: what does not count
UNTRUNCATED = 0.1  # λ_d Σ η up to which the last direction of a power law has not moved
DENSE = 2.0  # λ_i/λ_{i+1} up to which a power law is one, where it is being resolved
MEMORY = 0.02  # what the memory of an average may add to the exponent
FILLED = 5.0  # memories of an average that must have passed
FAR = 10**7  # updates up to which a schedule's future is looked at
LATE = 1e15  # no time


def premature(path: Path, lrs: Array, risk: Array | None) -> str | None:
    """Why the window of `path`, all points of which lie in it, does not show the asymptotic regime; None if
    it does.

    lrs (K,): the learning rate chosen at each point; risk (K,): the exact risk there, None where there is no
    law.
    """
    reasons = [*_schedule(path), *_averaging(path, lrs)]
    if not any("converges" in reason for reason in reasons):
        reasons += _directions(path, lrs, risk)
    law = path.row.problem.law
    if risk is not None and law is not None and has_noise(law):
        reasons += _start(path, lrs, risk, law)
    return "; ".join(reasons) or None


# (a) the directions


def _directions(path: Path, lrs: Array, risk: Array | None) -> Iterator[str]:
    problem = path.row.problem
    law = problem.law
    if risk is None or law is None:
        lam = _without_law(problem)
        if lam.size == 0:
            return
    else:
        lam = np.asarray(law.eigenvalues)
    unsettled = _unsettled(path, lrs, lam)
    if not unsettled.any():
        return
    smallest, part = float(lam[unsettled].max()), None
    if risk is not None:
        part = _share(path, lrs, risk, unsettled)
        if part <= SHARE:
            return
        smallest = _needed(path, lrs, risk, lam, unsettled)
    spectrum = getattr(problem, "spectrum", None)
    tail = None
    if isinstance(spectrum, PowerLaw) and risk is not None:
        tail = _power_law(path, lrs, risk, lam)
        if tail is None:
            return
    reached = _progress(path, lrs, smallest)
    what = "Σ λη" if path.momentum == 0 else "Σ min(λη/(1 − β), 1 − √β)"
    reason = (
        f"{what} is {reached[0]:.2g} for λ = {smallest:.3g} where the window starts, t = {path.times[0]:g}, "
        f"and must be {SETTLED:g}"
    )
    if part is not None:
        reason += f" (what has not settled makes up to {part:.0%} of the risk)"
    needed = _when(SETTLED, path.times, reached)
    if needed is None:
        reason += ", which these steps never reach, or too late to run"
    else:
        reason += f", which takes about t = {order(needed)}, so {_horizon(WINDOW * needed)}"
        falls = SETTLED * 2 * WINDOW ** _growth(path, reached) > 30
        if tail is None and law is not None and not has_noise(law) and falls:
            reason += (
                "; but without noise the risk then falls through the floor of 1e-13 of its start inside the "
                'window: nothing can decide this, claim it of a window (regime = "window")'
            )
    yield reason + (f"; {tail}" if tail else "")


def _without_law(problem: object) -> Array:
    """The eigenvalues that must settle where no law tells which of them matter: the smallest that is not
    rounding."""
    found = getattr(problem, "eigenvalues", None)
    mu, smooth = getattr(problem, "strong_convexity", None), getattr(problem, "smoothness", None)
    if found is not None:
        lam = np.asarray(found)
        return np.array([lam[lam > 1e-13 * lam.max()].min()])
    if not mu or (smooth is not None and mu < 1e-13 * smooth):
        return np.empty(0)  # not strongly convex: no direction has a rate of its own
    return np.array([float(mu)])


def _unsettled(path: Path, lrs: Array, lam: Array) -> NDArray[np.bool_]:
    """Mask of the eigenvalues that have not settled at the first point: all below one of them."""
    steps = _steps(path, lrs, 0)
    ranked = np.argsort(lam)
    low, high = 0, len(lam)  # eigenvalues ranked[high:] have settled
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
    """The smallest eigenvalue that has to settle: those below it may stay, their part of the risk is
    small."""
    ranked = np.flatnonzero(unsettled)[np.argsort(lam[unsettled])]
    low, high = 0, len(ranked) - 1  # ranked[:low] may stay
    while low < high:
        middle = (low + high + 1) // 2
        mask = np.zeros(len(lam), dtype=bool)
        mask[ranked[:middle]] = True
        if _share(path, lrs, risk, mask) <= SHARE:
            low = middle
        else:
            high = middle - 1
    return float(lam[ranked[low]])


def _share(path: Path, lrs: Array, risk: Array, only: NDArray[np.bool_]) -> float:
    """The largest part of the risk, anywhere in the window, of some coordinates; 0 where there is no risk."""
    return float(_ratio(path.risk(lrs, only=only), risk).max())


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
        float(_ratio(path.risk(lrs, only=(index >= d // low) & (index < d // high)), risk)[-1])
        for low, high in ((4, 2), (2, 1))
    ]
    ratio = octaves[1] / octaves[0] if octaves[0] > 0 else 0.0
    missing = octaves[1] * ratio / (1 - ratio) if ratio < 1 else math.inf
    if missing > SHARE:
        return f"and what its truncation leaves out would be {missing:.0%} of the risk: take a larger dim"
    return None


# (b) the start


def _start(path: Path, lrs: Array, risk: Array, law: Law) -> Iterator[str]:
    share = _ratio(path.risk(lrs, without_noise(law)), risk)
    if share.max() <= SHARE:
        return
    k = int(share.argmax())
    reason = (
        f"what is left of the start is {share[k]:.0%} of the risk at t = {path.times[k]:g}, and must be "
        f"below {SHARE:.0%}"
    )
    needed = None if share[-1] >= share[0] else _when(1 / SHARE, path.times, 1 / np.maximum(share, 1e-300))
    if needed is None:
        yield (
            reason + ", which no horizon that can be run reaches while it does not decay faster than the rest"
        )
    else:
        yield reason + f", which takes {_horizon(WINDOW * needed)}"


# (c) the averaging's memory, and (e) where it starts


def _averaging(path: Path, lrs: Array) -> Iterator[str]:
    mixing = path.mixing(int(path.times[-1]))
    begun = np.flatnonzero(mixing < 1)
    start = int(path.times[0])
    if path.anytime:
        far = begun if begun.size else np.flatnonzero(_far_mixing(path) < 1)
        if far.size and far[0] > start:
            yield (
                f"the average starts at t = {far[0]}, and the window at t = {start:g}: take a horizon of at "
                f"least {order(WINDOW * far[0])}"
            )
            return
    memory = float(mixing[-1])
    if not (0 < memory < 1 and np.all(mixing[len(mixing) // 2 :] == memory)):
        return
    length = 1 / memory
    if start < FILLED * length:
        yield (
            f"the average remembers {length:.3g} updates, and the window starts at t = {start:g}: it must be "
            f"{FILLED:g} times that, a horizon of {order(WINDOW * FILLED * length)}"
        )
        return
    largest = float(path.row.problem.smoothness or 0.0)
    last = np.array([_steps(path, lrs, k)[-math.ceil(length) :].mean() for k in (0, -1)])
    ratios = largest * last * length / (1 - path.momentum)
    span = math.log(path.times[-1] / path.times[0])
    added = float(np.log1p(ratios[0]) - np.log1p(ratios[1])) / span
    if added <= MEMORY:
        return
    reason = (
        f"the average remembers {length:.3g} updates and the iterate {length / ratios[0]:.3g} to "
        f"{length / ratios[1]:.3g} (1/(Lη)) across the window, which adds up to {added:.2g} to the exponent; "
        f"at most {MEMORY:g} may be"
    )
    falls = math.log(ratios[0] / ratios[1]) / span
    later = start * (10 * ratios[0]) ** (1 / falls)
    yield reason + f": take a horizon of about {order(WINDOW * later)}, or a shorter memory"


# (d) the schedule


def _schedule(path: Path) -> Iterator[str]:
    edges, means = _means(path)
    with np.errstate(divide="ignore", invalid="ignore"):
        alpha = -np.diff(np.log(means)) / np.diff(np.log(edges))
    if not np.isfinite(alpha).all():
        yield "the steps vanish: there is no limit to speak of"
        return
    moved = np.abs(np.diff(alpha))
    if alpha.max() - alpha.min() > MAX_MARGIN:
        near = _change(path, edges, int(moved.argmax()))
        later = ", later than the window" if near > path.times[-1] else ""
        yield (
            "the steps are not yet in their own asymptote: their local exponent runs from "
            f"{alpha.min():.2f} to {alpha.max():.2f}, and changes most near t = "
            f"{order(near)}{later} (within {MAX_MARGIN:g} is settled): a horizon well beyond 100 times "
            'that, or regime = "window"'
        )
    units = 0.0
    if not path.anytime:
        first, last = (path.unit(int(t)) for t in (path.times[0], path.times[-1]))
        units = -math.log(last / first) / math.log(path.times[-1] / path.times[0])
    decay = float(alpha[-1]) + units
    if decay > 1 + MEMORY or (not path.anytime and decay > 1 - MEMORY):
        yield (
            f"Σ η converges, for the steps fall like t^-{decay:.3g}: they cannot reach the minimiser from "
            'anywhere, so there is no limit to claim; say regime = "window"'
        )


def _change(path: Path, times: Array, k: int) -> float:
    """When the local exponent changes between the times k and k + 2: at a jump of the multipliers, if there
    is one."""
    if not path.anytime:
        return float(times[k + 1])
    schedule, last = open_part(path.row.schedule), int(path.times[-1])
    steps = np.diff(_far_sums(schedule, last))  # type: ignore[arg-type]  # schedules are frozen
    low, high = int(times[k]), min(int(times[k + 2]), len(steps))
    with np.errstate(divide="ignore", invalid="ignore"):
        jumps = np.abs(np.diff(np.log(steps[low - 1 : high])))
    largest = int(np.argmax(jumps))
    return float(low + largest) if jumps[largest] > 10 * np.median(jumps) else float(times[k + 1])


def _means(path: Path) -> tuple[Array, Array]:
    """Times (4 + k,) that grow by a factor, and the mean of the multipliers about each: in the four parts of
    the window and beyond it along a trajectory, of whole horizons otherwise."""
    schedule = open_part(path.row.schedule)
    first, last = float(path.times[0]), int(path.times[-1])
    factor = (last / first) ** 0.25
    if not path.anytime:
        wanted = first * factor ** np.arange(0, 5)
        near = [int(path.times[np.abs(np.log(path.times / t)).argmin()]) for t in wanted]
        points = np.unique(near)
        return points.astype(np.float64), np.array([multipliers(schedule, int(t)).mean() for t in points])
    sums = _far_sums(schedule, last)  # type: ignore[arg-type]  # schedules are frozen
    edges = np.rint(first * factor ** np.arange(0, 30)).astype(np.int64)
    edges = np.unique(
        np.append(edges[edges < last], [last, *edges[(edges > 1.5 * last) & (edges < len(sums))]])
    )
    means = np.diff(sums[edges]) / np.diff(edges)
    return np.sqrt(edges[1:] * edges[:-1].astype(np.float64)), means


@lru_cache(maxsize=4)
def _far_sums(schedule: Schedule, horizon: int) -> Array:
    """Σ of the first t multipliers, t = 0, 1, …: up to the horizon and, where the schedule goes on, 100 times
    it."""
    for far in (max(horizon, min(100 * horizon, FAR)), horizon):
        try:
            return np.concatenate([[0.0], np.cumsum(multipliers(schedule, far))])
        except InputError:  # a schedule that ends
            continue
    return np.concatenate([[0.0], np.cumsum(multipliers(schedule, horizon))])


def _far_mixing(path: Path) -> Array:
    """The mixing weights beyond the horizon, where the schedule goes on."""
    horizon = int(path.times[-1])
    try:
        return path.mixing(max(horizon, min(100 * horizon, FAR)))
    except InputError:
        return path.mixing(horizon)


# Helpers


def _horizon(needed: float) -> str:
    """What to ask for, and whether it can be had."""
    beyond = f", more than the {order(MAX_HORIZON)} that can be run" if needed > MAX_HORIZON else ""
    return f"a horizon of about {order(needed)}{beyond}"


def _steps(path: Path, lrs: Array, k: int) -> Array:
    """The steps up to point k, in absolute terms."""
    t = int(path.times[k])
    return float(lrs[k]) * path.unit(t) * path.shape(t)


def _settling(path: Path, steps: Array, eigenvalue: float) -> Array:
    """What each step does for the settling of one direction: an underdamped one contracts by √β a step."""
    b = path.momentum
    return np.minimum(eigenvalue * steps / (1 - b), 1 - math.sqrt(b))


def _progress(path: Path, lrs: Array, eigenvalue: float) -> Array:
    """Σ min(λη/(1 − β), 1 − √β) up to each point (K,)."""
    if path.anytime and np.all(lrs == lrs[0]):
        total = np.cumsum(_settling(path, _steps(path, lrs, -1), eigenvalue))
        return np.asarray(total[path.times - 1])
    return np.array([_settling(path, _steps(path, lrs, k), eigenvalue).sum() for k in range(len(lrs))])


def _ratio(part: Array, risk: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(risk > 0, part / risk, 0.0)


def _growth(path: Path, sums: Array) -> float:
    """The power of t by which `sums` grow late in the window."""
    late = path.times >= math.sqrt(path.times[0] * path.times[-1])
    weights = slope_weights(path.times[late])
    return float(weights @ np.log(np.maximum(sums[late], 1e-300)))


def _when(level: float, times: NDArray[np.int64], sums: Array) -> float | None:
    """When the increasing `sums` reach `level`: interpolated, or extrapolated by the late power law."""
    x, y = np.log(times), np.log(np.maximum(sums, 1e-300))
    if y[0] <= np.log(level) <= y[-1]:
        return float(np.exp(np.interp(np.log(level), y, x)))
    late = x >= (x[0] + x[-1]) / 2
    growth = float(slope_weights(times[late]) @ y[late])
    exponent = x[-1] + (np.log(level) - y[-1]) / growth if growth > 0 else np.inf
    return float(np.exp(exponent)) if exponent < np.log(LATE) else None
