"""The front door: the command line, thin, and `import ratelab` with the public names, loaded when asked for.

Every command prints what it wrote and where. Exit codes: 0 as expected, 1 a verdict contradicts its
expectation, 2 bad input, 3 a verdict is unexpectedly undecided, 4 cells failed, 70 internal error, 130
interrupted.
"""

import io
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ratelab.experiments.claims import Judgement
    from ratelab.experiments.dialects import Training
    from ratelab.experiments.execute import Report
    from ratelab.experiments.spec import Spec
    from ratelab.experiments.store import Store
    from ratelab.paper_figures.house.claims import Outcome
    from ratelab.paper_figures.house.make import Style
    from ratelab.theory.arrays import Array
    from ratelab.theory.feedback import Feedback
    from ratelab.theory.schedules import Schedule

_CURVE = ("problem", "method", "schedule", "averaging")
EXAMPLE = """\
# A ratelab experiment: every combination of the lists below is computed.
# Check and run it with
#   ratelab run {name}
#   ratelab verdict {name}
#   ratelab figure results/{stem}

title = "Does c/sqrt(t) give t^-1/2?"

# Values are written as in Python; `ratelab list` shows what there is.
# Braces make a grid: "InversePower({{0, 0.5}})".
# A legend of your own: {{label = "ours", value = "InversePower(0.5)"}}.
problems   = ["Quadratic(LogUniform(dim=20, condition_number=10.0), noise=Gaussian(sd=1.0))"]
methods    = ["SGD()"]                      # or "HeavyBall(momentum=0.9)"
schedules  = ["Constant()", "InversePower(0.5)", "Warmup(Cosine(), length=0.05)"]
averagings = ["Last()", "Uniform()"]

lr      = [0.5]                             # times the schedule's multipliers
lr_unit = "1/L"                             # or "absolute", "1/mu", "critical", "D/G", "D/(G sqrt T)"

horizons = [1_000_000]                      # numbers of updates
records  = 60                               # log-spaced times at which the risk is kept
runs     = 128                              # Monte Carlo runs; at least 64 where no exact risk is known
seed     = 0
dtype    = "float64"                        # or "float32"

# A claim selects curves by value; what is left out is the file's only one, "*" is each of them.
[[claims]]
sentence  = "the last iterate of c/sqrt(t) steps decays like t^-1/2"
schedule  = "InversePower(0.5)"
averaging = "Last()"
rate      = "t^-1/2"                        # or "1/t", "log(t)/t", "t^0", ...
relation  = "equals"                        # or "at_most" (O), "at_least" (Omega): they speak of the risk

[[claims]]
sentence  = "its average decays like 1/t"
schedule  = "InversePower(0.5)"
averaging = "Uniform()"
rate      = "1/t"

[[claims]]
sentence  = "a constant step decays like t^-1/2, too"
schedule  = "Constant()"
averaging = "Last()"
rate      = "t^-1/2"
expect    = "refuted"                       # a file may hold claims that ought to fail

[[claims]]
sentence  = "warmup and cosine end below 60 % of what the constant step reaches, each at its own best lr"
schedule  = "Warmup(Cosine(), length=0.05)"
averaging = "Last()"
lr        = "tuned"                         # minimises the exact risk; or "best" (of the list), "*", 0.5
against   = {{schedule = "Constant()"}}       # a ratio: risk at the longest horizon over that of this curve
value     = 0.6
relation  = "at_most"
"""

app = typer.Typer(
    help="A laboratory for learning-rate schedules on convex problems: "
    "exact risk, bounds, Monte Carlo, verdicts, figures.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Data = Annotated[
    Path | None,
    typer.Option("--data", help="Folder of data sets (otherwise RATELAB_DATA, or the download cache)."),
]
Imports = Annotated[
    list[Path] | None,
    typer.Option("--import", help="A Python file of your own schedules, problems, ...; may be repeated."),
]
Out = Annotated[
    Path | None, typer.Option(help="Results folder (otherwise results/NAME, with --full results/NAME-full).")
]
Full = Annotated[
    bool, typer.Option("--full", help="The form of the file in which its table \\[full] replaces keys.")
]

