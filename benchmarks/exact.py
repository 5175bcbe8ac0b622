"""Exact moments with a running average: 64 pairs, d = 1000, T = 10⁵, against a NumPy loop over updates."""

import time

import numpy as np
from rich.console import Console

from benchmarks.ways import Way, report
from benchmarks.workload import Workload, workload
from ratelab.problems.quadratic import Quadratic
from ratelab.problems.spectra import LogUniform
from ratelab.theory.arrays import Array
from ratelab.theory.moments import Additive


def numpy_loop(work: Workload) -> Array:
    """E δ², E δδ̄ and E δ̄² of all pairs and coordinates, update by update; risks (pairs, 2, records)."""
    law = work.problem.law
    assert isinstance(law, Additive)
    steps, weights, lam = work.steps[..., None], work.average_weights, law.eigenvalues
    last = np.tile(work.problem.start**2, (work.pairs, 1))
    cross, average = last.copy(), last.copy()
    out = np.empty((work.pairs, 2, len(work.records)))
    at = {int(t): k for k, t in enumerate(work.records)}
    for t in range(work.horizon + 1):
        if t in at:
            out[:, 0, at[t]], out[:, 1, at[t]] = 0.5 * last @ lam, 0.5 * average @ lam
        if t == work.horizon:
            break
        c, factor = weights[t], 1 - steps[t] * lam
        last = factor**2 * last + steps[t] ** 2 * law.noise
        cross *= factor
        average = (1 - c) ** 2 * average + 2 * c * (1 - c) * cross + c**2 * last
        cross = (1 - c) * cross + c * last
    return out


def main(console: Console) -> None:
    problem = Quadratic(LogUniform(dim=1000, condition_number=1000.0))
    full, short = workload(problem, 0.5, 10**5, 1), workload(problem, 0.5, 500, 1)
    np.testing.assert_allclose(numpy_loop(short), short.exact(), rtol=1e-9)
    console.print("NumPy: same moments as ours", style="dim")
    start = time.perf_counter()
    full.exact()
    seconds = time.perf_counter() - start
    console.print(f"ours: {seconds:.1f} s for T = 10⁵ (< 10 s: {'met' if seconds < 10 else 'MISSED'})")
    ours = Way("ratelab.theory.moments", "ours", "64 pairs, T = 10⁵", full.cells, full.exact)
    loop = Way("NumPy", "yardstick", "T = 500, scaled", short.cells, lambda: numpy_loop(short))
    report("Exact moments: quadratic, d = 1000, last iterate and average", [ours, loop], console)
