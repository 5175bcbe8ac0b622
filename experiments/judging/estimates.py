"""Numbers and their intervals: means, ratios and fractions of runs, and how claimed numbers are held to them.

Pure statistics, like `evidence`. An estimate that can decide nothing says why (`Estimate.doubt`).
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import scipy  # whose parts are loaded where they are named: stats takes a while
from numpy.typing import ArrayLike, NDArray

from ratelab.experiments.judging.verdict import Relation, Status, Verdict, decide, label, order, tail
from ratelab.theory.arrays import Array, InputError

MIN_RUNS = 64  # below, an interval covers less than it says
MIN_SEEDS = 5  # of a network's losses and errors, and of fractions: see `mean_estimate`
ROUNDING = 1e-12
"""Relative: a 95 % interval is never narrower."""
PRECISION = {"float64": 2.0**-52, "float32": 2.0**-23, "tf32": 2.0**-10, "bfloat16": 2.0**-7}
"""The relative spacing of numbers, by dtype."""


def check_runs(runs: int, minimum: int = MIN_RUNS) -> None:
    """InputError when `runs` are too few for a claim without exact risk (of halved runs, pass the half)."""
    if runs < minimum:
        raise InputError(f"runs is {runs}; a claim judged by Monte Carlo needs at least {minimum} runs")


def risk_floor(start_risk: float, accuracy: float = 0.0, dtype: str = "float64") -> float:
    """The risk below which a number says only "at most that".

    The largest of 1e-13·r(0), 100 times the accuracy to which f* is known, and the spacing of the dtype's
    numbers relative to r(0).
    """
    return max(1e-13 * start_risk, 100.0 * accuracy, PRECISION[dtype] * start_risk)


def mean_of_runs(risks: Array) -> Array:
    """The mean over runs, the first axis; a sum that overflows is a diverged one."""
    with np.errstate(over="ignore"):
        return np.asarray(risks.mean(axis=0))


def standard_error(influence: Array) -> float:
    """√(Σ ψ_i²/(n(n−1))) of influences (n,) that sum to zero."""
    n = len(influence)
    return float(np.sqrt(influence @ influence / (n * (n - 1))))


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
    best = np.argmin(mean_of_runs(r[:half]), axis=0)
    return best, r[half:, best, np.arange(r.shape[2])]


@dataclass(frozen=True)
class Estimate:
    """A number and its interval: exact (low = value = high) or at 95 % shared by `claims` claims.

    An exact number below the floor of what is known has the interval [0, floor]. doubt: why it decides
    nothing; empty where it may.
    """

    value: float
    low: float
    high: float
    exact: bool
    claims: int = 1
    runs: int = 1
    doubt: str = ""

    @property
    def label(self) -> str:
        """What the interval is: "exact", "at most the floor", "95 %", or "95 % over m claims"."""
        return "at most the floor" if self.exact and self.low < self.high else label(self.exact, self.claims)

    def __str__(self) -> str:
        within = "" if self.exact and self.low == self.high else f"in [{self.low:.6g}, {self.high:.6g}] "
        return f"{self.value:.6g} {within}({self.label})"


def exact_estimate(value: float, floor: float = 0.0) -> Estimate:
    """A number known exactly: a risk, or a ratio of two. inf is divergence; NaN (inf/inf, 0/0) is refused.

    A risk below `floor` is known to lie in [0, floor].
    """
    if np.isnan(value):
        raise InputError(
            "the quantity is not a number: both risks of a ratio are 0, or both diverged; choose an earlier T"
        )
    if floor > 0 and value < floor:
        cancelled = (
            f"the exact risk came out as {value:.3g}: its terms have cancelled, and nothing is known of it"
        )
        return Estimate(float(value), 0.0, floor, exact=True, doubt=cancelled if value < -floor else "")
    return Estimate(float(value), float(value), float(value), exact=True)


def exact_ratio(above: float, below: float, floor_above: float = 0.0, floor_below: float = 0.0) -> Estimate:
    """The ratio of two exact risks; infinite when the first diverged, in doubt when the second did."""
    if np.isinf(below) and np.isfinite(above):
        doubt = "the curve that it is compared with diverged, and a ratio of 0 says nothing of this one"
        return Estimate(0.0, 0.0, 0.0, exact=True, doubt=doubt)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = exact_estimate(float(np.float64(above) / np.float64(below)))
    sides = exact_estimate(above, floor_above), exact_estimate(below, floor_below)
    return found if all(side.low == side.high for side in sides) else _ratio_of(*sides)


def _ratio_of(above: Estimate, below: Estimate) -> Estimate:
    """The ratio where a side lies below its floor: what the two intervals leave of it."""
    low, high = above.low / below.high, above.high / below.low if below.low > 0 else np.inf
    value = max(above.value, 0.0) / below.value if below.value > 0 else high
    doubt = above.doubt or below.doubt
    if not doubt and low <= 0 and not np.isfinite(high):
        doubt = (
            f"the two are known only as at most {above.high:.2g} and {below.high:.2g}, where nothing more is "
            "known: compare them earlier, before they get there"
        )
    return Estimate(value, low, high, above.exact and below.exact, above.claims, above.runs, doubt)


def mean_estimate(
    samples: ArrayLike,
    claims: int = 1,
    *,
    minimum: int = MIN_RUNS,
    rows: int = 0,
    floor: float = 0.0,
    tail_index: float = np.inf,
) -> Estimate:
    """Mean of n independent positive `samples` (n,) and an interval that covers it though they are skewed.

    With s their standard deviation and reach ρ = t_{n−1} s/(√n x̄), the ends are x̄(1 − ρ), Student's, and the
    larger of x̄ exp(ρ) (the delta method on the logarithm) and Hall's: the inverse of his monotone
    transformation T + γT²/(3√n) + γ²T³/(27n) + γ/(6√n) of Student's T, which removes the skewness γ (P. Hall,
    J. R. Stat. Soc. B 54, 1992, 221-228), at Student's quantile with n/(k − 1) degrees of freedom. By
    Satterthwaite s² has about 2n/(k − 1) of them, k the kurtosis; half is taken because a sample understates
    its own. The choice of the larger end and that half are this project's. Coverage in %, Student's and then
    this one's, measured:

        n = 5 (20,000 trials): normal                         95.0, 95.9
            gamma, skewness 1                                 93.6, 96.5
            exponential                                       88.6, 95.4
        n = 64, risks of SGD after 1000 updates (8000 trials at d = 1, 2000 at d = 10):
            Gaussian noise, d = 1; 10                         92.8, 97.2; 95.0, 96.4
            Student-t noise, 5 degrees of freedom, d = 1      87.9, 95.9
            4 degrees of freedom, d = 1; 10                   83.7, 94.7; 92.0, 95.5
            least squares, half the critical step, d = 1      87.0, 95.2
        one run in ten is stuck ten sd above, n = 5; 10; 64   76, 83; 72, 77; 93, 99

    The last is what no formula mends: with few runs none of the rare ones is drawn; 3/p runs are needed for
    what happens with probability p, and `fraction_estimate` speaks of such events at any n. On honest samples
    (d ≥ 10) the interval is 7 % wider than Student's at n = 64.

    minimum     the fewest runs that are judged
    rows        of an error, how many rows it is a fraction of: the interval is at least the Clopper-Pearson
                one of n · rows independent rows, so that few rows never give a width of zero
    floor       see `risk_floor`
    tail_index  α with P(sample > x) ~ x^−α, where it is known. Below 2 the variance is infinite, Student's t
                has another limit (B. F. Logan, C. L. Mallows, S. O. Rice and L. A. Shepp, Ann. Probab. 1,
                1973, 788-809), and nothing is decided: means settle like n^−(1 − 1/α)
    """
    x = np.asarray(samples, dtype=np.float64)
    check_runs(len(x), minimum)
    mean = float(mean_of_runs(x))
    if not np.isfinite(mean):
        return _diverged(x, claims)
    scale = mean if mean > 0 else 1.0
    least = ROUNDING + floor / (100 * scale)
    student, hall = (max(reach, least) for reach in _reaches(x / scale - mean / scale, tail(claims)))
    low, high = mean - scale * student, mean + scale * max(student, hall)
    if mean > 0:
        high = max(high, mean * float(np.exp(student)))
    if rows:
        pooled = _binomial(mean, len(x) * rows, claims)
        low, high = min(max(low, 0.0), pooled[0]), max(high, pooled[1])
    found = Estimate(
        mean, low, high, exact=False, claims=claims, runs=len(x), doubt=infinite_variance(tail_index)
    )
    return _above(found, floor)


def _reaches(influence: Array, level: float) -> tuple[float, float]:
    """Student's and Hall's reach above the mean of `influence` (n,), which sums to zero; see
    `mean_estimate`."""
    n = len(influence)
    variance = float(influence @ influence) / n
    if variance == 0:
        return 0.0, 0.0
    error = float(np.sqrt(variance / (n - 1)))
    z = influence / np.sqrt(variance)
    g = max(float((z**3).mean()), 0.0) / np.sqrt(n)
    freedom = float(np.clip(n / max(float((z**4).mean()) - 1, 1e-9), 1, n - 1))
    student, reduced = float(scipy.stats.t.isf(level, n - 1)), float(scipy.stats.t.isf(level, freedom))
    hall = 3 / g * (1 + float(np.cbrt(g * (reduced + g / 6) - 1))) if g > 1e-6 else reduced
    return student * error, hall * error


def _binomial(share: float, rows: int, claims: int) -> tuple[float, float]:
    """Clopper-Pearson's interval of a share of so many rows."""
    hits, level = min(max(share, 0.0), 1.0) * rows, tail(claims)
    low = float(scipy.stats.beta.ppf(level, hits, rows - hits + 1)) if hits > 0 else 0.0
    high = float(scipy.stats.beta.ppf(1 - level, hits + 1, rows - hits)) if hits < rows else 1.0
    return low, high


