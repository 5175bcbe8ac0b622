"""From arrays of risks to verdicts: the exponent and its interval, the margin, the regime, supported or not.

Pure statistics. Nothing here knows files, schedules or problems: times are shape (K,), an exact risk is shape
(K,), Monte Carlo risks are shape (n, K), one row per run. What cannot be judged is a reason (`NoFit`,
`undecided`), what should never have been started is an `InputError`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from theory.arrays import Array, InputError, finite
from theory.rates import Rate

Relation: TypeAlias = Literal["at_most", "at_least", "equals"]
Status: TypeAlias = Literal["supported", "refuted", "undecided"]

WINDOW = 100.0  # the window is [T_max/100, T_max]
MIN_HORIZON = 300  # so that the window starts at 3 > e, where log log t is defined and positive
MIN_RECORDS = 20  # records in the window, along a trajectory
MIN_HORIZONS = 9  # points in the window, when each is a horizon of its own
MIN_RUNS = 64  # below, h covers less than it says
MIN_SEEDS = 5  # of a network's losses and errors, and of fractions: see `mean_estimate`
MAX_MARGIN = 0.05
SETTLED = 5.0  # μ Σ η from which the asymptotic rate of a strongly convex quadratic shows
UNTRUNCATED = 0.1  # λ_d Σ η up to which a truncated power-law spectrum still acts like an infinite one
ALARM = 1e-3  # simultaneous level of the comparison of exact and Monte Carlo risk


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
            f"{inside.size} {what} lie in the window [{start:g}, {t[-1]:g}]; "
            f"a rate claim needs at least {minimum} there, log-spaced: ask for more {what}"
        )
    edges = np.concatenate([[start], inside])
    gaps = np.diff(np.log(edges))
    worst = int(np.argmax(gaps))
    if gaps[worst] > np.log(WINDOW) / 5:
        raise InputError(
            f"no {what} between t = {edges[worst]:g} and {edges[worst + 1]:g}, "
            f"too wide a gap in the window [{start:g}, {t[-1]:g}]: space the {what} evenly in log t"
        )


def check_runs(runs: int, minimum: int = MIN_RUNS) -> None:
    """InputError when `runs` are too few for a claim without exact risk (of halved runs, pass the half)."""
    if runs < minimum:
        raise InputError(f"runs is {runs}; a claim judged by Monte Carlo needs at least {minimum} runs")


def risk_floor(start_risk: float, accuracy: float = 0.0) -> float:
    """The risk below which points are dropped: 1e-13·r(0), or 100 times the accuracy to which f* is known."""
    return max(1e-13 * start_risk, 100.0 * accuracy)


def slope_weights(times: ArrayLike) -> Array:
    """w_k = (x_k − x̄)/Σ(x − x̄)², x = log t: Σ w_k y_k is the least-squares slope of y on log t; (K,)."""
    x = np.log(np.asarray(times, dtype=np.float64))
    centred = x - x.mean()
    weights: Array = centred / (centred @ centred)
    return weights


def margin(times: ArrayLike) -> float:
    """δ = min(0.05, g/2), g the slope of log log t on log t over `times` (K,), all > e.

    A factor log t shifts the fitted exponent by g; half of it still separates t^-p from t^-p log t.
    """
    t = np.asarray(times, dtype=np.float64)
    return min(MAX_MARGIN, float(slope_weights(t) @ np.log(np.log(t))) / 2)


# The fit


@dataclass(frozen=True)
class Fit:
    """The exponent p of r(t) ~ t^-p (log t)^q, q = `log_power` given, and what is known of its error.

    exponent    minus the least-squares slope of log r − q log log t on log t
    half_width  h: statistical; 0 when the risk is exact
    drift       d: half the difference between the slopes of the two half-windows
    window      first and last time used;  points: how many
    margin      δ of these times
    claims      number of claims the 95 % are shared by (Bonferroni)
    """

    exponent: float
    half_width: float
    drift: float
    window: tuple[float, float]
    points: int
    exact: bool
    log_power: float
    margin: float
    claims: int = 1

    @property
    def interval(self) -> tuple[float, float]:
        """p ± (h + d)."""
        reach = self.half_width + self.drift
        return self.exponent - reach, self.exponent + reach

    @property
    def label(self) -> str:
        """What the interval is: "exact", "95 %", or "95 % over m claims"."""
        return _label(self.exact, self.claims)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.exponent:.3f} in [{low:.3f}, {high:.3f}] ({self.label})"


@dataclass(frozen=True)
class NoFit:
    """Why there is no exponent; `diverged_at` is the first record with infinite risk, if that is why."""

    reason: str
    diverged_at: float | None = None


def fit_exact(
    times: ArrayLike,
    risk: ArrayLike,
    *,
    log_power: float = 0.0,
    minimum: int = MIN_RECORDS,
    floor: float = 0.0,
) -> Fit | NoFit:
    """Fit of an exact risk (K,) at `times` (K,): h = 0, the interval is what the window has not settled.

    `minimum` is MIN_RECORDS or MIN_HORIZONS, `floor` comes from `risk_floor`; inf marks a diverged point.
    """
    t, r = _aligned(times, risk)
    use = _usable(t, r, minimum, floor)
    if isinstance(use, NoFit):
        return use
    return _fit(t[use], r[use], log_power, half_width=0.0, exact=True, claims=1)


def fit_trajectories(
    times: ArrayLike, risks: ArrayLike, *, log_power: float = 0.0, floor: float = 0.0, claims: int = 1
) -> Fit | NoFit:
    """Fit of Monte Carlo risks (n, K) recorded along n trajectories: runs are the clusters.

    SE² = Σ_i ψ_i²/(n(n−1)), ψ_i = Σ_k w_k (r_ik/r̄_k − 1): the influence of run i on the slope of log r̄
    (delta method), so correlation along a trajectory is accounted for. h = t_{n−1, 1 − 0.025/claims} · SE.
    """
    t, r = _aligned(times, risks)
    mean = _mean(r)
    use = _monte_carlo(t, r, mean, MIN_RECORDS, floor)
    if isinstance(use, NoFit):
        return use
    influence = (r[:, use] / mean[use] - 1.0) @ slope_weights(t[use])
    h = _quantile(len(r) - 1, claims) * _standard_error(influence)
    return _fit(t[use], mean[use], log_power, half_width=h, exact=False, claims=claims)


def fit_horizons(
    times: ArrayLike, risks: ArrayLike, *, log_power: float = 0.0, floor: float = 0.0, claims: int = 1
) -> Fit | NoFit:
    """Fit of Monte Carlo risks (n, K), column k from n runs to horizon times[k], independent of the others.

    SE² = Σ_k w_k² s_k²/(n r̄_k²), s_k the standard deviation over runs at horizon k; h as in
    `fit_trajectories`.
    """
    t, r = _aligned(times, risks)
    mean = _mean(r)
    use = _monte_carlo(t, r, mean, MIN_HORIZONS, floor)
    if isinstance(use, NoFit):
        return use
    relative = (r[:, use] / mean[use]).var(axis=0, ddof=1)
    h = _quantile(len(r) - 1, claims) * float(np.sqrt(slope_weights(t[use]) ** 2 @ relative / len(r)))
    return _fit(t[use], mean[use], log_power, half_width=h, exact=False, claims=claims)


def held_out_best(risks: ArrayLike) -> tuple[NDArray[np.intp], Array]:
    """The best lr without an exact risk: chosen on half of the runs, judged on the other half.

    `risks` is (n, lrs, K). Returns the index (K,) of the lr whose mean over the first ⌊n/2⌋ runs is least at
    each time, and the risks (n − ⌊n/2⌋, K) of the other runs there: choosing on the runs that judge would
    flatter them.
    """
    r = np.asarray(risks, dtype=np.float64)
    half = len(r) // 2
    if half < 1:
        raise InputError(f"runs is {len(r)}; choosing the best lr on half of the runs needs at least 2")
    best = np.argmin(_mean(r[:half]), axis=0)
    return best, r[half:, best, np.arange(r.shape[2])]


# Verdicts


@dataclass(frozen=True)
class Estimate:
    """A number and its interval: exact (low = value = high) or at 95 % shared by `claims` claims."""

    value: float
    low: float
    high: float
    exact: bool
    claims: int = 1

    @property
    def label(self) -> str:
        """What the interval is: "exact", "95 %", or "95 % over m claims"."""
        return _label(self.exact, self.claims)

    def __str__(self) -> str:
        within = "" if self.exact else f"in [{self.low:.6g}, {self.high:.6g}] "
        return f"{self.value:.6g} {within}({self.label})"


@dataclass(frozen=True)
class Verdict:
    """`status`, the sentence that says why, the numbers behind it (None if there are none), the margin."""

    status: Status
    reason: str
    evidence: Fit | Estimate | None = None
    margin: float | None = None
    notes: tuple[str, ...] = ()


def judge_rate(
    fit: Fit | NoFit,
    rate: Rate,
    relation: Relation,
    *,
    asked_margin: float | None = None,
    premature: str | None = None,
    window_only: bool = False,
) -> Verdict:
    """Is the risk at most, at least, or of the order t^-p (log t)^q? I = p̂ ± (h + d), δ the margin.

    at_most (O): supported when min I ≥ p − δ, refuted when max I < p − δ. at_least (Ω): supported when
    max I ≤ p + δ, refuted when min I > p + δ. equals (Θ): supported when I lies in [p − δ, p + δ], refuted
    when it lies outside. Otherwise undecided.

    asked_margin  a δ of the user's; above the window's own it cannot exclude a log factor: equals is not
                  supported
    premature     the reason from `regime` why the asymptotic rate cannot show yet: undecided
    window_only   the claim is about this window, not about t → ∞: the regime was not asked for, and a note
                  says so

    Divergence inside the window refutes at_most and equals and leaves at_least undecided, whatever the
    regime.
    """
    notes = ["speaks of this window only, not of the asymptotic regime"] if window_only else []
    if isinstance(fit, NoFit):
        refuted = fit.diverged_at is not None and relation != "at_least"
        return Verdict("refuted" if refuted else "undecided", fit.reason, notes=tuple(notes))
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
    status = _decide(-high, -low, -rate.power - delta, -rate.power + delta, relation)
    start, end = fit.window
    reason = f"exponent {fit}, t from {start:g} to {end:g}; claimed {rate.power:g} ± {delta:.3g}"
    if status == "undecided":
        statistical = fit.half_width > fit.drift
        reason += "; more runs would narrow it" if statistical else "; a longer horizon might settle it"
    if status == "supported" and relation == "equals" and delta > fit.margin:
        status = "undecided"
        reason += ", which may hide a logarithm"
    return Verdict(status, reason, fit, delta, tuple(notes))


def exact_estimate(value: float) -> Estimate:
    """A number known exactly: a risk, or a ratio of two. inf is divergence; NaN (inf/inf, 0/0) is refused."""
    if np.isnan(value):
        raise InputError(
            "the quantity is not a number: both risks of a ratio are 0, or both diverged; choose an earlier T"
        )
    return Estimate(float(value), float(value), float(value), exact=True)


def mean_estimate(samples: ArrayLike, claims: int = 1, *, minimum: int = MIN_RUNS) -> Estimate:
    """Mean of n independent `samples` (n,) ± t_{n−1, 1 − 0.025/claims} s/√n; infinite when a run diverged.

    Risks are skewed: of one coordinate, 64 runs cover the mean in 92 % of the trials, not 95. A network's
    losses and errors are means over many rows and closer to normal over seeds, so `minimum` is MIN_SEEDS
    there. Checked by simulation (100,000 trials), coverage with 5, 10 and 64 samples, in %:

        normal                                        95, 95, 95
        gamma, skewness 0.5                           95, 95, 95
        gamma, skewness 1                             93, 94, 95
        exponential, skewness 2                       88, 90, 94
        one run in ten is stuck, ten sd above         76, 72, 93

    And measured, 300 seeds of a perceptron on digits: skewness 0.2 of the test error, 0.3 of the test loss
    and 1.8 of the training loss, which five of them cover in 95, 95 and 92 %; at eight times the step, near
    the edge of stability, 1.7, 2.6 and 4.2, and 93, 89 and 85 %. The misses are means that are too low: few
    seeds cannot speak for runs that now and then fail, which `fraction_estimate` does at any n. Samples that
    are all equal, as errors of few rows may be, give an interval of no width.
    """
    x = np.asarray(samples, dtype=np.float64)
    check_runs(len(x), minimum)
    mean = float(_mean(x))
    if not np.isfinite(mean):
        return Estimate(np.inf, np.inf, np.inf, exact=False, claims=claims)
    reach = _quantile(len(x) - 1, claims) * _standard_error(x - mean)
    return Estimate(mean, mean - reach, mean + reach, exact=False, claims=claims)


def fraction_estimate(hits: int, runs: int, claims: int = 1) -> Estimate:
    """The probability of an event seen in `hits` of n independent runs, and its Clopper-Pearson interval.

    The ends are the α/2 quantile of Beta(k, n − k + 1) and the 1 − α/2 quantile of Beta(k + 1, n − k), α =
    0.05/`claims`, and 0 and 1 for k = 0 and k = n. It covers at least 1 − α at any n and any probability
    (C. J. Clopper and E. S. Pearson, Biometrika 26, 1934, 404-413).
    """
    check_runs(runs, MIN_SEEDS)
    if not 0 <= hits <= runs:
        raise InputError(f"{hits} of {runs} runs is no fraction; give hits from 0 to {runs}")
    tail = _tail(claims)
    low = float(stats.beta.ppf(tail, hits, runs - hits + 1)) if hits else 0.0
    high = float(stats.beta.ppf(1 - tail, hits + 1, runs - hits)) if hits < runs else 1.0
    return Estimate(hits / runs, low, high, exact=False, claims=claims)


def exact_ratio(above: float, below: float) -> Estimate:
    """The ratio of two exact risks; infinite when the first diverged, 0 when the second did."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return exact_estimate(float(np.float64(above) / np.float64(below)))


