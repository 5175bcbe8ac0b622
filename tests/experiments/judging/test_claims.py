"""Claims judged on small real runs: each kind, each way of choosing curves, exact and by Monte Carlo."""

from collections.abc import Iterator
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from claiming import changed, decays, fraction, level, ratio, selected

from ratelab.experiments.execute import run
from ratelab.experiments.faults import claim_faults
from ratelab.experiments.judging import estimates, evidence
from ratelab.experiments.judging.agreement import EngineError, check_engines
from ratelab.experiments.judging.claims import exit_code, judge
from ratelab.experiments.judging.estimates import Estimate
from ratelab.experiments.judging.evidence import Fit, NoFit
from ratelab.experiments.judging.outcome import Outcome
from ratelab.experiments.methods import SGD, HeavyBall
from ratelab.experiments.spec import Claim, Selector, Spec
from ratelab.experiments.store import Curve, Results, Store
from ratelab.problems.noise import Gaussian
from ratelab.problems.quadratic import Quadratic
from ratelab.problems.regression import TableLeastSquares
from ratelab.problems.spectra import UniformSpectrum
from ratelab.theory import Constant, InversePower, Last, Linear, Tail, Uniform
from ratelab.theory.arrays import Array

QUADRATIC = Quadratic(UniformSpectrum(dim=3, condition_number=1.25), noise=Gaussian(sd=0.7))
LINE = TableLeastSquares("line", batch=4, replacement=False)
C_SQRT_T, CONSTANT = InversePower(0.5), Constant()
HORIZONS = tuple(int(t) for t in np.geomspace(100, 10_000, 9))

EXACT = Spec(
    problems=(QUADRATIC,),
    methods=(SGD(),),
    schedules=(CONSTANT, C_SQRT_T, Linear()),
    averagings=(Last(), Uniform(), Tail(0.5)),
    lr=(1.0, 0.5, 5.0, 1e-6),  # the best is neither the first nor at an end
    lr_unit="1/L",
    horizons=HORIZONS,
    runs=4,
    records=60,
)
SAMPLED = replace(
    EXACT,
    problems=(LINE,),
    methods=(SGD(), HeavyBall(0.5)),
    averagings=(Last(), Uniform()),
    lr=(0.03, 0.3, 0.003, 3.0),  # the best is neither the first nor at an end
    horizons=tuple(int(t) for t in np.geomspace(4, 400, 9)),
    runs=128,
)


def computed(spec: Spec, folder: Path) -> Results:
    store = Store(folder)
    assert not run(spec, "", store).failed
    return Results(spec, store)


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return computed(EXACT, tmp_path_factory.mktemp("exact"))


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return computed(SAMPLED, tmp_path_factory.mktemp("sampled"))


def verdict(results: Results, *judged: Claim) -> list[Outcome]:
    """Judged on what is already computed: claims are in no key."""
    spec = replace(results.spec, claims=judged)
    assert [claim_faults(spec, claim) for claim in judged] == [[] for _ in judged]
    return judge(Results(spec, results.store))


def rate(text: str, schedule: object, averaging: object, lr: object = 0.5) -> Claim:
    return decays(Selector(schedule=schedule, averaging=averaging, lr=lr), text)  # type: ignore[arg-type]


@pytest.mark.slow
def test_textbook_rates_are_found_and_wrong_ones_refuted(exact: Results) -> None:
    found = verdict(
        exact,
        rate("t^-1/2", C_SQRT_T, Last()),
        rate("1/t", C_SQRT_T, Uniform()),
        rate("1/t", C_SQRT_T, Last()),
        rate("t^0", CONSTANT, Last()),
        rate("t^-1/2", CONSTANT, Last()),
        rate("1/t", CONSTANT, Uniform()),
    )
    statuses = [outcome.status for outcome in found]
    assert statuses == ["supported", "undecided", "refuted", "supported", "refuted", "supported"]
    assert "what is left of the start is 7%" in found[1].rows[0].verdict.reason
    fit = found[0].rows[0].verdict.evidence
    assert isinstance(fit, Fit)
    assert fit.exact
    assert found[0].cells(found[0].rows[0])[1].endswith("exact")


