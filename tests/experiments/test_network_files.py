"""Files that train networks: what they mean, what is refused before anything runs, and how their claims are
judged and drawn. The results are made here, of numbers whose verdicts are known; nothing is trained.
"""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from claiming import changed, decays, fraction, level, ratio
from torch.utils.flop_counter import FlopCounterMode

from ratelab.experiments import cost
from ratelab.experiments.cells import Cell, cells
from ratelab.experiments.faults import claim_faults
from ratelab.experiments.file import load
from ratelab.experiments.judging import claims, estimates
from ratelab.experiments.judging.estimates import Estimate
from ratelab.experiments.judging.evidence import Fit
from ratelab.experiments.judging.outcome import Outcome
from ratelab.experiments.methods import SGD, TorchMomentum
from ratelab.experiments.spec import Claim, FractionWorse, Selector, Spec, Target, resolved
from ratelab.experiments.store import Curve, Results, Store
from ratelab.paper_figures.house import curves, results as plots, venues
from ratelab.paper_figures.house.make import Style
from ratelab.problems.networks import MLP, LeNet, LinearClassifier, Network, Split
from ratelab.theory import Constant, Cosine, InputError, Last, Linear, Tail, Warmup
from ratelab.theory.arrays import Array

DIGITS = Split("digits", rows=382, validation=82)
PERCEPTRON = MLP(DIGITS, widths=(5,), batch=50)  # 300 rows, six updates per epoch
CONVEX = LinearClassifier(Split("digits"), weight_decay=0.1)
LAST = Last()

FILE = """
problems = ["MLP(Split('digits', rows=382, validation=82), widths=(5,), batch=50)"]
methods = ["TorchMomentum(0.9)"]
schedules = ["Constant()", "Warmup(Cosine(), length=2)"]
lr = [0.1]
lr_unit = "absolute"
clock = "epoch"
horizons = [10]
runs = 8
dtype = "float32"

[[claims]]
sentence = "in at least half of the runs warmup ends better"
schedule = "Constant()"
quantity = "test_error"
kind = "fraction"
against = {schedule = "Warmup(Cosine(), length=2)"}
value = 0.5
relation = "at_least"

[full]
runs = 16
"""


def loaded(folder: Path, text: str = FILE, full: bool = False) -> Spec:
    path = folder / "experiment.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, full=full)


def refusal(folder: Path, text: str, full: bool = False) -> str:
    with pytest.raises(InputError) as caught:
        loaded(folder, text, full)
    return str(caught.value)


# What a file means


def test_a_file_means_what_it_says(tmp_path: Path) -> None:
    spec = loaded(tmp_path)
    assert (spec.problems, spec.methods) == ((PERCEPTRON,), (TorchMomentum(0.9),))
    assert (spec.clock, spec.dtype, spec.horizons, spec.feedback_every) == ("epoch", "float32", (10,), 1)
    (claim,) = spec.claims
    assert isinstance(claim.measured, FractionWorse)
    assert (claim.measured.quantity, claim.target.number) == ("test_error", 0.5)
    assert claim.measured.than == Selector(schedule=Warmup(Cosine(), length=2))


def test_networks_have_cells_of_runs_only_whose_times_are_epochs(tmp_path: Path) -> None:
    spec = loaded(tmp_path, FILE.replace("runs = 8", "runs = 100"))
    found = cells(spec)
    assert [cell.runs for cell in found] == [(0, 64), (64, 100)]
    assert {cell.times for cell in found} == {tuple(range(11))}
    assert found[0].name.endswith("horizon 10 epochs, runs 0-63")
    counted = loaded(tmp_path, FILE.replace('clock = "epoch"', ""))
    assert {cell.key for cell in found}.isdisjoint(cell.key for cell in cells(counted))
    assert (resolved(spec)["clock"], "clock" in resolved(counted)) == ("epoch", False)


def test_keys_are_those_of_before_there_were_epochs() -> None:
    """So results stay valid. The hashes are those of the version before."""
    problem: Any = type("Bare", (), {"__repr__": lambda _: "Quadratic()"})()
    cell = Cell(
        problem=problem,
        method=SGD(),
        horizon=10,
        schedules=(Constant(),),
        averagings=(LAST,),
        lr=(0.1,),
        lr_unit="1/L",
        times=(0, 10),
        dtype="float64",
        runs=None,
        seed=None,
        imports=(),
        engine="exact",
    )
    assert cell.key == "22e391a655b554a176bd5e32"
    assert replace(cell, feedback_every=5, runs=(0, 64), seed=3).key == "d0d661cfbc2a4cda590877c2"