def ratio_estimate(
    above: ArrayLike, below: ArrayLike, *, paired: bool, claims: int = 1, minimum: int = MIN_RUNS
) -> Estimate:
    """ρ = ā/b̄ of risks (n,) and (m,), with the interval ρ exp(±h), h = t · SE of log ρ (linearised).

    Paired (run i of both shared its noise, n = m): ψ_i = a_i/ā − b_i/b̄, SE² = Σ ψ_i²/(n(n−1)), n − 1 degrees
    of freedom. Otherwise SE² = s_a²/(n ā²) + s_b²/(m b̄²) and Welch's degrees of freedom. The interval is
    taken in the logarithm because a ratio of risks is positive: InputError where a mean is 0. `minimum` as in
    `mean_estimate`: of gamma samples with skewness 0.5, 1 and 2 five pairs cover the ratio in 95, 94 and 92 %
    of 100,000 trials.
    """
    a, b = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    check_runs(min(len(a), len(b)), minimum)
    if paired and len(a) != len(b):
        raise InputError(f"{len(a)} runs cannot be paired with {len(b)}; run both alike, or compare unpaired")
    means = float(_mean(a)), float(_mean(b))
    if 0 in means:
        raise InputError(
            f"one side of the ratio is 0 in every run ({means[0]:g}/{means[1]:g}), which says nothing of how "
            "small it may be: claim a value, or the fraction of runs that end worse"
        )
    ratio = exact_ratio(*means).value
    if not (np.isfinite(ratio) and ratio > 0):
        return Estimate(ratio, ratio, ratio, exact=False, claims=claims)
    u, v = a / a.mean() - 1.0, b / b.mean() - 1.0
    if paired:
        error, freedom = _standard_error(u - v), len(a) - 1.0
    else:
        first, second = _standard_error(u) ** 2, _standard_error(v) ** 2
        error = float(np.sqrt(first + second))
        spread = first**2 / (len(a) - 1) + second**2 / (len(b) - 1)
        freedom = (first + second) ** 2 / spread if spread > 0 else len(a) + len(b) - 2.0
    reach = _quantile(freedom, claims) * error
    low, high = ratio * float(np.exp(-reach)), ratio * float(np.exp(reach))
    return Estimate(ratio, low, high, exact=False, claims=claims)


