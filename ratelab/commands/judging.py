"""Judging an experiment's claims."""

from pathlib import Path
from typing import Annotated

import typer

from ratelab.commands.options import Data, Full, Imports
from ratelab.terminal import progress


def verdict(
    run: Annotated[Path, typer.Argument(help="A results folder, or the file it was made from.")],
    full: Full = False,
    data: Data = None,
    imports: Imports = None,
) -> None:
    """Judge the claims: a table, the reasons, and a report beside the results.

    Exit code 0: every verdict is as expected; 1: one contradicts; 3: one is unexpectedly undecided.
    Example: [bold]ratelab verdict results/decay_rates[/bold]
    """
    from ratelab.commands.opened import opened, require_complete, use_data
    from ratelab.commands.report import report
    from ratelab.experiments.judging import claims
    from ratelab.experiments.store import Results
    from ratelab.theory.arrays import InputError

    use_data(data)
    store, spec = opened(run, imports or [], full)
    if not spec.claims:
        raise InputError(
            f"{store.spec_file} holds no [[claims]]; add one to your file, and give that file to verdict"
        )
    require_complete(spec, store)
    with progress("rows judged") as told:
        outcomes = claims.judge(Results(spec, store), told)
    report(spec, store, outcomes)
    raise typer.Exit(claims.exit_code(outcomes))
