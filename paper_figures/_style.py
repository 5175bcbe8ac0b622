"""How every figure looks and is written: sizes of a paper, a colour per schedule, files whose bytes repeat.

Nothing here knows what is drawn. Colours are those of Okabe and Ito (2008), told apart by the colour-blind;
each comes with a dash and a marker, so that a grey print still reads. Sizes are a two-column page's
(tueplots); the fonts come with matplotlib, so that a figure looks the same on every machine.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from scipy import stats
from tueplots import figsizes, fontsizes

from theory.arrays import Array, InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FULL: float = figsizes.icml2024_full()["figure.figsize"][0]
"""The width of a page's text, inches."""

RC: Any = {
    **fontsizes.icml2024(),
    "text.usetex": False,
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    "pdf.fonttype": 42,
    "svg.hashsalt": "ratelab",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.visible": False,
    "ytick.minor.visible": False,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "legend.columnspacing": 1.4,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "savefig.dpi": 300,
}


@contextmanager
def paper() -> Iterator[None]:
    """The settings of a paper, for as long as a figure is drawn or saved."""
    with mpl.rc_context(RC):
        yield


def figure(width: float, height: float) -> Figure:
    """An empty figure, inches."""
    return Figure(figsize=(width, height), layout="constrained")


@dataclass(frozen=True)
class Look:
    """Colour, dash pattern and marker of one curve."""

    colour: str
    dash: Any
    marker: str

    def line(self) -> dict[str, Any]:
        """As keywords of `Axes.plot`, without the marker."""
        return {"color": self.colour, "linestyle": self.dash}


_CYCLE = (
    Look("#000000", "-", "s"),
    Look("#0072B2", (0, (5, 1.5)), "o"),
    Look("#009E73", (0, (3, 1, 1, 1)), "^"),
    Look("#CC79A7", (0, (1, 1)), "D"),
    Look("#D55E00", (0, (7, 1.5, 1, 1.5)), "v"),
    Look("#56B4E9", (0, (2, 1)), "P"),
    Look("#E69F00", (0, (5, 1, 1, 1, 1, 1)), "X"),
    Look("#7F7F7F", (0, (4, 3)), "*"),
)
_OWN = {"Constant": 0, "InversePower": 1, "Linear": 2, "Cosine": 3, "Exponential": 4}
_INVERSE_TIME = 5

LAST, AVERAGE = "#332288", "#CC6677"
"""Colours of the last iterate and the average, where a figure tells these apart and not schedules (Tol)."""


def looks(schedules: Sequence[object]) -> list[Look]:
    """One look per schedule: its own, the same in every figure, or a free one if it is taken.

    A modified schedule wears the look of what it modifies. Beyond eight, colours return with other dashes.
    """
    taken: list[int] = []
    for schedule in schedules:
        shape = getattr(schedule, "schedule", schedule)
        own = _OWN.get(type(shape).__name__)
        if own == 1 and getattr(shape, "power", 0.5) == 1:
            own = _INVERSE_TIME
        free = (i for i in (*range(5, 8), *range(5), *range(8, 8 + len(schedules))) if i not in taken)
        taken.append(own if own is not None and own not in taken else next(free))
    n = len(_CYCLE)
    return [Look(_CYCLE[i % n].colour, _CYCLE[(i + i // n) % n].dash, _CYCLE[i % n].marker) for i in taken]


def look(schedule: object) -> Look:
    """The look of a schedule that has a colour of its own."""
    return looks([schedule])[0]


def shade(colour: str, amount: float) -> tuple[float, float, float]:
    """`colour` towards white (amount > 0, up to 1) or black (amount < 0)."""
    rgb = np.array(to_rgb(colour))
    r, g, b = rgb + amount * (1 - rgb) if amount > 0 else rgb * (1 + amount)
    return float(r), float(g), float(b)


def slope_triangle(
    axes: "Axes", x: float, y: float, slope: float, label: str, decades: float = 0.8, below: bool = True
) -> None:
    """A right triangle on log-log axes, its hypotenuse of this slope, from (x, y) over `decades` of x.

    `below`: the right angle lies under the hypotenuse, else above. The label stands beside the upright leg.
    """
    right, end = x * 10**decades, y * 10 ** (slope * decades)
    at_right = (slope > 0) == below
    corner_x, corner_y = (right, y) if at_right else (x, end)
    axes.plot(
        [x, right, corner_x, x], [y, end, corner_y, y], color="0.35", linewidth=0.7, solid_joinstyle="miter"
    )
    axes.annotate(
        label,
        (corner_x, (y * end) ** 0.5),
        xytext=(2.5 if at_right else -2.5, 0),
        textcoords="offset points",
        ha="left" if at_right else "right",
        va="center",
        fontsize=6.5,
        color="0.25",
    )


def mean_interval(runs: Array) -> tuple[Array, Array]:
    """The 95 % pointwise interval (Student's t) of the mean of `runs` (R, …) over its first axis."""
    with np.errstate(over="ignore", invalid="ignore"):  # of diverged runs: inf − inf
        reach = stats.t.ppf(0.975, len(runs) - 1) * runs.std(axis=0, ddof=1) / len(runs) ** 0.5
        return runs.mean(axis=0) - reach, runs.mean(axis=0) + reach


def save_figure(drawn: Figure, stem: Path) -> list[Path]:
    """Write stem.pdf and stem.png; the same figure gives the same bytes."""
    return [save_picture(drawn, stem.with_name(stem.name + ending)) for ending in (".pdf", ".png")]


def save_picture(drawn: Figure, path: Path) -> Path:
    """Write one picture in the format of the file's ending, without dates."""
    dates: dict[str, Any] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(path.suffix, {})
    with paper():
        _writing(path, lambda: drawn.savefig(path, metadata=dates))
    return path


def save_table(columns: Sequence[str], rows: Iterable[Iterable[object]], path: Path) -> Path:
    """Write rows as CSV, numbers to the last digit."""

    def write() -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(rows)

    _writing(path, write)
    return path


def _writing(path: Path, write: Callable[[], object]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write()
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}; name another folder with --out"
        ) from error