def judge_value(
    estimate: Estimate, number: float, tolerance: float, relation: Relation = "equals"
) -> Verdict:
    """Is a quantity (or a ratio) at most, at least, or equal to `number`, give or take `tolerance` ≥ 0?

    The interval I of the estimate is held against [number − tolerance, number + tolerance]: at_most is
    supported when max I ≤ number + tolerance and refuted when min I is above; at_least likewise from below;
    equals is supported when I lies inside and refuted when it lies outside. An infinite estimate is
    divergence: at_most and equals are refuted, at_least is undecided.
    """
    if not (np.isfinite(number) and np.isfinite(tolerance) and tolerance >= 0):
        raise InputError(
            f"cannot judge against {number} ± {tolerance}; give a finite number and a tolerance >= 0"
        )
    if not np.isfinite(estimate.value):
        status: Status = "undecided" if relation == "at_least" else "refuted"
        return Verdict(status, "infinite: it diverged", estimate, tolerance)
    status = _decide(estimate.low, estimate.high, number - tolerance, number + tolerance, relation)
    reason = f"{estimate}; claimed {number:g} ± {tolerance:g}"
    if status == "undecided":
        reason += "; more runs would narrow it"
    return Verdict(status, reason, estimate, tolerance)


def combine(statuses: Sequence[Status]) -> Status:
    """The verdict on several rows: supported when all are, refuted when any is, otherwise undecided."""
    if not statuses:
        raise InputError("the claim matches no row; nothing can be said about it")
    if "refuted" in statuses:
        return "refuted"
    return "supported" if all(status == "supported" for status in statuses) else "undecided"


