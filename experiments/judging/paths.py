"""One curve as its exact law sees it: the steps that lead to its points, and the risk there at any lr."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ratelab.experiments.spec import Selector, Spec, open_part
from ratelab.experiments.units import LrUnit, unit_of_lr
from ratelab.theory import moments
from ratelab.theory.arrays import Array, InputError, record_times
from ratelab.theory.moments import Law
from ratelab.theory.schedules import multipliers

TUNED = 1e-4
"""To how much, relative, `tune` finds a learning rate."""
BELOW, ABOVE = 2, 16
"""Learning rates per factor of two that are looked at first, below and above the largest stable one."""
OCTAVES = 30
"""How many factors of two away from it they go at most."""
CANCELS = 1e-11
"""Of the largest risk that the iterate ever had: what is left of an average's risk when it has cancelled."""
PEAKS = 60
"""Log-spaced times at which that is looked for."""


@dataclass(frozen=True)
class Path:
    """Points `times` of the curve of `row`: records of one trajectory, or each a horizon of its own.

    `lr_unit` is the file's, and `longest` its longest horizon.
    """

    row: Selector
    times: tuple[int, ...]
    anytime: bool
    lr_unit: LrUnit
    longest: int

    @classmethod
    def of(cls, spec: Spec, row: Selector, times: Sequence[float] | NDArray[np.generic]) -> "Path":
        """The path of a curve of an experiment."""
        along = spec.anytime(row.schedule, row.averaging)
        return cls(row, tuple(int(t) for t in times), along, spec.lr_unit, spec.longest)

    @property
    def momentum(self) -> float:
        return float(self.row.method.momentum)

    def unit(self, t: int) -> float:
        """What lr = 1 means at a point."""
        horizon = self.longest if self.anytime else t
        return unit_of_lr(self.row.problem, self.row.method, self.lr_unit, horizon)

    def shape(self, t: int) -> Array:
        """The multipliers (t,) of the steps up to a point."""
        return multipliers(open_part(self.row.schedule), t)

    def mixing(self, t: int) -> Array:
        """The mixing weights (t,) up to a point."""
        return np.asarray(self.row.averaging(self.shape(t)))

    def risks(self, lrs: Array, law: Law | None = None, only: NDArray[np.bool_] | None = None) -> Array:
        """The exact risk (n, K) at all points for each of `lrs` (n,), by another law or of some
        coordinates."""
        if self.anytime:
            return self._exact(self.times[-1], lrs, self.times, law, only)
        return np.concatenate([self._exact(t, lrs, (t,), law, only) for t in self.times], axis=1)

    def risk(self, lrs: Array, law: Law | None = None, only: NDArray[np.bool_] | None = None) -> Array:
        """The exact risk (K,) at all points, each with its own of `lrs` (K,)."""
        if self.anytime:
            distinct, where = np.unique(lrs, return_inverse=True)
            found = self.risks(distinct, law, only)
            return np.asarray(found[where, np.arange(len(lrs))])
        ends = [
            self._exact(t, np.array([lr]), (t,), law, only) for t, lr in zip(self.times, lrs, strict=True)
        ]
        return np.asarray(np.concatenate(ends, axis=1)[0])

    def floors(self, lrs: Array) -> Array:
        """What an average's risk (n, K) is known to: 1e-11 of the largest risk that the iterate has had by
        then.

        The moments of an average are sums of terms of both signs, which cancel once the iterate has been far
        away. 0 for the iterate itself, and without momentum where no step was above the largest stable one
        (with momentum steps in tune with the iterate make it grow below, too).
        """
        found = np.zeros((len(lrs), len(self.times)))
        for k, t in enumerate(self.times):
            if self.anytime and t != self.times[-1]:
                continue  # the last point's run serves them all
            largest = lrs * self.unit(t) * float(self.shape(t).max(initial=0.0))
            far = np.flatnonzero((largest > self._critical) | (self.momentum > 0))
            if not far.size or np.all(self.mixing(t) == 1):
                continue
            here = list(self.times) if self.anytime else [t]
            records = np.unique([*record_times(t, PEAKS), *here])
            shape, law = self.shape(t)[None], self.row.problem.law
            assert law is not None
            ones, steps = np.ones_like(shape), lrs[far] * self.unit(t)
            last = moments.exact_risk(law, shape, steps, [ones], records, self.momentum)[0, :, 0]
            peak = np.maximum.accumulate(last, axis=1)[:, np.searchsorted(records, here)]
            columns = np.arange(len(self.times)) if self.anytime else np.array([k])
            found[np.ix_(far, columns)] = CANCELS * peak
        return found

    def _exact(
        self,
        horizon: int,
        lrs: Array,
        records: Sequence[int],
        law: Law | None,
        only: NDArray[np.bool_] | None,
    ) -> Array:
        law = self.row.problem.law if law is None else law
        assert law is not None
        shape = self.shape(horizon)
        mixing, steps = np.asarray(self.row.averaging(shape)), lrs * self.unit(horizon)
        found = moments.exact_risk(
            law, shape[None], steps, [mixing[None]], np.array(records), self.momentum, only
        )
        return np.asarray(found[0, :, 0])

    @property
    def _critical(self) -> float:
        """The largest stable constant step."""
        try:
            return unit_of_lr(self.row.problem, self.row.method, "critical", 1)
        except InputError:  # minibatches with momentum: no closed form, and below the limit without noise
            return 2 * (1 + self.momentum) / float(self.row.problem.constants.L)

    def largest_stable(self) -> float:
        """The lr at which the largest step of the last point is the largest stable constant one; inf if all
        are 0."""
        t = self.times[-1]
        highest = self.unit(t) * float(self.shape(t).max(initial=0.0))
        return self._critical / highest if highest > 0 else math.inf


