"""From risks to the verdict on a rate: the exponent, what its window has not settled, the margin, the
relation.

Pure statistics. Nothing here knows files, schedules or problems: times are shape (K,), an exact risk is shape
(K,), Monte Carlo risks are shape (n, K), one row per run. What cannot be judged is a reason (`NoFit`,
`undecided`), what should never have been started is an `InputError`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ratelab.experiments.judging.estimates import MIN_RUNS, mean_of_runs, standard_error
from ratelab.experiments.judging.verdict import Relation, Status, Verdict, decide, label, order, quantile
from ratelab.theory.arrays import Array, InputError, finite
from ratelab.theory.rates import Rate

WINDOW = 100.0  # the window is [T_max/100, T_max]
MIN_HORIZON = 300  # so that the window starts at 3 > e, where log log t is defined and positive
MIN_RECORDS = 20  # records in the window, along a trajectory
MIN_HORIZONS = 9  # points in the window, when each is a horizon of its own
MAX_MARGIN = 0.05
PARTITIONS = (2, 3, 4)  # parts of equal length in log t
PART_POINTS = 3  # below, a part has no slope worth the name
EDGE = 0.02  # of a part's length: how far outside a record still belongs to it, for records are whole numbers


# The window, and what must hold before anything runs


def window(times: ArrayLike) -> NDArray[np.bool_]:
    """Mask of the times in W = [T_max/100, T_max], T_max = max(times); shape (K,)."""
    t = np.asarray(times, dtype=np.float64)
    inside: NDArray[np.bool_] = t >= t.max() / WINDOW
    return inside


def check_records(times: ArrayLike, minimum: int) -> None:
    """InputError unless `times` (K,) can carry a fit: checked before anything runs.

    `minimum` is MIN_RECORDS for records along one trajectory, MIN_HORIZONS when each time is a horizon of its
    own. Needed: increasing, T_max >= 300, at least `minimum` times in [T_max/100, T_max], and log-spaced: no
    gap in log t above a fifth of the window (twenty records at equal distances leave one of a third).
    """
    t = finite("the record times", times)
    what = "horizons" if minimum == MIN_HORIZONS else "records"
    if t.ndim != 1 or np.any(np.diff(t) <= 0):
        raise InputError(f"the {what} must be one increasing list; they are {_some(t)}")
    if t[-1] < MIN_HORIZON:
        raise InputError(
            f"the longest horizon is {t[-1]:g}; a rate claim needs at least {MIN_HORIZON} updates"
        )
    inside = t[window(t)]
    start = t[-1] / WINDOW
    if inside.size < minimum:
        raise InputError(
            f"{inside.size} {what} lie in the window [{start:g}, {t[-1]:g}]; a rate claim needs at least "
            f"{minimum} there, log-spaced: ask for more {what}"
        )
    edges = np.concatenate([[start], inside])
    gaps = np.diff(np.log(edges))
    worst = int(np.argmax(gaps))
    if gaps[worst] > np.log(WINDOW) / 5:
        raise InputError(
            f"no {what} between t = {edges[worst]:g} and {edges[worst + 1]:g}, too wide a gap in the window "
            f"[{start:g}, {t[-1]:g}]: space the {what} evenly in log t"
        )


def slope_weights(times: ArrayLike) -> Array:
    """w_k = (x_k − x̄)/Σ(x − x̄)², x = log t: Σ w_k y_k is the least-squares slope of y on log t; (K,)."""
    x = np.log(np.asarray(times, dtype=np.float64))
    centred = x - x.mean()
    weights: Array = centred / (centred @ centred)
    return weights


def margin(times: ArrayLike, log_power: float = 0.0) -> float:
    """δ = min(0.05, g/2), g the slope of log log t on log t over `times` (K,), all > e.

    A factor log t shifts the fitted exponent by g; half of it still separates t^-p from t^-p log t. A claim
    of less than a whole logarithm, 0 < |q| < 1, must be told from one of none: |q| g/2.
    """
    told = min(1.0, abs(log_power)) if log_power else 1.0
    return min(MAX_MARGIN, told * log_slope(times) / 2)


def log_slope(times: ArrayLike) -> float:
    """g, the slope of log log t on log t: what a factor log t takes off the fitted exponent."""
    t = np.asarray(times, dtype=np.float64)
    return float(slope_weights(t) @ np.log(np.log(t)))


# The fit


@dataclass(frozen=True)
class Part:
    """A part of the window, from its first to its last time, and the exponent there."""

    start: float
    end: float
    exponent: float


@dataclass(frozen=True)
class Fit:
    """The exponent p of r(t) ~ t^-p (log t)^q, q = `log_power` given, and what is known of its error.

    exponent    minus the least-squares slope of log r − q log log t on log t
    half_width  h: statistical; 0 when the risk is exact
    hull        (low, high): p alone, or the hull of p, the exponents of the parts and where they head. Of an
                exact risk always the hull; of runs only when two parts differ beyond their noise
    parts       the window's halves, thirds and quarters, a partition each; those with at least 3 points a
    part
    heading     s4 + (s4 − s3), s4 and s3 the last two exponents of the finest partition
    creep       how much the exponent still moves as a logarithm would move it, from part to part: s4 − s3, or
                0 where it moves less than half as much as under a factor log t, or is settling faster. Of
                runs, which cannot tell how fast it settles, the move from half to half where the hull counts,
                else 0
    tends       where that leads: the power of the best fit with a free power of log t; of runs, anywhere
                (±inf); NaN where nothing creeps
    log_seen    (low, high) of the power of log t that fits best beside a free power of t
    late        the exponents of the window's second half and of its last part, each with its own h
    window      first and last time used;  points: how many
    margin      δ of these times
    above       share of log W that lies above the floor;  slowest: the slowest average decay over the whole
                window, floor included, that the risks allow (inf where nothing lies below)
    claims      number of claims the 95 % are shared by (Bonferroni)
    runs        how many
    """

    exponent: float
    half_width: float
    hull: tuple[float, float]
    parts: tuple[tuple[Part, ...], ...]
    heading: float
    window: tuple[float, float]
    points: int
    exact: bool
    log_power: float
    margin: float
    creep: float = 0.0
    tends: float = np.nan
    log_seen: tuple[float, float] = (0.0, 0.0)
    late: tuple[tuple[float, float], tuple[float, float]] = ((np.nan, 0.0), (np.nan, 0.0))
    above: float = 1.0
    slowest: float = np.inf
    claims: int = 1
    runs: int = 1

    @property
    def interval(self) -> tuple[float, float]:
        """I: the hull, h wider on both sides."""
        return self.hull[0] - self.half_width, self.hull[1] + self.half_width

    @property
    def label(self) -> str:
        """What the interval is: "exact", "95 %", or "95 % over m claims"."""
        return label(self.exact, self.claims)

    @property
    def drift(self) -> float:
        """Half the difference between the exponents of the window's halves."""
        early, late = self.parts[0]
        return abs(late.exponent - early.exponent) / 2

    @property
    def finest(self) -> tuple[float, ...]:
        """The exponents of the finest partition, in order."""
        return tuple(part.exponent for part in self.parts[-1])

    def __str__(self) -> str:
        exponent, low, high = (round(x, 3) + 0.0 for x in (self.exponent, *self.interval))
        return f"{exponent:.3f} in [{low:.3f}, {high:.3f}] ({self.label})"