# The regime


def regime(mu: float, times: ArrayLike, step_sums: ArrayLike, *, power_law: bool = False) -> str | None:
    """None when the window shows the asymptotic rate; otherwise the reason why not, with the t it would take.

    step_sums (K,) is Σ η up to each of `times` (K,): Σ_{s<t} η_s along a trajectory, Σ over all T steps where
    each time is a horizon (effective steps η/(1 − β) under momentum β). On a strongly convex quadratic μ Σ η
    must have reached 5 at the start of W. A truncated power law (μ = λ_d) may instead have μ Σ η ≤ 0.1 up to
    the end of W: then it still acts like an infinite spectrum. The t needed is interpolated, or extrapolated
    from the growth of Σ η in the second half of W by its local power law: an order of magnitude. Without
    strong convexity (mu = 0) nothing is asked. Window and threshold: this project's; for κ = 1000, η_t =
    0.3/(L√(t+1)) the t needed is 7e7.
    """
    t, sums = _aligned(times, step_sums)
    inside = window(t)
    t, reached = t[inside], mu * sums[inside]
    if mu == 0 or reached[0] >= SETTLED or (power_law and reached[-1] <= UNTRUNCATED):
        return None
    reason = f"μ Σ η is {reached[0]:.2g} where the window starts, t = {t[0]:g}, and must be {SETTLED:g}, "
    needed = _when(SETTLED, t, reached)
    if needed is None:
        reason += "which these steps never reach, or too late to run"
    else:
        reason += f"which takes about t = {_order(needed)}, so a horizon of about {_order(WINDOW * needed)}"
    if power_law:
        until = _when(UNTRUNCATED, t, reached)
        reason += f"; or λ_d Σ η ≤ {UNTRUNCATED:g} at its end (it is {reached[-1]:.2g}): "
        reason += "take a spectrum with a smaller λ_d"
        if until is not None and until >= MIN_HORIZON:
            reason += f", or a horizon below {_order(until)}"
    return reason


