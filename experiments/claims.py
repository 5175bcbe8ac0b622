"""Claims judged on results: what a claim selects, what is read of it, what `evidence` makes of that.

An exact risk decides where there is one; Monte Carlo decides elsewhere. Where both exist they are compared
first, and a disagreement is nobody's verdict but an error of an engine.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ratelab.experiments import estimates, evidence, regime, verdict
from ratelab.experiments.crosscheck import cross_check
from ratelab.experiments.estimates import Estimate
from ratelab.experiments.evidence import Fit, NoFit
from ratelab.experiments.paths import OCTAVES, Path, tune
from ratelab.experiments.spec import (
    Claim,
    Selector,
    Spec,
    counterpart,
    minimum_runs,
    open_part,
    select,
    tuned_faults,
    unit_of_lr,
)
from ratelab.experiments.store import Curve, Results
from ratelab.experiments.verdict import Status, Verdict
from ratelab.problems.networks import rows_of
from ratelab.problems.noise import StudentT
from ratelab.theory.arrays import Array, InputError
from ratelab.theory.moments import Additive, critical_lr, has_noise
from ratelab.theory.schedules import Schedule, multipliers

__all__ = ["judge"]

CANCELLED = 1e-10
"""Of the largest risk so far: below it the exact risk isn't compared with the runs."""
OVERFLOW = {"float64": 1e300, "float32": 1e70}
"""Nor above: a state of this precision may have overflowed."""
NEAR = 0.8
"""Of the largest stable lr, from which on a grid needs no larger value."""

__all__ = ["Claim", "EngineError", "Judgement", "Row", "Selector", "exit_code", "judge"]


class EngineError(RuntimeError):
    """Exact risk and Monte Carlo disagree: one of the engines is wrong."""


@dataclass(frozen=True)
class Row:
    """The verdict on one combination of values that a claim selects.

    sides: the curves that were read, with `against` the one it is compared with second; lrs: the learning
    rate of each in words, as chosen. Of a rate: the times that were read and the risk there, exact or the
    mean of the runs.
    """

    sides: tuple[Selector, ...]
    lrs: tuple[str, ...]
    verdict: Verdict
    times: tuple[float, ...] = ()
    risk: tuple[float, ...] = ()

    @property
    def select(self) -> Selector:
        return self.sides[0]


@dataclass(frozen=True)
class Judgement:
    """The verdict on a claim: supported when all its rows are, refuted when any is."""

    claim: Claim
    rows: tuple[Row, ...]

    @property
    def status(self) -> Status:
        return verdict.combine([row.verdict.status for row in self.rows])

    @property
    def as_expected(self) -> bool:
        return self.status == self.claim.expect

    def cells(self, row: Row) -> tuple[str, ...]:
        """Number, interval, window, claimed, verdict, expected: a line of the table."""
        found = row.verdict.evidence
        claimed = str(self.claim.rate) if self.claim.rate is not None else f"{self.claim.value:g}"
        claimed = f"{self.claim.relation.replace('_', ' ')} {claimed}"
        if isinstance(found, Fit):
            exponent, low, high = (round(x, 3) + 0.0 for x in (found.exponent, *found.interval))
            number = f"{exponent:.3f}", f"[{low:.3f}, {high:.3f}] {found.label}"
            window = f"{found.window[0]:g} to {found.window[1]:g}"
        elif found is not None:
            known = found.exact and found.low == found.high
            within = "exact" if known else f"[{found.low:.5g}, {found.high:.5g}] {found.label}"
            number = f"{found.value:.5g}", within
            time = self.claim.horizon if self.claim.at is None else self.claim.at
            window = "t = T" if time is None else f"t = {time:g}"
        else:
            number, window = ("–", "–"), "–"
        return (*number, window, claimed, row.verdict.status, self.claim.expect)


def judge(results: Results, report: Callable[[float, int], None] | None = None) -> list[Judgement]:
    """The verdict on every claim of a file. EngineError where exact risk and Monte Carlo disagree.

    `report` is told (rows judged, of how many).
    """
    spec = results.spec
    check_engines(results)
    selected = [(claim, list(select(spec, claim.select))) for claim in spec.claims]
    judged_by_runs = sum(_exact_rows(claim, rows).count(False) for claim, rows in selected)
    shared = max(1, judged_by_runs) if spec.bonferroni else 1
    total, judgements, done = sum(len(rows) for _, rows in selected), [], 0
    for claim, rows in selected:
        judged = []
        for row in rows:
            judged.append(_judge(results, claim, row, shared))
            done += 1
            if report is not None:
                report(done, total)
        judgements.append(Judgement(claim, tuple(judged)))
    return judgements