@dataclass(frozen=True)
class NoFit:
    """Why there is no exponent.

    diverged_at  the first record with infinite risk, if that is why
    floored      whether too many points lie below the floor
    slowest      the slowest average decay that those points allow (see `Fit`)
    """

    reason: str
    diverged_at: float | None = None
    floored: bool = False
    slowest: float = -np.inf


def fit_exact(
    times: ArrayLike,
    risk: ArrayLike,
    *,
    log_power: float = 0.0,
    minimum: int = MIN_RECORDS,
    floor: float = 0.0,
) -> Fit | NoFit:
    """Fit of an exact risk (K,) at `times` (K,): h = 0, the interval is what the window has not settled.

    `minimum` is MIN_RECORDS or MIN_HORIZONS, `floor` comes from `estimates.risk_floor`; inf marks a diverged
    point.
    """
    t, r = aligned(times, risk)
    use = _usable(t, r, minimum, floor, log_power)
    if isinstance(use, NoFit):
        return use
    return _fit(t, r, use, floor, log_power, None, claims=1, runs=1)


def fit_trajectories(
    times: ArrayLike, risks: ArrayLike, *, log_power: float = 0.0, floor: float = 0.0, claims: int = 1
) -> Fit | NoFit:
    """Fit of Monte Carlo risks (n, K) recorded along n trajectories: runs are the clusters.

    SE² = Σ_i ψ_i²/(n(n−1)), ψ_i = Σ_k w_k (r_ik/r̄_k − 1): the influence of run i on the slope of log r̄
    (delta method), so correlation along a trajectory is accounted for. h = t_{n−1, 1 − 0.025/claims} · SE.
    """
    t, r = aligned(times, risks)
    mean = mean_of_runs(r)
    use = _monte_carlo(t, r, mean, MIN_RECORDS, floor, log_power)
    if isinstance(use, NoFit):
        return use
    relative = r[:, use] / mean[use] - 1.0

    def error(contrast: Array) -> float:
        return standard_error(relative @ contrast)

    return _fit(t, mean, use, floor, log_power, error, claims, len(r))


