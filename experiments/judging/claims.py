"""Claims judged: on the results of a run, curve by curve, or on the table of a figure.

An exact risk decides where there is one; Monte Carlo decides elsewhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ratelab.experiments.faults import is_exact, minimum_runs
from ratelab.experiments.judging import estimates, evidence, regime
from ratelab.experiments.judging.agreement import check_engines
from ratelab.experiments.judging.estimates import Estimate
from ratelab.experiments.judging.evidence import Fit, NoFit
from ratelab.experiments.judging.outcome import Outcome, Row
from ratelab.experiments.judging.paths import Path
from ratelab.experiments.judging.readings import Kept, Reading, final, points
from ratelab.experiments.judging.verdict import Verdict
from ratelab.experiments.spec import (
    Claim,
    Decay,
    FractionWorse,
    Level,
    Number,
    Ratio,
    Selector,
    Spec,
    counterpart,
    select,
)
from ratelab.experiments.store import Results
from ratelab.theory.arrays import InputError
from ratelab.theory.moments import has_noise

__all__ = ["judge"]


def judge(results: Results, report: Callable[[float, int], None] | None = None) -> list[Outcome]:
    """The verdict on every claim of a file. EngineError where exact risk and Monte Carlo disagree.

    `report` is told (rows judged, of how many).
    """
    spec = results.spec
    check_engines(results)
    by_runs = [not _exact(claim, row) for claim in spec.claims for row in rows_of(spec, claim)]
    shared = max(1, sum(by_runs)) if spec.bonferroni else 1
    done = 0

    def told() -> None:
        nonlocal done
        done += 1
        if report is not None:
            report(done, len(by_runs))

    return [outcome(claim, results, shared, told) for claim in spec.claims]


def outcome(claim: Claim, data: Any, shared: int = 1, report: Callable[[], None] | None = None) -> Outcome:
    """A claim held against its data: the results of a run (`Kept`), or the table of a figure.

    `shared`: how many claims share the 5 %; `report` is called after each row.
    """
    if callable(claim.measured):
        found = claim.measured(data)
        if isinstance(found, tuple):
            return Outcome(claim, found)
        estimate = found if isinstance(found, Estimate) else estimates.exact_estimate(float(found))
        return Outcome(claim, (Row(_held(estimate, claim)),))
    rows = []
    for row in rows_of(data.spec, claim):
        rows.append(_judge(data, claim, row, shared))
        if report is not None:
            report()
    return Outcome(claim, tuple(rows))


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """0 all as expected, 1 one contradicts its expectation, 3 one is unexpectedly undecided."""
    surprises = {o.status for o in outcomes if not o.as_expected}
    return 1 if surprises - {"undecided"} else 3 if surprises else 0


def rows_of(spec: Spec, claim: Claim) -> list[Selector]:
    """The curves of an experiment that a claim speaks of."""
    return [] if callable(claim.measured) else list(select(spec, claim.measured.select))


def _exact(claim: Claim, row: Selector) -> bool:
    """Whether the exact risk decides: of both sides of a ratio; a fraction is always one of the runs."""
    match claim.measured:
        case Ratio(against=against):
            return is_exact(row) and is_exact(counterpart(against, row))
        case Decay() | Level():
            return is_exact(row)
        case _:
            return False


def _judge(results: Kept, claim: Claim, row: Selector, shared: int) -> Row:
    match claim.measured:
        case Decay():
            return _decay(results, claim, claim.measured, row, shared)
        case Level():
            return _level(results, claim, claim.measured, row, shared)
        case Ratio():
            return _ratio(results, claim, claim.measured, row, shared)
        case FractionWorse():
            return _fraction(results, claim, claim.measured, row, shared)
    raise AssertionError(claim.measured)


def _held(estimate: Estimate, claim: Claim) -> Verdict:
    target = claim.target
    return estimates.judge_value(estimate, target.number, target.tolerance, target.relation)


def _decay(results: Kept, claim: Claim, measured: Decay, row: Selector, shared: int) -> Row:
    read, in_window, target = points(results, row), measured.regime == "window", claim.target
    fit = _fit(results.spec, read, target.rate.log_power, shared)
    notes: tuple[str, ...] = ()
    early = None
    if not in_window:
        early = _premature(results.spec, read, fit)
        if row.problem.law is None:
            notes = ("whether the start is forgotten is not known without an exact law",)
    found = evidence.judge_rate(
        fit,
        target.rate,
        target.relation,
        asked_margin=measured.margin,
        premature=early,
        window_only=in_window,
    )
    found = _unless_edge(replace(found, notes=(*found.notes, *notes)), read)
    drawn = read.values[0] if read.exact else estimates.mean_of_runs(read.values)
    return Row(found, (row,), (read.chosen(),), tuple(read.times.tolist()), tuple(drawn.tolist()))


def _fit(spec: Spec, read: Reading, log_power: float, shared: int) -> Fit | NoFit:
    along = spec.anytime(read.row.schedule, read.row.averaging)
    if read.exact:
        minimum = evidence.MIN_RECORDS if along else evidence.MIN_HORIZONS
        return evidence.fit_exact(
            read.times, read.values[0], log_power=log_power, minimum=minimum, floor=read.floor
        )
    heavy = estimates.infinite_variance(read.tail)
    if heavy:
        return NoFit(heavy)
    fit = evidence.fit_trajectories if along else evidence.fit_horizons
    return fit(read.times, read.values, log_power=log_power, floor=read.floor, claims=shared)


def _premature(spec: Spec, read: Reading, fit: Fit | NoFit) -> str | None:
    """Why the window does not show the asymptotic regime, or never can; None where it does, or diverged."""
    if isinstance(fit, NoFit) and fit.diverged_at is not None:
        return None
    inside = evidence.window(read.times)
    path = Path.of(spec, read.row, read.times[inside])
    reasons = regime.premature(path, read.lrs[inside], read.values[0, inside] if read.exact else None)
    law = read.row.problem.law
    if reasons is None and isinstance(fit, NoFit) and fit.floored and law is not None and not has_noise(law):
        return (
            "without noise the risk falls through the floor before two decades of its asymptote have passed, "
            'and nothing can decide the limit: say regime = "window"'
        )
    return reasons


def _level(results: Kept, claim: Claim, measured: Level, row: Selector, shared: int) -> Row:
    read = final(results, measured, row, is_exact(row))
    values = read.values[:, 0]
    if read.exact:
        estimate = estimates.exact_estimate(values[0], read.floor)
    else:
        estimate = estimates.mean_estimate(
            values,
            shared,
            minimum=minimum_runs(measured),
            rows=read.rows,
            floor=read.floor,
            tail_index=read.tail,
        )
    return Row(_unless_edge(_held(estimate, claim), read), (row,), (read.chosen(),))


def _ratio(results: Kept, claim: Claim, measured: Ratio, row: Selector, shared: int) -> Row:
    other = counterpart(measured.against, row)
    exact = is_exact(row) and is_exact(other)
    above, below = (final(results, measured, side, exact) for side in (row, other))
    a, b, floors = above.values[:, 0], below.values[:, 0], (above.floor, below.floor)
    try:
        if exact:
            estimate = estimates.exact_ratio(a[0], b[0], *floors)
        else:
            estimate = estimates.ratio_estimate(
                a,
                b,
                paired=_paired(results.spec, measured, above, below),
                claims=shared,
                minimum=minimum_runs(measured),
                rows=min(above.rows, below.rows),
                floors=floors,
                tail_index=min(above.tail, below.tail),
            )
    except InputError as error:  # 0/0 or inf/inf
        return _compared(above, below, Verdict("undecided", str(error)))
    return _compared(above, below, _held(estimate, claim))


def _paired(spec: Spec, measured: Number, above: Reading, below: Reading) -> bool:
    """Whether the runs of both sides share their noise, one by one."""
    row, other = above.row, below.row
    horizon = measured.horizon or spec.longest
    homes = {spec.home(side.schedule, side.averaging, horizon) for side in (row, other)}
    alike = (row.problem, row.method) == (other.problem, other.method)
    return len(homes) == 1 and alike and len(above.values) == len(below.values)


def _compared(above: Reading, below: Reading, found: Verdict) -> Row:
    lrs = above.chosen(), below.chosen()
    return Row(_unless_edge(_unless_edge(found, above), below), (above.row, below.row), lrs)


def _fraction(results: Kept, claim: Claim, measured: FractionWorse, row: Selector, shared: int) -> Row:
    """Run i is held against run i, whether they share their noise or not; with `lr` "best" on one side
    only, the other side's last runs, too, are those that judge."""
    read = final(results, measured, row, exact=False)
    runs = read.values[:, 0]
    if not isinstance(measured.than, Selector):
        unclear = np.zeros(len(runs), dtype=bool) if measured.than >= read.floor else runs < read.floor
        found = _held(_worse(runs > measured.than, unclear, shared), claim)
        return Row(_unless_edge(found, read), (row,), (read.chosen(),))
    below = final(results, measured, counterpart(measured.than, row), exact=False)
    together = min(len(runs), len(below.values))
    runs, bar = runs[-together:], below.values[-together:, 0]
    unclear = (runs < read.floor) & (bar < below.floor)
    return _compared(read, below, _held(_worse(runs > bar, unclear, shared), claim))


def _worse(worse: NDArray[np.bool_], unclear: NDArray[np.bool_], shared: int) -> Estimate:
    hits = int((worse & ~unclear).sum())
    return estimates.fraction_estimate(hits, len(worse), shared, int(unclear.sum()))


def _unless_edge(found: Verdict, read: Reading) -> Verdict:
    """Undecided where the best lr lies at an edge of the grid: another grid would give another verdict."""
    if read.halved:
        note = "half of the runs chose the lr, and the other half judged: of advice on runs take twice"
        found = replace(found, notes=(*found.notes, note))
    if not read.edge:
        return found
    return replace(found, status="undecided", reason=f"{read.edge}; with this grid: {found.reason}")
