"""The folder of a run: written whole or not at all, read back as curves, and clear about what is damaged."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from ratelab.experiments.cells import cells
from ratelab.experiments.execute import run
from ratelab.experiments.methods import SGD
from ratelab.experiments.spec import Spec
from ratelab.experiments.store import Curve, Results, Store, missing
from ratelab.problems.noise import Gaussian
from ratelab.problems.quadratic import Quadratic
from ratelab.problems.spectra import LogUniform
from ratelab.theory import Constant, InputError, Last, Linear, Uniform
from ratelab.theory.cache import atomically

PROBLEM = Quadratic(LogUniform(dim=3, condition_number=10.0), noise=Gaussian(sd=0.5))
SPEC = Spec(
    problems=(PROBLEM,),
    methods=(SGD(),),
    schedules=(Constant(), Linear()),
    averagings=(Last(), Uniform()),
    lr=(0.1, 0.3),
    lr_unit="1/L",
    horizons=(50, 200),
    runs=70,
    records=10,
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    store = Store(tmp_path_factory.mktemp("results"))
    assert not run(SPEC, "text", store).failed
    return Results(SPEC, store)


def curve(schedule: object, averaging: object, horizon: int, lr: float = 0.3) -> Curve:
    return Curve(PROBLEM, SGD(), schedule, averaging, lr, horizon)  # type: ignore[arg-type]


def test_runs_come_back_in_order_with_their_times(results: Results) -> None:
    data = results.runs(curve(Constant(), Last(), 200))
    assert data.dims == ("run", "t")
    assert data["run"].values.tolist() == list(range(70))
    assert (data["t"].values[0], data["t"].values[-1]) == (0, 200)
    np.testing.assert_allclose(data.sel(t=0), PROBLEM.constants.start_risk)


def test_an_anytime_curve_is_the_beginning_of_the_longest(results: Results) -> None:
    short, long = (results.runs(curve(Constant(), Uniform(), h)) for h in (50, 200))
    assert short["t"].values[-1] == 50
    xr.testing.assert_identical(short, long.sel(t=long["t"] <= 50))


def test_other_curves_have_runs_of_their_own(results: Results) -> None:
    short, long = (results.runs(curve(Linear(), Last(), h)) for h in (50, 200))
    assert short["t"].values[-1] == 50
    assert not np.isclose(short.sel(t=50), long.sel(t=50)).any()


def test_bounds_lie_above_the_exact_risk_and_end_before_the_last_step(results: Results) -> None:
    for schedule in SPEC.schedules:
        exact, bound = (read(curve(schedule, Last(), 200)) for read in (results.exact, results.bound))
        assert exact is not None
        assert bound is not None
        assert np.isnan(bound.values[-1])
        assert (bound.values[:-1] >= exact.values[:-1]).all()


def test_a_cell_is_read_as_xarray_reads_it(results: Results) -> None:
    for cell in cells(SPEC):
        whole = xr.load_dataset(results.store.cell_file(cell), engine="h5netcdf")
        xr.testing.assert_identical(
            results.store.read_cell(cell), whole.drop_attrs().assign_attrs(key=cell.key)
        )


def test_a_file_cut_short_is_an_input_error_that_names_it_and_the_remedy(
    results: Results, tmp_path: Path
) -> None:
    cell = cells(SPEC)[1]
    store = Store(tmp_path)
    store.prepare()
    whole = results.store.cell_file(cell).read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:10], b"", b"not a netCDF file"):
        store.cell_file(cell).write_bytes(damaged)
        with pytest.raises(InputError, match=rf"(?s){cell.key}.*`ratelab run` sets it aside"):
            store.read_cell(cell)
    assert not store.readable(cell)
    store.set_aside(cell)
    assert [path.name for path in (tmp_path / "cells").iterdir()] == [f"{cell.key}.nc.corrupt"]


def test_an_altered_number_is_noticed(results: Results, tmp_path: Path) -> None:
    cell = cells(SPEC)[1]
    store = Store(tmp_path)
    store.prepare()
    content = bytearray(results.store.cell_file(cell).read_bytes())
    risk = results.store.read_cell(cell)["risk"].values
    at = bytes(content).find(risk[5, 0, 0, 0].tobytes())
    assert at > 0
    content[at] ^= 1
    store.cell_file(cell).write_bytes(bytes(content))
    assert not store.readable(cell)


def test_another_cells_file_is_not_taken_for_it(results: Results, tmp_path: Path) -> None:
    first, second = cells(SPEC)[1:3]
    store = Store(tmp_path)
    store.prepare()
    store.cell_file(first).write_bytes(results.store.cell_file(second).read_bytes())
    with pytest.raises(InputError, match="another cell"):
        store.read_cell(first)


def test_a_missing_cell_says_how_to_get_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert missing(SPEC, store) == cells(SPEC)
    with pytest.raises(InputError, match="ratelab run"):
        store.read_cell(cells(SPEC)[0])


def test_writing_is_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail_halfway() -> None:
        with atomically(path) as temporary:
            temporary.write_text("new, but")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_unwritable_folder_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(InputError, match="--out"):
        Store(tmp_path / "taken").prepare()


def test_a_broken_manifest_is_an_input_error(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.manifest() == {}
    store.manifest_file.write_text('{"spec": ')
    with pytest.raises(InputError, match=r"manifest\.json cannot be read"):
        store.manifest()


def test_the_manifest_has_what_a_reader_needs_to_run_it_again(results: Results) -> None:
    manifest = json.loads(results.store.manifest_file.read_text())
    assert {"spec", "seed", "dtype", "device", "versions", "git", "started", "finished"} <= manifest.keys()
    assert {"python", "numpy", "numba", "torch", "ratelab"} <= manifest["versions"].keys()
    assert {note["engine"] for note in manifest["cells"].values()} == {"exact", "jump"}
    assert results.store.spec_file.read_text() == "text"
