"""Schedules before anything is run: shown, and said in other frameworks' words."""

import dataclasses
import tomllib
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ratelab.commands.options import Imports
from ratelab.terminal import print_table, terminal_plot

if TYPE_CHECKING:
    from ratelab.experiments.dialects import Training
    from ratelab.theory.arrays import Array
    from ratelab.theory.feedback import Feedback
    from ratelab.theory.schedules import Schedule


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
    from ratelab.theory.arrays import InputError

    check_rate(lr, horizon)
    if is_training_file(schedule):
        steps = show_training_file(Path(schedule), lr, horizon, images)
    elif images is not None:
        raise InputError(f"--images {images} means something to a training file only; leave it out")
    else:
        steps = show_values(schedule, lr or 1.0, horizon, imports or [])
    if out is None:
        print("\n--out FILE.png writes a picture")
    else:
        from ratelab.paper_figures.house import results as plots

        print(f"\nwrote {plots.save_preview(steps, out)}")


def show_training_file(
    file: Path, lr: float | None, horizon: int | None, images: int | None
) -> "dict[str, Array]":
    """Shows what each part of a network is trained with; returns the steps by the part's name."""
    from ratelab.experiments.dialects import kohya as dialect_kohya

    steps = {}
    for part, training in dialect_kohya.trainings(file, lr=lr, horizon=horizon, images=images).items():
        print(f"\n{part}: {training.schedule!r}\n  times lr {training.lr:g}, {training.horizon} updates")
        for note in training.notes:
            print(f"  note: {note}")
        steps[part] = training.rates()
        show_steps(steps[part])
    return steps


def show_values(schedule: str, lr: float, horizon: int | None, imports: Sequence[Path]) -> "dict[str, Array]":
    """Shows the schedules of a text or an experiment file; returns their steps by their legends."""
    from ratelab.experiments.file import read_shape
    from ratelab.theory.schedules import Schedule, multipliers

    values = previewed(schedule, imports)
    longest = max(read_shape(Path(schedule)).horizons) if schedule.endswith(".toml") else 1000
    steps = {}
    for legend, value in values:
        print(f"\n{legend}" if legend == repr(value) else f"\n{legend}: {value!r}")
        for name, meaning in durations(value):
            print(f"  {name}: {meaning}")
        if not isinstance(value, Schedule):
            print("  a closed loop: these steps, times a factor that depends on the losses it sees")
            value = value.schedule
        steps[legend] = lr * multipliers(value, horizon or longest)
        show_steps(steps[legend])
    return steps


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
    from ratelab.experiments.imports import import_file

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


def previewed(schedule: str, imports: Sequence[Path]) -> "list[tuple[str, Schedule | Feedback]]":
    """(legend, schedule) of a text in the notation, or of an experiment file."""
    from ratelab.experiments.file import schedules_of
    from ratelab.experiments.imports import import_file
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
