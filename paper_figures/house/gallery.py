"""The gallery page: a static folder that opens from disk, without a server or a network.

An index with thumbnails, to be filtered by source, topic and what became of the claims; a page per figure
with picture, caption, claims, data, code and the command that makes it; the audit as a table. The pages are
`_*.jinja`; they hold their style and their few lines of script, so that nothing has to be found.
"""

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.image import imread

from ratelab.experiments.judging.outcome import Outcome
from ratelab.paper_figures.house import make, venues
from ratelab.paper_figures.house.about import About, Report, quiet
from ratelab.paper_figures.house.make import Style
from ratelab.paper_figures.house.style import settled
from ratelab.paper_figures.house.table import read_table

FORMATS: tuple[venues.Format, ...] = ("pdf", "svg", "png")
THUMBNAIL = 90
"""Dots per inch of the pictures of the index."""
SHOWN = 8
"""Rows of the data that a page shows; the file has all."""


@dataclass(frozen=True)
class Entry:
    """A figure of the gallery: what it says of itself, and what was measured."""

    name: str
    about: About
    title: str
    caption: str
    outcomes: tuple[Outcome, ...]
    full: bool

    @property
    def paragraphs(self) -> list[tuple[bool, str]]:
        """(whether it is a formula, text) of every paragraph of the caption."""
        parts = [part for part in self.caption.split("\n\n") if part.strip()]
        return [
            (part.startswith(" "), part if part.startswith(" ") else " ".join(part.split())) for part in parts
        ]

    @property
    def command(self) -> str:
        return f"ratelab figure {self.name}" + (" --full" if self.full else "")

    @property
    def verdicts(self) -> dict[str, int]:
        """How many of its claims end in which word."""
        return make.verdicts(self.outcomes)

    @property
    def tags(self) -> str:
        """What the index is filtered by."""
        return "|".join([self.about.group, *self.about.topics, *self.verdicts])


def entry(name: str, folder: Path, full: bool = False, report: Report = quiet) -> Entry:
    """Compute one figure and write its files, thumbnail included, in `folder`."""
    module = make.picture(name)
    computed, outcomes = make.measure(name, full, report)
    settings = venues.venue(venues.DEFAULT).settings()
    *_, csv_file, _ = make.save(name, computed, folder / "figures", Style(settings, FORMATS))
    with venues.printed(settings | {"savefig.dpi": THUMBNAIL}):
        drawn = settled(module.draw(read_table(csv_file)))
        venues.save_picture(drawn, folder / "thumbnails" / f"{name}.png")
    title, _, rest = make.caption(module).partition("\n")
    return Entry(name, module.ABOUT, title, rest.strip("\n"), tuple(outcomes), full)


def write(entries: Sequence[Entry], folder: Path, full: bool = False, failed: Collection[str] = ()) -> Path:
    """Write the pages over the files of these figures; returns the path of the index.

    failed: names of figures that could not be computed. Pages of an earlier gallery that are not among the
    entries are removed.
    """
    for name in {*make.find()} - {shown.name for shown in entries}:
        (folder / f"{name}.html").unlink(missing_ok=True)
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    outcomes = [outcome for shown in entries for outcome in shown.outcomes]
    shared = {
        "entries": entries,
        "full": full,
        "failed": sorted(failed),
        "count": make.count(outcomes),
        "groups": list(dict.fromkeys(shown.about.group for shown in entries)),
        "said": make.SAID,
        "verdicts": [word for word in make.SAID if any(word in shown.verdicts for shown in entries)],
        "topics": sorted({topic for shown in entries for topic in shown.about.topics}),
    }
    for number, shown in enumerate(entries):
        around = {"before": entries[number - 1], "after": entries[(number + 1) % len(entries)]}
        text = pages.get_template("figure.jinja").render(
            **shared, **around, entry=shown, **_files(shown.name, folder)
        )
        venues.save_text(text, folder / f"{shown.name}.html")
    venues.save_text(pages.get_template("audit.jinja").render(**shared), folder / "audit.html")
    sizes = {shown.name: _size(folder / "thumbnails" / f"{shown.name}.png") for shown in entries}
    return venues.save_text(
        pages.get_template("index.jinja").render(**shared, sizes=sizes), folder / "index.html"
    )


def _files(name: str, folder: Path) -> dict[str, Any]:
    """What a page shows of a figure's files."""
    stem = folder / "figures" / name
    with stem.with_suffix(".csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return {
        "size": _size(stem.with_suffix(".png")),
        "header": header,
        "rows": rows[:SHOWN],
        "length": len(rows),
        "kilobytes": max(1, round(stem.with_suffix(".csv").stat().st_size / 1000)),
        "code": stem.with_suffix(".py").read_text(encoding="utf-8"),
        "formats": FORMATS,
    }


def _size(path: Path) -> tuple[int, int]:
    height, width = imread(path).shape[:2]
    return width, height