FullSize = Annotated[bool, typer.Option("--full", help="At the papers' sizes: minutes to hours.")]
Venue = Annotated[
    str, typer.Option(help="neurips, icml, iclr, jmlr, tmlr, siam, ieee, thesis or slides: widths and fonts.")
]
Column = Annotated[
    bool, typer.Option("--column", help="As wide as one column (icml, ieee), not as the page's text.")
]
Formats = Annotated[
    str, typer.Option("--format", help="pdf, pgf, svg, png, separated by commas; pgf needs LaTeX.")
]
Tex = Annotated[bool, typer.Option("--tex", help="Let LaTeX set the text of a PDF; needs LaTeX.")]


@app.command()
def init(path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("experiment.toml")) -> None:
    """Write a commented example file that runs in seconds.

    Example: [bold]ratelab init my.toml[/bold]
    """
    from ratelab.theory.arrays import InputError

    if path.exists():
        raise InputError(f"{path} exists and is left as it is; give another name")
    try:
        path.write_text(EXAMPLE.format(name=path, stem=path.stem), encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror}; give a path in a writable folder"
        ) from error
    print(f"wrote {path}; next: ratelab run {path}")


@app.command("list")
def list_(
    kind: Annotated[
        str | None,
        typer.Argument(
            help="schedules, feedback, averagings, spectra, noises, data, problems, methods or figures."
        ),
    ] = None,
    imports: Imports = None,
) -> None:
    """Show what can be named in a file: each value with its fields and the beginning of its description.

    Example: [bold]ratelab list schedules[/bold]
    """
    from ratelab.experiments.spec import fill_catalogue, import_file
    from ratelab.theory.arrays import InputError
    from ratelab.theory.notation import catalogue, signature

    fill_catalogue()
    for path in imports or []:
        import_file(path)
    kinds = {"spectra": "spectrum", "feedback": "feedback", "data": "data"} | {
        k + "s": k for k in ("schedule", "averaging", "noise", "problem", "method")
    }
    known = sorted([*kinds, "figures"])
    if kind is not None and kind not in known:
        raise InputError(f"{kind!r} is no kind of thing; allowed: {', '.join(known)}")
    for name in known if kind is None else [kind]:
        if name == "figures":
            rows = [[figure, first_paragraph(text)] for figure, text in figures()]
            print_table(name, ["name", "caption"], rows)
        else:
            rows = [[signature(cls), first_paragraph(cls.__doc__)] for cls in catalogue(kinds[name]).values()]
            columns = ["write", "what it is"]
            if name == "schedules":
                columns = ["write", "over 100 updates", "what it is"]
                rows = [
                    [row[0], drawing(cls), row[1]]
                    for row, cls in zip(rows, catalogue("schedule").values(), strict=True)
                ]
            print_table(name, columns, rows)