def exit_code(judgements: Sequence[Judgement]) -> int:
    """0 all as expected, 1 one contradicts its expectation, 3 one is unexpectedly undecided."""
    surprises = {j.status for j in judgements if not j.as_expected}
    return 1 if surprises - {"undecided"} else 3 if surprises else 0


def check_engines(results: Results) -> None:
    """Compare the exact risk of every curve with its runs, at a level that holds for all of them together."""
    spec = results.spec
    curves = [curve for curve in _computed(spec) if not curve.problem.trained]
    tolerance = 1e-9 if spec.dtype == "float64" else 1e-3
    for curve in curves:
        exact = results.exact(curve)
        if exact is None:
            continue
        runs = results.runs(curve)
        times, expected = exact["t"].values, exact.values
        expected = np.where(_comparable(spec, curve, times, expected), expected, np.inf)
        if len(runs) < 2 or np.isinf(expected).all():
            continue
        fault = cross_check(times, expected, runs.values, comparisons=len(curves), tolerance=tolerance)
        if fault is not None:
            raise EngineError(f"{', '.join(map(repr, curve))}: {fault}")


def _comparable(spec: Spec, curve: Curve, times: Array, exact: Array) -> NDArray[np.bool_]:
    """The records at which runs can speak about the exact risk.

    Not where it has fallen far below what it was (the difference of larger numbers, known to fewer digits),
    nor near overflow. With noise, from 64 runs on, for the level is not kept below; not where fourth moments
    are infinite; and with multiplicative noise only while every step was at most half the critical one:
    above, rare large risks carry the mean, and are not drawn.
    """
    known = (exact >= CANCELLED * np.maximum.accumulate(exact)) & (exact < OVERFLOW[spec.dtype])
    law = curve.problem.law
    if isinstance(law, Additive) and not law.noise.any():
        return known
    noise = getattr(curve.problem, "noise", None)
    if spec.runs < estimates.MIN_RUNS or (isinstance(noise, StudentT) and noise.df <= 4):
        return np.zeros_like(known)
    if isinstance(law, Additive):
        return known
    try:
        assert law is not None  # only exact risks are compared
        limit = critical_lr(law, curve.method.momentum) / 2
    except InputError:
        return np.zeros_like(known)
    unit = unit_of_lr(curve.problem, curve.method, spec.lr_unit, curve.horizon)
    largest = np.maximum.accumulate(curve.lr * unit * multipliers(open_part(curve.schedule), curve.horizon))
    stable: NDArray[np.bool_] = (times == 0) | (largest[np.maximum(times.astype(int) - 1, 0)] <= limit)
    return known & stable


def _computed(spec: Spec) -> Iterator[Curve]:
    """Every curve that was computed, each once, at the horizon of its cell; cell by cell."""
    for p, m, h in itertools.product(spec.problems, spec.methods, spec.horizons):
        for s, a in itertools.product(spec.schedules, spec.averagings):
            if spec.home(s, a, h) == h:
                yield from (Curve(p, m, s, a, lr, h) for lr in spec.lr)


def _exact_rows(claim: Claim, rows: Sequence[Selector]) -> list[bool]:
    return [_is_exact(claim, row, counterpart(claim, row) if claim.against else row) for row in rows]


def _is_exact(claim: Claim, *rows: Selector) -> bool:
    """Whether the exact risk decides; a fraction is always one of the runs."""
    return claim.kind != "fraction" and all(map(_is_exact_row, rows))


def _is_exact_row(row: Selector) -> bool:
    return row.problem.law is not None and isinstance(row.schedule, Schedule)


def _judge(results: Results, claim: Claim, row: Selector, shared: int) -> Row:
    match claim.kind:
        case "rate":
            return _rate(results, claim, row, shared)
        case "value":
            return _value(results, claim, row, shared)
        case "ratio":
            return _ratio(results, claim, row, shared)
        case "fraction":
            return _fraction(results, claim, row, shared)


def _rate(results: Results, claim: Claim, row: Selector, shared: int) -> Row:
    assert claim.rate is not None
    exact, in_window = _is_exact(claim, row), claim.regime == "window"
    read = _points(results, row, exact)
    fit = _fit(results.spec, claim, row, read, shared)
    notes: tuple[str, ...] = ()
    early = None
    if not in_window:
        early = _premature(results.spec, row, read, fit)
        if row.problem.law is None:
            notes = ("whether the start is forgotten is not known without an exact law",)
    found = evidence.judge_rate(
        fit, claim.rate, claim.relation, asked_margin=claim.margin, premature=early, window_only=in_window
    )
    found = _unless_edge(replace(found, notes=(*found.notes, *notes)), row, read)
    drawn = read.values[0] if exact else estimates.mean_of_runs(read.values)
    return Row((row,), (read.chosen(row),), found, tuple(read.times.tolist()), tuple(drawn.tolist()))


