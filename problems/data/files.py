"""Data files by checksum: which they are, where they lie, and how they are downloaded.

A file is looked for in the data folder and downloaded once otherwise. Wherever it comes from, its size and
its SHA-256 decide whether it is the one, so a mirror needs no trust and a partial download can be continued
from another mirror. The SHA-256 were taken from files with the checksums that others publish: torchvision's
MD5 for the two MNISTs, d2l.ai's SHA-1 for the airfoil table.
"""

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from ratelab.theory.arrays import InputError

if TYPE_CHECKING:
    from rich.progress import Progress

TIMEOUT = 30.0
"""Seconds without a byte after which a mirror is given up."""


@dataclass(frozen=True)
class DataFile:
    """A file `name` of `bytes` bytes with the checksum `sha256` (64 hex digits), kept in `folder`.

    `mirrors` are the addresses that serve it, in the order in which they are asked.
    """

    name: str
    folder: str
    bytes: int
    sha256: str
    mirrors: tuple[str, ...]

    @property
    def label(self) -> str:
        return f"{self.folder}/{self.name}"


_AIRFOIL = (
    "https://archive.ics.uci.edu/ml/machine-learning-databases/00291/",
    "https://d2l-data.s3-accelerate.amazonaws.com/",
)
_MNIST = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
_FASHION = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",  # website endpoints of S3 have no https
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
)
_LIBSVM = ("https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/binary/",)

# fmt: off
KNOWN = tuple(
    DataFile(name, folder, size, sha256, tuple(place + name for place in places))
    for folder, places, name, size, sha256 in (
        ("airfoil", _AIRFOIL, "airfoil_self_noise.dat", 59_984,
         "74c75fd71783f1e6b71f8a622b993dc592897a97cd689c5090a07147a1b097b3"),
        ("mnist", _MNIST, "train-images-idx3-ubyte.gz", 9_912_422,
         "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        ("mnist", _MNIST, "train-labels-idx1-ubyte.gz", 28_881,
         "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        ("mnist", _MNIST, "t10k-images-idx3-ubyte.gz", 1_648_877,
         "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        ("mnist", _MNIST, "t10k-labels-idx1-ubyte.gz", 4_542,
         "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        ("fashion_mnist", _FASHION, "train-images-idx3-ubyte.gz", 26_421_880,
         "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        ("fashion_mnist", _FASHION, "train-labels-idx1-ubyte.gz", 29_515,
         "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        ("fashion_mnist", _FASHION, "t10k-images-idx3-ubyte.gz", 4_422_102,
         "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        ("fashion_mnist", _FASHION, "t10k-labels-idx1-ubyte.gz", 5_148,
         "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        ("libsvm", _LIBSVM, "a9a", 2_327_314,
         "7ba53cccb27e2e525f0fb173e1f446d49856e3fb007eb43be4ec6d0f5b3335ca"),
        ("libsvm", _LIBSVM, "a9a.t", 1_164_628,
         "1f448a153f0320399a7e40836eb207655b0bde0f21fc941cc472193daa9f5de9"),
    )
)
# fmt: on


def known(folder: str, name: str) -> DataFile:
    """The file of `KNOWN` that is kept at folder/name."""
    return next(file for file in KNOWN if (file.folder, file.name) == (folder, name))


def locate(file: DataFile, folder: Path | None = None) -> Path:
    """Where `file` lies: in the data folder, or else in the cache, downloaded where it is not there yet.

    The data folder is `folder`, by default the environment variable RATELAB_DATA; there the file is
    DIR/<file.folder>/<name> or DIR/<name>. InputError for a data folder that does not exist, a file in it
    that has another size or checksum (with what it is instead), a failed download.
    """
    path = _in_folder(file, folder)
    if path is None:
        return download(file)
    try:
        _check(path, file)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} is not {file.label}: {error}. Replace it, or remove it to have it downloaded; "
            f"DIR/{file.label} is looked at before DIR/{file.name}"
        ) from error
    return path