# The comparison of exact risk and Monte Carlo


def cross_check(
    times: ArrayLike,
    exact: ArrayLike,
    risks: ArrayLike,
    *,
    comparisons: int = 1,
    tolerance: float = 1e-9,
    floor: float = 0.0,
) -> str | None:
    """None when Monte Carlo risks (n, K) agree with the exact risk (K,); otherwise where and how they differ.

    Every record, and the average over records, is tested at level 1e-3/((K + 1) · comparisons) (Bonferroni;
    `comparisons` counts the calls that must hold together), on y_i = r_i/exact − 1, whose mean is 0 when the
    engines agree. A plain t test would not keep that level, for risks are skewed and a low mean comes with a
    low variance. So, with m, s, γ, k the mean, standard deviation, skewness and kurtosis of y over runs and
    T = √n m/s:
    - T is replaced by T + γT²/(3√n) + γ²T³/(27n) + γ/(6√n), Hall's monotone transformation, which removes the
      skewness (P. Hall, J. R. Stat. Soc. B 54, 1992, 221-228);
    - its quantile is Student's with n/(2(k − 1)) degrees of freedom. By Satterthwaite s² has about 2n/(k − 1)
      of them; a quarter is taken because a sample understates its own kurtosis.

    Assumed: runs independent and alike; nothing about correlation along a trajectory. Comparisons of 24 or
    50 records with a false alarm, in 1000, measured with n = 64 (2,000 to 10,000 trials) and n = 256 (600 to
    2,600 trials):
    - one coordinate, chi-square with one degree of freedom: 0.3 and 0 (a plain t test: 107 and 22); ten: 0.5
      and 0;
    - least squares with fresh features, d = 5, lr half of the critical one: 0 and 1.7 (one alarm);
    - the same with d = 1, lr a quarter of the critical one: 0 and 0; half: 0.8 and 3.8. Kurtosis is infinite
      there, and nearer the critical lr the level is lost (0.9 of it: 52 and 6) without the sample showing it:
      rare large risks carry the exact mean and were not drawn. All these alarms are low means.
    An error of 10 % at all records is found, at d = 100, in every one of 200 trials, with n = 64 as with
    n = 256; at one record alone, with n = 256. At d = 1 and n = 64, an exact risk 20 % low is found in 94 %
    of the trials.

    Records with exact risk inf are passed over; a finite one with a diverged run is a disagreement.
    Deviations below `tolerance` (relative: rounding; pass 1e-3 for float32 runs) never count, which also
    settles noiseless records. Below `floor` (`risk_floor`) deviations are relative to the floor.
    """
    t, e = _aligned(times, exact)
    _, r = _aligned(times, risks)
    if comparisons < 1:
        raise InputError(f"comparisons is {comparisons}; it counts this one, so it must be at least 1")
    if r.ndim != 2 or len(r) < 2:
        raise InputError(
            f"the Monte Carlo risks have shape {r.shape}; give (runs, times) with at least 2 runs"
        )
    known = np.isfinite(e)
    t, e, r = t[known], e[known], r[:, known]
    left = ~np.isfinite(r).all(axis=0)
    if left.any():
        k = int(np.argmax(left))
        return f"at t = {t[k]:g} the exact risk is {e[k]:.6g} but a Monte Carlo run has diverged"
    if t.size == 0:
        return None
    y = (r - e) / np.maximum(e, max(floor, np.finfo(np.float64).tiny))
    y = np.column_stack([y, y.mean(axis=1)])
    mean = y.mean(axis=0)
    p = np.where(np.abs(mean) > tolerance, _mean_zero_p_value(y), 1.0)
    k, alarm = int(np.argmin(p)), ALARM / (p.size * comparisons)
    if p[k] >= alarm:
        return None
    where = "over all records" if k == t.size else f"at t = {t[k]:g}, where it is {e[k]:.6g},"
    return (
        f"{where} the mean of {len(r)} Monte Carlo runs is {mean[k]:+.2%} off the exact risk "
        f"(p = {p[k]:.1e}, alarm below {alarm:.1e}): one engine is wrong"
    )


