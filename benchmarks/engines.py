"""Our ways, in the form of the peers: a workload in, risks (runs, pairs, 2, records) out."""

from functools import partial

from benchmarks.workload import KEY, Workload, workload
from experiments import jumping, stepping
from experiments.methods import SGD
from experiments.stepping import Dtype
from problems.quadratic import Quadratic
from problems.regression import StreamingLeastSquares
from problems.spectra import LogUniform
from theory.arrays import Array

SPECTRUM = LogUniform(dim=100, condition_number=100.0)
additive = partial(workload, Quadratic(SPECTRUM), 0.5)
multiplicative = partial(workload, StreamingLeastSquares(SPECTRUM), 0.04)


def by_steps(work: Workload, dtype: Dtype = "float64") -> Array:
    risk = stepping.simulate(
        work.problem, SGD(), work.multipliers, work.lrs, work.mixings, work.records, KEY, work.runs, dtype
    )
    return risk.reshape(len(work.runs), work.pairs, 2, -1)


def by_jumps(work: Workload) -> Array:
    risk = jumping.simulate(
        work.problem, SGD(), work.multipliers, work.lrs, work.mixings, work.records, KEY, work.runs
    )
    return risk.reshape(len(work.runs), work.pairs, 2, -1)
