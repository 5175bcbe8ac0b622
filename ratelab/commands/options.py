"""Options that several commands share, each written once."""

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path | None,
    typer.Option("--data", help="Folder of data sets (otherwise RATELAB_DATA, or the download cache)."),
]


Imports = Annotated[
    list[Path] | None,
    typer.Option("--import", help="A Python file of your own schedules, problems, ...; may be repeated."),
]


Out = Annotated[
    Path | None, typer.Option(help="Results folder (otherwise results/NAME, with --full results/NAME-full).")
]


Full = Annotated[
    bool, typer.Option("--full", help="The form of the file in which its table \\[full] replaces keys.")
]


FullSize = Annotated[bool, typer.Option("--full", help="At the papers' sizes: minutes to hours.")]


Venue = Annotated[
    str, typer.Option(help="neurips, icml, iclr, jmlr, tmlr, siam, ieee, thesis or slides: widths and fonts.")
]


Column = Annotated[
    bool, typer.Option("--column", help="As wide as one column (icml, ieee), not as the page's text.")
]


Formats = Annotated[
    str, typer.Option("--format", help="pdf, pgf, svg, png, separated by commas; pgf needs LaTeX.")
]


Tex = Annotated[bool, typer.Option("--tex", help="Let LaTeX set the text of a PDF; needs LaTeX.")]
