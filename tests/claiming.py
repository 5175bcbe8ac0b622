"""Claims in brief, as tests write them: by the keys of a file, without a sentence."""

from dataclasses import replace
from typing import Any

from ratelab.experiments.judging.verdict import Relation
from ratelab.experiments.spec import Claim, Decay, FractionWorse, Level, Ratio, Selector, Target
from ratelab.theory.rates import Rate


def decays(select: Selector, rate: str, relation: Relation = "equals", **of: Any) -> Claim:
    """A claim of kind rate; `of`: regime, margin."""
    return Claim("", Decay(select, **of), Target(Rate.parse(rate), relation))


def level(
    select: Selector, value: float, relation: Relation = "equals", tolerance: float = 0.0, **of: Any
) -> Claim:
    """A claim of kind value; `of`: quantity, horizon, at."""
    return Claim("", Level(select, **of), Target(value, relation, tolerance))


def ratio(
    select: Selector,
    against: Selector,
    value: float,
    relation: Relation = "equals",
    tolerance: float = 0.0,
    **of: Any,
) -> Claim:
    return Claim("", Ratio(select, against, **of), Target(value, relation, tolerance))


def fraction(
    select: Selector, than: Selector | float, value: float, relation: Relation = "equals", **of: Any
) -> Claim:
    return Claim("", FractionWorse(select, than, **of), Target(value, relation))


def selected(claim: Claim) -> Selector:
    """The curves that a claim speaks of."""
    assert not callable(claim.measured)
    return claim.measured.select


def changed(claim: Claim, **of: Any) -> Claim:
    """The claim with what it measures changed: select, horizon, quantity, ..."""
    assert not callable(claim.measured)
    return replace(claim, measured=replace(claim.measured, **of))


def faults_of_source(claim: Claim) -> list[str]:
    """What a claim does not say of its source: who says the sentence, where, of what, and what was read. A
    source is called wrong only of its own setting, at its own size, with its full text read, and without
    qualifiers.
    """
    source, found = claim.source, []
    if source.said_of is None:
        found.append(f"{claim.sentence}: of what does {source.work or 'nobody'} say it?")
    if source.said_of == "this setting" and claim.expect == "refuted" and not claim.size:
        if source.seen != "full text":
            found.append(f"{claim.sentence}: {source} is called wrong, and not its full text was read")
        if source.words:
            found.append(f"{claim.sentence}: {source} is called wrong, and says no more than {source.words}")
    return found