def test_a_pair_that_is_not_anytime_is_fitted_over_horizons(exact: Results) -> None:
    (outcome,) = verdict(exact, rate("1/t", CONSTANT, Tail(0.5)))
    fit = outcome.rows[0].verdict.evidence
    assert isinstance(fit, Fit)
    assert fit.points == 9
    assert outcome.status == "supported"
    (linear,) = verdict(exact, rate("t^-1/2", Linear(), Last()))
    assert linear.status == "supported"  # not 1/T: what is left is the noise of the last √T updates


def exact_risks(results: Results, schedule: object, averaging: object, lr: float, horizon: int) -> Array:
    """The exact risk of a curve of the quadratic up to `horizon`, read without the code that judges."""
    data = results.exact(Curve(QUADRATIC, SGD(), schedule, averaging, lr, horizon))  # type: ignore[arg-type]
    assert data is not None
    return np.asarray(data.values)


def evidences(found: list[Outcome]) -> list[Fit | Estimate | None]:
    assert [len(outcome.rows) for outcome in found] == [1] * len(found)
    return [outcome.rows[0].verdict.evidence for outcome in found]


def flat(values: object) -> Iterator[float]:
    """The numbers in nested tuples."""
    if isinstance(values, tuple):
        for value in values:
            yield from flat(value)
    elif not isinstance(values, str):
        yield float(values)  # type: ignore[arg-type]


def assert_same(found: Fit | Estimate | None, expected: Fit | NoFit | Estimate) -> None:
    """Every number of them, up to the order of summation."""
    assert isinstance(found, Fit | Estimate)
    assert type(found) is type(expected)
    np.testing.assert_allclose([*flat(astuple(found))], [*flat(astuple(expected))], rtol=1e-9, atol=1e-12)


def test_best_is_the_smallest_exact_risk_at_each_time(exact: Results) -> None:
    best = Selector(schedule=CONSTANT, averaging=Last(), lr="best")
    value = level(best, 0.0, relation="at_least")
    early = changed(value, horizon=HORIZONS[0])
    along = decays(replace(best, schedule=C_SQRT_T), "t^-1/2", regime="window")
    ends = changed(along, select=replace(best, schedule=Linear()))
    *estimated, fit, over_horizons = evidences(verdict(exact, value, early, along, ends))

    def smallest(schedule: object, horizon: int) -> Array:
        risks = np.stack([exact_risks(exact, schedule, Last(), lr, horizon) for lr in EXACT.lr])
        assert risks[:, -1].argmin() == 1
        return np.asarray(risks.min(axis=0))

    assert estimated == [
        estimates.exact_estimate(smallest(CONSTANT, h)[-1]) for h in (HORIZONS[-1], HORIZONS[0])
    ]
    times = exact.exact(Curve(QUADRATIC, SGD(), C_SQRT_T, Last(), 0.5, HORIZONS[-1]))
    assert times is not None
    assert_same(fit, evidence.fit_exact(times["t"].values, smallest(C_SQRT_T, HORIZONS[-1])))
    last = [smallest(Linear(), horizon)[-1] for horizon in HORIZONS]
    assert_same(over_horizons, evidence.fit_exact(HORIZONS, last, minimum=evidence.MIN_HORIZONS))


@pytest.mark.slow
def test_a_best_at_an_edge_is_undecided_and_names_the_value_to_add(tmp_path: Path) -> None:
    """Followed, the advice ends: the grid then holds its best inside, and the verdict is that of the tuned
    lr."""
    grid: tuple[float, ...] = (0.5, 1.0)
    claim = level(Selector(schedule=CONSTANT, averaging=Last(), lr="best"), 0.0, relation="at_least")
    for step in range(20):
        spec = replace(EXACT, lr=grid, horizons=(1000,), schedules=(CONSTANT,), averagings=(Last(),), runs=1)
        results = computed(spec, tmp_path / str(step))
        (outcome,) = verdict(results, claim)
        found = outcome.rows[0].verdict
        if outcome.status == "supported":
            break
        assert outcome.status == "undecided"
        assert "smallest of the grid" in found.reason
        grid = (float(found.reason.split("add ")[1].split(",")[0]), *grid)
    assert outcome.status == "supported"
    (tuned,) = verdict(results, changed(claim, select=replace(selected(claim), lr="tuned")))
    best, least = outcome.rows[0], tuned.rows[0]
    assert isinstance(best.verdict.evidence, Estimate)
    assert isinstance(least.verdict.evidence, Estimate)
    assert 1 <= best.verdict.evidence.value / least.verdict.evidence.value < 1.5
    assert best.lrs[0].endswith("(best)")
    assert least.lrs[0].endswith("(tuned)")


