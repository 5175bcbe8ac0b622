"""The tables and the labelled sets: what they hold, how they are split, and what is refused."""

import gzip
import hashlib
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import ROOT
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from ratelab.problems.data import datasets
from ratelab.problems.data.datasets import (
    DIGITS_TEST,
    FILES,
    LABELLED,
    Labelled,
    Table,
    load,
    load_labelled,
    read_idx,
    validation_split,
)
from ratelab.problems.data.files import DataFile
from ratelab.theory.arrays import InputError

REFERENCE = ROOT / "tests" / "reference"
DATA = os.environ.get("RATELAB_DATA")
(AIRFOIL,) = FILES["airfoil"]


def needs_data(*names: str) -> pytest.MarkDecorator:
    """Skips a test where the data folder lacks a file of these sets."""
    wanted = [file.label for name in names for file in FILES[name]]
    lacks = [label for label in wanted if not DATA or not (Path(DATA) / label).is_file()]
    return pytest.mark.skipif(bool(lacks), reason=f"RATELAB_DATA names no folder with {', '.join(lacks)}")


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


@needs_data("airfoil")
def test_airfoil_from_the_data_folder() -> None:
    for table in (
        load("airfoil"),
        load("airfoil", Path(str(DATA))),
        load("airfoil", Path(str(DATA)) / "airfoil"),
    ):
        assert table.features.shape == (1503, 5)
        np.testing.assert_array_equal(table.features[0], [800, 0, 0.3048, 71.3, 0.00266337])
        assert table.targets[0] == 126.201
        assert AIRFOIL.name in table.source


@needs_data("airfoil")
def test_a_truncated_airfoil_file_is_refused(tmp_path: Path) -> None:
    content = (Path(str(DATA)) / AIRFOIL.label).read_bytes()
    (tmp_path / AIRFOIL.name).write_bytes(content[:30_000])
    with pytest.raises(InputError, match=r"found 30000 bytes .* expected 59984 bytes"):
        load("airfoil", tmp_path)


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


# the labelled sets