def fit_horizons(
    times: ArrayLike, risks: ArrayLike, *, log_power: float = 0.0, floor: float = 0.0, claims: int = 1
) -> Fit | NoFit:
    """Fit of Monte Carlo risks (n, K), column k from n runs to horizon times[k], independent of the others.

    SE² = Σ_k w_k² s_k²/(n r̄_k²), s_k the standard deviation over runs at horizon k; h as in
    `fit_trajectories`.
    """
    t, r = aligned(times, risks)
    mean = mean_of_runs(r)
    use = _monte_carlo(t, r, mean, MIN_HORIZONS, floor, log_power)
    if isinstance(use, NoFit):
        return use
    variance = (r[:, use] / mean[use]).var(axis=0, ddof=1)

    def error(contrast: Array) -> float:
        return float(np.sqrt(contrast**2 @ variance / len(r)))

    return _fit(t, mean, use, floor, log_power, error, claims, len(r))


# The verdict


def judge_rate(
    fit: Fit | NoFit,
    rate: Rate,
    relation: Relation,
    *,
    asked_margin: float | None = None,
    premature: str | None = None,
    window_only: bool = False,
) -> Verdict:
    """Is the risk at most, at least, or of the order t^-p (log t)^q? I the interval of the fit, δ the margin.

    at_most (O): supported when min I ≥ p − δ, refuted when max I < p − δ. at_least (Ω): supported when
    max I ≤ p + δ, refuted when min I > p + δ. equals (Θ): supported when I lies in [p − δ, p + δ], refuted
    when it lies outside. Otherwise undecided. Nothing is supported where something else fits as well:
    - with q ≠ 0 the power t^-(p − qg) without the logarithm: the window must tell them apart;
    - the exponent still creeps, as a logarithm would make it, and tends to where the claim is wrong
      (`Fit.creep`; not with window_only, which does not speak of what follows);
    - the user's margin hides a logarithm.
    With runs the window's second half must not contradict: what it says by itself is within the margin where
    a claim is supported, and its own interval excludes the claim where it is refuted.

    asked_margin  a δ of the user's; above the window's own it cannot exclude a log factor, and supports
                  nothing
    premature     the reason from `regime` why the asymptotic rate cannot show yet: undecided
    window_only   the claim is about this window, not about t → ∞: the regime was not asked for, and a note
                  says so

    Points below the floor are known to be at most the floor: they support at_most, and equals and at_least
    need half of log W above. Divergence inside the window refutes at_most and equals and leaves at_least
    undecided, whatever the regime.
    """
    notes = ["speaks of this window only, not of the asymptotic regime"] if window_only else []
    if isinstance(fit, NoFit):
        if premature is not None and not window_only and fit.diverged_at is None:
            return Verdict("undecided", f"{premature}; {fit.reason}")
        refuted = fit.diverged_at is not None and relation != "at_least"
        fell = relation == "at_most" and fit.slowest >= rate.power
        status: Status = "refuted" if refuted else "supported" if fell else "undecided"
        reason = fit.reason + (f"; it fell at least like t^-{fit.slowest:.3g}" if fell else "")
        return Verdict(status, reason, notes=tuple(notes))
    if fit.log_power != rate.log_power:
        raise InputError(
            f"the fit took log_power = {fit.log_power:g} but the claim is {rate}; fit with that of the claim"
        )
    delta = fit.margin
    if asked_margin is not None:
        if not (np.isfinite(asked_margin) and asked_margin > 0):
            raise InputError(
                f"margin is {asked_margin}; give a number > 0, or none for the window's own ({delta:.3g})"
            )
        delta = asked_margin
    if delta > fit.margin:
        notes.append(
            f"cannot exclude a log factor: margin {delta:.3g} is above this window's own {fit.margin:.3g}"
        )
    if premature is not None and not window_only:
        return Verdict("undecided", premature, fit, delta, tuple(notes))

    # relations speak of the risk, whose slope is minus the exponent
    low, high = fit.interval
    status = decide(-high, -low, -rate.power - delta, -rate.power + delta, relation)
    start, end = fit.window
    reason = f"exponent {fit}, t from {start:g} to {end:g}; claimed {rate.power:g} ± {delta:.3g}"
    if status == "undecided":
        return Verdict(status, f"{reason}; {_remedy(fit, rate, delta, relation)}", fit, delta, tuple(notes))
    doubt = _doubt(fit, rate, relation, status, delta, window_only)
    if doubt:
        return Verdict("undecided", f"{reason}; {doubt}", fit, delta, tuple(notes))
    return Verdict(status, reason, fit, delta, tuple(notes))


