"""One's own results as figures: tables of what a run computed, written with pictures and scripts.

`save` writes all there is, a figure per problem, method and quantity; `plot` one figure of one's own choice.
Their pictures are drawn by `_curves`.
"""

import itertools
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from matplotlib.figure import Figure

from ratelab.experiments.spec import Decay, Quantity, Spec, select
from ratelab.experiments.store import Curve, Results
from ratelab.paper_figures.house import curves, venues
from ratelab.paper_figures.house.make import Drawing, Png, Style, show, write
from ratelab.paper_figures.house.schedules_page import UPDATES, pictured
from ratelab.paper_figures.house.style import look, mean_interval, new_figure
from ratelab.paper_figures.house.table import Table, table_of
from ratelab.theory.arrays import Array, InputError
from ratelab.theory.notation import catalogue, parse
from ratelab.theory.schedules import multipliers

__all__ = ["show_results", "show_schedules"]

Axis: TypeAlias = Literal["problem", "method", "schedule", "averaging", "lr", "horizon"]
Over: TypeAlias = Literal["step", "horizon", "lr"]
AXES: tuple[Axis, ...] = get_args(Axis)
DRAWN = frozenset[Quantity](("risk", "test_error", "train_loss"))
"""Of what is kept of the runs; the tables hold all of it."""


@dataclass(frozen=True)
class Plot:
    """What is drawn over what: `y` over `x`, a curve per value of `by`, a panel for each value of the rest.

    x: "step" (updates, or epochs where the file counts those), "horizon" or "lr"; y is multiplied by
    x^compensate. where: values of axes that are drawn; of others all are.
    """

    x: Over = "step"
    y: Quantity = "risk"
    by: Axis = "schedule"
    compensate: float = 0.0
    where: Mapping[Axis, object] = field(default_factory=dict)

    @property
    def column(self) -> str:
        """The column of the table that x is."""
        return "t" if self.x == "step" else self.x


def save(results: Results, folder: Path, style: Style) -> list[Path]:
    """Write risk-1 and so on as pictures, CSV and script, one set per problem, method and quantity.

    What isn't drawn is in a .csv all the same. Returns the paths.
    """
    spec = results.spec
    written = []
    for number, (problem, method) in enumerate(itertools.product(spec.problems, spec.methods), 1):
        for quantity in problem.quantities:
            chosen = Plot(y=quantity, where={"problem": problem, "method": method})
            stem = folder / f"{quantity.replace('/', '_over_')}-{number}"
            if quantity in DRAWN:
                written += plot(results, chosen, stem, style, titled=True)
            else:
                written.append(venues.save_table(table(results, chosen), stem.with_suffix(".csv")))
    return written


def plot(results: Results, chosen: Plot, stem: Path, style: Style, titled: bool = False) -> list[Path]:
    """Write one figure: STEM.pdf and so on, STEM.csv and STEM.py. Returns the paths.

    `titled`: with the file's title and the setting above; a paper's caption says these.
    """
    shared = setting(results.spec, chosen)
    title = "\n".join([results.spec.title, shared]) if titled else ""
    told = arguments(results, chosen, title)
    title, caption = results.spec.title or stem.name, f"{shared}\n\n{(curves.__doc__ or '').strip()}"
    drawing = Drawing(Path(curves.__file__), curves.draw, title, caption, told)
    return write(drawing, table(results, chosen), stem, style)


def show_results(
    results: Results,
    x: str = "step",
    y: str | None = None,
    by: str = "schedule",
    compensate: float = 0.0,
    where: Sequence[str] = (),
) -> Png:
    """One's own results as `ratelab plot` draws them, to be shown in a notebook."""
    what = chosen(results.spec, x, y, by, compensate, where)
    told = arguments(results, what, "")
    return show(curves.draw, table(results, what), told)


def panels(spec: Spec, chosen: Plot) -> tuple[Axis, Axis]:
    """The axes that panels differ by, down and across; InputError where there are more than two."""
    free = [
        axis for axis in AXES if axis not in (chosen.by, chosen.x) and len(values_of(spec, chosen, axis)) > 1
    ]
    if chosen.by == chosen.x:
        raise InputError(f"--x and --by are both {chosen.x}; give two different ones")
    if len(free) > 2:
        example = values_of(spec, chosen, free[-1])[0]
        raise InputError(
            f"panels would differ in {', '.join(free)}, and a page has two directions; "
            f'choose with --where, for example --where "{free[-1]}={example!r}"'
        )
    spare: list[Axis] = [axis for axis in ("averaging", "lr", "method", "problem") if axis not in free]
    left = [axis for axis in spare if axis not in (chosen.by, chosen.x)]
    if len(free) == 2:
        return free[0], free[1]
    if len(free) == 1:  # as panels abreast
        return left[0], free[0]
    return left[0], left[1]