def _fit(spec: Spec, claim: Claim, row: Selector, read: "_Read", shared: int) -> Fit | NoFit:
    assert claim.rate is not None
    along, exact, q = spec.anytime(row.schedule, row.averaging), _is_exact(claim, row), claim.rate.log_power
    floor = max(_floor(spec, row, exact), read.floor)
    if exact:
        minimum = evidence.MIN_RECORDS if along else evidence.MIN_HORIZONS
        return evidence.fit_exact(read.times, read.values[0], log_power=q, minimum=minimum, floor=floor)
    heavy = estimates.infinite_variance(_tail_index(row, claim))
    if heavy:
        return NoFit(heavy)
    fit = evidence.fit_trajectories if along else evidence.fit_horizons
    return fit(read.times, read.values, log_power=q, floor=floor, claims=shared)


def _premature(spec: Spec, row: Selector, read: "_Read", fit: Fit | NoFit) -> str | None:
    """Why the window does not show the asymptotic regime, or never can; None where it does, or diverged."""
    if isinstance(fit, NoFit) and fit.diverged_at is not None:
        return None
    inside = evidence.window(read.times)
    known, path = _is_exact_row(row), Path.of(spec, row, read.times[inside])
    reasons = regime.premature(path, read.lrs[inside], read.values[0, inside] if known else None)
    law = row.problem.law
    if reasons is None and isinstance(fit, NoFit) and fit.floored and law is not None and not has_noise(law):
        return (
            "without noise the risk falls through the floor before two decades of its asymptote have passed, "
            'and nothing can decide the limit: say regime = "window"'
        )
    return reasons


def _value(results: Results, claim: Claim, row: Selector, shared: int) -> Row:
    assert claim.value is not None
    read = _final(results, claim, row, _is_exact(claim, row))
    found = estimates.judge_value(
        _estimate(results.spec, claim, row, read, shared), claim.value, claim.tolerance, claim.relation
    )
    return Row((row,), (read.chosen(row),), _unless_edge(found, row, read))


def _estimate(spec: Spec, claim: Claim, row: Selector, read: "_Read", shared: int) -> Estimate:
    """What one side comes to."""
    exact = _is_exact(claim, row)
    floor = max(_floor_of(spec, claim, row, exact), read.floor)
    values = read.values[:, 0]
    if exact:
        return estimates.exact_estimate(values[0], floor)
    return estimates.mean_estimate(
        values,
        shared,
        minimum=minimum_runs(claim),
        rows=_rows(claim, row),
        floor=floor,
        tail_index=_tail_index(row, claim),
    )


def _ratio(results: Results, claim: Claim, row: Selector, shared: int) -> Row:
    assert claim.value is not None
    spec, other = results.spec, counterpart(claim, row)
    horizon = claim.horizon or spec.longest
    exact = _is_exact(claim, row, other)
    above, below = (_final(results, claim, side, exact) for side in (row, other))
    floors = (
        max(_floor_of(spec, claim, row, exact), above.floor),
        max(_floor_of(spec, claim, other, exact), below.floor),
    )
    paired = False
    if not exact:
        homes = {spec.home(side.schedule, side.averaging, horizon) for side in (row, other)}
        paired = (
            len(homes) == 1
            and (row.problem, row.method) == (other.problem, other.method)
            and len(above.values) == len(below.values)
        )
    a, b = above.values[:, 0], below.values[:, 0]
    try:
        estimate = (
            estimates.exact_ratio(a[0], b[0], *floors)
            if exact
            else estimates.ratio_estimate(
                a,
                b,
                paired=paired,
                claims=shared,
                minimum=minimum_runs(claim),
                rows=min(_rows(claim, row), _rows(claim, other)),
                floors=floors,
                tail_index=min(_tail_index(row, claim), _tail_index(other, claim)),
            )
        )
    except InputError as error:  # 0/0 or inf/inf
        found = Verdict("undecided", str(error))
    else:
        found = estimates.judge_value(estimate, claim.value, claim.tolerance, claim.relation)
    return _compared(row, other, above, below, found)