def _mean_zero_p_value(y: Array) -> Array:
    """Two-sided p-values (K,) of the columns of y (n, K) having mean 0, as in `cross_check`."""
    n = len(y)
    mean = y.mean(axis=0)
    centred = y - mean
    variance = (centred**2).mean(axis=0)
    still = variance == 0
    sd = np.sqrt(np.where(still, 1.0, variance))
    skew, kurtosis = ((centred / sd) ** 3).mean(axis=0), ((centred / sd) ** 4).mean(axis=0)
    student = mean / sd * np.sqrt(n - 1)
    g = skew / np.sqrt(n)
    hall = student + g * student**2 / 3 + g**2 * student**3 / 27 + g / 6
    freedom = np.clip(n / (2 * np.maximum(kurtosis - 1, 1e-300)), 1, n - 1)
    p: Array = np.where(still, np.where(mean == 0, 1.0, 0.0), 2 * stats.t.sf(np.abs(hall), freedom))
    return p


# Helpers


def _label(exact: bool, claims: int) -> str:
    if exact:
        return "exact"
    return "95 %" if claims == 1 else f"95 % over {claims} claims"


def _some(values: Array) -> str:
    return np.array2string(values, threshold=6, edgeitems=3)


def _order(value: float) -> str:
    """One significant digit: 7e7."""
    digit, power = f"{value:.0e}".split("e")
    return f"{digit}e{int(power)}"


def _aligned(times: ArrayLike, values: ArrayLike) -> tuple[Array, Array]:
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


