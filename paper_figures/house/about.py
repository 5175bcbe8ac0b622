"""What a figure says of itself besides its caption: its source, its subject, its time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Group: TypeAlias = Literal["Dive into Deep Learning", "Tutorials and trainers", "Papers"]
Topic: TypeAlias = Literal[
    "averaging",
    "batch size",
    "bounds",
    "condition number",
    "cycles",
    "decay",
    "momentum",
    "networks",
    "noise",
    "rates",
    "shapes",
    "warmup",
]
Report: TypeAlias = Callable[[float, int], None]
"""Told what is done, of how much; parts of one count."""


def quiet(done: float, total: int) -> None:
    """Tells nobody."""


def portion(report: Report, start: float, end: float) -> Report:
    """For one of several studies: what it tells is the part from `start` to `end` of one whole."""
    return lambda done, total: report(start + (end - start) * done / total, 1)


@dataclass(frozen=True)
class About:
    """A figure's title, its `source` (author, year, place) with a link to it, and what it is about.

    seconds: of the quick and of the full form, measured on two cores, data sets at hand
    data: the data sets that it reads and that don't come with ratelab: "mnist", "airfoil", ...
    """

    title: str
    group: Group
    source: str
    link: str
    topics: tuple[Topic, ...]
    seconds: tuple[float, float]
    data: tuple[str, ...] = ()
