"""The gallery: `python -m paper_figures [NAME ...] [--out DIR]` makes figures and checks their claims.

The folder is the registry: every module whose name doesn't start with an underscore is a figure. Its
docstring is the caption; it has `data() -> D`, `draw(D) -> Figure`, the CSV's `COLUMNS` and `rows(D)`, and
`CLAIMS`. Written are a PDF, a PNG and the CSV. Exit codes: 0 all claims as recorded, 1 one is not, 2 bad
input.
"""

import argparse
import difflib
import importlib
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from paper_figures import _style
from paper_figures._claims import Claim, Outcome, judge
from theory.arrays import InputError


class Picture(Protocol):
    """What a figure's module is."""

    __doc__: str | None
    COLUMNS: Sequence[str]
    CLAIMS: Sequence[Claim[Any]]

    def data(self) -> Any:
        """Everything that is drawn, computed."""

    def draw(self, data: Any, /) -> Figure:
        """The picture of `data`."""

    def rows(self, data: Any, /) -> Iterable[tuple[object, ...]]:
        """`data` as a table under `COLUMNS`."""


@dataclass(frozen=True)
class Made:
    """A figure that was made: the files, the claims, and how long it took."""

    name: str
    written: list[Path]
    outcomes: list[Outcome[Any]]
    seconds: float

    @property
    def as_expected(self) -> bool:
        return all(outcome.as_expected for outcome in self.outcomes)

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.seconds:.1f} s"]
        lines += [f"  wrote {path}" for path in self.written]
        return "\n".join(lines + [f"  {outcome}" for outcome in self.outcomes])


def find() -> list[str]:
    """The names of all figures."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))


def picture(name: str) -> Picture:
    """The module of a figure; InputError with the nearest name where there is none."""
    if name not in find():
        near = difflib.get_close_matches(name, find(), n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InputError(f"no figure is called {name!r}; {hint}figures: {', '.join(find())}")
    return cast(Picture, importlib.import_module(f"paper_figures.{name}"))


def make(name: str, out: Path) -> Made:
    """Compute, draw and write one figure, as PDF, PNG and CSV in `out`, and measure its claims."""
    start = time.monotonic()
    module = picture(name)
    computed = module.data()
    written = save(name, module, computed, out)
    outcomes = [judge(claim, computed) for claim in module.CLAIMS]
    return Made(name, written, outcomes, time.monotonic() - start)


def save(name: str, module: Picture, computed: Any, out: Path) -> list[Path]:
    """Write the files of a figure whose data is there already."""
    table = _style.save_table(module.COLUMNS, module.rows(computed), out / f"{name}.csv")
    return [*_style.save_figure(module.draw(computed), out / name), table]


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the named figures, or all; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m paper_figures", description="Make the figures of the gallery."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(find())}; otherwise all")
    parser.add_argument(
        "--out", type=Path, default=Path("figures"), metavar="DIR", help="folder to write to (figures/)"
    )
    given = parser.parse_args(arguments)
    names = given.names or find()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        for name in names:
            picture(name)
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("figures", total=len(names))
            made = []
            for name in names:
                bar.update(task, description=name)
                made.append(make(name, given.out))
                bar.advance(task)
                bar.console.print(f"{name} made in {made[-1].seconds:.1f} s", highlight=False)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(map(str, made)))
    outcomes = [outcome for figure in made for outcome in figure.outcomes]
    surprises = sum(not outcome.as_expected for outcome in outcomes)
    print(f"{len(made)} figures, {len(outcomes)} claims, {surprises} not as recorded")
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
