"""Tables, small plots and progress in a terminal, and as plain text where there is none."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from ratelab.theory.arrays import Array


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table as wide as the terminal; in a pipe as wide as it needs to be, so that nothing is cut."""
    console = Console(width=None if sys.stdout.isatty() else 240)
    table = Table(title=Text(title) if title else None, title_justify="left")
    for column in columns:
        table.add_column(
            column, overflow="fold", no_wrap=column in ("verdict", "expected", "number", "over 100 updates")
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [[cell.replace("|", "\\|") for cell in line] for line in [columns, ["---"] * len(columns), *rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


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


@contextmanager
def progress(what: str, counted: bool = True) -> Iterator[Callable[[float, int], None]]:
    """A reporter of (done, of how many), parts of one counting: a bar on a terminal, otherwise a line at most
    every ten seconds. `counted`: how many there are is worth saying."""
    if not sys.stderr.isatty():
        yield _lines(what, counted)
        return
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


def _lines(what: str, counted: bool) -> Callable[[float, int], None]:
    last, said = time.monotonic(), ""

    def line(done: float, total: int) -> None:
        nonlocal last, said
        now = f"{100 * done / total:.0f} % of {f'{total} ' if counted else ''}{what}"
        if now != said and (done == total or time.monotonic() - last > 10):
            last, said = time.monotonic(), now
            print(now, file=sys.stderr, flush=True)

    return line
