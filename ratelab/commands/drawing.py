"""Figures: those of the gallery, as files and as pages, and those of one's own results."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ratelab.commands.options import Column, Data, Formats, Full, FullSize, Imports, Tex, Venue
from ratelab.terminal import progress

if TYPE_CHECKING:
    from ratelab.experiments.spec import Spec
    from ratelab.experiments.store import Store
    from ratelab.paper_figures.house.about import Report
    from ratelab.paper_figures.house.make import Style


def figure(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="Figures (`ratelab list figures`), all if none is named; or a results folder.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to (otherwise figures/, or the results' own).")
    ] = None,
    venue: Venue = "icml",
    column: Column = False,
    formats: Formats = "pdf,png",
    tex: Tex = False,
    full: FullSize = False,
    data: Data = None,
    imports: Imports = None,
) -> None:
    """Draw figures of the gallery, or one's own results: pictures, the CSV they are drawn from, a script.

    NAME.py draws NAME.csv again with matplotlib alone. The claims of a figure are measured; exit code 1: one
    is not as recorded.
    Own results: risk against updates per schedule, exact line, Monte Carlo band (95 % pointwise interval of
    the mean), bound, and the slopes claimed; of networks, test error and training loss. claim-N shows the
    verdict on claim N, where that is a rate: the exponents under the curve.
    Examples: [bold]ratelab figure bach_moulines --venue neurips --format pdf,svg[/bold]
    [bold]ratelab figure results/decay_rates[/bold]
    """
    from ratelab.commands.computed import attempt, end_audit
    from ratelab.commands.opened import opened, require_complete, use_data
    from ratelab.paper_figures.house import make

    use_data(data)
    style = printed_style(venue, column, formats, tex)
    names = list(dict.fromkeys(names or make.find()))
    runs = {name: opened(Path(name), imports or [], full) for name in names if is_run(name)}
    for store, spec in runs.values():
        require_complete(spec, store)
    outcomes, failed = [], dict[str, str]()

    def drawn(name: str, full: bool, report: "Report") -> "make.Made":
        return make.make(name, out or Path("figures"), style, full, report)

    for name in names:
        if name in runs:
            draw_results(*runs[name], out and (out / Path(name).stem if len(runs) > 1 else out), style)
            continue
        made = attempt(name, full, drawn, failed)
        if made is not None:
            print(made)
            outcomes += made.outcomes
    end_audit(outcomes, failed)


def plot(
    run: Annotated[Path, typer.Argument(help="A results folder, or the file it was made from.")],
    x: Annotated[str, typer.Option("--x", help="step, horizon or lr.")] = "step",
    y: Annotated[
        str | None,
        typer.Option("--y", help="risk, test_error, train_loss, ... (otherwise risk, or test_error)."),
    ] = None,
    by: Annotated[
        str,
        typer.Option("--by", help="A curve for each schedule, averaging, lr, horizon, method or problem."),
    ] = "schedule",
    compensate: Annotated[
        float, typer.Option(help="p: show y times x^p, which is flat where y decays like x^-p.")
    ] = 0.0,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", metavar="AXIS=VALUE", help="Draw one value of an axis; may be repeated."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A folder, or a path without ending (otherwise the results' own figures folder)."),
    ] = None,
    venue: Venue = "icml",
    column: Column = False,
    formats: Formats = "pdf,png",
    tex: Tex = False,
    full: Full = False,
    data: Data = None,
    imports: Imports = None,
) -> None:
    """Draw one's own results as a figure of one's choice; what is left of the axes becomes panels.

    Written are the pictures, the CSV they are drawn from, and a script that draws them again.
    Example: [bold]ratelab plot results/decay_rates --by schedule --compensate 0.5 --where "lr=0.3"[/bold]
    """
    from ratelab.commands.opened import opened, require_complete, use_data
    from ratelab.experiments.store import Results
    from ratelab.paper_figures.house import curves, results as plots, venues

    use_data(data)
    style = printed_style(venue, column, formats, tex)
    store, spec = opened(run, imports or [], full)
    chosen = plots.chosen(spec, x, y, by, compensate, where or [])
    require_complete(spec, store)
    usual = f"{chosen.y.replace('/', '_over_')}-by-{by}-over-{x}"
    stem = store.figures / usual if out is None else out / usual if out.is_dir() else out
    if stem.suffix.removeprefix(".") in (*venues.FORMATS, "csv", "py"):
        stem = stem.with_suffix("")
    for path in plots.plot(Results(spec, store), chosen, stem, style):
        print(f"wrote {path}")
    print(f"shown: {plots.setting(spec, chosen)}")
    abreast = len(plots.values_of(spec, chosen, plots.panels(spec, chosen)[1]))
    if abreast > curves.ABREAST:
        print(f"{abreast} panels abreast make it wider than the page; --where draws fewer")


def gallery(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Figures to show; all if none is named.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("gallery"),
    full: FullSize = False,
    data: Data = None,
) -> None:
    """Write the gallery: a static folder that opens from disk, a page per figure with its claims and data.

    Exit codes as those of audit.
    Example: [bold]ratelab gallery --out gallery[/bold]
    """
    from ratelab.commands.computed import attempt, chosen_figures, end_audit
    from ratelab.commands.opened import use_data
    from ratelab.paper_figures.house import gallery, make

    use_data(data)
    failed = dict[str, str]()

    def written(name: str, full: bool, report: "Report") -> "gallery.Entry":
        return gallery.entry(name, out, full, report)

    attempts = [attempt(name, full, written, failed) for name in chosen_figures(names)]
    entries = [entry for entry in attempts if entry is not None]
    outcomes = [outcome for entry in entries for outcome in entry.outcomes]
    if entries:
        print(f"wrote {gallery.write(entries, out, full, failed)}: {len(entries)} figures")
    print(make.count(outcomes))
    end_audit(outcomes, failed)


def printed_style(venue: str, column: bool, formats: str, tex: bool) -> "Style":
    """How figures are to be written; InputError where that can't be."""
    from ratelab.paper_figures.house import venues
    from ratelab.paper_figures.house.make import Style
    from ratelab.theory.arrays import InputError

    wanted = [name for part in formats.split(",") if (name := part.strip().lower())]
    known = [name for name in venues.FORMATS if name in wanted]
    unknown = sorted({*wanted} - {*known})
    if unknown or not known:
        raise InputError(f"--format {formats}: allowed are {', '.join(venues.FORMATS)}, separated by commas")
    if tex or "pgf" in known:
        venues.tex_system()
    return Style(venues.venue(venue).settings(column), tuple(known), tex)


def is_run(name: str) -> bool:
    """Whether a name is that of one's own results, not of a figure; InputError where it is neither."""
    from ratelab.paper_figures.house import make
    from ratelab.theory.arrays import InputError

    known = name in make.find()
    if not known and not Path(name).exists():
        if len(Path(name).parts) > 1:
            raise InputError(f"{name}: no such folder or file; `ratelab run FILE --out {name}` makes one")
        make.picture(name)  # refuses it, with the nearest name
    return not known


def draw_results(store: "Store", spec: "Spec", out: Path | None, style: "Style") -> None:
    """Write the figures of one's own results, and one for each verdict on a rate."""
    from ratelab.experiments.judging import claims
    from ratelab.experiments.spec import Decay
    from ratelab.experiments.store import Results
    from ratelab.paper_figures.house import results as plots, verdicts

    results, folder = Results(spec, store), out or store.figures
    for path in plots.save(results, folder, style):
        print(f"wrote {path}")
    if any(isinstance(claim.measured, Decay) for claim in spec.claims):
        with progress("rows judged") as told:
            outcomes = claims.judge(results, told)
        for path in verdicts.save(spec, outcomes, folder, style):
            print(f"wrote {path}")
