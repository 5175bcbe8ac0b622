"""What a verdict is: its three words, how an interval is held against a claim, how several rows combine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import scipy

from ratelab.theory.arrays import InputError

if TYPE_CHECKING:
    from ratelab.experiments.judging.estimates import Estimate
    from ratelab.experiments.judging.evidence import Fit

Relation: TypeAlias = Literal["at_most", "at_least", "equals"]
Status: TypeAlias = Literal["supported", "refuted", "undecided"]


@dataclass(frozen=True)
class Verdict:
    """`status`, the sentence that says why, the numbers behind it (None if there are none), the margin."""

    status: Status
    reason: str
    evidence: "Fit | Estimate | None" = None
    margin: float | None = None
    notes: tuple[str, ...] = ()


def decide(low: float, high: float, bottom: float, top: float, relation: Relation) -> Status:
    """Where [low, high] lies: at_most is about `top`, at_least about `bottom`, equals about both."""
    if relation not in ("at_most", "at_least", "equals"):
        raise InputError(f"relation is {relation!r}; it must be at_most, at_least or equals")
    supported = (relation == "at_least" or high <= top) and (relation == "at_most" or low >= bottom)
    refuted = (relation != "at_least" and low > top) or (relation != "at_most" and high < bottom)
    return "supported" if supported else "refuted" if refuted else "undecided"


def combine(statuses: Sequence[Status]) -> Status:
    """The verdict on several rows: supported when all are, refuted when any is, otherwise undecided."""
    if not statuses:
        raise InputError("the claim matches no row; nothing can be said about it")
    if "refuted" in statuses:
        return "refuted"
    return "supported" if all(status == "supported" for status in statuses) else "undecided"


def label(exact: bool, claims: int) -> str:
    """What an interval is: "exact", "95 %", or "95 % over m claims"."""
    if exact:
        return "exact"
    return "95 %" if claims == 1 else f"95 % over {claims} claims"


def tail(claims: int) -> float:
    """Half of the 5 % that `claims` claims share."""
    if claims < 1:
        raise InputError(f"claims is {claims}; it counts this one, so it must be at least 1")
    return 0.025 / claims


def quantile(freedom: float, claims: int) -> float:
    """t_{freedom, 1 − 0.025/claims}."""
    return float(scipy.stats.t.ppf(1 - tail(claims), freedom))


def order(value: float) -> str:
    """Two significant digits: 7.2e7; whole below a thousand."""
    if value < 1000:
        return f"{value:.0f}"
    digits, power = f"{value:.1e}".split("e")
    return f"{digits.removesuffix('.0')}e{int(power)}"