def _doubt(
    fit: Fit, rate: Rate, relation: Relation, status: Status, delta: float, window_only: bool
) -> str | None:
    """Why what the interval says is not believed, and what would decide."""
    p, q = rate.power, rate.log_power
    if fit.above < 0.5:
        if status == "refuted" or relation != "at_most":
            return (
                f"only {fit.above:.0%} of the window lies above the floor of what is known, and half must; "
                "take a shorter horizon, or a start farther away"
            )
        if fit.slowest < p:
            return f"below the floor the risk may have fallen only like t^-{fit.slowest:.3g}"
    (half, half_width), (end, end_width) = fit.late
    if status == "refuted":
        allowed = -p - delta, -p + delta
        if not fit.exact and decide(-end - end_width, -end + end_width, *allowed, relation) != status:
            return (
                f"the last part of the window alone, {end:.3f} ± {end_width:.2g}, does not exclude it: more "
                "runs would tell, or a longer horizon"
            )
        closer = abs(end - p) < abs(end - fit.creep - p)
        if fit.exact and closer and abs(fit.creep) > delta / 2:
            return (
                f"the exponent still moves towards it, by {fit.creep:+.2g} from part to part of the window: "
                "a longer horizon would tell"
            )
        return None
    if not fit.exact and decide(-half, -half, -p - delta, -p + delta, relation) != status:
        return (
            f"the window's second half alone has {half:.3f} ± {half_width:.2g}: more runs would tell whether "
            "that is noise"
        )
    if delta > fit.margin:
        return "the margin asked for may hide a logarithm: leave it out, or ask for less"
    helped = {"equals": q != 0, "at_most": q > 0, "at_least": q < 0}[relation]
    if helped:
        lower, upper = sorted(power / q for power in fit.log_seen)
        if lower <= 0.5 or upper >= 1.5:
            g = log_slope(np.geomspace(*fit.window, 50))
            return (
                f"t^{-(p - q * g):.3g} without the logarithm fits as well, or another power of it (the one "
                f"that fits best lies in [{min(fit.log_seen):.2g}, {max(fit.log_seen):.2g}])"
                + ("" if fit.exact else "; more runs would tell, or the exact risk where there is one")
            )
    stays = decide(-fit.tends, -fit.tends, -p - delta, -p + delta, relation) == "supported"
    if fit.creep and not stays and not window_only:
        return (
            f"the exponent still moves by {fit.creep:+.2g} from part to part of the window"
            + (", as under a logarithm" if fit.exact else "")
            + ': a longer horizon would tell whether it settles, and regime = "window" does not ask'
        )
    return None


def _remedy(fit: Fit, rate: Rate, delta: float, relation: Relation) -> str:
    """What would decide, in numbers where they can be told."""
    low, high = fit.hull
    p, ends = rate.power, {"equals": (-1, 1), "at_most": (-1,), "at_least": (1,)}[relation]
    room = min(min(abs(p + sign * delta - end) for end in fit.hull) for sign in ends)
    if fit.half_width > high - low:
        if room <= 0 or fit.half_width > 30 * room:
            return "its end lies on the boundary of the margin, where no number of runs decides"
        return f"more runs would narrow it: about {order(1.2 * fit.runs * (fit.half_width / room) ** 2)}"
    s = fit.finest
    way = f"the exponent of its parts goes from {s[0]:.3f} to {s[-1]:.3f}, on its way to {fit.heading:.3f}"
    if not fit.exact:
        return f"{way}, beyond its noise: a longer horizon might settle it"
    moves = np.diff(s)
    ratios = moves[1:] / np.where(moves[:-1] == 0, np.nan, moves[:-1])
    if len(ratios) < 2 or not (np.all((ratios > 0) & (ratios < 0.9)) and abs(ratios[1] - ratios[0]) < 0.25):
        return f"{way}, and does not settle in this window"
    ratio = float(ratios[-1])
    limit = s[-1] + float(moves[-1]) * ratio / (1 - ratio)
    spare = min(abs(limit - (p + sign * delta)) for sign in ends)
    if spare < 0.1 * delta:
        return f"{way}; it tends to about {limit:.3f}, on the boundary of the margin"
    later = max(1.0, np.log(spare / (2 * (high - low))) / np.log(ratio))  # parts until the hull fits
    horizon = fit.window[1] * WINDOW ** (later / len(s))
    if horizon > 1e12:
        return f"{way}; no horizon that can be run settles it"
    return f"{way}: a horizon of about {order(horizon)} would settle it"


