"""What a claim reads of one curve: its values at a record, or the points that a rate is fitted to, at the
learning rate asked for, at the grid's best or at the tuned one; and what is known of them, their floor and
their tail.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import xarray as xr

from ratelab.experiments.faults import is_exact, tuned_faults
from ratelab.experiments.judging import estimates, evidence
from ratelab.experiments.judging.paths import OCTAVES, Path, tune
from ratelab.experiments.spec import FractionWorse, Number, Quantity, Selector, Spec
from ratelab.experiments.store import Curve
from ratelab.problems.networks import rows_of
from ratelab.problems.noise import StudentT
from ratelab.theory.arrays import Array

NEAR = 0.8
"""Of the largest stable lr, from which on a grid needs no larger value."""


class Kept(Protocol):
    """The curves of an experiment: those of its results, or those that a figure's table holds."""

    @property
    def spec(self) -> Spec: ...

    def exact(self, curve: Curve) -> xr.DataArray | None: ...

    def runs(self, curve: Curve, quantity: str = "risk") -> xr.DataArray: ...


@dataclass(frozen=True)
class Reading:
    """Values (n, K) of a quantity of the curve `row` at `times` (K,), n = 1 where they are exact, with the lr
    chosen at each (K,).

    floor: what lies below it is not known. edge: the fault of a grid whose best is at its end. tail: α of the
    risk's tail, P(r > x) ~ x^−α. rows: of how many an error is a fraction, 0 for other quantities.
    """

    row: Selector
    times: Array
    values: Array
    lrs: Array
    exact: bool
    floor: float = 0.0
    edge: str = ""
    tail: float = np.inf
    rows: int = 0

    @property
    def halved(self) -> bool:
        """Whether half of the runs chose the lr, so that the other half are these."""
        return self.row.lr == "best" and len(self.values) > 1

    def chosen(self) -> str:
        """The learning rate in words."""
        first, last = f"{self.lrs[0]:.4g}", f"{self.lrs[-1]:.4g}"
        if not isinstance(self.row.lr, str):
            return first
        return f"{first if first == last else f'{first} to {last}'} ({self.row.lr})"


def final(results: Kept, measured: Number, row: Selector, exact: bool) -> Reading:
    """What is claimed of `row` at its record: (1, 1) exact, else (runs, 1); half of them for the best lr.

    The best lr is that of the quantity claimed.
    """
    spec, quantity = results.spec, measured.quantity
    horizon = measured.horizon or spec.longest
    at = horizon if measured.at is None else measured.at
    scale = 1 / row.problem.constants.start_risk if quantity == "risk/start" else 1.0
    if row.lr == "tuned":
        read = _tuned(Path.of(spec, row, [at]), scale)
    else:
        path = Path.of(spec, row, [horizon]) if exact else None
        found = scale * _ends(results, measured, row, horizon, exact)
        read = _chosen(spec, row, path, np.array([float(at)]), found)
        read = replace(read, floor=scale * read.floor)
    known = scale * _risk_floor(spec, row, exact) if quantity.startswith("risk") else 0.0
    return replace(read, floor=max(known, read.floor), tail=_tail(row, quantity), rows=_rows(row, quantity))


def _ends(results: Kept, measured: Number, row: Selector, horizon: int, exact: bool) -> Array:
    """The quantity, (n, lrs, 1), infinite where it is not a number; of a divergence 1 where it is, otherwise
    0.

    In a fraction, the error of a diverged run is worse than any; in a mean it is the 1 that it is.
    """

    def end_of(quantity: str) -> Array:
        times, values = _read(results, row, horizon, exact, quantity)
        values = values[..., -1:] if measured.at is None else values[..., times == measured.at]
        return np.where(np.isnan(values), np.inf, values)

    quantity = measured.quantity
    if quantity == "diverged":
        return np.isinf(end_of("risk" if "risk" in row.problem.quantities else "train_loss")).astype(
            np.float64
        )
    found = end_of(quantity.removesuffix("/start"))
    if isinstance(measured, FractionWorse) and quantity.endswith("_error"):
        found = np.where(np.isinf(end_of(quantity.replace("error", "loss"))), np.inf, found)
    return found


def points(results: Kept, row: Selector) -> Reading:
    """What to fit a rate to: records of one trajectory, or one point per horizon."""
    spec, exact = results.spec, is_exact(row)
    along = spec.anytime(row.schedule, row.averaging)
    if row.lr == "tuned":
        every = np.array(spec.times(spec.longest) if along else sorted(spec.horizons))
        read = _tuned(Path.of(spec, row, every[evidence.window(every)]))
    elif along:
        times, values = _read(results, row, spec.longest, exact)
        read = _chosen(spec, row, Path.of(spec, row, times) if exact else None, times, values)
    else:
        horizons = sorted(spec.horizons)
        ends = [_read(results, row, horizon, exact)[1][..., -1] for horizon in horizons]
        path = Path.of(spec, row, horizons) if exact else None
        read = _chosen(spec, row, path, np.array(horizons, dtype=np.float64), np.stack(ends, axis=-1))
    return replace(read, floor=max(_risk_floor(spec, row, exact), read.floor), tail=_tail(row, "risk"))