@app.command()
def preview(
    schedule: Annotated[
        str,
        typer.Argument(
            help='A schedule in the notation, "Warmup(Cosine(), length=0.05)", an experiment file, or the '
            "training file of a LoRA trainer."
        ),
    ],
    horizon: Annotated[
        int | None, typer.Option(help="Updates T (otherwise the file's longest, or 1000).")
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(
            help="What the multipliers are multiplied by (otherwise 1, or what a training file says)."
        ),
    ] = None,
    images: Annotated[
        int | None, typer.Option(help="Images times repeats of a training file that counts epochs.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the picture to this .png, .pdf or .svg file.")
    ] = None,
    imports: Imports = None,
) -> None:
    """Show a schedule before anything is run: its values, a plot in the terminal and a picture.

    Example: [bold]ratelab preview "Warmup(Cosine(), length=0.05)" --lr 0.3 --out cosine.png[/bold]
    """
    from ratelab.experiments.spec import read_shape
    from ratelab.theory.arrays import InputError
    from ratelab.theory.schedules import Schedule, multipliers

    check_rate(lr, horizon)
    steps: dict[str, Array] = {}
    if is_training_file(schedule):
        from ratelab.experiments.dialects import kohya as dialect_kohya

        for part, training in dialect_kohya.trainings(
            Path(schedule), lr=lr, horizon=horizon, images=images
        ).items():
            print(f"\n{part}: {training.schedule!r}\n  times lr {training.lr:g}, {training.horizon} updates")
            for note in training.notes:
                print(f"  note: {note}")
            steps[part] = training.rates()
            show_steps(steps[part])
    else:
        if images is not None:
            raise InputError(f"--images {images} means something to a training file only; leave it out")
        values = previewed(schedule, imports or [])
        longest = max(read_shape(Path(schedule)).horizons) if schedule.endswith(".toml") else 1000
        for legend, value in values:
            print(f"\n{legend}" if legend == repr(value) else f"\n{legend}: {value!r}")
            for name, meaning in durations(value):
                print(f"  {name}: {meaning}")
            if not isinstance(value, Schedule):
                print("  a closed loop: these steps, times a factor that depends on the losses it sees")
                value = value.schedule
            steps[legend] = (lr or 1.0) * multipliers(value, horizon or longest)
            show_steps(steps[legend])
    if out is None:
        print("\n--out FILE.png writes a picture")
    else:
        from ratelab.paper_figures.house import results as plots

        print(f"\nwrote {plots.save_preview(steps, out)}")


@app.command()
def convert(
    schedule: Annotated[
        str, typer.Argument(help="A schedule as one of the frameworks writes it, or a trainer's .toml file.")
    ],
    source: Annotated[
        str | None, typer.Option("--from", help="Whose words these are (otherwise found out by its name).")
    ] = None,
    to: Annotated[
        list[str] | None, typer.Option("--to", help="Dialects to write it in (otherwise all); repeatable.")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="The optimizer's learning rate.")] = None,
    horizon: Annotated[int | None, typer.Option(help="Updates T, where the text does not say.")] = None,
    images: Annotated[int | None, typer.Option(help="kohya: images times repeats of an epoch.")] = None,
    samples: Annotated[int | None, typer.Option(help="sklearn: samples of an epoch.")] = None,
    updates_per_epoch: Annotated[int | None, typer.Option(help="timm: updates of an epoch.")] = None,
    imports: Imports = None,
) -> None:
    """Say a schedule in another framework's words; what it cannot say is refused with the reason.

    Dialects: ratelab (the notation), torch, transformers, diffusers, optax, timm, keras, sklearn, kohya.
    Example: [bold]ratelab convert "CosineAnnealingLR(T_max=90)" --lr 0.1 --horizon 90 --to keras[/bold]
    """
    from ratelab.experiments import dialects
    from ratelab.experiments.spec import import_file

    for path in imports or []:
        import_file(path)
    for name in to or []:
        dialects.dialect(name)
    check_rate(lr, horizon)
    counts = {"images": images, "samples": samples, "updates_per_epoch": updates_per_epoch}
    given = {name: count for name, count in counts.items() if count is not None}
    spoken, training = understood(schedule, source, lr, horizon, given)
    length = "" if training.horizon is None else f", {training.horizon} updates"
    print(f"{spoken} says: {training.schedule!r}\n  times lr {training.lr:g}{length}")
    for note in training.notes:
        print(f"  note: {note}")
    show_rates(training)
    for name in to or [name for name in dialects.DIALECTS if name != spoken]:
        try:
            written = dialects.write(training, name)
        except dialects.DialectError as error:
            if to:
                raise
            print(f"\n{name} cannot say it: {error}")
        else:
            print(f"\n{name}:\n" + "\n".join(f"    {line}" for line in written.rstrip().splitlines()))