@pytest.mark.slow
@needs_data("mnist", "fashion_mnist")
@pytest.mark.parametrize(
    ("name", "begin", "counts", "test_counts", "mean", "sd"),
    [
        (
            "mnist",
            [5, 0, 4, 1, 9, 2, 1, 3, 1, 4],
            [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
            [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
            0.1307,
            0.3081,
        ),
        ("fashion_mnist", [9, 0, 0, 3, 0, 2, 7, 2, 5, 5], [6000] * 10, [1000] * 10, 0.2860, 0.3530),
    ],
)
def test_the_two_mnists(
    name: str, begin: list[int], counts: list[int], test_counts: list[int], mean: float, sd: float
) -> None:
    data = load_labelled(name, Path(str(DATA)))
    assert (data.features.shape, data.test_features.shape) == ((60_000, 784), (10_000, 784))
    assert (data.shape, data.classes, str(data.features.dtype)) == ((1, 28, 28), 10, "float32")
    np.testing.assert_array_equal(data.labels[:10], begin)
    np.testing.assert_array_equal(np.bincount(data.labels), counts)
    np.testing.assert_array_equal(np.bincount(data.test_labels), test_counts)
    # the constants by which images are commonly standardised, to the digits given
    assert data.features.mean(dtype=np.float64) == pytest.approx(mean, abs=5e-5)
    assert data.features.std(dtype=np.float64) == pytest.approx(sd, abs=5e-5)
    assert (data.features.min(), data.features.max()) == (0, 1)
    assert all(file.name in data.source for file in FILES[name])


@needs_data("mnist")
def test_pixels_are_the_files_bytes_over_255() -> None:
    file = FILES["mnist"][2]
    content = gzip.decompress((Path(str(DATA)) / file.label).read_bytes())
    pixels = load_labelled("mnist", Path(str(DATA))).test_features * np.float32(255)
    np.testing.assert_array_equal(np.rint(pixels).astype(np.uint8).tobytes(), content[16:])


@needs_data("a9a")
def test_a9a() -> None:
    data = load_labelled("a9a", Path(str(DATA)))
    assert (data.features.shape, data.test_features.shape) == ((32_561, 123), (16_281, 123))
    assert (data.shape, data.classes) == ((123,), 2)
    np.testing.assert_array_equal(np.bincount(data.labels), [24_720, 7_841])
    np.testing.assert_array_equal(np.bincount(data.test_labels), [12_435, 3_846])
    for name, features, labels in (
        ("a9a", data.features, data.labels),
        ("a9a.t", data.test_features, data.test_labels),
    ):
        lines = (Path(str(DATA)) / "libsvm" / name).read_text().splitlines()
        for row in (0, 1, 7, len(lines) - 1):  # the plain reading of a line: label index:value …, from 1
            label, *entries = lines[row].split()
            wanted = np.zeros(123)
            wanted[[int(entry.split(":")[0]) - 1 for entry in entries]] = [
                float(entry.split(":")[1]) for entry in entries
            ]
            np.testing.assert_array_equal(features[row], wanted)
            assert labels[row] == {"-1": 0, "+1": 1}[label]
        assert features.sum() == sum(line.count(":1") - line.count(":1:") for line in lines)


def test_digits_test_on_the_last_three_forms() -> None:
    from sklearn.datasets import load_digits

    data = load_labelled("digits")
    pixels, labels = load_digits(return_X_y=True)
    assert (data.features.shape, data.test_features.shape) == ((1415, 64), (382, 64))
    assert (data.shape, data.classes) == ((1, 8, 8), 10)
    np.testing.assert_array_equal(np.concatenate([data.features, data.test_features]) * 16, pixels)
    np.testing.assert_array_equal(np.concatenate([data.labels, data.test_labels]), labels)
    # a form asks for the same 130 digits from everyone; 095565 09 89 occurs in it once
    text = "".join(map(str, labels))
    starts = [row - 30 for row in range(len(text)) if text.startswith("0955650989", row)]
    assert len(starts) == 14
    assert starts[-3] == DIGITS_TEST
    assert text[DIGITS_TEST : DIGITS_TEST + 130] == text[:130]


def test_digits_need_no_file_and_are_loaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RATELAB_DATA", raising=False)
    assert load_labelled("digits") is load_labelled("digits", tmp_path)


def test_nothing_stands_in_for_a_set_that_cannot_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pooch

    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / project)
    for name in ("mnist", "fashion_mnist", "a9a", "airfoil"):
        unserved = [DataFile(f.name, f.folder, f.bytes, f.sha256, ()) for f in FILES[name]]
        monkeypatch.setitem(datasets.FILES, name, tuple(unserved))
        with pytest.raises(InputError, match=r"could not be downloaded(.|\n)*digits need no download"):
            (load if name == "airfoil" else load_labelled)(name, tmp_path)


def test_an_unknown_set_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        InputError, match=r"no classification set 'fashion-mnist'; did you mean 'fashion_mnist'"
    ):
        load_labelled("fashion-mnist")
    with pytest.raises(InputError, match="Known are " + ", ".join(LABELLED)):
        load_labelled("diabetes")


def labelled(
    features: object = None, labels: object = None, classes: int = 2, shape: tuple[int, ...] = (3,)
) -> Labelled:
    x = np.zeros((4, 3)) if features is None else features
    y = np.array([0, 1, 1, 0]) if labels is None else labels
    return Labelled("mine", x, y, np.zeros((1, 3)), np.zeros(1), classes, shape, "here")  # type: ignore[arg-type] # converted


def test_a_labelled_set_is_read_only_and_keeps_its_own_copy() -> None:
    features, labels = np.ones((4, 3), dtype=np.float32), np.array([0, 1, 1, 0])
    data = labelled(features, labels)
    features[0, 0], labels[0] = 7, 1
    assert (data.features[0, 0], data.labels[0]) == (1, 0)
    for field, dtype in (("features", np.float32), ("labels", np.int64)):
        for part in ("", "test_"):
            array = getattr(data, part + field)
            assert array.dtype == dtype
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1