def download(file: DataFile, cache: Path | None = None) -> Path:
    """Where `file` lies in `cache` (by default pooch's), fetched from the first mirror to have it.

    A file that is there is taken when its checksum is right and fetched anew when not. What an interrupted
    transfer brought stays in <name>.part and is continued by the next mirror or the next call. Processes that
    ask for a file at once fetch it once: the others wait. InputError when no mirror gives the file, with what
    each one said and where to put a copy by hand.
    """
    import pooch
    from filelock import FileLock
    from urllib3.exceptions import HTTPError

    place = Path(pooch.os_cache("ratelab") if cache is None else cache) / file.folder
    target, part = place / file.name, place / f"{file.name}.part"
    with suppress(OSError, ValueError):
        _check(target, file)
        return target
    failures = []
    try:
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            for url in file.mirrors:
                try:
                    known_hash, downloader = f"sha256:{file.sha256}", partial(_fetch, file, part)
                    pooch.retrieve(url, known_hash, file.name, place, downloader=downloader)
                except (OSError, ValueError, HTTPError) as error:  # requests raises OSErrors
                    failures.append(f"{url}: {error}")
                else:
                    return target
    except OSError as error:
        failures.append(f"{place}: {error}")
    kept = (
        f"{part.stat().st_size} bytes are kept in {part}: ask again to continue there. "
        if part.exists()
        else ""
    )
    raise InputError(
        "\n  ".join([f"{file.label} could not be downloaded:", *failures]) + f"\n{kept}"
        f"Or fetch it by hand ({file.bytes} bytes, SHA-256 {file.sha256}) and put it at {target}, or at "
        f"DIR/{file.label} with --data DIR or RATELAB_DATA=DIR. The data sets diabetes, line and digits need "
        "no download"
    )


def _in_folder(file: DataFile, folder: Path | None) -> Path | None:
    """The file in the data folder, None where there is no folder or it has no such file."""
    named = os.environ.get("RATELAB_DATA")
    if folder is None and not named:
        return None
    place = Path(named or "") if folder is None else folder
    if not place.is_dir():
        asked = "RATELAB_DATA" if folder is None else "--data"
        raise InputError(f"the data folder {place} ({asked}) does not exist; create it or name another one")
    places = (place / file.folder / file.name, place / file.name)
    return next((path for path in places if path.is_file()), None)


def _check(path: Path, file: DataFile) -> None:
    """ValueError with what was found at `path` unless it is `file`; OSError where it cannot be read."""
    found = path.stat()
    _check_content(path, found.st_size, found.st_mtime_ns, file)


@lru_cache(maxsize=64)
def _check_content(path: Path, size: int, modified: int, file: DataFile) -> None:  # noqa: ARG001 - a key
    """Remembered for a file that is right until its size or time changes; a wrong one is read again."""
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    if (size, sha256) == (file.bytes, file.sha256):
        return
    state = "it is cut short or altered" if size < file.bytes else "it is altered"
    named = next(
        (f"this is {other.folder}'s {other.name}" for other in KNOWN if other.sha256 == sha256), state
    )
    raise ValueError(
        f"found {size} bytes with SHA-256 {sha256} ({named}), "
        f"expected {file.bytes} bytes with SHA-256 {file.sha256}"
    )


def _fetch(file: DataFile, part: Path, url: str, output: str, _pooch: object) -> None:
    """A downloader for pooch: fills `part` from `url` and moves it to `output` once it is the file.

    A part that turns out bad may have been bad before this mirror continued it, so the mirror is asked again
    for the whole. ValueError when that is bad as well, or the mirror's file has another size.
    """
    while True:
        start = part.stat().st_size if part.exists() else 0
        if start < file.bytes:
            start = _continue(file, part, url, start)
        if (size := part.stat().st_size) < file.bytes:
            raise ConnectionError(f"the transfer ended after {size} of {file.bytes} bytes")
        try:
            _check(part, file)
        except ValueError:
            part.unlink()
            if start == 0:
                raise
        else:
            part.replace(output)
            return


def _continue(file: DataFile, part: Path, url: str, start: int) -> int:
    """Writes to `part` what the mirror has from byte `start` on; returns where it really began.

    A server without Range sends the whole (status 200) and one that has no such range says 416 or sends
    another: then the part is written from its beginning.
    """
    import requests

    # identity: the file's own bytes count, and a .gz must not be unpacked on the way
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        ranged = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        if start and response.status_code in (206, 416) and not ranged:
            return _continue(file, part, url, 0)
        response.raise_for_status()
        if response.status_code != 206:
            start = 0
        length = response.headers.get("Content-Length")
        if length is not None and start + int(length) != file.bytes:
            raise ValueError(f"its file has {start + int(length)} bytes, expected {file.bytes}")
        with part.open("ab" if start else "wb") as stream, _progress() as progress:
            task = progress.add_task(file.label, total=file.bytes, completed=start)
            for piece in response.raw.stream(1 << 16, decode_content=False):
                stream.write(piece)
                progress.advance(task, len(piece))
                if stream.tell() > file.bytes:
                    break  # the checksum refuses it
    return start


def _progress() -> "Progress":
    """A progress bar where standard error is a terminal, nothing elsewhere (pooch says what it downloads)."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