def _compared(row: Selector, other: Selector, above: "_Read", below: "_Read", found: Verdict) -> Row:
    lrs = above.chosen(row), below.chosen(other)
    return Row((row, other), lrs, _unless_edge(_unless_edge(found, row, above), other, below))


def _fraction(results: Results, claim: Claim, row: Selector, shared: int) -> Row:
    """Run i is held against run i, whether they share their noise or not; with `lr` "best" on one side
    only, the other side's last runs, too, are those that judge."""
    assert claim.value is not None
    spec, read = results.spec, _final(results, claim, row, exact=False)
    runs, floor = read.values[:, 0], _floor_of(spec, claim, row, exact=False)
    if claim.against is None:
        worse = 0.0 if claim.worse_than is None else claim.worse_than
        unclear = np.zeros(len(runs), dtype=bool) if worse >= floor else runs < floor
        found = _fraction_worse(claim, runs > worse, unclear, shared)
        return Row((row,), (read.chosen(row),), _unless_edge(found, row, read))
    other = counterpart(claim, row)
    below = _final(results, claim, other, exact=False)
    together = min(len(runs), len(below.values))
    runs, bar = runs[-together:], below.values[-together:, 0]
    unclear = (runs < floor) & (bar < _floor_of(spec, claim, other, exact=False))
    return _compared(row, other, read, below, _fraction_worse(claim, runs > bar, unclear, shared))


def _fraction_worse(
    claim: Claim, worse: NDArray[np.bool_], unclear: NDArray[np.bool_], shared: int
) -> Verdict:
    assert claim.value is not None
    hits = int((worse & ~unclear).sum())
    estimate = estimates.fraction_estimate(hits, len(worse), shared, int(unclear.sum()))
    return estimates.judge_value(estimate, claim.value, claim.tolerance, claim.relation)


def _unless_edge(found: Verdict, row: Selector, read: "_Read") -> Verdict:
    """Undecided where the best lr lies at an edge of the grid: another grid would give another verdict."""
    if row.lr == "best" and len(read.values) > 1:
        note = "half of the runs chose the lr, and the other half judged: of advice on runs take twice"
        found = replace(found, notes=(*found.notes, note))
    if not read.edge:
        return found
    return replace(found, status="undecided", reason=f"{read.edge}; with this grid: {found.reason}")


# What is read


@dataclass(frozen=True)
class _Read:
    """Values (n, K) at `times` (K,), n = 1 when exact, with the lr chosen at each (K,); `floor`: what they
    are known to, where an average's moments cancel; `edge`: the fault of
    a grid whose best is at its end."""

    times: Array
    values: Array
    lrs: Array
    edge: str = ""
    floor: float = 0.0

    def chosen(self, row: Selector) -> str:
        """The learning rate in words."""
        first, last = f"{self.lrs[0]:.4g}", f"{self.lrs[-1]:.4g}"
        if not isinstance(row.lr, str):
            return first
        return f"{first if first == last else f'{first} to {last}'} ({row.lr})"


def _final(results: Results, claim: Claim, row: Selector, exact: bool) -> _Read:
    """What is claimed of `row` at its record: (1, 1) exact, else (runs, 1); half of them for the best lr.

    The best lr is that of the quantity claimed. In a fraction, the error of a diverged run is worse than any;
    in a mean it is the 1 that it is.
    """
    spec = results.spec
    horizon = claim.horizon or spec.longest
    scale = 1 / row.problem.constants.start_risk if claim.quantity == "risk/start" else 1.0
    if row.lr == "tuned":
        end = horizon if claim.at is None else claim.at
        return _tuned(Path.of(spec, row, [end]), scale)

    def end_of(quantity: str) -> Array:
        times, values = _read(results, row, horizon, exact, quantity)
        values = values[..., -1:] if claim.at is None else values[..., times == claim.at]
        return np.where(np.isnan(values), np.inf, values)

    if claim.quantity == "diverged":
        found = np.isinf(end_of("risk" if "risk" in row.problem.quantities else "train_loss")).astype(
            np.float64
        )
    elif claim.quantity == "risk/start":
        found = end_of("risk") * scale
    else:
        found = end_of(claim.quantity)
    if claim.kind == "fraction" and claim.quantity.endswith("_error"):
        losses = end_of(claim.quantity.replace("error", "loss"))
        found = np.where(np.isinf(losses), np.inf, found)
    time = np.array([float(horizon if claim.at is None else claim.at)])
    path = Path.of(spec, row, [horizon]) if exact else None
    read = _chosen(spec, row, path, time, found)
    return replace(read, floor=scale * read.floor)