# Helpers


def aligned(times: ArrayLike, values: ArrayLike) -> tuple[Array, Array]:
    """Both as float64; InputError unless times are finite, values end in as many, and none is NaN."""
    t, v = finite("the times", times), np.asarray(values, dtype=np.float64)
    if t.ndim != 1 or v.ndim not in (1, 2) or v.shape[-1] != t.size or v.size == 0:
        raise InputError(
            f"{t.size} times with values of shape {v.shape}; the last axis must have one value per time"
        )
    if np.any(np.diff(t) <= 0):
        raise InputError(f"the times must increase; they are {_some(t)}")
    if np.isnan(v).any():
        raise InputError("a risk is NaN; a diverged run must be written as inf")
    return t, v


def _some(values: Array) -> str:
    return np.array2string(values, threshold=6, edgeitems=3)


def _usable(t: Array, risk: Array, minimum: int, floor: float, log_power: float) -> NDArray[np.bool_] | NoFit:
    """Mask of the points to fit: inside the window, above the floor, none diverged."""
    if t[-1] < MIN_HORIZON:
        return NoFit(f"the longest horizon is {t[-1]:g}; a rate needs at least {MIN_HORIZON} updates")
    inside = window(t)
    if not np.isfinite(risk[inside]).all():
        first = float(t[inside][np.argmin(np.isfinite(risk[inside]))])
        return NoFit(f"the risk diverged: infinite at t = {first:g}", diverged_at=first)
    use: NDArray[np.bool_] = inside & (risk > 0) & (risk >= floor)
    if use.sum() < minimum:
        dropped = int(inside.sum() - use.sum())
        reason = f"{use.sum()} points to fit, {minimum} needed"
        if not dropped:
            return NoFit(reason + "; ask for more records")
        reason += f"; {dropped} lay below {floor:.1e}, the floor of what is known: take a shorter horizon"
        return NoFit(reason, floored=True, slowest=_slowest(t[inside], risk[inside], floor, log_power))
    if _parts(t[use], 2) is None:
        return NoFit(
            f"fewer than {PART_POINTS} of the points lie in one half of the window; space them evenly in log "
            "t"
        )
    return use


def _slowest(t: Array, risk: Array, floor: float, log_power: float) -> float:
    """The average exponent over the window of a risk that ends on the floor; −inf where it starts there."""
    if risk[-1] >= floor and risk[-1] > 0:
        return np.inf
    if not risk[0] > floor > 0:
        return -np.inf
    x = np.log(t[[0, -1]])
    fall = np.log(risk[0] / floor) + log_power * (np.log(x[1]) - np.log(x[0]))
    return float(fall / (x[1] - x[0]))


def _monte_carlo(
    t: Array, risks: Array, mean: Array, minimum: int, floor: float, log_power: float
) -> NDArray[np.bool_] | NoFit:
    """`_usable` of a Monte Carlo mean, once the runs are enough."""
    if risks.ndim != 2:
        raise InputError(f"the Monte Carlo risks have shape {risks.shape}; give (runs, times)")
    if len(risks) < MIN_RUNS:
        return NoFit(f"{len(risks)} runs; an interval needs at least {MIN_RUNS}")
    return _usable(t, mean, minimum, floor, log_power)


