"""Means, ratios, fractions and claimed numbers: coverage of intervals, outcomes, laws.

Seeds are fixed. Each statistical test states how often it would fail at a fresh seed if the code is right.
"""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import stats

from ratelab.experiments.judging.estimates import (
    MIN_SEEDS,
    Estimate,
    exact_estimate,
    exact_ratio,
    fraction_estimate,
    held_out_best,
    judge_value,
    mean_estimate,
    ratio_estimate,
)
from ratelab.experiments.judging.verdict import Relation, Status
from ratelab.theory.arrays import Array, InputError


@pytest.mark.parametrize(
    ("relation", "low", "high", "status"),
    [
        ("at_most", 0.0, 1.1, "supported"),
        ("at_most", 1.0, 1.2, "undecided"),
        ("at_most", 1.2, 1.3, "refuted"),
        ("at_least", 0.9, 2.0, "supported"),
        ("at_least", 0.8, 2.0, "undecided"),
        ("at_least", 0.7, 0.8, "refuted"),
        ("equals", 0.9, 1.1, "supported"),
        ("equals", 0.8, 1.1, "undecided"),
        ("equals", 1.2, 1.3, "refuted"),
        ("equals", 0.7, 0.8, "refuted"),
    ],
)
def test_value_relations(relation: Relation, low: float, high: float, status: Status) -> None:
    estimate = Estimate((low + high) / 2, low, high, exact=False)
    assert judge_value(estimate, 1.0, 0.1, relation).status == status


def test_value_estimates() -> None:
    samples = np.random.default_rng(4).chisquare(3, 100)
    estimate = mean_estimate(samples)
    interval = stats.ttest_1samp(samples, 0.0).confidence_interval(0.95)
    assert estimate.low == pytest.approx(interval.low)
    assert interval.high < estimate.high < 1.1 * interval.high
    exact = exact_estimate(0.02251)
    assert judge_value(exact, 0.0225, 1e-4).status == "supported"
    assert "exact" in judge_value(exact, 0.0225, 1e-4).reason
    relations: tuple[Relation, ...] = ("at_most", "at_least", "equals")
    diverged = exact_estimate(np.inf)
    assert [judge_value(diverged, 1.0, 0.1, r).status for r in relations] == [
        "refuted",
        "undecided",
        "refuted",
    ]
    some = mean_estimate([*samples, np.inf])
    assert {judge_value(some, 1.0, 0.1, r).status for r in relations} == {"undecided"}
    assert "1 of 101 runs diverged" in judge_value(some, 1.0, 0.1).reason
    with pytest.raises(InputError, match="at least 64"):
        mean_estimate(samples[:10])
    with pytest.raises(InputError, match="tolerance"):
        judge_value(exact, 1.0, -0.1)
    with pytest.raises(InputError, match="not a number"):
        exact_estimate(np.nan)


def coverage(draws: Array, mean: float, **options: float) -> float:
    found = [mean_estimate(row, minimum=MIN_SEEDS, **options) for row in draws]  # type: ignore[arg-type]
    return float(np.mean([e.low <= mean <= e.high for e in found]))


def test_means_of_few_and_skewed_samples_are_covered() -> None:
    """The figures of `mean_estimate`: at least 93 % of 1000 trials, where 95 % or more are measured. 93 %
    when it is 95 % in truth: 3 in 1000 for each of the ten."""
    rng = np.random.default_rng(1)
    for n in (5, 10, 64):
        shape = (1000, n)
        assert coverage(10 + rng.standard_normal(shape), 10.0) >= 0.93
        assert coverage(rng.gamma(4.0, 1.0, shape), 4.0) >= 0.93
        assert coverage(rng.exponential(1.0, shape), 1.0) >= 0.93
    stuck = rng.standard_normal((1000, 5)) + 10.0 * (rng.random((1000, 5)) < 0.1)
    assert coverage(stuck, 1.0) < 0.9  # with probability 0.59 none is drawn, and no formula knows


@pytest.mark.slow
@pytest.mark.parametrize("dim", [1, 10])
@pytest.mark.parametrize("noise", ["gaussian", "signs", "t8", "t5", "t4"])
def test_means_of_risks_are_covered_under_every_noise_of_the_catalogue(noise: str, dim: int) -> None:
    """64 runs of SGD after 1000 updates, steps 1/2 (of which the last 60 are felt), risk known exactly: at
    least 93 % in 1000 trials. Measured 94.5 % and more; 93 % then fails 2 times in 100 at the worst, on a
    fresh seed."""
    rng = np.random.default_rng([7, dim, *noise.encode()])
    x, second = np.zeros((1000, 64, dim), dtype=np.float32), 0.0
    for _ in range(60):
        if noise == "gaussian":
            xi = rng.standard_normal(x.shape, dtype=np.float32)
        elif noise == "signs":
            xi = 2 * rng.integers(0, 2, x.shape).astype(np.float32) - 1
        else:
            df = float(noise[1:])
            xi = (rng.standard_t(df, x.shape) * np.sqrt((df - 2) / df)).astype(np.float32)
        x, second = np.float32(0.5) * (x + xi), 0.25 * (second + 1)
    assert coverage((x.astype(np.float64) ** 2).sum(axis=-1), dim * second) >= 0.93


