"""Quadratics with Gaussian noise: from one record time to the next in one exact draw.

Between two records the state of a coordinate is an affine Gaussian function of what it was (`theory.affine`),
with coefficients that depend on (schedule, lr, λ) only. They are folded once and shared by all runs, so a run
of T updates seen at K records costs K draws: exact in distribution, whatever T. Schedules, learning rates and
averagings share the normals of a run (common random numbers). Each averaging has its exact joint law with the
iterate; two averagings of one run are coupled through it, not jointly exact.
"""

import numpy as np

from ratelab.experiments.engines.job import Curves, Job
from ratelab.experiments.engines.kernels import jumping
from ratelab.problems import philox
from ratelab.problems.problem import Objective, Problem
from ratelab.problems.quadratic import Quadratic
from ratelab.theory.affine import interval_maps
from ratelab.theory.arrays import InputError, once_infinite

_MAPS_BYTES = 48 * 2**20  # what the maps and the normals of a chunk of records may take


def can_jump(problem: Objective) -> bool:
    """Whether the state is Gaussian at all times: a quadratic in its eigenbasis, noise Gaussian or none."""
    return isinstance(problem, Quadratic) and problem.gaussian


def compute(job: Job[Problem]) -> Curves:
    """As "risk" (R, S, n, A, K), f of the averagings − f*; infinite after an overflow.

    A run's normals depend on (key, run, record index) only. InputError where `can_jump` is false.
    """
    problem, momentum = job.problem, job.method.momentum
    if not isinstance(problem, Quadratic) or not problem.gaussian:
        raise InputError(f"{problem!r} has no Gaussian state to jump with; step it (engines.step)")
    mixings, where = job.averages
    runs, averagings, width = len(job.runs), mixings.shape[1], 2 if momentum == 0 else 3
    x = np.zeros((runs, job.pairs, width - 1, problem.dim))
    x[:, :, 0] = problem.start
    averages = np.broadcast_to(problem.start, (runs, job.pairs, averagings, problem.dim)).copy()
    risk = np.empty((runs, job.pairs, averagings + 1, len(job.records)))
    lam, scale = problem.eigenvalues, np.sqrt(problem.law.noise)
    times = np.concatenate([[0], job.records])
    per_record = 8 * problem.dim * (job.pairs * (7 + 5 * averagings) + runs * width // 2)
    chunk = max(1, _MAPS_BYTES // per_record)
    for low in range(0, len(job.records), chunk):
        part = times[low : low + chunk + 1]
        maps = interval_maps(job.multipliers, job.lrs, lam, mixings, part, momentum)
        normals = philox.normals(job.key, job.runs, low, len(part) - 1, width * problem.dim)
        normals = normals.reshape(runs, len(part) - 1, width, problem.dim)
        at = jumping.State(x, averages)
        risk[..., low : low + chunk] = jumping.jump(lam, scale, maps, normals, at)
    shaped = once_infinite(risk).reshape(runs, *job.shape, averagings + 1, -1)
    return {"risk": shaped.take(where, axis=3)}
