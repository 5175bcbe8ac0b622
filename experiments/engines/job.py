"""What is asked of an engine, whichever it is: one value, made of values. Arrays are made from it where they
are needed. The answer is arrays by name.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, Literal, TypeAlias, TypeVar

import numpy as np

from ratelab.experiments.methods import Method
from ratelab.problems.problem import Problem
from ratelab.theory.arrays import Array, Integers
from ratelab.theory.averaging import Averaging
from ratelab.theory.feedback import Feedback
from ratelab.theory.moments import without_last
from ratelab.theory.schedules import Schedule, multipliers

Precision: TypeAlias = Literal["float64", "float32", "tf32", "bfloat16"]
"""Of the arithmetic; the last two are a GPU's, of the products of networks with float32 parameters."""

Curves: TypeAlias = dict[str, Array]
"""What is found at the records, by name: (S, n, A, K) of exact numbers, (R, S, n, A, K) of runs."""

P_co = TypeVar("P_co", covariant=True)

BLOCK = 256  # updates: short enough for a float32 sum, long enough to amortise a call
RUNS = 64  # that are stepped together; more where they are small
_SAMPLE_BYTES = 16 * 2**20  # what their samples of a block may take


@dataclass(frozen=True)
class Loops:
    """Closed loops: one rule per schedule, which sees each run at t = every, 2·every, …

    What it sees is f(x_t) − f*, not a loss: a threshold relative to it is a smaller one than relative to a
    loss with f* > 0. Of a network it is the loss on the validation rows, or else on the training rows.
    """

    rules: Sequence[Feedback]
    every: int


@dataclass(frozen=True, eq=False)
class Job(Generic[P_co]):
    """Every schedule × learning rate × averaging of a problem and a method, seen at the records.

    schedules: S of them, of `loops` the open parts; lrs (n,), absolute; averagings: A of them. The schedules
    see the horizon T; updates are made up to the last of the records (K,), increasing update counts. `key`
    from `philox.stream_key`: the randomness of a run depends on (key, run) only.
    """

    problem: P_co
    method: Method
    schedules: Sequence[Schedule]
    lrs: Array
    averagings: Sequence[Averaging]
    horizon: int
    records: Integers
    key: int = 0
    runs: range = range(0)
    precision: Precision = "float64"
    device: str = "cpu"
    loops: Loops | None = None

    @property
    def updates(self) -> int:
        """That are made."""
        return int(self.records[-1])

    @property
    def shape(self) -> tuple[int, int]:
        """(S, n)."""
        return len(self.schedules), len(self.lrs)

    @property
    def pairs(self) -> int:
        """Of schedule s and learning rate l, which has the number s·n + l."""
        return len(self.schedules) * len(self.lrs)

    @cached_property
    def multipliers(self) -> Array:
        """(S, T)."""
        return np.stack([multipliers(schedule, self.horizon) for schedule in self.schedules])

    @property
    def mixings(self) -> list[Array]:
        """The weights of each averaging for every schedule, A arrays (S, T)."""
        return [np.stack([averaging(row) for row in self.multipliers]) for averaging in self.averagings]

    @cached_property
    def averages(self) -> tuple[Array, list[int]]:
        """Weights (S, A', T) of those other than the iterate, and each one's place; A' is the iterate's."""
        return without_last(self.mixings, self.multipliers.shape)


def blocks(problem: Problem, records: Integers) -> Iterator[tuple[int, int]]:
    """Spans [first, last) of updates that cover 0 … records[−1], none across a record.

    They depend on the problem and the records only: sums over a block round alike, whatever runs are asked
    for together.
    """
    longest = max(1, min(BLOCK, _SAMPLE_BYTES // (problem.sample_bytes() * RUNS)))
    first = 0
    for record in records.tolist():
        while first < record:
            last = min(first + longest, record)
            yield first, last
            first = last