@pytest.mark.parametrize(
    "name", ["digits", *(pytest.param(n, marks=needs_data(n)) for n in ("mnist", "a9a"))]
)
def test_loaded_arrays_cannot_be_written_to(name: str) -> None:
    data = load_labelled(name, Path(DATA) if DATA and name != "digits" else None)
    for array in (data.features, data.labels, data.test_features, data.test_labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


@pytest.mark.parametrize("labels", [[0, 1, 2, 0], [0, 1, -1, 0], [0, 1, 0.5, 0], [0, 1, np.nan, 0]])
def test_a_label_that_is_no_class_is_refused(labels: list[float]) -> None:
    with pytest.raises(InputError, match=r"holds [-\w.]+ in labels\[2\] \(1 such.* from 0 to 1"):
        labelled(labels=np.array(labels))


def test_a_feature_that_is_not_finite_is_refused() -> None:
    features = np.zeros((4, 3))
    features[3, 1] = np.inf
    with pytest.raises(InputError, match=r"data set 'mine' holds inf in features\[3, 1\]"):
        labelled(features)


@pytest.mark.parametrize(
    ("features", "labels", "shape"),
    [
        ((4, 3), (3,), (3,)),
        ((0, 3), (0,), (3,)),
        ((4, 3), (4, 1), (3,)),
        ((4, 3), (4,), (1, 2, 2)),
        ((4, 1, 3), (4,), (3,)),
    ],
)
def test_shapes_of_labelled_sets_that_do_not_fit_are_refused(
    features: tuple[int, ...], labels: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    with pytest.raises(InputError, match="shape"):
        labelled(np.zeros(features), np.zeros(labels), shape=shape)


# the files of the MNISTs


def idx(values: NDArray[np.uint8]) -> bytes:
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    seed=st.integers(0, 2**32 - 1),
    cut=st.integers(1, 8),
)
def test_idx_round_trip(sizes: list[int], seed: int, cut: int) -> None:
    values = np.random.default_rng(seed).integers(0, 256, sizes).astype(np.uint8)
    content = idx(values)
    read = read_idx(content, "mine")
    np.testing.assert_array_equal(read, values, strict=True)
    assert not read.flags.writeable
    with pytest.raises(InputError, match="mine"):
        read_idx(content[:-cut], "mine")
    with pytest.raises(InputError, match="mine holds"):
        read_idx(content + bytes(cut), "mine")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"begins with the bytes \(none\)"),
        (b"\0\0\x08", "begins with the bytes 00 00 08;"),
        (b"\x1f\x8b\x08\x00packed", "begins with the bytes 1f 8b 08 00"),
        (b"\0\0\x0d\x01\0\0\0\0", "begins with the bytes 00 00 0d 01"),
        (b"\0\0\x08\x00", "begins with the bytes 00 00 08 00"),
        (b"\0\0\x08\x04" + bytes(16), "begins with the bytes 00 00 08 04"),
        (b"\0\0\x08\x03\0\0\0\x01", "ends after 8 bytes; its 3 dimensions alone take 16"),
        (b"\0\0\x08\x01\0\0\0\0", r"holds 0 entries; its sizes \(0,\) need 1"),
        (b"\0\0\x08\x02\0\0\0\x02\0\0\0\x03abcde", r"holds 5 entries; its sizes \(2, 3\) need 6"),
        (
            b"\0\0\x08\x02\xff\xff\xff\xff\xff\xff\xff\xff",
            r"holds 0 entries; its sizes \(4294967295, 4294967295\) need 18446744065119617025",
        ),
    ],
)
def test_bad_idx_is_refused_with_what_was_found(content: bytes, said: str) -> None:
    with pytest.raises(InputError, match="mine " + said):
        read_idx(content, "mine")


