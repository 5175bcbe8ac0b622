"""Our ways, in the form of the peers: a workload in, risks (runs, pairs, 2, records) out."""

from functools import partial

from benchmarks.workload import KEY, Workload, workload
from ratelab.experiments.engines import jump, step
from ratelab.experiments.engines.job import Job, Precision
from ratelab.experiments.methods import SGD
from ratelab.problems.problem import Problem
from ratelab.problems.quadratic import Quadratic
from ratelab.problems.regression import StreamingLeastSquares
from ratelab.problems.spectra import LogUniform
from ratelab.theory.arrays import Array
from ratelab.theory.averaging import Averaging, Last, Uniform

SPECTRUM = LogUniform(dim=100, condition_number=100.0)
additive = partial(workload, Quadratic(SPECTRUM), 0.5)
multiplicative = partial(workload, StreamingLeastSquares(SPECTRUM), 0.04)


def job(work: Workload, precision: Precision = "float64") -> Job[Problem]:
    averagings: list[Averaging] = [Last(), Uniform()]
    return Job(
        work.problem, SGD(), work.schedules, work.lrs, averagings, work.horizon, work.records, KEY, work.runs,
        precision,
    )  # fmt: skip


def by_steps(work: Workload, dtype: Precision = "float64") -> Array:
    return step.compute(job(work, dtype))["risk"].reshape(len(work.runs), work.pairs, 2, -1)


def by_jumps(work: Workload) -> Array:
    return jump.compute(job(work))["risk"].reshape(len(work.runs), work.pairs, 2, -1)