def infinite_variance(tail_index: float) -> str:
    """Why a mean of infinite variance decides nothing; empty where the variance is finite."""
    if tail_index >= 2:
        return ""
    needed = order(10 ** (tail_index / (tail_index - 1))) if tail_index > 1 else "no number of"
    return (
        f"the risk's variance is infinite under this noise (tail index {tail_index:g}, below 2), and no "
        "interval of its mean can be trusted, however many the runs: the mean itself comes to within 10 % "
        f"after about {needed}; claim it where the risk is exact, or a fraction of the runs"
    )


def _above(found: Estimate, floor: float) -> Estimate:
    """What is known of a mean of risks: none is negative, and one below the floor is at most that."""
    if floor == 0:
        return found
    if found.value < -floor:
        doubt = f"the mean is {found.value:.3g}, below zero by more than its floor of {floor:.2g}: no risk is"
        return replace(found, doubt=found.doubt or doubt)
    if found.value < floor:
        return replace(found, low=0.0, high=max(found.high, floor))
    return replace(found, low=max(found.low, 0.0))


def _diverged(samples: Array, claims: int) -> Estimate:
    runs = len(samples)
    hits = max(1, int((~np.isfinite(samples)).sum()))  # a sum may overflow where no run has
    share = fraction_estimate(hits, runs, claims)
    doubt = (
        f"{hits} of {runs} runs diverged (a fraction in [{share.low:.2g}, {share.high:.2g}]): a mean with "
        'them is not a number; claim quantity = "diverged", or take a smaller lr'
    )
    return Estimate(np.inf, 0.0, np.inf, exact=False, claims=claims, runs=runs, doubt=doubt)


