"""The experiment files whose results figures show, and whose claims they quote.

What is missing is run, and results are kept in the cache. A cell is known by its content and the engine's
version, so what is read is what a new run would compute; an interrupted figure goes on where it stopped.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache as once
from pathlib import Path

import numpy as np
import xarray as xr

from ratelab.experiments import execute
from ratelab.experiments.file import load
from ratelab.experiments.judging.claims import outcome
from ratelab.experiments.judging.outcome import Row
from ratelab.experiments.spec import Claim, Spec
from ratelab.experiments.store import Curve, Results, Store
from ratelab.paper_figures.house.about import Report, quiet
from ratelab.paper_figures.house.table import Table
from ratelab.theory import cache
from ratelab.theory.arrays import InputError

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"


def example(name: str) -> Path:
    """examples/NAME.toml; InputError where it is missing."""
    file = EXAMPLES / f"{name}.toml"
    if not file.exists():
        raise InputError(f"{file} is missing; work in a clone of the repository, whose examples figures show")
    return file


def study(
    name: str, full: bool = False, report: Report = quiet, change: Callable[[Spec], Spec] | None = None
) -> Results:
    """The results of examples/NAME.toml, or of its full form; networks are trained on all cores.

    `change`: what the figure wants else than the file, fewer schedules or other records.
    """
    file = example(name)
    spec = load(file, full=full)
    if change is not None:
        spec = change(spec)
    store = Store(cache.folder("studies") / (name + ("-full" if full else "")))
    planned = execute.plan(spec, store, update=True)
    workers = execute.default_workers(planned.todo)
    done = execute.carry_out(planned, file.read_text("utf-8"), workers, report)
    if done.failed:
        cell, error = next(iter(done.failed.items()))
        raise InputError(f"{len(done.failed)} cells of {file.name} failed; {cell}: {error}")
    return Results(spec, store)


def tidy(results: Results, quantities: Sequence[str], **labels: object) -> list[dict[str, object]]:
    """A line per schedule, seed and record: the labels given, schedule, label, seed, t, and the quantities.

    Where the study has several problems, methods, learning rates or averagings, a line says its own too, as
    "problem" and so on, by their labels.
    """
    spec = results.spec
    axes = {"problem": spec.problems, "method": spec.methods, "lr": spec.lr, "averaging": spec.averagings}
    several = [name for name, values in axes.items() if len(values) > 1]
    lines: list[dict[str, object]] = []
    for problem, method, lr, schedule, averaging in itertools.product(
        spec.problems, spec.methods, spec.lr, spec.schedules, spec.averagings
    ):
        curve = Curve(problem, method, schedule, averaging, lr, spec.longest)
        head = labels | {name: spec.label(getattr(curve, name)) for name in several}
        head |= {"schedule": repr(schedule), "label": spec.label(schedule)}
        runs = {name: results.runs(curve, name) for name in quantities}
        times = runs[quantities[0]]["t"].values.tolist()
        for seed, k in np.ndindex(spec.runs, len(times)):
            kept = {name: float(run.values[seed, k]) for name, run in runs.items()}
            lines.append({**head, "seed": seed, "t": times[k], **kept})
    return lines


@dataclass(frozen=True)
class Shown:
    """The runs of a study as a figure's table holds them: a line per curve, seed and record, as `tidy` has
    it.

    A claim of the file reads them as it reads the results of a run.
    """

    spec: Spec
    table: Table

    def exact(self, curve: Curve) -> None:
        """Not in the table."""

    def runs(self, curve: Curve, quantity: str = "risk") -> xr.DataArray:
        """A quantity of every seed, dims (run, t)."""
        part = self.table.where("schedule", repr(curve.schedule))
        for axis in ("problem", "method", "averaging"):
            if axis in part.columns:
                part = part.where(axis, self.spec.label(getattr(curve, axis)))
        if "lr" in part.columns:
            part = part.where("lr", curve.lr)
        t, values = part.runs(quantity)
        found = xr.DataArray(values, dims=("run", "t"), coords={"t": t.astype(int)})
        return found.sel(t=found["t"] <= curve.horizon)


def quoted(name: str, sentence: str, **where: str) -> Claim:
    """The claim of examples/NAME.toml with this sentence, judged on the rows of a figure's table that have
    these entries: its words, bound and expectation are the file's, of the full form at full size.
    """
    quick, *full = (_quoted(spec, sentence, where) for spec in _forms(name))
    return replace(quick, full=full[0] if full else None)


@once
def _forms(name: str) -> tuple[Spec, ...]:
    """The file's own form, and its full one where it has one."""
    file = example(name)
    own = load(file, data=False)
    try:
        return own, load(file, data=False, full=True)
    except InputError:
        return (own,)


def _quoted(spec: Spec, sentence: str, where: Mapping[str, str]) -> Claim:
    (claim,) = (claim for claim in spec.claims if claim.sentence == sentence)

    def measure(table: Table) -> tuple[Row, ...]:
        for column, value in where.items():
            table = table.where(column, value)
        return outcome(claim, Shown(spec, table)).rows

    return replace(claim, measured=measure)
