"""Running cells: the same numbers whoever computes them in whatever order, and nothing lost on a failure."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from ratelab.experiments import cost, execute
from ratelab.experiments.cells import Cell, cells
from ratelab.experiments.compute import compute
from ratelab.experiments.engines.exact import bound_curve
from ratelab.experiments.execute import Serial, run
from ratelab.experiments.methods import SGD, HeavyBall
from ratelab.experiments.spec import Spec
from ratelab.experiments.store import Store
from ratelab.problems.noise import Gaussian, Rademacher
from ratelab.problems.quadratic import Quadratic
from ratelab.problems.regression import TableLeastSquares
from ratelab.problems.spectra import LogUniform
from ratelab.theory import Constant, InputError, InversePower, Last, StepWeighted, Uniform

SPECTRUM = LogUniform(dim=3, condition_number=10.0)
SPEC = Spec(
    problems=(Quadratic(SPECTRUM, noise=Gaussian(sd=0.5)), Quadratic(SPECTRUM, noise=Rademacher())),
    methods=(SGD(),),
    schedules=(Constant(), InversePower(0.5)),
    averagings=(Last(), Uniform()),
    lr=(0.1,),
    lr_unit="1/L",
    horizons=(40,),
    runs=70,
    records=8,
)


def contents(store: Store, spec: Spec = SPEC) -> list[xr.Dataset]:
    return [store.read_cell(cell) for cell in cells(spec)]


def assert_same(first: Sequence[xr.Dataset], second: Sequence[xr.Dataset]) -> None:
    for one, other in zip(first, second, strict=True):
        xr.testing.assert_identical(one, other)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> list[xr.Dataset]:
    store = Store(tmp_path_factory.mktemp("serial"))
    outcome = run(SPEC, "", store)
    assert (outcome.computed, outcome.kept, outcome.failed) == (6, 0, {})
    return contents(store)


@pytest.mark.slow
def test_two_processes_compute_the_same_bits(reference: list[xr.Dataset], tmp_path: Path) -> None:
    assert run(SPEC, "", Store(tmp_path), workers=2).computed == 6
    assert_same(contents(Store(tmp_path)), reference)


def test_another_order_gives_the_same_bits(reference: list[xr.Dataset]) -> None:
    backwards = [compute(cell) for cell in reversed(cells(SPEC))]
    for one, other in zip(reversed(backwards), reference, strict=True):
        xr.testing.assert_equal(one, other)


def test_an_interruption_keeps_what_is_done_and_is_not_seen_in_the_numbers(
    reference: list[xr.Dataset], tmp_path: Path
) -> None:
    def interrupt(done: float, total: int) -> None:
        assert total == 6
        if done == 3:
            raise KeyboardInterrupt

    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(SPEC, "", store, report=interrupt)
    assert len(list((tmp_path / "cells").glob("*.nc"))) == 3
    assert store.manifest()["finished"]
    outcome = run(SPEC, "", store)
    assert (outcome.computed, outcome.kept) == (3, 3)
    assert_same(contents(store), reference)
    assert run(SPEC, "", store).computed == 0


def test_a_damaged_file_is_set_aside_and_computed_again(reference: list[xr.Dataset], tmp_path: Path) -> None:
    store = Store(tmp_path)
    run(SPEC, "", store)
    path = store.cell_file(cells(SPEC)[2])
    path.write_bytes(path.read_bytes()[:500])
    assert run(SPEC, "", store).computed == 1
    assert path.with_suffix(".nc.corrupt").exists()
    assert_same(contents(store), reference)


def test_a_failing_cell_is_noted_and_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = cells(SPEC)[1]

    def sometimes(cell: Cell, *others: Any) -> xr.Dataset:
        if cell == bad:
            raise MemoryError("too large")
        return compute(cell, *others)

    monkeypatch.setattr(execute, "compute", sometimes)
    store = Store(tmp_path)
    outcome = run(SPEC, "", store)
    assert (outcome.computed, outcome.failed) == (5, {bad.name: "MemoryError: too large"})
    assert "MemoryError" in store.manifest()["cells"][bad.key]["error"]
    monkeypatch.undo()
    assert run(SPEC, "", store).computed == 1
    assert "error" not in store.manifest()["cells"][bad.key]


def test_a_changed_spec_is_refused_with_old_and_new_and_update_keeps_what_matches(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run(SPEC, "", store)
    more = replace(SPEC, runs=130, title="words may change")
    with pytest.raises(InputError, match=r"(?s)runs: was 70, now 130.*--out NEWDIR.*--update"):
        run(more, "", store)
    assert run(replace(SPEC, title="words may change"), "", store).computed == 0
    outcome = run(more, "", store, update=True)
    assert (outcome.computed, outcome.kept) == (4, 4)  # exact cells and first blocks match
    assert len(list((tmp_path / "cells").glob("*.nc"))) == 10  # and nothing is deleted


def test_other_schedules_lrs_and_averagings_leave_a_curve_as_it_is() -> None:
    alone = replace(SPEC, schedules=(InversePower(0.5),), averagings=(Last(),))
    wide = replace(SPEC, lr=(0.1, 0.2))
    for cell, more in zip(cells(alone), cells(wide), strict=True):
        one = compute(cell)
        other = compute(more).sel(schedule=one["schedule"], averaging=one["averaging"], lr=one["lr"])
        if cell.runs is not None:
            np.testing.assert_allclose(one["risk"], other["risk"], rtol=1e-12)


def test_blocks_have_noise_of_their_own(reference: list[xr.Dataset]) -> None:
    risk = np.concatenate([data["risk"].values[:, 0, 0, 0, -1] for data in reference[1:3]])
    assert len(np.unique(risk)) == 70


def test_engines() -> None:
    gaussian, rademacher = cells(SPEC)[1], cells(SPEC)[4]
    assert cells(SPEC)[0].engine == "exact"
    assert gaussian.engine == "jump"
    assert rademacher.engine == "step"
    assert cells(replace(SPEC, dtype="float32"))[1].engine == "step"


def test_exact_risk_and_bound_are_left_out_where_unknown() -> None:
    without = replace(SPEC, problems=(TableLeastSquares("line", batch=5, replacement=False),), lr=(0.01,))
    assert set(compute(cells(without)[0]).data_vars) == set()
    assert "risk" in compute(cells(without)[1])
    heavy = replace(SPEC, problems=SPEC.problems[:1], methods=(HeavyBall(),))
    assert set(compute(cells(heavy)[0]).data_vars) == {"exact"}


def test_a_diverging_run_is_a_result() -> None:
    wild = replace(SPEC, lr=(50.0,), horizons=(2000,))
    for cell in cells(wild)[:3]:
        data = compute(cell)
        last = data["exact" if cell.runs is None else "risk"].sel(schedule="Constant()", averaging="Last()")
        assert np.isinf(last.values[..., -1]).all()
        assert not any(np.isnan(data[name]).any() for name in ("exact", "risk") if name in data)
    bound = compute(cells(wild)[0])["bound"].sel(schedule="Constant()", averaging="Last()").values
    assert np.isinf(bound[0, -2])


def test_bounds_speak_of_the_averages_they_are_known_for() -> None:
    steps, times, norms = np.array([0.3, 0.2, 0.1]), np.arange(4), np.ones(3)
    assert np.isnan(bound_curve(Uniform(), steps, times, 1.0, norms)).all()
    weighted = bound_curve(StepWeighted(), steps, times, 1.0, norms)
    assert weighted[3] == weighted[2]
    np.testing.assert_allclose(weighted[2], (1 + 0.14) / (2 * 0.6))
    constant = bound_curve(Uniform(), np.full(3, 0.3), times, 1.0, norms)
    np.testing.assert_allclose(
        constant[:3], bound_curve(StepWeighted(), np.full(3, 0.3), times, 1.0, norms)[:3]
    )
    assert np.isnan(constant[3])
    diverged = bound_curve(Last(), steps, times, 1.0, np.array([1.0, np.inf, np.inf]))
    assert np.isfinite(diverged[0])
    assert np.isinf(diverged[1:]).all()


def test_serial_is_an_executor() -> None:
    with Serial() as executor:
        assert executor.submit(pow, 2, 3).result() == 8
        assert isinstance(executor.submit(int, "x").exception(), ValueError)


def test_more_work_costs_more_and_workers_share_it() -> None:
    small, large = cells(SPEC), cells(replace(SPEC, horizons=(4_000_000,), runs=640))
    assert cost.seconds(large, 1) > 2 * cost.seconds(small, 1)
    assert cost.seconds(large, 2) < cost.seconds(large, 1)
    assert cost.seconds([], 1) == 0
    assert sum(row.cells for row in cost.expect(large)) == len(large)
    assert max(row.bytes for row in cost.expect(large)) > max(row.bytes for row in cost.expect(small))
