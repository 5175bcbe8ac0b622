"""The experiment files whose results figures show: run where something is missing, and kept in the cache.

A cell is known by its content and the engine's version, so what is read is what a new run would compute; an
interrupted figure goes on where it stopped.
"""

from collections.abc import Callable
from pathlib import Path

from ratelab.experiments import execute
from ratelab.experiments.file import load
from ratelab.experiments.spec import Spec
from ratelab.experiments.store import Results, Store, missing
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
    spec = load(file, full=full)
    if change is not None:
        spec = change(spec)
    store = Store(cache.folder("studies") / (name + ("-full" if full else "")))
    workers = execute.default_workers(missing(spec, store))
    outcome = execute.run(spec, file.read_text("utf-8"), store, workers, update=True, report=report)
    if outcome.failed:
        cell, error = next(iter(outcome.failed.items()))
        raise InputError(f"{len(outcome.failed)} cells of {file.name} failed; {cell}: {error}")
    return Results(spec, store)
