"""Claims judged on results: what a claim selects, what is read of it, what `evidence` makes of that.

An exact risk decides where there is one; Monte Carlo decides elsewhere. Where both exist they are compared
first, and a disagreement is nobody's verdict but an error of an engine.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments import evidence
from experiments.evidence import Fit, Status, Verdict
from experiments.spec import (
    Claim,
    Selector,
    Spec,
    counterpart,
    has_risk,
    is_network,
    minimum_runs,
    open_part,
    select,
    unit_of_lr,
)
from experiments.store import Curve, Results
from problems.noise import StudentT
from problems.spectra import PowerLaw
from theory.arrays import Array, InputError
from theory.moments import Additive, critical_lr
from theory.schedules import Schedule, multipliers

CANCELLED = 1e-10
"""Of the largest risk so far: below it the exact risk isn't compared with the runs."""
OVERFLOW = {"float64": 1e300, "float32": 1e70}
"""Nor above: a state of this precision may have overflowed."""

__all__ = ["Claim", "EngineError", "Judgement", "Row", "Selector", "exit_code", "judge"]


class EngineError(RuntimeError):
    """Exact risk and Monte Carlo disagree: one of the engines is wrong."""


@dataclass(frozen=True)
class Row:
    """The verdict on one combination of values that a claim selects."""

    select: Selector
    verdict: Verdict


@dataclass(frozen=True)
class Judgement:
    """The verdict on a claim: supported when all its rows are, refuted when any is."""

    claim: Claim
    rows: tuple[Row, ...]

    @property
    def status(self) -> Status:
        return evidence.combine([row.verdict.status for row in self.rows])

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
            number = (
                f"{found.value:.5g}",
                "exact" if found.exact else f"[{found.low:.5g}, {found.high:.5g}] {found.label}",
            )
            time = self.claim.horizon if self.claim.at is None else self.claim.at
            window = "t = T" if time is None else f"t = {time:g}"
        else:
            number, window = ("–", "–"), "–"
        return (*number, window, claimed, row.verdict.status, self.claim.expect)


def judge(results: Results) -> list[Judgement]:
    """The verdict on every claim of a file. EngineError where exact risk and Monte Carlo disagree."""
    spec = results.spec
    check_engines(results)
    selected = [(claim, list(select(spec, claim.select))) for claim in spec.claims]
    judged_by_runs = sum(_exact_rows(claim, rows).count(False) for claim, rows in selected)
    shared = max(1, judged_by_runs) if spec.bonferroni else 1
    return [
        Judgement(claim, tuple(Row(row, _verdict(results, claim, row, shared)) for row in rows))
        for claim, rows in selected
    ]


def exit_code(judgements: Sequence[Judgement]) -> int:
    """0 all as expected, 1 one contradicts its expectation, 3 one is unexpectedly undecided."""
    surprises = {j.status for j in judgements if not j.as_expected}
    return 1 if surprises - {"undecided"} else 3 if surprises else 0


def check_engines(results: Results) -> None:
    """Compare the exact risk of every curve with its runs, at a level that holds for all of them together."""
    spec = results.spec
    curves = [curve for curve in _computed(spec) if not is_network(curve.problem)]
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
        fault = evidence.cross_check(
            times, expected, runs.values, comparisons=len(curves), tolerance=tolerance
        )
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
    if spec.runs < evidence.MIN_RUNS or (isinstance(noise, StudentT) and noise.df <= 4):
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
    known = all(row.problem.law is not None and isinstance(row.schedule, Schedule) for row in rows)
    return known and claim.kind != "fraction"


def _verdict(results: Results, claim: Claim, row: Selector, shared: int) -> Verdict:
    match claim.kind:
        case "rate":
            return _rate(results, claim, row, shared)
        case "value":
            return _value(results, claim, row, shared)
        case "ratio":
            return _ratio(results, claim, row, shared)
        case "fraction":
            return _fraction(results, claim, row, shared)


def _rate(results: Results, claim: Claim, row: Selector, shared: int) -> Verdict:
    assert claim.rate is not None
    spec, log_power = results.spec, claim.rate.log_power
    along = spec.anytime(row.schedule, row.averaging)
    known = row.problem.minimum if is_network(row.problem) else None
    floor = evidence.risk_floor(row.problem.start_risk, 0.0 if known is None else known.accuracy)
    if _is_exact(claim, row):
        times, risks = _points(results, row, exact=True)
        best = np.argmin(risks, axis=1)
        risk = np.take_along_axis(risks, best[:, None], axis=1)[0, 0]
        minimum = evidence.MIN_RECORDS if along else evidence.MIN_HORIZONS
        fit = evidence.fit_exact(times, risk, log_power=log_power, minimum=minimum, floor=floor)
        chosen = best[0]
    else:
        times, risks = _points(results, row, exact=False)
        chosen, runs = (
            evidence.held_out_best(risks)
            if row.lr == "best"
            else (np.zeros(len(times), dtype=int), risks[:, 0])
        )
        fit_runs = evidence.fit_trajectories if along else evidence.fit_horizons
        fit = fit_runs(times, runs, log_power=log_power, floor=floor, claims=shared)
    premature = None
    if claim.regime == "asymptotic":
        mu, smoothness = row.problem.strong_convexity, row.problem.smoothness
        mu = mu if smoothness is None or mu > 1e-12 * smoothness else 0.0
        power_law = isinstance(getattr(row.problem, "spectrum", None), PowerLaw)
        premature = evidence.regime(mu, times, _step_sums(spec, row, times, chosen), power_law=power_law)
    return evidence.judge_rate(
        fit,
        claim.rate,
        claim.relation,
        asked_margin=claim.margin,
        premature=premature,
        window_only=claim.regime == "window",
    )


