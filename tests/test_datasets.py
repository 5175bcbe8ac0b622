"""The tables: what they hold, and how the airfoil file is found, refused and downloaded (from localhost)."""

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from problems import datasets
from problems.datasets import AIRFOIL_BYTES, AIRFOIL_FILE, AIRFOIL_SHA1, Table, download_airfoil, load
from theory.arrays import InputError

REFERENCE = Path(__file__).parent / "reference"
DATA = os.environ.get("RATELAB_DATA")
needs_data = pytest.mark.skipif(
    not DATA or not (Path(DATA) / "airfoil" / AIRFOIL_FILE).is_file(),
    reason=f"RATELAB_DATA names no folder with airfoil/{AIRFOIL_FILE}",
)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name in http.server)
        """Say nothing."""


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address at which the files of `folder` are served while the context lasts."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> bytes:
    """A small table to be served in the airfoil file's place, with its checksum as the expected one."""
    content = b"800\t0\t0.3048\t71.3\t0.00266337\t126.201\n1000\t0\t0.3048\t71.3\t0.00266337\t125.201\n"
    monkeypatch.setattr(datasets, "AIRFOIL_SHA1", hashlib.sha1(content).hexdigest())
    monkeypatch.delenv("RATELAB_DATA", raising=False)
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / AIRFOIL_FILE).write_bytes(content)
    return content


def test_diabetes_is_standardised() -> None:
    table = load("diabetes")
    assert table.features.shape == (442, 10)
    assert table.targets.shape == (442,)
    np.testing.assert_allclose(table.features.mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(table.features.std(axis=0), 1, rtol=1e-14)
    assert (table.targets.min(), table.targets.max()) == (25, 346)
    np.testing.assert_array_equal(table.targets[:3], [151, 75, 141])


def test_diabetes_is_scikit_learns_scaling_times_root_n() -> None:
    from sklearn.datasets import load_diabetes

    scaled, _ = load_diabetes(return_X_y=True)
    np.testing.assert_allclose(load("diabetes").features, scaled * np.sqrt(442), rtol=1e-9, atol=1e-12)


def test_line_is_the_reference() -> None:
    reference = json.loads((REFERENCE / "line_batch.json").read_text())
    table = load("line")
    np.testing.assert_array_equal(table.features, np.array(reference["x"])[:, None])
    np.testing.assert_array_equal(table.targets, reference["y"])
    residual = 0.9 * table.features[:, 0] + 0.1 - table.targets
    assert np.mean(residual**2) == pytest.approx(33.3355, abs=5e-5)


@needs_data
def test_airfoil_from_the_data_folder() -> None:
    for table in (
        load("airfoil"),
        load("airfoil", Path(str(DATA))),
        load("airfoil", Path(str(DATA)) / "airfoil"),
    ):
        assert table.features.shape == (1503, 5)
        np.testing.assert_array_equal(table.features[0], [800, 0, 0.3048, 71.3, 0.00266337])
        assert table.targets[0] == 126.201
        assert AIRFOIL_FILE in table.source


@needs_data
def test_airfoil_file_is_the_one_whose_checksum_we_hold() -> None:
    content = (Path(str(DATA)) / "airfoil" / AIRFOIL_FILE).read_bytes()
    assert (len(content), hashlib.sha1(content).hexdigest()) == (AIRFOIL_BYTES, AIRFOIL_SHA1)


@needs_data
def test_a_truncated_airfoil_file_is_refused(tmp_path: Path) -> None:
    content = (Path(str(DATA)) / "airfoil" / AIRFOIL_FILE).read_bytes()
    (tmp_path / AIRFOIL_FILE).write_bytes(content[:30_000])
    with pytest.raises(InputError, match=r"found 30000 bytes .* expected 59984 bytes"):
        load("airfoil", tmp_path)


def test_another_file_in_the_airfoil_files_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "airfoil").mkdir()
    path = tmp_path / "airfoil" / AIRFOIL_FILE
    path.write_bytes(b"1\t2\t3\n")
    with pytest.raises(InputError) as caught:
        load("airfoil", tmp_path)
    for piece in (str(path), "6 bytes", hashlib.sha1(b"1\t2\t3\n").hexdigest(), AIRFOIL_SHA1, "replace it"):
        assert piece in str(caught.value)