def test_a_mean_of_infinite_variance_decides_nothing_and_says_how_many_runs() -> None:
    samples = np.random.default_rng(3).exponential(1.0, 64)
    heavy = mean_estimate(samples, tail_index=1.25)
    assert "variance is infinite" in heavy.doubt
    assert "after about 1e5" in heavy.doubt
    assert judge_value(heavy, 100.0, 0.0, "at_most").status == "undecided"
    assert not mean_estimate(samples, tail_index=2.0).doubt
    ratio = ratio_estimate(samples, samples[::-1], paired=False, tail_index=1.5)
    assert judge_value(ratio, 100.0, 0.0, "at_most").status == "undecided"


def test_a_side_below_its_floor_keeps_its_doubts() -> None:
    samples = np.random.default_rng(3).exponential(1.0, 64)
    heavy = ratio_estimate(samples, np.full(64, 1e-12), paired=False, floors=(1e-10, 1e-10), tail_index=1.5)
    assert judge_value(heavy, 10.0, 0.0, "at_least").status == "undecided"
    below = ratio_estimate(np.full(64, -1.0), samples, paired=False, floors=(1e-8, 1e-8))
    assert judge_value(below, 1.0, 0.0, "at_most").status == "undecided"


def test_an_interval_is_never_a_point() -> None:
    """Runs that agree to the last digit say nothing about that digit."""
    same = mean_estimate(np.full(64, 0.1), floor=1e-14)
    assert same.low < 0.1 < same.high
    assert judge_value(same, 0.1, 0.0).status == "undecided"
    assert judge_value(same, 0.1, 1e-6).status == "supported"


def test_errors_on_few_rows_have_a_width() -> None:
    """Five seeds that agree on 20 rows: the interval of Clopper and Pearson on 100 rows, never a point."""
    same = mean_estimate(np.full(5, 0.05), minimum=MIN_SEEDS, rows=20)
    pooled = fraction_estimate(5, 100)
    assert (same.low, same.high) == pytest.approx((pooled.low, pooled.high))
    none = mean_estimate(np.zeros(5), minimum=MIN_SEEDS, rows=20)
    assert (none.low, none.high) == pytest.approx((0.0, fraction_estimate(0, 100).high))
    rng = np.random.default_rng(2)
    for p in (0.01, 0.05, 0.3):
        found = [mean_estimate(e, minimum=MIN_SEEDS, rows=20) for e in rng.binomial(20, p, (500, 5)) / 20]
        assert np.mean([e.low <= p <= e.high for e in found]) >= 0.93
    ratio = ratio_estimate(np.full(5, 0.1), np.full(5, 0.1), paired=True, minimum=MIN_SEEDS, rows=20)
    assert ratio.low < 0.9 < 1.1 < ratio.high


def test_below_the_floor_numbers_are_known_as_at_most_that() -> None:
    tiny = exact_estimate(1e-20, floor=1e-14)
    assert (tiny.low, tiny.high, tiny.label) == (0.0, 1e-14, "at most the floor")
    most = [judge_value(tiny, value, 0.0, "at_most").status for value in (1e-10, 1e-18)]
    assert most == ["supported", "undecided"]
    assert judge_value(tiny, 1e-10, 0.0, "at_least").status == "refuted"
    assert judge_value(tiny, 1e-20, 0.0, "equals").status == "undecided"
    both = exact_ratio(1e-20, 2e-20, 1e-14, 1e-14)
    assert judge_value(both, 0.5, 0.1).status == "undecided"
    assert "nothing more is known" in both.doubt
    above = exact_ratio(1e-20, 1e-3, 1e-14, 1e-14)
    assert judge_value(above, 0.1, 0.0, "at_most").status == "supported"
    assert judge_value(above, 1e-17, 0.0, "at_least").status == "undecided"
    below = exact_ratio(1e-3, 1e-20, 1e-14, 1e-14)
    assert judge_value(below, 10.0, 0.0, "at_least").status == "supported"
    rounding = np.random.default_rng(4).normal(-1e-10, 1e-9, 64)  # negative means never decide
    negative = mean_estimate(rounding, floor=1e-8)
    assert negative.low == 0
    assert judge_value(negative, 0.0, 0.0, "at_most").status == "undecided"
    sides = ratio_estimate(rounding, -rounding, paired=False, floors=(1e-8, 1e-8))
    assert {judge_value(sides, v, 0.1, "at_most").status for v in (-1.0, 1.0, 1e3)} == {"undecided"}
    unclear = fraction_estimate(0, 64, unclear=64)
    assert judge_value(unclear, 0.5, 0.1).status == "undecided"
    assert fraction_estimate(10, 64, unclear=5).high == pytest.approx(fraction_estimate(15, 64).high)