def _value(results: Results, claim: Claim, row: Selector, shared: int) -> Verdict:
    assert claim.value is not None
    exact = _is_exact(claim, row)
    found = _final(results, claim, row, exact)
    estimate = (
        evidence.exact_estimate(found[0])
        if exact
        else evidence.mean_estimate(found, shared, minimum=minimum_runs(claim))
    )
    return evidence.judge_value(estimate, claim.value, claim.tolerance, claim.relation)


def _ratio(results: Results, claim: Claim, row: Selector, shared: int) -> Verdict:
    assert claim.value is not None
    spec, other = results.spec, counterpart(claim, row)
    horizon = claim.horizon or spec.longest
    exact = _is_exact(claim, row, other)
    above, below = (_final(results, claim, side, exact) for side in (row, other))
    paired = False
    if not exact:
        homes = {spec.home(side.schedule, side.averaging, horizon) for side in (row, other)}
        paired = (
            len(homes) == 1
            and (row.problem, row.method) == (other.problem, other.method)
            and len(above) == len(below)
        )
    try:
        estimate = (
            evidence.exact_ratio(above[0], below[0])
            if exact
            else evidence.ratio_estimate(
                above, below, paired=paired, claims=shared, minimum=minimum_runs(claim)
            )
        )
    except InputError as error:  # 0/0 or inf/inf
        return Verdict("undecided", str(error))
    return evidence.judge_value(estimate, claim.value, claim.tolerance, claim.relation)


def _fraction(results: Results, claim: Claim, row: Selector, shared: int) -> Verdict:
    """Run i is held against run i, whether they share their noise or not; with `lr` "best" on one side
    only, the other side's last runs, too, are those that judge."""
    assert claim.value is not None
    runs = _final(results, claim, row, exact=False)
    bar: Any = 0.0 if claim.worse_than is None else claim.worse_than
    if claim.against is not None:
        bar = _final(results, claim, counterpart(claim, row), exact=False)
        together = min(len(runs), len(bar))
        runs, bar = runs[-together:], bar[-together:]
    estimate = evidence.fraction_estimate(int((runs > bar).sum()), len(runs), shared)
    return evidence.judge_value(estimate, claim.value, claim.tolerance, claim.relation)


def _final(results: Results, claim: Claim, row: Selector, exact: bool) -> Array:
    """What is claimed of `row` at its record: (1,) exact, else (runs,); half of them for the best lr.

    The best lr is that of the quantity claimed. In a fraction, the error of a diverged run is worse than any;
    in a mean it is the 1 that it is.
    """
    horizon = claim.horizon or results.spec.longest

    def end(quantity: str) -> Array:
        times, values = _read(results, row, horizon, exact, quantity)
        values = values[..., -1:] if claim.at is None else values[..., times == claim.at]
        return np.where(np.isnan(values), np.inf, values)

    if claim.quantity == "diverged":
        found = np.isinf(end("risk" if has_risk(row.problem) else "train_loss")).astype(np.float64)
    elif claim.quantity == "risk/start":
        found = end("risk") / row.problem.start_risk
    else:
        found = end(claim.quantity)
    if claim.kind == "fraction" and claim.quantity.endswith("_error"):
        losses = end(claim.quantity.replace("error", "loss"))
        found = np.where(np.isinf(losses), np.inf, found)
    if row.lr != "best":
        return np.asarray(found[:, 0, 0])
    return np.asarray(found.min(axis=1)[:, 0] if exact else evidence.held_out_best(found)[1][:, 0])


def _points(results: Results, row: Selector, exact: bool) -> tuple[Array, Array]:
    """Times (K,) and risks (n, lrs, K) to fit a rate to: records of one trajectory, or one per horizon."""
    spec = results.spec
    if spec.anytime(row.schedule, row.averaging):
        return _read(results, row, spec.longest, exact)
    horizons = sorted(spec.horizons)
    ends = [_read(results, row, horizon, exact)[1][..., -1] for horizon in horizons]
    return np.array(horizons, dtype=np.float64), np.stack(ends, axis=-1)


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


def _step_sums(spec: Spec, row: Selector, times: Array, chosen: Array) -> Array:
    """Σ η up to each time, of the lr chosen there; under momentum β a step counts as η/(1 − β)."""
    lrs = np.array(_lrs(spec, row))[chosen]
    if spec.anytime(row.schedule, row.averaging):
        steps = multipliers(open_part(row.schedule), spec.longest)
        totals = np.concatenate([[0.0], np.cumsum(steps)])[times.astype(int)]
        units: Any = unit_of_lr(row.problem, row.method, spec.lr_unit, spec.longest)
    else:
        totals = np.array([multipliers(open_part(row.schedule), int(t)).sum() for t in times])
        units = [unit_of_lr(row.problem, row.method, spec.lr_unit, int(t)) for t in times]
    return np.asarray(lrs * units * totals / (1 - row.method.momentum))