@pytest.mark.slow
def test_tuned_is_the_same_whatever_the_grid(exact: Results, tmp_path: Path) -> None:
    other = computed(replace(EXACT, lr=(0.02,), horizons=HORIZONS, runs=1), tmp_path)
    select = Selector(schedule=Linear(), averaging=Last(), lr="tuned")
    asked = [
        ratio(select, Selector(schedule=CONSTANT, averaging=Uniform()), 1.0),
        decays(select, "t^-1", regime="window"),
        decays(replace(select, schedule=C_SQRT_T), "t^-1", regime="window"),
    ]
    one, two = (evidences(verdict(results, *asked)) for results in (exact, other))
    for first, second in zip(one, two, strict=True):
        assert second is not None
        assert_same(first, second)
    compared = verdict(exact, asked[0])[0].rows[0]
    assert [side.schedule for side in compared.sides] == [Linear(), CONSTANT]
    assert all(text.endswith("(tuned)") for text in compared.lrs)


def test_tuned_is_refused_where_there_is_no_exact_risk() -> None:
    tuned = level(replace(PLAIN, lr="tuned"), 1.0)
    assert any('say lr = "best"' in fault for fault in claim_faults(SAMPLED, tuned))
    at = level(Selector(schedule=Linear(), averaging=Last(), lr="tuned"), 1.0, at=0)
    assert any("claim horizon instead" in fault for fault in claim_faults(EXACT, at))
    share = fraction(replace(selected(at), schedule=CONSTANT), 1.0, 1.0)
    assert any("minimises the exact risk" in fault for fault in claim_faults(EXACT, share))


def test_divergence_refutes_and_is_no_crash(exact: Results) -> None:
    (outcome,) = verdict(exact, rate("t^-1/2", CONSTANT, Last(), 5.0))
    assert outcome.status == "refuted"
    assert "diverged" in outcome.rows[0].verdict.reason
    (value,) = verdict(
        exact,
        level(Selector(schedule=CONSTANT, averaging=Last(), lr=5.0), 1.0, relation="at_most"),
    )
    assert value.status == "refuted"


def test_too_early_is_undecided_and_the_window_may_be_asked_for(tmp_path: Path) -> None:
    slow = computed(
        replace(EXACT, lr=(0.003,), averagings=(Last(),), schedules=(C_SQRT_T,), horizons=(1000,)), tmp_path
    )
    early = rate("t^-1/2", C_SQRT_T, Last(), 0.003)
    asymptotic, window = verdict(slow, early, changed(early, regime="window"))
    assert asymptotic.status == "undecided"
    assert "horizon" in asymptotic.rows[0].verdict.reason
    assert "window" in " ".join(window.rows[0].verdict.notes)


def test_ratios_and_values_exactly(exact: Results) -> None:
    select = Selector(schedule=C_SQRT_T, averaging=Last(), lr=0.5)
    against = Selector(schedule=CONSTANT)
    compared = ratio(select, against, 0.05, relation="at_most")
    value = level(select, 1.0, tolerance=0.01)
    start = changed(value, select=replace(select, schedule=CONSTANT), quantity="risk/start")
    early = HORIZONS[0]
    judged = [
        changed(claim, horizon=horizon) for claim in (compared, value, start) for horizon in (None, early)
    ]
    found = verdict(exact, *judged)
    decayed, constant = (
        [exact_risks(exact, schedule, Last(), 0.5, horizon)[-1] for horizon in (HORIZONS[-1], early)]
        for schedule in (C_SQRT_T, CONSTANT)
    )
    expected = [a / b for a, b in zip(decayed, constant, strict=True)]
    expected += [*decayed, *(b / QUADRATIC.constants.start_risk for b in constant)]
    for number, estimate in zip(expected, evidences(found), strict=True):
        assert isinstance(estimate, Estimate)
        assert estimate.exact
        assert estimate.low == estimate.value == estimate.high == pytest.approx(number, rel=1e-12)
    assert [outcome.status for outcome in found] == ["supported"] + ["refuted"] * 5