@app.command()
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
    from ratelab.experiments import cost, execute
    from ratelab.experiments.spec import cells, load
    from ratelab.experiments.store import Store, missing
    from ratelab.theory.arrays import InputError

    use_data(data)
    if workers is not None and workers < 1:
        raise InputError(f"--workers is {workers}; give at least 1")
    if device not in ("cpu", "cuda"):
        raise InputError(f"--device is {device}; give cpu or cuda")
    spec = load(file, imports or [], full)
    store = Store(out or results_folder(file, full))
    if not update:
        store.refuse_changes(spec)
    todo = missing(spec, store)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # batch systems ask this way to stop
    workers = workers or execute.default_workers(todo)
    if dry_run:
        rows = [
            [e.part, str(e.cells), e.engine, f"{e.bytes / 2**20:,.0f} MiB", f"{e.seconds:,.1f} s"]
            for e in cost.expect(todo)
        ]
        print_table(
            f"{len(todo)} of {len(cells(spec))} cells to compute",
            ["part", "cells", "engine", "memory each", "time"],
            rows,
        )
        total = cost.seconds(todo, workers)
        print(f"about {total:,.0f} s with {workers} worker{'s'[: workers - 1]}; nothing was run or written")
        return
    try:
        with progress("cells") as report:
            text = file.read_text(encoding="utf-8")
            outcome = execute.run(spec, text, store, workers, update, report, device=device)
    except KeyboardInterrupt:
        kept = len(cells(spec)) - len(missing(spec, store))
        part = ", and part of the next" if list((store.folder / "cells").glob("*.checkpoint.npz")) else ""
        print(
            f"interrupted; {kept} of {len(cells(spec))} cells{part} are kept in {store.folder}: "
            "run again to go on",
            file=sys.stderr,
        )
        raise
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


@app.command()
def status(
    run: Annotated[Path, typer.Argument(help="A results folder.")], data: Data = None, imports: Imports = None
) -> None:
    """Say what of an experiment is computed, missing, failed or set aside.

    Example: [bold]ratelab status results/decay_rates[/bold]
    """
    from ratelab.experiments.spec import cells

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


@app.command()
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
    from ratelab.experiments import claims
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
        judgements = claims.judge(Results(spec, store), told)
    report(spec, store, judgements)
    raise typer.Exit(claims.exit_code(judgements))


@app.command()
def calibrate(
    cases: Annotated[int, typer.Option(help="Curves per family.")] = 300,
    seed: Annotated[int, typer.Option(help="Another zoo of the same families.")] = 0,
    out: Annotated[Path | None, typer.Option(help="A Markdown file to write the table to.")] = None,
) -> None:
    """Measure how often verdicts are wrong, on curves, quadratics and runs whose truth is known; minutes.

    Exit code 1: a family misses what is aimed at. What the numbers mean: docs/verdicts.md.
    Example: [bold]ratelab calibrate --cases 50[/bold]
    """
    from ratelab.experiments import calibration
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


@app.command()
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
    from ratelab.paper_figures.house import make

    use_data(data)
    style = printed_style(venue, column, formats, tex)
    known = [figure for figure, _ in figures()]
    names = list(dict.fromkeys(names or known))
    runs = {name: opened(Path(name), imports or [], full) for name in names if is_run(name, known)}
    for store, spec in runs.values():
        require_complete(spec, store)
    outcomes, failed = [], {}
    for name in names:
        if name in runs:
            draw_results(*runs[name], out and (out / Path(name).stem if len(runs) > 1 else out), style)
            continue
        try:
            with computing(name, full) as report:
                made = make.make(name, out or Path("figures"), style, full, report)
        except Exception as error:
            failed[name] = describe(error)
        else:
            print(made)
            outcomes += made.outcomes
    end_audit(outcomes, failed)


@app.command()
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


