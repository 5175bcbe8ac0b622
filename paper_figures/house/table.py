"""A table of named columns, as a figure's CSV holds it.

A figure is drawn from its CSV and from nothing else, so that what is seen can be read off, and so that the
script beside the CSV draws the same picture: this file is copied into that script.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Table:
    """Columns of one length by name: numbers, or text where an entry is no number; no entry is NaN."""

    columns: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, name: str) -> NDArray[Any]:
        """The numbers of a column, (rows,)."""
        return self.columns[name]

    def where(self, name: str, value: str | float) -> "Table":
        """The rows that have `value` in a column."""
        return self._rows(self.columns[name] == value)

    def above(self, name: str, value: float) -> "Table":
        """The rows that have more than `value` in a column."""
        return self._rows(self.columns[name] > value)

    def groups(self, *names: str) -> Iterator[tuple[Any, "Table"]]:
        """(value, rows) for each value of a column, of several ((value, ...), rows), as they first occur."""
        keys = list(zip(*(self.columns[name].tolist() for name in names), strict=True))
        found: dict[Any, int] = {}
        number = np.array([found.setdefault(key, len(found)) for key in keys], dtype=int)
        for key, k in found.items():
            yield key[0] if len(names) == 1 else key, self._rows(number == k)

    def values(self, name: str) -> list[Any]:
        """The different entries of a column, as they first occur."""
        return list(dict.fromkeys(self.columns[name].tolist()))

    def first(self, name: str) -> Any:
        """The entry of the first row."""
        return self.columns[name].tolist()[0]

    def runs(self, y: str, x: str = "t", by: str = "seed") -> tuple[NDArray[Any], NDArray[Any]]:
        """x (K,) and y (R, K), one row of `y` for each value of `by`, which all have the same x."""
        every = [part for _, part in self.groups(by)]
        return every[0][x], np.stack([part[y] for part in every])

    def _rows(self, chosen: NDArray[np.bool_]) -> "Table":
        return Table({name: column[chosen] for name, column in self.columns.items()})


def column(entries: Sequence[str]) -> NDArray[Any]:
    """Numbers if all entries are (an empty one is NaN), otherwise text."""
    try:
        return np.array([float(entry) if entry else np.nan for entry in entries])
    except ValueError:
        return np.array(entries, dtype=object)


def table_of(lines: Iterable[Mapping[str, object]]) -> Table:
    """The table of these lines, name -> entry; what a line leaves out is NaN, or empty in a column of text.

    It is the one that `read_table` finds where it was written.
    """
    every = list(lines)
    names = dict.fromkeys(name for line in every for name in line)
    return Table({name: column([str(line.get(name, "")) for line in every]) for name in names})


def read_table(path: Path) -> Table:
    """The table that a CSV file holds."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    return Table(
        {name: column(entries) for name, entries in zip(header, zip(*lines, strict=True), strict=True)}
    )


Lines: TypeAlias = list[dict[str, object]]
"""What `table_of` makes a table of."""


def lines_of(labels: Mapping[str, object], columns: Mapping[str, ArrayLike]) -> Lines:
    """A line per entry of columns of one length, all with the same labels in front."""
    entries = [np.asarray(column).tolist() for column in columns.values()]
    return [{**labels, **dict(zip(columns, line, strict=True))} for line in zip(*entries, strict=True)]
