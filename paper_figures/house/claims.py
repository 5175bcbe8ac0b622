"""Claims of figures, written as they are printed, and the measures that several of them take of a table.

A figure is only worth its place when the numbers in it are what its caption says: every claim is measured
again each time the figure is made, and the audit holds what is measured against what is recorded.
"""

import re
from collections.abc import Callable
from typing import TypeAlias

from numpy.typing import ArrayLike

from ratelab.experiments.judging import estimates, evidence
from ratelab.experiments.judging.evidence import NoFit
from ratelab.experiments.judging.verdict import Relation, Status
from ratelab.experiments.sources import Source
from ratelab.experiments.spec import Claim, Measure, Target
from ratelab.paper_figures.house.table import Table
from ratelab.theory.arrays import Array, InputError

OfSeeds: TypeAlias = Callable[[Table], Array]
"""One number per seed, (R,)."""


def ours(origin: str = "derived here") -> Source:
    """The source of a sentence that nobody says and we ask: where it comes from."""
    return Source(origin, said_of="ours")


def claim(
    sentence: str,
    source: Source,
    measure: Measure,
    printed: str,
    *,
    refuted: str = "",
    undecided: str = "",
    size: str = "",
) -> Claim:
    """A claim on the table of a figure; `printed`: "at most 0.95", "at least 0.02", "0.5 ± 0.05", "1".

    refuted: what is true instead, where the sentence does not hold; undecided: why it can't be told; size: of
    the quick form, where the source's is larger.
    """
    found = re.fullmatch(r"(?:(at most|at least) )?(\S+)(?: ± (\S+))?", printed)
    if found is None:
        raise InputError(f'{printed!r} is no bound; write "at most 0.95", "at least 0.02" or "0.5 ± 0.05"')
    words, number, tolerance = found.groups()
    relations: dict[str | None, Relation] = {None: "equals", "at most": "at_most", "at least": "at_least"}
    expect: Status = "refuted" if refuted else "undecided" if undecided else "supported"
    target = Target(float(number), relations[words], float(tolerance or 0))
    return Claim(sentence, measure, target, source, expect, refuted or undecided, size)


def exponent(times: ArrayLike, risk: ArrayLike) -> evidence.Fit:
    """The exponent of an exact risk over the last two decades of `times`; InputError where there is none."""
    fit = evidence.fit_exact(times, risk)
    if isinstance(fit, NoFit):
        raise InputError(f"no exponent: {fit.reason}")
    return fit


def mean(of: OfSeeds) -> Measure:
    """The mean over seeds and its interval."""
    return lambda table: estimates.mean_estimate(of(table), minimum=estimates.MIN_SEEDS)


def paired(above: OfSeeds, below: OfSeeds) -> Measure:
    """The ratio of two means over the same seeds, and its interval."""
    return lambda table: estimates.ratio_estimate(
        above(table), below(table), paired=True, minimum=estimates.MIN_SEEDS
    )