def small_mnist(folder: Path, monkeypatch: pytest.MonkeyPatch, arrays: list[NDArray[np.uint8]]) -> None:
    """MNIST's place taken by these arrays, with their checksums as the expected ones."""
    taken = []
    for file, array in zip(FILES["mnist"], arrays, strict=True):
        content = gzip.compress(idx(array))
        (folder / file.name).write_bytes(content)
        taken.append(
            DataFile(file.name, "mnist", len(content), hashlib.sha256(content).hexdigest(), file.mirrors)
        )
    monkeypatch.setitem(datasets.FILES, "mnist", tuple(taken))


def test_images_and_labels_become_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    labels = np.array([9, 0, 3, 3], dtype=np.uint8)
    small_mnist(tmp_path, monkeypatch, [images, labels, images[:1], labels[:1]])
    data = load_labelled("mnist", tmp_path)
    assert data.shape == (1, 2, 3)
    np.testing.assert_allclose(data.features, images.reshape(4, 6) / 255, rtol=1e-7)
    np.testing.assert_array_equal(data.labels, [9, 0, 3, 3])
    monkeypatch.setenv("RATELAB_DATA", str(tmp_path))
    assert load_labelled("mnist") is data


@pytest.mark.parametrize(
    ("order", "top", "said"),
    [((1, 0, 2, 3), 9, "shape"), ((0, 3, 2, 1), 9, "shape"), ((0, 1, 2, 3), 10, r"holds 10 in labels\[0\]")],
    ids=["labels-for-images", "test-labels-for-labels", "label-10"],
)
def test_files_that_do_not_belong_together_are_refused(
    order: tuple[int, ...], top: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.zeros((4, 2, 3), dtype=np.uint8)
    labels = np.array([top, 0, 3, 3], dtype=np.uint8)
    arrays = [images, labels, images[:1], labels[:1]]
    small_mnist(tmp_path, monkeypatch, [arrays[place] for place in order])
    with pytest.raises(InputError, match=said):
        load_labelled("mnist", tmp_path)


# validation


@given(st.data(), st.integers(1, 400), st.integers(0, 2**64))
def test_a_validation_split_parts_the_rows(data: st.DataObject, n: int, seed: int) -> None:
    points = data.draw(st.integers(0, n - 1))
    train, validation = validation_split(n, points, seed)
    assert len(validation) == points
    assert sorted([*train, *validation]) == list(range(n))
    assert np.all(np.diff(train) > 0)
    fewer = data.draw(st.integers(0, points))
    np.testing.assert_array_equal(validation_split(n, fewer, seed)[1], validation[:fewer])


def test_a_validation_split_depends_on_the_seed() -> None:
    splits = {tuple(validation_split(1000, 100, seed)[1]) for seed in range(50)}
    assert len(splits) == 50


def test_every_row_validates_equally_often() -> None:
    """By 400 seeds, each of 50 rows is drawn Binomial(400, 1/5) times, 80 ± 8; that one of them falls outside
    80 ± 40 has probability 7e-5 (scipy.stats.binom)."""
    counts = np.zeros(50)
    for seed in range(400):
        counts[validation_split(50, 10, seed)[1]] += 1
    assert counts.sum() == 4000
    assert np.all(np.abs(counts - 80) < 40)


def test_a_validation_split_is_the_same_in_another_process() -> None:
    code = "from ratelab.problems.data import datasets; print(*datasets.validation_split(60_000, 5, 7)[1])"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert [int(word) for word in said.stdout.split()] == validation_split(60_000, 5, 7)[1].tolist()


@pytest.mark.parametrize("points", [-1, 10, 11])
def test_a_split_that_leaves_no_training_row_is_refused(points: int) -> None:
    with pytest.raises(InputError, match=rf"{points} validation points of 10 labelled rows; give 0 to 9"):
        validation_split(10, points, 0)