@given(runs=st.integers(5, 60), seed=st.integers(0, 10**6), claims=st.integers(1, 20))
def test_a_fraction_has_the_interval_of_clopper_and_pearson(runs: int, seed: int, claims: int) -> None:
    """By its definition: at the ends, so many hits or more (or fewer) have probability 0.025/claims."""
    hits = seed % (runs + 1)
    estimate = fraction_estimate(hits, runs, claims)
    assert (estimate.value, estimate.exact, estimate.claims) == (hits / runs, False, claims)
    tail = 0.025 / claims
    if hits:
        assert stats.binom.sf(hits - 1, runs, estimate.low) == pytest.approx(tail, rel=1e-6)
    if hits < runs:
        assert stats.binom.cdf(hits, runs, estimate.high) == pytest.approx(tail, rel=1e-6)
    mirrored = fraction_estimate(runs - hits, runs, claims)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - estimate.high, 1 - estimate.low), abs=1e-12)
    assert (hits > 0 or estimate.low == 0, hits < runs or estimate.high == 1) == (True, True)


@pytest.mark.parametrize("runs", [5, 8, 20])
def test_the_interval_of_a_fraction_covers_at_any_probability(runs: int) -> None:
    """Summed exactly over all outcomes: never less than 95 %."""
    hits = np.arange(runs + 1)
    ends = [fraction_estimate(int(k), runs) for k in hits]
    for p in np.linspace(0, 1, 101):
        inside = np.array([e.low <= p <= e.high for e in ends])
        assert stats.binom.pmf(hits, runs, p)[inside].sum() >= 0.95


def test_a_fraction_of_few_runs_or_none_is_refused() -> None:
    with pytest.raises(InputError, match="runs is 4"):
        fraction_estimate(1, 4)
    with pytest.raises(InputError, match="9 of 8 runs"):
        fraction_estimate(9, 8)


def test_ratio_intervals_cover_and_pairing_sharpens() -> None:
    # B is twice the shared noise, A that and some of its own; a true 95 % leaves 93-97 % 4 times in 1000
    rng = np.random.default_rng(5)
    shared, own, other = rng.chisquare(3, (3, 1000, 64))
    a, b, c = shared + 0.2 * own, 2 * shared, 2 * other
    truth = (3 + 0.6) / 6
    paired = [ratio_estimate(x, y, paired=True) for x, y in zip(a, b, strict=True)]
    unpaired = [ratio_estimate(x, y, paired=False) for x, y in zip(a, c, strict=True)]
    for estimates in (paired, unpaired):
        assert 0.93 <= np.mean([e.low <= truth <= e.high for e in estimates]) <= 0.98
    widths = [np.median([e.high - e.low for e in estimates]) for estimates in (paired, unpaired)]
    assert widths[0] < 0.3 * widths[1]


def test_ratio_edges() -> None:
    ones = np.ones(64)
    same = ratio_estimate(ones, 2 * ones, paired=True)
    assert same.low < same.value == 0.5 < same.high
    assert same.high - same.low < 1e-11
    assert ratio_estimate(ones, 2 * ones, paired=False).value == 0.5
    one = np.append(ones[1:], np.inf)
    for above, below in ((one, ones), (ones, one)):  # no number, and no ratio of 0
        diverged = ratio_estimate(above, below, paired=True)
        assert judge_value(diverged, 0.5, 0.1, "at_most").status == "undecided"
        assert "1 of 64 runs diverged" in diverged.doubt
    assert (exact_ratio(np.inf, 1.0).value, exact_ratio(1.0, 0.0).value) == (np.inf, np.inf)
    assert (exact_ratio(1.0, np.inf).value, exact_ratio(1.0, 4.0).label) == (0.0, "exact")
    assert "diverged" in exact_ratio(1.0, np.inf).doubt
    with pytest.raises(InputError, match="claims is 0"):
        ratio_estimate(ones, ones, paired=False, claims=0)
    for above, below in ((0 * ones, 0 * ones), (0 * ones, ones), (ones, 0 * ones)):
        with pytest.raises(InputError, match="0 in every run"):
            ratio_estimate(above, below, paired=True)
    assert "64 of 64 runs diverged" in ratio_estimate(np.inf * ones, np.inf * ones, paired=True).doubt
    with pytest.raises(InputError, match="cannot be paired"):
        ratio_estimate(ones, np.ones(65), paired=True)


def test_best_is_chosen_on_one_half_and_judged_on_the_other() -> None:
    risks = np.random.default_rng(6).chisquare(1, (128, 20, 5))
    best, judged = held_out_best(risks)
    assert judged.shape == (64, 5)
    np.testing.assert_array_equal(best, risks[:64].mean(axis=0).argmin(axis=0))
    np.testing.assert_array_equal(judged[:, 3], risks[64:, best[3], 3])
    # all rates are equal here (mean 1): the choosing half looks better than it is, the judging half does not
    assert risks[:64].mean(axis=0).min(axis=0).mean() < 0.8
    assert judged.mean() == pytest.approx(1.0, abs=0.3)  # 320 samples, sd 1.4: 4 sigma
    risks[:, 7] = np.inf
    assert 7 not in held_out_best(risks)[0]
    with pytest.raises(InputError, match="at least 2"):
        held_out_best(risks[:1])