@app.command()
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

    A claim that is known to be wrong is recorded as such, with what is true instead. Exit code 1: one is no
    longer as recorded; 4: a figure could not be computed.
    Example: [bold]ratelab audit d2l_momentum swa --out audit.md[/bold]
    """
    from ratelab.paper_figures.house import make, venues

    use_data(data)
    columns = ["figure", "source", "sentence", "printed or predicted", "measured", "verdict"]
    rows, outcomes, failed = [], [], {}
    for name in chosen_figures(names):
        try:
            with computing(name, full) as report:
                _, judged = make.measure(name, full, report)
        except Exception as error:
            failed[name] = describe(error)
            continue
        outcomes += judged
        for o in judged:
            sentence = o.claim.sentence + (f" — {o.claim.finding}" if o.claim.finding else "")
            rows.append([name, o.claim.source, sentence, o.claim.printed, o.measured, o.holds])
    print_table("", columns, rows)
    print(make.count(outcomes))
    if out is not None:
        text = f"# The audit\n\n{make.count(outcomes)}\n\n{markdown_table(columns, rows)}\n"
        print(f"wrote {venues.save_text(text, out)}")
    end_audit(outcomes, failed)


@app.command()
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
    from ratelab.paper_figures.house import gallery, make

    use_data(data)
    entries, failed = [], {}
    for name in chosen_figures(names):
        try:
            with computing(name, full) as report:
                entries.append(gallery.entry(name, out, full, report))
        except Exception as error:
            failed[name] = describe(error)
    outcomes = [outcome for entry in entries for outcome in entry.outcomes]
    if entries:
        print(f"wrote {gallery.write(entries, out, full, failed)}: {len(entries)} figures")
    print(make.count(outcomes))
    end_audit(outcomes, failed)


@app.command()
def doctor() -> None:
    """Check the installation: where it lies, versions, threads, folders, devices."""
    import importlib.metadata
    import platform
    import tempfile

    from ratelab.theory.arrays import InputError

    print(f"ratelab: {Path(__file__).parent}")
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


# What the commands share


def chosen_figures(names: Sequence[str] | None) -> list[str]:
    """The figures that are named, or all; InputError for one that there isn't."""
    from ratelab.paper_figures.house import make

    for name in names or []:
        make.picture(name)
    return list(dict.fromkeys(names or make.find()))


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


@contextmanager
def computing(name: str, full: bool) -> "Iterator[Report]":
    """Says about how long a figure takes, by its own account, and then how much of it is done."""
    from ratelab.paper_figures.house import make

    seconds = make.picture(name).ABOUT.seconds[full]
    length = f"{max(1, seconds):.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    print(f"{name}: about {length}", file=sys.stderr, flush=True)
    with progress(name, counted=False) as report:
        yield report


def is_run(name: str, known: Sequence[str]) -> bool:
    """Whether a name is that of one's own results, not of a figure; InputError where it is neither."""
    from ratelab.paper_figures.house import make
    from ratelab.theory.arrays import InputError

    if name not in known and not Path(name).exists():
        if len(Path(name).parts) > 1:
            raise InputError(f"{name}: no such folder or file; `ratelab run FILE --out {name}` makes one")
        make.picture(name)  # refuses it, with the nearest name
    return name not in known


def draw_results(store: "Store", spec: "Spec", out: Path | None, style: "Style") -> None:
    """Write the figures of one's own results, and one for each verdict on a rate."""
    from ratelab.experiments import claims
    from ratelab.experiments.store import Results
    from ratelab.paper_figures.house import results as plots, verdicts

    results, folder = Results(spec, store), out or store.figures
    for path in plots.save(results, folder, style):
        print(f"wrote {path}")
    if any(claim.rate is not None for claim in spec.claims):
        with progress("rows judged") as told:
            judgements = claims.judge(results, told)
        for path in verdicts.save(spec, judgements, folder, style):
            print(f"wrote {path}")


def describe(error: Exception) -> str:
    """Why a figure could not be computed; what isn't bad input is an error of ours, with its traceback."""
    from ratelab.theory.arrays import InputError

    if isinstance(error, InputError):
        return str(error)
    return "".join(traceback.format_exception(error)).rstrip()


def end_audit(outcomes: "Sequence[Outcome[Any]]", failed: Mapping[str, str]) -> None:
    """Exit code 4 where figures could not be computed, 1 where a claim isn't as recorded."""
    for name, error in failed.items():
        print(f"failed: {name}: {error}", file=sys.stderr)
    if failed:
        print(f"{len(failed)} figures could not be computed: {', '.join(failed)}", file=sys.stderr)
        raise typer.Exit(4)
    raise typer.Exit(0 if all(outcome.as_expected for outcome in outcomes) else 1)


