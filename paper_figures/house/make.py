"""Figures are found, computed, drawn and written, and their claims measured.

The folder is the registry: every module of paper_figures is a figure. Its docstring is the caption; it has
`ABOUT`, `data(full, report) -> Table`, `draw(Table) -> Figure`, and `CLAIMS`. A figure NAME is written as
NAME.csv, its data; pictures; and NAME.py, which draws them again from the CSV.
"""

import importlib
import inspect
import io
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from matplotlib.figure import Figure

from ratelab.experiments.judging.claims import outcome
from ratelab.experiments.judging.outcome import Outcome
from ratelab.experiments.spec import Claim
from ratelab.paper_figures.house import script, venues
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.style import settled
from ratelab.paper_figures.house.table import Table
from ratelab.paper_figures.house.venues import Format
from ratelab.theory.arrays import InputError
from ratelab.theory.reading import closest

__all__ = ["show_figure"]


class Picture(Protocol):
    """What a figure's module is."""

    __doc__: str | None
    __file__: str
    ABOUT: About
    CLAIMS: Sequence[Claim]

    def data(self, full: bool = False, report: Report = quiet) -> Table:
        """Everything that is drawn and claimed, computed: at quick size, or as large as its source has it."""

    def draw(self, table: Table, /) -> Figure:
        """The picture of the table."""


@dataclass(frozen=True)
class Style:
    """How a figure is written: the settings of its venue, the formats, and whether LaTeX sets its text."""

    settings: Mapping[str, Any]
    formats: tuple[Format, ...] = ("pdf", "png")
    tex: bool = False


@dataclass(frozen=True)
class Made:
    """A figure that was made: the files, the claims, and how long it took."""

    name: str
    written: list[Path]
    outcomes: list[Outcome]
    seconds: float

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.seconds:.1f} s"]
        lines += [f"  wrote {path}" for path in self.written]
        return "\n".join(lines + [f"  {outcome}" for outcome in self.outcomes])


def find() -> list[str]:
    """The names of all figures."""
    return sorted(path.stem for path in Path(__file__).parent.parent.glob("[!_]*.py"))


def picture(name: str) -> Picture:
    """The module of a figure; InputError with the nearest name where there is none."""
    if name not in find():
        near = closest(name, find())
        hint = f"did you mean {near}? " if near else ""
        raise InputError(f"no figure is called {name!r}; {hint}figures: {', '.join(find())}")
    return cast(Picture, importlib.import_module(f"ratelab.paper_figures.{name}"))


def caption(module: Picture) -> str:
    """The docstring of a figure's module."""
    return inspect.cleandoc(module.__doc__ or "")


def measure(name: str, full: bool = False, report: Report = quiet) -> tuple[Table, list[Outcome]]:
    """The data of a figure, and its claims judged on it."""
    module = picture(name)
    computed = module.data(full, report)
    claims = [claim.in_full if full else claim for claim in module.CLAIMS]
    outcomes = [outcome(claim, computed) for claim in claims]
    report(1, 1)
    return computed, outcomes


SAID = {
    "holds": "hold",
    "source wrong": "show that their source is wrong",
    "not in this model": "do not hold in this model",
    "not at this size": "do not hold at a size smaller than their source's",
    "conjecture fails": "are conjectures of ours that fail",
    "fails": "fail",
    "undecided": "are undecided",
}
"""What a count says of the claims of which an outcome says the word."""


def said(outcome: Outcome) -> str:
    """A claim's sentence, what is true instead, and of a wrong source why the setting is its own."""
    claim = outcome.claim
    finding = f" — {claim.finding}" if claim.finding else ""
    return claim.sentence + finding + (f" ({outcome.whose})" if outcome.whose else "")


def verdicts(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How many outcomes end in which word, of those that any has."""
    words = Counter(outcome.word for outcome in outcomes)
    return {word: words[word] for word in SAID if words[word]}


def count(outcomes: Sequence[Outcome]) -> str:
    """How many claims hold, how many don't and of whom that speaks, and whether all is as recorded."""
    told = ", ".join(f"{number} {SAID[word]}" for word, number in verdicts(outcomes).items())
    surprises = sum(not outcome.as_expected for outcome in outcomes)
    return f"{len(outcomes)} claims: {told or 'none'}; {surprises} not as recorded"


def make(name: str, out: Path, style: Style, full: bool = False, report: Report = quiet) -> Made:
    """Compute, draw and write one figure in `out`, and measure its claims."""
    start = time.monotonic()
    computed, outcomes = measure(name, full, report)
    return Made(name, save(name, computed, out, style), outcomes, time.monotonic() - start)


def save(name: str, computed: Table, out: Path, style: Style) -> list[Path]:
    """Write the files of a figure whose data is there already: pictures, CSV and script."""
    module = picture(name)
    title, _, rest = caption(module).partition("\n")
    drawing = Drawing(Path(module.__file__), module.draw, title, rest.strip())
    return write(drawing, computed, out / name, style)


@dataclass(frozen=True)
class Png:
    """A picture that a notebook shows by itself."""

    content: bytes

    def _repr_png_(self) -> bytes:
        return self.content


def show_figure(name: str, full: bool = False) -> Png:
    """A figure of the gallery, computed and drawn, to be shown in a notebook; InputError for no such name."""
    module = picture(name)
    return show(module.draw, module.data(full))


def show(draw: Callable[..., Figure], table: Table, arguments: Mapping[str, Any] | None = None) -> Png:
    """What `draw` makes of a table, at the size of a page and 150 dots per inch."""
    with venues.printed(venues.venue(venues.DEFAULT).settings() | {"savefig.dpi": 150}):
        file = io.BytesIO()
        settled(draw(table, **(arguments or {}))).savefig(file, format="png")
    return Png(file.getvalue())


@dataclass(frozen=True)
class Drawing:
    """How a table is drawn: the function, its file, its arguments, and what its script says on top."""

    file: Path
    draw: Callable[..., Figure]
    title: str
    caption: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


def write(drawing: Drawing, table: Table, stem: Path, style: Style) -> list[Path]:
    """Write STEM.csv, the pictures drawn from it, and STEM.py, which draws them again; returns the paths."""

    def beside(ending: str) -> Path:
        return stem.with_name(f"{stem.name}.{ending}")

    csv = venues.save_table(table, beside("csv"))

    def drawn() -> Figure:
        return drawing.draw(table, **drawing.arguments)

    with venues.printed(style.settings):
        shared = settled(drawn())
        pictures = [  # LaTeX's text has widths of its own, so that its layout is another
            venues.save_picture(
                drawn() if venues.by_latex(ending, style.tex) else shared, beside(ending), style.tex
            )
            for ending in style.formats
        ]
    text = script.standalone(
        drawing.file, stem.name, drawing.title, drawing.caption, style.settings, drawing.arguments
    )
    return [*pictures, csv, venues.save_text(text, beside("py"))]
