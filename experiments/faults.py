"""What is wrong with an experiment before it is run: with values that don't go together, and with claims that
could not be judged on it. A run that ends in a claim that cannot be judged is worth nothing.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ratelab.experiments.judging import estimates, evidence
from ratelab.experiments.methods import TorchMomentum
from ratelab.experiments.spec import (
    AXES,
    Claim,
    Decay,
    FractionWorse,
    Level,
    Number,
    Quantity,
    Ratio,
    Selector,
    Spec,
    counterpart,
    open_part,
    select,
)
from ratelab.experiments.units import unit_of_lr
from ratelab.problems import networks
from ratelab.theory.arrays import InputError
from ratelab.theory.averaging import StepWeighted
from ratelab.theory.reading import closest
from ratelab.theory.schedules import Schedule, multipliers

if TYPE_CHECKING:
    from ratelab.problems.problem import Objective


def refused(what: str, check: Callable[..., object], *arguments: object) -> Iterator[str]:
    """What `check` says against its arguments, if it does."""
    try:
        check(*arguments)
    except InputError as error:
        yield f"{what}: {error}"


def faults_of_values(spec: Spec, data: bool) -> list[str]:
    """What only shows when values meet: problems and data, methods, lr units; schedules and horizons."""
    faults: list[str] = []
    for problem in spec.problems:
        before = len(faults)
        faults += _faults_of_problem(spec, problem, data)
        if len(faults) == before and (data or not problem.trained):
            for method in spec.methods:
                faults += refused(f"{problem!r}, {method!r}", unit_of_lr, problem, method, spec.lr_unit, 1)
    for schedule, horizon in itertools.product(spec.schedules, spec.horizons):
        faults += refused(f"{schedule!r} at horizon {horizon}", multipliers, open_part(schedule), horizon)
    if StepWeighted() in spec.averagings:
        faults += [
            f"StepWeighted() needs the steps beforehand, which {s!r}, a closed loop, sets as it goes; give "
            "it a file of its own"
            for s in spec.schedules
            if not isinstance(s, Schedule)
        ]
    return faults


def _faults_of_problem(spec: Spec, problem: "Objective", data: bool) -> list[str]:
    """What networks alone can, asked of another problem; of a network, whether there are data for it."""
    faults: list[str] = []
    if problem.trained:
        for check in (networks.epoch, networks.size) if data else ():
            faults += refused("problems", check, problem)
        return list(dict.fromkeys(faults))
    if spec.clock == "epoch":
        faults.append(f'clock = "epoch" is for networks; {problem!r} is none: say clock = "update"')
    if spec.dtype in ("tf32", "bfloat16"):
        faults.append(
            f'dtype = "{spec.dtype}" is for networks; {problem!r} is none: say "float64" or "float32"'
        )
    return faults + [
        f"{method!r} is for networks; {problem!r} is none: HeavyBall(momentum={method.momentum!r}) is what "
        "its engines know"
        for method in spec.methods
        if isinstance(method, TorchMomentum)
    ]


def claim_faults(spec: Spec, claim: Claim) -> list[str]:
    """Why a claim could not be judged on this experiment, as sentences; empty when it could."""
    measured = claim.measured
    if callable(measured):
        return ["it is measured on the table of a figure, not on a run"]
    faults = list(_selector_faults(spec, measured.select, ""))
    other = _against(measured)
    if other is not None:
        faults += _selector_faults(spec, other, "against.")
    if not isinstance(measured, Decay) and measured.horizon not in (None, *spec.horizons):
        faults.append(f"horizon = {measured.horizon} is not in horizons = {list(spec.horizons)}")
    if faults:
        return faults
    rows = list(select(spec, measured.select))
    if other is not None:
        others = [counterpart(other, row) for row in rows]
        if any("tuned" in (row.lr, beside.lr) for row, beside in zip(rows, others, strict=True)):
            rows = [replace(row, lr="tuned") for row in (*rows, *others)]  # a comparison is exact or by runs
        else:
            rows += others
    return list(dict.fromkeys(fault for row in rows for fault in _row_faults(spec, measured, row)))


def _against(measured: Decay | Number) -> Selector | None:
    """The curve that is compared with, where there is one."""
    if isinstance(measured, Ratio):
        return measured.against
    if isinstance(measured, FractionWorse) and isinstance(measured.than, Selector):
        return measured.than
    return None


def _selector_faults(spec: Spec, selector: Selector, place: str) -> Iterator[str]:
    """What a selector names that the file lacks, and what it leaves open that the file has several of."""
    for name in (*AXES, "lr"):
        axis: Sequence[object] = spec.lr if name == "lr" else getattr(spec, f"{name}s")
        wanted = getattr(selector, name)
        allowed = [*axis, "best", "tuned", "*"] if name == "lr" else [*axis, "*"]
        listed = ", ".join(map(str, axis))
        if wanted is None and len(axis) > 1 and not place:
            yield f'{name} is missing, and the file has several: {listed}; name one, or "*" for each'
        elif wanted is not None and (wanted not in allowed or (place and wanted == "*")):
            also = ', "best", "tuned"' + ("" if place else ', "*"') if name == "lr" else ""
            near = closest(str(wanted), ("best", "tuned")) if also else ""
            hint = f'; did you mean "{near}"?' if near else ""
            yield f"{place}{name} = {wanted} selects nothing; the file has {listed}{also}{hint}"


def _row_faults(spec: Spec, measured: Decay | Number, row: Selector) -> Iterator[str]:
    """Whether this curve has what is claimed of it, records and runs enough to judge it by."""
    if isinstance(measured, Decay):
        if "risk" not in row.problem.quantities:
            yield _no_risk(row.problem)
            return
        if spec.clock == "epoch":
            yield 'a rate is fitted to records at updates; say clock = "update", or claim a value'
            return
        yield from _decay_faults(spec, measured, row)
    else:
        if measured.quantity not in (*readable(row.problem), "diverged"):
            yield _no_quantity(measured.quantity, row.problem)
            return
        yield from _record_faults(spec, measured, row)
    if row.lr == "tuned":
        yield from tuned_faults(spec, row, measured)
    if not is_exact(row) or isinstance(measured, FractionWorse):
        yield from _too_few_runs(spec, measured, row)


def _record_faults(spec: Spec, measured: Number, row: Selector) -> Iterator[str]:
    at, end = measured.at, measured.horizon or spec.longest
    there = [t for t in spec.times(spec.home(row.schedule, row.averaging, end)) if t <= end]
    if at is not None and at not in there:
        near = ", ".join(str(t) for t in sorted(there, key=lambda t: abs(t - at))[:3])
        yield f"at = {at} is no record; the nearest are {near}; or ask for more records"


def _decay_faults(spec: Spec, measured: Decay, row: Selector) -> Iterator[str]:
    along = spec.anytime(row.schedule, row.averaging)
    times = spec.times(spec.longest) if along else tuple(sorted(spec.horizons))
    minimum = evidence.MIN_RECORDS if along else evidence.MIN_HORIZONS
    why = "" if along else ", which is not anytime, so that every point is a horizon of its own"
    what = f"{row.schedule!r}, {row.averaging!r}, lr {row.lr}{why}"
    yield from refused(what, evidence.check_records, times, minimum)
    if not isinstance(row.schedule, Schedule) and measured.regime == "asymptotic":
        yield (
            f"whether {row.schedule!r} has reached its asymptotic rate cannot be told from steps that "
            'depend on the run; say regime = "window"'
        )


def _too_few_runs(spec: Spec, measured: Decay | Number, row: Selector) -> Iterator[str]:
    needed = minimum_runs(measured) * (2 if row.lr == "best" else 1)
    if spec.runs >= needed:
        return
    half = ' (lr = "best" is chosen on half of them)' if row.lr == "best" else ""
    why = f"{row.problem if isinstance(row.schedule, Schedule) else row.schedule!r} has no exact risk"
    if isinstance(measured, FractionWorse):
        why = "a fraction is one of the runs"
    yield f"{why}, so the verdict is Monte Carlo and needs runs >= {needed}{half}; runs = {spec.runs}"


def tuned_faults(spec: Spec, row: Selector, measured: Decay | Number | None = None) -> Iterator[str]:
    """Why lr = "tuned" cannot be had of a curve: only an exact risk can be minimised over lr itself."""
    number = measured if isinstance(measured, Level | Ratio | FractionWorse) else None
    if isinstance(measured, FractionWorse):
        yield 'lr = "tuned" minimises the exact risk, and a fraction is one of runs; say lr = "best"'
    elif number is not None and not number.quantity.startswith("risk"):
        yield f'lr = "tuned" minimises the exact risk, and the claim is of {number.quantity}; say lr = "best"'
    elif not is_exact(row):
        what = repr(row.problem) if row.problem.law is None else repr(row.schedule)
        yield f'lr = "tuned" minimises the exact risk, and {what} has none; say lr = "best"'
    elif number is not None and number.at is not None and not spec.anytime(row.schedule, row.averaging):
        yield (
            f'lr = "tuned" with at = {number.at}: {row.schedule!r}, {row.averaging!r} is not anytime, so its '
            "best lr is that of a whole horizon; claim horizon instead"
        )


def is_exact(row: Selector) -> bool:
    """Whether the exact risk of a curve is known."""
    return row.problem.law is not None and isinstance(row.schedule, Schedule)


def minimum_runs(measured: Decay | Number) -> int:
    """Below, an interval of Monte Carlo would cover less than it says."""
    few = isinstance(measured, FractionWorse) or (
        not isinstance(measured, Decay) and measured.quantity.endswith(("_loss", "_error"))
    )
    return estimates.MIN_SEEDS if few else estimates.MIN_RUNS


def readable(problem: "Objective") -> tuple[Quantity, ...]:
    """What can be claimed of a problem, besides that it diverged."""
    return (*problem.quantities, *(("risk/start",) if "risk" in problem.quantities else ()))


def _there(problem: "Objective") -> str:
    return ", ".join(f'"{name}"' for name in readable(problem))


def _no_risk(problem: "Objective") -> str:
    return (
        f"{problem!r} has no f*, so no risk to fit a rate to; "
        f"claim a value, ratio or fraction of {_there(problem)}"
    )


def _no_quantity(quantity: Quantity, problem: "Objective") -> str:
    lacks = "f*, so no risk" if quantity.startswith("risk") else quantity
    return f'quantity = "{quantity}": {problem!r} has no {lacks}; claim one of {_there(problem)}'