@lru_cache(maxsize=64)
def tune(path: Path) -> tuple[Array, Array]:
    """The learning rate (K,) that minimises the exact risk at each point, in the file's unit, and that risk
    (K,).

    Looked at first are two rates per factor of two below the largest stable constant step and sixteen above,
    as long as the risk there is not above its start at all points for three factors of two: a decaying step,
    or steps made for acceleration, may begin far above it. Around the least of each point the parabola
    through its neighbours in (log lr, log risk) is followed, or their larger gap divided, until the vertex no
    longer moves by 1e-4. Every evaluation serves all points. Of several minima one that the first look missed
    is not found. Where the risk falls with lr for thirty factors of two, the last of these is returned.
    Checked in the tests against brute force and closed forms.
    """
    limit = path.largest_stable()
    if not math.isfinite(limit):  # all steps are zero
        ones = np.ones(len(path.times))
        return ones, path.risk(ones)
    x, y = _first_look(path, limit)
    points = np.arange(y.shape[1])
    for _ in range(60):
        best = y.argmin(axis=0)
        open_ = (best > 0) & (best < len(x) - 1)
        inner = np.clip(best, 1, len(x) - 2)
        near = np.stack([inner - 1, inner, inner + 1])
        bracket, value = x[near], y[near, points]
        new, settled = _vertex(bracket, value)
        wanted = np.unique(np.round(new[:, open_ & ~settled] / (TUNED / 4)) * (TUNED / 4))
        wanted = wanted[np.abs(wanted[:, None] - x).min(axis=1, initial=np.inf) > TUNED / 8]
        if not wanted.size:
            break
        x, y = np.concatenate([x, wanted]), np.concatenate([y, _logs(path, wanted)])
        x, y = x[order := np.argsort(x)], y[order]
    best = y.argmin(axis=0)
    return np.exp(x[best]), np.exp(y[best, points])


def _first_look(path: Path, limit: float) -> tuple[Array, Array]:
    """log lr (n,) and log risk (n, K): a grid that brackets the least of every point, if anything does."""
    step = math.log(2) / BELOW
    start_risk = path.row.problem.constants.start_risk
    start = math.log(start_risk) if start_risk else -math.inf
    x = math.log(limit) + step * np.arange(-8.0 * BELOW, 1.0)
    if path.momentum:  # the risk oscillates with lr, as the iterate does with t
        fine = math.log(limit) + math.log(2) / ABOVE * np.arange(-6.0 * ABOVE, 1.0)
        x = np.unique([*x[x < fine[0] - step / 2], *fine])
    y = _logs(path, x)
    above = 0
    for octave in range(OCTAVES):
        more = math.log(limit) + math.log(2) * (octave + np.arange(1, ABOVE + 1) / ABOVE)
        found = _logs(path, more)
        x, y = np.concatenate([x, more]), np.concatenate([y, found])
        above = above + 1 if np.all(found > start) else 0
        if above == 3 or not np.isfinite(found).any():
            break
    while np.any(y.argmin(axis=0) == 0) and x[0] > math.log(limit) - OCTAVES * math.log(2):
        more = x[0] + step * np.arange(-6.0 * BELOW, 0.0)
        x, y = np.concatenate([more, x]), np.concatenate([_logs(path, more), y])
    return x, y


def _logs(path: Path, x: Array) -> Array:
    lrs = np.exp(x)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.maximum(path.risks(lrs), path.floors(lrs))))


def _vertex(bracket: Array, value: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Two places to look next (2, K), and whether the middle of the three points is the least, to 1e-4.

    The vertex of the parabola, or a place in the larger gap; where the vertex is the middle, its neighbours:
    only between them is the curve known to be a parabola.
    """
    (a, b, c), (fa, fb, fc) = bracket, value
    with np.errstate(invalid="ignore", divide="ignore"):
        left, right = (fa - fb) * (c - b), (fc - fb) * (b - a)
        vertex = b + 0.5 * (left * (c - b) - right * (b - a)) / (left + right)
    wider = np.where(c - b > b - a, b + 0.382 * (c - b), b - 0.382 * (b - a))
    gap = np.maximum(c - b, b - a)
    usable = np.isfinite(vertex) & (vertex > a) & (vertex < c)
    found = usable & (np.abs(vertex - b) < TUNED / 2)
    new = np.where(usable & (gap < 8 * np.minimum(c - b, b - a)), vertex, wider)
    low = np.where(found & (b - a > 5 * TUNED), b - 4 * TUNED, new)
    high = np.where(found & (c - b > 5 * TUNED), b + 4 * TUNED, new)
    return np.stack([low, high]), (found & (gap <= 5 * TUNED)) | (c - a < 2 * TUNED)