def table(results: Results, chosen: Plot) -> Table:
    """A line per curve and record, or what the curves come to at the end of each horizon."""
    spec = results.spec
    axes = [values_of(spec, chosen, axis) for axis in AXES]
    for problem in axes[0]:
        if chosen.y not in problem.quantities:
            raise InputError(
                f"{spec.label(problem)} has no {chosen.y}; give --y {' or '.join(problem.quantities)}"
            )
    lines: list[dict[str, object]] = []
    for values in itertools.product(*axes):
        curve = Curve(*values)
        setting = dict(zip(AXES, (*map(repr, values[:4]), *values[4:]), strict=True))
        columns = curve_data(results, curve, chosen.y)
        points = list(zip(*(column.tolist() for column in columns.values()), strict=True))
        shown = points if chosen.x == "step" else points[-1:]
        lines += [setting | dict(zip(columns, point, strict=True)) for point in shown]
    return table_of(lines)


def curve_data(results: Results, curve: Curve, quantity: Quantity = "risk") -> dict[str, Array]:
    """t, exact, mean, low, high, bound of one curve, each (K,); NaN where something isn't known."""
    runs = results.runs(curve, quantity)
    exact, bound = (results.exact(curve), results.bound(curve)) if quantity == "risk" else (None, None)
    unknown = np.full(runs.sizes["t"], np.nan)
    low = high = unknown
    if len(runs) > 1:
        low, high = mean_interval(runs.values)
    with np.errstate(over="ignore"):  # a sum of diverging runs
        mean = runs.values.mean(axis=0)
    return {
        "t": runs["t"].values,
        "exact": unknown if exact is None else exact.values,
        "mean": mean,
        "low": low,
        "high": high,
        "bound": unknown if bound is None else bound.values,
    }


def chosen(spec: Spec, x: str, y: str | None, by: str, compensate: float, where: Sequence[str]) -> Plot:
    """A plot as the command line names it; InputError with what there is."""
    xs: tuple[Over, ...] = get_args(Over)
    over = next((name for name in xs if name == x), None)
    if over is None:
        raise InputError(f"--x {x} is unknown; allowed: {', '.join(xs)}")
    axis = next((name for name in AXES if name == by), None)
    if axis is None:
        raise InputError(f"--by {by} is unknown; allowed: {', '.join(AXES)}")
    if not np.isfinite(compensate):
        raise InputError(f"--compensate is {compensate}; give a finite power of {x}")
    kept = {name: None for problem in spec.problems for name in problem.quantities}
    usual: Quantity = "risk" if "risk" in kept else "test_error"
    quantity = next((name for name in kept if name == (y or usual)), None)
    if quantity is None:
        raise InputError(f"--y {y} is not kept of this run; it has {', '.join(kept)}")
    choices = [_choice(spec, text) for text in where]
    twice = [name for name in dict(choices) if sum(one == name for one, _ in choices) > 1]
    if twice:
        raise InputError(f"--where names {twice[0]} twice; give one value, or leave it out to draw them all")
    return Plot(over, quantity, axis, compensate, dict(choices))


def _choice(spec: Spec, text: str) -> tuple[Axis, object]:
    """AXIS=VALUE as a value of the file's axis."""
    name, _, content = text.partition("=")
    axis = next((axis for axis in AXES if axis == name.strip()), None)
    if axis is None:
        raise InputError(f"--where {text}: {name!r} is no axis; allowed: {', '.join(AXES)}")
    values = values_of(spec, Plot(by="horizon"), axis)
    wanted = _read(axis, content.strip(), values, spec)
    if wanted is None:
        known = "; ".join(spec.label(value) for value in values)
        raise InputError(f"--where {text}: the file has no such {axis}; it has {known}")
    return axis, wanted


def _read(axis: Axis, text: str, values: Sequence[Any], spec: Spec) -> object:
    for value in values:
        if text in (spec.label(value), repr(value)):
            return value
    if axis in ("lr", "horizon"):
        with suppress(ValueError):
            return next((value for value in values if value == float(text)), None)
        return None
    try:
        wanted = parse(text, axis)
    except InputError:
        return None
    return next((value for value in values if value == wanted), None)


def values_of(spec: Spec, chosen: Plot, axis: Axis) -> Sequence[Any]:
    """The values of an axis that are drawn; of horizons the longest, unless they are what is looked at."""
    if axis in chosen.where:
        return [chosen.where[axis]]
    if axis == "horizon":
        return sorted(spec.horizons) if "horizon" in (chosen.x, chosen.by) else [spec.longest]
    if axis == "lr":
        return spec.lr
    values: Sequence[Any] = getattr(spec, f"{axis}s")
    return values


