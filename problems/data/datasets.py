"""The data of the problems: tables for least squares, and labelled sets for classification.

Diabetes, the line and digits come with the packages, so nothing needs a network by default. The others are
files, found and checked by `problems.data.files`; no set ever stands in for another.
"""

import gzip
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ratelab.problems import philox
from ratelab.problems.data import files
from ratelab.theory.arrays import Array, InputError, Integers
from ratelab.theory.reading import closest

Floats = NDArray[np.float32]

NAMES = ("diabetes", "airfoil", "line", "line_population")
POPULATION = 8_000_000
LABELLED = ("mnist", "fashion_mnist", "digits", "a9a")

_IDX = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
FILES = {
    "airfoil": (files.known("airfoil", "airfoil_self_noise.dat"),),
    "mnist": tuple(files.known("mnist", name) for name in _IDX),
    "fashion_mnist": tuple(files.known("fashion_mnist", name) for name in _IDX),
    "digits": (),
    "a9a": (files.known("libsvm", "a9a"), files.known("libsvm", "a9a.t")),
}
"""The files of a set: train before test, features before labels."""

DIGITS_TEST = 1415
SIZES = {
    "mnist": (60_000, 10_000),
    "fashion_mnist": (60_000, 10_000),
    "digits": (DIGITS_TEST, 1797 - DIGITS_TEST),
    "a9a": (32_561, 16_281),
}
"""Labelled rows to train on and to test on."""
"""The first test row of digits (see `load_labelled`)."""


@dataclass(frozen=True, eq=False)
class Table:
    """A regression table: `features` (n, p) and `targets` (n,), float64, read-only, and its `source`.

    InputError where the shapes do not fit, the table is empty, or an entry is NaN or infinite (with its
    position).
    """

    name: str
    features: Array
    targets: Array
    source: str

    def __post_init__(self) -> None:
        n = len(self.targets)
        if n == 0 or self.targets.ndim != 1 or self.features.ndim != 2 or len(self.features) != n:
            raise InputError(
                f"table {self.name!r} has features of shape {self.features.shape} and targets of shape "
                f"{self.targets.shape}; give (n, p) and (n,) with n >= 1"
            )
        for field in ("features", "targets"):
            values = _own(f"table {self.name!r}", field, getattr(self, field), np.float64)
            object.__setattr__(self, field, values)


@dataclass(frozen=True, eq=False)
class Labelled:
    """A classification set: `features` (n, p) float32, `labels` (n,) int64 in 0..classes-1; so for test.

    `shape` is that of one example, (channels, height, width) of an image, whose product is p; `source` says
    where the set comes from. The arrays are read-only. InputError where shapes do not fit, a part is empty,
    a feature is NaN or infinite, or a label is no class (with the position).
    """

    name: str
    features: Floats
    labels: Integers
    test_features: Floats
    test_labels: Integers
    classes: int
    shape: tuple[int, ...]
    source: str

    def __post_init__(self) -> None:
        called, p = f"data set {self.name!r}", math.prod(self.shape)
        for part in ("", "test_"):
            features, labels = getattr(self, f"{part}features"), getattr(self, f"{part}labels")
            if len(labels) == 0 or labels.ndim != 1 or features.shape != (len(labels), p):
                raise InputError(
                    f"{called} has {part}features of shape {features.shape} and {part}labels of shape "
                    f"{labels.shape}; give (n, {p}) and (n,) with n >= 1: an example has shape {self.shape}"
                )
            bad = np.flatnonzero((labels < 0) | (labels >= self.classes) | (labels != np.floor(labels)))
            if bad.size:
                raise InputError(
                    f"{called} holds {labels[bad[0]]} in {part}labels[{bad[0]}] ({len(bad)} such in all, "
                    f"counting from 0); labels are whole numbers from 0 to {self.classes - 1}"
                )
            object.__setattr__(self, f"{part}features", _own(called, f"{part}features", features, np.float32))
            object.__setattr__(self, f"{part}labels", _own(called, f"{part}labels", labels, np.int64))