def fraction_estimate(hits: int, runs: int, claims: int = 1, unclear: int = 0) -> Estimate:
    """The probability of an event seen in `hits` of n independent runs, and its Clopper-Pearson interval.

    The ends are the α/2 quantile of Beta(k, n − k + 1) and the 1 − α/2 quantile of Beta(k + 1, n − k), α =
    0.05/`claims`, and 0 and 1 for k = 0 and k = n. It covers at least 1 − α at any n and any probability
    (C. J. Clopper and E. S. Pearson, Biometrika 26, 1934, 404-413). Of `unclear` runs more it isn't known
    whether the event happened: the interval is that of all that may be.
    """
    check_runs(runs, MIN_SEEDS)
    most = hits + unclear
    if not 0 <= hits <= most <= runs:
        raise InputError(f"{most} of {runs} runs is no fraction; give hits from 0 to {runs}")
    least = tail(claims)
    low = float(scipy.stats.beta.ppf(least, hits, runs - hits + 1)) if hits else 0.0
    high = float(scipy.stats.beta.ppf(1 - least, most + 1, runs - most)) if most < runs else 1.0
    doubt = ""
    if unclear == runs:
        doubt = "in every run it lies below the floor of what is known: compare earlier"
    return Estimate(hits / runs, low, high, exact=False, claims=claims, runs=runs, doubt=doubt)


