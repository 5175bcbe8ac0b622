"""The command line: one app of the commands, and what becomes of errors.

Every command prints what it wrote and where. Exit codes: 0 as expected, 1 a verdict contradicts its
expectation, 2 bad input, 3 a verdict is unexpectedly undecided, 4 cells failed, 70 internal error, 130
interrupted.
"""

import io
import os
import sys
import traceback
from collections.abc import Sequence

import typer

from ratelab.commands.checking import audit, calibrate, doctor
from ratelab.commands.converting import convert, preview
from ratelab.commands.drawing import figure, gallery, plot
from ratelab.commands.judging import verdict
from ratelab.commands.running import run, status
from ratelab.commands.starting import init, list_

COMMANDS = (
    init,
    list_,
    preview,
    convert,
    run,
    status,
    verdict,
    calibrate,
    figure,
    plot,
    audit,
    gallery,
    doctor,
)
"""In the order of the help."""

app = typer.Typer(
    help="A laboratory for learning-rate schedules on convex problems: "
    "exact risk, bounds, Monte Carlo, verdicts, figures.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in COMMANDS:
    app.command(command.__name__.rstrip("_"))(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; always ends in SystemExit with one of the exit codes above."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        app(arguments, prog_name="ratelab")
    except BrokenPipeError:  # the reader of a pipe has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        from ratelab.theory.arrays import InputError

        if isinstance(error, InputError):
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        traceback.print_exc()
        sys.exit(70)
