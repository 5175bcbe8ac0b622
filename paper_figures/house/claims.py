"""What a figure claims: a sentence, the number that its source prints or predicts, the number measured here.

A figure is only worth its place when the numbers in it are what its caption says: every claim is measured
again each time the figure is made, and the audit holds what is measured against what is recorded.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from numpy.typing import ArrayLike

from ratelab.experiments import estimates, evidence
from ratelab.experiments.estimates import Estimate
from ratelab.experiments.evidence import NoFit
from ratelab.experiments.verdict import Relation, Status
from ratelab.paper_figures.house.table import Table
from ratelab.theory.arrays import Array, InputError

D = TypeVar("D")
Measure: TypeAlias = Callable[[Table], float | Estimate]
OfSeeds: TypeAlias = Callable[[Table], Array]
"""One number per seed, (R,)."""


@dataclass(frozen=True)
class Claim(Generic[D]):
    """`measure`(data) is, up to `tolerance`, equal to (at most, at least) `predicted`.

    measure: a number that is known exactly, or an estimate with its interval, which all has to lie inside
    predicted: the number printed in the source, or the one that follows from its sentence
    expect: "refuted" where the sentence is wrong, "undecided" where it can't be told
    finding: what is true instead, or why it can't be told; needed where `expect` isn't "supported"
    """

    sentence: str
    source: str
    measure: Callable[[D], float | Estimate]
    predicted: float
    tolerance: float = 0.0
    relation: Relation = "equals"
    expect: Status = "supported"
    finding: str = ""

    @property
    def printed(self) -> str:
        """What the number has to be: "0.5 ± 0.02", "at most 1"."""
        sign = {"equals": "", "at_most": "at most ", "at_least": "at least "}[self.relation]
        within = f" ± {self.tolerance:.3g}" if self.tolerance else ""
        return f"{sign}{self.written(self.predicted)}{within}"

    def written(self, value: float) -> str:
        """A number with the digits that the tolerance speaks of, six at least."""
        digits = 6
        if self.tolerance and value and math.isfinite(value):
            digits += max(0, math.ceil(math.log10(abs(value) / self.tolerance)) - 5)
        return f"{value:.{min(digits, 15)}g}"


@dataclass(frozen=True)
class Outcome(Generic[D]):
    """A claim, what was measured for it, and what that makes of it."""

    claim: Claim[D]
    estimate: Estimate
    status: Status

    @property
    def as_expected(self) -> bool:
        return self.status == self.claim.expect

    @property
    def measured(self) -> str:
        """The number, with its interval where it is a statistical one."""
        e = self.estimate
        return self.claim.written(e.value) if e.exact else f"{e.value:.4g} [{e.low:.4g}, {e.high:.4g}]"

    @property
    def word(self) -> str:
        """What became of the sentence: it "holds", "fails" or is "undecided"."""
        return {"supported": "holds", "refuted": "fails", "undecided": "undecided"}[self.status]

    @property
    def holds(self) -> str:
        """What the audit says of it: the word, and whether that is news."""
        return self.word if self.as_expected else f"{self.word}, NOT AS RECORDED"

    def __str__(self) -> str:
        c = self.claim
        recorded = ", as recorded" if self.as_expected and self.status != "supported" else ""
        finding = f"; {c.finding}" if c.finding else ""
        return (
            f"{self.holds}{recorded}: {c.sentence} ({c.source}): "
            f"measured {self.measured}, predicted {c.printed}{finding}"
        )


def judge(claim: Claim[D], data: D) -> Outcome[D]:
    """Measure a claim on the data of its figure."""
    measured = claim.measure(data)
    estimate = measured if isinstance(measured, Estimate) else estimates.exact_estimate(float(measured))
    verdict = estimates.judge_value(estimate, claim.predicted, claim.tolerance, claim.relation)
    return Outcome(claim, estimate, verdict.status)


def exponent(times: ArrayLike, risk: ArrayLike) -> evidence.Fit:
    """The exponent of an exact risk over the last two decades of `times`; InputError where there is none."""
    fit = evidence.fit_exact(times, risk)
    if isinstance(fit, NoFit):
        raise InputError(f"no exponent: {fit.reason}")
    return fit


def claim(
    sentence: str, source: str, measure: Measure, printed: str, *, refuted: str = "", undecided: str = ""
) -> Claim[Table]:
    """A claim on the table of a figure; `printed`: "at most 0.95", "at least 0.02", "0.5 ± 0.05", "1".

    refuted: what is true instead, where the sentence is wrong; undecided: why it can't be told.
    """
    found = re.fullmatch(r"(?:(at most|at least) )?(\S+)(?: ± (\S+))?", printed)
    if found is None:
        raise InputError(f'{printed!r} is no bound; write "at most 0.95", "at least 0.02" or "0.5 ± 0.05"')
    words, number, tolerance = found.groups()
    relations: dict[str | None, Relation] = {None: "equals", "at most": "at_most", "at least": "at_least"}
    expect: Status = "refuted" if refuted else "undecided" if undecided else "supported"
    return Claim(
        sentence,
        source,
        measure,
        float(number),
        float(tolerance or 0),
        relations[words],
        expect,
        refuted or undecided,
    )


def mean(of: OfSeeds) -> Measure:
    """The mean over seeds and its interval."""
    return lambda table: estimates.mean_estimate(of(table), minimum=estimates.MIN_SEEDS)


def paired(above: OfSeeds, below: OfSeeds) -> Measure:
    """The ratio of two means over the same seeds, and its interval."""
    return lambda table: estimates.ratio_estimate(
        above(table), below(table), paired=True, minimum=estimates.MIN_SEEDS
    )
