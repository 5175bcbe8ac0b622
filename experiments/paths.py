"""One curve as its exact law sees it: the steps that lead to its points, and the risk there at any learning
rate."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.spec import Selector, Spec, open_part, unit_of_lr
from theory import moments
from theory.arrays import Array, InputError, Integers
from theory.moments import Law
from theory.schedules import multipliers

TUNED = 1e-4
"""To how much, relative, `tune` finds a learning rate."""
PER_OCTAVE = 2
"""Learning rates that `tune` looks at first, per factor of two."""
OCTAVES = 30
"""How far below the largest stable rate `tune` looks at most."""


@dataclass(frozen=True)
class Path:
    """Points `times` (K,) of the curve of `row`: records of one trajectory, or each a horizon of its own."""

    spec: Spec
    row: Selector
    times: Integers
    anytime: bool

    @property
    def momentum(self) -> float:
        return float(self.row.method.momentum)

    def unit(self, t: int) -> float:
        """What lr = 1 means at a point."""
        horizon = self.spec.longest if self.anytime else t
        return unit_of_lr(self.row.problem, self.row.method, self.spec.lr_unit, horizon)

    def shape(self, t: int) -> Array:
        """The multipliers (t,) of the steps up to a point."""
        return multipliers(open_part(self.row.schedule), t)

    def mixing(self, t: int) -> Array:
        """The mixing weights (t,) up to a point."""
        return np.asarray(self.row.averaging(self.shape(t)))

    def risks(self, lrs: Array, law: Law | None = None, only: NDArray[np.bool_] | None = None) -> Array:
        """The exact risk (n, K) at all points for each of `lrs` (n,), by another law or of coordinates
        only."""
        if self.anytime:
            return self._exact(int(self.times[-1]), lrs, self.times, law, only)
        ends = [self._exact(int(t), lrs, np.array([t]), law, only) for t in self.times]
        return np.concatenate(ends, axis=1)

    def risk(self, lrs: Array, law: Law | None = None, only: NDArray[np.bool_] | None = None) -> Array:
        """The exact risk (K,) at all points, each with its own of `lrs` (K,)."""
        if self.anytime:
            distinct, where = np.unique(lrs, return_inverse=True)
            found = self.risks(distinct, law, only)
            return np.asarray(found[where, np.arange(len(lrs))])
        ends = [
            self._exact(int(t), np.array([lr]), np.array([t]), law, only)
            for t, lr in zip(self.times, lrs, strict=True)
        ]
        return np.asarray(np.concatenate(ends, axis=1)[0])

    def _exact(
        self, horizon: int, lrs: Array, records: Integers, law: Law | None, only: NDArray[np.bool_] | None
    ) -> Array:
        law = self.row.problem.law if law is None else law
        assert law is not None
        shape = self.shape(horizon)
        mixing = np.asarray(self.row.averaging(shape))
        steps = lrs * self.unit(horizon)
        found = moments.exact_risk(law, shape[None], steps, [mixing[None]], records, self.momentum, only)
        return np.asarray(found[0, :, 0])

    def largest_stable(self) -> float:
        """The lr at which the largest step of any point is the largest stable one."""
        problem, method = self.row.problem, self.row.method
        try:
            critical = unit_of_lr(problem, method, "critical", 1)
        except InputError:  # minibatches with momentum: no closed form, and below the limit without noise
            critical = 2 * (1 + self.momentum) / float(problem.smoothness)
        highest = [self.unit(int(t)) * self.shape(int(t)).max() for t in self._ends()]
        return float(critical / max(highest))

    def _ends(self) -> Sequence[int]:
        return [int(self.times[-1])] if self.anytime else [int(t) for t in self.times]


def tune(path: Path) -> tuple[Array, Array]:
    """The learning rate (K,) that minimises the exact risk at each point, in the file's unit, and that risk
    (K,).

    Only stable rates are looked at: no step above the largest stable constant one. Every evaluation serves
    all points: they share a grid, then the refinement of their brackets. A bracket (a, b, c), risk(b) the
    least, is narrowed by the vertex of the parabola through its three points in (log lr, log risk), or halved
    where that lies too near to one of them, until b is known to 1e-4. Where the least risk is that of the
    largest stable rate, that rate is returned. Checked in the tests against brute force and against 2/(L +
    μ).
    """
    limit = path.largest_stable() * (1 - 1e-9)
    below = np.log(limit) - np.log(2) / PER_OCTAVE * np.arange(8.0 * PER_OCTAVE, 0.0, -1.0)
    x = np.concatenate([below, np.log(limit) + np.log1p(-(2.0 ** -np.arange(2, 13))), [np.log(limit)]])
    y = _logs(path, x)
    while np.any(y.argmin(axis=0) == 0) and x[0] > np.log(limit) - OCTAVES * np.log(2):
        more = x[0] - np.log(2) / PER_OCTAVE * np.arange(6.0 * PER_OCTAVE, 0.0, -1.0)
        x, y = np.concatenate([more, x]), np.concatenate([_logs(path, more), y])
    points = np.arange(y.shape[1])
    best = y.argmin(axis=0)
    inner = np.clip(best, 1, len(x) - 2)
    bracket = np.stack([x[inner - 1], x[inner], x[inner + 1]])
    value = np.stack([y[inner - 1, points], y[inner, points], y[inner + 1, points]])
    edge = best != inner
    for _ in range(60):
        open_ = ~edge & (bracket[2] - bracket[0] > 2 * TUNED)
        if not open_.any():
            break
        new = _vertex(bracket, value)
        distinct, where = np.unique(np.where(open_, new, bracket[1])[open_], return_inverse=True)
        found = np.full(len(points), np.inf)
        found[open_] = _logs(path, distinct)[where, points[open_]]
        _narrow(bracket, value, new, found, open_)
    at = np.where(edge, x[best], bracket[1])
    least = np.where(edge, y[best, points], value[1])
    return np.exp(at), np.exp(least)


def _logs(path: Path, x: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(path.risks(np.exp(x))))


def _vertex(bracket: Array, value: Array) -> Array:
    """Where to look next: the parabola's vertex, kept off the three points; in the larger gap where it is of
    no use."""
    (a, b, c), (fa, fb, fc) = bracket, value
    with np.errstate(invalid="ignore", divide="ignore"):
        left, right = (fa - fb) * (c - b), (fc - fb) * (b - a)
        vertex = b + 0.5 * (left * (c - b) - right * (b - a)) / (left + right)
    wider = np.where(c - b > b - a, b + 0.382 * (c - b), b - 0.382 * (b - a))
    lopsided = np.maximum(c - b, b - a) > 8 * np.minimum(c - b, b - a)
    near = TUNED / 2
    off = np.where(vertex > b, np.maximum(vertex, b + near), np.minimum(vertex, b - near))
    usable = np.isfinite(vertex) & (off > a) & (off < c) & ~lopsided
    return np.asarray(np.where(usable, off, wider))


def _narrow(bracket: Array, value: Array, new: Array, found: Array, open_: NDArray[np.bool_]) -> None:
    """Put the new point into each open bracket, in place, and drop the end that is no longer needed."""
    for k in np.flatnonzero(open_):
        (a, b, c), (fa, fb, fc) = bracket[:, k], value[:, k]
        x, f = new[k], found[k]
        if f < fb:
            kept = ((a, x, b), (fa, f, fb)) if x < b else ((b, x, c), (fb, f, fc))
        else:
            kept = ((x, b, c), (f, fb, fc)) if x < b else ((a, b, x), (fa, fb, f))
        bracket[:, k], value[:, k] = kept
