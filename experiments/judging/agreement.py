"""Exact risk and Monte Carlo of one run, compared before anything is judged: a disagreement is nobody's
verdict but an error of an engine."""

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ratelab.experiments.judging import estimates
from ratelab.experiments.judging.crosscheck import cross_check
from ratelab.experiments.spec import Spec, open_part
from ratelab.experiments.store import Curve, Results
from ratelab.experiments.units import unit_of_lr
from ratelab.problems.noise import StudentT
from ratelab.theory.arrays import Array, InputError
from ratelab.theory.moments import Additive, critical_lr
from ratelab.theory.schedules import multipliers

CANCELLED = 1e-10
"""Of the largest risk so far: below it the exact risk isn't compared with the runs."""
OVERFLOW = {"float64": 1e300, "float32": 1e70}
"""Nor above: a state of this precision may have overflowed."""


class EngineError(RuntimeError):
    """Exact risk and Monte Carlo disagree: one of the engines is wrong."""


def check_engines(results: Results) -> None:
    """Compare the exact risk of every curve with its runs, at a level that holds for all of them together."""
    spec = results.spec
    curves = [curve for curve in _computed(spec) if not curve.problem.trained]
    tolerance = 1e-9 if spec.dtype == "float64" else 1e-3
    for curve in curves:
        exact = results.exact(curve)
        if exact is None:
            continue
        runs = results.runs(curve)
        times, expected = exact["t"].values, exact.values
        expected = np.where(_comparable(spec, curve, times, expected), expected, np.inf)
        if len(runs) < 2 or np.isinf(expected).all():
            continue
        fault = cross_check(times, expected, runs.values, comparisons=len(curves), tolerance=tolerance)
        if fault is not None:
            raise EngineError(f"{', '.join(map(repr, curve))}: {fault}")


def _comparable(spec: Spec, curve: Curve, times: Array, exact: Array) -> NDArray[np.bool_]:
    """The records at which runs can speak about the exact risk.

    Not where it has fallen far below what it was (the difference of larger numbers, known to fewer digits),
    nor near overflow. With noise, from 64 runs on, for the level is not kept below; not where fourth moments
    are infinite; and with multiplicative noise only while every step was at most half the critical one:
    above, rare large risks carry the mean, and are not drawn.
    """
    known = (exact >= CANCELLED * np.maximum.accumulate(exact)) & (exact < OVERFLOW[spec.dtype])
    law = curve.problem.law
    if isinstance(law, Additive) and not law.noise.any():
        return known
    noise = getattr(curve.problem, "noise", None)
    if spec.runs < estimates.MIN_RUNS or (isinstance(noise, StudentT) and noise.df <= 4):
        return np.zeros_like(known)
    if isinstance(law, Additive):
        return known
    try:
        assert law is not None  # only exact risks are compared
        limit = critical_lr(law, curve.method.momentum) / 2
    except InputError:
        return np.zeros_like(known)
    unit = unit_of_lr(curve.problem, curve.method, spec.lr_unit, curve.horizon)
    largest = np.maximum.accumulate(curve.lr * unit * multipliers(open_part(curve.schedule), curve.horizon))
    stable: NDArray[np.bool_] = (times == 0) | (largest[np.maximum(times.astype(int) - 1, 0)] <= limit)
    return known & stable


def _computed(spec: Spec) -> Iterator[Curve]:
    """Every curve that was computed, each once, at the horizon of its cell; cell by cell."""
    for p, m, h in itertools.product(spec.problems, spec.methods, spec.horizons):
        for s, a in itertools.product(spec.schedules, spec.averagings):
            if spec.home(s, a, h) == h:
                yield from (Curve(p, m, s, a, lr, h) for lr in spec.lr)