@pytest.mark.parametrize("place", [Path("airfoil") / AIRFOIL_FILE, Path(AIRFOIL_FILE)])
def test_the_two_places_in_the_data_folder(
    stand_in: bytes, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data" / place
    path.parent.mkdir(parents=True)
    path.write_bytes(stand_in)
    assert load("airfoil", tmp_path / "data").source == str(path)
    monkeypatch.setenv("RATELAB_DATA", str(tmp_path / "data"))
    np.testing.assert_array_equal(load("airfoil").targets, [126.201, 125.201])


def test_downloads_once(stand_in: bytes, tmp_path: Path) -> None:
    with serving(tmp_path / "served") as address:
        path = download_airfoil([f"{address}/{AIRFOIL_FILE}"], tmp_path / "cache")
    assert path == tmp_path / "cache" / AIRFOIL_FILE
    assert path.read_bytes() == stand_in
    assert download_airfoil([f"{address}/{AIRFOIL_FILE}"], tmp_path / "cache") == path  # the server is gone


def test_load_downloads_what_the_data_folder_lacks(
    stand_in: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pooch

    monkeypatch.setattr(pooch, "os_cache", lambda _project: tmp_path / "cache")
    with serving(tmp_path / "served") as address:
        mirrors = (f"{address}/{AIRFOIL_FILE}",)
        monkeypatch.setattr(datasets, "AIRFOIL_MIRRORS", mirrors)
        table = load("airfoil", tmp_path)
    assert table.source == str(tmp_path / "cache" / AIRFOIL_FILE)
    assert table.features.shape == (2, 5)
    assert len(stand_in) > 0


def test_the_second_mirror_serves_where_the_first_has_nothing(stand_in: bytes, tmp_path: Path) -> None:
    with serving(tmp_path / "served") as address:
        mirrors = [f"{address}/moved/{AIRFOIL_FILE}", f"{address}/{AIRFOIL_FILE}"]
        assert download_airfoil(mirrors, tmp_path / "cache").read_bytes() == stand_in


@pytest.mark.usefixtures("stand_in")
def test_a_download_with_a_wrong_checksum_is_refused_and_not_kept(tmp_path: Path) -> None:
    (tmp_path / "served" / AIRFOIL_FILE).write_bytes(b"an error page\n")
    with serving(tmp_path / "served") as address, pytest.raises(InputError, match="hash"):
        download_airfoil([f"{address}/{AIRFOIL_FILE}"], tmp_path / "cache")
    assert not (tmp_path / "cache" / AIRFOIL_FILE).exists()


def test_a_corrupt_cache_is_fetched_anew(stand_in: bytes, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / AIRFOIL_FILE).write_bytes(stand_in[:10])
    with serving(tmp_path / "served") as address:
        path = download_airfoil([f"{address}/{AIRFOIL_FILE}"], tmp_path / "cache")
    assert path.read_bytes() == stand_in


def test_offline_names_the_file_the_checksum_and_the_place(tmp_path: Path) -> None:
    with serving(tmp_path) as address:
        pass  # now nobody listens at that address
    with pytest.raises(InputError) as caught:
        download_airfoil([f"{address}/{AIRFOIL_FILE}"], tmp_path / "cache")
    for piece in (AIRFOIL_FILE, AIRFOIL_SHA1, address, str(tmp_path / "cache"), "RATELAB_DATA", "--data"):
        assert piece in str(caught.value)


def test_a_cache_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="could not be downloaded"):
        download_airfoil(["http://127.0.0.1:9/x"], tmp_path / "file")


def test_a_data_folder_that_does_not_exist_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"nowhere \(--data\) does not exist"):
        load("airfoil", tmp_path / "nowhere")
    monkeypatch.setenv("RATELAB_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(InputError, match=r"elsewhere \(RATELAB_DATA\) does not exist"):
        load("airfoil")


def test_an_unknown_table_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        InputError, match=r"'diabetis'; did you mean 'diabetes'\? Known are diabetes, airfoil, line"
    ):
        load("diabetis")


def test_nan_is_refused_with_its_position() -> None:
    features = np.ones((4, 3))
    features[2, 1] = np.nan
    with pytest.raises(InputError, match=r"holds nan in features\[2, 1\]"):
        Table("mine", features, np.zeros(4), "here")
    with pytest.raises(InputError, match=r"holds inf in targets\[3\]"):
        Table("mine", np.ones((4, 3)), np.array([0, 0, 0, np.inf]), "here")


@pytest.mark.parametrize(
    ("features", "targets"), [((4, 3), (3,)), ((0, 3), (0,)), ((4,), (4,)), ((4, 3), (4, 1))]
)
def test_shapes_that_do_not_fit_are_refused(features: tuple[int, ...], targets: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="shape"):
        Table("mine", np.zeros(features), np.zeros(targets), "here")


def test_a_table_cannot_be_written_to_and_keeps_its_own_copy() -> None:
    features = np.ones((4, 3))
    table = Table("mine", features, np.zeros(4), "here")
    features[0, 0] = 7
    assert table.features[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        table.features[0, 0] = 7