def ratio_estimate(
    above: ArrayLike,
    below: ArrayLike,
    *,
    paired: bool,
    claims: int = 1,
    minimum: int = MIN_RUNS,
    rows: int = 0,
    floors: tuple[float, float] = (0.0, 0.0),
    tail_index: float = np.inf,
) -> Estimate:
    """ρ = ā/b̄ of risks (n,) and (m,), with an interval in log ρ, whose reaches are those of `mean_estimate`.

    Paired (run i of both shared its noise, n = m): of the influences ψ_i = a_i/ā − b_i/b̄, upwards those of ψ
    and downwards those of −ψ. Otherwise the two sides' own, of a upwards and b downwards, √(u_a² + l_b²), and
    the other way round (MOVER; G. Y. Zou and A. Donner, Stat. Med. 27, 2008, 1693-1702). Measured coverage:
    five pairs of gamma samples with skewness 0.5 to 2 at least 95.8 %, unpaired 96.9 %, a spread of 100 %
    against one of 10 % 94.6 %; 64 runs under Student-t noise of 4 degrees of freedom 95.3 % paired, 94.9 %
    unpaired. A ratio of risks is positive: InputError where a mean is 0, unless that lies below its floor.
    `minimum`, `floors` and `tail_index` as in `mean_estimate`. `rows`: the errors of both sides are fractions
    of so many rows; the reach is then at least that of no row in n · rows on which they differ.
    """
    a, b = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    check_runs(min(len(a), len(b)), minimum)
    if paired and len(a) != len(b):
        raise InputError(f"{len(a)} runs cannot be paired with {len(b)}; run both alike, or compare unpaired")
    means = float(mean_of_runs(a)), float(mean_of_runs(b))
    for side, mean in ((a, means[0]), (b, means[1])):
        if not np.isfinite(mean):
            return _diverged(side, claims)
    sides = zip((a, b), floors, strict=True)
    if min(means) <= 0 and floors == (0.0, 0.0):
        raise InputError(
            f"one side of the ratio is 0 in every run ({means[0]:g}/{means[1]:g}), which says nothing of how "
            "small it may be: claim a value, or the fraction of runs that end worse"
        )
    if means[0] < floors[0] or means[1] < floors[1]:
        a_side, b_side = (
            mean_estimate(x, claims, minimum=minimum, rows=rows, floor=floor, tail_index=tail_index)
            for x, floor in sides
        )
        return _ratio_of(a_side, b_side)
    ratio, level = means[0] / means[1], tail(claims)
    u, v = a / a.mean() - 1.0, b / b.mean() - 1.0
    if paired:
        up, down = max(_reaches(u - v, level)), max(_reaches(v - u, level))
    else:
        (low_a, high_a), (low_b, high_b) = _reaches(u, level), _reaches(v, level)
        up_a, up_b = max(low_a, float(np.log1p(high_a))), max(low_b, float(np.log1p(high_b)))
        up, down = float(np.hypot(up_a, low_b)), float(np.hypot(low_a, up_b))
    least = 2 * ROUNDING + max(floor / (100 * mean) for floor, mean in zip(floors, means, strict=True))
    if rows:
        least = max(least, _unseen(len(a) * rows, min(means), claims))
    up, down = max(up, least), max(down, least)
    low, high = ratio * float(np.exp(-down)), ratio * float(np.exp(up))
    return Estimate(ratio, low, high, False, claims, min(len(a), len(b)), infinite_variance(tail_index))


