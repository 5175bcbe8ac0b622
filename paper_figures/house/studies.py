"""The experiment files whose results figures show: run where something is missing, and kept in the cache.

A cell is known by its content and the engine's version, so what is read is what a new run would compute; an
interrupted figure goes on where it stopped.
"""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ratelab.experiments import execute, spec as specs
from ratelab.experiments.spec import Spec
from ratelab.experiments.store import Curve, Results, Store, missing
from ratelab.paper_figures.house.about import Report, quiet
from ratelab.theory import cache
from ratelab.theory.arrays import InputError

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"


def study(
    name: str, full: bool = False, report: Report = quiet, change: Callable[[Spec], Spec] | None = None
) -> Results:
    """The results of examples/NAME.toml, or of its full form; networks are trained on all cores.

    `change`: what the figure wants else than the file, fewer schedules or other records.
    """
    file = EXAMPLES / f"{name}.toml"
    if not file.exists():
        raise InputError(f"{file} is missing; work in a clone of the repository, whose examples figures show")
    spec = specs.load(file, full=full)
    if change is not None:
        spec = change(spec)
    store = Store(cache.folder("studies") / (name + ("-full" if full else "")))
    workers = execute.default_workers(missing(spec, store))
    outcome = execute.run(spec, file.read_text("utf-8"), store, workers, update=True, report=report)
    if outcome.failed:
        cell, error = next(iter(outcome.failed.items()))
        raise InputError(f"{len(outcome.failed)} cells of {file.name} failed; {cell}: {error}")
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