def test_outcomes_are_told_in_a_line_whatever_was_measured(exact: Results) -> None:
    select = Selector(schedule=C_SQRT_T, averaging=Last(), lr=0.5)
    decay, value, gone = verdict(
        exact,
        rate("t^-1/2", C_SQRT_T, Last()),
        level(select, 1.0, "at_most"),
        rate("t^-1/2", CONSTANT, Last(), 5.0),
    )
    assert str(decay).startswith("holds: ")
    assert "measured exponent 0.5" in str(decay)
    assert str(value).endswith("predicted at most 1")
    assert "measured nothing, predicted equals t^-1/2" in str(gone)


def test_a_star_is_supported_by_all_and_refuted_by_any(exact: Results) -> None:
    (outcome,) = verdict(exact, rate("t^0", CONSTANT, Last(), "*"))
    assert [row.verdict.status for row in outcome.rows] == [
        "supported",
        "supported",
        "refuted",
        "undecided",
    ]
    assert outcome.status == "refuted"


def sampled_runs(
    results: Results,
    schedule: object,
    lr: float,
    horizon: int,
    averaging: object = None,
    method: object = None,
) -> xr.DataArray:
    curve = Curve(LINE, method or SGD(), schedule, averaging or Last(), lr, horizon)  # type: ignore[arg-type]
    return results.runs(curve).transpose("run", "t")


PLAIN = Selector(method=SGD(), schedule=CONSTANT, averaging=Last(), lr=0.03)
ENDS = SAMPLED.horizons


@pytest.mark.slow
def test_monte_carlo_decides_where_nothing_is_exact(sampled: Results) -> None:
    """Rates and values, of one lr and of the best: chosen on the first 64 runs, judged on the others."""
    window = decays(PLAIN, "t^-1/2", relation="at_most", regime="window")
    ends = changed(window, select=replace(PLAIN, schedule=Linear()))
    value = level(PLAIN, 0.2, relation="at_most")
    early = changed(value, horizon=ENDS[4], quantity="risk/start")
    judged = [window, ends, value, early]
    judged += [changed(claim, select=replace(selected(claim), lr="best")) for claim in judged]
    found = verdict(sampled, *judged)
    for outcome in found:
        shown = outcome.rows[0].verdict.evidence
        assert shown is not None
        assert not shown.exact
        assert shown.label == "95 %"
        assert "exact" not in outcome.cells(outcome.rows[0])

    def all_lrs(schedule: object, horizon: int) -> Array:
        return np.stack([sampled_runs(sampled, schedule, lr, horizon).values for lr in SAMPLED.lr], axis=1)

    def held_out(risks: Array) -> Array:
        best = risks[:64].mean(axis=0).argmin(axis=0)
        return np.stack([risks[64:, lr, k] for k, lr in enumerate(best)], axis=1)

    times = sampled_runs(sampled, CONSTANT, 0.03, ENDS[-1])["t"].values
    along = all_lrs(CONSTANT, ENDS[-1])
    over = np.stack([all_lrs(Linear(), horizon)[..., -1] for horizon in ENDS], axis=-1)
    middle = all_lrs(CONSTANT, ENDS[4])[..., -1:] / LINE.constants.start_risk
    assert along[:64, :, -1].mean(axis=0).argmin() == 1
    expected = []
    for chosen in (lambda risks: risks[:, 0], held_out):
        expected += [
            evidence.fit_trajectories(times, chosen(along)),
            evidence.fit_horizons(ENDS, chosen(over)),
            estimates.mean_estimate(chosen(along)[:, -1]),
            estimates.mean_estimate(chosen(middle)[:, 0]),
        ]
    for shown, wanted in zip(evidences(found), expected, strict=True):
        assert_same(shown, wanted)
    fixed, best = ["refuted"] * 4, ["undecided", "undecided", "supported", "refuted"]
    assert [outcome.status for outcome in found] == fixed + best


