"""Our ways, in the form of the peers: a workload in, risks (runs, pairs, 2, records) out."""

from functools import partial

from benchmarks.workload import KEY, Workload, workload
from ratelab.experiments.engines import jump, step
from ratelab.experiments.engines.step import Dtype
from ratelab.experiments.methods import SGD
from ratelab.problems.quadratic import Quadratic
from ratelab.problems.regression import StreamingLeastSquares
from ratelab.problems.spectra import LogUniform
from ratelab.theory.arrays import Array

SPECTRUM = LogUniform(dim=100, condition_number=100.0)
additive = partial(workload, Quadratic(SPECTRUM), 0.5)
multiplicative = partial(workload, StreamingLeastSquares(SPECTRUM), 0.04)


def by_steps(work: Workload, dtype: Dtype = "float64") -> Array:
    risk = step.simulate(
        work.problem, SGD(), work.multipliers, work.lrs, work.mixings, work.records, KEY, work.runs, dtype
    )
    return risk.reshape(len(work.runs), work.pairs, 2, -1)


def by_jumps(work: Workload) -> Array:
    risk = jump.simulate(
        work.problem, SGD(), work.multipliers, work.lrs, work.mixings, work.records, KEY, work.runs
    )
    return risk.reshape(len(work.runs), work.pairs, 2, -1)
