"""The user's cache folder: what was computed once and is found again, checked by whoever reads it."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ratelab.theory.arrays import Array


def folder(name: str) -> Path:
    """The folder `name` in the user's cache, or in the folder that RATELAB_CACHE names."""
    place = os.environ.get("RATELAB_CACHE")
    if not place:
        import pooch

        place = str(pooch.os_cache("ratelab"))
    return Path(place) / name


@contextlib.contextmanager
def atomically(path: Path) -> Iterator[Path]:
    """A temporary file in the same folder that takes the place of `path` once it is on disk."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_array(path: Path, array: Array) -> None:
    """A file of little-endian float64, all at once or not at all; without a word where the folder cannot be
    written to."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomically(path) as temporary, temporary.open("wb") as file:
            np.lib.format.write_array(file, array.astype("<f8", copy=False), allow_pickle=False)
    except OSError:
        return
