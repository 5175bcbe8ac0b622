"""The error rates of verdicts, in a small form with a fixed seed: docs/verdicts.md has the whole table.

The aims are upper bounds of shares; a family that stays just within one would miss it at half of fresh seeds,
and of those here the nearest is half of it away in the whole table.
"""

import pytest
from cases import ROOT

from ratelab.experiments.judging import calibration
from ratelab.experiments.judging.calibration import FAMILIES, Family, Tally, missed, tally

SLOW = ("quadratics", "quadratics, settled", "quadratics, runs")


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_no_family_misses_what_is_aimed_at(family: Family) -> None:
    found = tally(family, 6 if family.name in SLOW else 60)
    assert missed(family, found) == ()
    assert found.true_claims > 0
    assert found.false_claims > 0


def test_verdicts_are_not_all_undecided() -> None:
    """Where a power has settled, true claims are supported and false ones refuted."""
    for name in ("powers", "powers, runs", "logarithms"):
        family = next(f for f in FAMILIES if f.name == name)
        found = tally(family, 40)
        assert found.true_refuted + found.true_undecided < 0.1 * found.true_claims


def test_what_cannot_be_seen_is_not_promised_and_is_wrong() -> None:
    """A calibration that could not fail would be worth nothing: late breaks miss every aim."""
    family = next(f for f in FAMILIES if not f.promised)
    refuted, supported, _ = tally(family, 60).shares
    assert refuted > calibration.TRUE_REFUTED
    assert supported > calibration.FALSE_SUPPORTED
    assert missed(family, tally(family, 5)) == ()


def test_tallies_count_and_repeat() -> None:
    found = Tally().add(True, "refuted").add(True, "undecided").add(False, "supported").add(False, "refuted")
    assert found.shares == (0.5, 0.5, 0.5)
    assert missed(FAMILIES[0], found) == ()  # two claims of each kind say nothing
    many = Tally(50, 50, 100, 50, 100)
    assert missed(FAMILIES[0], many) == ("true refuted", "false supported", "true undecided")
    assert tally(FAMILIES[1], 5, seed=1) == tally(FAMILIES[1], 5, seed=1)
    assert tally(FAMILIES[1], 20, seed=1) != tally(FAMILIES[1], 20, seed=2)


def test_the_page_has_the_table_of_all_families() -> None:
    """Names and what they are; the shares take minutes to measure."""
    page = (ROOT / "docs" / "verdicts.md").read_text(encoding="utf-8")
    lines = [line.split(" | ") for line in page.splitlines() if line.startswith("| ") and "true, " in line]
    assert [(line[0][2:], line[1]) for line in lines] == [(f.name, f.about) for f in FAMILIES]
    assert {line[-1].rstrip(" |") for line in lines} == {"met", "not promised"}
