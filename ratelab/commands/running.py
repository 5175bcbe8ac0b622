"""Computing an experiment, and saying how far it is."""

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ratelab.commands.options import Data, Full, Imports, Out
from ratelab.terminal import print_table, progress

if TYPE_CHECKING:
    from ratelab.experiments.execute import Outcome, Plan
    from ratelab.experiments.store import Store


def run(
    file: Annotated[Path, typer.Argument(help="An experiment file; `ratelab init` writes one.")],
    out: Out = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print cells, memory and seconds to expect; run nothing.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(help="Worker processes (otherwise as many as cores; one where all cells are networks)."),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Where networks are trained: cpu or cuda; all else is computed on the cpu.")
    ] = "cpu",
    full: Full = False,
    data: Data = None,
    update: Annotated[
        bool,
        typer.Option("--update", help="Take over a changed file: keep matching cells, compute the missing."),
    ] = False,
    imports: Imports = None,
) -> None:
    """Compute what is missing of an experiment. An interrupted run goes on where it stopped.

    Example: [bold]ratelab run examples/decay_rates.toml --workers 2[/bold]
    """
    from ratelab.commands.opened import results_folder, use_data
    from ratelab.experiments import execute
    from ratelab.experiments.file import load
    from ratelab.experiments.store import Store

    use_data(data)
    check_machine(workers, device)
    spec = load(file, imports or [], full)
    store = Store(out or results_folder(file, full))
    planned = execute.plan(spec, store, update)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # batch systems ask this way to stop
    workers = workers or execute.default_workers(planned.todo)
    if dry_run:
        show_cost(planned, workers)
        return
    try:
        with progress("cells") as report:
            text = file.read_text(encoding="utf-8")
            outcome = execute.carry_out(planned, text, workers, report, device)
    except KeyboardInterrupt:
        show_interrupted(planned)
        raise
    show_outcome(outcome, store)


def check_machine(workers: int | None, device: str) -> None:
    from ratelab.theory.arrays import InputError

    if workers is not None and workers < 1:
        raise InputError(f"--workers is {workers}; give at least 1")
    if device not in ("cpu", "cuda"):
        raise InputError(f"--device is {device}; give cpu or cuda")


def show_cost(planned: "Plan", workers: int) -> None:
    """What a run would compute, and about how long it would take."""
    from ratelab.experiments import cost

    rows = [
        [e.part, str(e.cells), e.engine, f"{e.bytes / 2**20:,.0f} MiB", f"{e.seconds:,.1f} s"]
        for e in cost.expect(planned.todo)
    ]
    columns = ["part", "cells", "engine", "memory each", "time"]
    print_table(f"{len(planned.todo)} of {len(planned.cells)} cells to compute", columns, rows)
    total = cost.seconds(planned.todo, workers)
    print(f"about {total:,.0f} s with {workers} worker{'s'[: workers - 1]}; nothing was run or written")


def show_interrupted(planned: "Plan") -> None:
    """What an interrupted run leaves behind."""

    store, every = planned.store, len(planned.cells)
    kept = sum(store.cell_file(cell).exists() for cell in planned.cells)
    part = ", and part of the next" if list((store.folder / "cells").glob("*.checkpoint.npz")) else ""
    print(
        f"interrupted; {kept} of {every} cells{part} are kept in {store.folder}: run again to go on",
        file=sys.stderr,
    )


def show_outcome(outcome: "Outcome", store: "Store") -> None:
    """What was computed, what failed, what comes next; exit code 4 where something failed."""
    print(f"wrote {store.folder}: {outcome.computed} cells computed, {outcome.kept} kept")
    if outcome.failed:
        for name, error in outcome.failed.items():
            print(f"failed: {name}: {error}", file=sys.stderr)
        print(
            f"{len(outcome.failed)} cells failed; details in {store.manifest_file}; run again to retry them",
            file=sys.stderr,
        )
        raise typer.Exit(4)
    print(f"next: ratelab verdict {store.folder}")


def status(
    run: Annotated[Path, typer.Argument(help="A results folder.")], data: Data = None, imports: Imports = None
) -> None:
    """Say what of an experiment is computed, missing, failed or set aside.

    Example: [bold]ratelab status results/decay_rates[/bold]
    """
    from ratelab.commands.opened import again, opened, use_data
    from ratelab.experiments.cells import cells

    use_data(data)
    store, spec = opened(run, imports or [])
    manifest = store.manifest()
    every = cells(spec)
    done = [cell for cell in every if store.cell_file(cell).exists()]
    notes = manifest.get("cells", {})
    failed = [notes[c.key]["cell"] for c in every if c not in done and "error" in notes.get(c.key, {})]
    aside = len(list((store.folder / "cells").glob("*.corrupt")))
    print(f"{store.folder}: {spec.title}")
    print(
        f"  {len(done)} of {len(every)} cells computed, {len(failed)} failed, {aside} damaged files set aside"
    )
    print(f"  started {manifest.get('started')}, ended {manifest.get('finished') or 'not yet, or killed'}")
    for name in failed:
        print(f"  failed: {name}")
    if len(done) < len(every):
        print(f"  go on with: {again(spec, store)}")
