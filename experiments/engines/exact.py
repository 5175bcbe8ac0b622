"""What needs no run: the exact expected risk of every averaging, and worst-case bounds for its very steps.

One schedule at a time, to keep memory small.
"""

from collections.abc import Sequence

import numpy as np

from ratelab.experiments.engines.job import Curves, Job
from ratelab.problems.problem import Problem, exact_risk
from ratelab.theory.arrays import Array, Integers
from ratelab.theory.averaging import Averaging, Last, StepWeighted, Uniform
from ratelab.theory.bounds import average_curve, omega_curve
from ratelab.theory.moments import risk_and_norms
from ratelab.theory.schedules import multipliers


def compute(job: Job[Problem]) -> Curves:
    """As "exact" the expected risk and as "bound", (S, n, A, K), each where something is known of it."""
    shape = (len(job.schedules), len(job.lrs), len(job.averagings), len(job.records))
    exact, bound, constants = np.full(shape, np.nan), np.full(shape, np.nan), job.problem.constants
    for s, schedule in enumerate(job.schedules):
        row = multipliers(schedule, job.horizon)
        risk, norms = _known(job, row)
        if risk is not None:
            exact[s] = risk
        for n, squared in enumerate(norms):
            for a, averaging in enumerate(job.averagings):
                bound[s, n, a] = bound_curve(averaging, job.lrs[n] * row, job.records, constants.D, squared)
    return {name: a for name, a in {"exact": exact, "bound": bound}.items() if not np.isnan(a).all()}


def _known(job: Job[Problem], row: Array) -> tuple[Array | None, Sequence[Array]]:
    """Of one schedule the risk (n, A, K), where there is a law, and what bounds E‖g_t‖² of each lr, (T,):
    its exact value or else G²; nothing where neither is known.

    Nor with momentum: the bounds are those of the plain subgradient method.
    """
    problem, momentum, largest = job.problem, job.method.momentum, job.problem.constants.G
    if problem.law is None:
        squared = [] if largest is None or momentum != 0 else [np.full(job.horizon, largest**2)]
        return None, squared * len(job.lrs)
    mixings = [averaging(row)[None] for averaging in job.averagings]
    if momentum != 0:
        return exact_risk(problem, row[None], job.lrs, mixings, job.records, momentum)[0], []
    risk, norms = risk_and_norms(problem.law, row[None], job.lrs, mixings, job.records)
    return risk[0], list(norms[0])


def bound_curve(
    averaging: Averaging, steps: Array, times: Integers, distance: float, squared_norms: Array
) -> Array:
    """The worst-case bound for this averaging at the records, (K,): NaN where none is known.

    Ω for the last iterate; the classical bound for the step-weighted average (at t = T still that of
    x_0..x_{T−1}), and for the uniform one where all steps are equal. Infinite after a divergence.
    """
    finite = int(np.argmin(np.append(np.isfinite(squared_norms), False)))
    asked = np.minimum(times, len(steps) - 1) if isinstance(averaging, StepWeighted) else times
    known = (asked < finite) | (finite == len(steps))
    bound = np.full(len(times), np.inf)
    if isinstance(averaging, Last):
        curve = omega_curve
    elif isinstance(averaging, StepWeighted) or (
        isinstance(averaging, Uniform) and np.all(steps == steps[0])
    ):
        curve = average_curve
    else:
        return np.full(len(times), np.nan)
    if finite and known.any():
        with np.errstate(over="ignore"):  # infinite is the truth
            bound[known] = curve(steps[:finite], asked[known], distance, squared_norms[:finite])
    return bound
