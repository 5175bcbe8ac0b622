"""What a figure claims: a sentence, a number read off its data, the number that a source predicts.

A figure is only worth its place when the numbers in it are what its caption says: every claim is measured
again each time the figure is made.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from numpy.typing import ArrayLike

from experiments import evidence
from experiments.evidence import NoFit, Relation, Status
from theory.arrays import InputError

D = TypeVar("D")


@dataclass(frozen=True)
class Claim(Generic[D]):
    """`measure`(data) is, up to `tolerance`, equal to (at most, at least) `predicted`.

    expect: "refuted" where the sentence is a belief that the figure contradicts.
    """

    sentence: str
    source: str
    measure: Callable[[D], float]
    predicted: float
    tolerance: float = 0.0
    relation: Relation = "equals"
    expect: Status = "supported"


@dataclass(frozen=True)
class Outcome(Generic[D]):
    """A claim, the number that was measured for it, and what that makes of it."""

    claim: Claim[D]
    measured: float
    status: Status

    @property
    def as_expected(self) -> bool:
        return self.status == self.claim.expect

    def __str__(self) -> str:
        c = self.claim
        sign = {"equals": "", "at_most": "<= ", "at_least": ">= "}[c.relation]
        within = f" ± {c.tolerance:g}" if c.tolerance else ""
        holds = "holds" if self.status == "supported" else "fails"
        mark = "" if self.as_expected else ", NOT AS RECORDED"
        recorded = ", as recorded" if self.as_expected and self.status != "supported" else ""
        return (
            f"{holds}{recorded}{mark}: {c.sentence} ({c.source}): "
            f"measured {self.measured:.6g}, predicted {sign}{c.predicted:.6g}{within}"
        )


def judge(claim: Claim[D], data: D) -> Outcome[D]:
    """Measure a claim on the data of its figure."""
    measured = float(claim.measure(data))
    estimate = evidence.exact_estimate(measured)
    return Outcome(
        claim,
        measured,
        evidence.judge_value(estimate, claim.predicted, claim.tolerance, claim.relation).status,
    )


def exponent(times: ArrayLike, risk: ArrayLike) -> evidence.Fit:
    """The exponent of an exact risk over the last two decades of `times`; InputError where there is none."""
    fit = evidence.fit_exact(times, risk)
    if isinstance(fit, NoFit):
        raise InputError(f"no exponent: {fit.reason}")
    return fit
