"""Figures of the gallery computed one after the other: what each takes, and at the end what failed."""

import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import typer

from ratelab.experiments.judging.outcome import Outcome
from ratelab.paper_figures.house import make
from ratelab.paper_figures.house.about import Report
from ratelab.terminal import progress
from ratelab.theory.arrays import InputError

T = TypeVar("T")


def chosen_figures(names: Sequence[str] | None) -> list[str]:
    """The figures that are named, or all; InputError for one that there isn't."""
    for name in names or []:
        make.picture(name)
    return list(dict.fromkeys(names or make.find()))


def attempt(
    name: str, full: bool, work: Callable[[str, bool, Report], T], failed: dict[str, str]
) -> T | None:
    """`work(name, full, report)`, after saying how long it takes; None, with why put into `failed`, where it
    cannot be done."""
    try:
        seconds = make.picture(name).ABOUT.seconds[full]
        length = f"{max(1, seconds):.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
        print(f"{name}: about {length}", file=sys.stderr, flush=True)
        with progress(name, counted=False) as report:
            return work(name, full, report)
    except Exception as error:
        failed[name] = describe(error)
        return None


def describe(error: Exception) -> str:
    """Why a figure could not be computed; what isn't bad input is an error of ours, with its traceback."""
    if isinstance(error, InputError):
        return str(error)
    return "".join(traceback.format_exception(error)).rstrip()


def end_audit(outcomes: Sequence[Outcome], failed: Mapping[str, str]) -> None:
    """Exit code 4 where figures could not be computed, 1 where a claim isn't as recorded."""
    for name, error in failed.items():
        print(f"failed: {name}: {error}", file=sys.stderr)
    if failed:
        print(f"{len(failed)} figures could not be computed: {', '.join(failed)}", file=sys.stderr)
        raise typer.Exit(4)
    raise typer.Exit(0 if all(outcome.as_expected for outcome in outcomes) else 1)