@pytest.mark.slow
def test_runs_are_paired_where_they_share_their_noise(sampled: Results) -> None:
    """Same problem, method, cell and number of runs; else the interval is that of independent samples."""
    early = ENDS[4]

    def over(above: Selector, against: Selector, horizon: int | None = None) -> Claim:
        return ratio(above, against, 1.0, horizon=horizon)

    linear = replace(PLAIN, schedule=Linear())
    found = verdict(
        sampled,
        over(replace(PLAIN, averaging=Uniform()), Selector(averaging=Last())),
        over(linear, Selector(schedule=CONSTANT)),
        over(PLAIN, Selector(schedule=C_SQRT_T), early),
        over(linear, Selector(schedule=CONSTANT), early),
        over(PLAIN, Selector(method=HeavyBall(0.5))),
        over(replace(PLAIN, lr="best"), Selector(lr=0.03)),
    )
    last = ENDS[-1]

    def end(schedule: object, horizon: int, lr: float = 0.03, **other: object) -> Array:
        return np.asarray(sampled_runs(sampled, schedule, lr, horizon, **other).values[:, -1])

    plain = end(CONSTANT, last)
    sides = [
        (end(CONSTANT, last, averaging=Uniform()), plain, True),
        (end(Linear(), last), plain, True),
        (end(CONSTANT, early), end(C_SQRT_T, early), True),
        (end(Linear(), early), end(CONSTANT, early), False),
        (plain, end(CONSTANT, last, method=HeavyBall(0.5)), False),
        (end(CONSTANT, last, lr=0.3)[64:], plain, False),
    ]
    for estimate, (above, below, paired) in zip(evidences(found), sides, strict=True):
        assert isinstance(estimate, Estimate)
        assert estimate.value == pytest.approx(above.mean() / below.mean(), rel=1e-12)
        assert_same(estimate, estimates.ratio_estimate(above, below, paired=paired))
        if len(above) == len(below):
            other = estimates.ratio_estimate(above, below, paired=not paired)
            assert estimate.low != pytest.approx(other.low, rel=1e-8)


def test_bonferroni_shares_the_interval_over_monte_carlo_rows(sampled: Results) -> None:
    shared = Results(replace(sampled.spec, bonferroni=True), sampled.store)
    claim = level(replace(PLAIN, schedule="*"), 1e3, relation="at_most")
    (outcome,) = verdict(shared, claim)
    assert [row.verdict.evidence.label for row in outcome.rows if row.verdict.evidence] == [
        "95 % over 3 claims"
    ] * 3


def test_engines_that_disagree_are_an_error_and_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = computed(replace(EXACT, lr=(0.5,), horizons=(500,), runs=64), tmp_path)
    check_engines(results)
    runs = Results.runs

    def off_by_half(self: Results, curve: Curve) -> xr.DataArray:
        return 1.5 * runs(self, curve)

    monkeypatch.setattr(Results, "runs", off_by_half)
    with pytest.raises(EngineError, match="one engine is wrong"):
        check_engines(results)


def test_exit_codes(exact: Results) -> None:
    right, wrong = rate("t^-1/2", C_SQRT_T, Last()), rate("1/t", C_SQRT_T, Last())
    open_ = changed(right, margin=0.5)  # too wide a margin: cannot exclude a log factor
    judged = (right, wrong, open_)
    yes, no, maybe = verdict(exact, *judged)
    as_told = [Outcome(replace(j.claim, expect=j.status), j.rows) for j in (no, maybe)]
    doubted = Outcome(replace(right, expect="undecided"), yes.rows)
    assert exit_code([yes]) == 0
    assert exit_code(as_told) == 0
    assert exit_code([yes, maybe]) == 3
    assert exit_code([no, maybe]) == 1
    assert exit_code([doubted]) == 1
    assert [j.status for j in (yes, no, maybe)] == ["supported", "refuted", "undecided"]