OVERRIDDEN = FILE.replace("value = 0.5", "value = 0.5\nfull = {value = 0.25, expect = 'undecided'}")


def test_a_claim_is_another_one_at_full_size(tmp_path: Path) -> None:
    (quick,), (full,) = (loaded(tmp_path, OVERRIDDEN, full=form).claims for form in (False, True))
    assert quick == loaded(tmp_path).claims[0]
    assert full == replace(quick, target=Target(0.25, quick.target.relation), expect="undecided")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("value = 0.25", "value = 'x'"), "claims[1].full.value = 'x' must be a valid number"),
        (("value = 0.25", "vlaue = 0.25"), "unknown key claims[1].full.vlaue; did you mean value?"),
        (
            ("value = 0.25", "value = 1.25"),
            "full.claims[1].value = 1.25: a fraction of the runs lies in [0, 1]",
        ),
        (("value = 0.25", "full = {value = 0.25}"), "claims[1].full.full means nothing; remove it"),
        (("[full]\nruns = 16", ""), "claims[1].full is for --full; add a table [full], or remove it"),
        (
            ("runs = 16", "runs = 16\n[[full.claims]]\nsentence = 'x'\nrate = '1/t'"),
            "claims[1].full changes nothing: full.claims replaces all claims; keep one of them",
        ),
    ],
)
def test_what_is_wrong_with_it_is_told(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    text = OVERRIDDEN.replace(*change)
    assert text != OVERRIDDEN
    with pytest.raises(InputError) as refused:
        loaded(tmp_path, text)
    assert told in str(refused.value)


def test_the_full_form_replaces_keys(tmp_path: Path) -> None:
    quick, full = loaded(tmp_path), loaded(tmp_path, full=True)
    assert (quick.runs, quick.full, full.runs, full.full) == (8, False, 16, True)
    assert replace(full, runs=8, full=False) == quick
    assert (resolved(full)["full"], "full" in resolved(quick)) == (True, False)
    other = FILE + '[[full.claims]]\nsentence = "none diverges"\nquantity = "diverged"\nvalue = 0.0\n'
    other += 'schedule = "*"\n'
    assert [claim.sentence for claim in loaded(tmp_path, other, full=True).claims] == ["none diverges"]


def test_quantities() -> None:
    assert PERCEPTRON.quantities[:2] == ("validation_loss", "validation_error")
    assert "risk" not in PERCEPTRON.quantities
    assert CONVEX.quantities == ("risk", "train_loss", "train_error", "test_loss", "test_error")


# What is refused

QUADRATIC = "Quadratic(LogUniform(dim=3, condition_number=10.0))"
NETWORK = "MLP(Split('digits', rows=382, validation=82), widths=(5,), batch=50)"
AGAINST = 'against = {schedule = "Warmup(Cosine(), length=2)"}\n'
RATE = ('quantity = "test_error"\nkind = "fraction"\n' + AGAINST + "value = 0.5", 'rate = "1/t"')
FAULTS: dict[str, tuple[list[tuple[str, str]], str]] = {
    "torch's momentum on a quadratic": (
        [(NETWORK, QUADRATIC), ('clock = "epoch"', "")],
        "TorchMomentum(momentum=0.9, nesterov=False) is for networks",
    ),
    "epochs of a quadratic": ([(NETWORK, QUADRATIC)], 'is none: say clock = "update"'),
    "tf32 on a quadratic": (
        [(NETWORK, QUADRATIC), ("float32", "tf32")],
        'dtype = "tf32" is for networks; Quadratic(',
    ),
    "no L": ([("absolute", "1/L")], 'has none; use "absolute"'),
    "no G": ([("absolute", "D/G")], 'has none; use "absolute"'),
    "no critical step": ([("absolute", "critical")], 'is not known; use "absolute"'),
    "too large a batch": ([("batch=50", "batch=301")], "batch is 301, and 300 rows are trained on"),
    "too many rows": ([("rows=382", "rows=2000")], "rows is 2000, and there are 1415"),
    "ten classes for two": (
        [(NETWORK, "LinearClassifier(Split('digits'), loss='logistic')")],
        'give loss = "cross_entropy"',
    ),
    "no risk": ([("test_error", "risk")], 'has no f*, so no risk; claim one of "validation_loss", '),
    "no validation": ([(", validation=82", ""), ("test_error", "validation_error")], "no validation_error"),
    "a loss of a quadratic": (
        [(NETWORK, QUADRATIC), ('clock = "epoch"', ""), ("TorchMomentum", "HeavyBall")],
        'has no test_error; claim one of "risk", "risk/start"',
    ),
    "a rate of a network": (
        [RATE],
        "has no f*, so no risk to fit a rate to; claim a value, ratio or fraction",
    ),
    "a rate over epochs": (
        [RATE, (NETWORK, "LinearClassifier(Split('digits'), weight_decay=0.1)")],
        'say clock = "update"',
    ),
    "no bar": ([(AGAINST, "")], "worse_than (or against) is missing"),
    "two bars": ([("value = 0.5", "value = 0.5\nworse_than = 0.1")], "has no worse_than"),
    "no fraction": ([("value = 0.5", "value = 1.5")], "a fraction of the runs lies in [0, 1]"),
    "a ratio of divergence": (
        [("test_error", "diverged"), ('"fraction"', '"ratio"')],
        '"diverged" is for kind fraction',
    ),
    "too few runs": (
        [("runs = 8", "runs = 4")],
        "a fraction is one of the runs, so the verdict is Monte Carlo ",
    ),
    "too few seeds": (
        [("runs = 8", "runs = 4"), ('"fraction"', '"ratio"')],
        "Monte Carlo and needs runs >= 5; runs = 4",
    ),
    "too few to choose": ([('"Constant()"\nq', '"Constant()"\nlr = "best"\nq')], "runs >= 10 (lr = "),
    "too few in full": ([("runs = 16", "runs = 4")], "full.claims[1] (in at least half of the runs"),
    "an unknown key in full": ([("runs = 16", "rnus = 16")], "unknown key full.rnus; did you mean runs?"),
    "a bad value in full": ([("runs = 16", "lr = [-1.0]")], "full.lr[1] = -1.0 must be greater than 0"),
    "a bad name in full": ([("runs = 16", 'schedules = ["Cosnie()"]')], "full.schedules[1] = 'Cosnie()'"),
    "a bad problem in full": ([("runs = 16", f'problems = ["{QUADRATIC}"]')], "full.clock = "),
    "full in full": ([("runs = 16", "full = 3")], "unknown key full.full"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_faults_are_told_before_anything_runs(tmp_path: Path, case: str) -> None:
    changes, part = FAULTS[case]
    text = FILE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    assert part in refusal(tmp_path, text)


def test_full_must_be_there_and_a_table(tmp_path: Path) -> None:
    plain = FILE.partition("[full]")[0]
    assert "has no table [full]" in refusal(tmp_path, plain, full=True)
    assert "full = 3 must be a valid dictionary" in refusal(tmp_path, "full = 3\n" + plain)


def test_a_fault_of_both_forms_is_told_once(tmp_path: Path) -> None:
    message = refusal(tmp_path, FILE.replace("batch=50", "batch=301"))
    assert "1 fault;" in message
    assert "full" not in message


def test_missing_data_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATELAB_DATA", str(tmp_path / "nowhere"))
    message = refusal(tmp_path, FILE.replace("Split('digits', rows=382, validation=82)", "Split()"))
    assert "nowhere (RATELAB_DATA) does not exist" in message


# Claims on results made here

Make = Callable[[str, Array], Array]


def written(spec: Spec, folder: Path, make: Make) -> Results:
    """Results whose variables `make` returns for their names and times, broadcast to the shape of a cell's:
    (runs, schedules, lrs, averagings, times)."""
    store = Store(folder)
    store.prepare()
    for cell in cells(spec):
        assert cell.runs is not None
        runs = list(range(*cell.runs))
        shape = (len(runs), len(cell.schedules), len(cell.lr), len(cell.averagings), len(cell.times))
        (problem,) = spec.problems
        dims = ("run", "schedule", "lr", "averaging", "t")
        times = np.array(cell.times, dtype=np.float64)
        made = {q: np.broadcast_to(make(q, times), shape).copy() for q in problem.quantities}
        variables = {q: (dims, values) for q, values in made.items()}
        axes = {axis: list(map(repr, getattr(cell, f"{axis}s"))) for axis in ("schedule", "averaging")}
        coordinates = {**axes, "lr": list(cell.lr), "t": list(cell.times), "run": runs}
        store.write_cell(cell, xr.Dataset(variables, coordinates))
    return Results(spec, store)


SPEC = Spec(
    problems=(PERCEPTRON,),
    methods=(TorchMomentum(),),
    schedules=(Constant(), Linear()),
    averagings=(LAST,),
    lr=(0.1, 0.3),
    lr_unit="absolute",
    horizons=(4,),
    runs=12,
    clock="epoch",
    dtype="float32",
)


def noisy(quantity: str, times: Array) -> Array:
    """Skewed numbers of order 1, others for every curve, run and quantity; run 2 at lr 0.3 diverges."""
    rng = np.random.default_rng([*quantity.encode()])
    values = rng.gamma(4.0, 0.1, (12, 2, 2, 1, len(times)))
    values[2, 0, 1] = np.inf if quantity.endswith("loss") else 1.0
    return values


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return written(SPEC, tmp_path_factory.mktemp("results"), noisy)


def judged(results: Results, claim: Claim) -> Outcome:
    assert claim_faults(results.spec, claim) == []
    (outcome,) = claims.judge(Results(replace(results.spec, claims=(claim,)), results.store))
    return outcome


def estimate(outcome: Outcome) -> Estimate:
    (row,) = outcome.rows
    assert isinstance(row.verdict.evidence, Estimate)
    return row.verdict.evidence


def end(results: Results, schedule: object, lr: float, quantity: str) -> Array:
    """(runs,), read without the code that judges."""
    (cell,) = cells(results.spec)
    data = results.store.read_cell(cell)[quantity]
    return np.asarray(data.sel(schedule=repr(schedule), lr=lr, averaging=repr(LAST)).values[:, -1])


CONSTANT = Selector(schedule=Constant(), lr=0.1)


def test_values_and_ratios_of_losses_and_errors(results: Results) -> None:
    """Twelve seeds are enough; a pair of schedules is compared run by run."""
    value = level(CONSTANT, 1.0, relation="at_most", quantity="test_error")
    errors, other = (end(results, s, 0.1, "test_error") for s in SPEC.schedules)
    assert estimate(judged(results, value)) == estimates.mean_estimate(errors, minimum=5)
    assert judged(results, value).status == "supported"
    compared = ratio(CONSTANT, Selector(schedule=Linear()), 1.0, "at_most", quantity="test_error")
    wanted = estimates.ratio_estimate(errors, other, paired=True, minimum=5)
    assert estimate(judged(results, compared)) == wanted
    losses = [end(results, s, 0.1, "train_loss") for s in SPEC.schedules]
    wanted = estimates.ratio_estimate(*losses, paired=True, minimum=5)
    assert estimate(judged(results, changed(compared, quantity="train_loss"))) == wanted


def test_a_diverged_run_leaves_a_mean_loss_undecided_and_counts_as_one_in_a_mean_error(
    results: Results,
) -> None:
    gone = replace(CONSTANT, lr=0.3)
    value = level(gone, 9.0, relation="at_most", quantity="test_loss")
    assert judged(results, value).status == "undecided"
    assert "1 of 12 runs diverged" in judged(results, value).rows[0].verdict.reason
    errors = end(results, Constant(), 0.3, "test_error")
    assert errors[2] == 1.0
    assert estimate(judged(results, changed(value, quantity="test_error"))).value == errors.mean()


def test_the_best_lr_is_chosen_on_half_of_the_runs_by_what_is_claimed(results: Results) -> None:
    best = replace(CONSTANT, schedule=Linear(), lr="best")
    for quantity in ("test_error", "validation_loss"):
        claim = level(best, 1.0, quantity=quantity)
        both = [end(results, Linear(), lr, quantity) for lr in SPEC.lr]
        chosen = min(both, key=lambda found: found[:6].mean())
        assert estimate(judged(results, claim)) == estimates.mean_estimate(chosen[6:], minimum=5)


def test_fractions_of_runs(results: Results) -> None:
    against = Selector(schedule=Linear())
    claim = fraction(CONSTANT, against, 0.5, quantity="test_error")
    one, other = (end(results, s, 0.1, "test_error") for s in SPEC.schedules)
    assert estimate(judged(results, claim)) == estimates.fraction_estimate(int((one > other).sum()), 12)
    above = changed(claim, than=0.4)
    assert estimate(judged(results, above)) == estimates.fraction_estimate(int((one > 0.4).sum()), 12)
    best = changed(claim, select=replace(CONSTANT, lr="best"), than=Selector(schedule=Linear(), lr=0.1))
    assert estimate(judged(results, best)) == estimates.fraction_estimate(int((one[6:] > other[6:]).sum()), 6)


def test_a_diverged_run_is_worse_than_any(tmp_path: Path) -> None:
    """By its loss, for its error is 1 and that of a bad run may be, too; two that diverge are alike."""

    def make(quantity: str, _: Array) -> Array:
        loss = quantity.endswith("loss")
        values = np.full((12, 2, 2, 1, 1), 3.0 if loss else 1.0)
        values[:6, 0] = np.inf if loss else 1.0
        values[:2, 1] = np.nan if loss else 1.0
        return values

    results = written(SPEC, tmp_path, make)
    claim = fraction(CONSTANT, Selector(schedule=Linear()), 0.3)
    for quantity in ("test_error", "test_loss", "diverged"):
        found = estimate(judged(results, changed(claim, quantity=quantity)))
        assert found == estimates.fraction_estimate(4, 12)
    diverged = changed(claim, quantity="diverged", than=0.0)
    assert estimate(judged(results, diverged)) == estimates.fraction_estimate(6, 12)
    huge = changed(diverged, quantity="train_loss", than=1e6)
    assert estimate(judged(results, huge)) == estimates.fraction_estimate(6, 12)


def test_bonferroni_counts_fractions(results: Results) -> None:
    claim = fraction(replace(CONSTANT, schedule="*"), 0.0, 0.0, quantity="diverged")
    shared = Results(replace(results.spec, bonferroni=True), results.store)
    assert [row.verdict.evidence for row in judged(shared, claim).rows] == [
        estimates.fraction_estimate(0, 12, claims=2)
    ] * 2


CONVEX_SPEC = replace(
    SPEC,
    problems=(CONVEX,),
    clock="update",
    horizons=(2000,),
    lr=(0.1,),
    runs=64,
    records=60,
    dtype="float64",
)


def test_rates_of_a_convex_classifier_stop_at_what_is_known_of_its_minimum(tmp_path: Path) -> None:
    """1/t down to 100 times the accuracy of f*; below it, whatever is there is not looked at."""
    assert CONVEX.minimum is not None
    floor = 100 * CONVEX.minimum.accuracy
    level = floor * 150  # reaches the floor at t = 150 of 2000: the window starts at 20

    def make(_: str, times: Array) -> Array:
        t = np.maximum(times, 1.0)
        spread = 1 + 0.1 * np.random.default_rng(0).standard_normal((64, 1, 1, 1, 1))
        return spread * np.where(level / t < floor, 1e-3 * floor, level / t)

    results = written(CONVEX_SPEC, tmp_path, make)
    rate = decays(Selector(schedule=Constant(), averaging=LAST, lr=0.1), "1/t", regime="window")
    (row,) = judged(results, rate).rows
    # records from 20 to 150 are 15: too few to fit
    assert row.verdict.status == "undecided"
    assert f"lay below {floor:.1e}" in row.verdict.reason


def test_rates_of_a_convex_classifier_are_fitted(tmp_path: Path) -> None:
    def make(_: str, times: Array) -> Array:
        t = np.maximum(times, 1.0)
        return (1 + 0.1 * np.random.default_rng(0).standard_normal((64, 1, 1, 1, 1))) / t

    results = written(CONVEX_SPEC, tmp_path, make)
    rate = decays(Selector(schedule=Constant(), lr=0.1), "1/t", regime="window")
    outcome = judged(results, rate)
    fit = outcome.rows[0].verdict.evidence
    assert isinstance(fit, Fit)
    assert (outcome.status, fit.exact) == ("supported", False)
    asymptotic = changed(rate, regime="asymptotic")  # μ Σ η = 0.1 · 0.1 · 20 where the window starts
    assert "must be 5" in judged(results, asymptotic).rows[0].verdict.reason


def test_asking_for_what_is_not_kept_is_told(results: Results) -> None:
    curve = Curve(PERCEPTRON, TorchMomentum(), Constant(), LAST, 0.1, 4)
    assert results.runs(curve, "validation_error").shape == (12, 5)
    assert results.exact(curve) is None
    with pytest.raises(InputError, match="has no risk; ask for validation_loss or"):
        results.runs(curve)


# What it costs


@pytest.mark.parametrize(
    "network", [LeNet(), MLP(DIGITS, widths=(7, 3)), LinearClassifier(DIGITS)], ids=lambda n: type(n).__name__
)
def test_multiplications_are_those_that_torch_counts(network: Network) -> None:
    import torch

    columns = 784 if isinstance(network, LeNet) else 64
    with FlopCounterMode(display=False) as counter:
        network.module()(torch.zeros(1, columns))
    assert 2 * cost.multiplications(network) == counter.get_total_flops()


def test_costs_grow_with_what_is_done() -> None:
    def of(**changed: object) -> tuple[float, int]:
        (cell,) = cells(replace(SPEC, **changed))  # type: ignore[arg-type]
        return cost.cell_seconds(cell) - cost.CELL, cost.memory(cell)

    seconds, memory = of()
    wide = MLP(DIGITS, widths=(500,), batch=50)
    assert of(runs=24)[0] == pytest.approx(2 * seconds)
    assert of(dtype="float64")[0] == pytest.approx(2 * seconds)
    assert of(clock="update", horizons=(24,), records=4)[0] == pytest.approx(seconds, rel=0.2)
    assert of(problems=(wide,))[0] > 50 * seconds
    assert of(problems=(wide,))[1] > memory


# Figures


@pytest.mark.slow
def test_figures_of_networks(results: Results, tmp_path: Path) -> None:
    style = Style(venues.venue("icml").settings())
    written = plots.save(results, tmp_path, style)
    endings = ("pdf", "png", "py")
    drawn = {f"{name}-1.{ending}" for name in ("test_error", "train_loss") for ending in endings}
    tables = {f"{name}-1.csv" for name in PERCEPTRON.quantities}
    assert {path.name for path in written} == {path.name for path in tmp_path.iterdir()} == drawn | tables
    with (tmp_path / "test_error-1.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 2 * 2 * 5
    row = next(x for x in lines if x["schedule"] == repr(Linear()) and x["lr"] == "0.3" and x["t"] == "4")
    assert float(row["mean"]) == pytest.approx(end(results, Linear(), 0.3, "test_error").mean())
    assert row["exact"] == ""


def test_a_figure_of_a_network_says_what_it_shows(results: Results) -> None:
    chosen = plots.Plot(y="test_error")
    table = plots.table(results, chosen)
    told = plots.arguments(results, chosen, "a title")
    with venues.printed(venues.venue("icml").settings()):
        figure = curves.draw(table, **told)
        figure.draw_without_rendering()
    panel = figure.axes[0]
    assert (panel.get_xscale(), panel.get_xlabel(), panel.get_ylabel()) == ("linear", "epochs", "test error")
    assert np.asarray(panel.lines[0].get_xdata())[0] == 0
    (legend,) = figure.legends
    assert not any(legend.get_window_extent().overlaps(axes.get_window_extent()) for axes in figure.axes)
    said = [text.get_text() for text in legend.get_texts()]
    assert "line: mean of runs" in said
    assert "line: exact" not in said
    assert figure.get_suptitle() == "a title"


def test_tail_averages_are_no_anytime_ones_in_epochs_either() -> None:
    """Horizons that cannot be read off the longest are run on their own, whatever they count."""
    spec = replace(SPEC, averagings=(LAST, Tail(0.5)), horizons=(2, 4), schedules=(Constant(),))
    assert [(c.horizon, c.averagings) for c in cells(spec)] == [
        (4, (LAST, Tail(0.5))),
        (2, (Tail(0.5),)),
    ]


def test_records_may_be_evenly_spaced(tmp_path: Path) -> None:
    file = tmp_path / "even.toml"
    file.write_text(
        """
        problems = ["MLP(Split('digits'), widths=(4,))"]
        schedules = ["Constant()"]
        lr = [0.1]
        lr_unit = "absolute"
        horizons = [25]
        record_every = 10
        runs = 2
        """
    )
    (cell,) = cells(load(file))
    assert cell.times == (0, 10, 20, 25)
    file.write_text(file.read_text().replace("record_every = 10", ""))
    assert "record_every" not in resolved(load(file))