def _fit(
    t: Array,
    risk: Array,
    use: NDArray[np.bool_],
    floor: float,
    log_power: float,
    error: Callable[[Array], float] | None,
    claims: int,
    runs: int,
) -> Fit:
    """`error` is the standard error of a linear contrast (K,) of the log of the risks used; None: exact."""
    inside = window(t)
    kept = use[inside]
    gaps = np.diff(np.log(t[inside]))
    above = float(gaps[kept[1:] & kept[:-1]].sum() / gaps.sum())
    slowest = _slowest(t[inside], risk[inside], floor, log_power)
    t, risk = t[use], risk[use]
    x = np.log(t)
    y, logs = np.log(risk) - log_power * np.log(x), np.log(x)
    whole = slope_weights(t)
    p = -float(whole @ y)
    partitions = [masks for count in PARTITIONS if (masks := _parts(t, count)) is not None]
    contrasts = [np.stack([_contrast(t, mask) for mask in masks]) for masks in partitions]
    exponents = [-(rows @ y) for rows in contrasts]
    parts = tuple(
        tuple(Part(float(t[m][0]), float(t[m][-1]), float(s)) for m, s in zip(masks, found, strict=True))
        for masks, found in zip(partitions, exponents, strict=True)
    )
    heading = float(2 * exponents[-1][-1] - exponents[-1][-2])
    curved = _with_log(x)[2]
    log_power_fit, reach = float(curved @ np.log(risk)), 0.0
    half_width, settled = 0.0, False
    ends = (float(exponents[0][-1]), contrasts[0][-1]), (float(exponents[-1][-1]), contrasts[-1][-1])
    late = (ends[0][0], 0.0), (ends[1][0], 0.0)
    if error is None:
        creep = _creep(exponents[-1], -(contrasts[-1] @ logs))
        tends = -float(_with_log(x)[1] @ np.log(risk)) if creep else np.nan
    else:
        half_width = quantile(runs - 1, claims) * error(whole)
        reach = quantile(runs - 1, claims) * error(curved)
        t_value = quantile(runs - 1, claims)
        late = (ends[0][0], t_value * error(ends[0][1])), (ends[1][0], t_value * error(ends[1][1]))
        pairs = [a - b for rows in contrasts for a, b in combinations(rows, 2)]
        beyond = quantile(runs - 1, claims * len(pairs))
        settled = all(abs(float(pair @ y)) <= beyond * error(pair) for pair in pairs)
        creep = 0.0 if settled else ends[0][0] - float(exponents[0][0])
        tends = math.copysign(math.inf, creep) if creep else np.nan
    every = np.concatenate([[p], *([] if settled else [*exponents, [heading]])])
    return Fit(
        exponent=p,
        half_width=half_width,
        hull=(float(every.min()), float(every.max())),
        parts=parts,
        heading=heading,
        window=(float(t[0]), float(t[-1])),
        points=int(t.size),
        exact=error is None,
        log_power=log_power,
        margin=margin(t, log_power),
        creep=creep,
        tends=tends,
        log_seen=(log_power_fit - reach, log_power_fit + reach),
        late=late,
        above=above,
        slowest=slowest,
        claims=claims,
        runs=runs,
    )


def _parts(t: Array, count: int) -> list[NDArray[np.bool_]] | None:
    """Masks of `count` parts of equal length in log t; None where one has too few points.

    A point near an edge belongs to both sides: records are whole numbers, and nine horizons make quarters of
    three points only if they may share.
    """
    x = np.log(t)
    edges = np.linspace(x[0], x[-1], count + 1)
    reach = EDGE * (edges[1] - edges[0])
    masks = [(x >= low - reach) & (x <= high + reach) for low, high in pairwise(edges)]
    return masks if min(mask.sum() for mask in masks) >= PART_POINTS else None


def _contrast(t: Array, mask: NDArray[np.bool_]) -> Array:
    """The weights (K,) whose product with y is its slope on log t over the points of the mask."""
    weights = np.zeros(t.size)
    weights[mask] = slope_weights(t[mask])
    return weights


def _with_log(x: Array) -> Array:
    """The weights (3, K) whose products with log r fit log c − p log t + q log log t, x = log t: log c, −p
    and q."""
    return np.asarray(np.linalg.pinv(np.column_stack([np.ones_like(x), x, np.log(x)])))


def _creep(exponents: Array, of_log: Array) -> float:
    """The last move of the exponents where it is as large as half that of a log's, and dies off no faster.

    `of_log` are the exponents that a factor log t has on the same parts. A power that sets in, 1 + c t^-s,
    moves by moves that shrink by a factor; those of a logarithm shrink more slowly in the end.
    """
    moves, logs = np.diff(exponents), np.diff(of_log)
    last = float(moves[-1])
    if abs(last) < abs(logs[-1]) / 2:
        return 0.0
    if len(moves) > 1:
        before = float(moves[-2])
        if last * before < 0 or abs(last) < 0.9 * abs(before) * logs[-1] / logs[-2]:
            return 0.0
    return last
