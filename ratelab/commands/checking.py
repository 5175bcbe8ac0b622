"""What is claimed, checked: the sentences of the gallery, the error rates of verdicts, the installation."""

import importlib.metadata
import os
import platform
import tempfile
from pathlib import Path
from typing import Annotated

import typer

import ratelab
from ratelab.commands.options import Data, FullSize
from ratelab.terminal import markdown_table, print_table, progress


def audit(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Figures whose claims are run; all if none is named."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the table to this file, too, as Markdown.")] = None,
    full: FullSize = False,
    data: Data = None,
) -> None:
    """Run every claim of the gallery: source, sentence, what it prints, what is measured here, holds or not.

    What fails is recorded as such, with what is true instead: "source wrong" where the source says it of the
    setting measured, "not in this model" where it speaks of another, "conjecture fails" where we asked.
    Exit code 1: a claim is no longer as recorded; 4: a figure could not be computed.
    Example: [bold]ratelab audit d2l_momentum swa --out audit.md[/bold]
    """
    from ratelab.commands.computed import attempt, chosen_figures, end_audit
    from ratelab.commands.opened import use_data
    from ratelab.paper_figures.house import make, venues

    use_data(data)
    columns = ["figure", "source", "sentence", "printed or predicted", "measured", "verdict"]
    rows, outcomes, failed = [], [], dict[str, str]()
    for name in chosen_figures(names):
        _, judged = attempt(name, full, make.measure, failed) or (None, [])
        outcomes += judged
        rows += [
            [name, str(o.claim.source), make.said(o), str(o.claim.target), o.measured, o.holds]
            for o in judged
        ]
    print_table("", columns, rows)
    print(make.count(outcomes))
    if out is not None:
        text = f"# The audit\n\n{make.count(outcomes)}\n\n{markdown_table(columns, rows)}\n"
        print(f"wrote {venues.save_text(text, out)}")
    end_audit(outcomes, failed)


def calibrate(
    cases: Annotated[int, typer.Option(help="Curves per family.")] = 300,
    seed: Annotated[int, typer.Option(help="Another zoo of the same families.")] = 0,
    out: Annotated[Path | None, typer.Option(help="A Markdown file to write the table to.")] = None,
) -> None:
    """Measure how often verdicts are wrong, on curves, quadratics and runs whose truth is known; minutes.

    Exit code 1: a family misses what is aimed at. What the numbers mean: docs/verdicts.md.
    Example: [bold]ratelab calibrate --cases 50[/bold]
    """
    from ratelab.experiments.judging import calibration
    from ratelab.theory.arrays import InputError

    if cases < 1:
        raise InputError(f"--cases is {cases}; give at least 1")
    if seed < 0:
        raise InputError(f"--seed is {seed}; give at least 0")
    if out is not None and not out.parent.is_dir():
        raise InputError(f"--out {out}: there is no folder {out.parent}; name another file")
    with progress("families") as told:
        found = calibration.calibrate(cases, seed, told)
    columns = ["family", "what", "true refuted", "false supported", "true undecided", "claims", "aim"]
    table, failed = [], []
    for family in calibration.FAMILIES:
        tally, missed = found[family.name], calibration.missed(family, found[family.name])
        shares = (f"{share:.1%}" for share in tally.shares)
        claims = f"{tally.true_claims} true, {tally.false_claims} false"
        aim = "missed: " + ", ".join(missed) if missed else "met" if family.promised else "not promised"
        table.append([family.name, family.about, *shares, claims, aim])
        failed += [family.name] if missed else []
    print_table(f"{cases} curves per family, seed {seed}", columns, table)
    if out is not None:
        try:
            out.write_text(markdown_table(columns, table) + "\n", encoding="utf-8")
        except OSError as error:
            raise InputError(f"--out {out}: {error.strerror or error}; name another file") from error
        print(f"wrote {out}")
    raise typer.Exit(1 if failed else 0)


def doctor() -> None:
    """Check the installation: where it lies, versions, threads, folders, devices."""
    from ratelab.theory.arrays import InputError

    print(f"ratelab: {Path(ratelab.__file__).parent}")
    import numba
    import torch

    names = ("ratelab", "numpy", "scipy", "numba", "torch", "xarray", "h5netcdf", "matplotlib")
    print(
        f"python {platform.python_version()}, "
        + ", ".join(f"{n} {importlib.metadata.version(n)}" for n in names)
    )
    threads = f"numba {numba.get_num_threads()}, torch {torch.get_num_threads()}"
    print(f"threads: {threads}; a cell takes one, one that trains networks all")
    cuda = torch.cuda.is_available()
    device = f"--device cuda trains on {torch.cuda.get_device_name()}" if cuda else "torch sees no GPU"
    print(f"devices: cpu; {device}")
    folder = os.environ.get("RATELAB_DATA")
    print(
        f"data: {folder or 'download cache'} (RATELAB_DATA)"
        + ("" if not folder or Path(folder).is_dir() else ": no such folder")
    )
    place = Path("results") if Path("results").exists() else Path()
    try:
        with tempfile.TemporaryFile(dir=place):
            print(f"results: {Path('results').resolve()} can be written")
    except OSError as error:
        raise InputError(
            f"{place.resolve()} cannot be written ({error.strerror}); work in another folder, or give --out"
        ) from error
