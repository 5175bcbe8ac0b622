"""Where a figure is printed: the width of the page, the sizes of its fonts, and how the file is written.

Files repeat byte by byte: no dates, no random names; the fonts come with matplotlib, so that a figure looks
the same on every machine. PDF has TrueType fonts (Type 42), which submission systems ask for. LaTeX is never
needed, but for PGF, which is LaTeX, and with `tex`, where it sets the text of a PDF.
"""

import csv
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import matplotlib as mpl
from matplotlib.backends.backend_pgf import LatexError
from matplotlib.figure import Figure
from tueplots import figsizes, fontsizes

from ratelab.paper_figures.house.table import Table
from ratelab.theory.arrays import InputError

Format: TypeAlias = Literal["pdf", "pgf", "svg", "png"]
FORMATS: tuple[Format, ...] = get_args(Format)


@dataclass(frozen=True)
class Venue:
    """Inches and points: the text's width, one column's where it has two, the height left for a figure; the
    sizes of labels and of ticks and legends."""

    width: float
    font: float
    small: float
    column: float | None = None
    highest: float = 8.0
    sans: bool = False

    def settings(self, column: bool = False) -> dict[str, Any]:
        """matplotlib's settings; `column`: as wide as one column."""
        if column and self.column is None:
            raise InputError("this venue has no columns; leave out --column")
        width = self.column if column and self.column is not None else self.width
        return {
            "figure.figsize": (width, self.highest),
            "font.size": self.font,
            "axes.labelsize": self.font,
            "axes.titlesize": self.font,
            "legend.fontsize": self.small,
            "xtick.labelsize": self.small,
            "ytick.labelsize": self.small,
            "font.family": "DejaVu Sans" if self.sans else "STIXGeneral",
            "mathtext.fontset": "dejavusans" if self.sans else "stix",
            "lines.linewidth": 0.14 * self.font,
            "lines.markersize": 0.44 * self.font,
            **{f"{part}.linewidth": 0.075 * self.font for part in ("axes", "hatch", "patch")},
            **{f"{axis}tick.major.width": 0.075 * self.font for axis in "xy"},
            **_SETTINGS,
        }


_SETTINGS: dict[str, Any] = {
    "text.usetex": False,
    "pdf.fonttype": 42,
    "svg.hashsalt": "ratelab",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "xtick.minor.visible": False,
    "ytick.minor.visible": False,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "legend.columnspacing": 1.4,
    "savefig.dpi": 300,
}


def _of(name: str) -> Venue:
    """As tueplots has it; text below 7 points is hard to read and set in 7."""
    width: float = getattr(figsizes, name)()["figure.figsize"][0]
    fonts = getattr(fontsizes, name)()
    return Venue(width, fonts["axes.labelsize"], max(7.0, fonts["legend.fontsize"]))


VENUES: dict[str, Venue] = {
    "neurips": _of("neurips2024"),
    "icml": Venue(6.75, 8.0, 7.0, column=3.25),  # its style file's \textwidth and \columnwidth
    "iclr": _of("iclr2024"),
    "jmlr": _of("jmlr2001"),
    "tmlr": _of("tmlr2023"),
    "siam": Venue(5.125, 8.0, 7.0),  # siamart's 31 picas
    "ieee": Venue(7.16, 8.0, 7.0, column=3.5),  # IEEE's graphics guidelines: 43 and 21 picas
    "thesis": Venue(5.9, 9.0, 7.5),  # 150 mm, A4 with margins of 30
    "slides": Venue(12.0, 14.0, 12.0, highest=6.0, sans=True),  # of 13.33 × 7.5
}
DEFAULT = "icml"


def venue(name: str) -> Venue:
    """The venue of a name; InputError with those there are."""
    if name not in VENUES:
        raise InputError(f"no venue is called {name!r}; allowed: {', '.join(VENUES)}")
    return VENUES[name]


@contextmanager
def printed(settings: Mapping[str, Any]) -> Iterator[None]:
    """These settings, over matplotlib's defaults, for as long as a figure is drawn or saved."""
    with mpl.rc_context():
        mpl.rcdefaults()
        given: Any = settings  # matplotlib's stubs list all 300 names that a key may have
        mpl.rcParams.update(given)
        yield


def save_picture(drawn: Figure, path: Path, tex: bool = False) -> Path:
    """Write one picture in the format of the file's ending, without dates, under the present settings.

    `tex`: LaTeX sets the text of a PDF, as it does that of a PGF, in the font of the document.
    """
    dates: dict[str, Any] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(path.suffix, {})
    if by_latex(path.suffix[1:], tex):
        ours: Any = {"pgf.texsystem": tex_system(), "pgf.rcfonts": False, "font.family": "serif"}
        try:
            with mpl.rc_context(ours), _undated():
                _writing(path, lambda: drawn.savefig(path, backend="pgf"))
        except LatexError as error:
            raise InputError(
                f"LaTeX cannot set {path.name}: {error}; leave out --tex and pgf, or change the labels"
            ) from error
    else:
        _writing(path, lambda: drawn.savefig(path, metadata=dates))
    return path


def by_latex(ending: str, tex: bool) -> bool:
    """Whether LaTeX sets the text of a picture of this format."""
    return ending == "pgf" or (tex and ending == "pdf")


@contextmanager
def _undated() -> Iterator[None]:
    """TeX takes the date for a PDF's time stamps and its identifier: here that of the epoch."""
    before = {name: os.environ.get(name) for name in ("SOURCE_DATE_EPOCH", "FORCE_SOURCE_DATE")}
    os.environ.update(SOURCE_DATE_EPOCH="0", FORCE_SOURCE_DATE="1")
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def tex_system() -> str:
    """The LaTeX that is installed; InputError where none is."""
    found = next((name for name in ("pdflatex", "lualatex", "xelatex") if shutil.which(name)), None)
    if found is None:
        raise InputError(
            "PGF and --tex need LaTeX, and neither pdflatex, lualatex nor xelatex is found; install one "
            "(TeX Live with the package pgf), or ask for pdf, svg or png without --tex"
        )
    return found


def save_table(table: Table, path: Path) -> Path:
    """Write a table as CSV, numbers to the last digit, whole ones without a point, NaN as nothing."""

    def write() -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(table.columns)
            columns = [column.tolist() for column in table.columns.values()]
            writer.writerows([[_written(entry) for entry in row] for row in zip(*columns, strict=True)])

    _writing(path, write)
    return path


def _written(entry: object) -> object:
    if not isinstance(entry, float):
        return entry
    return "" if entry != entry else int(entry) if entry.is_integer() and abs(entry) < 1e15 else entry


def save_text(text: str, path: Path) -> Path:
    """Write a text file."""
    _writing(path, lambda: path.write_text(text, encoding="utf-8"))
    return path


def _writing(path: Path, write: Callable[[], object]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write()
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}; name another folder with --out"
        ) from error
