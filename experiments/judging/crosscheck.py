"""The comparison of exact risk and Monte Carlo: a disagreement is an error of an engine, and nobody's
verdict."""

import numpy as np
import scipy
from numpy.typing import ArrayLike

from ratelab.experiments.judging.evidence import aligned
from ratelab.theory.arrays import Array, InputError

ALARM = 1e-3
"""Simultaneous level of the comparison."""


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
    settles noiseless records. Below `floor` (`experiments.estimates.risk_floor`) deviations are relative to
    the floor.
    """
    t, e = aligned(times, exact)
    _, r = aligned(times, risks)
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
    p: Array = np.where(still, np.where(mean == 0, 1.0, 0.0), 2 * scipy.stats.t.sf(np.abs(hall), freedom))
    return p
