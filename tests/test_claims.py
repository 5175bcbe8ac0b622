"""Claims judged on small real runs: each kind, each way of choosing curves, exact and by Monte Carlo."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from experiments import claims
from experiments.claims import Claim, EngineError, Judgement, Selector, exit_code, judge
from experiments.evidence import Estimate, Fit
from experiments.execute import run
from experiments.methods import SGD
from experiments.spec import Spec, claim_faults
from experiments.store import Curve, Results, Store
from problems.noise import Gaussian
from problems.quadratic import Quadratic
from problems.regression import TableLeastSquares
from problems.spectra import UniformSpectrum
from theory import Constant, InversePower, Last, Linear, Rate, Tail, Uniform

QUADRATIC = Quadratic(UniformSpectrum(dim=3, condition_number=1.25), noise=Gaussian(sd=1.0))
LINE = TableLeastSquares("line", batch=4, replacement=False)
C_SQRT_T, CONSTANT = InversePower(0.5), Constant()
HORIZONS = tuple(int(t) for t in np.geomspace(100, 10_000, 9))

EXACT = Spec(
    problems=(QUADRATIC,),
    methods=(SGD(),),
    schedules=(CONSTANT, C_SQRT_T, Linear()),
    averagings=(Last(), Uniform(), Tail(0.5)),
    lr=(0.5, 1.0, 5.0),
    lr_unit="1/L",
    horizons=HORIZONS,
    runs=4,
    records=60,
)
SAMPLED = replace(
    EXACT,
    problems=(LINE,),
    schedules=(CONSTANT, C_SQRT_T),
    averagings=(Last(), Uniform()),
    lr=(0.01, 0.1),
    horizons=(400,),
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


def verdict(results: Results, *judged: Claim) -> list[Judgement]:
    """Judged on what is already computed: claims are in no key."""
    spec = replace(results.spec, claims=judged)
    assert [claim_faults(spec, claim) for claim in judged] == [[] for _ in judged]
    return judge(Results(spec, results.store))


def rate(text: str, schedule: object, averaging: object, lr: object = 0.5) -> Claim:
    return Claim("", Selector(schedule=schedule, averaging=averaging, lr=lr), rate=Rate.parse(text))  # type: ignore[arg-type]


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
    statuses = [judgement.status for judgement in found]
    assert statuses == ["supported", "supported", "refuted", "supported", "refuted", "supported"]
    fit = found[0].rows[0].verdict.evidence
    assert isinstance(fit, Fit)
    assert fit.exact
    assert found[0].cells(found[0].rows[0])[1].endswith("exact")


def test_a_pair_that_is_not_anytime_is_fitted_over_horizons(exact: Results) -> None:
    (judgement,) = verdict(exact, rate("1/t", CONSTANT, Tail(0.5)))
    fit = judgement.rows[0].verdict.evidence
    assert isinstance(fit, Fit)
    assert fit.points == 9
    assert judgement.status == "supported"
    (linear,) = verdict(exact, rate("t^-1/2", Linear(), Last()))
    assert linear.status == "supported"  # not 1/T: what is left is the noise of the last √T updates


def test_best_is_the_smallest_exact_risk_at_each_time(exact: Results) -> None:
    claim = Claim(
        "",
        Selector(schedule=CONSTANT, averaging=Last(), lr="best"),
        kind="value",
        value=0.0,
        relation="at_least",
    )
    (judgement,) = verdict(exact, claim)
    estimate = judgement.rows[0].verdict.evidence
    assert isinstance(estimate, Estimate)
    smallest = exact.exact(Curve(QUADRATIC, SGD(), CONSTANT, Last(), 0.5, 10_000))
    assert smallest is not None
    assert estimate.value == smallest.values[-1]


def test_divergence_refutes_and_is_no_crash(exact: Results) -> None:
    (judgement,) = verdict(exact, rate("t^-1/2", CONSTANT, Last(), 5.0))
    assert judgement.status == "refuted"
    assert "diverged" in judgement.rows[0].verdict.reason
    (value,) = verdict(
        exact,
        Claim(
            "",
            Selector(schedule=CONSTANT, averaging=Last(), lr=5.0),
            kind="value",
            value=1.0,
            relation="at_most",
        ),
    )
    assert value.status == "refuted"


def test_too_early_is_undecided_and_the_window_may_be_asked_for(tmp_path: Path) -> None:
    slow = computed(
        replace(EXACT, lr=(0.003,), averagings=(Last(),), schedules=(C_SQRT_T,), horizons=(1000,)), tmp_path
    )
    early = rate("t^-1/2", C_SQRT_T, Last(), 0.003)
    asymptotic, window = verdict(slow, early, replace(early, regime="window"))
    assert asymptotic.status == "undecided"
    assert "horizon" in asymptotic.rows[0].verdict.reason
    assert "window" in " ".join(window.rows[0].verdict.notes)


def test_ratios_and_values_exactly(exact: Results) -> None:
    select = Selector(schedule=C_SQRT_T, averaging=Last(), lr=0.5)
    ratio = Claim(
        "", select, kind="ratio", against=Selector(schedule=CONSTANT), value=0.1, relation="at_most"
    )
    value = Claim("", select, kind="value", value=1.0, tolerance=0.01, horizon=HORIZONS[0])
    start = Claim(
        "",
        replace(select, schedule=CONSTANT),
        kind="value",
        quantity="risk/start",
        value=1.0,
        relation="at_least",
    )
    found = verdict(exact, ratio, value, start)
    numbers = []
    for schedule in (C_SQRT_T, CONSTANT):
        data = exact.exact(Curve(QUADRATIC, SGD(), schedule, Last(), 0.5, 10_000))
        assert data is not None
        numbers.append(float(data.values[-1]))
    estimates = [judgement.rows[0].verdict.evidence for judgement in found]
    assert [type(e) for e in estimates] == [Estimate] * 3
    assert estimates[0].value == pytest.approx(numbers[0] / numbers[1])  # type: ignore[union-attr]
    assert estimates[2].value == pytest.approx(numbers[1] / QUADRATIC.start_risk)  # type: ignore[union-attr]
    assert [judgement.status for judgement in found][:2] == ["supported", "refuted"]


def test_a_star_is_supported_by_all_and_refuted_by_any(exact: Results) -> None:
    (judgement,) = verdict(exact, rate("t^0", CONSTANT, Last(), "*"))
    assert [row.verdict.status for row in judgement.rows] == ["supported", "supported", "refuted"]
    assert judgement.status == "refuted"


def test_monte_carlo_decides_where_nothing_is_exact(sampled: Results) -> None:
    select = Selector(schedule=CONSTANT, averaging=Last(), lr=0.1)
    window = Claim("", select, rate=Rate.parse("1/t"), relation="at_most", regime="window")
    value = Claim("", select, kind="value", value=1e3, relation="at_most")
    ratio = Claim(
        "",
        replace(select, averaging=Uniform()),
        kind="ratio",
        against=Selector(averaging=Last()),
        value=0.0,
        relation="at_least",
    )
    best = Claim("", replace(select, lr="best"), kind="value", value=1e3, relation="at_most")
    along = Claim("", replace(select, lr="best"), rate=Rate.parse("1/t"), regime="window")
    found = verdict(sampled, window, value, ratio, best, along)
    assert [judgement.status for judgement in found][1:4] == ["supported"] * 3
    for judgement in found:
        evidence = judgement.rows[0].verdict.evidence
        assert evidence is not None
        assert not evidence.exact
        assert evidence.label == "95 %"
        assert "exact" not in judgement.cells(judgement.rows[0])


def test_bonferroni_shares_the_interval_over_monte_carlo_rows(sampled: Results) -> None:
    shared = Results(replace(sampled.spec, bonferroni=True), sampled.store)
    claim = Claim(
        "", Selector(schedule="*", averaging=Last(), lr=0.1), kind="value", value=1e3, relation="at_most"
    )
    (judgement,) = verdict(shared, claim)
    assert [row.verdict.evidence.label for row in judgement.rows if row.verdict.evidence] == [
        "95 % over 2 claims"
    ] * 2


def test_engines_that_disagree_are_an_error_and_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = computed(replace(EXACT, lr=(0.5,), horizons=(500,), runs=64), tmp_path)
    claims.check_engines(results)
    runs = Results.runs

    def off_by_half(self: Results, curve: Curve) -> xr.DataArray:
        return 1.5 * runs(self, curve)

    monkeypatch.setattr(Results, "runs", off_by_half)
    with pytest.raises(EngineError, match="one engine is wrong"):
        claims.check_engines(results)


def test_exit_codes(exact: Results) -> None:
    right, wrong = rate("t^-1/2", C_SQRT_T, Last()), rate("1/t", C_SQRT_T, Last())
    open_ = replace(right, margin=0.5)  # too wide a margin: cannot exclude a log factor
    assert exit_code(verdict(exact, right)) == 0
    assert (
        exit_code(verdict(exact, replace(wrong, expect="refuted"), replace(open_, expect="undecided"))) == 0
    )
    assert exit_code(verdict(exact, right, open_)) == 3
    assert exit_code(verdict(exact, wrong, open_)) == 1
    assert exit_code(verdict(exact, replace(right, expect="undecided"))) == 1