def results_folder(file: Path, full: bool = False) -> Path:
    """results/NAME of an experiment file NAME.toml, results/NAME-full of its full form."""
    return Path("results") / (file.stem + ("-full" if full else ""))


def again(spec: "Spec", store: "Store") -> str:
    """The command that goes on with a run."""
    return f"ratelab run {store.spec_file} --out {store.folder}" + (" --full" if spec.full else "")


def opened(run: Path, imports: Sequence[Path], full: bool = False) -> "tuple[Store, Spec]":
    """The results of a folder, or those of a file with its present claims; which form, a folder knows."""
    from ratelab.experiments.spec import load
    from ratelab.experiments.store import Store
    from ratelab.theory.arrays import InputError

    from_file = run.suffix == ".toml"
    store = Store(results_folder(run, full) if from_file else run)
    if not store.spec_file.exists():
        raise InputError(
            f"{store.folder} holds no results; `ratelab run FILE --out {store.folder}` makes some"
        )
    manifest = store.manifest()
    full = full or bool(manifest and manifest["spec"].get("full"))
    spec = load(run if from_file else store.spec_file, imports, full, data=False)
    store.refuse_changes(spec)
    return store, spec


def require_complete(spec: "Spec", store: "Store") -> None:
    """Exit code 4 when cells have failed; InputError when some are yet to be computed."""
    from ratelab.experiments.spec import cells
    from ratelab.theory.arrays import InputError

    lacking = [cell for cell in cells(spec) if not store.cell_file(cell).exists()]
    if not lacking:
        return
    notes = store.manifest().get("cells", {})
    failed = [cell.name for cell in lacking if "error" in notes.get(cell.key, {})]
    command = again(spec, store)
    if failed:
        print(
            "\n".join(f"failed: {name}" for name in failed)
            + f"\ndetails in {store.manifest_file}; retry with: {command}",
            file=sys.stderr,
        )
        raise typer.Exit(4)
    raise InputError(f"{len(lacking)} cells of {store.folder} are not computed yet; go on with: {command}")