def _unseen(rows: int, share: float, claims: int) -> float:
    """How far a log ratio of errors may be off where no row was seen on which the two differ."""
    return float(np.log1p(_binomial(0.0, rows, claims)[1] / share))


def judge_value(
    estimate: Estimate, number: float, tolerance: float, relation: Relation = "equals"
) -> Verdict:
    """Is a quantity (or a ratio) at most, at least, or equal to `number`, give or take `tolerance` ≥ 0?

    The interval I of the estimate is held against [number − tolerance, number + tolerance]: at_most is
    supported when max I ≤ number + tolerance and refuted when min I is above; at_least likewise from below;
    equals is supported when I lies inside and refuted when it lies outside. An exact infinite number is
    divergence: at_most and equals are refuted, at_least is undecided. What is in doubt decides nothing.
    """
    if not (np.isfinite(number) and np.isfinite(tolerance) and tolerance >= 0):
        raise InputError(
            f"cannot judge against {number} ± {tolerance}; give a finite number and a tolerance >= 0"
        )
    if estimate.doubt:
        return Verdict("undecided", estimate.doubt, estimate, tolerance)
    if not np.isfinite(estimate.value) and estimate.low == estimate.high:
        status: Status = "undecided" if relation == "at_least" else "refuted"
        return Verdict(status, "infinite: it diverged", estimate, tolerance)
    status = decide(estimate.low, estimate.high, number - tolerance, number + tolerance, relation)
    reason = f"{estimate}; claimed {number:g} ± {tolerance:g}"
    if status == "undecided":
        reason += "; " + _remedy(estimate, number, tolerance, relation)
    return Verdict(status, reason, estimate, tolerance)


def _remedy(estimate: Estimate, number: float, tolerance: float, relation: Relation) -> str:
    """How many runs would decide, where any number would."""
    if estimate.exact or estimate.low == 0:
        return "below the floor nothing more is known: claim it earlier, before the risk gets there"
    ends = {
        "equals": (number - tolerance, number + tolerance),
        "at_most": (number + tolerance,),
        "at_least": (number - tolerance,),
    }[relation]
    room = min(abs(estimate.value - end) for end in ends)
    n, spread = estimate.runs, estimate.value - estimate.low
    width = max(estimate.high - estimate.value, spread)
    if relation == "equals" and tolerance < width / 30 and room < width:
        return "an interval never fits into so small a tolerance: give a larger one"
    if not 0 < width < 30 * room:
        return "its end lies on the number claimed, where no number of runs decides"
    student = partial(scipy.stats.t.isf, tail(estimate.claims))  # falls with n, too
    half = spread / float(student(n - 1))
    wider = n
    while wider < 10**7 and half * (n / wider) ** 0.5 * student(wider - 1) > room:
        wider = -(-wider * 11 // 10)
    return f"more runs would narrow it: about {order(max(1.5 * wider, 1.5 * n))}"
