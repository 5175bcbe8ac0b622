"""What became of a claim: a row per curve that it speaks of, and how the table, the report and the audit put
it."""

from dataclasses import dataclass

from ratelab.experiments.judging import verdict
from ratelab.experiments.judging.estimates import Estimate
from ratelab.experiments.judging.evidence import Fit
from ratelab.experiments.judging.verdict import Status, Verdict
from ratelab.experiments.spec import AXES, Claim, FractionWorse, Level, Ratio, Selector

__all__ = ["Outcome"]

KINDS = {Level: "value", Ratio: "ratio", FractionWorse: "fraction"}
"""As the file calls them."""


@dataclass(frozen=True)
class Row:
    """The verdict on one combination of values that a claim selects; of a figure's claim the only one.

    sides: the curves that were read, with `against` the one it is compared with second; lrs: the learning
    rate of each in words, as chosen. Of a rate: the times that were read and the risk there, exact or the
    mean of the runs.
    """

    verdict: Verdict
    sides: tuple[Selector, ...] = ()
    lrs: tuple[str, ...] = ()
    times: tuple[float, ...] = ()
    risk: tuple[float, ...] = ()

    @property
    def select(self) -> Selector:
        return self.sides[0]


@dataclass(frozen=True)
class Outcome:
    """What became of a claim: supported when all its rows are, refuted when any is."""

    claim: Claim
    rows: tuple[Row, ...]

    @property
    def status(self) -> Status:
        return verdict.combine([row.verdict.status for row in self.rows])

    @property
    def as_expected(self) -> bool:
        return self.status == self.claim.expect

    @property
    def evidence(self) -> Fit | Estimate | None:
        """That of the row that is furthest from the target, on the side where it may not be."""
        found = [row.verdict.evidence for row in self.rows]
        numbers = [e for e in found if isinstance(e, Estimate)]
        if not numbers:
            return next((e for e in found if e is not None), None)
        target = self.claim.target
        away = {
            "at_most": lambda e: e.value,
            "at_least": lambda e: -e.value,
            "equals": lambda e: abs(e.value - target.number),
        }[target.relation]
        return max(numbers, key=away)

    @property
    def measured(self) -> str:
        """That number, with its interval where it is a statistical one."""
        e = self.evidence
        if not isinstance(e, Estimate):
            return "nothing" if e is None else f"exponent {e}"
        return self.claim.target.written(e.value) if e.exact else f"{e.value:.4g} [{e.low:.4g}, {e.high:.4g}]"

    @property
    def word(self) -> str:
        """What became of the sentence: it "holds", is "undecided", or fails, and then what that says of its
        source, who is not wrong at a smaller size than its own."""
        if self.status != "refuted":
            return {"supported": "holds", "undecided": "undecided"}[self.status]
        if self.claim.source.said_of == "this setting" and self.claim.size:
            return "not at this size"
        no = self.claim.source.no  # a surprise may be ours: it accuses nobody
        return "fails" if no == "source wrong" and not self.as_expected else no

    @property
    def holds(self) -> str:
        """What the audit says of it: the word, the size where it is smaller, whether that is news."""
        size = f", {self.claim.size}" if self.claim.size else ""
        return f"{self.word}{size}" + ("" if self.as_expected else ", NOT AS RECORDED")

    @property
    def whose(self) -> str:
        """Of a wrong source, why the setting is its own; nothing of others."""
        return f"its own setting: {self.claim.source.setting}" if self.word == "source wrong" else ""

    def __str__(self) -> str:
        c = self.claim
        recorded = ", as recorded" if self.as_expected and self.status != "supported" else ""
        more = "".join(f"; {text}" for text in (c.finding, self.whose) if text)
        return (
            f"{self.holds}{recorded}: {c.sentence} ({c.source}): "
            f"measured {self.measured}, predicted {c.target}{more}"
        )

    @property
    def each(self) -> tuple[str, ...]:
        """The axes on which each value of the file is a row."""
        measured = self.claim.measured
        return () if callable(measured) else tuple(a for a in AXES if getattr(measured.select, a) == "*")

    @property
    def quantity(self) -> str:
        """What is read, in words before a reason: nothing for the risk itself."""
        measured = self.claim.measured
        if not isinstance(measured, Level | Ratio | FractionWorse) or measured.quantity == "risk":
            return ""
        return f"{KINDS[type(measured)]} ({measured.quantity}): "

    def cells(self, row: Row) -> tuple[str, ...]:
        """Number, interval, window, claimed, verdict, expected: a line of the table."""
        found, measured = row.verdict.evidence, self.claim.measured
        number, window = ("–", "–"), "–"
        if isinstance(found, Fit):
            exponent, low, high = (round(x, 3) + 0.0 for x in (found.exponent, *found.interval))
            number = f"{exponent:.3f}", f"[{low:.3f}, {high:.3f}] {found.label}"
            window = f"{found.window[0]:g} to {found.window[1]:g}"
        elif found is not None and isinstance(measured, Level | Ratio | FractionWorse):
            known = found.exact and found.low == found.high
            within = "exact" if known else f"[{found.low:.5g}, {found.high:.5g}] {found.label}"
            number = f"{found.value:.5g}", within
            time = measured.horizon if measured.at is None else measured.at
            window = "t = T" if time is None else f"t = {time:g}"
        return (*number, window, str(self.claim.target), row.verdict.status, self.claim.expect)