def setting(spec: Spec, chosen: Plot) -> str:
    """What all curves of a plot share: "Quadratic(…), SGD(), Last(), lr = 0.3 × 1/L"."""
    shared = [axis for axis in AXES[:5] if axis != chosen.x and len(values_of(spec, chosen, axis)) == 1]
    unit = "" if spec.lr_unit == "absolute" else f" × {spec.lr_unit}"
    parts = [
        f"lr = {value:g}{unit}" if axis == "lr" else spec.label(value)
        for axis in shared
        for value in values_of(spec, chosen, axis)
    ]
    return ", ".join([*parts, f"T = {chosen.where['horizon']}"] if "horizon" in chosen.where else parts)


def arguments(results: Results, chosen: Plot, title: str) -> dict[str, Any]:
    """What `curves.draw` is told, as values that can be written into a script."""
    spec = results.spec
    down, across = panels(spec, chosen)
    epochs = spec.clock == "epoch"
    linear = chosen.x == "step" and (epochs or spec.record_every is not None)
    named = [value for axis in AXES[:4] for value in values_of(spec, chosen, axis)]
    labels = {repr(value): spec.label(value) for value in named if spec.label(value) != repr(value)}
    unit = "" if spec.lr_unit == "absolute" else f" × {spec.lr_unit}"
    powers: list[tuple[str | float, str | float, float]] = []
    if chosen.x == "step" and chosen.y == "risk" and not linear:
        powers = [
            (_written(row), _written(column), power)
            for row in values_of(spec, chosen, down)
            for column in values_of(spec, chosen, across)
            for power in claimed(results, {**chosen.where, down: row, across: column})
        ]
    symbol = {"t": "t", "lr": r"\eta", "horizon": "T"}[chosen.column]
    factor = rf" $\times\ {symbol}^{{{chosen.compensate:g}}}$" if chosen.compensate else ""
    xlabels = {
        "t": "epochs" if epochs else "updates $t$",
        "lr": f"lr, in units of {spec.lr_unit}" if unit else "lr",
        "horizon": "horizon $T$",
    }
    return {
        "title": title,
        "x": chosen.column,
        "by": chosen.by,
        "down": down,
        "across": across,
        "labels": labels | ({f"lr {lr:.12g}": f"{lr:.12g}{unit}" for lr in spec.lr} if unit else {}),
        "xlabel": xlabels[chosen.column],
        "ylabel": chosen.y.replace("_", " ") + factor,
        "linear": linear,
        "tight": linear or chosen.y != "risk",
        "compensate": chosen.compensate,
        "slopes": powers,
    }


def _written(value: object) -> str | float:
    return float(value) if isinstance(value, int | float) else repr(value)


def claimed(results: Results, panel: Mapping[Axis, object]) -> list[float]:
    """The powers that are claimed of any schedule in a panel; stalling has no slope to draw."""
    found = {
        claim.target.rate.power
        for claim in results.spec.claims
        if isinstance(claim.measured, Decay) and claim.target.rate.power != 0
        for row in select(results.spec, claim.measured.select)
        if all(getattr(row, axis) == value for axis, value in panel.items() if axis != "horizon")
    }
    return sorted(found)


def show_schedules(*texts: str) -> Png:
    """Schedules over 100 updates as small multiples, for a notebook: these, or one of every kind."""
    classes = catalogue("schedule").values()
    given: list[Any] = [parse(text, "schedule") for text in texts]
    shown = given or [drawn for cls in classes if (drawn := pictured(cls)) is not None]
    lines = [
        {"schedule": repr(s), "t": t, "multiplier": float(value)}
        for s in shown
        for t, value in enumerate(multipliers(s, UPDATES))
    ]
    return show(draw_schedules, table_of(lines))


def draw_schedules(table: Table, abreast: int = 6) -> Figure:
    """A small panel per schedule of the table, from 0 to its largest multiplier."""
    drawn = table.values("schedule")
    deep = -(-len(drawn) // abreast)
    figure = new_figure(0.87 * deep)
    for place, schedule in enumerate(drawn, 1):
        curve = table.where("schedule", schedule)
        panel = figure.add_subplot(deep, abreast, place, xticks=[], yticks=[])
        panel.plot(curve["t"], curve["multiplier"], color=look(schedule).colour)
        panel.set_ylim(0)
        panel.set_title(schedule.partition("(")[0])
    return figure


def save_preview(steps: Mapping[str, Array], path: Path) -> Path:
    """Write a picture of step sequences, legend -> (T,), in the format of the file's ending."""
    if path.suffix not in (".png", ".pdf", ".svg"):
        raise InputError(f"--out {path}: give a name that ends in .png, .pdf or .svg")
    with venues.printed(venues.venue(venues.DEFAULT).settings()):
        figure = new_figure(2.6)
        panel = figure.subplots()
        for legend, values in steps.items():
            panel.plot(values, label=legend)
        panel.set(xlabel="update t", ylabel="step", ylim=(0, None))
        panel.legend()
        return venues.save_picture(figure, path)
