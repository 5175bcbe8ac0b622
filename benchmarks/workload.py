"""What is simulated: 16 schedules × 4 learning rates, 100 records, last iterate and running average.

Every way, ours or a peer's, takes a workload and returns its risks as (runs, pairs, 2, records): all of them
are held against the exact expected risk, and two that see the same noise against each other.
"""

from dataclasses import dataclass

import numpy as np

from ratelab.problems.problem import exact_risk
from ratelab.problems.quadratic import Quadratic
from ratelab.problems.regression import StreamingLeastSquares
from ratelab.theory.arrays import Array, Integers, record_times
from ratelab.theory.averaging import Last, Uniform
from ratelab.theory.schedules import InversePower

SCHEDULES, RATES, RECORDS = 16, 4, 100
KEY = 2024


@dataclass(frozen=True, eq=False)
class Workload:
    """`schedules` (S) and `lrs` (n,) on `problem`, seen at `records` (K,) by `runs` runs."""

    problem: Quadratic | StreamingLeastSquares
    schedules: tuple[InversePower, ...]
    lrs: Array
    mixings: tuple[Array, Array]
    records: Integers
    runs: range

    @property
    def horizon(self) -> int:
        return int(self.records[-1])

    @property
    def multipliers(self) -> Array:
        """(S, T)."""
        return np.stack([schedule(self.horizon) for schedule in self.schedules])

    @property
    def pairs(self) -> int:
        return len(self.schedules) * len(self.lrs)

    @property
    def cells(self) -> int:
        """runs · pairs · updates · coordinates: what nanoseconds are counted per."""
        return len(self.runs) * self.pairs * self.horizon * self.problem.dim

    @property
    def steps(self) -> Array:
        """The learning rate of every update and pair, (T, pairs), as the peers want it."""
        return np.ascontiguousarray((self.multipliers[:, None] * self.lrs[:, None]).reshape(self.pairs, -1).T)

    @property
    def average_weights(self) -> Array:
        """c_t of the running average x̄ ← x̄ + c_t (x − x̄), (T,): the same for every schedule."""
        return np.asarray(self.mixings[1][0])

    def exact(self) -> Array:
        """E risk, (pairs, 2, records)."""
        risk = exact_risk(self.problem, self.multipliers, self.lrs, self.mixings, self.records)
        return risk.reshape(self.pairs, 2, -1)


def workload(
    problem: Quadratic | StreamingLeastSquares,
    largest: float,
    horizon: int,
    runs: int,
    schedules: int = SCHEDULES,
    rates: int = RATES,
) -> Workload:
    """t^-α for α from 0 to 1, times learning rates from `largest`/8 to `largest`, absolute."""
    shapes = tuple(InversePower(float(alpha)) for alpha in np.linspace(0, 1, schedules))
    last, uniform = (
        np.broadcast_to(averaging(shapes[0](horizon)), (schedules, horizon))
        for averaging in (Last(), Uniform())
    )
    lrs = np.geomspace(largest / 8, largest, rates)
    records = record_times(horizon, RECORDS)
    return Workload(problem, shapes, lrs, (last, uniform), records, range(runs))


def deviation(risk: Array, exact: Array) -> float:
    """max |z| of the mean over the runs (R, …) against `exact` (…)."""
    error = risk.std(axis=0, ddof=1) / np.sqrt(len(risk))
    seen = error > 1e-5 * exact  # at t = 0 nothing is random, and float32 has rounded
    return float(np.abs((risk.mean(axis=0) - exact)[seen] / error[seen]).max())


def agree(way: str, risk: Array, exact: Array) -> str:
    """A line that says so, or AssertionError."""
    z = deviation(risk, exact)
    assert z < 6, f"{way} misses the exact risk by {z:.1f} standard errors: it computes something else"
    return f"{way}: |z| <= {z:.1f} against the exact risk"
