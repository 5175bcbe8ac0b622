"""Real tables for least squares: scikit-learn's diabetes, NASA's airfoil self-noise, and 32 points of a line.

Diabetes and the line come with the packages, so nothing needs a network by default. The airfoil table is
looked for in the data folder and downloaded once otherwise; wherever it comes from, its checksum decides
whether it is the table.
"""

import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from theory.arrays import Array, InputError

NAMES = ("diabetes", "airfoil", "line")

AIRFOIL_FILE = "airfoil_self_noise.dat"
AIRFOIL_BYTES = 59_984
AIRFOIL_SHA1 = "76e5be1548fd8222e5074cf0faae75edff8cf93f"
AIRFOIL_MIRRORS = (
    f"https://archive.ics.uci.edu/ml/machine-learning-databases/00291/{AIRFOIL_FILE}",
    f"https://d2l-data.s3-accelerate.amazonaws.com/{AIRFOIL_FILE}",
)


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
            values = np.array(getattr(self, field), dtype=np.float64)
            bad = np.argwhere(~np.isfinite(values))
            if bad.size:
                at = tuple(bad[0].tolist())
                raise InputError(
                    f"table {self.name!r} holds {values[at]} in {field}{list(at)} ({len(bad)} such in all, "
                    "counting from 0); remove the row or replace the entry"
                )
            values.flags.writeable = False
            object.__setattr__(self, field, values)


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

    InputError for an unknown name, a folder that does not exist, a file with another checksum, a failed
    download.
    """
    if name == "diabetes":
        return _diabetes()
    if name == "airfoil":
        return _airfoil(folder)
    if name == "line":
        return Table(name, np.array(LINE_X)[:, None], np.array(LINE_Y), "Krohn, ML-foundations")
    close = get_close_matches(name, NAMES, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise InputError(f"there is no table {name!r}; {hint}Known are {', '.join(NAMES)}")


def download_airfoil(mirrors: Sequence[str], cache: Path | None = None) -> Path:
    """Where the airfoil file lies in `cache` (by default pooch's), fetched from the first mirror to have it.

    A file that is there with the right SHA-1 is taken as it is; one with another SHA-1 is fetched anew.
    InputError when no mirror gives the file, with what each one said and where to put a copy by hand.
    """
    import pooch

    place = pooch.os_cache("ratelab") if cache is None else cache
    failures = []
    for url in mirrors:
        try:
            known = f"sha1:{AIRFOIL_SHA1}"
            return Path(pooch.retrieve(url, known_hash=known, fname=AIRFOIL_FILE, path=place))
        except (OSError, ValueError) as error:  # requests raises OSErrors, a wrong checksum is a ValueError
            failures.append(f"  {url}: {error}")
    raise InputError(
        f"the airfoil table {AIRFOIL_FILE} could not be downloaded:\n" + "\n".join(failures) + "\n"
        f"Fetch it by hand (SHA-1 {AIRFOIL_SHA1}) and put it at {Path(place) / AIRFOIL_FILE}, "
        f"or at DIR/airfoil/{AIRFOIL_FILE} with --data DIR or RATELAB_DATA=DIR"
    )


def _diabetes() -> Table:
    from sklearn.datasets import load_diabetes

    raw, targets = load_diabetes(return_X_y=True, scaled=False)
    features = (raw - raw.mean(axis=0)) / raw.std(axis=0)
    return Table("diabetes", features, targets, "scikit-learn's load_diabetes, columns standardised")


def _airfoil(folder: Path | None) -> Table:
    path = _in_folder(folder) or download_airfoil(AIRFOIL_MIRRORS)
    content = path.read_bytes()
    sha1 = hashlib.sha1(content).hexdigest()
    if sha1 != AIRFOIL_SHA1:
        raise InputError(
            f"{path} is not the airfoil table: found {len(content)} bytes with SHA-1 {sha1}, "
            f"expected {AIRFOIL_BYTES} bytes with SHA-1 {AIRFOIL_SHA1}. "
            "It is cut short or altered: replace it, or remove it to have it downloaded"
        )
    rows = np.loadtxt(io.BytesIO(content))
    return Table("airfoil", rows[:, :-1], rows[:, -1], str(path))


def _in_folder(folder: Path | None) -> Path | None:
    """The airfoil file of the data folder, None where there is no folder or it has no such file."""
    named = os.environ.get("RATELAB_DATA")
    if folder is None and not named:
        return None
    place = Path(named or "") if folder is None else folder
    if not place.is_dir():
        asked = "RATELAB_DATA" if folder is None else "--data"
        raise InputError(f"the data folder {place} ({asked}) does not exist; create it or name another one")
    places = (place / "airfoil" / AIRFOIL_FILE, place / AIRFOIL_FILE)
    return next((path for path in places if path.is_file()), None)


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
