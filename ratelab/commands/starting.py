"""A first file to change, and what can be named in one."""

import ast
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

import ratelab.paper_figures
from ratelab.commands.options import Imports
from ratelab.terminal import print_table, terminal_plot

EXAMPLE = Path(__file__).parent / "example.toml"
_KINDS = {
    "averagings": "averaging",
    "data": "data",
    "feedback": "feedback",
    "figures": None,
    "methods": "method",
    "noises": "noise",
    "problems": "problem",
    "schedules": "schedule",
    "spectra": "spectrum",
}
"""What `ratelab list` shows, and what the notation calls it; figures are files, not values."""


def init(path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("experiment.toml")) -> None:
    """Write a commented example file that runs in seconds.

    Example: [bold]ratelab init my.toml[/bold]
    """
    from ratelab.theory.arrays import InputError

    if path.exists():
        raise InputError(f"{path} exists and is left as it is; give another name")
    text = string.Template(EXAMPLE.read_text(encoding="utf-8")).substitute(file=path, stem=path.stem)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror}; give a path in a writable folder"
        ) from error
    print(f"wrote {path}; next: ratelab run {path}")


def list_(
    kind: Annotated[
        str | None,
        typer.Argument(
            help="schedules, feedback, averagings, spectra, noises, data, problems, methods or figures."
        ),
    ] = None,
    imports: Imports = None,
) -> None:
    """Show what can be named in a file: each value with its fields and the beginning of its description.

    Example: [bold]ratelab list schedules[/bold]
    """
    from ratelab.experiments.imports import fill_catalogue, import_file
    from ratelab.theory.arrays import InputError

    fill_catalogue()
    for path in imports or []:
        import_file(path)
    if kind is not None and kind not in _KINDS:
        raise InputError(f"{kind!r} is no kind of thing; allowed: {', '.join(_KINDS)}")
    for name in _KINDS if kind is None else [kind]:
        columns, rows = listed(name)
        print_table(name, columns, rows)


def listed(name: str) -> tuple[list[str], list[list[str]]]:
    """The columns and rows of one kind of thing."""
    from ratelab.theory.notation import catalogue, signature

    kind = _KINDS[name]
    if kind is None:
        return ["name", "caption"], [[figure, first_paragraph(text)] for figure, text in captions()]
    classes = catalogue(kind).values()
    if kind == "schedule":
        rows = [[signature(cls), drawing(cls), first_paragraph(cls.__doc__)] for cls in classes]
        return ["write", "over 100 updates", "what it is"], rows
    return ["write", "what it is"], [[signature(cls), first_paragraph(cls.__doc__)] for cls in classes]


def drawing(cls: type, width: int = 25) -> str:
    """A small picture of the schedule that stands for a class, in block characters; empty where none does."""
    from ratelab.paper_figures.house.schedules_page import UPDATES, pictured
    from ratelab.theory.schedules import multipliers

    drawn = pictured(cls)
    return "" if drawn is None else terminal_plot(multipliers(drawn, UPDATES), width, 1)[0][11:]


def captions() -> Iterator[tuple[str, str]]:
    """Name and caption of every figure: the modules of paper_figures, read without importing them."""
    for file in sorted(Path(ratelab.paper_figures.__path__[0]).glob("[!_]*.py")):
        yield file.stem, ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""


def first_paragraph(text: str | None) -> str:
    """Of a docstring, on one line."""
    return " ".join((text or "").strip().split("\n\n")[0].split())