def _chosen(spec: Spec, row: Selector, path: Path | None, times: Array, values: Array) -> Reading:
    """Of values (n, lrs, K) those of the lr asked for; the best is that of each time. `path`: of an exact
    risk."""
    lrs, exact = np.array(_lrs(spec, row)), path is not None
    floors = np.zeros((len(lrs), len(times))) if path is None else path.floors(lrs)
    if row.lr != "best":
        rates = np.full(len(times), lrs[0])
        return Reading(row, times, values[:, 0], rates, exact, float(floors.max()))
    if exact:
        best = np.argmin(np.maximum(values[0], floors), axis=0)
        kept = np.take_along_axis(values, best[None, None], axis=1)[:, 0]
    else:
        best, kept = estimates.held_out_best(values)
    floor = float(floors[best, np.arange(len(times))].max())
    return Reading(row, times, kept, lrs[best], exact, floor, _edge(spec, row, times, lrs[best]))


def _tuned(path: Path, scale: float = 1.0) -> Reading:
    """The risk at the learning rate that minimises it, at each point."""
    lrs, risk = tune(path)
    floor = float(path.floors(np.unique(lrs)).max())
    times, lowest = np.array(path.times, dtype=np.float64), path.largest_stable() * 2.0 ** -(OCTAVES - 1)
    edge = ""
    if lrs.min() < lowest < np.inf:
        edge = (
            f"the risk at t = {times[lrs.argmin()]:g} is the less the smaller lr is, down to {lrs.min():.2g}"
        )
    return Reading(path.row, times, scale * risk[None], lrs, True, scale * floor, edge)


def _edge(spec: Spec, row: Selector, times: Array, chosen: Array) -> str:
    """Which value to add to a grid whose best is at its end, somewhere in the window; empty where it isn't.

    The largest is no end where no stable lr lies above: where the exact risk of the next one is larger, and
    its first step above the largest stable one.
    """
    grid, inside = np.sort(spec.lr), evidence.window(times)
    low, high = float(grid[0]), float(grid[-1])
    factors = np.clip((grid[1] / low, high / grid[-2]) if len(grid) > 1 else (3.0, 3.0), 1.5, 10.0)
    path = Path.of(spec, row, times[inside]) if is_exact(row) else None
    limit = np.inf if path is None else path.largest_stable()
    for end, value, wanted in (
        ("smallest", low, 0.9 * limit if low > limit else low / factors[0]),
        ("largest", high, 0.9 * limit if high < NEAR * limit < high * factors[1] else high * factors[1]),
    ):
        at = np.flatnonzero(chosen[inside] == value)
        if not at.size:
            continue
        if end == "largest" and path is not None and wanted > limit:
            one, next_ = path.risks(np.array([value, wanted]))[:, at]
            at = at[next_ < one]
        if at.size:
            when = times[inside][at[0]]
            also = "" if path is None or list(tuned_faults(spec, row)) else ', or say lr = "tuned"'
            return f"the best lr at t = {when:g} is the {end} of the grid, {value:g}: add {wanted:.3g}{also}"
    return ""


def _read(
    results: Kept, row: Selector, horizon: int, exact: bool, quantity: str = "risk"
) -> tuple[Array, Array]:
    """Times (K,) and risks, or what `quantity` names, (n, lrs, K), n = 1 when exact; all lrs for the best."""
    found = []
    for lr in _lrs(results.spec, row):
        curve = Curve(row.problem, row.method, row.schedule, row.averaging, lr, horizon)
        data = results.exact(curve) if exact else results.runs(curve, quantity)
        assert data is not None
        found.append(data if "run" in data.dims else data.expand_dims("run"))
    return found[0]["t"].values.astype(np.float64), np.stack([data.values for data in found], axis=1)


def _lrs(spec: Spec, row: Selector) -> tuple[float, ...]:
    return spec.lr if row.lr == "best" else (float(row.lr),)  # type: ignore[arg-type]


def _risk_floor(spec: Spec, row: Selector, exact: bool) -> float:
    """The risk below which nothing more is known of this curve."""
    known = row.problem.minimum if row.problem.trained else None
    accuracy = 0.0 if known is None else known.accuracy
    return estimates.risk_floor(
        row.problem.constants.start_risk, accuracy, "float64" if exact else spec.dtype
    )


def _tail(row: Selector, quantity: Quantity) -> float:
    """Half of that of Student-t noise, for the risk is a square."""
    noise = getattr(row.problem, "noise", None)
    return noise.df / 2 if isinstance(noise, StudentT) and quantity.startswith("risk") else np.inf


def _rows(row: Selector, quantity: Quantity) -> int:
    part, _, what = quantity.partition("_")
    return rows_of(row.problem.data, part) if what == "error" else 0