def _usable(t: Array, risk: Array, minimum: int, floor: float) -> NDArray[np.bool_] | NoFit:
    """Mask of the points to fit: inside the window, above the floor, none diverged."""
    if t[-1] < MIN_HORIZON:
        return NoFit(f"the longest horizon is {t[-1]:g}; a rate needs at least {MIN_HORIZON} updates")
    inside = window(t)
    if not np.isfinite(risk[inside]).all():
        first = float(t[inside][np.argmin(np.isfinite(risk[inside]))])
        return NoFit(f"the risk diverged: infinite at t = {first:g}", diverged_at=first)
    use = inside & (risk > 0) & (risk >= floor)
    if use.sum() < minimum:
        dropped = int(inside.sum() - use.sum())
        reason = f"{use.sum()} points to fit, {minimum} needed"
        return NoFit(reason + (f"; {dropped} lay below {floor:.1e}, where rounding shows" if dropped else ""))
    if min(part.sum() for part in _halves(t[use])) < 3:
        return NoFit("fewer than 3 of the points lie in one half of the window; space them evenly in log t")
    return use


def _monte_carlo(
    t: Array, risks: Array, mean: Array, minimum: int, floor: float
) -> NDArray[np.bool_] | NoFit:
    """`_usable` of a Monte Carlo mean, once the runs are enough."""
    if risks.ndim != 2:
        raise InputError(f"the Monte Carlo risks have shape {risks.shape}; give (runs, times)")
    if len(risks) < MIN_RUNS:
        return NoFit(f"{len(risks)} runs; an interval needs at least {MIN_RUNS}")
    return _usable(t, mean, minimum, floor)


def _fit(t: Array, risk: Array, log_power: float, *, half_width: float, exact: bool, claims: int) -> Fit:
    x = np.log(t)
    y = np.log(risk) - log_power * np.log(x)
    early, late = (float(slope_weights(t[half]) @ y[half]) for half in _halves(t))
    return Fit(
        exponent=-float(slope_weights(t) @ y),
        half_width=half_width,
        drift=abs(late - early) / 2,
        window=(float(t[0]), float(t[-1])),
        points=int(t.size),
        exact=exact,
        log_power=log_power,
        margin=margin(t),
        claims=claims,
    )


def _halves(t: Array) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Masks of the two halves of log t, a point in the middle belonging to both."""
    middle = np.sqrt(t[0] * t[-1])
    return t <= middle, t >= middle


def _standard_error(influence: Array) -> float:
    """√(Σ ψ_i²/(n(n−1))) of influences (n,) that sum to zero."""
    n = len(influence)
    return float(np.sqrt(influence @ influence / (n * (n - 1))))


def _quantile(freedom: float, claims: int) -> float:
    """t_{freedom, 1 − 0.025/claims}."""
    return float(stats.t.ppf(1 - _tail(claims), freedom))


def _tail(claims: int) -> float:
    """Half of the 5 % that `claims` claims share."""
    if claims < 1:
        raise InputError(f"claims is {claims}; it counts this one, so it must be at least 1")
    return 0.025 / claims


def _mean(risks: Array) -> Array:
    """Over runs; a sum that overflows is a diverged one."""
    with np.errstate(over="ignore"):
        return np.asarray(risks.mean(axis=0))


def _decide(low: float, high: float, bottom: float, top: float, relation: Relation) -> Status:
    """Where [low, high] lies: at_most is about `top`, at_least about `bottom`, equals about both."""
    if relation not in ("at_most", "at_least", "equals"):
        raise InputError(f"relation is {relation!r}; it must be at_most, at_least or equals")
    supported = (relation == "at_least" or high <= top) and (relation == "at_most" or low >= bottom)
    refuted = (relation != "at_least" and low > top) or (relation != "at_most" and high < bottom)
    return "supported" if supported else "refuted" if refuted else "undecided"


def _when(level: float, t: Array, sums: Array) -> float | None:
    """When the increasing `sums` reach `level`: interpolated, or extrapolated by the late power law."""
    x, y = np.log(t), np.log(np.maximum(sums, 1e-300))
    if y[0] <= np.log(level) <= y[-1]:
        return float(np.exp(np.interp(np.log(level), y, x)))
    late = _halves(t)[1]
    growth = float(slope_weights(t[late]) @ y[late])
    exponent = x[-1] + (np.log(level) - y[-1]) / growth if growth > 0 else np.inf
    return float(np.exp(exponent)) if exponent < np.log(1e15) else None