def load(name: str, folder: Path | None = None) -> Table:
    """The table called `name`; `folder` is the data folder, by default the environment variable RATELAB_DATA.

    - "diabetes": 442 patients, 10 features (age, sex, body mass index, blood pressure, six serum
      measurements), each column with mean 0 and population standard deviation 1 (scikit-learn's scaled
      columns times √442), so XᵀX/n is the correlation matrix; the target is the progression of the disease
      after a year, as it is, 25 to 346. Efron, Hastie, Johnstone and Tibshirani (2004), Least angle
      regression.
    - "airfoil": 1503 rows as in the file: frequency (Hz), angle of attack (deg), chord (m), velocity (m/s),
      displacement thickness (m); the target is the sound pressure level (dB). Brooks, Pope and Marcolini
      (1989), NASA RP-1218.
    - "line": 32 points (x, y), the first batch of Krohn's learning-rate-scheduling notebook (ML-foundations).
    - "line_population": the 8,000,000 points that notebook draws its batches from, or should: x evenly in
      [0, 8], y = −x/2 + 2 + N(0, 1), with normals of our own.

    InputError for an unknown name, a folder that does not exist, a file with another checksum, a failed
    download.
    """
    if name == "diabetes":
        return _diabetes()
    if name == "airfoil":
        return _airfoil(folder)
    if name == "line":
        return Table(name, np.array(LINE_X)[:, None], np.array(LINE_Y), "Krohn, ML-foundations")
    if name == "line_population":
        x = np.linspace(0, 8, POPULATION)
        noise = philox.normals(philox.stream_key(0, name), range(1), 0, 1000, POPULATION // 1000).ravel()
        return Table(name, x[:, None], 2 - x / 2 + noise, "as in Krohn, ML-foundations")
    raise _unknown("table", name, NAMES)


def load_labelled(name: str, folder: Path | None = None) -> Labelled:
    """The classification set called `name`; `folder` is the data folder, by default RATELAB_DATA.

    - "mnist": 60000 and 10000 images of digits, 28x28, pixels/255. LeCun, Bottou, Bengio and Haffner (1998).
    - "fashion_mnist": as many of clothes in the same form. Xiao, Rasul, Vollgraf (2017), arXiv 1708.07747.
    - "digits": scikit-learn's 1797 images of digits, 8x8, pixels/16 (UCI's optdigits.tes; Alpaydin and Kaynak
      1998). The rows are in the order of the forms that 13 people filled in, 14 of them by the labels, which
      repeat the same 130 digits but for a few lost ones. The last three forms, rows 1415 to 1796, are the
      test: whole forms, because UCI tests on writers unseen in training, and a random split shows every
      writer to both sides (multinomial logistic regression then errs on 4 % instead of 9 %, checked
      numerically).
    - "a9a": 32561 and 16281 people, 123 binary features, is the income above 50000 dollars (1) or not (0,
      -1 in the file). UCI's Adult as in LIBSVM's collection, after Platt (1998).

    The last three sets loaded are kept in memory. InputError for an unknown name, a folder that does not
    exist, a file with another checksum, a failed download.
    """
    if name not in LABELLED:
        raise _unknown("classification set", name, LABELLED)
    return _labelled(name, tuple(files.locate(file, folder) for file in FILES[name]))


def validation_split(labels_count: int, points: int, seed: int) -> tuple[Integers, Integers]:
    """(training rows, validation rows) of `labels_count` labelled rows, the same on every machine.

    `points` rows are sampled for validation without replacement by `seed`, in the order drawn, so that a
    smaller validation set is the beginning of a larger one; the others train, in their own order. InputError
    when `points` is negative or leaves no row to train on.
    """
    if not 0 <= points < labels_count:
        raise InputError(
            f"{points} validation points of {labels_count} labelled rows; give 0 to {labels_count - 1}"
        )
    key = philox.stream_key(seed, "validation")
    words = philox.words(key, range(1), 0, 1, labels_count, philox.ROWS)[0, 0]
    order = np.argsort(words, kind="stable")
    return np.sort(order[points:]), order[:points]


def read_idx(content: bytes, name: str) -> NDArray[np.uint8]:
    """The array in a file of the IDX format of MNIST, unpacked; `name` is for messages.

    Two zero bytes, the type of the entries (8 for unsigned bytes, the only one read here), the number of
    dimensions (up to 3 here), the sizes as big-endian 32-bit numbers, the entries in C order (LeCun, Cortes
    and Burges, "The MNIST database"). InputError for another beginning, for no entries, and for fewer or more
    than the sizes say.
    """
    if len(content) < 4 or content[:3] != b"\0\0\x08" or content[3] not in (1, 2, 3):
        raise InputError(
            f"{name} begins with the bytes {content[:4].hex(' ') or '(none)'}; an IDX file of unsigned bytes "
            "begins with 00 00 08 and 01, 02 or 03, the number of dimensions"
        )
    begin = 4 + 4 * content[3]
    if len(content) < begin:
        raise InputError(
            f"{name} ends after {len(content)} bytes; its {content[3]} dimensions alone take {begin}"
        )
    sizes = tuple(np.frombuffer(content[4:begin], dtype=">u4").tolist())
    needed = max(1, math.prod(sizes))
    if len(content) - begin != needed:
        raise InputError(f"{name} holds {len(content) - begin} entries; its sizes {sizes} need {needed}")
    return np.frombuffer(content, dtype=np.uint8, offset=begin).reshape(sizes)


def _diabetes() -> Table:
    from sklearn.datasets import load_diabetes

    raw, targets = load_diabetes(return_X_y=True, scaled=False)
    features = (raw - raw.mean(axis=0)) / raw.std(axis=0)
    return Table("diabetes", features, targets, "scikit-learn's load_diabetes, columns standardised")


def _airfoil(folder: Path | None) -> Table:
    (file,) = FILES["airfoil"]
    path = files.locate(file, folder)
    rows = np.loadtxt(path)
    return Table("airfoil", rows[:, :-1], rows[:, -1], str(path))


@lru_cache(maxsize=3)
def _labelled(name: str, paths: tuple[Path, ...]) -> Labelled:
    """By the paths: the data folder may be another one the next time."""
    if name == "digits":
        return _digits()
    source = ", ".join(str(path) for path in paths)
    if name == "a9a":
        (x, y), (test_x, test_y) = _libsvm(paths[0], 123), _libsvm(paths[1], 123)
        return Labelled(name, x, y, test_x, test_y, 2, (123,), source)
    images, labels, test_images, test_labels = (
        read_idx(gzip.decompress(path.read_bytes()), str(path)) for path in paths
    )
    return Labelled(
        name,
        _pixels(images, 255),
        labels.astype(np.int64),
        _pixels(test_images, 255),
        test_labels.astype(np.int64),
        10,
        (1, *images.shape[1:]),
        source,
    )


def _digits() -> Labelled:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    features, test = _pixels(pixels, 16), DIGITS_TEST
    source = f"scikit-learn's load_digits, rows {test} and later for test"
    return Labelled(
        "digits", features[:test], labels[:test], features[test:], labels[test:], 10, (1, 8, 8), source
    )


def _libsvm(path: Path, columns: int) -> tuple[Floats, Integers]:
    """Dense features and the labels, 1 for +1 and 0 for -1, of a text file in LIBSVM's format."""
    from sklearn.datasets import load_svmlight_file

    features, labels = load_svmlight_file(str(path), n_features=columns, dtype=np.float32, zero_based=False)
    return features.toarray(), (labels > 0).astype(np.int64)


def _pixels(images: NDArray[Any], white: float) -> Floats:
    """Images as rows of numbers in [0, 1], divided in float32; read-only, to save `Labelled` a copy."""
    features: Floats = np.divide(images.reshape(len(images), -1), np.float32(white), dtype=np.float32)
    features.flags.writeable = False
    return features


def _own(called: str, field: str, given: ArrayLike, dtype: DTypeLike) -> NDArray[Any]:
    """`given` as a read-only array of finite numbers, copied unless it is such an array already."""
    values = np.asarray(given, dtype=dtype)
    if values.flags.writeable:
        values = values.copy()
    if not np.isfinite(values).all():
        bad = np.argwhere(~np.isfinite(values))
        at = tuple(bad[0].tolist())
        raise InputError(
            f"{called} holds {values[at]} in {field}{list(at)} ({len(bad)} such in all, "
            "counting from 0); remove the row or replace the entry"
        )
    values.flags.writeable = False
    return values


def _unknown(kind: str, name: str, names: Sequence[str]) -> InputError:
    close = closest(name, names)
    hint = f"did you mean {close!r}? " if close else ""
    return InputError(f"there is no {kind} {name!r}; {hint}Known are {', '.join(names)}")


# fmt: off
LINE_X = (
    7.9039, 2.5032, 2.155, 6.1589, 7.1057, 6.6262, 6.6151, 7.5177,
    6.435, 7.8031, 4.0389, 4.0771, 4.0771, 2.3573, 7.5437, 1.2994,
    4.7333, 1.689, 1.4867, 1.0857, 7.9499, 7.7148, 4.1468, 4.9756,
    7.8536, 3.7126, 2.7072, 7.5391, 2.3218, 1.7388, 1.8237, 6.2415,
)
LINE_Y = (
    -1.1923, 0.5152, 0.7512, -0.7778, -1.4118, 0.0496, -1.4554, -0.7491,
    -1.6638, -1.3719, 0.5347, -0.026, 0.3292, 0.1032, -2.0465, 2.4188,
    -0.918, -0.6667, 1.7137, 3.2658, -0.7733, -1.8584, -0.0086, -0.501,
    -2.3102, 1.4706, 0.9627, -3.8245, 2.5656, 1.8036, 0.606, -1.4121,
)
# fmt: on