def report(spec: "Spec", store: "Store", judgements: "Sequence[Judgement]") -> None:
    """The verdicts on the terminal and in report.md."""
    columns = ["claim", "of", "number", "interval", "window", "claimed", "verdict", "expected"]
    table, reasons = [], []
    for number, judgement in enumerate(judgements, 1):
        claim = judgement.claim
        source = f" ({claim.source})" if claim.source else ""
        mark = "" if judgement.as_expected else ", NOT AS EXPECTED"
        reasons.append(f"{number}. {claim.sentence}{source}: **{judgement.status}**{mark}")
        for row in judgement.rows:
            named = [{axis: spec.label(getattr(side, axis)) for axis in _CURVE} for side in row.sides]
            told = "".join(f" ({named[0][axis]})" for axis in _CURVE if getattr(claim.select, axis) == "*")
            differ = [axis for axis in _CURVE if named[0][axis] != named[-1][axis]]
            sides = (
                ", ".join([*(names[axis] for axis in differ), f"lr {lr}"])
                for names, lr in zip(named, row.lrs, strict=True)
            )
            table.append([f"{number}. {claim.sentence}{told}", " over ".join(sides), *judgement.cells(row)])
            quantity = "" if claim.quantity == "risk" else f"{claim.kind} ({claim.quantity}): "
            notes = "".join(f"; {note}" for note in row.verdict.notes)
            curves = (
                f"{', '.join(names.values())}, lr {lr}" for names, lr in zip(named, row.lrs, strict=True)
            )
            unit = "" if spec.lr_unit == "absolute" else f" × {spec.lr_unit}"
            reasons.append(f"   - {' over '.join(curves)}{unit}: {quantity}{row.verdict.reason}{notes}")
    shared = " (intervals of Monte Carlo verdicts share the 95 %: Bonferroni)" if spec.bonferroni else ""
    surprises = sum(not judgement.as_expected for judgement in judgements)
    count = f"claims: {len(judgements)}, rows: {len(table)}{shared}; {surprises} not as expected"
    print_table(spec.title, columns, table)
    print("\n".join(reasons).replace("**", ""))
    print(count)
    shown = markdown_table(columns, table)
    text = (
        f"# {spec.title or store.folder.name}\n\n{shown}\n\n{count}\n\n## Reasons\n\n"
        + "\n".join(reasons)
        + "\n"
    )
    store.write_text(store.report_file, text)
    print(f"wrote {store.report_file}")


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [[cell.replace("|", "\\|") for cell in line] for line in [columns, ["---"] * len(columns), *rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def use_data(folder: Path | None) -> None:
    """Data sets are looked for in the folder that RATELAB_DATA names, here and in the worker processes."""
    from ratelab.theory.arrays import InputError

    if folder is not None:
        if not folder.is_dir():
            raise InputError(f"--data {folder}: no such folder")
        os.environ["RATELAB_DATA"] = str(folder.resolve())


def previewed(schedule: str, imports: Sequence[Path]) -> "list[tuple[str, Schedule | Feedback]]":
    """(legend, schedule) of a text in the notation, or of an experiment file."""
    from ratelab.experiments.spec import import_file, schedules_of
    from ratelab.theory.notation import expand, schedule_kind

    for path in imports:
        import_file(path)
    if schedule.endswith(".toml"):
        return schedules_of(Path(schedule))
    values: list[Any] = expand(schedule, schedule_kind(schedule))
    return [(repr(value), value) for value in values]


def check_rate(lr: float | None, horizon: int | None) -> None:
    from ratelab.theory.arrays import InputError

    if horizon is not None and not 1 <= horizon <= 10**9:
        raise InputError(f"--horizon is {horizon}; give 1 to 1000000000 updates")
    if lr is not None and not 0 < lr < float("inf"):
        raise InputError(f"--lr is {lr}; give a number > 0")


def is_training_file(text: str) -> bool:
    """Whether this is a trainer's .toml file: one that names no schedules of its own."""
    import tomllib

    try:
        return text.endswith(".toml") and "schedules" not in tomllib.loads(Path(text).read_text("utf-8"))
    except (OSError, ValueError):
        return False  # whoever reads it as an experiment says what is wrong


def understood(
    text: str, source: str | None, lr: float | None, horizon: int | None, counts: Mapping[str, int]
) -> "tuple[str, Training]":
    """What a text says, and in which dialect: the one named, or the only one that can read it."""
    from ratelab.experiments import dialects
    from ratelab.theory.arrays import InputError

    content: str | Path = Path(text) if text.endswith(".toml") else text
    if isinstance(content, Path) and not content.is_file():
        raise InputError(f"{content}: no such file")
    if source is not None:
        return source, dialects.read(source, content, lr=lr, horizon=horizon, **counts)
    found: dict[str, Training] = {}
    refusals = []
    spoken = sorted({*dialects.DIALECTS} - {"kohya"}, key=lambda name: (name != "ratelab", name))
    for name in ["kohya"] if isinstance(content, Path) else spoken:
        try:
            found[name] = dialects.read(name, content, lr=lr, horizon=horizon, **counts)
        except InputError as error:
            refusals.append(f"{name}: {error}")
        if "ratelab" in found:  # our own notation goes first
            break
    if not found:
        raise InputError("\n  - ".join([f"no dialect reads {text}; name yours with --from:", *refusals]))
    if len(found) > 1:
        raise InputError(f"{text} can be said in {' and in '.join(found)}; choose with --from")
    return found.popitem()


def show_rates(training: "Training") -> None:
    """A table and a plot of the rates, where they are known: not in a closed loop, nor without a horizon."""
    from ratelab.theory.schedules import Schedule

    if not isinstance(training.schedule, Schedule):
        print("  a closed loop: its rates depend on the losses it sees")
    elif training.horizon is None:
        print("  --horizon T shows its rates")
    else:
        show_steps(training.rates())


def show_steps(steps: "Array") -> None:
    """Eleven steps in a table, all of them in a plot."""
    last = len(steps) - 1
    times = sorted({round(k * last / 10) for k in range(11)})
    print_table("", ["t", *map(str, times)], [["step", *(f"{steps[t]:.4g}" for t in times)]])
    print("\n".join(terminal_plot(steps)))


def durations(value: object) -> Iterator[tuple[str, str]]:
    """Name and meaning of every duration in a value: 1 is an update, 1.0 the whole horizon."""
    import dataclasses
    import typing

    from ratelab.theory.notation import describe

    hints = typing.get_type_hints(type(value), include_extras=True)
    for field in dataclasses.fields(value) if dataclasses.is_dataclass(value) else ():
        content = getattr(value, field.name)
        parts = content if isinstance(content, tuple) else (content,)
        if "fraction of the horizon" in describe(hints[field.name]):
            spoken = [
                f"{100 * p:g} % of T" if isinstance(p, float) else f"{p} update{'s' if p != 1 else ''}"
                for p in parts
            ]
            yield f"{type(value).__name__}.{field.name}", ", ".join(spoken)
        for part in parts:
            if dataclasses.is_dataclass(part):
                yield from durations(part)


def terminal_plot(values: "Array", width: int = 64, height: int = 8) -> list[str]:
    """Values against their index as block characters, from 0 to their maximum."""
    import numpy as np

    top = float(values.max())
    at = np.linspace(0, len(values) - 1, min(width, len(values))).round().astype(int)
    eighths = np.round(values[at] / (top or 1.0) * height * 8).astype(int)
    lines = [
        "".join(" ▁▂▃▄▅▆▇█"[min(max(e - 8 * row, 0), 8)] for e in eighths) for row in reversed(range(height))
    ]
    labels = [f"{top:9.3g}", *[" " * 9] * (height - 2), f"{0:9}"]
    return [f"{label} |{line}" for label, line in zip(labels, lines, strict=False)]


def drawing(cls: type, width: int = 25) -> str:
    """A small picture of the schedule that stands for a class, in block characters; empty where none does."""
    from ratelab.paper_figures.house.schedules_page import UPDATES, pictured
    from ratelab.theory.schedules import multipliers

    drawn = pictured(cls)
    return "" if drawn is None else terminal_plot(multipliers(drawn, UPDATES), width, 1)[0][11:]


def figures() -> list[tuple[str, str]]:
    """Name and caption of every figure: the modules of paper_figures, read without importing them."""
    import ast

    files = sorted((Path(__file__).parent / "paper_figures").glob("[!_]*.py"))
    return [(f.stem, ast.get_docstring(ast.parse(f.read_text(encoding="utf-8"))) or "") for f in files]


def first_paragraph(text: str | None) -> str:
    """Of a docstring, on one line."""
    return " ".join((text or "").strip().split("\n\n")[0].split())


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table as wide as the terminal; in a pipe as wide as it needs to be, so that nothing is cut."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else 240)
    table = Table(title=Text(title) if title else None, title_justify="left")
    for column in columns:
        table.add_column(
            column, overflow="fold", no_wrap=column in ("verdict", "expected", "number", "over 100 updates")
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


@contextmanager
def progress(what: str, counted: bool = True) -> "Iterator[Report]":
    """A reporter of (done, of how many), parts of one counting: a bar on a terminal, otherwise a line at most
    every ten seconds. `counted`: how many there are is worth saying."""
    import time

    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    if not sys.stderr.isatty():
        last, said = time.monotonic(), ""

        def lines(done: float, total: int) -> None:
            nonlocal last, said
            line = f"{100 * done / total:.0f} % of {f'{total} ' if counted else ''}{what}"
            if line != said and (done == total or time.monotonic() - last > 10):
                last, said = time.monotonic(), line
                print(line, file=sys.stderr, flush=True)

        yield lines
        return
    from rich.console import Console

    columns = (
        TextColumn(what),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; always ends in SystemExit with one of the exit codes above."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        app(arguments, prog_name="ratelab")
    except BrokenPipeError:  # the reader of a pipe has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        from ratelab.theory.arrays import InputError

        if isinstance(error, InputError):
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        traceback.print_exc()
        sys.exit(70)


if __name__ == "__main__":
    main()