def _points(results: Results, row: Selector, exact: bool) -> _Read:
    """What to fit a rate to: records of one trajectory, or one point per horizon."""
    spec = results.spec
    along = spec.anytime(row.schedule, row.averaging)
    if row.lr == "tuned":
        every = np.array(spec.times(spec.longest) if along else sorted(spec.horizons))
        times = every[evidence.window(every)]
        return _tuned(Path.of(spec, row, times))
    if along:
        times, values = _read(results, row, spec.longest, exact)
        return _chosen(spec, row, Path.of(spec, row, times) if exact else None, times, values)
    horizons = sorted(spec.horizons)
    ends = [_read(results, row, horizon, exact)[1][..., -1] for horizon in horizons]
    path = Path.of(spec, row, horizons) if exact else None
    return _chosen(spec, row, path, np.array(horizons, dtype=np.float64), np.stack(ends, axis=-1))


def _chosen(spec: Spec, row: Selector, path: Path | None, times: Array, values: Array) -> _Read:
    """Of values (n, lrs, K) those of the lr asked for; the best is that of each time. `path`: of an exact
    risk."""
    lrs = np.array(_lrs(spec, row))
    floors = np.zeros((len(lrs), len(times))) if path is None else path.floors(lrs)
    if row.lr != "best":
        return _Read(times, values[:, 0], np.full(len(times), lrs[0]), floor=float(floors.max()))
    if path is not None:
        best = np.argmin(np.maximum(values[0], floors), axis=0)
        kept = np.take_along_axis(values, best[None, None], axis=1)[:, 0]
    else:
        best, kept = estimates.held_out_best(values)
    floor = float(floors[best, np.arange(len(times))].max())
    return _Read(times, kept, lrs[best], _edge(spec, row, times, lrs[best]), floor)


def _tuned(path: Path, scale: float = 1.0) -> _Read:
    """The risk at the learning rate that minimises it, at each point."""
    lrs, risk = tune(path)
    floor = float(path.floors(np.unique(lrs)).max())
    times, lowest = np.array(path.times, dtype=np.float64), path.largest_stable() * 2.0 ** -(OCTAVES - 1)
    edge = ""
    if lrs.min() < lowest < np.inf:
        edge = (
            f"the risk at t = {times[lrs.argmin()]:g} is the less the smaller lr is, down to {lrs.min():.2g}"
        )
    return _Read(times, scale * risk[None], lrs, edge, scale * floor)


def _edge(spec: Spec, row: Selector, times: Array, chosen: Array) -> str:
    """Which value to add to a grid whose best is at its end, somewhere in the window; empty where it isn't.

    The largest is no end where no stable lr lies above: where the exact risk of the next one is larger, and
    its first step above the largest stable one.
    """
    grid, inside = np.sort(spec.lr), evidence.window(times)
    low, high = float(grid[0]), float(grid[-1])
    factors = np.clip((grid[1] / low, high / grid[-2]) if len(grid) > 1 else (3.0, 3.0), 1.5, 10.0)
    path = Path.of(spec, row, times[inside]) if _is_exact_row(row) else None
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
    results: Results, row: Selector, horizon: int, exact: bool, quantity: str = "risk"
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


def _floor(spec: Spec, row: Selector, exact: bool) -> float:
    """The risk below which nothing more is known of this curve."""
    known = row.problem.minimum if row.problem.trained else None
    accuracy = 0.0 if known is None else known.accuracy
    return estimates.risk_floor(
        row.problem.constants.start_risk, accuracy, "float64" if exact else spec.dtype
    )


def _floor_of(spec: Spec, claim: Claim, row: Selector, exact: bool) -> float:
    """The floor of the quantity claimed; a loss or an error is no difference and has none."""
    if not claim.quantity.startswith("risk"):
        return 0.0
    return _floor(spec, row, exact) / (
        row.problem.constants.start_risk if claim.quantity == "risk/start" else 1.0
    )


def _tail_index(row: Selector, claim: Claim) -> float:
    """α of the risk's tail, P(r > x) ~ x^−α: half of that of Student-t noise, for the risk is a square."""
    noise = getattr(row.problem, "noise", None)
    return noise.df / 2 if isinstance(noise, StudentT) and claim.quantity.startswith("risk") else np.inf


def _rows(claim: Claim, row: Selector) -> int:
    """How many rows an error is a fraction of; 0 for other quantities."""
    part, _, what = claim.quantity.partition("_")
    return rows_of(row.problem.data, part) if what == "error" else 0
