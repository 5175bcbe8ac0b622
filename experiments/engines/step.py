"""Any problem, any noise: one update at a time, all runs, schedules and learning rates at once.

Quadratics in their eigenbasis and least squares go through compiled kernels, what else there is, and closed
loops, through `plain.step`; both see the same samples. Time is cut into blocks of a few hundred updates: a
run's samples of a block are drawn once and serve all schedules, learning rates and averagings (common random
numbers).

Arithmetic is float64 on float32 noise, or all float32: then the update keeps the form x ← x − η(λx + ξ),
better at small η than x(1 − ηλ), and averages are summed over a block before they are folded into float64.
Without noise, a float32 update below half a unit in the last place of x is still lost.
"""

from typing import TypeAlias

import numpy as np

from ratelab.experiments.engines.job import RUNS, Curves, Job, blocks
from ratelab.experiments.engines.kernels import stepping
from ratelab.problems.problem import Problem, Sample
from ratelab.problems.quadratic import Quadratic
from ratelab.problems.regression import StreamingLeastSquares, TableLeastSquares
from ratelab.theory.arrays import Array, once_infinite

_GROUP_BYTES = 2**20  # of the samples of a block and the states of runs beyond RUNS: calls are amortised

Compiled: TypeAlias = Quadratic | StreamingLeastSquares | TableLeastSquares
"""What kernels know."""


def compiled(job: Job[Problem]) -> bool:
    """Whether kernels know it."""
    return job.loops is None and isinstance(job.problem, Compiled)


def compute(job: Job[Problem]) -> Curves:
    """As "risk" (R, S, n, A, K), f of the averagings − f*; infinite after an overflow.

    The sample of an update depends on (key, run, update) only.
    """
    problem = job.problem
    if not isinstance(problem, Compiled) or not compiled(job):
        from ratelab.experiments.engines import plain  # and with it torch, which takes seconds

        return plain.step(job)
    mixings, where = job.averages
    abreast = _abreast(job, problem, mixings.shape[1])
    groups = [job.runs[r : r + abreast] for r in range(0, len(job.runs), abreast)]
    risk = np.concatenate([_risk(job, problem, runs, mixings) for runs in groups])
    shaped = once_infinite(risk).reshape(len(risk), *job.shape, *risk.shape[2:])
    return {"risk": shaped.take(where, axis=3)}


def _abreast(job: Job[Problem], problem: Compiled, averagings: int) -> int:
    """How many runs are stepped together; no run sees it."""
    longest = max((last - first for first, last in blocks(problem, job.records)), default=0)
    state = 8 * job.pairs * (averagings + 2) * problem.dim
    return max(RUNS, _GROUP_BYTES // (problem.sample_bytes() * longest + state))


def _risk(job: Job[Problem], problem: Compiled, runs: range, mixings: Array) -> Array:
    """Of the averagings of mixings (S, A, T), then of the iterate: (R, P, A + 1, K)."""
    kind = np.float32 if job.precision == "float32" else np.float64
    lam, shape = problem.eigenvalues, (len(runs), job.pairs)
    x = np.broadcast_to(problem.start.astype(kind), (*shape, problem.dim)).copy()
    averages = np.broadcast_to(problem.start, (*shape, mixings.shape[1], problem.dim)).copy()
    at = stepping.State(x, np.zeros_like(x), averages)
    risk = np.empty((*shape, mixings.shape[1] + 1, len(job.records)))
    places = {record: k for k, record in enumerate(job.records.tolist())}
    if 0 in places:
        risk[..., 0] = stepping.risks(lam, at)
    for first, last in blocks(problem, job.records):
        here, momentum = slice(first, last), job.method.momentum
        block = stepping.block(job.multipliers[:, here], job.lrs, momentum, mixings[..., here], kind)
        _advance(problem, problem.sample(job.key, runs, first, last - first), block, at)
        if last in places:
            risk[..., places[last]] = stepping.risks(lam, at)
    return risk


def _advance(problem: Compiled, sample: Sample, block: stepping.Block, at: stepping.State) -> None:
    """One block of updates, in place, by the kernel of the problem."""
    if at.x.dtype == np.float32:
        sample = tuple(part.astype(np.float32, copy=False) for part in sample)
    if isinstance(problem, Quadratic):
        stepping.quadratic(problem.eigenvalues, sample, block, at)
    elif problem.batch == 1 and block.momentum == 0:
        stepping.singles(sample, block, at)
    else:
        stepping.regression(sample, block, at)
